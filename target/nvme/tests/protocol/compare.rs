//! Compare, Verify, Copy, and Compare and Write as one operation.

use nvme::io::opcode;
use nvme::limits::COMPARE_AND_WRITE_BLOCKS_MAX;
use nvme::{
    Action, Cid, CompareAndWrite, Completion, DiskId, DiskOp, HostData, Outcome, Permit, Sgl, Sqe,
    Status,
};

use crate::pair::{Pair, blocks, host_sgl, keyed};

const FIRST: u8 = 1;
const SECOND: u8 = 2;
const MISSING: Status = Status::MISSING_FUSED.dnr();

/// A command on these blocks as one half of a fused operation.
fn half(fuse: u8, opcode: u8, nsid: u32, lba: u64, nlb0: u16) -> Sqe {
    let shift = if nsid == 2 { 12 } else { 9 };
    let mut sqe = blocks(opcode, nsid, lba, nlb0, keyed((u32::from(nlb0) + 1) << shift));
    sqe.flags |= fuse;
    sqe.cid = (u16::from(fuse) * 100 + 5).into();
    sqe
}

fn first(pair: &mut Pair, sqe: &Sqe) {
    let action = pair.start_io(sqe, 0);
    assert!(matches!(action, Action::Hold), "{action:?}");
    assert!(pair.io[&1].holds_first_half());
}

fn operation(action: Action) -> (Permit, CompareAndWrite) {
    match action {
        Action::Execute { permit, op: DiskOp::CompareAndWrite(op) } => (permit, *op),
        other => panic!("unexpected {other:?}"),
    }
}

fn both(action: Action) -> [Action; 2] {
    match action {
        Action::Both(both) => *both,
        other => panic!("unexpected {other:?}"),
    }
}

fn completion(action: &Action) -> Completion {
    match action {
        Action::Respond(completion) => *completion,
        other => panic!("unexpected {other:?}"),
    }
}

fn statuses(action: Action) -> [Status; 2] {
    both(action).map(|one| completion(&one).cqe.status())
}

#[test]
fn compare_brings_the_hosts_data_and_writes_nothing() {
    let mut pair = Pair::live();
    let sqe = blocks(opcode::COMPARE, 7, 3, 1, keyed(1024));
    match pair.io_op(&sqe, 0) {
        DiskOp::Compare { disk, extent, from } => {
            assert_eq!((disk, extent.offset_bytes, extent.len_bytes), (DiskId(70), 1536, 1024));
            assert_eq!(from, HostData::Host(host_sgl(&sqe)));
        }
        other => panic!("unexpected {other:?}"),
    }
    let short = blocks(opcode::COMPARE, 1, 0, 1, keyed(512));
    assert_eq!(pair.io_status(&short), Status::DATA_SGL_LENGTH_INVALID.dnr());
}

#[test]
fn difference_is_an_answer_and_no_error_in_the_log() {
    let mut pair = Pair::live();
    let sqe = blocks(opcode::COMPARE, 1, 0, 0, keyed(512));
    let Action::Execute { permit, .. } = pair.start_io(&sqe, 0) else { panic!("no compare") };
    let reply = pair.finish(permit, Outcome::failed(Status::COMPARE_FAILURE.dnr()));
    assert_eq!(reply.status().bits() & 0x7ff, 0x285);
    assert!(!reply.cqe.more());
    assert!(pair.log_page(1, 0, 64).ok().data.iter().all(|byte| *byte == 0));
}

#[test]
fn verify_moves_no_data_and_has_the_limit_that_identify_says() {
    let mut pair = Pair::live();
    match pair.io_op(&blocks(opcode::VERIFY, 2, 1, 255, keyed(0)), 0) {
        DiskOp::Verify { disk, extent } => {
            assert_eq!((disk, extent.len_bytes), (DiskId(20), 1 << 20));
        }
        other => panic!("unexpected {other:?}"),
    }
    let above = blocks(opcode::VERIFY, 2, 0, 256, keyed(0));
    assert_eq!(pair.io_status(&above), Status::INVALID_FIELD.dnr());
    let limits = pair.identify(6, 0).ok().data;
    assert_eq!(limits[0], 8, "VSL: 256 pages of 4 KiB");
}

fn copy(pair: &mut Pair, nsid: u32, to: u64, from: u64, blocks0: u16) -> Action {
    let sqe = blocks(opcode::COPY, nsid, to, 0, keyed(32));
    let action = match pair.start_io(&sqe, 0) {
        Action::Fetch { permit, len, .. } => {
            assert_eq!(len, 32);
            let mut range = [0; 32];
            range[8..16].copy_from_slice(&from.to_le_bytes());
            range[16..18].copy_from_slice(&blocks0.to_le_bytes());
            pair.io.get_mut(&1).unwrap().handle_fetched(pair.now, permit, &range)
        }
        other => other,
    };
    match action {
        Action::Execute { permit, op } => {
            pair.finish(permit, Outcome::SUCCESS);
            match op {
                DiskOp::Copy { disk, from_bytes, to, fua } => {
                    assert_eq!((disk, from_bytes, fua), (DiskId(20), from << 12, false));
                    assert_eq!(to.blocks, u64::from(blocks0) + 1);
                }
                other => panic!("unexpected {other:?}"),
            }
            Action::None
        }
        other => other,
    }
}

#[test]
fn copy_stays_within_both_ends_and_within_its_limits() {
    let mut pair = Pair::live();
    assert!(matches!(copy(&mut pair, 2, 9, 500, 11), Action::None));
    assert!(matches!(copy(&mut pair, 2, 256, 0, 255), Action::None));
    let refused = |action| completion(&action).cqe.status();
    let out = Status::LBA_OUT_OF_RANGE.dnr();
    assert_eq!(refused(copy(&mut pair, 2, 9, 500, 12)), out, "source");
    assert_eq!(refused(copy(&mut pair, 2, 501, 0, 11)), out, "destination");
    let size = Status::COMMAND_SIZE_LIMIT_EXCEEDED.dnr();
    assert_eq!(refused(copy(&mut pair, 2, 0, 0, 256)), size);
    assert_eq!(refused(copy(&mut pair, 7, 0, 0, 0)), Status::NAMESPACE_WRITE_PROTECTED.dnr());
    let mut two = blocks(opcode::COPY, 2, 0, 1, keyed(64));
    assert_eq!(pair.io_status(&two), size, "two ranges");
    two.cdw12 = 0x100.into();
    assert_eq!(pair.io_status(&two), Status::INVALID_FIELD.dnr(), "format 1");
}

#[test]
fn halves_in_capsules_of_their_own_make_one_operation() {
    let mut pair = Pair::live();
    first(&mut pair, &half(FIRST, opcode::COMPARE, 1, 8, 3));
    let action = pair.start_io(&half(SECOND, opcode::WRITE, 1, 8, 3), 0);
    let (second, op) = operation(action);
    assert!(!pair.io[&1].holds_first_half());
    assert_eq!((op.disk, op.extent.offset_bytes, op.extent.len_bytes), (DiskId(10), 4096, 2048));
    assert_eq!((op.first.cid(), second.cid()), (Cid(105), Cid(205)));
    assert_eq!(pair.io[&1].in_flight(), 2);
    assert_eq!(pair.finish(op.first, Outcome::SUCCESS).ok().cqe.cid(), Cid(105));
    assert_eq!(pair.finish(second, Outcome::SUCCESS).ok().cqe.cid(), Cid(205));
    let counts = pair.controller().counts();
    assert_eq!((counts.reads, counts.writes), (1, 1));
}

#[test]
fn halves_bring_their_own_in_capsule_data() {
    let mut pair = Pair::live();
    let mut compare = half(FIRST, opcode::COMPARE, 1, 8, 0);
    let mut write = half(SECOND, opcode::WRITE, 1, 8, 0);
    compare.dptr = Sgl::InCapsule { offset: 512, len: 512 }.emit();
    write.dptr = Sgl::InCapsule { offset: 0, len: 512 }.emit();
    assert!(matches!(pair.start_io(&compare, 1024), Action::Hold));
    let (second, op) = operation(pair.start_io(&write, 512));
    assert_eq!(op.compare, HostData::InCapsule { offset: 512, len: 512 });
    assert_eq!(op.write, HostData::InCapsule { offset: 0, len: 512 });
    pair.finish(op.first, Outcome::SUCCESS);
    pair.finish(second, Outcome::SUCCESS);
}

#[test]
fn half_without_the_other_is_aborted_and_what_follows_goes_on() {
    let mut pair = Pair::live();
    let write = half(SECOND, opcode::WRITE, 1, 8, 0);
    assert_eq!(pair.io_status(&write), MISSING, "no first");

    first(&mut pair, &half(FIRST, opcode::COMPARE, 1, 8, 0));
    let [missed, read] = both(pair.start_io(&blocks(opcode::READ, 2, 0, 0, keyed(4096)), 0));
    assert_eq!(completion(&missed).cqe.status(), MISSING);
    assert_eq!(completion(&missed).cqe.cid(), Cid(105));
    let Action::Execute { permit, op: DiskOp::Read { .. } } = read else { panic!("no read") };
    pair.finish(permit, Outcome::SUCCESS);
    assert_eq!(pair.io_status(&write), MISSING, "something came between");

    first(&mut pair, &half(FIRST, opcode::COMPARE, 1, 8, 0));
    let mut again = half(FIRST, opcode::COMPARE, 1, 16, 0);
    again.cid = 300.into();
    let [missed, held] = both(pair.start_io(&again, 0));
    assert_eq!(completion(&missed).cqe.cid(), Cid(105));
    assert!(matches!(held, Action::Hold));
    let (second, op) = operation(pair.start_io(&half(SECOND, opcode::WRITE, 1, 16, 0), 0));
    assert_eq!(op.first.cid(), Cid(300));
    pair.finish(op.first, Outcome::SUCCESS);
    pair.finish(second, Outcome::SUCCESS);
    assert_eq!(pair.io[&1].in_flight(), 0);
}

#[test]
fn refused_half_takes_the_other_with_it() {
    let mut pair = Pair::live();
    let refused = half(FIRST, opcode::COMPARE, 3, 8, 0);
    assert_eq!(pair.io_status(&refused), Status::INVALID_NAMESPACE.dnr());
    let write = half(SECOND, opcode::WRITE, 1, 8, 0);
    assert_eq!(pair.io_status(&write), Status::FAILED_FUSED);
    assert_eq!(pair.io_status(&write), MISSING, "only the one that follows");

    first(&mut pair, &half(FIRST, opcode::COMPARE, 7, 8, 0));
    let statuses = statuses(pair.start_io(&half(SECOND, opcode::WRITE, 7, 8, 0), 0));
    assert_eq!(statuses, [Status::FAILED_FUSED, Status::NAMESPACE_WRITE_PROTECTED.dnr()]);
}

#[test]
fn halves_must_name_the_same_blocks_of_the_same_namespace() {
    let mut pair = Pair::live();
    let invalid = Status::INVALID_FIELD.dnr();
    let others = [
        half(SECOND, opcode::WRITE, 1, 9, 0),
        half(SECOND, opcode::WRITE, 1, 8, 1),
        half(SECOND, opcode::WRITE, 2, 8, 0),
        half(SECOND, opcode::READ, 1, 8, 0),
    ];
    for other in others {
        first(&mut pair, &half(FIRST, opcode::COMPARE, 1, 8, 0));
        assert_eq!(statuses(pair.start_io(&other, 0)), [invalid, invalid], "{other:?}");
    }
    let write_first = half(FIRST, opcode::WRITE, 1, 8, 0);
    assert_eq!(pair.io_status(&write_first), invalid, "Write is no first half");
    assert_eq!(pair.io[&1].in_flight(), 0);
}

#[test]
fn as_many_blocks_as_identify_says_are_atomic_and_no_more() {
    let mut pair = Pair::live();
    let id = pair.identify_controller();
    assert_eq!((id.fuses.get(), id.acwu.get() + 1), (1, COMPARE_AND_WRITE_BLOCKS_MAX));
    let most = COMPARE_AND_WRITE_BLOCKS_MAX - 1;
    first(&mut pair, &half(FIRST, opcode::COMPARE, 2, 0, most));
    let (second, op) = operation(pair.start_io(&half(SECOND, opcode::WRITE, 2, 0, most), 0));
    pair.finish(op.first, Outcome::SUCCESS);
    pair.finish(second, Outcome::SUCCESS);
    let above = half(FIRST, opcode::COMPARE, 2, 0, most + 1);
    assert_eq!(pair.io_status(&above), Status::ATOMIC_WRITE_UNIT_EXCEEDED.dnr());
}

#[test]
fn first_half_that_waits_goes_with_its_queue() {
    let mut pair = Pair::live();
    first(&mut pair, &half(FIRST, opcode::COMPARE, 1, 8, 0));
    let dropped = Permit::dropped();
    drop(pair.io.remove(&1));
    assert_eq!(Permit::dropped(), dropped);
}
