//! Bounds of this crate, each with its unit.

use std::time::Duration;

/// Bytes of private data in an accept or reject (`man rdma_accept`: the REP of InfiniBand; iWARP
/// takes more).
pub const PRIVATE_DATA_BYTES_MAX: usize = 196;

/// Completions taken from a queue by one `ibv_poll_cq`.
pub(crate) const POLL_BATCH: usize = 32;

/// Events read from a completion channel before they are acknowledged together.
pub(crate) const CQ_EVENTS_PER_READ: usize = 64;

/// Connections that the kernel queues before the listener's events are read.
pub const BACKLOG_MAX: u32 = 1024;

/// A destroy on rxe that took this long is not believed: its kernel half gives up after 50 s and
/// returns 0 with references left (seen on 6.1).
pub(crate) const RXE_DESTROY_TRUSTED: Duration = Duration::from_secs(45);

/// Bytes of a SEND or RDMA WRITE that siw's kernel half copies behind its packet header instead of
/// referencing them: the most that a short packet takes (`MAX_HDR_INLINE`, 6.12).
pub(crate) const SIW_INLINE_BYTES: u32 = 32;

/// Retries of an active connection before a send fails (three bits on the wire).
pub const RETRY_COUNT_MAX: u8 = 7;
