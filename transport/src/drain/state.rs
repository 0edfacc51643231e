//! Where a connection is in its life, and what it waits for there.

use std::fmt;

/// Where a connection is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum State {
    /// Accepted by us, not yet established: receives are parked.
    Accepting,
    /// Open.
    Live,
    /// Orderly close: nothing new is dispatched, queued responses go out.
    Quiesce,
    /// Orderly iWARP close: the peer's turn to close first.
    Linger,
    /// Orderly iWARP close: our FIN is sent. No posts from here on.
    Closing,
    /// Our own move to ERR is being made.
    Erroring,
    /// Completions of flushed work requests are awaited.
    Flushing,
    /// Shared receives only: the last one that this queue pair took is awaited.
    SrqWait,
    /// The queue pair is with the reaper.
    Destroying,
    /// The queue pair is gone, memory is back; the CM id is with the reaper.
    IdClosing,
    /// Only disk I/O is still out.
    Reclaiming,
    /// Nothing is left.
    Dead,
    /// The destroy failed: memory is given up, for ever.
    Quarantined,
}

impl State {
    /// Number of states.
    pub const COUNT: usize = 13;

    /// Every state, in the order in which a close may pass them.
    pub const ALL: [Self; Self::COUNT] = [
        Self::Accepting,
        Self::Live,
        Self::Quiesce,
        Self::Linger,
        Self::Closing,
        Self::Erroring,
        Self::Flushing,
        Self::SrqWait,
        Self::Destroying,
        Self::IdClosing,
        Self::Reclaiming,
        Self::Dead,
        Self::Quarantined,
    ];

    /// Its name in reports.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Accepting => "accepting",
            Self::Live => "live",
            Self::Quiesce => "quiesce",
            Self::Linger => "linger",
            Self::Closing => "closing",
            Self::Erroring => "erroring",
            Self::Flushing => "flushing",
            Self::SrqWait => "srq wait",
            Self::Destroying => "destroying",
            Self::IdClosing => "id closing",
            Self::Reclaiming => "reclaiming",
            Self::Dead => "dead",
            Self::Quarantined => "quarantined",
        }
    }
}

/// What a state waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Awaited {
    /// ESTABLISHED.
    Established,
    /// Responses that were queued, and the disk operations that will queue more.
    Responses {
        /// Work requests out on the send queue.
        sends: u32,
        /// Disk operations.
        disk_operations: u32,
    },
    /// The peer's turn to close.
    PeerClose,
    /// The peer's answer to our FIN.
    Fin,
    /// Completions of flushed work requests.
    Flushes {
        /// Out on the send queue.
        sends: u32,
        /// Out on the receive queue.
        receives: u32,
    },
    /// LAST_WQE_REACHED, or the completions behind it.
    LastWqe {
        /// The event itself has come.
        reached: bool,
    },
    /// The reaper that destroys the queue pair.
    QpDestroyed,
    /// The reaper that destroys the CM id.
    IdDestroyed,
    /// Disk operations that hold memory of this connection.
    Disk {
        /// How many.
        disk_operations: u32,
    },
}

impl fmt::Display for Awaited {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Established => f.write_str("ESTABLISHED"),
            Self::Responses { sends, disk_operations } => {
                write!(f, "{sends} sends and {disk_operations} disk operations")
            }
            Self::PeerClose => f.write_str("the peer's close"),
            Self::Fin => f.write_str("the peer's FIN"),
            Self::Flushes { sends, receives } => {
                write!(f, "completions of {sends} sends and {receives} receives")
            }
            Self::LastWqe { reached: false } => f.write_str("LAST_WQE_REACHED"),
            Self::LastWqe { reached: true } => f.write_str("the last shared receives"),
            Self::QpDestroyed => f.write_str("the destroy of the queue pair"),
            Self::IdDestroyed => f.write_str("the destroy of the CM id"),
            Self::Disk { disk_operations } => write!(f, "{disk_operations} disk operations"),
        }
    }
}

/// A state that its deadline ended, and what it still waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct DeadlineMet {
    /// The state.
    pub state: State,
    /// What had not come.
    pub awaited: Awaited,
}

/// Deadlines that one close can meet: Quiesce, Linger, Closing, Flushing, SrqWait; Accepting
/// excludes the first three.
pub const DEADLINES_MAX: usize = 5;
