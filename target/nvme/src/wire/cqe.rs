//! Completion queue entries: our response capsules (NVMe Base 2.0 §3.3.3.2).

use zerocopy::little_endian::{U16, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::ident::Cid;
use crate::limits;
use crate::wire::Status;

/// A completion queue entry. Over fabrics the phase tag is 0 and the SQ id is reserved.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned,
)]
#[repr(C)]
pub struct Cqe {
    /// Dwords 0 and 1: what the command returns.
    pub result: U64,
    /// Submission queue head; FFFFh in a Connect response agrees to no flow control.
    pub sqhd: U16,
    /// Reserved over fabrics.
    pub sqid: U16,
    /// Command that this completes.
    pub cid: U16,
    /// Status above the phase tag.
    pub status: U16,
}

const _: () = assert!(size_of::<Cqe>() == limits::CQE_BYTES);

impl Cqe {
    /// A completion.
    pub fn new(cid: Cid, sqhd: u16, status: Status, result: u64) -> Self {
        Self {
            result: U64::new(result),
            sqhd: U16::new(sqhd),
            sqid: U16::ZERO,
            cid: U16::new(cid.0),
            status: U16::new(status.bits() << 1),
        }
    }

    /// Its status; [`Cqe::more`] aside.
    pub fn status(&self) -> Status {
        Status::from_bits(self.status.get() >> 1).without_more()
    }

    /// Whether the Error Information log page has more about it.
    pub fn more(&self) -> bool {
        let status = Status::from_bits(self.status.get() >> 1);
        status != status.without_more()
    }

    /// The command that this completes.
    pub fn cid(&self) -> Cid {
        Cid(self.cid.get())
    }
}
