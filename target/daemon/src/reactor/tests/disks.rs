//! Disks: what one that does not answer does to the others.

use std::time::Duration;

use transport::drain::State;

use crate::reactor::tests::bed::{Bed, Plan, SUBNQN};
use crate::reactor::tests::host::HostQueue;

const READ: u8 = 0x02;

#[test]
fn a_hung_disk_leaves_the_engine_to_the_others() {
    let mut bed = Bed::new(&Plan::default());
    let host = bed.host(1);
    let (_admin, cntlid) = HostQueue::admin(&mut bed, &host, SUBNQN);
    let mut queues: Vec<_> =
        (1..=4).map(|qid| HostQueue::io_queue(&mut bed, &host, cntlid, qid)).collect();
    // More than the engine holds, all for the first disk, which answers none of them.
    for queue in &mut queues[..3] {
        for _ in 0..120 {
            let sqe = queue.io(READ, 1, 8);
            queue.send(&mut bed, &sqe);
        }
    }
    let hung = bed.held();
    assert_eq!(hung, 128);
    let waiting = bed.reactor.disk_queues.waiting();
    assert_eq!(hung + waiting, 360);
    for _ in 0..50 {
        let sqe = queues[3].io(READ, 2, 8);
        queues[3].send(&mut bed, &sqe);
        bed.answer_disk(Some(1));
        assert_eq!(queues[3].responses().len(), 1, "a read of another disk waits");
    }
    // A connection that ends takes its waiting operations with it, and only those.
    queues[2].peer.disconnect();
    bed.run(Duration::from_secs(20));
    assert_eq!(bed.reactor.disk_queues.waiting(), 240 - hung);
    for _ in 0..4 {
        bed.answer_disks();
    }
    assert_eq!((bed.held(), bed.reactor.disk_queues.waiting()), (0, 0));
    for queue in &queues[..2] {
        assert_eq!(queue.responses().len(), 120);
    }
}

#[test]
fn disks_take_turns_when_the_engine_has_room_again() {
    let mut bed = Bed::new(&Plan::default());
    bed.disks.borrow_mut().capacity = 4;
    let host = bed.host(1);
    let (_admin, cntlid) = HostQueue::admin(&mut bed, &host, SUBNQN);
    let mut queue = HostQueue::io_queue(&mut bed, &host, cntlid, 1);
    for nsid in [1, 2] {
        for _ in 0..8 {
            let sqe = queue.io(READ, nsid, 8);
            queue.send(&mut bed, &sqe);
        }
    }
    bed.answer_disks();
    let second = &bed.reactor.shared.disks[1].disk;
    let of_second = |bed: &Bed| {
        let state = bed.disks.borrow();
        state.held.iter().filter(|(disk, ..)| std::sync::Arc::ptr_eq(disk, second)).count()
    };
    assert_eq!((bed.held(), of_second(&bed)), (4, 2));
    for _ in 0..4 {
        bed.answer_disks();
    }
    assert_eq!(queue.responses().iter().filter(|r| r.status == 0).count(), 16);
}

#[test]
fn connections_that_only_a_disk_keeps_do_not_keep_others_out() {
    let mut bed = Bed::new(&Plan { admission: (1000, 4), ..Plan::default() });
    let host = bed.host(1);
    let (_admin, cntlid) = HostQueue::admin(&mut bed, &host, SUBNQN);
    for qid in 1..=70 {
        let mut queue = HostQueue::io_queue(&mut bed, &host, cntlid, qid);
        let sqe = queue.io(READ, 1, 8);
        queue.send(&mut bed, &sqe);
        let c = bed.youngest();
        queue.peer.disconnect();
        bed.run(Duration::from_secs(20));
        assert_eq!(bed.reactor.conns[c].transport.state(), State::Reclaiming);
    }
    let cqs = bed.reactor.lanes[0].lane.cqs().count();
    assert_eq!(cqs, 1, "queue pairs that are gone hold completion entries");
    bed.answer_disks();
    bed.run(Duration::from_secs(1));
    assert_eq!(bed.reactor.conns.len(), 1);
}
