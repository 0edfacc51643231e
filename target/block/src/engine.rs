//! The seam: what a reactor asks of whatever carries out disk operations.

use std::os::fd::BorrowedFd;
use std::ptr::NonNull;
use std::sync::Arc;

use crate::buffer::{FixedRegion, IoBuf};
use crate::disk::Disk;
use crate::error::RegionError;
use crate::request::{Completion, Refused, Request};

/// Carries out operations of one reactor thread on any number of disks.
///
/// The caller's tick: `poll` (take what is done), then `submit` any number, then one
/// `flush_submissions`. Before it sleeps on [`Engine::event_fd`] it asks [`Engine::has_ready`] and
/// goes round once more if that says so; otherwise a wakeup could be missed.
///
/// Dropping an engine cancels what is in flight and waits a bounded time; what still does not come
/// back is leaked on purpose and counted by [`crate::leaked_operations`], never freed.
pub trait Engine<B: IoBuf> {
    /// Accepts one operation, which owns its buffer until its completion; `token` comes back with
    /// it.
    ///
    /// Tokens are the caller's: they are not interpreted and need not be unique.
    ///
    /// # Errors
    /// [`Refused`] gives the request back when the engine already holds as many as it can.
    fn submit(
        &mut self,
        disk: &Arc<Disk>,
        token: u64,
        request: Request<B>,
    ) -> Result<(), Refused<B>>;

    /// Hands everything submitted so far to the kernel, in one system call for the whole batch.
    fn flush_submissions(&mut self);

    /// Appends finished operations to `completions`, at most
    /// [`crate::limits::COMPLETION_BATCH_MAX`], and returns how many.
    ///
    /// Never blocks. Operations that need several steps are carried on from here.
    fn poll(&mut self, completions: &mut Vec<Completion<B>>) -> usize;

    /// Whether `poll` or `flush_submissions` has something to do now: do not sleep then.
    ///
    /// Only what completes after this call raises [`Engine::event_fd`], until the next `poll`: a
    /// caller that is awake needs no event for what it finds anyway.
    fn has_ready(&self) -> bool;

    /// Becomes readable when completions wait; an eventfd.
    ///
    /// Watch it edge-triggered (as mio does): it is never read by the engine, so a level-triggered
    /// watch would spin. Take an interrupted sleep (`EINTR`) for an event: a ring's deferred work
    /// can interrupt it. Disks without system calls (ram, null) don't raise it: see
    /// [`Engine::has_ready`].
    fn event_fd(&self) -> BorrowedFd<'_>;

    /// Operations accepted and not yet handed out by `poll` (count).
    fn in_flight(&self) -> usize;

    /// Registers memory that buffers will lie in, so that the kernel maps it once (`man
    /// io_uring_register`, `IORING_REGISTER_BUFFERS_UPDATE`).
    ///
    /// Any address may be given: nothing is read or written by registering, and an operation that
    /// uses the region still goes through an [`IoBuf`]. Unregister it before its memory is
    /// unmapped, or later transfers miss the new memory.
    ///
    /// # Errors
    /// [`RegionError`]; operations work without a region, only slower.
    fn register_region(
        &mut self,
        start: NonNull<u8>,
        len: usize,
    ) -> Result<FixedRegion, RegionError>;

    /// Forgets a region; the kernel lets go of it after the last operation that uses it.
    fn unregister_region(&mut self, region: FixedRegion);

    /// Lets go of a disk that will not be used again: an engine keeps each disk it has seen open.
    ///
    /// Operations in flight keep it until they end. Harmless for an unknown disk.
    fn release_disk(&mut self, disk: &Disk);
}
