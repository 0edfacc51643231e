//! The discovery controller.

use nvme::wire::discovery::{DiscoveryEntry, DiscoveryHeader};
use nvme::wire::identify::IdentifyController;
use nvme::{Cid, Export, HostNqn, PortId, Sqe, Status, SubNqn, Subsystem};
use std::sync::Arc;
use zerocopy::FromBytes;

use crate::pair::{Connect, Pair, SUBNQN, export_of, log_page, subsystem};

fn named(name: &str) -> Subsystem {
    Subsystem { nqn: SubNqn::new(name).unwrap(), ..subsystem() }
}

/// Three subsystems on port 1, one of which is for another host, and one on port 2.
fn export(genctr: u64) -> Arc<Export> {
    let mut foreign = named("nqn.foreign");
    foreign.hosts = vec![HostNqn::new("nqn.other").unwrap()];
    let mut open = named("nqn.open");
    open.allow_any_host = true;
    open.hosts.clear();
    let mut elsewhere = named("nqn.elsewhere");
    elsewhere.ports = vec![PortId(2)];
    export_of(vec![subsystem(), foreign, open, elsewhere], genctr)
}

fn header(data: &[u8]) -> DiscoveryHeader {
    DiscoveryHeader::read_from_prefix(data).unwrap().0
}

fn entries(data: &[u8]) -> Vec<DiscoveryEntry> {
    let entries = data[1024..].chunks_exact(1024);
    entries.map(|entry| DiscoveryEntry::read_from_bytes(entry).unwrap()).collect()
}

fn text(field: &[u8]) -> &str {
    std::str::from_utf8(field).unwrap().trim_end_matches('\0')
}

#[test]
fn log_shows_what_this_host_may_reach_on_this_port() {
    let mut pair = Pair::discovery(export(17));
    let data = pair.log_page(0x70, 0, 4096).ok().data;
    let header = header(&data);
    assert_eq!((header.genctr.get(), header.numrec.get(), header.recfmt.get()), (17, 3, 0));
    let seen: Vec<_> = entries(&data)
        .iter()
        .map(|entry| (entry.subtype, text(&entry.subnqn).to_owned()))
        .collect();
    assert_eq!(
        seen,
        [(3, nvme::DISCOVERY_NQN.to_owned()), (2, SUBNQN.to_owned()), (2, "nqn.open".to_owned()),],
    );
}

#[test]
fn entry_says_how_to_connect_by_the_address_that_the_host_used() {
    let mut pair = Pair::discovery(export(1));
    let data = pair.log_page(0x70, 0, 4096).ok().data;
    for entry in entries(&data) {
        assert_eq!((entry.trtype, entry.adrfam), (1, 1));
        assert_eq!((text(&entry.traddr), text(&entry.trsvcid)), ("192.0.2.7", "4420"));
        assert_eq!((entry.portid.get(), entry.cntlid.get(), entry.asqsz.get()), (1, 0xffff, 32));
        assert_eq!((entry.rdma_qptype, entry.rdma_prtype, entry.rdma_cms), (1, 1, 1));
        assert_eq!(entry.treq, 0b100);
        let persistent = entry.eflags.get() & 1 << 1 != 0;
        assert_eq!(persistent, entry.subtype == 3);
    }
}

#[test]
fn address_of_a_port_that_listens_on_one_is_its_own() {
    let mut pair = Pair::new(export(1));
    pair.arrival.port = PortId(2);
    pair.connect(&Connect::admin(nvme::DISCOVERY_NQN)).ok();
    pair.enable();
    let data = pair.log_page(0x70, 0, 3072).ok().data;
    assert_eq!(header(&data).numrec.get(), 2);
    for entry in entries(&data) {
        assert_eq!((entry.adrfam, text(&entry.traddr)), (2, "fd00::1"));
        assert_eq!(text(&entry.trsvcid), "4421");
    }
    assert_eq!(text(&entries(&data)[1].subnqn), "nqn.elsewhere");
}

#[test]
fn log_is_the_same_read_whole_or_header_first_or_in_odd_parts() {
    let mut pair = Pair::discovery(export(1));
    let whole = pair.log_page(0x70, 0, 4096).ok().data;
    for step in [4u32, 16, 1000, 1024, 2052] {
        let mut joined = Vec::new();
        while joined.len() < whole.len() {
            let left = u32::try_from(whole.len() - joined.len()).unwrap();
            let at = joined.len() as u64;
            joined.extend(pair.log_page(0x70, at, step.min(left)).ok().data);
        }
        assert_eq!(joined, whole, "in steps of {step}");
    }
    let beyond = pair.log_page(0x70, 2048, 8192).ok().data;
    assert_eq!(beyond, whole[2048..], "nothing beyond the end");
    assert_eq!(pair.log_page(0x70, 4100, 4).status(), Status::INVALID_FIELD.dnr());
}

#[test]
fn change_of_the_export_is_told_and_the_log_is_new() {
    let mut pair = Pair::discovery(export(1));
    pair.set_feature(0x0b, 1 << 31).ok();
    assert!(pair.async_event().is_none());
    assert!(pair.async_event().is_none());
    let now = pair.now;
    for genctr in [2, 3] {
        pair.controller().export_changed(now, &export_of(vec![], genctr));
        pair.pump();
    }
    assert_eq!(pair.asynchronous.len(), 1, "told once until it is read");
    assert_eq!(pair.asynchronous[0].dw0(), 0x0070_f002);
    let log = header(&pair.log_page(0x70, 0, 1024).ok().data);
    assert_eq!((log.genctr.get(), log.numrec.get()), (3, 1));
    pair.controller().export_changed(now, &export_of(vec![], 3));
    pair.pump();
    assert_eq!(pair.asynchronous.len(), 1, "nothing changed");
    pair.controller().export_changed(now, &export_of(vec![], 4));
    pair.pump();
    assert_eq!(pair.asynchronous.len(), 2);
}

#[test]
fn reading_with_rae_leaves_the_event_told() {
    let mut pair = Pair::discovery(export(1));
    pair.set_feature(0x0b, 1 << 31).ok();
    for _ in 0..2 {
        assert!(pair.async_event().is_none());
    }
    let now = pair.now;
    let mut retain = log_page(0x70, 0, 1024);
    retain.cdw10 = (retain.cdw10.get() | 1 << 15).into();
    for genctr in [2, 3] {
        pair.controller().export_changed(now, &export_of(vec![], genctr));
        pair.pump();
        pair.admin(retain).ok();
        assert_eq!(pair.asynchronous.len(), 1);
    }
}

#[test]
fn identify_is_that_of_a_discovery_controller() {
    let mut pair = Pair::discovery(export(1));
    let id = pair.identify_controller();
    let IdentifyController { cntrltype, dctype, oaes, oncs, .. } = id;
    assert_eq!((cntrltype, dctype, oaes.get(), oncs.get()), (2, 0, 1 << 31, 0));
    assert_eq!(text(&id.subnqn), nvme::DISCOVERY_NQN);
    assert_ne!(id.sgls.get() & 1 << 2, 0);
    assert_ne!(id.lpa & 1 << 2, 0, "offsets");
    assert_eq!((id.ioccsz.get(), id.sgls.get() >> 20 & 1), (4, 0), "no in-capsule data");
}

#[test]
fn io_controller_s_commands_are_refused() {
    let mut pair = Pair::discovery(export(1));
    let invalid = Status::INVALID_FIELD.dnr();
    for cns in [0, 2, 3, 5, 6, 7, 8, 0x1c] {
        assert_eq!(pair.identify(cns, 1).status(), invalid, "CNS {cns:#x}");
    }
    for lid in [1, 2, 3, 4, 5, 0x12] {
        assert_eq!(pair.log_page(lid, 0, 64).status(), Status::INVALID_LOG_PAGE.dnr());
    }
    for fid in [1, 2, 4, 5, 6, 7, 0x0a, 0x19, 0x81] {
        assert_eq!(pair.set_feature(fid, 0).status(), invalid, "feature {fid:#x}");
        assert_eq!(pair.get_feature(fid, 3).status(), invalid, "feature {fid:#x}");
    }
    pair.get_feature(0x0f, 0).ok();
    let keep_alive = Sqe::new(nvme::admin::opcode::KEEP_ALIVE, Cid(0));
    pair.admin(keep_alive).ok();
}

#[test]
fn io_controller_has_no_discovery_log() {
    let mut pair = Pair::enabled();
    assert_eq!(pair.log_page(0x70, 0, 1024).status(), Status::INVALID_LOG_PAGE.dnr());
}

#[test]
fn host_that_never_sets_entry_sizes_is_served() {
    let mut pair = Pair::new(export(1));
    pair.connect(&Connect::admin(nvme::DISCOVERY_NQN)).ok();
    pair.set_cc(1).ok();
    assert_eq!(pair.csts(), 1);
}
