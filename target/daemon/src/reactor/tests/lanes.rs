//! Lanes: what one device, one completion queue or one refused connection does to the others.

use std::time::Duration;

use transport::device::{Wc, WcStatus};
use transport::wr::{IdKind, WrId, WrKind};

use crate::reactor::tests::bed::{Bed, Plan};
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
