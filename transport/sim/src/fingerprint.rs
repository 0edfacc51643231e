//! What two fabrics have in common when they behave alike from here on.

use std::hash::{DefaultHasher, Hash, Hasher};

use crate::completion::CqEntry;
use crate::connection::Conn;
use crate::happening::What;
use crate::queue_pair::{QpModel, Wr};
use crate::world::World;

/// What a driver makes of the order of completions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Polls {
    /// It goes on differently by it.
    InOrder,
    /// It empties a completion queue whenever it polls, and only the order in which the completions
    /// of one queue come means something to it, not how those of two queues mix.
    ByQueue,
    /// It polls no more.
    Never,
}

fn hash_wr(wr: &Wr, hasher: &mut impl Hasher) {
    (wr.is_read(), wr.is_sink(), wr.signaled, wr.phase, wr.fate).hash(hasher);
}

fn hash_qp(qp: &QpModel, hasher: &mut impl Hasher) {
    (qp.state, qp.unseen, qp.error_ours, qp.closing_ours, qp.existence).hash(hasher);
    for queue in [&qp.send, &qp.recv] {
        queue.len().hash(hasher);
        for wr in queue {
            hash_wr(wr, hasher);
        }
    }
}

fn hash_conn(conn: &Conn, hasher: &mut impl Hasher) {
    (conn.id_alive, conn.deaf, conn.destroy_began, conn.destroy_gives_up).hash(hasher);
    (conn.crashed, conn.peer_is_gone(), conn.paused).hash(hasher);
    if !conn.deaf {
        (conn.accepted, conn.established, conn.peer).hash(hasher);
        (conn.messages.len(), conn.peer_receives.len(), &conn.events).hash(hasher);
    }
}

impl World {
    /// A work request's place in its queue: what it is called when its number means nothing.
    fn place(&self, qp: usize, is_recv: bool, ordinal: u32) -> Option<usize> {
        let qp = self.qps.get(qp)?;
        let queue = if is_recv { &qp.recv } else { &qp.send };
        queue.iter().position(|wr| wr.ordinal == ordinal)
    }

    fn hash_entry(&self, entry: &CqEntry, hasher: &mut impl Hasher) {
        let place = self.place(entry.qp, entry.is_recv, entry.ordinal);
        (entry.qp, entry.is_recv, place).hash(hasher);
        std::mem::discriminant(&entry.wc.status).hash(hasher);
    }

    pub(crate) fn fingerprint_of_completions(&self, polls: Polls) -> u64 {
        let mut hasher = DefaultHasher::new();
        for cq in &self.cqs {
            (cq.armed, cq.broken, cq.events).hash(&mut hasher);
            if polls == Polls::Never {
                continue;
            }
            let row = self.devices[cq.device].row;
            let stale = row.stale_completions.contains(&true) && cq.last.is_some();
            (cq.poisoned, stale, cq.entries.len()).hash(&mut hasher);
            let entries = || cq.entries.iter();
            if polls == Polls::InOrder {
                entries().for_each(|entry| self.hash_entry(entry, &mut hasher));
                continue;
            }
            for is_recv in [false, true] {
                let of_queue = entries().filter(|entry| entry.is_recv == is_recv);
                of_queue.for_each(|entry| self.hash_entry(entry, &mut hasher));
            }
        }
        hasher.finish()
    }

    /// Addresses, ids and the absolute time are left out: `DefaultHasher::new` has fixed keys, so
    /// the number is the same in every process.
    pub(crate) fn fingerprint(&self, polls: Polls) -> u64 {
        let mut hasher = DefaultHasher::new();
        for device in &self.devices {
            (device.fatal, device.disassociated, device.removed, device.events.len())
                .hash(&mut hasher);
        }
        for qp in &self.qps {
            hash_qp(qp, &mut hasher);
        }
        for srq in &self.srqs {
            srq.fingerprint(&mut hasher);
        }
        for conn in &self.conns {
            hash_conn(conn, &mut hasher);
        }
        self.fingerprint_of_completions(polls).hash(&mut hasher);
        self.pending.len().hash(&mut hasher);
        // The order between tracks means nothing, that on one track does.
        let mut of_pending: Vec<(crate::happening::Track, u64, std::time::Duration)> = self
            .pending
            .iter()
            .map(|p| {
                let mut what = DefaultHasher::new();
                if let What::Execute { qp, ordinal } = p.what {
                    (1, self.place(qp, false, ordinal)).hash(&mut what);
                } else if let What::Complete { qp, ordinal } = p.what {
                    (2, self.place(qp, false, ordinal)).hash(&mut what);
                } else {
                    p.what.hash(&mut what);
                }
                (p.track, what.finish(), p.at.since(self.now))
            })
            .collect();
        of_pending.sort_by_key(|(track, _, _)| *track);
        of_pending.hash(&mut hasher);
        self.violations().len().hash(&mut hasher);
        hasher.finish()
    }
}
