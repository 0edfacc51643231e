//! A copy of the checkout to put faults into.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::fault::Fault;

/// A copy of every file that git knows, as it is in the checkout now.
pub struct Tree {
    checkout: PathBuf,
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
        let tree = Self { checkout: checkout.to_owned(), root: root.to_owned() };
        for file in String::from_utf8(listed.stdout)?.lines() {
            if checkout.join(file).is_file() {
                tree.restore(file)?;
            }
        }
        Ok(tree)
    }

    fn restore(&self, file: &str) -> Result<()> {
        let text = fs::read(self.checkout.join(file)).with_context(|| file.to_owned())?;
        let copy = self.root.join(file);
        if fs::read(&copy).is_ok_and(|there| there == text) {
            return Ok(());
        }
        let folder = copy.parent().context("every file is in a folder")?;
        fs::create_dir_all(folder)?;
        fs::write(&copy, text).with_context(|| copy.display().to_string())
    }

    /// Runs `checks` with the fault in place, and takes it out again.
    ///
    /// # Errors
    /// The fault does not fit its file, a file can't be written, or `checks` failed.
    pub fn with<T>(&self, fault: &Fault, checks: impl FnOnce() -> Result<T>) -> Result<T> {
        let path = self.root.join(&fault.file);
        let text = fs::read_to_string(&path).with_context(|| fault.file.clone())?;
        fs::write(&path, fault.apply(&text)?)?;
        let outcome = checks();
        self.restore(&fault.file)?;
        outcome
    }
}
