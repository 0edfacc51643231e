//! [`Drain::fingerprint`] leaves out what no input looks at any more: an exhaustive search that
//! takes drains of one fingerprint for the same must miss nothing by it.

use std::collections::{HashMap, VecDeque};
use std::hash::{DefaultHasher, Hasher};

use transport::caps::{self, DrainCaps};
use transport::cause::Cause;
use transport::drain::{Drain, Input, Steps};
use transport::marker::{Method, Posted};
use transport::time::Now;

/// Drains that are followed for each fingerprint: the first ones that come to it.
const WAYS_MAX: usize = 8;

/// What is told to a drain.
#[derive(Clone, Copy, Debug)]
enum Told {
    Input(Input),
    /// Time leaps to this one of its deadlines.
    Leap(usize),
}

fn told() -> Vec<Told> {
    let mut inputs = vec![
        Input::Established,
        Input::Close(Cause::Idle),
        Input::Close(Cause::DeviceFatal),
        Input::Close(Cause::CompletionQueueError),
        Input::Finish(Cause::Shutdown),
        Input::Modified(Ok(())),
        Input::Modified(Err(22)),
        Input::LastWqeReached,
        Input::SharedReceive,
        Input::Backend(0),
        Input::Backend(1),
        Input::Destroyed(true),
        Input::Destroyed(false),
        Input::IdDestroyed,
    ];
    for (send_out, recv_out) in [(0, 0), (0, 1), (1, 0), (1, 1)] {
        inputs.push(Input::Polled { send_out, recv_out });
    }
    for answer in [Posted::Accepted, Posted::NoRoom, Posted::Refused] {
        inputs.push(Input::Markers { send: answer, recv: answer });
    }
    let inputs = inputs.into_iter().map(Told::Input);
    inputs.chain([Told::Leap(0), Told::Leap(1)]).collect()
}

fn fingerprint(drain: &Drain) -> u64 {
    let mut hasher = DefaultHasher::new();
    drain.fingerprint(&mut hasher);
    hasher.finish()
}

/// The drain and its time behind it, and what it says; nothing where there is no such deadline.
fn tell(drain: &Drain, now: Now, told: Told) -> Option<(Drain, Now, Steps)> {
    let mut drain = drain.clone();
    let (now, input) = match told {
        Told::Input(input) => (now, input),
        Told::Leap(which) => (now.max(drain.deadlines()[which]?), Input::Timeout),
    };
    let steps = drain.handle(now, input);
    Some((drain, now, steps))
}

type Answers = Vec<Option<(Steps, u64)>>;

/// How many fingerprints there are, and how many drains were compared with the first of theirs.
fn compare(first: Drain) -> (usize, usize) {
    let all = told();
    let mut seen: HashMap<u64, (usize, Answers)> = HashMap::new();
    let mut queue = VecDeque::from([(first, Now::default())]);
    let mut compared = 0;
    while let Some((drain, now)) = queue.pop_front() {
        let mark = fingerprint(&drain);
        if seen.get(&mark).is_some_and(|(ways, _)| *ways >= WAYS_MAX) {
            continue;
        }
        let after: Vec<_> = all.iter().map(|told| tell(&drain, now, *told)).collect();
        let answers: Answers = after
            .iter()
            .map(|after| after.as_ref().map(|(drain, _, steps)| (*steps, fingerprint(drain))))
            .collect();
        let (ways, known) = seen.entry(mark).or_insert_with(|| (0, answers.clone()));
        *ways += 1;
        compared += usize::from(*ways > 1);
        for ((told, one), other) in all.iter().zip(&*known).zip(&answers) {
            assert_eq!(one, other, "{told:?} tells {drain:?} from another of its fingerprint");
        }
        queue.extend(after.into_iter().flatten().map(|(drain, now, _)| (drain, now)));
    }
    (seen.len(), compared)
}

fn on_every_row(make: impl Fn(&'static DrainCaps) -> Drain) {
    for row in caps::ALL {
        let (fingerprints, compared) = compare(make(row));
        assert!(fingerprints >= 60 && compared >= 200, "{row:?}: {fingerprints}, {compared}");
    }
}

#[test]
fn drains_of_one_fingerprint_go_on_alike() {
    on_every_row(|row| Drain::new(Now::default(), row));
}

#[test]
fn drains_of_one_fingerprint_go_on_alike_with_markers() {
    on_every_row(|row| Drain::with(Now::default(), row, Method::Markers));
}

#[test]
fn drains_of_one_fingerprint_go_on_alike_with_shared_receives() {
    on_every_row(|row| Drain::new(Now::default(), row).with_shared_receives());
}
