//! Memory that queues hold for their whole life, apart from memory for I/O.
//!
//! Small pieces that stay for hours would keep large ones from ever being free in one piece, and
//! many idle queues would leave nothing for I/O. So each lane has registered pools for queues only:
//! added when a queue finds no room, given up when no queue is left in them.

use block::Engine;
use transport::device::{Device, DeviceError, Stack};
use transport::limits::{CAPSULE_SLOT, PAGE};
use transport::pool::{Buf, Pool, RecvBuf};

use crate::disk_buf::DiskBuf;
use crate::limits::QUEUE_POOL_BYTES;
use crate::reactor::Reactor;

/// What a queue holds, taken before it is accepted: so no response, and no capsule, ever waits for
/// memory that others have.
pub(crate) struct QueueMemory {
    pub(crate) receives: Vec<RecvBuf>,
    pub(crate) responses: Vec<Buf>,
    pub(crate) spare: Vec<Buf>,
}

impl QueueMemory {
    fn take(pool: &Pool, depth: u32, in_capsule: usize) -> Option<Self> {
        if pool.total_bytes() - pool.used_bytes() < queue_bytes(depth, in_capsule) {
            return None;
        }
        let data = || if in_capsule > 0 { pool.take(in_capsule).map(Some) } else { Some(None) };
        let receives = (0..depth)
            .map(|_| Some(RecvBuf { capsule: pool.take_slot()?, data: data()? }))
            .collect::<Option<_>>()?;
        let responses = (0..depth).map(|_| pool.take_slot()).collect::<Option<_>>()?;
        let spares = if in_capsule > 0 { depth } else { 0 };
        let spare = (0..spares).map(|_| pool.take(in_capsule)).collect::<Option<_>>()?;
        Some(Self { receives, responses, spare })
    }
}

/// Bytes that a queue of `depth` commands takes at most.
fn queue_bytes(depth: u32, in_capsule: usize) -> usize {
    let depth = depth as usize;
    let data = if in_capsule > 0 { in_capsule.next_power_of_two().max(PAGE) } else { 0 };
    (depth * CAPSULE_SLOT).next_multiple_of(PAGE) // commands
        + (depth * CAPSULE_SLOT).next_multiple_of(PAGE) // responses
        + depth * data // in-capsule data of posted receives
        + depth * data // in-capsule data that disks have
}

/// The pools for queues of one lane.
#[derive(Default)]
pub(crate) struct QueuePools {
    pools: Vec<Pool>,
}

impl QueuePools {
    fn take(&self, depth: u32, in_capsule: usize) -> Option<QueueMemory> {
        self.pools.iter().find_map(|pool| QueueMemory::take(pool, depth, in_capsule))
    }

    /// Bytes taken now.
    pub(crate) fn used_bytes(&self) -> usize {
        self.pools.iter().map(Pool::used_bytes).sum()
    }

    /// Bytes in all.
    pub(crate) fn total_bytes(&self) -> usize {
        self.pools.iter().map(Pool::total_bytes).sum()
    }

    /// Takes one out that no queue uses, if there are `keep` others of that kind.
    fn take_unused(&mut self, keep: usize) -> Option<Pool> {
        let mut unused = self.pools.iter().enumerate().filter(|(_, pool)| pool.used_bytes() == 0);
        let (at, _) = unused.nth(keep)?;
        Some(self.pools.swap_remove(at))
    }

    /// All of them.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Pool> {
        self.pools.iter()
    }
}

impl<S: Stack, E: Engine<DiskBuf>> Reactor<S, E>
where
    <S::Device as Device<S>>::Mr: 'static,
{
    /// Takes the memory of a queue; registers more where there is no room.
    pub(crate) fn take_queue_memory(
        &mut self,
        lane: usize,
        depth: u32,
        in_capsule: usize,
    ) -> Result<QueueMemory, DeviceError> {
        let entry = &mut self.lanes[lane];
        if let Some(memory) = entry.queues.take(depth, in_capsule) {
            return Ok(memory);
        }
        let needs = queue_bytes(depth, in_capsule);
        let bytes = if entry.private { needs } else { needs.max(QUEUE_POOL_BYTES) };
        let pool = entry.lane.another_pool(bytes)?;
        self.tell_disks(&pool);
        let memory = QueueMemory::take(&pool, depth, in_capsule);
        self.lanes[lane].queues.pools.push(pool);
        // A new pool has room for what it was sized for.
        memory.ok_or(DeviceError {
            call: "taking a queue's memory",
            errno: rustix::io::Errno::NOMEM.raw_os_error(),
        })
    }
}

impl<S: Stack, E: Engine<DiskBuf>> Reactor<S, E> {
    /// Lets the disks' ring map a pool once and for all.
    pub(crate) fn tell_disks(&mut self, pool: &Pool) {
        let (start, len) = pool.memory();
        match self.disks.register_region(start, len) {
            Ok(region) => pool.set_fixed(Some(region.0)),
            Err(error) => {
                let error = format!("{:#}", anyhow::Error::new(error));
                tracing::warn!(error, "a pool is not registered with the disks' ring");
            }
        }
    }

    /// The disks' ring forgets a pool.
    pub(crate) fn forget_at_disks(&mut self, pool: &Pool) {
        if let Some(region) = pool.fixed() {
            pool.set_fixed(None);
            self.disks.unregister_region(block::FixedRegion(region));
        }
    }

    /// Gives up pools that no queue of a lane uses, but for one: hosts come back.
    pub(crate) fn trim_queue_pools(&mut self, lane: usize) {
        while let Some(pool) = self.lanes.get_mut(lane).and_then(|l| l.queues.take_unused(1)) {
            self.forget_at_disks(&pool);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_queue_needs_what_its_parts_need() {
        assert_eq!(queue_bytes(1024, 16 << 10), (32 << 20) + (128 << 10));
        assert_eq!(queue_bytes(128, 12 << 10), (4 << 20) + (16 << 10));
        assert_eq!(queue_bytes(32, 0), 2 * PAGE);
    }
}
