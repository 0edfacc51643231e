//! What rxe and siw do around the end of a connection: the facts that the cases assert on real
//! devices, and that the simulated device (`transport/sim/tests/experiments.rs`, which includes
//! this file) has to show too.

/// Which software provider the rows are about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Provider {
    /// Soft-RoCE.
    Rxe,
    /// Soft-iWARP.
    Siw,
}

/// The kernels that the table tells apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kernel {
    /// 6.1 and what is older than 6.12.
    V6_1,
    /// 6.12 and newer.
    V6_12,
}

/// Receives of a case: 0x1000 and on.
pub(crate) const RECVS: [u64; 4] = [0x1000, 0x1001, 0x1002, 0x1003];
/// Signaled SENDs that are to stay outstanding.
pub(crate) const SENDS: [u64; 3] = [0x3000, 0x3001, 0x3002];
/// An unsignaled SEND.
pub(crate) const SEND_SILENT: u64 = 0x3100;
/// A signaled WRITE.
pub(crate) const WRITE: u64 = 0x4000;
/// An unsignaled WRITE.
pub(crate) const WRITE_SILENT: u64 = 0x4001;
/// A READ.
pub(crate) const READ: u64 = 0x5000;
/// All of them, in the order of posting.
pub(crate) const WORK: [u64; 7] =
    [SENDS[0], SENDS[1], SENDS[2], SEND_SILENT, WRITE, WRITE_SILENT, READ];
/// A receive posted after the move.
pub(crate) const MARKER_RECV: u64 = 0xa000;
/// A SEND posted after the move.
pub(crate) const MARKER_SEND: u64 = 0xb000;

/// `IBV_WC_WR_FLUSH_ERR`
pub(crate) const FLUSH: u32 = 5;
/// `ENOTCONN`
pub(crate) const ENOTCONN: i32 = 107;

/// The facts of one provider on one kernel.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Expected {
    pub(crate) provider: Provider,
    pub(crate) kernel: Kernel,
}

impl Expected {
    /// What is expected, by provider.
    pub(crate) fn by<T>(&self, rxe: T, siw: T) -> T {
        match self.provider {
            Provider::Rxe => rxe,
            Provider::Siw => siw,
        }
    }

    /// Of [`WORK`], completed while nothing of it can reach the peer (siw: TCP took them).
    pub(crate) fn completed_before(&self) -> Vec<u64> {
        self.by(vec![], vec![SENDS[0], SENDS[1], SENDS[2], WRITE])
    }

    /// Of [`WORK`], flushed by our move to ERR, unsignaled too.
    pub(crate) fn sends_flushed(&self) -> Vec<u64> {
        self.by(WORK.to_vec(), vec![READ])
    }

    /// The completion of a SEND that is posted in ERR, and of a receive behind the next move.
    pub(crate) fn marker(&self) -> Option<u32> {
        self.by(Some(FLUSH), None)
    }

    /// The completion of a receive posted in ERR, once a SEND was posted behind it: on rxe of 6.12
    /// the queue pair's one work item looks at both queues.
    pub(crate) fn marker_recv_behind_send(&self) -> Option<u32> {
        let pulled = (self.provider, self.kernel) == (Provider::Rxe, Kernel::V6_12);
        pulled.then_some(FLUSH)
    }

    /// Of [`WORK`], flushed by `rdma_disconnect` (siw: a READ is not).
    pub(crate) fn sends_flushed_by_disconnect(&self) -> Vec<u64> {
        self.by(WORK.to_vec(), vec![])
    }

    /// errno of a receive and a SEND posted after `rdma_disconnect`; 0 is taken.
    pub(crate) fn errnos_after_disconnect(&self) -> (i32, i32) {
        self.by((0, 0), (0, ENOTCONN))
    }

    /// The completion of the READ of [`WORK`] after `rdma_disconnect`, and of a SEND posted behind
    /// that, whatever follows.
    pub(crate) fn lost_by_disconnect(&self) -> Option<u32> {
        self.by(Some(FLUSH), None)
    }

    /// Flushes in the queue when a destroy from RTS with [`WORK`] outstanding returns.
    pub(crate) fn flushed_by_destroy(&self) -> Vec<u64> {
        let mut flushed = vec![READ];
        flushed.extend(RECVS);
        self.by(vec![], flushed)
    }

    /// Receives that flush by themselves when the peer disconnects.
    pub(crate) fn flushed_by_peer(&self) -> Vec<u64> {
        self.by(vec![], RECVS.to_vec())
    }
}
