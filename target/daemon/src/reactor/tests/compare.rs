//! Compare and Write: what may touch its blocks meanwhile, and what becomes of its memory.

use std::time::Duration;

use nvme::{Cid, Sgl, Sqe};
use zerocopy::IntoBytes;

use crate::reactor::tests::bed::{Bed, Plan, SUBNQN};
use crate::reactor::tests::host::HostQueue;

const WRITE: u8 = 0x01;
const COMPARE: u8 = 0x05;
const VERIFY: u8 = 0x0c;
const FIRST: u8 = 1;
const SECOND: u8 = 2;
const MISSING_FUSED: u16 = 0x400a;
const COMPARE_FAILURE: u16 = 0x4285;
const FAILED_FUSED: u16 = 0x0009;
/// More is in the error log.
const MORE: u16 = 0x2000;

struct Two {
    bed: Bed,
    _admin: HostQueue,
    one: HostQueue,
    other: HostQueue,
}

fn two() -> Two {
    let mut bed = Bed::new(&Plan::default());
    let host = bed.host(1);
    let (admin, cntlid) = HostQueue::admin(&mut bed, &host, SUBNQN);
    let one = HostQueue::io_queue(&mut bed, &host, cntlid, 1);
    let other = HostQueue::io_queue(&mut bed, &host, cntlid, 2);
    for queue in [&one, &other] {
        queue.put(&[0; 8 * 512]);
    }
    Two { bed, _admin: admin, one, other }
}

fn at(mut sqe: Sqe, lba: u32) -> Sqe {
    sqe.cdw10 = lba.into();
    sqe
}

/// Sends both halves, of 8 blocks from that one.
fn compare_and_write(queue: &mut HostQueue, bed: &mut Bed, lba: u32) {
    for (fuse, opcode) in [(FIRST, COMPARE), (SECOND, WRITE)] {
        let mut sqe = at(queue.io(opcode, 1, 8), lba);
        sqe.flags |= fuse;
        queue.send(bed, &sqe);
    }
}

fn statuses(queue: &HostQueue) -> Vec<u16> {
    queue.responses().iter().map(|response| response.status & !MORE).collect()
}

#[test]
fn compare_and_write_has_its_blocks_for_itself() {
    let Two { mut bed, mut one, mut other, .. } = two();
    let write = at(other.io(WRITE, 1, 8), 4);
    other.send(&mut bed, &write);
    assert_eq!(bed.held(), 1);
    compare_and_write(&mut one, &mut bed, 0);
    assert_eq!(bed.held(), 1, "it waits for the write that was begun before");
    let behind = at(other.io(WRITE, 1, 8), 7);
    other.send(&mut bed, &behind);
    assert_eq!(bed.held(), 1, "what overlaps waits behind it");
    let elsewhere = at(other.io(WRITE, 1, 8), 8);
    bed.answer_disks();
    assert_eq!(statuses(&other), [0]);
    assert_eq!(bed.held(), 1, "it reads");
    other.send(&mut bed, &elsewhere);
    assert_eq!(bed.held(), 2, "other blocks are nobody's business");
    bed.answer_reads(0);
    assert_eq!(bed.held(), 1, "it writes, and nothing else does");
    assert!(statuses(&one).is_empty());
    bed.answer_disks();
    assert_eq!(statuses(&one), [0, 0]);
    assert_eq!(bed.held(), 1, "those behind it go on");
    bed.answer_disks();
    assert_eq!(statuses(&other), [0, 0]);
}

#[test]
fn two_on_the_same_blocks_come_one_after_the_other() {
    let Two { mut bed, mut one, mut other, .. } = two();
    compare_and_write(&mut one, &mut bed, 0);
    compare_and_write(&mut other, &mut bed, 0);
    assert_eq!(bed.held(), 1, "only the first reads");
    bed.answer_reads(0);
    bed.answer_disks();
    assert_eq!(statuses(&one), [0, 0]);
    assert_eq!(bed.held(), 1, "then the second");
    bed.answer_reads(7);
    assert_eq!(statuses(&other), [COMPARE_FAILURE, FAILED_FUSED]);
    assert_eq!(bed.held(), 0, "and it writes nothing");
}

#[test]
fn claim_of_a_dead_connection_ends_with_its_disk_operation() {
    let Two { mut bed, mut one, mut other, .. } = two();
    compare_and_write(&mut one, &mut bed, 0);
    let behind = at(other.io(WRITE, 1, 8), 0);
    other.send(&mut bed, &behind);
    one.peer.disconnect();
    bed.run(Duration::from_secs(20));
    assert_eq!(bed.held(), 1, "the disk has not answered");
    bed.answer_disks();
    bed.run(Duration::from_secs(1));
    assert_eq!(bed.held(), 1, "the write behind it");
    bed.answer_disks();
    assert_eq!(statuses(&other), [0]);
}

#[test]
fn claim_that_was_never_had_leaves_with_its_connection() {
    let Two { mut bed, mut one, mut other, .. } = two();
    let write = at(other.io(WRITE, 1, 8), 0);
    other.send(&mut bed, &write);
    compare_and_write(&mut one, &mut bed, 0);
    let behind = at(other.io(WRITE, 1, 8), 0);
    other.send(&mut bed, &behind);
    one.peer.disconnect();
    bed.run(Duration::from_secs(20));
    for _ in 0..2 {
        bed.answer_disks();
    }
    bed.run(Duration::from_secs(1));
    assert_eq!(statuses(&other), [0, 0]);
}

#[test]
fn in_capsule_data_of_halves_goes_back_to_its_connection() {
    let Two { mut bed, mut one, .. } = two();
    let c = bed.reactor.conns.iter().find(|(_, conn)| conn.queue.qid().0 == 1).unwrap().0;
    let spare = bed.reactor.conns[c].spare.len();
    let capsule = |fuse: u8, opcode: u8, cid: u16| {
        let mut sqe = Sqe::new(opcode, Cid(cid));
        sqe.flags |= fuse;
        sqe.nsid = 1.into();
        sqe.dptr = Sgl::InCapsule { offset: 0, len: 512 }.emit();
        [sqe.as_bytes(), &[u8::from(fuse == FIRST); 512][..]].concat()
    };
    let mut send = |bed: &mut Bed, fuse, opcode, cid| {
        one.peer.post_recv(16, 0);
        one.send_only(bed, &capsule(fuse, opcode, cid));
        statuses(&one)
    };
    assert!(send(&mut bed, FIRST, COMPARE, 900).is_empty());
    assert!(send(&mut bed, SECOND, WRITE, 901).is_empty());
    assert_eq!(bed.held(), 1);
    bed.answer_reads(1);
    bed.answer_disks();
    // Another first half, whose second does not come.
    assert_eq!(send(&mut bed, FIRST, COMPARE, 902), [0, 0]);
    assert_eq!(send(&mut bed, 0, COMPARE, 903), [MISSING_FUSED]);
    bed.answer_reads(0);
    assert_eq!(send(&mut bed, 0, COMPARE, 904), [0], "903 goes on");
    bed.answer_reads(1);
    assert_eq!(bed.held(), 0);
    assert_eq!(bed.reactor.conns[c].spare.len(), spare);
    assert_eq!(bed.reactor.lanes[0].data.pool.used_bytes(), 0);
}

#[test]
fn compare_and_verify_answer_by_what_the_disk_has() {
    let Two { mut bed, mut one, .. } = two();
    for (opcode, answer) in [(COMPARE, COMPARE_FAILURE), (VERIFY, 0)] {
        let sqe = one.io(opcode, 2, 64);
        one.send(&mut bed, &sqe);
        bed.answer_reads(9);
        assert_eq!(statuses(&one), [answer]);
    }
    one.put(&[9; 64 * 512]);
    let sqe = one.io(COMPARE, 2, 64);
    one.send(&mut bed, &sqe);
    bed.answer_reads(9);
    assert_eq!(statuses(&one), [0]);
    assert_eq!(bed.reactor.lanes[0].data.pool.used_bytes(), 0);
}
