//! Controllers of this reactor, and the queues that belong to them wherever they are.

use block::Engine;
use nvme::{
    AdminCommand, Arrival, CloseReason, ConnectError, ConnectRequest, Controller, ControllerEvent,
    EndCause, IoGrant, IoView, Permit, PortId, Qid, Source, SubNqn, TransportAddress,
};
use transport::cause::Cause;
use transport::device::Stack;

use crate::disk_buf::DiskBuf;
use crate::drains::Connected;
use crate::hosts::Place;
use crate::reactor::Reactor;
use crate::reactor::message::Message;
use crate::reactor::queue::Role;
use crate::reactor::shutdown::Flushes;
use crate::reactor::timers::{Armed, Target};
use crate::token::Name;

/// A controller and its queues.
pub(crate) struct ControllerEntry {
    pub(crate) generation: u32,
    pub(crate) controller: Controller,
    pub(crate) nqn: SubNqn,
    pub(crate) cntlid: nvme::Cntlid,
    pub(crate) port: u16,
    pub(crate) host_id: [u8; 16],
    pub(crate) kato_ms: u32,
    /// Its admin queue, on this reactor; `None` when that is gone.
    pub(crate) admin: Option<usize>,
    /// Its I/O queues.
    pub(crate) io: Vec<(Qid, Name)>,
    pub(crate) armed: Armed,
    /// What its shutdown still has to flush.
    pub(crate) flushes: Flushes,
    /// Its place among the controllers of all hosts.
    _place: Place,
}

impl<S: Stack, E: Engine<DiskBuf>> Reactor<S, E> {
    fn controller_name(&self, slot: usize, generation: u32) -> Name {
        let slot = u32::try_from(slot).unwrap_or(u32::MAX);
        Name { reactor: self.index, slot, generation }
    }

    /// Connect on an admin queue: makes a controller, owned by this reactor.
    pub(crate) fn connect_admin(&mut self, c: usize, permit: Permit, request: &ConnectRequest) {
        let controller = self.new_controller(c, request);
        let cntlid = controller.as_ref().ok().map(|slot| self.controllers[*slot].cntlid);
        self.conns[c].connect = Some(connected(request, cntlid));
        let completion = match controller {
            Ok(slot) => {
                let conn = &mut self.conns[c];
                conn.role = Role::Admin(slot);
                tracing::info!(
                    host = %request.hostnqn,
                    subsystem = %request.subnqn,
                    cntlid = %self.controllers[slot].cntlid,
                    peer = %conn.peer,
                    "host connected"
                );
                let completion =
                    conn.queue.connect_admin(permit, &self.controllers[slot].controller);
                conn.granted();
                completion
            }
            Err(error) => {
                let conn = &mut self.conns[c];
                tracing::warn!(
                    host = %request.hostnqn,
                    subsystem = %request.subnqn,
                    peer = %conn.peer,
                    %error,
                    "host refused"
                );
                conn.queue.refuse_connect(permit, error)
            }
        };
        self.respond(c, completion);
        // Its keep-alive timer runs from now on, whether or not a command ever comes.
        if let Role::Admin(slot) = self.conns[c].role {
            let generation = self.controllers[slot].generation;
            self.controller_events(self.controller_name(slot, generation));
        }
    }

    fn new_controller(
        &mut self,
        c: usize,
        request: &ConnectRequest,
    ) -> Result<usize, ConnectError> {
        let place = self.shared.hosts().enter(&request.hostnqn).ok_or(ConnectError::busy())?;
        let generation = self.next_generation();
        let entry = self.controllers.vacant_entry();
        let slot = entry.key();
        let name =
            Name { reactor: self.index, slot: u32::try_from(slot).unwrap_or(u32::MAX), generation };
        let export = &self.shared.export;
        let mut registry = self.shared.registry();
        let cntlid = match export.subsystem(&request.subnqn) {
            Some(subsystem) => registry.allocate_for(subsystem, name.to_raw()),
            None if request.subnqn.is_discovery() => registry.allocate_discovery(name.to_raw()),
            None => return Err(ConnectError::unknown_subsystem()),
        };
        let cntlid = cntlid.map_err(|_| ConnectError::busy())?;
        let now = nvme::Now(self.now);
        let conn = &self.conns[c];
        let port = conn.port;
        let address = Some(TransportAddress(conn.local.ip()));
        let arrival = Arrival { port: PortId(port), address };
        match Controller::connect(now, export, arrival, request, cntlid) {
            Ok(controller) => {
                entry.insert(ControllerEntry {
                    generation,
                    controller,
                    nqn: request.subnqn.clone(),
                    cntlid,
                    port,
                    host_id: request.host_id,
                    kato_ms: request.kato_ms,
                    admin: Some(c),
                    io: Vec::new(),
                    armed: Armed::default(),
                    flushes: Flushes::default(),
                    _place: place,
                });
                Ok(slot)
            }
            Err(error) => {
                registry.release(&request.subnqn, cntlid, name.to_raw());
                Err(error)
            }
        }
    }

    /// Connect on an I/O queue: asks the controller's owner, which may be another reactor.
    pub(crate) fn connect_io(&mut self, c: usize, permit: Permit, request: Box<ConnectRequest>) {
        let cntlid = nvme::Cntlid(request.cntlid);
        self.conns[c].connect = Some(connected(&request, None));
        let owner = self.shared.registry().owner(&request.subnqn, cntlid).map(Name::from_raw);
        let Some(controller) = owner else {
            let error = ConnectError::unknown_controller();
            let completion = self.conns[c].queue.refuse_connect(permit, error);
            self.respond(c, completion);
            return;
        };
        let queue = self.name(c);
        let conn = &mut self.conns[c];
        conn.connecting = Some(permit);
        conn.role = Role::Io(controller);
        self.shared.send(controller, Message::Join { controller, queue, request });
    }

    /// To the owner: a queue asks to join.
    pub(crate) fn join(&mut self, controller: Name, queue: Name, request: &ConnectRequest) {
        let now = self.nvme_now();
        let grant = match self.controller_mut(controller) {
            Some(entry) => entry.controller.connect_io(now, request).map(|grant| {
                entry.io.push((request.qid, queue));
                Box::new(grant)
            }),
            None => Err(ConnectError::unknown_controller()),
        };
        self.shared.send(queue, Message::Joined { queue, grant });
        self.controller_events(controller);
    }

    /// The owner's answer.
    pub(crate) fn joined(&mut self, queue: Name, grant: Result<Box<IoGrant>, ConnectError>) {
        let Some(c) = self.find(queue) else { return };
        let conn = &mut self.conns[c];
        let Some(permit) = conn.connecting.take() else { return };
        let completion = match grant {
            Ok(grant) => {
                if let Some(connect) = &mut conn.connect {
                    connect.cntlid = Some(grant.cntlid);
                }
                let completion = conn.queue.connect_io(permit, *grant);
                conn.granted();
                completion
            }
            Err(error) => {
                conn.role = Role::Fresh;
                tracing::warn!(peer = %conn.peer, %error, "I/O queue refused");
                conn.queue.refuse_connect(permit, error)
            }
        };
        self.respond(c, completion);
        self.touch(c);
    }

    /// A view from the owner.
    pub(crate) fn view(&mut self, queue: Name, view: IoView) {
        if let Some(c) = self.find(queue) {
            self.conns[c].queue.update(view);
        }
    }

    /// An admin command.
    pub(crate) fn admin(&mut self, c: usize, permit: Permit, command: AdminCommand) {
        let Role::Admin(slot) = self.conns[c].role else {
            return self.abandon(c, permit);
        };
        let now = self.nvme_now();
        let Some(entry) = self.controllers.get_mut(slot) else {
            return self.abandon(c, permit);
        };
        let generation = entry.generation;
        let queue = &mut self.conns[c].queue;
        let action = entry.controller.handle_admin(now, queue, permit, command);
        self.act(c, action, &mut None);
        self.controller_events(self.controller_name(slot, generation));
    }

    /// Fills a buffer with the bytes of a log page or of Identify.
    pub(crate) fn fill(&mut self, c: usize, source: &Source, out: &mut [u8]) {
        out.fill(0);
        if *source == Source::Authentication {
            self.conns[c].queue.fill_authentication(out);
        } else if let Role::Admin(slot) = self.conns[c].role
            && let Some(entry) = self.controllers.get_mut(slot)
        {
            entry.controller.fill(source, out);
        }
    }

    pub(crate) fn controller_mut(&mut self, name: Name) -> Option<&mut ControllerEntry> {
        let entry = self.controllers.get_mut(name.slot as usize)?;
        (entry.generation == name.generation).then_some(entry)
    }

    /// Does what a controller wants done.
    pub(crate) fn controller_events(&mut self, name: Name) {
        while let Some(entry) = self.controller_mut(name) {
            let Some(event) = entry.controller.poll_event() else { break };
            self.controller_event(name, event);
        }
        let Some(entry) = self.controller_mut(name) else { return };
        let deadline = entry.controller.poll_timeout().map(|at| at.0);
        let armed = &mut self.controllers[name.slot as usize].armed;
        let target = Target::Controller(name.slot as usize, name.generation);
        self.timers.arm(armed, deadline, target);
    }

    fn controller_event(&mut self, name: Name, event: ControllerEvent) {
        match event {
            ControllerEvent::Answer { permit, outcome } => {
                match self.controller_mut(name).and_then(|entry| entry.admin) {
                    Some(c) => self.complete(c, permit, outcome),
                    None => permit.abandon(),
                }
            }
            ControllerEvent::ViewsChanged => {
                let view = self.controller_mut(name).and_then(|entry| entry.controller.view());
                let Some(view) = view else { return };
                for (_, queue) in self.io_queues(name) {
                    self.shared.send(queue, Message::View { queue, view: view.clone() });
                }
            }
            ControllerEvent::CloseIoQueues { reason } => self.close_for(name, reason),
            ControllerEvent::End { cause } => self.end_association(name, cause),
        }
    }

    fn close_for(&mut self, name: Name, reason: CloseReason) {
        tracing::debug!(?reason, "closing the I/O queues of a controller");
        if reason == CloseReason::Shutdown
            && let Some(entry) = self.controller_mut(name)
        {
            entry.flushes = Flushes::Wanted;
        }
        self.close_io_queues(name, Cause::AssociationEnded);
        self.look_for_quiesced(name);
    }

    fn end_association(&mut self, name: Name, end: EndCause) {
        let Some(entry) = self.controller_mut(name) else { return };
        let (admin, cntlid) = (entry.admin, entry.cntlid);
        tracing::warn!(%cntlid, subsystem = %entry.nqn, host = %entry.controller.host(), %end,
            "the target ends the association");
        let cause = match end {
            EndCause::KeepAliveExpired => Cause::KeepAliveExpired,
            EndCause::DiscoveryIdle | EndCause::ShutdownLinger => Cause::Idle,
            EndCause::QuiesceTimeout => Cause::AssociationEnded,
            EndCause::ExportRemoved => Cause::Reconfigured,
        };
        if end == EndCause::KeepAliveExpired {
            self.counters.keep_alives_expired += 1;
        }
        self.close_io_queues(name, cause);
        if let Some(c) = admin {
            self.close(c, cause);
        }
    }

    fn io_queues(&mut self, name: Name) -> Vec<(Qid, Name)> {
        self.controller_mut(name).map(|entry| entry.io.clone()).unwrap_or_default()
    }

    fn close_io_queues(&mut self, name: Name, cause: Cause) {
        for (_, queue) in self.io_queues(name) {
            self.shared.send(queue, Message::Close { queue, cause });
        }
    }

    pub(crate) fn look_for_quiesced(&mut self, name: Name) {
        let now = self.nvme_now();
        let idle = |entry: &mut ControllerEntry| entry.io.is_empty();
        if self.controller_mut(name).is_some_and(idle)
            && self.flush_for_shutdown(name)
            && let Some(entry) = self.controller_mut(name)
        {
            entry.controller.io_quiesced(now);
        }
    }

    /// The admin queue ends: the association ends with it.
    pub(crate) fn admin_gone(&mut self, slot: usize) {
        let Some(entry) = self.controllers.get_mut(slot) else { return };
        entry.admin = None;
        let generation = entry.generation;
        entry.controller.admin_queue_gone(nvme::Now(self.now));
        let name = self.controller_name(slot, generation);
        self.close_io_queues(name, Cause::AssociationEnded);
        self.remove_controller_if_empty(name);
    }

    /// To the owner: an I/O queue is gone, with all its disk operations.
    pub(crate) fn queue_gone(&mut self, controller: Name, queue: Name) {
        let now = self.nvme_now();
        let Some(entry) = self.controller_mut(controller) else { return };
        if let Some(at) = entry.io.iter().position(|(_, q)| *q == queue) {
            let (qid, _) = entry.io.swap_remove(at);
            entry.controller.io_queue_gone(now, qid);
        }
        self.look_for_quiesced(controller);
        self.controller_events(controller);
        self.remove_controller_if_empty(controller);
    }

    /// The id of a controller is free when no queue of it is left.
    fn remove_controller_if_empty(&mut self, name: Name) {
        let empty = |entry: &mut ControllerEntry| entry.admin.is_none() && entry.io.is_empty();
        if self.controller_mut(name).is_some_and(empty) {
            let entry = self.controllers.remove(name.slot as usize);
            self.counters.io = self.counters.io.plus(entry.controller.counts());
            self.shared.registry().release(&entry.nqn, entry.cntlid, name.to_raw());
            tracing::debug!(cntlid = %entry.cntlid, subsystem = %entry.nqn, "association ended");
        }
    }

    /// A controller's deadline.
    pub(crate) fn controller_due(&mut self, slot: usize, generation: u32) {
        let now = self.nvme_now();
        let name = self.controller_name(slot, generation);
        let conns = &self.conns;
        if let Some(entry) = self.controllers.get_mut(slot).filter(|x| x.generation == generation) {
            // A host may compute for longer than its keep-alive timeout, and sends none meanwhile.
            let admin = entry.admin.and_then(|c| conns.get(c));
            if admin.is_some_and(|conn| conn.queue.poll_timeout().is_some()) {
                entry.controller.touch(now);
            }
            entry.controller.handle_timeout(now);
        }
        self.controller_events(name);
    }
}

/// What is kept of a Connect command for the report of its connection's end.
fn connected(request: &ConnectRequest, cntlid: Option<nvme::Cntlid>) -> Box<Connected> {
    let (host, subsystem) = (request.hostnqn.clone(), request.subnqn.clone());
    Box::new(Connected { host, subsystem, cntlid })
}
