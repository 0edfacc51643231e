//! The connection as a whole, over the simulated device: batches, refused posts, markers.
#![allow(clippy::unwrap_used, reason = "a test that finds nothing fails")]

mod bed;

use bed::{Bed, RECEIVES};
use sim::{Injection, rows};
use transport::cause::Cause;
use transport::device::WcStatus;
use transport::drain::State;
use transport::marker::{Method, Posted};
use transport::wr::{Door, WrKind};

/// What is posted to the peer, and has arrived in a receive that is not polled yet.
fn message_arrives(bed: &mut Bed) {
    bed.peer.post_send(&[7; 64], 1);
    for _ in 0..100 {
        if bed.fabric.completions_waiting() > 0 {
            return;
        }
        bed.pass();
    }
    panic!("no message");
}

/// The queue pair fails by itself, and everything is flushed but not polled yet.
fn flushes_arrive(bed: &mut Bed, count: usize) {
    bed.fabric.inject(Injection::QueuePairError(bed.peer.number()));
    for _ in 0..100 {
        if bed.fabric.completions_waiting() >= count {
            return;
        }
        bed.pass();
    }
    panic!("no flushes");
}

#[test]
fn a_command_polled_with_the_first_flush_is_not_dispatched() {
    for message_first in [true, false] {
        let mut bed = Bed::live(&rows::MLX5, Method::Accounting);
        message_arrives(&mut bed);
        flushes_arrive(&mut bed, RECEIVES as usize);
        let mut wcs = bed.polled();
        wcs.sort_by_key(|wc| (wc.status == WcStatus::Flushed) == message_first);
        assert_eq!(wcs.len(), RECEIVES as usize);
        for wc in &wcs {
            bed.complete(wc);
            let command = bed.out.iter().any(|r| r.succeeded());
            let flushed = bed.out.iter().any(|r| !r.succeeded());
            assert_eq!(bed.conn.is_open(), !flushed, "open until the first flush");
            assert!(!command || flushed || message_first);
        }
        let now = bed.now();
        bed.conn.settle(now, &mut bed.out);
        assert_eq!(bed.conn.causes().first(), Some(Cause::FlushedByDevice));
        bed.ended();
    }
}

#[test]
fn a_message_before_established_is_parked_and_dispatched_once() {
    let mut bed = Bed::accepted(&rows::MLX5, Method::Accounting);
    message_arrives_early(&mut bed);
    assert_eq!((bed.conn.state(), bed.out.len()), (State::Accepting, 0), "parked");
    let now = bed.now();
    bed.conn.established(now, &mut bed.out);
    assert!(bed.out.len() == 1 && bed.out[0].succeeded() && bed.out[0].kind == WrKind::Recv);
    bed.conn.established(now, &mut bed.out);
    assert_eq!(bed.out.len(), 1);
    bed.conn.close(now, Cause::Shutdown, &mut bed.out);
    bed.ended();
}

fn message_arrives_early(bed: &mut Bed) {
    // The peer is connected as soon as it has our answer, and may be faster than our event.
    for _ in 0..100 {
        if bed.peer.is_connected() {
            break;
        }
        bed.pass();
    }
    message_arrives(bed);
    for wc in bed.polled() {
        bed.complete(&wc);
    }
}

#[test]
fn a_message_that_was_parked_goes_back_to_its_pool_at_a_close() {
    let mut bed = Bed::accepted(&rows::MLX5, Method::Accounting);
    message_arrives_early(&mut bed);
    let now = bed.now();
    bed.conn.close(now, Cause::Shutdown, &mut bed.out);
    assert!(bed.out.iter().all(|r| !r.succeeded()), "never dispatched");
    bed.ended();
}

#[test]
fn a_close_in_the_middle_of_a_batch_retires_all_of_it() {
    let mut bed = Bed::live(&rows::MLX5, Method::Accounting);
    message_arrives(&mut bed);
    flushes_arrive(&mut bed, RECEIVES as usize);
    let wcs = bed.polled();
    for (place, wc) in wcs.iter().enumerate() {
        bed.complete(wc);
        if place == 0 {
            let now = bed.now();
            bed.conn.close(now, Cause::ProtocolError, &mut bed.out);
            bed.conn.close(now, Cause::KeepAliveExpired, &mut bed.out);
        }
    }
    assert_eq!(bed.out.len(), wcs.len(), "each came back once");
    bed.ended();
    let report = bed.conn.report(bed.now());
    assert_eq!(report.causes.first(), Some(Cause::ProtocolError));
    assert!(report.causes.contains(Cause::KeepAliveExpired));
    assert_eq!(report.recv.posted, report.recv.completed + report.recv.flushed);
}

#[test]
fn a_post_refused_on_a_healthy_queue_pair_closes_and_proves_nothing() {
    let mut bed = Bed::live(&rows::SIW_6_12, Method::Accounting);
    bed.always("the doorbell fails");
    let (into, from) = (bed.slot(), bed.remote());
    bed.conn.read(into, from, 1).unwrap();
    bed.flush();
    assert_eq!(bed.conn.causes().first(), Some(Cause::PostRefused));
    assert!(bed.out.iter().all(|r| r.kind != WrKind::Read), "it may be posted all the same");
    assert_eq!(bed.conn.send_out(), 1);
    bed.ended();
}

#[test]
fn a_refused_list_gives_back_what_is_behind_the_first_refusal() {
    let mut bed = Bed::live(&rows::MLX5, Method::Accounting);
    let next = bed.fabric.calls(bed.node) + 1;
    bed.fabric.fail_call(bed.node, next);
    let (data, response, to) = (bed.slot(), bed.slot(), bed.remote());
    bed.conn.write(data, to, 1).unwrap();
    bed.conn.send(response, None, 2).unwrap();
    bed.flush();
    let refused = bed.out.iter().filter(|r| r.door == Door::Refused).count() as u64;
    assert!(refused > 0 && refused + bed.conn.send_out() == 2, "{refused} of 2 are back");
    assert_eq!(bed.conn.causes().first(), Some(Cause::PostRefused));
    bed.ended();
}

/// A WRITE that is executed unsignaled, and whose SEND never follows.
fn silent_write(method: Method) -> Bed {
    let mut bed = Bed::live(&rows::MLX5, method);
    let (data, to) = (bed.slot(), bed.remote());
    bed.conn.write(data, to, 1).unwrap();
    bed.flush();
    while bed.fabric.due().is_some() {
        bed.pass();
    }
    let now = bed.now();
    bed.conn.close(now, Cause::Shutdown, &mut bed.out);
    bed
}

#[test]
fn a_marker_ends_a_flush_that_counting_alone_waits_for_in_vain() {
    let mut counted = silent_write(Method::Accounting);
    counted.ended();
    let report = counted.conn.report(counted.now());
    assert!(report.flush_deadline_met && report.send.reclaimed == 1, "{report:?}");

    let mut marked = silent_write(Method::Markers);
    marked.ended();
    let report = marked.conn.report(marked.now());
    assert!(!report.flush_deadline_met, "{report:?}");
    assert_eq!((report.send.in_order, report.send.reclaimed), (1, 0));
    assert!(report.send_marker.flushed);
}

#[test]
fn every_row_ends_with_markers_as_it_does_without() {
    for row in rows::ALL {
        for method in [Method::Accounting, Method::Markers] {
            let mut bed = Bed::live(row, method);
            let (into, from) = (bed.slot(), bed.remote());
            bed.conn.read(into, from, 1).unwrap();
            bed.flush();
            let now = bed.now();
            bed.conn.close(now, Cause::Shutdown, &mut bed.out);
            bed.until(|bed| bed.conn.is_finished());
            let report = bed.conn.report(bed.now());
            let caps = bed.conn.caps();
            let expected = |allowed| allowed && method == Method::Markers;
            let posted = |fate: transport::marker::MarkerFate| fate.posted != Posted::No;
            if !expected(caps.marker_send) {
                assert!(!posted(report.send_marker), "{} {method:?}", row.name);
            }
            if !expected(caps.marker_recv) {
                assert!(!posted(report.recv_marker), "{} {method:?}", row.name);
            }
            let (end, total) = (report.end, report.total());
            let back = total.completed + total.flushed + total.in_order + total.reclaimed;
            assert_eq!(total.posted, back + total.leaked, "{}: {report:?}", row.name);
            assert!(total.leaked == 0 || end == State::Quarantined, "{}", row.name);
            assert_eq!(bed.fabric.violations(), [], "{} {method:?}", row.name);
        }
    }
}

#[test]
fn a_marker_for_which_the_queue_has_no_room_is_posted_later_or_not_at_all() {
    let mut bed = Bed::live(&rows::MLX5, Method::Markers);
    let now = bed.now();
    let (into, from) = (bed.slot(), bed.remote());
    bed.conn.read(into, from, 1).unwrap();
    bed.flush();
    let calls = bed.fabric.calls(bed.node);
    // The move to ERR is the next call, then the two markers.
    bed.fabric.fail_call(bed.node, calls + 2);
    bed.fabric.fail_call(bed.node, calls + 3);
    bed.conn.close(now, Cause::Shutdown, &mut bed.out);
    let report = bed.conn.report(now);
    let refused = [Posted::Refused, Posted::NoRoom];
    assert!(refused.contains(&report.send_marker.posted), "{report:?}");
    assert!(refused.contains(&report.recv_marker.posted), "{report:?}");
    bed.ended();
    let report = bed.conn.report(bed.now());
    assert!(!report.flush_deadline_met, "counting ends it: {report:?}");
}

#[test]
fn a_receive_that_comes_back_in_a_close_is_not_posted_again() {
    let mut bed = Bed::live(&rows::SIW_6_12, Method::Accounting);
    let now = bed.now();
    bed.conn.close(now, Cause::Shutdown, &mut bed.out);
    let (posted, calls) = (bed.conn.report(now).recv.posted, bed.fabric.calls(bed.node));
    bed.receive();
    bed.flush();
    assert_eq!(bed.conn.report(now).recv.posted, posted, "siw takes it, and it never comes back");
    assert_eq!(bed.fabric.calls(bed.node), calls);
    bed.ended();
}
