//! Orders of events that the drain alone can show; `interleavings.md` says which of the 44 they
//! are.
#![allow(clippy::unwrap_used, reason = "a test that finds nothing fails")]

use std::time::Duration;

use transport::caps::{self, DrainCaps};
use transport::cause::Cause;
use transport::drain::{Drain, Input, State, Step};
use transport::limits::{ESTABLISH_TIMEOUT, FLUSH_POLL_FIRST, FLUSH_POLL_LAST};
use transport::time::Now;

const LEFT: Input = Input::Polled { send_out: 3, recv_out: 5 };
const NONE_LEFT: Input = Input::Polled { send_out: 0, recv_out: 0 };

fn steps(drain: &mut Drain, now: Now, input: Input) -> Vec<Step> {
    drain.handle(now, input).into_iter().collect()
}

/// A drain that every input of `path` was given to at time 0.
fn after(caps: &'static DrainCaps, path: &[Input]) -> Drain {
    let mut drain = Drain::new(Now::default(), caps);
    for input in path {
        steps(&mut drain, Now::default(), *input);
    }
    drain
}

const LIVE: &[Input] = &[Input::Established, LEFT];
const QUIESCE: &[Input] = &[Input::Established, LEFT, Input::Finish(Cause::Shutdown)];
const LINGER: &[Input] = &[Input::Established, Input::Finish(Cause::Shutdown)];
const ERRORING: &[Input] = &[Input::Established, LEFT, Input::Close(Cause::PeerDisconnected)];
const FLUSHING: &[Input] =
    &[Input::Established, LEFT, Input::Close(Cause::PeerDisconnected), Input::Modified(Ok(()))];

fn closing() -> Drain {
    let mut drain = after(&caps::SIW, LINGER);
    let at = drain.timeout().unwrap();
    steps(&mut drain, at, Input::Timeout);
    assert_eq!(drain.state(), State::Closing);
    drain
}

/// A drain in each state that a close can find, and the moment to go on from.
fn everywhere() -> Vec<(Drain, Now)> {
    let start = Now::default();
    let closing = closing();
    let entered = closing.entered(State::Closing).unwrap();
    vec![
        (after(&caps::SIW, &[]), start),
        (after(&caps::SIW, LIVE), start),
        (after(&caps::SIW, QUIESCE), start),
        (after(&caps::SIW, LINGER), start),
        (closing, entered),
        (after(&caps::SIW, ERRORING), start),
        (after(&caps::SIW, FLUSHING), start),
    ]
}

#[test]
fn disconnected_means_the_same_before_among_and_behind_the_flushes() {
    let disconnected = Input::Close(Cause::PeerDisconnected);
    let half = Input::Polled { send_out: 0, recv_out: 5 };
    let flushes = [Input::Modified(Ok(())), half, NONE_LEFT, Input::Destroyed(true)];
    for at in 0..=flushes.len() {
        for times in 0..3 {
            let mut drain = after(&caps::MLX5, LIVE);
            let mut seen = steps(&mut drain, Now::default(), Input::Close(Cause::QueuePairError));
            for (i, input) in flushes.iter().enumerate() {
                for _ in 0..if i == at { times } else { 0 } {
                    seen.extend(steps(&mut drain, Now::default(), disconnected));
                }
                seen.extend(steps(&mut drain, Now::default(), *input));
            }
            let wanted = [
                Step::StopPosting,
                Step::ModifyToError,
                Step::Disconnect,
                Step::DestroyQp,
                Step::Reclaim,
                Step::DestroyId,
            ];
            assert_eq!(seen, wanted, "{times} times before step {at}");
        }
    }
}

#[test]
fn causes_that_meet_make_one_close() {
    for (mut drain, now) in everywhere() {
        let begun = drain.causes().first();
        let mut seen = Vec::new();
        for cause in [Cause::KeepAliveExpired, Cause::PeerDisconnected, Cause::KeepAliveExpired] {
            seen.extend(steps(&mut drain, now, Input::Close(cause)));
        }
        seen.extend(steps(&mut drain, now, Input::Finish(Cause::Finished)));
        let moves = seen.iter().filter(|step| **step == Step::ModifyToError).count();
        assert!(moves <= 1, "{:?}: {seen:?}", drain.state());
        let causes = drain.causes();
        assert_eq!(causes.first(), begun.or(Some(Cause::KeepAliveExpired)));
        assert!([Cause::KeepAliveExpired, Cause::Finished].into_iter().all(|c| causes.contains(c)));
    }
}

#[test]
fn a_refused_move_to_err_still_counts_and_then_destroys() {
    const EIO: i32 = 5;
    const EINVAL: i32 = 22;
    for errno in [EIO, EINVAL] {
        for caps in caps::ALL {
            let mut drain = after(caps, ERRORING);
            steps(&mut drain, Now::default(), Input::Modified(Err(errno)));
            assert_eq!(drain.modify_result(), Some(Err(errno)));
            assert_eq!(drain.state(), State::Flushing, "the library may have lied");
            assert_eq!(steps(&mut drain, Now::default(), NONE_LEFT), [Step::DestroyQp]);
            let mut silent = after(caps, ERRORING);
            steps(&mut silent, Now::default(), Input::Modified(Err(errno)));
            assert_eq!(steps(&mut silent, Now(caps.t_f), Input::Timeout), [Step::DestroyQp]);
        }
    }
}

#[test]
fn a_flush_is_polled_for_without_any_event() {
    for caps in caps::ALL {
        let mut drain = after(caps, FLUSHING);
        let (mut now, mut longest) = (Now::default(), Duration::ZERO);
        assert!(drain.timeout().unwrap().since(now) <= FLUSH_POLL_FIRST, "{}", caps.provider);
        while drain.state() == State::Flushing {
            let at = drain.timeout().unwrap();
            longest = longest.max(at.since(now));
            now = at;
            steps(&mut drain, now, Input::Timeout);
        }
        assert!(longest <= FLUSH_POLL_LAST, "{}: {longest:?} without a poll", caps.provider);
    }
}

#[test]
fn the_last_completion_and_the_deadline_in_one_tick_destroy_once() {
    let caps = &caps::MLX5;
    for order in [[NONE_LEFT, Input::Timeout], [Input::Timeout, NONE_LEFT]] {
        let mut drain = after(caps, FLUSHING);
        let both: Vec<Step> =
            order.into_iter().flat_map(|input| drain.handle(Now(caps.t_f), input)).collect();
        assert_eq!(both, [Step::DestroyQp]);
        assert_eq!(drain.flush_deadline_met(), order[0] == Input::Timeout);
    }
}

#[test]
fn every_deadline_may_come_together_with_what_it_waits_for() {
    let awaited = [
        (after(&caps::SIW, &[]), Input::Established),
        (after(&caps::SIW, QUIESCE), NONE_LEFT),
        (after(&caps::SIW, LINGER), Input::Close(Cause::PeerDisconnected)),
        (closing(), Input::Close(Cause::PeerDisconnected)),
        (after(&caps::SIW, FLUSHING), NONE_LEFT),
    ];
    for (drain, awaited) in awaited {
        for order in [[awaited, Input::Timeout], [Input::Timeout, awaited]] {
            let mut drain = drain.clone();
            let from = drain.state();
            let at = drain.deadlines()[0].unwrap();
            let seen: Vec<Step> =
                order.into_iter().flat_map(|input| drain.handle(at, input)).collect();
            assert!(drain.state() > from, "{from:?} by {order:?}");
            let mut once = seen.clone();
            once.dedup();
            let moves = seen.iter().filter(|s| **s == Step::ModifyToError).count();
            assert!(moves <= 1 && once == seen, "{from:?} by {order:?}: {seen:?}");
        }
    }
}

#[test]
fn a_failed_completion_queue_is_not_counted_on() {
    for caps in caps::ALL {
        let mut drain = after(caps, LIVE);
        let began = steps(&mut drain, Now::default(), Input::Close(Cause::CompletionQueueError));
        assert_eq!(began, [Step::StopPosting, Step::ModifyToError], "{}", caps.provider);
        let then = steps(&mut drain, Now::default(), Input::Modified(Ok(())));
        assert_eq!(then.last(), Some(&Step::DestroyQp), "{}: no wait", caps.provider);
        let mut late = after(caps, FLUSHING);
        let at_once = steps(&mut late, Now::default(), Input::Close(Cause::CompletionQueueError));
        assert_eq!(at_once, [Step::DestroyQp], "{}", caps.provider);
    }
}

#[test]
fn a_dead_device_is_destroyed_from_every_state_without_a_wait() {
    for (mut drain, now) in everywhere() {
        let from = drain.state();
        let mut seen = steps(&mut drain, now, Input::Close(Cause::DeviceFatal));
        if from == State::Erroring {
            // The call that is under way answers first.
            seen.extend(steps(&mut drain, now, Input::Modified(Err(5))));
        } else {
            assert!(!seen.contains(&Step::ModifyToError), "{from:?}: no verb but the destroy");
        }
        assert_eq!(seen.last(), Some(&Step::DestroyQp), "{from:?}");
        assert_eq!(drain.state(), State::Destroying);
    }
}

#[test]
fn a_removed_device_drains_like_any_other() {
    let mut drain = after(&caps::MLX5, LIVE);
    let began = steps(&mut drain, Now::default(), Input::Close(Cause::DeviceRemoved));
    assert_eq!(began, [Step::StopPosting, Step::ModifyToError]);
    steps(&mut drain, Now::default(), Input::Modified(Ok(())));
    assert_eq!(drain.state(), State::Flushing, "verbs still work");
    let fatal = steps(&mut drain, Now::default(), Input::Close(Cause::DeviceFatal));
    assert_eq!(fatal, [Step::DestroyQp], "and then they do not");
}

#[test]
fn a_connection_that_was_never_established_closes_like_any_other() {
    let mut failed = after(&caps::RXE, &[LEFT]);
    let began = steps(&mut failed, Now::default(), Input::Close(Cause::NotEstablished));
    assert_eq!(began, [Step::StopPosting, Step::ModifyToError]);
    let mut late = after(&caps::RXE, &[LEFT]);
    let due = Now(ESTABLISH_TIMEOUT);
    assert_eq!(late.timeout(), Some(due));
    assert_eq!(steps(&mut late, due, Input::Timeout), [Step::StopPosting, Step::ModifyToError]);
    assert_eq!(late.causes().first(), Some(Cause::NotEstablished));
    assert_eq!(steps(&mut late, due, Input::Established), [], "too late to open");
}

#[test]
fn a_slow_destroy_waits_without_a_timer_and_a_second_answer_means_nothing() {
    let mut drain = after(&caps::CXGB4, FLUSHING);
    steps(&mut drain, Now::default(), NONE_LEFT);
    assert_eq!(drain.timeout(), None, "the reaper wakes us");
    let minute = Now(Duration::from_secs(60));
    assert_eq!(steps(&mut drain, minute, Input::Timeout), []);
    let destroyed = steps(&mut drain, minute, Input::Destroyed(true));
    assert_eq!(destroyed, [Step::Reclaim, Step::DestroyId]);
    assert_eq!(steps(&mut drain, minute, Input::Destroyed(true)), []);
    assert_eq!(steps(&mut drain, minute, Input::Destroyed(false)), []);
}
