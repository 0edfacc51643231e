//! Timers: keep-alive, idle discovery, shutdown and quiesce deadlines.

use nvme::io::opcode;
use nvme::{Cid, EndCause, Sqe, Status};

use crate::pair::{Connect, Pair, SUBNQN, blocks, export_of, keyed, ms, subsystem};

const FATAL: u32 = 1 << 1;

fn pair_with_kato(kato_ms: u32) -> Pair {
    let mut pair = Pair::new(export_of(vec![subsystem()], 1));
    pair.connect(&Connect { kato_ms, ..Connect::admin(SUBNQN) }).ok();
    pair.enable();
    pair
}

fn keep_alive(pair: &mut Pair) -> Status {
    pair.admin(Sqe::new(nvme::admin::opcode::KEEP_ALIVE, Cid(0))).status()
}

#[test]
fn silent_host_loses_its_controller_after_its_timeout_and_not_before() {
    let mut pair = pair_with_kato(5000);
    pair.until(ms(5_999));
    assert_eq!(pair.ended, None);
    pair.until(ms(6_000));
    assert_eq!(pair.ended, Some(EndCause::KeepAliveExpired));
    assert_eq!(pair.controller().csts() & FATAL, FATAL);
    assert_eq!(pair.controller().poll_timeout(), None, "it ends once");
}

#[test]
fn keep_alive_command_restarts_the_timer() {
    let mut pair = pair_with_kato(5000);
    for at in (3_000..60_000).step_by(4_000) {
        pair.until(ms(at));
        assert_eq!(keep_alive(&mut pair), Status::SUCCESS);
    }
    assert_eq!(pair.ended, None);
}

#[test]
fn io_alone_keeps_the_controller_and_its_end_is_noticed() {
    let mut pair = pair_with_kato(5000);
    pair.connect_io(1);
    let sqe = blocks(opcode::READ, 1, 0, 0, keyed(512));
    for at in (2_000..40_000).step_by(2_000) {
        pair.until(ms(at));
        pair.io_op(&sqe, 0);
    }
    assert_eq!(pair.ended, None);
    // One interval in which I/O was seen, and one of silence.
    pair.until(ms(38_000 + 2 * 5_000));
    assert_eq!(pair.ended, Some(EndCause::KeepAliveExpired));
}

#[test]
fn host_that_died_before_enabling_is_noticed() {
    let mut pair = Pair::new(export_of(vec![subsystem()], 1));
    pair.connect(&Connect::admin(SUBNQN)).ok();
    pair.until(ms(6_000));
    assert_eq!(pair.ended, Some(EndCause::KeepAliveExpired));
}

#[test]
fn timeout_is_rounded_up_to_the_granularity_that_identify_tells() {
    let mut pair = pair_with_kato(1);
    let granularity_ms = u32::from(pair.identify_controller().kas.get()) * 100;
    assert_eq!(pair.get_feature(0x0f, 0).ok().dw0(), granularity_ms);
    pair.until(ms(1_999));
    assert_eq!(pair.ended, None);
    pair.until(ms(2_000));
    assert_eq!(pair.ended, Some(EndCause::KeepAliveExpired));
}

#[test]
fn host_without_keep_alive_is_left_alone_and_its_keep_alive_refused() {
    let mut pair = pair_with_kato(0);
    assert_eq!(keep_alive(&mut pair), Status::KEEP_ALIVE_INVALID.dnr());
    assert_eq!(pair.controller().poll_timeout(), None);
}

#[test]
fn keep_alive_can_be_changed_by_feature_0fh() {
    let mut pair = pair_with_kato(0);
    pair.set_feature(0x0f, 10_000).ok();
    assert_eq!(keep_alive(&mut pair), Status::SUCCESS);
    pair.until(ms(10_999));
    assert_eq!(pair.ended, None);
    pair.until(ms(11_000));
    assert_eq!(pair.ended, Some(EndCause::KeepAliveExpired));
}

#[test]
fn largest_timeout_does_not_overflow() {
    let mut pair = pair_with_kato(u32::MAX);
    assert!(pair.controller().poll_timeout().is_some());
    pair.set_feature(0x0f, u32::MAX - 1).ok();
    assert!(pair.get_feature(0x0f, 0).ok().dw0() >= u32::MAX - 1);
}

#[test]
fn idle_discovery_controller_without_keep_alive_ends_after_120_s() {
    let mut pair = Pair::new(export_of(vec![subsystem()], 1));
    pair.connect(&Connect { kato_ms: 0, ..Connect::admin(nvme::DISCOVERY_NQN) }).ok();
    pair.enable();
    pair.until(ms(120_999));
    assert_eq!(pair.ended, None);
    pair.until(ms(121_000));
    assert_eq!(pair.ended, Some(EndCause::DiscoveryIdle));
}

#[test]
fn disable_that_is_not_finished_in_time_fails_the_controller() {
    let mut pair = pair_with_kato(0);
    pair.quiesce_at_once = false;
    pair.set_cc(0x0046_0060).ok();
    pair.until(ms(1_000 + 14_999));
    assert_eq!((pair.ended, pair.csts()), (None, 1));
    pair.until(ms(1_000 + 15_000));
    assert_eq!(pair.ended, Some(EndCause::QuiesceTimeout));
    assert_eq!(pair.csts() & FATAL, FATAL);
}

#[test]
fn keep_alive_runs_while_a_shutdown_waits_for_the_disk() {
    let mut pair = pair_with_kato(5_000);
    pair.quiesce_at_once = false;
    pair.set_cc(0x0046_4061).ok();
    pair.until(ms(6_000));
    assert_eq!(pair.ended, Some(EndCause::KeepAliveExpired));
}

#[test]
fn host_that_shuts_down_and_stays_is_sent_away_after_two_timeouts() {
    let mut pair = pair_with_kato(5_000);
    pair.set_cc(0x0046_4061).ok();
    assert_eq!(pair.csts(), 1 | 2 << 2);
    pair.until(ms(10_999));
    assert_eq!(pair.ended, None);
    pair.until(ms(11_000));
    assert_eq!(pair.ended, Some(EndCause::ShutdownLinger));
}
