//! Commands of a simulated host.

use nvme::admin::{fctype, opcode};
use nvme::property::offset;
use nvme::{Sqe, io};
use zerocopy::little_endian::U32;

use crate::model::OpId;
use crate::stamp::Version;

/// What a host waits for an answer to.
#[derive(Clone, Debug)]
pub(crate) enum Command {
    /// Connect.
    Connect,
    /// A write of CC.
    SetConfiguration,
    /// A read of CSTS.
    GetStatus,
    /// Identify.
    Identify,
    /// Keep Alive.
    KeepAlive,
    /// Asynchronous Event Request: answered late or never.
    AsyncEvent,
    /// I/O.
    Io(Io),
}

/// An I/O command.
#[derive(Clone, Debug)]
pub(crate) struct Io {
    /// Index of the disk; its namespace is one more.
    pub(crate) disk: usize,
    pub(crate) lba: u64,
    pub(crate) count: u64,
    pub(crate) kind: IoKind,
    /// What the model calls it.
    pub(crate) op: OpId,
}

/// What an I/O command does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum IoKind {
    /// Read.
    Read,
    /// Write of one version.
    Write { version: Version, fua: bool, in_capsule: bool },
    /// Write Zeroes.
    Zero { fua: bool },
    /// Dataset Management, Deallocate.
    Deallocate,
    /// Flush.
    Flush,
}

fn command(code: u8, nsid: u32, dwords: [u32; 3]) -> Sqe {
    let mut sqe = Sqe::new(code, nvme::Cid(0));
    sqe.nsid = U32::new(nsid);
    [sqe.cdw10, sqe.cdw11, sqe.cdw12] = dwords.map(U32::new);
    sqe
}

fn fabrics(kind: u8, dwords: [u32; 3]) -> Sqe {
    command(Sqe::FABRICS, u32::from(kind), dwords)
}

/// EN, all supported command sets, entries of 64 and 16 bytes.
const CC_ENABLED: u32 = 0x0046_0061;
/// SHN: normal.
const CC_SHN_NORMAL: u32 = 1 << 14;

/// What a host wants of its controller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Configuration {
    Enabled,
    Disabled,
    ShutDown,
}

/// Property Set of CC.
pub(crate) fn set_configuration(wanted: Configuration) -> Sqe {
    let value = match wanted {
        Configuration::Enabled => CC_ENABLED,
        Configuration::Disabled => CC_ENABLED & !1,
        Configuration::ShutDown => CC_ENABLED | CC_SHN_NORMAL,
    };
    fabrics(fctype::PROPERTY_SET, [0, offset::CC, value])
}

/// Property Get of CSTS.
pub(crate) fn get_status() -> Sqe {
    fabrics(fctype::PROPERTY_GET, [0, offset::CSTS, 0])
}

pub(crate) fn keep_alive() -> Sqe {
    command(opcode::KEEP_ALIVE, 0, [0; 3])
}

pub(crate) fn async_event() -> Sqe {
    command(opcode::ASYNC_EVENT_REQUEST, 0, [0; 3])
}

/// Identify Controller.
pub(crate) fn identify() -> Sqe {
    command(opcode::IDENTIFY, 0, [1, 0, 0])
}

/// Who connects to what.
pub(crate) struct Connect<'a> {
    pub(crate) qid: u16,
    pub(crate) entries: u16,
    pub(crate) kato_ms: u32,
    pub(crate) cntlid: u16,
    pub(crate) host_id: [u8; 16],
    pub(crate) hostnqn: &'a str,
    pub(crate) subnqn: &'a str,
}

impl Connect<'_> {
    pub(crate) fn sqe(&self) -> Sqe {
        let sqsize = u32::from(self.entries - 1);
        fabrics(fctype::CONNECT, [u32::from(self.qid) << 16, sqsize, self.kato_ms])
    }

    pub(crate) fn data(&self) -> Vec<u8> {
        let mut data = vec![0; 1024];
        data[..16].copy_from_slice(&self.host_id);
        data[16..18].copy_from_slice(&self.cntlid.to_le_bytes());
        data[256..256 + self.subnqn.len()].copy_from_slice(self.subnqn.as_bytes());
        data[512..512 + self.hostnqn.len()].copy_from_slice(self.hostnqn.as_bytes());
        data
    }
}

const FUA: u32 = 1 << 30;
const DEALLOCATE: u32 = 1 << 2;

/// The entry of an I/O command.
pub(crate) fn io(disk: usize, lba: u64, count: u64, kind: IoKind) -> Sqe {
    let nsid = u32::try_from(disk + 1).unwrap_or(u32::MAX);
    let blocks = u32::try_from(count - 1).unwrap_or(u32::MAX);
    let bytes = lba.to_le_bytes();
    let low = u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
    let high = u32::from_le_bytes([bytes[4], bytes[5], bytes[6], bytes[7]]);
    let forced = |fua: bool| if fua { blocks | FUA } else { blocks };
    match kind {
        IoKind::Read => command(io::opcode::READ, nsid, [low, high, blocks]),
        IoKind::Write { fua, .. } => command(io::opcode::WRITE, nsid, [low, high, forced(fua)]),
        IoKind::Zero { fua } => command(io::opcode::WRITE_ZEROES, nsid, [low, high, forced(fua)]),
        IoKind::Deallocate => command(io::opcode::DATASET_MANAGEMENT, nsid, [0, DEALLOCATE, 0]),
        IoKind::Flush => command(io::opcode::FLUSH, nsid, [0; 3]),
    }
}

/// The one range of a deallocation.
pub(crate) fn range(lba: u64, count: u64) -> [u8; 16] {
    let mut range = [0; 16];
    range[4..8].copy_from_slice(&u32::try_from(count).unwrap_or(u32::MAX).to_le_bytes());
    range[8..].copy_from_slice(&lba.to_le_bytes());
    range
}
