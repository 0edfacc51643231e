//! A scenario: a bash file that runs in a guest, and its header of `# key: value` lines.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use anyhow::{Context, Error, Result, bail, ensure};

use crate::disk::DiskSpec;
use crate::limits::{CPUS_MAX, DISKS_MAX, SCENARIO_TIMEOUT_DEFAULT, SCENARIO_TIMEOUT_MAX};

/// A software RDMA device of Linux.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Device {
    /// Soft-RoCE, `rdma_rxe`.
    Rxe,
    /// Soft-iWARP, `siw`.
    Siw,
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Rxe => "rxe",
            Self::Siw => "siw",
        })
    }
}

impl FromStr for Device {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "rxe" => Ok(Self::Rxe),
            "siw" => Ok(Self::Siw),
            other => bail!("no RDMA device '{other}': rxe or siw"),
        }
    }
}

/// What a guest is for.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Role {
    /// The machine that exports disks; a single guest is this one, and host as well.
    Target,
    /// The machine that uses them.
    Host,
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Target => "target",
            Self::Host => "host",
        })
    }
}

impl FromStr for Role {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "target" => Ok(Self::Target),
            "host" => Ok(Self::Host),
            other => bail!("no guest '{other}': target or host"),
        }
    }
}

/// When a scenario runs.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Suite {
    /// With every `make test`.
    Smoke,
    /// With `make test-all` only, as libtest's ignored tests.
    All,
}

impl fmt::Display for Suite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Smoke => "smoke",
            Self::All => "all",
        })
    }
}

/// One scenario file.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// The file's name without `.sh`.
    pub name: String,
    /// The file.
    pub path: PathBuf,
    /// One line for people; header `title`, required.
    pub title: String,
    /// The guests it runs in; header `guests`, 1 or 2.
    pub roles: Vec<Role>,
    /// Header `devices`; both when absent.
    pub devices: Vec<Device>,
    /// Scenarios of one group share a boot; header `group`, its own name when absent.
    pub group: String,
    /// Header `timeout`, of the scenario without boot and clean-up.
    pub timeout: Duration,
    /// Scratch disks of the target; header `disks`.
    pub disks: Vec<DiskSpec>,
    /// Header `suite`.
    pub suite: Suite,
    /// Virtual CPUs of each guest; header `cpus`. A host makes no more I/O queues than it has CPUs.
    pub cpus: Option<u32>,
    /// Programs of the workspace it runs; header `needs`, `sluice` when absent.
    pub needs: Vec<String>,
}

impl Scenario {
    /// Reads a scenario file's header.
    ///
    /// # Errors
    /// With file and key when the header is not what it should be: an unknown key is one, so
    /// that a misspelt one can't silently do nothing.
    pub fn load(path: &Path) -> Result<Self> {
        let text = fs::read_to_string(path).with_context(|| format!("{}", path.display()))?;
        let name = path.file_stem().and_then(|stem| stem.to_str()).context("a name in UTF-8")?;
        Self::parse(name, path, &text).with_context(|| format!("{}", path.display()))
    }

    /// What [`Self::line`] has, in its columns.
    pub const HEADINGS: &'static str =
        "NAME                             DEVICES  SUITE  GUESTS  TITLE";

    /// One line for people.
    pub fn line(&self) -> String {
        let devices: Vec<String> = self.devices.iter().map(Device::to_string).collect();
        let (name, suite, guests) = (&self.name, self.suite, self.roles.len());
        format!("{name:32} {:8} {suite:6} {guests:<7} {}", devices.join(","), self.title)
    }

    fn parse(name: &str, path: &Path, text: &str) -> Result<Self> {
        let mut scenario = Self {
            name: name.to_owned(),
            path: path.to_owned(),
            title: String::new(),
            roles: vec![Role::Target],
            devices: vec![Device::Rxe, Device::Siw],
            group: name.to_owned(),
            timeout: SCENARIO_TIMEOUT_DEFAULT,
            disks: Vec::new(),
            suite: Suite::Smoke,
            cpus: None,
            needs: vec!["sluice".to_owned()],
        };
        // The header ends at the first line that is not a comment.
        for line in text.lines().take_while(|line| line.starts_with('#')) {
            let line = line.trim_start_matches('#').trim();
            let Some((key, value)) = line.split_once(": ") else { continue };
            // Prose may have a colon; keys are single words.
            if key.contains(' ') {
                continue;
            }
            scenario.set(key, value.trim()).with_context(|| format!("header '{key}'"))?;
        }
        ensure!(!scenario.title.is_empty(), "the header has no 'title'");
        Ok(scenario)
    }

    fn set(&mut self, key: &str, value: &str) -> Result<()> {
        match key {
            "title" => value.clone_into(&mut self.title),
            "guests" => {
                self.roles = match value {
                    "1" => vec![Role::Target],
                    "2" => vec![Role::Target, Role::Host],
                    other => bail!("'{other}': 1 or 2"),
                }
            }
            "devices" => {
                self.devices = value.split_whitespace().map(str::parse).collect::<Result<_>>()?;
            }
            "group" => value.clone_into(&mut self.group),
            "timeout" => self.timeout = seconds(value)?,
            "disks" => {
                self.disks = DiskSpec::parse_list(value)?;
                ensure!(self.disks.len() <= DISKS_MAX, "at most {DISKS_MAX} disks");
            }
            "suite" => {
                self.suite = match value {
                    "smoke" => Suite::Smoke,
                    "all" => Suite::All,
                    other => bail!("'{other}': smoke or all"),
                }
            }
            "cpus" => {
                let cpus = value.parse().context("a number")?;
                ensure!((1..=CPUS_MAX).contains(&cpus), "1 to {CPUS_MAX}");
                self.cpus = Some(cpus);
            }
            "needs" => {
                self.needs = value
                    .split_whitespace()
                    .filter(|need| *need != "nothing")
                    .map(str::to_owned)
                    .collect();
            }
            other => bail!(
                "unknown key '{other}': title, guests, devices, group, timeout, disks, suite, \
                 cpus, needs"
            ),
        }
        Ok(())
    }
}

/// "60 s", at most [`SCENARIO_TIMEOUT_MAX`].
fn seconds(value: &str) -> Result<Duration> {
    let number = value.strip_suffix(" s").context("a time looks like '60 s'")?;
    let timeout = Duration::from_secs(number.parse().context("a time looks like '60 s'")?);
    ensure!(timeout <= SCENARIO_TIMEOUT_MAX, "at most {} s", SCENARIO_TIMEOUT_MAX.as_secs());
    Ok(timeout)
}

/// All scenarios of a folder by name.
///
/// # Errors
/// When the folder can't be read or any scenario's header is wrong.
pub fn load_all(folder: &Path) -> Result<Vec<Scenario>> {
    let mut paths = Vec::new();
    for entry in fs::read_dir(folder).with_context(|| format!("{}", folder.display()))? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "sh") {
            paths.push(path);
        }
    }
    paths.sort();
    paths.iter().map(|path| Scenario::load(path)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Scenario> {
        Scenario::parse("ext4_round_trip", Path::new("ext4_round_trip.sh"), text)
    }

    #[test]
    fn every_key_of_the_header_is_understood() {
        let scenario = parse(
            "# title: a: b\n# guests: 2\n# devices: siw\n# group: g\n# timeout: 90 s\n\
             # disks: 2x256MiB 1x64MiB:volatile\n# suite: all\n# cpus: 4\n\
             # needs: sluice probe\n\necho\n",
        )
        .unwrap();
        assert_eq!(scenario.title, "a: b");
        assert_eq!(scenario.roles, [Role::Target, Role::Host]);
        assert_eq!(scenario.devices, [Device::Siw]);
        assert_eq!(scenario.group, "g");
        assert_eq!(scenario.timeout, Duration::from_secs(90));
        assert_eq!(scenario.disks.len(), 3);
        assert!(scenario.disks[2].volatile && !scenario.disks[1].volatile);
        assert_eq!(scenario.suite, Suite::All);
        assert_eq!(scenario.cpus, Some(4));
        assert_eq!(scenario.needs, ["sluice", "probe"]);
    }

    #[test]
    fn the_list_says_when_and_in_how_many_guests_under_its_headings() {
        let line =
            parse("# title: t u\n# guests: 2\n# suite: all\n# devices: siw\n").unwrap().line();
        let shown: Vec<_> = line.split_whitespace().collect();
        assert_eq!(shown, ["ext4_round_trip", "siw", "all", "2", "t", "u"]);
        for (heading, value) in
            [("DEVICES", "siw"), ("SUITE", "all"), ("GUESTS", "2"), ("TITLE", "t")]
        {
            assert_eq!(
                Scenario::HEADINGS.find(heading),
                line.rfind(&format!(" {value} ")).map(|at| at + 1)
            );
        }
    }

    #[test]
    fn a_bare_title_is_one_guest_on_both_devices_with_the_daemon() {
        let scenario = parse("# title: t\n# Prose with: a colon.\n").unwrap();
        assert_eq!(scenario.roles, [Role::Target]);
        assert_eq!(scenario.devices, [Device::Rxe, Device::Siw]);
        assert_eq!(scenario.group, "ext4_round_trip");
        assert_eq!(scenario.needs, ["sluice"]);
    }

    #[test]
    fn wrong_headers_are_refused() {
        for header in [
            "",
            "# title: t\n# timeuot: 60 s\n",
            "# title: t\n# timeout: 60\n",
            "# title: t\n# timeout: 99999 s\n",
            "# title: t\n# guests: 3\n",
            "# title: t\n# devices: rxe mlx5\n",
            "# title: t\n# disks: 99x1MiB\n",
            "# title: t\n# disks: 1x1GB\n",
            "# title: t\n# suite: some\n",
            "# title: t\n# cpus: 0\n",
        ] {
            assert!(parse(header).is_err(), "accepted {header:?}");
        }
    }

    #[test]
    fn a_key_below_the_header_is_not_read() {
        let scenario = parse("# title: t\n\n# guests: 2\n").unwrap();
        assert_eq!(scenario.roles, [Role::Target]);
    }
}
