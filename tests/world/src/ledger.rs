//! What all hosts of a world know together: the models of the disks, the writes in doubt, and what
//! went wrong.

use std::time::Duration;

use crate::host::command::{Io, IoKind};
use crate::model::{DiskModel, End};
use crate::stamp::{self, BLOCK, Version, ZERO};

/// A write whose association ended without an answer. Nobody uses its blocks before `until`.
struct Doubt {
    until: Duration,
    io: Io,
}

/// What happened, for the summary of a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Stats {
    pub(crate) associations: u64,
    pub(crate) answered: u64,
    pub(crate) failed: u64,
    pub(crate) lost: u64,
    pub(crate) crashes: u64,
}

/// The ledger of a run.
pub(crate) struct Ledger {
    pub(crate) models: Vec<DiskModel>,
    doubts: Vec<Doubt>,
    next_version: Version,
    /// What no target may do, in words.
    pub(crate) wrong: Vec<String>,
    pub(crate) stats: Stats,
    /// No fault is left that could excuse a failed command.
    pub(crate) calm: bool,
}

impl Ledger {
    pub(crate) fn new(disks: usize) -> Self {
        Self {
            models: (0..disks).map(|_| DiskModel::new()).collect(),
            doubts: Vec::new(),
            next_version: 0,
            wrong: Vec::new(),
            stats: Stats::default(),
            calm: false,
        }
    }

    pub(crate) fn version(&mut self) -> Version {
        self.next_version += 1;
        self.next_version
    }

    /// A host may use these blocks.
    pub(crate) fn is_free(&self, disk: usize, lba: u64, count: u64) -> bool {
        let overlaps = |io: &Io| io.disk == disk && lba < io.lba + io.count && io.lba < lba + count;
        !self.doubts.iter().any(|doubt| overlaps(&doubt.io))
    }

    /// Notes in the model that a command goes out.
    pub(crate) fn begin(&mut self, disk: usize, lba: u64, count: u64, kind: IoKind) -> Io {
        let model = &mut self.models[disk];
        let op = match kind {
            IoKind::Read => model.begin_read(lba, count),
            IoKind::Write { version, .. } => model.begin_write(lba, count, version),
            IoKind::Zero { .. } | IoKind::Deallocate => model.begin_write(lba, count, ZERO),
            IoKind::Flush => model.begin_flush(),
        };
        Io { disk, lba, count, kind, op }
    }

    /// A command was answered.
    pub(crate) fn answered(&mut self, io: &Io, succeeded: bool, data: &[u8]) {
        self.stats.answered += 1;
        self.stats.failed += u64::from(!succeeded);
        let model = &mut self.models[io.disk];
        let end = |fua| if succeeded { End::Done { fua } } else { End::InDoubt };
        match io.kind {
            IoKind::Read if !succeeded => model.drop_read(io.op, io.lba, io.count),
            IoKind::Read => {
                let verdict = versions(io, data)
                    .and_then(|versions| model.end_read(io.op, io.lba, &versions));
                if let Err(what) = verdict {
                    self.wrong.push(format!("disk {}: {what}", io.disk));
                }
            }
            IoKind::Write { fua, .. } | IoKind::Zero { fua } => {
                model.end_write(io.op, io.lba, io.count, end(fua));
            }
            IoKind::Deallocate => model.end_write(io.op, io.lba, io.count, end(false)),
            IoKind::Flush => model.end_flush(io.op, succeeded),
        }
    }

    /// A command's association ended without an answer; it is over at `until`.
    pub(crate) fn lost(&mut self, io: Io, until: Duration) {
        self.stats.lost += 1;
        let model = &mut self.models[io.disk];
        match io.kind {
            IoKind::Read => model.drop_read(io.op, io.lba, io.count),
            IoKind::Flush => model.end_flush(io.op, false),
            IoKind::Write { .. } | IoKind::Zero { .. } | IoKind::Deallocate => {
                self.doubts.push(Doubt { until, io });
            }
        }
    }

    /// Writes that are over by now stay as they are.
    pub(crate) fn settle(&mut self, now: Duration) {
        let models = &mut self.models;
        self.doubts.retain(|doubt| {
            let over = doubt.until <= now;
            if over {
                let Io { disk, lba, count, op, .. } = doubt.io;
                models[disk].end_write(op, lba, count, End::InDoubt);
            }
            !over
        });
    }

    /// When the next write is over.
    pub(crate) fn due(&self) -> Option<Duration> {
        self.doubts.iter().map(|doubt| doubt.until).min()
    }

    /// The daemon and the disks' power are gone.
    pub(crate) fn crash(&mut self) {
        self.stats.crashes += 1;
        self.doubts.clear();
        for model in &mut self.models {
            model.crash();
        }
    }
}

/// The versions of a read's blocks.
fn versions(io: &Io, data: &[u8]) -> Result<Vec<Version>, String> {
    let blocks = data.chunks_exact(BLOCK);
    (io.lba..io.lba + io.count)
        .zip(blocks)
        .map(|(lba, block)| stamp::read(block, io.disk as u64, lba))
        .collect()
}
