//! Identify data structures (NVMe Base 2.0 §5.17, NVM Command Set 1.0 §4.1.5).

use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::limits;

/// Identify Controller (CNS 01h). Fields that we never set are gaps; names are the specification's.
#[expect(missing_docs, reason = "the fields are the specification's, listed with their offsets")]
#[derive(Debug, Clone, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct IdentifyController {
    pub vid: U16,
    pub ssvid: U16,
    pub sn: [u8; 20],
    pub mn: [u8; 40],
    pub fr: [u8; 8],
    pub rab: u8,
    pub ieee: [u8; 3],
    pub cmic: u8,
    pub mdts: u8,
    pub cntlid: U16,
    pub ver: U32,
    pub rtd3r: U32,
    pub rtd3e: U32,
    pub oaes: U32,
    pub ctratt: U32,
    gap100: [u8; 11],
    pub cntrltype: u8,
    gap112: [u8; 144],
    pub oacs: U16,
    pub acl: u8,
    pub aerl: u8,
    pub frmw: u8,
    pub lpa: u8,
    pub elpe: u8,
    pub npss: u8,
    gap264: [u8; 2],
    pub wctemp: U16,
    pub cctemp: U16,
    gap270: [u8; 50],
    pub kas: U16,
    gap322: [u8; 190],
    pub sqes: u8,
    pub cqes: u8,
    pub maxcmd: U16,
    pub nn: U32,
    pub oncs: U16,
    pub fuses: U16,
    pub fna: u8,
    pub vwc: u8,
    pub awun: U16,
    pub awupf: U16,
    pub icsvscc: u8,
    pub nwpc: u8,
    pub acwu: U16,
    pub ocfs: U16,
    pub sgls: U32,
    pub mnan: U32,
    gap544: [u8; 224],
    pub subnqn: [u8; limits::NQN_FIELD_BYTES],
    gap1024: [u8; 768],
    pub ioccsz: U32,
    pub iorcsz: U32,
    pub icdoff: U16,
    pub fcatt: u8,
    pub msdbd: u8,
    pub ofcs: U16,
    pub dctype: u8,
    gap1807: [u8; 241],
    gap2048: [u8; 2048],
}

/// Identify Namespace of the NVM command set (CNS 00h).
#[expect(missing_docs, reason = "the fields are the specification's, listed with their offsets")]
#[derive(Debug, Clone, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct IdentifyNamespace {
    pub nsze: U64,
    pub ncap: U64,
    pub nuse: U64,
    pub nsfeat: u8,
    pub nlbaf: u8,
    pub flbas: u8,
    pub mc: u8,
    pub dpc: u8,
    pub dps: u8,
    pub nmic: u8,
    pub rescap: u8,
    pub fpi: u8,
    pub dlfeat: u8,
    gap34: [u8; 30],
    pub npwg: U16,
    pub npwa: U16,
    pub npdg: U16,
    pub npda: U16,
    pub nows: U16,
    pub mssrl: U16,
    pub mcl: U32,
    pub msrc: u8,
    gap81: [u8; 11],
    pub anagrpid: U32,
    gap96: [u8; 3],
    pub nsattr: u8,
    gap100: [u8; 4],
    pub nguid: [u8; 16],
    pub eui64: [u8; 8],
    pub lbaf0: LbaFormat,
    gap132: [u8; 3964],
}

/// A block format.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct LbaFormat {
    /// Metadata bytes of a block.
    pub ms: U16,
    /// Logarithm of the block's bytes.
    pub lbads: u8,
    /// Relative performance.
    pub rp: u8,
}

/// Identify Namespace independent of the command set (CNS 08h).
#[expect(missing_docs, reason = "the fields are the specification's, listed with their offsets")]
#[derive(Debug, Clone, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct IdentifyIndependentNamespace {
    pub nsfeat: u8,
    pub nmic: u8,
    pub rescap: u8,
    pub fpi: u8,
    pub anagrpid: U32,
    pub nsattr: u8,
    gap9: u8,
    pub nvmsetid: U16,
    pub endgid: U16,
    pub nstat: u8,
    gap15: [u8; 4081],
}

const _: () = {
    use core::mem::offset_of;
    let bytes = limits::IDENTIFY_BYTES as usize;
    assert!(size_of::<IdentifyController>() == bytes);
    assert!(size_of::<IdentifyNamespace>() == bytes);
    assert!(size_of::<IdentifyIndependentNamespace>() == bytes);
    assert!(offset_of!(IdentifyController, cntlid) == 78);
    assert!(offset_of!(IdentifyController, cntrltype) == 111);
    assert!(offset_of!(IdentifyController, oacs) == 256);
    assert!(offset_of!(IdentifyController, wctemp) == 266);
    assert!(offset_of!(IdentifyController, kas) == 320);
    assert!(offset_of!(IdentifyController, sqes) == 512);
    assert!(offset_of!(IdentifyController, vwc) == 525);
    assert!(offset_of!(IdentifyController, acwu) == 532);
    assert!(offset_of!(IdentifyController, sgls) == 536);
    assert!(offset_of!(IdentifyController, mnan) == 540);
    assert!(offset_of!(IdentifyController, subnqn) == 768);
    assert!(offset_of!(IdentifyController, ioccsz) == 1792);
    assert!(offset_of!(IdentifyController, ofcs) == 1804);
    assert!(offset_of!(IdentifyController, dctype) == 1806);
    assert!(offset_of!(IdentifyNamespace, dlfeat) == 33);
    assert!(offset_of!(IdentifyNamespace, npwg) == 64);
    assert!(offset_of!(IdentifyNamespace, mssrl) == 74);
    assert!(offset_of!(IdentifyNamespace, msrc) == 80);
    assert!(offset_of!(IdentifyNamespace, anagrpid) == 92);
    assert!(offset_of!(IdentifyNamespace, nsattr) == 99);
    assert!(offset_of!(IdentifyNamespace, nguid) == 104);
    assert!(offset_of!(IdentifyNamespace, lbaf0) == 128);
    assert!(offset_of!(IdentifyIndependentNamespace, nstat) == 14);
};
