//! Both ends of a connection in one process, over a real device: refuses one request, accepts the
//! next, sends, writes, reads, invalidates, then closes the way the daemon does and checks that
//! nothing is left.
//!
//! Usage: `ping_pong ADDRESS:PORT [ROUNDS]`, the address being one of an RDMA device.
#![allow(clippy::print_stdout, reason = "what it sees is its output")]

use std::net::SocketAddr;
use std::os::fd::BorrowedFd;
use std::ptr::NonNull;
use std::time::{Duration, Instant};
use std::{env, fs, thread};

use anyhow::{Context, Result, bail, ensure};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use transport::device::{
    AcceptParams, AsyncEvent, CmEvent, CmId, CompletionQueue, ConnectRequest, Device, ListenEvent,
    QpCaps, QueuePair, RecvDesc, Remote, SendDesc, SendOp, Sge, Stack, Token, Wc, WcStatus,
};
use verbs::{ConnectError, ConnectParams, Verbs, probe};

/// Bytes of each side's registered memory.
const BYTES: usize = 64 << 10;
/// Where the peer's READ and WRITE go.
const REMOTE_OFFSET: u64 = 32 << 10;
const MESSAGE: u32 = 4096;
const RECVS: u64 = 8;
const TIMEOUT: Duration = Duration::from_secs(10);

fn main() -> Result<()> {
    let mut args = env::args().skip(1);
    let addr: SocketAddr = args.next().context("usage: ping_pong ADDRESS:PORT")?.parse()?;
    let rounds: u32 = args.next().map_or(Ok(3), |text| text.parse())?;
    let mut after_first = None;
    for round in 0..rounds {
        run(addr).with_context(|| format!("round {round}"))?;
        let left = fs::read_dir("/proc/self/fd")?.count();
        println!("round {round}: {left} descriptors, {:?}", verbs::leaks());
        // The first round opened what librdmacm keeps until the process ends.
        ensure!(*after_first.get_or_insert(left) == left, "descriptors leak");
    }
    ensure!(verbs::leaks() == verbs::Leaks::default(), "objects leak");
    println!("PING-PONG OK");
    Ok(())
}

fn run(addr: SocketAddr) -> Result<()> {
    let stack = Verbs::open()?;
    let listener = stack.listen(addr, 16, 77)?;
    let client = thread::spawn(move || client(addr));
    let refused = next_request(&stack)?;
    ensure!(refused.listener == 77 && refused.private_data.starts_with(b"first"));
    refused.id.reject(b"not today")?;
    drop(refused);
    let request = next_request(&stack)?;
    ensure!(request.private_data.starts_with(b"hello"), "private data {:?}", request.private_data);
    println!(
        "request: {} from {}, {} bytes of private data, initiator_depth {} responder_resources {}",
        request.local,
        request.peer,
        request.private_data.len(),
        request.initiator_depth,
        request.responder_resources
    );
    // The client says 5 and 3, so we may read 5 at a time and it wants to read 3 at a time.
    ensure!((request.initiator_depth, request.responder_resources) == (5, 3));
    let mut side = Side::new(request.id)?;
    side.id.accept(&AcceptParams {
        private_data: &side.hello(),
        responder_resources: 3,
        initiator_depth: 5,
        rnr_retry_count: 7,
    })?;
    side.expect_cm(CmEvent::Established)?;
    let theirs = side.receive()?;
    let theirs = Remote {
        addr: u64::from_ne_bytes(theirs[..8].try_into()?),
        rkey: u32::from_ne_bytes(theirs[8..12].try_into()?),
    };
    serve(&mut side, theirs)?;
    side.close()?;
    client.join().map_err(|_| anyhow::anyhow!("the client panicked"))??;
    drop(listener);
    Ok(())
}

/// What a target does: reads, writes and answers.
fn serve(side: &mut Side, theirs: Remote) -> Result<()> {
    side.post(1, SendOp::Read(theirs), 0, MESSAGE, true)?;
    side.completed(&[1])?;
    ensure!(side.bytes(0, MESSAGE).iter().all(|&b| b == 0xc1), "READ brought other bytes");
    side.fill(0, MESSAGE, 0x5a);
    let write = side.desc(2, SendOp::Write(theirs), 0, MESSAGE, false);
    let send = side.desc(3, SendOp::Send { invalidate: None }, 0, 16, true);
    // SAFETY: the memory of the side outlives its queue pair and is not touched until completion.
    unsafe { side.qp.post_send(&[write, send]) }.map_err(|e| anyhow::anyhow!("{e:?}"))?;
    side.completed(&[3])?;
    side.receive()?;
    Ok(())
}

fn client(addr: SocketAddr) -> Result<()> {
    let first = verbs::resolve(addr, None, TIMEOUT)?;
    let side = Side::new(first)?;
    let params = ConnectParams {
        private_data: b"first",
        responder_resources: 5,
        initiator_depth: 3,
        retry_count: 7,
        rnr_retry_count: 7,
    };
    match verbs::connect(&side.id, &params, TIMEOUT) {
        Err(ConnectError::Rejected { reason, private_data }) => {
            println!("client: rejected, reason {reason}, {} bytes", private_data.len());
            ensure!(private_data.starts_with(b"not today"), "{private_data:?}");
        }
        other => bail!("the first request should be refused: {other:?}"),
    }
    side.close()?;
    let mut side = Side::new(verbs::resolve(addr, None, TIMEOUT)?)?;
    side.fill(REMOTE_OFFSET, MESSAGE, 0xc1);
    let said =
        verbs::connect(&side.id, &ConnectParams { private_data: b"hello", ..params }, TIMEOUT)?;
    let theirs = Remote {
        addr: u64::from_ne_bytes(said[..8].try_into()?),
        rkey: u32::from_ne_bytes(said[8..12].try_into()?),
    };
    let hello = side.hello();
    side.put(0, &hello);
    side.post(10, SendOp::Send { invalidate: None }, 0, 12, true)?;
    side.completed(&[10])?;
    side.receive()?;
    ensure!(side.bytes(REMOTE_OFFSET, MESSAGE).iter().all(|&b| b == 0x5a), "WRITE brought others");
    ensure!(theirs.addr % 8 == 0);
    side.post(11, SendOp::Send { invalidate: None }, 0, 12, true)?;
    side.completed(&[11])?;
    side.expect_cm(CmEvent::Disconnected)?;
    side.close()
}

fn next_request(stack: &Verbs) -> Result<ConnectRequest<Verbs>> {
    let deadline = Instant::now() + TIMEOUT;
    while Instant::now() < deadline {
        match stack.next_event()? {
            Some(ListenEvent::Request(request)) => return Ok(request),
            Some(ListenEvent::ListenerGone { .. }) => bail!("the listener is gone"),
            Some(ListenEvent::Ignored) => {}
            None => wait(stack.event_fd())?,
        }
    }
    bail!("no connection request")
}

fn wait(fd: BorrowedFd<'_>) -> Result<()> {
    let mut fds = [PollFd::new(&fd, PollFlags::IN)];
    let timeout = Timespec { tv_sec: 0, tv_nsec: 100_000_000 };
    poll(&mut fds, Some(&timeout))?;
    Ok(())
}

type VerbsDevice = <Verbs as Stack>::Device;

/// One end of a connection. Fields are dropped in an order that verbs allow, by the handles
/// themselves.
struct Side {
    qp: verbs::Qp,
    id: verbs::Id,
    cq: verbs::Cq,
    device: VerbsDevice,
    mr: verbs::Mr,
    memory: NonNull<u8>,
    received: Vec<u64>,
}

impl Side {
    fn new(id: verbs::Id) -> Result<Self> {
        let device = id.device()?;
        let pd = device.alloc_pd()?;
        let cq = device.create_cq(64)?;
        let caps = QpCaps { send_wr_max: 16, recv_wr_max: 16, recv_sge_max: 2 };
        let qp = device.create_qp(&id, &pd, &cq, caps, Token(0xabcd))?;
        let memory = Box::leak(vec![0_u8; BYTES].into_boxed_slice());
        let memory = NonNull::from(memory).cast::<u8>();
        // SAFETY: leaked memory stays mapped.
        let mr = unsafe { probe::reg_mr_remote(&pd, memory, BYTES) }?;
        let mut side = Self { qp, id, cq, device, mr, memory, received: Vec::new() };
        println!(
            "{} {:?} instance {} {:?}",
            side.device.name(),
            side.device.key(),
            side.device.instance(),
            side.device.attr()
        );
        for wr_id in 0..RECVS {
            side.post_recv(wr_id)?;
        }
        side.cq.arm()?;
        Ok(side)
    }

    fn post_recv(&mut self, wr_id: u64) -> Result<()> {
        let at = 4096 + 512 * wr_id;
        let head = self.sge(at, 64);
        let desc = RecvDesc { wr_id: 0x100 + wr_id, sges: [head, self.sge(at + 64, 448)] };
        // SAFETY: as for sends.
        unsafe { self.qp.post_recv(&[desc]) }.map_err(|e| anyhow::anyhow!("post_recv: {e:?}"))
    }

    fn sge(&self, offset: u64, len: u32) -> Sge {
        let addr = self.memory.addr().get() as u64 + offset;
        Sge { addr, len, lkey: VerbsDevice::lkey(&self.mr) }
    }

    fn desc(&self, wr_id: u64, op: SendOp, offset: u64, len: u32, signaled: bool) -> SendDesc {
        SendDesc { wr_id, op, sge: self.sge(offset, len), signaled }
    }

    fn post(
        &mut self,
        wr_id: u64,
        op: SendOp,
        offset: u64,
        len: u32,
        signaled: bool,
    ) -> Result<()> {
        let desc = self.desc(wr_id, op, offset, len, signaled);
        // SAFETY: the memory is leaked, and this thread leaves it alone until the completion.
        unsafe { self.qp.post_send(&[desc]) }.map_err(|e| anyhow::anyhow!("post {wr_id}: {e:?}"))
    }

    fn hello(&self) -> [u8; 12] {
        let mut hello = [0; 12];
        let addr = self.memory.addr().get() as u64 + REMOTE_OFFSET;
        hello[..8].copy_from_slice(&addr.to_ne_bytes());
        hello[8..].copy_from_slice(&probe::rkey(&self.mr).to_ne_bytes());
        hello
    }

    /// Waits until a message came and gives its bytes.
    fn receive(&mut self) -> Result<Vec<u8>> {
        let deadline = Instant::now() + TIMEOUT;
        while self.received.is_empty() {
            self.poll(deadline)?;
        }
        let wr_id = self.received.remove(0);
        let bytes = self.bytes(4096 + 512 * (wr_id - 0x100), 64);
        self.post_recv(wr_id - 0x100)?;
        Ok(bytes)
    }

    /// Waits for the completions of these sends.
    fn completed(&mut self, wr_ids: &[u64]) -> Result<()> {
        let deadline = Instant::now() + TIMEOUT;
        let mut missing = wr_ids.to_vec();
        while !missing.is_empty() {
            for wr_id in self.poll(deadline)? {
                ensure!(
                    missing.first() == Some(&wr_id),
                    "completion of {wr_id:#x}, not {missing:x?}"
                );
                missing.remove(0);
            }
        }
        Ok(())
    }

    /// One look at the queue through the completion channel; sends come back, receives are kept.
    fn poll(&mut self, deadline: Instant) -> Result<Vec<u64>> {
        ensure!(Instant::now() < deadline, "no completion in time");
        let mut wcs = [Wc::EMPTY; 16];
        let count = self.cq.poll(&mut wcs)?;
        if count == 0 {
            wait(self.cq.event_fd())?;
            if self.cq.take_events()? > 0 {
                self.cq.arm()?;
            }
        }
        let mut sends = Vec::new();
        for wc in &wcs[..count] {
            ensure!(wc.status == WcStatus::Success, "{wc:x?}");
            if wc.wr_id >= 0x100 { self.received.push(wc.wr_id) } else { sends.push(wc.wr_id) }
        }
        Ok(sends)
    }

    fn expect_cm(&self, wanted: CmEvent) -> Result<()> {
        let deadline = Instant::now() + TIMEOUT;
        while Instant::now() < deadline {
            match self.id.next_event()? {
                Some(event) if event == wanted => return Ok(()),
                Some(event) => bail!("CM event {event:?}, not {wanted:?}"),
                None => wait(self.id.event_fd())?,
            }
        }
        bail!("no CM event {wanted:?}")
    }

    /// Error state, disconnect where the transport has it, flush, destroy: the daemon's order.
    fn close(mut self) -> Result<()> {
        self.qp.modify_to_error()?;
        if self.device.key().transport == transport::device::Transport::InfiniBand {
            let _ = self.id.disconnect();
        }
        let deadline = Instant::now() + Duration::from_secs(2);
        let mut flushed = self.received.len();
        let mut wcs = [Wc::EMPTY; 16];
        while flushed < usize::try_from(RECVS)? && Instant::now() < deadline {
            let count = self.cq.poll(&mut wcs)?;
            flushed += wcs[..count].iter().filter(|wc| wc.wr_id >= 0x100).count();
            thread::sleep(Duration::from_millis(1));
        }
        ensure!(flushed == usize::try_from(RECVS)?, "{flushed} receives came back");
        while let Some(event) = self.device.next_async_event()? {
            if let AsyncEvent::QpError(token) = event {
                ensure!(token == Token(0xabcd), "a stranger's event");
            }
            println!("async {event:?}");
        }
        self.qp.destroy(&self.id)?;
        Ok(())
    }

    fn fill(&self, offset: u64, len: u32, byte: u8) {
        self.put(offset, &vec![byte; usize::try_from(len).unwrap_or(0)]);
    }

    fn put(&self, offset: u64, bytes: &[u8]) {
        let offset = usize::try_from(offset).unwrap_or(0);
        assert!(offset + bytes.len() <= BYTES);
        // SAFETY: inside the leaked memory, by the line above.
        let to = unsafe { self.memory.add(offset) };
        // SAFETY: as above; no request that is in flight uses these bytes.
        unsafe { to.copy_from_nonoverlapping(NonNull::from(bytes).cast(), bytes.len()) };
    }

    fn bytes(&self, offset: u64, len: u32) -> Vec<u8> {
        let (offset, len) =
            (usize::try_from(offset).unwrap_or(0), usize::try_from(len).unwrap_or(0));
        assert!(offset + len <= BYTES);
        let mut out = vec![0; len];
        // SAFETY: inside the leaked memory, by the line above.
        let from = unsafe { self.memory.add(offset) };
        // SAFETY: as above; what the device wrote there has completed.
        unsafe { from.copy_to_nonoverlapping(NonNull::from(out.as_mut_slice()).cast(), len) };
        out
    }
}
