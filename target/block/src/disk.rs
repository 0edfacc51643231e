//! An opened disk and its geometry.

use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::error::OpenError;
use crate::memory::Memory;
use crate::open;
use crate::spec::{DiskKind, DiskSpec};

/// What a disk looks like to a host; fixed when it was opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Geometry {
    /// Logical block (bytes): 512 or 4096.
    pub block_size: u32,
    /// Physical block (bytes): writes below it cost a read-modify-write.
    pub physical_block_size: u32,
    /// Whole blocks on the disk (count).
    pub block_count: u64,
    /// What it can do.
    pub features: Features,
}

impl Geometry {
    /// Size of the disk (bytes), whole blocks.
    #[must_use]
    pub fn size_bytes(&self) -> u64 {
        self.block_count * u64::from(self.block_size)
    }
}

/// What a disk can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Features {
    /// Completed writes may be lost with the power until a flush (NVMe VWC, SCSI WCE).
    pub volatile_cache: bool,
    /// `Discard` gives space back; without it, it is accepted and does nothing.
    pub discard: bool,
    /// A discarded range reads as zeroes (NVMe DLFEAT 001b, SCSI LBPRZ); otherwise as anything.
    pub discard_zeroes: bool,
    /// `WriteZeroes` is served; without help from below, zeroes are written out.
    pub write_zeroes: bool,
    /// `fua` is served.
    pub fua: bool,
    /// Everything that changes data is refused.
    pub read_only: bool,
    /// Whether the page cache is passed by.
    pub direct: DirectUse,
}

/// Whether a disk uses direct I/O.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DirectUse {
    /// It does.
    Direct,
    /// It goes through the page cache; [`Disk::describe`] says why.
    Buffered,
    /// There is no file (ram, null).
    NotAFile,
}

/// An opened disk, shared between reactors in an `Arc`.
#[derive(Debug)]
pub struct Disk {
    id: u64,
    geometry: Geometry,
    backing: Backing,
    description: String,
    notes: Vec<String>,
}

/// Where a disk's data is.
#[derive(Debug)]
pub(crate) enum Backing {
    /// A regular file or a block device.
    File(Opened),
    /// Memory of ours.
    Ram(Memory),
    /// Nowhere.
    Null,
}

/// An open file or block device.
#[derive(Debug)]
pub(crate) struct Opened {
    pub(crate) fd: OwnedFd,
    /// Opened with `O_DIRECT`.
    pub(crate) direct: bool,
    /// What direct I/O wants of memory addresses (bytes, a power of two); 1 when buffered.
    pub(crate) memory_align: usize,
    /// Discard by `ioctl(BLKDISCARD)`, which blocks, because the device can't punch holes.
    pub(crate) discard_by_ioctl: bool,
    /// Found out on the way: `fallocate` with `FALLOC_FL_ZERO_RANGE` is not there.
    pub(crate) refuses_zero_range: AtomicBool,
    /// Found out on the way: `fallocate` with `FALLOC_FL_PUNCH_HOLE` is not there.
    pub(crate) refuses_punch: AtomicBool,
    /// Writes that a host saw completed did not reach the disk.
    pub(crate) lost_writes: AtomicBool,
}

impl Opened {
    pub(crate) fn raw_fd(&self) -> RawFd {
        self.fd.as_raw_fd()
    }

    /// A sync failed. The page cache drops what it could not write and tells of it once: the next
    /// sync succeeds over lost data (`man fsync`, NOTES), so nothing is promised from here on.
    pub(crate) fn sync_failed(&self) {
        if !self.direct {
            self.lost_writes.store(true, Ordering::Release);
        }
    }
}

/// The parts of a disk as `open` found them.
pub(crate) struct Parts {
    pub(crate) geometry: Geometry,
    pub(crate) backing: Backing,
    pub(crate) description: String,
    pub(crate) notes: Vec<String>,
}

impl Disk {
    /// Opens a disk; may block (probes are real reads), so not on a reactor.
    ///
    /// # Errors
    /// [`OpenError`] says what is wrong, where, and how to mend it.
    pub fn open(spec: &DiskSpec) -> Result<Self, OpenError> {
        let parts = match &spec.kind {
            DiskKind::File { path, create_size_bytes } => {
                open::file::open(spec, path, *create_size_bytes)?
            }
            DiskKind::Device { path } => open::device::open(spec, path)?,
            DiskKind::Ram { size_bytes } => open::ram(spec, *size_bytes)?,
            DiskKind::Null { size_bytes } => open::null(spec, *size_bytes)?,
        };
        Ok(Self::of_parts(parts))
    }

    pub(crate) fn of_parts(parts: Parts) -> Self {
        static NEXT_ID: AtomicU64 = AtomicU64::new(0);
        let Parts { geometry, backing, description, notes } = parts;
        debug_assert!(geometry.block_count > 0);
        let id = NEXT_ID.fetch_add(1, Ordering::Relaxed);
        Self { id, geometry, backing, description, notes }
    }

    /// Its geometry.
    #[must_use]
    pub fn geometry(&self) -> &Geometry {
        &self.geometry
    }

    /// One line for people: what it is, where, how big, direct or why not.
    #[must_use]
    pub fn describe(&self) -> &str {
        &self.description
    }

    /// What an administrator should know about how it was opened (size rounded down, buffered and
    /// why, …); empty when there is nothing.
    #[must_use]
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// Never given to another disk of this process.
    pub(crate) fn id(&self) -> u64 {
        self.id
    }

    pub(crate) fn backing(&self) -> &Backing {
        &self.backing
    }
}
