//! Completion queues, each with a completion channel of its own.

use std::mem;
use std::os::fd::BorrowedFd;
use std::ptr::{self, NonNull};
use std::sync::Arc;

use transport::device::{CompletionQueue, DeviceError, Wc, WcStatus};

use crate::device::DeviceInner;
use crate::errors::{check, last, non_null, would_block};
use crate::events::set_nonblocking;
use crate::ffi::{self, ibv_wc_status};
use crate::leaks;
use crate::limits::{CQ_EVENTS_PER_READ, POLL_BATCH};

/// A completion queue. Queue pairs hold it: it is destroyed when they are gone.
pub struct Cq {
    inner: Arc<CqInner>,
    depth: u32,
    /// Events that may come or wait in the channel: each arming raises one at most.
    events_due: usize,
    /// Where the device's completions are polled to: zeroed once, so every field always has a
    /// value.
    scratch: Box<[ffi::ibv_wc; POLL_BATCH]>,
}

pub(crate) struct CqInner {
    ptr: NonNull<ffi::ibv_cq>,
    /// After the queue: the channel can only be destroyed when no queue uses it.
    channel: CompChannel,
}

// SAFETY: libibverbs lets any thread use a completion queue.
unsafe impl Send for CqInner {}
// SAFETY: as above; polling goes through the one `Cq`, by exclusive reference.
unsafe impl Sync for CqInner {}

impl CqInner {
    pub(crate) fn as_ptr(&self) -> *mut ffi::ibv_cq {
        self.ptr.as_ptr()
    }

    pub(crate) fn device(&self) -> &Arc<DeviceInner> {
        &self.channel.device
    }
}

impl Drop for CqInner {
    fn drop(&mut self) {
        // SAFETY: the last owner: no queue pair uses the queue, and every event that was read is
        // acknowledged, so the call waits for nobody.
        let rc = unsafe { ffi::ibv_destroy_cq(self.ptr.as_ptr()) };
        if let Err(error) = check("ibv_destroy_cq", rc) {
            leaks::count_object(&error);
            self.channel.leaked = true;
        }
    }
}

struct CompChannel {
    ptr: NonNull<ffi::ibv_comp_channel>,
    fd: i32,
    /// A queue that could not be destroyed still uses it.
    leaked: bool,
    device: Arc<DeviceInner>,
}

impl CompChannel {
    fn open(device: &Arc<DeviceInner>) -> Result<Self, DeviceError> {
        // SAFETY: the context is open.
        let raw = unsafe { ffi::ibv_create_comp_channel(device.context()) };
        let ptr = non_null("ibv_create_comp_channel", raw)?;
        // SAFETY: a channel that was just made has a readable descriptor field.
        let fd = unsafe { ptr.as_ref() }.fd;
        let channel = Self { ptr, fd, leaked: false, device: Arc::clone(device) };
        set_nonblocking(fd)?;
        Ok(channel)
    }
}

impl Drop for CompChannel {
    fn drop(&mut self) {
        if self.leaked {
            self.device.leak();
            return;
        }
        // SAFETY: its only completion queue is destroyed.
        let rc = unsafe { ffi::ibv_destroy_comp_channel(self.ptr.as_ptr()) };
        if let Err(error) = check("ibv_destroy_comp_channel", rc) {
            leaks::count_object(&error);
            self.device.leak();
        }
    }
}

impl Cq {
    pub(crate) fn create(device: &Arc<DeviceInner>, depth: u32) -> Result<Self, DeviceError> {
        let refused = DeviceError { call: "ibv_create_cq", errno: libc::EINVAL };
        let wanted = i32::try_from(depth).map_err(|_| refused)?;
        let channel = CompChannel::open(device)?;
        // SAFETY: context and channel live; vector 0 always exists.
        let raw = unsafe {
            ffi::ibv_create_cq(device.context(), wanted, ptr::null_mut(), channel.ptr.as_ptr(), 0)
        };
        let ptr = non_null("ibv_create_cq", raw)?;
        // SAFETY: a queue that was just made has a readable, constant size.
        let entries = unsafe { ptr.as_ref() }.cqe;
        let made = Self {
            inner: Arc::new(CqInner { ptr, channel }),
            depth: u32::try_from(entries).map_err(|_| refused)?,
            events_due: 0,
            // SAFETY: a completion is integers only, for which all zeroes is a value.
            scratch: Box::new(unsafe { mem::zeroed() }),
        };
        if made.depth < depth {
            return Err(DeviceError { call: "ibv_create_cq", errno: libc::ENOMEM });
        }
        Ok(made)
    }

    pub(crate) fn inner(&self) -> &Arc<CqInner> {
        &self.inner
    }

    /// Polls at most `max` completions, and gives them as the device filled them.
    pub(crate) fn poll_batch(&mut self, max: usize) -> Result<&[ffi::ibv_wc], DeviceError> {
        let max = max.min(POLL_BATCH);
        let room = i32::try_from(max).expect("a batch is far below i32::MAX");
        // SAFETY: the queue lives; the scratch has room for that many completions.
        let rc = unsafe { ffi::ibv_poll_cq(self.inner.as_ptr(), room, self.scratch.as_mut_ptr()) };
        match usize::try_from(rc) {
            Ok(count) => Ok(&self.scratch[..count.min(max)]),
            Err(_) => Err(check("ibv_poll_cq", rc).expect_err("a negative code is no success")),
        }
    }
}

impl CompletionQueue for Cq {
    fn poll(&mut self, out: &mut [Wc]) -> Result<usize, DeviceError> {
        let mut total = 0;
        for chunk in out.chunks_mut(POLL_BATCH) {
            let polled = match self.poll_batch(chunk.len()) {
                Ok(polled) => polled,
                // What was taken before is not lost; the error comes again.
                Err(_) if total > 0 => break,
                Err(error) => return Err(error),
            };
            for (to, from) in chunk.iter_mut().zip(polled) {
                *to = completion(from);
            }
            total += polled.len();
            if polled.len() < chunk.len() {
                break;
            }
        }
        Ok(total)
    }

    fn arm(&mut self) -> Result<(), DeviceError> {
        // SAFETY: the queue lives.
        let rc = unsafe { ffi::ibv_req_notify_cq(self.inner.as_ptr(), 0) };
        check("ibv_req_notify_cq", rc)?;
        self.events_due = self.events_due.saturating_add(1);
        Ok(())
    }

    fn take_events(&mut self) -> Result<usize, DeviceError> {
        let mut count: u32 = 0;
        let mut failed = None;
        // Where only one can be, a second read would find nothing, and cost a system call.
        for _ in 0..self.events_due.min(CQ_EVENTS_PER_READ) {
            let mut cq = ptr::null_mut();
            let mut context = ptr::null_mut();
            // SAFETY: the channel lives; the two pointers are filled on success.
            let rc = unsafe {
                ffi::ibv_get_cq_event(
                    self.inner.channel.ptr.as_ptr(),
                    &raw mut cq,
                    &raw mut context,
                )
            };
            if rc != 0 {
                failed = Some(last("ibv_get_cq_event")).filter(|error| !would_block(error));
                break;
            }
            count += 1;
            self.events_due -= 1;
        }
        if count > 0 {
            // SAFETY: the channel has one queue, ours: all events that were read are its own, and
            // each is acknowledged here once.
            unsafe { ffi::ibv_ack_cq_events(self.inner.as_ptr(), count) };
        }
        match failed {
            Some(error) => Err(error),
            None => Ok(usize::try_from(count).expect("bounded by CQ_EVENTS_PER_READ")),
        }
    }

    fn event_fd(&self) -> BorrowedFd<'_> {
        // SAFETY: the descriptor is open until the channel is dropped, which this borrow prevents.
        unsafe { BorrowedFd::borrow_raw(self.inner.channel.fd) }
    }

    fn depth(&self) -> u32 {
        self.depth
    }
}

fn completion(raw: &ffi::ibv_wc) -> Wc {
    let status = match raw.status {
        ibv_wc_status::IBV_WC_SUCCESS => WcStatus::Success,
        ibv_wc_status::IBV_WC_WR_FLUSH_ERR => WcStatus::Flushed,
        other => WcStatus::Error(other),
    };
    Wc { wr_id: raw.wr_id, status, byte_len: raw.byte_len, vendor_err: raw.vendor_err }
}

/// Keeps a completion queue until the process ends.
pub(crate) fn leak(cq: &Arc<CqInner>) {
    mem::forget(Arc::clone(cq));
}
