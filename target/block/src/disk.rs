//! An opened disk and its geometry.

use crate::error::OpenError;
use crate::spec::DiskSpec;

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
    /// `Discard` gives space back.
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
    geometry: Geometry,
    description: String,
    notes: Vec<String>,
}

impl Disk {
    /// Opens a disk; may block (probes are real reads), so not on a reactor.
    ///
    /// # Errors
    /// [`OpenError`] says what is wrong, where, and how to mend it.
    pub fn open(spec: &DiskSpec) -> Result<Self, OpenError> {
        let _ = spec;
        Err(OpenError::NotFound { path: "".into() })
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
}
