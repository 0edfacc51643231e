//! I/O commands: what reaches the disk and what is refused.

use nvme::io::opcode;
use nvme::{
    Action, Cid, DiskId, DiskOp, Extent, HostData, HostSgl, NamespaceFeatures, Nsid, Outcome, RKey,
    Sgl, Sqe, Status,
};

use crate::pair::{Connect, Pair, SUBNQN, blocks, export_of, host_sgl, keyed, subsystem};

const FUA: u32 = 1 << 30;
const DEAC: u32 = 1 << 25;

/// A pair whose subsystem was changed.
fn pair_of(change: impl FnOnce(&mut nvme::Subsystem)) -> Pair {
    let mut subsystem = subsystem();
    change(&mut subsystem);
    let mut pair = Pair::new(export_of(vec![subsystem], 1));
    pair.connect(&Connect::admin(SUBNQN)).ok();
    pair.enable();
    pair.connect_io(1);
    pair
}

#[test]
fn read_reaches_the_disk_in_blocks_and_in_bytes() {
    let mut pair = Pair::live();
    let sqe = blocks(opcode::READ, 2, 3, 1, keyed(8192));
    match pair.io_op(&sqe, 0) {
        DiskOp::Read { disk, extent, to } => {
            assert_eq!(disk, DiskId(20));
            let expected = Extent { lba: 3, blocks: 2, offset_bytes: 12288, len_bytes: 8192 };
            assert_eq!(extent, expected);
            assert_eq!(to, host_sgl(&sqe));
        }
        other => panic!("unexpected {other:?}"),
    }
}

#[test]
fn write_carries_fua_from_the_command() {
    let mut pair = Pair::live();
    for wanted in [0, FUA] {
        let mut sqe = blocks(opcode::WRITE, 1, 8, 7, keyed(4096));
        sqe.cdw12 = (sqe.cdw12.get() | wanted).into();
        match pair.io_op(&sqe, 0) {
            DiskOp::Write { disk, extent, from, fua } => {
                assert_eq!((disk, extent.offset_bytes, extent.len_bytes), (DiskId(10), 4096, 4096));
                assert_eq!(from, HostData::Host(host_sgl(&sqe)));
                assert_eq!(fua, wanted != 0);
            }
            other => panic!("unexpected {other:?}"),
        }
    }
}

#[test]
fn every_write_is_fua_while_the_host_has_the_write_cache_off() {
    let mut pair = Pair::live();
    let fua = |pair: &mut Pair, opcode, sgl| match pair.io_op(&blocks(opcode, 1, 0, 0, sgl), 0) {
        DiskOp::Write { fua, .. } | DiskOp::WriteZeroes { fua, .. } => fua,
        other => panic!("unexpected {other:?}"),
    };
    for on in [1, 0, 1] {
        pair.set_feature(6, on).ok();
        assert_eq!(pair.get_feature(6, 0).ok().dw0(), on);
        assert_eq!(fua(&mut pair, opcode::WRITE, keyed(512)), on == 0);
        assert_eq!(fua(&mut pair, opcode::WRITE_ZEROES, keyed(0)), on == 0);
    }
}

#[test]
fn blocks_past_the_end_are_out_of_range_and_the_last_block_is_not() {
    let mut pair = Pair::live();
    let out = Status::LBA_OUT_OF_RANGE.dnr();
    let cases = [
        (2047, 0, None),
        (2047, 1, Some(out)),
        (2048, 0, Some(out)),
        (1 << 55, 0, Some(out)),
        (u64::MAX, 0, Some(out)),
        (u64::MAX - 1, 1, Some(out)),
    ];
    for (lba, nlb0, status) in cases {
        let len = (u32::from(nlb0) + 1) * 512;
        for opcode in [opcode::READ, opcode::WRITE, opcode::WRITE_ZEROES] {
            let sqe = blocks(opcode, 1, lba, nlb0, keyed(len));
            match (pair.start_io(&sqe, 0), status) {
                (Action::Execute { permit, .. }, None) => {
                    pair.finish(permit, Outcome::SUCCESS);
                }
                (Action::Respond(completion), Some(status)) => {
                    assert_eq!(completion.cqe.status(), status, "{opcode:#x} {lba:#x} {nlb0}");
                }
                (other, _) => panic!("{opcode:#x} {lba:#x} {nlb0}: {other:?}"),
            }
        }
    }
}

#[test]
fn namespace_whose_bytes_do_not_fit_in_64_bits_is_no_way_around_the_check() {
    let mut pair = pair_of(|subsystem| subsystem.namespaces[0].lba_count = u64::MAX);
    let sqe = blocks(opcode::READ, 1, 1 << 56, 0, keyed(512));
    assert_eq!(pair.io_status(&sqe), Status::LBA_OUT_OF_RANGE.dnr());
}

#[test]
fn transfer_above_mdts_is_refused_and_mdts_itself_is_not() {
    let mut pair = pair_of(|subsystem| subsystem.limits.mdts_bytes = 8192);
    assert!(matches!(
        pair.io_op(&blocks(opcode::READ, 1, 0, 15, keyed(8192)), 0),
        DiskOp::Read { .. }
    ));
    for opcode in [opcode::READ, opcode::WRITE] {
        let sqe = blocks(opcode, 1, 0, 16, keyed(8704));
        assert_eq!(pair.io_status(&sqe), Status::INVALID_FIELD.dnr());
    }
    // Write Zeroes moves no data.
    assert!(matches!(
        pair.io_op(&blocks(opcode::WRITE_ZEROES, 1, 0, 1023, keyed(0)), 0),
        DiskOp::WriteZeroes { .. }
    ));
}

#[test]
fn sgl_length_must_be_that_of_the_blocks() {
    let mut pair = Pair::live();
    for opcode in [opcode::READ, opcode::WRITE] {
        for len in [0, 511, 513, 1024] {
            let sqe = blocks(opcode, 1, 0, 0, keyed(len));
            let status = pair.io_status(&sqe);
            assert_eq!(status, Status::DATA_SGL_LENGTH_INVALID.dnr(), "{opcode:#x} {len}");
        }
    }
}

#[test]
fn namespace_that_is_not_there_is_invalid() {
    let mut pair = Pair::live();
    let commands = [
        opcode::READ,
        opcode::WRITE,
        opcode::FLUSH,
        opcode::WRITE_ZEROES,
        opcode::DATASET_MANAGEMENT,
        opcode::COMPARE,
        opcode::VERIFY,
        opcode::COPY,
    ];
    for opcode in commands {
        for nsid in [0, 3, 8, 0xffff_fffe] {
            let sqe = blocks(opcode, nsid, 0, 0, keyed(512));
            assert_eq!(pair.io_status(&sqe), Status::INVALID_NAMESPACE.dnr(), "{opcode} {nsid}");
        }
        if opcode != opcode::FLUSH {
            let sqe = blocks(opcode, 0xffff_ffff, 0, 0, keyed(512));
            assert_eq!(pair.io_status(&sqe), Status::INVALID_NAMESPACE.dnr(), "{opcode} all");
        }
    }
}

#[test]
fn unknown_opcodes_are_refused() {
    let mut pair = Pair::live();
    let known = [0x00, 0x01, 0x02, 0x05, 0x08, 0x09, 0x0c, 0x19, Sqe::FABRICS];
    for opcode in (0..=255).filter(|opcode| !known.contains(opcode)) {
        let sqe = blocks(opcode, 1, 0, 0, keyed(512));
        assert_eq!(pair.io_status(&sqe), Status::INVALID_OPCODE.dnr(), "{opcode:#x}");
    }
}

#[test]
fn properties_are_not_for_io_queues() {
    let mut pair = Pair::live();
    for fctype in [0x00u32, 0x04, 0x05, 0x06] {
        let mut sqe = Sqe::new(Sqe::FABRICS, Cid(1));
        sqe.nsid = fctype.into();
        assert_eq!(pair.io_status(&sqe), Status::INVALID_OPCODE.dnr(), "{fctype:#x}");
    }
}

#[test]
fn flush_is_of_one_namespace_or_of_all() {
    let mut pair = Pair::live();
    match pair.io_op(&blocks(opcode::FLUSH, 2, 0, 0, keyed(0)), 0) {
        DiskOp::Flush { disk } => assert_eq!(disk, DiskId(20)),
        other => panic!("unexpected {other:?}"),
    }
    match pair.io_op(&blocks(opcode::FLUSH, 0xffff_ffff, 0, 0, keyed(0)), 0) {
        DiskOp::FlushAll { subsystem } => assert_eq!(subsystem.namespaces.len(), 3),
        other => panic!("unexpected {other:?}"),
    }
}

#[test]
fn read_only_namespace_can_be_read_and_flushed_only() {
    let mut pair = Pair::live();
    for opcode in [opcode::WRITE, opcode::WRITE_ZEROES] {
        let sqe = blocks(opcode, 7, 0, 0, keyed(512));
        assert_eq!(pair.io_status(&sqe), Status::NAMESPACE_WRITE_PROTECTED.dnr());
    }
    let sqe = dsm(7, 1, AD, keyed(16));
    assert_eq!(pair.io_status(&sqe), Status::NAMESPACE_WRITE_PROTECTED.dnr());
    assert!(matches!(
        pair.io_op(&blocks(opcode::READ, 7, 0, 0, keyed(512)), 0),
        DiskOp::Read { .. }
    ));
    assert!(matches!(
        pair.io_op(&blocks(opcode::FLUSH, 7, 0, 0, keyed(0)), 0),
        DiskOp::Flush { .. }
    ));
}

#[test]
fn write_zeroes_deallocates_only_where_that_reads_as_zeroes() {
    for (deallocate, reads_zero) in [(true, true), (true, false), (false, false)] {
        let mut pair = pair_of(|subsystem| {
            subsystem.namespaces[0].features = NamespaceFeatures {
                deallocate,
                deallocated_reads_zero: reads_zero,
                write_zeroes: true,
                ..NamespaceFeatures::default()
            };
        });
        for asked in [0, DEAC] {
            let mut sqe = blocks(opcode::WRITE_ZEROES, 1, 4, 3, keyed(0));
            sqe.cdw12 = (sqe.cdw12.get() | asked).into();
            match pair.io_op(&sqe, 0) {
                DiskOp::WriteZeroes { extent, deallocate: does, .. } => {
                    assert_eq!((extent.lba, extent.blocks), (4, 4));
                    assert_eq!(does, asked != 0 && deallocate && reads_zero);
                }
                other => panic!("unexpected {other:?}"),
            }
        }
    }
}

#[test]
fn write_zeroes_is_unknown_where_the_disk_can_not() {
    let mut pair = pair_of(|subsystem| subsystem.namespaces[0].features.write_zeroes = false);
    let sqe = blocks(opcode::WRITE_ZEROES, 1, 0, 0, keyed(0));
    assert_eq!(pair.io_status(&sqe), Status::INVALID_OPCODE.dnr());
}

const AD: u32 = 1 << 2;

fn dsm(nsid: u32, ranges: u32, attributes: u32, sgl: Sgl) -> Sqe {
    let mut sqe = Sqe::new(opcode::DATASET_MANAGEMENT, Cid(1));
    sqe.nsid = nsid.into();
    sqe.cdw10 = (ranges - 1).into();
    sqe.cdw11 = attributes.into();
    sqe.dptr = sgl.emit();
    sqe
}

fn range(lba: u64, blocks: u32) -> [u8; 16] {
    let mut bytes = [0xaa; 16];
    bytes[4..8].copy_from_slice(&blocks.to_le_bytes());
    bytes[8..].copy_from_slice(&lba.to_le_bytes());
    bytes
}

/// Runs a deallocation of these ranges.
fn deallocate(pair: &mut Pair, ranges: &[[u8; 16]]) -> Result<Vec<(u64, u64)>, Status> {
    let count = u32::try_from(ranges.len()).unwrap();
    // Linux sends a page whatever it needs.
    let action = pair.start_io(&dsm(1, count, AD, keyed(4096)), 0);
    let Action::Fetch { permit, from: HostData::Host(_), len } = action else {
        panic!("unexpected {action:?}");
    };
    assert_eq!(len, count * 16);
    // What lies behind the ranges is none of theirs.
    let data = [ranges.concat(), range(0, 1).to_vec()].concat();
    let now = pair.now;
    match pair.io.get_mut(&1).unwrap().handle_fetched(now, permit, &data) {
        Action::Execute { permit, op: DiskOp::Deallocate { disk, ranges } } => {
            assert_eq!(disk, DiskId(10));
            assert_eq!(ranges.get(&data, ranges.count()), None);
            let extents = (0..ranges.count()).map(|index| ranges.get(&data, index).unwrap());
            let list = extents
                .map(|extent| {
                    assert_eq!(extent.offset_bytes, extent.lba * 512);
                    assert_eq!(extent.len_bytes, extent.blocks * 512);
                    (extent.lba, extent.blocks)
                })
                .collect();
            pair.finish(permit, Outcome::SUCCESS);
            Ok(list)
        }
        Action::Respond(completion) => Err(completion.cqe.status()),
        other => panic!("unexpected {other:?}"),
    }
}

#[test]
fn deallocation_fetches_its_ranges_and_hands_out_each() {
    let mut pair = Pair::live();
    let ranges = [range(0, 8), range(100, 0), range(2047, 1)];
    assert_eq!(deallocate(&mut pair, &ranges), Ok(vec![(0, 8), (100, 0), (2047, 1)]));
    let most: Vec<_> = (0..256).map(|lba| range(lba, 1)).collect();
    assert_eq!(deallocate(&mut pair, &most).unwrap().len(), 256);
}

#[test]
fn deallocation_with_any_range_past_the_end_deallocates_nothing() {
    let mut pair = Pair::live();
    let out = Err(Status::LBA_OUT_OF_RANGE.dnr());
    assert_eq!(deallocate(&mut pair, &[range(0, 8), range(2047, 2)]), out);
    assert_eq!(deallocate(&mut pair, &[range(u64::MAX, u32::MAX)]), out);
    assert_eq!(deallocate(&mut pair, &[range(2049, 0)]), out);
    assert_eq!(pair.io[&1].in_flight(), 0);
}

#[test]
fn ranges_shorter_than_announced_are_not_read_past_their_end() {
    let mut pair = Pair::live();
    let Action::Fetch { permit, .. } = pair.start_io(&dsm(1, 2, AD, keyed(32)), 0) else {
        panic!("no fetch");
    };
    let now = pair.now;
    let queue = pair.io.get_mut(&1).unwrap();
    match queue.handle_fetched(now, permit, &range(0, 1)) {
        Action::Respond(completion) => {
            assert_eq!(completion.cqe.status(), Status::DATA_SGL_LENGTH_INVALID.dnr());
        }
        other => panic!("unexpected {other:?}"),
    }
    assert_eq!(pair.io_status(&dsm(1, 2, AD, keyed(31))), Status::DATA_SGL_LENGTH_INVALID.dnr());
}

#[test]
fn hints_and_deallocation_that_the_disk_can_not_do_succeed_at_once() {
    let mut pair = Pair::live();
    assert_eq!(pair.io_status(&dsm(1, 1, 3, keyed(16))), Status::SUCCESS);
    let mut pair = pair_of(|subsystem| subsystem.namespaces[0].features.deallocate = false);
    assert_eq!(pair.io_status(&dsm(1, 1, AD, keyed(16))), Status::SUCCESS);
}

#[test]
fn ranges_fetched_while_the_namespace_went_away_or_became_read_only_are_refused() {
    let mut without = subsystem();
    without.namespaces.remove(0);
    let mut read_only = subsystem();
    read_only.namespaces[0].read_only = true;
    let cases = [
        (without, Status::INVALID_NAMESPACE.dnr()),
        (read_only, Status::NAMESPACE_WRITE_PROTECTED.dnr()),
    ];
    for (changed, status) in cases {
        let mut pair = Pair::live();
        let Action::Fetch { permit, .. } = pair.start_io(&dsm(1, 1, AD, keyed(16)), 0) else {
            panic!("no fetch");
        };
        let now = pair.now;
        pair.controller().export_changed(now, &export_of(vec![changed], 2));
        pair.pump();
        match pair.io.get_mut(&1).unwrap().handle_fetched(now, permit, &range(0, 1)) {
            Action::Respond(completion) => assert_eq!(completion.cqe.status(), status),
            other => panic!("unexpected {other:?}"),
        }
    }
}

#[test]
fn in_capsule_ranges_are_taken() {
    let mut pair = Pair::live();
    let sgl = Sgl::InCapsule { offset: 0, len: 4096 };
    match pair.start_io(&dsm(1, 1, AD, sgl), 4096) {
        Action::Fetch { permit, from, len } => {
            assert_eq!((from, len), (HostData::InCapsule { offset: 0, len: 4096 }, 16));
            pair.finish(permit, Outcome::SUCCESS);
        }
        other => panic!("unexpected {other:?}"),
    }
}

#[test]
fn deallocation_invalidates_the_key_that_its_host_named() {
    let mut pair = Pair::live();
    let sgl = HostSgl { addr: 0, rkey: RKey(5), len: 16, invalidate: true };
    let Action::Fetch { permit, .. } = pair.start_io(&dsm(1, 1, AD, Sgl::Keyed(sgl)), 0) else {
        panic!("no fetch");
    };
    assert_eq!(pair.finish(permit, Outcome::SUCCESS).invalidate, Some(RKey(5)));
}

#[test]
fn failure_of_the_disk_is_told_as_it_is_and_not_counted_as_data() {
    let mut pair = Pair::live();
    let sqe = blocks(opcode::READ, 1, 0, 0, keyed(512));
    let Action::Execute { permit, .. } = pair.start_io(&sqe, 0) else {
        panic!("not executed");
    };
    let failed = Outcome::failed(Status::UNRECOVERED_READ_ERROR);
    assert_eq!(pair.finish(permit, failed).status(), Status::UNRECOVERED_READ_ERROR);
    assert_eq!(pair.controller().counts().reads, 0);
    pair.io_op(&sqe, 0);
    let counts = pair.controller().counts();
    assert_eq!((counts.reads, counts.read_bytes, counts.writes), (1, 512, 0));
}

#[test]
fn namespaces_are_found_by_id_whatever_their_place() {
    let subsystem = subsystem();
    for namespace in &subsystem.namespaces {
        assert_eq!(subsystem.namespace(namespace.nsid), Some(namespace));
    }
    assert_eq!(subsystem.namespace(Nsid(3)), None);
}
