//! Hosts that send anything: nothing panics, every command is answered or held exactly once.

use nvme::{Action, Cid, Controller, HostData, Outcome, Queue, Sgl, Sqe};
use proptest::prelude::*;
use zerocopy::{FromBytes, IntoBytes};

use crate::pair::{Connect, IN_CAPSULE, Pair, SUBNQN, claim, export_of, ms, subsystem};

/// Sixty-four bytes of which the interesting ones are often nearly right.
fn sqe() -> impl Strategy<Value = Sqe> {
    let opcode = prop_oneof![
        prop::sample::select(vec![0x00u8, 1, 2, 6, 8, 9, 0x0a, 0x0c, 0x18, 0x7f]),
        any::<u8>(),
    ];
    let flags = prop_oneof![4 => Just(0x40u8), 1 => any::<u8>()];
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
            Action::None | Action::Respond(_) => return true,
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
            prop_assert_eq!(queue.in_flight(), 0);
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

#[test]
fn capsule_of_any_length_is_read_within_it() {
    for len in 0..=80 {
        let mut queue = Queue::new(claim(0, 32), 0);
        let action = queue.handle_capsule(ms(0), &vec![0x7f; len], u32::MAX);
        assert_eq!(obey(&mut queue, None, action, &[]), len >= 64, "{len} bytes");
    }
}
