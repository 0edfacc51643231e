//! The Error Information log page of a controller (NVMe Base 2.0 §5.16.1.2).

use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::ident::{Cid, Nsid, Qid};
use crate::limits;
use crate::wire::{Location, Page, Status};

/// What is kept of a command that failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Failure {
    pub(crate) qid: Qid,
    pub(crate) cid: Cid,
    pub(crate) opcode: u8,
    pub(crate) status: Status,
    pub(crate) location: Location,
    /// First block of a command that names blocks.
    pub(crate) lba: u64,
    pub(crate) nsid: Nsid,
}

/// The failed commands of a controller's queues, on whatever reactors those live.
///
/// LIMIT: the one lock of this crate. It is taken for commands that fail and by who reads the log
/// page, never for a command that succeeds, and for the time of one store.
#[derive(Debug)]
pub struct ErrorLog {
    ring: Mutex<Ring>,
}

#[derive(Debug)]
struct Ring {
    /// The last failures; the one with count `n` at `(n - 1) % ENTRIES`. Never grows.
    entries: Vec<Failure>,
    /// Failures so far.
    count: u64,
    /// Those that were the medium's.
    media: u64,
}

/// How many commands failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct ErrorCounts {
    /// Entries that the log had so far.
    pub(crate) entries: u64,
    /// Those whose data could not be read or written.
    pub(crate) media: u64,
}

impl Default for ErrorLog {
    fn default() -> Self {
        let entries = Vec::with_capacity(limits::ERROR_LOG_ENTRIES);
        Self { ring: Mutex::new(Ring { entries, count: 0, media: 0 }) }
    }
}

impl ErrorLog {
    fn lock(&self) -> MutexGuard<'_, Ring> {
        self.ring.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a status is an error: what a host asked for, or has to expect, is none.
    pub(crate) fn wants(status: Status) -> bool {
        let ordinary = [
            Status::SUCCESS,
            Status::ABORT_REQUESTED,
            Status::COMPARE_FAILURE,
            Status::FAILED_FUSED,
        ];
        !ordinary.iter().any(|other| (other.sct(), other.sc()) == (status.sct(), status.sc()))
    }

    /// Keeps a failure and forgets the oldest one.
    pub(crate) fn record(&self, failure: Failure) {
        let mut ring = self.lock();
        let at = usize::try_from(ring.count % limits::ERROR_LOG_ENTRIES as u64).unwrap_or(0);
        match ring.entries.get_mut(at) {
            Some(entry) => *entry = failure,
            None => ring.entries.push(failure),
        }
        ring.count += 1;
        let medium = [Status::WRITE_FAULT, Status::UNRECOVERED_READ_ERROR];
        let same = |other: &Status| (other.sct(), other.sc());
        ring.media += u64::from(medium.iter().any(|one| same(one) == same(&failure.status)));
    }

    /// How many there were.
    pub(crate) fn counts(&self) -> ErrorCounts {
        let ring = self.lock();
        ErrorCounts { entries: ring.count, media: ring.media }
    }

    /// Writes the log page: the newest first.
    pub(crate) fn fill(&self, page: &mut Page<'_>) {
        let ring = self.lock();
        let kept = ring.entries.len() as u64;
        for place in 0..kept {
            let count = ring.count - place;
            let index = (count - 1) % limits::ERROR_LOG_ENTRIES as u64;
            let entry = usize::try_from(index).ok().and_then(|index| ring.entries.get(index));
            let at = place * limits::ERROR_LOG_ENTRY_BYTES;
            if let Some(entry) = entry.filter(|_| page.shows(at, limits::ERROR_LOG_ENTRY_BYTES)) {
                entry.fill(count, at, page);
            }
        }
    }
}

impl Failure {
    fn fill(&self, count: u64, at: u64, page: &mut Page<'_>) {
        /// Says that opcode and command set are there.
        const PAGE_VERSION: u8 = 1;
        page.put(at, &count.to_le_bytes());
        page.put(at + 8, &self.qid.0.to_le_bytes());
        page.put(at + 10, &self.cid.0.to_le_bytes());
        page.put(at + 12, &(self.status.more().bits() << 1).to_le_bytes());
        page.put(at + 14, &self.location.bits().to_le_bytes());
        page.put(at + 16, &self.lba.to_le_bytes());
        page.put(at + 24, &self.nsid.0.to_le_bytes());
        page.put(at + 31, &[self.opcode]);
        page.put(at + 63, &[PAGE_VERSION]);
    }
}
