//! Shared receive queues: receives that belong to no queue pair until a message takes one.

use std::collections::VecDeque;
use std::hash::{Hash, Hasher};

use transport::device::{
    Accepted, AsyncEvent, DeviceError, PostError, QpCaps, RecvDesc, SharedReceiveQueue,
    SharedReceives, Token,
};

use crate::behaviour::LastWqe;
use crate::cm::{SimId, SimStack};
use crate::completion::{CqEntry, SimCq};
use crate::device::{SimDevice, SimPd};
use crate::fabric::Fabric;
use crate::oracle::Call;
use crate::queue_pair::{Entry, Existence, Fate, Phase, SimQp, Wr};
use crate::shadow::Holder;
use crate::world::{World, error};

/// A shared receive queue as the device knows it.
#[derive(Debug)]
pub(crate) struct SrqModel {
    device: usize,
    depth: u32,
    existence: Existence,
    queue: VecDeque<Wr>,
    /// What destroyed queue pairs took, by their index: its completion may still be polled, or
    /// never comes.
    orphans: Vec<(usize, Wr)>,
    ordinal: u32,
}

impl SrqModel {
    /// Its destroy failed.
    pub(crate) fn is_zombie(&self) -> bool {
        self.existence == Existence::Zombie
    }

    pub(crate) fn fingerprint(&self, hasher: &mut impl Hasher) {
        (self.existence, self.queue.len(), self.orphans.len()).hash(hasher);
    }
}

/// A shared receive queue as the target holds it. Dropping it leaves it alive.
pub struct SimSrq {
    fabric: Fabric,
    index: usize,
    epoch: u64,
}

// SAFETY: as for `SimStack`: a receive's memory is touched only between its post and its
// completion, and not at all once `World::destroy_srq` returned Ok, which forgets every receive.
unsafe impl SharedReceiveQueue for SimSrq {
    unsafe fn post_recv(&mut self, list: &[RecvDesc]) -> Result<(), PostError> {
        self.fabric.lock().post_shared(self.index, list)
    }

    fn destroy(self) -> Result<(), DeviceError> {
        let mut world = self.fabric.lock();
        if world.epoch == self.epoch { world.destroy_srq(self.index) } else { Ok(()) }
    }
}

impl SharedReceives<SimStack> for SimDevice {
    type Srq = SimSrq;

    fn create_srq(&self, _pd: &SimPd, depth: u32, _sge_max: u32) -> Result<SimSrq, DeviceError> {
        let mut world = self.fabric.lock();
        world.device_call(self.index, Call::CreateQp)?;
        world.srqs.push(SrqModel {
            device: self.index,
            depth,
            existence: Existence::Alive,
            queue: VecDeque::new(),
            orphans: Vec::new(),
            ordinal: 0,
        });
        let (index, epoch) = (world.srqs.len() - 1, world.epoch);
        drop(world);
        Ok(SimSrq { fabric: self.fabric.clone(), index, epoch })
    }

    fn create_qp_shared(
        &self,
        id: &SimId,
        _pd: &SimPd,
        cq: &SimCq,
        srq: &SimSrq,
        caps: QpCaps,
        token: Token,
    ) -> Result<SimQp, DeviceError> {
        SimQp::create(&self.fabric, self.index, id, cq, caps, token, Some(srq.index))
    }
}

impl World {
    fn post_shared(&mut self, srq: usize, list: &[RecvDesc]) -> Result<(), PostError> {
        let device = self.srqs[srq].device;
        let refused =
            |error: DeviceError, taken| PostError { error, accepted: Accepted::Prefix(taken) };
        self.device_call(device, Call::PostRecv).map_err(|failure| refused(failure, 0))?;
        for (at, desc) in list.iter().enumerate() {
            let model = &mut self.srqs[srq];
            if model.queue.len() >= model.depth as usize {
                return Err(refused(error(Call::PostRecv, rustix::io::Errno::NOMEM), at));
            }
            let ordinal = model.ordinal;
            model.ordinal += 1;
            let wr =
                self.prepare(Holder::Shared { srq }, Entry::Recv(*desc), ordinal, Fate::Normal);
            self.note(|| format!("srq {srq} takes {ordinal}"));
            self.srqs[srq].queue.push_back(wr);
        }
        Ok(())
    }

    /// A message has come: the queue pair takes the oldest receive.
    pub(crate) fn take_shared(&mut self, qp: usize) {
        let Some(srq) = self.qps[qp].srq else { return };
        let free = |wr: &Wr| wr.phase == Phase::Posted && wr.fate == Fate::Normal;
        if self.qps[qp].recv.iter().any(free) {
            return;
        }
        if let Some(mut wr) = self.srqs[srq].queue.pop_front() {
            // On the queue pair it goes by a number of the queue pair's.
            let ordinal = self.qps[qp].next_ordinal(true);
            self.note(|| format!("qp {qp} takes {} of srq {srq} as {ordinal}", wr.ordinal));
            wr.ordinal = ordinal;
            self.qps[qp].recv.push_back(wr);
        }
    }

    /// Some devices hold a shared receive already when their queue pair fails: they flush it, or
    /// never complete it when they are stopped before.
    pub(crate) fn shared_receive_in_progress(&mut self, qp: usize) {
        let Some(srq) = self.qps[qp].srq else { return };
        let nothing = self.coarse && self.srqs[srq].queue.is_empty();
        if !nothing && self.mischief("a shared receive is in progress") {
            self.take_shared(qp);
        }
    }

    /// LAST_WQE_REACHED, as the row does it, when a queue pair enters the error state (or is moved
    /// there again).
    pub(crate) fn last_wqe(&mut self, qp: usize, again: bool) {
        if self.qps[qp].srq.is_none() {
            return;
        }
        let row = self.row_of(qp);
        let raises = |event| match event {
            LastWqe::Never => false,
            LastWqe::Late | LastWqe::Early | LastWqe::Spurious => !again,
            LastWqe::EachMove => true,
        };
        if raises(self.axis_by("LAST_WQE_REACHED", row.last_wqe, raises)) {
            let (device, token) = (self.qps[qp].device, self.token_of(qp));
            self.raise_async(device, AsyncEvent::LastWqeReached(token));
        }
    }

    /// A queue pair goes: what it took stays with the shared queue, completed or not.
    pub(crate) fn abandon(&mut self, srq: usize, qp: usize, taken: VecDeque<Wr>) {
        self.srqs[srq].orphans.extend(taken.into_iter().map(|wr| (qp, wr)));
    }

    /// A completion was polled of a shared receive whose queue pair is gone.
    pub(crate) fn polled_late(&mut self, srq: usize, entry: CqEntry) {
        let orphans = &mut self.srqs[srq].orphans;
        let ours = |(qp, wr): &(usize, Wr)| *qp == entry.qp && wr.ordinal == entry.ordinal;
        let Some(at) = orphans.iter().position(ours) else { return };
        for hold in orphans.remove(at).1.holds {
            self.shadow.release(hold);
        }
    }

    fn destroy_srq(&mut self, srq: usize) -> Result<(), DeviceError> {
        let device = self.srqs[srq].device;
        if self.srqs[srq].existence != Existence::Alive {
            return Ok(());
        }
        let used = self.qps.iter().any(|qp| qp.srq == Some(srq) && qp.is_at_work());
        let mut result = self.device_call(device, Call::Destroy);
        if used && result.is_ok() {
            result = Err(error(Call::Destroy, rustix::io::Errno::BUSY));
        }
        self.note(|| format!("destroy of srq {srq}: {result:?}"));
        if result.is_ok() {
            self.remove_srq(srq);
        } else {
            self.srqs[srq].existence = Existence::Zombie;
        }
        result
    }

    /// Nothing of a shared queue is left in the device.
    fn remove_srq(&mut self, srq: usize) {
        let model = &mut self.srqs[srq];
        model.existence = Existence::Destroyed;
        let queue = std::mem::take(&mut model.queue);
        let orphans = std::mem::take(&mut model.orphans);
        for wr in queue.into_iter().chain(orphans.into_iter().map(|(_, wr)| wr)) {
            if wr.phase == Phase::Posted {
                self.check_untouched(Holder::Shared { srq }, &wr);
            }
            for hold in wr.holds {
                self.shadow.release(hold);
            }
        }
    }

    /// The process of a node died.
    pub(crate) fn forget_shared(&mut self, node: usize) {
        for srq in 0..self.srqs.len() {
            if self.devices[self.srqs[srq].device].node == node {
                self.remove_srq(srq);
            }
        }
    }
}
