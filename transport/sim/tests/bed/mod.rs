//! A target with one queue pair and registered memory, and its peer: verbs without the layers
//! above.
#![allow(dead_code, reason = "each test file uses a part of it")]

use std::net::SocketAddr;
use std::ptr::NonNull;

use sim::peer::{ConnectParams, Region};
use sim::{
    Behaviour, Delay, Fabric, Host, Oracle, Peer, PeerEvent, Question, SimCq, SimDevice, SimId,
    SimListener, SimMr, SimPd, SimQp, SimStack, Violation,
};
use transport::device::{
    AcceptParams, AsyncEvent, CmEvent, CmId, CompletionQueue, Device, ListenEvent, PostError,
    QpCaps, QueuePair, RecvDesc, Remote, SendDesc, SendOp, Sge, Stack, Token, Wc,
};

pub(crate) const TARGET: &str = "10.0.0.1:4420";
pub(crate) const BYTES: usize = 1 << 16;

/// Nothing fails, nothing is slow, and of an axis the first outcome is taken.
pub(crate) struct Plain;

impl Oracle for Plain {
    fn choose(&mut self, _: Question, _: usize) -> usize {
        0
    }
}

/// As [`Plain`], and flushes and events take their time: 60 ms and more.
pub(crate) struct SlowEvents;

impl Oracle for SlowEvents {
    fn choose(&mut self, question: Question, _: usize) -> usize {
        match question {
            Question::Delay(Delay::CmEvent | Delay::AsyncEvent | Delay::Flush) => 4,
            Question::Delay(_)
            | Question::Next
            | Question::Fault(_)
            | Question::Axis(_)
            | Question::Mischief(_) => 0,
        }
    }
}

/// The order of the fields is the order of their drops.
pub(crate) struct Bed {
    pub(crate) fabric: Fabric,
    pub(crate) node: sim::Node,
    pub(crate) host: Host,
    pub(crate) region: Region,
    pub(crate) peer: Peer,
    pub(crate) qp: Option<SimQp>,
    pub(crate) id: Option<SimId>,
    pub(crate) cq: SimCq,
    pub(crate) mr: Option<SimMr>,
    pub(crate) pd: SimPd,
    pub(crate) device: SimDevice,
    pub(crate) listener: SimListener,
    pub(crate) stack: SimStack,
    lkey: u32,
    memory: Vec<u8>,
}

impl Bed {
    /// Connected, both ends know it, nothing posted.
    pub(crate) fn new(row: &'static Behaviour, oracle: Box<dyn Oracle>) -> Self {
        let fabric = Fabric::new(oracle);
        fabric.record(true);
        let node = fabric.add_node("target");
        let address: SocketAddr = TARGET.parse().unwrap();
        fabric.add_device(node, row, address.ip());
        let stack = fabric.stack(node);
        let listener = stack.listen(address, 16, 0).unwrap();
        let host = fabric.add_host("10.0.0.2".parse().unwrap());
        let region = host.register(BYTES);
        let peer = host.connect(address, ConnectParams::default());
        pass(&fabric, 10);
        let Ok(Some(ListenEvent::Request(request))) = stack.next_event() else {
            panic!("no request")
        };
        let id = request.id;
        let device = id.device().unwrap();
        let pd = device.alloc_pd().unwrap();
        let mut memory = vec![0_u8; BYTES];
        let start = NonNull::new(memory.as_mut_ptr()).unwrap();
        // SAFETY: `memory` is never resized and lives as long as the bed, behind the region.
        let mr = unsafe { device.reg_mr(&pd, start, BYTES, false) }.unwrap();
        let lkey = SimDevice::lkey(&mr);
        let cq = device.create_cq(64).unwrap();
        let caps = QpCaps { send_wr_max: 16, recv_wr_max: 16, recv_sge_max: 1 };
        let qp = device.create_qp(&id, &pd, &cq, caps, Token(7)).unwrap();
        let mut bed = Self {
            fabric,
            node,
            host,
            region,
            peer,
            qp: Some(qp),
            id: Some(id),
            cq,
            mr: Some(mr),
            pd,
            device,
            listener,
            stack,
            lkey,
            memory,
        };
        bed.accept();
        bed
    }

    fn accept(&mut self) {
        let params = AcceptParams {
            private_data: b"welcome",
            responder_resources: 0,
            initiator_depth: 4,
            rnr_retry_count: 7,
        };
        self.id().accept(&params).unwrap();
        self.pass(200);
        let established = PeerEvent::Established { private_data: b"welcome".to_vec() };
        assert_eq!(self.peer.poll(), Some(established));
        assert_eq!(self.cm_events(), [CmEvent::Established]);
    }

    pub(crate) fn id(&self) -> &SimId {
        self.id.as_ref().unwrap()
    }

    pub(crate) fn qp(&mut self) -> &mut SimQp {
        self.qp.as_mut().unwrap()
    }

    /// Lets time pass and everything happen that is due.
    pub(crate) fn pass(&self, millis: u64) {
        pass(&self.fabric, millis);
    }

    pub(crate) fn sge(&self, offset: usize, len: u32) -> Sge {
        let addr = self.memory.as_ptr().expose_provenance() as u64 + offset as u64;
        Sge { addr, len, lkey: self.lkey }
    }

    pub(crate) fn memory(&self, offset: usize, len: usize) -> &[u8] {
        &self.memory[offset..offset + len]
    }

    pub(crate) fn write_memory(&mut self, offset: usize, bytes: &[u8]) {
        self.memory[offset..offset + bytes.len()].copy_from_slice(bytes);
    }

    pub(crate) fn remote(&self) -> Remote {
        Remote { addr: self.region.addr(), rkey: self.region.rkey() }
    }

    pub(crate) fn recv(&mut self, wr_id: u64, offset: usize, len: u32) -> Result<(), PostError> {
        let none = Sge { addr: 0, len: 0, lkey: 0 };
        let list = [RecvDesc { wr_id, sges: [self.sge(offset, len), none] }];
        // SAFETY: the bed's memory stays mapped; a test that touches it in flight means to.
        unsafe { self.qp().post_recv(&list) }
    }

    pub(crate) fn post(&mut self, list: &[SendDesc]) -> Result<(), PostError> {
        // SAFETY: as above.
        unsafe { self.qp().post_send(list) }
    }

    pub(crate) fn desc(&self, wr_id: u64, op: SendOp, offset: usize, len: u32) -> SendDesc {
        SendDesc { wr_id, op, sge: self.sge(offset, len), signaled: true }
    }

    pub(crate) fn send(&mut self, wr_id: u64, offset: usize, len: u32) -> Result<(), PostError> {
        let desc = self.desc(wr_id, SendOp::Send { invalidate: None }, offset, len);
        self.post(&[desc])
    }

    pub(crate) fn read(&mut self, wr_id: u64, offset: usize, len: u32) -> Result<(), PostError> {
        let desc = self.desc(wr_id, SendOp::Read(self.remote()), offset, len);
        self.post(&[desc])
    }

    pub(crate) fn write(
        &mut self,
        wr_id: u64,
        offset: usize,
        signaled: bool,
    ) -> Result<(), PostError> {
        let desc = self.desc(wr_id, SendOp::Write(self.remote()), offset, 64);
        self.post(&[SendDesc { signaled, ..desc }])
    }

    pub(crate) fn polled(&mut self) -> Vec<Wc> {
        let mut out = [Wc::EMPTY; 64];
        let count = self.cq.poll(&mut out).unwrap();
        out[..count].to_vec()
    }

    /// Ids of what was polled, with `status`.
    pub(crate) fn with_status(wcs: &[Wc], status: transport::device::WcStatus) -> Vec<u64> {
        wcs.iter().filter(|wc| wc.status == status).map(|wc| wc.wr_id).collect()
    }

    pub(crate) fn cm_events(&self) -> Vec<CmEvent> {
        std::iter::from_fn(|| self.id().next_event().unwrap()).collect()
    }

    pub(crate) fn async_events(&self) -> Vec<AsyncEvent> {
        std::iter::from_fn(|| self.device.next_async_event().unwrap()).collect()
    }

    pub(crate) fn destroy(&mut self) -> Result<(), transport::device::DeviceError> {
        let qp = self.qp.take().unwrap();
        qp.destroy(self.id.as_ref().unwrap())
    }

    pub(crate) fn rules(&self) -> Vec<sim::Rule> {
        self.fabric.violations().iter().map(|violation: &Violation| violation.rule).collect()
    }
}

pub(crate) fn pass(fabric: &Fabric, millis: u64) {
    let end = fabric.now() + std::time::Duration::from_millis(millis);
    fabric.run_due();
    while let Some(at) = fabric.due().filter(|at| *at <= end) {
        fabric.set_now(at);
        fabric.run_due();
    }
    fabric.set_now(end);
}
