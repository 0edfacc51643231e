//! One queue of a host: its connection, what it has sent, and whether the answers are right.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use nvme::rdma::RequestPrivateData;
use nvme::{Cid, Cqe, HostSgl, Qid, RKey, Sgl, Sqe};
use sim::peer::{ConnectParams, Region};
use sim::{Host, Peer, PeerEvent};
use zerocopy::{FromBytes, IntoBytes};

use crate::host::command::Command;

/// Bytes of a response capsule.
const RESPONSE: usize = 16;
/// What a receive has room for: more than any response.
const RECV_BYTES: usize = 64;

/// A command that waits for its answer.
pub(crate) struct Sent {
    pub(crate) command: Command,
    /// Its memory: registered for it alone.
    pub(crate) region: Option<Region>,
    pub(crate) at: Duration,
}

/// What happened on a queue.
pub(crate) enum Event {
    /// The target accepted.
    Established,
    /// A command was answered.
    Answer(Box<(Sent, Cqe)>),
    /// The connection is of no more use.
    Ended(&'static str),
    /// The target did what no target may do.
    Wrong(String),
}

/// Data that goes with a command.
pub(crate) enum Data<'a> {
    /// None.
    None,
    /// For the target to fetch.
    Keyed(&'a [u8]),
    /// In the capsule.
    InCapsule(&'a [u8]),
    /// Room for so many bytes from the target.
    Room(usize),
}

/// A queue.
pub(crate) struct Queue {
    pub(crate) qid: u16,
    machine: Host,
    peer: Peer,
    entries: u16,
    outstanding: BTreeMap<u16, Sent>,
    next_cid: u16,
    sqhd: u16,
    pub(crate) established: bool,
    ended: bool,
    /// Its host breaks the rules: answers prove nothing.
    pub(crate) lawless: bool,
}

impl Queue {
    /// Asks for a connection for a queue of `entries`.
    pub(crate) fn open(machine: &Host, to: SocketAddr, qid: u16, entries: u16) -> Self {
        let request =
            RequestPrivateData { qid: Qid(qid), hrqsize: entries, hsqsize: entries - 1, cntlid: 0 };
        let params = ConnectParams {
            private_data: request.emit().to_vec(),
            initiator_depth: 16,
            responder_resources: 16,
        };
        let peer = machine.connect(to, params);
        for context in 0..u64::from(entries) {
            peer.post_recv(RECV_BYTES, context);
        }
        Self {
            qid,
            machine: machine.clone(),
            peer,
            entries,
            outstanding: BTreeMap::new(),
            next_cid: 0,
            sqhd: 0,
            established: false,
            ended: false,
            lawless: false,
        }
    }

    /// Whether one more command keeps the rules.
    pub(crate) fn has_room(&self) -> bool {
        self.established && !self.ended && self.outstanding.len() + 1 < usize::from(self.entries)
    }

    /// Sends a command; `sqe` has everything but its id and its data pointer.
    pub(crate) fn send(&mut self, now: Duration, mut sqe: Sqe, command: Command, data: &Data<'_>) {
        let mut cid = self.next_cid;
        while self.outstanding.contains_key(&cid) {
            cid = cid.wrapping_add(1);
        }
        self.next_cid = cid.wrapping_add(1);
        sqe.cid = Cid(cid).0.into();
        let mut capsule = Vec::with_capacity(64);
        let region = match data {
            Data::None => None,
            Data::Keyed(bytes) => {
                let region = self.machine.register(bytes.len());
                self.machine.write(&region, 0, bytes);
                Some(region)
            }
            Data::Room(len) => Some(self.machine.register(*len)),
            Data::InCapsule(_) => None,
        };
        if let Some(region) = &region {
            let len = u32::try_from(region.len()).unwrap_or(u32::MAX);
            let rkey = RKey(region.rkey());
            let sgl = HostSgl { addr: region.addr(), rkey, len, invalidate: false };
            sqe.dptr = Sgl::Keyed(sgl).emit();
        }
        if let Data::InCapsule(bytes) = data {
            let len = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
            sqe.dptr = Sgl::InCapsule { offset: 0, len }.emit();
        }
        capsule.extend_from_slice(sqe.as_bytes());
        if let Data::InCapsule(bytes) = data {
            capsule.extend_from_slice(bytes);
        }
        self.outstanding.insert(cid, Sent { command, region, at: now });
        self.peer.post_send(&capsule, u64::from(cid));
    }

    /// Sends any bytes at all.
    pub(crate) fn send_raw(&mut self, bytes: &[u8]) {
        self.lawless = true;
        self.peer.post_send(bytes, u64::MAX);
    }

    /// The id that the next command will have.
    pub(crate) fn peek_cid(&self) -> u16 {
        self.next_cid
    }

    /// Next thing that happened.
    pub(crate) fn poll(&mut self) -> Option<Event> {
        loop {
            let event = match self.peer.poll()? {
                PeerEvent::Established { .. } => {
                    self.established = true;
                    Event::Established
                }
                PeerEvent::Rejected { .. } => self.end("rejected"),
                PeerEvent::Failed => self.end("failed"),
                PeerEvent::Disconnected => self.end("disconnected"),
                PeerEvent::Received { bytes, invalidated, context } => {
                    self.peer.post_recv(RECV_BYTES, context);
                    self.received(&bytes, invalidated)
                }
                PeerEvent::Sent { ok: false, .. } => self.end("a send failed"),
                PeerEvent::Sent { .. } | PeerEvent::RecvFlushed { .. } => continue,
            };
            return Some(event);
        }
    }

    fn end(&mut self, why: &'static str) -> Event {
        self.ended = true;
        Event::Ended(why)
    }

    fn received(&mut self, bytes: &[u8], invalidated: Option<u32>) -> Event {
        let qid = self.qid;
        let wrong = |what: String| Event::Wrong(format!("queue {qid}: {what}"));
        let Ok(cqe) = Cqe::read_from_bytes(bytes) else {
            return wrong(format!("a response of {} bytes instead of {RESPONSE}", bytes.len()));
        };
        // A command of random bytes may have asked for it.
        if let Some(rkey) = invalidated.filter(|_| !self.lawless) {
            return wrong(format!("key {rkey:#x} was invalidated, nobody asked for it"));
        }
        let cid = cqe.cid().0;
        let head = if self.sqhd + 1 >= self.entries { 0 } else { self.sqhd + 1 };
        let before = std::mem::replace(&mut self.sqhd, head);
        if cqe.sqhd.get() != head && !self.lawless {
            return wrong(format!("SQHD {} after {before}, not {head}", cqe.sqhd.get()));
        }
        match self.outstanding.remove(&cid) {
            Some(sent) => Event::Answer(Box::new((sent, cqe))),
            None if self.lawless => Event::Ended("an answer to an unlawful command"),
            None => wrong(format!("command {cid} is answered and not outstanding")),
        }
    }

    /// The bytes that the target brought for a command, and the end of its memory's registration.
    pub(crate) fn take_data(&self, sent: &mut Sent) -> Vec<u8> {
        let Some(region) = sent.region.take() else { return Vec::new() };
        let bytes = self.machine.read(&region, 0, region.len());
        self.machine.deregister(region);
        bytes
    }

    /// When the oldest outstanding command was sent, those that wait for an event excepted.
    pub(crate) fn oldest(&self) -> Option<Duration> {
        let waits = |sent: &&Sent| !matches!(sent.command, Command::AsyncEvent);
        self.outstanding.values().filter(waits).map(|sent| sent.at).min()
    }

    pub(crate) fn outstanding(&self) -> usize {
        self.outstanding.len()
    }

    pub(crate) fn pause(&self, on: bool) {
        self.peer.pause(on);
    }

    /// Ends the connection, in words or by silence; what was outstanding comes back.
    pub(crate) fn close(self, vanish: bool) -> Vec<Sent> {
        if vanish {
            self.peer.vanish();
        } else {
            self.peer.disconnect();
        }
        let mut sent: Vec<Sent> = self.outstanding.into_values().collect();
        for sent in &mut sent {
            if let Some(region) = sent.region.take() {
                self.machine.deregister(region);
            }
        }
        sent
    }
}
