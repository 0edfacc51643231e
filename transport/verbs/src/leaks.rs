//! What was given up on purpose: objects whose destroy failed or was never asked for.
//!
//! A number here that is not 0 means that memory or kernel objects stay until the process ends.

use std::sync::atomic::{AtomicU64, Ordering};

use tracing::error;
use transport::device::DeviceError;

/// Counters of everything this process leaked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Leaks {
    /// Queue pairs that were dropped without a destroy.
    pub queue_pairs: u64,
    /// Queue pairs whose destroy failed or was not believed: the device may still touch memory.
    pub quarantined: u64,
    /// Memory regions, protection domains, completion queues, channels and CM ids whose destroy
    /// failed.
    pub objects: u64,
}

static QUEUE_PAIRS: AtomicU64 = AtomicU64::new(0);
static QUARANTINED: AtomicU64 = AtomicU64::new(0);
static OBJECTS: AtomicU64 = AtomicU64::new(0);

/// What this process leaked until now.
#[must_use]
pub fn leaks() -> Leaks {
    Leaks {
        queue_pairs: QUEUE_PAIRS.load(Ordering::Relaxed),
        quarantined: QUARANTINED.load(Ordering::Relaxed),
        objects: OBJECTS.load(Ordering::Relaxed),
    }
}

/// Queue pairs that were dropped without a destroy.
#[must_use]
pub fn leaked_queue_pairs() -> u64 {
    leaks().queue_pairs
}

/// Queue pairs whose destroy failed: the device may still touch memory named by their work
/// requests.
#[must_use]
pub fn quarantined() -> u64 {
    leaks().quarantined
}

pub(crate) fn count_queue_pair(number: u32) {
    QUEUE_PAIRS.fetch_add(1, Ordering::Relaxed);
    error!(qp = number, "queue pair dropped without destroy: leaked with all it depends on");
}

pub(crate) fn count_quarantine(number: u32, cause: &DeviceError) {
    QUARANTINED.fetch_add(1, Ordering::Relaxed);
    error!(qp = number, error = %cause, "queue pair not destroyed: what it may touch stays");
}

pub(crate) fn count_object(cause: &DeviceError) {
    OBJECTS.fetch_add(1, Ordering::Relaxed);
    error!(error = %cause, "destroy failed: the object stays until the process ends");
}
