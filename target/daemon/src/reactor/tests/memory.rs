//! Memory: what one host holds, and what that leaves to others.

use std::time::Duration;

use nvme::{Sgl, Sqe};
use transport::cause::Cause;
use zerocopy::IntoBytes;

use crate::limits::{PEER_TIMEOUT, QUEUE_POOL_BYTES};
use crate::reactor::tests::bed::{Bed, Plan, SUBNQN};
use crate::reactor::tests::host::HostQueue;

const READ: u8 = 0x02;
const DATASET_MANAGEMENT: u8 = 0x09;
const DEALLOCATE: u32 = 1 << 2;

/// Dataset Management of one range of 8 blocks.
fn deallocate(queue: &mut HostQueue) -> Sqe {
    let mut sqe = queue.command(DATASET_MANAGEMENT, 16);
    sqe.cdw11 = DEALLOCATE.into();
    sqe
}

/// Context attributes, length in blocks, first block.
const RANGE: [u8; 16] = [0, 0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

#[test]
fn discards_that_a_disk_holds_leave_the_reserve_to_connects() {
    let mut bed = Bed::new(&Plan::default());
    let host = bed.host(1);
    let (_admin, cntlid) = HostQueue::admin(&mut bed, &host, SUBNQN);
    let mut queue = HostQueue::io_queue(&mut bed, &host, cntlid, 1);
    let c = bed.youngest();
    let spare = bed.reactor.conns[c].spare.len();
    queue.put(&RANGE);
    for round in 0..3 {
        let sqe = deallocate(&mut queue);
        queue.send(&mut bed, &sqe);
        let mut sqe = deallocate(&mut queue);
        let offset = 16 * round;
        sqe.dptr = Sgl::InCapsule { offset, len: 16 }.emit();
        let mut capsule = sqe.as_bytes().to_vec();
        capsule.resize(64 + usize::try_from(offset).unwrap(), 0xff);
        capsule.extend_from_slice(&RANGE);
        queue.peer.post_recv(16, 0);
        queue.send_only(&mut bed, &capsule);
    }
    assert_eq!(bed.held(), 6);
    let reserve = bed.reactor.lanes[0].reserve.pool.used_bytes();
    assert_eq!(reserve, 0, "ordinary I/O holds memory that only Connect and admin may have");
    bed.answer_disks();
    let responses = queue.responses();
    assert_eq!(responses.iter().filter(|r| r.status == 0).count(), 6, "{responses:?}");
    assert_eq!(bed.reactor.conns[c].spare.len(), spare, "in-capsule buffers came back");
}

#[test]
fn idle_queues_leave_the_pool_to_transfers() {
    // The least that a configuration may say with transfers of 1 MiB.
    let mut bed = Bed::new(&Plan { pool_bytes: 4 << 20, ..Plan::default() });
    let host = bed.host(1);
    let (_admin, cntlid) = HostQueue::admin(&mut bed, &host, SUBNQN);
    let mut queue = HostQueue::io_queue(&mut bed, &host, cntlid, 1);
    let others: Vec<_> =
        (2..8).map(|qid| HostQueue::io_queue(&mut bed, &host, cntlid, qid)).collect();
    assert!(others.iter().all(HostQueue::is_connected));
    assert_eq!(bed.reactor.lanes[0].data.pool.used_bytes(), 0);
    let sqe = queue.io(READ, 1, 2048);
    queue.send(&mut bed, &sqe);
    assert_eq!(bed.held(), 1, "a read of 1 MiB waits for memory that idle queues hold");
}

#[test]
fn memory_of_queues_grows_with_them_and_is_given_up_after_them() {
    let mut bed = Bed::new(&Plan { pool_bytes: 4 << 20, ..Plan::default() });
    let host = bed.host(1);
    let (_admin, cntlid) = HostQueue::admin(&mut bed, &host, SUBNQN);
    let queues: Vec<_> =
        (1..=40).map(|qid| HostQueue::io_queue(&mut bed, &host, cntlid, qid)).collect();
    assert_eq!(bed.reactor.lanes[0].queues.total_bytes(), 3 * QUEUE_POOL_BYTES);
    assert_eq!(bed.disks.borrow().regions, 4);
    for queue in queues {
        queue.peer.disconnect();
    }
    bed.run(Duration::from_secs(20));
    assert_eq!(bed.reactor.conns.len(), 1);
    // That of the admin queue, and one for whoever comes next.
    assert_eq!(bed.reactor.lanes[0].queues.total_bytes(), 2 * QUEUE_POOL_BYTES);
    assert_eq!(bed.disks.borrow().regions, 3);
}

const GET_LOG_PAGE: u8 = 0x02;
const DISCOVERY_LOG: u32 = 0x70;

/// Get Log Page of the discovery log, `len` bytes from `offset`.
fn discovery_log(queue: &mut HostQueue, len: u32) -> Sqe {
    let mut sqe = queue.command(GET_LOG_PAGE, len);
    let dwords = len / 4 - 1;
    sqe.nsid = 0.into();
    sqe.cdw10 = (DISCOVERY_LOG | dwords << 16).into();
    sqe.cdw11 = (dwords >> 16).into();
    sqe
}

#[test]
fn a_log_page_takes_no_more_memory_than_it_has_bytes() {
    let mut bed = Bed::new(&Plan::default());
    let host = bed.host(1);
    let (mut queue, _) = HostQueue::admin(&mut bed, &host, nvme::DISCOVERY_NQN);
    queue.put(&[0xee; 8192]);
    let sqe = discovery_log(&mut queue, 1 << 20);
    queue.send_only(&mut bed, sqe.as_bytes());
    assert_eq!(bed.reactor.lanes[0].reserve.pool.used_bytes(), 4096);
    queue.peer.post_recv(16, 0);
    bed.run(Duration::from_millis(100));
    assert_eq!(queue.responses().pop().unwrap().status, 0);
    let page = host.read(&queue.memory, 0, 8192);
    assert_eq!(page[8..10], [2, 0], "entries: the discovery subsystem and the other one");
    assert!(page[3 * 1024..].iter().all(|byte| *byte == 0xee), "nothing beyond the page's end");
}

#[test]
fn a_host_that_lets_its_log_pages_lie_does_not_keep_others_from_connecting() {
    let mut bed = Bed::new(&Plan::default());
    let host = bed.host(1);
    let (mut queue, _) = HostQueue::admin(&mut bed, &host, nvme::DISCOVERY_NQN);
    // No receive is posted from here on: no response can go out.
    for _ in 0..20 {
        let sqe = discovery_log(&mut queue, 4096);
        queue.send_only(&mut bed, sqe.as_bytes());
    }
    let reserve = bed.reactor.lanes[0].reserve.pool.used_bytes();
    assert_eq!(reserve, 4096, "one buffer at a time");
    let other = bed.host(2);
    HostQueue::admin(&mut bed, &other, SUBNQN);
    for _ in 0..20 {
        queue.peer.post_recv(16, 0);
    }
    bed.run(Duration::from_secs(1));
    let responses = queue.responses();
    assert_eq!(responses.iter().filter(|r| r.status == 0).count(), 20, "{responses:?}");
    assert_eq!(bed.reactor.lanes[0].reserve.pool.used_bytes(), 0);
}

#[test]
fn a_host_that_takes_no_responses_leaves_memory_to_others() {
    let mut bed = Bed::new(&Plan::default());
    let (host, other) = (bed.host(1), bed.host(2));
    let (_admin, cntlid) = HostQueue::admin(&mut bed, &host, SUBNQN);
    let mut hogs: Vec<_> =
        (1..=3).map(|qid| HostQueue::io_queue(&mut bed, &host, cntlid, qid)).collect();
    let (_admin, cntlid) = HostQueue::admin(&mut bed, &other, SUBNQN);
    let mut queue = HostQueue::io_queue(&mut bed, &other, cntlid, 1);
    for hog in &mut hogs {
        for _ in 0..20 {
            let sqe = hog.io(READ, 1, 2048);
            hog.send_only(&mut bed, sqe.as_bytes());
        }
    }
    for _ in 0..4 {
        bed.answer_disks();
    }
    assert_eq!(bed.held(), 0);
    let pool = &bed.reactor.lanes[0].data.pool;
    assert!(pool.used_bytes() >= pool.total_bytes() / 2, "they have what they can get");
    let sqe = queue.io(READ, 1, 2048);
    queue.send(&mut bed, &sqe);
    assert_eq!(bed.held(), 1, "a read of another host waits");
    bed.answer_disks();
    assert_eq!(queue.responses().pop().unwrap().status, 0);
    for hog in &hogs {
        for _ in 0..20 {
            hog.peer.post_recv(16, 0);
        }
    }
    for _ in 0..30 {
        bed.run(Duration::from_millis(100));
        bed.answer_disks();
    }
    for hog in &hogs {
        assert_eq!(hog.responses().iter().filter(|r| r.status == 0).count(), 20);
    }
    assert_eq!(bed.reactor.lanes[0].data.pool.used_bytes(), 0);
}

const WRITE: u8 = 0x01;

#[test]
fn a_host_that_takes_no_responses_is_closed_and_its_memory_comes_back() {
    let mut bed = Bed::new(&Plan::default());
    let host = bed.host(1);
    let (_admin, cntlid) = HostQueue::admin(&mut bed, &host, SUBNQN);
    let mut hog = HostQueue::io_queue(&mut bed, &host, cntlid, 1);
    let mut idle = HostQueue::io_queue(&mut bed, &host, cntlid, 2);
    let sqe = hog.io(READ, 1, 2048);
    hog.send_only(&mut bed, sqe.as_bytes());
    bed.answer_disks();
    bed.run(PEER_TIMEOUT / 2);
    // Others, busy or idle, go on.
    let sqe = idle.io(READ, 1, 8);
    idle.send(&mut bed, &sqe);
    bed.answer_disks();
    assert!(hog.is_connected());
    bed.run(2 * PEER_TIMEOUT);
    assert!(!hog.is_connected() && idle.is_connected());
    assert_eq!(bed.reactor.lanes[0].data.pool.used_bytes(), 0);
    let ends = bed.reactor.shared.drains.recent();
    assert!(ends.iter().any(|ended| ended.report.causes.first() == Some(Cause::PeerStalled)));
}

#[test]
fn a_host_that_answers_no_rdma_reads_is_closed_although_it_takes_responses() {
    let mut bed = Bed::new(&Plan { devices: vec![&sim::rows::SIW_6_12], ..Plan::default() });
    let host = bed.host(1);
    let (_admin, cntlid) = HostQueue::admin(&mut bed, &host, SUBNQN);
    let mut queue = HostQueue::io_queue(&mut bed, &host, cntlid, 1);
    let c = bed.youngest();
    queue.peer.pause(true);
    // A capsule that was on its way when the network went.
    let sqe = queue.io(WRITE, 1, 8);
    let conn = &mut bed.reactor.conns[c];
    let action = conn.queue.handle_capsule(nvme::Now(Duration::ZERO), sqe.as_bytes(), 0);
    bed.reactor.act(c, action, &mut None);
    bed.run(PEER_TIMEOUT / 2);
    assert_eq!(bed.reactor.conns[c].reads_out, 1);
    bed.run(2 * PEER_TIMEOUT);
    let ends = bed.reactor.shared.drains.recent();
    assert!(ends.iter().any(|ended| ended.report.causes.first() == Some(Cause::PeerStalled)));
    assert_eq!(bed.reactor.lanes[0].data.pool.used_bytes(), 0);
}
