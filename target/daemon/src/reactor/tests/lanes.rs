//! Lanes: what one device, one completion queue or one refused connection does to the others.

use std::time::Duration;

use sim::Call;
use transport::cause::Cause;
use transport::device::{Wc, WcStatus};
use transport::wr::{IdKind, WrId, WrKind};

use crate::reactor::tests::bed::{Bed, Plan, SUBNQN};
use crate::reactor::tests::host::HostQueue;

#[test]
fn a_late_completion_of_one_lane_retires_nothing_of_another() {
    let devices = vec![&sim::rows::RXE_6_12, &sim::rows::MLX5];
    let mut bed = Bed::new(&Plan { devices, ..Plan::default() });
    let host = bed.host(1);
    let first = HostQueue::dial(&mut bed, &host, 0, 0, 32);
    let second = HostQueue::dial(&mut bed, &host, 1, 0, 32);
    assert!(first.is_connected() && second.is_connected());
    let c = bed.youngest();
    let lane = bed.reactor.conns[c].lane;
    assert_ne!(lane, 0);
    let in_flight = |bed: &Bed| bed.reactor.conns[c].transport.report(bed.transport_now()).total();
    let before = in_flight(&bed);
    assert_eq!(before.in_flight(), 32);
    // Both lanes count from 0: the id of a receive of the first device's connection names one of
    // the second's just as well.
    let connection = u16::try_from(c).unwrap();
    for slot in 0..32 {
        for generation in 0..64 {
            let kind = IdKind::Work(WrKind::Recv);
            let id = WrId { kind, connection, slot, generation };
            let status = WcStatus::Flushed;
            let wc = Wc { wr_id: id.to_raw(), status, byte_len: 0, vendor_err: 0 };
            bed.reactor.completed(0, &wc);
        }
    }
    bed.turn();
    assert_eq!(in_flight(&bed), before);
    assert!(second.is_connected());
    assert_eq!(bed.reactor.counters.stale_completions, 32 * 64);
}

#[test]
fn a_refused_connection_leaves_no_lane_of_its_own_behind() {
    let devices = vec![&sim::rows::IRDMA_IWARP];
    let mut bed = Bed::new(&Plan { devices, ..Plan::default() });
    let host = bed.host(1);
    let mut connected = 0;
    // Of each connection, another call fails.
    for later in 1..=12 {
        let next = bed.fabric.calls(bed.node) + later;
        bed.fabric.fail_call(bed.node, next);
        let queue = HostQueue::dial(&mut bed, &host, 0, 1, 32);
        connected += u32::from(queue.is_connected());
        // Nobody sends a Connect command.
        bed.run(Duration::from_secs(30));
        let left = (bed.reactor.conns.len(), bed.reactor.lanes.len(), bed.disks.borrow().regions);
        assert_eq!(left, (0, 0, 0), "connections, lanes and regions after call {later} failed");
    }
    assert!((1..12).contains(&connected), "{connected} of 12 connected");
}

#[test]
fn the_largest_queue_fits_a_lane_of_its_own() {
    let devices = vec![&sim::rows::IRDMA_IWARP];
    let settings = |settings: &mut crate::shared::Settings| {
        settings.queue_depth_max = 1024;
        settings.in_capsule_bytes = 16 << 10;
    };
    let mut bed = Bed::new(&Plan { devices, settings, ..Plan::default() });
    let host = bed.host(1);
    let queue = HostQueue::dial(&mut bed, &host, 0, 1, 1024);
    assert!(queue.is_connected());
}

#[test]
fn a_lane_takes_in_more_queues_than_one_completion_queue_has_room_for() {
    let mut bed = Bed::new(&Plan::default());
    let host = bed.host(1);
    let (_admin, cntlid) = HostQueue::admin(&mut bed, &host, SUBNQN);
    let mut queues: Vec<_> =
        (1..=80).map(|qid| HostQueue::io_queue(&mut bed, &host, cntlid, qid)).collect();
    assert_eq!(bed.reactor.lanes[0].lane.cqs().count(), 2);
    for queue in &mut queues {
        let sqe = queue.io(0x02, 1, 8);
        queue.send(&mut bed, &sqe);
    }
    bed.answer_disks();
    assert!(queues.iter().all(|queue| queue.responses().len() == 1));
}

#[test]
fn a_completion_queue_that_wakes_nobody_serves_nobody() {
    let mut bed = Bed::new(&Plan::default());
    let host = bed.host(1);
    let queue = HostQueue::dial(&mut bed, &host, 0, 0, 32);
    *bed.failing.lock().unwrap() = Some(Call::Arm);
    bed.reactor.lanes[0].armed = false;
    bed.run(Duration::from_secs(5));
    let ends = bed.reactor.shared.drains.recent();
    assert_eq!(ends[0].report.causes.first(), Some(Cause::CompletionQueueError));
    assert!(bed.reactor.lanes.is_empty());
    // The next one finds a lane that works.
    *bed.failing.lock().unwrap() = None;
    let next = HostQueue::dial(&mut bed, &host, 0, 0, 32);
    assert!(next.is_connected() && !queue.is_connected());
}

#[test]
fn a_completion_queue_that_could_not_be_armed_is_polled_and_armed_again() {
    let mut bed = Bed::new(&Plan::default());
    let host = bed.host(1);
    let (mut admin, _) = HostQueue::admin(&mut bed, &host, SUBNQN);
    *bed.failing.lock().unwrap() = Some(Call::Arm);
    bed.reactor.lanes[0].armed = false;
    bed.turn();
    let soon = bed.reactor.now + crate::limits::DEAF_RETRY;
    assert!(bed.reactor.next_deadline().is_some_and(|at| at <= soon), "it would sleep");
    let answered = admin.responses().len();
    let keep_alive = admin.command(0x18, 0);
    admin.send(&mut bed, &keep_alive);
    assert_eq!(admin.responses().len(), answered + 1, "polled, though no event comes");
    *bed.failing.lock().unwrap() = None;
    bed.run(Duration::from_millis(5));
    assert!(bed.reactor.lanes[0].armed && admin.is_connected());
}

#[test]
fn a_queue_that_must_not_be_polled_behind_a_destroy_is_not() {
    let devices = vec![&sim::rows::QEDR_ROCE];
    let mut bed = Bed::new(&Plan { devices, ..Plan::default() });
    let host = bed.host(1);
    let queue = HostQueue::dial(&mut bed, &host, 0, 0, 32);
    assert!(queue.is_connected());
    // No flush is waited for: the completions that come are of a queue pair that is destroyed.
    bed.reactor.close(0, Cause::DeviceFatal);
    bed.reactor.settle(0);
    assert!(bed.reactor.lanes[0].silent);
    bed.run(Duration::from_secs(5));
    assert_eq!(bed.fabric.violations().len(), 0);
    assert!(bed.reactor.conns.is_empty() && bed.reactor.lanes.is_empty());
}
