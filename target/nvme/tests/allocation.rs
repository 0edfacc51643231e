//! The data path takes no memory from the heap: its commands live in what a queue had from the
//! start.
#![expect(clippy::unwrap_used, reason = "a test that can't go on is to fail")]

use std::sync::Arc;

use nvme::admin::fctype;
use nvme::{
    Action, Arrival, Cid, Controller, ControllerLimits, Discovery, DiskId, Export, HostNqn,
    HostSgl, Identity, Namespace, NamespaceFeatures, Now, Nsid, Outcome, Port, PortId, Qid, Queue,
    RKey, Registry, Sgl, Sqe, SubNqn, Subsystem, TransportAddress, TransportClaim, TransportKind,
};
use zerocopy::IntoBytes;

const NQN: &str = "nqn.2026-01.org.example:disk";

fn export() -> Arc<Export> {
    let limits = ControllerLimits::default();
    let identity = Identity::new("1", "m", "f");
    let namespace = Namespace {
        nsid: Nsid(1),
        uuid: uuid::Uuid::nil(),
        nguid: [1; 16],
        eui64: None,
        lba_shift: 9,
        lba_count: 1 << 20,
        disk: DiskId(1),
        features: NamespaceFeatures { deallocate: true, ..NamespaceFeatures::default() },
        read_only: false,
    };
    let subsystem = Subsystem {
        nqn: SubNqn::new(NQN).unwrap(),
        identity: identity.clone(),
        allow_any_host: true,
        hosts: Vec::new(),
        credentials: Vec::new(),
        namespaces: vec![namespace],
        ports: vec![PortId(1)],
        cntlid_min: 1,
        cntlid_max: 10,
        limits,
    };
    let port = Port {
        id: PortId(1),
        transport: TransportKind::Rdma,
        address: TransportAddress("192.0.2.1".parse().unwrap()),
        trsvcid: "4420".to_owned(),
    };
    let discovery = Discovery { genctr: 1, identity, limits };
    Arc::new(Export {
        subsystems: vec![Arc::new(subsystem)],
        ports: vec![Arc::new(port)],
        discovery,
    })
}

fn connect(qid: u16, cntlid: u16) -> (Sqe, Vec<u8>) {
    let mut sqe = Sqe::new(Sqe::FABRICS, Cid(0));
    sqe.nsid = u32::from(fctype::CONNECT).into();
    sqe.dptr = keyed(1024);
    sqe.cdw10 = (u32::from(qid) << 16).into();
    sqe.cdw11 = 31.into();
    let mut data = vec![0; 1024];
    data[16..18].copy_from_slice(&cntlid.to_le_bytes());
    data[256..512].copy_from_slice(&SubNqn::new(NQN).unwrap().emit());
    data[512..768].copy_from_slice(&HostNqn::new("nqn.host").unwrap().emit());
    (sqe, data)
}

fn keyed(len: u32) -> [u8; 16] {
    Sgl::Keyed(HostSgl { addr: 0, rkey: RKey(1), len, invalidate: true }).emit()
}

fn queue(qid: u16) -> Queue {
    Queue::new(TransportClaim { qid: Qid(qid), entries: 32 }, 4096)
}

/// An I/O queue whose controller is enabled.
fn live() -> (Queue, Controller) {
    let export = export();
    let now = Now::default();
    let mut admin = queue(0);
    let (sqe, data) = connect(0, 0xffff);
    let Action::Fetch { permit, .. } = admin.handle_capsule(now, sqe.as_bytes(), 0) else {
        panic!("no fetch");
    };
    let Action::ConnectAdmin { permit, request } = admin.handle_fetched(now, permit, &data) else {
        panic!("no connect");
    };
    let cntlid = Registry::default().allocate_for(&export.subsystems[0], 1).unwrap();
    let arrival = Arrival { port: PortId(1), address: None };
    let mut controller = Controller::connect(now, &export, arrival, &request, cntlid).unwrap();
    admin.connect_admin(permit, &controller);
    let mut enable = Sqe::new(Sqe::FABRICS, Cid(1));
    enable.cdw11 = nvme::property::offset::CC.into();
    enable.cdw12 = 0x0046_0001.into();
    let Action::Admin { permit, command } = admin.handle_capsule(now, enable.as_bytes(), 0) else {
        panic!("no admin command");
    };
    let action = controller.handle_admin(now, &mut admin, permit, command);
    assert!(matches!(action, Action::Respond(_)));

    let mut io = queue(1);
    let (sqe, data) = connect(1, cntlid.0);
    let Action::Fetch { permit, .. } = io.handle_capsule(now, sqe.as_bytes(), 0) else {
        panic!("no fetch");
    };
    let Action::ConnectIo { permit, request } = io.handle_fetched(now, permit, &data) else {
        panic!("no connect");
    };
    let grant = controller.connect_io(now, &request).unwrap();
    io.connect_io(permit, grant);
    (io, controller)
}

fn command(opcode: u8, cid: u16, sgl: [u8; 16]) -> Sqe {
    let mut sqe = Sqe::new(opcode, Cid(cid));
    sqe.nsid = 1.into();
    sqe.dptr = sgl;
    sqe
}

#[test]
fn io_commands_allocate_nothing() {
    use nvme::io::opcode;
    let (mut io, _controller) = live();
    let in_capsule = Sgl::InCapsule { offset: 0, len: 512 }.emit();
    let mut deallocate = command(opcode::DATASET_MANAGEMENT, 4, keyed(16));
    deallocate.cdw11 = 4.into();
    let mut all = command(opcode::FLUSH, 5, keyed(0));
    all.nsid = 0xffff_ffff.into();
    let commands = [
        (command(opcode::READ, 1, keyed(512)), true),
        (command(opcode::WRITE, 2, keyed(512)), true),
        (command(opcode::WRITE, 3, in_capsule), true),
        (deallocate, true),
        (all, true),
        (command(opcode::READ, 6, in_capsule), false),
        (command(0x99, 7, keyed(512)), false),
    ];
    let ranges = [0; 16];
    let now = Now::default();
    let mut executed = 0;
    let allocations = allocation_counter::measure(|| {
        for (sqe, _) in &commands {
            let mut action = io.handle_capsule(now, sqe.as_bytes(), 512);
            if let Action::Fetch { permit, .. } = action {
                action = io.handle_fetched(now, permit, &ranges);
            }
            if let Action::Execute { permit, .. } = action {
                executed += 1;
                io.complete(permit, Outcome::SUCCESS);
            }
        }
    });
    assert_eq!(executed, commands.iter().filter(|(_, executes)| *executes).count());
    assert_eq!(io.in_flight(), 0);
    assert_eq!(allocations.count_total, 0);
}

#[test]
fn measuring_sees_an_allocation() {
    let allocations = allocation_counter::measure(|| drop(std::hint::black_box(Box::new(1))));
    assert_eq!(allocations.count_total, 1);
}

#[test]
fn action_stays_small_enough_to_move() {
    let bytes = size_of::<Action>();
    assert!(bytes <= 128, "{bytes} bytes");
}
