//! The close of one connection as a state machine without I/O: inputs in, steps out.
//!
//! ```text
//!  Accepting -> Live -> [Quiesce -> Linger -> Closing] -> Erroring -> Flushing -> [SrqWait]
//!      \________\_________________________________________/              \____________\
//!                                                                                      v
//!  Dead <- Reclaiming <- IdClosing <- destroyed ------------------------------ Destroying
//!                      Quarantined <- destroy failed ---------------------------/
//! ```
//!
//! States only move forward. Every input is legal in every state; one that means nothing any more
//! changes nothing. The destroy of the queue pair is entered within
//! [`CLOSE_TIMEOUT`](crate::limits::CLOSE_TIMEOUT) of the close and needs no event from peer, CM or
//! provider: only [`Input::Timeout`] (drain contract L1, L2); with shared receives within
//! [`CLOSE_TIMEOUT_SHARED`](crate::limits::CLOSE_TIMEOUT_SHARED). The disk is not waited for before
//! it: nothing is posted from [`State::Closing`] on, markers excepted, so a disk's answer only
//! drops its buffer.

use std::hash::{Hash, Hasher};
use std::time::Duration;

use crate::caps::{DrainCaps, LastWqe};
use crate::cause::{Cause, Causes};
use crate::limits::{
    CLOSING_TIMEOUT, ESTABLISH_TIMEOUT, FLUSH_POLL_FIRST, FLUSH_POLL_LAST, KICK_INTERVAL,
    LINGER_TIMEOUT, QUIESCE_TIMEOUT, SRQ_GRACE, SRQ_POLL, SRQ_TIMEOUT,
};
use crate::marker::{Method, Posted, Queue};
use crate::time::Now;

mod state;
mod step;

pub use state::{Awaited, DEADLINES_MAX, DeadlineMet, State};
pub use step::{Input, Step, Steps};

/// The close of one connection. See the module's documentation.
#[derive(Clone, Debug)]
pub struct Drain {
    caps: &'static DrainCaps,
    state: State,
    causes: Causes,
    entered: [Option<Now>; State::COUNT],
    deadline: Option<Now>,
    next_poll: Option<Now>,
    poll_interval: Duration,
    next_kick: Option<Now>,
    kicks: u32,
    modified: Option<Result<(), i32>>,
    method: Method,
    /// By queue.
    markers: [Posted; 2],
    send_out: u64,
    recv_out: u64,
    backend: u32,
    /// A quarantined connection has said so: [`Step::Finished`] comes once.
    finished: bool,
    /// Its receives belong to a shared queue.
    shared_receives: bool,
    last_wqe: bool,
    /// Polls since the last sign of a shared receive.
    quiet_polls: u32,
    deadlines_met: [Option<DeadlineMet>; DEADLINES_MAX],
}

impl Drain {
    /// A connection whose accept is about to be issued, drained by accounting.
    #[must_use]
    pub fn new(now: Now, caps: &'static DrainCaps) -> Self {
        Self::with(now, caps, Method::Accounting)
    }

    /// The same, drained by `method`.
    #[must_use]
    pub fn with(now: Now, caps: &'static DrainCaps, method: Method) -> Self {
        let mut drain = Self {
            caps,
            state: State::Accepting,
            causes: Causes::default(),
            entered: [None; State::COUNT],
            deadline: Some(now + ESTABLISH_TIMEOUT),
            next_poll: None,
            poll_interval: FLUSH_POLL_FIRST,
            next_kick: None,
            kicks: 0,
            modified: None,
            method,
            markers: [Posted::No; 2],
            send_out: 0,
            recv_out: 0,
            backend: 0,
            finished: false,
            shared_receives: false,
            last_wqe: false,
            quiet_polls: 0,
            deadlines_met: [None; DEADLINES_MAX],
        };
        drain.entered[State::Accepting as usize] = Some(now);
        drain
    }

    /// The same for a queue pair that takes its receives from a shared queue.
    #[must_use]
    pub fn with_shared_receives(self) -> Self {
        Self { shared_receives: true, ..self }
    }

    fn enter(&mut self, now: Now, state: State) {
        debug_assert!(state > self.state, "states only move forward");
        self.state = state;
        self.entered[state as usize] = Some(now);
        self.deadline = None;
        self.next_poll = None;
        self.next_kick = None;
    }

    /// Takes one input and says what to do.
    pub fn handle(&mut self, now: Now, input: Input) -> Steps {
        match input {
            Input::Established => self.established(now),
            Input::Close(cause) => self.close(now, cause),
            Input::Finish(cause) => self.finish(now, cause),
            Input::Modified(result) => self.modified(now, result),
            Input::Markers { send, recv } => self.markers_posted([send, recv]),
            Input::Polled { send_out, recv_out } => {
                (self.send_out, self.recv_out) = (send_out, recv_out);
                self.progress(now)
            }
            Input::LastWqeReached => {
                self.last_wqe = true;
                self.shared_receive_seen()
            }
            Input::SharedReceive => self.shared_receive_seen(),
            Input::Backend(count) => {
                self.backend = count;
                self.progress(now)
            }
            Input::Destroyed(proved) => self.destroyed(now, proved),
            Input::IdDestroyed => self.id_destroyed(now),
            Input::Timeout => self.timed_out(now),
        }
    }

    fn established(&mut self, now: Now) -> Steps {
        if self.state != State::Accepting {
            return Steps::NONE;
        }
        self.enter(now, State::Live);
        Steps::one(Step::Open)
    }

    fn close(&mut self, now: Now, cause: Cause) -> Steps {
        if self.state > State::SrqWait {
            return Steps::NONE;
        }
        self.causes.add(cause);
        if self.state >= State::Erroring {
            // A device that died while its flushes are awaited will not send them.
            return if self.skips_flush() && self.state != State::Erroring {
                self.destroy(now)
            } else {
                Steps::NONE
            };
        }
        self.errorize(now)
    }

    fn skips_flush(&self) -> bool {
        self.causes.device_dead() || self.causes.accounting_void()
    }

    fn errorize(&mut self, now: Now) -> Steps {
        self.enter(now, State::Erroring);
        if self.causes.device_dead() {
            self.enter(now, State::Flushing);
            let destroy = self.destroy(now);
            return destroy.into_iter().fold(Steps::one(Step::StopPosting), Steps::then);
        }
        Steps::two(Step::StopPosting, Step::ModifyToError)
    }

    fn modified(&mut self, now: Now, result: Result<(), i32>) -> Steps {
        if self.modified.is_none() {
            self.modified = Some(result);
        }
        if self.state == State::Flushing && result.is_ok() {
            return self.ask_for_markers();
        }
        if self.state != State::Erroring {
            return Steps::NONE;
        }
        self.enter(now, State::Flushing);
        self.deadline = Some(now + self.caps.t_f);
        self.next_poll = Some(now + self.poll_interval);
        self.next_kick = self.caps.kick.then(|| now + KICK_INTERVAL);
        // On iWARP the move to ERR ended the stream already, and a disconnect would overwrite the
        // library's cached state (drain contract, iWARP abortive close).
        let disconnect = if self.caps.iwarp { Steps::NONE } else { Steps::one(Step::Disconnect) };
        if self.skips_flush() {
            let destroy = self.destroy(now);
            return destroy.into_iter().fold(disconnect, Steps::then);
        }
        // Only a queue pair that is known to be in ERR flushes a marker.
        let markers = if result.is_ok() { self.ask_for_markers() } else { Steps::NONE };
        markers.into_iter().fold(disconnect, Steps::then)
    }

    /// A marker on each queue that is not empty and has none yet.
    fn ask_for_markers(&mut self) -> Steps {
        let mut ask = |queue: Queue, allowed: bool, out: u64| {
            let place = &mut self.markers[queue as usize];
            let wanted = allowed && out > 0 && matches!(place, Posted::No | Posted::NoRoom);
            if wanted {
                *place = Posted::Asked;
            }
            wanted
        };
        if self.method == Method::Accounting {
            return Steps::NONE;
        }
        let send = ask(Queue::Send, self.caps.marker_send, self.send_out);
        let own_receives = !self.shared_receives;
        let recv = ask(Queue::Recv, self.caps.marker_recv && own_receives, self.recv_out);
        if send || recv { Steps::one(Step::PostMarkers { send, recv }) } else { Steps::NONE }
    }

    fn markers_posted(&mut self, answers: [Posted; 2]) -> Steps {
        for (place, answer) in self.markers.iter_mut().zip(answers) {
            if *place == Posted::Asked {
                *place = answer;
            }
        }
        Steps::NONE
    }

    fn finish(&mut self, now: Now, cause: Cause) -> Steps {
        match self.state {
            State::Accepting => self.close(now, cause),
            State::Live => {
                self.causes.add(cause);
                self.enter(now, State::Quiesce);
                self.deadline = Some(now + QUIESCE_TIMEOUT);
                self.progress(now)
            }
            State::Quiesce
            | State::Linger
            | State::Closing
            | State::Erroring
            | State::Flushing
            | State::SrqWait => {
                self.causes.add(cause);
                Steps::NONE
            }
            State::Destroying
            | State::IdClosing
            | State::Reclaiming
            | State::Dead
            | State::Quarantined => Steps::NONE,
        }
    }

    /// Looks whether what the state waits for has come.
    fn progress(&mut self, now: Now) -> Steps {
        match self.state {
            State::Quiesce if self.send_out == 0 && self.backend == 0 => {
                if !self.caps.iwarp {
                    // A completed SEND was acknowledged by the peer's device: nothing to linger
                    // for.
                    return self.errorize(now);
                }
                self.enter(now, State::Linger);
                self.deadline = Some(now + LINGER_TIMEOUT);
                Steps::NONE
            }
            State::Flushing if self.send_out == 0 && self.recv_out == 0 => self.flushed(now),
            State::Reclaiming if self.backend == 0 => {
                self.enter(now, State::Dead);
                Steps::one(Step::Finished)
            }
            // What the disk still has is not given up with the rest: its answer has to find us.
            State::Quarantined if self.backend == 0 && !self.finished => {
                self.finished = true;
                Steps::one(Step::Finished)
            }
            State::Accepting
            | State::Live
            | State::Quiesce
            | State::Linger
            | State::Closing
            | State::Erroring
            | State::Flushing
            | State::SrqWait
            | State::Destroying
            | State::IdClosing
            | State::Reclaiming
            | State::Dead
            | State::Quarantined => Steps::NONE,
        }
    }

    /// The queue pair's own queues are empty, or their deadline is met.
    ///
    /// Shared receives are polled for before the destroy: behind it their completions may vanish,
    /// and with them the only record of which ones this queue pair took.
    fn flushed(&mut self, now: Now) -> Steps {
        if !self.shared_receives {
            return self.destroy(now);
        }
        self.enter(now, State::SrqWait);
        let wait = match self.caps.last_wqe {
            LastWqe::Never => SRQ_GRACE,
            LastWqe::Precise | LastWqe::Imprecise => SRQ_TIMEOUT,
        };
        self.deadline = Some(now + wait);
        self.next_poll = Some(now + SRQ_POLL);
        Steps::NONE
    }

    fn shared_receive_seen(&mut self) -> Steps {
        self.quiet_polls = 0;
        Steps::NONE
    }

    /// One more poll that found no shared receive of this queue pair.
    fn quiet_poll(&mut self, now: Now) -> Steps {
        self.next_poll = Some(now + SRQ_POLL);
        self.quiet_polls += 1;
        let enough = match self.caps.last_wqe {
            // The event may come before the completions that it is about: one poll behind it.
            LastWqe::Precise => self.last_wqe && self.quiet_polls >= 1,
            // A hint, sent on any error.
            LastWqe::Imprecise => self.last_wqe && self.quiet_polls >= 2,
            LastWqe::Never => false,
        };
        if enough { self.destroy(now) } else { Steps::NONE }
    }

    fn destroy(&mut self, now: Now) -> Steps {
        self.enter(now, State::Destroying);
        Steps::one(Step::DestroyQp)
    }

    fn destroyed(&mut self, now: Now, proved: bool) -> Steps {
        if self.state != State::Destroying {
            return Steps::NONE;
        }
        if proved {
            self.enter(now, State::IdClosing);
            Steps::two(Step::Reclaim, Step::DestroyId)
        } else {
            self.enter(now, State::Quarantined);
            let finished = self.progress(now);
            finished.into_iter().fold(Steps::one(Step::Quarantine), Steps::then)
        }
    }

    fn id_destroyed(&mut self, now: Now) -> Steps {
        if self.state != State::IdClosing {
            return Steps::NONE;
        }
        self.enter(now, State::Reclaiming);
        self.progress(now)
    }

    fn timed_out(&mut self, now: Now) -> Steps {
        if self.deadline.is_some_and(|deadline| now >= deadline) {
            return self.deadline_met(now);
        }
        let poll_due = self.next_poll.is_some_and(|at| now >= at);
        if self.state == State::SrqWait && poll_due {
            return self.quiet_poll(now);
        }
        if self.state != State::Flushing {
            return Steps::NONE;
        }
        if poll_due {
            self.poll_interval = (self.poll_interval * 2).min(FLUSH_POLL_LAST);
            self.next_poll = Some(now + self.poll_interval);
        }
        if self.next_kick.is_some_and(|at| now >= at) {
            self.next_kick = Some(now + KICK_INTERVAL);
            self.kicks += 1;
            return Steps::one(Step::ModifyToError);
        }
        if self.markers.contains(&Posted::NoRoom) { self.ask_for_markers() } else { Steps::NONE }
    }

    fn note_deadline(&mut self) {
        if self.state == State::SrqWait && self.caps.last_wqe == LastWqe::Never {
            // A time of grace that ends as it always does.
            return;
        }
        let met = self.awaited().map(|awaited| DeadlineMet { state: self.state, awaited });
        let free = self.deadlines_met.iter_mut().find(|place| place.is_none());
        *free.expect("each state meets its deadline once") = met;
    }

    fn deadline_met(&mut self, now: Now) -> Steps {
        self.note_deadline();
        match self.state {
            State::Accepting => {
                self.causes.add(Cause::NotEstablished);
                self.errorize(now)
            }
            State::Quiesce | State::Closing => self.errorize(now),
            // CLOSING asks for an empty send queue (RFC 5040), and loses outstanding READs.
            State::Linger if self.send_out > 0 => self.errorize(now),
            State::Linger => {
                self.enter(now, State::Closing);
                self.deadline = Some(now + CLOSING_TIMEOUT);
                Steps::two(Step::StopPosting, Step::Disconnect)
            }
            State::Flushing => self.flushed(now),
            State::SrqWait => self.destroy(now),
            State::Live
            | State::Erroring
            | State::Destroying
            | State::IdClosing
            | State::Reclaiming
            | State::Dead
            | State::Quarantined => Steps::NONE,
        }
    }

    /// When [`Input::Timeout`] is due next, at the latest. Each one is preceded by a poll.
    #[must_use]
    pub fn timeout(&self) -> Option<Now> {
        [self.deadline, self.next_poll, self.next_kick].into_iter().flatten().min()
    }

    /// When the state's own deadline is, and when the move to ERR is repeated: what
    /// [`Self::timeout`] tells beside mere polls. In [`State::SrqWait`] a poll is no mere one.
    #[must_use]
    pub fn deadlines(&self) -> [Option<Now>; 2] {
        let poll = self.next_poll.filter(|_| self.state == State::SrqWait);
        [self.deadline, self.next_kick.or(poll)]
    }

    /// What decides how it goes on when time passes in leaps from one deadline to the next: which
    /// deadlines there are, not how far they are. When it polls next is left out: a poll that finds
    /// nothing changes nothing. So are causes that only reports tell apart, LAST_WQE_REACHED where
    /// nothing waits for it, and from [`State::Destroying`] on everything but the disk: no input
    /// looks at it any more.
    pub fn fingerprint(&self, hasher: &mut impl Hasher) {
        (self.state, self.backend, self.finished).hash(hasher);
        if self.state >= State::Destroying {
            return;
        }
        let left = self.deadlines().map(|at| at.is_some());
        let causes = (self.causes.device_dead(), self.causes.accounting_void());
        (causes, left, self.markers, self.send_out, self.recv_out).hash(hasher);
        let awaited = self.shared_receives && self.caps.last_wqe != LastWqe::Never;
        // Without the event, polls are not counted: it begins the count anew.
        (awaited && self.last_wqe).then_some(self.quiet_polls).hash(hasher);
    }

    /// Where the connection is.
    #[must_use]
    pub fn state(&self) -> State {
        self.state
    }

    /// Why it closes.
    #[must_use]
    pub fn causes(&self) -> Causes {
        self.causes
    }

    /// When each state was entered.
    #[must_use]
    pub fn entered(&self, state: State) -> Option<Now> {
        self.entered[state as usize]
    }

    /// What our own move to ERR returned, errno on failure.
    #[must_use]
    pub fn modify_result(&self) -> Option<Result<(), i32>> {
        self.modified
    }

    /// The wait for flushed completions ended by its deadline.
    #[must_use]
    pub fn flush_deadline_met(&self) -> bool {
        self.deadlines_met().any(|met| met.state == State::Flushing)
    }

    /// The deadlines that ended a state, in their order.
    pub fn deadlines_met(&self) -> impl Iterator<Item = DeadlineMet> {
        self.deadlines_met.into_iter().flatten()
    }

    /// What the state waits for now; `None` where it waits for nothing.
    #[must_use]
    pub fn awaited(&self) -> Option<Awaited> {
        let count = |n: u64| u32::try_from(n).unwrap_or(u32::MAX);
        let disk_operations = self.backend;
        match self.state {
            State::Accepting => Some(Awaited::Established),
            State::Quiesce => {
                Some(Awaited::Responses { sends: count(self.send_out), disk_operations })
            }
            State::Linger => Some(Awaited::PeerClose),
            State::Closing => Some(Awaited::Fin),
            State::Flushing => Some(Awaited::Flushes {
                sends: count(self.send_out),
                receives: count(self.recv_out),
            }),
            State::SrqWait => Some(Awaited::LastWqe { reached: self.last_wqe }),
            State::Destroying => Some(Awaited::QpDestroyed),
            State::IdClosing => Some(Awaited::IdDestroyed),
            State::Reclaiming => Some(Awaited::Disk { disk_operations }),
            State::Quarantined if !self.finished => Some(Awaited::Disk { disk_operations }),
            State::Live | State::Erroring | State::Dead | State::Quarantined => None,
        }
    }

    /// How often the move to ERR was repeated.
    #[must_use]
    pub fn kicks(&self) -> u32 {
        self.kicks
    }

    /// What became of the marker of a queue.
    #[must_use]
    pub fn marker(&self, queue: Queue) -> Posted {
        self.markers[queue as usize]
    }

    /// LAST_WQE_REACHED has come, true or not.
    #[must_use]
    pub fn last_wqe_reached(&self) -> bool {
        self.last_wqe
    }

    /// How it learns that a queue is empty.
    #[must_use]
    pub fn method(&self) -> Method {
        self.method
    }

    /// The row it follows.
    #[must_use]
    pub fn caps(&self) -> &'static DrainCaps {
        self.caps
    }
}
