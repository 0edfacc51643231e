//! What the device and the wire do with posted work.

use std::time::Duration;

use transport::device::{AsyncEvent, CmEvent, SendOp, WcStatus};

use crate::behaviour::QpState;
use crate::connection::PeerState;
use crate::happening::{Track, What};
use crate::limits::{RETRY_TIMEOUT, RNR_DELAY};
use crate::oracle::Delay;
use crate::peer::PeerEvent;
use crate::queue_pair::{Fate, Phase, Wr};
use crate::shadow::Holder;
use crate::world::World;

/// `IBV_WC_LOC_LEN_ERR`
const LOCAL_LENGTH: WcStatus = WcStatus::Error(1);
/// `IBV_WC_LOC_PROT_ERR`
const LOCAL_PROTECTION: WcStatus = WcStatus::Error(4);
/// `IBV_WC_REM_ACCESS_ERR`
const REMOTE_ACCESS: WcStatus = WcStatus::Error(10);
/// `IBV_WC_RETRY_EXC_ERR`
const RETRY_EXCEEDED: WcStatus = WcStatus::Error(12);

/// How an execution went.
enum Executed {
    /// Its memory is the device's no more; it completes with success.
    Done,
    /// It completes with this status, and the queue pair fails.
    Failed(WcStatus),
    /// It completes with success, and the peer ends the connection (iWARP).
    Terminated,
    /// Not now: again after this time.
    Again(Duration),
    /// Not before the peer is back.
    Stalled,
}

impl World {
    /// Lets something happen.
    pub(crate) fn perform(&mut self, what: What) {
        self.note(|| crate::Happening { what: what.clone() }.to_string());
        match what {
            What::Request { conn } => self.arrive(conn),
            What::Cm { conn, event } => self.deliver_cm(conn, event),
            What::Async { device, event } => self.devices[device].events.push_back(event),
            What::Channel { cq } => self.cqs[cq].events += 1,
            What::Execute { qp, ordinal } => self.execute(qp, ordinal),
            What::Complete { qp, ordinal } => self.complete_send(qp, ordinal),
            What::FlushSend { qp } => self.flush_next(qp, false),
            What::FlushRecv { qp } => self.flush_next(qp, true),
            What::Deliver { conn } => self.deliver(conn),
            What::ToPeer { conn, event } => self.reach_peer(conn, event),
            What::PeerGone { conn } => self.notice_peer_gone(conn),
            What::Closed { qp } => self.closed(qp),
            What::RetriesExceeded { qp } => self.retries_exceeded(qp),
        }
    }

    fn deliver_cm(&mut self, conn: usize, event: CmEvent) {
        if self.conns[conn].id_alive {
            self.conns[conn].established |= event == CmEvent::Established;
            self.conns[conn].events.push_back(event);
        }
    }

    /// Puts a work request of the send queue on its track.
    pub(crate) fn schedule(&mut self, qp: usize, ordinal: u32) {
        let Some(wr) = self.qps[qp].send.iter().find(|wr| wr.ordinal == ordinal) else { return };
        let track = if wr.is_read() { Track::Reads(qp) } else { Track::Sends(qp) };
        self.soon(Delay::Wire, track, What::Execute { qp, ordinal });
    }

    fn execute(&mut self, qp: usize, ordinal: u32) {
        let Some(wr) = self.qps[qp].send.iter().find(|wr| wr.ordinal == ordinal).cloned() else {
            return;
        };
        if wr.is_read() && self.waits_for_sends(qp, ordinal) {
            return;
        }
        let outcome = if wr.invalid {
            Executed::Failed(LOCAL_PROTECTION)
        } else {
            self.check_source(qp, &wr);
            self.transfer(qp, &wr)
        };
        let track = if wr.is_read() { Track::Reads(qp) } else { Track::Sends(qp) };
        match outcome {
            Executed::Again(span) => self.before_others(span, track, What::Execute { qp, ordinal }),
            Executed::Stalled => {
                let conn = self.qps[qp].conn;
                self.doubt(conn);
            }
            Executed::Done | Executed::Terminated => {
                self.set_phase(qp, ordinal, Phase::Executed);
                self.wake_reads(qp);
                self.schedule_completion(qp, ordinal, wr.is_read());
                if matches!(outcome, Executed::Terminated) {
                    self.terminate(qp);
                }
            }
            // Where order is kept, the peer answers older READs before it refuses anything.
            Executed::Failed(_) if self.waits_for_reads(qp, ordinal) => {
                let span = Duration::from_micros(50);
                self.before_others(span, track, What::Execute { qp, ordinal });
            }
            Executed::Failed(status) => {
                self.complete(qp, false, ordinal, status, 0, true);
                self.cancel_later(qp, ordinal);
                self.fail(qp);
            }
        }
    }

    /// As [`World::after`], in front of what waits on the same track.
    fn before_others(&mut self, span: Duration, track: Track, what: What) {
        let first = self.pending.iter().position(|p| p.track == track);
        let at = self.now + span;
        let place = first.unwrap_or(self.pending.len());
        self.pending.insert(place, crate::happening::Pending { track, at, what });
    }

    /// Requests leave in the order of their posts: a READ behind a SEND that the peer does not take
    /// yet has not left.
    fn waits_for_sends(&self, qp: usize, ordinal: u32) -> bool {
        let older = |wr: &Wr| wr.ordinal < ordinal && !wr.is_read();
        self.qps[qp]
            .send
            .iter()
            .any(|wr| older(wr) && wr.phase == Phase::Posted && wr.fate == Fate::Normal)
    }

    /// READs that waited for a SEND leave now.
    fn wake_reads(&mut self, qp: usize) {
        let waiting: Vec<u32> = self.qps[qp]
            .send
            .iter()
            .filter(|wr| wr.is_read() && wr.phase == Phase::Posted && wr.fate == Fate::Normal)
            .map(|wr| wr.ordinal)
            .filter(|ordinal| {
                let what = What::Execute { qp, ordinal: *ordinal };
                !self.pending.iter().any(|p| p.what == what) && !self.waits_for_sends(qp, *ordinal)
            })
            .collect();
        for ordinal in waiting {
            self.schedule(qp, ordinal);
        }
    }

    fn waits_for_reads(&self, qp: usize, ordinal: u32) -> bool {
        let ordered = !self.row_of(qp).send_before_read.contains(&true);
        let older = |wr: &Wr| wr.ordinal < ordinal && wr.is_read();
        ordered
            && self.qps[qp]
                .send
                .iter()
                .any(|wr| older(wr) && wr.phase == Phase::Posted && wr.fate == Fate::Normal)
    }

    /// A send queue is executed in order: behind one that was not executed, none is.
    pub(crate) fn cancel_later(&mut self, qp: usize, ordinal: u32) {
        self.cancel(|what| {
            matches!(what, What::Execute { qp: at, ordinal: later }
                if *at == qp && *later > ordinal)
        });
    }

    fn set_phase(&mut self, qp: usize, ordinal: u32, phase: Phase) {
        if let Some(wr) = self.qps[qp].send.iter_mut().find(|wr| wr.ordinal == ordinal) {
            wr.phase = phase;
        }
    }

    fn check_source(&mut self, qp: usize, wr: &Wr) {
        self.check_untouched(Holder::Device { qp }, wr);
    }

    /// Moves the bytes.
    fn transfer(&mut self, qp: usize, wr: &Wr) -> Executed {
        let conn = self.qps[qp].conn;
        let row = self.row_of(qp);
        let state = &self.conns[conn];
        if state.paused {
            return Executed::Stalled;
        }
        if state.peer_is_gone() {
            // iWARP: the local TCP has taken it, whoever is there to read.
            let taken = row.completes_locally && !wr.is_read();
            return if taken { Executed::Done } else { Executed::Stalled };
        }
        if state.peer == PeerState::Connecting {
            // Our accept is still under way to it.
            return Executed::Again(Duration::from_micros(50));
        }
        let host = state.host;
        let range = wr.ranges.first().copied();
        let len = range.map_or(0, |range| range.len);
        match wr.op {
            None => Executed::Done,
            Some(SendOp::Send { invalidate }) => {
                let bytes = range.map_or_else(Vec::new, |range| range.bytes());
                self.transfer_send(qp, conn, bytes, invalidate)
            }
            Some(SendOp::Write(remote)) => {
                let bytes = range.map_or_else(Vec::new, |range| range.bytes());
                match self.hosts[host].remote(remote.addr, remote.rkey, len) {
                    Some(memory) => memory.copy_from_slice(&bytes),
                    None if row.completes_locally => return Executed::Terminated,
                    None => return Executed::Failed(REMOTE_ACCESS),
                }
                Executed::Done
            }
            Some(SendOp::Read(remote)) => {
                match self.hosts[host].remote(remote.addr, remote.rkey, len) {
                    Some(memory) => {
                        if let Some(range) = range {
                            range.place(memory);
                        }
                        Executed::Done
                    }
                    None => Executed::Failed(REMOTE_ACCESS),
                }
            }
        }
    }

    fn transfer_send(
        &mut self,
        qp: usize,
        conn: usize,
        bytes: Vec<u8>,
        invalidate: Option<u32>,
    ) -> Executed {
        let local = self.row_of(qp).completes_locally;
        let Some((room, context)) = self.conns[conn].peer_receives.front().copied() else {
            return if local { Executed::Terminated } else { Executed::Again(RNR_DELAY) };
        };
        if bytes.len() > room {
            return if local { Executed::Terminated } else { Executed::Failed(REMOTE_ACCESS) };
        }
        self.conns[conn].peer_receives.pop_front();
        if let Some(rkey) = invalidate {
            let host = self.conns[conn].host;
            for region in &mut self.hosts[host].regions {
                region.valid &= region.rkey != rkey;
            }
        }
        let event = PeerEvent::Received { bytes, invalidated: invalidate, context };
        // It is in the peer's memory now; its completion there may be a little later.
        self.tell_peer(conn, event);
        Executed::Done
    }

    fn schedule_completion(&mut self, qp: usize, ordinal: u32, is_read: bool) {
        let row = self.row_of(qp);
        if !row.send_before_read.contains(&true) {
            return self.complete_in_order(qp);
        }
        let track = if is_read { Track::ReadCompletions(qp) } else { Track::SendCompletions(qp) };
        self.at_once(Delay::Completion, track, What::Complete { qp, ordinal });
    }

    /// Where the provider keeps order: schedules completions up to the oldest that is not executed.
    fn complete_in_order(&mut self, qp: usize) {
        let ready: Vec<u32> = self.qps[qp]
            .send
            .iter()
            .take_while(|wr| wr.phase != Phase::Posted)
            .filter(|wr| wr.phase == Phase::Executed)
            .map(|wr| wr.ordinal)
            .collect();
        for ordinal in ready {
            let what = What::Complete { qp, ordinal };
            if !self.pending.iter().any(|p| p.what == what) {
                self.at_once(Delay::Completion, Track::SendCompletions(qp), what);
            }
        }
    }

    fn complete_send(&mut self, qp: usize, ordinal: u32) {
        let Some(wr) = self.qps[qp].send.iter_mut().find(|wr| wr.ordinal == ordinal) else {
            return;
        };
        if wr.phase != Phase::Executed {
            return;
        }
        if wr.signaled {
            self.complete(qp, false, ordinal, WcStatus::Success, 0, true);
        } else {
            wr.phase = Phase::Silent;
        }
    }

    /// The peer's oldest message arrives.
    fn deliver(&mut self, conn: usize) {
        if self.conns[conn].messages.is_empty() {
            return;
        }
        let lost = |world: &mut Self| {
            if let Some(message) = world.conns[conn].messages.pop_front() {
                let context = message.context;
                world.tell_peer(conn, PeerEvent::Sent { context, ok: false });
            }
        };
        let qp = self.conns[conn].qp.filter(|qp| self.qps[*qp].is_at_work());
        let Some(qp) = qp else { return lost(self) };
        match self.qps[qp].state {
            QpState::Init | QpState::Rts => {}
            QpState::Closing => {
                // A message in CLOSING is an error by RFC 5040.
                self.enter_error(qp, false);
                return lost(self);
            }
            QpState::Terminate | QpState::Error => return lost(self),
        }
        self.take_shared(qp);
        let normal = |wr: &&Wr| wr.phase == Phase::Posted && wr.fate == Fate::Normal;
        let Some(wr) = self.qps[qp].recv.iter().find(normal).cloned() else {
            if self.row_of(qp).completes_locally {
                self.terminate(qp);
                return lost(self);
            }
            return self.before_others(RNR_DELAY, Track::ToUs(conn), What::Deliver { conn });
        };
        let Some(message) = self.conns[conn].messages.pop_front() else { return };
        self.check_untouched(Holder::Device { qp }, &wr);
        let room: usize = wr.ranges.iter().map(|range| range.len).sum();
        if message.bytes.len() > room {
            self.complete(qp, true, wr.ordinal, LOCAL_LENGTH, 0, true);
            self.tell_peer(conn, PeerEvent::Sent { context: message.context, ok: false });
            return self.fail(qp);
        }
        let mut rest = &message.bytes[..];
        for range in &wr.ranges {
            let (now, later) = rest.split_at(rest.len().min(range.len));
            range.place(now);
            rest = later;
        }
        let byte_len = u32::try_from(message.bytes.len()).unwrap_or(u32::MAX);
        self.complete(qp, true, wr.ordinal, WcStatus::Success, byte_len, true);
        self.tell_peer(conn, PeerEvent::Sent { context: message.context, ok: true });
        if !self.conns[conn].established {
            let (device, token) = (self.qps[qp].device, self.token_of(qp));
            self.raise_async(device, AsyncEvent::CommEstablished(token));
        }
    }

    /// The queue pair fails by itself.
    pub(crate) fn fail(&mut self, qp: usize) {
        let (device, token, conn) = (self.qps[qp].device, self.token_of(qp), self.qps[qp].conn);
        self.enter_error(qp, false);
        self.raise_async(device, AsyncEvent::QpError(token));
        self.tell_peer(conn, PeerEvent::Disconnected);
    }

    /// iWARP: a TERMINATE ends the stream.
    fn terminate(&mut self, qp: usize) {
        let (device, token, conn) = (self.qps[qp].device, self.token_of(qp), self.qps[qp].conn);
        self.note(|| format!("qp {qp}: the stream is terminated"));
        let row = self.row_of(qp);
        if row.modify_refused_from.contains(&QpState::Terminate) {
            self.qps[qp].state = QpState::Terminate;
            self.soon(Delay::Peer, Track::State(qp), What::Closed { qp });
        } else {
            self.enter_error(qp, false);
        }
        self.raise_async(device, AsyncEvent::QpError(token));
        self.tell_peer(conn, PeerEvent::Disconnected);
        self.raise_cm(conn, CmEvent::Disconnected);
    }

    /// iWARP's orderly close: our FIN, or the peer's.
    pub(crate) fn enter_closing(&mut self, qp: usize) {
        let row = self.row_of(qp);
        let busy = self.qps[qp].send.iter().any(|wr| wr.phase == Phase::Posted && !wr.is_read());
        let conn = self.qps[qp].conn;
        if busy && self.qps[qp].closing_ours {
            // A send in progress makes it an error.
            self.enter_error(qp, false);
        } else {
            self.qps[qp].state = QpState::Closing;
            self.note(|| format!("qp {qp} is in CLOSING"));
            let reads = |wr: &Wr| wr.is_read() && wr.phase == Phase::Posted;
            let any = self.qps[qp].send.iter().any(reads);
            if self.axis_by("CLOSING loses READs", row.closing_loses_reads, |loses| loses && any) {
                let lost: Vec<u32> = self.qps[qp]
                    .send
                    .iter_mut()
                    .filter(|wr| wr.is_read() && wr.phase == Phase::Posted)
                    .map(|wr| {
                        wr.fate = Fate::Lost;
                        wr.ordinal
                    })
                    .collect();
                for ordinal in lost {
                    self.cancel_work(qp, ordinal);
                }
            }
            let any = self.flushable(qp, true).is_some();
            let axis = row.closing_flushes_receives;
            if self.axis_by("CLOSING flushes receives", axis, |flushes| flushes && any) {
                while self.flush_one(qp, true) {}
            }
            if self.conns[conn].peer != PeerState::Vanished {
                self.soon(Delay::Peer, Track::State(qp), What::Closed { qp });
            }
        }
        if self.qps[qp].closing_ours {
            self.tell_peer(conn, PeerEvent::Disconnected);
        }
    }

    /// CLOSING or TERMINATE is over.
    fn closed(&mut self, qp: usize) {
        if matches!(self.qps[qp].state, QpState::Closing | QpState::Terminate) {
            self.enter_error(qp, false);
            let conn = self.qps[qp].conn;
            self.raise_cm(conn, CmEvent::Disconnected);
        }
    }

    /// The peer may not answer any more: on InfiniBand the requester gives up after a while.
    pub(crate) fn doubt(&mut self, conn: usize) {
        let Some(qp) = self.conns[conn].qp.filter(|qp| self.qps[*qp].is_at_work()) else { return };
        let what = What::RetriesExceeded { qp };
        let waits = self.qps[qp].send.iter().any(|wr| wr.phase == Phase::Posted);
        let local = self.row_of(qp).completes_locally;
        if waits && !local && !self.conns[conn].deaf && !self.pending.iter().any(|p| p.what == what)
        {
            self.after(RETRY_TIMEOUT, Track::State(qp), what);
        }
    }

    /// The peer's network is back: what stalled goes on.
    pub(crate) fn trust(&mut self, conn: usize) {
        let Some(qp) = self.conns[conn].qp.filter(|qp| self.qps[*qp].is_at_work()) else { return };
        self.cancel(|what| *what == What::RetriesExceeded { qp });
        let stalled: Vec<u32> = self.qps[qp]
            .send
            .iter()
            .filter(|wr| wr.phase == Phase::Posted && wr.fate == Fate::Normal)
            .map(|wr| wr.ordinal)
            .collect();
        // Those behind the first that stalled must not overtake it.
        self.cancel(|what| matches!(what, What::Execute { qp: at, .. } if *at == qp));
        for ordinal in stalled {
            self.schedule(qp, ordinal);
        }
    }

    fn retries_exceeded(&mut self, qp: usize) {
        if self.qps[qp].state != QpState::Rts {
            return;
        }
        let oldest = self.qps[qp].send.iter().find(|wr| wr.phase == Phase::Posted);
        let Some(ordinal) = oldest.map(|wr| wr.ordinal) else { return };
        self.cancel_work(qp, ordinal);
        self.complete(qp, false, ordinal, RETRY_EXCEEDED, 0, true);
        self.fail(qp);
    }
}
