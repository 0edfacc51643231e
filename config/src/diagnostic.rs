//! What is wrong with a configuration, where, and how to mend it.

use std::fmt;
use std::ops::Deref;

use serde::Serialize;

use crate::limits;

/// Where something was written: a spot of a file, or an environment variable.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Place {
    /// The file's path as it was given, or `environment NAME`; empty when nothing was written.
    pub path: String,
    /// Line, from 1; none for an environment variable or a file that could not be read.
    pub line: Option<usize>,
    /// Column in characters, from 1.
    pub column: Option<usize>,
    /// Path of the key, as in `subsystem[1].namespace[0].nsid`; indices from 0; may be empty.
    pub key: String,
    /// The source line, for people.
    #[serde(skip)]
    pub excerpt: Option<Excerpt>,
}

impl Place {
    /// The place in half a line: `subsystem[0].nqn at sluice.toml:12:7`.
    pub fn short(&self) -> String {
        let mut short = String::new();
        if !self.key.is_empty() {
            short.push_str(&self.key);
            short.push_str(" at ");
        }
        short.push_str(&self.path);
        if let Some(line) = self.line {
            short.push_str(&format!(":{line}:{}", self.column.unwrap_or(1)));
        }
        short
    }
}

/// A source line, made safe for a terminal, and the part of it that is meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Excerpt {
    /// The line, cut to [`limits::EXCERPT_CHARS_MAX`] characters.
    pub text: String,
    /// Characters before the part that is meant.
    pub indent: usize,
    /// Characters of the part that is meant; at least 1.
    pub width: usize,
}

/// A value and the place where it was written. Two are equal when their values are.
#[derive(Debug, Clone, Default)]
pub struct Located<T> {
    /// The value.
    pub value: T,
    /// Where it was written; for a default, an empty place.
    pub place: Place,
}

impl<T: PartialEq> PartialEq for Located<T> {
    fn eq(&self, other: &Self) -> bool {
        self.value == other.value
    }
}

impl<T: Eq> Eq for Located<T> {}

impl<T> From<T> for Located<T> {
    fn from(value: T) -> Self {
        Self { value, place: Place::default() }
    }
}

impl<T> Deref for Located<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The configuration can't be used.
    Error,
    /// It can be used, but probably does not do what was wanted.
    Warning,
}

/// One thing that is wrong. As JSON a flat object: severity, path, line, column, key, message,
/// help.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Diagnostic {
    /// How bad it is.
    pub severity: Severity,
    /// Where it is.
    #[serde(flatten)]
    pub place: Place,
    /// What was expected and what was found.
    pub message: String,
    /// How to mend it.
    pub help: Option<String>,
}

impl Diagnostic {
    /// An error at a place.
    pub fn error(place: Place, message: impl Into<String>) -> Self {
        Self { severity: Severity::Error, place, message: message.into(), help: None }
    }

    /// A warning at a place.
    pub fn warning(place: Place, message: impl Into<String>) -> Self {
        Self { severity: Severity::Warning, ..Self::error(place, message) }
    }

    /// The same with advice on how to mend it.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }
}

/// Compiler style: message, place, source line with a caret, advice. No newline at the end.
impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let severity = match self.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        };
        write!(f, "{severity}: ")?;
        if !self.place.key.is_empty() {
            write!(f, "{}: ", self.place.key)?;
        }
        write!(f, "{}", self.message)?;
        let number = self.place.line.map(|line| line.to_string()).unwrap_or_default();
        let gutter = number.len();
        if !self.place.path.is_empty() {
            write!(f, "\n{:gutter$}--> {}", "", self.place.path)?;
            if let Some(line) = self.place.line {
                write!(f, ":{line}:{}", self.place.column.unwrap_or(1))?;
            }
        }
        if let Some(excerpt) = &self.place.excerpt {
            let carets = "^".repeat(excerpt.width);
            write!(f, "\n{:gutter$} |\n{number} | {}", "", excerpt.text)?;
            write!(f, "\n{:gutter$} | {:indent$}{carets}", "", "", indent = excerpt.indent)?;
        }
        if let Some(help) = &self.help {
            write!(f, "\n{:gutter$} = help: {help}", "")?;
        }
        Ok(())
    }
}

/// Everything that is wrong with one configuration, in the file's order, warnings included.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Diagnostics {
    /// At most [`limits::DIAGNOSTICS_MAX`] of them.
    list: Vec<Diagnostic>,
    /// How many more there were.
    omitted: usize,
    /// Errors among both.
    errors: usize,
}

impl Diagnostics {
    /// Adds one. When there are too many already, one is only counted: a warning before an error,
    /// so that warnings never hide that the configuration can't be used.
    pub fn push(&mut self, diagnostic: Diagnostic) {
        self.errors += usize::from(diagnostic.severity == Severity::Error);
        if self.list.len() < limits::DIAGNOSTICS_MAX {
            self.list.push(diagnostic);
            return;
        }
        self.omitted += 1;
        let warning = self.list.iter().rposition(|kept| kept.severity == Severity::Warning);
        if let (Severity::Error, Some(index)) = (diagnostic.severity, warning) {
            self.list.remove(index);
            self.list.push(diagnostic);
        }
    }

    /// Counts an error without describing it, when there are [`limits::DIAGNOSTICS_MAX`] already.
    pub(crate) fn omit_error(&mut self) -> bool {
        let full = self.list.len() >= limits::DIAGNOSTICS_MAX;
        if full {
            self.omitted += 1;
            self.errors += 1;
        }
        full
    }

    /// Those that are kept, at most [`limits::DIAGNOSTICS_MAX`].
    pub fn as_slice(&self) -> &[Diagnostic] {
        &self.list
    }

    /// How many more there were.
    pub fn omitted(&self) -> usize {
        self.omitted
    }

    /// Those that are kept.
    pub fn into_vec(self) -> Vec<Diagnostic> {
        self.list
    }

    /// Whether the configuration can't be used.
    pub fn has_errors(&self) -> bool {
        self.errors > 0
    }

    /// How many make the configuration unusable, omitted ones included.
    pub(crate) fn errors(&self) -> usize {
        self.errors
    }

    /// Puts them in the order in which they are met in the file; what has no line comes first.
    pub fn sort(&mut self) {
        self.list.sort_by_key(|diagnostic| (diagnostic.place.line, diagnostic.place.column));
    }
}

impl From<Diagnostic> for Diagnostics {
    fn from(diagnostic: Diagnostic) -> Self {
        let mut diagnostics = Self::default();
        diagnostics.push(diagnostic);
        diagnostics
    }
}

/// All of them, an empty line apart, and a count at the end.
impl fmt::Display for Diagnostics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for diagnostic in &self.list {
            write!(f, "{diagnostic}\n\n")?;
        }
        let errors = self.errors;
        let warnings = (self.list.len() + self.omitted).saturating_sub(errors);
        write!(f, "{}, {}", counted(errors, "error"), counted(warnings, "warning"))?;
        if self.omitted > 0 {
            write!(f, "; {} more not shown", self.omitted)?;
        }
        Ok(())
    }
}

impl std::error::Error for Diagnostics {}

fn counted(count: usize, noun: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {noun}{plural}")
}
