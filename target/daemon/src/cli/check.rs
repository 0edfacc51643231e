//! `sluice check`

use std::path::Path;

use serde::Serialize;
use sluice_config::{Config, Diagnostic, Diagnostics, Severity};

use super::output::{self, print, say};
use super::{CheckFormat, Exit};

/// What was found in a file, as JSON.
#[derive(Serialize)]
struct Report<'a> {
    file: String,
    valid: bool,
    errors: usize,
    warnings: usize,
    omitted: usize,
    diagnostics: &'a [Diagnostic],
}

/// Checks the file, and what it names on this machine.
pub(super) fn check(file: &Path, form: CheckFormat) -> Exit {
    let (config, mut diagnostics) = sluice_config::examine(file);
    for diagnostic in config.iter().flat_map(crate::keys::preflight) {
        diagnostics.push(diagnostic);
    }
    diagnostics.sort();
    let valid = !diagnostics.has_errors();
    let printed = match (form, &config) {
        (CheckFormat::Json, _) => print(&json(file, &diagnostics)),
        (CheckFormat::Text, Some(config)) if valid => {
            if !diagnostics.as_slice().is_empty() {
                say(&diagnostics);
            }
            print(&summary(file, config))
        }
        (CheckFormat::Text, _) => {
            say(&diagnostics);
            Exit::Ok
        }
    };
    if valid { printed } else { Exit::ConfigInvalid }
}

fn json(file: &Path, diagnostics: &Diagnostics) -> String {
    let shown = diagnostics.as_slice();
    let errors = shown.iter().filter(|one| one.severity == Severity::Error).count();
    let report = Report {
        file: file.display().to_string(),
        valid: !diagnostics.has_errors(),
        errors,
        warnings: shown.len() - errors,
        omitted: diagnostics.omitted(),
        diagnostics: shown,
    };
    output::json(&report)
}

fn summary(file: &Path, config: &Config) -> String {
    let namespaces = config.subsystems.iter().map(|subsystem| subsystem.namespaces.len()).sum();
    format!(
        "{} is valid: {}, {}, {}\n",
        file.display(),
        counted(config.listeners.len(), "listener"),
        counted(config.subsystems.len(), "subsystem"),
        counted(namespaces, "namespace"),
    )
}

fn counted(count: usize, noun: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {noun}{plural}")
}
