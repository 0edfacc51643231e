//! A case: a fresh connection to a fresh peer, work that stays outstanding, and the end of it all.

use std::fs;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use transport::device::{CmId, Device, QueuePair, Transport};
use verbs::probe::State;

use crate::end::{End, SUCCESS};
pub(crate) use crate::expected::{
    Expected, FLUSH, Kernel, MARKER_RECV, MARKER_SEND, Provider, READ, RECVS, SEND_SILENT, SENDS,
    WORK, WRITE, WRITE_SILENT,
};
use crate::memory::BIG;
use crate::network::Loss;
use crate::peer::Peer;
use crate::table::Table;

/// How work is kept from completing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outstanding {
    /// Nothing is outstanding but receives.
    Receives,
    /// rxe: the peer has no receive posted, so sends wait and all behind them. siw: the network
    /// loses everything; what TCP took has completed, a READ is outstanding.
    Work,
    /// siw: as `Work`, behind so many sends that TCP's buffer is full and requests stay queued.
    Queued,
}

/// All cases of one run.
pub(crate) struct Lab {
    addr: SocketAddr,
    pub(crate) provider: Provider,
    pub(crate) kernel: Kernel,
    pub(crate) table: Table,
}

/// One case.
pub(crate) struct Case {
    pub(crate) end: End,
    pub(crate) peer: Peer,
    pub(crate) loss: Option<Loss>,
}

impl Lab {
    /// `addr` is an address of an RDMA device, with the first port to use.
    pub(crate) fn new(addr: SocketAddr) -> Result<Self> {
        let id = verbs::resolve(addr, None, Duration::from_secs(10))?;
        let key = id.device()?.key().clone();
        let provider = match (key.driver.as_str(), key.transport) {
            ("rdma_rxe", Transport::InfiniBand) => Provider::Rxe,
            ("siw", Transport::Iwarp) => Provider::Siw,
            _ => bail!("the table has no rows for {key:?}"),
        };
        Ok(Self { addr, provider, kernel: kernel()?, table: Table::default() })
    }

    /// The facts that the simulated device has to show too.
    pub(crate) fn expected(&self) -> Expected {
        Expected { provider: self.provider, kernel: self.kernel }
    }

    /// What is expected, by provider.
    pub(crate) fn by<T>(&self, rxe: T, siw: T) -> T {
        self.expected().by(rxe, siw)
    }

    /// The address with the last port that was given out.
    pub(crate) fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// The address with a port of its own: siw's are real TCP ports, which rest after a connection.
    pub(crate) fn next_addr(&mut self) -> SocketAddr {
        self.addr.set_port(self.addr.port() + 1);
        self.addr
    }

    /// Connects, completes three requests, and makes work outstanding.
    pub(crate) fn begin(&mut self, name: &str, outstanding: Outstanding) -> Result<Case> {
        self.begin_with(name, outstanding, false)
    }

    /// As [`Self::begin`], with the receives on a shared queue if wanted.
    pub(crate) fn begin_with(
        &mut self,
        name: &str,
        outstanding: Outstanding,
        shared_receives: bool,
    ) -> Result<Case> {
        self.table.begin(name);
        let addr = self.next_addr();
        let mut peer = Peer::start(addr)?;
        let recvs = u64::try_from(RECVS.len())?;
        let mut end = End::connect(addr, recvs, shared_receives)?;
        peer.await_line("connected")?;
        let refused = "a healthy connection takes requests";
        end.send(0x2000, 64, true).ok().context(refused)?;
        end.write(0x2001, 4096, true).ok().context(refused)?;
        end.send(0x2002, 64, true).ok().context(refused)?;
        let first = [0x2000, 0x2001, 0x2002];
        end.until(Duration::from_secs(5), |end| end.all_done(&first))?;
        ensure!(end.with_status(SUCCESS, &first) == first, "the connection works: {:?}", end.done);
        let mut case = Case { end, peer, loss: None };
        if outstanding != Outstanding::Receives {
            case.make_outstanding(self.provider, outstanding)?;
        }
        Ok(case)
    }

    /// Destroys everything and says whether every call agreed.
    pub(crate) fn finish(&mut self, mut case: Case) -> Result<()> {
        let before = verbs::leaks();
        drop(case.loss.take());
        if case.end.qp.is_some() {
            let _ = case.end.qp().modify_to_error();
            if self.provider == Provider::Rxe {
                let _ = case.end.id.disconnect();
            }
            case.end.watch(20)?;
            let took = case.end.destroy()?;
            let slow = took >= Duration::from_secs(1);
            self.table.row("ibv_destroy_qp", "0 in less than 1 s", format!("0 in {took:?}"), !slow);
            let known = case.end.done.len();
            case.end.watch(100)?;
            self.table.same("completions after destroy from ERR", known, case.end.done.len());
        }
        let Case { end, peer, .. } = case;
        drop(end);
        drop(peer);
        self.table.row(
            "dereg_mr, destroy_cq, dealloc_pd, destroy_id",
            "all 0",
            format!("{:?}", verbs::leaks()),
            verbs::leaks() == before,
        );
        Ok(())
    }
}

impl Case {
    fn make_outstanding(&mut self, provider: Provider, outstanding: Outstanding) -> Result<()> {
        let refused = "a healthy queue takes requests";
        if provider == Provider::Siw {
            self.loss = Some(Loss::begin()?);
        }
        self.peer.stop()?;
        if outstanding == Outstanding::Queued {
            for n in 0..20 {
                self.end.send(0x7000 + n, BIG, true).ok().context(refused)?;
            }
        }
        let len = if provider == Provider::Siw { BIG } else { 64 };
        for wr_id in SENDS {
            self.end.send(wr_id, len, true).ok().context(refused)?;
        }
        self.end.send(SEND_SILENT, 64, false).ok().context(refused)?;
        self.end.write(WRITE, 4096, true).ok().context(refused)?;
        self.end.write(WRITE_SILENT, 4096, false).ok().context(refused)?;
        self.end.read(READ, 4096).ok().context(refused)?;
        self.end.watch(200)
    }

    /// Moves to the error state, which has to succeed.
    pub(crate) fn error(&mut self) -> Result<()> {
        Ok(self.end.modify(State::ERR).0?)
    }

    /// Waits until all of these are flushed, and says which are.
    pub(crate) fn flushed(&mut self, wr_ids: &[u64]) -> Result<Vec<u64>> {
        self.end.until(Duration::from_secs(2), |end| end.all_done(wr_ids))?;
        Ok(self.end.with_status(FLUSH, wr_ids))
    }

    /// Posts a receive and a SEND into whatever state the queue pair is in; says their errnos, 0
    /// for a post that was taken.
    pub(crate) fn post_markers(&mut self) -> (i32, i32) {
        let recv = self.end.recv(MARKER_RECV).map_or_else(|error| error.errno, |()| 0);
        let send = self.end.send(MARKER_SEND, 0, true);
        (recv, send.map_or_else(|refused| refused.error.errno, |()| 0))
    }
}

/// The running kernel, of the two that the table knows.
fn kernel() -> Result<Kernel> {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease")?;
    let mut numbers = release.trim().split(['.', '-']).map(str::parse::<u32>);
    let major = numbers.next().context("a kernel release")??;
    let minor = numbers.next().context("a kernel release")??;
    Ok(if (major, minor) < (6, 12) { Kernel::V6_1 } else { Kernel::V6_12 })
}
