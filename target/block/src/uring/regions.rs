//! Registered memory: which entries of the ring's table hold which addresses.

use std::ptr::NonNull;

use super::kernel::Kernel;
use crate::buffer::FixedRegion;
use crate::error::RegionError;
use crate::limits;

/// One registered region; a long one takes several entries in a row.
#[derive(Clone, Copy, Debug)]
struct Region {
    start: usize,
    len: usize,
    entries: usize,
}

/// The table, by first entry.
#[derive(Debug)]
pub(super) struct Regions {
    by_first_entry: Vec<Option<Region>>,
    used: Vec<bool>,
}

impl Regions {
    pub(super) fn new() -> Self {
        let size = usize::from(limits::REGION_ENTRIES_MAX);
        Self { by_first_entry: vec![None; size], used: vec![false; size] }
    }

    pub(super) fn register(
        &mut self,
        kernel: &Kernel,
        start: NonNull<u8>,
        len: usize,
    ) -> Result<FixedRegion, RegionError> {
        if len == 0 || start.addr().get().checked_add(len).is_none() {
            return Err(RegionError::Length { len_bytes: len });
        }
        let entries = len.div_ceil(limits::REGION_ENTRY_BYTES_MAX);
        let full = RegionError::TableFull { entries };
        let Some(first) = self.find_free(entries) else { return Err(full) };
        let Ok(region) = u16::try_from(first) else { return Err(full) };
        for number in 0..entries {
            let at = number * limits::REGION_ENTRY_BYTES_MAX;
            let part = (len - at).min(limits::REGION_ENTRY_BYTES_MAX);
            let base = start.as_ptr().wrapping_add(at);
            if let Err(source) = kernel.set_buffer(first + number, base, part) {
                for done in 0..number {
                    kernel.clear_buffer(first + done);
                }
                return Err(RegionError::Refused { len_bytes: len, source });
            }
        }
        self.used[first..first + entries].fill(true);
        self.by_first_entry[first] = Some(Region { start: start.addr().get(), len, entries });
        Ok(FixedRegion(region))
    }

    /// The first of `entries` free ones in a row.
    fn find_free(&self, entries: usize) -> Option<usize> {
        if entries > self.used.len() {
            return None;
        }
        self.used.windows(entries).position(|row| row.iter().all(|used| !used))
    }

    pub(super) fn unregister(&mut self, kernel: &Kernel, region: FixedRegion) {
        let first = usize::from(region.0);
        let Some(found) = self.by_first_entry.get_mut(first).and_then(Option::take) else { return };
        for entry in first..first + found.entries {
            kernel.clear_buffer(entry);
        }
        self.used[first..first + found.entries].fill(false);
    }

    /// The table's entry that holds a whole transfer; `None` where it lies outside of the region
    /// named, or across two entries of it.
    pub(super) fn entry_of(
        &self,
        region: Option<FixedRegion>,
        start: usize,
        len: usize,
    ) -> Option<u16> {
        let first = region?.0;
        let found = self.by_first_entry.get(usize::from(first))?.as_ref()?;
        let from = start.checked_sub(found.start)?;
        let end = from.checked_add(len).filter(|end| *end <= found.len)?;
        let entry = from / limits::REGION_ENTRY_BYTES_MAX;
        if end.saturating_sub(1) / limits::REGION_ENTRY_BYTES_MAX != entry {
            return None;
        }
        first.checked_add(u16::try_from(entry).ok()?)
    }
}
