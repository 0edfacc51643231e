//! When to look at what again. Deadlines only ever get an earlier entry; late ones are looked at in
//! vain.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

/// What has a deadline.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Target {
    /// A connection, by slot and generation.
    Connection(usize, u32),
    /// A controller, by slot and generation.
    Controller(usize, u32),
}

/// The deadlines of one reactor.
#[derive(Debug, Default)]
pub(crate) struct Timers {
    heap: BinaryHeap<Reverse<(Duration, Target)>>,
}

/// The earliest entry of one target: kept with the target, so that a deadline that only moves later
/// (as keep-alives do) costs nothing.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Armed(Option<Duration>);

impl Timers {
    /// Makes sure that `target` is looked at by `deadline`.
    pub(crate) fn arm(&mut self, armed: &mut Armed, deadline: Option<Duration>, target: Target) {
        let Some(deadline) = deadline else { return };
        if armed.0.is_none_or(|at| deadline < at) {
            armed.0 = Some(deadline);
            self.heap.push(Reverse((deadline, target)));
        }
    }

    /// Next target whose entry is due. The target must forget its entry ([`Armed::fired`]).
    pub(crate) fn due(&mut self, now: Duration) -> Option<(Duration, Target)> {
        let Reverse((at, _)) = self.heap.peek()?;
        if *at > now {
            return None;
        }
        self.heap.pop().map(|Reverse(entry)| entry)
    }

    /// When the next entry is due.
    pub(crate) fn next(&self) -> Option<Duration> {
        self.heap.peek().map(|Reverse((at, _))| *at)
    }
}

impl Armed {
    /// The entry of time `at` came up. Says whether it was the earliest one: others are leftovers.
    pub(crate) fn fired(&mut self, at: Duration) -> bool {
        let current = self.0 == Some(at);
        if current {
            self.0 = None;
        }
        current
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deadline_that_moves_later_is_looked_at_once_and_armed_again() {
        let (mut timers, mut armed) = (Timers::default(), Armed::default());
        let target = Target::Connection(1, 1);
        let s = Duration::from_secs;
        timers.arm(&mut armed, Some(s(5)), target);
        timers.arm(&mut armed, Some(s(9)), target);
        timers.arm(&mut armed, Some(s(3)), target);
        assert_eq!(timers.next(), Some(s(3)));
        assert_eq!(timers.due(s(2)), None);
        assert_eq!(timers.due(s(3)), Some((s(3), target)));
        assert!(armed.fired(s(3)));
        timers.arm(&mut armed, Some(s(9)), target);
        let (at, _) = timers.due(s(9)).unwrap();
        assert!(!armed.fired(at), "the entry of 5 s is a leftover");
        let (at, _) = timers.due(s(9)).unwrap();
        assert!(armed.fired(at));
        assert_eq!(timers.next(), None);
    }
}
