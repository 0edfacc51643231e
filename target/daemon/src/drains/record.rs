//! What is kept and shown of one close, as plain data: the JSON of `sluice drains -o json`.
//!
//! Names are as stable as those of [`status`](crate::status), and read the same way.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use transport::in_flight::QueueCounts;
use transport::report::{Destroy, DrainReport, Passage};

use super::Ended;
use super::utc::Utc;
use crate::status::words;

words! {
    /// How a close went.
    Outcome {
        /// Everything it waited for came.
        #[default]
        Clean = "clean",
        /// A deadline ended the wait for something; no memory was lost by it.
        Late = "late",
        /// Memory that the device may still touch was given up, for ever.
        Quarantined = "quarantined",
    }
}

/// An answer of the daemon about its closes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct DrainList {
    /// The daemon's uptime when it answered.
    pub uptime_ms: u64,
    /// Connections whose end is complete, since the start.
    pub closed: u64,
    /// Of those, how many the daemon still has a record of.
    pub kept: u64,
    /// Newest first.
    pub drains: Vec<DrainRecord>,
}

/// The end of one connection.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct DrainRecord {
    /// Its number, from 1 since the start of the daemon: the one in the log.
    pub id: u64,
    /// When it had ended, RFC 3339 with milliseconds, UTC.
    pub at: String,
    /// The daemon's uptime at that moment.
    pub at_uptime_ms: u64,
    /// How it went.
    pub outcome: Outcome,
    /// Address of the host.
    pub peer: String,
    /// NQN the host gave in its Connect command; empty when none came.
    pub host_nqn: String,
    /// Subsystem it asked for; empty when no Connect command came.
    pub subsystem_nqn: String,
    /// Controller ID; none where no Connect command was granted.
    pub cntlid: Option<u16>,
    /// Queue ID; the admin queue is 0.
    pub qid: u16,
    /// RDMA device.
    pub device: String,
    /// Row of the table of providers that the close followed.
    pub provider: String,
    /// RDMA queue pair number.
    pub qp_number: u32,
    /// Index of its reactor.
    pub reactor: usize,
    /// What began the close.
    pub cause: String,
    /// What else happened while it went on.
    pub merged_causes: Vec<String>,
    /// The states it passed, in their order.
    pub path: Vec<Stay>,
    /// Send queue.
    pub send: Account,
    /// Receive queue.
    pub receive: Account,
    /// Completions that belonged to no work request of it any more.
    pub stale_completions: u64,
    /// What our own move of the queue pair to ERR returned; none when it was not made.
    pub move_to_error: Option<Returned>,
    /// How often that move was repeated for a provider that needs it.
    pub kicks: u32,
    /// The states that their deadlines ended, and what each still waited for.
    pub deadlines: Vec<Deadline>,
    /// From the first cause to close to the destroy of its queue pair.
    pub to_destroy_us: Option<u64>,
    /// What the destroy of the queue pair returned; none when it was not made.
    pub destroy: Option<Returned>,
    /// How long that took.
    pub destroy_us: Option<u64>,
}

/// A state on the path of a connection.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Stay {
    /// Its name.
    pub state: String,
    /// When it was entered, from the beginning of the close; negative before that.
    pub entered_us: i64,
    /// How long it lasted.
    pub lasted_us: u64,
}

/// What became of the work requests of one queue. `posted` is the sum of the others.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Account {
    /// Taken by the device, in the connection's life.
    pub posted: u64,
    /// Completed.
    pub completed: u64,
    /// Completed in error by the flush.
    pub flushed: u64,
    /// Known to be done by a later completion.
    pub retired_in_order: u64,
    /// Taken back after the queue pair was destroyed.
    pub reclaimed: u64,
    /// Fate unknown: their buffers are never used again.
    pub leaked: u64,
}

/// What a call returned.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Returned {
    /// Whether it succeeded.
    pub ok: bool,
    /// Why not, as a sentence.
    pub error: Option<String>,
}

/// A wait that a deadline ended.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Deadline {
    /// The state.
    pub state: String,
    /// What had not come, for people.
    pub waited_for: String,
}

impl Returned {
    fn of<E>(result: Result<(), E>, error: impl FnOnce(E) -> String) -> Self {
        match result {
            Ok(()) => Self { ok: true, error: None },
            Err(reason) => Self { ok: false, error: Some(error(reason)) },
        }
    }
}

impl Account {
    fn of(counts: QueueCounts) -> Self {
        Self {
            posted: counts.posted,
            completed: counts.completed,
            flushed: counts.flushed,
            retired_in_order: counts.in_order,
            reclaimed: counts.reclaimed,
            leaked: counts.leaked,
        }
    }

    /// Both queues together.
    #[must_use]
    pub fn plus(&self, other: &Self) -> Self {
        Self {
            posted: self.posted.saturating_add(other.posted),
            completed: self.completed.saturating_add(other.completed),
            flushed: self.flushed.saturating_add(other.flushed),
            retired_in_order: self.retired_in_order.saturating_add(other.retired_in_order),
            reclaimed: self.reclaimed.saturating_add(other.reclaimed),
            leaked: self.leaked.saturating_add(other.leaked),
        }
    }
}

impl DrainRecord {
    /// What is shown of `ended`; `started` is the wall clock at uptime 0.
    pub(super) fn of(ended: &Ended, started: Utc) -> Self {
        let Ended { id, at, whose, report } = ended;
        let connect = whose.connect.as_deref();
        let nqn = |nqn: Option<&str>| nqn.unwrap_or_default().to_owned();
        Self {
            id: *id,
            at: started.plus(*at).to_string(),
            at_uptime_ms: u64::try_from(at.as_millis()).unwrap_or(u64::MAX),
            outcome: outcome(report),
            peer: whose.peer.to_string(),
            host_nqn: nqn(connect.map(|c| c.host.as_str())),
            subsystem_nqn: nqn(connect.map(|c| c.subsystem.as_str())),
            cntlid: connect.and_then(|c| c.cntlid).map(|cntlid| cntlid.0),
            qid: whose.qid.0,
            device: whose.device.to_string(),
            provider: report.provider.to_owned(),
            qp_number: whose.qp_number,
            reactor: usize::from(whose.reactor),
            cause: report.causes.first().map_or("none", |cause| cause.as_str()).to_owned(),
            merged_causes: report.causes.merged().map(|cause| cause.as_str().to_owned()).collect(),
            path: path(report),
            send: Account::of(report.send),
            receive: Account::of(report.recv),
            stale_completions: report.stale,
            move_to_error: report.modified.map(|result| Returned::of(result, os_error)),
            kicks: report.kicks,
            deadlines: deadlines(report),
            to_destroy_us: report.to_destroy.map(micros),
            destroy: report.destroy.map(|destroy| returned(&destroy)),
            destroy_us: report.destroy.map(|destroy| micros(destroy.took)),
        }
    }
}

/// In Linger the deadline is not late: it is our turn then, for an initiator that leaves the close
/// to the target.
pub(super) fn outcome(report: &DrainReport) -> Outcome {
    use transport::drain::State;
    if report.end == State::Quarantined || report.total().leaked > 0 {
        Outcome::Quarantined
    } else if report.deadlines_met().any(|met| met.state != State::Linger) {
        Outcome::Late
    } else {
        Outcome::Clean
    }
}

fn path(report: &DrainReport) -> Vec<Stay> {
    let began = report.times.began().unwrap_or(report.times.made());
    let signed = |span| i64::try_from(micros(span)).unwrap_or(i64::MAX);
    let stay = |passage: Passage| Stay {
        state: passage.state.as_str().to_owned(),
        // One of the two is zero.
        entered_us: signed(passage.entered.since(began)) - signed(began.since(passage.entered)),
        lasted_us: micros(passage.lasted),
    };
    report.path().map(stay).collect()
}

fn deadlines(report: &DrainReport) -> Vec<Deadline> {
    let deadline = |met: transport::drain::DeadlineMet| Deadline {
        state: met.state.as_str().to_owned(),
        waited_for: met.awaited.to_string(),
    };
    report.deadlines_met().map(deadline).collect()
}

fn returned(destroy: &Destroy) -> Returned {
    use transport::proof::DestroyFailure;
    Returned::of(destroy.failure.map_or(Ok(()), Err), |failure| match failure {
        DestroyFailure::Failed(error) => error.to_string(),
        DestroyFailure::GaveUp(after) => format!("the driver may have given up after {after:.1?}"),
    })
}

fn os_error(errno: i32) -> String {
    std::io::Error::from_raw_os_error(errno).to_string()
}

fn micros(span: Duration) -> u64 {
    u64::try_from(span.as_micros()).unwrap_or(u64::MAX)
}
