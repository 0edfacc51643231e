//! What a close did, for people and for tests.

use std::fmt;
use std::time::Duration;

use crate::cause::Causes;
use crate::drain::{Awaited, DEADLINES_MAX, DeadlineMet, Drain, State};
use crate::in_flight::{InFlight, QueueCounts};
use crate::marker::{MarkerFate, Method, Queue};
use crate::proof::DestroyFailure;
use crate::time::Now;

/// The account of one connection's end. Fixed in size: a copy allocates nothing.
///
/// Complete when [`Self::end`] is [`State::Dead`] or [`State::Quarantined`]; before that, the
/// account so far.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DrainReport {
    /// Why it closed: what began it, and what was merged into the same close.
    pub causes: Causes,
    /// The row of the capability table it followed.
    pub provider: &'static str,
    /// The state it ended in, or is in: [`State::Dead`] or [`State::Quarantined`] at the end.
    pub end: State,
    /// Send queue.
    pub send: QueueCounts,
    /// Receive queue.
    pub recv: QueueCounts,
    /// Completions that belonged to no work request of it any more.
    pub stale: u64,
    /// What our own move to ERR returned (errno), when it was made.
    pub modified: Option<Result<(), i32>>,
    /// Repeated moves to ERR.
    pub kicks: u32,
    /// How it learned that a queue is empty.
    pub method: Method,
    /// The send queue's marker.
    pub send_marker: MarkerFate,
    /// The receive queue's marker.
    pub recv_marker: MarkerFate,
    /// LAST_WQE_REACHED came (shared receives only).
    pub last_wqe_reached: bool,
    /// The wait for flushed completions ended by its deadline, with work requests missing.
    pub flush_deadline_met: bool,
    /// Which states their deadlines ended, and what each still waited for, in their order.
    pub deadlines: [Option<DeadlineMet>; DEADLINES_MAX],
    /// What the state it is in waits for; `None` at the end.
    pub awaited: Option<Awaited>,
    /// When each state that was passed was entered, and how long it lasted.
    pub times: Times,
    /// From the first close to the destroy being handed to the reaper: bounded by
    /// [`CLOSE_TIMEOUT`](crate::limits::CLOSE_TIMEOUT).
    pub to_destroy: Option<Duration>,
    /// How the destroy of the queue pair went, once the reaper answered.
    pub destroy: Option<Destroy>,
}

/// How the destroy of a queue pair went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Destroy {
    /// How long `ibv_destroy_qp` took, the wait for a reaper not included.
    pub took: Duration,
    /// Why it proves nothing; `None` when it is the proof.
    pub failure: Option<DestroyFailure>,
}

/// One state that a connection passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Passage {
    /// The state.
    pub state: State,
    /// When it was entered.
    pub entered: Now,
    /// How long it lasted: for the state it is in, until the report was made.
    pub lasted: Duration,
}

/// The path a connection took, with its times.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Times {
    entered: [Option<Now>; State::COUNT],
    made: Now,
}

impl Times {
    /// The states that were passed, in their order.
    pub fn iter(&self) -> impl Iterator<Item = Passage> {
        let entries = |times: &Self| {
            let Self { entered, .. } = *times;
            State::ALL.into_iter().filter_map(move |s| Some((s, entered[s as usize]?)))
        };
        let left = entries(self).skip(1).map(|(_, at)| at).chain([self.made]);
        entries(self).zip(left).map(|((state, entered), left)| Passage {
            state,
            entered,
            lasted: left.since(entered),
        })
    }

    /// When `state` was entered, if it was.
    #[must_use]
    pub fn entered(&self, state: State) -> Option<Now> {
        self.entered[state as usize]
    }

    /// When the report was made: at the end of a complete one.
    #[must_use]
    pub fn made(&self) -> Now {
        self.made
    }

    /// When the close began: the first state behind [`State::Live`].
    #[must_use]
    pub fn began(&self) -> Option<Now> {
        self.iter().find(|passage| passage.state > State::Live).map(|passage| passage.entered)
    }
}

impl fmt::Debug for Times {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter().map(|p| (p.state, p.lasted))).finish()
    }
}

impl DrainReport {
    /// The account at `now` of a drain and its work requests; `destroy` is the reaper's answer.
    #[must_use]
    pub fn new(now: Now, drain: &Drain, in_flight: &InFlight, destroy: Option<Destroy>) -> Self {
        let (send, recv) = in_flight.queue_counts();
        let times = Times { entered: State::ALL.map(|state| drain.entered(state)), made: now };
        let to_destroy = times
            .began()
            .zip(drain.entered(State::Destroying))
            .map(|(began, destroying)| destroying.since(began));
        let mut met = drain.deadlines_met();
        let marker = |queue| MarkerFate {
            posted: drain.marker(queue),
            flushed: in_flight.marker_flushed(queue),
        };
        Self {
            causes: drain.causes(),
            provider: drain.caps().provider,
            end: drain.state(),
            send,
            recv,
            stale: in_flight.stale(),
            modified: drain.modify_result(),
            kicks: drain.kicks(),
            method: drain.method(),
            send_marker: marker(Queue::Send),
            recv_marker: marker(Queue::Recv),
            last_wqe_reached: drain.last_wqe_reached(),
            flush_deadline_met: drain.flush_deadline_met(),
            deadlines: std::array::from_fn(|_| met.next()),
            awaited: drain.awaited(),
            times,
            to_destroy,
            destroy,
        }
    }

    /// The states it passed, in their order.
    pub fn path(&self) -> impl Iterator<Item = Passage> {
        self.times.iter()
    }

    /// The states that their deadlines ended, in their order.
    pub fn deadlines_met(&self) -> impl Iterator<Item = DeadlineMet> {
        self.deadlines.into_iter().flatten()
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::caps;
    use crate::cause::Cause;
    use crate::drain::Input;
    use crate::proof::Epoch;

    fn ms(millis: u64) -> Now {
        Now(Duration::from_millis(millis))
    }

    fn report(now: Now, drain: &Drain) -> DrainReport {
        let table = InFlight::new(Epoch::next(), 0, 1, true, std::rc::Rc::default());
        DrainReport::new(now, drain, &table, None)
    }

    #[test]
    fn the_path_has_every_state_with_its_own_time() {
        let mut drain = Drain::new(ms(0), &caps::MLX5);
        drain.handle(ms(5), Input::Established);
        drain.handle(ms(25), Input::Polled { send_out: 0, recv_out: 4 });
        drain.handle(ms(25), Input::Close(Cause::PeerDisconnected));
        drain.handle(ms(26), Input::Modified(Ok(())));
        drain.handle(ms(30), Input::Polled { send_out: 0, recv_out: 0 });
        drain.handle(ms(45), Input::Destroyed(true));
        drain.handle(ms(46), Input::IdDestroyed);
        let report = report(ms(46), &drain);
        let path: Vec<(State, u128)> =
            report.path().map(|p| (p.state, p.lasted.as_millis())).collect();
        let wanted = [
            (State::Accepting, 5),
            (State::Live, 20),
            (State::Erroring, 1),
            (State::Flushing, 4),
            (State::Destroying, 15),
            (State::IdClosing, 1),
            (State::Reclaiming, 0),
            (State::Dead, 0),
        ];
        assert_eq!(path, wanted);
        assert_eq!(report.times.began(), Some(ms(25)));
        assert_eq!(report.to_destroy, Some(Duration::from_millis(5)));
        assert_eq!((report.deadlines_met().count(), report.awaited), (0, None));
    }

    #[test]
    fn a_deadline_says_what_it_waited_for() {
        let s = |secs: u64| ms(1000 * secs);
        let mut drain = Drain::new(s(0), &caps::SIW);
        drain.handle(s(0), Input::Established);
        drain.handle(s(0), Input::Polled { send_out: 1, recv_out: 5 });
        drain.handle(s(0), Input::Backend(1));
        drain.handle(s(0), Input::Finish(Cause::Shutdown));
        drain.handle(s(1), Input::Timeout);
        drain.handle(s(1), Input::Modified(Ok(())));
        drain.handle(s(1), Input::Polled { send_out: 2, recv_out: 5 });
        let early = report(s(2), &drain);
        assert_eq!(early.awaited, Some(Awaited::Flushes { sends: 2, receives: 5 }));
        drain.handle(s(3), Input::Timeout);
        let met: Vec<DeadlineMet> = report(s(3), &drain).deadlines_met().collect();
        let responses = Awaited::Responses { sends: 1, disk_operations: 1 };
        let flushes = Awaited::Flushes { sends: 2, receives: 5 };
        assert_eq!(
            met,
            [
                DeadlineMet { state: State::Quiesce, awaited: responses },
                DeadlineMet { state: State::Flushing, awaited: flushes },
            ]
        );
    }

    #[test]
    fn a_report_is_small_enough_to_be_copied_about() {
        assert!(size_of::<DrainReport>() <= 640, "{} bytes", size_of::<DrainReport>());
    }
}
