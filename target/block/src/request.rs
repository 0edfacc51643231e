//! What is asked of a disk, and what comes back.

use crate::error::IoError;

/// One operation on a disk; offsets and lengths are bytes and whole blocks.
///
/// A request that is out of range, misaligned, too long for its buffer, or a write to a read-only
/// disk is accepted and completes with its error: there is one path for answers.
#[derive(Debug)]
pub enum Request<B> {
    /// Reads `len` bytes into the start of `buf`.
    Read {
        /// Where the data goes.
        buf: B,
        /// Bytes to read, at most the buffer's length.
        len: usize,
        /// First byte on the disk.
        offset_bytes: u64,
    },
    /// Writes the first `len` bytes of `buf`.
    Write {
        /// Where the data comes from.
        buf: B,
        /// Bytes to write, at most the buffer's length.
        len: usize,
        /// First byte on the disk.
        offset_bytes: u64,
        /// Forced unit access: completes only once the data is on stable storage (`RWF_DSYNC`).
        fua: bool,
    },
    /// Puts every write that *completed* before this was submitted on stable storage (`fdatasync`).
    Flush,
    /// Makes a range read as zeroes.
    WriteZeroes {
        /// Bytes to zero.
        len: u64,
        /// First byte on the disk.
        offset_bytes: u64,
        /// The range may lose its allocation (NVMe DEAC, SCSI UNMAP).
        unmap: bool,
        /// Completes only once the zeroes are on stable storage (an `fdatasync` follows).
        fua: bool,
    },
    /// Tells the disk that a range is not needed; see `Features::discard_zeroes` for what it reads.
    Discard {
        /// Bytes to discard.
        len: u64,
        /// First byte on the disk.
        offset_bytes: u64,
    },
}

/// An answered operation, with the buffer back.
#[derive(Debug)]
pub struct Completion<B> {
    /// The caller's own mark, as given to `submit`.
    pub token: u64,
    /// The buffer of a read or write.
    pub buf: Option<B>,
    /// Whether all of it was done; after an error a read's buffer has undefined (but owned)
    /// content.
    pub result: Result<(), IoError>,
}

/// The engine is full; the request is given back untouched. Try again after a completion.
#[derive(Debug)]
pub struct Refused<B>(pub Request<B>);
