//! The ring itself: set-up, registrations, entries in and results out.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::sync::atomic::{Ordering, fence};
use std::time::Duration;

use io_uring::types::{CancelBuilder, Fd, FsyncFlags, SubmitArgs, Timespec};
use io_uring::{Builder, IoUring, Probe, cqueue, opcode, squeue};
use rustix::event::{EventfdFlags, eventfd};

use super::regions::Regions;
use crate::error::EngineError;
use crate::limits;
use crate::operation::Step;

/// `user_data` of cancellations, which no slot can have (`slots.rs`, generations).
const CANCELLATION: u64 = u64::MAX;

/// `io_uring_enter`: deliver what is finished before returning (`man io_uring_enter`).
const ENTER_GETEVENTS: u32 = 1;

/// Whether completions may be kept from raising the eventfd while the caller is awake.
///
/// The kernel says that there is deferred work and then looks whether the eventfd is wanted; the
/// caller wants it and then looks for deferred work. Linux puts no barrier of its own between its
/// two, which only a strongly ordered processor makes up for: elsewhere a wakeup could be missed.
const QUIET_WHILE_AWAKE: bool = cfg!(target_arch = "x86_64");

/// The file a step is for.
#[derive(Clone, Copy, Debug)]
pub(super) enum Target {
    /// An index into the ring's table of files.
    Table(u32),
    /// A descriptor.
    Fd(RawFd),
}

/// A ring, its eventfd and what it was set up with.
pub(super) struct Kernel {
    ring: IoUring,
    event: OwnedFd,
    setup: &'static str,
    /// Results appear only in an `enter` that asks for them.
    defers: bool,
    has_files: bool,
    has_buffers: bool,
}

impl Kernel {
    /// Sets up a ring for `depth` operations at once, with the best flags this kernel takes.
    pub(super) fn set_up(depth: u32) -> Result<Self, EngineError> {
        let (ring, setup, defers) =
            build(depth).map_err(|source| EngineError::UringRefused { source })?;
        require_opcodes(&ring)?;
        let event = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)
            .map_err(|errno| EngineError::System { call: "eventfd", source: errno.into() })?;
        let submitter = ring.submitter();
        submitter
            .register_eventfd(event.as_raw_fd())
            .map_err(|source| EngineError::System { call: "IORING_REGISTER_EVENTFD", source })?;
        // Both tables only save work: without them descriptors and addresses are used.
        let has_files = submitter.register_files_sparse(limits::DISKS_MAX).is_ok();
        let has_buffers =
            submitter.register_buffers_sparse(u32::from(limits::REGION_ENTRIES_MAX)).is_ok();
        Ok(Self { ring, event, setup, defers, has_files, has_buffers })
    }

    pub(super) fn describe(&self) -> String {
        let files = if self.has_files { "registered files" } else { "plain descriptors" };
        let buffers = if self.has_buffers { "registered buffers" } else { "plain buffers" };
        format!("io_uring ({}), {files}, {buffers}", self.setup)
    }

    pub(super) fn event_fd(&self) -> &OwnedFd {
        &self.event
    }

    /// Puts a descriptor in the table of files; `false` when it has to be used as it is.
    pub(super) fn register_file(&self, index: u32, fd: RawFd) -> bool {
        let update = || self.ring.submitter().register_files_update(index, &[fd]);
        self.has_files && update().is_ok_and(|count| count == 1)
    }

    pub(super) fn unregister_file(&self, index: u32) {
        // Fails only for an index outside of the table, which `register_file` would have refused.
        let _ = self.ring.submitter().register_files_update(index, &[-1]);
    }

    /// Empties both tables before the ring is closed; waits for the kernel to let go.
    pub(super) fn unregister_all(&self) {
        let submitter = self.ring.submitter();
        if self.has_files {
            // Nothing is lost when it fails: closing the ring does the same, later.
            let _ = submitter.unregister_files();
        }
        if self.has_buffers {
            let _ = submitter.unregister_buffers();
        }
    }

    /// Registers memory at one entry of the table of buffers.
    pub(super) fn set_buffer(&self, entry: usize, base: *mut u8, len: usize) -> io::Result<()> {
        if !self.has_buffers {
            return Err(io::ErrorKind::Unsupported.into());
        }
        self.update_buffer(entry, libc::iovec { iov_base: base.cast(), iov_len: len })
    }

    pub(super) fn clear_buffer(&self, entry: usize) {
        let none = libc::iovec { iov_base: std::ptr::null_mut(), iov_len: 0 };
        // An entry that stays registered only keeps its pages; nothing refers to it any more.
        let _ = self.update_buffer(entry, none);
    }

    fn update_buffer(&self, entry: usize, iov: libc::iovec) -> io::Result<()> {
        let entry = u32::try_from(entry).map_err(|_too_big| io::ErrorKind::InvalidInput)?;
        let submitter = self.ring.submitter();
        // SAFETY: registering takes references to the pages that are mapped there now, or fails; it
        // reads and writes none of them. Transfers name only addresses of an `IoBuf` that is in
        // flight, whose contract makes them valid.
        unsafe { submitter.register_buffers_update(entry, &[iov], None) }
    }

    /// Queues a step for the next `enter`; `false` when the queue is full.
    pub(super) fn push(
        &mut self,
        step: &Step,
        target: Target,
        regions: &Regions,
        user_data: u64,
    ) -> bool {
        let Some(entry) = entry_of(step, target, regions) else { return false };
        let entry = entry.user_data(user_data);
        self.push_entry(&entry)
    }

    fn push_entry(&mut self, entry: &squeue::Entry) -> bool {
        let mut queue = self.ring.submission();
        // SAFETY: the memory that the entry names is owned by an operation, which stays in its slot
        // until the completion with this `user_data` is taken, or is leaked.
        let pushed = unsafe { queue.push(entry) };
        pushed.is_ok()
    }

    /// Enters the kernel with everything queued, and takes along what finishes at once: a memory
    /// disk's operations, for which the next tick would enter again.
    pub(super) fn enter_if_unsubmitted(&mut self) {
        for _ in 0..limits::SUBMIT_ROUNDS_MAX {
            let queued = self.ring.submission().len();
            if queued == 0 {
                return;
            }
            match self.enter(queued) {
                Ok(count) if count > 0 => {}
                // Short of memory, or results wait to be taken first: `has_work` stays true, and
                // the next tick tries again.
                Ok(_) | Err(_) => return,
            }
        }
    }

    fn enter(&self, queued: usize) -> io::Result<usize> {
        let Some(count) = u32::try_from(queued).ok().filter(|_| self.defers) else {
            return self.ring.submit();
        };
        let submitter = self.ring.submitter();
        // SAFETY: submits what `push_entry` queued, whose memory outlives it; waits for nothing,
        // and there is no argument.
        unsafe { submitter.enter::<libc::sigset_t>(count, 0, ENTER_GETEVENTS, None) }
    }

    /// From now on completions raise no event: the caller is awake and looks by itself.
    pub(super) fn silence(&mut self) {
        if QUIET_WHILE_AWAKE {
            self.ring.completion().disable_eventfd();
        }
    }

    /// From now on completions raise an event; what came before has to be looked for after this.
    pub(super) fn listen(&self) {
        if QUIET_WHILE_AWAKE {
            // SAFETY: `&self` of a type that is bound to one thread, and the view is dropped before
            // anything else can make one: nobody else has a view of the completion queue.
            let results = unsafe { self.ring.completion_shared() };
            results.enable_eventfd();
            // Against the look that follows: it must not be done first.
            fence(Ordering::SeqCst);
        }
    }

    /// Lets the kernel deliver what is finished (DEFER_TASKRUN), if there is anything and no result
    /// waits to be taken first.
    ///
    /// While results wait, the next `enter_if_unsubmitted` does it along with the submissions: one
    /// system call a tick instead of two.
    pub(super) fn run_deferred(&mut self) {
        if !self.ring.completion().is_empty() {
            return;
        }
        let queue = self.ring.submission();
        let due = queue.taskrun() || queue.cq_overflow();
        drop(queue);
        if due {
            // The crate adds GETEVENTS where the ring shows one of these flags. An error (EBUSY,
            // EINTR) leaves the flag, and so `has_work`, as it is.
            let _ = self.ring.submit();
        }
    }

    /// Whether entering the kernel or taking results would do something.
    pub(super) fn has_work(&self) -> bool {
        // SAFETY: `&self` of a type that is bound to one thread, and the view is dropped before
        // anything else can make one: nobody else has a view of the submission queue.
        let queue = unsafe { self.ring.submission_shared() };
        if queue.taskrun() || queue.cq_overflow() || !queue.is_empty() {
            return true;
        }
        // SAFETY: as above, for the completion queue.
        let results = unsafe { self.ring.completion_shared() };
        !results.is_empty()
    }

    /// Takes at most `most` results: `user_data` and bytes or negative `errno`.
    pub(super) fn reap(&mut self, reaped: &mut Vec<(u64, i32)>, most: usize) {
        let results = self.ring.completion();
        let named =
            results.take(most).map(|entry: cqueue::Entry| (entry.user_data(), entry.result()));
        reaped.extend(named.filter(|(user_data, _)| *user_data != CANCELLATION));
    }

    /// Asks the kernel to cancel everything in it (Linux 5.19; before, nothing is cancelled).
    pub(super) fn cancel_all(&mut self) {
        self.enter_if_unsubmitted();
        let cancel = opcode::AsyncCancel2::new(CancelBuilder::any()).build();
        self.push_entry(&cancel.user_data(CANCELLATION));
        self.enter_if_unsubmitted();
    }

    /// Waits for one completion, at most `patience`.
    pub(super) fn wait(&mut self, patience: Duration) {
        let patience = Timespec::from(patience);
        let arguments = SubmitArgs::new().timespec(&patience);
        // ETIME and EINTR are as good as a completion here: the caller looks and asks again.
        if self.ring.submitter().submit_with_args(1, &arguments).is_err() {
            std::thread::yield_now();
        }
    }
}

/// Turns on the flags of one set-up.
type SetFlags = fn(&mut Builder);

/// Tries set-ups from the best to the plainest; an old kernel answers EINVAL to flags it lacks.
/// Gives the ring, what it was set up with, and whether that is `DEFER_TASKRUN`.
fn build(depth: u32) -> io::Result<(IoUring, &'static str, bool)> {
    let attempts: [(&'static str, bool, SetFlags); 4] = [
        ("single issuer, deferred task run", true, |builder| {
            builder.setup_single_issuer().setup_defer_taskrun().setup_coop_taskrun();
            builder.setup_taskrun_flag().setup_submit_all();
        }),
        ("cooperative task run", false, |builder| {
            builder.setup_coop_taskrun().setup_taskrun_flag().setup_submit_all();
        }),
        ("submit all", false, |builder| {
            builder.setup_submit_all();
        }),
        ("plain", false, |_builder| {}),
    ];
    let mut refused = io::Error::from(io::ErrorKind::Unsupported);
    for (name, defers, apply) in attempts {
        let mut builder = IoUring::builder();
        // One entry more than operations, for a cancellation; twice the results.
        builder.setup_clamp().setup_cqsize((depth + 1).next_power_of_two() * 2);
        apply(&mut builder);
        match builder.build(depth + 1) {
            Ok(ring) => return Ok((ring, name, defers)),
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => refused = error,
            Err(error) => return Err(error),
        }
    }
    Err(refused)
}

fn require_opcodes(ring: &IoUring) -> Result<(), EngineError> {
    let mut probe = Probe::new();
    let refused = |source| EngineError::UringRefused { source };
    ring.submitter().register_probe(&mut probe).map_err(refused)?;
    let needed = [
        opcode::Read::CODE,
        opcode::Write::CODE,
        opcode::ReadFixed::CODE,
        opcode::WriteFixed::CODE,
        opcode::Fsync::CODE,
        opcode::Fallocate::CODE,
        opcode::AsyncCancel::CODE,
    ];
    if needed.iter().all(|code| probe.is_supported(*code)) {
        return Ok(());
    }
    Err(refused(io::Error::from_raw_os_error(libc::ENOSYS)))
}

/// The submission entry of a step; `None` for one that a ring can't do.
fn entry_of(step: &Step, target: Target, regions: &Regions) -> Option<squeue::Entry> {
    let (fd, flags) = match target {
        Target::Table(index) => (Fd(RawFd::try_from(index).ok()?), squeue::Flags::FIXED_FILE),
        Target::Fd(fd) => (Fd(fd), squeue::Flags::empty()),
    };
    let (entry, punt) = match *step {
        Step::Read { to, len, offset_bytes, region, punt } => {
            let size = u32::try_from(len).ok()?;
            let fixed = regions.entry_of(region, to.addr(), len);
            tracing::trace!(op = "read", addr = to.addr(), len, fixed = fixed.is_some(), "disk");
            let entry = match fixed {
                Some(index) => {
                    opcode::ReadFixed::new(fd, to, size, index).offset(offset_bytes).build()
                }
                None => opcode::Read::new(fd, to, size).offset(offset_bytes).build(),
            };
            (entry, punt)
        }
        Step::Write { from, len, offset_bytes, region, dsync, punt } => {
            let size = u32::try_from(len).ok()?;
            let how = if dsync { libc::RWF_DSYNC } else { 0 };
            let fixed = regions.entry_of(region, from.addr(), len);
            tracing::trace!(op = "write", addr = from.addr(), len, fixed = fixed.is_some(), "disk");
            let entry = match fixed {
                Some(index) => opcode::WriteFixed::new(fd, from, size, index)
                    .offset(offset_bytes)
                    .rw_flags(how)
                    .build(),
                None => {
                    opcode::Write::new(fd, from, size).offset(offset_bytes).rw_flags(how).build()
                }
            };
            (entry, punt)
        }
        Step::Sync => (opcode::Fsync::new(fd).flags(FsyncFlags::DATASYNC).build(), false),
        Step::Allocate { mode, offset_bytes, len } => {
            let mode = i32::try_from(mode.bits()).ok()?;
            let entry = opcode::Fallocate::new(fd, len).offset(offset_bytes).mode(mode).build();
            (entry, false)
        }
        Step::DiscardIoctl { .. } => return None,
    };
    let flags = if punt { flags | squeue::Flags::ASYNC } else { flags };
    Some(entry.flags(flags))
}
