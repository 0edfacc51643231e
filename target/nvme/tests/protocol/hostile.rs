//! Hosts that send anything: nothing panics, every command is answered or held exactly once.

use nvme::{Action, Cid, Controller, HostData, Outcome, Queue, Sgl, Sqe, Status};
use proptest::prelude::*;
use zerocopy::{FromBytes, IntoBytes};

use crate::pair::{
    Connect, IN_CAPSULE, Pair, SUBNQN, blocks, claim, export_of, keyed, ms, subsystem,
};

/// Sixty-four bytes of which the interesting ones are often nearly right.
fn sqe() -> impl Strategy<Value = Sqe> {
    let opcode = prop_oneof![
        prop::sample::select(vec![0x00u8, 1, 2, 5, 6, 8, 9, 0x0a, 0x0c, 0x18, 0x19, 0x7f]),
        any::<u8>(),
    ];
    let flags =
        prop_oneof![4 => Just(0x40u8), 1 => Just(0x41u8), 1 => Just(0x42u8), 1 => any::<u8>()];
    let nsid = prop_oneof![0u32..9, Just(0xffff_ffff), any::<u32>()];
    let kind = prop_oneof![prop::sample::select(vec![0x01u8, 0x40, 0x4f]), any::<u8>()];
    let small = prop_oneof![0u32..0x20, any::<u32>()];
    (any::<[u8; 64]>(), opcode, flags, nsid, kind, small.clone(), small, 0u16..40).prop_map(
        |(bytes, opcode, flags, nsid, kind, cdw10, cdw11, cid)| {
            let mut sqe = Sqe::read_from_bytes(&bytes).unwrap();
            sqe.opcode = opcode;
            sqe.flags = flags;
            sqe.nsid = nsid.into();
            sqe.dptr[15] = kind;
            if bytes[16] & 1 == 0 {
                sqe.dptr[..8].fill(0);
                sqe.dptr[8..12].copy_from_slice(&[0, bytes[9] & 0x20, 0, 0]);
            }
            sqe.cdw10 = cdw10.into();
            sqe.cdw11 = cdw11.into();
            sqe.cid = cid.into();
            sqe
        },
    )
}

/// Does what an action says as a transport would; returns whether the connection goes on.
fn obey(
    queue: &mut Queue,
    controller: Option<&mut Controller>,
    action: Action,
    data: &[u8],
) -> bool {
    let mut controller = controller;
    let mut action = action;
    for _ in 0..4 {
        action = match action {
            Action::None | Action::Hold | Action::Respond(_) | Action::Finish(_) => return true,
            Action::Both(both) => {
                let [one, two] = *both;
                assert!(matches!(one, Action::Respond(_)), "{one:?}");
                two
            }
            Action::Execute { permit, op: nvme::DiskOp::CompareAndWrite(op) } => {
                let _ = queue.complete(op.first, Outcome::SUCCESS);
                Action::Respond(queue.complete(permit, Outcome::SUCCESS))
            }
            Action::Compute { work, .. } => panic!("{work:?} without credentials"),
            Action::Disconnect { .. } => return false,
            Action::Fetch { permit, from, len } => {
                assert!(len <= 4096);
                match from {
                    HostData::InCapsule { offset, len: all } => {
                        assert!(offset + all <= IN_CAPSULE && len <= all);
                    }
                    HostData::Host(sgl) => assert!(len <= sgl.len),
                }
                let len = data.len().min(usize::try_from(len).unwrap());
                queue.handle_fetched(ms(5), permit, &data[..len])
            }
            Action::Execute { permit, op: _ } => {
                Action::Respond(queue.complete(permit, Outcome::SUCCESS))
            }
            Action::Return { permit, to, len, source } => {
                assert!(to.len == len && len <= 1 << 20);
                let mut out = vec![0; usize::try_from(len).unwrap()];
                controller.as_mut().unwrap().fill(&source, &mut out);
                Action::Respond(queue.complete(permit, Outcome::SUCCESS))
            }
            Action::Admin { permit, command } => {
                let controller = controller.as_mut().unwrap();
                controller.handle_admin(ms(5), queue, permit, command)
            }
            Action::ConnectAdmin { permit, .. } | Action::ConnectIo { permit, .. } => {
                Action::Respond(
                    queue.refuse_connect(permit, nvme::ConnectError::unknown_controller()),
                )
            }
        };
    }
    panic!("actions without end");
}

proptest! {
    #[test]
    fn sgl_of_any_bytes_is_refused_or_means_what_it_says(bytes: [u8; 16]) {
        if let Ok(sgl) = Sgl::parse(&bytes) {
            prop_assert_eq!(Sgl::parse(&sgl.emit()), Ok(sgl));
            // Of the other form three bytes are reserved.
            if matches!(sgl, Sgl::Keyed(_)) {
                prop_assert_eq!(sgl.emit(), bytes);
            }
        }
    }

    #[test]
    fn unconnected_queue_survives_any_host(
        sqes in prop::collection::vec((sqe(), 0u32..8192), 1..50),
        data in prop::collection::vec(any::<u8>(), 0..1100),
        qid in 0u16..3,
    ) {
        let mut queue = Queue::new(claim(qid, 32), IN_CAPSULE);
        for (sqe, came) in sqes {
            let action = queue.handle_capsule(ms(1), sqe.as_bytes(), came);
            prop_assert!(obey(&mut queue, None, action, &data));
            prop_assert_eq!(queue.in_flight(), 0);
        }
    }

    #[test]
    fn connect_survives_any_data(
        mut data in prop::collection::vec(any::<u8>(), 1024),
        text in 0usize..4,
    ) {
        // Half of the time the names are such that parsing goes on.
        if text & 1 == 1 {
            data[256..512].fill(0);
            data[256..261].copy_from_slice(b"nqn.a");
        }
        if text & 2 == 2 {
            data[16..18].fill(0xff);
            data[600] = 0;
        }
        let mut queue = Queue::new(claim(0, 32), 0);
        let sqe = Connect::admin(SUBNQN).sqe(Cid(1));
        let action = queue.handle_capsule(ms(1), sqe.as_bytes(), 0);
        prop_assert!(obey(&mut queue, None, action, &data));
        prop_assert_eq!(queue.in_flight(), 0);
    }

    #[test]
    fn io_queue_survives_any_host(
        sqes in prop::collection::vec((sqe(), 0u32..8192), 1..50),
        data in prop::collection::vec(any::<u8>(), 0..4200),
    ) {
        let mut pair = Pair::live();
        let mut queue = pair.io.remove(&1).unwrap();
        for (sqe, came) in sqes {
            let action = queue.handle_capsule(ms(1), sqe.as_bytes(), came);
            prop_assert!(obey(&mut queue, None, action, &data));
            prop_assert_eq!(queue.in_flight(), u16::from(queue.holds_first_half()));
        }
    }

    #[test]
    fn controller_survives_any_host(
        sqes in prop::collection::vec((sqe(), 0u64..20_000), 1..100),
        discovery: bool,
        enabled: bool,
    ) {
        let mut pair = Pair::new(export_of(vec![subsystem()], 1));
        let nqn = if discovery { nvme::DISCOVERY_NQN } else { SUBNQN };
        pair.connect(&Connect::admin(nqn)).ok();
        if enabled {
            pair.enable();
        }
        for (sqe, wait) in sqes {
            let action = pair.admin.handle_capsule(pair.now, sqe.as_bytes(), 0);
            if !obey(&mut pair.admin, pair.controller.as_mut(), action, &[]) {
                break;
            }
            pair.pump();
            prop_assert!(pair.admin.in_flight() <= 4, "only event requests wait");
            let then = nvme::Now(pair.now.0 + std::time::Duration::from_millis(wait));
            pair.until(then);
        }
    }
}

/// A step of a host that knows the commands but not their order, or of its transport.
#[derive(Debug, Clone)]
enum Step {
    SetCc(u32),
    Quiesce,
    ConnectIo(u16),
    LoseIo(u16),
    Io,
    EventRequest,
    Wait(u64),
    Export(u64),
}

fn step() -> impl Strategy<Value = Step> {
    let cc = vec![0u32, 0x0046_0060, 0x0046_0061, 0x0046_4061, 0x0046_8061, 0x4000, 0x61];
    prop_oneof![
        6 => prop::sample::select(cc).prop_map(Step::SetCc),
        4 => Just(Step::Quiesce),
        3 => (1u16..3).prop_map(Step::ConnectIo),
        1 => (1u16..3).prop_map(Step::LoseIo),
        4 => Just(Step::Io),
        2 => Just(Step::EventRequest),
        1 => (0u64..30_000).prop_map(Step::Wait),
        1 => (1u64..9).prop_map(Step::Export),
    ]
}

/// What a transport does once a controller's I/O has ended.
fn quiesce(pair: &mut Pair) {
    let now = pair.now;
    for qid in core::mem::take(&mut pair.io).into_keys() {
        pair.controller().io_queue_gone(now, nvme::Qid(qid));
    }
    pair.controller().io_quiesced(now);
    pair.pump();
}

fn take(pair: &mut Pair, step: &Step) {
    match *step {
        Step::SetCc(cc) => drop(pair.set_cc(cc)),
        Step::Quiesce => quiesce(pair),
        Step::ConnectIo(qid) => {
            let connect = Connect::io(pair.cntlid, qid);
            drop(pair.try_connect_io(&connect, claim(qid, 128)));
        }
        Step::LoseIo(qid) => {
            pair.io.remove(&qid);
            let now = pair.now;
            pair.controller().io_queue_gone(now, nvme::Qid(qid));
        }
        Step::Io if pair.io.contains_key(&1) => {
            let csts = pair.controller().csts();
            let read = blocks(nvme::io::opcode::READ, 1, 0, 0, keyed(512));
            match pair.start_io(&read, 0) {
                Action::Execute { permit, .. } => {
                    assert_eq!(csts, 1, "I/O runs only while ready and nothing else");
                    pair.finish(permit, Outcome::SUCCESS);
                }
                Action::Respond(completion) => {
                    assert_eq!(completion.cqe.status(), Status::COMMAND_SEQUENCE_ERROR.dnr());
                }
                other => panic!("unexpected {other:?}"),
            }
        }
        Step::Io => {}
        Step::EventRequest => drop(pair.async_event()),
        Step::Wait(ms) => {
            let then = nvme::Now(pair.now.0 + std::time::Duration::from_millis(ms));
            pair.until(then);
        }
        Step::Export(genctr) => {
            let mut changed = subsystem();
            changed.namespaces[0].lba_count = 2048 + genctr;
            let now = pair.now;
            pair.controller().export_changed(now, &export_of(vec![changed], genctr));
            pair.pump();
        }
    }
}

proptest! {
    #[test]
    fn controller_comes_back_from_any_order_of_steps(
        steps in prop::collection::vec(step(), 1..60),
    ) {
        let mut pair = Pair::new(export_of(vec![subsystem()], 1));
        pair.connect(&Connect::admin(SUBNQN)).ok();
        pair.quiesce_at_once = false;
        for step in &steps {
            take(&mut pair, step);
            prop_assert!(pair.admin.in_flight() <= 4);
            if pair.ended.is_some() {
                prop_assert_ne!(pair.controller().csts() & 2, 0, "failed, and says so");
                prop_assert_eq!(pair.controller().poll_timeout(), None);
                return Ok(());
            }
            prop_assert!(pair.controller().poll_timeout().is_some(), "every wait has an end");
        }
        // A host that does it right gets a working controller.
        pair.set_cc(0).ok();
        quiesce(&mut pair);
        // SHST of a controller that was never enabled stays until it is.
        prop_assert_eq!(pair.csts() & 3, 0);
        prop_assert_eq!(pair.admin.in_flight(), 0);
        pair.enable();
        pair.connect_io(1);
        take(&mut pair, &Step::Io);
        prop_assert!(pair.controller().counts().reads > 0);
    }
}

#[test]
fn capsule_of_any_length_is_read_within_it() {
    for len in 0..=80 {
        let mut queue = Queue::new(claim(0, 32), 0);
        let action = queue.handle_capsule(ms(0), &vec![0x7f; len], u32::MAX);
        assert_eq!(obey(&mut queue, None, action, &[]), len >= 64, "{len} bytes");
    }
}
