//! The table: each fault and what caught it.

use std::fmt::Write as _;

use crate::fault::Fault;

/// What became of a fault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// Its name.
    pub name: String,
    /// Its file.
    pub file: String,
    /// What would go wrong.
    pub why: String,
    /// The check that noticed it, and by what; nothing when it survived.
    pub caught: Option<(String, String)>,
}

impl Row {
    /// The row of a fault.
    #[must_use]
    pub fn new(fault: &Fault, caught: Option<(String, String)>) -> Self {
        let Fault { name, file, why, .. } = fault.clone();
        Self { name, file, why, caught }
    }
}

/// The table in Markdown.
#[must_use]
pub fn table(rows: &[Row]) -> String {
    let survived = rows.iter().filter(|row| row.caught.is_none()).count();
    let mut text = format!(
        "# Deliberate faults, and what catches each\n\nMade by `make mutants`: {} faults, \
         {survived} survived. Each was put alone into the shipped\nfile; the checks ran from the \
         quickest to the longest, and the first that failed is named.\n\n\
         | fault | in | what it would do | caught by |\n|---|---|---|---|\n",
        rows.len(),
    );
    for Row { name, file, why, caught } in rows {
        let caught = match caught {
            Some((check, by)) => format!("{check}: `{}`", by.replace('|', "\\|")),
            None => "**nothing**".to_owned(),
        };
        // A write to a string succeeds.
        let _ = writeln!(text, "| {name} | {file} | {} | {caught} |", why.trim());
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_survivor_stands_out() {
        let row = |caught| Row {
            name: "a".to_owned(),
            file: "b".to_owned(),
            why: "c".to_owned(),
            caught,
        };
        let text = table(&[row(None), row(Some(("model".to_owned(), "S1".to_owned())))]);
        assert!(text.contains("2 faults, 1 survived"));
        assert!(text.contains("| a | b | c | **nothing** |"));
        assert!(text.contains("| a | b | c | model: `S1` |"));
    }
}
