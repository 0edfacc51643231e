//! What an I/O queue leaves for its controller to read: written by the queue's reactor only.

use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// Signs of life and counts of one I/O queue.
///
/// INVARIANT: only the queue writes the counts and only the controller clears `touched`, so plain
/// loads and stores are enough and no cache line is shared between two queues that write.
#[derive(Debug, Default)]
#[repr(align(64))]
pub struct IoActivity {
    touched: AtomicBool,
    authenticating: AtomicBool,
    reads: AtomicU64,
    writes: AtomicU64,
    read_bytes: AtomicU64,
    written_bytes: AtomicU64,
}

/// Sums of what queues did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct IoCounts {
    /// Read commands that succeeded.
    pub reads: u64,
    /// Write commands that succeeded.
    pub writes: u64,
    /// Bytes read.
    pub read_bytes: u64,
    /// Bytes written.
    pub written_bytes: u64,
}

impl IoCounts {
    /// The sum of both.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self {
            reads: self.reads.saturating_add(other.reads),
            writes: self.writes.saturating_add(other.writes),
            read_bytes: self.read_bytes.saturating_add(other.read_bytes),
            written_bytes: self.written_bytes.saturating_add(other.written_bytes),
        }
    }
}

fn add(counter: &AtomicU64, count: u64) {
    let sum = counter.load(Ordering::Relaxed).wrapping_add(count);
    counter.store(sum, Ordering::Relaxed);
}

impl IoActivity {
    /// A command came: keeps the keep-alive timer from running out (TBKAS).
    pub(crate) fn touch(&self) {
        if !self.touched.load(Ordering::Relaxed) {
            self.touched.store(true, Ordering::Relaxed);
        }
    }

    /// The queue's host is at authenticating itself, or is not any more.
    pub(crate) fn set_authenticating(&self, is: bool) {
        self.authenticating.store(is, Ordering::Relaxed);
    }

    /// Whether it is.
    pub(crate) fn is_authenticating(&self) -> bool {
        self.authenticating.load(Ordering::Relaxed)
    }

    /// Whether a command came since the last time this was asked.
    pub(crate) fn take_touch(&self) -> bool {
        self.touched.swap(false, Ordering::Relaxed)
    }

    pub(crate) fn count_read(&self, bytes: u32) {
        add(&self.reads, 1);
        add(&self.read_bytes, u64::from(bytes));
    }

    pub(crate) fn count_write(&self, bytes: u32) {
        add(&self.writes, 1);
        add(&self.written_bytes, u64::from(bytes));
    }

    /// The counts now.
    pub fn counts(&self) -> IoCounts {
        IoCounts {
            reads: self.reads.load(Ordering::Relaxed),
            writes: self.writes.load(Ordering::Relaxed),
            read_bytes: self.read_bytes.load(Ordering::Relaxed),
            written_bytes: self.written_bytes.load(Ordering::Relaxed),
        }
    }
}
