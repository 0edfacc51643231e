//! The Error Information log page, and what SMART counts.

use nvme::admin::{fctype, opcode as admin};
use nvme::io::opcode;
use nvme::{Action, Cid, Outcome, Sqe, Status};

use crate::pair::{Pair, blocks, keyed, log_page};

const ERROR_LOG: u8 = 0x01;
const SMART: u8 = 0x02;

/// An entry of the log page as the specification lays it out.
#[derive(Debug, PartialEq, Eq)]
struct Entry {
    count: u64,
    sqid: u16,
    status: u16,
    location: u16,
    lba: u64,
    nsid: u32,
}

fn number(data: &[u8], at: usize, len: usize) -> u64 {
    data[at..at + len].iter().rev().fold(0, |sum, byte| sum << 8 | u64::from(*byte))
}

fn entry(data: &[u8], index: usize) -> Entry {
    let data = &data[index * 64..][..64];
    let short = |at| u16::try_from(number(data, at, 2)).unwrap();
    Entry {
        count: number(data, 0, 8),
        sqid: short(8),
        status: short(12) >> 1,
        location: short(14),
        lba: number(data, 16, 8),
        nsid: u32::try_from(number(data, 24, 4)).unwrap(),
    }
}

fn log(pair: &mut Pair) -> Vec<u8> {
    pair.log_page(ERROR_LOG, 0, 4096).ok().data
}

#[test]
fn log_without_errors_is_empty_and_success_says_nothing_of_more() {
    let mut pair = Pair::live();
    pair.io_op(&blocks(opcode::READ, 1, 0, 0, keyed(512)), 0);
    assert!(log(&mut pair).iter().all(|byte| *byte == 0));
    assert_eq!(pair.identify_controller().elpe, 63, "64 entries");
    assert!(!pair.identify(1, 0).cqe.more());
}

#[test]
fn each_field_that_is_refused_is_named() {
    let mut pair = Pair::live();
    let mut flags = blocks(opcode::READ, 1, 0, 0, keyed(512));
    flags.flags = 0;
    let dnr = |status: Status| status.dnr().more().bits();
    let cases = [
        (blocks(0x99, 1, 0, 0, keyed(0)), Status::INVALID_OPCODE, 0, 0),
        (flags, Status::INVALID_FIELD, 6 << 8 | 1, 0),
        (blocks(opcode::READ, 3, 0, 0, keyed(512)), Status::INVALID_NAMESPACE, 4, 0),
        (blocks(opcode::READ, 1, 0, 0, keyed(8)), Status::DATA_SGL_LENGTH_INVALID, 24, 0),
        (blocks(opcode::READ, 1, 2048, 0, keyed(512)), Status::LBA_OUT_OF_RANGE, 40, 2048),
        (blocks(opcode::READ, 1, 7, 0xffff, keyed(8)), Status::INVALID_FIELD, 48, 7),
        (blocks(opcode::WRITE, 7, 5, 0, keyed(512)), Status::NAMESPACE_WRITE_PROTECTED, 4, 5),
    ];
    for (nth, (sqe, status, location, lba)) in (1..).zip(cases) {
        assert_eq!(pair.io_status(&sqe), status.dnr());
        let expected =
            Entry { count: nth, sqid: 1, status: dnr(status), location, lba, nsid: sqe.nsid.get() };
        assert_eq!(entry(&log(&mut pair), 0), expected);
    }
}

#[test]
fn admin_commands_are_in_the_log_too() {
    let mut pair = Pair::enabled();
    let reply = pair.set_feature(0x7e, 0);
    assert_eq!(reply.status(), Status::INVALID_FIELD.dnr());
    assert!(reply.cqe.more());
    let set = entry(&log(&mut pair), 0);
    assert_eq!((set.count, set.sqid, set.location), (1, 0, 40));
    pair.admin(log_page(0x02, 2, 8));
    assert_eq!(entry(&log(&mut pair), 0).location, 48, "the offset");
    let mut get = Sqe::new(Sqe::FABRICS, Cid(0));
    get.nsid = u32::from(fctype::PROPERTY_GET).into();
    get.cdw11 = 4.into();
    assert_eq!(pair.admin(get).status(), Status::INVALID_FIELD.dnr());
    let property = entry(&log(&mut pair), 0);
    assert_eq!((property.location, property.nsid), (44, 0));
}

#[test]
fn command_id_that_is_taken_is_in_the_log() {
    let mut pair = Pair::live();
    let sqe = blocks(opcode::READ, 1, 0, 0, keyed(512));
    let Action::Execute { permit, .. } = pair.start_io(&sqe, 0) else { panic!("no read") };
    assert_eq!(pair.io_status(&sqe), Status::COMMAND_ID_CONFLICT.dnr());
    pair.finish(permit, Outcome::SUCCESS).ok();
    assert_eq!(entry(&log(&mut pair), 0).location, 2);
}

#[test]
fn log_keeps_the_last_64_newest_first_and_smart_counts_all() {
    let mut pair = Pair::live();
    for lba in 3000..3100 {
        pair.io_status(&blocks(opcode::READ, 1, lba, 0, keyed(512)));
    }
    let data = log(&mut pair);
    for index in 0..64 {
        let entry = entry(&data, index);
        assert_eq!((entry.count, entry.lba), (100 - index as u64, 3099 - index as u64));
    }
    let part = pair.log_page(ERROR_LOG, 64 * 10 + 16, 8).ok().data;
    assert_eq!(number(&part, 0, 8), 3089, "a part is a part of the same");
    let smart = pair.log_page(SMART, 0, 512).ok().data;
    assert_eq!((number(&smart, 160, 16), number(&smart, 176, 16)), (0, 100));
}

#[test]
fn failed_disk_is_a_media_error_with_its_block_and_no_field() {
    let mut pair = Pair::live();
    let sqe = blocks(opcode::WRITE, 2, 9, 0, keyed(4096));
    let Action::Execute { permit, .. } = pair.start_io(&sqe, 0) else { panic!("no write") };
    let reply = pair.finish(permit, Outcome::failed(Status::WRITE_FAULT));
    assert!(reply.cqe.more());
    let entry = entry(&log(&mut pair), 0);
    assert_eq!((entry.location, entry.lba, entry.nsid), (0xffff, 9, 2));
    let smart = pair.log_page(SMART, 0, 512).ok().data;
    assert_eq!((number(&smart, 160, 16), number(&smart, 176, 16)), (1, 1));
    assert_eq!(number(&smart, 80, 16), 0, "it wrote nothing");
}

#[test]
fn request_that_was_aborted_is_no_error() {
    let mut pair = Pair::enabled();
    assert!(pair.async_event().is_none());
    let mut abort = Sqe::new(admin::ABORT, Cid(0));
    let request = pair.admin.in_flight();
    assert_eq!(request, 1);
    abort.cdw10 = (u32::from(pair.last_cid()) << 16).into();
    pair.admin(abort).ok();
    assert_eq!(pair.asynchronous[0].status(), Status::ABORT_REQUESTED);
    assert!(!pair.asynchronous[0].cqe.more());
    assert_eq!(entry(&log(&mut pair), 0).count, 0);
}
