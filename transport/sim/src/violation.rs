//! What must never happen, by the numbers of the drain contract.

use std::fmt;

use transport::time::Now;

/// A rule of the drain contract (invariants S1 to S17).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Rule {
    /// Memory that a device may touch is freed, reused, deregistered or handed to a disk.
    S1 = 1,
    /// Memory left the in-flight table by no door.
    S2,
    /// Memory that a disk may touch is freed, reposted or given to the device as a target.
    S3,
    /// A work request is retired twice.
    S4,
    /// A post after our own move to ERR (one marker per queue excepted).
    S5,
    /// A command dispatched from a completion handled in a close.
    S6,
    /// A disk write although a READ of its command failed.
    S7,
    /// A verb on an object whose destroy began, or a second destroy.
    S8,
    /// A CM or completion channel read when its object's destroy had begun.
    S9,
    /// A stale completion had an effect.
    S10,
    /// A poll of a completion queue that may hold completions of a destroyed queue pair, on a
    /// provider that dies of it.
    S11,
    /// A region, domain, completion queue or channel destroyed before what depends on it.
    S12,
    /// A queue pair's number used as its identity after destroy.
    S13,
    /// Memory released although the destroy failed.
    S14,
    /// A state went back.
    S15,
    /// A shared receive's memory freed by neither completion nor destroy of the shared queue.
    S16,
    /// A new association's I/O overtook an old one's write.
    S17,
}

impl Rule {
    /// Its sentence.
    #[must_use]
    pub fn text(self) -> &'static str {
        match self {
            Self::S1 => "memory that a device may touch was used for something else",
            Self::S2 => "memory left the in-flight table by no door",
            Self::S3 => "memory that a disk may touch was used for something else",
            Self::S4 => "a work request was retired twice",
            Self::S5 => "a post after our own move to ERR",
            Self::S6 => "a command was dispatched in a close",
            Self::S7 => "a disk write although a READ of its command failed",
            Self::S8 => "a verb on an object whose destroy had begun",
            Self::S9 => "a channel was read when its object's destroy had begun",
            Self::S10 => "a stale completion had an effect",
            Self::S11 => "a poll that this provider does not survive",
            Self::S12 => "an object was destroyed before what depends on it",
            Self::S13 => "a queue pair's number was used as its identity",
            Self::S14 => "memory was released although the destroy failed",
            Self::S15 => "a state went back",
            Self::S16 => "a shared receive's memory was freed too early",
            Self::S17 => "an old write and a new association's I/O overlap",
        }
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "S{}: {}", *self as u8, self.text())
    }
}

/// A rule that was broken, when, and by what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Which rule.
    pub rule: Rule,
    /// Virtual time.
    pub at: Now,
    /// What was done, in words.
    pub what: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (at {:?}): {}", self.rule, self.at.0, self.what)
    }
}
