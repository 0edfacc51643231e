//! A reactor's part of `status`.

use block::Engine;
use transport::device::{Device, Stack};

use crate::disk_buf::DiskBuf;
use crate::reactor::Reactor;
use crate::reactor::message::ReactorStatus;
use crate::reactor::queue::{Conn, Role};
use crate::status;
use crate::token::Name;

/// What a reactor has in its hands: all zeroes and no lanes' memory in use when nothing is left.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Holdings {
    /// Connections, closing ones included.
    pub connections: usize,
    /// Controllers.
    pub controllers: usize,
    /// Disk operations that wait behind orphans, or for room in the engine.
    pub disk_operations_waiting: usize,
    /// Memory of each lane.
    pub lanes: Vec<LaneHoldings>,
}

/// What is taken of a lane's memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LaneHoldings {
    /// It belongs to one connection.
    pub private: bool,
    /// Bytes taken of the pool for I/O.
    pub data_used_bytes: usize,
    /// Bytes taken of the reserve for Connect and admin commands.
    pub reserve_used_bytes: usize,
    /// Bytes that queues hold.
    pub queue_used_bytes: usize,
}

impl<S: Stack, E: Engine<DiskBuf>> Reactor<S, E> {
    /// What is held now: for whoever runs a reactor itself and wants to know that nothing is left.
    #[must_use]
    pub fn holdings(&self) -> Holdings {
        let lane = |entry: &super::lanes::LaneEntry<S>| LaneHoldings {
            private: entry.private,
            data_used_bytes: entry.data.pool.used_bytes(),
            reserve_used_bytes: entry.reserve.pool.used_bytes(),
            queue_used_bytes: entry.queues.used_bytes(),
        };
        Holdings {
            connections: self.conns.len(),
            controllers: self.controllers.len(),
            disk_operations_waiting: self.held_up.len() + self.disk_queues.waiting(),
            lanes: self.lanes.iter().map(|(_, entry)| lane(entry)).collect(),
        }
    }

    /// How things are here.
    pub(crate) fn status(&self) -> ReactorStatus {
        let ending = self.conns.iter().filter(|(_, conn)| conn.is_ending()).count();
        let reactor = status::Reactor {
            index: usize::from(self.index),
            core: None,
            connections: count(self.conns.len()),
            closing: count(ending),
            wakeups: self.counters.wakeups,
            lanes: self.lanes.iter().map(|(_, entry)| lane(entry)).collect(),
        };
        ReactorStatus {
            reactor,
            controllers: self.controller_status(),
            queues: self.conns.iter().filter_map(|(c, _)| self.queue_status(c)).collect(),
            disk_operations: self.disks.in_flight(),
            counters: self.counters_now(),
        }
    }

    /// The counts, with the I/O of controllers that live.
    fn counters_now(&self) -> super::Counters {
        let live = self.controllers.iter().map(|(_, entry)| entry.controller.counts());
        super::Counters { io: live.fold(self.counters.io, nvme::IoCounts::plus), ..self.counters }
    }

    fn controller_status(&self) -> Vec<(Name, String, status::Controller)> {
        let of = |(slot, entry): (usize, &super::admin::ControllerEntry)| {
            let slot = u32::try_from(slot).unwrap_or(u32::MAX);
            let name = Name { reactor: self.index, slot, generation: entry.generation };
            let peer = entry.admin.and_then(|c| self.conns.get(c)).map(|c| c.peer.to_string());
            let controller = status::Controller {
                cntlid: entry.cntlid.0,
                host_nqn: entry.controller.host().as_str().to_owned(),
                host_id: uuid::Uuid::from_bytes(entry.host_id).to_string(),
                kato_ms: u64::from(entry.kato_ms),
                listener: self.shared.listener_name(entry.port),
                peer: peer.unwrap_or_default(),
                state: controller_state(entry),
                queues: Vec::new(),
            };
            (name, entry.nqn.as_str().to_owned(), controller)
        };
        self.controllers.iter().map(of).collect()
    }

    fn queue_status(&self, c: usize) -> Option<(Name, status::Queue)> {
        let conn: &Conn<S> = &self.conns[c];
        let controller = match conn.role {
            Role::Fresh => return None,
            Role::Io(controller) => controller,
            Role::Admin(slot) => {
                let generation = self.controllers.get(slot)?.generation;
                Name { reactor: self.index, slot: u32::try_from(slot).ok()?, generation }
            }
        };
        let queue = status::Queue {
            qid: conn.queue.qid().0,
            reactor: usize::from(self.index),
            device: self.lanes[conn.lane].lane.device().name().to_owned(),
            depth: u32::from(conn.queue.entries()),
            in_flight: u32::from(conn.queue.in_flight()),
            commands: conn.capsules_seen,
            qp_number: conn.transport.qp_number(),
            peer: conn.peer.to_string(),
        };
        Some((controller, queue))
    }
}

/// From CSTS (NVMe Base 2.0 §3.1.3.6).
fn controller_state(entry: &super::admin::ControllerEntry) -> status::ControllerState {
    const RDY: u32 = 1;
    const CFS: u32 = 1 << 1;
    const SHST: u32 = 3 << 2;
    let csts = entry.controller.csts();
    if entry.admin.is_none() {
        status::ControllerState::Ending
    } else if csts & CFS != 0 {
        status::ControllerState::Fatal
    } else if csts & SHST != 0 {
        status::ControllerState::Shutdown
    } else if csts & RDY != 0 {
        status::ControllerState::Ready
    } else {
        status::ControllerState::Disabled
    }
}

fn count(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}

fn lane<S: Stack>(entry: &super::lanes::LaneEntry<S>) -> status::Lane {
    status::Lane {
        device: entry.lane.device().name().to_owned(),
        provider: entry.lane.caps().provider.to_owned(),
        pool_used_bytes: (entry.data.pool.used_bytes() + entry.queues.used_bytes()) as u64,
        pool_total_bytes: (entry.data.pool.total_bytes() + entry.queues.total_bytes()) as u64,
    }
}
