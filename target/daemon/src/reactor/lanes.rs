//! A reactor's lanes: one for each device, or one for each connection where the provider needs it.

use std::time::Duration;

use block::Engine;
use transport::caps::AfterDestroy;
use transport::cause::Cause;
use transport::device::{CompletionQueue, Device, DeviceError, QpCaps, Stack, Wc};
use transport::drain::State;
use transport::lane::{CqIndex, Lane};
use transport::wr::WrId;

use crate::disk_buf::DiskBuf;
use crate::limits::{CQ_DEPTH, DEAF_RETRY, DEAF_TRIES_MAX, RESERVE_BYTES, WC_BATCH, WC_BATCHES};
use crate::reactor::Reactor;
use crate::reactor::memory::Store;
use crate::reactor::platform::Source;
use crate::reactor::queue_memory::QueuePools;

/// A lane and what the daemon keeps with it.
pub(crate) struct LaneEntry<S: Stack> {
    pub(crate) lane: Lane<S>,
    /// For I/O.
    pub(crate) data: Store,
    /// For Connect and admin commands.
    pub(crate) reserve: Store,
    /// What queues hold for their whole life.
    pub(crate) queues: QueuePools,
    /// The device can, the provider's row says it may.
    pub(crate) send_with_invalidate: bool,
    /// For one connection only.
    pub(crate) private: bool,
    /// Connections on it.
    pub(crate) connections: u32,
    /// Its completion queue was asked for an event.
    pub(crate) armed: bool,
    /// Tries in a row to arm a completion queue that failed. It is polled by time meanwhile.
    pub(crate) deaf: u32,
    /// Its completion queue must not be polled any more.
    pub(crate) silent: bool,
    /// Its device is being taken away: no new connections.
    pub(crate) leaving: bool,
    /// Claims of destroyed queue pairs: they may have left completions behind.
    pub(crate) left: Vec<(CqIndex, QpCaps)>,
}

impl<S: Stack> LaneEntry<S> {
    /// One more connection, which may have to wait for memory.
    pub(crate) fn add_connection(&mut self) {
        self.connections += 1;
        self.data.prepare(self.connections as usize);
        self.reserve.prepare(self.connections as usize);
    }
}

impl<S: Stack, E: Engine<DiskBuf>> Reactor<S, E>
where
    <S::Device as Device<S>>::Mr: 'static,
{
    /// The lane that connections on `device` share, if there is one.
    fn shared_lane(&self, device: &S::Device) -> Option<usize> {
        let shared = |l: &LaneEntry<S>| !l.private && !l.silent && !l.leaving;
        let instance = device.instance();
        let found = |l: &LaneEntry<S>| shared(l) && l.lane.device().instance() == instance;
        self.lanes.iter().find(|(_, l)| found(l)).map(|(index, _)| index)
    }

    /// Sets up the lane that connections on `device` share, where there is none yet. Says whether
    /// it did that: registering the pool takes as long as the kernel takes to pin it.
    pub(crate) fn open_shared_lane(&mut self, device: &S::Device) -> bool {
        !transport::caps::lookup(device.key()).private_lane()
            && self.shared_lane(device).is_none()
            && self.lane_for(device).is_ok()
    }

    /// The lane for a connection on `device`. The first one registers its pools on this thread:
    /// pinning takes about a second for each 4 GiB, and this reactor's other connections, those
    /// of other devices, wait for it.
    pub(crate) fn lane_for(&mut self, device: &S::Device) -> Result<usize, DeviceError> {
        if let Some(index) = self.shared_lane(device) {
            return Ok(index);
        }
        let settings = &self.shared.settings;
        let caps = transport::caps::lookup(device.key());
        let private = caps.private_lane();
        let bytes = if private { settings.private_pool_bytes } else { settings.pool_bytes };
        let lane = Lane::<S>::open(device.clone(), bytes, CQ_DEPTH)?;
        let data = lane.pool().clone();
        // One connection is a queue either for I/O or for admin commands: it needs no reserve.
        let reserve = if private { data.clone() } else { lane.another_pool(RESERVE_BYTES)? };
        let entry = LaneEntry {
            send_with_invalidate: device.attr().send_with_invalidate && caps.send_with_invalidate,
            lane,
            data: Store::new(data),
            reserve: Store::new(reserve),
            queues: QueuePools::default(),
            private,
            connections: 0,
            armed: false,
            deaf: 0,
            silent: false,
            leaving: false,
            left: Vec::new(),
        };
        let index = self.lanes.insert(entry);
        let cq = self.lanes[index].lane.cq();
        if let Err(error) = self.watch.watch(cq.event_fd(), Source::Lane(index)) {
            tracing::error!(%error, "can't watch a completion channel");
            self.lanes.remove(index);
            return Err(DeviceError {
                call: "epoll_ctl",
                errno: error.raw_os_error().unwrap_or(0),
            });
        }
        let pool = self.lanes[index].data.pool.clone();
        self.tell_disks(&pool);
        tracing::info!(
            device = device.name(),
            provider = caps.provider,
            reactor = self.index,
            pool_bytes = pool.total_bytes(),
            "device in use"
        );
        Ok(index)
    }
}

impl<S: Stack, E: Engine<DiskBuf>> Reactor<S, E> {
    /// Takes completions of every lane, a bounded number of each. Says whether there were any.
    pub(crate) fn poll_lanes(&mut self) -> bool {
        let mut worked = false;
        for index in 0..self.lanes.capacity() {
            if self.lanes.get(index).is_some_and(|l| !l.silent) {
                worked |= self.poll_lane(index);
            }
        }
        worked
    }

    /// Reserves completion entries for a queue pair; adds a completion queue where there is none
    /// with room. The device's bound is the only one: queues are counted elsewhere.
    pub(crate) fn claim(&mut self, index: usize, caps: QpCaps) -> Result<CqIndex, DeviceError> {
        let entry = &mut self.lanes[index];
        if let Some(at) = entry.lane.claim(caps) {
            return Ok(at);
        }
        let full =
            |call, errno: rustix::io::Errno| DeviceError { call, errno: errno.raw_os_error() };
        let cq = entry.lane.add_cq(CQ_DEPTH)?;
        if let Err(error) = self.watch.watch(cq.event_fd(), Source::Lane(index)) {
            tracing::error!(%error, "can't watch a completion channel");
            entry.lane.remove_added_cq();
            return Err(full("epoll_ctl", rustix::io::Errno::NOMEM));
        }
        entry.armed = false;
        let small = full("a completion queue of that size", rustix::io::Errno::NOMEM);
        entry.lane.claim(caps).ok_or(small)
    }

    fn poll_lane(&mut self, index: usize) -> bool {
        let mut wcs = [Wc::EMPTY; WC_BATCH];
        for batch in 0..WC_BATCHES {
            let count = match self.lanes[index].lane.poll(&mut wcs) {
                Ok(count) => count,
                Err(error) => {
                    self.lane_failed(index, error);
                    return true;
                }
            };
            for wc in &wcs[..count] {
                self.completed(index, wc);
            }
            if count < wcs.len() {
                self.unclaim_left(index);
                return batch > 0 || count > 0;
            }
        }
        true
    }

    /// Nothing is left of the queue pairs that were destroyed before the completion queues were
    /// found empty.
    fn unclaim_left(&mut self, index: usize) {
        if let Some(LaneEntry { lane, left, .. }) = self.lanes.get_mut(index) {
            for (at, caps) in left.drain(..) {
                lane.unclaim(at, caps);
            }
        }
    }

    /// A completion of lane `index`. Ids are unique in one lane only: a late one of a queue pair
    /// that could not be destroyed may name a work request of another lane's connection, in the
    /// same slot.
    pub(super) fn completed(&mut self, index: usize, wc: &Wc) {
        let id = WrId::from_raw(wc.wr_id);
        let Some((id, c)) = id.map(|id| (id, usize::from(id.connection))) else {
            self.counters.stale_completions += 1;
            return;
        };
        if self.conns.get(c).is_none_or(|conn| conn.lane != index) {
            self.counters.stale_completions += 1;
            return;
        }
        self.drive(c, |transport, _, retired| transport.handle_completion(wc, id, retired));
    }

    /// A completion queue that can't be polled, or no longer wakes anyone, serves no connection.
    fn lane_failed(&mut self, index: usize, error: DeviceError) {
        tracing::error!(%error, "a completion queue failed");
        self.lanes[index].silent = true;
        self.close_lane(index, Cause::CompletionQueueError);
        self.drop_lane_if_unused(index);
    }

    /// Closes every connection of a lane.
    pub(crate) fn close_lane(&mut self, index: usize, cause: Cause) {
        let slots: Vec<usize> =
            self.conns.iter().filter(|(_, x)| x.lane == index).map(|(c, _)| c).collect();
        for c in slots {
            self.close(c, cause);
        }
    }

    /// Asks every completion queue for an event. What completed before raises none: poll again.
    pub fn arm_lanes(&mut self) {
        for index in 0..self.lanes.capacity() {
            let Some(entry) = self.lanes.get_mut(index).filter(|x| !x.armed && !x.silent) else {
                continue;
            };
            let armed = entry.lane.cqs().try_for_each(CompletionQueue::arm);
            entry.armed = armed.is_ok();
            match armed {
                Ok(()) => entry.deaf = 0,
                Err(error) if entry.deaf == DEAF_TRIES_MAX => self.lane_failed(index, error),
                Err(error) => {
                    entry.deaf += 1;
                    tracing::warn!(%error, tries = entry.deaf, "can't arm a completion queue");
                }
            }
        }
    }

    /// Completion queues that could not be armed are to be looked at again so soon.
    pub(crate) fn deaf_deadline(&self) -> Option<Duration> {
        let deaf = self.lanes.iter().any(|(_, x)| x.deaf > 0 && !x.silent);
        deaf.then_some(self.now + DEAF_RETRY)
    }

    /// A completion channel is readable.
    pub(crate) fn lane_event(&mut self, index: usize) {
        let Some(entry) = self.lanes.get_mut(index) else { return };
        for cq in entry.lane.cqs() {
            match cq.take_events() {
                Ok(0) => {}
                Ok(_) => entry.armed = false,
                Err(error) => {
                    // Something may have come: it is polled and armed again.
                    entry.armed = false;
                    tracing::warn!(%error, "can't read a completion channel");
                }
            }
        }
    }

    /// A connection on a lane changed its state: some providers' queues must not be polled then.
    pub(crate) fn look_at_lane(&mut self, c: usize) {
        let conn = &self.conns[c];
        let entry = &mut self.lanes[conn.lane];
        if entry.lane.caps().after_destroy == AfterDestroy::MustNotPoll
            && conn.transport.state() >= State::Destroying
        {
            entry.silent = true;
        }
    }

    /// Gives up a lane that nobody needs: a private one, or one of a device that is gone.
    pub(crate) fn drop_lane_if_unused(&mut self, index: usize) {
        let unused = |l: &LaneEntry<S>| l.connections == 0 && (l.private || l.silent || l.leaving);
        if self.lanes.get(index).is_some_and(unused) {
            let mut entry = self.lanes.remove(index);
            for cq in entry.lane.cqs() {
                self.watch.unwatch(cq.event_fd());
            }
            for pool in entry.queues.iter().chain([&entry.data.pool]) {
                self.forget_at_disks(pool);
            }
            tracing::info!(device = entry.lane.device().name(), "device no longer in use");
        }
    }
}
