//! The daemon as `sluice serve` puts it together, but on a simulated stack and without threads.

use std::cell::RefCell;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use nvme::{
    ControllerLimits, Discovery, DiskId, Export, Identity, Namespace, NamespaceFeatures, Nsid,
    Port, PortId, SubNqn, Subsystem, TransportAddress, TransportKind,
};
use sim::{Fabric, Node, Reaping, SimStack};
use sluice::acceptor::{Acceptor, AcceptorParts, ListenerSpec, ListenerState};
use sluice::admission::Admission;
use sluice::mailbox::Mailbox;
use sluice::reactor::Reactor;
use sluice::reactor::message::Message;
use sluice::reactor::platform::{Reap, Source, Watch};
use sluice::reactor::report::Holdings;
use sluice::shared::{Settings, Shared};
use transport::reaper::{Job, Reply};

use crate::dice::Dice;
use crate::engine::{Disks, EngineHandle, SimEngine};
use crate::limits::{CLOSING, HANDSHAKE, POOL_BYTES, QUEUES};
use crate::plan::Plan;

/// The exported subsystem.
pub(crate) const SUBNQN: &str = "nqn.2026-01.world:disks";
/// The service id of every portal.
const PORT: u16 = 4420;
/// Ticks of a reactor between two looks at its sources while there is work, as in the daemon.
const BUSY_TICKS: u32 = 32;

/// The address of a portal.
pub(crate) fn portal(index: usize) -> SocketAddr {
    let last = u8::try_from(index + 1).unwrap_or(u8::MAX);
    SocketAddr::new(IpAddr::from([10, 0, 0, last]), PORT)
}

/// Remembers what is watched; the driver asks the fabric what is readable.
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

/// A reactor and what its thread would know.
struct Running {
    reactor: Reactor<SimStack, SimEngine>,
    engine: EngineHandle,
    watches: Watches,
    woken: Arc<AtomicBool>,
    sender: sluice::mailbox::Sender<Message<SimStack>>,
    /// When its thread runs next.
    run_at: Option<Duration>,
}

type Jobs = Arc<Mutex<Vec<(Job<SimStack>, Reply)>>>;

/// A daemon.
pub(crate) struct Daemon {
    pub(crate) shared: Arc<Shared<SimStack>>,
    fabric: Fabric,
    stack: SimStack,
    acceptor: Option<Acceptor<SimStack>>,
    acceptor_at: Option<Duration>,
    reactors: Vec<Running>,
    jobs: Jobs,
    reapings: Vec<(Reaping, Reply)>,
    lag_us: u64,
    dice: Dice,
}

fn export(plan: &Plan) -> anyhow::Result<Export> {
    let limits = ControllerLimits {
        io_queues_max: 8,
        mqes: 63,
        mdts_bytes: 16 << 10,
        in_capsule_bytes: u32::try_from(plan.in_capsule)?,
        ..ControllerLimits::default()
    };
    let identity = Identity::new("WORLD", "Sluice", "0");
    let namespace = |disk: usize| -> anyhow::Result<Namespace> {
        let number = u32::try_from(disk)?;
        Ok(Namespace {
            nsid: Nsid(number + 1),
            uuid: uuid::Uuid::from_u128(u128::from(number) + 1),
            nguid: [0; 16],
            eui64: None,
            lba_shift: 9,
            lba_count: plan.blocks,
            disk: DiskId(number),
            features: NamespaceFeatures {
                deallocate: true,
                deallocated_reads_zero: true,
                write_zeroes: true,
                volatile_cache: true,
                ..NamespaceFeatures::default()
            },
            read_only: false,
        })
    };
    let port = |index: usize| -> anyhow::Result<Arc<Port>> {
        Ok(Arc::new(Port {
            id: PortId(u16::try_from(index + 1)?),
            transport: TransportKind::Rdma,
            address: TransportAddress(portal(index).ip()),
            trsvcid: PORT.to_string(),
        }))
    };
    let ports = (0..plan.devices.len()).map(port).collect::<anyhow::Result<Vec<_>>>()?;
    let subsystem = Subsystem {
        nqn: SubNqn::new(SUBNQN)?,
        identity: identity.clone(),
        allow_any_host: true,
        hosts: Vec::new(),
        credentials: Vec::new(),
        namespaces: (0..plan.disks).map(namespace).collect::<anyhow::Result<_>>()?,
        ports: ports.iter().map(|port| port.id).collect(),
        cntlid_min: 1,
        cntlid_max: 0xffef,
        limits,
    };
    let discovery = Discovery { genctr: 1, identity, limits };
    Ok(Export { subsystems: vec![Arc::new(subsystem)], ports, discovery })
}

impl Daemon {
    /// Starts a daemon on a node; `life` counts its starts.
    pub(crate) fn start(
        plan: &Plan,
        fabric: &Fabric,
        node: Node,
        disks: &Rc<RefCell<Disks>>,
        life: u64,
    ) -> anyhow::Result<Self> {
        let jobs: Jobs = Arc::default();
        let queue = Arc::clone(&jobs);
        let reap: Reap<SimStack> = Arc::new(move |job, reply| {
            queue.lock().unwrap_or_else(PoisonError::into_inner).push((job, reply));
        });
        let settings = Settings {
            queue_depth_max: 64,
            in_capsule_bytes: plan.in_capsule,
            pool_bytes: POOL_BYTES,
            private_pool_bytes: POOL_BYTES,
            send_with_invalidate: true,
            handshake: HANDSHAKE,
        };
        let portals = 0..plan.devices.len();
        let names: Vec<String> = portals.clone().map(|index| format!("portal-{index}")).collect();
        let backing = disks.borrow().disks.iter().map(|disk| Arc::clone(&disk.disk)).collect();
        let shared =
            Arc::new(Shared::new(settings, export(plan)?, names.clone(), backing, reap.clone()));
        let mut reactors = Vec::new();
        for index in 0..plan.reactors {
            let (engine, handle) =
                SimEngine::new(Rc::clone(disks), fabric.clone(), plan.engine_capacity)?;
            let woken = Arc::new(AtomicBool::new(false));
            let wake = Arc::clone(&woken);
            let mailbox = Mailbox::new(Box::new(move || wake.store(true, Ordering::Relaxed)));
            let sender = mailbox.sender();
            let watches = Watches::default();
            let watch = Box::new(watches.clone());
            let reactor = Reactor::new(index, Arc::clone(&shared), mailbox, engine, watch);
            reactors.push(Running {
                reactor,
                engine: handle,
                watches,
                woken,
                sender,
                run_at: None,
            });
        }
        let senders: Vec<_> = reactors.iter().map(|running| running.sender.clone()).collect();
        shared.set_reactors(senders.clone());
        let stack = fabric.stack(node);
        let opened = stack.clone();
        let listeners = portals.map(|index| ListenerSpec {
            port: u16::try_from(index + 1).unwrap_or(u16::MAX),
            name: names[index].clone(),
            address: portal(index),
        });
        let waiting = ListenerState::Waiting("not tried yet".to_owned());
        let states = Arc::new(Mutex::new(vec![waiting; plan.devices.len()]));
        let mut acceptor = Acceptor::stepped(AcceptorParts {
            open: Box::new(move || Ok(opened.clone())),
            listeners: listeners.collect(),
            reactors: senders,
            admission: Admission::new(usize::from(plan.reactors), QUEUES, CLOSING),
            reap,
            states,
        });
        acceptor.listen_all();
        Ok(Self {
            shared,
            fabric: fabric.clone(),
            stack,
            acceptor: Some(acceptor),
            acceptor_at: None,
            reactors,
            jobs,
            reapings: Vec::new(),
            lag_us: plan.lag_us,
            dice: Dice::new(plan.seed, &format!("daemon {life}")),
        })
    }

    fn lag(&mut self, now: Duration) -> Duration {
        now + Duration::from_micros(self.dice.between(1, self.lag_us))
    }

    /// Wakes whoever has a reason to run.
    pub(crate) fn notice(&mut self, now: Duration) {
        for at in 0..self.reactors.len() {
            let running = &self.reactors[at];
            let due = running.reactor.next_deadline().is_some_and(|deadline| deadline <= now);
            let readable = |(fd, _): &(RawFd, Source)| self.fabric.readable(*fd);
            let wake = running.run_at.is_none()
                && (due
                    || running.woken.load(Ordering::Relaxed)
                    || running.engine.has_done()
                    || running.watches.0.borrow().iter().any(readable));
            if wake {
                let run_at = self.lag(now);
                self.reactors[at].run_at = Some(run_at);
            }
        }
        if self.acceptor.is_some() && self.acceptor_at.is_none() {
            // Its devices' events are its own business: it looks whenever something may be there.
            self.acceptor_at = Some(self.lag(now));
        }
        let jobs = std::mem::take(&mut *self.jobs.lock().unwrap_or_else(PoisonError::into_inner));
        for (job, reply) in jobs {
            self.reapings.push((self.fabric.reaping(job), reply));
        }
    }

    /// Lets one thing of the daemon happen that is due. Says whether there was one.
    pub(crate) fn step(&mut self, now: Duration) -> bool {
        let ready = |(_, (reaping, _)): &(usize, &(Reaping, Reply))| reaping.ready_at().0 <= now;
        let ready: Vec<usize> =
            self.reapings.iter().enumerate().filter(ready).map(|(at, _)| at).collect();
        let runs: Vec<usize> = (0..self.reactors.len())
            .filter(|at| self.reactors[*at].run_at.is_some_and(|run_at| run_at <= now))
            .collect();
        let accepts = self.acceptor_at.is_some_and(|at| at <= now);
        let moves: Vec<usize> = (0..self.reactors.len())
            .filter(|at| self.reactors[*at].engine.due().is_some_and(|due| due <= now))
            .collect();
        let count = ready.len() + runs.len() + usize::from(accepts) + moves.len();
        if count == 0 {
            return false;
        }
        let mut pick = self.dice.index(count);
        if pick < ready.len() {
            let (reaping, reply) = self.reapings.swap_remove(ready[pick]);
            if let Some(outcome) = reaping.run() {
                reply(outcome);
            }
            return true;
        }
        pick -= ready.len();
        if let Some(at) = runs.get(pick) {
            self.run(*at, now);
            return true;
        }
        pick -= runs.len();
        if let Some(at) = moves.get(pick) {
            self.reactors[*at].engine.step(now);
            return true;
        }
        self.acceptor_at = None;
        if let Some(acceptor) = &mut self.acceptor {
            acceptor.turn();
            if acceptor.is_waiting() {
                acceptor.listen_all();
            }
        }
        true
    }

    /// One wakeup of a reactor's thread, as `reactor::run` has it.
    fn run(&mut self, at: usize, now: Duration) {
        let running = &mut self.reactors[at];
        running.run_at = None;
        running.engine.set_now(now);
        let watched = running.watches.0.borrow().clone();
        for (fd, source) in watched {
            if self.fabric.readable(fd) {
                running.reactor.readable(source, now);
            }
        }
        if running.woken.swap(false, Ordering::Relaxed) {
            running.reactor.readable(Source::Mailbox, now);
        }
        for _ in 0..BUSY_TICKS {
            if !running.reactor.tick(now) {
                break;
            }
        }
        running.reactor.arm_lanes();
        if running.reactor.tick(now) || running.reactor.has_ready() {
            let again = self.lag(now);
            self.reactors[at].run_at = Some(again);
        }
    }

    /// When something is due next.
    pub(crate) fn due(&self) -> Option<Duration> {
        let reactors = self.reactors.iter().flat_map(|running| {
            let deadline = running.reactor.next_deadline().filter(|_| running.run_at.is_none());
            [running.run_at, deadline, running.engine.due()]
        });
        let reapings = self.reapings.iter().map(|(reaping, _)| Some(reaping.ready_at().0));
        reactors.chain(reapings).chain([self.acceptor_due()]).flatten().min()
    }

    /// A look of the acceptor alone makes no progress, so it is no reason for time to go on.
    fn acceptor_due(&self) -> Option<Duration> {
        self.acceptor_at.filter(|_| self.fabric.readable(self.listen_fd()))
    }

    fn listen_fd(&self) -> RawFd {
        use transport::device::Stack;
        self.stack.event_fd().as_raw_fd()
    }

    /// Stops listening and closes every connection, as SIGTERM does.
    pub(crate) fn shut_down(&mut self) {
        self.acceptor = None;
        self.acceptor_at = None;
        for running in &self.reactors {
            running.sender.send(Message::Shutdown);
        }
    }

    pub(crate) fn is_finished(&self) -> bool {
        self.reactors.iter().all(|running| running.reactor.is_finished())
            && self.reapings.is_empty()
            && self.jobs.lock().unwrap_or_else(PoisonError::into_inner).is_empty()
    }

    /// What each reactor still has.
    pub(crate) fn holdings(&self) -> Vec<Holdings> {
        self.reactors.iter().map(|running| running.reactor.holdings()).collect()
    }

    /// Disk operations that nobody has the answer of.
    pub(crate) fn disk_operations(&self) -> usize {
        self.reactors.iter().map(|running| running.engine.in_flight()).sum()
    }

    pub(crate) fn release_stuck(&self, now: Duration) {
        for running in &self.reactors {
            running.engine.release_stuck(now);
        }
    }

    /// The process dies. Its queue pairs were destroyed by the kernel already.
    pub(crate) fn kill(self) {
        for running in &self.reactors {
            running.engine.crash();
        }
        self.leave_behind();
    }

    /// Leaves a daemon as it is: a process that ends drops nothing. One that has nothing left is
    /// dropped.
    pub(crate) fn leave_behind(self) {
        let nothing = |holdings: &Holdings| holdings.connections == 0 && holdings.controllers == 0;
        if !self.holdings().iter().all(nothing) {
            std::mem::forget(self);
        }
    }
}
