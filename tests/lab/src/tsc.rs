//! The host's time-stamp counter, which an emulated guest's follows.

use std::fs;
use std::process::Command;
use std::sync::{Mutex, PoisonError};

use anyhow::{Context, Result};

use crate::cache;

/// Measured once and kept: `image/tsckhz.c` takes 0.3 s, and the compiler.
///
/// # Errors
/// When it can't be compiled or run.
pub(crate) fn khz() -> Result<u64> {
    // Two sessions may begin at once.
    static MEASURING: Mutex<()> = Mutex::new(());
    let _measuring = MEASURING.lock().unwrap_or_else(PoisonError::into_inner);
    let kept = cache::cache().join("tsckhz");
    // The boot id: the cache may have come along from another machine.
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").context("boot_id")?;
    if let Ok(text) = fs::read_to_string(&kept)
        && let Some((khz, of_boot)) = text.split_once(' ')
        && of_boot == boot
    {
        return khz.parse().context("the kept frequency");
    }
    let program = cache::cache().join("tsckhz.bin");
    let source = cache::lab_sources().join("image/tsckhz.c");
    let compiled = Command::new("gcc").args(["-O1", "-o"]).arg(&program).arg(&source).status();
    anyhow::ensure!(compiled.context("gcc")?.success(), "gcc of {}", source.display());
    let output = Command::new(&program).output().context("tsckhz")?;
    let khz: u64 = String::from_utf8_lossy(&output.stdout).trim().parse().context("tsckhz")?;
    fs::write(&kept, format!("{khz} {boot}")).context("keeping the frequency")?;
    Ok(khz)
}
