//! What one reactor keeps of one device: protection domain, completion queues, registered pool.
//!
//! Connections share their reactor's lane. Where a provider needs it
//! ([`DrainCaps::private_lane`]), a connection has one of its own.

use std::cell::Cell;
use std::rc::Rc;

use crate::caps::{self, DrainCaps};
use crate::device::{CompletionQueue, Device, DeviceError, QpCaps, SharedReceives, Stack, Wc};
use crate::pool::Pool;
use crate::shared_receives::SharedQueue;

/// Completion queue entries kept free for each queue pair: one for the marker of each queue.
const CQ_SPARE: u32 = 2;

/// A reactor's share of a device.
pub struct Lane<S: Stack> {
    pub(crate) device: S::Device,
    pub(crate) pd: <S::Device as Device<S>>::Pd,
    queues: Vec<Completions<S>>,
    /// The completion queue that the next queue pair completes to.
    current: usize,
    /// The completion queue that the next poll begins with.
    turn: usize,
    pool: Pool,
    caps: &'static DrainCaps,
    generations: Rc<Cell<u32>>,
}

/// A completion queue.
struct Completions<S: Stack> {
    cq: S::Cq,
    /// Entries that open queue pairs may fill.
    claimed: u32,
}

/// Names a completion queue of a lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CqIndex(usize);

impl<S: Stack> Lane<S>
where
    <S::Device as Device<S>>::Mr: 'static,
{
    /// Sets a lane up: `pool_bytes` of registered memory, a completion queue of `cq_depth` entries
    /// or what the device has.
    ///
    /// # Errors
    /// The failed call.
    pub fn open(device: S::Device, pool_bytes: usize, cq_depth: u32) -> Result<Self, DeviceError> {
        let caps = caps::lookup(device.key());
        let pd = device.alloc_pd()?;
        let pool = Pool::register::<S>(&device, &pd, pool_bytes, caps.read_sink_remote_write)?;
        let cq = device.create_cq(cq_depth.min(device.attr().max_cqe))?;
        let queues = vec![Completions { cq, claimed: 0 }];
        let generations = Rc::new(Cell::new(0));
        Ok(Self { device, pd, queues, current: 0, turn: 0, pool, caps, generations })
    }

    /// Another registered pool on the same device.
    ///
    /// # Errors
    /// The failed call.
    pub fn another_pool(&self, bytes: usize) -> Result<Pool, DeviceError> {
        Pool::register::<S>(&self.device, &self.pd, bytes, self.caps.read_sink_remote_write)
    }
}

impl<S: Stack> Lane<S>
where
    S::Device: SharedReceives<S>,
{
    /// A queue of `depth` receives (at most 16384) that connections of this lane may share, with
    /// `sge_max` entries each (1 or 2); `index` is its slot in its reactor. Its completions need
    /// room of their own in the completion queue.
    ///
    /// # Errors
    /// The failed call.
    pub fn shared_queue(
        &self,
        index: u16,
        depth: u16,
        sge_max: u32,
    ) -> Result<SharedQueue<<S::Device as SharedReceives<S>>::Srq>, DeviceError> {
        let srq = self.device.create_srq(&self.pd, u32::from(depth), sge_max)?;
        Ok(SharedQueue::new(srq, index, usize::from(depth), self.generations()))
    }
}

impl<S: Stack> Lane<S> {
    /// Completion entries that a queue pair of `caps` may fill before they are polled.
    fn entries(caps: QpCaps) -> u32 {
        caps.send_wr_max.saturating_add(caps.recv_wr_max).saturating_add(CQ_SPARE)
    }

    /// Reserves completion entries: a completion queue that overflows loses completions for ever.
    /// Says of which completion queue; the next queue pair is made with that one. `None` when there
    /// is no room in any.
    pub fn claim(&mut self, caps: QpCaps) -> Option<CqIndex> {
        let entries = Self::entries(caps);
        let fits = |q: &Completions<S>| q.claimed.saturating_add(entries) <= q.cq.depth();
        let at = self.queues.iter().position(fits)?;
        self.queues[at].claimed += entries;
        self.current = at;
        Some(CqIndex(at))
    }

    /// Gives a reservation back, when the queue pair is gone and what it left was polled.
    pub fn unclaim(&mut self, at: CqIndex, caps: QpCaps) {
        let claimed = &mut self.queues[at.0].claimed;
        *claimed = claimed.saturating_sub(Self::entries(caps));
    }

    /// Adds a completion queue of `depth` entries or what the device has, to be watched; it stays
    /// as long as the lane.
    ///
    /// # Errors
    /// The failed call.
    pub fn add_cq(&mut self, depth: u32) -> Result<&S::Cq, DeviceError> {
        let cq = self.device.create_cq(depth.min(self.device.attr().max_cqe))?;
        self.queues.push(Completions { cq, claimed: 0 });
        Ok(&self.queues[self.queues.len() - 1].cq)
    }

    /// Takes the completion queue back that [`Self::add_cq`] has just added.
    pub fn remove_added_cq(&mut self) {
        if self.queues.len() > 1 && self.queues.last().is_some_and(|q| q.claimed == 0) {
            self.queues.pop();
        }
    }

    /// Moves completions into `out` and says how many. Fewer than fit: every completion queue was
    /// found empty.
    ///
    /// # Errors
    /// A completion queue failed: close the lane's connections with
    /// [`Cause::CompletionQueueError`](crate::cause::Cause::CompletionQueueError).
    pub fn poll(&mut self, out: &mut [Wc]) -> Result<usize, DeviceError> {
        let (queues, mut count) = (self.queues.len(), 0);
        for i in 0..queues {
            let at = (self.turn + i) % queues;
            match self.queues[at].cq.poll(&mut out[count..]) {
                Ok(polled) => count += polled,
                // What was polled is not lost: it fails again the next time.
                Err(_) if count > 0 => return Ok(count),
                Err(error) => return Err(error),
            }
            if count == out.len() {
                // The others are not starved by one that is never empty.
                self.turn = (at + 1) % queues;
                break;
            }
        }
        Ok(count)
    }

    /// The first completion queue, to be armed and watched.
    pub fn cq(&mut self) -> &mut S::Cq {
        &mut self.queues[0].cq
    }

    /// All completion queues, to be armed and watched.
    pub fn cqs(&mut self) -> impl Iterator<Item = &mut S::Cq> {
        self.queues.iter_mut().map(|q| &mut q.cq)
    }

    /// The completion queue that a queue pair is made with now.
    pub(crate) fn current_cq(&self) -> &S::Cq {
        &self.queues[self.current].cq
    }

    /// The registered memory.
    #[must_use]
    pub fn pool(&self) -> &Pool {
        &self.pool
    }

    /// The device.
    #[must_use]
    pub fn device(&self) -> &S::Device {
        &self.device
    }

    /// How its connections drain.
    #[must_use]
    pub fn caps(&self) -> &'static DrainCaps {
        self.caps
    }

    pub(crate) fn generations(&self) -> Rc<Cell<u32>> {
        Rc::clone(&self.generations)
    }
}
