//! Work requests as Sluice owns them: an id that is never a pointer, and the memory that goes with
//! it.

use crate::device::{RecvDesc, Sge, WcStatus};
use crate::marker::Queue;
use crate::pool::{Buf, RecvBuf};

/// What a work request does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum WrKind {
    /// Receive.
    Recv = 1,
    /// SEND.
    Send = 2,
    /// RDMA WRITE.
    Write = 3,
    /// RDMA READ.
    Read = 4,
}

impl WrKind {
    /// Which of the two queues it is posted to.
    #[must_use]
    pub fn is_recv(self) -> bool {
        self == Self::Recv
    }
}

/// What an id stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum IdKind {
    /// A work request of the protocol above.
    Work(WrKind),
    /// The marker of a queue: nobody but the drain ever sees it.
    Marker(Queue),
    /// A receive that several queue pairs share.
    SharedRecv,
}

impl IdKind {
    fn to_bits(self) -> u64 {
        match self {
            Self::Work(kind) => kind as u64,
            Self::Marker(Queue::Send) => 5,
            Self::Marker(Queue::Recv) => 6,
            Self::SharedRecv => 7,
        }
    }

    fn from_bits(bits: u64) -> Option<Self> {
        Some(match bits {
            1 => Self::Work(WrKind::Recv),
            2 => Self::Work(WrKind::Send),
            3 => Self::Work(WrKind::Write),
            4 => Self::Work(WrKind::Read),
            5 => Self::Marker(Queue::Send),
            6 => Self::Marker(Queue::Recv),
            7 => Self::SharedRecv,
            _ => return None,
        })
    }
}

/// The id of a work request: kind (4 bits), connection (14), slot (14), generation (32).
///
/// The kind is needed because a failed completion says nothing of its opcode; the generation tells
/// a late completion of an earlier use of the slot from this one (IBTA vol 1 §11.4.2.1 promises
/// only that the id comes back).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct WrId {
    /// What it stands for.
    pub kind: IdKind,
    /// Slot of the connection in its reactor; of a shared receive, the slot of its queue.
    pub connection: u16,
    /// Slot of the work request in its connection.
    pub slot: u16,
    /// Differs for each use of the slot.
    pub generation: u32,
}

const FIELD: u64 = (1 << 14) - 1;

impl WrId {
    /// As the device carries it.
    #[must_use]
    pub fn to_raw(self) -> u64 {
        self.kind.to_bits() << 60
            | (u64::from(self.connection) & FIELD) << 46
            | (u64::from(self.slot) & FIELD) << 32
            | u64::from(self.generation)
    }

    /// From a completion; `None` for an id that nobody here made.
    #[must_use]
    pub fn from_raw(raw: u64) -> Option<Self> {
        Some(Self {
            kind: IdKind::from_bits(raw >> 60)?,
            connection: u16::try_from(raw >> 46 & FIELD).ok()?,
            slot: u16::try_from(raw >> 32 & FIELD).ok()?,
            generation: u32::try_from(raw & u64::from(u32::MAX)).ok()?,
        })
    }
}

/// The memory of a work request.
#[derive(Debug)]
pub enum Memory {
    /// One buffer that is sent, written from, or read into.
    Buf(Buf),
    /// A receive.
    Recv(RecvBuf),
}

impl Memory {
    /// The entries of a receive.
    pub(crate) fn recv_desc(&self, wr_id: u64) -> RecvDesc {
        let none = Sge { addr: 0, len: 0, lkey: 0 };
        let sges = match self {
            Self::Buf(buf) => [buf.sge(), none],
            Self::Recv(recv) => [recv.capsule.sge(), recv.data.as_ref().map_or(none, Buf::sge)],
        };
        RecvDesc { wr_id, sges }
    }
}

/// By which door a work request left the in-flight table. There is no other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Door {
    /// R1: its completion was polled.
    Completed {
        /// Its status.
        status: WcStatus,
        /// Bytes received (receives that succeeded).
        byte_len: u32,
    },
    /// R2: a later one of the same send queue completed, and this provider keeps order; or the
    /// marker behind it was flushed.
    InOrder,
    /// R3: the queue refused it, or it was never posted.
    Refused,
    /// R4: its queue pair, or the shared queue that it was posted to, is destroyed.
    Destroyed,
}

/// A work request that the device can't touch any more, with its memory back.
#[derive(Debug)]
pub struct Retired {
    /// What it did.
    pub kind: WrKind,
    /// Its memory.
    pub memory: Memory,
    /// What its poster wanted to remember.
    pub context: u64,
    /// How it left.
    pub door: Door,
}

impl Retired {
    /// It completed with success: what it was to do is done.
    #[must_use]
    pub fn succeeded(&self) -> bool {
        matches!(self.door, Door::Completed { status: WcStatus::Success, .. })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_comes_back_as_it_went() {
        let work = [WrKind::Recv, WrKind::Send, WrKind::Write, WrKind::Read].map(IdKind::Work);
        for kind in
            work.into_iter().chain(Queue::ALL.map(IdKind::Marker)).chain([IdKind::SharedRecv])
        {
            let id = WrId { kind, connection: 16_383, slot: 9_999, generation: 0xDEAD_BEEF };
            assert_eq!(WrId::from_raw(id.to_raw()), Some(id));
        }
    }

    #[test]
    fn an_id_that_nobody_made_is_refused() {
        assert_eq!(WrId::from_raw(0), None);
        assert_eq!(WrId::from_raw(u64::MAX), None);
    }
}
