//! A host and a target in one place: the host speaks capsules, the target is the real core.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use nvme::admin::{fctype, opcode};
use nvme::property::offset;
use nvme::wire::identify::IdentifyController;
use nvme::{
    Action, Arrival, Cid, CloseReason, Cntlid, Completion, ConnectError, Controller,
    ControllerEvent, ControllerLimits, Cqe, Discovery, DiskId, DiskOp, EndCause, Export, HostData,
    HostNqn, HostSgl, Identity, Namespace, NamespaceFeatures, Now, Nsid, Outcome, Permit, Port,
    PortId, Qid, Queue, RKey, Sgl, Sqe, Status, SubNqn, Subsystem, TransportAddress,
    TransportClaim, TransportKind,
};
use uuid::Uuid;
use zerocopy::FromBytes;
use zerocopy::IntoBytes;
use zerocopy::little_endian::{U32, U64};

pub(crate) const SUBNQN: &str = "nqn.2026-01.org.example:disks";
pub(crate) const HOSTNQN: &str =
    "nqn.2014-08.org.nvmexpress:uuid:6d1c7fa1-50a0-4c4b-8bd3-1b9f2a1a4e10";
pub(crate) const IN_CAPSULE: u32 = 4096;
pub(crate) const PORT: PortId = PortId(1);

pub(crate) fn namespace(nsid: u32, lba_shift: u8, lba_count: u64) -> Namespace {
    Namespace {
        nsid: Nsid(nsid),
        uuid: Uuid::from_u128(0x1234_0000 + u128::from(nsid)),
        nguid: [0; 16],
        eui64: None,
        lba_shift,
        lba_count,
        disk: DiskId(nsid * 10),
        features: NamespaceFeatures {
            deallocate: true,
            deallocated_reads_zero: true,
            write_zeroes: true,
            volatile_cache: true,
            ..NamespaceFeatures::default()
        },
        read_only: false,
    }
}

pub(crate) fn subsystem() -> Subsystem {
    let read_only = Namespace { read_only: true, ..namespace(7, 9, 1000) };
    Subsystem {
        nqn: SubNqn::new(SUBNQN).unwrap(),
        identity: Identity::new("SER1", "Sluice", "0.1"),
        allow_any_host: false,
        hosts: vec![HostNqn::new(HOSTNQN).unwrap()],
        credentials: Vec::new(),
        namespaces: vec![namespace(1, 9, 2048), namespace(2, 12, 512), read_only],
        ports: vec![PORT],
        cntlid_min: 1,
        cntlid_max: 0xffef,
        limits: ControllerLimits { io_queues_max: 4, ..ControllerLimits::default() },
    }
}

pub(crate) fn export_of(subsystems: Vec<Subsystem>, genctr: u64) -> Arc<Export> {
    Arc::new(Export {
        subsystems: subsystems.into_iter().map(Arc::new).collect(),
        ports: vec![
            Arc::new(Port {
                id: PORT,
                transport: TransportKind::Rdma,
                address: TransportAddress("0.0.0.0".parse().unwrap()),
                trsvcid: "4420".to_owned(),
            }),
            Arc::new(Port {
                id: PortId(2),
                transport: TransportKind::Rdma,
                address: TransportAddress("fd00::1".parse().unwrap()),
                trsvcid: "4421".to_owned(),
            }),
        ],
        discovery: Discovery {
            genctr,
            identity: Identity::new("SER1", "Sluice", "0.1"),
            limits: ControllerLimits::default(),
        },
    })
}

pub(crate) fn ms(ms: u64) -> Now {
    Now(Duration::from_millis(ms))
}

pub(crate) fn claim(qid: u16, entries: u16) -> TransportClaim {
    TransportClaim { qid: Qid(qid), entries }
}

/// A keyed SGL of that many bytes.
pub(crate) fn keyed(len: u32) -> Sgl {
    Sgl::Keyed(HostSgl { addr: 0x1000, rkey: RKey(0xabcd), len, invalidate: false })
}

/// A Connect command as a host says it; every field can be made wrong.
#[derive(Clone)]
pub(crate) struct Connect {
    pub(crate) recfmt: u16,
    pub(crate) qid: u16,
    pub(crate) sqsize: u16,
    pub(crate) cattr: u8,
    pub(crate) kato_ms: u32,
    pub(crate) host_id: [u8; 16],
    pub(crate) cntlid: u16,
    pub(crate) subnqn: Vec<u8>,
    pub(crate) hostnqn: Vec<u8>,
}

impl Connect {
    pub(crate) fn admin(subnqn: &str) -> Self {
        Self {
            recfmt: 0,
            qid: 0,
            sqsize: 31,
            cattr: 0,
            kato_ms: 5000,
            host_id: [7; 16],
            cntlid: 0xffff,
            subnqn: subnqn.as_bytes().to_vec(),
            hostnqn: HOSTNQN.as_bytes().to_vec(),
        }
    }

    pub(crate) fn io(cntlid: Cntlid, qid: u16) -> Self {
        Self { qid, sqsize: 127, kato_ms: 0, cntlid: cntlid.0, ..Self::admin(SUBNQN) }
    }

    pub(crate) fn sqe(&self, cid: Cid) -> Sqe {
        let mut sqe = Sqe::new(Sqe::FABRICS, cid);
        sqe.nsid = U32::new(u32::from(fctype::CONNECT));
        sqe.dptr = keyed(1024).emit();
        sqe.cdw10 = U32::new(u32::from(self.qid) << 16 | u32::from(self.recfmt));
        sqe.cdw11 = U32::new(u32::from(self.cattr) << 16 | u32::from(self.sqsize));
        sqe.cdw12 = U32::new(self.kato_ms);
        sqe
    }

    pub(crate) fn data(&self) -> Vec<u8> {
        let mut data = vec![0; 1024];
        data[..16].copy_from_slice(&self.host_id);
        data[16..18].copy_from_slice(&self.cntlid.to_le_bytes());
        data[256..256 + self.subnqn.len()].copy_from_slice(&self.subnqn);
        data[512..512 + self.hostnqn.len()].copy_from_slice(&self.hostnqn);
        data
    }
}

/// What a host gets back.
#[derive(Debug, Clone)]
pub(crate) struct Reply {
    pub(crate) cqe: Cqe,
    pub(crate) invalidate: Option<RKey>,
    pub(crate) data: Vec<u8>,
}

impl Reply {
    pub(crate) fn status(&self) -> Status {
        self.cqe.status()
    }

    pub(crate) fn dw0(&self) -> u32 {
        u32::try_from(self.cqe.result.get() & 0xffff_ffff).unwrap()
    }

    #[track_caller]
    pub(crate) fn ok(self) -> Self {
        assert_eq!(self.status(), Status::SUCCESS);
        self
    }
}

impl From<Completion> for Reply {
    fn from(completion: Completion) -> Self {
        let Completion { cqe, invalidate } = completion;
        Self { cqe, invalidate, data: Vec::new() }
    }
}

/// One association: a host's queues and the target's side of them.
pub(crate) struct Pair {
    pub(crate) export: Arc<Export>,
    pub(crate) now: Now,
    pub(crate) admin: Queue,
    pub(crate) controller: Option<Controller>,
    pub(crate) io: BTreeMap<u16, Queue>,
    /// What the host got without waiting for it.
    pub(crate) asynchronous: Vec<Reply>,
    pub(crate) closed: Vec<CloseReason>,
    pub(crate) ended: Option<EndCause>,
    /// Report I/O as ended as soon as it is asked for.
    pub(crate) quiesce_at_once: bool,
    pub(crate) arrival: Arrival,
    pub(crate) cntlid: Cntlid,
    next_cid: u16,
}

impl Pair {
    pub(crate) fn new(export: Arc<Export>) -> Self {
        Self {
            export,
            now: ms(1_000),
            admin: Queue::new(claim(0, 32), IN_CAPSULE),
            controller: None,
            io: BTreeMap::new(),
            asynchronous: Vec::new(),
            closed: Vec::new(),
            ended: None,
            quiesce_at_once: true,
            arrival: Arrival {
                port: PORT,
                address: Some(TransportAddress("192.0.2.7".parse().unwrap())),
            },
            cntlid: Cntlid(42),
            next_cid: 0,
        }
    }

    /// A host of the usual export, with an enabled controller and one I/O queue.
    pub(crate) fn live() -> Self {
        let mut pair = Self::enabled();
        pair.connect_io(1);
        pair
    }

    /// The same without the I/O queue.
    pub(crate) fn enabled() -> Self {
        let mut pair = Self::new(export_of(vec![subsystem()], 1));
        pair.connect(&Connect::admin(SUBNQN)).ok();
        pair.enable();
        pair
    }

    pub(crate) fn discovery(export: Arc<Export>) -> Self {
        let mut pair = Self::new(export);
        pair.connect(&Connect::admin(nvme::DISCOVERY_NQN)).ok();
        pair.enable();
        pair
    }

    pub(crate) fn cid(&mut self) -> Cid {
        self.next_cid = self.next_cid.wrapping_add(1);
        Cid(self.next_cid)
    }

    /// The command id that was used last.
    pub(crate) fn last_cid(&self) -> u16 {
        self.next_cid
    }

    pub(crate) fn controller(&mut self) -> &mut Controller {
        self.controller.as_mut().expect("the host is connected")
    }

    /// Connects the admin queue.
    pub(crate) fn connect(&mut self, connect: &Connect) -> Reply {
        let sqe = connect.sqe(self.cid());
        let action = self.admin.handle_capsule(self.now, sqe.as_bytes(), 0);
        let action = match action {
            Action::Fetch { permit, from, len } => {
                assert_eq!(from, HostData::Host(host_sgl(&sqe)));
                assert_eq!(len, 1024);
                self.admin.handle_fetched(self.now, permit, &connect.data())
            }
            other => other,
        };
        match action {
            Action::ConnectAdmin { permit, request } => {
                let made = Controller::connect(
                    self.now,
                    &self.export,
                    self.arrival,
                    &request,
                    self.cntlid,
                );
                match made {
                    Ok(controller) => {
                        let completion = self.admin.connect_admin(permit, &controller);
                        self.controller = Some(controller);
                        completion.into()
                    }
                    Err(error) => self.admin.refuse_connect(permit, error).into(),
                }
            }
            Action::Respond(completion) => completion.into(),
            other => panic!("unexpected {other:?}"),
        }
    }

    /// Connects an I/O queue of 128 entries.
    pub(crate) fn connect_io(&mut self, qid: u16) {
        self.try_connect_io(&Connect::io(self.cntlid, qid), claim(qid, 128)).ok();
    }

    pub(crate) fn try_connect_io(&mut self, connect: &Connect, claim: TransportClaim) -> Reply {
        let mut queue = Queue::new(claim, IN_CAPSULE);
        let sqe = connect.sqe(self.cid());
        let action = match queue.handle_capsule(self.now, sqe.as_bytes(), 0) {
            Action::Fetch { permit, .. } => queue.handle_fetched(self.now, permit, &connect.data()),
            other => other,
        };
        let completion = match action {
            Action::ConnectIo { permit, request } => {
                let granted = match &mut self.controller {
                    Some(controller) => controller.connect_io(self.now, &request),
                    None => Err(ConnectError::unknown_controller()),
                };
                match granted {
                    Ok(grant) => queue.connect_io(permit, grant),
                    Err(error) => queue.refuse_connect(permit, error),
                }
            }
            Action::Respond(completion) => completion,
            other => panic!("unexpected {other:?}"),
        };
        if completion.cqe.status().is_success() {
            self.io.insert(claim.qid.0, queue);
        }
        completion.into()
    }

    /// An admin command; the data is what the host has in memory for it.
    pub(crate) fn admin(&mut self, sqe: Sqe) -> Reply {
        self.try_admin(sqe).expect("an answer")
    }

    /// The same for a command that may wait.
    pub(crate) fn try_admin(&mut self, mut sqe: Sqe) -> Option<Reply> {
        sqe.cid = self.cid().0.into();
        let action = self.admin.handle_capsule(self.now, sqe.as_bytes(), 0);
        let Action::Admin { permit, command } = action else {
            panic!("unexpected {action:?}");
        };
        let controller = self.controller.as_mut().expect("the host is connected");
        let action = controller.handle_admin(self.now, &mut self.admin, permit, command);
        let reply = match action {
            Action::Respond(completion) => Some(completion.into()),
            Action::Return { permit, to, len, source } => {
                assert_eq!(to, host_sgl(&sqe));
                assert!((1..=to.len).contains(&len), "{len} of {} bytes", to.len);
                let mut data = vec![0xee; usize::try_from(len).unwrap()];
                controller.fill(&source, &mut data);
                let completion = self.admin.complete(permit, Outcome::SUCCESS);
                Some(Reply { data, ..completion.into() })
            }
            Action::None => None,
            other => panic!("unexpected {other:?}"),
        };
        if let Some(reply) = &reply {
            assert_eq!(reply.cqe.cid(), sqe.cid());
        }
        self.pump();
        reply
    }

    /// Does what the controller asks for.
    pub(crate) fn pump(&mut self) {
        let Some(controller) = &mut self.controller else {
            return;
        };
        for _ in 0..100 {
            match controller.poll_event() {
                None => return,
                Some(ControllerEvent::ViewsChanged) => {
                    let view = controller.view().expect("an I/O controller");
                    for queue in self.io.values_mut() {
                        queue.update(view.clone());
                    }
                }
                Some(ControllerEvent::Answer { permit, outcome }) => {
                    self.asynchronous.push(self.admin.complete(permit, outcome).into());
                }
                Some(ControllerEvent::End { cause }) => self.ended = Some(cause),
                Some(ControllerEvent::CloseIoQueues { reason }) => {
                    self.closed.push(reason);
                    if self.quiesce_at_once {
                        for qid in core::mem::take(&mut self.io).into_keys() {
                            controller.io_queue_gone(self.now, Qid(qid));
                        }
                        controller.io_quiesced(self.now);
                    }
                }
            }
        }
        panic!("events without end");
    }

    pub(crate) fn property_get(&mut self, at: u32, eight: bool) -> Reply {
        let mut sqe = Sqe::new(Sqe::FABRICS, Cid(0));
        sqe.nsid = U32::new(u32::from(fctype::PROPERTY_GET));
        sqe.cdw10 = U32::new(u32::from(eight));
        sqe.cdw11 = U32::new(at);
        self.admin(sqe)
    }

    pub(crate) fn csts(&mut self) -> u32 {
        self.property_get(offset::CSTS, false).ok().dw0()
    }

    pub(crate) fn set_cc(&mut self, cc: u32) -> Reply {
        let mut sqe = Sqe::new(Sqe::FABRICS, Cid(0));
        sqe.nsid = U32::new(u32::from(fctype::PROPERTY_SET));
        sqe.cdw11 = U32::new(offset::CC);
        sqe.cdw12 = U32::new(cc);
        self.admin(sqe)
    }

    /// As Linux does with CAP.CSS bit 6: all command sets, 64- and 16-byte entries.
    pub(crate) fn enable(&mut self) {
        self.set_cc(0x0046_0061).ok();
        assert_eq!(self.csts(), 1, "ready");
    }

    pub(crate) fn identify(&mut self, cns: u8, nsid: u32) -> Reply {
        let mut sqe = Sqe::new(opcode::IDENTIFY, Cid(0));
        sqe.nsid = U32::new(nsid);
        sqe.cdw10 = U32::new(u32::from(cns));
        sqe.dptr = keyed(4096).emit();
        self.admin(sqe)
    }

    pub(crate) fn identify_controller(&mut self) -> IdentifyController {
        let data = self.identify(1, 0).ok().data;
        IdentifyController::read_from_bytes(&data).unwrap()
    }

    pub(crate) fn log_page(&mut self, lid: u8, at: u64, len: u32) -> Reply {
        self.admin(log_page(lid, at, len))
    }

    pub(crate) fn set_feature(&mut self, fid: u8, value: u32) -> Reply {
        let mut sqe = Sqe::new(opcode::SET_FEATURES, Cid(0));
        sqe.cdw10 = U32::new(u32::from(fid));
        sqe.cdw11 = U32::new(value);
        self.admin(sqe)
    }

    pub(crate) fn get_feature(&mut self, fid: u8, select: u32) -> Reply {
        let mut sqe = Sqe::new(opcode::GET_FEATURES, Cid(0));
        sqe.cdw10 = U32::new(select << 8 | u32::from(fid));
        self.admin(sqe)
    }

    /// Sends an Asynchronous Event Request; `None` when it waits.
    pub(crate) fn async_event(&mut self) -> Option<Reply> {
        self.try_admin(Sqe::new(opcode::ASYNC_EVENT_REQUEST, Cid(0)))
    }

    /// An I/O command on queue 1; what came in the capsule is `in_capsule` bytes.
    pub(crate) fn start_io(&mut self, sqe: &Sqe, in_capsule: u32) -> Action {
        let queue = self.io.get_mut(&1).expect("queue 1 is connected");
        queue.handle_capsule(self.now, sqe.as_bytes(), in_capsule)
    }

    /// The same for a command that is answered at once.
    pub(crate) fn io_status(&mut self, sqe: &Sqe) -> Status {
        match self.start_io(sqe, 0) {
            Action::Respond(completion) => completion.cqe.status(),
            Action::Execute { permit, op } => {
                self.finish(permit, Outcome::SUCCESS);
                panic!("executed {op:?}");
            }
            other => panic!("unexpected {other:?}"),
        }
    }

    /// The same for a command that reaches the disk; it is completed with success.
    pub(crate) fn io_op(&mut self, sqe: &Sqe, in_capsule: u32) -> DiskOp {
        match self.start_io(sqe, in_capsule) {
            Action::Execute { permit, op } => {
                self.finish(permit, Outcome::SUCCESS);
                op
            }
            other => panic!("unexpected {other:?}"),
        }
    }

    pub(crate) fn finish(&mut self, permit: Permit, outcome: Outcome) -> Reply {
        self.io.get_mut(&1).expect("queue 1 is connected").complete(permit, outcome).into()
    }

    /// Lets time pass up to that moment, firing timers on the way.
    pub(crate) fn until(&mut self, then: Now) {
        for _ in 0..1000 {
            let controller = self.controller.as_mut().expect("the host is connected");
            match controller.poll_timeout() {
                Some(due) if due <= then => {
                    self.now = self.now.max(due);
                    controller.handle_timeout(self.now);
                    self.pump();
                }
                Some(_) | None => {
                    self.now = then;
                    return;
                }
            }
        }
        panic!("timers without end");
    }
}

impl Drop for Pair {
    fn drop(&mut self) {
        if let Some(controller) = &mut self.controller {
            controller.admin_queue_gone(self.now);
        }
    }
}

pub(crate) fn host_sgl(sqe: &Sqe) -> HostSgl {
    match sqe.sgl().unwrap() {
        Sgl::Keyed(sgl) => sgl,
        Sgl::InCapsule { .. } => panic!("not in host memory"),
    }
}

pub(crate) fn log_page(lid: u8, at: u64, len: u32) -> Sqe {
    let mut sqe = Sqe::new(opcode::GET_LOG_PAGE, Cid(0));
    let [low0, low1, high0, high1] = (len / 4 - 1).to_le_bytes();
    sqe.nsid = U32::new(0xffff_ffff);
    sqe.cdw10 = U32::from_bytes([lid, 0, low0, low1]);
    sqe.cdw11 = U32::from_bytes([high0, high1, 0, 0]);
    let at = U64::new(at);
    sqe.cdw12 = U32::read_from_bytes(&at.as_bytes()[..4]).unwrap();
    sqe.cdw13 = U32::read_from_bytes(&at.as_bytes()[4..]).unwrap();
    sqe.dptr = keyed(len).emit();
    sqe
}

/// A command that names blocks.
pub(crate) fn blocks(opcode: u8, nsid: u32, lba: u64, nlb0: u16, sgl: Sgl) -> Sqe {
    let mut sqe = Sqe::new(opcode, Cid(1));
    sqe.nsid = U32::new(nsid);
    sqe.dptr = sgl.emit();
    let lba = U64::new(lba);
    sqe.cdw10 = U32::read_from_bytes(&lba.as_bytes()[..4]).unwrap();
    sqe.cdw11 = U32::read_from_bytes(&lba.as_bytes()[4..]).unwrap();
    sqe.cdw12 = U32::new(u32::from(nlb0));
    sqe
}
