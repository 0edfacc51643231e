//! Small questions to the kernel about a file or device.

use std::ffi::CStr;
use std::fs;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::path::PathBuf;

use rustix::fs::{FallocateFlags, OFlags, fallocate, fcntl_getfl, fcntl_setfl};
use rustix::io::Errno;

use crate::buffer::AlignedBuf;
use crate::limits;

/// What direct I/O wants (bytes, powers of two).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct DirectAlign {
    pub(crate) memory: usize,
    pub(crate) offset: usize,
}

/// What `statx` says about direct I/O: `Ok(None)` where the kernel doesn't tell (`man statx`,
/// STATX_DIOALIGN, Linux 6.1), `Err` with a reason where it says that there is none.
pub(crate) fn direct_align(fd: BorrowedFd<'_>) -> Result<Option<DirectAlign>, String> {
    const EMPTY: &CStr = c"";
    // SAFETY: `statx` is plain integers, for which zeroes are a value.
    let mut found: libc::statx = unsafe { std::mem::zeroed() };
    let (flags, mask) = (libc::AT_EMPTY_PATH, libc::STATX_DIOALIGN);
    // SAFETY: the path is a C string and `found` a `statx` to fill, both alive for the call.
    let result =
        unsafe { libc::statx(fd.as_raw_fd(), EMPTY.as_ptr(), flags, mask, &raw mut found) };
    if result != 0 || found.stx_mask & libc::STATX_DIOALIGN == 0 {
        return Ok(None);
    }
    let memory = usize::try_from(found.stx_dio_mem_align).unwrap_or(usize::MAX);
    let offset = usize::try_from(found.stx_dio_offset_align).unwrap_or(usize::MAX);
    if memory == 0 || offset == 0 {
        return Err(String::from("the file system says it has no direct I/O for this file"));
    }
    if memory.max(offset) > limits::DIRECT_ALIGN_MAX {
        let most = limits::DIRECT_ALIGN_MAX;
        return Err(format!("it wants an alignment of {} bytes, over {most}", memory.max(offset)));
    }
    Ok(Some(DirectAlign { memory, offset }))
}

/// Turns `O_DIRECT` on or off.
pub(crate) fn set_direct(fd: BorrowedFd<'_>, on: bool) -> Result<(), Errno> {
    let mut flags = fcntl_getfl(fd)?;
    flags.set(OFlags::DIRECT, on);
    fcntl_setfl(fd, flags)
}

/// Reads one block from the start, at an address that is a multiple of `memory_align` and of no
/// larger power of two; says whether the kernel takes it.
pub(crate) fn read_start(fd: BorrowedFd<'_>, len: usize, memory_align: usize) -> io::Result<()> {
    let twice = memory_align.saturating_mul(2);
    let mut buffer = AlignedBuf::zeroed(len.saturating_add(memory_align), twice)
        .ok_or(io::ErrorKind::OutOfMemory)?;
    let target = &mut buffer.as_mut_slice()[memory_align..];
    rustix::io::pread(fd, target, 0)?;
    Ok(())
}

/// Whether holes can be punched: tried on a block beyond the end, which changes nothing.
pub(crate) fn punches_holes(fd: impl AsFd, beyond_end: u64) -> bool {
    let mode = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
    fallocate(fd, mode, beyond_end, u64::from(limits::BLOCK_SIZE_MAX)).is_ok()
}

/// Discards a range of a block device; may block for long.
pub(crate) fn block_discard(fd: BorrowedFd<'_>, offset_bytes: u64, len: u64) -> io::Result<()> {
    /// `_IO(0x12, 119)` of linux/fs.h, the same number on every architecture we build for.
    const BLKDISCARD: libc::c_ulong = 0x1277;
    let range = [offset_bytes, len];
    // SAFETY: BLKDISCARD reads two u64 from the pointer, which are there for the call.
    let result = unsafe { libc::ioctl(fd.as_raw_fd(), BLKDISCARD as _, range.as_ptr()) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// The attributes of a block device in sysfs.
#[derive(Debug)]
pub(crate) struct DeviceFolder {
    own: PathBuf,
    whole: PathBuf,
}

impl DeviceFolder {
    /// Of the device with this number; the queue of a partition is that of its whole device.
    pub(crate) fn of(device: u64) -> Self {
        let (major, minor) = (rustix::fs::major(device), rustix::fs::minor(device));
        let own = PathBuf::from(format!("/sys/dev/block/{major}:{minor}"));
        let is_partition = own.join("partition").exists();
        let whole = if is_partition { own.join("..") } else { own.clone() };
        Self { own, whole }
    }

    /// An attribute of the device itself, such as `ro`.
    pub(crate) fn own(&self, name: &str) -> Option<String> {
        Some(fs::read_to_string(self.own.join(name)).ok()?.trim().to_owned())
    }

    /// An attribute of its queue, such as `write_cache`.
    pub(crate) fn queue(&self, name: &str) -> Option<String> {
        let path = self.whole.join("queue").join(name);
        Some(fs::read_to_string(path).ok()?.trim().to_owned())
    }

    /// A number among the attributes of its queue.
    pub(crate) fn queue_number(&self, name: &str) -> Option<u64> {
        self.queue(name)?.parse().ok()
    }
}
