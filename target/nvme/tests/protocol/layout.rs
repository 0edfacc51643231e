//! Bytes at the places that the specification gives them, written out by hand: the host model and
//! the core share their structures, so neither would notice a field that both have wrong.

use nvme::admin::{AdminCommand, GetLogPage, Identify, PropertySize};
use nvme::{
    Action, Cid, Cqe, DiskOp, HostData, HostSgl, Nsid, Outcome, Qid, RKey, Sgl, Sqe, Status,
};
use zerocopy::IntoBytes;

use crate::pair::Pair;

/// A capsule of zeroes but for these bytes.
fn capsule(parts: &[(usize, &[u8])]) -> [u8; 64] {
    let mut bytes = [0; 64];
    for (at, part) in parts {
        bytes[*at..*at + part.len()].copy_from_slice(part);
    }
    bytes
}

const KEYED: [u8; 16] = [
    0x88, 0x77, 0x66, 0x55, 0x44, 0x33, 0x22, 0x11, 0x00, 0x10, 0x00, 0x0d, 0x0c, 0x0b, 0x0a, 0x4f,
];
const KEYED_MEANS: HostSgl =
    HostSgl { addr: 0x1122_3344_5566_7788, rkey: RKey(0x0a0b_0c0d), len: 4096, invalidate: true };

#[test]
fn keyed_descriptor_has_24_bits_of_length_and_an_unaligned_key() {
    assert_eq!(Sgl::parse(&KEYED), Ok(Sgl::Keyed(KEYED_MEANS)));
    let mut longest = KEYED;
    longest[8..11].fill(0xff);
    assert_eq!(Sgl::parse(&longest).map(|sgl| sgl.len()), Ok(0x00ff_ffff));
}

#[test]
fn in_capsule_descriptor_has_an_offset_and_32_bits_of_length() {
    let mut bytes = [0; 16];
    bytes[..9].copy_from_slice(&[1, 2, 0, 0, 0, 0, 0, 0, 4]);
    bytes[11] = 1;
    bytes[15] = 0x01;
    let means = Sgl::InCapsule { offset: 0x0201, len: 0x0100_0004 };
    assert_eq!(Sgl::parse(&bytes), Ok(means));
}

#[test]
fn write_is_read_from_its_places() {
    let mut pair = Pair::live();
    let bytes = capsule(&[
        (0, &[0x01, 0x40, 0x34, 0x12]),
        (4, &[1, 0, 0, 0]),
        (24, &KEYED),
        (40, &[8, 1, 0, 0, 0, 0, 0, 0]),
        (48, &[7, 0]),
        // FUA is bit 14 of the control word.
        (50, &[0x00, 0x40]),
    ]);
    let now = pair.now;
    let action = pair.io.get_mut(&1).unwrap().handle_capsule(now, &bytes, 0);
    let Action::Execute { permit, op } = action else {
        panic!("unexpected {action:?}");
    };
    match op {
        DiskOp::Write { extent, from, fua, .. } => {
            assert_eq!((extent.lba, extent.blocks, fua), (0x108, 8, true));
            assert_eq!(from, HostData::Host(KEYED_MEANS));
        }
        other => panic!("unexpected {other:?}"),
    }
    assert_eq!(permit.cid(), Cid(0x1234));
    let reply = pair.finish(permit, Outcome::SUCCESS);
    assert_eq!(reply.invalidate, Some(RKey(0x0a0b_0c0d)));
}

#[test]
fn completion_is_written_to_its_places() {
    let status = Status::CONNECT_INVALID_PARAMETERS.dnr();
    let cqe = Cqe::new(Cid(0x1234), 0x0506, status, 0x1122_3344_5566_7788);
    let bytes =
        [0x88, 0x77, 0x66, 0x55, 0x44, 0x33, 0x22, 0x11, 0x06, 0x05, 0, 0, 0x34, 0x12, 0x04, 0x83];
    assert_eq!(cqe.as_bytes(), bytes);
}

fn admin(bytes: &[u8; 64]) -> AdminCommand {
    AdminCommand::parse(&Sqe::parse(bytes).unwrap())
}

#[test]
fn properties_are_read_from_their_places() {
    let get = capsule(&[(0, &[0x7f]), (4, &[0x04]), (40, &[1]), (44, &[0x68, 0, 0, 0])]);
    let means = AdminCommand::PropertyGet { offset: 0x68, size: PropertySize::Eight };
    assert_eq!(admin(&get), means);
    let set = capsule(&[
        (0, &[0x7f]),
        (44, &[0x14, 0, 0, 0]),
        (48, &[0x88, 0x77, 0x66, 0x55, 0x44, 0x33, 0x22, 0x11]),
    ]);
    let means = AdminCommand::PropertySet {
        offset: 0x14,
        size: PropertySize::Four,
        value: 0x1122_3344_5566_7788,
    };
    assert_eq!(admin(&set), means);
}

#[test]
fn identify_is_read_from_its_places() {
    let bytes = capsule(&[
        (0, &[0x06, 0x40]),
        (4, &[4, 3, 2, 1]),
        (24, &KEYED),
        (40, &[0x1c, 0xff, 0x34, 0x12]),
        (47, &[0x02]),
    ]);
    let means =
        Identify { cns: 0x1c, cntid: 0x1234, csi: 2, nsid: Nsid(0x0102_0304), to: KEYED_MEANS };
    assert_eq!(admin(&bytes), AdminCommand::Identify(means));
}

#[test]
fn get_log_page_is_read_from_its_places() {
    let mut sgl = KEYED;
    // (0001_0001h + 1) dwords.
    sgl[8..11].copy_from_slice(&[0x08, 0x00, 0x04]);
    let bytes = capsule(&[
        (0, &[0x02, 0x40]),
        (24, &sgl),
        (40, &[0x70, 0x80, 0x01, 0x00, 0x01, 0x00]),
        (48, &[8, 7, 6, 5, 4, 3, 2, 1]),
        (56, &[0, 0, 0x80, 0x03]),
    ]);
    let means = GetLogPage {
        lid: 0x70,
        nsid: Nsid(0),
        rae: true,
        offset: 0x0102_0304_0506_0708,
        index_offset: true,
        csi: 3,
        len: 0x0004_0008,
        to: HostSgl { len: 0x0004_0008, ..KEYED_MEANS },
    };
    assert_eq!(admin(&bytes), AdminCommand::GetLogPage(means));
}

#[test]
fn abort_names_queue_and_command() {
    let bytes = capsule(&[(0, &[0x08, 0x40]), (40, &[0x02, 0x01, 0x04, 0x03])]);
    assert_eq!(admin(&bytes), AdminCommand::Abort { sqid: Qid(0x0102), cid: Cid(0x0304) });
}

#[test]
fn connect_is_read_from_its_places() {
    let mut queue = nvme::Queue::new(crate::pair::claim(0x0203, 0x1000), 0);
    let mut sgl = KEYED;
    sgl[8..11].copy_from_slice(&[0x00, 0x04, 0x00]);
    let bytes = capsule(&[
        (0, &[0x7f, 0x40]),
        (4, &[0x01]),
        (24, &sgl),
        (40, &[0, 0, 0x03, 0x02, 0xfe, 0x0f, 0x04, 0]),
        (48, &[0x88, 0x13, 0, 0]),
    ]);
    let mut data = vec![0; 1024];
    data[..16].fill(0x5a);
    data[16..18].copy_from_slice(&[0x34, 0x12]);
    data[256..261].copy_from_slice(b"nqn.s");
    data[512..517].copy_from_slice(b"nqn.h");
    let now = nvme::Now::default();
    let Action::Fetch { permit, .. } = queue.handle_capsule(now, &bytes, 0) else {
        panic!("no fetch");
    };
    let Action::ConnectIo { permit, request } = queue.handle_fetched(now, permit, &data) else {
        panic!("no connect");
    };
    assert_eq!((request.qid, request.sqsize, request.kato_ms), (Qid(0x0203), 0x0ffe, 5000));
    assert!(request.flow_control_disabled);
    assert_eq!((request.host_id, request.cntlid), ([0x5a; 16], 0x1234));
    assert_eq!((request.subnqn.as_str(), request.hostnqn.as_str()), ("nqn.s", "nqn.h"));
    permit.abandon();
}
