//! Event channels of librdmacm: open, read, copy, acknowledge.
//!
//! An event is copied into an owned value and acknowledged at once, so no destroy ever waits for an
//! acknowledgement that its own caller owes (`man rdma_destroy_id`: blocks until all events of the
//! id are acknowledged).

use std::mem::MaybeUninit;
use std::os::fd::{BorrowedFd, RawFd};
use std::ptr::{self, NonNull};
use std::slice;
use std::sync::{Mutex, MutexGuard, PoisonError};

use transport::device::{AsyncEvent, CmEvent, DeviceError, Token};

use crate::errors::{check, last, non_null, would_block};
use crate::ffi::{self, async_event_type, rdma_cm_event_type};

/// Locks `mutex`. A poisoned lock is as good as any: it guards order, not data.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Sets `O_NONBLOCK` and `FD_CLOEXEC`: a read never sleeps and no child keeps a device open.
pub(crate) fn set_nonblocking(fd: RawFd) -> Result<(), DeviceError> {
    // SAFETY: F_GETFL takes no argument and touches no memory.
    let flags = unsafe { libc::fcntl(fd, libc::F_GETFL) };
    if flags < 0 {
        return Err(last("fcntl"));
    }
    // SAFETY: F_SETFL takes an integer and touches no memory.
    let rc = unsafe { libc::fcntl(fd, libc::F_SETFL, flags | libc::O_NONBLOCK) };
    check("fcntl", rc)?;
    // SAFETY: F_SETFD takes an integer and touches no memory.
    let rc = unsafe { libc::fcntl(fd, libc::F_SETFD, libc::FD_CLOEXEC) };
    check("fcntl", rc)
}

/// An event channel of librdmacm, nonblocking and closed on exec.
pub(crate) struct Channel {
    ptr: NonNull<ffi::rdma_event_channel>,
    fd: RawFd,
}

// SAFETY: an event channel is a file descriptor in an allocation; librdmacm lets any thread use it
// (`man rdma_cm`: the functions are thread safe).
unsafe impl Send for Channel {}
// SAFETY: as above; a shared reference only gives the descriptor and librdmacm calls.
unsafe impl Sync for Channel {}

impl Channel {
    pub(crate) fn open() -> Result<Self, DeviceError> {
        // SAFETY: takes nothing; returns an owned channel or NULL.
        let raw = unsafe { ffi::rdma_create_event_channel() };
        let ptr = non_null("rdma_create_event_channel", raw)?;
        // SAFETY: a channel that was just made has a readable descriptor field.
        let fd = unsafe { ptr.as_ref() }.fd;
        let channel = Self { ptr, fd };
        set_nonblocking(fd)?;
        Ok(channel)
    }

    pub(crate) fn as_ptr(&self) -> *mut ffi::rdma_event_channel {
        self.ptr.as_ptr()
    }

    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        // SAFETY: the descriptor is open until the channel is dropped, which the borrow outlives
        // not.
        unsafe { BorrowedFd::borrow_raw(self.fd) }
    }

    /// Reads one event, copies it and acknowledges it; `None` when there is none.
    pub(crate) fn take(&self) -> Result<Option<CopiedEvent>, DeviceError> {
        let mut raw = ptr::null_mut();
        // SAFETY: the channel lives; `raw` receives an event that is ours until the
        // acknowledgement.
        let rc = unsafe { ffi::rdma_get_cm_event(self.as_ptr(), &raw mut raw) };
        if let Err(error) = check("rdma_get_cm_event", rc) {
            return if would_block(&error) { Ok(None) } else { Err(error) };
        }
        let event = non_null("rdma_get_cm_event", raw)?;
        // SAFETY: the event was returned just now and is not acknowledged yet.
        let copied = copy(unsafe { event.as_ref() });
        // SAFETY: exactly one acknowledgement for the event above; nothing of it is used
        // afterwards.
        let rc = unsafe { ffi::rdma_ack_cm_event(event.as_ptr()) };
        check("rdma_ack_cm_event", rc)?;
        Ok(Some(copied))
    }
}

impl Drop for Channel {
    fn drop(&mut self) {
        // SAFETY: every id of the channel is destroyed before it (their owners hold the channel).
        unsafe { ffi::rdma_destroy_event_channel(self.ptr.as_ptr()) };
    }
}

/// A connection manager event, copied.
pub(crate) struct CopiedEvent {
    /// `enum rdma_cm_event_type`, as the integer that arrived.
    pub(crate) kind: u32,
    /// `status` of the event: a negative errno, or the peer's reason for a reject.
    pub(crate) status: i32,
    /// The id it is about. For a connection request it is new and owned by who reads the event.
    pub(crate) id: *mut ffi::rdma_cm_id,
    /// The user's number in the listener's id, or in `id` when there is no listener.
    pub(crate) context: u64,
    /// Private data, as long as the CM says.
    pub(crate) private_data: Vec<u8>,
    /// RDMA READs that the peer answers.
    pub(crate) initiator_depth: u8,
    /// RDMA READs that the peer wants to issue.
    pub(crate) responder_resources: u8,
}

fn copy(event: &ffi::rdma_cm_event) -> CopiedEvent {
    let owner = NonNull::new(event.listen_id).or(NonNull::new(event.id));
    let context = owner.map_or(0, |id| {
        // SAFETY: ids named by an event are kept alive by librdmacm until its acknowledgement.
        let context = unsafe { id.as_ref() }.context;
        context.addr() as u64
    });
    // SAFETY: librdmacm zeroes an event before it fills it and reliable connected ids fill `conn`;
    // all fields are integers and a pointer, so any bits are a value.
    let conn = unsafe { event.param.conn };
    let private_data = if conn.private_data.is_null() || conn.private_data_len == 0 {
        Vec::new()
    } else {
        let len = usize::from(conn.private_data_len);
        // SAFETY: librdmacm points it into the event's own buffer of at least that many bytes.
        unsafe { slice::from_raw_parts(conn.private_data.cast::<u8>(), len) }.to_vec()
    };
    CopiedEvent {
        kind: event.event,
        status: event.status,
        id: event.id,
        context,
        private_data,
        initiator_depth: conn.initiator_depth,
        responder_resources: conn.responder_resources,
    }
}

/// The event's meaning to an established or accepted connection.
pub(crate) fn meaning(kind: u32) -> CmEvent {
    match kind {
        rdma_cm_event_type::RDMA_CM_EVENT_ESTABLISHED => CmEvent::Established,
        rdma_cm_event_type::RDMA_CM_EVENT_DISCONNECTED => CmEvent::Disconnected,
        rdma_cm_event_type::RDMA_CM_EVENT_REJECTED => CmEvent::Rejected,
        rdma_cm_event_type::RDMA_CM_EVENT_UNREACHABLE => CmEvent::Unreachable,
        rdma_cm_event_type::RDMA_CM_EVENT_CONNECT_ERROR => CmEvent::ConnectError,
        rdma_cm_event_type::RDMA_CM_EVENT_ADDR_CHANGE => CmEvent::AddrChange,
        rdma_cm_event_type::RDMA_CM_EVENT_TIMEWAIT_EXIT => CmEvent::TimewaitExit,
        rdma_cm_event_type::RDMA_CM_EVENT_DEVICE_REMOVAL => CmEvent::DeviceRemoval,
        other => CmEvent::Other(other),
    }
}

/// Reads one asynchronous event of `context`, copies it and acknowledges it.
pub(crate) fn take_async(
    context: NonNull<ffi::ibv_context>,
) -> Result<Option<AsyncEvent>, DeviceError> {
    // The event type is a Rust enum in the bindings: the event stays behind a pointer, and the type
    // is read as the integer that the kernel wrote.
    let mut event = MaybeUninit::<ffi::ibv_async_event>::zeroed();
    let at = event.as_mut_ptr();
    // SAFETY: the context is open, `at` has room for one event.
    let rc = unsafe { ffi::ibv_get_async_event(context.as_ptr(), at) };
    if let Err(error) = check("ibv_get_async_event", rc) {
        return if would_block(&error) { Ok(None) } else { Err(error) };
    }
    // SAFETY: `at` points to an initialised event; no value of the field is made.
    let kind_at = unsafe { &raw const (*at).event_type }.cast::<u32>();
    // SAFETY: the field is a C enum of four bytes, written by the call above.
    let kind = unsafe { kind_at.read() };
    let result = match kind {
        async_event_type::QP_FATAL
        | async_event_type::QP_REQ_ERR
        | async_event_type::QP_ACCESS_ERR => AsyncEvent::QpError(token(at)),
        async_event_type::COMM_EST => AsyncEvent::CommEstablished(token(at)),
        async_event_type::QP_LAST_WQE_REACHED => AsyncEvent::LastWqeReached(token(at)),
        async_event_type::SQ_DRAINED => AsyncEvent::SqDrained(token(at)),
        async_event_type::CQ_ERR => AsyncEvent::CqError,
        async_event_type::DEVICE_FATAL => AsyncEvent::DeviceFatal,
        other => AsyncEvent::Other(other),
    };
    // The three errors of a queue pair become one above; which it was tells the provider's fault.
    tracing::debug!(number = kind, event = ?result, "asynchronous event");
    // SAFETY: exactly one acknowledgement for the event that was read above.
    unsafe { ffi::ibv_ack_async_event(at) };
    Ok(Some(result))
}

/// The token in the queue pair that an unacknowledged event is about.
fn token(event: *mut ffi::ibv_async_event) -> Token {
    // SAFETY: `event` points to an event that was read.
    let element = unsafe { &raw const (*event).element };
    // SAFETY: all members of the union start at its address, and this one was written.
    let qp = unsafe { element.cast::<*mut ffi::ibv_qp>().read() };
    // SAFETY: `ibv_destroy_qp` of that queue pair waits for our acknowledgement, so it is alive.
    let context = unsafe { (*qp).qp_context };
    Token(context.addr() as u64)
}
