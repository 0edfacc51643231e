//! How many hosts, and how many controllers of theirs, there are at a time. Connect path only.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use nvme::HostNqn;

/// Counts the controllers of each host.
#[derive(Debug)]
pub struct Hosts {
    hosts_max: u32,
    controllers_max: u32,
    counts: Mutex<Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    controllers: u32,
    by_host: HashMap<HostNqn, u32>,
}

impl Hosts {
    /// At most `hosts_max` hosts with a controller, and `controllers_max` controllers of all hosts.
    #[must_use]
    pub fn new(hosts_max: u32, controllers_max: u32) -> Arc<Self> {
        Arc::new(Self { hosts_max, controllers_max, counts: Mutex::default() })
    }

    fn counts(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A place for one more controller of a host; `None` when there is none.
    #[must_use]
    pub fn enter(self: &Arc<Self>, host: &HostNqn) -> Option<Place> {
        let mut counts = self.counts();
        let hosts = u32::try_from(counts.by_host.len()).unwrap_or(u32::MAX);
        let known = counts.by_host.contains_key(host);
        if counts.controllers >= self.controllers_max || (!known && hosts >= self.hosts_max) {
            return None;
        }
        counts.controllers += 1;
        *counts.by_host.entry(host.clone()).or_default() += 1;
        Some(Place { hosts: Arc::clone(self), host: host.clone() })
    }
}

/// A controller's place. Dropping it frees the place.
#[derive(Debug)]
pub struct Place {
    hosts: Arc<Hosts>,
    host: HostNqn,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut counts = self.hosts.counts();
        counts.controllers -= 1;
        if let Some(count) = counts.by_host.get_mut(&self.host) {
            *count -= 1;
            if *count == 0 {
                counts.by_host.remove(&self.host);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_and_controllers_are_bounded_each_for_itself() {
        let host = |name: &str| HostNqn::new(name).unwrap();
        let hosts = Hosts::new(2, 3);
        let a = hosts.enter(&host("a")).unwrap();
        let b = hosts.enter(&host("b")).unwrap();
        assert!(hosts.enter(&host("c")).is_none(), "two hosts");
        let again = hosts.enter(&host("a")).unwrap();
        assert!(hosts.enter(&host("a")).is_none(), "three controllers");
        drop(a);
        assert!(hosts.enter(&host("c")).is_none(), "the first host has another controller");
        drop((again, b));
        assert!(hosts.enter(&host("c")).is_some());
    }
}
