//! Bounds of the simulation, with their units.

use std::time::Duration;

/// Trace lines kept at most; older ones are dropped and counted.
pub const TRACE_LINES_MAX: usize = 200_000;

/// Violations kept at most; the first ones tell the story.
pub const VIOLATIONS_MAX: usize = 64;

/// Happenings that [`Fabric::run_due`](crate::Fabric::run_due) lets pass at most.
pub const RUN_MAX: usize = 1_000_000;

/// A duration of a destroy that gave up (rxe of 6.1 waits this long for its references).
pub const DESTROY_GIVES_UP_AFTER: Duration = Duration::from_secs(50);

/// How long a requester retries a peer that does not answer.
pub const RETRY_TIMEOUT: Duration = Duration::from_secs(8);

/// How long a peer without a posted receive makes a sender wait before it tries again.
pub const RNR_DELAY: Duration = Duration::from_millis(5);
