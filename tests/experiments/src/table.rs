//! One line per row: what is expected, what was seen, and whether that is the same.

use std::fmt::{Debug, Display};

/// Prints rows and counts those that do not hold.
#[derive(Default)]
pub(crate) struct Table {
    case: String,
    rows: usize,
    wrong: Vec<String>,
}

impl Table {
    /// Starts the rows of a case.
    pub(crate) fn begin(&mut self, case: &str) {
        case.clone_into(&mut self.case);
    }

    /// A row that holds when `ok`.
    #[allow(clippy::print_stdout, reason = "the table is the program's output")]
    pub(crate) fn row(
        &mut self,
        row: &str,
        expected: impl Display,
        seen: impl Display,
        ok: bool,
    ) -> bool {
        let row = format!("{}: {row}", self.case);
        println!("{row} | {expected} | {seen} | {}", if ok { "ok" } else { "WRONG" });
        self.rows += 1;
        if !ok {
            self.wrong.push(row);
        }
        ok
    }

    /// A row that holds when the two are the same.
    pub(crate) fn same<T: Debug + PartialEq>(&mut self, row: &str, expected: T, seen: T) -> bool {
        let ok = expected == seen;
        self.row(row, format!("{expected:x?}"), format!("{seen:x?}"), ok)
    }

    /// Rows printed, and the names of the wrong ones.
    pub(crate) fn verdict(&self) -> (usize, &[String]) {
        (self.rows, &self.wrong)
    }
}
