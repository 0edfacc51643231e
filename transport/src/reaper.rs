//! What can block for seconds, and the threads that do it.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use crate::caps::DrainCaps;
use crate::device::{CmId, Stack, Token};
use crate::limits::{DESTROY_WARN_AFTER, REAPER_THREADS};
use crate::proof::{self, DestroyFailure, Epoch, QpDestroyed};
use crate::time::Now;

/// Work for a reaper.
pub enum Job<S: Stack> {
    /// Refuse a request and destroy its id.
    Refuse {
        /// The request's id.
        id: S::Id,
        /// Protocol-defined bytes.
        private_data: Vec<u8>,
    },
    /// `rdma_disconnect`: best effort, nothing waits for it.
    Disconnect {
        /// The connection's id.
        id: Arc<S::Id>,
    },
    /// Destroy a queue pair.
    DestroyQp {
        /// Whose.
        token: Token,
        /// The queue pair, moved here: nobody else has it.
        qp: S::Qp,
        /// The connection's id, which knows the queue pair.
        id: Arc<S::Id>,
        /// The queue pair's epoch.
        epoch: Epoch,
        /// How the provider destroys.
        caps: &'static DrainCaps,
    },
    /// Destroy an id and its channel.
    DestroyId {
        /// Whose.
        token: Token,
        /// The id.
        id: Arc<S::Id>,
    },
}

/// A reaper's answer.
#[derive(Debug)]
pub enum Outcome {
    /// To [`Job::DestroyQp`].
    QpDestroyed {
        /// Whose.
        token: Token,
        /// The proof, or why there is none.
        proof: Result<QpDestroyed, DestroyFailure>,
        /// How long it took.
        took: Duration,
    },
    /// To [`Job::DestroyId`].
    IdDestroyed {
        /// Whose.
        token: Token,
    },
}

impl<S: Stack> Job<S> {
    /// Does it. May block for a minute.
    pub fn run(self, clock: &dyn Fn() -> Now) -> Option<Outcome> {
        match self {
            Self::Refuse { id, private_data } => {
                if let Err(error) = id.reject(&private_data) {
                    tracing::debug!(%error, "the refused peer is gone already");
                }
                None
            }
            Self::Disconnect { id } => {
                if let Err(error) = id.disconnect() {
                    tracing::debug!(%error, "disconnect; the close goes on without it");
                }
                None
            }
            Self::DestroyQp { token, qp, id, epoch, caps } => {
                let began = clock();
                let proof = proof::destroy::<S>(qp, &id, epoch, caps, clock);
                let took = clock().since(began);
                if took >= DESTROY_WARN_AFTER {
                    tracing::warn!(
                        ?took,
                        provider = caps.provider,
                        "destroying a queue pair was slow"
                    );
                }
                Some(Outcome::QpDestroyed { token, proof, took })
            }
            Self::DestroyId { token, id } => {
                drop(id);
                Some(Outcome::IdDestroyed { token })
            }
        }
    }
}

/// Where a reaper's answers go: the reactor's mailbox.
pub type Reply = Arc<dyn Fn(Outcome) + Send + Sync>;

struct Queue<S: Stack> {
    jobs: VecDeque<(Job<S>, Reply)>,
    idle: usize,
    threads: usize,
    stopping: bool,
}

struct Shared<S: Stack> {
    queue: Mutex<Queue<S>>,
    wake: Condvar,
    clock: Box<dyn Fn() -> Now + Send + Sync>,
}

impl<S: Stack> Shared<S> {
    fn lock(&self) -> MutexGuard<'_, Queue<S>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Threads that destroy. A stuck destroy takes a thread, not the others' turn: when none is idle
/// another one is started, up to [`Reapers::THREADS_MAX`].
pub struct Reapers<S: Stack> {
    shared: Arc<Shared<S>>,
}

impl<S: Stack> Clone for Reapers<S> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared) }
    }
}

impl<S: Stack> Reapers<S> {
    /// Threads at most; further jobs wait for one.
    pub const THREADS_MAX: usize = 16 * REAPER_THREADS;

    /// No thread runs before the first job.
    #[must_use]
    pub fn new(clock: Box<dyn Fn() -> Now + Send + Sync>) -> Self {
        let queue = Queue { jobs: VecDeque::new(), idle: 0, threads: 0, stopping: false };
        Self { shared: Arc::new(Shared { queue: Mutex::new(queue), wake: Condvar::new(), clock }) }
    }

    /// Hands a job over; never blocks on the job itself.
    pub fn submit(&self, job: Job<S>, reply: Reply) {
        let mut queue = self.shared.lock();
        queue.jobs.push_back((job, reply));
        let short = queue.jobs.len() > queue.idle;
        if short && queue.threads < Self::THREADS_MAX && self.spawn() {
            queue.threads += 1;
        }
        drop(queue);
        self.shared.wake.notify_one();
    }

    fn spawn(&self) -> bool {
        let shared = Arc::clone(&self.shared);
        thread::Builder::new().name("reaper".into()).spawn(move || work(&shared)).is_ok()
    }

    /// Lets idle threads end; jobs that are queued are still done.
    pub fn stop(&self) {
        self.shared.lock().stopping = true;
        self.shared.wake.notify_all();
    }
}

fn work<S: Stack>(shared: &Shared<S>) {
    let mut queue = shared.lock();
    loop {
        if let Some((job, reply)) = queue.jobs.pop_front() {
            drop(queue);
            if let Some(outcome) = job.run(&shared.clock) {
                reply(outcome);
            }
            queue = shared.lock();
        } else if queue.stopping || queue.threads > REAPER_THREADS {
            queue.threads -= 1;
            return;
        } else {
            queue.idle += 1;
            queue = shared.wake.wait(queue).unwrap_or_else(PoisonError::into_inner);
            queue.idle -= 1;
        }
    }
}
