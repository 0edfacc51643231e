//! A connection's birth and end on its reactor.

use block::Engine;
use nvme::rdma::{AcceptPrivateData, CmReject};
use nvme::{Qid, Queue};
use transport::cause::Cause;
use transport::connection::Connection;
use transport::device::{AcceptParams, CmId, Device, QpCaps, Stack};
use transport::drain::State;
use transport::lane::CqIndex;
use transport::limits::CONNECTIONS_MAX;
use transport::pool::RecvBuf;
use transport::reaper::{Job, Outcome};
use transport::time::Now;
use transport::wr::{Door, Memory, Retired, WrKind};

use crate::clock::transport_now;
use crate::disk_buf::DiskBuf;
use crate::drains::Whose;
use crate::limits::READ_DEPTH_MAX;
use crate::orphans::OrphanId;
use crate::reactor::Reactor;
use crate::reactor::message::{Incoming, Message};
use crate::reactor::platform::Source;
use crate::reactor::queue::{Beginning, Conn, Role, send_wr_max};
use crate::reactor::queue_memory::QueueMemory;
use crate::reactor::timers::Target;
use crate::token::Name;

/// RNR retries without end: a peer that is slow to post receives is not dead.
const RNR_RETRY_FOREVER: u8 = 7;

impl<S: Stack, E: Engine<DiskBuf>> Reactor<S, E>
where
    <S::Device as Device<S>>::Mr: 'static,
{
    /// Takes a connection request in, or refuses it.
    pub(crate) fn connect(&mut self, incoming: Incoming<S>) {
        let Incoming { request, device, port, claim, ticket } = incoming;
        let peer = request.peer;
        let claim = match claim.admit(self.shared.settings.queue_depth_max) {
            Ok(claim) if !self.stopping => claim,
            Ok(_) => return self.refuse(request.id, CmReject::NoResources),
            Err(reject) => {
                tracing::warn!(%peer, ?reject, "refused: the queue is too large or too small");
                return self.refuse(request.id, reject);
            }
        };
        let in_capsule =
            if claim.qid == Qid::ADMIN { 0 } else { self.shared.settings.in_capsule_bytes };
        let room = match self.make_room(&device, u32::from(claim.entries), in_capsule) {
            Ok(room) => room,
            Err(reason) => {
                tracing::warn!(%peer, "refused: {reason}");
                return self.refuse(request.id, CmReject::NoResources);
            }
        };
        let Room { lane, cq, qp_caps, memory } = room;
        let generation = self.next_generation();
        let c = self.conns.vacant_key();
        // The table is bounded by the limit of queues, far below what a slot can name.
        let slot = u16::try_from(c).unwrap_or(u16::MAX);
        let name = Name { reactor: self.index, slot: u32::from(slot), generation };
        let now = transport_now(self.now);
        let lane_ref = &self.lanes[lane].lane;
        let transport =
            match Connection::create(now, lane_ref, request.id, name.into(), slot, qp_caps) {
                Ok(transport) => transport,
                Err((error, id)) => {
                    tracing::warn!(%peer, %error, "refused: no queue pair");
                    self.give_back(Room { lane, cq, qp_caps, memory });
                    return self.refuse(id, CmReject::NoResources);
                }
            };
        let read_depth = read_depth(request.initiator_depth, device.attr().max_qp_init_rd_atom);
        self.conns.insert(Conn::new(Beginning {
            generation,
            transport,
            lane,
            claim: cq,
            queue: Queue::new(claim, u32::try_from(in_capsule).unwrap_or(0)),
            port,
            peer,
            local: request.local,
            ticket,
            read_depth,
            responses: memory.responses,
            spare: memory.spare,
        }));
        self.lanes[lane].add_connection();
        self.counters.connections_accepted += 1;
        self.accept(c, memory.receives, read_depth);
    }

    /// Finds a lane with room for a queue of `depth` commands, and takes that room.
    fn make_room(
        &mut self,
        device: &S::Device,
        depth: u32,
        in_capsule: usize,
    ) -> Result<Room, String> {
        if self.conns.vacant_key() >= CONNECTIONS_MAX {
            return Err(format!("reactor {} has {CONNECTIONS_MAX} connections", self.index));
        }
        let lane = self.lane_for(device).map_err(|error| {
            format!(
                "can't use {}: {error}; if it is out of memory, raise LimitMEMLOCK or lower \
                 limits.pool",
                device.name()
            )
        })?;
        let qp_caps =
            QpCaps { send_wr_max: send_wr_max(depth), recv_wr_max: depth, recv_sge_max: 2 };
        let too_large = || format!("{} has no queue pairs of that size", device.name());
        let fits = qp_caps.send_wr_max <= device.attr().max_qp_wr;
        let claim = fits.then(|| self.claim(lane, qp_caps)).ok_or_else(too_large);
        let full = |error| format!("no room on {} for another queue pair: {error}", device.name());
        let cq = match claim.and_then(|claim| claim.map_err(full)) {
            Ok(cq) => cq,
            Err(reason) => {
                self.drop_lane_if_unused(lane);
                return Err(reason);
            }
        };
        match self.take_queue_memory(lane, depth, in_capsule) {
            Ok(memory) => Ok(Room { lane, cq, qp_caps, memory }),
            Err(error) => {
                self.lanes[lane].lane.unclaim(cq, qp_caps);
                self.drop_lane_if_unused(lane);
                Err(format!("no memory for another queue: {error}; raise LimitMEMLOCK"))
            }
        }
    }

    fn accept(&mut self, c: usize, receives: Vec<RecvBuf>, read_depth: u32) {
        let now = transport_now(self.now);
        let mut retired = std::mem::take(&mut self.retired);
        let conn = &mut self.conns[c];
        for receive in receives {
            // There are as many receives as the queue pair has room for.
            let _ = conn.transport.recv(receive);
        }
        conn.transport.flush(now, &mut retired);
        if let Some(id) = conn.transport.id() {
            match self.watch.watch(id.event_fd(), Source::Cm(c)) {
                Ok(()) => conn.watched = true,
                Err(error) => {
                    tracing::error!(%error, "can't watch a connection's CM channel");
                    conn.transport.close(now, Cause::OutOfResources, &mut retired);
                }
            }
        }
        let crqsize = conn.queue.entries();
        let private_data = AcceptPrivateData { crqsize }.emit();
        let params = AcceptParams {
            private_data: &private_data,
            responder_resources: 0,
            initiator_depth: u8::try_from(read_depth).unwrap_or(u8::MAX),
            rnr_retry_count: RNR_RETRY_FOREVER,
        };
        if conn.transport.is_posting() {
            conn.transport.accept(now, &params, &mut retired);
        }
        self.retired = retired;
        self.touch(c);
        self.take_retired(c);
    }
}

/// RDMA READs that a connection may have outstanding: what its host and the device can.
fn read_depth(host: u8, device: u32) -> u32 {
    u32::from(host).min(device).clamp(1, READ_DEPTH_MAX)
}

/// A place for a queue, taken.
struct Room {
    lane: usize,
    cq: CqIndex,
    qp_caps: QpCaps,
    memory: QueueMemory,
}

impl<S: Stack, E: Engine<DiskBuf>> Reactor<S, E> {
    /// Gives a place back that no connection was made for.
    fn give_back(&mut self, room: Room) {
        let Room { lane, cq, qp_caps, memory } = room;
        self.lanes[lane].lane.unclaim(cq, qp_caps);
        drop(memory);
        self.drop_lane_if_unused(lane);
    }

    fn refuse(&mut self, id: S::Id, reject: CmReject) {
        self.counters.connections_refused += 1;
        let private_data = reject.emit().to_vec();
        (self.shared.reap)(Job::Refuse { id, private_data }, std::sync::Arc::new(|_| {}));
    }

    /// Tells a connection's transport something, and gives back what that retired.
    pub(crate) fn drive(
        &mut self,
        c: usize,
        tell: impl FnOnce(&mut Connection<S>, Now, &mut Vec<Retired>),
    ) {
        let now = transport_now(self.now);
        let mut retired = std::mem::take(&mut self.retired);
        tell(&mut self.conns[c].transport, now, &mut retired);
        self.retired = retired;
        self.touch(c);
        self.take_retired(c);
    }

    /// Closes a connection now.
    pub(crate) fn close(&mut self, c: usize, cause: Cause) {
        self.drive(c, |transport, now, retired| transport.close(now, cause, retired));
    }

    /// Closes a connection after the responses that are on their way.
    pub(crate) fn finish(&mut self, c: usize, cause: Cause) {
        let commands = u32::try_from(self.conns[c].commands.len()).unwrap_or(u32::MAX);
        self.drive(c, |transport, now, retired| {
            transport.set_backend(now, commands, retired);
            transport.finish(now, cause, retired);
        });
    }

    /// Gives what left the in-flight table back to where it belongs.
    pub(crate) fn take_retired(&mut self, c: usize) {
        // Handling one may retire more: they are appended and taken in their turn.
        while !self.retired.is_empty() {
            let mut batch =
                std::mem::replace(&mut self.retired, std::mem::take(&mut self.spare_retired));
            for retired in batch.drain(..) {
                self.retire(c, retired);
            }
            self.spare_retired = batch;
        }
    }

    fn retire(&mut self, c: usize, retired: Retired) {
        let succeeded = retired.succeeded();
        let i = usize::try_from(retired.context).unwrap_or(usize::MAX);
        match (retired.kind, retired.memory) {
            (WrKind::Recv, Memory::Recv(recv)) => {
                if let Door::Completed { byte_len, .. } = retired.door
                    && succeeded
                {
                    self.received(c, recv, byte_len);
                }
            }
            (WrKind::Send, Memory::Buf(slot)) => self.response_slot(c, slot),
            (WrKind::Read, Memory::Buf(buf)) => self.read_retired(c, i, buf, succeeded),
            // The data was on its way to the host: its buffer goes back to the pool.
            (WrKind::Write | WrKind::Recv, Memory::Buf(buf)) => drop(buf),
            (WrKind::Send | WrKind::Write | WrKind::Read, Memory::Recv(recv)) => drop(recv),
        }
    }

    /// Puts a connection on the list of those to look at in this tick.
    pub(crate) fn touch(&mut self, c: usize) {
        if let Some(conn) = self.conns.get_mut(c).filter(|conn| !conn.touched) {
            conn.touched = true;
            self.touched.push(c);
        }
    }

    /// Looks at a connection after everything that happened to it in this tick.
    pub(crate) fn settle(&mut self, c: usize) {
        let now = transport_now(self.now);
        let Some(conn) = self.conns.get_mut(c) else { return };
        conn.touched = false;
        let mut retired = std::mem::take(&mut self.retired);
        conn.transport.settle(now, &mut retired);
        self.retired = retired;
        self.take_retired(c);
        self.waiting_capsules(c);
        let mut retired = std::mem::take(&mut self.retired);
        let conn = &mut self.conns[c];
        if conn.transport.has_posts() {
            conn.transport.flush(now, &mut retired);
        }
        if conn.is_ending() {
            let holding = conn.backend_count();
            conn.transport.set_backend(now, holding, &mut retired);
        }
        self.retired = retired;
        self.take_retired(c);
        self.follow(c);
    }

    /// Follows a connection's drain.
    fn follow(&mut self, c: usize) {
        let conn = &mut self.conns[c];
        let ends = conn.transport.state() >= State::Closing;
        if ends && !conn.closing {
            self.begin_end(c);
        }
        self.look_at_lane(c);
        let conn = &mut self.conns[c];
        if conn.transport.state() == State::Reclaiming {
            conn.ticket.set_reclaiming();
        }
        if conn.watched && !conn.transport.watches_cm() {
            conn.watched = false;
            if let Some(id) = conn.transport.id() {
                self.watch.unwatch(id.event_fd());
            }
        }
        while let Some(job) = self.conns[c].transport.poll_job() {
            self.shared.reap(self.index, job);
        }
        if self.conns[c].transport.is_finished() {
            self.end(c);
            return;
        }
        self.report_authentication(c);
        let conn = &mut self.conns[c];
        if conn.transport.state() == State::Live {
            conn.live_since.get_or_insert(self.now);
        }
        let handshake = conn.handshake_deadline(self.shared.settings.handshake);
        let peer = conn.watch_peer(self.now);
        let drain = conn.transport.timeout().map(|at| at.0);
        let authentication = conn.queue.poll_timeout().filter(|_| !conn.is_ending());
        let authentication = authentication.map(|at| at.0);
        let deadline = [drain, handshake, authentication, peer].into_iter().flatten().min();
        let target = Target::Connection(c, conn.generation);
        self.timers.arm(&mut conn.armed, deadline, target);
    }

    /// What is done once, when nothing is posted any more.
    fn begin_end(&mut self, c: usize) {
        let name = self.name(c);
        let conn = &mut self.conns[c];
        conn.closing = true;
        conn.ticket.set_closing();
        conn.capsules.clear();
        conn.completions.clear();
        conn.reads.clear();
        for permit in [conn.connecting.take(), conn.computing.take()].into_iter().flatten() {
            conn.queue.abandon(permit);
        }
        self.purge_unsubmitted(name, c);
        self.adopt_writes(c);
        let conn = &self.conns[c];
        match conn.role {
            Role::Admin(slot) => self.admin_gone(slot),
            Role::Io(_) | Role::Fresh => {}
        }
    }

    /// Operations that no disk has seen yet are forgotten: they must not land later.
    fn purge_unsubmitted(&mut self, name: Name, c: usize) {
        let generation = name.generation;
        let ours = |held: &crate::reactor::disks::HeldUp| {
            held.token.conn == c && held.token.generation == generation
        };
        let mut dropped = Vec::new();
        let held_up = self.held_up.iter().filter(|held| ours(held));
        dropped.extend(held_up.map(|held| held.token.command));
        self.held_up.retain(|held| !ours(held));
        self.disk_queues.purge(ours, &mut dropped);
        for i in dropped {
            self.conns[c].backend -= 1;
            self.drop_command(c, i);
        }
        // Commands that no disk and no device has go too.
        let conn = &self.conns[c];
        let idle: Vec<usize> =
            conn.commands.iter().filter(|(_, x)| x.is_idle()).map(|(i, _)| i).collect();
        for i in idle {
            self.drop_command(c, i);
        }
    }

    /// Writes that a disk has not answered yet hold up what overlaps them.
    fn adopt_writes(&mut self, c: usize) {
        let conn = &self.conns[c];
        for (i, command) in &conn.commands {
            if let Some((disk, range)) = command.changes() {
                let token = crate::reactor::disks::DiskToken {
                    conn: c,
                    command: i,
                    generation: conn.generation,
                };
                let id = OrphanId { reactor: self.index, token: token.to_raw() };
                self.shared.disk(disk).orphans.adopt(id, range);
            }
        }
    }

    /// Nothing of a connection is left.
    fn end(&mut self, c: usize) {
        let name = self.name(c);
        let left: Vec<usize> = self.conns[c].commands.iter().map(|(i, _)| i).collect();
        for i in left {
            self.drop_command(c, i);
        }
        let mut conn = self.conns.remove(c);
        let report = conn.transport.report(transport_now(self.now));
        let whose = Whose {
            reactor: self.index,
            peer: conn.peer,
            qid: conn.queue.qid(),
            device: self.lanes[conn.lane].lane.device().name().into(),
            qp_number: conn.qp_number,
            connect: conn.connect.take(),
        };
        self.shared.drains.ended(self.now, whose, report);
        if let Role::Io(controller) = conn.role {
            self.shared.send(controller, Message::QueueGone { controller, queue: name });
        }
        let lane = &mut self.lanes[conn.lane];
        lane.connections -= 1;
        let index = conn.lane;
        drop(conn);
        self.trim_queue_pools(index);
        self.drop_lane_if_unused(index);
    }

    /// A reaper is done with something.
    pub(crate) fn reaped(&mut self, outcome: Outcome) {
        let (Outcome::QpDestroyed { token, .. } | Outcome::IdDestroyed { token }) = &outcome;
        let Some(c) = self.find(Name::from(*token)) else { return };
        if let Outcome::QpDestroyed { proof: Ok(_), .. } = &outcome {
            let conn = &mut self.conns[c];
            let caps = conn.transport.qp_caps();
            let left = conn.claim.take().map(|claim| (claim, caps));
            self.lanes[conn.lane].left.extend(left);
        }
        self.drive(c, |transport, now, retired| transport.handle_outcome(now, outcome, retired));
    }

    /// Reads a connection's CM channel.
    pub(crate) fn cm_event(&mut self, c: usize) {
        loop {
            let Some(conn) = self.conns.get(c).filter(|x| x.transport.watches_cm()) else { return };
            match conn.transport.id().map(CmId::next_event) {
                Some(Ok(Some(event))) => {
                    self.drive(c, |transport, now, retired| {
                        transport.handle_cm_event(now, event, retired);
                    });
                }
                Some(Err(error)) => {
                    tracing::warn!(%error, "a connection's CM channel failed");
                    return self.close(c, Cause::PeerDisconnected);
                }
                Some(Ok(None)) | None => return,
            }
        }
    }

    /// A connection's deadline.
    pub(crate) fn connection_due(&mut self, c: usize) {
        let conn = &mut self.conns[c];
        let handshake = conn.handshake_deadline(self.shared.settings.handshake);
        if handshake.is_some_and(|at| self.now >= at) && conn.transport.state() <= State::Live {
            tracing::warn!(peer = %conn.peer, "no Connect command came in time");
            self.counters.handshakes_timed_out += 1;
            self.close(c, Cause::Idle);
            return;
        }
        if self.authentication_due(c) {
            return;
        }
        let conn = &mut self.conns[c];
        if conn.peer_stalled(self.now) {
            tracing::warn!(peer = %conn.peer, "the host leaves responses or RDMA READs unanswered");
            self.close(c, Cause::PeerStalled);
            return;
        }
        self.drive(c, Connection::handle_timeout);
    }
}
