//! The configuration of a Sluice daemon: TOML text to validated types, with errors that a sysadmin
//! can act on.
//!
//! [`load`] reads a file and the environment, [`parse`] takes text alone. Both report everything
//! that is wrong at once, each with file, line, column, key, what was expected, what was found and
//! how to mend it. A [`Config`] that comes out of them is complete: defaults are filled in, every
//! value is within [`limits`], every reference leads somewhere. What only the machine can tell,
//! such as whether a backing file exists, is looked at by [`preflight()`].
//!
//! Layers, later ones win: the defaults, the file, and variables such as
//! `SLUICE__LOG__LEVEL=debug` for `log.level`. Listeners, hosts and subsystems are only set in the
//! file.
//!
//! ```
//! let text = r#"
//! [[listener]]
//! name = "loopback"
//! address = "127.0.0.1"
//!
//! [[subsystem]]
//! nqn = "nqn.2026-01.org.example:scratch"
//! allow_any_host = true
//!
//! [[subsystem.namespace]]
//! nsid = 1
//! ram = "64 MiB"
//! "#;
//! let errors = sluice_config::parse(&text.replace("nsid", "nsdi"), "sluice.toml").unwrap_err();
//! assert!(errors.to_string().contains("did you mean \"nsid\"?"));
//! let loaded = sluice_config::parse(text, "sluice.toml").unwrap();
//! assert_eq!(loaded.config.subsystems[0].namespaces.len(), 1);
//! ```
#![forbid(unsafe_code)]

pub mod diagnostic;
pub mod duration;
mod emit;
mod environment;
mod file;
mod host;
mod keys;
pub mod limits;
mod listener;
pub mod names;
mod namespace;
mod near;
mod nesting;
pub mod nqn;
pub mod preflight;
mod quantity;
pub mod schema;
mod sections;
pub mod size;
mod source;
mod subsystem;
mod tree;
mod unique;
mod walk;

use std::ffi::OsString;
use std::path::Path;

pub use diagnostic::{Diagnostic, Diagnostics, Located, Place, Severity};
pub use preflight::preflight;
pub use schema::Config;

/// A valid configuration and what is doubtful about it.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// The configuration, complete with defaults.
    pub config: Config,
    /// What is allowed but probably not wanted.
    pub warnings: Vec<Diagnostic>,
}

/// Reads the file and the environment and checks the whole.
///
/// # Errors
/// Everything that is wrong at once, warnings included.
pub fn load(path: &Path) -> Result<Loaded, Diagnostics> {
    load_layers(path, std::env::vars_os())
}

/// The same as [`load`] with the environment passed in.
///
/// # Errors
/// Everything that is wrong at once, warnings included.
pub fn load_layers(
    path: &Path,
    variables: impl IntoIterator<Item = (OsString, OsString)>,
) -> Result<Loaded, Diagnostics> {
    let name = path.display().to_string();
    let text = file::read(path, &name)?;
    parse_layers(&text, &name, variables)
}

/// Says everything that can be said against a file and what it names on this machine, at once: what
/// is missing here is looked for even when the text has errors. The configuration is there when
/// the text has none.
pub fn examine(path: &Path) -> (Option<Config>, Diagnostics) {
    let name = path.display().to_string();
    let read = file::read(path, &name);
    let gathered = read.and_then(|text| gather(&text, &name, std::env::vars_os()));
    let Gathered { config, disks, mut found } = match gathered {
        Ok(gathered) => gathered,
        Err(found) => return (None, found),
    };
    let valid = !found.has_errors();
    for diagnostic in preflight::look(&config.control_socket, &disks) {
        found.push(diagnostic);
    }
    found.sort();
    (valid.then_some(config), found)
}

/// Checks the text of one file called `name`; no environment, no I/O.
///
/// # Errors
/// Everything that is wrong at once, warnings included.
pub fn parse(text: &str, name: &str) -> Result<Loaded, Diagnostics> {
    parse_layers(text, name, std::iter::empty())
}

/// The same as [`parse`] with variables of an environment over the text; no I/O.
///
/// # Errors
/// Everything that is wrong at once, warnings included.
pub fn parse_layers(
    text: &str,
    name: &str,
    variables: impl IntoIterator<Item = (OsString, OsString)>,
) -> Result<Loaded, Diagnostics> {
    let Gathered { config, mut found, .. } = gather(text, name, variables)?;
    found.sort();
    if found.has_errors() {
        return Err(found);
    }
    Ok(Loaded { config, warnings: found.into_vec() })
}

/// What could be read of a text, and what is wrong with it.
struct Gathered {
    config: Config,
    disks: Vec<preflight::Disk>,
    found: Diagnostics,
}

/// Reads as much of a text as can be read.
///
/// # Errors
/// It is no TOML at all.
fn gather(
    text: &str,
    name: &str,
    variables: impl IntoIterator<Item = (OsString, OsString)>,
) -> Result<Gathered, Diagnostics> {
    let source = source::Source::new(name, text);
    check_shape(&source, text)?;
    let mut entries = tree::parse(&source, text)?;
    let found = Diagnostics::default();
    let mut walk = walk::Walk { source: &source, found, disks: Vec::new() };
    environment::overlay(&mut entries, variables, &mut walk.found);
    let config = read(&mut walk, walk::Section::root(entries));
    let walk::Walk { disks, found, .. } = walk;
    Ok(Gathered { config, disks, found })
}

/// What is refused before any parsing.
fn check_shape(source: &source::Source<'_>, text: &str) -> Result<(), Diagnostics> {
    let place = source.whole();
    if u64::try_from(text.len()).map_or(true, |len| len > limits::FILE_BYTES_MAX) {
        let message = format!("is larger than {} bytes", limits::FILE_BYTES_MAX);
        return Err(Diagnostic::error(place, message).into());
    }
    if text.trim().is_empty() {
        let help = "the smallest one has a [[listener]] and a [[subsystem]]";
        return Err(Diagnostic::error(place, "the file is empty").help(help).into());
    }
    if let Some(line) = source.overlong_line() {
        let place = Place { line: Some(line), column: Some(1), ..place };
        let message = format!("the line is longer than {} bytes", limits::LINE_BYTES_MAX);
        return Err(Diagnostic::error(place, message)
            .help("write long lists on several lines")
            .into());
    }
    if let Some((span, what)) = nesting::too_deep(text) {
        let place = source.place(&source::Origin::File(span), "");
        return Err(Diagnostic::error(place, what).into());
    }
    Ok(())
}

/// Reads the whole tree. What could not be read has its default; the caller looks for errors.
fn read(walk: &mut walk::Walk<'_>, mut root: walk::Section) -> Config {
    let (state_dir, control_socket) = sections::paths(walk, &mut root);
    let log = sections::log(walk, &mut root);
    let reactors = sections::reactors(walk, &mut root);
    let (rdma, mode) = sections::rdma(walk, &mut root);
    let limits = sections::limits(walk, &mut root);
    let listeners = listener::listeners(walk, &mut root);
    if let (schema::RdmaMode::Off, Some(mode)) = (rdma.mode, &mode) {
        listener::switched_off(walk, &listeners.list, mode);
    }
    let subsystems = subsystem::subsystems(walk, &mut root, &listeners);
    let hosts = host::hosts(walk, &mut root);
    host::doubts(walk, &hosts, &subsystems);
    walk.finish(root, &keys::ROOT);
    let listeners = listeners.list;
    Config { state_dir, control_socket, log, reactors, rdma, limits, listeners, hosts, subsystems }
}
