//! TOML text to validated types, with errors that a sysadmin can act on.
#![forbid(unsafe_code)]

pub mod diagnostic;
pub mod duration;
pub mod limits;
pub mod names;
mod near;
pub mod nqn;
mod quantity;
pub mod schema;
pub mod size;

use std::path::Path;

pub use diagnostic::{Diagnostic, Diagnostics, Located, Place, Severity};
pub use schema::Config;

/// A valid configuration and what is doubtful about it.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// The configuration, complete with defaults.
    pub config: Config,
    /// What is allowed but probably not wanted.
    pub warnings: Vec<Diagnostic>,
}

/// Reads the file and the environment (`SLUICE__LOG__LEVEL=debug`) and checks the whole.
///
/// # Errors
/// Everything that is wrong at once, warnings included.
pub fn load(path: &Path) -> Result<Loaded, Diagnostics> {
    let name = path.display().to_string();
    let place = Place {
        path: name.clone(),
        ..Place::default()
    };
    let text = std::fs::read_to_string(path)
        .map_err(|error| Diagnostic::error(place, format!("can't be read: {error}")))?;
    parse(&text, &name)
}

/// Checks the text of one file called `name`; no environment, no I/O.
///
/// # Errors
/// Everything that is wrong at once, warnings included.
pub fn parse(_text: &str, name: &str) -> Result<Loaded, Diagnostics> {
    let place = Place {
        path: name.to_owned(),
        ..Place::default()
    };
    Err(Diagnostic::error(place, "the walker of the file is not in this build").into())
}
