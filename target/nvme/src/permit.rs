//! The right to answer one command, and the answer.

use core::sync::atomic::{AtomicU64, Ordering};

use crate::connect::ConnectFields;
use crate::ident::{Cid, Nsid, Qid, RKey};
use crate::wire::{Cqe, Location, Refusal, Status};

static DROPPED: AtomicU64 = AtomicU64::new(0);

/// The right to answer one command, which exists once.
///
/// It ends in [`crate::Queue::complete`], [`crate::Queue::abandon`] or, when its queue is gone,
/// [`Permit::abandon`]. One that is dropped otherwise is a command that its host waits for in vain:
/// it is counted, and a debug build panics.
#[derive(Debug)]
#[must_use = "a command that is not answered hangs its host"]
pub struct Permit {
    pub(crate) qid: Qid,
    pub(crate) cid: Cid,
    pub(crate) opcode: u8,
    pub(crate) invalidate: Option<RKey>,
    pub(crate) stage: Stage,
    /// Namespace and first block that the command names, for the error log.
    pub(crate) nsid: Nsid,
    pub(crate) lba: u64,
    ended: bool,
}

/// What is to be remembered of a command until it is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    /// Nothing.
    Plain,
    /// Connect waits for its data, or for the answer to its request.
    Connect(ConnectFields),
    /// Authentication Send waits for its message or for what is computed from it, or Receive for
    /// its data to be sent.
    Authenticate,
    /// Dataset Management waits for its ranges.
    Deallocate { nsid: Nsid, ranges: u16 },
    /// Copy waits for its source range.
    Copy { fua: bool },
    /// Read or Compare of that many bytes.
    Read { bytes: u32 },
    /// Write of that many bytes.
    Write { bytes: u32 },
}

impl Permit {
    pub(crate) fn new(qid: Qid, cid: Cid, opcode: u8) -> Self {
        Self {
            qid,
            cid,
            opcode,
            invalidate: None,
            stage: Stage::Plain,
            nsid: Nsid(0),
            lba: 0,
            ended: false,
        }
    }

    /// Queue of the command.
    pub fn qid(&self) -> Qid {
        self.qid
    }

    /// The command's id.
    pub fn cid(&self) -> Cid {
        self.cid
    }

    /// The command's opcode, for logs.
    pub fn opcode(&self) -> u8 {
        self.opcode
    }

    /// Gives the right up because the queue is gone: nobody waits for an answer.
    pub fn abandon(mut self) {
        self.ended = true;
    }

    /// Marks the right as used and returns what an answer needs.
    pub(crate) fn end(mut self) -> (Cid, Option<RKey>, Stage) {
        self.ended = true;
        (self.cid, self.invalidate, self.stage)
    }

    /// Permits that were dropped without an answer since the program began: each is a bug.
    pub fn dropped() -> u64 {
        DROPPED.load(Ordering::Relaxed)
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if !self.ended {
            DROPPED.fetch_add(1, Ordering::Relaxed);
            debug_assert!(
                std::thread::panicking(),
                "permit of command {} on queue {} was dropped",
                self.cid,
                self.qid,
            );
        }
    }
}

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outcome {
    /// Its status.
    pub status: Status,
    /// Dwords 0 and 1 of the completion.
    pub result: u64,
    /// What of the command was wrong, for the error log.
    pub(crate) location: Location,
}

impl Outcome {
    /// Success without a result.
    pub const SUCCESS: Self = Self::result(0);

    /// Success with dwords 0 and 1.
    pub const fn result(result: u64) -> Self {
        Self { status: Status::SUCCESS, result, location: Location::NONE }
    }

    /// Failure.
    pub const fn failed(status: Status) -> Self {
        Self { status, result: 0, location: Location::NONE }
    }
}

impl From<Refusal> for Outcome {
    fn from(refusal: Refusal) -> Self {
        Self { location: refusal.location, ..Self::failed(refusal.status) }
    }
}

impl From<Status> for Outcome {
    fn from(status: Status) -> Self {
        Self::failed(status)
    }
}

/// A response capsule to send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Completion {
    /// The entry: the whole capsule.
    pub cqe: Cqe,
    /// The host asked for this key to be invalidated by the send, which is optional.
    pub invalidate: Option<RKey>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn permit() -> Permit {
        Permit::new(Qid(1), Cid(2), 3)
    }

    #[test]
    #[cfg_attr(debug_assertions, should_panic(expected = "was dropped"))]
    fn permit_that_is_dropped_is_counted_and_stops_a_debug_build() {
        let before = Permit::dropped();
        drop(permit());
        assert_eq!(Permit::dropped(), before + 1);
    }

    #[test]
    fn permit_that_ends_is_no_loss() {
        permit().abandon();
        assert_eq!(permit().end(), (Cid(2), None, Stage::Plain));
    }
}
