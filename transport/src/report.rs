//! What a close did, for people and for tests.

use std::fmt;
use std::time::Duration;

use crate::cause::Causes;
use crate::drain::{Drain, State};
use crate::in_flight::{InFlight, QueueCounts};
use crate::time::Now;

/// The account of one connection's end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DrainReport {
    /// Why it closed.
    pub causes: Causes,
    /// The row of the capability table it followed.
    pub provider: &'static str,
    /// The state it ended in: [`State::Dead`] or [`State::Quarantined`].
    pub end: State,
    /// Send queue.
    pub send: QueueCounts,
    /// Receive queue.
    pub recv: QueueCounts,
    /// Completions that belonged to no work request.
    pub stale: u64,
    /// What our own move to ERR returned (errno), when it was made.
    pub modified: Option<Result<(), i32>>,
    /// Repeated moves to ERR.
    pub kicks: u32,
    /// The wait for flushed completions ended by its deadline, with work requests missing.
    pub flush_deadline_met: bool,
    /// Time spent in each state that was entered, in their order.
    pub times: Vec<(State, Duration)>,
    /// From the first close to the destroy being handed to the reaper: bounded by
    /// [`CLOSE_TIMEOUT`](crate::limits::CLOSE_TIMEOUT).
    pub to_destroy: Option<Duration>,
}

const STATES: [State; State::COUNT] = [
    State::Accepting,
    State::Live,
    State::Quiesce,
    State::Linger,
    State::Closing,
    State::Erroring,
    State::Flushing,
    State::Destroying,
    State::IdClosing,
    State::Reclaiming,
    State::Dead,
    State::Quarantined,
];

impl DrainReport {
    pub(crate) fn new(now: Now, drain: &Drain, in_flight: &InFlight) -> Self {
        let (send, recv) = in_flight.queue_counts();
        let entered: Vec<(State, Now)> =
            STATES.into_iter().filter_map(|s| Some((s, drain.entered(s)?))).collect();
        let left = entered.iter().skip(1).map(|(_, at)| *at).chain([now]);
        let times =
            entered.iter().zip(left).map(|((state, at), left)| (*state, left.since(*at))).collect();
        let began = entered.iter().find(|(s, _)| *s > State::Live).map(|(_, at)| *at);
        let to_destroy = began
            .zip(drain.entered(State::Destroying))
            .map(|(began, destroying)| destroying.since(began));
        Self {
            causes: drain.causes(),
            provider: drain.caps().provider,
            end: drain.state(),
            send,
            recv,
            stale: in_flight.stale(),
            modified: drain.modify_result(),
            kicks: drain.kicks(),
            flush_deadline_met: drain.flush_deadline_met(),
            times,
            to_destroy,
        }
    }

    /// Work requests of both queues together.
    #[must_use]
    pub fn total(&self) -> QueueCounts {
        let (s, r) = (self.send, self.recv);
        QueueCounts {
            posted: s.posted + r.posted,
            completed: s.completed + r.completed,
            flushed: s.flushed + r.flushed,
            in_order: s.in_order + r.in_order,
            reclaimed: s.reclaimed + r.reclaimed,
            leaked: s.leaked + r.leaked,
        }
    }
}

impl fmt::Display for DrainReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let total = self.total();
        write!(
            f,
            "{}: posted {} = completed {} + flushed {} + retired in order {} + reclaimed {}; \
             {} leaked",
            self.causes,
            total.posted,
            total.completed,
            total.flushed,
            total.in_order,
            total.reclaimed,
            total.leaked,
        )
    }
}
