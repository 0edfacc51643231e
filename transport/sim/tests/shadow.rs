//! The shadow of memory and the recorded rules: each breach is recorded under its number, and what
//! is allowed is not.
#![allow(clippy::unwrap_used, reason = "a test that finds nothing fails")]

mod bed;

use bed::{Bed, Plain};
use sim::{DiskAccess, Rule, rows};
use transport::device::{
    CmId, QueuePair, RecvDesc, SendOp, Sge, SharedReceiveQueue, SharedReceives, WcStatus,
};

fn bed() -> Bed {
    Bed::new(&rows::MLX5, Box::new(Plain))
}

#[test]
fn bytes_move_as_the_operations_say_and_no_rule_is_broken() {
    let mut bed = bed();
    bed.write_memory(0, b"data of the target");
    bed.write_memory(1024, b"data");
    bed.host.write(&bed.region.clone(), 512, b"data of the host");
    bed.peer.post_recv(64, 9);
    let remote = transport::device::Remote { addr: bed.region.addr() + 512, ..bed.remote() };
    let read = bed.desc(1, SendOp::Read(remote), 4096, 16);
    let write = bed.desc(2, SendOp::Write(bed.remote()), 0, 18);
    let rkey = bed.region.rkey();
    let send = bed.desc(3, SendOp::Send { invalidate: Some(rkey) }, 1024, 4);
    bed.post(&[read, write, send]).unwrap();
    bed.recv(4, 8192, 64).unwrap();
    bed.peer.post_send(b"hello", 5);
    bed.pass(100);
    let done = bed.polled();
    assert_eq!(Bed::with_status(&done, WcStatus::Success).len(), 4);
    assert_eq!(bed.memory(4096, 16), b"data of the host");
    assert_eq!(bed.memory(8192, 5), b"hello");
    assert_eq!(done.iter().find(|wc| wc.wr_id == 4).unwrap().byte_len, 5);
    assert_eq!(bed.host.read(&bed.region, 0, 18), b"data of the target");
    let received =
        sim::PeerEvent::Received { bytes: b"data".to_vec(), invalidated: Some(rkey), context: 9 };
    let events: Vec<_> = std::iter::from_fn(|| bed.peer.poll()).collect();
    assert!(events.contains(&received), "{events:?}");
    // The key is invalid now.
    bed.write(6, 0, true).unwrap();
    bed.pass(100);
    assert_eq!(bed.polled()[0].status, WcStatus::Error(10), "remote access error");
    assert_eq!(bed.rules(), []);
}

#[test]
fn a_range_that_is_posted_twice_breaks_s1_and_not_after_its_completion() {
    let mut bed = bed();
    bed.recv(1, 0, 64).unwrap();
    bed.recv(2, 64, 64).unwrap();
    assert_eq!(bed.rules(), [], "beside each other is fine");
    bed.recv(3, 32, 64).unwrap();
    assert_eq!(bed.rules(), [Rule::S1]);
    let mut bed = self::bed();
    bed.read(1, 0, 64).unwrap();
    bed.pass(100);
    assert_eq!(bed.polled().len(), 1);
    bed.read(2, 0, 64).unwrap();
    assert_eq!(bed.rules(), []);
}

#[test]
fn a_completion_that_was_not_polled_gives_nothing_back() {
    let mut bed = bed();
    bed.read(1, 0, 64).unwrap();
    bed.pass(100);
    bed.fabric.check_released(bed.sge(0, 64).addr, 64);
    assert_eq!(bed.rules(), [Rule::S1]);
}

#[test]
fn memory_that_changes_in_flight_breaks_s1_for_sources_and_sinks() {
    let mut bed = bed();
    bed.peer.post_recv(64, 0);
    bed.send(1, 0, 64).unwrap();
    bed.write_memory(5, b"!");
    bed.pass(100);
    assert_eq!(bed.rules(), [Rule::S1]);
    let mut bed = self::bed();
    bed.recv(1, 0, 64).unwrap();
    bed.write_memory(5, b"!");
    bed.qp().modify_to_error().unwrap();
    bed.pass(100);
    assert_eq!(bed.rules(), [Rule::S1]);
}

#[test]
fn a_disk_and_a_device_share_no_byte_that_one_of_them_writes() {
    let mut bed = bed();
    bed.recv(1, 0, 64).unwrap();
    let early = bed.fabric.disk_begins(bed.sge(0, 64).addr, 64, DiskAccess::Reads);
    assert_eq!(bed.rules(), [Rule::S1]);
    bed.fabric.disk_ends(early);
    let mut bed = self::bed();
    let touch = bed.fabric.disk_begins(bed.sge(0, 64).addr, 64, DiskAccess::Reads);
    bed.recv(1, 0, 64).unwrap();
    assert_eq!(bed.rules(), [Rule::S3]);
    bed.fabric.disk_ends(touch);
    let mut bed = self::bed();
    let touch = bed.fabric.disk_begins(bed.sge(0, 64).addr, 64, DiskAccess::Reads);
    bed.fabric.disk_ends(touch);
    bed.recv(1, 0, 64).unwrap();
    assert_eq!(bed.rules(), []);
}

#[test]
fn a_region_outlives_what_names_it() {
    let mut bed = bed();
    bed.recv(1, 0, 64).unwrap();
    drop(bed.mr.take());
    assert_eq!(bed.rules(), [Rule::S12]);
    let mut bed = self::bed();
    bed.recv(1, 0, 64).unwrap();
    bed.destroy().unwrap();
    drop(bed.mr.take());
    assert_eq!(bed.rules(), []);
}

#[test]
fn behind_our_own_move_to_err_one_marker_a_queue_is_taken_and_no_more() {
    let mut bed = bed();
    bed.qp().modify_to_error().unwrap();
    bed.recv(1, 0, 64).unwrap();
    bed.send(2, 64, 0).unwrap();
    assert_eq!(bed.rules(), []);
    bed.recv(3, 128, 64).unwrap();
    assert_eq!(bed.rules(), [Rule::S5]);
}

#[test]
fn the_channel_is_not_read_and_the_id_not_destroyed_in_the_wrong_order() {
    let mut bed = bed();
    bed.destroy().unwrap();
    assert!(bed.id().next_event().is_ok());
    assert_eq!(bed.rules(), [Rule::S9]);
    let mut bed = self::bed();
    drop(bed.id.take());
    assert_eq!(bed.rules(), [Rule::S12]);
}

#[test]
fn memory_of_a_failed_destroy_belongs_to_nobody_for_ever() {
    let mut bed = bed();
    bed.recv(1, 0, 64).unwrap();
    let calls = bed.fabric.calls(bed.node);
    bed.fabric.fail_call(bed.node, calls + 1);
    assert!(bed.destroy().is_err());
    bed.fabric.check_released(bed.sge(0, 64).addr, 64);
    assert_eq!(bed.rules(), [Rule::S14]);
}

#[test]
fn a_dead_process_holds_nothing_and_breaks_nothing() {
    let mut bed = bed();
    bed.recv(1, 0, 64).unwrap();
    bed.read(2, 64, 64).unwrap();
    bed.fabric.crash(bed.node);
    drop(bed.mr.take());
    drop(bed.id.take());
    bed.pass(1000);
    let events: Vec<_> = std::iter::from_fn(|| bed.peer.poll()).collect();
    assert!(events.contains(&sim::PeerEvent::Disconnected), "{events:?}");
    assert_eq!(bed.rules(), []);
}

#[test]
fn a_shared_receive_is_nobodys_until_its_completion_or_the_destroy_of_its_queue() {
    let mut bed = bed();
    let mut srq = bed.device.create_srq(&bed.pd, 4, 1).unwrap();
    let none = Sge { addr: 0, len: 0, lkey: 0 };
    let list = [RecvDesc { wr_id: 1, sges: [bed.sge(0, 64), none] }];
    // SAFETY: the bed's memory stays mapped, and the queue is destroyed before it is looked at.
    unsafe { srq.post_recv(&list) }.unwrap();
    bed.destroy().unwrap();
    bed.fabric.check_released(bed.sge(0, 64).addr, 64);
    assert_eq!(bed.rules(), [Rule::S16], "a destroyed queue pair gives none back");
    srq.destroy().unwrap();
    bed.fabric.check_released(bed.sge(0, 64).addr, 64);
    assert_eq!(bed.rules(), [Rule::S16]);
}
