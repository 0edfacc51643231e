//! Which controller ids are taken, and by whom. For the connect path only.

use std::collections::{BTreeMap, HashMap};

use crate::export::Subsystem;
use crate::ident::{Cntlid, SubNqn};
use crate::limits;

/// No controller id is free.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no controller id is free")]
pub struct Busy;

/// The controller ids of every subsystem. The caller keeps it where all reactors reach it.
#[derive(Debug, Default)]
pub struct Registry {
    subsystems: HashMap<SubNqn, Ids>,
}

#[derive(Debug, Default)]
struct Ids {
    owners: BTreeMap<u16, u64>,
    next: u16,
}

impl Registry {
    fn allocate(&mut self, nqn: &SubNqn, min: u16, max: u16, owner: u64) -> Result<Cntlid, Busy> {
        let min = min.max(limits::CNTLID_MIN);
        let max = max.min(limits::CNTLID_MAX);
        if min > max {
            return Err(Busy);
        }
        let ids = self.subsystems.entry(nqn.clone()).or_default();
        let start = if (min..=max).contains(&ids.next) { ids.next } else { min };
        let free =
            (start..=max).chain(min..start).find(|id| !ids.owners.contains_key(id)).ok_or(Busy)?;
        ids.owners.insert(free, owner);
        ids.next = free.saturating_add(1);
        Ok(Cntlid(free))
    }

    /// Takes an id of a subsystem's range for `owner`, which is the caller's token (a reactor, a
    /// slot and a generation, say). Ids are given out in turn, so that a late I/O Connect of an
    /// association that has just ended does not find another one under its id.
    ///
    /// Only for what is exported: names that a host invents must leave nothing here.
    ///
    /// # Errors
    /// All are taken, or the range is empty.
    pub fn allocate_for(&mut self, subsystem: &Subsystem, owner: u64) -> Result<Cntlid, Busy> {
        let Subsystem { nqn, cntlid_min, cntlid_max, .. } = subsystem;
        self.allocate(nqn, *cntlid_min, *cntlid_max, owner)
    }

    /// Takes an id for a controller of the discovery subsystem.
    ///
    /// # Errors
    /// All are taken.
    pub fn allocate_discovery(&mut self, owner: u64) -> Result<Cntlid, Busy> {
        self.allocate(&SubNqn::discovery(), limits::CNTLID_MIN, limits::CNTLID_MAX, owner)
    }

    /// Whose id it is.
    pub fn owner(&self, nqn: &SubNqn, cntlid: Cntlid) -> Option<u64> {
        self.subsystems.get(nqn)?.owners.get(&cntlid.0).copied()
    }

    /// Gives an id back if it is that owner's. Returns whether it was.
    pub fn release(&mut self, nqn: &SubNqn, cntlid: Cntlid, owner: u64) -> bool {
        let Some(ids) = self.subsystems.get_mut(nqn) else {
            return false;
        };
        let own = ids.owners.get(&cntlid.0) == Some(&owner);
        if own {
            ids.owners.remove(&cntlid.0);
        }
        own
    }

    /// Ids taken, of all subsystems.
    pub fn len(&self) -> usize {
        self.subsystems.values().map(|ids| ids.owners.len()).sum()
    }

    /// Whether no id is taken.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nqn(name: &str) -> SubNqn {
        SubNqn::new(name).unwrap()
    }

    #[test]
    fn freed_id_is_not_given_out_next() {
        let mut registry = Registry::default();
        let first = registry.allocate(&nqn("a"), 1, 100, 7).unwrap();
        assert!(registry.release(&nqn("a"), first, 7));
        assert_ne!(registry.allocate(&nqn("a"), 1, 100, 7).unwrap(), first);
    }

    #[test]
    fn range_is_used_up_to_its_last_id_and_then_busy() {
        let mut registry = Registry::default();
        let mut ids: Vec<_> =
            (0..3).map(|owner| registry.allocate(&nqn("a"), 5, 7, owner).unwrap().0).collect();
        ids.sort_unstable();
        assert_eq!(ids, [5, 6, 7]);
        assert_eq!(registry.allocate(&nqn("a"), 5, 7, 9), Err(Busy));
        assert_eq!(registry.allocate(&nqn("b"), 5, 7, 9), Ok(Cntlid(5)));
        assert_eq!(registry.len(), 4);
        assert!(registry.release(&nqn("a"), Cntlid(6), 1));
        assert_eq!(registry.allocate(&nqn("a"), 5, 7, 9), Ok(Cntlid(6)));
    }

    #[test]
    fn reserved_ids_are_never_given_out() {
        let mut registry = Registry::default();
        assert_eq!(registry.allocate(&nqn("a"), 0, 0, 1), Err(Busy));
        assert_eq!(registry.allocate(&nqn("a"), 0xffef, 0xffff, 1), Ok(Cntlid(0xffef)));
        assert_eq!(registry.allocate(&nqn("a"), 0xffef, 0xffff, 1), Err(Busy));
    }

    #[test]
    fn id_is_released_by_its_owner_only() {
        let mut registry = Registry::default();
        let id = registry.allocate(&nqn("a"), 1, 9, 3).unwrap();
        assert!(!registry.release(&nqn("a"), id, 4));
        assert!(!registry.release(&nqn("b"), id, 3));
        assert_eq!(registry.owner(&nqn("a"), id), Some(3));
        assert!(registry.release(&nqn("a"), id, 3));
        assert_eq!(registry.owner(&nqn("a"), id), None);
        assert!(registry.is_empty());
    }
}
