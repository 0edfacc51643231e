//! One end of a connection, and everything that was seen at it.

use std::net::SocketAddr;
use std::os::fd::BorrowedFd;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use transport::device::{
    AsyncEvent, CmEvent, CmId, CompletionQueue, Device, DeviceError, PostError, QpCaps, QueuePair,
    RecvDesc, Remote, SendDesc, SendOp, Sge, SharedReceiveQueue, SharedReceives, Token,
};
use verbs::probe::{self, State};
use verbs::{ConnectParams, Cq, Id, Mr, Pd, Qp, Srq};

use crate::memory::{BYTES, LOCAL_AT, Memory, RECV_AT, RECV_BYTES, REMOTE_AT};

/// Bytes of private data: where the other end's memory is.
pub(crate) const HELLO_BYTES: usize = 12;
/// Bound of a CM exchange.
pub(crate) const CM_TIMEOUT: Duration = Duration::from_secs(10);
/// Between two looks at the queues.
const LOOK: Duration = Duration::from_micros(200);

/// `IBV_WC_SUCCESS`
pub(crate) const SUCCESS: u32 = 0;
pub(crate) use crate::expected::FLUSH;
/// `IBV_WC_REM_ACCESS_ERR`
pub(crate) const REMOTE_ACCESS: u32 = 10;
/// `IBV_WC_RETRY_EXC_ERR`
pub(crate) const RETRIES_EXCEEDED: u32 = 12;

/// A completion as it was polled.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Done {
    pub(crate) wr_id: u64,
    pub(crate) status: u32,
    pub(crate) opcode: u32,
}

/// One end. The queue pair is taken out to be destroyed; a dropped one would be counted as leaked.
pub(crate) struct End {
    pub(crate) qp: Option<Qp>,
    pub(crate) srq: Option<Srq>,
    pub(crate) id: Id,
    pub(crate) cq: Cq,
    pub(crate) device: verbs::Device,
    pub(crate) mr: Option<Mr>,
    pub(crate) memory: Memory,
    pub(crate) remote: Remote,
    lkey: u32,
    rkey: u32,
    /// Every completion, in the order of polling.
    pub(crate) done: Vec<Done>,
    pub(crate) cm: Vec<CmEvent>,
    pub(crate) asynchronous: Vec<AsyncEvent>,
    pub(crate) comp_events: usize,
}

impl End {
    /// Makes the objects of an end on a resolved or requested id.
    pub(crate) fn new(id: Id, shared_receives: bool) -> Result<Self> {
        let device = id.device()?;
        let pd: Pd = device.alloc_pd()?;
        let cq = device.create_cq(512)?;
        let caps = QpCaps { send_wr_max: 64, recv_wr_max: 64, recv_sge_max: 1 };
        let token = Token(0x5eed);
        let (qp, srq) = if shared_receives {
            let srq = device.create_srq(&pd, 16, 1)?;
            let qp = device.create_qp_shared(&id, &pd, &cq, &srq, caps, token)?;
            (qp, Some(srq))
        } else {
            (device.create_qp(&id, &pd, &cq, caps, token)?, None)
        };
        let memory = Memory::new();
        // SAFETY: the memory is never freed.
        let mr = unsafe { probe::reg_mr_remote(&pd, memory.start(), BYTES) }?;
        Ok(Self {
            qp: Some(qp),
            srq,
            id,
            cq,
            lkey: verbs::Device::lkey(&mr),
            rkey: probe::rkey(&mr),
            device,
            mr: Some(mr),
            memory,
            remote: Remote { addr: 0, rkey: 0 },
            done: Vec::new(),
            cm: Vec::new(),
            asynchronous: Vec::new(),
            comp_events: 0,
        })
    }

    /// Connects to a peer, with `recvs` receives posted as 0x1000 and on.
    pub(crate) fn connect(addr: SocketAddr, recvs: u64, shared_receives: bool) -> Result<Self> {
        let mut end = Self::new(verbs::resolve(addr, None, CM_TIMEOUT)?, shared_receives)?;
        for n in 0..recvs {
            end.recv(0x1000 + n)?;
        }
        let params = ConnectParams {
            private_data: &end.hello(),
            responder_resources: 4,
            initiator_depth: 4,
            retry_count: 3,
            rnr_retry_count: 7,
        };
        let said = verbs::connect(&end.id, &params, CM_TIMEOUT)?;
        end.learn(&said)?;
        Ok(end)
    }

    /// What the other end needs to reach our memory.
    pub(crate) fn hello(&self) -> [u8; HELLO_BYTES] {
        let mut hello = [0; HELLO_BYTES];
        hello[..8].copy_from_slice(&self.memory.addr(REMOTE_AT).to_ne_bytes());
        hello[8..].copy_from_slice(&self.rkey.to_ne_bytes());
        hello
    }

    pub(crate) fn learn(&mut self, hello: &[u8]) -> Result<()> {
        ensure!(hello.len() >= HELLO_BYTES, "{} bytes of private data", hello.len());
        let addr = u64::from_ne_bytes(hello[..8].try_into()?);
        self.remote = Remote { addr, rkey: u32::from_ne_bytes(hello[8..12].try_into()?) };
        Ok(())
    }

    pub(crate) fn qp(&mut self) -> &mut Qp {
        self.qp.as_mut().expect("no row uses a queue pair that it has destroyed")
    }

    fn sge(&self, offset: u64, len: u32) -> Sge {
        Sge { addr: self.memory.addr(offset), len, lkey: self.lkey }
    }

    pub(crate) fn recv_desc(&self, wr_id: u64) -> RecvDesc {
        let none = Sge { addr: 0, len: 0, lkey: 0 };
        let at = RECV_AT + (wr_id & 0xf) * u64::from(RECV_BYTES);
        RecvDesc { wr_id, sges: [self.sge(at, RECV_BYTES), none] }
    }

    pub(crate) fn send_desc(&self, wr_id: u64, op: SendOp, len: u32, signaled: bool) -> SendDesc {
        SendDesc { wr_id, op, sge: self.sge(LOCAL_AT, len), signaled }
    }

    /// Posts a receive, to the shared queue when there is one.
    pub(crate) fn recv(&mut self, wr_id: u64) -> Result<(), DeviceError> {
        let desc = self.recv_desc(wr_id);
        if let Some(srq) = &mut self.srq {
            // SAFETY: the memory is never freed, and nobody looks at what is received.
            return unsafe { srq.post_recv(&[desc]) }.map_err(|refused| refused.error);
        }
        // SAFETY: as above.
        unsafe { self.qp().post_recv(&[desc]) }.map_err(|refused| refused.error)
    }

    /// Posts one request to the send queue.
    pub(crate) fn post(
        &mut self,
        wr_id: u64,
        op: SendOp,
        len: u32,
        signaled: bool,
    ) -> Result<(), PostError> {
        let desc = self.send_desc(wr_id, op, len, signaled);
        // SAFETY: the memory is never freed; its content matters to nobody, but for the words that
        // are read and written volatile.
        unsafe { self.qp().post_send(&[desc]) }
    }

    pub(crate) fn send(&mut self, wr_id: u64, len: u32, signaled: bool) -> Result<(), PostError> {
        self.post(wr_id, SendOp::Send { invalidate: None }, len, signaled)
    }

    pub(crate) fn write(&mut self, wr_id: u64, len: u32, signaled: bool) -> Result<(), PostError> {
        self.post(wr_id, SendOp::Write(self.remote), len, signaled)
    }

    pub(crate) fn read(&mut self, wr_id: u64, len: u32) -> Result<(), PostError> {
        self.post(wr_id, SendOp::Read(self.remote), len, true)
    }

    /// Takes all that is there now.
    pub(crate) fn look(&mut self) -> Result<()> {
        while let Some(wc) = probe::poll_raw(&mut self.cq)? {
            self.done.push(Done { wr_id: wc.wr_id, status: wc.status, opcode: wc.opcode });
        }
        while let Some(event) = self.id.next_event()? {
            self.cm.push(event);
        }
        while let Some(event) = self.device.next_async_event()? {
            self.asynchronous.push(event);
        }
        self.comp_events += self.cq.take_events()?;
        Ok(())
    }

    /// Looks until `enough`, at most for `limit`; says whether it was enough.
    pub(crate) fn until(
        &mut self,
        limit: Duration,
        mut enough: impl FnMut(&Self) -> bool,
    ) -> Result<bool> {
        let end = Instant::now() + limit;
        loop {
            self.look()?;
            if enough(self) {
                return Ok(true);
            }
            if Instant::now() >= end {
                return Ok(false);
            }
            thread::sleep(LOOK);
        }
    }

    /// Looks for a time.
    pub(crate) fn watch(&mut self, ms: u64) -> Result<()> {
        self.until(Duration::from_millis(ms), |_| false)?;
        Ok(())
    }

    /// Status of the completion of a request; `None` when it has none.
    pub(crate) fn status(&self, wr_id: u64) -> Option<u32> {
        self.done.iter().find(|done| done.wr_id == wr_id).map(|done| done.status)
    }

    /// Whether all of these have completed.
    pub(crate) fn all_done(&self, wr_ids: &[u64]) -> bool {
        wr_ids.iter().all(|&wr_id| self.status(wr_id).is_some())
    }

    /// The ids of these that completed with `status`, in the order of completion.
    pub(crate) fn with_status(&self, status: u32, wr_ids: &[u64]) -> Vec<u64> {
        let wanted = |done: &&Done| done.status == status && wr_ids.contains(&done.wr_id);
        self.done.iter().filter(wanted).map(|done| done.wr_id).collect()
    }

    /// How often the peer's end of the connection was reported.
    pub(crate) fn disconnected(&self) -> bool {
        self.cm.contains(&CmEvent::Disconnected)
    }

    /// `ibv_query_qp`.
    pub(crate) fn state(&self) -> Result<State> {
        let qp = self.qp.as_ref().expect("no row uses a queue pair that it has destroyed");
        Ok(probe::query_state(qp)?.0)
    }

    /// `ibv_modify_qp`, and how long it took.
    pub(crate) fn modify(&mut self, state: State) -> (Result<(), DeviceError>, Duration) {
        let began = Instant::now();
        let result = probe::modify(self.qp(), state);
        (result, began.elapsed())
    }

    /// Destroys the queue pair, and says how long it took; then its shared receive queue.
    pub(crate) fn destroy(&mut self) -> Result<Duration> {
        let qp = self.qp.take().expect("no row destroys a queue pair twice");
        let began = Instant::now();
        qp.destroy(&self.id)?;
        let took = began.elapsed();
        if let Some(srq) = self.srq.take() {
            srq.destroy()?;
        }
        Ok(took)
    }
}

/// Waits until a descriptor can be read, at most for `limit`.
pub(crate) fn wait_readable(fd: BorrowedFd<'_>, limit: Duration) -> Result<bool> {
    let mut fds = [PollFd::new(&fd, PollFlags::IN)];
    let timeout =
        Timespec { tv_sec: limit.as_secs().try_into()?, tv_nsec: limit.subsec_nanos().into() };
    Ok(poll(&mut fds, Some(&timeout))? > 0)
}
