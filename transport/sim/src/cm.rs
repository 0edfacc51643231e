//! The target's connection manager: listeners, requests, ids.

use std::net::SocketAddr;
use std::os::fd::BorrowedFd;

use transport::device::{
    AcceptParams, CmEvent, CmId, ConnectRequest, DeviceError, ListenEvent, Stack,
};

use crate::device::{Descriptor, SimDevice};
use crate::fabric::Fabric;
use crate::oracle::Call;
use crate::violation::Rule;
use crate::world::{ListenerState, Ready, Source, error};

/// One node's RDMA stack.
#[derive(Clone)]
pub struct SimStack {
    fabric: Fabric,
    node: usize,
    channel: std::sync::Arc<Descriptor>,
}

impl SimStack {
    pub(crate) fn new(fabric: Fabric, node: usize) -> Self {
        let channel = std::sync::Arc::new(Descriptor::new(&fabric, Source::Listeners(node)));
        Self { fabric, node, channel }
    }
}

/// A listening id; dropping it ends the listening.
pub struct SimListener {
    fabric: Fabric,
    index: usize,
}

impl Drop for SimListener {
    fn drop(&mut self) {
        self.fabric.lock().close_listener(self.index);
    }
}

/// A connection's id. Dropping it destroys it.
pub struct SimId {
    pub(crate) fabric: Fabric,
    pub(crate) conn: usize,
    pub(crate) epoch: u64,
    channel: Descriptor,
}

impl Drop for SimId {
    fn drop(&mut self) {
        let mut world = self.fabric.lock();
        if world.epoch == self.epoch {
            world.destroy_id(self.conn);
        }
    }
}

// SAFETY: the simulated device touches a work request's memory only between its post and the
// moment its completion enters the completion queue (`execution`), and not at all once
// `World::destroy` returned Ok: every pending happening of the queue pair is cancelled there. A
// row whose destroy gives up breaks this promise on purpose after 50 s of virtual time, as the
// driver it stands for does, and `transport::proof` takes no proof from it.
unsafe impl Stack for SimStack {
    type Listener = SimListener;
    type Id = SimId;
    type Device = SimDevice;
    type Qp = crate::queue_pair::SimQp;
    type Cq = crate::completion::SimCq;

    fn listen(
        &self,
        addr: SocketAddr,
        _backlog: u32,
        listener: u64,
    ) -> Result<SimListener, DeviceError> {
        let mut world = self.fabric.lock();
        world.call(self.node, Call::Listen)?;
        let here = |d: &crate::world::DeviceState| {
            d.node == self.node
                && !d.removed
                && (d.address == addr.ip() || addr.ip().is_unspecified())
        };
        if !world.devices.iter().any(here) {
            return Err(error(Call::Listen, rustix::io::Errno::ADDRNOTAVAIL));
        }
        let taken = world.listeners.iter().any(|l| l.open && l.address == addr);
        if taken {
            return Err(error(Call::Listen, rustix::io::Errno::ADDRINUSE));
        }
        let state = ListenerState { node: self.node, address: addr, number: listener, open: true };
        world.listeners.push(state);
        let index = world.listeners.len() - 1;
        drop(world);
        Ok(SimListener { fabric: self.fabric.clone(), index })
    }

    fn next_event(&self) -> Result<Option<ListenEvent<Self>>, DeviceError> {
        let mut world = self.fabric.lock();
        let conn = match world.nodes[self.node].ready.pop_front() {
            None => return Ok(None),
            Some(Ready::Gone(listener)) => return Ok(Some(ListenEvent::ListenerGone { listener })),
            Some(Ready::Request(conn)) => conn,
        };
        let epoch = world.epoch;
        let state = &mut world.conns[conn];
        state.id_alive = true;
        let request = state.request.take();
        drop(world);
        let Some(request) = request else { return Ok(Some(ListenEvent::Ignored)) };
        let channel = Descriptor::new(&self.fabric, Source::Id(conn));
        let id = SimId { fabric: self.fabric.clone(), conn, epoch, channel };
        Ok(Some(ListenEvent::Request(ConnectRequest {
            id,
            listener: request.listener,
            private_data: request.private_data,
            initiator_depth: request.initiator_depth,
            responder_resources: request.responder_resources,
            local: request.local,
            peer: request.peer,
        })))
    }

    fn event_fd(&self) -> BorrowedFd<'_> {
        self.channel.get()
    }
}

impl CmId<SimStack> for SimId {
    fn device(&self) -> Result<SimDevice, DeviceError> {
        let mut world = self.fabric.lock();
        let index = world.conns[self.conn].device;
        let node = world.devices[index].node;
        world.call(node, Call::Device)?;
        if world.devices[index].removed {
            return Err(error(Call::Device, rustix::io::Errno::NODEV));
        }
        let info = std::sync::Arc::clone(&world.devices[index].info);
        drop(world);
        Ok(SimDevice::new(&self.fabric, index, info))
    }

    fn accept(&self, params: &AcceptParams<'_>) -> Result<(), DeviceError> {
        self.fabric.lock().accept(self.conn, params.private_data)
    }

    fn reject(&self, private_data: &[u8]) -> Result<(), DeviceError> {
        self.fabric.lock().reject(self.conn, private_data)
    }

    fn disconnect(&self) -> Result<(), DeviceError> {
        let mut world = self.fabric.lock();
        if world.epoch == self.epoch { world.disconnect(self.conn) } else { Ok(()) }
    }

    fn next_event(&self) -> Result<Option<CmEvent>, DeviceError> {
        let mut world = self.fabric.lock();
        if world.conns[self.conn].destroy_began {
            let conn = self.conn;
            world.violate(Rule::S9, || {
                format!("the channel of connection {conn} is read after its queue pair's destroy")
            });
        }
        let event = world.conns[self.conn].events.pop_front();
        if let Some(event) = event {
            let conn = self.conn;
            world.note(|| format!("connection {conn} reads {event:?}"));
        }
        Ok(event)
    }

    fn event_fd(&self) -> BorrowedFd<'_> {
        self.channel.get()
    }
}
