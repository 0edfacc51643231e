//! The providers, one row each, as `drain.md` 1.1 and 1.2 tell of them. Rows of hardware were read
//! in source, not run; `UNKNOWN` and `UNKNOWN_IWARP` leave every axis open.

use std::time::Duration;

use transport::device::Transport;

use crate::behaviour::{
    AfterDestroy, Behaviour, FlushOrder, FlushTiming, LastWqe, PeerDisconnect, PostInError, QpState,
};
use crate::limits::DESTROY_GIVES_UP_AFTER;

const EIO: i32 = rustix::io::Errno::IO.raw_os_error();
const EINVAL: i32 = rustix::io::Errno::INVAL.raw_os_error();
const ENOTCONN: i32 = rustix::io::Errno::NOTCONN.raw_os_error();

const NO: &[bool] = &[false];
const YES: &[bool] = &[true];
const EITHER: &[bool] = &[false, true];

const FAST: Duration = Duration::from_micros(800);
const SECONDS_10: Duration = Duration::from_secs(10);
const SECONDS_20: Duration = Duration::from_secs(20);
const SECONDS_60: Duration = Duration::from_secs(60);

/// What InfiniBand and RoCE providers have in common.
const ROCE: Behaviour = Behaviour {
    name: "",
    driver: "",
    transport: Transport::InfiniBand,
    post_send_in_error: &[PostInError::Flushed],
    post_recv_in_error: &[PostInError::Flushed],
    send_pulls_receives: false,
    post_in_unseen_error: None,
    post_send_in_closing: &[PostInError::Flushed],
    post_recv_in_closing: &[PostInError::Flushed],
    modify_refused_from: &[],
    modify_lies: NO,
    modify_repeats: true,
    flush_timing: &[FlushTiming::Async],
    flush_order: &[FlushOrder::SendFirst],
    flush_executed: NO,
    flush_raises_event: YES,
    flush_raises_sq_drained: false,
    send_before_read: NO,
    completes_locally: false,
    closing_loses_reads: NO,
    closing_flushes_receives: NO,
    doorbell_may_fail: false,
    peer_disconnect: &[PeerDisconnect::StaysRts],
    after_destroy: &[AfterDestroy::Vanish],
    destroy_flushes: false,
    destroy_takes: &[FAST],
    destroy_gives_up: false,
    last_wqe: &[LastWqe::Never],
    disassociates: false,
    reuses_qpn: true,
    timewait_exit: true,
    stale_completions: NO,
};

/// What iWARP providers have in common.
const IWARP: Behaviour = Behaviour {
    transport: Transport::Iwarp,
    completes_locally: true,
    closing_flushes_receives: EITHER,
    peer_disconnect: &[PeerDisconnect::Errors],
    timewait_exit: false,
    destroy_takes: &[FAST, SECONDS_10],
    ..ROCE
};

/// Linux rdma_rxe of 6.1.
pub const RXE_6_1: Behaviour = Behaviour {
    name: "rxe-6.1",
    driver: "rdma_rxe",
    post_recv_in_error: &[PostInError::AwaitsModify],
    after_destroy: &[AfterDestroy::Stay],
    destroy_takes: &[FAST, SECONDS_20, DESTROY_GIVES_UP_AFTER],
    destroy_gives_up: true,
    ..ROCE
};

/// Linux rdma_rxe of 6.12: one work item looks at both queues.
pub const RXE_6_12: Behaviour = Behaviour {
    name: "rxe-6.12",
    send_pulls_receives: true,
    last_wqe: &[LastWqe::EachMove],
    destroy_gives_up: false,
    destroy_takes: &[FAST, SECONDS_20],
    ..RXE_6_1
};

/// Linux siw of 6.1.
pub const SIW_6_1: Behaviour = Behaviour {
    name: "siw-6.1",
    driver: "siw",
    post_send_in_error: &[PostInError::Lost],
    post_recv_in_error: &[PostInError::Lost],
    post_send_in_closing: &[PostInError::Refused(ENOTCONN)],
    post_recv_in_closing: &[PostInError::AwaitsModify],
    modify_repeats: false,
    flush_timing: &[FlushTiming::Sync],
    flush_raises_sq_drained: true,
    send_before_read: EITHER,
    closing_loses_reads: YES,
    closing_flushes_receives: YES,
    doorbell_may_fail: true,
    after_destroy: &[AfterDestroy::Stay],
    destroy_flushes: true,
    ..IWARP
};

/// Linux siw of 6.12.
pub const SIW_6_12: Behaviour = Behaviour { name: "siw-6.12", ..SIW_6_1 };

/// Mellanox ConnectX-3.
pub const MLX4: Behaviour = Behaviour {
    name: "mlx4",
    driver: "mlx4_core",
    last_wqe: &[LastWqe::Early, LastWqe::Late],
    disassociates: true,
    ..ROCE
};

/// Mellanox ConnectX-4 and later.
pub const MLX5: Behaviour = Behaviour { name: "mlx5", driver: "mlx5_core", ..MLX4 };

/// Chelsio: the library flushes, and refuses posts whatever is complete.
pub const CXGB4: Behaviour = Behaviour {
    name: "cxgb4",
    driver: "cxgb4",
    post_send_in_error: &[PostInError::Refused(EINVAL)],
    post_recv_in_error: &[PostInError::Refused(EINVAL)],
    post_send_in_closing: &[PostInError::Refused(EINVAL)],
    post_recv_in_closing: &[PostInError::Refused(EINVAL)],
    modify_refused_from: &[QpState::Closing, QpState::Terminate],
    modify_repeats: false,
    flush_timing: &[FlushTiming::Sync],
    flush_order: &[FlushOrder::RecvFirst],
    flush_executed: EITHER,
    peer_disconnect: &[PeerDisconnect::Closes, PeerDisconnect::Errors],
    destroy_takes: &[FAST, SECONDS_60],
    ..IWARP
};

/// Intel E810 and X722 as RoCE.
pub const IRDMA_ROCE: Behaviour = Behaviour {
    name: "irdma-roce",
    driver: "irdma",
    post_in_unseen_error: Some(&[PostInError::AwaitsModify]),
    disassociates: true,
    ..ROCE
};

/// Intel E810 and X722 as iWARP.
pub const IRDMA_IWARP: Behaviour = Behaviour {
    name: "irdma-iwarp",
    driver: "irdma",
    post_in_unseen_error: Some(&[PostInError::AwaitsModify]),
    post_send_in_closing: &[PostInError::AwaitsModify],
    post_recv_in_closing: &[PostInError::AwaitsModify],
    closing_loses_reads: EITHER,
    disassociates: true,
    ..IWARP
};

/// Marvell FastLinQ as RoCE: its completions hold pointers to the queue pair.
pub const QEDR_ROCE: Behaviour = Behaviour {
    name: "qedr-roce",
    driver: "qedr",
    modify_lies: EITHER,
    after_destroy: &[AfterDestroy::MustNotPoll],
    ..ROCE
};

/// Marvell FastLinQ as iWARP.
pub const QEDR_IWARP: Behaviour = Behaviour {
    name: "qedr-iwarp",
    driver: "qedr",
    post_send_in_error: &[PostInError::Flushed, PostInError::Lost],
    post_recv_in_error: &[PostInError::Flushed, PostInError::Lost],
    closing_loses_reads: EITHER,
    after_destroy: &[AfterDestroy::MustNotPoll],
    destroy_takes: &[FAST, SECONDS_20],
    ..IWARP
};

/// Alibaba elastic RDMA: posts look at the library's copy of the state.
pub const ERDMA: Behaviour = Behaviour {
    name: "erdma",
    driver: "erdma",
    post_send_in_error: &[PostInError::Refused(EIO)],
    post_recv_in_error: &[PostInError::Refused(EIO)],
    post_in_unseen_error: Some(&[PostInError::Flushed, PostInError::Lost]),
    post_send_in_closing: &[PostInError::Flushed, PostInError::Lost],
    post_recv_in_closing: &[PostInError::Flushed, PostInError::Lost],
    flush_order: &[FlushOrder::SendFirst, FlushOrder::RecvFirst],
    destroy_takes: &[FAST],
    ..IWARP
};

/// Broadcom: software flushes without an event, and a LAST_WQE that means little.
pub const BNXT_RE: Behaviour = Behaviour {
    name: "bnxt_re",
    driver: "bnxt_en",
    flush_raises_event: NO,
    last_wqe: &[LastWqe::Spurious],
    ..ROCE
};

/// HiSilicon: the library's own move to ERR makes the flush.
pub const HNS: Behaviour = Behaviour {
    name: "hns",
    driver: "hns3",
    post_in_unseen_error: Some(&[PostInError::AwaitsModify]),
    last_wqe: &[LastWqe::Early, LastWqe::Late],
    disassociates: true,
    ..ROCE
};

/// Microsoft Azure.
pub const MANA: Behaviour = Behaviour {
    name: "mana",
    driver: "mana",
    post_send_in_error: &[PostInError::Refused(EINVAL)],
    post_recv_in_error: &[PostInError::Refused(EINVAL)],
    post_in_unseen_error: Some(&[PostInError::Flushed, PostInError::Lost]),
    flush_raises_event: EITHER,
    after_destroy: &[AfterDestroy::Vanish, AfterDestroy::MustNotPoll],
    ..ROCE
};

const ANY_POST: &[PostInError] = &[
    PostInError::Flushed,
    PostInError::Lost,
    PostInError::AwaitsModify,
    PostInError::Refused(EIO),
];

/// InfiniBand or RoCE of which nothing is known: the most hostile.
pub const UNKNOWN: Behaviour = Behaviour {
    name: "unknown",
    driver: "nic9000",
    post_send_in_error: ANY_POST,
    post_recv_in_error: ANY_POST,
    post_in_unseen_error: Some(ANY_POST),
    modify_lies: EITHER,
    flush_timing: &[FlushTiming::Async, FlushTiming::Sync, FlushTiming::Never],
    flush_order: &[FlushOrder::SendFirst, FlushOrder::RecvFirst],
    flush_executed: EITHER,
    flush_raises_event: EITHER,
    flush_raises_sq_drained: true,
    send_before_read: EITHER,
    doorbell_may_fail: true,
    peer_disconnect: &[PeerDisconnect::StaysRts, PeerDisconnect::Errors],
    after_destroy: &[AfterDestroy::Vanish, AfterDestroy::Stay, AfterDestroy::MustNotPoll],
    destroy_takes: &[FAST, SECONDS_10, SECONDS_20, SECONDS_60],
    last_wqe: &[
        LastWqe::Never,
        LastWqe::Late,
        LastWqe::Early,
        LastWqe::Spurious,
        LastWqe::EachMove,
    ],
    stale_completions: EITHER,
    ..ROCE
};

/// iWARP of which nothing is known.
pub const UNKNOWN_IWARP: Behaviour = Behaviour {
    name: "unknown-iwarp",
    transport: Transport::Iwarp,
    post_send_in_closing: ANY_POST,
    post_recv_in_closing: ANY_POST,
    modify_refused_from: &[QpState::Closing, QpState::Terminate],
    completes_locally: true,
    closing_loses_reads: EITHER,
    closing_flushes_receives: EITHER,
    peer_disconnect: &[PeerDisconnect::Errors, PeerDisconnect::Closes, PeerDisconnect::StaysRts],
    timewait_exit: false,
    ..UNKNOWN
};

/// Every row.
pub const ALL: [&Behaviour; 17] = [
    &RXE_6_1,
    &RXE_6_12,
    &SIW_6_1,
    &SIW_6_12,
    &MLX4,
    &MLX5,
    &CXGB4,
    &IRDMA_ROCE,
    &IRDMA_IWARP,
    &QEDR_ROCE,
    &QEDR_IWARP,
    &ERDMA,
    &BNXT_RE,
    &HNS,
    &MANA,
    &UNKNOWN,
    &UNKNOWN_IWARP,
];

/// The row of that name.
#[must_use]
pub fn by_name(name: &str) -> Option<&'static Behaviour> {
    ALL.into_iter().find(|row| row.name == name)
}
