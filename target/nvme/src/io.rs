//! I/O commands of the NVM command set (NVM Command Set 1.0 §3.2).

use std::sync::Arc;

use crate::action::HostData;
use crate::connect::IoView;
use crate::data::{self, InCapsule};
use crate::export::{Namespace, Subsystem};
use crate::ident::{DiskId, Nsid, RKey};
use crate::limits;
use crate::permit::{Permit, Stage};
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
    /// Compare.
    pub const COMPARE: u8 = 0x05;
    /// Write Zeroes.
    pub const WRITE_ZEROES: u8 = 0x08;
    /// Dataset Management.
    pub const DATASET_MANAGEMENT: u8 = 0x09;
    /// Verify.
    pub const VERIFY: u8 = 0x0c;
    /// Copy.
    pub const COPY: u8 = 0x19;
}

const NLB_MASK: u32 = 0xffff;
const FUA: u32 = 1 << 30;
const WRITE_ZEROES_DEAC: u32 = 1 << 25;
const DSM_NR_MASK: u32 = 0xff;
const COPY_NR_MASK: u32 = 0xff;
const COPY_FORMAT_MASK: u32 = 0xf << 8;
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
#[derive(Debug)]
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
    /// Bring the host's data and compare it with the blocks: a difference is Compare Failure.
    Compare {
        /// Disk of the namespace.
        disk: DiskId,
        /// Blocks; at least one, at most MDTS and [`limits::COMPARE_BYTES_MAX`].
        extent: Extent,
        /// As many bytes of the host's.
        from: HostData,
    },
    /// Compare, and write if there is no difference, with no other write to these blocks between.
    CompareAndWrite(Box<CompareAndWrite>),
    /// Read blocks and give their data up.
    Verify {
        /// Disk of the namespace.
        disk: DiskId,
        /// Blocks; at least one, at most MDTS.
        extent: Extent,
    },
    /// Read blocks, all of them, and then write them elsewhere.
    Copy {
        /// Disk of the namespace.
        disk: DiskId,
        /// First byte to read; the blocks lie within the namespace.
        from_bytes: u64,
        /// Where to; at least one block, at most MDTS.
        to: Extent,
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

/// A fused Compare and Write: two commands, each with its answer.
#[derive(Debug)]
pub struct CompareAndWrite {
    /// The Compare; the Write is the command of the action.
    pub first: Permit,
    /// Disk of the namespace.
    pub disk: DiskId,
    /// Blocks; at least one, at most [`limits::COMPARE_AND_WRITE_BLOCKS_MAX`] and MDTS.
    pub extent: Extent,
    /// As many bytes to compare with; in-capsule data is that of [`crate::Action::Hold`].
    pub compare: HostData,
    /// As many bytes to write; in-capsule data is that of the second capsule.
    pub write: HostData,
    /// On the medium before completion.
    pub fua: bool,
}

/// A Compare that is the first half of a fused operation.
#[derive(Debug)]
pub(crate) struct FirstHalf {
    pub(crate) nsid: Nsid,
    pub(crate) extent: Extent,
    pub(crate) from: HostData,
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
    matches!(
        opcode,
        opcode::READ
            | opcode::WRITE
            | opcode::COMPARE
            | opcode::WRITE_ZEROES
            | opcode::VERIFY
            | opcode::COPY
    )
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
        opcode::COMPARE => compare(sqe, view, came),
        opcode::VERIFY => verify(sqe, view),
        opcode::COPY => copy(sqe, view, came),
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

fn compare(sqe: &Sqe, view: &IoView, came: InCapsule) -> Result<Started, Refusal> {
    let namespace = namespace(sqe.nsid(), view)?;
    let (extent, bytes) = transfer(sqe, namespace, view)?;
    if extent.len_bytes > limits::COMPARE_BYTES_MAX {
        return Err(Status::INVALID_FIELD.dnr().at(field::CDW12));
    }
    let from = data::from_host_exact(sqe, came, u64::from(bytes))?;
    Ok(Started {
        step: Step::Execute(DiskOp::Compare { disk: namespace.disk, extent, from }),
        stage: Stage::Read { bytes },
        invalidate: sqe.sgl()?.invalidate(),
    })
}

fn fits_compare_and_write(extent: &Extent) -> Result<(), Refusal> {
    if extent.blocks > u64::from(limits::COMPARE_AND_WRITE_BLOCKS_MAX) {
        return Err(Status::ATOMIC_WRITE_UNIT_EXCEEDED.dnr().at(field::CDW12));
    }
    Ok(())
}

/// Reads the first half of a fused operation: only Compare can be one.
pub(crate) fn first_half(
    sqe: &Sqe,
    view: &IoView,
    came: InCapsule,
) -> Result<(Started, FirstHalf), Refusal> {
    let mut started = start(&sqe.unfused(), view, came)?;
    let Step::Execute(DiskOp::Compare { extent, from, .. }) = started.step else {
        return Err(Status::INVALID_FIELD.dnr().at(field::FLAGS));
    };
    fits_compare_and_write(&extent)?;
    started.step = Step::Done;
    Ok((started, FirstHalf { nsid: sqe.nsid(), extent, from }))
}

/// Why a fused operation can't be carried out.
#[derive(Debug)]
pub(crate) enum NotFused {
    /// The second half is refused by itself.
    Second(Refusal),
    /// The halves do not belong together.
    Both(Refusal),
}

/// Reads the second half of a fused operation: a Write of the same blocks.
pub(crate) fn second_half(
    sqe: &Sqe,
    view: &IoView,
    came: InCapsule,
    first: &FirstHalf,
) -> Result<(Started, HostData, bool), NotFused> {
    let mut started = start(&sqe.unfused(), view, came).map_err(NotFused::Second)?;
    let Step::Execute(DiskOp::Write { extent, from, fua, .. }) = started.step else {
        return Err(NotFused::Both(Status::INVALID_FIELD.dnr().at(field::FLAGS)));
    };
    if sqe.nsid() != first.nsid {
        return Err(NotFused::Both(Status::INVALID_FIELD.dnr().at(field::NSID)));
    }
    if extent != first.extent {
        return Err(NotFused::Both(Status::INVALID_FIELD.dnr().at(field::CDW10)));
    }
    started.step = Step::Done;
    Ok((started, from, fua))
}

fn verify(sqe: &Sqe, view: &IoView) -> Result<Started, Refusal> {
    let namespace = namespace(sqe.nsid(), view)?;
    let (extent, _) = transfer(sqe, namespace, view)?;
    let disk = namespace.disk;
    Ok(Started::plain(Step::Execute(DiskOp::Verify { disk, extent })))
}

/// Format 0 and one range, as Identify says.
fn copy(sqe: &Sqe, view: &IoView, came: InCapsule) -> Result<Started, Refusal> {
    writable(sqe.nsid(), view)?;
    let cdw12 = sqe.cdw12.get();
    if cdw12 & COPY_FORMAT_MASK != 0 {
        return Err(Status::INVALID_FIELD.dnr().at_bit(field::CDW12, 8));
    }
    if cdw12 & COPY_NR_MASK >= u32::from(limits::COPY_RANGES_MAX) {
        return Err(Status::COMMAND_SIZE_LIMIT_EXCEEDED.dnr().at(field::CDW12));
    }
    let len = u32::from(limits::COPY_RANGES_MAX) * limits::COPY_RANGE_BYTES;
    let from = data::from_host_at_least(sqe, came, len)?;
    Ok(Started {
        step: Step::Fetch { from, len },
        stage: Stage::Copy { fua: fua(sqe, view) },
        invalidate: sqe.sgl()?.invalidate(),
    })
}

/// Goes on with Copy once its source range is there (NVM Command Set 1.0 §3.2.2, format 0).
pub(crate) fn copy_range(
    view: &IoView,
    nsid: Nsid,
    lba: u64,
    fua: bool,
    data: &[u8],
) -> Result<DiskOp, Refusal> {
    if !view.ready {
        return Err(Status::COMMAND_SEQUENCE_ERROR.dnr().into());
    }
    let namespace = writable(nsid, view)?;
    let range: &[u8; 32] =
        data.first_chunk().ok_or(Status::DATA_SGL_LENGTH_INVALID.dnr().at(field::DPTR))?;
    let [.., l0, l1, l2, l3, l4, l5, l6, l7] = *range.first_chunk::<16>().unwrap_or(&[0; 16]);
    let source = u64::from_le_bytes([l0, l1, l2, l3, l4, l5, l6, l7]);
    let blocks = u64::from(u16::from_le_bytes([range[16], range[17]])) + 1;
    if blocks > copy_blocks_max(namespace, view.subsystem.limits.mdts_bytes) {
        return Err(Status::COMMAND_SIZE_LIMIT_EXCEEDED.dnr().into());
    }
    let from = Extent::new(namespace, source, blocks)?;
    let to = Extent::new(namespace, lba, blocks).map_err(|status| status.at(field::CDW10))?;
    Ok(DiskOp::Copy { disk: namespace.disk, from_bytes: from.offset_bytes, to, fua })
}

/// Blocks that one Copy command may move: as many as one transfer (MSSRL, MCL).
pub(crate) fn copy_blocks_max(namespace: &Namespace, mdts_bytes: u32) -> u64 {
    u64::from(mdts_bytes >> namespace.lba_shift).clamp(1, u64::from(u16::MAX))
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
