//! What goes into a drain, and what comes out of it.

use crate::cause::Cause;
use crate::marker::Posted;

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Input {
    /// The CM, or the first message, says that the connection is up.
    Established,
    /// Close now.
    Close(Cause),
    /// Close after the responses that are queued.
    Finish(Cause),
    /// What [`Step::ModifyToError`] returned.
    Modified(Result<(), i32>),
    /// What [`Step::PostMarkers`] came to.
    Markers {
        /// On the send queue; [`Posted::No`] where none was asked for.
        send: Posted,
        /// On the receive queue, likewise.
        recv: Posted,
    },
    /// The completion queue was polled until it was empty; this many work requests are still out.
    Polled {
        /// On the send queue.
        send_out: u64,
        /// On the receive queue.
        recv_out: u64,
    },
    /// LAST_WQE_REACHED: the queue pair takes no more shared receives. May come before the move to
    /// ERR and before the completions that it is about, and is never taken back.
    LastWqeReached,
    /// A shared receive that this queue pair took has completed.
    SharedReceive,
    /// Disk operations that hold memory of this connection.
    Backend(u32),
    /// The reaper's answer to [`Step::DestroyQp`]: whether it proves that the queue pair is gone.
    Destroyed(bool),
    /// The reaper's answer to [`Step::DestroyId`].
    IdDestroyed,
    /// The time asked for by [`Drain::timeout`](super::Drain::timeout) came, or any other time.
    Timeout,
}

/// What to do, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Step {
    /// Dispatch what was parked.
    Open,
    /// From now on nothing is posted, receives included. What was not posted yet is given back.
    StopPosting,
    /// `ibv_modify_qp` to ERR, at once; answer with [`Input::Modified`].
    ModifyToError,
    /// Post a marker on these queues, at once; answer with [`Input::Markers`]. The only posts after
    /// [`Step::StopPosting`].
    PostMarkers {
        /// On the send queue.
        send: bool,
        /// On the receive queue.
        recv: bool,
    },
    /// `rdma_disconnect`, on a reaper thread; nothing waits for it.
    Disconnect,
    /// Stop reading the CM id's channel, give the queue pair to a reaper: [`Input::Destroyed`].
    DestroyQp,
    /// Take back everything that is in flight, by the proof.
    Reclaim,
    /// Give the CM id to a reaper: [`Input::IdDestroyed`].
    DestroyId,
    /// Give up everything that is in flight.
    Quarantine,
    /// The connection's slot is free.
    Finished,
}

/// At most four steps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Steps {
    steps: [Option<Step>; 4],
}

impl Steps {
    pub(super) const NONE: Self = Self { steps: [None; 4] };

    pub(super) fn one(step: Step) -> Self {
        Self { steps: [Some(step), None, None, None] }
    }

    pub(super) fn two(first: Step, second: Step) -> Self {
        Self { steps: [Some(first), Some(second), None, None] }
    }

    pub(super) fn then(mut self, step: Step) -> Self {
        let free = self.steps.iter_mut().find(|s| s.is_none());
        *free.expect("no transition has more than four steps") = Some(step);
        self
    }
}

impl IntoIterator for Steps {
    type Item = Step;
    type IntoIter = std::iter::Flatten<std::array::IntoIter<Option<Step>, 4>>;

    fn into_iter(self) -> Self::IntoIter {
        self.steps.into_iter().flatten()
    }
}
