//! Completion queues and their channels.

use std::collections::VecDeque;
use std::os::fd::BorrowedFd;
use std::sync::Arc;

use transport::device::{AsyncEvent, CompletionQueue, DeviceError, Wc};

use crate::device::Descriptor;
use crate::fabric::Fabric;
use crate::happening::{Track, What};
use crate::oracle::{Call, Delay, Question};
use crate::violation::Rule;
use crate::world::{Source, World, error};

/// One entry, and whose it is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CqEntry {
    pub(crate) wc: Wc,
    pub(crate) qp: usize,
    pub(crate) is_recv: bool,
    pub(crate) ordinal: u32,
}

/// A completion queue's state.
#[derive(Debug)]
pub(crate) struct CqModel {
    pub(crate) device: usize,
    pub(crate) depth: u32,
    pub(crate) entries: VecDeque<CqEntry>,
    pub(crate) armed: bool,
    /// Events that the channel holds.
    pub(crate) events: usize,
    /// It overflowed: what comes is lost.
    pub(crate) broken: bool,
    /// It holds completions of a destroyed queue pair of a provider that dies of polling them.
    pub(crate) poisoned: bool,
    /// The last completion that was polled, to come again as a stale one.
    pub(crate) last: Option<Wc>,
}

/// A completion queue as the target holds it.
pub struct SimCq {
    inner: Arc<CqInner>,
}

/// Kept alive by the queue pairs that complete to it.
pub(crate) struct CqInner {
    fabric: Fabric,
    pub(crate) index: usize,
    channel: Descriptor,
    depth: u32,
}

impl SimCq {
    pub(crate) fn create(fabric: &Fabric, device: usize, depth: u32) -> Result<Self, DeviceError> {
        let mut world = fabric.lock();
        world.device_call(device, Call::CreateCq)?;
        world.cqs.push(CqModel {
            device,
            depth,
            entries: VecDeque::new(),
            armed: false,
            events: 0,
            broken: false,
            poisoned: false,
            last: None,
        });
        let index = world.cqs.len() - 1;
        drop(world);
        let channel = Descriptor::new(fabric, Source::Channel(index));
        Ok(Self { inner: Arc::new(CqInner { fabric: fabric.clone(), index, channel, depth }) })
    }

    pub(crate) fn inner(&self) -> Arc<CqInner> {
        Arc::clone(&self.inner)
    }
}

impl CompletionQueue for SimCq {
    fn poll(&mut self, out: &mut [Wc]) -> Result<usize, DeviceError> {
        self.inner.fabric.lock().poll(self.inner.index, out)
    }

    fn arm(&mut self) -> Result<(), DeviceError> {
        let mut world = self.inner.fabric.lock();
        let device = world.cqs[self.inner.index].device;
        world.device_call(device, Call::Arm)?;
        world.cqs[self.inner.index].armed = true;
        if world.mischief("a completion event of nothing") {
            let cq = self.inner.index;
            world.soon(Delay::CompEvent, Track::Channel(cq), What::Channel { cq });
        }
        Ok(())
    }

    fn take_events(&mut self) -> Result<usize, DeviceError> {
        Ok(std::mem::take(&mut self.inner.fabric.lock().cqs[self.inner.index].events))
    }

    fn event_fd(&self) -> BorrowedFd<'_> {
        self.inner.channel.get()
    }

    fn depth(&self) -> u32 {
        self.inner.depth
    }
}

impl World {
    /// Moves completions out, and gives up the hold on their work requests' memory.
    fn poll(&mut self, cq: usize, out: &mut [Wc]) -> Result<usize, DeviceError> {
        if self.cqs[cq].poisoned {
            self.violate(Rule::S11, || format!("completion queue {cq} is polled"));
        }
        if self.choose(Question::Fault(Call::Poll), 2) == 1 {
            self.note(|| format!("poll of completion queue {cq} fails"));
            return Err(error(Call::Poll, rustix::io::Errno::IO));
        }
        let mut count = 0;
        if self.stale_completion(cq, out) {
            count = 1;
        }
        while count < out.len() {
            let Some(entry) = self.cqs[cq].entries.pop_front() else { break };
            out[count] = entry.wc;
            count += 1;
            self.cqs[cq].last = Some(entry.wc);
            self.note(|| {
                let queue = if entry.is_recv { "recv" } else { "send" };
                format!("polled: qp {} {queue} {} {:?}", entry.qp, entry.ordinal, entry.wc.status)
            });
            self.polled(entry);
        }
        Ok(count)
    }

    /// A completion that was polled before comes again, where the row allows it.
    fn stale_completion(&mut self, cq: usize, out: &mut [Wc]) -> bool {
        let (Some(wc), false) = (self.cqs[cq].last, out.is_empty()) else { return false };
        let row = self.devices[self.cqs[cq].device].row;
        let stale = row.stale_completions.contains(&true) && self.mischief("a stale completion");
        if stale {
            out[0] = wc;
            self.note(|| "polled: a stale completion".to_owned());
        }
        stale
    }

    /// A completion enters its queue.
    pub(crate) fn complete_to(&mut self, cq: usize, entry: CqEntry, raises_event: bool) {
        let model = &mut self.cqs[cq];
        if model.broken || model.entries.len() >= model.depth as usize {
            let first = !std::mem::replace(&mut model.broken, true);
            let device = model.device;
            if first {
                self.note(|| format!("completion queue {cq} overflows"));
                self.raise_async(device, AsyncEvent::CqError);
            }
            return;
        }
        model.entries.push_back(entry);
        if raises_event && std::mem::replace(&mut model.armed, false) {
            self.soon(Delay::CompEvent, Track::Channel(cq), What::Channel { cq });
        }
    }
}
