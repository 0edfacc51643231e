//! Submission queue entries: the first 64 bytes of a command capsule (NVMe Base 2.0 §3.3.3.1).

use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::ident::{Cid, Nsid};
use crate::limits;
use crate::wire::refusal::{Refusal, field};
use crate::wire::{Sgl, Status};

/// A submission queue entry as it came, nothing believed.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned,
)]
#[repr(C)]
pub struct Sqe {
    /// Opcode; its meaning depends on the queue. 7Fh is a Fabrics command.
    pub opcode: u8,
    /// FUSE in bits 1:0, PSDT in bits 7:6; reserved for Fabrics commands.
    pub flags: u8,
    /// Command id.
    pub cid: U16,
    /// Namespace id; its first byte is the type of a Fabrics command.
    pub nsid: U32,
    /// Command dwords 2 and 3.
    pub cdw2: [U32; 2],
    /// Metadata pointer.
    pub mptr: U64,
    /// Data pointer: one SGL descriptor.
    pub dptr: [u8; 16],
    /// Command dword 10.
    pub cdw10: U32,
    /// Command dword 11.
    pub cdw11: U32,
    /// Command dword 12.
    pub cdw12: U32,
    /// Command dword 13.
    pub cdw13: U32,
    /// Command dword 14.
    pub cdw14: U32,
    /// Command dword 15.
    pub cdw15: U32,
}

const _: () = assert!(size_of::<Sqe>() == limits::SQE_BYTES);

const FUSE_MASK: u8 = 0b0000_0011;
const PSDT_MASK: u8 = 0b1100_0000;
/// SGLs, and a metadata pointer to one contiguous buffer: the only form over fabrics.
const PSDT_SGL: u8 = 0b0100_0000;

impl Sqe {
    /// Opcode of Fabrics commands.
    pub const FABRICS: u8 = 0x7f;

    /// The entry at the start of a capsule; `None` when fewer than 64 bytes came.
    pub fn parse(capsule: &[u8]) -> Option<Self> {
        Self::read_from_prefix(capsule).ok().map(|(sqe, _)| sqe)
    }

    /// An entry of zeroes but for opcode and command id, in the form that fabrics want.
    pub fn new(opcode: u8, cid: Cid) -> Self {
        let mut sqe = Self::new_zeroed();
        sqe.opcode = opcode;
        sqe.flags = PSDT_SGL;
        sqe.cid = U16::new(cid.0);
        sqe
    }

    /// The command id.
    pub fn cid(&self) -> Cid {
        Cid(self.cid.get())
    }

    /// The namespace id.
    pub fn nsid(&self) -> Nsid {
        Nsid(self.nsid.get())
    }

    /// Type of a Fabrics command.
    pub fn fctype(&self) -> u8 {
        self.nsid.as_bytes()[0]
    }

    /// The SGL.
    ///
    /// # Errors
    /// SGL Descriptor Type Invalid.
    pub fn sgl(&self) -> Result<Sgl, Status> {
        Sgl::parse(&self.dptr)
    }

    /// FUSE: whether it is half of a fused operation. Not for Fabrics commands.
    pub fn fuse(&self) -> u8 {
        self.flags & FUSE_MASK
    }

    /// FUSE of a first half.
    pub const FUSE_FIRST: u8 = 1;
    /// FUSE of a second half.
    pub const FUSE_SECOND: u8 = 2;

    /// The same without FUSE.
    pub(crate) fn unfused(&self) -> Self {
        Self { flags: self.flags & !FUSE_MASK, ..*self }
    }

    /// Command dwords 10 and 11 as one number.
    pub fn cdw10_11(&self) -> u64 {
        u64::from(self.cdw11.get()) << 32 | u64::from(self.cdw10.get())
    }

    /// Refuses half of a fused operation, where none can be, and PRPs, which fabrics do not allow
    /// (NVMe Base 2.0 §4.1.1). Not for Fabrics commands: their byte 1 is reserved.
    ///
    /// # Errors
    /// Invalid Field in Command.
    pub fn check_flags(&self) -> Result<(), Refusal> {
        if self.flags & FUSE_MASK != 0 {
            return Err(Status::INVALID_FIELD.dnr().at(field::FLAGS));
        }
        if self.flags & PSDT_MASK != PSDT_SGL {
            return Err(Status::INVALID_FIELD.dnr().at_bit(field::FLAGS, 6));
        }
        Ok(())
    }
}
