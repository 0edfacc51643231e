//! Which scenarios share a boot, and running them.

use std::fmt::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};

use anyhow::{Result, ensure};

use crate::scenario::{Device, Scenario};
use crate::session::{Outcome, Session};
use crate::setup::{Accel, Series, Setup};

/// Scenarios of one group on one device and kernel: they run one after the other in one boot,
/// or in as many as it takes when one of them spoils it.
#[derive(Clone, Debug)]
pub struct Batch {
    /// The boot.
    pub setup: Setup,
    /// What the scenarios call their group.
    pub group: String,
    /// In the order of their names.
    pub scenarios: Vec<Scenario>,
}

/// One scenario on one device and kernel: a test.
#[derive(Clone, Debug)]
pub struct Case {
    /// The scenario.
    pub scenario: Scenario,
    /// The guests' RDMA device.
    pub device: Device,
    /// The guests' kernel.
    pub series: Series,
}

impl Case {
    /// `rxe::NAME`; with the kernel in front when it is not the usual one.
    pub fn name(&self) -> String {
        let name = format!("{}::{}", self.device, self.scenario.name);
        if self.series == Series::default() { name } else { format!("{}::{name}", self.series) }
    }

    /// The command that runs it alone.
    pub fn replay(&self) -> String {
        let mut command =
            format!("cargo run -p lab -- run {} --device {}", self.scenario.name, self.device);
        if self.series != Series::default() {
            command += &format!(" --kernel {}", self.series);
        }
        command
    }
}

/// Every scenario on each device it is for and each kernel.
pub fn cases(scenarios: &[Scenario], kernels: &[Series]) -> Vec<Case> {
    let mut cases = Vec::new();
    for &series in kernels {
        for scenario in scenarios {
            for &device in &scenario.devices {
                cases.push(Case { scenario: scenario.clone(), device, series });
            }
        }
    }
    cases
}

/// Puts cases that share a boot together.
///
/// # Errors
/// When scenarios of one group want different guests, CPUs or disks.
pub fn batches(cases: &[Case], accel: Accel) -> Result<Vec<Batch>> {
    let mut batches: Vec<Batch> = Vec::new();
    for case in cases {
        let setup = Setup::of(&case.scenario, case.device, case.series, accel);
        let same = batches.iter_mut().find(|batch| {
            batch.group == case.scenario.group
                && batch.setup.device == case.device
                && batch.setup.series == case.series
        });
        let Some(batch) = same else {
            let scenarios = vec![case.scenario.clone()];
            batches.push(Batch { setup, group: case.scenario.group.clone(), scenarios });
            continue;
        };
        ensure!(
            batch.setup.roles == setup.roles
                && batch.setup.disks == setup.disks
                && batch.setup.cpus == setup.cpus,
            "{} wants other guests, CPUs or disks than the rest of its group {}",
            case.scenario.name,
            batch.group
        );
        for need in setup.needs {
            if !batch.setup.needs.contains(&need) {
                batch.setup.needs.push(need);
            }
        }
        batch.scenarios.push(case.scenario.clone());
    }
    Ok(batches)
}

/// Runs a batch; `report` is called once for each of its scenarios, in order.
pub fn run(batch: &Batch, keep_disks: bool, mut report: impl FnMut(&Case, Result<Outcome>)) {
    let mut session = None;
    for scenario in &batch.scenarios {
        let case = Case {
            scenario: scenario.clone(),
            device: batch.setup.device,
            series: batch.setup.series,
        };
        let outcome = catch_unwind(AssertUnwindSafe(|| run_case(batch, &case, &mut session)));
        report(&case, outcome.unwrap_or_else(|_| Err(anyhow::anyhow!("the runner panicked"))));
        if session.as_ref().is_some_and(|session: &Session| !session.is_reusable()) {
            end(session.take(), keep_disks);
        }
    }
    end(session, keep_disks);
}

fn run_case(batch: &Batch, case: &Case, session: &mut Option<Session>) -> Result<Outcome> {
    let label = format!("{}-{}-{}", batch.setup.series, batch.setup.device, batch.group);
    let current = match session {
        Some(session) => session,
        None => session.insert(Session::start(batch.setup.clone(), &label)?),
    };
    Ok(current.run(&case.scenario))
}

fn end(session: Option<Session>, keep_disks: bool) {
    let Some(session) = session else { return };
    // The scenarios are judged; a guest that would not power off was killed.
    if let Err(error) = session.end(keep_disks) {
        eprintln!("lab: {error:#}");
    }
}

/// What a failed test prints: why, the consoles' ends, where the rest is, how to run it again.
pub fn explain(case: &Case, outcome: &Result<Outcome>) -> Option<String> {
    let mut text = String::new();
    match outcome {
        Ok(Outcome::Passed { .. }) => return None,
        Err(error) => text += &format!("{error:#}\n"),
        Ok(Outcome::Failed { reasons, consoles, run }) => {
            for reason in reasons {
                text += &format!("{reason}\n");
            }
            for (role, lines) in consoles {
                // Writing to a String can't fail.
                let _ = writeln!(text, "--- the last lines of {role}'s console");
                text += &lines.join("\n");
                text.push('\n');
            }
            let _ = writeln!(text, "--- all of it: {}", run.display());
        }
    }
    text += &format!("--- again: {}", case.replay());
    Some(text)
}
