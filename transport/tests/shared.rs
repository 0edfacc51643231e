//! Shared receives over the simulated device: who takes them, and when they are ours again.
#![allow(clippy::unwrap_used, reason = "a test that finds nothing fails")]

mod bed;

use bed::{Bed, RECEIVES};
use sim::{Injection, rows};
use transport::cause::Cause;
use transport::drain::State;

const IN_PROGRESS: &str = "a shared receive is in progress";

/// A message of the peer's arrives and is polled.
fn message(bed: &mut Bed) {
    bed.peer.post_send(&[7; 64], 1);
    bed.until(|bed| !bed.out.is_empty());
    assert!(bed.out.len() == 1 && bed.out[0].succeeded());
    bed.out.clear();
}

fn close(bed: &mut Bed, cause: Cause) {
    let now = bed.now();
    bed.conn.close(now, cause, &mut bed.out);
}

fn shared_out(bed: &Bed) -> u64 {
    bed.shared.as_ref().unwrap().table().out()
}

#[test]
fn every_row_ends_with_shared_receives_and_frees_none_too_early() {
    for row in rows::ALL {
        for mischief in [None, Some(IN_PROGRESS)] {
            let mut bed = Bed::sharing(row);
            message(&mut bed);
            if let Some(name) = mischief {
                bed.always(name);
            }
            close(&mut bed, Cause::Shutdown);
            bed.until(|bed| bed.conn.is_finished());
            let report = bed.conn.report(bed.now());
            let waited = report.times.entered(State::SrqWait).is_some();
            assert!(waited, "{}: destroyed without a poll: {report:?}", row.name);
            bed.out.clear();
            let out = shared_out(&bed);
            let reclaimed = bed.shared_queue_goes();
            if report.end == State::Dead {
                assert_eq!((reclaimed, bed.lane.pool().used_bytes()), (out, 0), "{}", row.name);
            } else {
                assert_eq!(reclaimed, 0, "{}: a queue pair may be left", row.name);
            }
            assert_eq!(bed.fabric.violations(), [], "{} {mischief:?}", row.name);
        }
    }
}

#[test]
fn a_precise_last_wqe_ends_the_wait_before_its_deadline() {
    for row in [&rows::MLX4, &rows::MLX5, &rows::HNS] {
        let mut bed = Bed::sharing(row);
        bed.always(IN_PROGRESS);
        close(&mut bed, Cause::PeerDisconnected);
        bed.until(|bed| bed.conn.is_finished());
        let report = bed.conn.report(bed.now());
        assert!(report.last_wqe_reached, "{}: {report:?}", row.name);
        assert_eq!(report.deadlines_met().count(), 0, "{}", row.name);
        assert_eq!(shared_out(&bed), u64::from(RECEIVES) - 1, "{}: one was flushed", row.name);
        bed.shared_queue_goes();
        bed.ended();
    }
}

#[test]
fn what_a_destroyed_queue_pair_had_taken_stays_until_the_shared_queue_goes() {
    let mut bed = Bed::sharing(&rows::MLX5);
    bed.always(IN_PROGRESS);
    // The queue pair takes one and fails; the device dies before it is flushed.
    bed.fabric.inject(Injection::QueuePairError(bed.peer.number()));
    bed.fabric.inject(Injection::DeviceFatal([10, 0, 0, 1].into()));
    close(&mut bed, Cause::DeviceFatal);
    bed.until(|bed| bed.conn.is_finished());
    bed.out.clear();
    assert_eq!(bed.conn.report(bed.now()).end, State::Dead);
    let table = bed.shared.as_ref().unwrap().table();
    assert_eq!(table.out(), u64::from(RECEIVES), "the destroy gave none back");
    assert_eq!(table.leak_estimate(u64::from(RECEIVES) - 1), 1);
    assert!(bed.lane.pool().used_bytes() > 0);
    assert_eq!(bed.shared_queue_goes(), u64::from(RECEIVES));
    bed.ended();
}

#[test]
fn a_receive_goes_back_to_the_shared_queue_in_the_middle_of_a_close() {
    let mut bed = Bed::sharing(&rows::MLX5);
    message(&mut bed);
    close(&mut bed, Cause::Shutdown);
    bed.receive();
    bed.flush();
    bed.until(|bed| bed.conn.is_finished());
    assert_eq!(shared_out(&bed), u64::from(RECEIVES));
    bed.shared_queue_goes();
    bed.ended();
}

#[test]
fn a_shared_queue_that_is_still_used_is_not_destroyed_and_frees_nothing() {
    let mut bed = Bed::sharing(&rows::MLX5);
    assert_eq!(bed.shared_queue_goes(), 0);
    assert!(bed.lane.pool().used_bytes() > 0, "quarantined");
    assert_eq!(bed.fabric.violations(), []);
    close(&mut bed, Cause::Shutdown);
    bed.until(|bed| bed.conn.is_finished());
    assert_eq!(bed.fabric.violations(), []);
}
