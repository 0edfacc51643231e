//! The table of cases: one line each, and a count of those that went wrong.

use std::io::Write as _;

use anyhow::Result;

/// Where results go.
#[derive(Default)]
pub(crate) struct Table {
    cases: u32,
    wrong: u32,
}

impl Table {
    /// One case: `case | expected | got | ok`.
    pub(crate) fn case(&mut self, name: &str, expected: &str, got: Result<String>) {
        let got = got.unwrap_or_else(|error| format!("error: {error:#}"));
        let right = got == expected;
        self.cases += 1;
        self.wrong += u32::from(!right);
        let verdict = if right { "ok" } else { "WRONG" };
        say(&format!("{name} | {expected} | {got} | {verdict}"));
    }

    /// The last line; whether all were right.
    pub(crate) fn finish(&self) -> bool {
        say(&format!("{} cases, {} wrong", self.cases, self.wrong));
        self.wrong == 0 && self.cases > 0
    }
}

/// A line at once: a case that hangs should be seen to be the next one.
pub(crate) fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    // Nobody is left to be told when this fails.
    let _ = writeln!(out, "{line}").and_then(|()| out.flush());
}
