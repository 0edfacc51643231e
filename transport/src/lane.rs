//! What one reactor keeps of one device: protection domain, completion queue, registered pool.
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
    pub(crate) cq: S::Cq,
    pool: Pool,
    caps: &'static DrainCaps,
    generations: Rc<Cell<u32>>,
    /// Entries that open queue pairs may fill.
    claimed: u32,
}

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
        let generations = Rc::new(Cell::new(0));
        Ok(Self { device, pd, cq, pool, caps, generations, claimed: 0 })
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
    /// Says whether there was room.
    pub fn claim(&mut self, caps: QpCaps) -> bool {
        let claimed = self.claimed.saturating_add(Self::entries(caps));
        let fits = claimed <= self.cq.depth();
        if fits {
            self.claimed = claimed;
        }
        fits
    }

    /// Gives a reservation back, when the queue pair is gone and what it left was polled.
    pub fn unclaim(&mut self, caps: QpCaps) {
        self.claimed = self.claimed.saturating_sub(Self::entries(caps));
    }

    /// Moves completions into `out` and says how many.
    ///
    /// # Errors
    /// The completion queue failed: close its connections with
    /// [`Cause::CompletionQueueError`](crate::cause::Cause::CompletionQueueError).
    pub fn poll(&mut self, out: &mut [Wc]) -> Result<usize, DeviceError> {
        self.cq.poll(out)
    }

    /// The completion queue, to be armed and watched.
    pub fn cq(&mut self) -> &mut S::Cq {
        &mut self.cq
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
