//! Whole lives of associations, in the order in which the Linux host goes through them.

use nvme::io::opcode;
use nvme::property::offset;
use nvme::{CloseReason, Controller, DiskOp, EndCause, Now, Permit, Qid, Queue, Status};

use crate::pair::{Connect, Pair, SUBNQN, blocks, claim, export_of, keyed, subsystem};

const READY: u32 = 1;
const SHUTDOWN_OCCURRING: u32 = 1 << 2;
const SHUTDOWN_COMPLETE: u32 = 2 << 2;
const ENABLE: u32 = 0x0046_0061;

#[test]
fn linux_host_connects_does_io_and_disconnects() {
    let mut pair = Pair::new(export_of(vec![subsystem()], 1));
    pair.connect(&Connect::admin(SUBNQN)).ok();
    // nvme_enable_ctrl
    let cap = pair.property_get(offset::CAP, true).ok().cqe.result.get();
    assert_eq!(cap & 0xffff, 127, "MQES");
    assert_ne!(cap >> 37 & 1, 0, "NVM command set");
    assert_ne!(cap >> 43 & 1, 0, "command sets can be selected");
    assert_ne!(cap >> 59 & 1, 0, "CRTO is to be read");
    assert_eq!(cap >> 48 & 0xff, 0, "pages of 4 KiB and no others");
    let timeout = pair.property_get(offset::CRTO, false).ok().dw0();
    assert_eq!(timeout & 0xffff, u32::try_from(cap >> 24 & 0xff).unwrap());
    pair.set_cc(ENABLE).ok();
    assert_eq!(pair.csts(), READY);
    // nvme_init_ctrl_finish
    assert_eq!(pair.property_get(offset::VS, false).ok().dw0(), 0x0002_0000);
    let id = pair.identify_controller();
    linux_accepts(&id, pair.cntlid.0);
    pair.log_page(5, 0, 4096).ok();
    pair.identify(6, 0).ok();
    // nvmf_set_io_queues and nvme_enable_aen
    assert_eq!(pair.set_feature(7, 0x0001_0001).ok().dw0(), 0x0001_0001);
    pair.connect_io(1);
    pair.connect_io(2);
    pair.set_feature(0x0b, id.oaes.get() & 0x100).ok();
    assert!(pair.async_event().is_none());
    // nvme_scan_work
    let list = pair.identify(2, 0).ok().data;
    assert_eq!(list[..16], [1, 0, 0, 0, 2, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0]);
    for nsid in [1, 2, 7] {
        let descriptors = pair.identify(3, nsid).ok().data;
        assert_eq!(descriptors[..4], [3, 16, 0, 0], "a UUID comes first");
        assert_eq!(descriptors[20..25], [4, 1, 0, 0, 0], "then the command set");
        assert_eq!(pair.identify(8, nsid).ok().data[14] & 1, 1, "ready");
        let ns = pair.identify(0, nsid).ok().data;
        assert_ne!(ns[..8], [0; 8], "NSZE");
    }
    // I/O
    assert!(matches!(
        pair.io_op(&blocks(opcode::WRITE, 1, 0, 7, keyed(4096)), 0),
        DiskOp::Write { .. }
    ));
    // nvme_delete_ctrl: I/O queues first, then SHN and SHST.
    for qid in [1, 2] {
        pair.io.remove(&qid);
        let now = pair.now;
        pair.controller().io_queue_gone(now, Qid(qid));
    }
    pair.set_cc(ENABLE | 1 << 14).ok();
    assert_eq!(pair.closed, [CloseReason::Shutdown]);
    assert_eq!(pair.csts(), READY | SHUTDOWN_COMPLETE);
    assert_eq!(pair.ended, None);
    assert_eq!(pair.admin.in_flight(), 1, "the event request");
    drop(pair);
    assert_eq!(Permit::dropped(), 0);
}

/// What nvme_check_ctrl_fabric_info, nvme_rdma_configure_queues and nvme_mpath refuse.
fn linux_accepts(id: &nvme::wire::identify::IdentifyController, cntlid: u16) {
    assert_eq!(id.cntlid.get(), cntlid, "mismatching cntlid");
    assert_ne!(id.kas.get(), 0, "keep-alive support is mandatory");
    assert!(id.ioccsz.get() >= 4 && id.iorcsz.get() >= 1);
    assert_eq!(id.icdoff.get(), 0, "icdoff is not supported");
    assert_ne!(id.sgls.get() & 1 << 2, 0, "keyed SGLs are mandatory");
    assert!(id.maxcmd.get() >= 1);
    assert!(id.mnan.get() <= id.nn.get() && id.mnan.get() > 0, "invalid MNAN");
    assert_eq!((id.sqes, id.cqes), (0x66, 0x44));
    assert_eq!(id.cntrltype, 1);
    assert_eq!(id.subnqn[..SUBNQN.len()], *SUBNQN.as_bytes());
}

#[test]
fn disable_ends_io_and_frees_event_requests_without_an_answer() {
    let mut pair = Pair::live();
    pair.quiesce_at_once = false;
    pair.set_feature(0x0b, 0x100).ok();
    assert!(pair.async_event().is_none());
    assert_eq!(pair.admin.in_flight(), 1);
    pair.set_cc(ENABLE & !1).ok();
    assert_eq!(pair.admin.in_flight(), 0);
    assert!(pair.asynchronous.is_empty());
    assert_eq!(pair.closed, [CloseReason::Disabled]);
    assert_eq!(pair.csts(), READY, "I/O has not ended yet");
    let sequence = Status::COMMAND_SEQUENCE_ERROR.dnr();
    assert_eq!(pair.io_status(&blocks(opcode::READ, 1, 0, 0, keyed(512))), sequence);
    assert_eq!(pair.set_cc(ENABLE).status(), sequence, "not before RDY is 0");
    assert_eq!(pair.identify(1, 0).status(), sequence);
    let now = pair.now;
    pair.io.clear();
    pair.controller().io_queue_gone(now, Qid(1));
    pair.controller().io_quiesced(now);
    assert_eq!(pair.csts(), 0);
    // And again, as after nvme reset without a new connection.
    pair.enable();
    assert_eq!(pair.get_feature(0x0b, 0).ok().dw0(), 0, "features are back at their defaults");
    pair.quiesce_at_once = true;
    pair.connect_io(1);
}

#[test]
fn shutdown_stops_io_at_once_and_is_complete_when_io_has_ended() {
    let mut pair = Pair::live();
    pair.quiesce_at_once = false;
    pair.set_cc(ENABLE | 2 << 14).ok();
    assert_eq!(pair.closed, [CloseReason::AbruptShutdown]);
    assert_eq!(pair.csts(), READY | SHUTDOWN_OCCURRING);
    let sequence = Status::COMMAND_SEQUENCE_ERROR.dnr();
    assert_eq!(pair.io_status(&blocks(opcode::READ, 1, 0, 0, keyed(512))), sequence);
    let reply = pair.try_connect_io(&Connect::io(pair.cntlid, 2), claim(2, 128));
    assert_eq!(reply.status(), sequence);
    pair.set_cc(ENABLE | 2 << 14).ok();
    assert_eq!(pair.closed.len(), 1, "asked once");
    let now = pair.now;
    pair.controller().io_quiesced(now);
    assert_eq!(pair.csts(), READY | SHUTDOWN_COMPLETE);
    // A host may disable after a shutdown, and begin anew.
    pair.io.clear();
    pair.controller().io_queue_gone(now, Qid(1));
    pair.quiesce_at_once = true;
    pair.set_cc(ENABLE & !1).ok();
    assert_eq!(pair.csts(), 0);
    pair.enable();
}

#[test]
fn controller_that_was_shut_down_while_disabled_can_be_enabled() {
    let mut pair = Pair::new(export_of(vec![subsystem()], 1));
    pair.connect(&Connect::admin(SUBNQN)).ok();
    pair.set_cc(1 << 14).ok();
    assert_eq!(pair.csts(), SHUTDOWN_COMPLETE);
    pair.enable();
    pair.connect_io(1);
    for _ in 0..20 {
        let then = Now(pair.now.0 + std::time::Duration::from_secs(4));
        pair.until(then);
        pair.io_op(&blocks(opcode::READ, 1, 0, 0, keyed(512)), 0);
    }
    assert_eq!(pair.ended, None, "it doesn't wait for its host to leave any more");
}

#[test]
fn shutdown_asked_for_while_disabling_is_part_of_the_disable() {
    let mut pair = Pair::live();
    pair.quiesce_at_once = false;
    pair.set_cc(ENABLE & !1).ok();
    pair.set_cc(ENABLE & !1 | 1 << 14).ok();
    assert_eq!(pair.closed, [CloseReason::Disabled]);
    let now = pair.now;
    pair.controller().io_queue_gone(now, Qid(1));
    pair.controller().io_quiesced(now);
    assert_eq!(pair.csts(), 0);
    pair.enable();
}

#[test]
fn controller_that_ended_is_not_brought_back() {
    let mut pair = Pair::live();
    let then = Now(pair.now.0 + std::time::Duration::from_secs(60));
    pair.until(then);
    assert_eq!(pair.ended, Some(EndCause::KeepAliveExpired));
    for cc in [0, ENABLE, ENABLE | 1 << 14] {
        assert_eq!(pair.set_cc(cc).status(), Status::COMMAND_SEQUENCE_ERROR.dnr());
    }
    assert_eq!(pair.csts(), READY | 1 << 1);
    assert_eq!(pair.controller().poll_timeout(), None);
}

#[test]
fn quiesce_that_nobody_asked_for_changes_nothing() {
    let mut pair = Pair::live();
    let now = pair.now;
    pair.controller().io_quiesced(now);
    assert_eq!(pair.csts(), READY);
    assert!(matches!(
        pair.io_op(&blocks(opcode::READ, 1, 0, 0, keyed(512)), 0),
        DiskOp::Read { .. }
    ));
}

#[test]
fn configuration_that_can_not_be_granted_fails_the_controller_and_clearing_en_mends_it() {
    let wrong = [
        ("no entry sizes", 0x0000_0061),
        ("larger SQ entries", 0x0047_0061),
        ("larger CQ entries", 0x0056_0061),
        ("larger pages", 0x0046_00e1),
        ("weighted arbitration", 0x0046_0861),
        ("reserved command set", 0x0046_0011),
    ];
    for (what, cc) in wrong {
        let mut pair = Pair::new(export_of(vec![subsystem()], 1));
        pair.connect(&Connect::admin(SUBNQN)).ok();
        pair.set_cc(cc).ok();
        assert_eq!(pair.csts(), 1 << 1, "{what}");
        pair.set_cc(0).ok();
        assert_eq!(pair.csts(), 0, "{what}");
        pair.enable();
    }
}

#[test]
fn commands_before_enable_are_out_of_sequence_but_properties_are_not() {
    let mut pair = Pair::new(export_of(vec![subsystem()], 1));
    pair.connect(&Connect::admin(SUBNQN)).ok();
    let sequence = Status::COMMAND_SEQUENCE_ERROR.dnr();
    assert_eq!(pair.identify(1, 0).status(), sequence);
    assert_eq!(pair.set_feature(7, 0).status(), sequence);
    assert_eq!(pair.async_event().map(|reply| reply.status()), Some(sequence));
    // Even one that is not known at all.
    assert_eq!(pair.admin(nvme::Sqe::new(0x99, nvme::Cid(0))).status(), sequence);
    assert_eq!(pair.csts(), 0);
}

#[test]
fn loss_of_the_admin_queue_ends_the_controller_without_answers() {
    let mut pair = Pair::live();
    assert!(pair.async_event().is_none());
    let now = pair.now;
    pair.controller().admin_queue_gone(now);
    assert_eq!(pair.controller().poll_timeout(), None);
    assert!(pair.controller().poll_event().is_none());
    let reply = pair.try_connect_io(&Connect::io(pair.cntlid, 2), claim(2, 128));
    assert_eq!(reply.status(), Status::COMMAND_SEQUENCE_ERROR.dnr());
}

#[test]
fn removal_of_the_subsystem_or_of_the_right_to_it_ends_the_controller() {
    let mut no_host = subsystem();
    no_host.hosts.clear();
    for export in [export_of(vec![], 2), export_of(vec![no_host], 2)] {
        let mut pair = Pair::live();
        let now = pair.now;
        pair.controller().export_changed(now, &export);
        pair.pump();
        assert_eq!(pair.ended, Some(EndCause::ExportRemoved));
        let read = blocks(opcode::READ, 1, 0, 0, keyed(512));
        assert_eq!(pair.io_status(&read), Status::COMMAND_SEQUENCE_ERROR.dnr());
    }
}

#[test]
fn limits_that_a_host_was_told_hold_until_it_leaves() {
    let mut pair = Pair::live();
    let mut smaller = subsystem();
    smaller.limits.mdts_bytes = 4096;
    let now = pair.now;
    pair.controller().export_changed(now, &export_of(vec![smaller], 2));
    pair.pump();
    assert!(matches!(
        pair.io_op(&blocks(opcode::READ, 1, 0, 15, keyed(8192)), 0),
        DiskOp::Read { .. }
    ));
}

#[test]
fn what_crosses_reactors_can() {
    fn sendable<T: Send>() {}
    sendable::<Queue>();
    sendable::<Controller>();
    sendable::<nvme::IoGrant>();
    sendable::<nvme::ConnectRequest>();
    sendable::<Now>();
}
