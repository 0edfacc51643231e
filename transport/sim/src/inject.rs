//! What a driver does to the fabric on purpose: events, failures of devices, death of a process.

use std::net::IpAddr;

use transport::device::{AsyncEvent, CmEvent};

use crate::fabric::{Fabric, Node};
use crate::peer::PeerEvent;
use crate::world::{Ready, World};

/// Something that a driver lets happen at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Injection {
    /// An event of a connection's id, true or not, by the connection's number
    /// ([`number`](crate::Peer::number)).
    Cm(usize, CmEvent),
    /// The queue pair of a connection fails by itself.
    QueuePairError(usize),
    /// LAST_WQE_REACHED for the queue pair of a connection, true or not.
    LastWqe(usize),
    /// The device of this address fails: it completes nothing any more.
    DeviceFatal(IpAddr),
    /// The device of this address goes away. Where the driver disassociates, every call but a
    /// destroy fails from now on.
    DeviceRemoval(IpAddr),
    /// Every completion queue of the device of this address loses what comes from now on.
    CompletionQueueError(IpAddr),
    /// An event of the device of this address, true or not.
    Async(IpAddr, AsyncEvent),
}

impl Fabric {
    /// Lets it happen.
    pub fn inject(&self, injection: Injection) {
        let mut world = self.lock();
        world.note(|| format!("injected: {injection:?}"));
        match injection {
            Injection::Cm(conn, event) => {
                if let Some(state) = world.conns.get_mut(conn).filter(|c| c.id_alive && !c.deaf) {
                    state.established |= event == CmEvent::Established;
                    state.events.push_back(event);
                }
            }
            Injection::QueuePairError(conn) => {
                let qp = world.conns.get(conn).and_then(|c| c.qp);
                if let Some(qp) = qp.filter(|qp| world.qp_receives(*qp)) {
                    let (device, token) = (world.qps[qp].device, world.token_of(qp));
                    world.enter_error(qp, false);
                    world.devices[device].events.push_back(AsyncEvent::QpError(token));
                }
            }
            Injection::LastWqe(conn) => {
                if let Some(qp) = world.conns.get(conn).and_then(|c| c.qp) {
                    let (device, token) = (world.qps[qp].device, world.token_of(qp));
                    world.devices[device].events.push_back(AsyncEvent::LastWqeReached(token));
                }
            }
            Injection::DeviceFatal(address) => world.device_fatal(address),
            Injection::DeviceRemoval(address) => world.device_removal(address),
            Injection::CompletionQueueError(address) => world.queues_fail(address),
            Injection::Async(address, event) => {
                if let Some(device) = world.device_at(address) {
                    world.devices[device].events.push_back(event);
                }
            }
        }
    }

    /// Verbs and CM calls of a node so far.
    #[must_use]
    pub fn calls(&self, node: Node) -> u64 {
        self.lock().nodes[node.0].calls
    }

    /// The call of that number (the first is 1) will fail.
    pub fn fail_call(&self, node: Node, number: u64) {
        self.lock().nodes[node.0].fail_at.push(number);
    }

    /// A process dies: its kernel destroys what it had, and its peers see a disconnect. Its
    /// handles mean nothing from now on; the node's next process uses [`Fabric::stack`] anew.
    pub fn crash(&self, node: Node) {
        self.lock().crash(node.0);
    }

    /// Everything but nodes, devices, listeners, domains, regions and completion queues begins
    /// anew, time included: for drivers that play many runs.
    pub fn forget_connections(&self) {
        self.lock().forget_connections();
    }
}

impl World {
    fn device_at(&self, address: IpAddr) -> Option<usize> {
        self.devices.iter().rposition(|device| device.address == address)
    }

    fn qps_of(&self, device: usize) -> Vec<usize> {
        (0..self.qps.len()).filter(|qp| self.qps[*qp].device == device).collect()
    }

    fn device_fatal(&mut self, address: IpAddr) {
        let Some(device) = self.device_at(address) else { return };
        self.devices[device].fatal = true;
        self.devices[device].disassociated |= self.devices[device].row.disassociates;
        for qp in self.qps_of(device) {
            self.cancel(|what| what.is_of(qp));
        }
        self.devices[device].events.push_back(AsyncEvent::DeviceFatal);
        self.cut_off(device);
    }

    fn device_removal(&mut self, address: IpAddr) {
        let Some(device) = self.device_at(address) else { return };
        self.devices[device].removed = true;
        for conn in 0..self.conns.len() {
            let state = &mut self.conns[conn];
            if state.device == device && state.id_alive && !state.deaf {
                state.events.push_back(CmEvent::DeviceRemoval);
            }
        }
        for listener in 0..self.listeners.len() {
            let (node, number) = (self.listeners[listener].node, self.listeners[listener].number);
            let here = self.listeners[listener].address.ip() == address;
            if here && self.listeners[listener].open {
                self.nodes[node].ready.push_back(Ready::Gone(number));
            }
        }
        if self.devices[device].row.disassociates {
            self.device_fatal(address);
        }
    }

    /// Nothing of a device answers any more: its peers notice.
    fn cut_off(&mut self, device: usize) {
        for conn in 0..self.conns.len() {
            if self.conns[conn].device == device && !self.conns[conn].peer_is_gone() {
                self.tell_peer(conn, PeerEvent::Disconnected);
            }
        }
    }

    fn queues_fail(&mut self, address: IpAddr) {
        let Some(device) = self.device_at(address) else { return };
        for cq in self.cqs.iter_mut().filter(|cq| cq.device == device) {
            cq.broken = true;
        }
        self.devices[device].events.push_back(AsyncEvent::CqError);
    }

    fn crash(&mut self, node: usize) {
        let name = self.nodes[node].name.clone();
        self.note(|| format!("{name} dies"));
        for listener in 0..self.listeners.len() {
            if self.listeners[listener].node == node {
                self.close_listener(listener);
            }
        }
        self.nodes[node].ready.clear();
        for conn in 0..self.conns.len() {
            let state = &self.conns[conn];
            if self.devices[state.device].node != node || state.crashed {
                continue;
            }
            let qp = state.qp.filter(|qp| self.qps[*qp].is_at_work());
            if let Some(qp) = qp {
                self.remove(qp);
            }
            let state = &mut self.conns[conn];
            state.crashed = true;
            state.id_alive = false;
            state.events.clear();
            if !state.peer_is_gone() {
                self.tell_peer(conn, PeerEvent::Disconnected);
            }
        }
        self.forget_shared(node);
        for device in &mut self.devices {
            if device.node == node {
                device.events.clear();
            }
        }
    }

    fn forget_connections(&mut self) {
        self.epoch += 1;
        self.now = transport::time::Now::default();
        self.conns.clear();
        self.qps.clear();
        self.srqs.clear();
        self.pending.clear();
        self.shadow = crate::shadow::Shadow::default();
        self.forget_results();
        for node in &mut self.nodes {
            node.ready.clear();
            node.calls = 0;
            node.fail_at.clear();
        }
        for device in &mut self.devices {
            device.fatal = false;
            device.disassociated = false;
            device.removed = false;
            device.events.clear();
            device.numbers_free.clear();
            device.number_next = 17;
        }
        for cq in &mut self.cqs {
            cq.entries.clear();
            cq.armed = false;
            cq.events = 0;
            cq.broken = false;
            cq.poisoned = false;
            cq.last = None;
        }
    }
}
