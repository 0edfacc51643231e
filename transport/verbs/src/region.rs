//! Protection domains and memory regions.

use std::ptr::NonNull;
use std::sync::Arc;

use transport::device::DeviceError;

use crate::device::DeviceInner;
use crate::errors::{check, non_null};
use crate::ffi::{self, ibv_access_flags};
use crate::leaks;

/// A protection domain; its clones are the same one, and what is made in it keeps it alive.
#[derive(Clone)]
pub struct Pd {
    inner: Arc<PdInner>,
}

pub(crate) struct PdInner {
    ptr: NonNull<ffi::ibv_pd>,
    device: Arc<DeviceInner>,
}

// SAFETY: libibverbs lets any thread use a protection domain.
unsafe impl Send for PdInner {}
// SAFETY: as above.
unsafe impl Sync for PdInner {}

impl Pd {
    pub(crate) fn alloc(device: &Arc<DeviceInner>) -> Result<Self, DeviceError> {
        // SAFETY: the context is open.
        let raw = unsafe { ffi::ibv_alloc_pd(device.context()) };
        let ptr = non_null("ibv_alloc_pd", raw)?;
        Ok(Self { inner: Arc::new(PdInner { ptr, device: Arc::clone(device) }) })
    }

    pub(crate) fn inner(&self) -> &Arc<PdInner> {
        &self.inner
    }
}

impl PdInner {
    pub(crate) fn as_ptr(&self) -> *mut ffi::ibv_pd {
        self.ptr.as_ptr()
    }

    pub(crate) fn device(&self) -> &Arc<DeviceInner> {
        &self.device
    }
}

impl Drop for PdInner {
    fn drop(&mut self) {
        // SAFETY: the last owner; everything made in the domain held it and is gone.
        let rc = unsafe { ffi::ibv_dealloc_pd(self.ptr.as_ptr()) };
        if let Err(error) = check("ibv_dealloc_pd", rc) {
            leaks::count_object(&error);
            self.device.leak();
        }
    }
}

/// What a peer may do with a region. We may always write it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Access {
    pub(crate) remote_write: bool,
    pub(crate) remote_read: bool,
}

/// A memory region; dropping it deregisters.
pub struct Mr {
    ptr: NonNull<ffi::ibv_mr>,
    lkey: u32,
    rkey: u32,
    pd: Arc<PdInner>,
}

// SAFETY: libibverbs lets any thread deregister a region; nothing else is done with the pointer.
unsafe impl Send for Mr {}
// SAFETY: a shared reference gives the keys only.
unsafe impl Sync for Mr {}

impl Mr {
    /// Registers memory.
    ///
    /// # Safety
    /// `addr..addr+len` is mapped, writable and stays so until the region is dropped.
    pub(crate) unsafe fn register(
        pd: &Pd,
        addr: NonNull<u8>,
        len: usize,
        access: Access,
    ) -> Result<Self, DeviceError> {
        let mut flags = ibv_access_flags::IBV_ACCESS_LOCAL_WRITE.0;
        if access.remote_write {
            flags |= ibv_access_flags::IBV_ACCESS_REMOTE_WRITE.0;
        }
        if access.remote_read {
            flags |= ibv_access_flags::IBV_ACCESS_REMOTE_READ.0;
        }
        let flags = i32::try_from(flags).expect("three low bits");
        // SAFETY: the domain lives; the caller promises the range.
        let raw = unsafe { ffi::ibv_reg_mr(pd.inner.as_ptr(), addr.as_ptr().cast(), len, flags) };
        let ptr = non_null("ibv_reg_mr", raw)?;
        // SAFETY: a region that was just made has readable, constant keys.
        let made = unsafe { ptr.as_ref() };
        Ok(Self { ptr, lkey: made.lkey, rkey: made.rkey, pd: Arc::clone(&pd.inner) })
    }

    pub(crate) fn lkey(&self) -> u32 {
        self.lkey
    }

    pub(crate) fn rkey(&self) -> u32 {
        self.rkey
    }
}

impl Drop for Mr {
    fn drop(&mut self) {
        // SAFETY: the only owner. Queue pairs that may still name the key make it fail their own
        // requests, never touch the memory (the device checks the key: IBTA vol 1 §10.6).
        let rc = unsafe { ffi::ibv_dereg_mr(self.ptr.as_ptr()) };
        if let Err(error) = check("ibv_dereg_mr", rc) {
            leaks::count_object(&error);
            self.pd.device().leak();
        }
    }
}
