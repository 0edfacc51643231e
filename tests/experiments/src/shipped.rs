//! The shipped connection on a real device: how its drain ends by counting, by markers, and with
//! shared receives. What it relies on is in the other rows.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};
use transport::cause::Cause;
use transport::connection::Connection;
use transport::device::{AsyncEvent, CmId, CompletionQueue, Device, QpCaps, Remote, Token, Wc};
use transport::drain::State;
use transport::lane::Lane;
use transport::marker::{MarkerFate, Method, Posted};
use transport::pool::RecvBuf;
use transport::proof;
use transport::report::DrainReport;
use transport::shared_receives::SharedQueue;
use transport::time::Now;
use transport::wr::{IdKind, Retired, WrId};
use verbs::{ConnectParams, Srq, Verbs};

use crate::case::Lab;
use crate::end::{CM_TIMEOUT, HELLO_BYTES};
use crate::peer::Peer;

const CAPS: QpCaps = QpCaps { send_wr_max: 8, recv_wr_max: 4, recv_sge_max: 1 };
const RECEIVES: u16 = 4;
/// Longest wait of a case: the longest close, and a slow destroy.
const LIMIT: Duration = Duration::from_secs(30);

/// A connection to a peer, driven as a reactor drives it, reapers' jobs included.
struct Shipped {
    began: Instant,
    lane: Lane<Verbs>,
    conn: Connection<Verbs>,
    shared: Option<SharedQueue<Srq>>,
    remote: Remote,
    out: Vec<Retired>,
    peer: Peer,
}

impl Shipped {
    fn connect(lab: &mut Lab, method: Method, shared: bool) -> Result<Self> {
        let addr = lab.next_addr();
        let peer = Peer::start(addr)?;
        let id = verbs::resolve(addr, None, CM_TIMEOUT)?;
        let lane: Lane<Verbs> = Lane::open(id.device()?, 1, 64)?;
        let (began, start) = (Instant::now(), Now::default());
        let refused = |(error, _)| anyhow!("no queue pair: {error}");
        let (conn, shared) = if shared {
            let queue = lane.shared_queue(0, RECEIVES, 1)?;
            let srq = queue.srq().context("nobody took it")?;
            let conn = Connection::create_shared(start, &lane, srq, id, Token(1), 0, CAPS);
            (conn.map_err(refused)?, Some(queue))
        } else {
            let conn = Connection::create_with(start, &lane, id, Token(1), 0, CAPS, method);
            (conn.map_err(refused)?, None)
        };
        let remote = Remote { addr: 0, rkey: 0 };
        let mut shipped = Self { began, lane, conn, shared, remote, out: Vec::new(), peer };
        shipped.post_receives()?;
        let params = ConnectParams {
            private_data: &[0; HELLO_BYTES],
            responder_resources: 4,
            initiator_depth: 4,
            retry_count: 3,
            rnr_retry_count: 7,
        };
        let id = shipped.conn.id().context("an id before the close")?;
        let said = verbs::connect(id, &params, CM_TIMEOUT)?;
        ensure!(said.len() >= HELLO_BYTES, "{} bytes of private data", said.len());
        shipped.remote = Remote {
            addr: u64::from_ne_bytes(said[..8].try_into()?),
            rkey: u32::from_ne_bytes(said[8..12].try_into()?),
        };
        shipped.peer.await_line("connected")?;
        let now = shipped.now();
        shipped.conn.established(now, &mut shipped.out);
        Ok(shipped)
    }

    fn post_receives(&mut self) -> Result<()> {
        for _ in 0..RECEIVES {
            let capsule = self.lane.pool().take_slot().context("room in a fresh pool")?;
            let receive = RecvBuf { capsule, data: None };
            let taken = match &mut self.shared {
                Some(queue) => queue.recv(receive),
                None => self.conn.recv(receive),
            };
            ensure!(taken.is_ok(), "no room for a receive");
        }
        if let Some(queue) = &mut self.shared {
            queue.flush(&mut self.out).map_err(|refused| refused.error)?;
        }
        let now = self.now();
        self.conn.flush(now, &mut self.out);
        Ok(())
    }

    fn now(&self) -> Now {
        Now(self.began.elapsed())
    }

    /// A SEND that completes, then a WRITE that says nothing unless every work request does.
    fn work(&mut self, and_a_send: bool) -> Result<()> {
        let writes: &[bool] = if and_a_send { &[false, true, false] } else { &[false, true] };
        for is_write in writes {
            let buf = self.lane.pool().take_slot().context("room in a fresh pool")?;
            let taken = if *is_write {
                self.conn.write(buf, self.remote, 1)
            } else {
                self.conn.send(buf, None, 0)
            };
            ensure!(taken.is_ok(), "no room for a work request");
        }
        let now = self.now();
        self.conn.flush(now, &mut self.out);
        let until = Instant::now() + Duration::from_millis(300);
        while Instant::now() < until {
            self.turn()?;
        }
        ensure!(self.conn.state() == State::Live, "closed by {}", self.conn.causes());
        Ok(())
    }

    fn turn(&mut self) -> Result<()> {
        let mut wcs = [Wc::EMPTY; 16];
        let count = self.lane.cq().poll(&mut wcs)?;
        let now = self.now();
        for wc in &wcs[..count] {
            let id = WrId::from_raw(wc.wr_id).context("an id that nobody made")?;
            match (&mut self.shared, id.kind) {
                (Some(queue), IdKind::SharedRecv) => {
                    queue.handle_completion(wc, id, &mut self.out);
                    self.conn.shared_receive(now, &mut self.out);
                }
                (_, IdKind::Work(_) | IdKind::Marker(_) | IdKind::SharedRecv) => {
                    self.conn.handle_completion(wc, id, &mut self.out);
                }
            }
        }
        while let Some(event) = self.lane.device().next_async_event()? {
            if matches!(event, AsyncEvent::LastWqeReached(_)) {
                self.conn.last_wqe_reached(now, &mut self.out);
            }
        }
        self.conn.settle(now, &mut self.out);
        if self.conn.timeout().is_some_and(|at| now >= at) {
            self.conn.handle_timeout(now, &mut self.out);
        }
        let began = self.began;
        while let Some(job) = self.conn.poll_job() {
            if let Some(outcome) = job.run(&|| Now(began.elapsed())) {
                let now = self.now();
                self.conn.handle_outcome(now, outcome, &mut self.out);
            }
        }
        self.out.clear();
        thread::sleep(Duration::from_micros(200));
        Ok(())
    }

    /// Closes, drains, and gives everything back; says how that went, and how many shared receives
    /// came back by the destroy of their queue.
    fn close(mut self, lab: &mut Lab) -> Result<(DrainReport, u64)> {
        let now = self.now();
        self.conn.close(now, Cause::Shutdown, &mut self.out);
        let until = Instant::now() + LIMIT;
        while !self.conn.is_finished() {
            ensure!(Instant::now() < until, "no end: {:?}", self.conn.report(self.now()));
            self.turn()?;
        }
        let report = self.conn.report(self.now());
        let mut reclaimed = 0;
        if let Some(mut queue) = self.shared.take() {
            let (srq, epoch) = queue.take_srq().context("nobody took it")?;
            let began = self.began;
            let clock = || Now(began.elapsed());
            let gone = proof::destroy_srq(srq, epoch, self.lane.caps(), &clock);
            queue.handle_destroyed(gone, &mut self.out);
            reclaimed = queue.table().counts().reclaimed;
        }
        self.out.clear();
        lab.table.same("it ends as", State::Dead, report.end);
        lab.table.same("work requests leaked", 0, report.total().leaked);
        lab.table.same("bytes that are not back", 0, self.lane.pool().used_bytes());
        Ok((report, reclaimed))
    }
}

/// A WRITE of which nothing is heard is waited for in vain, where not everything is signaled.
pub(crate) fn counted(lab: &mut Lab) -> Result<()> {
    lab.table.begin("shipped, by counting");
    let mut shipped = Shipped::connect(lab, Method::Accounting, false)?;
    shipped.work(false)?;
    let (report, _) = shipped.close(lab)?;
    lab.table.same(
        "the flush ends by its deadline",
        lab.by(true, false),
        report.flush_deadline_met,
    );
    lab.table.same("WRITEs back by the destroy", lab.by(1, 0), report.send.reclaimed);
    lab.table.same("markers", MarkerFate::default(), report.send_marker);
    Ok(())
}

/// The marker behind it says that it is done.
pub(crate) fn marked(lab: &mut Lab) -> Result<()> {
    lab.table.begin("shipped, by markers");
    let mut shipped = Shipped::connect(lab, Method::Markers, false)?;
    shipped.work(false)?;
    let (report, _) = shipped.close(lab)?;
    let flushed = MarkerFate { posted: Posted::Accepted, flushed: true };
    lab.table.same("send marker", lab.by(flushed, MarkerFate::default()), report.send_marker);
    lab.table.same(
        "receive marker",
        lab.by(Posted::Accepted, Posted::No),
        report.recv_marker.posted,
    );
    lab.table.same("the flush ends by its deadline", false, report.flush_deadline_met);
    lab.table.same("WRITEs back by the marker", lab.by(1, 0), report.send.in_order);
    Ok(())
}

/// Neither provider says which queue pair takes the last one: a grace, and nothing is taken.
pub(crate) fn shared(lab: &mut Lab) -> Result<()> {
    lab.table.begin("shipped, shared receives");
    let mut shipped = Shipped::connect(lab, Method::Accounting, true)?;
    shipped.work(true)?;
    let (report, reclaimed) = shipped.close(lab)?;
    let waited = report.times.entered(State::SrqWait).is_some();
    lab.table.same("polled for before the destroy", true, waited);
    lab.table.same("deadlines met", 0, report.deadlines_met().count());
    lab.table.same("receives back by the shared queue's destroy", u64::from(RECEIVES), reclaimed);
    Ok(())
}
