//! What a guest boots from; made by `image/build`, kept in `.lab`.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

use crate::cache;
use crate::setup::Series;

/// A kernel and its initramfs.
#[derive(Clone, Debug)]
pub struct Image {
    /// The kernel's release, as `uname -r` says it.
    pub release: String,
    /// The compressed kernel.
    pub kernel: PathBuf,
    /// The initramfs, uncompressed.
    pub initramfs: PathBuf,
}

impl Image {
    /// Makes what is missing or out of date; a fraction of a second when nothing is.
    ///
    /// # Errors
    /// When `image/build` fails; it has then said why on stderr.
    pub fn build(series: Series) -> Result<Self> {
        let output = Command::new(cache::lab_sources().join("image/build"))
            .arg(series.to_string())
            .env("LAB_CACHE", cache::cache())
            .stderr(Stdio::inherit())
            .output()
            .context("image/build")?;
        ensure!(output.status.success(), "image/build {series} failed: {}", output.status);
        let said = String::from_utf8(output.stdout).context("image/build's output")?;
        let lines: Vec<&str> = said.lines().collect();
        let [release, kernel, initramfs] = lines.as_slice() else {
            anyhow::bail!("image/build printed {lines:?}");
        };
        Ok(Self {
            release: (*release).to_owned(),
            kernel: PathBuf::from(kernel),
            initramfs: PathBuf::from(initramfs),
        })
    }
}
