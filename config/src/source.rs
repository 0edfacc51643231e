//! The text of a configuration file and the places in it.

use std::ops::Range;

use crate::diagnostic::{Excerpt, Place};
use crate::limits;

/// Where a value came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Origin {
    /// Bytes of the file.
    File(Range<usize>),
    /// The environment variable of that name.
    Environment(String),
}

/// The text of one file, with its name for messages.
pub(crate) struct Source<'a> {
    name: &'a str,
    text: &'a str,
    line_starts: Vec<usize>,
}

impl<'a> Source<'a> {
    pub(crate) fn new(name: &'a str, text: &'a str) -> Self {
        let starts = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n');
        let line_starts = std::iter::once(0).chain(starts.map(|(at, _)| at + 1)).collect();
        Self { name, text, line_starts }
    }

    /// The place of the file as a whole.
    pub(crate) fn whole(&self) -> Place {
        Place { path: self.name.to_owned(), ..Place::default() }
    }

    /// The place of an origin; `key` is the path of the key there.
    pub(crate) fn place(&self, origin: &Origin, key: &str) -> Place {
        match origin {
            Origin::Environment(name) => Place {
                path: shown(&format!("environment {name}")),
                key: shown(key),
                ..Place::default()
            },
            Origin::File(span) => self.spot(span, key),
        }
    }

    /// Number, from 1, of the first line longer than [`limits::LINE_BYTES_MAX`].
    pub(crate) fn overlong_line(&self) -> Option<usize> {
        let lengths = self.text.split('\n').map(str::len);
        lengths.enumerate().find(|(_, len)| *len > limits::LINE_BYTES_MAX).map(|(at, _)| at + 1)
    }

    fn spot(&self, span: &Range<usize>, key: &str) -> Place {
        let start = floor_char(self.text, span.start);
        let end = floor_char(self.text, span.end).max(start);
        let line = self.line_starts.partition_point(|line_start| *line_start <= start);
        let line_start = self.line_starts.get(line.saturating_sub(1)).copied().unwrap_or(0);
        let line_end = self.text[start..].find('\n').map_or(self.text.len(), |len| start + len);
        let before = self.text[line_start..start].chars().count();
        let meant = self.text[start..end.min(line_end)].chars().count();
        Place {
            path: self.name.to_owned(),
            line: Some(line),
            column: Some(before + 1),
            key: key.to_owned(),
            excerpt: Some(excerpt(&self.text[line_start..line_end], before, meant)),
        }
    }
}

/// The part of `line` to show; `before` and `meant` are characters.
fn excerpt(line: &str, before: usize, meant: usize) -> Excerpt {
    let max = limits::EXCERPT_CHARS_MAX;
    let skipped = if before + meant.min(max / 2) < max { 0 } else { before - max.min(before) / 4 };
    let shown = line.trim_end().chars().skip(skipped).take(max).map(printable);
    let text: String = if skipped == 0 {
        shown.collect()
    } else {
        std::iter::once('\u{2026}').chain(shown.skip(1)).collect()
    };
    let indent = before - skipped;
    let room = text.chars().count().saturating_sub(indent);
    Excerpt { text, indent, width: meant.min(room).max(1) }
}

/// What a terminal can be given for a text of the environment.
pub(crate) fn shown(text: &str) -> String {
    text.chars().map(printable).collect()
}

/// What a terminal can be given for a character of a file: one column, no control.
pub(crate) fn printable(character: char) -> char {
    match character {
        '\t' => ' ',
        '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{200e}' | '\u{200f}' => '\u{fffd}',
        character if character.is_control() => '\u{fffd}',
        character => character,
    }
}

/// The largest boundary of a character at or before `at`.
fn floor_char(text: &str, at: usize) -> usize {
    let at = at.min(text.len());
    (0..=at).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spot(text: &str, span: Range<usize>) -> Place {
        Source::new("f", text).place(&Origin::File(span), "k")
    }

    #[test]
    fn line_and_column_count_from_one_in_characters() {
        let text = "a = 1\n\u{e9}\u{e9} = \"x\"\n";
        let at = text.find('"').unwrap();
        let place = spot(text, at..at + 3);
        assert_eq!((place.line, place.column), (Some(2), Some(6)));
        assert_eq!(
            place.excerpt,
            Some(Excerpt { text: "\u{e9}\u{e9} = \"x\"".into(), indent: 5, width: 3 })
        );
    }

    #[test]
    fn span_beyond_the_text_or_inside_a_character_still_has_a_place() {
        for span in [0..0, 0..100, 1..2, 100..200] {
            for text in ["", "\n", "\u{e9}", "a\u{e9}\nb"] {
                let place = spot(text, span.clone());
                assert!(place.line >= Some(1) && place.column >= Some(1), "{text:?} {span:?}");
            }
        }
    }

    #[test]
    fn caret_of_a_long_line_stays_under_what_is_meant() {
        let text = format!("{}X{}", "a".repeat(5000), "b".repeat(5000));
        let excerpt = spot(&text, 5000..5001).excerpt.unwrap();
        assert_eq!(excerpt.text.chars().nth(excerpt.indent), Some('X'));
        assert!(excerpt.text.chars().count() <= limits::EXCERPT_CHARS_MAX);
    }

    #[test]
    fn terminal_controls_of_the_file_are_not_shown() {
        let excerpt = spot("a = \x1b[31m\tb\u{202e}\r\n", 0..1).excerpt.unwrap();
        assert_eq!(excerpt.text, "a = \u{fffd}[31m b\u{fffd}");
    }
}
