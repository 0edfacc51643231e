//! The layers of a configuration as one tree in which every value knows where it came from.

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::diagnostic::{Diagnostic, Diagnostics};
use crate::source::{Origin, Source};

/// A value and its origin.
#[derive(Debug, Clone)]
pub(crate) struct Node {
    pub(crate) origin: Origin,
    pub(crate) value: Value,
}

/// What TOML can say, without loss: 2.7 stays no integer, and an integer keeps all its digits.
#[derive(Debug, Clone)]
pub(crate) enum Value {
    Text(String),
    Integer(Option<i128>, String),
    Float(String),
    Boolean(bool),
    Datetime(String),
    Array(Vec<Node>),
    Table(Vec<Entry>),
}

/// A key of a table and its value.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub(crate) key: String,
    pub(crate) key_origin: Origin,
    pub(crate) node: Node,
}

impl Value {
    /// The value in the words of a message.
    pub(crate) fn describe(&self) -> String {
        match self {
            Self::Text(text) => format!("the string {}", quote(text)),
            Self::Integer(_, shown) => format!("the integer {}", brief(shown)),
            Self::Float(shown) => format!("the float {}", brief(shown)),
            Self::Boolean(value) => format!("the boolean {value}"),
            Self::Datetime(shown) => format!("the date or time {shown}"),
            Self::Array(_) => "an array".to_owned(),
            Self::Table(_) => "a table".to_owned(),
        }
    }
}

/// Text of a file in quotes, escaped and cut to what fits a message.
pub(crate) fn quote(text: &str) -> String {
    format!("{:?}", brief(text))
}

fn brief(text: &str) -> String {
    // LIMIT: 80 characters identify any value of ours; an NQN that long is shown in the excerpt.
    if text.chars().count() <= 80 {
        return text.to_owned();
    }
    text.chars().take(79).chain(['\u{2026}']).collect()
}

/// Parses the file into a table.
///
/// # Errors
/// Every error of TOML's grammar. [`crate::nesting`] has bounded the depth of the tree.
pub(crate) fn parse(source: &Source<'_>, text: &str) -> Result<Vec<Entry>, Diagnostics> {
    let (table, mut errors) = DeTable::parse_recoverable(text);
    if errors.is_empty() {
        return Ok(entries(table.into_inner()));
    }
    errors.sort_by_key(|error| error.span().map(|span| span.start));
    let mut found = Diagnostics::default();
    for error in errors {
        if found.omit_error() {
            continue;
        }
        let place = match error.span() {
            Some(span) => source.place(&Origin::File(span), ""),
            None => source.whole(),
        };
        let message: String = error.message().chars().map(crate::source::printable).collect();
        let (message, help) = explain(&message);
        let diagnostic = Diagnostic::error(place, format!("not valid TOML: {message}"));
        found.push(match help {
            "" => diagnostic,
            help => diagnostic.help(help),
        });
    }
    Err(found)
}

/// The parser's message in words for somebody who does not know its grammar, and advice.
fn explain(message: &str) -> (&str, &'static str) {
    const QUOTES: &str = "put text in double quotes: \"...\"";
    let unquoted = ["must be quoted", "invalid float", "invalid integer"];
    if unquoted.iter().any(|part| message.contains(part)) {
        ("the value is no number, not true or false, and not in quotes", QUOTES)
    } else if message.contains("invalid boolean") {
        (message, "write true or false in small letters, and text in double quotes")
    } else if message.contains("duplicate key") {
        (message, "each key and [section] may appear once; lists of sections are written [[...]]")
    } else if message.contains("string, expected") {
        (message, "the quote that ends the text is missing")
    } else {
        (message.trim_end_matches(", expected nothing"), "")
    }
}

fn entries(table: DeTable<'_>) -> Vec<Entry> {
    let entry = |(key, value): (Spanned<_>, Spanned<DeValue<'_>>)| {
        let key_origin = Origin::File(key.span());
        let key: std::borrow::Cow<'_, str> = key.into_inner();
        Entry { key: key.into_owned(), key_origin, node: node(value) }
    };
    table.into_iter().map(entry).collect()
}

fn node(value: Spanned<DeValue<'_>>) -> Node {
    let origin = Origin::File(value.span());
    let value = match value.into_inner() {
        DeValue::String(text) => Value::Text(text.into_owned()),
        DeValue::Integer(integer) => {
            let number = i128::from_str_radix(integer.as_str(), integer.radix()).ok();
            Value::Integer(number, integer.to_string())
        }
        DeValue::Float(float) => Value::Float(float.to_string()),
        DeValue::Boolean(boolean) => Value::Boolean(boolean),
        DeValue::Datetime(datetime) => Value::Datetime(datetime.to_string()),
        DeValue::Array(array) => Value::Array(array.into_iter().map(node).collect()),
        DeValue::Table(table) => Value::Table(entries(table)),
    };
    Node { origin, value }
}
