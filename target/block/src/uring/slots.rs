//! The operations that the kernel has, by slot and generation.

use std::mem::ManuallyDrop;

use crate::operation::Operation;

/// Names one operation; what goes in `user_data`. A slot's next user has another generation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Key {
    slot: u32,
    generation: u32,
}

impl Key {
    pub(super) fn user_data(self) -> u64 {
        u64::from(self.generation) << 32 | u64::from(self.slot)
    }

    pub(super) fn from_user_data(user_data: u64) -> Self {
        let half = |bits: u64| u32::try_from(bits & u64::from(u32::MAX)).unwrap_or(0);
        Self { slot: half(user_data), generation: half(user_data >> 32) }
    }
}

/// An operation and the index of its disk.
pub(super) struct Slot<B> {
    pub(super) operation: Operation<B>,
    pub(super) disk: u32,
}

struct Entry<B> {
    generation: u32,
    /// Never dropped in place: an operation leaves by `take`, or is leaked.
    slot: Option<ManuallyDrop<Slot<B>>>,
}

/// A table of fixed size; nothing is allocated after it was made.
pub(super) struct Slots<B> {
    entries: Vec<Entry<B>>,
    free: Vec<u32>,
}

impl<B> Slots<B> {
    pub(super) fn with_depth(depth: u32) -> Self {
        let entries = (0..depth).map(|_| Entry { generation: 0, slot: None }).collect();
        Self { entries, free: (0..depth).rev().collect() }
    }

    /// Operations in the table (count).
    pub(super) fn used(&self) -> usize {
        self.entries.len() - self.free.len()
    }

    /// Puts an operation in, or gives it back when the table is full.
    pub(super) fn insert(
        &mut self,
        operation: Operation<B>,
        disk: u32,
    ) -> Result<Key, Operation<B>> {
        let Some(slot) = self.free.pop() else { return Err(operation) };
        let Some(entry) = usize::try_from(slot).ok().and_then(|at| self.entries.get_mut(at)) else {
            return Err(operation);
        };
        debug_assert!(entry.slot.is_none());
        entry.slot = Some(ManuallyDrop::new(Slot { operation, disk }));
        Ok(Key { slot, generation: entry.generation })
    }

    pub(super) fn get_mut(&mut self, key: Key) -> Option<&mut Slot<B>> {
        let entry = self.entries.get_mut(usize::try_from(key.slot).ok()?)?;
        let slot = entry.slot.as_mut().filter(|_| entry.generation == key.generation)?;
        Some(slot)
    }

    /// Takes an operation out that has come back.
    pub(super) fn take(&mut self, key: Key) -> Option<Slot<B>> {
        let entry = self.entries.get_mut(usize::try_from(key.slot).ok()?)?;
        if entry.generation != key.generation {
            return None;
        }
        let slot = entry.slot.take()?;
        entry.generation = entry.generation.wrapping_add(1) & Self::GENERATION_MASK;
        self.free.push(key.slot);
        Some(ManuallyDrop::into_inner(slot))
    }

    /// One bit less than a half: `user_data` of an operation is never that of a cancellation.
    const GENERATION_MASK: u32 = u32::MAX >> 1;

    /// Leaks every operation that is left and returns how many (count).
    pub(super) fn forget_all(&mut self) -> u64 {
        let left = self.entries.iter_mut().filter_map(|entry| entry.slot.take());
        // `ManuallyDrop` does nothing when it goes out of scope: the memory stays as it is.
        u64::try_from(left.count()).unwrap_or(u64::MAX)
    }
}
