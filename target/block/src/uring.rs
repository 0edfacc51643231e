//! An engine on an io_uring of its own.
//!
//! One ring, one thread. Requests become submission entries in `submit`, enter the kernel together
//! in
//! `flush_submissions`, and come back in `poll`; several steps of one operation follow one another
//! (`operation.rs`), so that each operation has at most one entry in the kernel at any time.
//!
//! QUIRK(io_uring with DEFER_TASKRUN): completions appear only after the ring's own thread has
//! entered the kernel; until then the ring shows only a flag (IORING_SQ_TASKRUN), and its own
//! descriptor in epoll may not wake anyone. Hence the registered eventfd, and `has_ready` that
//! looks at the flag.

mod discard;
#[allow(unsafe_code, reason = "the ring: its registrations and submission entries")]
mod kernel;
mod regions;
mod slots;

use std::collections::{HashMap, VecDeque};
use std::marker::PhantomData;
use std::os::fd::{AsFd, BorrowedFd};
use std::ptr::NonNull;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::bounce::BouncePool;
use crate::buffer::{FixedRegion, IoBuf};
use crate::disk::{Backing, Disk, Opened};
use crate::engine::Engine;
use crate::error::{EngineError, IoError, IoErrorKind, RegionError};
use crate::limits;
use crate::operation::{Operation, Progress, Step};
use crate::request::{Completion, Refused, Request};
use crate::system::EngineOptions;
use discard::DiscardThread;
use kernel::{Kernel, Target};
use regions::Regions;
use slots::{Key, Slots};

/// A disk this engine has seen.
struct Attached {
    disk: Arc<Disk>,
    /// Whether the ring's table of files holds it, at the index of this entry.
    registered: bool,
    in_flight: u32,
    released: bool,
}

/// An engine on an io_uring of its own; not `Send`: it belongs to the thread that started it.
///
/// ```compile_fail,E0277
/// fn to_another_thread(_: impl Send) {}
/// fn wrong(engine: block::UringEngine<block::AlignedBuf>) {
///     to_another_thread(engine);
/// }
/// ```
pub struct UringEngine<B: IoBuf> {
    kernel: Kernel,
    slots: Slots<B>,
    /// By the index that slots and the table of registered files use.
    disks: Vec<Option<Attached>>,
    disk_index: HashMap<u64, u32>,
    regions: Regions,
    bounces: BouncePool,
    discards: DiscardThread,
    ready: VecDeque<Completion<B>>,
    reaped: Vec<(u64, i32)>,
    depth: usize,
    in_flight: usize,
    /// Completions that named no operation of ours (count); 0 unless something is very wrong.
    strays: u64,
    thread_bound: PhantomData<*const ()>,
}

impl<B: IoBuf> UringEngine<B> {
    /// Sets the ring up, with what this kernel has of `SINGLE_ISSUER`, `DEFER_TASKRUN`,
    /// `COOP_TASKRUN` and `SUBMIT_ALL`; takes what `options` says but its kind.
    ///
    /// # Errors
    /// [`EngineError::UringRefused`] where the kernel or a container refuses.
    pub fn start(options: &EngineOptions) -> Result<Self, EngineError> {
        let depth = usize::try_from(options.depth()).unwrap_or(1);
        let kernel = Kernel::set_up(options.depth())?;
        Ok(Self {
            kernel,
            slots: Slots::with_depth(options.depth()),
            disks: Vec::new(),
            disk_index: HashMap::new(),
            regions: Regions::new(),
            bounces: BouncePool::new(),
            discards: DiscardThread::new(),
            ready: VecDeque::with_capacity(depth),
            reaped: Vec::with_capacity(limits::COMPLETION_BATCH_MAX),
            depth,
            in_flight: 0,
            strays: 0,
            thread_bound: PhantomData,
        })
    }

    /// How it was set up, in one line for people.
    #[must_use]
    pub fn describe(&self) -> String {
        format!("{}, queue depth {}", self.kernel.describe(), self.depth)
    }

    /// Operations that the kernel or the discard thread has now (count).
    fn outside(&self) -> usize {
        self.slots.used()
    }

    /// The index of a disk, which is attached if it is new; `None` when the table is full.
    fn attach(&mut self, disk: &Arc<Disk>, opened: &Opened) -> Option<u32> {
        if let Some(index) = self.disk_index.get(&disk.id()) {
            return Some(*index);
        }
        let free = self.disks.iter().position(Option::is_none).unwrap_or(self.disks.len());
        let index = u32::try_from(free).ok().filter(|index| *index < limits::DISKS_MAX)?;
        let registered = self.kernel.register_file(index, opened.raw_fd());
        let attached =
            Attached { disk: Arc::clone(disk), registered, in_flight: 0, released: false };
        if free == self.disks.len() {
            self.disks.push(Some(attached));
        } else {
            self.disks[free] = Some(attached);
        }
        self.disk_index.insert(disk.id(), index);
        Some(index)
    }

    fn attached(&mut self, index: u32) -> Option<&mut Attached> {
        self.disks.get_mut(usize::try_from(index).ok()?)?.as_mut()
    }

    fn detach_if_unused(&mut self, index: u32) {
        let Some(attached) = self.attached(index) else { return };
        if !attached.released || attached.in_flight > 0 {
            return;
        }
        let (id, registered) = (attached.disk.id(), attached.registered);
        self.disk_index.remove(&id);
        if registered {
            self.kernel.unregister_file(index);
        }
        if let Some(entry) = usize::try_from(index).ok().and_then(|at| self.disks.get_mut(at)) {
            *entry = None;
        }
    }

    /// Sends the next step of an operation on its way, or answers it.
    fn issue(&mut self, key: Key) {
        let Some(slot) = self.slots.get_mut(key) else { return };
        let index = slot.disk;
        let Some(Some(attached)) = usize::try_from(index).ok().and_then(|at| self.disks.get(at))
        else {
            return self.finish(key, Err(IoError::local(IoErrorKind::DeviceGone)));
        };
        let Backing::File(opened) = attached.disk.backing() else {
            return self.finish(key, Err(IoError::local(IoErrorKind::Other)));
        };
        let step = match slot.operation.next_step(&attached.disk, opened, &mut self.bounces) {
            Ok(step) => step,
            Err(error) => return self.finish(key, Err(error)),
        };
        if let Step::DiscardIoctl { offset_bytes, len } = step {
            let event = self.kernel.event_fd();
            let disk = Arc::clone(&attached.disk);
            if !self.discards.send(event, key.user_data(), disk, offset_bytes, len) {
                self.finish(key, Err(IoError::from_errno(libc::ENOMEM)));
            }
            return;
        }
        let target =
            if attached.registered { Target::Table(index) } else { Target::Fd(opened.raw_fd()) };
        if !self.kernel.push(&step, target, &self.regions, key.user_data()) {
            self.finish(key, Err(IoError::from_errno(libc::EAGAIN)));
        }
    }

    /// Takes one result from the kernel or the discard thread.
    fn take_result(&mut self, user_data: u64, result: i32) {
        let key = Key::from_user_data(user_data);
        let Some(slot) = self.slots.get_mut(key) else {
            self.strays += 1;
            return;
        };
        let disk = usize::try_from(slot.disk).ok().and_then(|at| self.disks.get(at));
        let Some(Some(Attached { disk, .. })) = disk else {
            return self.finish(key, Err(IoError::local(IoErrorKind::DeviceGone)));
        };
        let Backing::File(opened) = disk.backing() else {
            return self.finish(key, Err(IoError::local(IoErrorKind::Other)));
        };
        let moved = usize::try_from(result).map_err(|_negative| result.wrapping_neg());
        match slot.operation.advance(disk, opened, moved) {
            Progress::Again => self.issue(key),
            Progress::Done(outcome) => self.finish(key, outcome),
        }
    }

    /// Answers an operation that neither the kernel nor the discard thread has any more.
    fn finish(&mut self, key: Key, outcome: Result<(), IoError>) {
        let Some(slot) = self.slots.take(key) else { return };
        self.ready.push_back(slot.operation.answer(outcome, &mut self.bounces));
        let index = slot.disk;
        if let Some(attached) = self.attached(index) {
            attached.in_flight -= 1;
        }
        self.detach_if_unused(index);
    }

    /// Takes what has come back, at most a batch.
    fn reap(&mut self) {
        let mut reaped = std::mem::take(&mut self.reaped);
        self.kernel.reap(&mut reaped, limits::COMPLETION_BATCH_MAX);
        self.discards.collect(&mut reaped);
        for (user_data, result) in reaped.drain(..) {
            self.take_result(user_data, result);
        }
        self.reaped = reaped;
    }

    /// Cancels what can be and waits for the rest, until `deadline`.
    fn bring_back(&mut self, deadline: Instant) {
        self.kernel.cancel_all();
        // Bounded by the deadline: each round waits for a completion or a slice of time.
        while self.outside() > 0 && Instant::now() < deadline {
            self.kernel.wait(Duration::from_millis(20));
            let mut reaped = std::mem::take(&mut self.reaped);
            self.kernel.reap(&mut reaped, limits::COMPLETION_BATCH_MAX);
            self.discards.collect(&mut reaped);
            for (user_data, _) in reaped.drain(..) {
                // Whatever it said, it is back; no further steps are taken.
                self.finish(
                    Key::from_user_data(user_data),
                    Err(IoError::local(IoErrorKind::Cancelled)),
                );
            }
            self.reaped = reaped;
        }
    }
}

impl<B: IoBuf> Engine<B> for UringEngine<B> {
    fn submit(
        &mut self,
        disk: &Arc<Disk>,
        token: u64,
        request: Request<B>,
    ) -> Result<(), Refused<B>> {
        if self.in_flight >= self.depth {
            return Err(Refused(request));
        }
        self.in_flight += 1;
        let mut operation = Operation::new(token, request);
        if let Some(result) = operation.answer_at_once(disk) {
            self.ready.push_back(operation.answer(result, &mut self.bounces));
            return Ok(());
        }
        let Backing::File(opened) = disk.backing() else {
            let error = Err(IoError::local(IoErrorKind::Other));
            self.ready.push_back(operation.answer(error, &mut self.bounces));
            return Ok(());
        };
        let Some(index) = self.attach(disk, opened) else {
            let error = Err(IoError::from_errno(libc::ENOBUFS));
            self.ready.push_back(operation.answer(error, &mut self.bounces));
            return Ok(());
        };
        match self.slots.insert(operation, index) {
            Ok(key) => {
                if let Some(attached) = self.attached(index) {
                    attached.in_flight += 1;
                    attached.released = false;
                }
                self.issue(key);
            }
            Err(operation) => {
                let error = Err(IoError::from_errno(libc::ENOBUFS));
                self.ready.push_back(operation.answer(error, &mut self.bounces));
            }
        }
        Ok(())
    }

    fn flush_submissions(&mut self) {
        self.kernel.enter_if_unsubmitted();
    }

    fn poll(&mut self, completions: &mut Vec<Completion<B>>) -> usize {
        self.kernel.silence();
        self.kernel.run_deferred();
        if self.ready.len() < limits::COMPLETION_BATCH_MAX {
            self.reap();
            // Further steps of operations that need several.
            self.kernel.enter_if_unsubmitted();
        }
        let count = self.ready.len().min(limits::COMPLETION_BATCH_MAX);
        completions.extend(self.ready.drain(..count));
        self.in_flight -= count;
        count
    }

    fn has_ready(&self) -> bool {
        self.kernel.listen();
        !self.ready.is_empty() || self.kernel.has_work() || self.discards.has_done()
    }

    fn event_fd(&self) -> BorrowedFd<'_> {
        self.kernel.event_fd().as_fd()
    }

    fn in_flight(&self) -> usize {
        self.in_flight
    }

    fn register_region(
        &mut self,
        start: NonNull<u8>,
        len: usize,
    ) -> Result<FixedRegion, RegionError> {
        self.regions.register(&self.kernel, start, len)
    }

    fn unregister_region(&mut self, region: FixedRegion) {
        self.regions.unregister(&self.kernel, region);
    }

    fn release_disk(&mut self, disk: &Disk) {
        let Some(index) = self.disk_index.get(&disk.id()).copied() else { return };
        if let Some(attached) = self.attached(index) {
            attached.released = true;
        }
        self.detach_if_unused(index);
    }
}

impl<B: IoBuf> Drop for UringEngine<B> {
    fn drop(&mut self) {
        if self.outside() > 0 {
            let patience = Duration::from_millis(limits::DROP_PATIENCE_MS);
            self.bring_back(Instant::now() + patience);
        }
        // What has not come back is forgotten, never dropped: the kernel may still touch it.
        let leaked = self.slots.forget_all();
        crate::count_leaked(leaked);
        if leaked == 0 {
            // The kernel takes a closed ring apart later, in its own time, and would keep disks
            // open and locked until then.
            self.kernel.unregister_all();
        }
    }
}
