//! Refusals: a status, and the field of the command that earned it.

use crate::wire::Status;

/// First bytes of the fields of a submission queue entry that commands are refused for.
pub mod field {
    /// Opcode.
    pub const OPCODE: u8 = 0;
    /// FUSE and PSDT.
    pub const FLAGS: u8 = 1;
    /// Command id.
    pub const CID: u8 = 2;
    /// Namespace id, or the type of a Fabrics command.
    pub const NSID: u8 = 4;
    /// Data pointer.
    pub const DPTR: u8 = 24;
    /// Command dword 10.
    pub const CDW10: u8 = 40;
    /// Command dword 11.
    pub const CDW11: u8 = 44;
    /// Command dword 12.
    pub const CDW12: u8 = 48;
    /// Command dword 14.
    pub const CDW14: u8 = 56;
}

/// Parameter Error Location: a byte of the submission queue entry and a bit in it (NVMe Base 2.0
/// §5.16.1.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Location(u16);

impl Location {
    /// No field in particular.
    pub const NONE: Self = Self(0xffff);

    /// The field that begins at this byte, below 64.
    pub const fn byte(byte: u8) -> Self {
        Self(byte as u16)
    }

    /// The same at bit `bit`, below 8, of the byte.
    #[must_use]
    pub const fn bit(self, bit: u8) -> Self {
        Self(self.0 & 0xff | ((bit & 7) as u16) << 8)
    }

    /// As the Error Information log page has it.
    pub const fn bits(self) -> u16 {
        self.0
    }
}

/// Why a command is refused, and for which of its fields.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refusal {
    /// The status of its completion.
    pub status: Status,
    /// The field.
    pub location: Location,
}

impl Status {
    /// A refusal for the field that begins at this byte of the submission queue entry.
    pub const fn at(self, byte: u8) -> Refusal {
        Refusal { status: self, location: Location::byte(byte) }
    }

    /// A refusal for one bit of the submission queue entry, counted from bit 0 of the field that
    /// begins at `byte`.
    pub const fn at_bit(self, byte: u8, bit: u8) -> Refusal {
        Refusal { status: self, location: Location::byte(byte + bit / 8).bit(bit % 8) }
    }
}

impl From<Status> for Refusal {
    fn from(status: Status) -> Self {
        Self { status, location: Location::NONE }
    }
}
