//! Steps as system calls.

use std::io;
use std::os::fd::AsFd;

use rustix::fs::{fallocate, fdatasync};

use crate::disk::Opened;
use crate::open::probe;
use crate::operation::Step;

/// Carries out one step: bytes moved, or an `errno`.
pub(super) fn run(opened: &Opened, step: &Step) -> Result<usize, i32> {
    match *step {
        Step::Read { to, len, offset_bytes, .. } => read(opened, to, len, offset_bytes),
        Step::Write { from, len, offset_bytes, dsync, .. } => {
            write(opened, from, len, offset_bytes, dsync)
        }
        Step::Sync => fdatasync(&opened.fd).map(|()| 0).map_err(rustix::io::Errno::raw_os_error),
        Step::Allocate { mode, offset_bytes, len } => {
            fallocate(&opened.fd, mode, offset_bytes, len)
                .map(|()| 0)
                .map_err(rustix::io::Errno::raw_os_error)
        }
        Step::DiscardIoctl { offset_bytes, len } => {
            probe::block_discard(opened.fd.as_fd(), offset_bytes, len)
                .map(|()| 0)
                .map_err(|error| errno_of(&error))
        }
    }
}

fn read(opened: &Opened, to: *mut u8, len: usize, offset_bytes: u64) -> Result<usize, i32> {
    let offset = libc::off_t::try_from(offset_bytes).map_err(|_too_far| libc::EINVAL)?;
    // SAFETY: a step's memory is owned by its operation, valid for `len` bytes, and the operation
    // waits for this call (`man pread`).
    let moved = unsafe { libc::pread(opened.raw_fd(), to.cast(), len, offset) };
    usize::try_from(moved).map_err(|_failed| errno_of(&io::Error::last_os_error()))
}

fn write(
    opened: &Opened,
    from: *const u8,
    len: usize,
    offset_bytes: u64,
    dsync: bool,
) -> Result<usize, i32> {
    let offset = libc::off_t::try_from(offset_bytes).map_err(|_too_far| libc::EINVAL)?;
    let iov = libc::iovec { iov_base: from.cast_mut().cast(), iov_len: len };
    let flags = if dsync { libc::RWF_DSYNC } else { 0 };
    // SAFETY: one vector over a step's memory, which its operation owns for `len` bytes and which
    // `pwritev2` only reads; the operation waits for this call.
    let moved = unsafe { libc::pwritev2(opened.raw_fd(), &raw const iov, 1, offset, flags) };
    usize::try_from(moved).map_err(|_failed| errno_of(&io::Error::last_os_error()))
}

fn errno_of(error: &io::Error) -> i32 {
    error.raw_os_error().unwrap_or(libc::EIO)
}
