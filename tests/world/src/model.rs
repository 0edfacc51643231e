//! What a read of a disk may return, and what must be left after its power went.
//!
//! Per block: the versions it may hold now (`candidates`), the writes that are under way, and the
//! versions that a power failure may leave (`persist`). A write is under way from its command to
//! its answer, or, where no answer came, to the moment when its host may count on its association
//! being over. From then on it is in doubt: it happened or it did not, but it can't happen later.

use std::collections::BTreeMap;

use crate::stamp::{Version, ZERO};

/// Names a write, a read or a flush of the model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct OpId(u64);

/// How a write ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// Answered with success.
    Done {
        /// With forced unit access: it is on the medium.
        fua: bool,
    },
    /// Failed, or its association ended without an answer.
    InDoubt,
}

struct Active {
    id: OpId,
    version: Version,
    began: u64,
    /// Versions of writes that were under way together with it.
    concurrent: Vec<Version>,
}

/// A version that a power failure may leave.
struct Persist {
    version: Version,
    /// The write that brought it; `None` for what was there before.
    write: Option<OpId>,
    /// When it was over.
    ended: Option<u64>,
}

struct Reading {
    id: OpId,
    possible: Vec<Version>,
    /// No write was under way with it so far.
    quiet: bool,
}

struct Block {
    candidates: Vec<Version>,
    active: Vec<Active>,
    persist: Vec<Persist>,
    readings: Vec<Reading>,
}

fn add(set: &mut Vec<Version>, version: Version) {
    if !set.contains(&version) {
        set.push(version);
    }
}

impl Block {
    fn new() -> Self {
        let before = Persist { version: ZERO, write: None, ended: Some(0) };
        Self {
            candidates: vec![ZERO],
            active: Vec::new(),
            persist: vec![before],
            readings: Vec::new(),
        }
    }

    fn begin_write(&mut self, id: OpId, version: Version, tick: u64) {
        for other in &mut self.active {
            add(&mut other.concurrent, version);
        }
        for reading in &mut self.readings {
            add(&mut reading.possible, version);
            reading.quiet = false;
        }
        let concurrent = self.active.iter().map(|other| other.version).collect();
        self.active.push(Active { id, version, began: tick, concurrent });
        self.persist.push(Persist { version, write: Some(id), ended: None });
    }

    fn end_write(&mut self, id: OpId, end: End, tick: u64) {
        let Some(at) = self.active.iter().position(|active| active.id == id) else { return };
        let Active { version, began, concurrent, .. } = self.active.swap_remove(at);
        for persist in &mut self.persist {
            if persist.write == Some(id) {
                persist.ended = Some(tick);
            }
        }
        match end {
            End::InDoubt => add(&mut self.candidates, version),
            End::Done { fua } => {
                self.candidates.retain(|old| concurrent.contains(old));
                add(&mut self.candidates, version);
                if fua {
                    self.persist.retain(|persist| {
                        persist.write == Some(id) || persist.ended.is_none_or(|at| at >= began)
                    });
                }
            }
        }
    }

    fn begin_read(&mut self, id: OpId) {
        let mut possible = self.candidates.clone();
        for active in &self.active {
            add(&mut possible, active.version);
        }
        self.readings.push(Reading { id, possible, quiet: self.active.is_empty() });
    }

    fn take_reading(&mut self, id: OpId) -> Option<Reading> {
        let at = self.readings.iter().position(|reading| reading.id == id)?;
        Some(self.readings.swap_remove(at))
    }

    fn crash(&mut self, tick: u64) {
        self.active.clear();
        self.readings.clear();
        self.candidates.clear();
        for persist in &mut self.persist {
            persist.ended.get_or_insert(tick);
            add(&mut self.candidates, persist.version);
        }
    }
}

/// A flush under way: what it found on each block.
struct Flush {
    id: OpId,
    began: u64,
    found: BTreeMap<u64, Vec<Version>>,
}

/// The model of one disk.
pub(crate) struct DiskModel {
    blocks: BTreeMap<u64, Block>,
    flushes: Vec<Flush>,
    tick: u64,
    next: u64,
}

impl DiskModel {
    /// A disk of zeroes.
    pub(crate) fn new() -> Self {
        Self { blocks: BTreeMap::new(), flushes: Vec::new(), tick: 0, next: 0 }
    }

    fn op(&mut self) -> OpId {
        self.next += 1;
        self.tick += 1;
        OpId(self.next)
    }

    fn block(&mut self, lba: u64) -> &mut Block {
        self.blocks.entry(lba).or_insert_with(Block::new)
    }

    /// A host sends a write of one version to a range; `ZERO` for zeroes.
    pub(crate) fn begin_write(&mut self, lba: u64, count: u64, version: Version) -> OpId {
        let id = self.op();
        let tick = self.tick;
        for lba in lba..lba + count {
            self.block(lba).begin_write(id, version, tick);
        }
        id
    }

    /// A write is over.
    pub(crate) fn end_write(&mut self, id: OpId, lba: u64, count: u64, end: End) {
        self.tick += 1;
        let tick = self.tick;
        for lba in lba..lba + count {
            self.block(lba).end_write(id, end, tick);
        }
    }

    /// A host sends a read.
    pub(crate) fn begin_read(&mut self, lba: u64, count: u64) -> OpId {
        let id = self.op();
        for lba in lba..lba + count {
            self.block(lba).begin_read(id);
        }
        id
    }

    /// A read came back with these versions, from its first block on.
    ///
    /// # Errors
    /// No order of what was asked for explains them.
    pub(crate) fn end_read(
        &mut self,
        id: OpId,
        lba: u64,
        versions: &[Version],
    ) -> Result<(), String> {
        let mut verdict = Ok(());
        for (lba, version) in (lba..).zip(versions) {
            let block = self.block(lba);
            let Some(reading) = block.take_reading(id) else { continue };
            if !reading.possible.contains(version) {
                verdict = Err(format!(
                    "block {lba} read as version {version}, possible: {:?}",
                    reading.possible
                ));
            } else if reading.quiet {
                block.candidates = vec![*version];
            }
        }
        verdict
    }

    /// A read failed or was given up.
    pub(crate) fn drop_read(&mut self, id: OpId, lba: u64, count: u64) {
        for lba in lba..lba + count {
            drop(self.block(lba).take_reading(id));
        }
    }

    /// A host sends a flush.
    pub(crate) fn begin_flush(&mut self) -> OpId {
        let id = self.op();
        let found = self.blocks.iter().map(|(lba, b)| (*lba, b.candidates.clone())).collect();
        self.flushes.push(Flush { id, began: self.tick, found });
        id
    }

    /// A flush is over; with success everything that was over before it is on the medium.
    pub(crate) fn end_flush(&mut self, id: OpId, succeeded: bool) {
        self.tick += 1;
        let Some(at) = self.flushes.iter().position(|flush| flush.id == id) else { return };
        let Flush { began, found, .. } = self.flushes.swap_remove(at);
        if !succeeded {
            return;
        }
        for (lba, found) in found {
            self.block(lba).persist.retain(|persist| {
                found.contains(&persist.version) || persist.ended.is_none_or(|at| at >= began)
            });
        }
    }

    /// The daemon and the disk's volatile cache are gone, and with them all that was under way.
    pub(crate) fn crash(&mut self) {
        self.tick += 1;
        self.flushes.clear();
        let tick = self.tick;
        for block in self.blocks.values_mut() {
            block.crash(tick);
        }
    }

    /// Blocks that were ever written or read.
    pub(crate) fn touched(&self) -> usize {
        self.blocks.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OK: End = End::Done { fua: false };

    fn write(model: &mut DiskModel, version: Version) {
        let id = model.begin_write(0, 1, version);
        model.end_write(id, 0, 1, OK);
    }

    fn read(model: &mut DiskModel, version: Version) -> Result<(), String> {
        let id = model.begin_read(0, 1);
        model.end_read(id, 0, &[version])
    }

    #[test]
    fn an_answered_write_is_what_a_later_read_must_see() {
        let mut model = DiskModel::new();
        assert_eq!(read(&mut model, ZERO), Ok(()));
        write(&mut model, 1);
        assert_eq!(read(&mut model, 1), Ok(()));
        assert!(read(&mut model, ZERO).is_err());
        write(&mut model, 2);
        assert!(read(&mut model, 1).is_err());
    }

    #[test]
    fn a_write_in_doubt_happened_or_not_but_does_not_happen_later() {
        let mut model = DiskModel::new();
        write(&mut model, 1);
        let old = model.begin_write(0, 1, 2);
        model.end_write(old, 0, 1, End::InDoubt);
        assert_eq!(read(&mut model, 1), Ok(()), "it did not happen");
        assert!(read(&mut model, 2).is_err(), "and comes too late now");
        let old = model.begin_write(0, 1, 3);
        model.end_write(old, 0, 1, End::InDoubt);
        write(&mut model, 4);
        assert!(read(&mut model, 3).is_err(), "it overtook a later write");
    }

    #[test]
    fn writes_at_the_same_time_end_in_either_order() {
        for last in [1, 2] {
            let mut model = DiskModel::new();
            let (a, b) = (model.begin_write(0, 1, 1), model.begin_write(0, 1, 2));
            model.end_write(b, 0, 1, OK);
            model.end_write(a, 0, 1, OK);
            assert!(read(&mut model, ZERO).is_err());
            assert_eq!(read(&mut model, last), Ok(()));
            assert!(read(&mut model, 3 - last).is_err(), "one read has settled it");
        }
    }

    #[test]
    fn a_read_sees_a_write_that_runs_beside_it_or_what_was_before() {
        for version in [ZERO, 1] {
            let mut model = DiskModel::new();
            let reading = model.begin_read(0, 1);
            let writing = model.begin_write(0, 1, 1);
            assert_eq!(model.end_read(reading, 0, &[version]), Ok(()));
            model.end_write(writing, 0, 1, OK);
            assert_eq!(read(&mut model, 1), Ok(()));
        }
    }

    #[test]
    fn a_flush_makes_what_was_answered_before_it_survive() {
        let mut model = DiskModel::new();
        write(&mut model, 1);
        write(&mut model, 2);
        let flush = model.begin_flush();
        write(&mut model, 3);
        model.end_flush(flush, true);
        write(&mut model, 4);
        model.crash();
        let reading = model.begin_read(0, 1);
        assert!(model.end_read(reading, 0, &[1]).is_err(), "older than the flush");
        for _ in 0..2 {
            assert_eq!(read(&mut model, 3), Ok(()));
        }
        assert!(read(&mut model, 4).is_err(), "it read as 3 before");
    }

    #[test]
    fn what_was_not_flushed_may_be_lost_and_forced_writes_may_not() {
        let mut model = DiskModel::new();
        write(&mut model, 1);
        model.crash();
        assert_eq!(read(&mut model, ZERO), Ok(()));
        let forced = model.begin_write(0, 1, 2);
        model.end_write(forced, 0, 1, End::Done { fua: true });
        model.crash();
        assert!(read(&mut model, ZERO).is_err());
    }

    #[test]
    fn a_flush_that_failed_promises_nothing() {
        let mut model = DiskModel::new();
        write(&mut model, 1);
        let flush = model.begin_flush();
        model.end_flush(flush, false);
        model.crash();
        assert_eq!(read(&mut model, ZERO), Ok(()));
    }
}
