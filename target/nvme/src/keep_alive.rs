//! The keep-alive timer (NVMe Base 2.0 §3.9), traffic based: every command restarts it.

use crate::limits;
use crate::now::Now;

/// The timer of one controller.
#[derive(Debug)]
pub(crate) struct KeepAlive {
    timeout_ms: u32,
    idle_ms: u32,
    deadline: Option<Now>,
}

impl KeepAlive {
    /// `timeout_ms` is what the host asked for, `idle_ms` what is used when that is 0; 0 is no
    /// timer. A controller that is not enabled yet is timed too: its host may have died.
    pub(crate) fn new(now: Now, timeout_ms: u32, idle_ms: u32) -> Self {
        let mut timer = Self { timeout_ms: 0, idle_ms, deadline: None };
        timer.set(now, timeout_ms);
        timer
    }

    /// Sets the timeout, rounded up to the granularity of KAS.
    pub(crate) fn set(&mut self, now: Now, timeout_ms: u32) {
        let unit = limits::KEEP_ALIVE_GRANULARITY_MS;
        self.timeout_ms = timeout_ms.div_ceil(unit).saturating_mul(unit);
        self.touch(now);
    }

    /// The timeout that the host asked for, rounded; 0 when it wants none.
    pub(crate) fn timeout_ms(&self) -> u32 {
        self.timeout_ms
    }

    /// A sign of life.
    pub(crate) fn touch(&mut self, now: Now) {
        let period = if self.timeout_ms > 0 { self.timeout_ms } else { self.idle_ms };
        self.deadline = (period > 0).then(|| now.after_ms(period));
    }

    pub(crate) fn deadline(&self) -> Option<Now> {
        self.deadline
    }

    pub(crate) fn is_due(&self, now: Now) -> bool {
        self.deadline.is_some_and(|deadline| deadline <= now)
    }
}
