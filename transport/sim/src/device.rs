//! Devices, domains and regions as the target holds them.

use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::{Arc, OnceLock};

use transport::device::{AsyncEvent, Device, DeviceAttr, DeviceError, DeviceKey, QpCaps, Token};

use crate::cm::{SimId, SimStack};
use crate::completion::SimCq;
use crate::fabric::Fabric;
use crate::oracle::Call;
use crate::queue_pair::SimQp;
use crate::violation::Rule;
use crate::world::{MrModel, Source, error};

/// What a device says of itself.
#[derive(Debug)]
pub(crate) struct DeviceInfo {
    pub(crate) name: String,
    pub(crate) instance: u64,
    pub(crate) key: DeviceKey,
    pub(crate) attr: DeviceAttr,
}

/// A descriptor that never becomes readable, made when somebody asks for it.
pub(crate) struct Descriptor {
    fd: OnceLock<OwnedFd>,
    source: Source,
    fabric: Fabric,
}

impl Descriptor {
    pub(crate) fn new(fabric: &Fabric, source: Source) -> Self {
        Self { fd: OnceLock::new(), source, fabric: fabric.clone() }
    }

    pub(crate) fn get(&self) -> BorrowedFd<'_> {
        let fd = self.fd.get_or_init(|| {
            let fd = rustix::event::eventfd(0, rustix::event::EventfdFlags::CLOEXEC)
                .expect("a process that simulates has descriptors left");
            self.fabric.lock().sources.insert(fd.as_raw_fd(), self.source);
            fd
        });
        std::os::fd::AsFd::as_fd(fd)
    }
}

impl Drop for Descriptor {
    fn drop(&mut self) {
        if let Some(fd) = self.fd.get() {
            self.fabric.lock().sources.remove(&fd.as_raw_fd());
        }
    }
}

/// An opened device.
#[derive(Clone)]
pub struct SimDevice {
    pub(crate) fabric: Fabric,
    pub(crate) index: usize,
    info: Arc<DeviceInfo>,
    events: Arc<Descriptor>,
}

impl SimDevice {
    pub(crate) fn new(fabric: &Fabric, index: usize, info: Arc<DeviceInfo>) -> Self {
        let events = Arc::new(Descriptor::new(fabric, Source::Async(index)));
        Self { fabric: fabric.clone(), index, info, events }
    }
}

/// A protection domain.
#[derive(Clone, Debug)]
pub struct SimPd {
    device: usize,
}

/// A registered region; dropping it deregisters.
pub struct SimMr {
    fabric: Fabric,
    lkey: u32,
}

impl Drop for SimMr {
    fn drop(&mut self) {
        let mut world = self.fabric.lock();
        let held = world.shadow.of_key(self.lkey);
        let lkey = self.lkey;
        if held > 0 {
            world.violate(Rule::S12, || {
                format!("region {lkey} is deregistered with {held} ranges in flight")
            });
        }
        world.regions[lkey as usize - 1].alive = false;
        world.note(|| format!("region {lkey} deregistered"));
    }
}

impl Device<SimStack> for SimDevice {
    type Pd = SimPd;
    type Mr = SimMr;

    fn instance(&self) -> u64 {
        self.info.instance
    }

    fn name(&self) -> &str {
        &self.info.name
    }

    fn key(&self) -> &DeviceKey {
        &self.info.key
    }

    fn attr(&self) -> &DeviceAttr {
        &self.info.attr
    }

    fn alloc_pd(&self) -> Result<SimPd, DeviceError> {
        self.fabric.lock().device_call(self.index, Call::AllocPd)?;
        Ok(SimPd { device: self.index })
    }

    unsafe fn reg_mr(
        &self,
        pd: &SimPd,
        addr: NonNull<u8>,
        len: usize,
        _remote_write: bool,
    ) -> Result<SimMr, DeviceError> {
        let mut world = self.fabric.lock();
        world.device_call(self.index, Call::RegMr)?;
        if pd.device != self.index {
            return Err(error(Call::RegMr, rustix::io::Errno::INVAL));
        }
        let region = MrModel {
            addr: addr.as_ptr().expose_provenance() as u64,
            len: len as u64,
            alive: true,
        };
        world.regions.push(region);
        let lkey = u32::try_from(world.regions.len()).expect("fewer regions than keys");
        drop(world);
        Ok(SimMr { fabric: self.fabric.clone(), lkey })
    }

    fn lkey(mr: &SimMr) -> u32 {
        mr.lkey
    }

    fn create_cq(&self, depth: u32) -> Result<SimCq, DeviceError> {
        SimCq::create(&self.fabric, self.index, depth)
    }

    fn create_qp(
        &self,
        id: &SimId,
        pd: &SimPd,
        cq: &SimCq,
        caps: QpCaps,
        token: Token,
    ) -> Result<SimQp, DeviceError> {
        if pd.device != self.index {
            return Err(error(Call::CreateQp, rustix::io::Errno::INVAL));
        }
        SimQp::create(&self.fabric, self.index, id, cq, caps, token, None)
    }

    fn next_async_event(&self) -> Result<Option<AsyncEvent>, DeviceError> {
        Ok(self.fabric.lock().devices[self.index].events.pop_front())
    }

    fn async_fd(&self) -> BorrowedFd<'_> {
        self.events.get()
    }
}
