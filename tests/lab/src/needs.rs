//! Programs of the workspace that go into the guest, with the libraries that the image lacks.

use std::collections::{BTreeMap, BTreeSet};
use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};

use anyhow::{Context, Result, ensure};

use crate::cache;

/// Builds a program of the workspace, or takes the one that the environment names: `SLUICE=path`
/// for `sluice`.
///
/// # Errors
/// When it does not build or is not where it should be.
pub fn program(name: &str) -> Result<PathBuf> {
    // Built once in the life of this process: cargo takes seconds to find nothing to do, and a
    // source edited during the run should not change what the later tests test.
    static BUILT: Mutex<BTreeMap<String, PathBuf>> = Mutex::new(BTreeMap::new());
    let mut built = BUILT.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(path) = built.get(name) {
        return Ok(path.clone());
    }
    let path = build(name)?;
    built.insert(name.to_owned(), path.clone());
    Ok(path)
}

fn build(name: &str) -> Result<PathBuf> {
    if let Some(path) = env::var_os(name.to_uppercase().replace('-', "_")) {
        let path = PathBuf::from(path);
        ensure!(path.is_file(), "{} is no file", path.display());
        return Ok(path);
    }
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .current_dir(cache::checkout())
        .args(["build", "--quiet", "--message-format=json-render-diagnostics", "--bin", name])
        .stderr(Stdio::inherit())
        .output()
        .context("cargo build")?;
    ensure!(output.status.success(), "{name} does not build");
    executable(&String::from_utf8_lossy(&output.stdout), name)
        .with_context(|| format!("cargo built no program {name}"))
}

/// The path in cargo's message of the built program.
fn executable(messages: &str, name: &str) -> Option<PathBuf> {
    messages
        .lines()
        .filter_map(|line| line.split_once("\"executable\":\"").map(|(_, rest)| rest))
        .filter_map(|rest| rest.split('"').next())
        .map(PathBuf::from)
        .find(|path| path.file_name().is_some_and(|file| file == name))
}

/// Puts `programs` into `bin` and the shared libraries they name into `lib`.
///
/// # Errors
/// When `ldd` finds a library missing here, or a file can't be copied.
pub fn install(programs: &[PathBuf], bin: &Path, lib: &Path) -> Result<()> {
    let mut libraries = BTreeSet::new();
    for program in programs {
        let file = program.file_name().context("a program has a name")?;
        fs::copy(program, bin.join(file)).with_context(|| format!("{}", program.display()))?;
        let output = Command::new("ldd").arg(program).output().context("ldd")?;
        let said = String::from_utf8_lossy(&output.stdout);
        ensure!(!said.contains("not found"), "{} lacks libraries:\n{said}", program.display());
        libraries.extend(
            said.split_whitespace().filter(|word| word.starts_with('/')).map(PathBuf::from),
        );
    }
    for library in libraries {
        let file = library.file_name().context("a library has a name")?;
        fs::copy(&library, lib.join(file)).with_context(|| format!("{}", library.display()))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_program_is_found_among_cargos_messages() {
        let messages = "{\"reason\":\"compiler-artifact\",\"executable\":null}\n\
            {\"reason\":\"compiler-artifact\",\"executable\":\"/b/debug/other\",\"fresh\":true}\n\
            {\"reason\":\"compiler-artifact\",\"executable\":\"/b/debug/sluice\",\"fresh\":true}\n";
        assert_eq!(executable(messages, "sluice"), Some(PathBuf::from("/b/debug/sluice")));
        assert_eq!(executable(messages, "absent"), None);
    }
}
