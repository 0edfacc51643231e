//! The fabric: what a driver holds.

use std::fmt;
use std::net::IpAddr;
use std::os::fd::RawFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use transport::device::{DeviceAttr, DeviceKey};
use transport::time::Now;

use crate::behaviour::Behaviour;
use crate::cm::SimStack;
use crate::device::DeviceInfo;
use crate::fingerprint::Polls;
use crate::happening::Happening;
use crate::limits::RUN_MAX;
use crate::memory::Range;
use crate::oracle::{Oracle, Question};
use crate::peer::{Host, HostState};
use crate::shadow::{DiskAccess, DiskTouch, Holder};
use crate::violation::Violation;
use crate::world::{DeviceState, NodeState, Source, World};

/// A process of the target, by its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Node(pub(crate) usize);

/// Machines, devices and wires of one simulation. Clones are the same fabric.
#[derive(Clone)]
pub struct Fabric {
    world: Arc<Mutex<World>>,
}

impl fmt::Debug for Fabric {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fabric").field("now", &self.now()).finish_non_exhaustive()
    }
}

impl Fabric {
    /// An empty fabric whose choices are made by `oracle`.
    #[must_use]
    pub fn new(oracle: Box<dyn Oracle>) -> Self {
        Self { world: Arc::new(Mutex::new(World::new(oracle))) }
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Another oracle from here on.
    pub fn set_oracle(&self, oracle: Box<dyn Oracle>) {
        self.lock().set_oracle(oracle);
    }

    // Machines

    /// A process that will use RDMA.
    #[must_use]
    pub fn add_node(&self, name: &str) -> Node {
        let mut world = self.lock();
        world.nodes.push(NodeState { name: name.to_owned(), ..NodeState::default() });
        Node(world.nodes.len() - 1)
    }

    /// A device of that row under that address. Several on one node are fine; a device that was
    /// removed comes back as another one.
    pub fn add_device(&self, node: Node, row: &'static Behaviour, address: IpAddr) {
        let mut world = self.lock();
        let index = world.devices.len();
        let info = DeviceInfo {
            name: format!("sim{index}"),
            instance: index as u64 + 1,
            key: DeviceKey {
                driver: row.driver.to_owned(),
                vendor_id: 0x51,
                vendor_part_id: 0x3A,
                transport: row.transport,
            },
            attr: DeviceAttr {
                max_qp_wr: 8192,
                max_sge: 16,
                max_sge_rd: 1,
                max_cqe: 1 << 20,
                max_qp_init_rd_atom: 16,
                max_qp_rd_atom: 16,
                max_mr_size: 1 << 40,
                send_with_invalidate: true,
            },
        };
        world.devices.push(DeviceState {
            node: node.0,
            row,
            address,
            info: Arc::new(info),
            fatal: false,
            disassociated: false,
            removed: false,
            events: std::collections::VecDeque::new(),
            numbers_free: Vec::new(),
            number_next: 17,
        });
    }

    /// The RDMA stack of a node.
    #[must_use]
    pub fn stack(&self, node: Node) -> SimStack {
        SimStack::new(self.clone(), node.0)
    }

    /// A peer machine.
    #[must_use]
    pub fn add_host(&self, address: IpAddr) -> Host {
        let mut world = self.lock();
        world.hosts.push(HostState::new(address));
        Host::new(self.clone(), world.hosts.len() - 1)
    }

    // Time and what happens

    /// Virtual time.
    #[must_use]
    pub fn now(&self) -> Now {
        self.lock().now
    }

    /// Lets time pass; it never goes back.
    pub fn set_now(&self, now: Now) {
        let mut world = self.lock();
        world.now = world.now.max(now);
    }

    /// When the next pending thing may happen, which may lie in the past; `None` when nothing is
    /// pending.
    #[must_use]
    pub fn due(&self) -> Option<Now> {
        self.lock().due()
    }

    /// What may happen now.
    #[must_use]
    pub fn enabled(&self) -> Vec<Happening> {
        let world = self.lock();
        let indices = world.enabled();
        indices.map(|i| Happening { what: world.pending[i].what.clone() }).collect()
    }

    /// How many things may happen now.
    #[must_use]
    pub fn enabled_count(&self) -> usize {
        self.lock().enabled().count()
    }

    /// Fewer states and choices for an exhaustive driver: asynchronous flushes of a queue come in
    /// two steps, the oldest and all others, instead of one by one, and the oracle is asked only
    /// between outcomes that differ where and when it is asked.
    pub fn coarse(&self, coarse: bool) {
        self.lock().coarse = coarse;
    }

    /// From here on a connection's events are dropped, and its peer neither hears of it nor says
    /// anything: for an exhaustive driver that reads them no more, and does not want to tell states
    /// apart by them. What the peer's memory lets work in flight do, it lets it do.
    pub fn forget_peer(&self, connection: usize) {
        let mut world = self.lock();
        if connection < world.conns.len() {
            world.forget_peer(connection);
        }
    }

    /// Lets the one at that place of [`Self::enabled`] happen. Says whether there was one.
    pub fn happen(&self, index: usize) -> bool {
        let mut world = self.lock();
        let Some(at) = world.enabled().nth(index) else { return false };
        let pending = world.pending.remove(at);
        world.perform(pending.what);
        true
    }

    /// Lets one enabled thing happen, of the oracle's choice. Says whether there was one.
    pub fn step(&self) -> bool {
        let mut world = self.lock();
        let enabled: Vec<usize> = world.enabled().collect();
        if enabled.is_empty() {
            return false;
        }
        let pick = world.choose(Question::Next, enabled.len());
        let pending = world.pending.remove(enabled[pick]);
        world.perform(pending.what);
        true
    }

    /// Lets everything happen that is enabled now; says how much that was.
    pub fn run_due(&self) -> usize {
        (0..RUN_MAX).take_while(|_| self.step()).count()
    }

    /// No more faults and no more mischief, and short delays. What was lost stays lost.
    pub fn calm(&self, calm: bool) {
        self.lock().calm = calm;
    }

    /// Asks the same oracle for a choice of the driver's: a number below `options`.
    #[must_use]
    pub fn choose(&self, question: Question, options: usize) -> usize {
        self.lock().choose(question, options)
    }

    /// Whether reading at this descriptor would find something.
    #[must_use]
    pub fn readable(&self, fd: RawFd) -> bool {
        let world = self.lock();
        match world.sources.get(&fd) {
            Some(Source::Listeners(node)) => !world.nodes[*node].ready.is_empty(),
            Some(Source::Id(conn)) => {
                world.conns.get(*conn).is_some_and(|conn| !conn.events.is_empty())
            }
            Some(Source::Async(device)) => !world.devices[*device].events.is_empty(),
            Some(Source::Channel(cq)) => world.cqs[*cq].events > 0,
            None => false,
        }
    }

    /// Completions that wait in completion queues of the fabric.
    #[must_use]
    pub fn completions_waiting(&self) -> usize {
        self.lock().cqs.iter().map(|cq| cq.entries.len()).sum()
    }

    // Memory

    /// A disk begins to touch memory. Whatever a device may touch, or another disk operation, is
    /// recorded as a violation. Memory that no device knows is fine too.
    pub fn disk_begins(&self, addr: u64, len: usize, access: DiskAccess) -> DiskTouch {
        let mut world = self.lock();
        let range = Range { addr, len };
        let writes = access == DiskAccess::Writes;
        if let Some(rule) = world.shadow.conflict(range, Holder::Disk, writes) {
            world.violate(rule, || format!("a disk {access:?} {len} bytes at {addr:#x}"));
        }
        let at = (len > 0).then(|| world.shadow.hold(range, Holder::Disk, writes, 0));
        DiskTouch { at }
    }

    /// The disk is through with it.
    pub fn disk_ends(&self, touch: DiskTouch) {
        if let Some(at) = touch.at {
            self.lock().shadow.release(at);
        }
    }

    /// Memory came back to the owner: nobody may hold it any more. A device that still does is a
    /// violation.
    pub fn check_released(&self, addr: u64, len: usize) {
        let mut world = self.lock();
        world.check_released(Range { addr, len });
    }

    // Results

    /// Rules that were broken so far.
    #[must_use]
    pub fn violations(&self) -> Vec<Violation> {
        self.lock().violations().to_vec()
    }

    /// Keeps a trace from here on, or stops.
    pub fn record(&self, on: bool) {
        self.lock().record(on);
    }

    /// The trace: a line for each thing that happened.
    #[must_use]
    pub fn trace(&self) -> Vec<String> {
        self.lock().trace()
    }

    /// Adds a driver's line to the trace.
    pub fn note(&self, line: &str) {
        self.lock().note(|| line.to_owned());
    }

    /// As [`Self::fingerprint`], of what can be polled only.
    #[must_use]
    pub fn fingerprint_of_completions(&self, polls: Polls) -> u64 {
        self.lock().fingerprint_of_completions(polls)
    }

    /// As [`Self::note`], made only when a trace is kept.
    pub fn note_with(&self, line: impl FnOnce() -> String) {
        self.lock().note(line);
    }

    /// A number that two fabrics share when they behave alike from here on, for a driver that polls
    /// in this way: addresses, ids and the absolute time are left out.
    #[must_use]
    pub fn fingerprint(&self, polls: Polls) -> u64 {
        self.lock().fingerprint(polls)
    }
}
