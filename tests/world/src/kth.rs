//! Every verb and CM call between a connection's request and the end of its close, made to fail in
//! a run of its own.
//!
//! One host is served all the time and does nothing; a second one connects, writes and reads, and
//! goes. A clean run counts the calls in between. With the k-th of them failing, nothing may leak
//! that no report names, nothing may hang, and the first host must not notice, unless what failed
//! was the completion queue that both use.

use std::time::Duration;

use sim::{Behaviour, Plan as FabricPlan};

use crate::disk::DiskFaults;
use crate::plan::{HostPlan, OVER_AFTER_SILENCE, Plan};
use crate::world::{Report, World};

/// Virtual time for each part of a run.
const PATIENCE: Duration = Duration::from_secs(120);
/// When the second host comes.
const SECOND_COMES: Duration = Duration::from_secs(2);

fn host(number: u64, quota: u64) -> HostPlan {
    HostPlan {
        portals: vec![0],
        first: if number == 0 { Duration::ZERO } else { SECOND_COMES },
        io_queues: 1,
        admin_entries: 4,
        io_entries: 4,
        // Nothing of the first host happens in between.
        kato_ms: 600_000,
        backoff: Duration::from_millis(500),
        first_block: number * 16,
        blocks: 16,
        blocks_max: 4,
        depth: 3,
        quota,
        think_us: 20,
        in_capsule: 4096,
        acts: Vec::new(),
        act_period: Duration::from_secs(1),
    }
}

/// A calm run on one row.
fn plan(row: &'static Behaviour) -> Plan {
    Plan {
        seed: 7,
        devices: vec![row],
        fabric: FabricPlan::CALM,
        reactors: 1,
        disks: 1,
        blocks: 32,
        disk_faults: DiskFaults::default(),
        engine_capacity: 16,
        in_capsule: 4096,
        hosts: vec![host(0, 2), host(1, 8)],
        safety: Duration::ZERO,
        crashes: Vec::new(),
        device_acts: Vec::new(),
        lag_us: 5,
        over_after: OVER_AFTER_SILENCE,
    }
}

/// Calls before the second host's request, and at the end of its close.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Calls {
    before: u64,
    after: u64,
}

/// One run; the call of that number fails.
fn play(
    row: &'static Behaviour,
    fail: Option<u64>,
    trace: bool,
) -> anyhow::Result<(Report, Calls)> {
    let mut world = World::new(plan(row), trace)?;
    world.run_until(SECOND_COMES, |_| false)?;
    let before = world.calls();
    if let Some(number) = fail {
        world.fail_call(number);
    }
    world.run_until(SECOND_COMES + PATIENCE, |w| w.is_served(1))?;
    world.hang_up(1);
    let gone = world.now() + PATIENCE;
    if !world.run_until(gone, |w| w.connections() == Some(w.connections_of(0)))? {
        world.ledger.wrong.push("the second host's connections do not end".to_owned());
    }
    let after = world.calls();
    if world.ledger.wrong.is_empty() && !world.is_undisturbed(0) {
        world.ledger.wrong.push("the first host was disturbed".to_owned());
    }
    if world.ledger.wrong.is_empty() {
        world.live_on()?;
    }
    Ok((world.report(), Calls { before, after }))
}

/// What failed where in a row of runs: `row call number: what`.
///
/// # Errors
/// A world can't be made: the process has no file descriptor left.
pub fn fail_each_call(row: &'static Behaviour) -> anyhow::Result<(u64, Vec<String>)> {
    let (clean, calls) = play(row, None, false)?;
    let mut wrong: Vec<String> =
        clean.wrong.iter().map(|what| format!("{} clean: {what}", row.name)).collect();
    let mut shared_queue_failed = 0;
    for number in calls.before + 1..=calls.after {
        let (report, _) = play(row, Some(number), false)?;
        let disturbed = report.wrong == ["the first host was disturbed"];
        if disturbed && failed_poll(row, number)? {
            shared_queue_failed += 1;
            continue;
        }
        let line = |what: &String| format!("{} call {number}: {what}", row.name);
        wrong.extend(report.wrong.iter().map(line));
    }
    if shared_queue_failed == calls.after - calls.before {
        wrong.push(format!("{}: every call is a poll of the shared queue", row.name));
    }
    Ok((calls.after - calls.before, wrong))
}

/// Whether it was the completion queue that both hosts share.
fn failed_poll(row: &'static Behaviour, number: u64) -> anyhow::Result<bool> {
    let (report, _) = play(row, Some(number), true)?;
    Ok(report.trace.iter().any(|line| line.contains("poll of completion queue")))
}

/// One run with a trace.
///
/// # Errors
/// As [`fail_each_call`].
pub fn fail_call(row: &'static Behaviour, number: u64) -> anyhow::Result<Report> {
    play(row, Some(number), true).map(|(report, _)| report)
}
