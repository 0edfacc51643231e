//! `sluice serve`: puts the parts together, runs them, and takes them apart in order.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Instant;

use anyhow::Context;
use block::{EngineOptions, SystemEngine};
use sluice_config::schema::{Placement, RdmaMode, SendWithInvalidate};
use sluice_config::{Config, Loaded};
use transport::reaper::Reapers;
use verbs::Verbs;

use crate::acceptor::{
    Acceptor, AcceptorParts, ListenerSpec, ListenerState, ListenerStates, OpenStack, StopAcceptor,
};
use crate::admission::Admission;
use crate::clock::{Clock, MonotonicClock};
use crate::computing;
use crate::control;
use crate::disk_buf::DiskBuf;
use crate::export;
use crate::hosts::Hosts;
use crate::inspect::{self, Inspector};
use crate::limits::{REACTOR_START_TIMEOUT, SHUTDOWN_TIMEOUT};
use crate::mailbox::Sender;
use crate::reactor::message::Message;
use crate::reactor::run::{Inbox, Pace, run as run_reactor};
use crate::removal::{self, Hint};
use crate::shared::{Settings, Shared};
use crate::signals::StopSignal;
use crate::{notify, signals};

/// Permissions of the control socket: the daemon's user and group.
const CONTROL_SOCKET_MODE: u32 = 0o660;

/// Registered memory of a connection that can't share a lane, bytes.
const PRIVATE_POOL_BYTES: usize = 16 << 20;
const _: () = assert!(
    PRIVATE_POOL_BYTES as u64
        >= sluice_config::limits::TRANSFER_BYTES.max as u64
            * sluice_config::limits::POOL_TRANSFERS_MIN,
    "the largest transfers fit, as into a lane's pool; queues have memory of their own"
);

/// Serves until SIGTERM or SIGINT, then closes everything within
/// [`SHUTDOWN_TIMEOUT`](crate::limits::SHUTDOWN_TIMEOUT).
///
/// # Errors
/// What could not be started, or did not end in time.
pub fn run(loaded: Loaded, path: &Path) -> anyhow::Result<()> {
    let config = loaded.config;
    let started = Instant::now();
    let clock = MonotonicClock::start();
    let control = control::Server::bind(&config.control_socket.value, CONTROL_SOCKET_MODE)?;
    let (stop, stopped) = mpsc::channel();
    let (held, failed) = (stop.clone(), stop.clone());
    let signals =
        signals::watch(move |signal| stop.send(Stop::Signal(signal)).unwrap_or_default())?;
    let removals = removal::watch(verbs::removed_in_use, move |devices| {
        held.send(Stop::DeviceHeld(devices)).unwrap_or_default();
    })
    .context("the removals' thread")?;

    let parts = Parts::build(&config, clock)?;
    let draining = Arc::new(AtomicBool::new(false));
    let inspector = Arc::new(Inspector {
        config: config.clone(),
        config_path: PathBuf::from(path),
        started,
        shared: Arc::clone(&parts.shared),
        listeners: Arc::clone(&parts.states),
        draining: Arc::clone(&draining),
    });
    let running = Running::start(&config, parts, clock, removals, &failed)?;
    let control = control.start(inspector).context("the control socket's thread")?;

    notify::ready("serving");
    let why = stopped.recv().context("the signal thread ended")?;
    match &why {
        Stop::Signal(signal) => {
            tracing::info!(%signal, "stopping: closing every connection");
        }
        Stop::DeviceHeld(devices) => {
            tracing::error!(devices, "the kernel waits for the end of this process: stopping");
        }
        Stop::ReactorEnded(error) => {
            tracing::error!(error, "a reactor can't go on: stopping the others");
        }
    }
    notify::stopping("draining");
    draining.store(true, Ordering::Relaxed);
    let ended = running.stop();
    control.stop();
    drop(signals);
    ended?;
    match why {
        Stop::Signal(_) => Ok(()),
        Stop::DeviceHeld(devices) => anyhow::bail!(
            "{devices} was removed, and librdmacm keeps it open until this process ends; start it \
             again (systemd does)"
        ),
        Stop::ReactorEnded(error) => anyhow::bail!(error),
    }
}

/// Why the daemon ends.
enum Stop {
    /// It was told to.
    Signal(StopSignal),
    /// These devices can't be released otherwise.
    DeviceHeld(String),
    /// A reactor failed while it served, for this reason: its hosts would wait for ever.
    ReactorEnded(String),
}

struct Parts {
    shared: Arc<Shared<Verbs>>,
    reapers: Reapers<Verbs>,
    states: ListenerStates,
    inboxes: Vec<Inbox<Verbs>>,
}

impl Parts {
    fn build(config: &Config, clock: MonotonicClock) -> anyhow::Result<Self> {
        let exported = export::build(config)?;
        let reapers =
            Reapers::new(Box::new(move || crate::clock::transport_now(Clock::now(&clock))));
        let reap = {
            let reapers = reapers.clone();
            Arc::new(move |job, reply| reapers.submit(job, reply))
        };
        let listeners = config.listeners.iter().map(|l| l.name.as_str().to_owned()).collect();
        let shared = Arc::new(Shared::new(
            settings(config)?,
            exported.export,
            listeners,
            exported.disks,
            reap,
        ));
        let inboxes = (0..config.reactors.placement.count())
            .map(|_| Inbox::new())
            .collect::<Result<Vec<_>, _>>()
            .context("a reactor's mailbox")?;
        shared.set_reactors(inboxes.iter().map(Inbox::sender).collect());
        shared.set_compute(computing::start().context("a thread that computes")?);
        shared.set_hosts(Hosts::new(config.limits.hosts, config.limits.controllers));
        let waiting = ListenerState::Waiting("not tried yet".to_owned());
        let states = Arc::new(Mutex::new(vec![waiting; config.listeners.len()]));
        Ok(Self { shared, reapers, states, inboxes })
    }
}

fn settings(config: &Config) -> anyhow::Result<Settings> {
    let limits = &config.limits;
    Ok(Settings {
        queue_depth_max: limits.queue_depth,
        in_capsule_bytes: usize::try_from(limits.in_capsule_bytes)?,
        pool_bytes: usize::try_from(limits.pool.bytes())?,
        private_pool_bytes: PRIVATE_POOL_BYTES,
        send_with_invalidate: config.rdma.send_with_invalidate == SendWithInvalidate::Auto,
        handshake: limits.handshake,
    })
}

struct Running {
    reactors: Vec<JoinHandle<()>>,
    senders: Vec<Sender<Message<Verbs>>>,
    acceptor: Option<(StopAcceptor, JoinHandle<()>)>,
    reapers: Reapers<Verbs>,
    ended: mpsc::Receiver<Result<(), String>>,
}

impl Running {
    fn start(
        config: &Config,
        parts: Parts,
        clock: MonotonicClock,
        removals: Hint,
        failed: &mpsc::Sender<Stop>,
    ) -> anyhow::Result<Self> {
        let Parts { shared, reapers, states, inboxes } = parts;
        let senders = shared.reactors().to_vec();
        let (told, ended) = mpsc::channel();
        let (runs, started) = mpsc::channel();
        let pace = Pace { spin: config.reactors.spin };
        let mut reactors = Vec::new();
        for (index, inbox) in inboxes.into_iter().enumerate() {
            let (shared, told) = (Arc::clone(&shared), told.clone());
            let core = match &config.reactors.placement {
                Placement::Count(_) => None,
                Placement::Cores(cores) => cores.get(index).copied(),
            };
            let index = u8::try_from(index).context("at most 256 reactors")?;
            let (runs, failed) = (runs.clone(), failed.clone());
            let body = move || {
                let starts = || drop(runs.send(Ok(())));
                let result = reactor_thread(index, core, shared, inbox, clock, pace, starts);
                let result = result.map_err(|error| format!("reactor {index}: {error:#}"));
                if let Err(error) = &result {
                    // One of the two listens: who waits for the start, or who waits for the end.
                    drop(runs.send(Err(error.clone())));
                    drop(failed.send(Stop::ReactorEnded(error.clone())));
                }
                drop(told.send(result));
            };
            reactors.push(thread::Builder::new().name(format!("reactor-{index}")).spawn(body)?);
        }
        for _ in &reactors {
            let start = started.recv_timeout(REACTOR_START_TIMEOUT);
            start.context("a reactor does not start")?.map_err(anyhow::Error::msg)?;
        }
        let acceptor = start_acceptor(config, &shared, states, removals)?;
        Ok(Self { reactors, senders, acceptor, reapers, ended })
    }

    /// Stops listening, closes every connection, and waits for the reactors.
    fn stop(self) -> anyhow::Result<()> {
        let deadline = Instant::now() + SHUTDOWN_TIMEOUT;
        if let Some((stop, thread)) = self.acceptor {
            stop.stop();
            drop(thread.join());
        }
        for sender in &self.senders {
            sender.send(Message::Shutdown);
        }
        let mut failed = None;
        for left_over in (1..=self.reactors.len()).rev() {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.ended.recv_timeout(left) {
                Ok(Ok(())) => {}
                // The others' connections are drained all the same.
                Ok(Err(error)) => failed = Some(error),
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
                    anyhow::bail!(
                        "{} {} s after the end was asked for; ending without them: the kernel \
                         releases what they hold",
                        what_is_left(&self.senders, left_over),
                        SHUTDOWN_TIMEOUT.as_secs()
                    );
                }
            }
        }
        for thread in self.reactors {
            drop(thread.join());
        }
        self.reapers.stop();
        if let Some(error) = failed {
            anyhow::bail!(error);
        }
        tracing::info!("every connection has ended");
        Ok(())
    }
}

/// What a late end waits for, of the `running` reactors that have not ended. One that does not
/// answer is stuck itself.
fn what_is_left(reactors: &[Sender<Message<Verbs>>], running: usize) -> String {
    let parts = inspect::ask(reactors, running);
    let connections: u32 = parts.iter().map(|part| part.reactor.connections).sum();
    let operations: usize = parts.iter().map(|part| part.disk_operations).sum();
    let silent = running - parts.len();
    format!(
        "{connections} connections and {operations} disk operations were left, and {silent} \
         reactors did not answer,"
    )
}

fn start_acceptor(
    config: &Config,
    shared: &Arc<Shared<Verbs>>,
    states: ListenerStates,
    removals: Hint,
) -> anyhow::Result<Option<(StopAcceptor, JoinHandle<()>)>> {
    if config.rdma.mode == RdmaMode::Off {
        let mut states = states.lock().unwrap_or_else(PoisonError::into_inner);
        states.fill(ListenerState::Off("rdma.mode is \"off\"".to_owned()));
        return Ok(None);
    }
    let nodes = removals.clone();
    let open: OpenStack<Verbs> = Box::new(move || {
        let stack = Verbs::open().map_err(|error| error.to_string())?;
        if let Err(error) = nodes.watch_nodes() {
            tracing::warn!(%error, "verbs nodes are not watched");
        }
        Ok(stack)
    });
    if config.rdma.mode == RdmaMode::On {
        // The administrator wants a start without RDMA to fail, not to wait.
        drop(Verbs::open().context("rdma.mode is \"on\"")?);
    }
    let specs = config.listeners.iter().enumerate().map(|(i, listener)| ListenerSpec {
        port: export::port_id(i).0,
        name: listener.name.as_str().to_owned(),
        address: SocketAddr::new(listener.address.value, listener.port),
    });
    let limits = &config.limits;
    let admission =
        Admission::new(config.reactors.placement.count(), limits.queues, limits.closing);
    let (mut acceptor, stop) = Acceptor::new(AcceptorParts {
        open,
        listeners: specs.collect(),
        reactors: shared.reactors().to_vec(),
        admission,
        reap: Arc::clone(&shared.reap),
        states,
    })?;
    acceptor.on_removal(Box::new(move || removals.give()));
    // READY means that whoever can be reached can be reached: the first try to listen is over.
    let (ready, is_ready) = mpsc::channel();
    let body = move || acceptor.run(move || ready.send(()).unwrap_or_default());
    let thread = thread::Builder::new().name("cm".to_owned()).spawn(body)?;
    is_ready.recv().context("the connection-manager thread ended")?;
    Ok(Some((stop, thread)))
}

fn reactor_thread(
    index: u8,
    core: Option<u16>,
    shared: Arc<Shared<Verbs>>,
    inbox: Inbox<Verbs>,
    clock: MonotonicClock,
    pace: Pace,
    starts: impl FnOnce(),
) -> anyhow::Result<()> {
    if let Some(core) = core {
        pin(core)?;
    }
    // A ring belongs to the thread that made it.
    let disks = SystemEngine::<DiskBuf>::start(&EngineOptions::default())?;
    tracing::info!(reactor = index, core, disks = disks.describe(), "reactor runs");
    starts();
    run_reactor(index, shared, inbox, disks, &clock, pace).context("waiting for events")
}

fn pin(core: u16) -> anyhow::Result<()> {
    let mut set = rustix::thread::CpuSet::new();
    set.set(usize::from(core));
    rustix::thread::sched_setaffinity(None, &set)
        .with_context(|| format!("can't run on core {core} (reactors.cores)"))
}
