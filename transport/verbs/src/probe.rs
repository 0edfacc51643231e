//! For experiments and test tools only: what the daemon never does.
//!
//! The rows of the drain table (queue pair states other than the error state, remote access, the
//! raw fields of a completion) are looked at through this module, on the same types as the
//! daemon's.

use std::marker::PhantomData;
use std::mem;
use std::ptr::NonNull;

use transport::device::DeviceError;

use crate::completion::Cq;
use crate::errors::check;
use crate::ffi::{self, ibv_qp_attr_mask};
use crate::queue_pair::Qp;
use crate::region::{Access, Mr, Pd};

/// A queue pair state by its number in `enum ibv_qp_state`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct State(pub u32);

impl State {
    /// Fresh.
    pub const RESET: Self = Self(0);
    /// Ready to send: established.
    pub const RTS: Self = Self(3);
    /// Send queue draining; on iWARP, closing.
    pub const SQD: Self = Self(4);
    /// Error.
    pub const ERR: Self = Self(6);
}

/// `ibv_modify_qp` to any state.
///
/// # Errors
/// The failed call.
pub fn modify(qp: &mut Qp, state: State) -> Result<(), DeviceError> {
    qp.modify(state.0)
}

/// `qp_state` and `cur_qp_state` of `ibv_query_qp`. The first starts as the number of "unknown".
///
/// # Errors
/// The failed call.
pub fn query_state(qp: &Qp) -> Result<(State, State), DeviceError> {
    // SAFETY: plain integers, for which all zeroes is a value.
    let mut attr: ffi::ibv_qp_attr = unsafe { mem::zeroed() };
    attr.qp_state = 7;
    // SAFETY: integers and nullable pointers, for which all zeroes is a value.
    let mut init: ffi::ibv_qp_init_attr = unsafe { mem::zeroed() };
    let mask = ibv_qp_attr_mask::IBV_QP_STATE.0 | ibv_qp_attr_mask::IBV_QP_CUR_STATE.0;
    let mask = i32::try_from(mask).expect("two low bits");
    // SAFETY: the queue pair lives; both structures are valid for writes.
    let rc = unsafe { ffi::ibv_query_qp(qp.as_ptr(), &raw mut attr, mask, &raw mut init) };
    check("ibv_query_qp", rc)?;
    Ok((State(attr.qp_state), State(attr.cur_qp_state)))
}

/// The state that libibverbs keeps in its own memory for the queue pair.
#[must_use]
pub fn cached_state(qp: &Qp) -> State {
    // SAFETY: the queue pair lives; the field is an integer.
    State(unsafe { (*qp.as_ptr()).state })
}

/// Registers memory that the peer may read and write.
///
/// # Safety
/// `addr..addr+len` is mapped, writable and stays so until the region is dropped; nobody relies on
/// its content while a peer that knows the key is connected.
///
/// # Errors
/// The failed call.
pub unsafe fn reg_mr_remote(pd: &Pd, addr: NonNull<u8>, len: usize) -> Result<Mr, DeviceError> {
    let access = Access { remote_write: true, remote_read: true };
    // SAFETY: the caller's promise.
    unsafe { Mr::register(pd, addr, len, access) }
}

/// The key that a peer names the region by.
#[must_use]
pub fn rkey(mr: &Mr) -> u32 {
    mr.rkey()
}

/// A completion with all that the provider wrote, meaningful or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RawWc {
    /// The work request's id.
    pub wr_id: u64,
    /// `enum ibv_wc_status`.
    pub status: u32,
    /// `enum ibv_wc_opcode`; undefined unless it succeeded.
    pub opcode: u32,
    /// The queue pair's number.
    pub qp_num: u32,
}

/// Polls one completion with all its fields.
///
/// # Errors
/// The failed call.
pub fn poll_raw(cq: &mut Cq) -> Result<Option<RawWc>, DeviceError> {
    Ok(cq.poll_batch(1)?.first().map(|wc| RawWc {
        wr_id: wc.wr_id,
        status: wc.status,
        opcode: wc.opcode,
        qp_num: wc.qp_num,
    }))
}

/// Moves a queue pair while another thread posts to it, which the daemon excludes.
pub struct Mover<'qp> {
    ptr: NonNull<ffi::ibv_qp>,
    _qp: PhantomData<&'qp Qp>,
}

// SAFETY: verbs on a queue pair may be called from any thread, posts and modify at the same time
// (rdma-core, Documentation/libibverbs.md); the contract of `mover` keeps the queue pair alive.
unsafe impl Send for Mover<'_> {}

/// A second handle on the queue pair that can only move it to the error state.
///
/// # Safety
/// The queue pair is not destroyed while the mover lives.
#[must_use]
pub unsafe fn mover<'qp>(qp: &Qp) -> Mover<'qp> {
    let ptr = NonNull::new(qp.as_ptr()).expect("a queue pair's pointer was never NULL");
    Mover { ptr, _qp: PhantomData }
}

impl Mover<'_> {
    /// `ibv_modify_qp` to the error state.
    ///
    /// # Errors
    /// The failed call.
    pub fn modify_to_error(&self) -> Result<(), DeviceError> {
        // SAFETY: the contract of `mover` keeps the queue pair alive.
        unsafe { crate::queue_pair::modify_raw(self.ptr, State::ERR.0) }
    }
}
