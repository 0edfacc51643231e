//! Writes SVG 1.1, as far as a drawing of ours needs it.

use std::fmt::Write as _;

/// Where a text stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Anchor {
    Start,
    Middle,
    End,
}

/// A drawing. Looks are classes of its style sheet; lengths are pixels.
pub(super) struct Svg {
    body: String,
}

impl Svg {
    pub(super) fn new() -> Self {
        Self { body: String::new() }
    }

    pub(super) fn rect(&mut self, class: &str, at: (f64, f64), size: (f64, f64), radius: f64) {
        let ((x, y), (width, height), class) = (at, size, escaped(class));
        self.put(format_args!(
            "<rect class=\"{class}\" x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" \
             height=\"{height:.1}\" rx=\"{radius:.1}\"/>"
        ));
    }

    pub(super) fn line(&mut self, class: &str, from: (f64, f64), to: (f64, f64)) {
        let ((x1, y1), (x2, y2), class) = (from, to, escaped(class));
        self.put(format_args!(
            "<line class=\"{class}\" x1=\"{x1:.1}\" y1=\"{y1:.1}\" x2=\"{x2:.1}\" y2=\"{y2:.1}\"/>"
        ));
    }

    pub(super) fn circle(&mut self, class: &str, (x, y): (f64, f64), radius: f64) {
        let class = escaped(class);
        self.put(format_args!(
            "<circle class=\"{class}\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"{radius:.1}\"/>"
        ));
    }

    /// A closed shape.
    pub(super) fn polygon(&mut self, class: &str, points: &[(f64, f64)]) {
        let points: Vec<String> = points.iter().map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
        let (class, points) = (escaped(class), points.join(" "));
        self.put(format_args!("<polygon class=\"{class}\" points=\"{points}\"/>"));
    }

    /// `at` is on the base line. Whatever `text` holds, it is shown and not interpreted.
    pub(super) fn text(&mut self, class: &str, at: (f64, f64), anchor: Anchor, text: &str) {
        let anchor = match anchor {
            Anchor::Start => "start",
            Anchor::Middle => "middle",
            Anchor::End => "end",
        };
        let ((x, y), class, text) = (at, escaped(class), escaped(text));
        self.put(format_args!(
            "<text class=\"{class}\" x=\"{x:.1}\" y=\"{y:.1}\" \
             text-anchor=\"{anchor}\">{text}</text>"
        ));
    }

    /// A text in parts, each with a look of its own.
    pub(super) fn spans(&mut self, at: (f64, f64), parts: &[(&str, String)]) {
        let (x, y) = at;
        let span = |(class, text): &(&str, String)| {
            format!("<tspan class=\"{}\">{}</tspan>", escaped(class), escaped(text))
        };
        let spans: String = parts.iter().map(span).collect();
        self.put(format_args!(
            "<text x=\"{x:.1}\" y=\"{y:.1}\" xml:space=\"preserve\">{spans}</text>"
        ));
    }

    fn put(&mut self, element: std::fmt::Arguments<'_>) {
        // Writing to a string can't fail.
        let _ = writeln!(self.body, "{element}");
    }

    /// The document. Nothing in it refers to anything outside of it.
    pub(super) fn finish(self, size: (f64, f64), style: &str, title: &str, about: &str) -> String {
        let ((width, height), body) = (size, self.body);
        let (title, about) = (escaped(title), escaped(about));
        format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width:.0}\" height=\"{height:.0}\" \
             viewBox=\"0 0 {width:.0} {height:.0}\" role=\"img\">\n\
             <title>{title}</title>\n<desc>{about}</desc>\n<style>\n{style}</style>\n{body}</svg>\n"
        )
    }
}

/// Text as character data or as a value in quotes. What XML 1.0 §2.2 does not allow, and what turns
/// the direction of writing around, is shown as a replacement.
pub(super) fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            '\u{fffe}' | '\u{ffff}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => {
                out.push(char::REPLACEMENT_CHARACTER);
            }
            c if c.is_control() => out.push(char::REPLACEMENT_CHARACTER),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_character_can_be_shown_and_none_ends_what_it_is_in() {
        let every: String = (0..=0x0011_0000).filter_map(char::from_u32).collect();
        let mut svg = Svg::new();
        svg.text(&every, (0.0, 0.0), Anchor::Middle, &every);
        let document = svg.finish((1.0, 1.0), "", &every, &every);
        let parsed = roxmltree::Document::parse(&document).unwrap();
        let texts: Vec<_> = parsed.descendants().filter(|node| node.has_tag_name("text")).collect();
        assert_eq!(texts.len(), 1);
        let shown = texts[0].text().unwrap();
        assert_eq!(shown.chars().count(), every.chars().count());
        for (was, is) in every.chars().zip(shown.chars()) {
            assert!(is == was || is == char::REPLACEMENT_CHARACTER, "{was:?} became {is:?}");
        }
        let kept = shown.chars().filter(|c| *c != char::REPLACEMENT_CHARACTER).count();
        // C0 and C1 with DEL, two non-characters, nine of direction, and the replacement itself.
        assert_eq!(every.chars().count() - kept, 65 + 2 + 9 + 1);
    }
}
