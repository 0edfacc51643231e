//! The folder that the runner and all guests of a run see (9p): orders, results, requests, logs.
//! `guest/agent.sh` is the other side.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::cache;
use crate::scenario::Role;

const FOLDERS: [&str; 9] =
    ["orders", "ready", "results", "asks", "signals", "logs", "bin", "lib", "scenarios"];

/// The shared folder of one run.
#[derive(Debug)]
pub struct Share {
    folder: PathBuf,
}

/// What the agent says at the end of a scenario.
#[derive(Debug, Eq, PartialEq)]
pub struct Report {
    /// The scenario's exit status; 0 only when nothing was found wrong.
    pub status: i32,
    /// The guest could not be brought back to what it was.
    pub dirty: bool,
    /// Why it failed, in the scenario's words.
    pub reasons: Vec<String>,
}

/// A request of a guest, see `ask` in `guest/lib.sh`.
#[derive(Debug)]
pub struct Ask {
    file: PathBuf,
    /// The words of the request.
    pub words: Vec<String>,
}

impl Share {
    /// Makes the folder with what every guest needs.
    ///
    /// # Errors
    /// When it can't be written.
    pub fn create(folder: PathBuf) -> Result<Self> {
        for name in FOLDERS {
            let folder = folder.join(name);
            fs::create_dir_all(&folder).with_context(|| format!("{}", folder.display()))?;
        }
        copy_files(&cache::lab_sources().join("guest"), &folder.join("guest"))?;
        Ok(Self { folder })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.folder
    }

    /// Tells a guest what to do next.
    ///
    /// # Errors
    /// When it can't be written.
    pub fn order(&self, role: Role, order: &str) -> Result<()> {
        self.publish(&self.folder.join("orders").join(role.to_string()), order)
    }

    /// The boot that `role`'s agent reported last.
    pub fn ready(&self, role: Role) -> Option<u32> {
        let text = fs::read_to_string(self.folder.join("ready").join(role.to_string())).ok()?;
        text.trim().parse().ok()
    }

    /// The agent's report, once there is one.
    pub fn report(&self, scenario: &str, role: Role) -> Option<Report> {
        let file = self.folder.join("results").join(format!("{scenario}.{role}"));
        fs::read_to_string(file).ok().map(|text| parse_report(&text))
    }

    /// Requests that wait for an answer.
    ///
    /// # Errors
    /// When the folder can't be read.
    pub fn asks(&self) -> Result<Vec<Ask>> {
        let mut asks = Vec::new();
        for entry in fs::read_dir(self.folder.join("asks"))? {
            let file = entry?.path();
            if file.extension().is_some_and(|extension| extension == "ask") {
                let text = fs::read_to_string(&file)?;
                asks.push(Ask {
                    file,
                    words: text.split_whitespace().map(str::to_owned).collect(),
                });
            }
        }
        Ok(asks)
    }

    /// Answers a request: `ok`, or why not.
    ///
    /// # Errors
    /// When it can't be written.
    pub fn answer(&self, ask: &Ask, answer: &str) -> Result<()> {
        fs::remove_file(&ask.file)?;
        self.publish(&ask.file.with_extension("done"), answer)
    }

    /// Puts a file in place at once: a reader sees all of it or nothing.
    fn publish(&self, file: &Path, text: &str) -> Result<()> {
        let part = self.folder.join("part");
        fs::write(&part, format!("{text}\n"))?;
        fs::rename(&part, file).with_context(|| format!("{}", file.display()))
    }

    /// Removes what is large and can be had again.
    ///
    /// # Errors
    /// When it can't be removed.
    pub fn slim(&self) -> io::Result<()> {
        fs::remove_dir_all(self.folder.join("bin"))?;
        fs::remove_dir_all(self.folder.join("lib"))
    }
}

/// A report that can't be understood is a failure: the guest may have died while writing.
fn parse_report(text: &str) -> Report {
    let mut lines = text.lines().map(str::to_owned);
    let first = lines.next().unwrap_or_default();
    let mut reasons: Vec<String> = lines.collect();
    let dirty = reasons.first().is_some_and(|line| line == "dirty");
    if dirty {
        reasons.remove(0);
    }
    let status = first.trim().parse().unwrap_or_else(|_| {
        reasons.insert(0, format!("the agent's report begins with '{first}'"));
        1
    });
    Report { status, dirty, reasons }
}

/// Copies the files of a folder, not its folders.
///
/// # Errors
/// When one can't be read or written.
pub fn copy_files(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to).with_context(|| format!("{}", to.display()))?;
    for entry in fs::read_dir(from).with_context(|| format!("{}", from.display()))? {
        let entry = entry?;
        if entry.file_type()?.is_file() {
            fs::copy(entry.path(), to.join(entry.file_name()))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_says_status_dirt_and_reasons() {
        assert_eq!(parse_report("0\n"), Report { status: 0, dirty: false, reasons: vec![] });
        assert_eq!(
            parse_report("1\ndirty\nno device\n"),
            Report { status: 1, dirty: true, reasons: vec!["no device".to_owned()] }
        );
    }

    #[test]
    fn a_report_cut_short_is_a_failure() {
        assert_ne!(parse_report("").status, 0);
        assert_ne!(parse_report("dirty\n").status, 0);
    }

    #[test]
    fn a_request_is_seen_once_and_its_answer_found() {
        let folder = tempfile::tempdir().unwrap();
        let share = Share::create(folder.path().join("share")).unwrap();
        fs::write(share.path().join("asks/host.1.2.part"), "kill host\n").unwrap();
        assert!(share.asks().unwrap().is_empty(), "a request still being written is not read");
        fs::rename(share.path().join("asks/host.1.2.part"), share.path().join("asks/host.1.2.ask"))
            .unwrap();
        let asks = share.asks().unwrap();
        assert_eq!(asks[0].words, ["kill", "host"]);
        share.answer(&asks[0], "ok").unwrap();
        assert!(share.asks().unwrap().is_empty());
        let answer = fs::read_to_string(share.path().join("asks/host.1.2.done")).unwrap();
        assert_eq!(answer, "ok\n");
    }
}
