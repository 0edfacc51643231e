//! The daemon's clock: one start, monotonic, passed around as a value.

use std::time::{Duration, Instant};

/// Where time comes from; a simulator has one of its own.
pub trait Clock: Send + Sync + 'static {
    /// Time since the clock's own start. Never goes back.
    fn now(&self) -> Duration;
}

/// `CLOCK_MONOTONIC` since the process started serving.
#[derive(Clone, Copy, Debug)]
pub struct MonotonicClock(Instant);

impl MonotonicClock {
    /// Starts at zero.
    #[must_use]
    pub fn start() -> Self {
        Self(Instant::now())
    }
}

impl Clock for MonotonicClock {
    fn now(&self) -> Duration {
        self.0.elapsed()
    }
}

/// As the transport wants it.
pub(crate) fn transport_now(now: Duration) -> transport::time::Now {
    transport::time::Now(now)
}
