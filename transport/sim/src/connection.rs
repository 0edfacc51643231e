//! One connection between the target and a peer: its two ends and what the CM does between them.

use std::collections::VecDeque;
use std::net::SocketAddr;

use transport::device::{CmEvent, DeviceError, Transport};

use crate::behaviour::{PeerDisconnect, QpState};
use crate::happening::{Track, What};
use crate::oracle::{Call, Delay};
use crate::peer::PeerEvent;
use crate::violation::Rule;
use crate::world::{Ready, World, error};

/// A request as it travels.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) listener: u64,
    pub(crate) private_data: Vec<u8>,
    pub(crate) initiator_depth: u8,
    pub(crate) responder_resources: u8,
    pub(crate) local: SocketAddr,
    pub(crate) peer: SocketAddr,
}

/// A message from the peer that is under way.
#[derive(Clone, Debug)]
pub(crate) struct Message {
    pub(crate) bytes: Vec<u8>,
    pub(crate) context: u64,
}

/// Where the peer's end is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum PeerState {
    /// Its request is out.
    Connecting,
    /// It knows of our accept.
    Connected,
    /// It was refused, it disconnected, or it knows that we did.
    Over,
    /// Its power is off.
    Vanished,
}

/// Both ends.
#[derive(Debug)]
pub(crate) struct Conn {
    pub(crate) device: usize,
    pub(crate) host: usize,
    pub(crate) listener: usize,
    pub(crate) request: Option<Request>,
    // Our end
    pub(crate) id_alive: bool,
    pub(crate) qp: Option<usize>,
    pub(crate) accepted: bool,
    pub(crate) established: bool,
    pub(crate) destroy_began: bool,
    /// Its driver reads its events no more.
    pub(crate) deaf: bool,
    /// Its process died.
    pub(crate) crashed: bool,
    /// The destroy that is under way will give up and say 0.
    pub(crate) destroy_gives_up: bool,
    pub(crate) events: VecDeque<CmEvent>,
    // The peer's end
    pub(crate) peer: PeerState,
    pub(crate) paused: bool,
    /// Messages under way to us.
    pub(crate) messages: VecDeque<Message>,
    /// Receives that the peer posted: length and context.
    pub(crate) peer_receives: VecDeque<(usize, u64)>,
    pub(crate) peer_events: VecDeque<PeerEvent>,
}

impl Conn {
    /// The peer's end takes part in nothing any more.
    pub(crate) fn peer_is_gone(&self) -> bool {
        matches!(self.peer, PeerState::Over | PeerState::Vanished)
    }
}

impl World {
    fn is_iwarp(&self, conn: usize) -> bool {
        self.devices[self.conns[conn].device].row.transport == Transport::Iwarp
    }

    /// Something on its way to the peer.
    pub(crate) fn tell_peer(&mut self, conn: usize, event: PeerEvent) {
        if self.conns[conn].deaf {
            return;
        }
        let ends_or_begins = match event {
            PeerEvent::Established { .. }
            | PeerEvent::Rejected { .. }
            | PeerEvent::Failed
            | PeerEvent::Disconnected => true,
            PeerEvent::Received { .. } | PeerEvent::Sent { .. } | PeerEvent::RecvFlushed { .. } => {
                false
            }
        };
        let what = What::ToPeer { conn, event };
        if ends_or_begins {
            self.soon(Delay::Peer, Track::ToPeer(conn), what);
        } else {
            self.at_once(Delay::Peer, Track::ToPeer(conn), what);
        }
    }

    /// A driver that tells states apart has no use for what is no more looked at.
    pub(crate) fn forget_peer(&mut self, connection: usize) {
        let state = &mut self.conns[connection];
        state.events.clear();
        state.messages.clear();
        state.peer_events.clear();
        state.deaf = true;
        let qp = state.qp.unwrap_or(usize::MAX);
        self.cancel(|what| match what {
            What::Cm { conn, .. }
            | What::ToPeer { conn, .. }
            | What::PeerGone { conn }
            | What::Deliver { conn } => *conn == connection,
            What::RetriesExceeded { qp: of } => *of == qp,
            What::Request { .. }
            | What::Async { .. }
            | What::Channel { .. }
            | What::Execute { .. }
            | What::Complete { .. }
            | What::FlushSend { .. }
            | What::FlushRecv { .. }
            | What::Closed { .. } => false,
        });
    }

    /// It reaches the peer.
    pub(crate) fn reach_peer(&mut self, conn: usize, event: PeerEvent) {
        let state = &mut self.conns[conn];
        if state.peer == PeerState::Vanished {
            return;
        }
        match event {
            PeerEvent::Established { .. } => {
                if state.peer == PeerState::Over {
                    // It gave up in between: its CM refuses our accept.
                    self.raise_cm(conn, CmEvent::Rejected);
                    return;
                }
                state.peer = PeerState::Connected;
                state.peer_events.push_back(event);
                self.raise_cm(conn, CmEvent::Established);
            }
            PeerEvent::Rejected { .. } | PeerEvent::Failed | PeerEvent::Disconnected => {
                if state.peer == PeerState::Over {
                    return;
                }
                state.peer = PeerState::Over;
                let receives: Vec<(usize, u64)> = state.peer_receives.drain(..).collect();
                for (_, context) in receives {
                    state.peer_events.push_back(PeerEvent::RecvFlushed { context });
                }
                let answers = event == PeerEvent::Disconnected;
                state.peer_events.push_back(event);
                if answers && state.accepted {
                    // Its DREP, or its FIN.
                    self.raise_cm(conn, CmEvent::Disconnected);
                }
            }
            PeerEvent::Received { .. } | PeerEvent::Sent { .. } | PeerEvent::RecvFlushed { .. } => {
                state.peer_events.push_back(event)
            }
        }
    }

    /// The peer ends the connection: by a disconnect, or its process died.
    pub(crate) fn peer_disconnects(&mut self, conn: usize) {
        let state = &mut self.conns[conn];
        if state.peer_is_gone() {
            return;
        }
        state.peer = PeerState::Over;
        for (_, context) in std::mem::take(&mut state.peer_receives) {
            state.peer_events.push_back(PeerEvent::RecvFlushed { context });
        }
        state.peer_events.push_back(PeerEvent::Disconnected);
        let accepted = state.accepted;
        self.note(|| format!("peer {conn} disconnects"));
        if accepted {
            self.soon(Delay::Wire, Track::ToUs(conn), What::PeerGone { conn });
            self.raise_cm(conn, CmEvent::Disconnected);
            if self.devices[self.conns[conn].device].row.timewait_exit {
                self.raise_cm(conn, CmEvent::TimewaitExit);
            }
        }
        self.doubt(conn);
    }

    /// The peer's power is off.
    pub(crate) fn peer_vanishes(&mut self, conn: usize) {
        if !self.conns[conn].peer_is_gone() {
            self.conns[conn].peer = PeerState::Vanished;
            self.note(|| format!("peer {conn} vanishes"));
            self.doubt(conn);
        }
    }

    /// Our queue pair notices, as its row does it.
    pub(crate) fn notice_peer_gone(&mut self, conn: usize) {
        let Some(qp) = self.conns[conn].qp.filter(|qp| self.qps[*qp].is_alive()) else { return };
        if self.qps[qp].state != QpState::Rts {
            return;
        }
        let row = self.row_of(qp);
        match self.axis("peer disconnect", row.peer_disconnect) {
            PeerDisconnect::StaysRts => {}
            PeerDisconnect::Errors => self.enter_error(qp, false),
            PeerDisconnect::Closes => self.enter_closing(qp),
        }
    }

    pub(crate) fn accept(&mut self, conn: usize, private_data: &[u8]) -> Result<(), DeviceError> {
        let device = self.conns[conn].device;
        let called = self.device_call(device, Call::Accept);
        let gone = self.conns[conn].peer == PeerState::Over;
        let result = match called {
            Ok(()) if gone && self.is_iwarp(conn) => {
                Err(error(Call::Accept, rustix::io::Errno::CONNRESET))
            }
            Ok(()) if self.devices[device].removed => {
                Err(error(Call::Accept, rustix::io::Errno::NXIO))
            }
            other => other,
        };
        let qp = self.conns[conn].qp.filter(|qp| self.qps[*qp].is_alive());
        self.note(|| format!("accept of connection {conn}: {result:?}"));
        let Some(qp) = qp else { return result };
        if let Err(failure) = result {
            // librdmacm moves the queue pair to ERR when its accept fails.
            self.enter_error(qp, true);
            return Err(failure);
        }
        self.conns[conn].accepted = true;
        if self.qps[qp].state == QpState::Init {
            self.qps[qp].state = QpState::Rts;
        }
        self.tell_peer(conn, PeerEvent::Established { private_data: private_data.to_vec() });
        Ok(())
    }

    pub(crate) fn reject(&mut self, conn: usize, private_data: &[u8]) -> Result<(), DeviceError> {
        self.device_call(self.conns[conn].device, Call::Reject)?;
        self.note(|| format!("connection {conn} is rejected"));
        self.tell_peer(conn, PeerEvent::Rejected { private_data: private_data.to_vec() });
        Ok(())
    }

    /// `rdma_disconnect`: the library's move first, then the CM, which is told nothing when the
    /// move fails.
    pub(crate) fn disconnect(&mut self, conn: usize) -> Result<(), DeviceError> {
        let device = self.conns[conn].device;
        self.device_call(device, Call::Disconnect)?;
        if self.devices[device].removed {
            return Err(error(Call::Disconnect, rustix::io::Errno::NXIO));
        }
        self.note(|| format!("disconnect of connection {conn}"));
        let qp = self.conns[conn].qp.filter(|qp| self.qps[*qp].is_alive());
        if let Some(qp) = qp {
            if !self.is_iwarp(conn) {
                self.enter_error(qp, true);
            } else if self.qps[qp].state == QpState::Rts {
                self.qps[qp].closing_ours = true;
                self.enter_closing(qp);
                return Ok(());
            } else if !self.row_of(qp).modify_refused_from.is_empty() {
                return Err(error(Call::Disconnect, rustix::io::Errno::INVAL));
            }
        }
        if self.conns[conn].accepted && self.conns[conn].peer == PeerState::Connected {
            self.tell_peer(conn, PeerEvent::Disconnected);
            if !self.is_iwarp(conn) {
                self.raise_cm(conn, CmEvent::TimewaitExit);
            }
        }
        Ok(())
    }

    pub(crate) fn destroy_id(&mut self, conn: usize) {
        if self.conns[conn].crashed {
            return;
        }
        let state = &mut self.conns[conn];
        state.id_alive = false;
        state.destroy_began = true;
        state.events.clear();
        let (accepted, peer) = (state.accepted, state.peer);
        let alive = state.qp.filter(|qp| self.qps[*qp].is_alive());
        self.note(|| format!("id of connection {conn} destroyed"));
        if let Some(qp) = alive {
            self.violate(Rule::S12, || {
                format!("the id of connection {conn} is destroyed before queue pair {qp}")
            });
        }
        self.cancel(|what| matches!(what, What::Cm { conn: c, .. } if *c == conn));
        match peer {
            PeerState::Connected => self.tell_peer(conn, PeerEvent::Disconnected),
            PeerState::Connecting if accepted => self.tell_peer(conn, PeerEvent::Disconnected),
            PeerState::Connecting => {
                self.tell_peer(conn, PeerEvent::Rejected { private_data: Vec::new() });
            }
            PeerState::Over | PeerState::Vanished => {}
        }
    }

    /// A request arrives at its listener.
    pub(crate) fn arrive(&mut self, conn: usize) {
        let listener = self.conns[conn].listener;
        let node = self.listeners[listener].node;
        if !self.listeners[listener].open || self.devices[self.conns[conn].device].removed {
            self.tell_peer(conn, PeerEvent::Failed);
            return;
        }
        self.nodes[node].ready.push_back(Ready::Request(conn));
    }

    /// A listener ends: requests that nobody read are refused by its CM.
    pub(crate) fn close_listener(&mut self, listener: usize) {
        self.listeners[listener].open = false;
        let node = self.listeners[listener].node;
        let unread: Vec<usize> = self.nodes[node]
            .ready
            .iter()
            .filter_map(|ready| match ready {
                Ready::Request(conn) if self.conns[*conn].listener == listener => Some(*conn),
                Ready::Request(_) | Ready::Gone(_) => None,
            })
            .collect();
        self.nodes[node]
            .ready
            .retain(|ready| !matches!(ready, Ready::Request(conn) if unread.contains(conn)));
        for conn in unread {
            self.tell_peer(conn, PeerEvent::Rejected { private_data: Vec::new() });
        }
    }
}
