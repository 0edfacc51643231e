//! The drain state machine against every row of the table, and against a hostile world drawn from
//! seeds.
#![allow(clippy::unwrap_used, reason = "a test that finds nothing fails")]

use std::time::Duration;

use transport::caps::{self, DrainCaps, LastWqe};
use transport::cause::Cause;
use transport::drain::{Awaited, Drain, Input, State, Step};
use transport::limits::{
    CLOSE_TIMEOUT, CLOSE_TIMEOUT_SHARED, FLUSH_POLL_LAST, SRQ_GRACE, SRQ_POLL, SRQ_TIMEOUT,
};
use transport::marker::{Method, Posted, Queue};
use transport::time::Now;

const LEFT: Input = Input::Polled { send_out: 3, recv_out: 5 };
const NONE_LEFT: Input = Input::Polled { send_out: 0, recv_out: 0 };

fn steps(drain: &mut Drain, now: Now, input: Input) -> Vec<Step> {
    drain.handle(now, input).into_iter().collect()
}

fn live(caps: &'static DrainCaps) -> Drain {
    let mut drain = Drain::new(Now::default(), caps);
    assert_eq!(steps(&mut drain, Now::default(), Input::Established), [Step::Open]);
    drain
}

#[test]
fn our_own_move_to_err_comes_first_whoever_closes() {
    for caps in caps::ALL {
        for cause in [Cause::PeerDisconnected, Cause::QueuePairError, Cause::FlushedByDevice] {
            let mut drain = live(caps);
            let first = steps(&mut drain, Now::default(), Input::Close(cause));
            assert_eq!(first, [Step::StopPosting, Step::ModifyToError], "{}", caps.provider);
        }
    }
}

#[test]
fn an_abortive_close_disconnects_after_err_and_never_on_iwarp() {
    for caps in caps::ALL {
        let mut drain = live(caps);
        steps(&mut drain, Now::default(), LEFT);
        steps(&mut drain, Now::default(), Input::Close(Cause::PeerDisconnected));
        let then = steps(&mut drain, Now::default(), Input::Modified(Ok(())));
        let wanted: &[Step] = if caps.iwarp { &[] } else { &[Step::Disconnect] };
        assert_eq!(then, wanted, "{}", caps.provider);
        assert_eq!(drain.state(), State::Flushing);
    }
}

#[test]
fn the_queue_pair_is_destroyed_when_everything_is_flushed_and_not_before() {
    for caps in caps::ALL {
        let mut drain = live(caps);
        let now = Now::default();
        steps(&mut drain, now, LEFT);
        steps(&mut drain, now, Input::Close(Cause::PeerDisconnected));
        steps(&mut drain, now, Input::Modified(Ok(())));
        let half = Input::Polled { send_out: 0, recv_out: 1 };
        assert_eq!(steps(&mut drain, now, half), []);
        assert_eq!(steps(&mut drain, now, NONE_LEFT), [Step::DestroyQp]);
        assert_eq!(
            steps(&mut drain, now, Input::Destroyed(true)),
            [Step::Reclaim, Step::DestroyId]
        );
        assert_eq!(steps(&mut drain, now, Input::IdDestroyed), [Step::Finished]);
        assert_eq!(drain.state(), State::Dead);
    }
}

#[test]
fn a_provider_that_never_flushes_is_destroyed_at_its_deadline() {
    for caps in caps::ALL {
        let mut drain = live(caps);
        steps(&mut drain, Now::default(), LEFT);
        steps(&mut drain, Now::default(), Input::Close(Cause::PeerDisconnected));
        steps(&mut drain, Now::default(), Input::Modified(Err(22)));
        let early = Now(caps.t_f - Duration::from_millis(1));
        assert!(!steps(&mut drain, early, Input::Timeout).contains(&Step::DestroyQp));
        assert_eq!(steps(&mut drain, Now(caps.t_f), Input::Timeout), [Step::DestroyQp]);
        assert!(drain.flush_deadline_met());
    }
}

#[test]
fn a_failed_destroy_quarantines_and_never_reclaims() {
    let mut drain = live(&caps::MLX5);
    steps(&mut drain, Now::default(), Input::Close(Cause::DeviceFatal));
    assert_eq!(drain.state(), State::Destroying, "a dead device sends no flushes");
    let now = Now::default();
    assert_eq!(steps(&mut drain, now, Input::Destroyed(false)), [Step::Quarantine, Step::Finished]);
    assert_eq!(steps(&mut drain, now, Input::Destroyed(true)), []);
    assert_eq!(drain.state(), State::Quarantined);
}

#[test]
fn a_quarantined_connection_waits_for_its_disk() {
    let mut drain = live(&caps::MLX5);
    let now = Now::default();
    steps(&mut drain, now, Input::Backend(1));
    steps(&mut drain, now, Input::Close(Cause::DeviceFatal));
    assert_eq!(steps(&mut drain, now, Input::Destroyed(false)), [Step::Quarantine]);
    assert_eq!(steps(&mut drain, now, Input::Backend(0)), [Step::Finished]);
    assert_eq!(steps(&mut drain, now, Input::Backend(0)), [], "its slot is given back once");
}

#[test]
fn a_hung_disk_keeps_the_slot_but_not_the_queue_pair() {
    let mut drain = live(&caps::RXE);
    let now = Now::default();
    steps(&mut drain, now, Input::Backend(1));
    steps(&mut drain, now, Input::Close(Cause::PeerDisconnected));
    steps(&mut drain, now, Input::Modified(Ok(())));
    assert_eq!(steps(&mut drain, now, NONE_LEFT), [Step::DestroyQp]);
    steps(&mut drain, now, Input::Destroyed(true));
    assert_eq!(steps(&mut drain, now, Input::IdDestroyed), []);
    assert_eq!(drain.state(), State::Reclaiming);
    assert_eq!(steps(&mut drain, now, Input::Backend(0)), [Step::Finished]);
}

#[test]
fn an_orderly_close_waits_for_responses_and_on_iwarp_for_the_peer() {
    let s = |secs| Now(Duration::from_secs(secs));
    let mut roce = live(&caps::RXE);
    steps(&mut roce, s(0), LEFT);
    assert_eq!(steps(&mut roce, s(0), Input::Finish(Cause::Shutdown)), []);
    assert_eq!(
        steps(&mut roce, s(0), Input::Polled { send_out: 0, recv_out: 5 }),
        [Step::StopPosting, Step::ModifyToError]
    );
    let mut iwarp = live(&caps::SIW);
    steps(&mut iwarp, s(0), LEFT);
    steps(&mut iwarp, s(0), Input::Finish(Cause::Shutdown));
    assert_eq!(steps(&mut iwarp, s(0), Input::Polled { send_out: 0, recv_out: 5 }), []);
    assert_eq!(iwarp.state(), State::Linger);
    assert_eq!(
        steps(&mut iwarp, s(2), Input::Timeout),
        [Step::StopPosting, Step::Disconnect],
        "nothing is posted from CLOSING on"
    );
    assert_eq!(
        steps(&mut iwarp, s(2), Input::Close(Cause::PeerDisconnected)),
        [Step::StopPosting, Step::ModifyToError]
    );
}

#[test]
fn an_iwarp_close_with_work_left_on_the_send_queue_sends_no_fin() {
    let s = |secs| Now(Duration::from_secs(secs));
    let mut drain = live(&caps::SIW);
    steps(&mut drain, s(0), Input::Finish(Cause::Shutdown));
    assert_eq!(drain.state(), State::Linger);
    steps(&mut drain, s(1), LEFT);
    let met = steps(&mut drain, s(2), Input::Timeout);
    assert_eq!(met, [Step::StopPosting, Step::ModifyToError], "CLOSING would lose a READ");
}

fn with_markers(caps: &'static DrainCaps) -> Drain {
    let mut drain = Drain::with(Now::default(), caps, Method::Markers);
    steps(&mut drain, Now::default(), Input::Established);
    steps(&mut drain, Now::default(), LEFT);
    steps(&mut drain, Now::default(), Input::Close(Cause::PeerDisconnected));
    drain
}

fn asked(steps: Vec<Step>) -> Option<(bool, bool)> {
    steps.into_iter().find_map(|step| match step {
        Step::PostMarkers { send, recv } => Some((send, recv)),
        Step::Open
        | Step::StopPosting
        | Step::ModifyToError
        | Step::Disconnect
        | Step::DestroyQp
        | Step::Reclaim
        | Step::DestroyId
        | Step::Quarantine
        | Step::Finished => None,
    })
}

#[test]
fn markers_go_out_after_our_own_err_where_the_row_flushes_them_and_nowhere_else() {
    for caps in caps::ALL {
        let mut drain = with_markers(caps);
        let asked = asked(steps(&mut drain, Now::default(), Input::Modified(Ok(()))));
        let wanted = (caps.marker_send, caps.marker_recv);
        assert_eq!(asked, Some(wanted).filter(|w| w.0 || w.1), "{}", caps.provider);
        assert!(!caps.iwarp || asked.is_none(), "{}: a post proves nothing there", caps.provider);
    }
}

#[test]
fn a_queue_pair_that_may_not_be_in_err_and_an_empty_queue_get_no_marker() {
    let mut drain = with_markers(&caps::MLX5);
    assert_eq!(asked(steps(&mut drain, Now::default(), Input::Modified(Err(22)))), None);
    let mut drain = with_markers(&caps::MLX5);
    steps(&mut drain, Now::default(), Input::Polled { send_out: 0, recv_out: 5 });
    let after_err = steps(&mut drain, Now::default(), Input::Modified(Ok(())));
    assert_eq!(asked(after_err), Some((false, true)));
}

#[test]
fn a_marker_without_room_is_tried_again_and_one_that_was_answered_is_not() {
    let mut drain = with_markers(&caps::MLX5);
    steps(&mut drain, Now::default(), Input::Modified(Ok(())));
    let full = Input::Markers { send: Posted::NoRoom, recv: Posted::Refused };
    steps(&mut drain, Now::default(), full);
    let mut now = Now::default() + FLUSH_POLL_LAST;
    assert_eq!(asked(steps(&mut drain, now, Input::Timeout)), Some((true, false)));
    steps(&mut drain, now, Input::Markers { send: Posted::Accepted, recv: Posted::No });
    assert_eq!(drain.marker(Queue::Recv), Posted::Refused);
    while drain.state() == State::Flushing {
        now = drain.timeout().unwrap();
        assert_eq!(asked(steps(&mut drain, now, Input::Timeout)), None);
    }
    assert_eq!(now, Now(caps::MLX5.t_f), "what was accepted and lost moves no deadline");
}

#[test]
fn what_the_markers_say_ends_the_flush_as_counting_does() {
    let mut drain = with_markers(&caps::MLX5);
    steps(&mut drain, Now::default(), Input::Modified(Ok(())));
    let accepted = Input::Markers { send: Posted::Accepted, recv: Posted::Accepted };
    assert_eq!(steps(&mut drain, Now::default(), accepted), []);
    assert_eq!(steps(&mut drain, Now::default(), NONE_LEFT), [Step::DestroyQp]);
    assert!(!drain.flush_deadline_met());
}

/// A drain with shared receives whose own queue has just become empty.
fn in_srq_wait(caps: &'static DrainCaps) -> Drain {
    let mut drain = Drain::new(Now::default(), caps).with_shared_receives();
    let now = Now::default();
    steps(&mut drain, now, Input::Established);
    steps(&mut drain, now, Input::Polled { send_out: 3, recv_out: 0 });
    steps(&mut drain, now, Input::Close(Cause::PeerDisconnected));
    steps(&mut drain, now, Input::Modified(Ok(())));
    assert_eq!(steps(&mut drain, now, NONE_LEFT), [], "shared receives are polled for first");
    assert_eq!(drain.state(), State::SrqWait);
    drain
}

/// Lets time alone pass until the destroy, and says when that is.
fn time_of_destroy(drain: &mut Drain) -> Now {
    let mut now = Now::default();
    while drain.state() < State::Destroying {
        now = drain.timeout().unwrap().max(now);
        steps(drain, now, Input::Timeout);
    }
    now
}

#[test]
fn shared_receives_are_polled_for_after_last_wqe_and_before_the_destroy() {
    let precise = caps::ALL.into_iter().filter(|c| c.last_wqe == LastWqe::Precise);
    for caps in precise {
        let mut drain = in_srq_wait(caps);
        for polls in 1..5 {
            steps(&mut drain, Now(SRQ_POLL * polls), Input::Timeout);
        }
        assert_eq!(drain.state(), State::SrqWait, "{}: no event, no end", caps.provider);
        assert_eq!(steps(&mut drain, Now(SRQ_POLL * 5), Input::LastWqeReached), []);
        assert_eq!(steps(&mut drain, Now(SRQ_POLL * 6), Input::Timeout), [Step::DestroyQp]);
        assert_eq!(drain.deadlines_met().count(), 0);
    }
}

#[test]
fn last_wqe_that_came_before_the_close_is_not_forgotten() {
    let mut drain = Drain::new(Now::default(), &caps::MLX5).with_shared_receives();
    let now = Now::default();
    steps(&mut drain, now, Input::Established);
    steps(&mut drain, now, Input::LastWqeReached);
    steps(&mut drain, now, Input::Close(Cause::QueuePairError));
    steps(&mut drain, now, Input::Modified(Ok(())));
    steps(&mut drain, now, NONE_LEFT);
    assert_eq!(time_of_destroy(&mut drain), Now(SRQ_POLL));
}

#[test]
fn a_last_wqe_that_is_a_hint_needs_two_quiet_polls() {
    let imprecise = caps::ALL.into_iter().filter(|c| c.last_wqe == LastWqe::Imprecise);
    for caps in imprecise {
        let mut drain = in_srq_wait(caps);
        steps(&mut drain, Now::default(), Input::LastWqeReached);
        assert_eq!(steps(&mut drain, Now(SRQ_POLL), Input::Timeout), []);
        steps(&mut drain, Now(SRQ_POLL), Input::SharedReceive);
        assert_eq!(steps(&mut drain, Now(SRQ_POLL * 2), Input::Timeout), [], "it was not the last");
        assert_eq!(steps(&mut drain, Now(SRQ_POLL * 3), Input::Timeout), [Step::DestroyQp]);
    }
}

#[test]
fn a_last_wqe_that_never_comes_costs_its_deadline_or_a_grace_where_it_is_never_sent() {
    for caps in caps::ALL {
        let mut drain = in_srq_wait(caps);
        let ended = time_of_destroy(&mut drain);
        let met: Vec<Awaited> = drain.deadlines_met().map(|met| met.awaited).collect();
        if caps.last_wqe == LastWqe::Never {
            assert_eq!((ended, met), (Now(SRQ_GRACE), vec![]), "{}", caps.provider);
        } else {
            let lacked = vec![Awaited::LastWqe { reached: false }];
            assert_eq!((ended, met), (Now(SRQ_TIMEOUT), lacked), "{}", caps.provider);
        }
    }
}

#[test]
fn a_device_that_dies_in_srq_wait_is_not_waited_for() {
    for cause in [Cause::DeviceFatal, Cause::CompletionQueueError] {
        let mut drain = in_srq_wait(&caps::MLX5);
        let now = Now::default();
        assert_eq!(steps(&mut drain, now, Input::Close(Cause::PeerDisconnected)), []);
        assert_eq!(steps(&mut drain, now, Input::Close(cause)), [Step::DestroyQp]);
    }
}

#[test]
fn a_shared_queue_gets_no_marker() {
    let now = Now::default();
    let mut drain = Drain::with(now, &caps::MLX5, Method::Markers).with_shared_receives();
    steps(&mut drain, now, Input::Established);
    steps(&mut drain, now, LEFT);
    steps(&mut drain, now, Input::Close(Cause::PeerDisconnected));
    let after_err = steps(&mut drain, now, Input::Modified(Ok(())));
    assert_eq!(asked(after_err), Some((true, false)));
}

/// A small generator: the seed is all that a failure needs.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }

    fn input(&mut self) -> Input {
        let cause = Cause::ALL[usize::try_from(self.roll(18)).unwrap() % Cause::ALL.len()];
        let posted = [Posted::NoRoom, Posted::Refused, Posted::Accepted];
        let mut posted = || posted[usize::try_from(self.roll(3)).unwrap()];
        let (send, recv) = (posted(), posted());
        match self.roll(13) {
            0 => Input::Established,
            1 => Input::Close(cause),
            2 => Input::Finish(cause),
            3 => Input::Modified(if self.roll(2) == 0 { Ok(()) } else { Err(5) }),
            4 => Input::Backend(u32::try_from(self.roll(3)).unwrap()),
            5 => Input::Destroyed(self.roll(4) != 0),
            6 => Input::IdDestroyed,
            7 => NONE_LEFT,
            8 => LEFT,
            9 => Input::Markers { send, recv },
            10 => Input::LastWqeReached,
            11 => Input::SharedReceive,
            _ => Input::Timeout,
        }
    }
}

/// What must hold whatever happens: forward only, each object destroyed once and in order, no post
/// and no move to ERR once the destroy began, at most one marker on a queue, and memory only by the
/// proof.
fn play(seed: u64) {
    let mut dice = Dice(seed);
    let caps = caps::ALL[usize::try_from(dice.roll(15)).unwrap()];
    let method = [Method::Accounting, Method::Markers][usize::try_from(dice.roll(2)).unwrap()];
    let mut drain = Drain::with(Now::default(), caps, method);
    let shared = dice.roll(3) == 0;
    if shared {
        drain = drain.with_shared_receives();
    }
    let mut accepted = [false; 2];
    let mut now = Now::default();
    let mut seen: Vec<Step> = Vec::new();
    let mut proved = false;
    for _ in 0..60 {
        now = now + Duration::from_millis(dice.roll(400));
        let before = drain.state();
        let input = dice.input();
        proved |= before == State::Destroying && input == Input::Destroyed(true);
        for step in drain.handle(now, input) {
            let count = |s| seen.iter().filter(|x| **x == s).count();
            let at = format!("seed {seed}, {}, {before:?}, {input:?}, {step:?}", caps.provider);
            match step {
                Step::DestroyQp | Step::DestroyId | Step::Finished => {
                    assert_eq!(count(step), 0, "{at}")
                }
                Step::Reclaim => assert!(proved && count(step) == 0, "{at}"),
                Step::ModifyToError => assert_eq!(count(Step::DestroyQp), 0, "{at}"),
                Step::Disconnect if caps.iwarp => {
                    assert_eq!(count(Step::ModifyToError), 0, "{at}");
                }
                Step::Disconnect => assert!(count(Step::ModifyToError) > 0, "{at}"),
                Step::Quarantine => assert!(!proved, "{at}"),
                Step::Open => assert_eq!(count(Step::StopPosting), 0, "{at}"),
                Step::StopPosting => {}
                Step::PostMarkers { send, recv } => {
                    assert!(method == Method::Markers && count(Step::DestroyQp) == 0, "{at}");
                    assert!(input == Input::Timeout || input == Input::Modified(Ok(())), "{at}");
                    assert!(count(Step::ModifyToError) > 0, "{at}");
                    for (asked, accepted) in [send, recv].into_iter().zip(accepted) {
                        assert!(!(asked && accepted), "a second marker: {at}");
                    }
                }
            }
            if matches!(step, Step::ModifyToError | Step::DestroyQp) {
                assert!(seen.contains(&Step::StopPosting) || step == Step::DestroyQp, "{at}");
            }
            seen.push(step);
        }
        for queue in Queue::ALL {
            accepted[queue as usize] |= drain.marker(queue) == Posted::Accepted;
        }
        assert!(shared || drain.state() != State::SrqWait, "seed {seed}: nothing to wait for");
        assert!(drain.state() >= before, "seed {seed}: went back from {before:?}");
    }
    let bound = if shared { CLOSE_TIMEOUT_SHARED } else { CLOSE_TIMEOUT };
    let took = silence(drain, now, seed);
    assert!(took <= bound, "seed {seed}: {took:?}");
}

/// From here on the world is silent: time alone must lead to the destroy (L1, L2). Says how long
/// that takes.
fn silence(mut drain: Drain, began: Now, seed: u64) -> Duration {
    let mut now = began;
    if drain.state() <= State::Live {
        drain.handle(now, Input::Close(Cause::Shutdown));
    }
    let mut turns = 0;
    while drain.state() < State::Destroying {
        if drain.state() == State::Erroring {
            drain.handle(now, Input::Modified(Err(22)));
            continue;
        }
        now = drain.timeout().unwrap().max(now);
        drain.handle(now, Input::Timeout);
        turns += 1;
        assert!(turns < 10_000, "seed {seed}: no end");
    }
    now.since(began)
}

#[test]
fn no_order_of_events_breaks_the_contract_or_hangs_a_close() {
    for seed in 0..200_000 {
        play(seed);
    }
}
