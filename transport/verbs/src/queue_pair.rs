//! Reliable-connected queue pairs: posting, the move to the error state, and the destroy.

use std::mem;
use std::ptr::{self, NonNull};
use std::sync::Arc;
use std::time::{Duration, Instant};

use transport::device::{
    Accepted, DeviceError, PostError, QpCaps, QueuePair, RecvDesc, SendDesc, SendOp, Sge, Token,
};

use crate::cm_id::{Id, IdInner};
use crate::completion::{self, Cq, CqInner};
use crate::device::DeviceInner;
use crate::errors::{check, non_null};
use crate::ffi::{self, ibv_qp_attr_mask, ibv_qp_state, ibv_send_flags, ibv_wr_opcode};
use crate::leaks;
use crate::limits::{RXE_DESTROY_TRUSTED, SIW_INLINE_BYTES};
use crate::region::{Pd, PdInner};
use crate::shared_receives::{Srq, SrqInner};
use crate::stack::Verbs;

/// A queue pair. Dropped without [`QueuePair::destroy`] it stays, with all it depends on, until the
/// process ends.
pub struct Qp {
    ptr: NonNull<ffi::ibv_qp>,
    number: u32,
    holds: Option<Holds>,
    /// Outgoing bytes up to this many are handed over inside the request; 0 for none.
    inline_max: u32,
    /// Scratch of the two posts, kept for its allocation.
    send: Vec<ffi::ibv_send_wr>,
    recv: Vec<ffi::ibv_recv_wr>,
    sges: Vec<ffi::ibv_sge>,
}

/// What the queue pair depends on.
struct Holds {
    id: Arc<IdInner>,
    cq: Arc<CqInner>,
    pd: Arc<PdInner>,
    srq: Option<Arc<SrqInner>>,
}

// SAFETY: libibverbs lets any thread use a queue pair, one after the other here; the scratch
// vectors hold pointers into each other only during a post, which has the value exclusively.
unsafe impl Send for Qp {}

impl Qp {
    pub(crate) fn create(
        device: &Arc<DeviceInner>,
        id: &Id,
        pd: &Pd,
        cq: &Cq,
        caps: QpCaps,
        token: Token,
        srq: Option<&Srq>,
    ) -> Result<Self, DeviceError> {
        let refused = DeviceError { call: "rdma_create_qp", errno: libc::EINVAL };
        let srq = srq.map(Srq::inner);
        if srq.is_some_and(|srq| !Arc::ptr_eq(device, srq.pd().device())) {
            return Err(refused);
        }
        let caps = match srq {
            Some(_) => QpCaps { recv_wr_max: 0, recv_sge_max: 0, ..caps },
            None => caps,
        };
        if !Arc::ptr_eq(device, pd.inner().device()) || !Arc::ptr_eq(device, cq.inner().device()) {
            return Err(refused);
        }
        let inline_max = inline_max(&device.key().driver);
        let context = usize::try_from(token.0).map_err(|_| refused)?;
        let mut attr = ffi::ibv_qp_init_attr {
            qp_context: ptr::without_provenance_mut(context),
            send_cq: cq.inner().as_ptr(),
            recv_cq: cq.inner().as_ptr(),
            srq: srq.map_or(ptr::null_mut(), |srq| srq.as_ptr()),
            cap: ffi::ibv_qp_cap {
                max_send_wr: caps.send_wr_max,
                max_recv_wr: caps.recv_wr_max,
                max_send_sge: 1,
                max_recv_sge: caps.recv_sge_max,
                max_inline_data: inline_max,
            },
            qp_type: ffi::ibv_qp_type::IBV_QPT_RC,
            sq_sig_all: 0,
        };
        let mut has_qp = id.inner().qp_for_change();
        if *has_qp {
            return Err(refused);
        }
        let raw_id = id.inner().as_ptr();
        // SAFETY: id, domain and completion queue live and are of one device, which librdmacm
        // checks for id and domain; `attr` is valid for reads and writes.
        let rc = unsafe { ffi::rdma_create_qp(raw_id, pd.inner().as_ptr(), &raw mut attr) };
        check("rdma_create_qp", rc)?;
        // SAFETY: the id lives, and the write guard keeps other users of the field out.
        let raw = unsafe { (*raw_id).qp };
        let ptr = non_null("rdma_create_qp", raw)?;
        *has_qp = true;
        drop(has_qp);
        // SAFETY: a queue pair that was just made has a readable, constant number.
        let number = unsafe { ptr.as_ref() }.qp_num;
        let made = Self {
            ptr,
            number,
            holds: Some(Holds {
                id: Arc::clone(id.inner()),
                cq: Arc::clone(cq.inner()),
                pd: Arc::clone(pd.inner()),
                srq: srq.map(Arc::clone),
            }),
            inline_max,
            send: Vec::with_capacity(to_usize(caps.send_wr_max)),
            recv: Vec::with_capacity(to_usize(caps.recv_wr_max)),
            sges: Vec::new(),
        };
        let enough = attr.cap.max_send_wr >= caps.send_wr_max
            && attr.cap.max_recv_wr >= caps.recv_wr_max
            && attr.cap.max_recv_sge >= caps.recv_sge_max
            && attr.cap.max_send_sge >= 1
            && attr.cap.max_inline_data >= inline_max;
        if !enough {
            // Nothing is posted, so an early destroy needs no drain.
            made.destroy(id)?;
            return Err(DeviceError { call: "rdma_create_qp", errno: libc::ENOMEM });
        }
        Ok(made)
    }

    pub(crate) fn as_ptr(&self) -> *mut ffi::ibv_qp {
        self.ptr.as_ptr()
    }

    /// `ibv_modify_qp` of the state alone.
    pub(crate) fn modify(&mut self, state: ibv_qp_state::Type) -> Result<(), DeviceError> {
        // SAFETY: the queue pair lives as long as its owner.
        unsafe { modify_raw(self.ptr, state) }
    }

    /// Keeps what the queue pair may still use, and takes it out of its id.
    fn abandon(holds: &Holds) {
        mem::forget(Arc::clone(&holds.pd));
        mem::forget(holds.srq.clone());
        completion::leak(&holds.cq);
        holds.id.forget_qp(&mut holds.id.qp_for_change());
    }
}

impl QueuePair<Verbs> for Qp {
    unsafe fn post_send(&mut self, list: &[SendDesc]) -> Result<(), PostError> {
        self.send.clear();
        self.sges.clear();
        self.sges.extend(list.iter().map(|desc| sge(desc.sge)));
        let sges = self.sges.as_mut_ptr();
        let inline_max = self.inline_max;
        self.send.extend(
            list.iter()
                .enumerate()
                .map(|(at, desc)| send_wr(desc, sges.wrapping_add(at), inline_max)),
        );
        let first = self.send.as_mut_ptr();
        let last = list.len().saturating_sub(1);
        for (at, wr) in self.send.iter_mut().enumerate() {
            wr.next = if at < last { first.wrapping_add(at + 1) } else { ptr::null_mut() };
        }
        if list.is_empty() {
            return Ok(());
        }
        for desc in list {
            tracing::trace!(
                op = op_name(desc.op),
                addr = desc.sge.addr,
                len = desc.sge.len,
                "post"
            );
        }
        let mut bad = ptr::null_mut();
        // SAFETY: the queue pair lives; the list is linked inside vectors that the call only reads
        // and that outlive it; the caller promises the memory that the entries name.
        let rc = unsafe { ffi::ibv_post_send(self.as_ptr(), first, &raw mut bad) };
        outcome("ibv_post_send", rc, first, bad, list.len())
    }

    unsafe fn post_recv(&mut self, list: &[RecvDesc]) -> Result<(), PostError> {
        let first = link_receives(list, &mut self.recv, &mut self.sges);
        if list.is_empty() {
            return Ok(());
        }
        for desc in list {
            let [_, data] = desc.sges;
            tracing::trace!(op = "recv", addr = data.addr, len = data.len, "post");
        }
        let mut bad = ptr::null_mut();
        // SAFETY: as for the send queue.
        let rc = unsafe { ffi::ibv_post_recv(self.as_ptr(), first, &raw mut bad) };
        outcome("ibv_post_recv", rc, first, bad, list.len())
    }

    fn modify_to_error(&mut self) -> Result<(), DeviceError> {
        self.modify(ibv_qp_state::IBV_QPS_ERR)
    }

    fn destroy(mut self, id: &Id) -> Result<(), DeviceError> {
        let holds = self.holds.take().expect("only destroy and drop take it, once");
        let result = if Arc::ptr_eq(&holds.id, id.inner()) {
            let rxe = holds.pd.device().key().driver == "rdma_rxe";
            // Held over the call: no librdmacm call may use the pointer from here on.
            let mut has_qp = holds.id.qp_for_change();
            let began = Instant::now();
            // SAFETY: the queue pair lives and is given up here, whatever the result. No event of
            // it that was read is unacknowledged; nobody else holds its pointer: librdmacm's copy
            // is behind the guard and removed below.
            let rc = unsafe { ffi::ibv_destroy_qp(self.as_ptr()) };
            let took = began.elapsed();
            // On failure too: siw has unmapped its rings by then, a second use would be fatal.
            holds.id.forget_qp(&mut has_qp);
            drop(has_qp);
            verdict(rc, rxe, took)
        } else {
            Err(DeviceError { call: "ibv_destroy_qp", errno: libc::EINVAL })
        };
        if let Err(error) = &result {
            leaks::count_quarantine(self.number, error);
            Self::abandon(&holds);
        }
        result
    }

    fn number(&self) -> u32 {
        self.number
    }
}

impl Drop for Qp {
    fn drop(&mut self) {
        if let Some(holds) = self.holds.take() {
            leaks::count_queue_pair(self.number);
            Self::abandon(&holds);
        }
    }
}

/// `ibv_modify_qp` of the state alone.
///
/// # Safety
/// `qp` is not destroyed.
pub(crate) unsafe fn modify_raw(
    qp: NonNull<ffi::ibv_qp>,
    state: ibv_qp_state::Type,
) -> Result<(), DeviceError> {
    // SAFETY: plain integers, for which all zeroes is a value.
    let mut attr: ffi::ibv_qp_attr = unsafe { mem::zeroed() };
    attr.qp_state = state;
    let mask = i32::try_from(ibv_qp_attr_mask::IBV_QP_STATE.0).expect("the mask's first bit");
    // SAFETY: the caller promises that the queue pair lives; only the state is read from `attr`.
    let rc = unsafe { ffi::ibv_modify_qp(qp.as_ptr(), &raw mut attr, mask) };
    check("ibv_modify_qp", rc)
}

/// Whether a destroy that returned proves that the device is done with the memory.
///
/// QUIRK(rxe): its kernel half waits 50 s for references and then returns 0 all the same (6.1).
fn verdict(rc: libc::c_int, rxe: bool, took: Duration) -> Result<(), DeviceError> {
    check("ibv_destroy_qp", rc)?;
    if rxe && took >= RXE_DESTROY_TRUSTED {
        return Err(DeviceError { call: "ibv_destroy_qp", errno: libc::ETIMEDOUT });
    }
    Ok(())
}

/// Fills the scratch with a list of receives and says where it begins.
pub(crate) fn link_receives(
    list: &[RecvDesc],
    recv: &mut Vec<ffi::ibv_recv_wr>,
    sges: &mut Vec<ffi::ibv_sge>,
) -> *mut ffi::ibv_recv_wr {
    recv.clear();
    sges.clear();
    sges.extend(list.iter().flat_map(|desc| desc.sges.map(sge)));
    let entries = sges.as_mut_ptr();
    recv.extend(list.iter().enumerate().map(|(at, desc)| ffi::ibv_recv_wr {
        wr_id: desc.wr_id,
        next: ptr::null_mut(),
        sg_list: entries.wrapping_add(2 * at),
        num_sge: if desc.sges[1].len == 0 { 1 } else { 2 },
    }));
    let first = recv.as_mut_ptr();
    let last = list.len().saturating_sub(1);
    for (at, wr) in recv.iter_mut().enumerate() {
        wr.next = if at < last { first.wrapping_add(at + 1) } else { ptr::null_mut() };
    }
    first
}

/// What a post took, from its return code and the first request that it refused.
pub(crate) fn outcome<T>(
    call: &'static str,
    rc: libc::c_int,
    first: *const T,
    bad: *const T,
    len: usize,
) -> Result<(), PostError> {
    check(call, rc).map_err(|error| {
        let offset = bad.addr().wrapping_sub(first.addr());
        let at = offset / size_of::<T>();
        // A NULL (siw's failed doorbell) or foreign pointer proves nothing.
        let accepted = if !bad.is_null() && offset.is_multiple_of(size_of::<T>()) && at < len {
            Accepted::Prefix(at)
        } else {
            Accepted::Unknown
        };
        PostError { error, accepted }
    })
}

fn sge(entry: Sge) -> ffi::ibv_sge {
    ffi::ibv_sge { addr: entry.addr, length: entry.len, lkey: entry.lkey }
}

/// For traces.
fn op_name(op: SendOp) -> &'static str {
    match op {
        SendOp::Send { .. } => "send",
        SendOp::Write(_) => "write",
        SendOp::Read(_) => "read",
    }
}

/// How many outgoing bytes of a request are copied into it at the post.
///
/// QUIRK(siw): after 100 packets a post hands the send queue over to siw's kernel thread, and
/// `siw_post_send` clears its `in_syscall` mark only after it woke the thread. Meanwhile the thread
/// fetches a short payload with `copy_from_user`, having no address space: -EFAULT, `QP_FATAL`.
/// Seen on 6.12 under load; with the clearing delayed by 1.5 ms, two of three handovers failed, and
/// none of 170 with the bytes inside the requests, which are not fetched.
fn inline_max(driver: &str) -> u32 {
    if driver == "siw" { SIW_INLINE_BYTES } else { 0 }
}

fn send_wr(desc: &SendDesc, sge: *mut ffi::ibv_sge, inline_max: u32) -> ffi::ibv_send_wr {
    // SAFETY: integers, nullable pointers and unions of them, for which all zeroes is a value.
    let mut wr: ffi::ibv_send_wr = unsafe { mem::zeroed() };
    wr.wr_id = desc.wr_id;
    wr.sg_list = sge;
    wr.num_sge = i32::from(desc.sge.len != 0);
    wr.send_flags = if desc.signaled { ibv_send_flags::IBV_SEND_SIGNALED.0 } else { 0 };
    let outgoing = match desc.op {
        SendOp::Send { .. } | SendOp::Write(_) => true,
        SendOp::Read(_) => false,
    };
    if outgoing && (1..=inline_max).contains(&desc.sge.len) {
        wr.send_flags |= ibv_send_flags::IBV_SEND_INLINE.0;
    }
    match desc.op {
        SendOp::Send { invalidate: None } => wr.opcode = ibv_wr_opcode::IBV_WR_SEND,
        SendOp::Send { invalidate: Some(rkey) } => {
            wr.opcode = ibv_wr_opcode::IBV_WR_SEND_WITH_INV;
            wr.imm_data_invalidated_rkey_union =
                ffi::imm_data_invalidated_rkey_union_t { invalidated_rkey: rkey };
        }
        SendOp::Write(remote) => {
            wr.opcode = ibv_wr_opcode::IBV_WR_RDMA_WRITE;
            wr.wr.rdma = ffi::rdma_t { remote_addr: remote.addr, rkey: remote.rkey };
        }
        SendOp::Read(remote) => {
            wr.opcode = ibv_wr_opcode::IBV_WR_RDMA_READ;
            wr.wr.rdma = ffi::rdma_t { remote_addr: remote.addr, rkey: remote.rkey };
        }
    }
    wr
}

fn to_usize(count: u32) -> usize {
    usize::try_from(count).expect("64-bit and 32-bit machines hold a u32 in a usize")
}

#[cfg(test)]
mod tests {
    use transport::device::Remote;

    use super::*;

    fn accepted(rc: i32, bad: Option<usize>, len: usize) -> Option<Accepted> {
        let list = [0_u64; 4];
        let bad = bad.map_or(ptr::null(), |at| list.as_ptr().wrapping_byte_add(at));
        outcome("post", rc, list.as_ptr(), bad, len).err().map(|e| e.accepted)
    }

    #[test]
    fn a_refused_list_is_counted_up_to_the_first_bad_request() {
        assert_eq!(accepted(0, None, 3), None);
        assert_eq!(accepted(libc::ENOMEM, Some(0), 3), Some(Accepted::Prefix(0)));
        assert_eq!(accepted(-libc::ENOMEM, Some(16), 3), Some(Accepted::Prefix(2)));
    }

    #[test]
    fn a_bad_request_that_is_none_of_ours_proves_nothing() {
        assert_eq!(accepted(-1, None, 3), Some(Accepted::Unknown), "siw's doorbell");
        assert_eq!(accepted(libc::EINVAL, Some(24), 3), Some(Accepted::Unknown), "behind the list");
        assert_eq!(accepted(libc::EINVAL, Some(4), 3), Some(Accepted::Unknown), "inside a request");
    }

    #[test]
    fn a_slow_destroy_is_believed_except_on_rxe() {
        let slow = Duration::from_secs(45);
        assert_eq!(verdict(0, true, slow).map_err(|e| e.errno), Err(libc::ETIMEDOUT));
        assert_eq!(verdict(0, true, slow - Duration::from_millis(1)), Ok(()));
        assert_eq!(verdict(0, false, slow * 2), Ok(()));
        assert_eq!(verdict(libc::EIO, false, Duration::ZERO).map_err(|e| e.errno), Err(libc::EIO));
    }

    #[test]
    fn a_send_without_bytes_posts_no_entry() {
        let mut entry = sge(Sge { addr: 1, len: 0, lkey: 2 });
        let desc = SendDesc {
            wr_id: 7,
            op: SendOp::Send { invalidate: Some(0xabcd) },
            sge: Sge { addr: 1, len: 0, lkey: 2 },
            signaled: false,
        };
        let wr = send_wr(&desc, &raw mut entry, SIW_INLINE_BYTES);
        assert_eq!((wr.num_sge, wr.send_flags), (0, 0));
        assert_eq!(wr.opcode, ibv_wr_opcode::IBV_WR_SEND_WITH_INV);
        // SAFETY: the member that was written above.
        assert_eq!(unsafe { wr.imm_data_invalidated_rkey_union.invalidated_rkey }, 0xabcd);
    }

    #[test]
    fn only_short_outgoing_bytes_on_siw_are_inside_the_request() {
        let inlined = |op, len, driver| {
            let mut entry = sge(Sge { addr: 1, len, lkey: 2 });
            let desc =
                SendDesc { wr_id: 7, op, sge: Sge { addr: 1, len, lkey: 2 }, signaled: true };
            let flags = send_wr(&desc, &raw mut entry, inline_max(driver)).send_flags;
            flags & ibv_send_flags::IBV_SEND_INLINE.0 != 0
        };
        let remote = Remote { addr: 8, rkey: 9 };
        let send = SendOp::Send { invalidate: None };
        assert!(inlined(send, 16, "siw"), "a completion capsule");
        assert!(inlined(SendOp::Write(remote), 32, "siw"));
        assert!(!inlined(SendOp::Write(remote), 33, "siw"));
        assert!(!inlined(SendOp::Read(remote), 16, "siw"), "it arrives there");
        assert!(!inlined(send, 16, "rdma_rxe"));
    }
}
