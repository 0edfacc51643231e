//! The engine that works on this machine.

use std::os::fd::BorrowedFd;
use std::ptr::NonNull;
use std::sync::Arc;

use crate::buffer::{FixedRegion, IoBuf};
use crate::disk::Disk;
use crate::engine::Engine;
use crate::error::{EngineError, RegionError};
use crate::limits;
use crate::request::{Completion, Refused, Request};
use crate::threads::ThreadEngine;
use crate::uring::UringEngine;

/// Which engine to start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum EngineKind {
    /// io_uring, or threads where it is refused.
    #[default]
    Auto,
    /// io_uring or an error.
    Uring,
    /// A pool of threads.
    Threads,
}

/// How an engine is to be started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EngineOptions {
    /// Which one.
    pub kind: EngineKind,
    /// Operations it holds at once (count), 1 to [`limits::QUEUE_DEPTH_MAX`]; cut to that range.
    pub queue_depth: u32,
    /// Threads of a thread engine (count), 1 to [`limits::WORKERS_MAX`]; cut to that range.
    pub workers: usize,
}

impl Default for EngineOptions {
    fn default() -> Self {
        Self {
            kind: EngineKind::Auto,
            queue_depth: limits::QUEUE_DEPTH_DEFAULT,
            workers: limits::WORKERS_DEFAULT,
        }
    }
}

impl EngineOptions {
    pub(crate) fn depth(&self) -> u32 {
        self.queue_depth.clamp(1, limits::QUEUE_DEPTH_MAX)
    }

    pub(crate) fn worker_count(&self) -> usize {
        self.workers.clamp(1, limits::WORKERS_MAX)
    }
}

/// Whichever engine works on this machine.
///
/// Start it on the thread that will use it: a ring belongs to the thread that made it.
#[allow(clippy::large_enum_variant, reason = "one per reactor, and a box would be in its way")]
pub enum SystemEngine<B: IoBuf> {
    /// A ring.
    Uring(UringEngine<B>),
    /// A pool of threads.
    Threads(ThreadEngine<B>),
}

impl<B: IoBuf> SystemEngine<B> {
    /// Starts the engine that was asked for, or with `Auto` the best one that starts.
    ///
    /// # Errors
    /// [`EngineError`] of the engine asked for, or of the thread engine with `Auto`.
    pub fn start(options: &EngineOptions) -> Result<Self, EngineError> {
        match options.kind {
            EngineKind::Uring => UringEngine::start(options).map(Self::Uring),
            EngineKind::Threads => ThreadEngine::start(options).map(Self::Threads),
            EngineKind::Auto => match UringEngine::start(options) {
                Ok(engine) => Ok(Self::Uring(engine)),
                Err(_) => ThreadEngine::start(options).map(Self::Threads),
            },
        }
    }

    /// What is running and how it was set up, in one line for people.
    #[must_use]
    pub fn describe(&self) -> String {
        match self {
            Self::Uring(engine) => engine.describe(),
            Self::Threads(engine) => engine.describe(),
        }
    }
}

impl<B: IoBuf> Engine<B> for SystemEngine<B> {
    fn submit(
        &mut self,
        disk: &Arc<Disk>,
        token: u64,
        request: Request<B>,
    ) -> Result<(), Refused<B>> {
        match self {
            Self::Uring(engine) => engine.submit(disk, token, request),
            Self::Threads(engine) => engine.submit(disk, token, request),
        }
    }

    fn flush_submissions(&mut self) {
        match self {
            Self::Uring(engine) => engine.flush_submissions(),
            Self::Threads(engine) => engine.flush_submissions(),
        }
    }

    fn poll(&mut self, completions: &mut Vec<Completion<B>>) -> usize {
        match self {
            Self::Uring(engine) => engine.poll(completions),
            Self::Threads(engine) => engine.poll(completions),
        }
    }

    fn has_ready(&self) -> bool {
        match self {
            Self::Uring(engine) => engine.has_ready(),
            Self::Threads(engine) => engine.has_ready(),
        }
    }

    fn event_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Uring(engine) => engine.event_fd(),
            Self::Threads(engine) => engine.event_fd(),
        }
    }

    fn in_flight(&self) -> usize {
        match self {
            Self::Uring(engine) => engine.in_flight(),
            Self::Threads(engine) => engine.in_flight(),
        }
    }

    fn register_region(
        &mut self,
        start: NonNull<u8>,
        len: usize,
    ) -> Result<FixedRegion, RegionError> {
        match self {
            Self::Uring(engine) => engine.register_region(start, len),
            Self::Threads(engine) => engine.register_region(start, len),
        }
    }

    fn unregister_region(&mut self, region: FixedRegion) {
        match self {
            Self::Uring(engine) => engine.unregister_region(region),
            Self::Threads(engine) => engine.unregister_region(region),
        }
    }

    fn release_disk(&mut self, disk: &Disk) {
        match self {
            Self::Uring(engine) => engine.release_disk(disk),
            Self::Threads(engine) => engine.release_disk(disk),
        }
    }
}
