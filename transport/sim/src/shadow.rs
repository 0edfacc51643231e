//! Who owns which byte: the ranges that posted work requests and disk operations name.

use std::collections::BTreeMap;

use crate::memory::Range;
use crate::violation::Rule;

/// What a disk does with memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DiskAccess {
    /// It reads the memory: a write to the disk.
    Reads,
    /// It writes the memory: a read from the disk.
    Writes,
}

/// A disk operation's hold on memory, from [`Fabric::disk_begins`](crate::Fabric::disk_begins).
#[derive(Debug, PartialEq, Eq)]
#[must_use = "the disk holds the memory until disk_ends"]
pub struct DiskTouch {
    pub(crate) at: Option<(u64, u64)>,
}

/// Whose hold it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Holder {
    /// A work request of the queue pair with this index.
    Device { qp: usize },
    /// A receive of the shared receive queue with this index, whoever takes it.
    Shared { srq: usize },
    /// A disk.
    Disk,
}

impl std::fmt::Display for Holder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Device { qp } => write!(f, "qp {qp}"),
            Self::Shared { srq } => write!(f, "srq {srq}"),
            Self::Disk => f.write_str("a disk"),
        }
    }
}

#[derive(Clone, Copy, Debug)]
struct Hold {
    end: u64,
    holder: Holder,
    /// The holder writes the memory.
    writes: bool,
    key: u32,
}

/// All holds, by start address and a serial number.
#[derive(Debug, Default)]
pub(crate) struct Shadow {
    holds: BTreeMap<(u64, u64), Hold>,
    serial: u64,
    /// Length of the longest hold ever: how far back an overlap may begin.
    longest: u64,
}

impl Shadow {
    fn overlapping(&self, range: Range) -> impl Iterator<Item = &Hold> {
        let from = range.addr.saturating_sub(self.longest);
        let held = self.holds.range((from, 0)..(range.end(), 0));
        held.map(|(_, hold)| hold).filter(move |hold| hold.end > range.addr)
    }

    /// The rule that a new use of `range` breaks, if any, and who holds it.
    pub(crate) fn conflict(&self, range: Range, by: Holder, writes: bool) -> Option<Rule> {
        if range.len == 0 {
            return None;
        }
        let mut found = None;
        for hold in self.overlapping(range) {
            let rule = match (by, hold.holder) {
                (_, Holder::Device { .. }) => Rule::S1,
                (_, Holder::Shared { .. }) => Rule::S16,
                (Holder::Device { .. } | Holder::Shared { .. }, Holder::Disk) => Rule::S3,
                // Two disk operations that only read the same memory disturb nobody.
                (Holder::Disk, Holder::Disk) if !writes && !hold.writes => continue,
                (Holder::Disk, Holder::Disk) => Rule::S3,
            };
            found = Some(found.map_or(rule, |other: Rule| other.min(rule)));
        }
        found
    }

    /// Whether anyone holds a byte of `range`.
    pub(crate) fn holders(&self, range: Range) -> Vec<Holder> {
        self.overlapping(range).map(|hold| hold.holder).collect()
    }

    /// Takes hold; the key gives it up.
    pub(crate) fn hold(
        &mut self,
        range: Range,
        holder: Holder,
        writes: bool,
        key: u32,
    ) -> (u64, u64) {
        self.serial += 1;
        self.longest = self.longest.max(range.len as u64);
        let at = (range.addr, self.serial);
        self.holds.insert(at, Hold { end: range.end(), holder, writes, key });
        at
    }

    /// Gives a hold up.
    pub(crate) fn release(&mut self, at: (u64, u64)) {
        self.holds.remove(&at);
    }

    /// Holds of devices on memory registered under this local key.
    pub(crate) fn of_key(&self, lkey: u32) -> usize {
        let held = self.holds.values();
        held.filter(|h| h.key == lkey && h.holder != Holder::Disk).count()
    }
}
