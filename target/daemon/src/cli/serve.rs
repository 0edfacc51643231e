//! `sluice serve`

use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;

use sluice_config::{Diagnostics, Loaded, Severity};

use super::Exit;
use super::output::{complain, say};

/// Makes libibverbs report a failed destroy as success, on which the drain must be able to rely.
const HIDES_FAILED_DESTROY: &str = "RDMAV_ALLOW_DISASSOC_DESTROY";

/// Runs the daemon to its end.
pub(super) fn serve(path: &Path) -> Exit {
    if std::env::var_os(HIDES_FAILED_DESTROY).is_some() {
        complain(restart_without(HIDES_FAILED_DESTROY));
        return Exit::Failed;
    }
    let loaded = match sluice_config::load(path) {
        Ok(loaded) => loaded,
        Err(diagnostics) => {
            say(diagnostics);
            complain(format_args!("{} is invalid, nothing was started", path.display()));
            return Exit::ConfigInvalid;
        }
    };
    if !preflight(&loaded) {
        complain("what the configuration names is not there, nothing was started");
        return Exit::Failed;
    }
    let _log = match crate::log::init(&loaded.config.log) {
        Ok(guard) => guard,
        Err(error) => {
            complain(format_args!("{error:#}"));
            return Exit::Failed;
        }
    };
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        config = %path.display(),
        control_socket = %loaded.config.control_socket.display(),
        reactors = loaded.config.reactors.placement.count(),
        "sluice starts"
    );
    // What else preflight doubts is told again when it is opened.
    let memory = sluice_config::preflight::memory(&loaded.config);
    for warning in loaded.warnings.iter().chain(&memory) {
        let (at, help) = (warning.place.short(), warning.help.as_deref().unwrap_or_default());
        tracing::warn!(at, help, "{}", warning.message);
    }
    match crate::serve::run(loaded, path) {
        Ok(()) => Exit::Ok,
        Err(error) => {
            tracing::error!("{error:#}");
            Exit::Failed
        }
    }
}

/// The environment can't be changed soundly from within: the same process, and pid, starts again
/// without the variable. Only comes back, with the reason, when that fails.
fn restart_without(variable: &str) -> String {
    let mut arguments = std::env::args_os();
    let mut again = Command::new("/proc/self/exe");
    if let Some(name) = arguments.next() {
        again.arg0(name);
    }
    let error = again.args(arguments).env_remove(variable).exec();
    format!("{variable} must not be set, and starting without it failed: {error}")
}

/// Whether the machine has what the configuration names; says on stderr what it has not.
fn preflight(loaded: &Loaded) -> bool {
    let mut errors = Diagnostics::default();
    for diagnostic in sluice_config::preflight(&loaded.config) {
        if diagnostic.severity == Severity::Error {
            errors.push(diagnostic);
        }
    }
    if errors.has_errors() {
        say(&errors);
    }
    !errors.has_errors()
}
