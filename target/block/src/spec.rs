//! What a disk is made of, as configured.

use std::path::PathBuf;

/// How one disk is to be opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DiskSpec {
    /// What stores the data.
    pub kind: DiskKind,
    /// Whether to pass by the page cache.
    pub direct: Direct,
    /// Logical block size (bytes, 512 or 4096); `None` is the device's own, and 512 for the rest.
    pub block_size: Option<u32>,
    /// Refuse everything that changes data, and open read-only.
    pub read_only: bool,
}

impl DiskSpec {
    /// A disk of this kind with direct I/O where possible, its own block size, writable.
    #[must_use]
    pub fn new(kind: DiskKind) -> Self {
        Self { kind, direct: Direct::Auto, block_size: None, read_only: false }
    }
}

/// What stores a disk's data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DiskKind {
    /// A regular file.
    File {
        /// Where it is.
        path: PathBuf,
        /// Size of a file that has to be created (bytes, sparse). An existing file keeps its own.
        create_size_bytes: Option<u64>,
    },
    /// A block device, opened exclusively.
    Device {
        /// Where it is.
        path: PathBuf,
    },
    /// Memory of this process, zeroed at start and lost at the end.
    Ram {
        /// Its size (bytes).
        size_bytes: u64,
    },
    /// Nothing: reads give zeroes, writes are dropped. For measuring everything else.
    Null {
        /// The size it claims (bytes).
        size_bytes: u64,
    },
}

/// Whether a disk passes by the page cache (`O_DIRECT`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Direct {
    /// Where the file allows it; `Disk::describe` says why not otherwise.
    #[default]
    Auto,
    /// Or fail to open.
    On,
    /// Never.
    Off,
}
