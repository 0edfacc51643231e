//! Writes of dead associations that a disk has not answered yet.
//!
//! A host whose connection died may send its writes again, by another path and to another reactor.
//! Were an old write still on its way to the disk, it could land on top of the new one. So when a
//! connection ends, the ranges of its writes in flight become orphans of their disk, and whatever
//! overlaps one waits until the disk has answered it (drain contract S17).

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// A range of bytes on a disk, end excluded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    /// First byte.
    pub start: u64,
    /// First byte behind it.
    pub end: u64,
}

impl Range {
    /// The whole disk, for operations that have no range.
    pub const WHOLE: Self = Self { start: 0, end: u64::MAX };

    /// Whether they have a byte in common.
    #[must_use]
    pub fn overlaps(self, other: Self) -> bool {
        self.start < other.end && other.start < self.end
    }
}

/// Names an orphan on its disk: two reactors may well use the same token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OrphanId {
    /// Whose engine has the operation.
    pub reactor: u8,
    /// What the reactor calls it.
    pub token: u64,
}

/// The orphans of one disk.
#[derive(Debug, Default)]
pub struct Orphans {
    /// How many there are: all that the data path looks at while there is none.
    count: AtomicU32,
    ranges: Mutex<Vec<(OrphanId, Range)>>,
}

impl Orphans {
    fn lock(&self) -> MutexGuard<'_, Vec<(OrphanId, Range)>> {
        self.ranges.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A write whose connection ended is still out.
    pub fn adopt(&self, id: OrphanId, range: Range) {
        let mut ranges = self.lock();
        ranges.push((id, range));
        self.count.fetch_add(1, Ordering::Release);
    }

    /// Takes a range for one operation alone, unless something overlaps it; until its release it
    /// holds up I/O as an orphan does.
    #[must_use]
    pub fn claim(&self, id: OrphanId, range: Range) -> bool {
        let mut ranges = self.lock();
        if ranges.iter().any(|(_, other)| other.overlaps(range)) {
            return false;
        }
        ranges.push((id, range));
        self.count.fetch_add(1, Ordering::Release);
        true
    }

    /// The disk answered it, or a claim is over.
    pub fn release(&self, id: OrphanId) {
        let mut ranges = self.lock();
        if let Some(at) = ranges.iter().position(|(i, _)| *i == id) {
            ranges.swap_remove(at);
            self.count.fetch_sub(1, Ordering::Release);
        }
    }

    /// Whether I/O on `range` has to wait.
    #[must_use]
    pub fn hold_up(&self, range: Range) -> bool {
        self.count.load(Ordering::Acquire) != 0
            && self.lock().iter().any(|(_, orphan)| orphan.overlaps(range))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(reactor: u8, token: u64) -> OrphanId {
        OrphanId { reactor, token }
    }

    #[test]
    fn only_what_overlaps_waits_and_only_until_the_answer() {
        let orphans = Orphans::default();
        let range = |start, end| Range { start, end };
        assert!(!orphans.hold_up(Range::WHOLE));
        orphans.adopt(id(0, 7), range(4096, 8192));
        assert!(orphans.hold_up(range(0, 4097)));
        assert!(orphans.hold_up(range(8191, 9000)));
        assert!(!orphans.hold_up(range(0, 4096)));
        assert!(!orphans.hold_up(range(8192, 9000)));
        assert!(orphans.hold_up(Range::WHOLE));
        orphans.release(id(0, 7));
        assert!(!orphans.hold_up(Range::WHOLE));
    }

    #[test]
    fn what_is_claimed_is_claimed_once_and_never_over_an_orphan() {
        let orphans = Orphans::default();
        let range = |start, end| Range { start, end };
        orphans.adopt(id(0, 1), range(0, 512));
        assert!(!orphans.claim(id(0, 2), range(0, 4096)));
        assert!(orphans.claim(id(0, 2), range(512, 1024)));
        assert!(!orphans.claim(id(1, 2), range(1023, 4096)));
        assert!(orphans.hold_up(range(600, 601)));
        orphans.release(id(0, 2));
        assert!(orphans.claim(id(1, 2), range(1023, 4096)));
    }

    #[test]
    fn the_answer_to_one_reactor_leaves_the_orphan_of_another_alone() {
        let orphans = Orphans::default();
        let range = |start, end| Range { start, end };
        orphans.adopt(id(0, 7), range(0, 4096));
        orphans.adopt(id(1, 7), range(8192, 12288));
        orphans.release(id(1, 7));
        assert!(orphans.hold_up(range(0, 1)));
        assert!(!orphans.hold_up(range(8192, 8193)));
    }
}
