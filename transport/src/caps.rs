//! What each verbs provider does at teardown: a default to be corrected by evidence, never a reason
//! to skip the deadline. Rows marked `hypothesis` were read in source and not run.

use std::time::Duration;

use crate::device::{DeviceKey, Transport};

/// What becomes of a work request posted while the queue pair is in the error state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PostInErr {
    /// Flushed with a completion.
    Flush,
    /// Flushed after our own move to ERR, or its repetition.
    FlushAfterOwnModify,
    /// Refused, whether or not older work requests are complete.
    Refused,
    /// Accepted, and never heard of again.
    Lost,
}

/// What becomes of completions that were not polled when their queue pair is destroyed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AfterDestroy {
    /// They vanish from the completion queue.
    Vanish,
    /// They stay and come out of later polls.
    Stay,
    /// Polling them is a use after free inside the provider: the completion queue must not be
    /// polled.
    MustNotPoll,
}

/// Whether LAST_WQE_REACHED says that a queue pair takes no more shared receives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LastWqe {
    /// Never sent.
    Never,
    /// Sent once and true.
    Precise,
    /// Sent on any error: a hint.
    Imprecise,
}

/// How to drain a queue pair of one provider.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DrainCaps {
    /// Name of the row.
    pub provider: &'static str,
    /// Its close follows the iWARP rules.
    pub iwarp: bool,
    /// A post in the error state.
    pub post_in_err: PostInErr,
    /// A signaled marker on the send queue proves it flushed.
    pub marker_send: bool,
    /// A marker on the receive queue proves it flushed.
    pub marker_recv: bool,
    /// The move to ERR is repeated while work requests are missing.
    pub kick: bool,
    /// A completion of the send queue retires every older work request of it (R2).
    pub sq_in_order: bool,
    /// Every work request is signaled.
    pub signal_all: bool,
    /// Flushed completions raise an event of the completion channel.
    pub event_on_flush: bool,
    /// Shared receive queues only.
    pub last_wqe: LastWqe,
    /// Completions left at destroy.
    pub after_destroy: AfterDestroy,
    /// The disconnect call takes the queue pair to CLOSING and loses outstanding READs there.
    pub closing_loses_reads: bool,
    /// READ sinks need remote write access, so memory and domain belong to one connection.
    pub read_sink_remote_write: bool,
    /// Destroy is known to block for seconds.
    pub destroy_slow: bool,
    /// A destroy of 45 s or more may have given up: quarantine.
    pub destroy_may_give_up: bool,
    /// SEND with invalidate may be used when the device advertises it.
    pub send_with_invalidate: bool,
    /// Longest wait for flushed completions (T_f).
    pub t_f: Duration,
}

impl DrainCaps {
    /// The connection needs a protection domain, completion queue and memory of its own.
    #[must_use]
    pub fn private_lane(&self) -> bool {
        self.read_sink_remote_write || self.after_destroy == AfterDestroy::MustNotPoll
    }
}

/// Most providers of InfiniBand and RoCE.
const ROCE: DrainCaps = DrainCaps {
    provider: "",
    iwarp: false,
    post_in_err: PostInErr::Flush,
    marker_send: true,
    marker_recv: true,
    kick: false,
    sq_in_order: true,
    signal_all: false,
    event_on_flush: true,
    last_wqe: LastWqe::Never,
    after_destroy: AfterDestroy::Vanish,
    closing_loses_reads: false,
    read_sink_remote_write: false,
    destroy_slow: false,
    destroy_may_give_up: false,
    send_with_invalidate: true,
    t_f: Duration::from_secs(2),
};

/// Most providers of iWARP: nothing is proved by a post, and CLOSING is not trusted with READs.
const IWARP: DrainCaps = DrainCaps {
    iwarp: true,
    post_in_err: PostInErr::Refused,
    marker_send: false,
    marker_recv: false,
    closing_loses_reads: true,
    destroy_slow: true,
    ..ROCE
};

/// Linux rdma_rxe (Soft-RoCE); seen on 6.1 and 6.12.
pub const RXE: DrainCaps = DrainCaps {
    provider: "rxe",
    post_in_err: PostInErr::FlushAfterOwnModify,
    kick: true,
    after_destroy: AfterDestroy::Stay,
    destroy_slow: true,
    destroy_may_give_up: true,
    t_f: Duration::from_secs(5),
    ..ROCE
};

/// Linux siw (Soft-iWARP); seen on 6.1 and 6.12.
///
/// QUIRK(siw): from userspace a SEND with invalidate names a key that the peer can't invalidate: on
/// 6.12 the host's queue pair answered it with a TERMINATE (layer 0, type 2, code 9) and its
/// Connect timed out, while the same host is served well with plain SENDs.
pub const SIW: DrainCaps = DrainCaps {
    provider: "siw",
    post_in_err: PostInErr::Lost,
    sq_in_order: false,
    signal_all: true,
    after_destroy: AfterDestroy::Stay,
    send_with_invalidate: false,
    ..IWARP
};

/// Mellanox ConnectX-3 (hypothesis).
pub const MLX4: DrainCaps = DrainCaps { provider: "mlx4", last_wqe: LastWqe::Precise, ..ROCE };

/// Mellanox ConnectX-4 and later (hypothesis).
pub const MLX5: DrainCaps = DrainCaps { provider: "mlx5", last_wqe: LastWqe::Precise, ..ROCE };

/// HiSilicon (hypothesis).
pub const HNS: DrainCaps = DrainCaps {
    provider: "hns",
    post_in_err: PostInErr::FlushAfterOwnModify,
    kick: true,
    last_wqe: LastWqe::Precise,
    ..ROCE
};

/// Broadcom (hypothesis). Its flushed completions raise no event; SEND with invalidate was fatal.
pub const BNXT_RE: DrainCaps = DrainCaps {
    provider: "bnxt_re",
    event_on_flush: false,
    last_wqe: LastWqe::Imprecise,
    send_with_invalidate: false,
    ..ROCE
};

/// Intel E810 and X722 as RoCE (hypothesis).
pub const IRDMA_ROCE: DrainCaps = DrainCaps {
    provider: "irdma-roce",
    post_in_err: PostInErr::FlushAfterOwnModify,
    kick: true,
    ..ROCE
};

/// Intel E810 and X722 as iWARP (hypothesis).
pub const IRDMA_IWARP: DrainCaps = DrainCaps {
    provider: "irdma-iwarp",
    post_in_err: PostInErr::FlushAfterOwnModify,
    kick: true,
    read_sink_remote_write: true,
    ..IWARP
};

/// Marvell FastLinQ as RoCE (hypothesis): its completions hold pointers to the queue pair.
pub const QEDR_ROCE: DrainCaps =
    DrainCaps { provider: "qedr-roce", after_destroy: AfterDestroy::MustNotPoll, ..ROCE };

/// Marvell FastLinQ as iWARP (hypothesis). What it may lose, no later completion gives back.
pub const QEDR_IWARP: DrainCaps = DrainCaps {
    provider: "qedr-iwarp",
    post_in_err: PostInErr::Lost,
    sq_in_order: false,
    signal_all: true,
    after_destroy: AfterDestroy::MustNotPoll,
    ..IWARP
};

/// Chelsio T4 to T6 (hypothesis).
pub const CXGB4: DrainCaps = DrainCaps { provider: "cxgb4", read_sink_remote_write: true, ..IWARP };

/// Alibaba elastic RDMA (hypothesis). Posts look at the library's copy of the state: behind an
/// error that the peer caused they are taken, and may be lost, so no later completion gives an
/// earlier request back.
pub const ERDMA: DrainCaps = DrainCaps {
    provider: "erdma",
    sq_in_order: false,
    signal_all: true,
    destroy_slow: false,
    ..IWARP
};

/// Microsoft Azure (hypothesis).
pub const MANA: DrainCaps = DrainCaps { provider: "mana", ..UNKNOWN };

/// InfiniBand or RoCE of a provider that nobody has read: nothing is assumed.
pub const UNKNOWN: DrainCaps = DrainCaps {
    provider: "unknown",
    post_in_err: PostInErr::Lost,
    marker_send: false,
    marker_recv: false,
    sq_in_order: false,
    signal_all: true,
    event_on_flush: false,
    after_destroy: AfterDestroy::MustNotPoll,
    destroy_slow: true,
    send_with_invalidate: false,
    ..ROCE
};

/// iWARP of a provider that nobody has read.
pub const UNKNOWN_IWARP: DrainCaps = DrainCaps {
    provider: "unknown-iwarp",
    iwarp: true,
    closing_loses_reads: true,
    read_sink_remote_write: true,
    ..UNKNOWN
};

/// Every row, for tests that walk the table.
pub const ALL: [&DrainCaps; 15] = [
    &RXE,
    &SIW,
    &MLX4,
    &MLX5,
    &HNS,
    &BNXT_RE,
    &IRDMA_ROCE,
    &IRDMA_IWARP,
    &QEDR_ROCE,
    &QEDR_IWARP,
    &CXGB4,
    &ERDMA,
    &MANA,
    &UNKNOWN,
    &UNKNOWN_IWARP,
];

/// The row of a device: by kernel driver and transport, never by the device's name.
#[must_use]
pub fn lookup(key: &DeviceKey) -> &'static DrainCaps {
    let iwarp = key.transport == Transport::Iwarp;
    match (key.driver.as_str(), iwarp) {
        ("rdma_rxe", false) => &RXE,
        ("siw", true) => &SIW,
        ("mlx4_core" | "mlx4_ib", false) => &MLX4,
        ("mlx5_core" | "mlx5_ib", false) => &MLX5,
        ("hns3" | "hns_roce" | "hns_roce_hw_v2", false) => &HNS,
        ("bnxt_en" | "bnxt_re", false) => &BNXT_RE,
        ("irdma" | "ice" | "i40e", false) => &IRDMA_ROCE,
        ("irdma" | "ice" | "i40e", true) => &IRDMA_IWARP,
        ("qede" | "qedr", false) => &QEDR_ROCE,
        ("qede" | "qedr", true) => &QEDR_IWARP,
        ("cxgb4" | "iw_cxgb4", true) => &CXGB4,
        ("erdma", true) => &ERDMA,
        ("mana" | "mana_ib", false) => &MANA,
        (_, false) => &UNKNOWN,
        (_, true) => &UNKNOWN_IWARP,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::FLUSH_TIMEOUT_MAX;

    fn key(driver: &str, transport: Transport) -> DeviceKey {
        DeviceKey { driver: driver.to_owned(), vendor_id: 0, vendor_part_id: 0, transport }
    }

    #[test]
    fn software_providers_have_rows_of_their_own() {
        assert_eq!(lookup(&key("rdma_rxe", Transport::InfiniBand)).provider, "rxe");
        assert_eq!(lookup(&key("siw", Transport::Iwarp)).provider, "siw");
    }

    #[test]
    fn a_provider_that_nobody_has_read_is_assumed_to_do_the_worst() {
        for transport in [Transport::InfiniBand, Transport::Iwarp] {
            let caps = lookup(&key("nic9000", transport));
            assert!(caps.signal_all && !caps.sq_in_order && !caps.marker_send && !caps.marker_recv);
            assert_eq!(caps.after_destroy, AfterDestroy::MustNotPoll);
            assert!(caps.private_lane());
            assert_eq!(caps.iwarp, transport == Transport::Iwarp);
        }
    }

    #[test]
    fn no_row_that_may_lose_a_request_lets_a_later_one_give_it_back() {
        let loses = |caps: &&&DrainCaps| caps.post_in_err == PostInErr::Lost;
        for caps in ALL.iter().filter(loses).chain([&&ERDMA]) {
            assert!(caps.signal_all && !caps.sq_in_order, "{}", caps.provider);
        }
    }

    #[test]
    fn every_row_waits_no_longer_than_the_stated_bound() {
        for caps in ALL {
            assert!(caps.t_f <= FLUSH_TIMEOUT_MAX, "{}", caps.provider);
            assert!(!caps.signal_all || !caps.sq_in_order, "{}: pick one", caps.provider);
            assert!(caps.sq_in_order || caps.signal_all, "{}: silent work is lost", caps.provider);
            assert!(caps.sq_in_order || !caps.marker_send, "{}: overtakes", caps.provider);
        }
    }
}
