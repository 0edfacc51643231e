//! What a provider does around the end of a connection, axis by axis.
//!
//! An axis is a list of outcomes: one for a provider that is known, several where nobody has
//! looked or where it differs from time to time. Then the [`Oracle`](crate::Oracle) picks, each
//! time.

use std::time::Duration;

use transport::device::Transport;

/// The outcomes that one axis of a row allows; never empty.
pub type Axis<T> = &'static [T];

/// States of a queue pair that matter here (IBTA vol 1 §10.3.1, RFC 5040 and the RDMA verbs).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum QpState {
    /// Made, not connected.
    Init,
    /// Ready to send.
    Rts,
    /// iWARP: an orderly close goes on.
    Closing,
    /// iWARP: a TERMINATE was sent or received.
    Terminate,
    /// The error state.
    Error,
}

/// What becomes of a work request that is posted in the error state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PostInError {
    /// Taken, and flushed with a completion.
    Flushed,
    /// Refused with this errno, whether or not older ones are complete.
    Refused(i32),
    /// Taken, and never heard of again.
    Lost,
    /// Taken, and flushed only by the next move to ERR.
    AwaitsModify,
}

/// How flushed completions come after a move to ERR.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FlushTiming {
    /// They are in the completion queue when the call returns.
    Sync,
    /// They come one by one, later, the two queues independent of each other.
    Async,
    /// They never come (a device in internal error).
    Never,
}

/// In which order a synchronous flush goes through the queues.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FlushOrder {
    /// Send queue, then receive queue.
    SendFirst,
    /// Receive queue, then send queue.
    RecvFirst,
}

/// What the peer's disconnect does to our queue pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PeerDisconnect {
    /// Nothing: it stays in RTS.
    StaysRts,
    /// It goes to the error state and flushes.
    Errors,
    /// It goes to CLOSING, and from there to the error state later.
    Closes,
}

/// What becomes of unpolled completions of a destroyed queue pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AfterDestroy {
    /// They vanish.
    Vanish,
    /// They stay.
    Stay,
    /// They stay, and polling them is a use after free.
    MustNotPoll,
}

/// When LAST_WQE_REACHED comes for a queue pair with a shared receive queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LastWqe {
    /// Never.
    Never,
    /// Once, after its completions.
    Late,
    /// Once, before its completions.
    Early,
    /// At any error, true or not.
    Spurious,
    /// At each move to ERR.
    EachMove,
}

/// One provider's row.
#[derive(Clone, Copy, Debug)]
pub struct Behaviour {
    /// Name of the row.
    pub name: &'static str,
    /// Kernel driver that its device key shows.
    pub driver: &'static str,
    /// Its transport.
    pub transport: Transport,
    /// A post to the send queue in the error state.
    pub post_send_in_error: Axis<PostInError>,
    /// A post to the receive queue in the error state.
    pub post_recv_in_error: Axis<PostInError>,
    /// A SEND that is taken in the error state makes receives flush that wait for the next move.
    pub send_pulls_receives: bool,
    /// The error state that posts look at is the library's copy: one that the peer or the kernel
    /// caused is not seen, and such a post meets this instead.
    pub post_in_unseen_error: Option<Axis<PostInError>>,
    /// A post to the send queue in CLOSING or TERMINATE.
    pub post_send_in_closing: Axis<PostInError>,
    /// A post to the receive queue in CLOSING or TERMINATE.
    pub post_recv_in_closing: Axis<PostInError>,
    /// States from which our move to ERR is refused with EINVAL.
    pub modify_refused_from: &'static [QpState],
    /// Our move to ERR is made, and the library reports EINVAL all the same.
    pub modify_lies: Axis<bool>,
    /// A repeated move to ERR does something.
    pub modify_repeats: bool,
    /// How flushes come.
    pub flush_timing: Axis<FlushTiming>,
    /// In which order a synchronous flush goes.
    pub flush_order: Axis<FlushOrder>,
    /// Unsignaled work requests that were executed are reported as flushed too.
    pub flush_executed: Axis<bool>,
    /// Flushed completions raise events of the completion channel.
    pub flush_raises_event: Axis<bool>,
    /// A flush of the send queue raises `SQ_DRAINED`.
    pub flush_raises_sq_drained: bool,
    /// A SEND or WRITE may complete before an older READ.
    pub send_before_read: Axis<bool>,
    /// A SEND is complete when the local TCP has it, whatever the peer does.
    pub completes_locally: bool,
    /// A READ outstanding when CLOSING is entered never completes.
    pub closing_loses_reads: Axis<bool>,
    /// Receives flush when CLOSING is entered.
    pub closing_flushes_receives: Axis<bool>,
    /// A failed doorbell leaves a posted list in an unknown state.
    pub doorbell_may_fail: bool,
    /// The peer's disconnect.
    pub peer_disconnect: Axis<PeerDisconnect>,
    /// Completions left at destroy.
    pub after_destroy: Axis<AfterDestroy>,
    /// A destroy in RTS flushes first (siw).
    pub destroy_flushes: bool,
    /// How long a destroy may take. The first is the usual one.
    pub destroy_takes: Axis<Duration>,
    /// A destroy may return 0 after 50 s with the device still at work.
    pub destroy_gives_up: bool,
    /// Shared receive queues only.
    pub last_wqe: Axis<LastWqe>,
    /// The driver takes the device away from under its users at removal.
    pub disassociates: bool,
    /// A queue pair's number is given to the next one at once.
    pub reuses_qpn: bool,
    /// TIMEWAIT_EXIT follows a disconnect.
    pub timewait_exit: bool,
    /// Completions of nobody may come out of the completion queue.
    pub stale_completions: Axis<bool>,
}
