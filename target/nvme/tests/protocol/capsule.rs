//! Capsules that are wrong as capsules, and the submission queue head.

use nvme::io::opcode;
use nvme::{
    Action, Cid, DisconnectCause, DiskOp, HostData, HostSgl, Outcome, RKey, Sgl, Sqe, Status,
};
use zerocopy::IntoBytes;

use crate::pair::{Connect, IN_CAPSULE, Pair, SUBNQN, blocks, claim, export_of, keyed, subsystem};

fn read(cid: u16) -> Sqe {
    let mut sqe = blocks(opcode::READ, 1, 0, 0, keyed(512));
    sqe.cid = cid.into();
    sqe
}

#[test]
fn capsule_of_fewer_than_64_bytes_ends_the_connection() {
    let mut pair = Pair::live();
    let sqe = read(1);
    let queue = pair.io.get_mut(&1).unwrap();
    for len in [0, 1, 63] {
        let action = queue.handle_capsule(pair.now, &sqe.as_bytes()[..len], 0);
        assert!(
            matches!(action, Action::Disconnect { cause: DisconnectCause::ShortCapsule }),
            "{len} bytes: {action:?}",
        );
    }
    assert_eq!(queue.in_flight(), 0);
}

#[test]
fn one_command_more_than_the_queue_has_entries_ends_the_connection() {
    let mut pair = Pair::enabled();
    let mut connect = Connect::io(pair.cntlid, 1);
    connect.sqsize = 3;
    pair.try_connect_io(&connect, claim(1, 128)).ok();
    let mut permits = Vec::new();
    for cid in 0..4 {
        match pair.start_io(&read(cid), 0) {
            Action::Execute { permit, .. } => permits.push(permit),
            other => panic!("unexpected {other:?}"),
        }
    }
    let action = pair.start_io(&read(4), 0);
    assert!(matches!(action, Action::Disconnect { cause: DisconnectCause::QueueOverrun }));
    for permit in permits {
        pair.finish(permit, Outcome::SUCCESS);
    }
    assert_eq!(pair.io[&1].in_flight(), 0);
}

#[test]
fn command_id_in_flight_conflicts_and_leaves_the_first_command_alone() {
    let mut pair = Pair::live();
    let Action::Execute { permit, .. } = pair.start_io(&read(5), 0) else {
        panic!("not executed");
    };
    assert_eq!(pair.io_status(&read(5)), Status::COMMAND_ID_CONFLICT.dnr());
    assert_eq!(pair.io[&1].in_flight(), 1);
    assert_eq!(pair.finish(permit, Outcome::SUCCESS).cqe.cid(), Cid(5));
    assert!(matches!(pair.io_op(&read(5), 0), DiskOp::Read { .. }), "the id is free again");
}

#[test]
fn every_command_id_can_be_used() {
    let mut pair = Pair::live();
    for cid in [0, 1, 63, 64, 0x7fff, 0xfffe, 0xffff] {
        assert!(matches!(pair.io_op(&read(cid), 0), DiskOp::Read { .. }));
    }
}

#[test]
fn head_moves_by_one_a_response_and_wraps_at_the_queue_size() {
    let mut pair = Pair::enabled();
    let mut connect = Connect::io(pair.cntlid, 1);
    connect.sqsize = 2;
    let reply = pair.try_connect_io(&connect, claim(1, 128)).ok();
    assert_eq!(reply.cqe.sqhd.get(), 1, "Connect was entry 0");
    let heads: Vec<_> = (0..5)
        .map(|cid| match pair.start_io(&read(cid), 0) {
            Action::Execute { permit, .. } => pair.finish(permit, Outcome::SUCCESS).cqe.sqhd.get(),
            other => panic!("unexpected {other:?}"),
        })
        .collect();
    assert_eq!(heads, [2, 0, 1, 2, 0]);
}

#[test]
fn host_that_wants_no_flow_control_is_told_ffff() {
    let mut pair = Pair::new(export_of(vec![subsystem()], 1));
    let mut connect = Connect::admin(SUBNQN);
    connect.cattr = 1 << 2;
    assert_eq!(pair.connect(&connect).ok().cqe.sqhd.get(), 0xffff);
    assert_eq!(pair.property_get(0, true).cqe.sqhd.get(), 0xffff);
}

#[test]
fn response_carries_the_key_to_invalidate_only_if_the_host_asked() {
    let mut pair = Pair::live();
    for invalidate in [false, true] {
        let sgl = HostSgl { addr: 1, rkey: RKey(0x77), len: 512, invalidate };
        let sqe = blocks(opcode::READ, 1, 0, 0, Sgl::Keyed(sgl));
        let Action::Execute { permit, .. } = pair.start_io(&sqe, 0) else {
            panic!("not executed");
        };
        let reply = pair.finish(permit, Outcome::SUCCESS);
        assert_eq!(reply.invalidate, invalidate.then_some(RKey(0x77)));
    }
}

#[test]
fn descriptor_of_every_wrong_type_is_refused() {
    let mut pair = Pair::live();
    for kind in 0..=255u8 {
        let mut sqe = blocks(opcode::WRITE, 1, 0, 0, keyed(512));
        sqe.dptr[15] = kind;
        sqe.dptr[11..15].fill(0);
        sqe.dptr[..8].fill(0);
        let right = [0x01, 0x40, 0x4f].contains(&kind);
        match pair.start_io(&sqe, 512) {
            Action::Execute { permit, op } => {
                assert!(right, "{kind:#x} gave {op:?}");
                pair.finish(permit, Outcome::SUCCESS);
            }
            Action::Respond(completion) => {
                assert!(!right, "{kind:#x}");
                let status = completion.cqe.status();
                assert_eq!(status, Status::SGL_DESCRIPTOR_TYPE_INVALID.dnr(), "{kind:#x}");
            }
            other => panic!("unexpected {other:?}"),
        }
    }
}

#[test]
fn in_capsule_data_must_lie_within_the_bytes_that_came() {
    let mut pair = Pair::live();
    let offset_invalid = Some(Status::SGL_OFFSET_INVALID.dnr());
    let cases = [
        (0, 512, None),
        (0, 511, offset_invalid),
        (0, 0, offset_invalid),
        (512, 1024, None),
        (513, 1024, offset_invalid),
        (u64::from(u32::MAX), u32::MAX, offset_invalid),
        (u64::MAX, u32::MAX, offset_invalid),
        (u64::MAX - 511, u32::MAX, offset_invalid),
        (u64::from(IN_CAPSULE) - 512, IN_CAPSULE, None),
        // A transport that says more than the queue has room for is not believed.
        (u64::from(IN_CAPSULE), IN_CAPSULE + 512, offset_invalid),
    ];
    for (offset, came, status) in cases {
        let sqe = blocks(opcode::WRITE, 1, 0, 0, Sgl::InCapsule { offset, len: 512 });
        match (pair.start_io(&sqe, came), status) {
            (Action::Execute { permit, op }, None) => {
                let from = HostData::InCapsule { offset: u32::try_from(offset).unwrap(), len: 512 };
                assert!(matches!(op, DiskOp::Write { from: it, .. } if it == from), "{op:?}");
                pair.finish(permit, Outcome::SUCCESS);
            }
            (Action::Respond(completion), Some(status)) => {
                assert_eq!(completion.cqe.status(), status, "{offset} of {came}");
            }
            (other, _) => panic!("{offset} of {came}: {other:?}"),
        }
    }
}

#[test]
fn data_to_the_host_does_not_fit_in_its_capsule() {
    let mut pair = Pair::live();
    let sqe = blocks(opcode::READ, 1, 0, 0, Sgl::InCapsule { offset: 0, len: 512 });
    assert_eq!(pair.io_status(&sqe), Status::INVALID_FIELD.dnr());
}

#[test]
fn prps_and_what_can_not_be_fused_are_refused_on_both_kinds_of_queue() {
    let mut pair = Pair::live();
    for flags in [0x00, 0x80, 0xc0, 0x41, 0x42, 0x43] {
        let mut sqe = read(1);
        sqe.flags = flags;
        // A second half after the refused first one is told of that.
        let expected =
            if flags == 0x42 { Status::FAILED_FUSED } else { Status::INVALID_FIELD.dnr() };
        assert_eq!(pair.io_status(&sqe), expected, "{flags:#x}");
        let mut sqe = Sqe::new(nvme::admin::opcode::KEEP_ALIVE, Cid(0));
        sqe.flags = flags;
        assert_eq!(pair.admin(sqe).status(), Status::INVALID_FIELD.dnr(), "{flags:#x}");
    }
}

#[test]
fn fabrics_commands_have_no_flags() {
    let mut pair = Pair::enabled();
    let mut sqe = Sqe::new(Sqe::FABRICS, Cid(0));
    sqe.nsid = u32::from(nvme::admin::fctype::PROPERTY_GET).into();
    sqe.cdw11 = nvme::property::offset::VS.into();
    sqe.flags = 0;
    assert_eq!(pair.admin(sqe).ok().dw0(), 0x0002_0000);
}
