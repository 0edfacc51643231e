//! An engine on a pool of threads, for where io_uring is refused.

#[allow(unsafe_code, reason = "pread and pwritev2 on memory that an operation owns")]
mod calls;
mod worker;

use std::collections::VecDeque;
use std::os::fd::{AsFd, BorrowedFd};
use std::ptr::NonNull;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use crate::bounce::BouncePool;
use crate::buffer::{FixedRegion, IoBuf};
use crate::disk::Disk;
use crate::engine::Engine;
use crate::error::{EngineError, RegionError};
use crate::limits;
use crate::operation::Operation;
use crate::request::{Completion, Refused, Request};
use crate::system::EngineOptions;
use worker::{Job, Shared};

/// An engine on a pool of threads with `pread` and `pwritev2`, for where io_uring is refused.
///
/// It passes the same tests as [`crate::UringEngine`], at a system call and a lock per operation.
pub struct ThreadEngine<B: IoBuf> {
    shared: Arc<Shared<B>>,
    workers: Vec<JoinHandle<()>>,
    staged: VecDeque<Job<B>>,
    ready: VecDeque<Completion<B>>,
    bounces: BouncePool,
    depth: usize,
    in_flight: usize,
}

impl<B: IoBuf> ThreadEngine<B> {
    /// Starts the workers; takes what `options` says but its kind.
    ///
    /// # Errors
    /// [`EngineError::System`] when a thread or an eventfd can't be made.
    pub fn start(options: &EngineOptions) -> Result<Self, EngineError> {
        let depth = usize::try_from(options.depth()).unwrap_or(1);
        let shared = Arc::new(Shared::new(depth)?);
        let mut engine = Self {
            shared,
            workers: Vec::with_capacity(options.worker_count()),
            staged: VecDeque::with_capacity(depth),
            ready: VecDeque::with_capacity(depth),
            bounces: BouncePool::new(),
            depth,
            in_flight: 0,
        };
        for _ in 0..options.worker_count() {
            let shared = Arc::clone(&engine.shared);
            let worker = std::thread::Builder::new()
                .name(String::from("disk"))
                .spawn(move || shared.work())
                .map_err(|source| EngineError::System { call: "pthread_create", source })?;
            engine.workers.push(worker);
        }
        Ok(engine)
    }

    /// How it was set up, in one line for people.
    #[must_use]
    pub fn describe(&self) -> String {
        format!("{} threads, queue depth {}", self.workers.len(), self.depth)
    }
}

impl<B: IoBuf> Engine<B> for ThreadEngine<B> {
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
        } else {
            self.staged.push_back(Job { operation, disk: Arc::clone(disk) });
        }
        Ok(())
    }

    fn flush_submissions(&mut self) {
        if !self.staged.is_empty() {
            self.shared.accept(&mut self.staged);
        }
    }

    fn poll(&mut self, completions: &mut Vec<Completion<B>>) -> usize {
        if self.ready.len() < limits::COMPLETION_BATCH_MAX {
            self.shared.collect(&mut self.ready);
        }
        let count = self.ready.len().min(limits::COMPLETION_BATCH_MAX);
        completions.extend(self.ready.drain(..count));
        self.in_flight -= count;
        count
    }

    fn has_ready(&self) -> bool {
        !self.ready.is_empty() || !self.staged.is_empty() || self.shared.has_done()
    }

    fn event_fd(&self) -> BorrowedFd<'_> {
        self.shared.event.as_fd()
    }

    fn in_flight(&self) -> usize {
        self.in_flight
    }

    /// There is nothing to register for system calls: the number is not used.
    fn register_region(
        &mut self,
        _start: NonNull<u8>,
        len: usize,
    ) -> Result<FixedRegion, RegionError> {
        if len == 0 {
            return Err(RegionError::Length { len_bytes: len });
        }
        Ok(FixedRegion(0))
    }

    fn unregister_region(&mut self, _region: FixedRegion) {}

    fn release_disk(&mut self, _disk: &Disk) {}
}

impl<B: IoBuf> Drop for ThreadEngine<B> {
    fn drop(&mut self) {
        let leaked = self.shared.stop(Duration::from_millis(limits::DROP_PATIENCE_MS));
        crate::count_leaked(leaked);
        if leaked == 0 {
            for worker in self.workers.drain(..) {
                // A worker that panicked has said so on stderr; there is nothing to add here.
                let _ = worker.join();
            }
        }
    }
}
