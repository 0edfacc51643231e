//! Markers: the optional accelerator of a drain, where the provider's row allows it.
//!
//! A marker is posted behind everything else of a queue whose queue pair is in the error state: a
//! signaled RDMA WRITE of length 0, a receive with one real entry. Its flush says that the queue in
//! front of it is drained, completions or not, so it opens R2 for the rest of that queue.
//!
//! Only the flush says anything. A marker that was accepted promises nothing (siw takes it and
//! forgets it), one that was refused for its queue pair's state proves nothing (cxgb4, erdma and
//! mana refuse while older completions are pending), and one that found no room is tried again. No
//! marker moves the deadline or stands in for the destroy.

use std::hash::{Hash, Hasher};

use crate::pool::Buf;

/// How a drain learns that a queue is empty.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Method {
    /// Every work request is counted until it is back.
    #[default]
    Accounting,
    /// The same, and one marker on each queue whose provider flushes it.
    Markers,
}

/// One of the two queues of a queue pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Queue {
    /// Send queue.
    Send = 0,
    /// Receive queue.
    Recv = 1,
}

impl Queue {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Send, Self::Recv];
}

/// What became of the post of a queue's marker.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Posted {
    /// Not wanted so far.
    #[default]
    No,
    /// Wanted, not answered.
    Asked,
    /// The queue was full (`ENOMEM`): tried again until the deadline.
    NoRoom,
    /// Refused: nothing is learned from it, and it is not tried again.
    Refused,
    /// Accepted, or perhaps accepted.
    Accepted,
}

/// What became of a queue's marker.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct MarkerFate {
    /// Its post.
    pub posted: Posted,
    /// It came back as flushed: its queue was drained by then.
    pub flushed: bool,
}

struct Marker {
    generation: u32,
    /// A receive's; a marker of the send queue has none.
    memory: Option<Buf>,
}

/// The markers of one queue pair that a device may be working on: one a queue at most.
#[derive(Default)]
pub(crate) struct Markers {
    out: [Option<Marker>; 2],
    flushed: [bool; 2],
}

impl Markers {
    /// Takes a marker in, before its post; its memory comes back when there is one already.
    pub(crate) fn admit(
        &mut self,
        queue: Queue,
        generation: u32,
        memory: Option<Buf>,
    ) -> Result<(), Option<Buf>> {
        let place = &mut self.out[queue as usize];
        if place.is_some() {
            return Err(memory);
        }
        *place = Some(Marker { generation, memory });
        Ok(())
    }

    /// The memory of a marker, for building its descriptor only.
    pub(crate) fn memory(&self, queue: Queue) -> Option<&Buf> {
        self.out[queue as usize].as_ref()?.memory.as_ref()
    }

    /// R1 or R3: takes a marker out; `None` when it is not the one that is out.
    pub(crate) fn take(&mut self, queue: Queue, generation: u32) -> Option<Option<Buf>> {
        let place = &mut self.out[queue as usize];
        place.take_if(|marker| marker.generation == generation).map(|marker| marker.memory)
    }

    pub(crate) fn set_flushed(&mut self, queue: Queue) {
        self.flushed[queue as usize] = true;
    }

    /// The queue's marker came back as flushed.
    pub(crate) fn flushed(&self, queue: Queue) -> bool {
        self.flushed[queue as usize]
    }

    pub(crate) fn fingerprint(&self, hasher: &mut impl Hasher) {
        (self.out.each_ref().map(Option::is_some), self.flushed).hash(hasher);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.out.iter().all(Option::is_none)
    }

    /// R4: the queue pair is gone.
    pub(crate) fn reclaim(&mut self) {
        self.out = [None, None];
    }

    /// Gives their memory up for ever and says how many had some.
    pub(crate) fn quarantine(&mut self) -> u64 {
        let memory = self.out.iter_mut().filter_map(|place| place.take()?.memory);
        memory.map(std::mem::forget).map(|()| 1).sum()
    }
}
