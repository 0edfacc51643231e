//! Proof that a queue pair is gone.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::caps::DrainCaps;
use crate::device::{DeviceError, QueuePair, SharedReceiveQueue, Stack};
use crate::limits::DESTROY_PROVES_NOTHING_AFTER;
use crate::time::Now;

/// Names one queue pair or shared receive queue for the life of the process: numbers of queue pairs
/// are reused, this is not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Epoch(u64);

impl Epoch {
    /// One that nobody had before.
    #[must_use]
    pub fn next() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        Self(NEXT.fetch_add(1, Ordering::Relaxed))
    }
}

/// The queue pair of this epoch was destroyed with success: no device touches its memory any more.
///
/// There is no other way to get one than a destroy that succeeded, and it can be used once.
/// `tests/compile_fail` holds the compiler to it.
#[derive(Debug)]
#[must_use = "memory of the queue pair's work requests waits for this proof"]
pub struct QpDestroyed {
    epoch: Epoch,
}

impl QpDestroyed {
    /// A proof out of thin air.
    #[cfg(test)]
    pub(crate) fn of(epoch: Epoch) -> Self {
        Self { epoch }
    }

    /// Whose it is.
    #[must_use]
    pub fn epoch(&self) -> Epoch {
        self.epoch
    }
}

/// The shared receive queue of this epoch was destroyed with success, which verbs allow only behind
/// all of its queue pairs: no device touches the memory of its receives any more.
///
/// Made and spent like [`QpDestroyed`], and not to be had from one.
#[derive(Debug)]
#[must_use = "memory of the shared receives waits for this proof"]
pub struct SrqDestroyed {
    epoch: Epoch,
}

impl SrqDestroyed {
    /// A proof out of thin air.
    #[cfg(test)]
    pub(crate) fn of(epoch: Epoch) -> Self {
        Self { epoch }
    }

    /// Whose it is.
    #[must_use]
    pub fn epoch(&self) -> Epoch {
        self.epoch
    }
}

/// Destroys a shared receive queue. May block: reaper only.
///
/// # Errors
/// It proves nothing: quarantine.
pub fn destroy_srq<Q: SharedReceiveQueue>(
    srq: Q,
    epoch: Epoch,
    caps: &DrainCaps,
    clock: &dyn Fn() -> Now,
) -> Result<SrqDestroyed, DestroyFailure> {
    let began = clock();
    let destroyed = srq.destroy().map(|()| SrqDestroyed { epoch });
    believe(destroyed, clock().since(began), caps)
}

/// A destroy that proves nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DestroyFailure {
    /// The call failed; it is not tried again.
    Failed(DeviceError),
    /// It came back after so long that the driver may have given up with references left.
    GaveUp(Duration),
}

/// Destroys a queue pair. May block for a minute.
pub(crate) fn destroy<S: Stack>(
    qp: S::Qp,
    id: &S::Id,
    epoch: Epoch,
    caps: &DrainCaps,
    clock: &dyn Fn() -> Now,
) -> Result<QpDestroyed, DestroyFailure> {
    let began = clock();
    let destroyed = qp.destroy(id).map(|()| QpDestroyed { epoch });
    believe(destroyed, clock().since(began), caps)
}

fn believe<P>(
    destroyed: Result<P, DeviceError>,
    took: Duration,
    caps: &DrainCaps,
) -> Result<P, DestroyFailure> {
    if caps.destroy_may_give_up && took >= DESTROY_PROVES_NOTHING_AFTER {
        return Err(DestroyFailure::GaveUp(took));
    }
    destroyed.map_err(DestroyFailure::Failed)
}
