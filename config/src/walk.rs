//! Typed reading of the tree that goes on after an error and collects all of them.

use std::fmt::Display;
use std::time::Duration;

use crate::diagnostic::{Diagnostic, Diagnostics, Located, Place};
use crate::duration::{UNITS_HELP, parse_duration, show_duration};
use crate::keys::{self, Keys};
use crate::limits::Bound;
use crate::near::nearest;
use crate::preflight::Disk;
use crate::size::SizeBytes;
use crate::source::{Origin, Source};
use crate::tree::{Entry, Node, Value, quote};

/// What was found wrong so far in one configuration.
pub(crate) struct Walk<'a> {
    pub(crate) source: &'a Source<'a>,
    pub(crate) found: Diagnostics,
    /// Of namespaces that may have faults elsewhere, in the file's order.
    pub(crate) disks: Vec<Disk>,
}

/// A table that is being read: keys are taken out of it, and what is left is unknown.
pub(crate) struct Section {
    pub(crate) path: String,
    origin: Origin,
    entries: Vec<Entry>,
}

/// A key that was there, and its value.
pub(crate) struct Field {
    pub(crate) path: String,
    key_origin: Origin,
    node: Node,
}

impl Section {
    pub(crate) fn root(entries: Vec<Entry>) -> Self {
        Self { path: String::new(), origin: Origin::File(0..0), entries }
    }

    /// Takes a key out, if it is there.
    pub(crate) fn take(&mut self, key: &str) -> Option<Field> {
        let index = self.entries.iter().position(|entry| entry.key == key)?;
        let Entry { key, key_origin, node } = self.entries.swap_remove(index);
        Some(Field { path: join(&self.path, &key), key_origin, node })
    }
}

impl Field {
    /// Whether the value is a string.
    pub(crate) fn is_text(&self) -> bool {
        matches!(self.node.value, Value::Text(_))
    }

    /// Whether the value is a string of an environment variable, where everything is a string.
    fn variable(&self) -> Option<&str> {
        match (&self.node.origin, &self.node.value) {
            (Origin::Environment(_), Value::Text(text)) => Some(text.trim()),
            _ => None,
        }
    }
}

fn join(path: &str, key: &str) -> String {
    // A key of the file may hold anything; what is no bare key is shown quoted.
    let bare = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    let key = if !key.is_empty() && key.chars().all(bare) { key.to_owned() } else { quote(key) };
    if path.is_empty() { key } else { format!("{path}.{key}") }
}

impl Walk<'_> {
    /// Where a value is.
    pub(crate) fn place(&self, field: &Field) -> Place {
        self.source.place(&field.node.origin, &field.path)
    }

    /// The value with its place.
    pub(crate) fn locate<T>(&self, field: &Field, value: T) -> Located<T> {
        Located { value, place: self.place(field) }
    }

    /// Something is wrong with a value.
    pub(crate) fn error(&mut self, field: &Field, message: impl Into<String>, help: &str) {
        let place = self.place(field);
        self.push(Diagnostic::error(place, message), help);
    }

    /// Something is doubtful about a value.
    pub(crate) fn warning(&mut self, field: &Field, message: impl Into<String>, help: &str) {
        let place = self.place(field);
        self.push(Diagnostic::warning(place, message), help);
    }

    /// Something is wrong at a place that is no value.
    pub(crate) fn push(&mut self, diagnostic: Diagnostic, help: &str) {
        self.found.push(if help.is_empty() { diagnostic } else { diagnostic.help(help) });
    }

    /// Where a table begins.
    pub(crate) fn section_place(&self, section: &Section) -> Place {
        self.source.place(&section.origin, &section.path)
    }

    /// Takes a key that must be there.
    pub(crate) fn require(
        &mut self,
        section: &mut Section,
        key: &str,
        help: &str,
    ) -> Option<Field> {
        let field = section.take(key);
        if field.is_none() {
            let place = self.section_place(section);
            self.push(Diagnostic::error(place, format!("the key \"{key}\" is missing")), help);
        }
        field
    }

    /// Reports what was not taken out of a table.
    pub(crate) fn finish(&mut self, section: Section, keys: &Keys) {
        let mut entries = section.entries;
        entries.sort_by_key(|entry| match &entry.key_origin {
            Origin::File(span) => span.start,
            Origin::Environment(_) => 0,
        });
        for entry in entries {
            let path = join(&section.path, &entry.key);
            let place = self.source.place(&entry.key_origin, &path);
            let message = format!("unknown key {}", quote(&entry.key));
            self.push(Diagnostic::error(place, message), &keys::advice(keys, &entry.key));
        }
    }

    fn mismatch(&mut self, field: &Field, expected: &str, help: &str) {
        let found = field.node.value.describe();
        self.error(field, format!("expected {expected}, found {found}"), help);
    }

    /// A string.
    pub(crate) fn text(&mut self, field: &Field, expected: &str) -> Option<String> {
        if let Value::Text(text) = &field.node.value {
            return Some(text.clone());
        }
        self.mismatch(field, expected, "write the value in double quotes");
        None
    }

    /// A string with a form of its own; `parse` says what is wrong as the end of a sentence.
    pub(crate) fn parsed<T>(
        &mut self,
        field: &Field,
        expected: &str,
        help: &str,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Option<T> {
        let text = self.text(field, expected)?;
        match parse(&text) {
            Ok(value) => Some(value),
            Err(wrong) => {
                self.error(field, format!("expected {expected}: {} {wrong}", quote(&text)), help);
                None
            }
        }
    }

    /// One of a few words.
    pub(crate) fn choice<T: Copy>(&mut self, field: &Field, words: &[(&str, T)]) -> Option<T> {
        let list: Vec<String> = words.iter().map(|(word, _)| format!("\"{word}\"")).collect();
        let expected = match list.split_last() {
            Some((last, [])) => last.clone(),
            Some((last, others)) => format!("{} or {last}", others.join(", ")),
            None => String::new(),
        };
        let text = match &field.node.value {
            Value::Text(text) => text.clone(),
            Value::Boolean(value) if words.iter().any(|(word, _)| *word == on_off(*value)) => {
                let help = format!("write \"{}\"", on_off(*value));
                self.mismatch(field, &expected, &help);
                return None;
            }
            Value::Integer(..)
            | Value::Float(_)
            | Value::Boolean(_)
            | Value::Datetime(_)
            | Value::Array(_)
            | Value::Table(_) => {
                self.mismatch(field, &expected, "");
                return None;
            }
        };
        if let Some((_, value)) = words.iter().find(|(word, _)| *word == text) {
            return Some(*value);
        }
        let near = nearest(&text, words.iter().map(|(word, _)| *word));
        let help = near.map(|near| format!("did you mean \"{near}\"?")).unwrap_or_default();
        self.mismatch(field, &expected, &help);
        None
    }

    /// `true` or `false`.
    pub(crate) fn boolean(&mut self, field: &Field) -> Option<bool> {
        match (&field.node.value, field.variable()) {
            (Value::Boolean(value), _) => Some(*value),
            (_, Some("true")) => Some(true),
            (_, Some("false")) => Some(false),
            _ => {
                self.mismatch(field, "true or false", "write it without quotes");
                None
            }
        }
    }

    /// A whole number within bounds.
    pub(crate) fn integer<T>(&mut self, field: &Field, bound: &Bound<T>) -> Option<T>
    where
        T: Copy + Display + PartialOrd + TryFrom<i128>,
    {
        let number = match (&field.node.value, field.variable()) {
            (Value::Integer(number, _), _) => *number,
            (_, Some(text)) => text.parse::<i128>().ok(),
            _ => None,
        };
        let value = number.and_then(|number| T::try_from(number).ok());
        if let Some(value) = value.filter(|value| bound.min <= *value && *value <= bound.max) {
            return Some(value);
        }
        let expected = format!("a whole number from {} to {}", bound.min, bound.max);
        let help = match &field.node.value {
            Value::Text(text) if text.trim().parse::<i128>().is_ok() => {
                if field.variable().is_some() { "" } else { "write the number without quotes" }
            }
            Value::Text(_)
            | Value::Integer(..)
            | Value::Float(_)
            | Value::Boolean(_)
            | Value::Datetime(_)
            | Value::Array(_)
            | Value::Table(_) => "",
        };
        self.mismatch(field, &expected, help);
        None
    }

    /// A size with its unit, within bounds.
    pub(crate) fn size(&mut self, field: &Field, min: u64, max: u64) -> Option<SizeBytes> {
        let (min, max) = (SizeBytes(min), SizeBytes(max));
        let expected = format!("a size from \"{min}\" to \"{max}\"");
        if let Value::Integer(Some(number), _) = &field.node.value {
            let exact = u64::try_from(*number).map(SizeBytes).ok();
            let fitting = exact.filter(|size| min <= *size && *size <= max);
            let help = match fitting {
                Some(size) => format!("sizes carry a unit: if bytes are meant, write \"{size}\""),
                None => "sizes carry a unit, like \"4 MiB\"".to_owned(),
            };
            self.mismatch(field, &expected, &help);
            return None;
        }
        let size = self.parsed(field, &expected, "", SizeBytes::parse)?;
        if size < min || size > max {
            self.mismatch(field, &expected, "");
            return None;
        }
        Some(size)
    }

    /// A time with its unit, within bounds.
    pub(crate) fn duration(&mut self, field: &Field, bound: &Bound<Duration>) -> Option<Duration> {
        let (min, max) = (show_duration(bound.min), show_duration(bound.max));
        let expected = format!("a time from \"{min}\" to \"{max}\"");
        if let Value::Integer(..) = &field.node.value {
            self.mismatch(field, &expected, "times carry a unit, like \"50 us\" or \"5 s\"");
            return None;
        }
        let duration = self.parsed(field, &expected, "", parse_duration)?;
        if duration < bound.min || duration > bound.max {
            self.mismatch(field, &expected, UNITS_HELP);
            return None;
        }
        Some(duration)
    }

    /// An array of at most `max` elements; the elements are fields of their own.
    pub(crate) fn elements(&mut self, field: Field, expected: &str, max: usize) -> Vec<Field> {
        if let Some(text) = field.variable() {
            let inner = text.strip_prefix('[').and_then(|text| text.strip_suffix(']'));
            let parts = inner.unwrap_or(text).split(',').map(|part| Node {
                origin: field.node.origin.clone(),
                value: Value::Text(part.trim().trim_matches('"').to_owned()),
            });
            return number(&field, parts);
        }
        match &field.node.value {
            Value::Array(nodes) if nodes.len() <= max => number(&field, nodes.iter().cloned()),
            Value::Array(nodes) => {
                let message = format!("at most {max} are possible, found {}", nodes.len());
                self.error(&field, message, "");
                Vec::new()
            }
            Value::Text(text) => {
                let help = format!("write a list in brackets: [{}]", quote(text));
                self.mismatch(&field, expected, &help);
                Vec::new()
            }
            Value::Integer(..)
            | Value::Float(_)
            | Value::Boolean(_)
            | Value::Datetime(_)
            | Value::Table(_) => {
                self.mismatch(&field, expected, "write a list in brackets: [ ... ]");
                Vec::new()
            }
        }
    }

    /// A table.
    pub(crate) fn table(&mut self, field: Field) -> Option<Section> {
        match field.node.value {
            Value::Table(entries) => {
                Some(Section { path: field.path, origin: field.node.origin, entries })
            }
            Value::Text(_)
            | Value::Integer(..)
            | Value::Float(_)
            | Value::Boolean(_)
            | Value::Datetime(_)
            | Value::Array(_) => {
                let help = format!("write it as a section: [{}]", field.path);
                self.mismatch(&field, "a section", &help);
                None
            }
        }
    }

    /// An array of at most `max` tables.
    pub(crate) fn tables(&mut self, field: Field, header: &str, max: usize) -> Vec<Section> {
        let help = format!("write each of them as [[{header}]], in double brackets");
        match &field.node.value {
            Value::Array(nodes) if nodes.len() > max => {
                let message = format!("at most {max} are possible, found {}", nodes.len());
                self.error(&field, message, "");
                Vec::new()
            }
            Value::Array(nodes) => {
                let mut sections = Vec::new();
                for element in number(&field, nodes.iter().cloned()) {
                    if let Value::Table(_) = element.node.value {
                        sections.extend(self.table(element));
                    } else {
                        self.mismatch(&element, "a section", &help);
                    }
                }
                sections
            }
            Value::Table(_)
            | Value::Text(_)
            | Value::Integer(..)
            | Value::Float(_)
            | Value::Boolean(_)
            | Value::Datetime(_) => {
                self.mismatch(&field, "a list of sections", &help);
                Vec::new()
            }
        }
    }
}

/// What a boolean would be called where the words are "on" and "off".
const fn on_off(value: bool) -> &'static str {
    if value { "on" } else { "off" }
}

fn number(field: &Field, nodes: impl Iterator<Item = Node>) -> Vec<Field> {
    let element = |(index, node)| Field {
        path: format!("{}[{index}]", field.path),
        key_origin: field.key_origin.clone(),
        node,
    };
    nodes.enumerate().map(element).collect()
}
