//! Receives that several queue pairs share, and the doors by which they leave.
//!
//! A shared receive belongs to its queue (SRQ), not to a queue pair: which one took it is known
//! from its completion only. So its doors are its completion (R1), a refused post (R3), and the
//! destroyed SRQ; a destroyed queue pair opens none of them. What a queue pair took and never
//! completed stays here until the SRQ goes, and is counted as a possible loss meanwhile.

use std::cell::Cell;
use std::rc::Rc;

use crate::connection::NoRoom;
use crate::device::{Accepted, PostError, RecvDesc, SharedReceiveQueue, Wc, WcStatus};
use crate::in_flight::{self, QueueCounts};
use crate::limits::{SRQ_WORN_PART, WR_SLOTS_MAX};
use crate::pool::RecvBuf;
use crate::proof::{DestroyFailure, Epoch, SrqDestroyed};
use crate::wr::{Door, IdKind, Memory, Retired, WrId, WrKind};

struct Entry {
    generation: u32,
    memory: Memory,
}

/// Shared receives that a device may be working on: the table of one SRQ.
pub struct SharedInFlight {
    epoch: Epoch,
    index: u16,
    slots: Vec<Option<Entry>>,
    free: Vec<u16>,
    generations: Rc<Cell<u32>>,
    counts: QueueCounts,
    stale: u64,
}

impl SharedInFlight {
    /// Room for `slots` receives (at most 16384) of the SRQ in slot `index` of its reactor.
    ///
    /// `generations` is that of its completion queue, as for
    /// [`InFlight`](crate::in_flight::InFlight::new).
    ///
    /// # Panics
    /// More slots than an id can name: a caller's bug.
    #[must_use]
    pub fn new(epoch: Epoch, index: u16, slots: usize, generations: Rc<Cell<u32>>) -> Self {
        assert!(slots <= WR_SLOTS_MAX, "{slots} receives on one shared queue");
        let last = u16::try_from(slots).expect("at most 16384 slots");
        Self {
            epoch,
            index,
            slots: (0..slots).map(|_| None).collect(),
            free: (0..last).rev().collect(),
            generations,
            counts: QueueCounts::default(),
            stale: 0,
        }
    }

    /// Takes the memory in, before the post.
    ///
    /// # Errors
    /// No slot is free: the memory comes back.
    pub fn admit(&mut self, memory: RecvBuf) -> Result<WrId, RecvBuf> {
        let Some(slot) = self.free.pop() else { return Err(memory) };
        let generation = self.generations.get();
        self.generations.set(generation.wrapping_add(1));
        let memory = Memory::Recv(memory);
        self.slots[usize::from(slot)] = Some(Entry { generation, memory });
        self.counts.posted += 1;
        Ok(WrId { kind: IdKind::SharedRecv, connection: self.index, slot, generation })
    }

    fn desc(&self, id: WrId) -> RecvDesc {
        let entry = self.slots[usize::from(id.slot)].as_ref();
        entry.expect("just admitted").memory.recv_desc(id.to_raw())
    }

    fn remove(&mut self, id: WrId) -> Option<Memory> {
        let place = self.slots.get_mut(usize::from(id.slot))?;
        let ours = id.kind == IdKind::SharedRecv && id.connection == self.index;
        let entry = place.take_if(|entry| ours && entry.generation == id.generation)?;
        self.free.push(id.slot);
        Some(entry.memory)
    }

    /// R1. A stale completion, or one of another table, has no effect but a count.
    pub fn complete(&mut self, wc: &Wc, id: WrId, out: &mut Vec<Retired>) {
        let Some(memory) = self.remove(id) else {
            self.stale += 1;
            return;
        };
        if wc.status == WcStatus::Flushed {
            self.counts.flushed += 1;
        } else {
            self.counts.completed += 1;
        }
        let door = Door::Completed { status: wc.status, byte_len: wc.byte_len };
        out.push(Retired { kind: WrKind::Recv, memory, context: 0, door });
    }

    /// R3: the SRQ did not take it.
    pub fn refuse(&mut self, id: WrId, out: &mut Vec<Retired>) {
        if let Some(memory) = self.remove(id) {
            self.counts.posted -= 1;
            out.push(Retired { kind: WrKind::Recv, memory, context: 0, door: Door::Refused });
        }
    }

    /// R4: everything left, by the proof that this SRQ is gone.
    ///
    /// # Errors
    /// The proof, when it is not of this table's epoch.
    pub fn reclaim(
        &mut self,
        proof: SrqDestroyed,
        out: &mut Vec<Retired>,
    ) -> Result<(), SrqDestroyed> {
        if proof.epoch() != self.epoch {
            return Err(proof);
        }
        for entry in self.slots.iter_mut().filter_map(Option::take) {
            self.counts.reclaimed += 1;
            let (memory, door) = (entry.memory, Door::Destroyed);
            out.push(Retired { kind: WrKind::Recv, memory, context: 0, door });
        }
        Ok(())
    }

    /// Gives everything left up for ever: the destroy of the SRQ proved nothing.
    pub fn quarantine(&mut self) {
        let mut receives = 0;
        for entry in self.slots.iter_mut().filter_map(Option::take) {
            receives += 1;
            std::mem::forget(entry.memory);
        }
        self.counts.leaked += receives;
        in_flight::count_leaked(receives);
        if receives > 0 {
            tracing::error!(receives, "shared receives that a device may touch are quarantined");
        }
    }

    /// Receives out: in the SRQ, taken by a queue pair, or lost with one.
    #[must_use]
    pub fn out(&self) -> u64 {
        self.counts.in_flight()
    }

    /// How many may be lost to destroyed queue pairs, when `left` are still in the SRQ (its limit
    /// event tells) and every completion was polled.
    #[must_use]
    pub fn leak_estimate(&self, left: u64) -> u64 {
        self.out().saturating_sub(left)
    }

    /// So many may be lost that the SRQ is to be made anew when its queue pairs are gone.
    #[must_use]
    pub fn is_worn(&self, left: u64) -> bool {
        self.leak_estimate(left) * SRQ_WORN_PART >= self.slots.len() as u64
    }

    /// What became of its receives.
    #[must_use]
    pub fn counts(&self) -> QueueCounts {
        self.counts
    }

    /// Completions that meant nothing.
    #[must_use]
    pub fn stale(&self) -> u64 {
        self.stale
    }

    /// Its SRQ.
    #[must_use]
    pub fn epoch(&self) -> Epoch {
        self.epoch
    }
}

impl Drop for SharedInFlight {
    fn drop(&mut self) {
        if self.out() > 0 {
            self.quarantine();
        }
    }
}

/// An SRQ and what is in flight on it, owned by one reactor.
pub struct SharedQueue<Q: SharedReceiveQueue> {
    srq: Option<Q>,
    table: SharedInFlight,
    list: Vec<RecvDesc>,
}

impl<Q: SharedReceiveQueue> SharedQueue<Q> {
    /// `depth` is what the SRQ was made for; `index` and `generations` as for
    /// [`SharedInFlight::new`].
    #[must_use]
    pub fn new(srq: Q, index: u16, depth: usize, generations: Rc<Cell<u32>>) -> Self {
        let table = SharedInFlight::new(Epoch::next(), index, depth, generations);
        Self { srq: Some(srq), table, list: Vec::with_capacity(depth) }
    }

    /// Queues a receive; it is posted by [`Self::flush`]. Also for the memory of a receive that a
    /// closing queue pair took: posting here is no post to that queue pair.
    ///
    /// # Errors
    /// More receives than the SRQ was made for; the memory goes back to its pool.
    pub fn recv(&mut self, memory: RecvBuf) -> Result<(), NoRoom> {
        let id = self.table.admit(memory).map_err(|_| NoRoom)?;
        let desc = self.table.desc(id);
        self.list.push(desc);
        Ok(())
    }

    /// Posts what is queued; what was refused is appended to `out`.
    ///
    /// # Errors
    /// The SRQ took less than all: its queue pairs are to be closed.
    pub fn flush(&mut self, out: &mut Vec<Retired>) -> Result<(), PostError> {
        if self.list.is_empty() {
            return Ok(());
        }
        let posted = match self.srq.as_mut() {
            // SAFETY: every entry's memory lies in `table` and leaves it only by a completion,
            // this refusal, or the destroyed SRQ.
            Some(srq) => unsafe { srq.post_recv(&self.list) },
            None => Ok(()),
        };
        let taken = match (&posted, &self.srq) {
            (_, None) => 0,
            (Ok(()), _) | (Err(PostError { accepted: Accepted::Unknown, .. }), _) => usize::MAX,
            (Err(PostError { accepted: Accepted::Prefix(taken), .. }), _) => *taken,
        };
        let ids = self.list.iter().skip(taken).filter_map(|desc| WrId::from_raw(desc.wr_id));
        for id in ids {
            self.table.refuse(id, out);
        }
        self.list.clear();
        posted
    }

    /// Takes one completion of a shared receive.
    pub fn handle_completion(&mut self, wc: &Wc, id: WrId, out: &mut Vec<Retired>) {
        self.table.complete(wc, id, out);
    }

    /// The SRQ, for queue pairs to be made with; `None` once it is given to a reaper.
    #[must_use]
    pub fn srq(&self) -> Option<&Q> {
        self.srq.as_ref()
    }

    /// Gives the SRQ away, to [`destroy_srq`](crate::proof::destroy_srq) on a reaper, when every
    /// queue pair that was made with it is gone. Nothing is posted any more.
    pub fn take_srq(&mut self) -> Option<(Q, Epoch)> {
        Some((self.srq.take()?, self.table.epoch()))
    }

    /// Takes the reaper's answer: everything comes back, or is given up.
    pub fn handle_destroyed(
        &mut self,
        proof: Result<SrqDestroyed, DestroyFailure>,
        out: &mut Vec<Retired>,
    ) {
        if proof.is_err() || proof.is_ok_and(|proof| self.table.reclaim(proof, out).is_err()) {
            self.table.quarantine();
        }
    }

    /// What is in flight, and its account.
    #[must_use]
    pub fn table(&self) -> &SharedInFlight {
        &self.table
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::caps;
    use crate::device::DeviceError;
    use crate::pool::Pool;
    use crate::proof::{QpDestroyed, destroy_srq};
    use crate::time::Now;

    fn table(slots: usize) -> SharedInFlight {
        SharedInFlight::new(Epoch::next(), 2, slots, Rc::default())
    }

    fn receive(pool: &Pool) -> RecvBuf {
        RecvBuf { capsule: pool.take_slot().unwrap(), data: Some(pool.take(4096).unwrap()) }
    }

    fn wc(id: WrId, status: WcStatus) -> Wc {
        Wc { wr_id: id.to_raw(), status, byte_len: 64, vendor_err: 0 }
    }

    #[test]
    fn a_shared_receive_comes_back_once_whichever_queue_pair_took_it() {
        let pool = Pool::unregistered(1);
        let (mut table, mut out) = (table(2), Vec::new());
        let id = table.admit(receive(&pool)).unwrap();
        let second = table.admit(receive(&pool)).unwrap();
        assert!(table.admit(receive(&pool)).is_err(), "no third slot");
        for _ in 0..2 {
            table.complete(&wc(id, WcStatus::Success), id, &mut out);
        }
        let other = WrId { connection: 3, ..second };
        table.complete(&wc(other, WcStatus::Success), other, &mut out);
        assert!(out.len() == 1 && out[0].succeeded() && out[0].kind == WrKind::Recv);
        assert_eq!((table.out(), table.stale()), (1, 2));
        table.refuse(second, &mut out);
        drop(out);
        assert_eq!((table.out(), pool.used_bytes()), (0, 0));
    }

    #[test]
    fn only_the_proof_of_its_own_shared_queue_opens_the_last_door() {
        let pool = Pool::unregistered(1);
        let (mut table, mut out) = (table(2), Vec::new());
        table.admit(receive(&pool)).unwrap();
        drop(QpDestroyed::of(table.epoch()));
        assert!(pool.used_bytes() > 0, "a destroyed queue pair frees no shared receive");
        assert!(table.reclaim(SrqDestroyed::of(Epoch::next()), &mut out).is_err());
        assert!(out.is_empty());
        assert!(table.reclaim(SrqDestroyed::of(table.epoch()), &mut out).is_ok());
        assert!(out.len() == 1 && out[0].door == Door::Destroyed);
        assert_eq!(table.counts().reclaimed, 1);
    }

    #[test]
    fn shared_receives_that_are_dropped_in_flight_leak_and_count() {
        let pool = Pool::unregistered(1);
        let mut table = table(2);
        table.admit(receive(&pool)).unwrap();
        let (before, used) = (in_flight::leaked(), pool.used_bytes());
        drop(table);
        assert!(in_flight::leaked() > before);
        assert_eq!(pool.used_bytes(), used, "the memory never comes back");
    }

    #[test]
    fn what_destroyed_queue_pairs_may_have_taken_wears_the_shared_queue() {
        let pool = Pool::unregistered(1);
        let mut table = table(8);
        for _ in 0..8 {
            table.admit(receive(&pool)).unwrap();
        }
        assert_eq!((table.leak_estimate(8), table.leak_estimate(6)), (0, 2));
        assert!(!table.is_worn(7) && table.is_worn(6));
        assert!(table.reclaim(SrqDestroyed::of(table.epoch()), &mut Vec::new()).is_ok());
    }

    /// An SRQ that takes `takes` receives of each list and then refuses.
    struct Stingy {
        takes: Option<Accepted>,
        destroys: bool,
    }

    // SAFETY: it hands no memory to any device.
    unsafe impl SharedReceiveQueue for Stingy {
        unsafe fn post_recv(&mut self, _: &[RecvDesc]) -> Result<(), PostError> {
            let error = DeviceError { call: "ibv_post_srq_recv", errno: 12 };
            self.takes.map_or(Ok(()), |accepted| Err(PostError { error, accepted }))
        }

        fn destroy(self) -> Result<(), DeviceError> {
            let busy = DeviceError { call: "ibv_destroy_srq", errno: 16 };
            if self.destroys { Ok(()) } else { Err(busy) }
        }
    }

    #[test]
    fn what_a_shared_queue_refuses_comes_back_and_what_it_may_have_taken_does_not() {
        for (takes, back) in [
            (None, 0),
            (Some(Accepted::Prefix(1)), 2),
            (Some(Accepted::Prefix(0)), 3),
            (Some(Accepted::Unknown), 0),
        ] {
            let pool = Pool::unregistered(1);
            let srq = Stingy { takes, destroys: true };
            let mut queue = SharedQueue::new(srq, 0, 4, Rc::default());
            for _ in 0..3 {
                queue.recv(receive(&pool)).unwrap();
            }
            let mut out = Vec::new();
            assert_eq!(queue.flush(&mut out).is_ok(), takes.is_none());
            assert_eq!((out.len(), queue.table().out()), (back, 3 - back as u64));
            let (srq, epoch) = queue.take_srq().unwrap();
            let proof = destroy_srq(srq, epoch, &caps::MLX5, &Now::default);
            queue.handle_destroyed(proof, &mut out);
            assert_eq!((out.len(), queue.table().out()), (3, 0));
        }
    }

    #[test]
    fn a_shared_queue_that_was_not_destroyed_keeps_its_receives_for_ever() {
        let pool = Pool::unregistered(1);
        let srq = Stingy { takes: None, destroys: false };
        let mut queue = SharedQueue::new(srq, 0, 4, Rc::default());
        queue.recv(receive(&pool)).unwrap();
        let mut out = Vec::new();
        queue.flush(&mut out).unwrap();
        let (srq, epoch) = queue.take_srq().unwrap();
        queue.handle_destroyed(destroy_srq(srq, epoch, &caps::MLX5, &Now::default), &mut out);
        assert!(out.is_empty() && queue.table().counts().leaked == 1 && queue.srq().is_none());
        let used = pool.used_bytes();
        drop(queue);
        assert_eq!(pool.used_bytes(), used);
    }
}
