//! What a boot needs to know: the kernel, the RDMA device, the guests and their disks.

use std::env;
use std::fmt;
use std::str::FromStr;

use anyhow::{Error, Result, bail};

use crate::disk::DiskSpec;
use crate::scenario::{Device, Role, Scenario};

/// A series of Debian's kernels; which release of it is found on the machine.
#[derive(Clone, Copy, Debug, Default, Eq, Ord, PartialEq, PartialOrd)]
pub enum Series {
    /// The newer of Debian 12's two.
    #[default]
    V6_12,
    /// Debian 12's own.
    V6_1,
}

impl fmt::Display for Series {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::V6_12 => "6.12",
            Self::V6_1 => "6.1",
        })
    }
}

impl FromStr for Series {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "6.12" => Ok(Self::V6_12),
            "6.1" => Ok(Self::V6_1),
            other => bail!("no kernel '{other}': 6.12 or 6.1"),
        }
    }
}

/// How the guest's CPU runs.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Accel {
    /// Emulated, two threads: works everywhere.
    #[default]
    Tcg,
    /// The host's CPU; `/dev/kvm` may open and still not run a kernel, so only on request.
    Kvm,
    /// Emulated, one CPU, one instruction is one nanosecond of guest time: for counting.
    Icount,
}

impl Accel {
    /// `LAB_ACCEL=tcg|kvm|icount` of the environment, TCG when absent.
    ///
    /// # Errors
    /// On any other value.
    pub fn from_env() -> Result<Self> {
        match env::var("LAB_ACCEL").as_deref() {
            Err(_) | Ok("" | "tcg") => Ok(Self::Tcg),
            Ok("kvm") => Ok(Self::Kvm),
            Ok("icount") => Ok(Self::Icount),
            Ok(other) => bail!("LAB_ACCEL={other}: tcg, kvm or icount"),
        }
    }
}

/// One boot.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Setup {
    /// The guests' kernel.
    pub series: Series,
    /// The guests' RDMA device.
    pub device: Device,
    /// One guest or two.
    pub roles: Vec<Role>,
    /// Scratch disks of the target.
    pub disks: Vec<DiskSpec>,
    /// Virtual CPUs of each guest.
    pub cpus: u32,
    /// Programs of the workspace to bring in.
    pub needs: Vec<String>,
    /// How the CPU runs.
    pub accel: Accel,
}

impl Setup {
    /// What `scenario` needs on `device` and `series`.
    pub fn of(scenario: &Scenario, device: Device, series: Series, accel: Accel) -> Self {
        let cpus = match (accel, scenario.cpus) {
            (Accel::Icount, _) => 1,
            (_, Some(cpus)) => cpus,
            // Two guests share what is usually two CPUs.
            (_, None) if scenario.roles.len() > 1 => 1,
            (_, None) => 2,
        };
        Self {
            series,
            device,
            roles: scenario.roles.clone(),
            disks: scenario.disks.clone(),
            cpus,
            needs: scenario.needs.clone(),
            accel,
        }
    }

    /// Memory of each guest in MiB.
    pub fn memory_mib(&self) -> u32 {
        if self.roles.len() > 1 { 1024 } else { 2048 }
    }
}
