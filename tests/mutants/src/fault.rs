//! The faults, as `faults.toml` lists them.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

/// One deliberate fault: a piece of a shipped file, replaced by another.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fault {
    /// What is wrong with it, in `snake_case`.
    pub name: String,
    /// What would go wrong in the field.
    pub why: String,
    /// The shipped file, from the checkout's root.
    pub file: String,
    /// Occurs there exactly once.
    pub find: String,
    /// What stands there instead.
    pub replace: String,
    /// The wrong order is unwritable: the compiler itself is to refuse it, with this code.
    #[serde(default)]
    pub unwritable: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct List {
    fault: Vec<Fault>,
}

impl Fault {
    /// All faults of `tests/mutants/faults.toml` below `checkout`.
    ///
    /// # Errors
    /// The list can't be read, or two faults share a name.
    pub fn all(checkout: &Path) -> Result<Vec<Self>> {
        let path = checkout.join("tests/mutants/faults.toml");
        let text = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        let List { fault: faults } = toml::from_str(&text).context("faults.toml")?;
        for (index, fault) in faults.iter().enumerate() {
            let twice = faults[..index].iter().any(|other| other.name == fault.name);
            ensure!(!twice, "two faults are called {}", fault.name);
        }
        Ok(faults)
    }

    /// The file with the fault in it.
    ///
    /// # Errors
    /// The piece does not occur exactly once: the file has changed, and the fault has to follow.
    pub fn apply(&self, text: &str) -> Result<String> {
        let count = text.matches(&self.find).count();
        ensure!(
            count == 1,
            "{}: `find` occurs {count} times in {}: adapt it to the file as it is now",
            self.name,
            self.file
        );
        ensure!(self.find != self.replace, "{}: replaces nothing", self.name);
        Ok(text.replacen(&self.find, &self.replace, 1))
    }
}
