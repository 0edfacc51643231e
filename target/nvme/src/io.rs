//! I/O commands of the NVM command set (NVM Command Set 1.0 §3.2).

use std::sync::Arc;

use crate::action::HostData;
use crate::connect::IoView;
use crate::data::{self, InCapsule};
use crate::export::{Namespace, Subsystem};
use crate::ident::{DiskId, Nsid, RKey};
use crate::limits;
use crate::permit::Stage;
use crate::wire::refusal::{Refusal, field};
use crate::wire::{HostSgl, Sqe, Status};

/// Opcodes of the NVM command set that we know.
pub mod opcode {
    /// Flush.
    pub const FLUSH: u8 = 0x00;
    /// Write.
    pub const WRITE: u8 = 0x01;
    /// Read.
    pub const READ: u8 = 0x02;
    /// Write Zeroes.
    pub const WRITE_ZEROES: u8 = 0x08;
    /// Dataset Management.
    pub const DATASET_MANAGEMENT: u8 = 0x09;
}

const NLB_MASK: u32 = 0xffff;
const FUA: u32 = 1 << 30;
const WRITE_ZEROES_DEAC: u32 = 1 << 25;
const DSM_NR_MASK: u32 = 0xff;
const DSM_AD: u32 = 1 << 2;

/// Blocks of a namespace, within its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Extent {
    /// First block.
    pub lba: u64,
    /// Blocks; may be 0 in a range of Dataset Management only.
    pub blocks: u64,
    /// The first block in bytes.
    pub offset_bytes: u64,
    /// The blocks in bytes.
    pub len_bytes: u64,
}

impl Extent {
    /// Blocks of a namespace.
    ///
    /// # Errors
    /// LBA Out of Range.
    pub fn new(namespace: &Namespace, lba: u64, blocks: u64) -> Result<Self, Status> {
        let end = lba.checked_add(blocks).ok_or(Status::LBA_OUT_OF_RANGE.dnr())?;
        let bytes = |blocks: u64| blocks.checked_mul(1 << namespace.lba_shift);
        match (bytes(lba), bytes(blocks)) {
            (Some(offset_bytes), Some(len_bytes)) if end <= namespace.lba_count => {
                Ok(Self { lba, blocks, offset_bytes, len_bytes })
            }
            _ => Err(Status::LBA_OUT_OF_RANGE.dnr()),
        }
    }
}

/// Work for a disk.
#[derive(Debug, Clone)]
pub enum DiskOp {
    /// Read blocks and write them to the host's memory.
    Read {
        /// Disk of the namespace.
        disk: DiskId,
        /// Blocks; at least one, at most MDTS.
        extent: Extent,
        /// As many bytes of the host's memory.
        to: HostSgl,
    },
    /// Bring the host's data and write it.
    Write {
        /// Disk of the namespace.
        disk: DiskId,
        /// Blocks; at least one, at most MDTS.
        extent: Extent,
        /// As many bytes of the host's.
        from: HostData,
        /// On the medium before completion.
        fua: bool,
    },
    /// Bring what was written to the medium.
    Flush {
        /// Disk of the namespace.
        disk: DiskId,
    },
    /// The same for every namespace.
    FlushAll {
        /// The subsystem whose namespaces are meant; some may be absent by now.
        subsystem: Arc<Subsystem>,
    },
    /// Make blocks read as zeroes.
    WriteZeroes {
        /// Disk of the namespace.
        disk: DiskId,
        /// Blocks; at least one, up to 65536 whatever MDTS says.
        extent: Extent,
        /// They may be deallocated if they read as zeroes then.
        deallocate: bool,
        /// On the medium before completion.
        fua: bool,
    },
    /// Give blocks up, one range after the other.
    Deallocate {
        /// Disk of the namespace.
        disk: DiskId,
        /// Which; checked. They are read from the bytes that were given to `handle_fetched`.
        ranges: Ranges,
    },
}

/// Ranges of a Dataset Management command, in the bytes that were fetched for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ranges {
    count: u16,
    lba_shift: u8,
}

impl Ranges {
    /// Checks the ranges of a fetched buffer.
    fn check(namespace: &Namespace, count: u16, data: &[u8]) -> Result<Self, Status> {
        let entries = data.as_chunks::<16>().0;
        let entries =
            entries.get(..usize::from(count)).ok_or(Status::DATA_SGL_LENGTH_INVALID.dnr())?;
        for entry in entries {
            let (lba, blocks) = range(entry);
            Extent::new(namespace, lba, u64::from(blocks))?;
        }
        Ok(Self { count, lba_shift: namespace.lba_shift })
    }

    /// Number of ranges: 1 to 256.
    pub fn count(&self) -> u16 {
        self.count
    }

    /// Range `index` of the same bytes that `handle_fetched` was given; `None` past the last one.
    /// It may be of no blocks.
    pub fn get(&self, data: &[u8], index: u16) -> Option<Extent> {
        if index >= self.count {
            return None;
        }
        let entry = data.as_chunks::<16>().0.get(usize::from(index))?;
        let (lba, blocks) = range(entry);
        let bytes = |blocks: u64| blocks.checked_mul(1 << self.lba_shift);
        Some(Extent {
            lba,
            blocks: u64::from(blocks),
            offset_bytes: bytes(lba)?,
            len_bytes: bytes(u64::from(blocks))?,
        })
    }
}

/// First block and number of blocks of a range (NVM Command Set 1.0 §3.2.3).
fn range(entry: &[u8; 16]) -> (u64, u32) {
    let [_, _, _, _, n0, n1, n2, n3, l0, l1, l2, l3, l4, l5, l6, l7] = *entry;
    (u64::from_le_bytes([l0, l1, l2, l3, l4, l5, l6, l7]), u32::from_le_bytes([n0, n1, n2, n3]))
}

/// Whether command dwords 10 and 11 are a block, as far as the opcode says.
pub(crate) fn names_blocks(opcode: u8) -> bool {
    matches!(opcode, opcode::READ | opcode::WRITE | opcode::WRITE_ZEROES)
}

/// What an I/O command asks for first.
#[derive(Debug)]
pub(crate) enum Step {
    Execute(DiskOp),
    Fetch { from: HostData, len: u32 },
    Done,
}

/// An I/O command that was understood.
#[derive(Debug)]
pub(crate) struct Started {
    pub(crate) step: Step,
    pub(crate) stage: Stage,
    pub(crate) invalidate: Option<RKey>,
}

impl Started {
    fn plain(step: Step) -> Self {
        Self { step, stage: Stage::Plain, invalidate: None }
    }
}

/// Reads an I/O command against a queue's snapshot.
pub(crate) fn start(sqe: &Sqe, view: &IoView, came: InCapsule) -> Result<Started, Refusal> {
    if !view.ready {
        return Err(Status::COMMAND_SEQUENCE_ERROR.dnr().into());
    }
    sqe.check_flags()?;
    match sqe.opcode {
        opcode::READ => read(sqe, view),
        opcode::WRITE => write(sqe, view, came),
        opcode::FLUSH => flush(sqe, view),
        opcode::WRITE_ZEROES => write_zeroes(sqe, view),
        opcode::DATASET_MANAGEMENT => dataset_management(sqe, view, came),
        _ => Err(Status::INVALID_OPCODE.dnr().at(field::OPCODE)),
    }
}

fn namespace(nsid: Nsid, view: &IoView) -> Result<&Namespace, Refusal> {
    view.subsystem.namespace(nsid).ok_or(Status::INVALID_NAMESPACE.dnr().at(field::NSID))
}

fn writable(nsid: Nsid, view: &IoView) -> Result<&Namespace, Refusal> {
    let namespace = namespace(nsid, view)?;
    if namespace.read_only {
        return Err(Status::NAMESPACE_WRITE_PROTECTED.dnr().at(field::NSID));
    }
    Ok(namespace)
}

/// SLBA and NLB of a command: at least one block.
fn blocks(sqe: &Sqe, namespace: &Namespace) -> Result<Extent, Refusal> {
    let nlb = sqe.cdw12.get() & NLB_MASK;
    let extent = Extent::new(namespace, sqe.cdw10_11(), u64::from(nlb) + 1);
    extent.map_err(|status| status.at(field::CDW10))
}

/// Blocks whose data travels: also within MDTS. The bytes are those of the extent.
fn transfer(sqe: &Sqe, namespace: &Namespace, view: &IoView) -> Result<(Extent, u32), Refusal> {
    let nlb = u64::from(sqe.cdw12.get() & NLB_MASK) + 1;
    let len = nlb << namespace.lba_shift;
    if len > u64::from(view.subsystem.limits.mdts_bytes) {
        return Err(Status::INVALID_FIELD.dnr().at(field::CDW12));
    }
    let len = u32::try_from(len).map_err(|_| Status::INVALID_FIELD.dnr())?;
    Ok((blocks(sqe, namespace)?, len))
}

fn fua(sqe: &Sqe, view: &IoView) -> bool {
    sqe.cdw12.get() & FUA != 0 || !view.write_cache
}

/// FUA is not looked at: what was written is what the disk gives, on the medium or not.
fn read(sqe: &Sqe, view: &IoView) -> Result<Started, Refusal> {
    let namespace = namespace(sqe.nsid(), view)?;
    let (extent, bytes) = transfer(sqe, namespace, view)?;
    let to = data::to_host(sqe, u64::from(bytes))?;
    Ok(Started {
        step: Step::Execute(DiskOp::Read { disk: namespace.disk, extent, to }),
        stage: Stage::Read { bytes },
        invalidate: to.invalidate.then_some(to.rkey),
    })
}

fn write(sqe: &Sqe, view: &IoView, came: InCapsule) -> Result<Started, Refusal> {
    let namespace = writable(sqe.nsid(), view)?;
    let (extent, bytes) = transfer(sqe, namespace, view)?;
    let from = data::from_host_exact(sqe, came, u64::from(bytes))?;
    let fua = fua(sqe, view);
    Ok(Started {
        step: Step::Execute(DiskOp::Write { disk: namespace.disk, extent, from, fua }),
        stage: Stage::Write { bytes },
        invalidate: sqe.sgl()?.invalidate(),
    })
}

fn flush(sqe: &Sqe, view: &IoView) -> Result<Started, Refusal> {
    if sqe.nsid() == Nsid::ALL {
        let subsystem = Arc::clone(&view.subsystem);
        return Ok(Started::plain(Step::Execute(DiskOp::FlushAll { subsystem })));
    }
    let disk = namespace(sqe.nsid(), view)?.disk;
    Ok(Started::plain(Step::Execute(DiskOp::Flush { disk })))
}

fn write_zeroes(sqe: &Sqe, view: &IoView) -> Result<Started, Refusal> {
    let namespace = writable(sqe.nsid(), view)?;
    if !namespace.features.write_zeroes {
        return Err(Status::INVALID_OPCODE.dnr().at(field::OPCODE));
    }
    let extent = blocks(sqe, namespace)?;
    let deallocate = sqe.cdw12.get() & WRITE_ZEROES_DEAC != 0
        && namespace.features.deallocate
        && namespace.features.deallocated_reads_zero;
    let fua = fua(sqe, view);
    let disk = namespace.disk;
    Ok(Started::plain(Step::Execute(DiskOp::WriteZeroes { disk, extent, deallocate, fua })))
}

/// Only Deallocate does something; the other attributes are hints, and a namespace that can't
/// deallocate is free to ignore that one too.
fn dataset_management(sqe: &Sqe, view: &IoView, came: InCapsule) -> Result<Started, Refusal> {
    let nsid = sqe.nsid();
    let namespace = namespace(nsid, view)?;
    let ranges = u16::try_from(sqe.cdw10.get() & DSM_NR_MASK).map_or(1, |nr| nr + 1);
    let len = u32::from(ranges) * limits::DSM_RANGE_BYTES;
    let from = data::from_host_at_least(sqe, came, len)?;
    if sqe.cdw11.get() & DSM_AD == 0 {
        return Ok(Started::plain(Step::Done));
    }
    writable(nsid, view)?;
    if !namespace.features.deallocate {
        return Ok(Started::plain(Step::Done));
    }
    Ok(Started {
        step: Step::Fetch { from, len },
        stage: Stage::Deallocate { nsid, ranges },
        invalidate: sqe.sgl()?.invalidate(),
    })
}

/// Goes on with Dataset Management once its ranges are there.
pub(crate) fn deallocate(
    view: &IoView,
    nsid: Nsid,
    ranges: u16,
    data: &[u8],
) -> Result<DiskOp, Refusal> {
    if !view.ready {
        return Err(Status::COMMAND_SEQUENCE_ERROR.dnr().into());
    }
    let namespace = writable(nsid, view)?;
    let ranges = Ranges::check(namespace, ranges, data)?;
    Ok(DiskOp::Deallocate { disk: namespace.disk, ranges })
}
