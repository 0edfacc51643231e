//! Bounds of a simulated world, with their units.

use std::time::Duration;

/// How long a host waits for the outcome of a connection request.
pub(crate) const CM_PATIENCE: Duration = Duration::from_secs(14);

/// How long a host waits for the answer to a command.
pub(crate) const COMMAND_PATIENCE: Duration = Duration::from_secs(40);

/// Between two reads of CSTS.
pub(crate) const STATUS_PERIOD: Duration = Duration::from_millis(50);

/// How often a host that can send nothing looks again.
pub(crate) const IDLE_LOOK: Duration = Duration::from_millis(200);

/// Registered memory of a lane for I/O, bytes: small, so that commands wait for it.
pub(crate) const POOL_BYTES: usize = 4 << 20;

/// Bound of the target on connections.
pub(crate) const QUEUES: u32 = 64;

/// Bound of the target on connections that are closing.
pub(crate) const CLOSING: u32 = 48;

/// From a connection to its granted Connect.
pub(crate) const HANDSHAKE: Duration = Duration::from_secs(16);

/// Virtual time in which all hosts are served again once the faults are over: what is lost is
/// noticed by a command that is not answered, twice in a row at worst, and the slowest destroy
/// holds up what waits for it.
pub(crate) const LIVENESS: Duration = Duration::from_secs(400);

/// Virtual time for the daemon to end: the transport's bound, and the slowest destroy.
pub(crate) const SHUTDOWN: Duration = Duration::from_secs(
    transport::limits::CLOSE_TIMEOUT.as_secs() // every queue pair is at its destroy
        + 60 // the slowest destroy of any row
        + 10, // destroys of ids, disks that were slow
);

/// Slack on a drain report's time to its destroy: a reactor's lag.
pub(crate) const CLOSE_SLACK: Duration = Duration::from_millis(100);

/// Things that happen in a run at most; more is a livelock.
pub(crate) const STEPS_MAX: u64 = 3_000_000;

/// Things that happen at one moment at most; more is a livelock too.
pub(crate) const STEPS_AT_ONCE_MAX: u64 = 100_000;
