//! Who may come in: connections, those that are closing included, counted against a bound.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

/// Counts the connections of every reactor.
#[derive(Debug)]
pub struct Admission {
    connections_max: u32,
    closing_max: u32,
    connections: AtomicU32,
    closing: AtomicU32,
    reactors: Vec<AtomicU32>,
    turn: AtomicU32,
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
        })
    }

    /// Lets one in, on the reactor with the fewest; `None` when the house is full.
    #[must_use]
    pub fn admit(self: &Arc<Self>) -> Option<Ticket> {
        if self.closing.load(Ordering::Relaxed) >= self.closing_max {
            return None;
        }
        if self.connections.fetch_add(1, Ordering::Relaxed) >= self.connections_max {
            self.connections.fetch_sub(1, Ordering::Relaxed);
            return None;
        }
        let count = self.reactors.len();
        let first = self.turn.fetch_add(1, Ordering::Relaxed) as usize;
        let reactor = (0..count)
            .map(|i| (first + i) % count)
            .min_by_key(|i| self.reactors[*i].load(Ordering::Relaxed))?;
        self.reactors[reactor].fetch_add(1, Ordering::Relaxed);
        Some(Ticket { admission: Arc::clone(self), reactor, closing: false })
    }
}

/// One connection's place. Dropping it frees the place.
#[derive(Debug)]
pub struct Ticket {
    admission: Arc<Admission>,
    reactor: usize,
    closing: bool,
}

impl Ticket {
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
        let mut tickets: Vec<_> = (0..4).map(|_| admission.admit().unwrap()).collect();
        assert_eq!(tickets.iter().filter(|t| t.reactor() == 0).count(), 2);
        assert!(admission.admit().is_none());
        tickets.pop();
        tickets[0].set_closing();
        tickets.push(admission.admit().unwrap());
        tickets.pop();
        tickets[1].set_closing();
        assert!(admission.admit().is_none(), "two are closing");
        tickets.clear();
        assert!(admission.admit().is_some());
    }
}
