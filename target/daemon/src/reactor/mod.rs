//! A reactor: one thread that runs its connections to completion.
//!
//! A connection is born, lives and dies on one reactor. Nothing here locks on the data path,
//! allocates for a command of a live connection, or blocks: what can block goes to a reaper.
//! [`Reactor::tick`] does everything that can be done now; [`run`] waits in between. A simulator
//! calls `tick` itself.

pub mod message;
pub mod platform;
pub mod run;

mod admin;
mod authentication;
mod capsule;
pub mod claims;
mod command;
mod compare;
mod data;
mod disks;
mod lanes;
mod lifecycle;
mod memory;
mod queue;
mod queue_memory;
pub mod report;
mod shutdown;
#[cfg(test)]
mod tests;
mod timers;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use block::Engine;
use slab::Slab;
use transport::cause::Cause;
use transport::device::{Device, Stack};
use transport::wr::Retired;

use crate::disk_buf::DiskBuf;
use crate::limits::{MESSAGE_BATCH, WC_BATCH};
use crate::mailbox::Mailbox;
use crate::reactor::admin::ControllerEntry;
use crate::reactor::claims::Claims;
use crate::reactor::disks::{DiskQueues, HeldUp};
use crate::reactor::lanes::LaneEntry;
use crate::reactor::message::{Incoming, Message};
use crate::reactor::platform::{Source, Watch};
use crate::reactor::queue::Conn;
use crate::reactor::timers::{Target, Timers};
use crate::shared::Shared;
use crate::token::Name;

/// What a reactor counted.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Counters {
    pub(crate) connections_accepted: u64,
    pub(crate) connections_refused: u64,
    pub(crate) handshakes_timed_out: u64,
    pub(crate) keep_alives_expired: u64,
    pub(crate) protocol_errors: u64,
    pub(crate) disk_errors: u64,
    pub(crate) stale_completions: u64,
    pub(crate) wakeups: u64,
    /// I/O of controllers that are gone.
    pub(crate) io: nvme::IoCounts,
}

/// One reactor. Generic over the RDMA stack and the disks: the daemon picks the real ones.
pub struct Reactor<S: Stack, E: Engine<DiskBuf>> {
    pub(crate) index: u8,
    pub(crate) now: Duration,
    pub(crate) shared: Arc<Shared<S>>,
    pub(crate) watch: Box<dyn Watch>,
    pub(crate) mailbox: Mailbox<Message<S>>,
    pub(crate) disks: E,
    pub(crate) lanes: Slab<LaneEntry<S>>,
    pub(crate) conns: Slab<Conn<S>>,
    pub(crate) controllers: Slab<ControllerEntry>,
    pub(crate) timers: Timers,
    pub(crate) counters: Counters,
    /// Connections to look at before the tick ends.
    pub(crate) touched: Vec<usize>,
    /// Disk operations that wait behind orphans.
    pub(crate) held_up: VecDeque<HeldUp>,
    /// Claims on blocks, own and of others.
    pub(crate) claims: Claims,
    /// Disk operations of every disk.
    pub(crate) disk_queues: DiskQueues,
    /// Connection requests that the next tick takes in.
    pub(crate) arrivals: VecDeque<Incoming<S>>,
    pub(crate) stopping: bool,
    generation: u32,
    // Kept to be used again: a tick allocates nothing.
    pub(crate) retired: Vec<Retired>,
    pub(crate) spare_retired: Vec<Retired>,
    pub(crate) done: Vec<block::Completion<DiskBuf>>,
}

impl<S: Stack, E: Engine<DiskBuf>> Reactor<S, E>
where
    <S::Device as Device<S>>::Mr: 'static,
{
    /// A reactor without connections.
    pub fn new(
        index: u8,
        shared: Arc<Shared<S>>,
        mailbox: Mailbox<Message<S>>,
        disks: E,
        watch: Box<dyn Watch>,
    ) -> Self {
        let disk_queues = DiskQueues::new(shared.disks.len());
        Self {
            index,
            now: Duration::ZERO,
            shared,
            watch,
            mailbox,
            disks,
            lanes: Slab::new(),
            conns: Slab::new(),
            controllers: Slab::new(),
            timers: Timers::default(),
            counters: Counters::default(),
            touched: Vec::with_capacity(WC_BATCH),
            held_up: VecDeque::new(),
            claims: Claims::default(),
            disk_queues,
            arrivals: VecDeque::new(),
            stopping: false,
            generation: 0,
            retired: Vec::with_capacity(2 * WC_BATCH),
            spare_retired: Vec::with_capacity(2 * WC_BATCH),
            done: Vec::with_capacity(block::limits::COMPLETION_BATCH_MAX),
        }
    }

    /// Something became readable; `now` is after the wait, which may have been a long one:
    /// deadlines that begin here count from it.
    pub fn readable(&mut self, source: Source, now: Duration) {
        self.now = now;
        match source {
            Source::Mailbox => self.mailbox.looking(),
            // Looked at in every tick.
            Source::Disks => {}
            Source::Lane(index) => self.lane_event(index),
            Source::Cm(c) => self.cm_event(c),
        }
    }

    /// Does all that can be done now, in a fixed order; says whether there was anything.
    pub fn tick(&mut self, now: Duration) -> bool {
        self.now = now;
        let mut worked = self.take_arrivals();
        worked |= self.read_messages();
        worked |= self.poll_lanes();
        worked |= self.poll_disks();
        worked |= self.look_at_timers();
        worked |= !self.touched.is_empty();
        while let Some(c) = self.touched.pop() {
            self.settle(c);
            if self.touched.is_empty() {
                self.serve_waiting();
            }
        }
        if self.has_claims_to_look_at() {
            self.look_at_claims();
        }
        self.disks.flush_submissions();
        worked
    }

    /// Whether a tick would find something, as far as that can be told without system calls.
    pub fn has_ready(&self) -> bool {
        !self.mailbox.is_empty() || !self.arrivals.is_empty() || self.disks.has_ready()
    }

    /// When the next tick is due at the latest.
    pub fn next_deadline(&self) -> Option<Duration> {
        [self.timers.next(), self.deaf_deadline()].into_iter().flatten().min()
    }

    /// It was told to stop, and nothing is left.
    pub fn is_finished(&self) -> bool {
        self.stopping && self.conns.is_empty()
    }

    /// A connection request is taken in now, or by the next tick where its lane is made first: that
    /// may take longer than an accept may take, whose time begins after it.
    fn arrive(&mut self, incoming: Incoming<S>) {
        if !self.stopping && self.open_shared_lane(&incoming.device) {
            self.arrivals.push_back(incoming);
        } else {
            self.connect(incoming);
        }
    }

    fn take_arrivals(&mut self) -> bool {
        let arrivals = std::mem::take(&mut self.arrivals);
        let worked = !arrivals.is_empty();
        for incoming in arrivals {
            self.connect(incoming);
        }
        worked
    }

    fn read_messages(&mut self) -> bool {
        let mut worked = false;
        for _ in 0..MESSAGE_BATCH {
            let Some(message) = self.mailbox.take() else { break };
            self.handle(message);
            worked = true;
        }
        worked
    }

    fn handle(&mut self, message: Message<S>) {
        match message {
            Message::Connect(incoming) => self.arrive(*incoming),
            Message::Reaped(outcome) => self.reaped(outcome),
            Message::QueuePairError(name) => self.close_named(name, Cause::QueuePairError),
            Message::FirstMessage(name) => self.first_message(name),
            Message::CompletionQueueError(instance) => {
                self.close_device(instance, Cause::CompletionQueueError);
            }
            Message::DeviceFatal(instance) => self.close_device(instance, Cause::DeviceFatal),
            Message::DeviceRemoved(instance) => self.leave_device(instance),
            Message::Join { controller, queue, request } => {
                self.join(controller, queue, &request);
            }
            Message::Joined { queue, grant } => self.joined(queue, grant),
            Message::Computed { queue, computed } => self.computed(queue, computed),
            Message::QueueGone { controller, queue } => self.queue_gone(controller, queue),
            Message::View { queue, view } => self.view(queue, view),
            Message::Close { queue, cause } => self.close_named(queue, cause),
            Message::OrphanGone => self.retry_held_up(),
            Message::Claim(claim) => self.claim_asked(claim),
            Message::Claimed(id) => self.claim_answered(id),
            // Whoever asked may have lost patience.
            Message::Status(reply) => drop(reply.try_send(self.status())),
            Message::Shutdown => self.shut_down(),
        }
    }
}

impl<S: Stack, E: Engine<DiskBuf>> Reactor<S, E> {
    pub(crate) fn nvme_now(&self) -> nvme::Now {
        nvme::Now(self.now)
    }

    pub(crate) fn next_generation(&mut self) -> u32 {
        self.generation = self.generation.wrapping_add(1);
        self.generation
    }

    /// The name of a connection.
    pub(crate) fn name(&self, c: usize) -> Name {
        let slot = u32::try_from(c).unwrap_or(u32::MAX);
        Name { reactor: self.index, slot, generation: self.conns[c].generation }
    }

    /// The connection of that name, if it is still the one meant.
    pub(crate) fn find(&self, name: Name) -> Option<usize> {
        let c = name.slot as usize;
        let conn = self.conns.get(c)?;
        (conn.generation == name.generation).then_some(c)
    }

    fn close_named(&mut self, name: Name, cause: Cause) {
        if let Some(c) = self.find(name) {
            self.close(c, cause);
        }
    }

    fn first_message(&mut self, name: Name) {
        let Some(c) = self.find(name) else { return };
        self.drive(c, |transport, now, retired| transport.established(now, retired));
    }

    fn lanes_of(&self, instance: u64) -> Vec<usize> {
        let lanes = self.lanes.iter().filter(|(_, l)| l.lane.device().instance() == instance);
        lanes.map(|(index, _)| index).collect()
    }

    /// Closes every connection of a device by the ordinary way, then releases the device.
    fn leave_device(&mut self, instance: u64) {
        for index in self.lanes_of(instance) {
            self.lanes[index].leaving = true;
            self.close_lane(index, Cause::DeviceRemoved);
            self.drop_lane_if_unused(index);
        }
    }

    fn close_device(&mut self, instance: u64, cause: Cause) {
        for index in self.lanes_of(instance) {
            self.close_lane(index, cause);
            if let Some(lane) = self.lanes.get_mut(index) {
                lane.silent = true;
            }
            self.drop_lane_if_unused(index);
        }
    }

    fn shut_down(&mut self) {
        self.stopping = true;
        let slots: Vec<usize> = self.conns.iter().map(|(c, _)| c).collect();
        for c in slots {
            self.finish(c, Cause::Shutdown);
        }
    }

    fn look_at_timers(&mut self) -> bool {
        let mut worked = false;
        while let Some((at, target)) = self.timers.due(self.now) {
            worked = true;
            match target {
                Target::Connection(c, generation) => {
                    let conn = self.conns.get_mut(c).filter(|x| x.generation == generation);
                    if conn.is_some_and(|x| x.armed.fired(at)) {
                        self.connection_due(c);
                        self.touch(c);
                    }
                }
                Target::Controller(slot, generation) => {
                    let entry =
                        self.controllers.get_mut(slot).filter(|x| x.generation == generation);
                    if entry.is_some_and(|x| x.armed.fired(at)) {
                        self.controller_due(slot, generation);
                    }
                }
            }
        }
        worked
    }
}
