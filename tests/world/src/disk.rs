//! Simulated disks: blocks on a medium, and a volatile cache that a power failure empties.

use std::collections::BTreeMap;
use std::sync::Arc;

use block::{Disk, DiskKind, DiskSpec};

use crate::dice::Dice;
use crate::stamp::{BLOCK, BLOCK_BYTES};

/// How the disks misbehave: events in a million.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct DiskFaults {
    /// An operation fails.
    pub(crate) error: u32,
    /// An operation takes up to some seconds.
    pub(crate) slow: u32,
    /// An operation does not end before the faults do.
    pub(crate) stuck: u32,
    /// A cached block goes to the medium by itself, per operation.
    pub(crate) evict: u32,
}

/// The blocks of one disk.
pub(crate) struct SimDisk {
    /// What the daemon knows of it: a disk of the same size, whose own content is never used.
    pub(crate) disk: Arc<Disk>,
    blocks: u64,
    medium: Vec<u8>,
    cache: BTreeMap<u64, Box<[u8]>>,
}

impl SimDisk {
    pub(crate) fn new(blocks: u64) -> Self {
        let spec = DiskSpec::new(DiskKind::Null { size_bytes: blocks * BLOCK_BYTES });
        let disk = Disk::open(&spec).expect("a null disk of whole blocks opens");
        let medium = vec![0; index(blocks * BLOCK_BYTES)];
        Self { disk: Arc::new(disk), blocks, medium, cache: BTreeMap::new() }
    }

    /// The range in blocks, if it is one of this disk.
    pub(crate) fn range(&self, offset_bytes: u64, len_bytes: u64) -> Option<(u64, u64)> {
        let end = offset_bytes.checked_add(len_bytes)?;
        let whole =
            offset_bytes.is_multiple_of(BLOCK_BYTES) && len_bytes.is_multiple_of(BLOCK_BYTES);
        let fits = whole && len_bytes > 0 && end <= self.blocks * BLOCK_BYTES;
        fits.then_some((offset_bytes / BLOCK_BYTES, len_bytes / BLOCK_BYTES))
    }

    fn on_medium(&self, lba: u64) -> &[u8] {
        let start = index(lba * BLOCK_BYTES);
        &self.medium[start..start + BLOCK]
    }

    pub(crate) fn read(&self, lba: u64, out: &mut [u8]) {
        for (lba, block) in (lba..).zip(out.chunks_exact_mut(BLOCK)) {
            let from = self.cache.get(&lba).map_or_else(|| self.on_medium(lba), |bytes| &bytes[..]);
            block.copy_from_slice(from);
        }
    }

    /// Puts one block into the cache.
    pub(crate) fn write(&mut self, lba: u64, bytes: &[u8]) {
        self.cache.insert(lba, bytes.into());
    }

    /// Puts one cached block on the medium.
    pub(crate) fn persist(&mut self, lba: u64) {
        if let Some(bytes) = self.cache.remove(&lba) {
            let start = index(lba * BLOCK_BYTES);
            self.medium[start..start + BLOCK].copy_from_slice(&bytes);
        }
    }

    /// What lies in the cache now: what a flush that begins now has to bring to the medium.
    pub(crate) fn cached(&self) -> Vec<u64> {
        self.cache.keys().copied().collect()
    }

    /// One cached block goes to the medium by itself.
    pub(crate) fn evict(&mut self, dice: &mut Dice) {
        if let Some(lba) = self.cache.keys().nth(dice.index(self.cache.len())).copied() {
            self.persist(lba);
        }
    }

    /// The power goes: each cached block is saved or lost.
    pub(crate) fn lose_power(&mut self, dice: &mut Dice) {
        for lba in self.cached() {
            if dice.chance(300_000) {
                self.persist(lba);
            }
        }
        self.cache.clear();
    }
}

/// As an index into memory of this process.
pub(crate) fn index(number: u64) -> usize {
    usize::try_from(number).expect("simulated disks are small")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_not_flushed_is_lost_with_the_power_and_the_rest_is_not() {
        let mut disk = SimDisk::new(4);
        let mut out = [0; BLOCK];
        disk.write(1, &[1; BLOCK]);
        for lba in disk.cached() {
            disk.persist(lba);
        }
        let mut lost = false;
        for seed in 0..50 {
            disk.write(1, &[2; BLOCK]);
            disk.lose_power(&mut Dice::new(seed, "power"));
            disk.read(1, &mut out);
            assert!(out == [1; BLOCK] || out == [2; BLOCK]);
            lost |= out == [1; BLOCK];
        }
        assert!(lost, "a cache that always survives shows nothing");
    }

    #[test]
    fn a_range_beyond_the_end_or_of_part_of_a_block_is_none() {
        let disk = SimDisk::new(4);
        assert_eq!(disk.range(512, 1536), Some((1, 3)));
        assert_eq!(disk.range(512, 2048), None);
        assert_eq!(disk.range(512, 100), None);
        assert_eq!(disk.range(u64::MAX - 511, 512), None);
    }
}
