//! Every bound and deadline of the transport, with its unit.

use std::time::Duration;

/// Deadline from accept to ESTABLISHED (T_acc).
pub const ESTABLISH_TIMEOUT: Duration = Duration::from_secs(10);

/// Deadline of an orderly close for queued responses to go out (T_q).
pub const QUIESCE_TIMEOUT: Duration = Duration::from_secs(1);

/// How long an orderly iWARP close waits for the peer to close first (T_linger).
pub const LINGER_TIMEOUT: Duration = Duration::from_secs(2);

/// How long an orderly iWARP close stays in CLOSING for the peer's FIN.
pub const CLOSING_TIMEOUT: Duration = Duration::from_secs(1);

/// Longest wait for flushed completions of any provider (the largest `t_f` of the capability
/// table).
pub const FLUSH_TIMEOUT_MAX: Duration = Duration::from_secs(5);

/// From the first close to the destroy of the queue pair, whatever peer, provider and CM do (T).
pub const CLOSE_TIMEOUT: Duration = Duration::from_secs(
    QUIESCE_TIMEOUT.as_secs()        // responses that were queued
        + LINGER_TIMEOUT.as_secs()   // the peer's turn to close, iWARP
        + CLOSING_TIMEOUT.as_secs()  // FIN exchange, iWARP
        + FLUSH_TIMEOUT_MAX.as_secs(), // flushed completions
);
const _: () = assert!(CLOSE_TIMEOUT.as_secs() <= 15);

/// How long a close waits for LAST_WQE_REACHED and the completions behind it, where receives are
/// shared (T_srq).
pub const SRQ_TIMEOUT: Duration = Duration::from_secs(5);

/// The same where the provider never sends LAST_WQE_REACHED: time for completions to come out.
pub const SRQ_GRACE: Duration = Duration::from_millis(100);

/// Interval between the polls that look for a quiet queue of shared receives.
pub const SRQ_POLL: Duration = Duration::from_millis(10);

/// [`CLOSE_TIMEOUT`] of a connection whose receives are shared.
pub const CLOSE_TIMEOUT_SHARED: Duration = Duration::from_secs(
    CLOSE_TIMEOUT.as_secs() + SRQ_TIMEOUT.as_secs(), // the last shared receive of the queue pair
);
const _: () = assert!(CLOSE_TIMEOUT_SHARED.as_secs() <= 15);
const _: () = assert!(SRQ_GRACE.as_millis() <= SRQ_TIMEOUT.as_millis());

/// A shared receive queue is worn when this part of it (1/n) may be lost to destroyed queue pairs.
pub const SRQ_WORN_PART: u64 = 4;

/// A destroy that lasted this long on rxe may have given up waiting: it proves nothing.
pub const DESTROY_PROVES_NOTHING_AFTER: Duration = Duration::from_secs(45);

/// A destroy that lasts this long is worth a warning.
pub const DESTROY_WARN_AFTER: Duration = Duration::from_secs(15);

/// First interval between polls of a flushing queue; flushes may raise no event (bnxt_re).
pub const FLUSH_POLL_FIRST: Duration = Duration::from_millis(1);

/// Longest interval between polls of a flushing queue.
pub const FLUSH_POLL_LAST: Duration = Duration::from_millis(10);

/// Interval between repeated moves to ERR where a provider needs the kick.
pub const KICK_INTERVAL: Duration = Duration::from_millis(50);

/// Work requests per connection and queue: the slot has 14 bits in a work request's id.
pub const WR_SLOTS_MAX: usize = 1 << 14;

/// Connections per reactor: the connection has 14 bits in a work request's id.
pub const CONNECTIONS_MAX: usize = 1 << 14;

/// Largest buffer of a pool, bytes: the largest transfer of one command.
pub const BUF_MAX: usize = 4 << 20;

/// Page of a pool, bytes: the smallest buffer that a disk may touch.
pub const PAGE: usize = 4096;

/// Bytes of a capsule slot: a command capsule without data, or a response.
pub const CAPSULE_SLOT: usize = 64;

/// Threads that destroy queue pairs and ids; a stuck one does not hold up the others.
pub const REAPER_THREADS: usize = 4;
