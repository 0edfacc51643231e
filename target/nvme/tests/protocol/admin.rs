//! Admin and Fabrics commands of an I/O controller.

use nvme::admin::{fctype, opcode};
use nvme::property::offset;
use nvme::wire::identify::IdentifyNamespace;
use nvme::{Cid, DiskOp, NamespaceFeatures, Sgl, Sqe, Status};
use zerocopy::FromBytes;

use crate::pair::{
    Connect, Pair, SUBNQN, blocks, export_of, keyed, log_page, namespace, subsystem,
};

const INVALID_FIELD: Status = Status::INVALID_FIELD.dnr();

fn dword(data: &[u8], index: usize) -> u32 {
    u32::from_le_bytes(data[index * 4..index * 4 + 4].try_into().unwrap())
}

#[test]
fn properties_that_do_not_exist_or_have_another_size_are_refused_with_result_0() {
    let mut pair = Pair::enabled();
    let sizes = [
        (offset::CAP, true),
        (offset::VS, false),
        (offset::CC, false),
        (offset::CSTS, false),
        (offset::CRTO, false),
    ];
    for at in 0..0x100 {
        for eight in [false, true] {
            let reply = pair.property_get(at, eight);
            if sizes.contains(&(at, eight)) {
                assert_eq!(reply.status(), Status::SUCCESS, "{at:#x}");
            } else {
                assert_eq!(reply.status(), INVALID_FIELD, "{at:#x}");
                assert_eq!(reply.cqe.result.get(), 0);
            }
        }
    }
    let mut sqe = Sqe::new(Sqe::FABRICS, Cid(0));
    sqe.nsid = u32::from(fctype::PROPERTY_GET).into();
    sqe.cdw10 = 2.into();
    assert_eq!(pair.admin(sqe).status(), INVALID_FIELD, "16 bytes");
}

#[test]
fn only_cc_can_be_set() {
    let mut pair = Pair::enabled();
    for (at, size) in [(offset::CAP, 1), (offset::VS, 0), (offset::CSTS, 0), (offset::CC, 1)] {
        let mut sqe = Sqe::new(Sqe::FABRICS, Cid(0));
        sqe.nsid = u32::from(fctype::PROPERTY_SET).into();
        sqe.cdw10 = size.into();
        sqe.cdw11 = at.into();
        assert_eq!(pair.admin(sqe).status(), INVALID_FIELD, "{at:#x}");
    }
    assert_eq!(pair.csts(), 1);
    assert_eq!(pair.property_get(offset::CC, false).ok().dw0(), 0x0046_0061);
}

#[test]
fn unknown_commands_are_refused() {
    let mut pair = Pair::enabled();
    let known = [0x02, 0x06, 0x08, 0x09, 0x0a, 0x0c, 0x18, 0x7f];
    for opcode in (0..=255).filter(|opcode| !known.contains(opcode)) {
        let status = pair.admin(Sqe::new(opcode, Cid(0))).status();
        assert_eq!(status, Status::INVALID_OPCODE.dnr(), "{opcode:#x}");
    }
    for fctype in (0u32..=255).filter(|fctype| ![0, 1, 4, 8].contains(fctype)) {
        let mut sqe = Sqe::new(Sqe::FABRICS, Cid(0));
        sqe.nsid = fctype.into();
        assert_eq!(pair.admin(sqe).status(), Status::INVALID_OPCODE.dnr(), "{fctype:#x}");
    }
}

#[test]
fn identify_controller_tells_what_is_and_nothing_else() {
    let mut pair = Pair::enabled();
    let id = pair.identify_controller();
    assert_eq!(&id.sn, b"SER1                ");
    assert_eq!(id.mdts, 8, "256 pages of 4 KiB");
    assert_eq!(id.ver.get(), 0x0002_0000);
    assert_eq!(id.ioccsz.get(), 4 + 4096 / 16);
    assert_eq!(id.sgls.get(), 1 | 1 << 2 | 1 << 20);
    assert_eq!(id.msdbd, 1);
    assert_eq!(id.maxcmd.get(), 128);
    assert_eq!(id.ctratt.get(), 1 | 1 << 6);
    assert_eq!(id.oncs.get(), 0x19d, "no Write Uncorrectable, no reservations");
    assert_eq!(id.oacs.get(), 0);
    assert_eq!((id.fuses.get(), id.ocfs.get()), (1, 1));
    assert_eq!(id.cmic & 1 << 3, 0, "no ANA");
    assert_eq!(id.vwc, 0b111);
    assert_eq!((id.nn.get(), id.mnan.get()), (1024, 1024));
    assert_eq!(id.oaes.get(), 1 << 8);
    assert_eq!((id.aerl, id.acl), (3, 3));
}

#[test]
fn identify_controller_follows_its_disks() {
    let mut plain = subsystem();
    plain.namespaces = vec![namespace(5000, 9, 8)];
    plain.namespaces[0].features = NamespaceFeatures::default();
    plain.limits.in_capsule_bytes = 0;
    plain.limits.mdts_bytes = 4096;
    let mut pair = Pair::new(export_of(vec![plain], 1));
    pair.connect(&Connect::admin(SUBNQN)).ok();
    pair.enable();
    let id = pair.identify_controller();
    assert_eq!(id.oncs.get(), 0x191, "no Dataset Management, no Write Zeroes");
    assert_eq!(id.vwc, 0b110);
    assert_eq!((id.sgls.get() & 1 << 20, id.ioccsz.get(), id.mdts), (0, 4, 0));
    assert_eq!((id.nn.get(), id.mnan.get()), (5000, 1024));
}

#[test]
fn identify_with_another_length_or_in_the_capsule_is_refused() {
    let mut pair = Pair::enabled();
    let cases = [
        (keyed(4095), Status::DATA_SGL_LENGTH_INVALID.dnr()),
        (keyed(4097), Status::DATA_SGL_LENGTH_INVALID.dnr()),
        (Sgl::InCapsule { offset: 0, len: 4096 }, INVALID_FIELD),
    ];
    for (sgl, status) in cases {
        let mut sqe = Sqe::new(opcode::IDENTIFY, Cid(0));
        sqe.cdw10 = 1.into();
        sqe.dptr = sgl.emit();
        assert_eq!(pair.admin(sqe).status(), status, "{sgl:?}");
    }
}

#[test]
fn identify_namespace_shows_geometry_and_features() {
    let mut pair = Pair::enabled();
    let id = IdentifyNamespace::read_from_bytes(&pair.identify(0, 2).ok().data).unwrap();
    assert_eq!((id.nsze.get(), id.ncap.get(), id.nuse.get()), (512, 512, 512));
    assert_eq!((id.nlbaf, id.flbas, id.lbaf0.lbads, id.lbaf0.ms.get()), (0, 0, 12, 0));
    assert_eq!((id.nmic, id.nsattr), (1, 0));
    assert_eq!(id.dlfeat, 1 | 1 << 3);
    assert_eq!(id.nsfeat & 1 << 4, 0);
    let id = IdentifyNamespace::read_from_bytes(&pair.identify(0, 7).ok().data).unwrap();
    assert_eq!(id.nsattr, 1, "write protected");
}

#[test]
fn preferred_sizes_are_told_0s_based() {
    let mut hinted = subsystem();
    hinted.namespaces[0].features.preferred_write_blocks = 8;
    hinted.namespaces[0].features.preferred_deallocate_blocks = 16;
    let mut pair = Pair::new(export_of(vec![hinted], 1));
    pair.connect(&Connect::admin(SUBNQN)).ok();
    pair.enable();
    let id = IdentifyNamespace::read_from_bytes(&pair.identify(0, 1).ok().data).unwrap();
    assert_ne!(id.nsfeat & 1 << 4, 0);
    let told = [id.npwg, id.npwa, id.npdg, id.npda, id.nows].map(|field| field.get());
    assert_eq!(told, [7, 7, 15, 15, 7]);
}

#[test]
fn identify_of_ids_that_are_inactive_or_can_not_be() {
    let mut pair = Pair::enabled();
    let invalid = Status::INVALID_NAMESPACE.dnr();
    for cns in [0, 5, 8] {
        assert!(pair.identify(cns, 3).ok().data.iter().all(|byte| *byte == 0), "CNS {cns:#x}");
        for nsid in [0, 0xffff_fffe, 0xffff_ffff] {
            assert_eq!(pair.identify(cns, nsid).status(), invalid, "CNS {cns:#x} {nsid:#x}");
        }
    }
    assert_eq!(pair.identify(3, 3).status(), invalid);
    for cns in [2, 7] {
        pair.identify(cns, 0xffff_fffd).ok();
        assert_eq!(pair.identify(cns, 0xffff_fffe).status(), invalid);
        assert_eq!(pair.identify(cns, 0xffff_ffff).status(), invalid);
    }
}

#[test]
fn identify_structures_that_do_not_exist_are_refused() {
    let mut pair = Pair::enabled();
    let known = [0, 1, 2, 3, 5, 6, 7, 8, 0x1c];
    for cns in (0..=255).filter(|cns| !known.contains(cns)) {
        assert_eq!(pair.identify(cns, 1).status(), INVALID_FIELD, "CNS {cns:#x}");
    }
    for cns in [5u8, 6, 7] {
        let mut sqe = Sqe::new(opcode::IDENTIFY, Cid(0));
        sqe.nsid = 1.into();
        sqe.cdw10 = u32::from(cns).into();
        sqe.cdw11 = (2u32 << 24).into();
        sqe.dptr = keyed(4096).emit();
        assert_eq!(pair.admin(sqe).status(), INVALID_FIELD, "zoned command set");
    }
}

#[test]
fn command_set_combination_is_nvm_alone() {
    let mut pair = Pair::enabled();
    for (cntid, status) in [(0xffff, Status::SUCCESS), (42, Status::SUCCESS), (7, INVALID_FIELD)] {
        let mut sqe = Sqe::new(opcode::IDENTIFY, Cid(0));
        sqe.cdw10 = (cntid << 16 | 0x1c).into();
        sqe.dptr = keyed(4096).emit();
        let reply = pair.admin(sqe);
        assert_eq!(reply.status(), status);
        if status.is_success() {
            assert_eq!((reply.data[0], reply.data[1..].iter().max()), (1, Some(&0)));
        }
    }
}

#[test]
fn descriptors_hold_what_the_namespace_has() {
    let mut full = subsystem();
    full.namespaces[0].nguid = [9; 16];
    full.namespaces[0].eui64 = Some([8; 8]);
    full.namespaces[1].uuid = uuid::Uuid::nil();
    let uuid = full.namespaces[0].uuid;
    let mut pair = Pair::new(export_of(vec![full], 1));
    pair.connect(&Connect::admin(SUBNQN)).ok();
    pair.enable();
    let data = pair.identify(3, 1).ok().data;
    let mut expected = vec![1, 8, 0, 0];
    expected.extend([8; 8]);
    expected.extend([2, 16, 0, 0]);
    expected.extend([9; 16]);
    expected.extend([3, 16, 0, 0]);
    expected.extend(uuid.as_bytes());
    expected.extend([4, 1, 0, 0, 0, 0, 0, 0]);
    assert_eq!(data[..expected.len()], expected);
    let data = pair.identify(3, 2).ok().data;
    assert_eq!(data[..8], [4, 1, 0, 0, 0, 0, 0, 0]);
}

#[test]
fn active_list_goes_on_where_it_was_left_and_is_cut_at_1024() {
    let mut many = subsystem();
    many.namespaces = (1..=1500).map(|nsid| namespace(nsid * 2, 9, 8)).collect();
    let mut pair = Pair::new(export_of(vec![many], 1));
    pair.connect(&Connect::admin(SUBNQN)).ok();
    pair.enable();
    let data = pair.identify(2, 0).ok().data;
    assert_eq!((dword(&data, 0), dword(&data, 1023)), (2, 2048));
    let data = pair.identify(2, 2048).ok().data;
    assert_eq!((dword(&data, 0), dword(&data, 475), dword(&data, 476)), (2050, 3000, 0));
    let data = pair.identify(7, 2999).ok().data;
    assert_eq!((dword(&data, 0), dword(&data, 1)), (3000, 0));
}

#[test]
fn number_of_queues_is_the_smaller_wish_within_the_limit() {
    let mut pair = Pair::enabled();
    assert_eq!(pair.get_feature(7, 0).ok().dw0(), 0x0003_0003);
    let cases = [
        (0x0000_0000, 0x0000_0000),
        (0x0005_0001, 0x0001_0001),
        (0x00ff_00ff, 0x0003_0003),
        (0xfffe_fffe, 0x0003_0003),
    ];
    for (asked, granted) in cases {
        assert_eq!(pair.set_feature(7, asked).ok().dw0(), granted);
        assert_eq!(pair.get_feature(7, 0).ok().dw0(), granted);
        assert_eq!(pair.get_feature(7, 1).ok().dw0(), 0x0003_0003, "default");
    }
    for asked in [0xffff_0000, 0x0000_ffff, 0xffff_ffff] {
        assert_eq!(pair.set_feature(7, asked).status(), INVALID_FIELD);
    }
    pair.connect_io(1);
    assert_eq!(pair.set_feature(7, 0).status(), Status::COMMAND_SEQUENCE_ERROR.dnr());
}

#[test]
fn mandatory_features_can_be_got_set_and_asked_about() {
    let mut pair = Pair::enabled();
    let cases = [
        (0x01, 0x0000_0007, 0x0000_0007),
        (0x02, 0, 0),
        (0x04, 0x0000_0150, 0x0000_0150),
        (0x05, 0x0000_0032, 0x0000_0032),
        (0x06, 0, 0),
        (0x0a, 1, 1),
        (0x0b, 0x0000_011f, 0x0000_011f),
        (0x0f, 7_000, 7_000),
        (0x19, 0, 0),
    ];
    for (fid, value, expected) in cases {
        let default = pair.get_feature(fid, 1).ok().dw0();
        pair.set_feature(fid, value).ok();
        assert_eq!(pair.get_feature(fid, 0).ok().dw0(), expected, "{fid:#x}");
        assert_eq!(pair.get_feature(fid, 1).ok().dw0(), default, "{fid:#x} default");
        assert_eq!(pair.get_feature(fid, 2).ok().dw0(), default, "{fid:#x} saved");
        assert_eq!(pair.get_feature(fid, 3).ok().dw0(), 1 << 2, "{fid:#x} changeable");
        assert_eq!(pair.get_feature(fid, 4).status(), INVALID_FIELD);
    }
}

#[test]
fn features_refuse_what_they_can_not_hold() {
    let mut pair = Pair::enabled();
    let cases = [
        (0x02, 1, INVALID_FIELD),
        (0x04, 3 << 20, INVALID_FIELD),
        (0x04, 1 << 16, INVALID_FIELD),
        (0x05, 1 << 16, INVALID_FIELD),
        (0x0b, 1 << 31, INVALID_FIELD),
        (0x0b, 1 << 11, INVALID_FIELD),
        (0x19, 1, Status::COMMAND_SET_COMBINATION_REJECTED.dnr()),
        (0x81, 1, Status::COMMAND_SEQUENCE_ERROR.dnr()),
        (0x03, 0, INVALID_FIELD),
        (0x08, 0, INVALID_FIELD),
        (0xc0, 0, INVALID_FIELD),
    ];
    for (fid, value, status) in cases {
        assert_eq!(pair.set_feature(fid, value).status(), status, "{fid:#x}");
    }
    for fid in [0x00, 0x03, 0x08, 0x09, 0x10, 0x80, 0xc0] {
        assert_eq!(pair.get_feature(fid, 0).status(), INVALID_FIELD, "{fid:#x}");
        assert_eq!(pair.get_feature(fid, 3).status(), INVALID_FIELD, "{fid:#x}");
    }
    let mut sqe = Sqe::new(opcode::SET_FEATURES, Cid(0));
    sqe.cdw10 = (1u32 << 31 | 0x0b).into();
    assert_eq!(pair.admin(sqe).status(), Status::FEATURE_NOT_SAVEABLE.dnr());
    let mut sqe = Sqe::new(opcode::SET_FEATURES, Cid(0));
    sqe.nsid = 1.into();
    sqe.cdw10 = 0x0b.into();
    assert_eq!(pair.admin(sqe).status(), Status::FEATURE_NOT_NAMESPACE_SPECIFIC.dnr());
}

#[test]
fn host_identifier_is_that_of_connect_and_only_in_128_bits() {
    let mut pair = Pair::enabled();
    let mut sqe = Sqe::new(opcode::GET_FEATURES, Cid(0));
    sqe.cdw10 = 0x81.into();
    sqe.cdw11 = 1.into();
    sqe.dptr = keyed(16).emit();
    assert_eq!(pair.admin(sqe).ok().data, [7; 16]);
    sqe.cdw11 = 0.into();
    assert_eq!(pair.admin(sqe).status(), INVALID_FIELD);
    sqe.cdw11 = 1.into();
    sqe.dptr = keyed(8).emit();
    assert_eq!(pair.admin(sqe).status(), Status::DATA_SGL_LENGTH_INVALID.dnr());
    assert_eq!(pair.get_feature(0x81, 3).ok().dw0(), 0, "not changeable");
}

#[test]
fn supported_logs_and_features_are_exactly_those_that_answer() {
    let mut pair = Pair::enabled();
    let logs = pair.log_page(0x00, 0, 1024).ok().data;
    let features = pair.log_page(0x12, 0, 1024).ok().data;
    for id in 0..=255u8 {
        let at = usize::from(id);
        let reply = pair.log_page(id, 0, 64);
        let expected =
            if dword(&logs, at) == 1 { Status::SUCCESS } else { Status::INVALID_LOG_PAGE.dnr() };
        assert_eq!(reply.status(), expected, "log page {id:#x}");
        let known = pair.get_feature(id, 3).status().is_success();
        assert_eq!(dword(&features, at) & 1 == 1, known, "feature {id:#x}");
    }
}

#[test]
fn command_effects_are_exactly_the_commands_that_are_known() {
    let mut pair = Pair::live();
    let effects = pair.log_page(0x05, 0, 4096).ok().data;
    for code in 0..=255u8 {
        let at = usize::from(code);
        if code != Sqe::FABRICS && code != opcode::ASYNC_EVENT_REQUEST {
            let known = pair.admin(Sqe::new(code, Cid(0))).status() != Status::INVALID_OPCODE.dnr();
            assert_eq!(dword(&effects, at) & 1 == 1, known, "admin {code:#x}");
        }
        if code == Sqe::FABRICS {
            continue;
        }
        let known = match pair.start_io(&blocks(code, 1, 0, 0, keyed(0)), 0) {
            nvme::Action::Execute { permit, .. } => {
                pair.finish(permit, nvme::Outcome::SUCCESS);
                true
            }
            nvme::Action::Respond(completion) => {
                completion.cqe.status() != Status::INVALID_OPCODE.dnr()
            }
            other => panic!("unexpected {other:?}"),
        };
        assert_eq!(dword(&effects, 256 + at) & 1 == 1, known, "I/O {code:#x}");
    }
}

#[test]
fn log_pages_are_read_in_parts_that_fit_together() {
    let mut pair = Pair::live();
    for lid in [0x00, 0x03, 0x05, 0x12] {
        let whole = pair.log_page(lid, 0, 4096).ok().data;
        for (at, len) in [(0, 4), (4, 8), (508, 16), (1020, 1024)] {
            let reply = pair.log_page(lid, at, len);
            if at > 512 && lid == 0x03 {
                assert_eq!(reply.status(), INVALID_FIELD, "past the end");
                continue;
            }
            let first = usize::try_from(at).unwrap();
            let end = whole.len().min(first + usize::try_from(len).unwrap());
            let part = &whole[first..end];
            assert_eq!(reply.ok().data, part, "log page {lid:#x} at {at}");
        }
    }
}

#[test]
fn no_more_of_a_log_page_is_returned_than_it_has() {
    let mut pair = Pair::live();
    let mdts = 1 << 20;
    for (lid, bytes) in [(0x00, 1024), (0x02, 512), (0x03, 512), (0x05, 4096), (0x12, 1024)] {
        assert_eq!(pair.log_page(lid, 0, mdts).ok().data.len(), bytes, "log page {lid:#x}");
        let last = bytes as u64 - 4;
        assert_eq!(pair.log_page(lid, last, mdts).ok().data.len(), 4);
        assert!(pair.log_page(lid, last + 4, mdts).ok().data.is_empty());
    }
}

#[test]
fn log_page_reads_that_can_not_be_served_are_refused() {
    let mut pair = Pair::enabled();
    assert_eq!(pair.log_page(2, 2, 4).status(), INVALID_FIELD, "offset not of dwords");
    assert_eq!(pair.log_page(2, 516, 4).status(), INVALID_FIELD, "past the end");
    assert_eq!(pair.log_page(2, u64::MAX - 3, 4).status(), INVALID_FIELD);
    let mdts = 1 << 20;
    assert_eq!(pair.log_page(2, 0, mdts + 4).status(), INVALID_FIELD, "above MDTS");
    let mut sqe = log_page(2, 0, 512);
    sqe.nsid = 1.into();
    assert_eq!(pair.admin(sqe).status(), INVALID_FIELD, "SMART of one namespace");
    let mut sqe = log_page(2, 0, 512);
    sqe.cdw14 = (1u32 << 23).into();
    assert_eq!(pair.admin(sqe).status(), INVALID_FIELD, "offset in entries");
    let mut sqe = log_page(2, 0, 512);
    sqe.cdw10 = 0xffff_0002.into();
    sqe.cdw11 = 0xffff.into();
    assert_eq!(pair.admin(sqe).status(), INVALID_FIELD, "16 GiB");
    let mut sqe = log_page(2, 0, 512);
    sqe.dptr = keyed(508).emit();
    assert_eq!(pair.admin(sqe).status(), Status::DATA_SGL_LENGTH_INVALID.dnr());
}

#[test]
fn smart_counts_what_queues_did_also_those_that_are_gone() {
    let mut pair = Pair::live();
    for _ in 0..3 {
        pair.io_op(&blocks(2, 1, 0, 7, keyed(4096)), 0);
    }
    assert!(matches!(pair.io_op(&blocks(1, 1, 0, 255, keyed(131_072)), 0), DiskOp::Write { .. }));
    for gone in [false, true] {
        if gone {
            let now = pair.now;
            pair.controller().io_queue_gone(now, nvme::Qid(1));
        }
        let smart = pair.log_page(2, 0, 512).ok().data;
        assert_eq!(smart[0], 0, "no warning");
        assert_eq!(smart[3], 100, "spare");
        let count = |at: usize| u64::from_le_bytes(smart[at..at + 8].try_into().unwrap());
        assert_eq!([count(32), count(48), count(64), count(80)], [1, 1, 3, 1]);
    }
}

#[test]
fn firmware_log_and_identify_agree() {
    let mut pair = Pair::enabled();
    let log = pair.log_page(3, 0, 512).ok().data;
    assert_eq!(log[0], 1);
    assert_eq!(log[8..16], pair.identify_controller().fr);
}

#[test]
fn fifth_event_request_is_one_too_many() {
    let mut pair = Pair::enabled();
    for _ in 0..4 {
        assert!(pair.async_event().is_none());
    }
    let status = pair.async_event().map(|reply| reply.status());
    assert_eq!(status, Some(Status::ASYNC_EVENT_LIMIT.dnr()));
}

fn grow(pair: &mut Pair, genctr: u64) {
    let mut grown = subsystem();
    grown.namespaces[0].lba_count = 4096 + genctr;
    grown.namespaces.remove(1);
    let now = pair.now;
    pair.controller().export_changed(now, &export_of(vec![grown], genctr));
    pair.pump();
}

#[test]
fn changed_namespaces_are_told_once_until_the_log_is_read() {
    let mut pair = Pair::live();
    pair.set_feature(0x0b, 0x100).ok();
    assert!(pair.async_event().is_none());
    assert!(pair.async_event().is_none());
    grow(&mut pair, 2);
    grow(&mut pair, 3);
    assert_eq!(pair.asynchronous.len(), 1);
    assert_eq!(pair.asynchronous[0].dw0(), 0x0004_0002);
    // I/O goes by the new size at once.
    assert!(matches!(pair.io_op(&blocks(2, 1, 4000, 0, keyed(512)), 0), DiskOp::Read { .. }));
    // RAE: the event stays told, the list stays.
    let mut retain = log_page(4, 0, 4096);
    retain.cdw10 = (retain.cdw10.get() | 1 << 15).into();
    let list = pair.admin(retain).ok().data;
    assert_eq!((dword(&list, 0), dword(&list, 1), dword(&list, 2)), (1, 2, 0));
    grow(&mut pair, 4);
    assert_eq!(pair.asynchronous.len(), 1);
    let list = pair.log_page(4, 0, 4096).ok().data;
    assert_eq!((dword(&list, 0), dword(&list, 1), dword(&list, 2)), (1, 2, 0));
    let list = pair.log_page(4, 0, 4096).ok().data;
    assert_eq!(dword(&list, 0), 0, "read and gone");
    grow(&mut pair, 5);
    assert_eq!(pair.asynchronous.len(), 2, "told again");
}

#[test]
fn list_read_in_parts_is_one_list_and_what_changes_meanwhile_is_told_anew() {
    let mut pair = Pair::enabled();
    pair.set_feature(0x0b, 0x100).ok();
    assert!(pair.async_event().is_none());
    assert!(pair.async_event().is_none());
    grow(&mut pair, 2);
    let mut first = log_page(4, 0, 4);
    first.cdw10 = (first.cdw10.get() | 1 << 15).into();
    assert_eq!(dword(&pair.admin(first).ok().data, 0), 1);
    // Namespace 2 comes back and 7 goes while the host reads.
    let mut later = subsystem();
    later.namespaces.remove(2);
    later.namespaces[0].lba_count = 4096 + 2;
    let now = pair.now;
    pair.controller().export_changed(now, &export_of(vec![later], 3));
    pair.pump();
    let rest = pair.log_page(4, 4, 8).ok().data;
    assert_eq!((dword(&rest, 0), dword(&rest, 1)), (2, 0), "the list of the first part");
    assert_eq!(pair.asynchronous.len(), 2, "there is more");
    let list = pair.log_page(4, 0, 8).ok().data;
    assert_eq!((dword(&list, 0), dword(&list, 1)), (7, 0));
}

#[test]
fn event_that_comes_before_its_request_waits_for_it() {
    let mut pair = Pair::enabled();
    pair.set_feature(0x0b, 0x100).ok();
    grow(&mut pair, 2);
    assert!(pair.asynchronous.is_empty());
    assert!(pair.async_event().is_none());
    assert_eq!(pair.asynchronous.len(), 1);
}

#[test]
fn host_that_did_not_ask_is_told_nothing_but_finds_the_list() {
    let mut pair = Pair::enabled();
    assert!(pair.async_event().is_none());
    grow(&mut pair, 2);
    assert!(pair.asynchronous.is_empty());
    assert_eq!(dword(&pair.log_page(4, 0, 4096).ok().data, 0), 1);
}

#[test]
fn export_that_changes_nothing_is_no_event() {
    let mut pair = Pair::enabled();
    pair.set_feature(0x0b, 0x100).ok();
    assert!(pair.async_event().is_none());
    let now = pair.now;
    pair.controller().export_changed(now, &export_of(vec![subsystem()], 9));
    pair.pump();
    assert!(pair.asynchronous.is_empty());
}

#[test]
fn more_changes_than_the_list_holds_are_told_as_all() {
    let mut many = subsystem();
    many.namespaces = (1..=1025).map(|nsid| namespace(nsid, 9, 8)).collect();
    let mut pair = Pair::new(export_of(vec![many], 1));
    pair.connect(&Connect::admin(SUBNQN)).ok();
    pair.enable();
    let mut none = subsystem();
    none.namespaces.clear();
    let now = pair.now;
    pair.controller().export_changed(now, &export_of(vec![none], 2));
    let list = pair.log_page(4, 0, 4096).ok().data;
    assert_eq!((dword(&list, 0), dword(&list, 1)), (0xffff_ffff, 0));
}

#[test]
fn abort_ends_a_waiting_event_request_and_nothing_else() {
    let mut pair = Pair::enabled();
    let abort = |sqid: u32, cid: u16| {
        let mut sqe = Sqe::new(opcode::ABORT, Cid(0));
        sqe.cdw10 = (u32::from(cid) << 16 | sqid).into();
        sqe
    };
    assert!(pair.async_event().is_none());
    let waiting = 3 + u16::from(pair.admin.in_flight() > 9);
    assert_eq!(pair.admin(abort(0, 0x7777)).ok().dw0(), 1, "unknown command");
    assert_eq!(pair.admin(abort(1, waiting)).ok().dw0(), 1, "another queue");
    assert_eq!(pair.admin.in_flight(), 1);
    let cid = (1..100).find(|cid| pair.admin(abort(0, *cid)).ok().dw0() == 0);
    assert!(cid.is_some());
    assert_eq!(pair.asynchronous.len(), 1);
    assert_eq!(pair.asynchronous[0].status(), Status::ABORT_REQUESTED);
    assert_eq!(pair.asynchronous[0].cqe.cid(), Cid(cid.unwrap()));
    assert_eq!(pair.admin.in_flight(), 0);
}
