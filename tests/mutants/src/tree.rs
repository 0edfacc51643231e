//! A copy of the checkout to put faults into.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::fault::Fault;

/// A copy of every file that git knows, as it is in the checkout now.
pub struct Tree {
    /// The copy's root.
    pub root: PathBuf,
}

impl Tree {
    /// Copies `checkout` to `root`. What is there already and unchanged stays, so that cargo builds
    /// again only what it must.
    ///
    /// # Errors
    /// A file can't be read or written, or git does not know the folder.
    pub fn copy(checkout: &Path, root: &Path) -> Result<Self> {
        let listed = Command::new("git").arg("ls-files").current_dir(checkout).output()?;
        ensure!(listed.status.success(), "git ls-files failed: is this a git checkout?");
        for file in String::from_utf8(listed.stdout)?.lines() {
            if checkout.join(file).is_file() {
                copy(&checkout.join(file), &root.join(file))?;
            }
        }
        Ok(Self { root: root.to_owned() })
    }

    /// Runs `checks` with the fault in place, and takes it out again. The checkout is not looked at
    /// any more: whoever works in it meanwhile disturbs nothing.
    ///
    /// # Errors
    /// The fault does not fit its file, a file can't be written, or `checks` failed.
    pub fn with<T>(&self, fault: &Fault, checks: impl FnOnce() -> Result<T>) -> Result<T> {
        let path = self.root.join(&fault.file);
        let text = fs::read_to_string(&path).with_context(|| fault.file.clone())?;
        fs::write(&path, fault.apply(&text)?)?;
        let outcome = checks();
        fs::write(&path, text)?;
        outcome
    }
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    let text = fs::read(from).with_context(|| from.display().to_string())?;
    if fs::read(to).is_ok_and(|there| there == text) {
        return Ok(());
    }
    let folder = to.parent().context("every file is in a folder")?;
    fs::create_dir_all(folder)?;
    fs::write(to, text).with_context(|| to.display().to_string())
}
