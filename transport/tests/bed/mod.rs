//! One connection over the simulated device, driven as a reactor drives it.
#![allow(dead_code, reason = "each test file uses a part of it")]

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use sim::peer::{ConnectParams, Region};
use sim::{
    Behaviour, Fabric, Host, Node, Oracle, Peer, Plan, Question, Reaping, Seeded, SimListener,
    SimSrq, SimStack,
};
use transport::connection::Connection;
use transport::device::{
    AcceptParams, AsyncEvent, CmId, Device, ListenEvent, QpCaps, Remote, Stack, Token, Wc,
};
use transport::lane::Lane;
use transport::marker::Method;
use transport::pool::{Buf, RecvBuf};
use transport::proof;
use transport::shared_receives::SharedQueue;
use transport::time::Now;
use transport::wr::{IdKind, Retired, WrId};

const TARGET: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1));
const HOST: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 2));
/// Receives that are posted before the accept.
pub(crate) const RECEIVES: u32 = 3;
const QP_CAPS: QpCaps = QpCaps { send_wr_max: 8, recv_wr_max: RECEIVES, recv_sge_max: 1 };
/// Turns of one wait, at most.
const TURNS_MAX: usize = 20_000;

/// An ordinary world, but for one kind of mischief that is always done.
struct Mischievous(Seeded, Option<&'static str>);

impl Oracle for Mischievous {
    fn choose(&mut self, question: Question, options: usize) -> usize {
        match question {
            Question::Mischief(name) if Some(name) == self.1 => 1,
            Question::Mischief(_)
            | Question::Next
            | Question::Delay(_)
            | Question::Fault(_)
            | Question::Axis(_) => self.0.choose(question, options),
        }
    }
}

pub(crate) struct Bed {
    pub(crate) fabric: Fabric,
    pub(crate) node: Node,
    pub(crate) peer: Peer,
    pub(crate) region: Region,
    pub(crate) lane: Lane<SimStack>,
    pub(crate) conn: Connection<SimStack>,
    pub(crate) shared: Option<SharedQueue<SimSrq>>,
    /// What came back and was not looked at yet.
    pub(crate) out: Vec<Retired>,
    reapings: Vec<Reaping>,
    _host: Host,
    _listener: SimListener,
}

impl Bed {
    /// A connection that is accepted and not yet established; three receives are posted.
    pub(crate) fn accepted(row: &'static Behaviour, method: Method) -> Self {
        Self::made(row, method, false)
    }

    fn made(row: &'static Behaviour, method: Method, share: bool) -> Self {
        let fabric = Fabric::new(Box::new(Seeded::with_plan(1, Plan::CALM)));
        let node = fabric.add_node("target");
        fabric.add_device(node, row, TARGET);
        let stack = fabric.stack(node);
        let address = SocketAddr::new(TARGET, 4420);
        let listener = stack.listen(address, 8, 0).unwrap();
        let host = fabric.add_host(HOST);
        let region = host.register(4096);
        let peer = host.connect(address, ConnectParams::default());
        for context in 0..4 {
            peer.post_recv(64, context);
        }
        let id = loop {
            match stack.next_event().unwrap() {
                Some(ListenEvent::Request(request)) => break request.id,
                Some(ListenEvent::ListenerGone { .. } | ListenEvent::Ignored) => {}
                None => {
                    let due = fabric.due().unwrap().max(fabric.now());
                    fabric.set_now(due);
                    fabric.run_due();
                }
            }
        };
        let lane = Lane::open(id.device().unwrap(), 1, 64).unwrap();
        let now = fabric.now();
        let share = u16::try_from(RECEIVES).unwrap() * u16::from(share);
        let shared = (share > 0).then(|| lane.shared_queue(0, share, 1).unwrap());
        let made = match shared.as_ref().and_then(SharedQueue::srq) {
            Some(srq) => Connection::create_shared(now, &lane, srq, id, Token(1), 0, QP_CAPS),
            None => Connection::create_with(now, &lane, id, Token(1), 0, QP_CAPS, method),
        };
        let Ok(conn) = made else { panic!("no queue pair") };
        let (out, reapings) = (Vec::new(), Vec::new());
        let mut bed = Self {
            fabric,
            node,
            peer,
            region,
            lane,
            conn,
            shared,
            out,
            reapings,
            _host: host,
            _listener: listener,
        };
        for _ in 0..RECEIVES {
            bed.receive();
        }
        bed.flush();
        let params = AcceptParams {
            private_data: &[],
            responder_resources: 0,
            initiator_depth: 1,
            rnr_retry_count: 7,
        };
        bed.conn.accept(now, &params, &mut bed.out);
        bed
    }

    /// The same, established.
    pub(crate) fn live(row: &'static Behaviour, method: Method) -> Self {
        let mut bed = Self::accepted(row, method);
        bed.until(|bed| bed.conn.is_open());
        bed
    }

    /// The same, with its receives on a shared queue.
    pub(crate) fn sharing(row: &'static Behaviour) -> Self {
        let mut bed = Self::made(row, Method::Accounting, true);
        bed.until(|bed| bed.conn.is_open());
        bed
    }

    /// From now on this mischief is done at every chance.
    pub(crate) fn always(&self, mischief: &'static str) {
        let calm = Seeded::with_plan(1, Plan::CALM);
        self.fabric.set_oracle(Box::new(Mischievous(calm, Some(mischief))));
    }

    pub(crate) fn now(&self) -> Now {
        self.fabric.now()
    }

    pub(crate) fn slot(&self) -> Buf {
        self.lane.pool().take_slot().unwrap()
    }

    pub(crate) fn remote(&self) -> Remote {
        Remote { addr: self.region.addr(), rkey: self.region.rkey() }
    }

    pub(crate) fn receive(&mut self) {
        let capsule = self.slot();
        let receive = RecvBuf { capsule, data: None };
        match &mut self.shared {
            Some(queue) => queue.recv(receive).unwrap(),
            None => self.conn.recv(receive).unwrap(),
        }
    }

    pub(crate) fn flush(&mut self) {
        if let Some(queue) = &mut self.shared {
            queue.flush(&mut self.out).unwrap();
        }
        let now = self.now();
        self.conn.flush(now, &mut self.out);
    }

    /// Polls all that is there.
    pub(crate) fn polled(&mut self) -> Vec<Wc> {
        let mut wcs = [Wc::EMPTY; 32];
        let count = self.lane.poll(&mut wcs).unwrap();
        assert!(count < wcs.len(), "more than these tests make");
        wcs[..count].to_vec()
    }

    pub(crate) fn complete(&mut self, wc: &Wc) {
        let id = WrId::from_raw(wc.wr_id).unwrap();
        let now = self.now();
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

    /// Time goes on to the next thing that is due.
    pub(crate) fn pass(&mut self) {
        let reaped = self.reapings.iter().map(Reaping::ready_at).min();
        let next = [self.fabric.due(), self.conn.timeout(), reaped].into_iter().flatten().min();
        // What is left may be a job of this very moment.
        self.fabric.set_now(next.unwrap_or_default().max(self.now()));
        self.fabric.run_due();
    }

    /// What a reactor does in a tick: events, completions, timers, jobs.
    pub(crate) fn turn(&mut self) {
        while self.conn.watches_cm() {
            let Some(event) = self.conn.id().and_then(|id| id.next_event().unwrap()) else { break };
            let now = self.now();
            self.conn.handle_cm_event(now, event, &mut self.out);
        }
        for wc in self.polled() {
            self.complete(&wc);
        }
        let now = self.now();
        while let Some(event) = self.lane.device().next_async_event().unwrap() {
            if matches!(event, AsyncEvent::LastWqeReached(_)) {
                self.conn.last_wqe_reached(now, &mut self.out);
            }
        }
        self.conn.settle(now, &mut self.out);
        if self.conn.timeout().is_some_and(|at| now >= at) {
            self.conn.handle_timeout(now, &mut self.out);
        }
        while let Some(job) = self.conn.poll_job() {
            let reaping = self.fabric.reaping(job);
            self.reapings.push(reaping);
        }
        let (ready, left) = std::mem::take(&mut self.reapings)
            .into_iter()
            .partition(|reaping| now >= reaping.ready_at());
        self.reapings = left;
        for reaping in ready {
            if let Some(outcome) = Reaping::run(reaping) {
                self.conn.handle_outcome(now, outcome, &mut self.out);
            }
        }
    }

    /// Turns and lets time pass until `enough`.
    pub(crate) fn until(&mut self, enough: impl Fn(&Self) -> bool) {
        for _ in 0..TURNS_MAX {
            self.turn();
            if enough(self) {
                return;
            }
            self.pass();
        }
        panic!("never: {:?}", self.conn.report(self.now()));
    }

    /// The shared queue is destroyed; says how many receives that gave back.
    pub(crate) fn shared_queue_goes(&mut self) -> u64 {
        let mut queue = self.shared.take().unwrap();
        let (srq, epoch) = queue.take_srq().unwrap();
        let gone = proof::destroy_srq(srq, epoch, self.lane.caps(), &|| self.fabric.now());
        queue.handle_destroyed(gone, &mut self.out);
        self.out.clear();
        queue.table().counts().reclaimed
    }

    /// The connection ends, and everything of it is back.
    pub(crate) fn ended(&mut self) {
        self.until(|bed| bed.conn.is_finished());
        self.out.clear();
        let report = self.conn.report(self.now());
        assert_eq!(self.lane.pool().used_bytes(), 0, "{report:?}");
        assert_eq!(self.fabric.violations(), []);
    }
}
