//! Aligned columns of text.

/// How a column is aligned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Align {
    Left,
    Right,
}

use Align::{Left, Right};

/// A table: a line of headings, and lines of cells.
#[derive(Debug)]
pub(super) struct Table {
    columns: Vec<(String, Align)>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table with these columns. A heading that starts with `>` is of a column of numbers.
    pub(super) fn new(headings: &[&str]) -> Self {
        let columns = headings.iter().map(|heading| match heading.strip_prefix('>') {
            Some(heading) => (heading.to_owned(), Right),
            None => ((*heading).to_owned(), Left),
        });
        Self { columns: columns.collect(), rows: Vec::new() }
    }

    /// Adds a line; a missing cell is empty, one too many is not shown.
    pub(super) fn row<const N: usize>(&mut self, cells: [String; N]) {
        self.rows.push(cells.into_iter().map(|cell| clean(&cell)).collect());
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The table, each line indented by so many spaces and without spaces at its end.
    pub(super) fn render(&self, indent: usize) -> String {
        let headings: Vec<String> = self.columns.iter().map(|(name, _)| name.clone()).collect();
        let lines = || std::iter::once(&headings).chain(&self.rows);
        let width = |column| {
            let cells = lines().filter_map(|line| line.get(column));
            cells.map(|cell: &String| cell.chars().count()).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..self.columns.len()).map(width).collect();
        let mut text = String::new();
        for line in lines() {
            let mut out = " ".repeat(indent);
            for ((cell, width), (_, align)) in line.iter().zip(&widths).zip(&self.columns) {
                match align {
                    Left => out.push_str(&format!("{cell:<width$}  ")),
                    Right => out.push_str(&format!("{cell:>width$}  ")),
                }
            }
            text.push_str(out.trim_end());
            text.push('\n');
        }
        text
    }
}

/// Text of a host must not move the cursor of an administrator, nor break a line.
pub(super) fn clean(text: &str) -> String {
    let hidden =
        |c: char| c.is_control() || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    if text.is_empty() {
        return "-".to_owned();
    }
    text.chars().map(|c| if hidden(c) { char::REPLACEMENT_CHARACTER } else { c }).collect()
}

/// Bytes as an administrator says them: whole where they are, else with one decimal.
pub(super) fn size(bytes: u64) -> String {
    const UNITS: [(&str, u64); 5] =
        [("PiB", 1 << 50), ("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];
    match UNITS.into_iter().find(|(_, unit)| bytes >= *unit) {
        None => format!("{bytes} B"),
        Some((name, unit)) if bytes.is_multiple_of(unit) => format!("{} {name}", bytes / unit),
        Some((name, unit)) => {
            // Rounded down: a disk never shows as larger than it is.
            format!("{}.{} {name}", bytes / unit, bytes % unit * 10 / unit)
        }
    }
}

/// Seconds as `3d 04:05:06`.
pub(super) fn uptime(seconds: u64) -> String {
    let (days, rest) = (seconds / 86_400, seconds % 86_400);
    let clock = format!("{:02}:{:02}:{:02}", rest / 3600, rest / 60 % 60, rest % 60);
    if days == 0 { clock } else { format!("{days}d {clock}") }
}

/// Microseconds with three digits that mean something, in the unit that fits.
pub(super) fn span(us: u64) -> String {
    let fixed = |value: u64, unit: u64, name: &str| {
        let (whole, rest) = (value / unit, value % unit);
        match whole {
            0..10 => format!("{whole}.{:02} {name}", rest * 100 / unit),
            10..100 => format!("{whole}.{} {name}", rest * 10 / unit),
            100.. => format!("{whole} {name}"),
        }
    };
    match us {
        0..1_000 => format!("{us} \u{b5}s"),
        1_000..1_000_000 => fixed(us, 1_000, "ms"),
        1_000_000..60_000_000 => fixed(us, 1_000_000, "s"),
        60_000_000.. => uptime(us / 1_000_000),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_and_numbers_are_to_the_right() {
        let mut table = Table::new(&["NAME", ">SIZE", "END"]);
        table.row(["a".to_owned(), "1".to_owned(), String::new()]);
        table.row(["longer".to_owned(), "1000000".to_owned(), "x".to_owned()]);
        let expected = "  NAME       SIZE  END\n  a             1  -\n  longer  1000000  x\n";
        assert_eq!(table.render(2), expected);
    }

    #[test]
    fn text_of_a_host_can_not_draw_on_the_terminal() {
        assert_eq!(clean("nqn\u{1b}[2J\n\u{202e}x"), "nqn\u{fffd}[2J\u{fffd}\u{fffd}x");
    }

    #[test]
    fn sizes_are_exact_or_rounded_down() {
        for (bytes, text) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1 KiB"),
            (1536, "1.5 KiB"),
            ((2 << 30) - 1, "1.9 GiB"),
            (10 << 40, "10 TiB"),
            (u64::MAX, "16383.9 PiB"),
        ] {
            assert_eq!(size(bytes), text);
        }
    }

    #[test]
    fn spans_have_three_digits_and_are_rounded_down() {
        for (us, text) in [
            (0, "0 \u{b5}s"),
            (999, "999 \u{b5}s"),
            (1_009, "1.00 ms"),
            (12_399, "12.3 ms"),
            (999_999, "999 ms"),
            (5_010_000, "5.01 s"),
            (59_999_999, "59.9 s"),
            (60_000_000, "00:01:00"),
            (u64::MAX, "213503982d 08:01:49"),
        ] {
            assert_eq!(span(us), text);
        }
    }

    #[test]
    fn uptimes_read_like_a_clock() {
        assert_eq!(uptime(59), "00:00:59");
        assert_eq!(uptime(3 * 86_400 + 4 * 3600 + 5 * 60 + 6), "3d 04:05:06");
    }
}
