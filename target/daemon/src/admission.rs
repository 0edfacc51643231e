//! Who may come in: connections, those that are closing included, counted against a bound.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::limits::{FRESH_PER_PEER_MIN, FRESH_PER_PEER_PART};

/// Counts the connections of every reactor.
#[derive(Debug)]
pub struct Admission {
    connections_max: u32,
    closing_max: u32,
    connections: AtomicU32,
    closing: AtomicU32,
    reactors: Vec<AtomicU32>,
    turn: AtomicU32,
    fresh_max: u32,
    /// Connections that have not sent their Connect command, by address.
    fresh: Mutex<HashMap<IpAddr, u32>>,
}

impl Admission {
    /// `connections_max` at a time, of which `closing_max` may be closing.
    #[must_use]
    pub fn new(reactors: usize, connections_max: u32, closing_max: u32) -> Arc<Self> {
        Arc::new(Self {
            connections_max,
            closing_max,
            connections: AtomicU32::new(0),
            closing: AtomicU32::new(0),
            reactors: (0..reactors).map(|_| AtomicU32::new(0)).collect(),
            turn: AtomicU32::new(0),
            fresh_max: FRESH_PER_PEER_MIN.max(connections_max / FRESH_PER_PEER_PART),
            fresh: Mutex::default(),
        })
    }

    fn fresh(&self) -> MutexGuard<'_, HashMap<IpAddr, u32>> {
        self.fresh.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a connection of `peer` that is to send its Connect command.
    fn begin(&self, peer: IpAddr) -> bool {
        let mut fresh = self.fresh();
        let count = fresh.get(&peer).copied().unwrap_or(0);
        let fits = count < self.fresh_max;
        if fits {
            fresh.insert(peer, count + 1);
        }
        fits
    }

    fn begun(&self, peer: IpAddr) {
        let mut fresh = self.fresh();
        if let Some(count) = fresh.get_mut(&peer) {
            *count -= 1;
            if *count == 0 {
                fresh.remove(&peer);
            }
        }
    }

    /// Lets one of `peer` in, on the reactor with the fewest; `None` when the house is full, or has
    /// too many of that address that are not connected yet.
    #[must_use]
    pub fn admit(self: &Arc<Self>, peer: IpAddr) -> Option<Ticket> {
        if self.closing.load(Ordering::Relaxed) >= self.closing_max {
            return None;
        }
        if self.connections.fetch_add(1, Ordering::Relaxed) >= self.connections_max {
            self.connections.fetch_sub(1, Ordering::Relaxed);
            return None;
        }
        if !self.begin(peer) {
            self.connections.fetch_sub(1, Ordering::Relaxed);
            return None;
        }
        let count = self.reactors.len();
        let first = self.turn.fetch_add(1, Ordering::Relaxed) as usize;
        let reactor = (0..count)
            .map(|i| (first + i) % count)
            .min_by_key(|i| self.reactors[*i].load(Ordering::Relaxed))?;
        self.reactors[reactor].fetch_add(1, Ordering::Relaxed);
        Some(Ticket { admission: Arc::clone(self), reactor, fresh: Some(peer), closing: false })
    }
}

/// One connection's place. Dropping it frees the place.
#[derive(Debug)]
pub struct Ticket {
    admission: Arc<Admission>,
    reactor: usize,
    /// Whose it is, until it is connected.
    fresh: Option<IpAddr>,
    closing: bool,
}

impl Ticket {
    /// The queue has its controller.
    pub fn set_connected(&mut self) {
        if let Some(peer) = self.fresh.take() {
            self.admission.begun(peer);
        }
    }

    /// The reactor it was let in for.
    #[must_use]
    pub fn reactor(&self) -> usize {
        self.reactor
    }

    /// Nothing of the closed connection is left but what a disk has, for as long as the disk likes:
    /// it does not keep others from coming in.
    pub fn set_reclaiming(&mut self) {
        if self.closing {
            self.closing = false;
            self.admission.closing.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// The connection closes now; it still counts until it is gone.
    pub fn set_closing(&mut self) {
        if !self.closing {
            self.closing = true;
            self.admission.closing.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.set_connected();
        if self.closing {
            self.admission.closing.fetch_sub(1, Ordering::Relaxed);
        }
        self.admission.reactors[self.reactor].fetch_sub(1, Ordering::Relaxed);
        self.admission.connections.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_spread_and_are_bounded_until_they_are_gone() {
        let admission = Admission::new(2, 4, 2);
        let peer = IpAddr::from([10, 0, 0, 1]);
        let mut tickets: Vec<_> = (0..4).map(|_| admission.admit(peer).unwrap()).collect();
        assert_eq!(tickets.iter().filter(|t| t.reactor() == 0).count(), 2);
        assert!(admission.admit(peer).is_none());
        tickets.pop();
        tickets[0].set_closing();
        tickets.push(admission.admit(peer).unwrap());
        tickets.pop();
        tickets[1].set_closing();
        assert!(admission.admit(peer).is_none(), "two are closing");
        tickets.clear();
        assert!(admission.admit(peer).is_some());
    }

    #[test]
    fn one_address_can_not_take_every_place_without_connecting() {
        let admission = Admission::new(1, 2000, 10);
        let (hog, host) = (IpAddr::from([10, 0, 0, 1]), IpAddr::from([10, 0, 0, 2]));
        let mut tickets: Vec<_> = std::iter::from_fn(|| admission.admit(hog)).collect();
        assert_eq!(tickets.len(), 500);
        assert!(admission.admit(host).is_some());
        // One that is connected, and one that is gone, make room.
        tickets[0].set_connected();
        tickets.pop();
        let next = [(); 3].map(|()| admission.admit(hog));
        assert_eq!(next.iter().flatten().count(), 2);
        drop(next);
        tickets.clear();
        assert!(admission.fresh().is_empty());
    }
}
