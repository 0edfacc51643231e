//! One connection: capsules out, responses in, and how it ended.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use nvme::Cqe;
use transport::device::{
    CmEvent, CmId, CompletionQueue, Device, QpCaps, QueuePair, RecvDesc, SendDesc, SendOp, Sge,
    Token, Transport, Wc, WcStatus,
};
use verbs::{ConnectError, ConnectParams, Cq, Id, Mr, Qp, probe};
use zerocopy::FromBytes;

use crate::limits::{ACCEPT_MOMENT, ANSWER_TIMEOUT, CM_TIMEOUT, LOOK, RECVS, SENDS, SILENCE};
use crate::memory::{BYTES, LONG_AT, Memory, RECV_AT, RECV_BYTES, SEND_AT, SEND_BYTES};

/// Ids of receives; those of sends are below.
const RECV_IDS: u64 = 1 << 32;

/// An end of a connection. The queue pair is taken out to be destroyed.
pub(crate) struct Connection {
    qp: Option<Qp>,
    id: Id,
    cq: Cq,
    mr: Mr,
    pub(crate) memory: Memory,
    iwarp: bool,
    sent: usize,
    responses: VecDeque<Cqe>,
    closed: bool,
}

/// What a connection request came to.
pub(crate) enum Opened {
    /// A connection.
    Yes(Box<Connection>),
    /// Refused, with STS of the private data.
    Rejected(u16),
}

/// What came.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Answer {
    /// A response.
    Response(Cqe),
    /// The target ended the connection.
    Closed,
    /// Nothing.
    Silence,
}

impl Connection {
    /// An end that is not connected yet.
    fn prepare(target: SocketAddr) -> Result<Self> {
        let id = verbs::resolve(target, None, CM_TIMEOUT)?;
        let device = id.device()?;
        let pd = device.alloc_pd()?;
        let cq = device.create_cq(SENDS + RECVS)?;
        let caps = QpCaps { send_wr_max: SENDS, recv_wr_max: RECVS, recv_sge_max: 1 };
        let qp = device.create_qp(&id, &pd, &cq, caps, Token(0))?;
        let memory = Memory::new();
        // SAFETY: the memory is never freed and never borrowed.
        let mr = unsafe { probe::reg_mr_remote(&pd, memory.start(), BYTES) }?;
        let iwarp = device.key().transport == Transport::Iwarp;
        let (responses, closed) = (VecDeque::new(), false);
        let qp = Some(qp);
        let mut this = Self { qp, id, cq, mr, memory, iwarp, sent: 0, responses, closed };
        for slot in 0..u64::from(RECVS) {
            this.post_recv(slot)?;
        }
        Ok(this)
    }

    /// Sends a connection request with this private data.
    pub(crate) fn open(target: SocketAddr, private_data: &[u8]) -> Result<Opened> {
        let mut this = Self::prepare(target)?;
        match this.request(private_data, CM_TIMEOUT) {
            Ok(()) => {
                if this.iwarp {
                    // QUIRK(siw): siw_accept answers the peer before it takes the socket over; a
                    // first message that comes in between is not looked at until a second comes.
                    sleep(ACCEPT_MOMENT);
                }
                Ok(Opened::Yes(Box::new(this)))
            }
            Err(ConnectError::Rejected { private_data, .. }) => {
                this.destroy()?;
                let code = private_data.get(2..4).context("a rejection without private data")?;
                Ok(Opened::Rejected(u16::from_le_bytes([code[0], code[1]])))
            }
            Err(error) => {
                this.destroy()?;
                Err(error.into())
            }
        }
    }

    /// Sends a connection request, and is gone before the answer.
    pub(crate) fn open_and_leave(target: SocketAddr, private_data: &[u8]) -> Result<()> {
        let mut this = Self::prepare(target)?;
        // Whatever it came to in that time.
        let _ = this.request(private_data, Duration::ZERO);
        this.destroy()
    }

    fn request(&mut self, private_data: &[u8], timeout: Duration) -> Result<(), ConnectError> {
        let params = ConnectParams {
            private_data,
            responder_resources: 16,
            initiator_depth: 1,
            retry_count: 7,
            rnr_retry_count: 7,
        };
        verbs::connect(&self.id, &params, timeout).map(drop)
    }

    /// Whether the transport is iWARP.
    pub(crate) fn is_iwarp(&self) -> bool {
        self.iwarp
    }

    /// The key of this end's memory.
    pub(crate) fn rkey(&self) -> u32 {
        probe::rkey(&self.mr)
    }

    fn sge(&self, offset: usize, len: usize) -> Sge {
        let len = u32::try_from(len).unwrap_or(u32::MAX);
        Sge { addr: self.memory.addr(offset), len, lkey: verbs::Device::lkey(&self.mr) }
    }

    fn post_recv(&mut self, slot: u64) -> Result<()> {
        let at = RECV_AT + usize::try_from(slot)? * RECV_BYTES;
        let none = Sge { addr: 0, len: 0, lkey: 0 };
        let desc = RecvDesc { wr_id: RECV_IDS + slot, sges: [self.sge(at, RECV_BYTES), none] };
        let qp = self.qp.as_mut().context("the queue pair is gone")?;
        // SAFETY: the memory is never freed, and this slot is not looked at until it completes.
        unsafe { qp.post_recv(&[desc]) }.map_err(|e| anyhow!("receive: {e:?}"))
    }

    /// Sends these bytes as they are.
    pub(crate) fn send(&mut self, capsule: &[u8]) -> Result<()> {
        let at = if capsule.len() > SEND_BYTES {
            LONG_AT
        } else {
            SEND_AT + self.sent % usize::try_from(SENDS)? * SEND_BYTES
        };
        self.sent += 1;
        self.memory.write(at, capsule);
        let (op, sge) = (SendOp::Send { invalidate: None }, self.sge(at, capsule.len()));
        let desc = SendDesc { wr_id: 0, op, sge, signaled: true };
        let qp = self.qp.as_mut().context("the queue pair is gone")?;
        // SAFETY: the memory is never freed; a place is used again only after `SENDS` others.
        match unsafe { qp.post_send(&[desc]) } {
            Ok(()) => Ok(()),
            Err(_) if self.ended()? => Ok(()),
            Err(error) => Err(anyhow!("send: {error:?}")),
        }
    }

    /// Looks once at what came; a failed work request means that the connection is over.
    fn look(&mut self) -> Result<()> {
        let event = self.id.next_event()?;
        let mut wcs = [Wc::EMPTY; 32];
        loop {
            let count = self.cq.poll(&mut wcs)?;
            for wc in &wcs[..count] {
                if wc.status != WcStatus::Success {
                    self.closed = true;
                } else if let Some(slot) = wc.wr_id.checked_sub(RECV_IDS) {
                    let at = RECV_AT + usize::try_from(slot)? * RECV_BYTES;
                    let bytes: [u8; 16] = self.memory.read(at);
                    anyhow::ensure!(wc.byte_len == 16, "a response of {} bytes", wc.byte_len);
                    let cqe = Cqe::read_from_bytes(&bytes).map_err(|e| anyhow!("{e}"))?;
                    self.responses.push_back(cqe);
                    if !self.closed {
                        self.post_recv(slot)
                            .or_else(|e| if self.closed { Ok(()) } else { Err(e) })?;
                    }
                }
            }
            if count == 0 {
                break;
            }
        }
        if event.is_some_and(|event| event != CmEvent::Established) {
            self.closed = true;
        }
        Ok(())
    }

    /// The next response, or the end, within that time.
    pub(crate) fn next(&mut self, patience: Duration) -> Result<Answer> {
        let end = Instant::now() + patience;
        loop {
            self.look()?;
            if let Some(cqe) = self.responses.pop_front() {
                return Ok(Answer::Response(cqe));
            }
            if self.closed {
                return Ok(Answer::Closed);
            }
            if Instant::now() >= end {
                return Ok(Answer::Silence);
            }
            sleep(LOOK);
        }
    }

    /// The next response or the end; silence only after a long time.
    pub(crate) fn answer(&mut self) -> Result<Answer> {
        self.next(ANSWER_TIMEOUT)
    }

    /// Whether the target has ended the connection by now.
    pub(crate) fn ended(&mut self) -> Result<bool> {
        self.look()?;
        Ok(self.closed)
    }

    /// Whether nothing more comes for a moment.
    pub(crate) fn is_silent(&mut self) -> Result<bool> {
        Ok(matches!(self.next(SILENCE)?, Answer::Silence))
    }

    /// Ends it as a host does.
    pub(crate) fn disconnect(mut self) -> Result<()> {
        if let Some(qp) = &mut self.qp {
            qp.modify_to_error()?;
        }
        if !self.iwarp {
            // It fails when the target was first.
            let _ = self.id.disconnect();
        }
        self.destroy()
    }

    /// Takes its queue pair away under whatever is going on, and says nothing first.
    pub(crate) fn destroy(mut self) -> Result<()> {
        let qp = self.qp.take().context("it is destroyed once")?;
        Ok(qp.destroy(&self.id)?)
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        if let Some(qp) = self.qp.take() {
            // A case that failed on the way here has said why.
            let _ = qp.destroy(&self.id);
        }
    }
}
