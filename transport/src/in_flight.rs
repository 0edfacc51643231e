//! Work requests that a device may be working on, and the four doors by which they leave.
//!
//! What is posted lies here with its memory, out of everybody's reach, until
//! a completion (R1), a later completion where the provider keeps order (R2), a refused post (R3)
//! or the destroyed queue pair (R4) gives it back. A table that is dropped with entries left leaks
//! them on purpose and counts them: memory that a device may write is never reused. What must not
//! compile for that to hold is in `tests/compile_fail`.

use std::cell::Cell;
use std::collections::VecDeque;
use std::hash::{Hash, Hasher};
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::device::{Wc, WcStatus};
use crate::limits::WR_SLOTS_MAX;
use crate::marker::{Markers, Queue};
use crate::pool::Buf;
use crate::proof::{Epoch, QpDestroyed};
use crate::wr::{Door, IdKind, Memory, Retired, WrId, WrKind};

static LEAKED: AtomicU64 = AtomicU64::new(0);

/// Work requests whose memory this process gave up for ever, because no door opened.
#[must_use]
pub fn leaked() -> u64 {
    LEAKED.load(Ordering::Relaxed)
}

/// Counts work requests whose memory is given up for ever.
pub(crate) fn count_leaked(work_requests: u64) {
    LEAKED.fetch_add(work_requests, Ordering::Relaxed);
}

/// What became of one queue's work requests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct QueueCounts {
    /// Taken by the device.
    pub posted: u64,
    /// Completed with success or an error of their own.
    pub completed: u64,
    /// Completed as flushed.
    pub flushed: u64,
    /// Retired by a later completion.
    pub in_order: u64,
    /// Given back by the destroyed queue pair.
    pub reclaimed: u64,
    /// Never given back.
    pub leaked: u64,
}

impl QueueCounts {
    /// posted = completed + flushed + retired in order + reclaimed + leaked + still in flight.
    #[must_use]
    pub fn in_flight(&self) -> u64 {
        self.posted - self.completed - self.flushed - self.in_order - self.reclaimed - self.leaked
    }
}

struct Entry {
    kind: WrKind,
    generation: u32,
    memory: Memory,
    context: u64,
}

/// The table of one connection.
pub struct InFlight {
    epoch: Epoch,
    connection: u16,
    sq_in_order: bool,
    slots: Vec<Option<Entry>>,
    free: Vec<u16>,
    /// Slots of the send queue in the order of their posts; only where the provider keeps it.
    order: VecDeque<(u16, u32)>,
    markers: Markers,
    generations: Rc<Cell<u32>>,
    send: QueueCounts,
    recv: QueueCounts,
    stale: u64,
}

impl InFlight {
    /// Room for `slots` work requests (at most 16384) of the connection in slot `connection`.
    ///
    /// `generations` is shared by the connections of one completion queue, so that a slot that is
    /// used again by another connection never repeats a generation.
    ///
    /// # Panics
    /// More slots than an id can name: a caller's bug.
    #[must_use]
    pub fn new(
        epoch: Epoch,
        connection: u16,
        slots: usize,
        sq_in_order: bool,
        generations: Rc<Cell<u32>>,
    ) -> Self {
        assert!(slots <= WR_SLOTS_MAX, "{slots} work requests on one connection");
        let last = u16::try_from(slots).expect("at most 16384 slots");
        Self {
            epoch,
            connection,
            sq_in_order,
            slots: (0..slots).map(|_| None).collect(),
            free: (0..last).rev().collect(),
            order: VecDeque::with_capacity(if sq_in_order { slots } else { 0 }),
            markers: Markers::default(),
            generations,
            send: QueueCounts::default(),
            recv: QueueCounts::default(),
            stale: 0,
        }
    }

    /// Takes the memory in, before the post. Counts as posted until [`Self::refuse`].
    ///
    /// # Errors
    /// No slot is free: the memory comes back.
    pub fn admit(
        &mut self,
        kind: WrKind,
        memory: Memory,
        context: u64,
    ) -> Result<WrId, (Memory, u64)> {
        let Some(slot) = self.free.pop() else {
            return Err((memory, context));
        };
        let generation = self.next_generation();
        self.slots[usize::from(slot)] = Some(Entry { kind, generation, memory, context });
        if self.sq_in_order && !kind.is_recv() {
            self.order.push_back((slot, generation));
        }
        self.counts(kind).posted += 1;
        Ok(WrId { kind: IdKind::Work(kind), connection: self.connection, slot, generation })
    }

    fn next_generation(&self) -> u32 {
        let generation = self.generations.get();
        self.generations.set(generation.wrapping_add(1));
        generation
    }

    /// Takes a queue's marker in, before its post. It is not counted as a work request.
    ///
    /// # Errors
    /// One is out already: the memory comes back.
    pub fn admit_marker(&mut self, queue: Queue, memory: Option<Buf>) -> Result<WrId, Option<Buf>> {
        let generation = self.next_generation();
        self.markers.admit(queue, generation, memory)?;
        let kind = IdKind::Marker(queue);
        Ok(WrId { kind, connection: self.connection, slot: 0, generation })
    }

    /// The memory of a marker, for building its descriptor only.
    pub(crate) fn marker_memory(&self, queue: Queue) -> Option<&Buf> {
        self.markers.memory(queue)
    }

    /// R3: the device did not take this marker; its memory, to be used for the next attempt.
    pub fn refuse_marker(&mut self, id: WrId) -> Option<Buf> {
        match id.kind {
            IdKind::Marker(queue) => self.markers.take(queue, id.generation).flatten(),
            IdKind::Work(_) | IdKind::SharedRecv => None,
        }
    }

    /// The queue's marker came back as flushed.
    #[must_use]
    pub fn marker_flushed(&self, queue: Queue) -> bool {
        self.markers.flushed(queue)
    }

    /// The memory of an admitted work request, for building its descriptor only.
    pub(crate) fn memory(&self, id: WrId) -> &Memory {
        let entry = self.slots[usize::from(id.slot)].as_ref();
        &entry.expect("just admitted").memory
    }

    fn counts(&mut self, kind: WrKind) -> &mut QueueCounts {
        if kind.is_recv() { &mut self.recv } else { &mut self.send }
    }

    fn remove(&mut self, id: WrId) -> Option<Entry> {
        match id.kind {
            IdKind::Work(kind) => self.remove_slot(id.slot, id.generation, kind),
            IdKind::Marker(_) | IdKind::SharedRecv => None,
        }
    }

    fn remove_slot(&mut self, slot: u16, generation: u32, kind: WrKind) -> Option<Entry> {
        let place = self.slots.get_mut(usize::from(slot))?;
        if place.as_ref().is_none_or(|e| e.generation != generation || e.kind != kind) {
            return None;
        }
        self.free.push(slot);
        place.take()
    }

    fn retire(&mut self, entry: Entry, door: Door) -> Retired {
        let counts = self.counts(entry.kind);
        match door {
            Door::Completed { status: WcStatus::Flushed, .. } => counts.flushed += 1,
            Door::Completed { .. } => counts.completed += 1,
            Door::InOrder => counts.in_order += 1,
            Door::Refused => counts.posted -= 1,
            Door::Destroyed => counts.reclaimed += 1,
        }
        Retired { kind: entry.kind, memory: entry.memory, context: entry.context, door }
    }

    /// R1, and R2 where the provider keeps order: what this completion gives back, oldest first.
    ///
    /// An unknown or stale completion has no effect but a count.
    pub fn complete(&mut self, wc: &Wc, id: WrId, out: &mut Vec<Retired>) {
        if let IdKind::Marker(queue) = id.kind {
            return self.complete_marker(wc, queue, id.generation, out);
        }
        let Some(entry) = self.remove(id) else {
            self.stale += 1;
            return;
        };
        if self.sq_in_order && !entry.kind.is_recv() {
            while let Some((slot, generation)) = self.order.pop_front() {
                if (slot, generation) == (id.slot, id.generation) {
                    break;
                }
                self.retire_in_order(slot, generation, out);
            }
        }
        let door = Door::Completed { status: wc.status, byte_len: wc.byte_len };
        let retired = self.retire(entry, door);
        out.push(retired);
    }

    fn retire_in_order(&mut self, slot: u16, generation: u32, out: &mut Vec<Retired>) {
        if let Some(older) = self.take_any(slot, generation) {
            let retired = self.retire(older, Door::InOrder);
            out.push(retired);
        }
    }

    /// R1 for a marker, and R2 for all of its queue: nothing was posted behind it. Any other
    /// status than flushed says nothing of the queue in front of it.
    fn complete_marker(&mut self, wc: &Wc, queue: Queue, generation: u32, out: &mut Vec<Retired>) {
        let Some(memory) = self.markers.take(queue, generation) else {
            self.stale += 1;
            return;
        };
        drop(memory);
        if wc.status != WcStatus::Flushed {
            return;
        }
        self.markers.set_flushed(queue);
        let recv = queue == Queue::Recv;
        if !recv {
            while let Some((slot, generation)) = self.order.pop_front() {
                self.retire_in_order(slot, generation, out);
            }
        }
        for slot in 0..self.slots.len() {
            let entry = self.slots[slot].as_ref().filter(|e| e.kind.is_recv() == recv);
            let mark = entry.map(|e| e.generation).zip(u16::try_from(slot).ok());
            if let Some((generation, slot)) = mark {
                self.retire_in_order(slot, generation, out);
            }
        }
    }

    /// R3: the device did not take it.
    pub fn refuse(&mut self, id: WrId, out: &mut Vec<Retired>) {
        if let Some(entry) = self.remove(id) {
            let mark = (id.slot, id.generation);
            if let Some(at) = self.order.iter().rposition(|o| *o == mark) {
                self.order.remove(at);
            }
            let retired = self.retire(entry, Door::Refused);
            out.push(retired);
        }
    }

    fn take_any(&mut self, slot: u16, generation: u32) -> Option<Entry> {
        let kind = self.slots[usize::from(slot)].as_ref()?.kind;
        self.remove_slot(slot, generation, kind)
    }

    /// R4: everything left, by the proof that this queue pair is gone.
    ///
    /// A proof of another queue pair opens nothing: it comes back.
    ///
    /// # Errors
    /// The proof, when it is not of this table's epoch.
    pub fn reclaim(
        &mut self,
        proof: QpDestroyed,
        out: &mut Vec<Retired>,
    ) -> Result<(), QpDestroyed> {
        if proof.epoch() != self.epoch {
            return Err(proof);
        }
        for slot in 0..self.slots.len() {
            if let Some(entry) = self.slots[slot].take() {
                let retired = self.retire(entry, Door::Destroyed);
                out.push(retired);
            }
        }
        self.order.clear();
        self.markers.reclaim();
        Ok(())
    }

    /// Gives everything left up for ever: its destroy proved nothing.
    pub fn quarantine(&mut self) {
        let (mut send, mut recv) = (0, 0);
        for slot in &mut self.slots {
            if let Some(entry) = slot.take() {
                *(if entry.kind.is_recv() { &mut recv } else { &mut send }) += 1;
                std::mem::forget(entry.memory);
            }
        }
        self.send.leaked += send;
        self.recv.leaked += recv;
        let markers = self.markers.quarantine();
        count_leaked(send + recv + markers);
        if send + recv + markers > 0 {
            tracing::error!(
                send,
                recv,
                markers,
                "memory that a device may still touch is quarantined"
            );
        }
    }

    /// Work requests out on the send queue.
    #[must_use]
    pub fn send_out(&self) -> u64 {
        self.send.in_flight()
    }

    /// Work requests out on the receive queue.
    #[must_use]
    pub fn recv_out(&self) -> u64 {
        self.recv.in_flight()
    }

    /// What became of the send queue's and the receive queue's work requests.
    #[must_use]
    pub fn queue_counts(&self) -> (QueueCounts, QueueCounts) {
        (self.send, self.recv)
    }

    /// Completions that meant nothing.
    #[must_use]
    pub fn stale(&self) -> u64 {
        self.stale
    }

    /// What is in it, oldest first; ids and slots mean nothing and are left out.
    pub fn fingerprint(&self, hasher: &mut impl Hasher) {
        let mut entries: Vec<&Entry> = self.slots.iter().flatten().collect();
        entries.sort_by_key(|entry| entry.generation);
        for entry in &entries {
            (entry.kind, entry.context).hash(hasher);
        }
        (entries.len(), self.order.len()).hash(hasher);
        self.markers.fingerprint(hasher);
    }

    /// Its queue pair.
    #[must_use]
    pub fn epoch(&self) -> Epoch {
        self.epoch
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        if self.send_out() + self.recv_out() > 0 || !self.markers.is_empty() {
            self.quarantine();
        }
    }
}

#[cfg(test)]
mod tests;
