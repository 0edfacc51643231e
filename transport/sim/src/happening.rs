//! What may happen next, and in which order.

use std::fmt;

use transport::device::{AsyncEvent, CmEvent};
use transport::time::Now;

use crate::peer::PeerEvent;

/// An ordering constraint: of the happenings on one track only the oldest may go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Track {
    /// Requests of one listener.
    Listener(usize),
    /// Events of one connection's id.
    Cm(usize),
    /// A device's asynchronous events.
    Async(usize),
    /// A completion channel.
    Channel(usize),
    /// Execution of a queue pair's READs.
    Reads(usize),
    /// Execution of a queue pair's SENDs and WRITEs.
    Sends(usize),
    /// Completions of a send queue.
    SendCompletions(usize),
    /// Completions of a send queue's READs, where they keep no order with the others.
    ReadCompletions(usize),
    /// Flushes of a send queue.
    FlushSend(usize),
    /// Flushes of a receive queue.
    FlushRecv(usize),
    /// Messages from a peer.
    ToUs(usize),
    /// What reaches a peer.
    ToPeer(usize),
    /// The state of a queue pair.
    State(usize),
}

/// What happens.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum What {
    /// A connection request becomes readable.
    Request { conn: usize },
    /// An event of a connection's id becomes readable.
    Cm { conn: usize, event: CmEvent },
    /// An asynchronous event becomes readable.
    Async { device: usize, event: AsyncEvent },
    /// A completion channel becomes readable.
    Channel { cq: usize },
    /// A work request of the send queue is executed.
    Execute { qp: usize, ordinal: u32 },
    /// A work request of the send queue completes.
    Complete { qp: usize, ordinal: u32 },
    /// The oldest work request of the send queue is flushed.
    FlushSend { qp: usize },
    /// The oldest receive is flushed.
    FlushRecv { qp: usize },
    /// The peer's next message arrives.
    Deliver { conn: usize },
    /// Something reaches the peer.
    ToPeer { conn: usize, event: PeerEvent },
    /// The queue pair notices the end of its peer.
    PeerGone { conn: usize },
    /// An iWARP queue pair leaves CLOSING for the error state.
    Closed { qp: usize },
    /// The requester gives up on a silent peer.
    RetriesExceeded { qp: usize },
}

impl What {
    /// The queue pair with this index does it.
    pub(crate) fn is_of(&self, index: usize) -> bool {
        match self {
            Self::Execute { qp, .. }
            | Self::Complete { qp, .. }
            | Self::FlushSend { qp }
            | Self::FlushRecv { qp }
            | Self::Closed { qp }
            | Self::RetriesExceeded { qp } => *qp == index,
            Self::Request { .. }
            | Self::Cm { .. }
            | Self::Async { .. }
            | Self::Channel { .. }
            | Self::Deliver { .. }
            | Self::ToPeer { .. }
            | Self::PeerGone { .. } => false,
        }
    }
}

/// Something that is to happen.
#[derive(Clone, Debug)]
pub(crate) struct Pending {
    pub(crate) track: Track,
    pub(crate) at: Now,
    pub(crate) what: What,
}

/// Something that may happen now, for a driver that picks by itself.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Happening {
    pub(crate) what: What,
}

impl fmt::Display for Happening {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.what {
            What::Request { conn } => write!(f, "request of connection {conn} arrives"),
            What::Cm { conn, event } => write!(f, "CM event {event:?} for connection {conn}"),
            What::Async { device, event } => write!(f, "async event {event:?} of device {device}"),
            What::Channel { cq } => write!(f, "completion event of queue {cq}"),
            What::Execute { qp, ordinal } => write!(f, "qp {qp} executes send {ordinal}"),
            What::Complete { qp, ordinal } => write!(f, "qp {qp} completes send {ordinal}"),
            What::FlushSend { qp } => write!(f, "qp {qp} flushes a send"),
            What::FlushRecv { qp } => write!(f, "qp {qp} flushes a receive"),
            What::Deliver { conn } => write!(f, "a message of peer {conn} arrives"),
            What::ToPeer { conn, event } => write!(f, "peer {conn} gets {}", event.name()),
            What::PeerGone { conn } => write!(f, "connection {conn} notices that its peer is gone"),
            What::Closed { qp } => write!(f, "qp {qp} is through with CLOSING"),
            What::RetriesExceeded { qp } => write!(f, "qp {qp} gives up retrying"),
        }
    }
}
