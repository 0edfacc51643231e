//! Where the lab's things are: its sources in the checkout, everything made in `.lab`.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};

use crate::limits::RUNS_KEPT;

/// The checkout this crate was built from.
pub fn checkout() -> PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    folder.canonicalize().unwrap_or(folder)
}

/// The sources of the lab.
pub fn lab_sources() -> PathBuf {
    checkout().join("tests/lab")
}

/// What is made and kept between runs; ignored by git.
pub fn cache() -> PathBuf {
    checkout().join(".lab")
}

/// A new folder for one run, named by time and `label`; old runs make room.
///
/// # Errors
/// When `.lab/runs` can't be written.
pub fn new_run(label: &str) -> Result<PathBuf> {
    let runs = cache().join("runs");
    fs::create_dir_all(&runs).with_context(|| format!("creating {}", runs.display()))?;
    forget_old_runs(&runs)?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).context("a clock before 1970")?;
    let folder = runs.join(format!("{}-{:03}-{label}", now.as_secs(), now.subsec_millis()));
    fs::create_dir(&folder).with_context(|| format!("creating {}", folder.display()))?;
    Ok(folder)
}

fn forget_old_runs(runs: &Path) -> Result<()> {
    // Names begin with the time in seconds, so their order is their age.
    let mut folders: Vec<PathBuf> =
        fs::read_dir(runs)?.filter_map(|entry| entry.ok().map(|entry| entry.path())).collect();
    folders.sort();
    let surplus = folders.len().saturating_sub(RUNS_KEPT);
    for folder in folders.into_iter().take(surplus) {
        // Another runner may be forgetting the same ones.
        if let Err(error) = fs::remove_dir_all(&folder) {
            eprintln!("lab: {} stays: {error}", folder.display());
        }
    }
    Ok(())
}
