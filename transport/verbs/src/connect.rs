//! The active side, for tests and tools: the daemon only listens.
//!
//! [`resolve`] gives an id with its device; the caller makes the queue pair on it and posts
//! receives; [`connect`] then establishes the connection. Both block up to a deadline.

use std::fmt;
use std::net::SocketAddr;
use std::os::fd::AsRawFd;
use std::ptr;
use std::time::{Duration, Instant};

use transport::device::{CmId, DeviceError};

use crate::address;
use crate::cm_id::{Id, private_data_len, private_data_ptr};
use crate::errors::last;
use crate::events::CopiedEvent;
use crate::ffi::{self, rdma_cm_event_type};
use crate::limits::RETRY_COUNT_MAX;

/// What a connection request offers (`man rdma_connect`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnectParams<'a> {
    /// Protocol-defined bytes; on InfiniBand and RoCE at most 56.
    pub private_data: &'a [u8],
    /// RDMA READs we answer at a time.
    pub responder_resources: u8,
    /// RDMA READs we issue at a time.
    pub initiator_depth: u8,
    /// Times a send is repeated without an acknowledgement, 0..=7.
    pub retry_count: u8,
    /// Retries when the peer has no receive posted; 7 is without end.
    pub rnr_retry_count: u8,
}

/// Why there is no connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConnectError {
    /// The peer refused.
    Rejected {
        /// The CM's reason; 28 is "by the application" on InfiniBand and RoCE, `-ECONNRESET` on
        /// siw.
        reason: i32,
        /// What the peer says, padded by the CM with zeroes.
        private_data: Vec<u8>,
    },
    /// The CM gave up, with the event and its status (a negative errno).
    Failed {
        /// `enum rdma_cm_event_type`.
        event: u32,
        /// Status of the event.
        status: i32,
    },
    /// Nothing came before the deadline.
    TimedOut,
    /// A call failed.
    Device(DeviceError),
}

impl fmt::Display for ConnectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rejected { reason, .. } => write!(f, "the peer rejected, reason {reason}"),
            Self::Failed { event, status } => write!(f, "CM event {event}, status {status}"),
            Self::TimedOut => f.write_str("no answer in time"),
            Self::Device(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for ConnectError {}

impl From<DeviceError> for ConnectError {
    fn from(error: DeviceError) -> Self {
        Self::Device(error)
    }
}

/// Finds device and route to `remote`, from `local` if given.
///
/// # Errors
/// A failed call, an address that no RDMA device reaches, or the deadline.
pub fn resolve(
    remote: SocketAddr,
    local: Option<SocketAddr>,
    timeout: Duration,
) -> Result<Id, ConnectError> {
    let deadline = Instant::now() + timeout;
    let timeout_ms = i32::try_from(timeout.as_millis()).unwrap_or(i32::MAX);
    let id = Id::create()?;
    let mut to = address::to_storage(remote);
    let mut from = local.map(address::to_storage);
    let from_ptr = from.as_mut().map_or(ptr::null_mut(), |from| ptr::from_mut(from).cast());
    id.call("rdma_resolve_addr", |id| {
        // SAFETY: the id lives; both addresses are valid ones of their families, or NULL, and
        // outlive the call.
        unsafe { ffi::rdma_resolve_addr(id, from_ptr, ptr::from_mut(&mut to).cast(), timeout_ms) }
    })?;
    expect(&id, rdma_cm_event_type::RDMA_CM_EVENT_ADDR_RESOLVED, deadline)?;
    id.call("rdma_resolve_route", |id| {
        // SAFETY: the id lives and has its address.
        unsafe { ffi::rdma_resolve_route(id, timeout_ms) }
    })?;
    expect(&id, rdma_cm_event_type::RDMA_CM_EVENT_ROUTE_RESOLVED, deadline)?;
    Ok(id)
}

/// Connects an id that was resolved and has its queue pair; gives the private data of the accept.
///
/// # Errors
/// The peer's refusal with its private data, a failed call, or the deadline. The queue pair is the
/// caller's in every case and has to be destroyed.
pub fn connect(
    id: &Id,
    params: &ConnectParams<'_>,
    timeout: Duration,
) -> Result<Vec<u8>, ConnectError> {
    let deadline = Instant::now() + timeout;
    let mut conn = ffi::rdma_conn_param {
        private_data: private_data_ptr(params.private_data),
        private_data_len: private_data_len("rdma_connect", params.private_data)?,
        responder_resources: params.responder_resources,
        initiator_depth: params.initiator_depth,
        flow_control: 1,
        retry_count: params.retry_count.min(RETRY_COUNT_MAX),
        rnr_retry_count: params.rnr_retry_count.min(RETRY_COUNT_MAX),
        srq: 0,
        qp_num: 0,
    };
    id.call("rdma_connect", |id| {
        // SAFETY: the id lives; parameters and private data outlive the call, which copies them.
        unsafe { ffi::rdma_connect(id, &raw mut conn) }
    })?;
    let event = expect(id, rdma_cm_event_type::RDMA_CM_EVENT_ESTABLISHED, deadline)?;
    Ok(event.private_data)
}

/// Waits for one event of the id and checks that it is the wanted one.
fn expect(id: &Id, wanted: u32, deadline: Instant) -> Result<CopiedEvent, ConnectError> {
    loop {
        if let Some(event) = id.take_event()? {
            return if event.kind == wanted {
                Ok(event)
            } else if event.kind == rdma_cm_event_type::RDMA_CM_EVENT_REJECTED {
                Err(ConnectError::Rejected {
                    reason: event.status,
                    private_data: event.private_data,
                })
            } else {
                Err(ConnectError::Failed { event: event.kind, status: event.status })
            };
        }
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(ConnectError::TimedOut);
        }
        wait_readable(id, left)?;
    }
}

fn wait_readable(id: &Id, timeout: Duration) -> Result<(), DeviceError> {
    let mut poll = libc::pollfd { fd: id.event_fd().as_raw_fd(), events: libc::POLLIN, revents: 0 };
    let timeout_ms = i32::try_from(timeout.as_millis().max(1)).unwrap_or(i32::MAX);
    // SAFETY: one valid entry.
    let rc = unsafe { libc::poll(&raw mut poll, 1, timeout_ms) };
    if rc < 0 {
        let error = last("poll");
        return if error.errno == libc::EINTR { Ok(()) } else { Err(error) };
    }
    Ok(())
}
