//! Every bound and deadline of the daemon, with its unit.

use std::time::Duration;

/// Connection requests that a listener holds while its thread is busy.
pub const LISTEN_BACKLOG: u32 = 128;

/// First pause before a listener that could not listen is tried again.
pub const LISTEN_RETRY_FIRST: Duration = Duration::from_secs(1);

/// Longest such pause.
pub const LISTEN_RETRY_LAST: Duration = Duration::from_secs(5);

/// Completions taken from one completion queue at a time.
pub const WC_BATCH: usize = 64;

/// Batches of one completion queue in one tick, so that no lane starves the others.
pub const WC_BATCHES: usize = 4;

/// Tries in a row to arm a completion queue, before its connections are closed.
pub const DEAF_TRIES_MAX: u32 = 1000;

/// Between two of them; the queue is polled as often.
pub const DEAF_RETRY: Duration = Duration::from_millis(1);

/// Messages handled in one tick.
pub const MESSAGE_BATCH: usize = 256;

/// Entries of a lane's completion queue, or what the device has.
pub const CQ_DEPTH: u32 = 32_768;

/// Registered memory per lane that only Connect and admin commands use, bytes.
pub const RESERVE_BYTES: usize = 4 << 20;

/// Most that one command of a discovery controller moves, bytes, a power of two: its log page may
/// be long, and is read in parts. Of the reserve, 64 hosts may hold that much at a time.
pub const DISCOVERY_TRANSFER_BYTES: u32 = 64 << 10;
const _: () = assert!(RESERVE_BYTES / DISCOVERY_TRANSFER_BYTES as usize >= 64);

/// Registered memory that is added to a lane when its queues need more, bytes: 15 queues of 128
/// commands with 4 KiB in the capsule. A larger queue gets what it needs.
pub const QUEUE_POOL_BYTES: usize = 16 << 20;

/// RDMA READs that one connection has outstanding, whatever the device could do.
pub const READ_DEPTH_MAX: u32 = 16;

/// Queues of one peer address that have not sent their Connect command yet, at least: one
/// controller has that many, and a host makes all its queue pairs before it connects the first
/// queue.
pub const FRESH_PER_PEER_MIN: u32 = 256 // I/O queues of one controller, the largest limit
    + 1; // its admin queue

/// The same as a part (1/n) of all connections, where that is more.
pub const FRESH_PER_PEER_PART: u32 = 4;

/// How long a host may leave responses that it has no receive for, or RDMA READs, unanswered: they
/// hold memory. What is overdue is found between one and two of these later.
pub const PEER_TIMEOUT: Duration = Duration::from_secs(60);

/// How long SIGTERM waits for all connections to end before it gives up, above the transport's own
/// bound.
pub const SHUTDOWN_GRACE: Duration = Duration::from_secs(5);

/// From a reactor's thread to its first tick: pinning it, and setting its ring up.
pub const REACTOR_START_TIMEOUT: Duration = Duration::from_secs(20);

/// Time from SIGTERM to the end of the process.
pub const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(
    transport::limits::CLOSE_TIMEOUT.as_secs() // every connection is at its destroy
        + SHUTDOWN_GRACE.as_secs(), // destroys that take their time
);

/// Computations for authentications that wait for a thread. Each queue has one at most.
pub const COMPUTATIONS_MAX: usize = 1024;

/// Threads that compute for authentications, where the machine has as many cores.
pub const COMPUTING_THREADS_MAX: usize = 2;

/// Bytes of a file with one key; the longest key has 103.
pub const KEY_FILE_BYTES_MAX: usize = 256;

/// How often a device that is being taken away is looked at.
pub const REMOVAL_LOOK: Duration = Duration::from_millis(200);

/// How long a sign of a removal is followed when the kernel does not wait for us (yet).
pub const REMOVAL_LOOK_LAST: Duration = Duration::from_secs(60);

/// Time for the kernel to see that everything of ours is released.
pub const REMOVAL_RELEASED_GRACE: Duration = Duration::from_secs(1);

/// How long a status request waits for a reactor's part.
pub const STATUS_TIMEOUT: Duration = Duration::from_secs(2);

/// Ends of connections that are kept for `sluice drains`, at most 2 KiB each.
pub const DRAINS_KEPT: usize = 256;

/// Of those, ends that were not clean and that clean ones do not push out.
pub const DRAINS_KEPT_UNCLEAN: usize = 64;

const _: () = assert!(DRAINS_KEPT_UNCLEAN < DRAINS_KEPT);
