//! What the engine's thread and its workers share, and what a worker does.

use std::collections::VecDeque;
use std::mem::ManuallyDrop;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::event::{EventfdFlags, eventfd};

use super::calls;
use crate::bounce::BouncePool;
use crate::buffer::IoBuf;
use crate::disk::{Backing, Disk, Opened};
use crate::error::{EngineError, IoError, IoErrorKind};
use crate::operation::{Operation, Progress};
use crate::request::Completion;

/// One operation on its way to a worker.
pub(super) struct Job<B> {
    pub(super) operation: Operation<B>,
    pub(super) disk: Arc<Disk>,
}

// SAFETY: `IoBuf` lets another thread use the memory; a worker never drops an operation or its
// buffer: they go back to the engine's thread in `done`, or are forgotten, also by a panic
// (`carry_out`).
#[allow(unsafe_code, reason = "buffers need not be Send: see IoBuf")]
unsafe impl<B: IoBuf> Send for Job<B> {}

/// A completion on its way back.
struct Done<B>(Completion<B>);

// SAFETY: as for `Job`: only the engine's thread takes it out, in `collect` or `stop`.
#[allow(unsafe_code, reason = "buffers need not be Send: see IoBuf")]
unsafe impl<B: IoBuf> Send for Done<B> {}

struct State<B> {
    jobs: VecDeque<Job<B>>,
    done: VecDeque<Done<B>>,
    /// Jobs that workers have in the kernel (count).
    running: u64,
    stopping: bool,
    /// The engine has gone and has counted what was running as leaked.
    abandoned: bool,
}

/// What the engine's thread and its workers share.
pub(super) struct Shared<B> {
    state: Mutex<State<B>>,
    /// Jobs came, or the end.
    wake: Condvar,
    /// A job has ended while stopping.
    idle: Condvar,
    has_done: AtomicBool,
    pub(super) event: OwnedFd,
}

impl<B: IoBuf> Shared<B> {
    pub(super) fn new(depth: usize) -> Result<Self, EngineError> {
        let event = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)
            .map_err(|errno| EngineError::System { call: "eventfd", source: errno.into() })?;
        let state = State {
            jobs: VecDeque::with_capacity(depth),
            done: VecDeque::with_capacity(depth),
            running: 0,
            stopping: false,
            abandoned: false,
        };
        Ok(Self {
            state: Mutex::new(state),
            wake: Condvar::new(),
            idle: Condvar::new(),
            has_done: AtomicBool::new(false),
            event,
        })
    }

    /// The state; it is consistent at every unlock, so a panic elsewhere doesn't spoil it.
    fn lock(&self) -> MutexGuard<'_, State<B>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn accept(&self, staged: &mut VecDeque<Job<B>>) {
        let count = staged.len();
        self.lock().jobs.append(staged);
        if count == 1 {
            self.wake.notify_one();
        } else {
            self.wake.notify_all();
        }
    }

    pub(super) fn has_done(&self) -> bool {
        self.has_done.load(Ordering::Acquire)
    }

    pub(super) fn collect(&self, ready: &mut VecDeque<Completion<B>>) {
        if self.has_done() {
            let mut state = self.lock();
            ready.extend(state.done.drain(..).map(|Done(completion)| completion));
            self.has_done.store(false, Ordering::Release);
        }
    }

    /// Ends the workers; drops jobs not begun, waits for the others, and returns how many did not
    /// come back within `patience` (count). Those are never freed.
    pub(super) fn stop(&self, patience: Duration) -> u64 {
        let deadline = Instant::now() + patience;
        let mut state = self.lock();
        state.stopping = true;
        let unbegun = std::mem::take(&mut state.jobs);
        self.wake.notify_all();
        while state.running > 0 {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            let waited = self.idle.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        state.abandoned = true;
        let leaked = state.running;
        let answered = std::mem::take(&mut state.done);
        drop(state);
        // Here, and not with the last worker: buffers are dropped by the engine's thread only.
        drop(unbegun);
        drop(answered);
        leaked
    }

    /// A worker's life.
    pub(super) fn work(&self) {
        let mut pool = BouncePool::new();
        while let Some(job) = self.next_job() {
            let completion = carry_out(job, &mut pool);
            let mut state = self.lock();
            state.running -= 1;
            if state.abandoned {
                // Counted as leaked: its owner may have let go of the memory's registration.
                std::mem::forget(completion);
                continue;
            }
            state.done.push_back(Done(completion));
            let stopping = state.stopping;
            let first = !self.has_done.swap(true, Ordering::AcqRel);
            drop(state);
            if stopping {
                self.idle.notify_all();
            }
            if first {
                // EAGAIN only when 2^64 - 2 events wait: it is readable then.
                let _ = rustix::io::write(&self.event, &1_u64.to_ne_bytes());
            }
        }
    }

    fn next_job(&self) -> Option<Job<B>> {
        let mut state = self.lock();
        loop {
            if state.stopping {
                return None;
            }
            if let Some(job) = state.jobs.pop_front() {
                state.running += 1;
                return Some(job);
            }
            state = self.wake.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

/// Carries an operation out to its end with system calls.
///
/// A panic would leak the operation: its buffer is never dropped on this thread.
fn carry_out<B: IoBuf>(job: Job<B>, pool: &mut BouncePool) -> Completion<B> {
    let Job { operation, disk } = job;
    let mut operation = ManuallyDrop::new(operation);
    let outcome = match disk.backing() {
        Backing::File(opened) => run_steps(&mut operation, &disk, opened, pool),
        // Answered by `submit`.
        Backing::Ram(_) | Backing::Null => Err(IoError::local(IoErrorKind::Other)),
    };
    ManuallyDrop::into_inner(operation).answer(outcome, pool)
}

fn run_steps<B: IoBuf>(
    operation: &mut Operation<B>,
    disk: &Disk,
    opened: &Opened,
    pool: &mut BouncePool,
) -> Result<(), IoError> {
    // Bounded: every step moves bytes, learns a refusal or counts towards IDLE_STEPS_MAX.
    loop {
        let step = operation.next_step(disk, opened, pool)?;
        let result = calls::run(opened, &step);
        match operation.advance(disk, opened, result) {
            Progress::Again => {}
            Progress::Done(outcome) => return outcome,
        }
    }
}
