//! A connection's CM id with an event channel of its own.

use std::net::SocketAddr;
use std::os::fd::BorrowedFd;
use std::ptr::{self, NonNull};
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use transport::device::{AcceptParams, CmEvent, CmId, DeviceError};

use crate::address;
use crate::device::Device;
use crate::errors::{check, non_null};
use crate::events::{self, Channel, CopiedEvent, lock};
use crate::ffi;
use crate::leaks;
use crate::limits::{PRIVATE_DATA_BYTES_MAX, RETRY_COUNT_MAX};
use crate::stack::Verbs;

/// A connection's CM id.
///
/// A queue pair holds its id: an id that is dropped first is destroyed when its queue pair is.
pub struct Id {
    inner: Arc<IdInner>,
}

/// The id and what serialises the calls on it.
///
/// librdmacm keeps a queue pair's pointer in the id and uses it in `rdma_accept`,
/// `rdma_disconnect`, `rdma_connect` and, on some events, `rdma_get_cm_event`. Those calls hold
/// `qp` for reading; who destroys the queue pair holds it for writing until the pointer is gone
/// from the id.
pub(crate) struct IdInner {
    ptr: NonNull<ffi::rdma_cm_id>,
    /// Calls that change the connection, one at a time.
    calls: Mutex<()>,
    /// Reads of the channel, one at a time.
    reads: Mutex<()>,
    /// Whether librdmacm holds a queue pair's pointer.
    qp: RwLock<bool>,
    /// After the id: it is closed when the id is gone.
    channel: Channel,
}

// SAFETY: librdmacm's calls are thread safe (`man rdma_cm`), and the accesses to its fields from
// here are ordered by the locks above.
unsafe impl Send for IdInner {}
// SAFETY: as above.
unsafe impl Sync for IdInner {}

impl Drop for IdInner {
    fn drop(&mut self) {
        // SAFETY: the last owner; every event that was read is acknowledged, so this waits for
        // nobody of ours. The queue pair's pointer is not used by this call.
        let rc = unsafe { ffi::rdma_destroy_id(self.ptr.as_ptr()) };
        if let Err(error) = check("rdma_destroy_id", rc) {
            leaks::count_object(&error);
        }
    }
}

impl IdInner {
    pub(crate) fn as_ptr(&self) -> *mut ffi::rdma_cm_id {
        self.ptr.as_ptr()
    }

    /// Serialises with accept, disconnect and the reader until dropped; says whether there is a QP.
    pub(crate) fn qp_for_change(&self) -> RwLockWriteGuard<'_, bool> {
        self.qp.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn qp_in_use(&self) -> RwLockReadGuard<'_, bool> {
        self.qp.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the queue pair's pointer out of the id. The guard proves that nobody is using it.
    pub(crate) fn forget_qp(&self, has_qp: &mut RwLockWriteGuard<'_, bool>) {
        let id = self.ptr.as_ptr();
        // SAFETY: the id lives; the write guard keeps every librdmacm call that reads the field
        // out.
        unsafe { (*id).qp = ptr::null_mut() };
        **has_qp = false;
    }

    /// The device context, NULL before an address is resolved.
    fn context(&self) -> *mut ffi::ibv_context {
        // SAFETY: the id lives. librdmacm sets the field before the id is handed to anyone
        // (request, resolved address) and never changes it.
        unsafe { (*self.ptr.as_ptr()).verbs }
    }
}

impl Id {
    /// Makes an id for an active connection on a new channel.
    pub(crate) fn create() -> Result<Self, DeviceError> {
        let channel = Channel::open()?;
        let ptr = create_raw(&channel, 0)?;
        Ok(Self::from_raw(ptr, channel))
    }

    /// Takes over the id of a connection request and moves it to a channel of its own.
    ///
    /// On failure the id is destroyed, which refuses the request.
    pub(crate) fn adopt(raw: *mut ffi::rdma_cm_id) -> Result<Self, DeviceError> {
        let ptr = non_null("rdma_get_cm_event", raw)?;
        let channel = Channel::open().inspect_err(|_| destroy_raw(ptr))?;
        // SAFETY: both live; no event of the new id was read that is not acknowledged.
        let rc = unsafe { ffi::rdma_migrate_id(ptr.as_ptr(), channel.as_ptr()) };
        check("rdma_migrate_id", rc).inspect_err(|_| destroy_raw(ptr))?;
        Ok(Self::from_raw(ptr, channel))
    }

    fn from_raw(ptr: NonNull<ffi::rdma_cm_id>, channel: Channel) -> Self {
        Self {
            inner: Arc::new(IdInner {
                ptr,
                calls: Mutex::new(()),
                reads: Mutex::new(()),
                qp: RwLock::new(false),
                channel,
            }),
        }
    }

    pub(crate) fn inner(&self) -> &Arc<IdInner> {
        &self.inner
    }

    /// Our address of the connection; `None` before it is known.
    #[must_use]
    pub fn local_addr(&self) -> Option<SocketAddr> {
        local_of(self.inner.ptr)
    }

    /// The peer's address of the connection; `None` before it is known.
    #[must_use]
    pub fn peer_addr(&self) -> Option<SocketAddr> {
        peer_of(self.inner.ptr)
    }

    /// Reads one event with all it carries; `None` when there is none now.
    ///
    /// While the queue pair is being destroyed there is none: librdmacm moves the queue pair to the
    /// error state on some events, and the close has stopped reading by then.
    pub(crate) fn take_event(&self) -> Result<Option<CopiedEvent>, DeviceError> {
        let _one_reader = lock(&self.inner.reads);
        let Ok(_qp_stays) = self.inner.qp.try_read() else { return Ok(None) };
        self.inner.channel.take()
    }

    /// Runs a librdmacm call that changes the connection, one at a time and with the QP held.
    pub(crate) fn call(
        &self,
        name: &'static str,
        call: impl FnOnce(*mut ffi::rdma_cm_id) -> libc::c_int,
    ) -> Result<(), DeviceError> {
        let _one_call = lock(&self.inner.calls);
        let _qp_stays = self.inner.qp_in_use();
        check(name, call(self.inner.as_ptr()))
    }
}

impl CmId<Verbs> for Id {
    fn device(&self) -> Result<Device, DeviceError> {
        let context = NonNull::new(self.inner.context())
            .ok_or(DeviceError { call: "rdma_cm_id.verbs", errno: libc::ENODEV })?;
        let local = self
            .local_addr()
            .ok_or(DeviceError { call: "rdma_get_local_addr", errno: libc::EADDRNOTAVAIL })?;
        Device::of_context(context, local)
    }

    fn accept(&self, params: &AcceptParams<'_>) -> Result<(), DeviceError> {
        if !*self.inner.qp_in_use() {
            // librdmacm would take the number of a foreign queue pair from the parameters instead.
            return Err(DeviceError { call: "rdma_accept", errno: libc::EINVAL });
        }
        let mut conn = ffi::rdma_conn_param {
            private_data: private_data_ptr(params.private_data),
            private_data_len: private_data_len("rdma_accept", params.private_data)?,
            responder_resources: params.responder_resources,
            initiator_depth: params.initiator_depth,
            flow_control: 1,
            retry_count: RETRY_COUNT_MAX,
            rnr_retry_count: params.rnr_retry_count.min(RETRY_COUNT_MAX),
            srq: 0,
            qp_num: 0,
        };
        self.call("rdma_accept", |id| {
            // SAFETY: the id lives and has its queue pair; the parameters and the private data that
            // they name outlive the call, which copies them.
            unsafe { ffi::rdma_accept(id, &raw mut conn) }
        })
    }

    fn reject(&self, private_data: &[u8]) -> Result<(), DeviceError> {
        let len = private_data_len("rdma_reject", private_data)?;
        let data = private_data_ptr(private_data);
        self.call("rdma_reject", |id| {
            // SAFETY: the id lives; the private data outlives the call, which copies it.
            unsafe { ffi::rdma_reject(id, data, len) }
        })
    }

    fn disconnect(&self) -> Result<(), DeviceError> {
        self.call("rdma_disconnect", |id| {
            // SAFETY: the id lives, and its queue pair stays while the call runs.
            unsafe { ffi::rdma_disconnect(id) }
        })
    }

    fn next_event(&self) -> Result<Option<CmEvent>, DeviceError> {
        Ok(self.take_event()?.map(|event| events::meaning(event.kind)))
    }

    fn event_fd(&self) -> BorrowedFd<'_> {
        self.inner.channel.fd()
    }
}

/// Makes a reliable-connected id on `channel` that carries `context`.
pub(crate) fn create_raw(
    channel: &Channel,
    context: u64,
) -> Result<NonNull<ffi::rdma_cm_id>, DeviceError> {
    let too_large = DeviceError { call: "rdma_create_id", errno: libc::EOVERFLOW };
    let context = usize::try_from(context).map_err(|_| too_large)?;
    let mut raw = ptr::null_mut();
    // SAFETY: the channel lives; the context is a number that librdmacm never follows.
    let rc = unsafe {
        ffi::rdma_create_id(
            channel.as_ptr(),
            &raw mut raw,
            ptr::without_provenance_mut(context),
            ffi::rdma_port_space::RDMA_PS_TCP,
        )
    };
    check("rdma_create_id", rc)?;
    non_null("rdma_create_id", raw)
}

/// Destroys an id that nobody else knows; a failure is counted.
pub(crate) fn destroy_raw(id: NonNull<ffi::rdma_cm_id>) {
    // SAFETY: the caller owns the id and gives it up; all its events are acknowledged.
    let rc = unsafe { ffi::rdma_destroy_id(id.as_ptr()) };
    if let Err(error) = check("rdma_destroy_id", rc) {
        leaks::count_object(&error);
    }
}

fn local_of(id: NonNull<ffi::rdma_cm_id>) -> Option<SocketAddr> {
    // SAFETY: the id lives; its route is filled before it is handed out and constant afterwards.
    let route = unsafe { &(*id.as_ptr()).route };
    // SAFETY: all members of the union are plain integers and the storage is the largest of them.
    address::from_storage(unsafe { &route.addr.src_addr_union.src_storage })
}

fn peer_of(id: NonNull<ffi::rdma_cm_id>) -> Option<SocketAddr> {
    // SAFETY: as in `local_of`.
    let route = unsafe { &(*id.as_ptr()).route };
    // SAFETY: as in `local_of`.
    address::from_storage(unsafe { &route.addr.dst_addr_union.dst_storage })
}

pub(crate) fn private_data_len(call: &'static str, data: &[u8]) -> Result<u8, DeviceError> {
    let too_long = DeviceError { call, errno: libc::EINVAL };
    if data.len() > PRIVATE_DATA_BYTES_MAX {
        return Err(too_long);
    }
    u8::try_from(data.len()).map_err(|_| too_long)
}

pub(crate) fn private_data_ptr(data: &[u8]) -> *const libc::c_void {
    if data.is_empty() { ptr::null() } else { data.as_ptr().cast() }
}
