//! One NVMe queue on one RDMA connection.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;

use nvme::{Completion, Permit, Queue};
use slab::Slab;
use transport::connection::Connection;
use transport::device::{QpCaps, Stack};
use transport::drain::State;
use transport::lane::CqIndex;
use transport::pool::{Buf, RecvBuf};

use crate::admission::Ticket;
use crate::drains::Connected;
use crate::limits::PEER_TIMEOUT;
use crate::reactor::command::{Command, Stage};
use crate::reactor::memory::Share;
use crate::reactor::timers::Armed;
use crate::token::Name;

/// Whose queue it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// Nobody's yet.
    Fresh,
    /// The admin queue of a controller of this reactor, by slot.
    Admin(usize),
    /// An I/O queue of a controller, wherever that lives.
    Io(Name),
}

/// Work requests of the send queue for a queue of `depth` commands.
pub(crate) fn send_wr_max(depth: u32) -> u32 {
    2 * depth       // an RDMA READ or WRITE, and the SEND behind it, of each command
        + depth // SENDs that the host acted on before their completion was polled
}

/// What a peer must have answered, and when.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Overdue {
    at: Duration,
    /// Responses that were posted when this was made.
    responses: u64,
}

/// A connection and its queue.
pub(crate) struct Conn<S: Stack> {
    pub(crate) generation: u32,
    pub(crate) transport: Connection<S>,
    pub(crate) lane: usize,
    /// Where its completions have room, until its queue pair is gone. One that could not be
    /// destroyed keeps it.
    pub(crate) claim: Option<CqIndex>,
    pub(crate) queue: Queue,
    pub(crate) role: Role,
    pub(crate) port: u16,
    pub(crate) peer: SocketAddr,
    pub(crate) local: SocketAddr,
    pub(crate) ticket: Ticket,
    /// When it was established, from which the time for its Connect command runs: opening a lane
    /// before that may take a while.
    pub(crate) live_since: Option<Duration>,
    /// The CM id's channel is watched.
    pub(crate) watched: bool,
    /// What has to be done once at the beginning of the end was done.
    pub(crate) closing: bool,
    /// On the reactor's list of connections to look at in this tick.
    pub(crate) touched: bool,
    pub(crate) armed: Armed,
    pub(crate) commands: Slab<Command>,
    /// Of the lane's memory for I/O.
    pub(crate) data: Share,
    /// Of the lane's reserve.
    pub(crate) reserve: Share,
    /// Connect on its way to the controller's owner.
    pub(crate) connecting: Option<Permit>,
    /// A message of its host's authentication, for which something is computed.
    pub(crate) computing: Option<Permit>,
    /// Free response slots.
    pub(crate) responses: Vec<Buf>,
    /// Free buffers for in-capsule data, one for each command that may hold one.
    pub(crate) spare: Vec<Buf>,
    /// In-capsule data of a Compare that waits for the Write that is fused to it.
    pub(crate) first_half: Option<Buf>,
    /// Capsules that wait for room on the send queue.
    pub(crate) capsules: VecDeque<(RecvBuf, u32)>,
    /// Answers that wait for a response slot.
    pub(crate) completions: VecDeque<Completion>,
    pub(crate) reads_out: u32,
    pub(crate) read_depth: u32,
    /// Commands that wait for their turn to READ.
    pub(crate) reads: VecDeque<usize>,
    /// Disk operations out.
    pub(crate) backend: u32,
    pub(crate) capsules_seen: u64,
    /// Responses posted, and those that have gone out.
    pub(crate) responses_posted: u64,
    pub(crate) responses_sent: u64,
    /// When to look whether the peer leaves things unanswered; while something is posted.
    pub(crate) overdue: Option<Overdue>,
    /// Of its queue pair, for people: known here even when that is gone.
    pub(crate) qp_number: u32,
    /// What its Connect command said.
    pub(crate) connect: Option<Box<Connected>>,
}

/// What a connection begins with.
pub(crate) struct Beginning<S: Stack> {
    pub(crate) generation: u32,
    pub(crate) transport: Connection<S>,
    pub(crate) lane: usize,
    pub(crate) claim: CqIndex,
    pub(crate) queue: Queue,
    pub(crate) port: u16,
    pub(crate) peer: SocketAddr,
    pub(crate) local: SocketAddr,
    pub(crate) ticket: Ticket,
    pub(crate) read_depth: u32,
    pub(crate) responses: Vec<Buf>,
    pub(crate) spare: Vec<Buf>,
}

impl<S: Stack> Conn<S> {
    pub(crate) fn new(begins: Beginning<S>) -> Self {
        let depth = usize::from(begins.queue.entries());
        Self {
            generation: begins.generation,
            qp_number: begins.transport.qp_number(),
            transport: begins.transport,
            lane: begins.lane,
            claim: Some(begins.claim),
            queue: begins.queue,
            role: Role::Fresh,
            port: begins.port,
            peer: begins.peer,
            local: begins.local,
            ticket: begins.ticket,
            live_since: None,
            watched: false,
            closing: false,
            touched: false,
            armed: Armed::default(),
            commands: Slab::with_capacity(depth),
            data: Share::of_data(depth),
            reserve: Share::of_reserve(depth),
            connecting: None,
            computing: None,
            responses: begins.responses,
            spare: begins.spare,
            first_half: None,
            capsules: VecDeque::with_capacity(depth),
            completions: VecDeque::new(),
            reads_out: 0,
            read_depth: begins.read_depth,
            reads: VecDeque::with_capacity(depth),
            backend: 0,
            capsules_seen: 0,
            responses_posted: 0,
            responses_sent: 0,
            overdue: None,
            connect: None,
        }
    }

    /// Room on the send queue for one more command, whatever it will need.
    pub(crate) fn has_room(&self, send_out: u64) -> bool {
        let QpCaps { send_wr_max, .. } = self.transport.qp_caps();
        let commands = self.commands.len() as u64 + self.completions.len() as u64 + 1;
        send_out + 2 * commands <= u64::from(send_wr_max)
    }

    /// Its memory comes from the lane's reserve: it must never wait behind I/O.
    pub(crate) fn is_reserved(&self) -> bool {
        !matches!(self.role, Role::Io(_))
    }

    /// Its Connect was granted. Until its host is authenticated it counts as one whose was not.
    pub(crate) fn granted(&mut self) {
        if self.queue.is_authenticated() {
            self.ticket.set_connected();
        }
    }

    pub(crate) fn is_ending(&self) -> bool {
        self.transport.state() > State::Live
    }

    /// Has a look at the peer arranged while something is posted; says when that is.
    pub(crate) fn watch_peer(&mut self, now: Duration) -> Option<Duration> {
        if self.transport.send_out() == 0 || self.is_ending() {
            self.overdue = None;
        } else if self.overdue.is_none() {
            let at = now + PEER_TIMEOUT;
            self.overdue = Some(Overdue { at, responses: self.responses_posted });
        }
        self.overdue.map(|overdue| overdue.at)
    }

    /// Whether a look at the peer is due and finds it stalled. RDMA WRITEs go out with the response
    /// behind them, and responses in their order, so their numbers tell.
    pub(crate) fn peer_stalled(&mut self, now: Duration) -> bool {
        let Some(overdue) = self.overdue.take_if(|overdue| now >= overdue.at) else {
            return false;
        };
        let reads = |command: &Command| command.stage == Stage::Reading;
        let late = |command: &Command| now.saturating_sub(command.since) >= PEER_TIMEOUT;
        self.responses_sent < overdue.responses
            || self.commands.iter().any(|(_, command)| reads(command) && late(command))
    }
}

impl<S: Stack> Conn<S> {
    /// When a Connect command must have been granted.
    pub(crate) fn handshake_deadline(&self, handshake: Duration) -> Option<Duration> {
        self.live_since
            .filter(|_| self.role == Role::Fresh && !self.is_ending())
            .map(|at| at + handshake)
    }

    /// Commands that the close waits for: in an orderly one all that will still be answered, later
    /// only what a disk has.
    pub(crate) fn backend_count(&self) -> u32 {
        if self.transport.state() < State::Closing {
            u32::try_from(self.commands.len()).unwrap_or(u32::MAX)
        } else {
            self.backend
        }
    }
}
