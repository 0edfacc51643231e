//! What the reactors share. Immutable, or touched on the connect path only.

use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use block::Disk;
use nvme::{DiskId, Export, Registry};
use transport::device::Stack;
use transport::reaper::{Job, Reply};

use crate::computing::{Computation, Compute};
use crate::drains::Drains;
use crate::hosts::Hosts;
use crate::mailbox::Sender;
use crate::orphans::Orphans;
use crate::reactor::message::Message;
use crate::reactor::platform::Reap;
use crate::token::Name;

/// A disk and the orphans that hold up I/O on it.
pub struct DiskEntry {
    /// The disk.
    pub disk: Arc<Disk>,
    /// Writes of dead associations.
    pub orphans: Orphans,
}

/// Bounds from the configuration.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Entries of an I/O queue.
    pub queue_depth_max: u16,
    /// In-capsule data of an I/O command, bytes.
    pub in_capsule_bytes: usize,
    /// Registered memory of a lane, bytes.
    pub pool_bytes: usize,
    /// Registered memory of a lane that one connection has for itself, bytes.
    pub private_pool_bytes: usize,
    /// Responses may invalidate the host's key.
    pub send_with_invalidate: bool,
    /// From a connection's request to its granted Connect.
    pub handshake: Duration,
}

/// What the reactors share.
pub struct Shared<S: Stack> {
    /// Bounds.
    pub settings: Settings,
    /// What is exported.
    pub export: Arc<Export>,
    /// Names of the listeners, by port.
    pub listeners: Vec<String>,
    /// Disks, by [`DiskId`].
    pub disks: Vec<DiskEntry>,
    /// Work that can block.
    pub reap: Reap<S>,
    /// What became of connections.
    pub drains: Drains,
    registry: Mutex<Registry>,
    reactors: OnceLock<Vec<Sender<Message<S>>>>,
    hosts: OnceLock<Arc<Hosts>>,
    compute: OnceLock<Compute>,
}

impl<S: Stack> Shared<S> {
    /// Before the reactors exist.
    #[must_use]
    pub fn new(
        settings: Settings,
        export: Export,
        listeners: Vec<String>,
        disks: Vec<Arc<Disk>>,
        reap: Reap<S>,
    ) -> Self {
        let entry = |disk| DiskEntry { disk, orphans: Orphans::default() };
        Self {
            settings,
            export: Arc::new(export),
            listeners,
            disks: disks.into_iter().map(entry).collect(),
            reap,
            drains: Drains::default(),
            registry: Mutex::new(Registry::default()),
            reactors: OnceLock::new(),
            hosts: OnceLock::new(),
            compute: OnceLock::new(),
        }
    }

    /// Bounds hosts and controllers. Once, before the reactors run.
    pub fn set_hosts(&self, hosts: Arc<Hosts>) {
        drop(self.hosts.set(hosts));
    }

    /// The hosts that have controllers; without a bound if none was set.
    pub fn hosts(&self) -> &Arc<Hosts> {
        self.hosts.get_or_init(|| Hosts::new(u32::MAX, u32::MAX))
    }

    /// Says where what takes long is computed. Once, before the reactors run.
    pub fn set_compute(&self, compute: Compute) {
        drop(self.compute.set(compute));
    }

    /// Hands a computation over; a simulator, which sets no threads, has it done at once.
    pub fn compute(&self, computation: Computation) {
        match self.compute.get() {
            Some(compute) => compute(computation),
            None => computation.run(),
        }
    }

    /// Says where the reactors read. Once.
    pub fn set_reactors(&self, reactors: Vec<Sender<Message<S>>>) {
        drop(self.reactors.set(reactors));
    }

    /// Where the reactors read.
    pub fn reactors(&self) -> &[Sender<Message<S>>] {
        self.reactors.get().map_or(&[], Vec::as_slice)
    }

    /// Which controller ids are taken, and who owns them. Connect path only.
    pub fn registry(&self) -> MutexGuard<'_, Registry> {
        self.registry.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The disk of a namespace.
    ///
    /// # Panics
    /// The export names a disk that does not exist: it is built from the same table.
    pub fn disk(&self, id: DiskId) -> &DiskEntry {
        &self.disks[id.0 as usize]
    }

    /// The name of a port's listener.
    pub fn listener_name(&self, port: u16) -> String {
        let index = usize::from(port).checked_sub(1);
        index.and_then(|i| self.listeners.get(i)).cloned().unwrap_or_default()
    }

    /// Sends to the reactor of `to`.
    pub fn send(&self, to: Name, message: Message<S>) {
        if let Some(reactor) = self.reactors().get(usize::from(to.reactor)) {
            reactor.send(message);
        }
    }

    /// Every reactor may have something that waited behind an orphan.
    pub fn tell_all_orphan_gone(&self) {
        for reactor in self.reactors() {
            reactor.send(Message::OrphanGone);
        }
    }

    /// Hands a job of reactor `index` over; the answer comes as a message.
    pub fn reap(&self, index: u8, job: Job<S>) {
        let Some(sender) = self.reactors().get(usize::from(index)).cloned() else { return };
        let reply: Reply = Arc::new(move |outcome| sender.send(Message::Reaped(outcome)));
        (self.reap)(job, reply);
    }
}
