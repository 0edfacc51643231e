//! The discovery log page (NVMe-oF 1.1 §5): a header and entries, 1024 bytes each.

use zerocopy::little_endian::{U16, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::limits;

/// Header of the discovery log page.
#[derive(Debug, Clone, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct DiscoveryHeader {
    /// Generation: a host reads again when it changed between two reads.
    pub genctr: U64,
    /// Number of entries.
    pub numrec: U64,
    /// Record format: 0.
    pub recfmt: U16,
    gap18: [u8; 1006],
}

/// Entry of the discovery log page.
#[derive(Debug, Clone, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct DiscoveryEntry {
    /// Transport type: 1 for RDMA.
    pub trtype: u8,
    /// Address family: 1 for IPv4, 2 for IPv6.
    pub adrfam: u8,
    /// 1 referral, 2 NVM subsystem, 3 this discovery subsystem.
    pub subtype: u8,
    /// Transport requirements: bit 2 says that SQ flow control may be disabled.
    pub treq: u8,
    /// Port.
    pub portid: U16,
    /// Controller: FFFFh in the dynamic model.
    pub cntlid: U16,
    /// Admin submission queue entries at most.
    pub asqsz: U16,
    /// Flags: bit 1 explicit persistent connections.
    pub eflags: U16,
    gap12: [u8; 20],
    /// Transport service id, NUL padded.
    pub trsvcid: [u8; 32],
    gap64: [u8; 192],
    /// NQN, NUL padded.
    pub subnqn: [u8; limits::NQN_FIELD_BYTES],
    /// Transport address, NUL padded.
    pub traddr: [u8; 256],
    /// Transport specific: queue pair type.
    pub rdma_qptype: u8,
    /// Transport specific: provider type.
    pub rdma_prtype: u8,
    /// Transport specific: connection management service.
    pub rdma_cms: u8,
    gap771: [u8; 253],
}

const _: () = {
    use core::mem::offset_of;
    let bytes = limits::DISCOVERY_ENTRY_BYTES;
    assert!(size_of::<DiscoveryHeader>() as u64 == bytes);
    assert!(size_of::<DiscoveryEntry>() as u64 == bytes);
    assert!(offset_of!(DiscoveryEntry, asqsz) == 8);
    assert!(offset_of!(DiscoveryEntry, trsvcid) == 32);
    assert!(offset_of!(DiscoveryEntry, subnqn) == 256);
    assert!(offset_of!(DiscoveryEntry, traddr) == 512);
    assert!(offset_of!(DiscoveryEntry, rdma_qptype) == 768);
};
