//! The checks that are to notice a fault, from the quickest to the longest.

use std::fs::{self, File};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

/// What one check may take, its build included.
const CHECK_TIMEOUT: Duration = Duration::from_secs(600);

/// A check: the tests of one crate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Check {
    /// What the table calls it.
    pub name: &'static str,
    /// The crate.
    pub package: &'static str,
    /// Arguments for `cargo test`.
    pub arguments: &'static [&'static str],
}

/// All of them, in the order they are run.
pub const CHECKS: &[Check] = &[
    Check { name: "unit tests", package: "transport", arguments: &["--lib"] },
    Check {
        name: "transport's tests",
        package: "transport",
        arguments: &["--test", "drain", "--test", "connection", "--test", "reaper"],
    },
    Check { name: "the daemon's unit tests", package: "sluice", arguments: &["--lib"] },
    Check { name: "model", package: "model", arguments: &["--test", "small"] },
    Check { name: "world", package: "world", arguments: &[] },
];

/// What a check said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing is wrong.
    Passed,
    /// The tree does not even build: the compiler's first error.
    Unbuildable(String),
    /// A test failed, by its name.
    Failed(String),
    /// It did not end in time.
    Hung,
}

impl Check {
    /// Builds and runs it on the tree at `root`; its output is kept in `log`.
    ///
    /// # Errors
    /// Cargo can't be started, or the log can't be written.
    pub fn run(&self, root: &Path, target: &Path, log: &Path) -> Result<Verdict> {
        let build = self.cargo(root, target, log, &["--no-run"])?;
        let output = fs::read_to_string(log)?;
        match build {
            None => return Ok(Verdict::Hung),
            Some(false) => return Ok(Verdict::Unbuildable(first(&output, "error", ""))),
            Some(true) => {}
        }
        Ok(match self.cargo(root, target, log, &[])? {
            None => Verdict::Hung,
            Some(true) => Verdict::Passed,
            Some(false) => {
                let output = fs::read_to_string(log)?;
                Verdict::Failed(first(&output, "test ", " ... FAILED"))
            }
        })
    }

    /// Whether it succeeded; nothing when it took too long.
    fn cargo(&self, root: &Path, target: &Path, log: &Path, more: &[&str]) -> Result<Option<bool>> {
        let file = File::create(log).with_context(|| log.display().to_string())?;
        let mut child = Command::new("cargo")
            .args(["test", "--offline", "--package", self.package])
            .args(self.arguments)
            .args(more)
            .current_dir(root)
            .env("CARGO_TARGET_DIR", target)
            .stdin(Stdio::null())
            .stdout(file.try_clone()?)
            .stderr(file)
            .spawn()
            .context("cargo")?;
        wait(&mut child)
    }
}

fn wait(child: &mut Child) -> Result<Option<bool>> {
    let end = Instant::now() + CHECK_TIMEOUT;
    while Instant::now() < end {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status.success()));
        }
        sleep(Duration::from_millis(50));
    }
    child.kill()?;
    child.wait()?;
    Ok(None)
}

/// The first line that begins and ends so, without those parts; the last line when none does.
fn first(output: &str, prefix: &str, suffix: &str) -> String {
    let found = output.lines().find_map(|l| l.strip_prefix(prefix)?.strip_suffix(suffix));
    let line = found.or_else(|| output.lines().next_back()).unwrap_or_default();
    line.trim_matches([' ', ':']).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_failed_test_is_named() {
        let output = "test a ... ok\ntest b ... FAILED\ntest c ... FAILED\n";
        assert_eq!(first(output, "test ", " ... FAILED"), "b");
    }

    #[test]
    fn output_without_a_failed_test_gives_its_last_line() {
        assert_eq!(first("one\nsignal: 6\n", "test ", " ... FAILED"), "signal: 6");
    }
}
