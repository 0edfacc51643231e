//! SGL descriptors of commands over RDMA (NVMe Base 2.0 §4.1.2, NVMe-oF 1.1 §7.3).

use crate::ident::RKey;
use crate::limits;
use crate::wire::Status;

/// What a host says about its own memory: a claim, for the device and nobody else.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct HostSgl {
    /// Address as the key sees it.
    pub addr: u64,
    /// Key of the memory.
    pub rkey: RKey,
    /// Bytes; at most 16 MiB - 1.
    pub len: u32,
    /// The host would like the response to invalidate the key.
    pub invalidate: bool,
}

/// A command's data pointer, in one of the forms that NVMe/RDMA allows in the SQE.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Sgl {
    /// Memory of the host: Keyed SGL Data Block.
    Keyed(HostSgl),
    /// Data that came with the capsule: SGL Data Block with an offset from byte 64.
    InCapsule {
        /// Bytes after the SQE.
        offset: u64,
        /// Bytes of data.
        len: u32,
    },
}

const TYPE_DATA_BLOCK: u8 = 0x0;
const TYPE_KEYED_DATA_BLOCK: u8 = 0x4;
const SUBTYPE_ADDRESS: u8 = 0x0;
const SUBTYPE_OFFSET: u8 = 0x1;
const SUBTYPE_INVALIDATE: u8 = 0xf;

impl Sgl {
    /// Reads the 16 bytes of a descriptor.
    ///
    /// # Errors
    /// SGL Descriptor Type Invalid for every type and subtype that is not listed.
    pub fn parse(bytes: &[u8; 16]) -> Result<Self, Status> {
        let [a0, a1, a2, a3, a4, a5, a6, a7, l0, l1, l2, b3, b4, b5, b6, kind] = *bytes;
        let addr = u64::from_le_bytes([a0, a1, a2, a3, a4, a5, a6, a7]);
        match (kind >> 4, kind & 0xf) {
            (TYPE_DATA_BLOCK, SUBTYPE_OFFSET) => {
                Ok(Self::InCapsule { offset: addr, len: u32::from_le_bytes([l0, l1, l2, b3]) })
            }
            (TYPE_KEYED_DATA_BLOCK, subtype @ (SUBTYPE_ADDRESS | SUBTYPE_INVALIDATE)) => {
                Ok(Self::Keyed(HostSgl {
                    addr,
                    rkey: RKey(u32::from_le_bytes([b3, b4, b5, b6])),
                    len: u32::from_le_bytes([l0, l1, l2, 0]),
                    invalidate: subtype == SUBTYPE_INVALIDATE,
                }))
            }
            _ => Err(Status::SGL_DESCRIPTOR_TYPE_INVALID.dnr()),
        }
    }

    /// The 16 bytes of the descriptor; keyed lengths above 24 bits are cut.
    pub fn emit(&self) -> [u8; 16] {
        let mut bytes = [0; 16];
        match self {
            Self::Keyed(sgl) => {
                bytes[..8].copy_from_slice(&sgl.addr.to_le_bytes());
                let len = (sgl.len & limits::KEYED_LENGTH_MAX).to_le_bytes();
                bytes[8..11].copy_from_slice(&len[..3]);
                bytes[11..15].copy_from_slice(&sgl.rkey.0.to_le_bytes());
                let subtype = if sgl.invalidate { SUBTYPE_INVALIDATE } else { SUBTYPE_ADDRESS };
                bytes[15] = TYPE_KEYED_DATA_BLOCK << 4 | subtype;
            }
            Self::InCapsule { offset, len } => {
                bytes[..8].copy_from_slice(&offset.to_le_bytes());
                bytes[8..12].copy_from_slice(&len.to_le_bytes());
                bytes[15] = TYPE_DATA_BLOCK << 4 | SUBTYPE_OFFSET;
            }
        }
        bytes
    }

    /// Bytes of data that the descriptor speaks of.
    pub const fn len(&self) -> u32 {
        match self {
            Self::Keyed(sgl) => sgl.len,
            Self::InCapsule { len, .. } => *len,
        }
    }

    /// Whether it speaks of no data.
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The key that the response should invalidate.
    pub fn invalidate(&self) -> Option<RKey> {
        match self {
            Self::Keyed(sgl) => sgl.invalidate.then_some(sgl.rkey),
            Self::InCapsule { .. } => None,
        }
    }
}
