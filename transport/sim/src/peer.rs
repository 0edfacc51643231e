//! Host machines and their endpoints: enough to build a protocol's host over it.

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};

use crate::connection::{Conn, Message, PeerState, Request};
use crate::fabric::Fabric;
use crate::happening::{Track, What};
use crate::oracle::Delay;
use crate::world::World;

/// What a host's endpoint learns.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum PeerEvent {
    /// The target accepted.
    Established {
        /// The accept's private data.
        private_data: Vec<u8>,
    },
    /// The target refused.
    Rejected {
        /// The reject's private data.
        private_data: Vec<u8>,
    },
    /// Nobody listens there.
    Failed,
    /// A message arrived in the oldest posted receive.
    Received {
        /// Its bytes.
        bytes: Vec<u8>,
        /// The key that the message invalidated.
        invalidated: Option<u32>,
        /// The receive's context.
        context: u64,
    },
    /// A message of ours is with the target, or lost.
    Sent {
        /// Its context.
        context: u64,
        /// It arrived.
        ok: bool,
    },
    /// A posted receive came back unused.
    RecvFlushed {
        /// Its context.
        context: u64,
    },
    /// The connection is over.
    Disconnected,
}

impl PeerEvent {
    /// Its name in traces.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Established { .. } => "established",
            Self::Rejected { .. } => "rejected",
            Self::Failed => "failed",
            Self::Received { .. } => "a message",
            Self::Sent { .. } => "a send's end",
            Self::RecvFlushed { .. } => "a receive back",
            Self::Disconnected => "disconnected",
        }
    }
}

/// Memory of a host that the target can reach by its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Region {
    host: usize,
    rkey: u32,
    addr: u64,
    len: usize,
}

impl Region {
    /// Its address at the host.
    #[must_use]
    pub fn addr(&self) -> u64 {
        self.addr
    }

    /// Its remote key.
    #[must_use]
    pub fn rkey(&self) -> u32 {
        self.rkey
    }

    /// Bytes.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "an empty region has no use")]
    pub fn len(&self) -> usize {
        self.len
    }
}

/// A host's registered memory.
#[derive(Debug)]
pub(crate) struct RegionState {
    pub(crate) rkey: u32,
    pub(crate) addr: u64,
    pub(crate) bytes: Vec<u8>,
    pub(crate) valid: bool,
}

/// A machine.
#[derive(Debug)]
pub(crate) struct HostState {
    pub(crate) address: IpAddr,
    pub(crate) port_next: u16,
    pub(crate) regions: Vec<RegionState>,
    key_next: u32,
    addr_next: u64,
}

impl HostState {
    pub(crate) fn new(address: IpAddr) -> Self {
        Self {
            address,
            port_next: 40_000,
            regions: Vec::new(),
            key_next: 0x100,
            addr_next: 1 << 20,
        }
    }

    /// The bytes that a remote operand names, when its key and bounds are good.
    pub(crate) fn remote(&mut self, addr: u64, rkey: u32, len: usize) -> Option<&mut [u8]> {
        let region = self.regions.iter_mut().find(|r| r.valid && r.rkey == rkey)?;
        let start = usize::try_from(addr.checked_sub(region.addr)?).ok()?;
        region.bytes.get_mut(start..start.checked_add(len)?)
    }
}

/// What a host says when it connects.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConnectParams {
    /// Protocol-defined bytes.
    pub private_data: Vec<u8>,
    /// RDMA READs that the host answers at a time.
    pub initiator_depth: u8,
    /// RDMA READs that the host wants to issue.
    pub responder_resources: u8,
}

/// A peer machine.
#[derive(Clone, Debug)]
pub struct Host {
    fabric: Fabric,
    index: usize,
}

impl Host {
    pub(crate) fn new(fabric: Fabric, index: usize) -> Self {
        Self { fabric, index }
    }

    /// Registers fresh zeroed memory.
    #[must_use]
    pub fn register(&self, len: usize) -> Region {
        let mut world = self.fabric.lock();
        let host = &mut world.hosts[self.index];
        let (rkey, addr) = (host.key_next, host.addr_next);
        host.key_next += 1;
        host.addr_next += (len as u64).next_multiple_of(4096) + 4096;
        host.regions.push(RegionState { rkey, addr, bytes: vec![0; len], valid: true });
        Region { host: self.index, rkey, addr, len }
    }

    /// Ends a registration: its key is refused from now on.
    pub fn deregister(&self, region: Region) {
        self.fabric.lock().hosts[self.index].regions.retain(|r| r.rkey != region.rkey);
    }

    /// Makes a key good again that a message invalidated.
    pub fn revalidate(&self, region: Region) {
        let mut world = self.fabric.lock();
        for state in &mut world.hosts[self.index].regions {
            state.valid |= state.rkey == region.rkey;
        }
    }

    /// Writes to a region. Bytes past its end are dropped.
    pub fn write(&self, region: &Region, offset: usize, bytes: &[u8]) {
        let mut world = self.fabric.lock();
        let mut regions = world.hosts[self.index].regions.iter_mut();
        let Some(state) = regions.find(|r| r.rkey == region.rkey) else { return };
        if let Some(room) = state.bytes.get_mut(offset..) {
            let len = room.len().min(bytes.len());
            room[..len].copy_from_slice(&bytes[..len]);
        }
    }

    /// Bytes of a region, shorter at its end; empty when it was deregistered.
    #[must_use]
    pub fn read(&self, region: &Region, offset: usize, len: usize) -> Vec<u8> {
        let world = self.fabric.lock();
        let mut regions = world.hosts[self.index].regions.iter();
        let state = regions.find(|r| r.rkey == region.rkey);
        let bytes = state.and_then(|r| r.bytes.get(offset..)).unwrap_or(&[]);
        bytes[..len.min(bytes.len())].to_vec()
    }

    /// Asks for a connection. Its outcome comes as a [`PeerEvent`].
    #[must_use]
    pub fn connect(&self, to: SocketAddr, params: ConnectParams) -> Peer {
        let mut world = self.fabric.lock();
        let conn = world.connect(self.index, to, params);
        Peer { fabric: self.fabric.clone(), conn, host: self.index }
    }
}

/// A host's endpoint of one connection.
#[derive(Clone, Debug)]
pub struct Peer {
    fabric: Fabric,
    conn: usize,
    host: usize,
}

impl Peer {
    /// Posts a receive of `len` bytes.
    pub fn post_recv(&self, len: usize, context: u64) {
        let mut world = self.fabric.lock();
        let conn = &mut world.conns[self.conn];
        if conn.peer_is_gone() {
            conn.peer_events.push_back(PeerEvent::RecvFlushed { context });
        } else {
            conn.peer_receives.push_back((len, context));
        }
    }

    /// Sends a message.
    pub fn post_send(&self, bytes: &[u8], context: u64) {
        let mut world = self.fabric.lock();
        let conn = &mut world.conns[self.conn];
        if conn.peer != PeerState::Connected {
            conn.peer_events.push_back(PeerEvent::Sent { context, ok: false });
            return;
        }
        conn.messages.push_back(Message { bytes: bytes.to_vec(), context });
        if !conn.paused {
            let conn = self.conn;
            world.soon(Delay::Wire, Track::ToUs(conn), What::Deliver { conn });
        }
    }

    /// What it learned next; `None` when there is nothing now.
    #[must_use]
    pub fn poll(&self) -> Option<PeerEvent> {
        self.fabric.lock().conns[self.conn].peer_events.pop_front()
    }

    /// Ends the connection.
    pub fn disconnect(&self) {
        self.fabric.lock().peer_disconnects(self.conn);
    }

    /// Its power goes off: nobody is told.
    pub fn vanish(&self) {
        self.fabric.lock().peer_vanishes(self.conn);
    }

    /// Its network is cut (nothing passes either way) or mended.
    pub fn pause(&self, paused: bool) {
        self.fabric.lock().pause(self.conn, paused);
    }

    /// It knows of our accept, and of no end.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        self.fabric.lock().conns[self.conn].peer == PeerState::Connected
    }

    /// Its machine.
    #[must_use]
    pub fn host(&self) -> Host {
        Host { fabric: self.fabric.clone(), index: self.host }
    }

    /// The connection's number in traces.
    #[must_use]
    pub fn number(&self) -> usize {
        self.conn
    }
}

impl World {
    fn connect(&mut self, host: usize, to: SocketAddr, params: ConnectParams) -> usize {
        let device = self.devices.iter().position(|d| !d.removed && d.address == to.ip());
        let listener = self.listeners.iter().position(|l| {
            l.open
                && (l.address == to
                    || (l.address.ip().is_unspecified() && l.address.port() == to.port()))
        });
        let state = &mut self.hosts[host];
        let local = SocketAddr::new(state.address, state.port_next);
        state.port_next = state.port_next.wrapping_add(1).max(1024);
        let found = device.zip(listener).filter(|(device, listener)| {
            self.devices[*device].node == self.listeners[*listener].node
        });
        let conn = self.conns.len();
        let (device, listener) = found.unwrap_or((0, 0));
        let number = self.listeners.get(listener).map_or(0, |l| l.number);
        self.conns.push(Conn {
            device,
            host,
            listener,
            request: Some(Request {
                listener: number,
                private_data: params.private_data,
                initiator_depth: params.initiator_depth,
                responder_resources: params.responder_resources,
                local: to,
                peer: local,
            }),
            id_alive: false,
            qp: None,
            accepted: false,
            established: false,
            destroy_began: false,
            deaf: false,
            crashed: false,
            destroy_gives_up: false,
            events: VecDeque::new(),
            peer: PeerState::Connecting,
            paused: false,
            messages: VecDeque::new(),
            peer_receives: VecDeque::new(),
            peer_events: VecDeque::new(),
        });
        self.note(|| format!("peer {conn} ({local}) connects to {to}"));
        if found.is_some() {
            self.soon(Delay::Request, Track::Listener(listener), What::Request { conn });
        } else {
            self.tell_peer(conn, PeerEvent::Failed);
        }
        conn
    }

    fn pause(&mut self, conn: usize, paused: bool) {
        if self.conns[conn].paused == paused {
            return;
        }
        self.conns[conn].paused = paused;
        self.note(|| format!("network of peer {conn} {}", if paused { "cut" } else { "mended" }));
        if paused {
            self.cancel(|what| matches!(what, What::Deliver { conn: c } if *c == conn));
            self.doubt(conn);
        } else {
            self.trust(conn);
            for _ in 0..self.conns[conn].messages.len() {
                self.soon(Delay::Wire, Track::ToUs(conn), What::Deliver { conn });
            }
        }
    }
}
