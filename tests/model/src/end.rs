//! Liveness (L1 to L3): from any state, with nothing but time passing, the close comes to its end.
//!
//! It is played once for each connection and what it can poll ([`Player::fingerprint_of_end`]): the
//! device does nothing on the way. Each step of the way is an action of the search too, so what it
//! breaks besides liveness is found from every state.

use transport::cause::Cause;
use transport::connection::Connection;
use transport::drain::State;
use transport::limits::{CLOSE_TIMEOUT, CLOSE_TIMEOUT_SHARED};

use crate::player::{Errand, Player};

/// Timeouts that one close can take: polls of at least 1 ms in 15 s.
const TURNS_MAX: usize = 20_000;

impl Player<'_> {
    /// Ends the run: no device, peer or CM does anything any more, and no call fails. Says what was
    /// broken on the way.
    pub(crate) fn end(&mut self) -> Vec<String> {
        self.choices().freeze();
        if self.state() <= State::Live {
            self.drive(|conn, now, out| conn.close(now, Cause::Idle, out));
        }
        for _ in 0..TURNS_MAX {
            if self.conn.is_none() || self.state() >= State::Destroying {
                break;
            }
            let Some(at) = self.conn.as_ref().and_then(Connection::timeout) else { break };
            self.stage.set_now(at);
            self.poll();
            self.drive(Connection::handle_timeout);
        }
        let state = self.state();
        if state < State::Destroying {
            self.faults.push(format!("L1: stuck in {state:?}"));
        }
        // A reaper that lasted is no part of the way to the destroy.
        let to_destroy = self.conn.as_ref().filter(|_| state >= State::Destroying);
        let to_destroy = to_destroy.and_then(|conn| conn.report(self.now()).to_destroy);
        let bound = if self.stage.variant.shared { CLOSE_TIMEOUT_SHARED } else { CLOSE_TIMEOUT };
        if to_destroy.is_some_and(|took| took > bound) {
            self.faults.push(format!("L1: the destroy came {to_destroy:?} after the close"));
        }
        self.reap();
        self.violations()
    }

    /// Every reaper returns and the disk answers: nothing is left then.
    fn reap(&mut self) {
        for _ in 0..8 {
            if self.errands.is_empty() && !self.has_disk() {
                break;
            }
            if !self.errands.is_empty() {
                self.run_errand(0);
            }
            self.disk_answers();
        }
        if !self.is_over() {
            self.faults.push(format!("L3: not at its end, but {:?}", self.state()));
        }
    }

    /// Ends the run without looking, so that its memory goes back to the stage.
    pub(crate) fn clear(&mut self) {
        self.choices().freeze();
        self.drive(|conn, now, out| conn.close(now, Cause::DeviceFatal, out));
        while let Some(at) = self.errands.iter().position(|(e, _)| *e != Errand::Disconnect) {
            self.run_errand(at);
        }
        self.errands.clear();
        self.disk_answers();
    }
}
