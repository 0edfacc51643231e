//! Shared receive queues: posting and the destroy.

use std::mem;
use std::ptr::{self, NonNull};
use std::sync::Arc;

use transport::device::{
    self, DeviceError, PostError, QpCaps, RecvDesc, SharedReceiveQueue, Token,
};

use crate::cm_id::Id;
use crate::completion::Cq;
use crate::device::Device;
use crate::errors::{check, non_null};
use crate::ffi;
use crate::leaks;
use crate::queue_pair::{Qp, link_receives, outcome};
use crate::region::{Pd, PdInner};
use crate::stack::Verbs;

/// A shared receive queue. Dropped without [`SharedReceiveQueue::destroy`] it stays, with all it
/// depends on, until the process ends.
pub struct Srq {
    inner: Option<Arc<SrqInner>>,
    /// Scratch of the post, kept for its allocation.
    recv: Vec<ffi::ibv_recv_wr>,
    sges: Vec<ffi::ibv_sge>,
}

// SAFETY: libibverbs lets any thread use a shared receive queue, one after the other here; the
// scratch vectors hold pointers into each other only during a post, which has the value
// exclusively.
unsafe impl Send for Srq {}

/// What every queue pair that was made with the queue holds.
pub(crate) struct SrqInner {
    ptr: NonNull<ffi::ibv_srq>,
    pd: Arc<PdInner>,
}

// SAFETY: a shared reference gives the pointer only, which is used through its one `Srq`.
unsafe impl Send for SrqInner {}
// SAFETY: as above.
unsafe impl Sync for SrqInner {}

impl Srq {
    pub(crate) fn create(pd: &Pd, depth: u32, sge_max: u32) -> Result<Self, DeviceError> {
        let mut attr = ffi::ibv_srq_init_attr {
            srq_context: ptr::null_mut(),
            attr: ffi::ibv_srq_attr { max_wr: depth, max_sge: sge_max, srq_limit: 0 },
        };
        // SAFETY: the domain lives; `attr` is valid for reads and writes.
        let raw = unsafe { ffi::ibv_create_srq(pd.inner().as_ptr(), &raw mut attr) };
        let ptr = non_null("ibv_create_srq", raw)?;
        let inner = Arc::new(SrqInner { ptr, pd: Arc::clone(pd.inner()) });
        let made = Self { inner: Some(inner), recv: Vec::new(), sges: Vec::new() };
        if attr.attr.max_wr < depth || attr.attr.max_sge < sge_max {
            made.destroy()?;
            return Err(DeviceError { call: "ibv_create_srq", errno: libc::ENOMEM });
        }
        Ok(made)
    }

    pub(crate) fn inner(&self) -> &Arc<SrqInner> {
        self.inner.as_ref().expect("only destroy and drop take it, and they take the queue")
    }
}

impl SrqInner {
    pub(crate) fn as_ptr(&self) -> *mut ffi::ibv_srq {
        self.ptr.as_ptr()
    }

    pub(crate) fn pd(&self) -> &Arc<PdInner> {
        &self.pd
    }
}

// SAFETY: a post hands the entries to the device as they are; `destroy` says `Ok` only after
// `ibv_destroy_srq` did, which the kernel allows only when no queue pair uses the queue (`EBUSY`).
unsafe impl SharedReceiveQueue for Srq {
    unsafe fn post_recv(&mut self, list: &[RecvDesc]) -> Result<(), PostError> {
        if list.is_empty() {
            return Ok(());
        }
        let srq = self.inner().as_ptr();
        let first = link_receives(list, &mut self.recv, &mut self.sges);
        let mut bad = ptr::null_mut();
        // SAFETY: the queue lives; the list is linked inside vectors that the call only reads and
        // that outlive it; the caller promises the memory that the entries name.
        let rc = unsafe { ffi::ibv_post_srq_recv(srq, first, &raw mut bad) };
        outcome("ibv_post_srq_recv", rc, first, bad, list.len())
    }

    fn destroy(mut self) -> Result<(), DeviceError> {
        let inner = self.inner.take().expect("only destroy and drop take it, once");
        let pd = Arc::clone(&inner.pd);
        let result = match Arc::try_unwrap(inner) {
            Ok(inner) => {
                // SAFETY: the queue lives and is given up here, whatever the result; no queue pair
                // that was made with it is left. No event of it that was read is unacknowledged.
                let rc = unsafe { ffi::ibv_destroy_srq(inner.as_ptr()) };
                check("ibv_destroy_srq", rc)
            }
            Err(used) => {
                mem::forget(used);
                Err(DeviceError { call: "ibv_destroy_srq", errno: libc::EBUSY })
            }
        };
        if let Err(error) = &result {
            leaks::count_object(error);
            mem::forget(pd);
        }
        result
    }
}

impl Drop for Srq {
    fn drop(&mut self) {
        if let Some(inner) = self.inner.take() {
            leaks::count_object(&DeviceError { call: "ibv_destroy_srq", errno: libc::EBUSY });
            mem::forget(inner);
        }
    }
}

impl device::SharedReceives<Verbs> for Device {
    type Srq = Srq;

    fn create_srq(&self, pd: &Pd, depth: u32, sge_max: u32) -> Result<Srq, DeviceError> {
        Srq::create(pd, depth, sge_max)
    }

    fn create_qp_shared(
        &self,
        id: &Id,
        pd: &Pd,
        cq: &Cq,
        srq: &Srq,
        caps: QpCaps,
        token: Token,
    ) -> Result<Qp, DeviceError> {
        self.create_qp_of(id, pd, cq, caps, token, Some(srq))
    }
}
