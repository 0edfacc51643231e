//! One command between its capsule and its response, and what it waits for.

use nvme::{DiskId, HostSgl, Permit, Ranges, Source, Status, Subsystem};
use std::sync::Arc;
use std::time::Duration;
use transport::pool::Buf;

use crate::orphans::Range;
use crate::reactor::compare::Comparison;

/// A command in progress.
#[derive(Debug)]
pub(crate) struct Command {
    /// The right to answer it; taken when it is answered.
    pub(crate) permit: Option<Permit>,
    pub(crate) work: Work,
    /// Bytes it moves.
    pub(crate) len: usize,
    /// Its memory, while neither a device nor a disk has it.
    pub(crate) buf: Option<Buf>,
    pub(crate) stage: Stage,
    /// When its RDMA READ was posted.
    pub(crate) since: Duration,
}

/// Where a command is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// It has what it needs.
    Ready,
    /// It waits for a buffer.
    Buffer,
    /// It waits for its turn to READ.
    ReadTurn,
    /// Its RDMA READ is out.
    Reading,
    /// It waits until its blocks are its own.
    Claim,
    /// Its disk operation waits behind an orphan, or for room in the engine, or is out.
    Disk,
}

/// What a command does.
#[derive(Debug)]
pub(crate) enum Work {
    /// Brings bytes of the host for the core.
    Fetch {
        /// Where they are.
        from: HostSgl,
    },
    /// Brings bytes of the core to the host.
    Return {
        /// Where they go.
        to: HostSgl,
        /// What they are.
        source: Source,
    },
    /// Disk to host.
    Read {
        /// Which disk.
        disk: DiskId,
        /// First byte on it.
        offset: u64,
        /// Where the data goes.
        to: HostSgl,
    },
    /// Host to disk.
    Write {
        /// Which disk.
        disk: DiskId,
        /// First byte on it.
        offset: u64,
        /// Where the data comes from; `None`: it came in the capsule.
        from: Option<HostSgl>,
        /// To the medium before completion.
        fua: bool,
    },
    /// Disk against host, and to the disk if a Write is fused to it.
    Compare(Box<Comparison>),
    /// Disk to nobody.
    Verify {
        /// Which disk.
        disk: DiskId,
        /// First byte on it.
        offset: u64,
    },
    /// Disk to the same disk.
    Copy {
        /// Which disk.
        disk: DiskId,
        /// First byte to read.
        from: u64,
        /// First byte to write.
        to: u64,
        /// To the medium before completion.
        fua: bool,
        /// All was read, and is being written.
        writing: bool,
    },
    /// An operation on a disk that moves no data.
    Range {
        /// Which disk.
        disk: DiskId,
        /// What it changes.
        range: Range,
    },
    /// Flush of one disk.
    Flush,
    /// Flush of every namespace of a subsystem, one after the other.
    FlushAll {
        /// Whose namespaces.
        subsystem: Arc<Subsystem>,
        /// Index of the next namespace.
        next: usize,
    },
    /// Dataset Management, one range after the other; they lie in the command's buffer.
    Deallocate {
        /// Which disk.
        disk: DiskId,
        /// The ranges.
        ranges: Ranges,
        /// Index of the next one.
        next: u16,
        /// They came in the capsule: its buffer goes back to the connection.
        in_capsule: bool,
    },
}

impl Command {
    pub(crate) fn new(permit: Permit, work: Work, len: usize) -> Self {
        Self {
            permit: Some(permit),
            work,
            len,
            buf: None,
            stage: Stage::Ready,
            since: Duration::ZERO,
        }
    }

    /// An error of its disk operation is one of writing.
    pub(crate) fn is_writing(&self) -> bool {
        match &self.work {
            Work::Read { .. } | Work::Verify { .. } | Work::Compare(_) => false,
            Work::Copy { writing, .. } => *writing,
            Work::Fetch { .. }
            | Work::Return { .. }
            | Work::Write { .. }
            | Work::Range { .. }
            | Work::Flush
            | Work::FlushAll { .. }
            | Work::Deallocate { .. } => true,
        }
    }

    /// Neither a disk nor a device has its memory.
    pub(crate) fn is_idle(&self) -> bool {
        match self.stage {
            Stage::Ready | Stage::Buffer | Stage::ReadTurn | Stage::Claim => true,
            Stage::Reading | Stage::Disk => false,
        }
    }

    /// The disk and the bytes that its operation in flight changes, if it changes any.
    pub(crate) fn changes(&self) -> Option<(DiskId, Range)> {
        if self.stage != Stage::Disk {
            return None;
        }
        match &self.work {
            Work::Write { disk, offset, .. } => {
                Some((*disk, Range { start: *offset, end: offset + self.len as u64 }))
            }
            Work::Copy { disk, to, writing: true, .. } => {
                Some((*disk, Range { start: *to, end: to + self.len as u64 }))
            }
            Work::Range { disk, range } => Some((*disk, *range)),
            // Which of its ranges is out now does not matter: it is over soon.
            Work::Deallocate { disk, .. } => Some((*disk, Range::WHOLE)),
            Work::Fetch { .. }
            | Work::Return { .. }
            | Work::Read { .. }
            | Work::Verify { .. }
            | Work::Copy { .. }
            // What it changes is claimed.
            | Work::Compare(_)
            | Work::Flush
            | Work::FlushAll { .. } => None,
        }
    }
}

/// The status of a disk's error (NVMe Base 2.0 §3.3.3.2, NVM Command Set 1.0 §3.1).
pub(crate) fn status_of(error: &block::IoError, writing: bool) -> Status {
    use block::IoErrorKind as Kind;
    match error.kind {
        Kind::OutOfRange => Status::LBA_OUT_OF_RANGE.dnr(),
        Kind::WriteProtected => Status::NAMESPACE_WRITE_PROTECTED.dnr(),
        Kind::NoSpace => Status::CAPACITY_EXCEEDED.dnr(),
        Kind::Unsupported | Kind::Invalid => Status::INVALID_FIELD.dnr(),
        Kind::DeviceGone | Kind::Transient => Status::NAMESPACE_NOT_READY,
        Kind::LostWrites => Status::WRITE_FAULT.dnr(),
        Kind::MediumError if writing => Status::WRITE_FAULT,
        Kind::MediumError => Status::UNRECOVERED_READ_ERROR,
        Kind::Cancelled => Status::ABORT_REQUESTED,
        Kind::Other => Status::INTERNAL_ERROR,
    }
}
