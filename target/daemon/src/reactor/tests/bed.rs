//! A reactor on a simulated RDMA stack, with disks that answer when they are told to.

use std::cell::RefCell;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::ptr::NonNull;
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use std::{io, iter};

use block::{Completion, Disk, DiskKind, DiskSpec, FixedRegion, Refused, RegionError, Request};
use nvme::auth::{Credentials, Key, Policy};
use nvme::{
    ControllerLimits, Discovery, DiskId, Export, HostNqn, Identity, Namespace, NamespaceFeatures,
    Nsid, Port, PortId, SubNqn, Subsystem, TransportAddress, TransportKind,
};
use sim::behaviour::Behaviour;
use sim::{Call, Fabric, Host, Node, Oracle, Question, Reaping, SimStack};
use transport::reaper::{Job, Reply};
use transport::time::Now;

use crate::acceptor::{Acceptor, AcceptorParts, ListenerSpec, ListenerState};
use crate::admission::Admission;
use crate::disk_buf::DiskBuf;
use crate::mailbox::Mailbox;
use crate::reactor::Reactor;
use crate::reactor::command::Work;
use crate::reactor::platform::{Source, Watch};
use crate::shared::{Settings, Shared};

/// The exported subsystem, with two disks of 1 MiB.
pub(super) const SUBNQN: &str = "nqn.2026-01.bed:disks";
/// The host that has to authenticate itself.
pub(super) const GUARDED: &str = "nqn.2026-01.bed:guarded";
/// Each byte of its key.
pub(super) const KEY_BYTE: u8 = 0xd5;
/// Disks exported.
pub(super) const DISKS: u32 = 2;
/// Rounds of one [`Bed::turn`]: more is a reactor that never comes to rest.
const ROUNDS_MAX: usize = 10_000;

/// Everything happens at once, and nothing fails but this call.
struct Calm(Arc<Mutex<Option<Call>>>);

impl Oracle for Calm {
    fn choose(&mut self, question: Question, _options: usize) -> usize {
        let failing = *self.0.lock().unwrap();
        usize::from(failing.is_some_and(|call| question == Question::Fault(call)))
    }
}

/// What the disks have.
pub(super) struct DiskState {
    /// Operations that no disk has answered, oldest first.
    pub(super) held: Vec<(Arc<Disk>, u64, Request<DiskBuf>)>,
    done: Vec<Completion<DiskBuf>>,
    /// Regions registered now.
    pub(super) regions: usize,
    /// Operations taken at a time.
    pub(super) capacity: usize,
}

/// Keeps what it is given until it is told to answer.
pub(super) struct Disks {
    state: Rc<RefCell<DiskState>>,
    fd: OwnedFd,
}

impl block::Engine<DiskBuf> for Disks {
    fn submit(
        &mut self,
        disk: &Arc<Disk>,
        token: u64,
        request: Request<DiskBuf>,
    ) -> Result<(), Refused<DiskBuf>> {
        let mut state = self.state.borrow_mut();
        if state.held.len() + state.done.len() >= state.capacity {
            return Err(Refused(request));
        }
        state.held.push((Arc::clone(disk), token, request));
        Ok(())
    }

    fn flush_submissions(&mut self) {}

    fn poll(&mut self, completions: &mut Vec<Completion<DiskBuf>>) -> usize {
        let mut state = self.state.borrow_mut();
        let count = state.done.len().min(block::limits::COMPLETION_BATCH_MAX);
        completions.extend(state.done.drain(..count));
        count
    }

    fn has_ready(&self) -> bool {
        !self.state.borrow().done.is_empty()
    }

    fn event_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    fn in_flight(&self) -> usize {
        let state = self.state.borrow();
        state.held.len() + state.done.len()
    }

    fn register_region(&mut self, _: NonNull<u8>, _: usize) -> Result<FixedRegion, RegionError> {
        self.state.borrow_mut().regions += 1;
        Ok(FixedRegion(0))
    }

    fn unregister_region(&mut self, _region: FixedRegion) {
        self.state.borrow_mut().regions -= 1;
    }

    fn release_disk(&mut self, _disk: &Disk) {}
}

#[derive(Clone, Default)]
struct Watches(Rc<RefCell<Vec<(RawFd, Source)>>>);

impl Watch for Watches {
    fn watch(&self, fd: BorrowedFd<'_>, source: Source) -> io::Result<()> {
        self.0.borrow_mut().push((fd.as_raw_fd(), source));
        Ok(())
    }

    fn unwatch(&self, fd: BorrowedFd<'_>) {
        self.0.borrow_mut().retain(|(watched, _)| *watched != fd.as_raw_fd());
    }
}

/// What a bed is made of.
pub(super) struct Plan {
    /// The target's devices: the first is reached at [`address`] 0, and so on.
    pub(super) devices: Vec<&'static Behaviour>,
    /// Memory for I/O of one lane, bytes.
    pub(super) pool_bytes: usize,
    /// Bound on connections, and on those that close.
    pub(super) admission: (u32, u32),
    /// What is not as usual in the settings.
    pub(super) settings: fn(&mut Settings),
}

impl Default for Plan {
    fn default() -> Self {
        let devices = vec![&sim::rows::RXE_6_12];
        Self { devices, pool_bytes: 16 << 20, admission: (1000, 1000), settings: |_| {} }
    }
}

type Jobs = Arc<Mutex<Vec<(Job<SimStack>, Reply)>>>;

/// The reactor and its world.
pub(super) struct Bed {
    pub(super) reactor: Reactor<SimStack, Disks>,
    pub(super) fabric: Fabric,
    pub(super) node: Node,
    /// The call that fails now.
    pub(super) failing: Arc<Mutex<Option<Call>>>,
    pub(super) disks: Rc<RefCell<DiskState>>,
    acceptor: Acceptor<SimStack>,
    jobs: Jobs,
    reapings: Vec<(Reaping, Reply)>,
    watches: Watches,
    now: Duration,
}

/// Where the target's device of that index listens.
pub(super) fn address(device: usize) -> SocketAddr {
    let last = u8::try_from(device + 1).unwrap();
    SocketAddr::new(IpAddr::from([10, 0, 0, last]), 4420)
}

impl Bed {
    pub(super) fn new(plan: &Plan) -> Self {
        let failing = Arc::default();
        let fabric = Fabric::new(Box::new(Calm(Arc::clone(&failing))));
        let node = fabric.add_node("target");
        for (index, row) in plan.devices.iter().enumerate() {
            fabric.add_device(node, row, address(index).ip());
        }
        let jobs: Jobs = Arc::default();
        let queue = Arc::clone(&jobs);
        let reap: crate::reactor::platform::Reap<SimStack> =
            Arc::new(move |job, reply| queue.lock().unwrap().push((job, reply)));
        let disk = || Disk::open(&DiskSpec::new(DiskKind::Null { size_bytes: 1 << 20 })).unwrap();
        let backing = (0..DISKS).map(|_| Arc::new(disk())).collect();
        let names = plan.devices.iter().map(|row| row.name.to_owned()).collect();
        let exported = export(plan.devices.len());
        let shared = Arc::new(Shared::new(settings(plan), exported, names, backing, reap.clone()));
        let mailbox = Mailbox::new(Box::new(|| {}));
        let sender = mailbox.sender();
        shared.set_reactors(vec![sender.clone()]);
        let (engine, disks) = engine();
        let watches = Watches::default();
        let watch = Box::new(watches.clone());
        let reactor = Reactor::new(0, shared, mailbox, engine, watch);
        let stack = fabric.stack(node);
        let listeners = plan.devices.iter().enumerate().map(|(index, row)| ListenerSpec {
            port: u16::try_from(index + 1).unwrap(),
            name: row.name.to_owned(),
            address: address(index),
        });
        let waiting = ListenerState::Waiting(String::new());
        let mut acceptor = Acceptor::stepped(AcceptorParts {
            open: Box::new(move || Ok(stack.clone())),
            listeners: listeners.collect(),
            reactors: vec![sender],
            admission: Admission::new(1, plan.admission.0, plan.admission.1),
            reap,
            states: Arc::new(Mutex::new(vec![waiting; plan.devices.len()])),
        });
        acceptor.listen_all();
        Self {
            reactor,
            fabric,
            node,
            failing,
            disks,
            acceptor,
            jobs,
            reapings: Vec::new(),
            watches,
            now: Duration::ZERO,
        }
    }

    /// A host machine; its last address byte is `number`.
    pub(super) fn host(&self, number: u8) -> Host {
        self.fabric.add_host(IpAddr::from([10, 0, 1, number]))
    }

    /// Everything that can happen now does.
    pub(super) fn turn(&mut self) {
        for _ in 0..ROUNDS_MAX {
            let mut any = self.fabric.run_due() > 0;
            self.acceptor.turn();
            let watched = self.watches.0.borrow().clone();
            for (fd, source) in watched {
                if self.fabric.readable(fd) {
                    self.reactor.readable(source, self.now);
                }
            }
            self.reactor.readable(Source::Mailbox, self.now);
            any |= self.reactor.tick(self.now);
            self.reactor.arm_lanes();
            any |= self.reap();
            if !any {
                return;
            }
        }
        panic!("the reactor does not come to rest");
    }

    fn reap(&mut self) -> bool {
        let jobs = std::mem::take(&mut *self.jobs.lock().unwrap_or_else(PoisonError::into_inner));
        let mut any = !jobs.is_empty();
        for (job, reply) in jobs {
            self.reapings.push((self.fabric.reaping(job), reply));
        }
        let now = self.now;
        while let Some(at) = self.reapings.iter().position(|(r, _)| r.ready_at().0 <= now) {
            let (reaping, reply) = self.reapings.remove(at);
            if let Some(outcome) = reaping.run() {
                reply(outcome);
            }
            any = true;
        }
        any
    }

    /// Time passes.
    pub(super) fn run(&mut self, span: Duration) {
        let until = self.now + span;
        loop {
            self.turn();
            let reapings = self.reapings.iter().map(|(reaping, _)| reaping.ready_at().0);
            let others = [self.fabric.due().map(|at| at.0), self.reactor.next_deadline()];
            let next = reapings.chain(others.into_iter().flatten()).min();
            let next = next.map_or(until, |at| at.max(self.now)).min(until);
            if next == until && self.now == until {
                return;
            }
            self.now = next;
            self.fabric.set_now(Now(next));
        }
    }

    /// The disks answer what they have, with success.
    pub(super) fn answer_disks(&mut self) {
        self.answer_disk(None);
    }

    /// The disks answer what they have, with data of such bytes.
    pub(super) fn answer_reads(&mut self, byte: u8) {
        for (_, _, request) in &mut self.disks.borrow_mut().held {
            if let Request::Read { buf, .. } = request {
                buf.0.as_mut_slice().fill(byte);
            }
        }
        self.answer_disks();
    }

    /// One disk answers, by its index; or all.
    pub(super) fn answer_disk(&mut self, disk: Option<usize>) {
        let only = disk.map(|index| Arc::clone(&self.reactor.shared.disks[index].disk));
        {
            let mut state = self.disks.borrow_mut();
            let all = std::mem::take(&mut state.held);
            for (disk, token, request) in all {
                if only.as_ref().is_some_and(|only| !Arc::ptr_eq(only, &disk)) {
                    state.held.push((disk, token, request));
                    continue;
                }
                let buf = match request {
                    Request::Read { buf, .. } | Request::Write { buf, .. } => Some(buf),
                    Request::Flush | Request::WriteZeroes { .. } | Request::Discard { .. } => None,
                };
                state.done.push(Completion { token, buf, result: Ok(()) });
            }
        }
        self.turn();
    }

    /// Operations that the disks have.
    pub(super) fn held(&self) -> usize {
        self.disks.borrow().held.len()
    }

    /// What time it is.
    pub(super) fn transport_now(&self) -> Now {
        Now(self.now)
    }

    /// The slot of the youngest connection.
    pub(super) fn youngest(&self) -> usize {
        self.reactor.conns.iter().max_by_key(|(_, conn)| conn.generation).unwrap().0
    }
}

impl Drop for Bed {
    /// A test may end in the middle of a command.
    fn drop(&mut self) {
        for (_, conn) in &mut self.reactor.conns {
            for mut command in conn.commands.drain() {
                let work = &mut command.work;
                let first = if let Work::Compare(x) = work { x.take_first() } else { None };
                for permit in [first, command.permit].into_iter().flatten() {
                    conn.queue.abandon(permit);
                }
            }
        }
    }
}

fn settings(plan: &Plan) -> Settings {
    let mut settings = Settings {
        queue_depth_max: 128,
        in_capsule_bytes: 4096,
        pool_bytes: plan.pool_bytes,
        private_pool_bytes: 4 << 20,
        send_with_invalidate: true,
        handshake: Duration::from_secs(10),
    };
    (plan.settings)(&mut settings);
    settings
}

fn engine() -> (Disks, Rc<RefCell<DiskState>>) {
    let capacity = block::limits::QUEUE_DEPTH_DEFAULT as usize;
    let state = DiskState { held: Vec::new(), done: Vec::new(), regions: 0, capacity };
    let state = Rc::new(RefCell::new(state));
    let fd = rustix::event::eventfd(0, rustix::event::EventfdFlags::CLOEXEC).unwrap();
    (Disks { state: Rc::clone(&state), fd }, state)
}

fn export(ports: usize) -> Export {
    let limits =
        ControllerLimits { mdts_bytes: 1 << 20, io_queues_max: 100, ..ControllerLimits::default() };
    let identity = Identity::new("BED", "Sluice", "0");
    let namespace = |disk: u32| Namespace {
        nsid: Nsid(disk + 1),
        uuid: uuid::Uuid::from_u128(u128::from(disk) + 1),
        nguid: [0; 16],
        eui64: None,
        lba_shift: 9,
        lba_count: 2048,
        disk: DiskId(disk),
        features: NamespaceFeatures {
            deallocate: true,
            deallocated_reads_zero: true,
            write_zeroes: true,
            volatile_cache: true,
            ..NamespaceFeatures::default()
        },
        read_only: false,
    };
    let port = |index: usize| {
        Arc::new(Port {
            id: PortId(u16::try_from(index + 1).unwrap()),
            transport: TransportKind::Rdma,
            address: TransportAddress(address(index).ip()),
            trsvcid: "4420".to_owned(),
        })
    };
    let ports: Vec<_> = (0..ports).map(port).collect();
    let subsystem = Subsystem {
        nqn: SubNqn::new(SUBNQN).unwrap(),
        identity: identity.clone(),
        allow_any_host: true,
        hosts: Vec::new(),
        credentials: vec![Arc::new(credentials())],
        namespaces: (0..DISKS).map(namespace).collect(),
        ports: ports.iter().map(|port| port.id).collect(),
        cntlid_min: 1,
        cntlid_max: 0xffef,
        limits,
    };
    let discovery = Discovery { genctr: 1, identity, limits };
    Export { subsystems: iter::once(Arc::new(subsystem)).collect(), ports, discovery }
}

/// What the guarded host has to authenticate itself with.
fn credentials() -> Credentials {
    let fill = |bytes: &mut [u8]| {
        bytes.fill(KEY_BYTE);
        true
    };
    let key = Key::generate(None, fill).unwrap();
    let host = HostNqn::new(GUARDED).unwrap();
    Credentials::new(host, SubNqn::new(SUBNQN).unwrap(), &key, None, Policy::default())
}
