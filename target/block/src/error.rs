//! What can go wrong: opening a disk, starting an engine, one operation.
//!
//! A message leaves out what its source says: whoever prints an error prints the chain.

use std::io;
use std::path::PathBuf;

use thiserror::Error;

/// Why a disk can't be opened: what, where, and how to mend it.
///
/// The message is written for a system administrator and names the path.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The path does not exist and no size was given to create it.
    #[error("{path}: no such file; give it a `size` to have it created, or correct the path")]
    NotFound {
        /// The path as configured.
        path: PathBuf,
    },
    /// The daemon's user may not open the path.
    #[error("{path}: permission denied; let the daemon's user {access} it (owner, group or ACL)")]
    Denied {
        /// The path as configured.
        path: PathBuf,
        /// "read" or "read and write".
        access: &'static str,
    },
    /// Someone else uses it: mounted, part of a volume or RAID, or exported a second time.
    #[error("{path}: mounted or in use by {by}; unmount or release it, or export another one")]
    InUse {
        /// The path as configured.
        path: PathBuf,
        /// Who holds it, as far as it is known.
        by: &'static str,
    },
    /// The path is not what the kind of disk needs.
    #[error("{path}: is {found}, but {wanted} is needed here; {mend}")]
    WrongKind {
        /// The path as configured.
        path: PathBuf,
        /// What is there.
        found: &'static str,
        /// What the configured kind needs.
        wanted: &'static str,
        /// What to do.
        mend: &'static str,
    },
    /// The device or the file system is read-only and the disk was not asked to be.
    #[error("{path}: is read-only; set `read_only = true` for it, or make it writable")]
    ReadOnly {
        /// The path as configured.
        path: PathBuf,
    },
    /// Fewer bytes than one block.
    #[error("{what}: {size_bytes} bytes is less than one block of {block_size} bytes")]
    TooSmall {
        /// The disk.
        what: String,
        /// Its size (bytes).
        size_bytes: u64,
        /// Its block size (bytes).
        block_size: u32,
    },
    /// A block size that can't be served.
    #[error("{what}: block size {block_size} is not possible: {reason}")]
    BlockSize {
        /// The disk.
        what: String,
        /// The block size asked for (bytes).
        block_size: u32,
        /// Why not, and what is.
        reason: String,
    },
    /// `direct = "on"` where direct I/O is not possible.
    #[error("{path}: direct I/O is not possible here: {reason}; use `direct = \"auto\"`")]
    NotDirect {
        /// The path as configured.
        path: PathBuf,
        /// Why not.
        reason: String,
    },
    /// Memory for a ram disk, or room for a new file, is not there.
    #[error("{what}: no room for {size_bytes} bytes")]
    NoRoom {
        /// The disk.
        what: String,
        /// Its size (bytes).
        size_bytes: u64,
        /// What the system said.
        source: io::Error,
    },
    /// Any other failure of one system call.
    #[error("{what}: {call} failed")]
    System {
        /// The disk.
        what: String,
        /// The call that failed.
        call: &'static str,
        /// What the system said.
        source: io::Error,
    },
}

/// What went wrong with an operation, as far as a host can be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum IoErrorKind {
    /// The medium could not be read or written (`EIO`, `ENODATA`, `EILSEQ`, …).
    MediumError,
    /// A thin file or file system has no room left (`ENOSPC`, `EDQUOT`, `EFBIG`).
    NoSpace,
    /// An earlier sync of a buffered disk failed, so writes that were completed may be lost: it
    /// takes no more of them until it is opened again.
    LostWrites,
    /// The disk is read-only, by configuration or by the device.
    WriteProtected,
    /// Beyond the end of the disk, or the backing file was cut while it was open.
    OutOfRange,
    /// The device is gone (`ENODEV`, `ENXIO`, `ESTALE`, …).
    DeviceGone,
    /// The device or file system can't do it (`EOPNOTSUPP`).
    Unsupported,
    /// The request itself is wrong: not whole blocks, or longer than its buffer.
    Invalid,
    /// A lack of memory or the like: the same request may succeed later.
    Transient,
    /// Cancelled because its engine was dropped.
    Cancelled,
    /// Anything else; `errno` tells.
    Other,
}

/// The failure of one operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("{kind:?} (errno {errno})")]
pub struct IoError {
    /// Its class, to be mapped to an NVMe status or SCSI sense.
    pub kind: IoErrorKind,
    /// The kernel's `errno`, 0 where the kernel was not asked.
    pub errno: i32,
}

impl IoError {
    /// Classifies what the kernel answered (`man errno`; block layer: `blk_status_to_errno`).
    #[must_use]
    pub fn from_errno(errno: i32) -> Self {
        let kind = match errno {
            libc::EIO
            | libc::ENODATA
            | libc::EILSEQ
            | libc::EREMOTEIO
            | libc::EBADE
            | libc::EBADMSG
            | libc::EUCLEAN => IoErrorKind::MediumError,
            libc::ENOSPC | libc::EDQUOT | libc::EFBIG => IoErrorKind::NoSpace,
            libc::EROFS | libc::EPERM | libc::EACCES => IoErrorKind::WriteProtected,
            libc::ENODEV
            | libc::ENXIO
            | libc::ENOMEDIUM
            | libc::ESTALE
            | libc::ESHUTDOWN
            | libc::ENOTCONN => IoErrorKind::DeviceGone,
            libc::EOPNOTSUPP | libc::ENOTTY | libc::ENOSYS => IoErrorKind::Unsupported,
            libc::EAGAIN
            | libc::ENOMEM
            | libc::ENOBUFS
            | libc::EINTR
            | libc::EBUSY
            | libc::ENOLINK
            | libc::ETIMEDOUT => IoErrorKind::Transient,
            libc::ECANCELED => IoErrorKind::Cancelled,
            _other_number => IoErrorKind::Other,
        };
        Self { kind, errno }
    }

    /// A failure found before the kernel was asked.
    #[must_use]
    pub fn local(kind: IoErrorKind) -> Self {
        Self { kind, errno: 0 }
    }
}

/// Why an engine can't start.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum EngineError {
    /// `io_uring_setup` is refused: old kernel, seccomp, or `kernel.io_uring_disabled`.
    #[error(
        "io_uring is refused here; use the thread engine, or allow it \
         (sysctl kernel.io_uring_disabled, the container's seccomp profile)"
    )]
    UringRefused {
        /// What the kernel said.
        source: io::Error,
    },
    /// A call that an engine needs failed.
    #[error("starting the disk engine: {call} failed")]
    System {
        /// The call.
        call: &'static str,
        /// What the system said.
        source: io::Error,
    },
}

/// Why a region can't be registered; everything still works without, only slower.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum RegionError {
    /// The table of registered buffers has no room for it.
    #[error("no room for {entries} more entries in the table of registered buffers")]
    TableFull {
        /// Entries needed (count).
        entries: usize,
    },
    /// Null length, or an end beyond the address space.
    #[error("{len_bytes} bytes is not a region")]
    Length {
        /// The length given (bytes).
        len_bytes: usize,
    },
    /// The kernel refused, for instance for `RLIMIT_MEMLOCK`.
    #[error("registering {len_bytes} bytes failed; raise LimitMEMLOCK if memory is short")]
    Refused {
        /// The length given (bytes).
        len_bytes: usize,
        /// What the kernel said.
        source: io::Error,
    },
}

#[cfg(test)]
mod tests {
    use std::error::Error;

    use super::*;

    #[test]
    fn no_message_repeats_its_source() {
        let source = || io::Error::from_raw_os_error(libc::ENOMEM);
        let (what, call, len_bytes) = (String::from("ram disk"), "mmap", 4096);
        let errors: [Box<dyn Error>; 5] = [
            Box::new(OpenError::NoRoom { what: what.clone(), size_bytes: 4096, source: source() }),
            Box::new(OpenError::System { what, call, source: source() }),
            Box::new(EngineError::UringRefused { source: source() }),
            Box::new(EngineError::System { call, source: source() }),
            Box::new(RegionError::Refused { len_bytes, source: source() }),
        ];
        for error in errors {
            let (message, cause) = (error.to_string(), error.source().expect("a source"));
            assert!(!message.contains(&cause.to_string()), "{message}");
        }
    }
}
