//! The seam between Sluice and an RDMA stack: what `verbs` implements with librdmacm and
//! libibverbs, and what a simulator implements with a deterministic device.
//!
//! Handles are owned values. A handle keeps what it depends on alive (an [`Mr`](Device::Mr) its
//! protection domain, a [`Qp`](Stack::Qp) its completion queue), so dropping handles in any order
//! destroys the objects in an order that verbs allow (`man ibv_dealloc_pd`, `man ibv_destroy_cq`).
//! Only a queue pair is never destroyed by a drop: see [`QueuePair::destroy`].

use std::fmt;
use std::net::SocketAddr;
use std::os::fd::BorrowedFd;
use std::ptr::NonNull;

/// A verbs or connection-manager call that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeviceError {
    /// The call's name in the C interface, such as `ibv_modify_qp`.
    pub call: &'static str,
    /// The positive `errno` value, whatever sign convention the provider used.
    pub errno: i32,
}

impl fmt::Display for DeviceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.call, std::io::Error::from_raw_os_error(self.errno))
    }
}

impl std::error::Error for DeviceError {}

/// Which family of queue pair rules a connection follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Transport {
    /// InfiniBand or RoCE (IBTA vol 1 §10.3): a queue pair drains in the error state.
    InfiniBand,
    /// iWARP (RFC 5040 and the RDMA protocol verbs): closing needs a quiesced send queue.
    Iwarp,
}

/// What identifies a device's behaviour: never its name.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct DeviceKey {
    /// Kernel driver, such as `rdma_rxe`, `siw`, `mlx5_core`; empty when it could not be found.
    pub driver: String,
    /// `vendor_id` of `ibv_query_device`.
    pub vendor_id: u32,
    /// `vendor_part_id` of `ibv_query_device`.
    pub vendor_part_id: u32,
    /// Its transport.
    pub transport: Transport,
}

/// Limits of a device, of `ibv_query_device`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeviceAttr {
    /// Work requests that one queue can hold.
    pub max_qp_wr: u32,
    /// Scatter/gather entries of a send or receive.
    pub max_sge: u32,
    /// Scatter/gather entries of an RDMA READ.
    pub max_sge_rd: u32,
    /// Entries of a completion queue.
    pub max_cqe: u32,
    /// RDMA READs that a queue pair can have outstanding as the requester.
    pub max_qp_init_rd_atom: u32,
    /// RDMA READs that a queue pair can answer at a time.
    pub max_qp_rd_atom: u32,
    /// Bytes of the largest memory region.
    pub max_mr_size: u64,
    /// The device advertises SEND with invalidate (`IBV_DEVICE_MEM_MGT_EXTENSIONS`).
    pub send_with_invalidate: bool,
}

/// A scatter/gather entry: registered memory of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sge {
    /// Virtual address.
    pub addr: u64,
    /// Bytes.
    pub len: u32,
    /// Local key of the region it lies in.
    pub lkey: u32,
}

/// Memory of the peer, as the peer claims it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Remote {
    /// Virtual address at the peer.
    pub addr: u64,
    /// Remote key (steering tag).
    pub rkey: u32,
}

/// Operation of a send-queue work request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SendOp {
    /// SEND, with an optional remote key to invalidate at the peer.
    Send {
        /// SEND with invalidate of this key.
        invalidate: Option<u32>,
    },
    /// RDMA WRITE to the peer's memory.
    Write(Remote),
    /// RDMA READ from the peer's memory.
    Read(Remote),
}

/// A send-queue work request as the device sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SendDesc {
    /// Comes back in the completion.
    pub wr_id: u64,
    /// Operation.
    pub op: SendOp,
    /// Local memory; a length of 0 posts no entry at all.
    pub sge: Sge,
    /// Ask for a completion on success.
    pub signaled: bool,
}

/// A receive-queue work request as the device sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecvDesc {
    /// Comes back in the completion.
    pub wr_id: u64,
    /// One or two entries; a second entry of length 0 is not posted.
    pub sges: [Sge; 2],
}

/// How much of a refused list the queue may have taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Accepted {
    /// The first n work requests are posted, the others are not.
    Prefix(usize),
    /// Unknown: all of them may be posted (siw's doorbell; `drain.md` rules common to all
    /// providers).
    Unknown,
}

/// A post that returned an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PostError {
    /// The failed call.
    pub error: DeviceError,
    /// What was taken all the same.
    pub accepted: Accepted,
}

/// Status of a work completion (`man ibv_poll_cq`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WcStatus {
    /// Completed.
    Success,
    /// Flushed because the queue pair is in the error state. Says nothing about what was executed.
    Flushed,
    /// Any other status, by its number in `enum ibv_wc_status`.
    Error(u32),
}

/// A work completion. Only `wr_id`, `status` and `vendor_err` mean anything unless it succeeded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wc {
    /// The work request's id.
    pub wr_id: u64,
    /// Its outcome.
    pub status: WcStatus,
    /// Bytes received (receives only).
    pub byte_len: u32,
    /// The provider's own code for an error.
    pub vendor_err: u32,
}

impl Wc {
    /// A value to fill an array with before it is polled into.
    pub const EMPTY: Self =
        Self { wr_id: 0, status: WcStatus::Success, byte_len: 0, vendor_err: 0 };
}

/// Room that a queue pair is created with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QpCaps {
    /// Work requests of the send queue.
    pub send_wr_max: u32,
    /// Work requests of the receive queue.
    pub recv_wr_max: u32,
    /// Entries of a receive (1 or 2).
    pub recv_sge_max: u32,
}

impl QpCaps {
    /// With one more place on each queue.
    pub(crate) fn with_markers(self) -> Self {
        Self {
            send_wr_max: self.send_wr_max.saturating_add(1),
            recv_wr_max: self.recv_wr_max.saturating_add(1),
            ..self
        }
    }
}

/// Whose event it is: reactor, slot and generation, opaque to the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Token(pub u64);

/// What happened to one connection's CM id. Every kind may arrive in any state, late, or twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CmEvent {
    /// Both sides agreed.
    Established,
    /// The peer, or our own CM, ended it.
    Disconnected,
    /// The peer refused our accept.
    Rejected,
    /// No answer.
    Unreachable,
    /// The connection could not be made.
    ConnectError,
    /// The address moved to another device (bonding).
    AddrChange,
    /// The time-wait after a disconnect is over (InfiniBand only).
    TimewaitExit,
    /// The device goes away.
    DeviceRemoval,
    /// Any other event, by its number in `enum rdma_cm_event_type`.
    Other(u32),
}

/// An asynchronous event of a device (`man ibv_get_async_event`), copied and acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AsyncEvent {
    /// A queue pair failed (`QP_FATAL`, `QP_REQ_ERR`, `QP_ACCESS_ERR`).
    QpError(Token),
    /// First message before the CM's event (`COMM_EST`).
    CommEstablished(Token),
    /// The last receive of a shared queue was consumed.
    LastWqeReached(Token),
    /// The send queue drained (siw raises it on every flush): means nothing here.
    SqDrained(Token),
    /// A completion queue overflowed or failed: its accounting is void.
    CqError,
    /// The device failed.
    DeviceFatal,
    /// Any other event, by its number in `enum ibv_event_type`.
    Other(u32),
}

/// A connection request, copied from the CM's event and acknowledged.
pub struct ConnectRequest<S: Stack> {
    /// The new connection, on an event channel of its own.
    pub id: S::Id,
    /// Which listener it arrived at.
    pub listener: u64,
    /// The private data, padded by the CM with zeroes: parse by its format, never by its length.
    pub private_data: Vec<u8>,
    /// RDMA READs that the peer answers at a time: our bound as a requester.
    pub initiator_depth: u8,
    /// RDMA READs that the peer wants to issue to us.
    pub responder_resources: u8,
    /// Our address, as the peer used it.
    pub local: SocketAddr,
    /// The peer's address.
    pub peer: SocketAddr,
}

/// What the listeners' event channel delivers.
pub enum ListenEvent<S: Stack> {
    /// A peer wants to connect.
    Request(ConnectRequest<S>),
    /// A listener's device goes away: the listener is of no more use.
    ListenerGone {
        /// The listener's own number, as given to [`Stack::listen`].
        listener: u64,
    },
    /// An event that changes nothing.
    Ignored,
}

/// What an accept tells the peer (`man rdma_accept`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AcceptParams<'a> {
    /// Protocol-defined bytes, at most 196.
    pub private_data: &'a [u8],
    /// RDMA READs we answer at a time.
    pub responder_resources: u8,
    /// RDMA READs we issue at a time.
    pub initiator_depth: u8,
    /// Retries when the peer has no receive posted; 7 is without end.
    pub rnr_retry_count: u8,
}

/// An RDMA stack: connection manager and devices of one process.
///
/// # Safety
///
/// The implementation promises, for every device it hands out:
/// after [`QueuePair::destroy`] returned `Ok`, neither the device nor the stack reads or writes
/// memory named by a work request of that queue pair; and after a completion for a work request was
/// polled, none of them touches that request's memory. Memory release in the whole project rests on
/// it.
pub unsafe trait Stack: Send + Sync + Sized + 'static {
    /// A listening CM id.
    type Listener: Send;
    /// A connection's CM id with its own event channel.
    type Id: CmId<Self>;
    /// An opened device.
    type Device: Device<Self>;
    /// A queue pair.
    type Qp: QueuePair<Self>;
    /// A completion queue with its completion channel.
    type Cq: CompletionQueue;

    /// Listens on `addr`. Events of it carry `listener`.
    ///
    /// # Errors
    /// The failed call: `ENODEV` or `EADDRNOTAVAIL` when no RDMA device has the address (yet),
    /// `EADDRINUSE` when the port is taken.
    fn listen(
        &self,
        addr: SocketAddr,
        backlog: u32,
        listener: u64,
    ) -> Result<Self::Listener, DeviceError>;

    /// Next event of all listeners, copied and acknowledged; `None` when there is none now.
    ///
    /// # Errors
    /// The event channel failed.
    fn next_event(&self) -> Result<Option<ListenEvent<Self>>, DeviceError>;

    /// Readable when [`Self::next_event`] has something.
    fn event_fd(&self) -> BorrowedFd<'_>;
}

/// A connection's CM id. Calls that may sleep are meant for a reaper thread, so it is `Sync`:
/// the implementation serialises them. Dropping it destroys the id and its channel, which may
/// block.
pub trait CmId<S: Stack>: Send + Sync {
    /// The device that the connection arrived at.
    ///
    /// # Errors
    /// The device went away in between.
    fn device(&self) -> Result<S::Device, DeviceError>;

    /// Accepts; the queue pair must have been made with this id.
    ///
    /// # Errors
    /// The peer or the device went away in between (`ECONNRESET`, `EINVAL`, `ENXIO`).
    fn accept(&self, params: &AcceptParams<'_>) -> Result<(), DeviceError>;

    /// Refuses a request that was not accepted.
    ///
    /// # Errors
    /// The failed call; nothing depends on it.
    fn reject(&self, private_data: &[u8]) -> Result<(), DeviceError>;

    /// `rdma_disconnect`. May sleep. On iWARP this is the orderly close (CLOSING).
    ///
    /// # Errors
    /// The failed call; nothing depends on it.
    fn disconnect(&self) -> Result<(), DeviceError>;

    /// Next event of this connection, copied and acknowledged; `None` when there is none now.
    ///
    /// # Errors
    /// The event channel failed.
    fn next_event(&self) -> Result<Option<CmEvent>, DeviceError>;

    /// Readable when [`Self::next_event`] has something.
    fn event_fd(&self) -> BorrowedFd<'_>;
}

/// An opened device. Clones are the same device.
pub trait Device<S: Stack>: Clone + Send + Sync {
    /// A protection domain. Kept alive by what was made in it.
    type Pd: Clone;
    /// A memory region; dropping it deregisters.
    type Mr;

    /// Differs for every opening of a device: a device that went and came back is another one.
    fn instance(&self) -> u64;

    /// Its name in `/sys/class/infiniband`, for people.
    fn name(&self) -> &str;

    /// What its behaviour is looked up by.
    fn key(&self) -> &DeviceKey;

    /// Its limits.
    fn attr(&self) -> &DeviceAttr;

    /// Makes a protection domain.
    ///
    /// # Errors
    /// The failed call.
    fn alloc_pd(&self) -> Result<Self::Pd, DeviceError>;

    /// Registers memory. `remote_write` is for iWARP READ sinks of providers that need it.
    ///
    /// # Safety
    /// `addr..addr+len` is mapped, writable and stays so until the region is dropped.
    ///
    /// # Errors
    /// The failed call: `ENOMEM` when `RLIMIT_MEMLOCK` is too low.
    unsafe fn reg_mr(
        &self,
        pd: &Self::Pd,
        addr: NonNull<u8>,
        len: usize,
        remote_write: bool,
    ) -> Result<Self::Mr, DeviceError>;

    /// The local key of a region.
    fn lkey(mr: &Self::Mr) -> u32;

    /// Makes a completion queue of at least `depth` entries, with a completion channel.
    ///
    /// # Errors
    /// The failed call.
    fn create_cq(&self, depth: u32) -> Result<S::Cq, DeviceError>;

    /// Makes the connection's reliable-connected queue pair; both queues complete to `cq`.
    ///
    /// # Errors
    /// The failed call.
    fn create_qp(
        &self,
        id: &S::Id,
        pd: &Self::Pd,
        cq: &S::Cq,
        caps: QpCaps,
        token: Token,
    ) -> Result<S::Qp, DeviceError>;

    /// Next asynchronous event, copied and acknowledged; `None` when there is none now.
    ///
    /// # Errors
    /// The device's event file failed.
    fn next_async_event(&self) -> Result<Option<AsyncEvent>, DeviceError>;

    /// Readable when [`Self::next_async_event`] has something.
    fn async_fd(&self) -> BorrowedFd<'_>;

    /// Whether the system has begun to take the device away; says so once. Verbs still work then,
    /// and the system may wait until everything that was made of the device is released.
    ///
    /// # Errors
    /// The event channel failed.
    fn take_removal(&self) -> Result<bool, DeviceError> {
        Ok(false)
    }

    /// Readable when [`Self::take_removal`] has something; `None` where removals are told to
    /// connections only.
    fn removal_fd(&self) -> Option<BorrowedFd<'_>> {
        None
    }
}

/// A completion queue and its channel, used by one thread.
pub trait CompletionQueue {
    /// Moves completions into `out` from its start and says how many. Never blocks.
    ///
    /// # Errors
    /// The queue is of no more use.
    fn poll(&mut self, out: &mut [Wc]) -> Result<usize, DeviceError>;

    /// Asks for one event at the next completion. Completions that came before raise none: poll
    /// again.
    ///
    /// # Errors
    /// The failed call.
    fn arm(&mut self) -> Result<(), DeviceError>;

    /// Reads and acknowledges what the channel holds; says how many events that were.
    ///
    /// # Errors
    /// The channel failed.
    fn take_events(&mut self) -> Result<usize, DeviceError>;

    /// Readable when an event waits.
    fn event_fd(&self) -> BorrowedFd<'_>;

    /// Entries it holds at most.
    fn depth(&self) -> u32;
}

/// A reliable-connected queue pair, owned by one thread at a time.
///
/// Dropping it neither destroys it nor releases anything: that leaks and counts. The way out is
/// [`QueuePair::destroy`].
pub trait QueuePair<S: Stack>: Send {
    /// Posts a list to the send queue with one doorbell.
    ///
    /// # Safety
    /// The memory of every entry stays mapped and is neither read for another purpose nor written
    /// until its completion was polled or [`Self::destroy`] returned `Ok`.
    ///
    /// # Errors
    /// The list was not taken as a whole.
    unsafe fn post_send(&mut self, list: &[SendDesc]) -> Result<(), PostError>;

    /// Posts a list to the receive queue with one doorbell.
    ///
    /// # Safety
    /// As for [`Self::post_send`].
    ///
    /// # Errors
    /// The list was not taken as a whole.
    unsafe fn post_recv(&mut self, list: &[RecvDesc]) -> Result<(), PostError>;

    /// `ibv_modify_qp` to the error state.
    ///
    /// # Errors
    /// The failed call; never fatal to a close.
    fn modify_to_error(&mut self) -> Result<(), DeviceError>;

    /// `ibv_destroy_qp`, then forgets the queue pair in `id`. May block for a minute: reaper only.
    ///
    /// # Errors
    /// Any error (`EIO` included) means that the device may still touch memory. It is never called
    /// again; what the queue pair depends on is kept for ever.
    fn destroy(self, id: &S::Id) -> Result<(), DeviceError>;

    /// Its number, for people: numbers are reused.
    fn number(&self) -> u32;
}

/// A shared receive queue (`man ibv_create_srq`), owned by one thread at a time.
///
/// Dropping it neither destroys it nor releases anything, as for a [`QueuePair`].
///
/// # Safety
///
/// The implementation promises: after [`SharedReceiveQueue::destroy`] returned `Ok`, neither the
/// device nor the stack reads or writes memory named by a receive of this queue; and after a
/// completion for a receive was polled, none of them touches that receive's memory.
pub unsafe trait SharedReceiveQueue: Send + Sized {
    /// Posts a list with one doorbell.
    ///
    /// # Safety
    /// The memory of every entry stays mapped and is neither read nor written until its completion
    /// was polled or [`Self::destroy`] returned `Ok`. A destroyed queue pair is not enough.
    ///
    /// # Errors
    /// The list was not taken as a whole.
    unsafe fn post_recv(&mut self, list: &[RecvDesc]) -> Result<(), PostError>;

    /// `ibv_destroy_srq`. Waits for its events to be acknowledged: reaper only.
    ///
    /// # Errors
    /// Any error means that a device may still touch memory: `EBUSY` when a queue pair that was
    /// made with it is left. It is never called again.
    fn destroy(self) -> Result<(), DeviceError>;
}

/// What a device offers beyond [`Device`] for queue pairs to share their receives.
pub trait SharedReceives<S: Stack>: Device<S> {
    /// A shared receive queue.
    type Srq: SharedReceiveQueue;

    /// Makes a shared receive queue of `depth` receives with `sge_max` entries (1 or 2) each.
    ///
    /// # Errors
    /// The failed call.
    fn create_srq(&self, pd: &Self::Pd, depth: u32, sge_max: u32)
    -> Result<Self::Srq, DeviceError>;

    /// As [`Device::create_qp`], for a queue pair that takes its receives from `srq`; of `caps`
    /// only the send queue counts.
    ///
    /// # Errors
    /// The failed call.
    fn create_qp_shared(
        &self,
        id: &S::Id,
        pd: &Self::Pd,
        cq: &S::Cq,
        srq: &Self::Srq,
        caps: QpCaps,
        token: Token,
    ) -> Result<S::Qp, DeviceError>;
}
