//! One controller: owned by the reactor of its admin queue, decides everything but I/O.

mod admin;

use std::sync::Arc;

use crate::activity::{IoActivity, IoCounts};
use crate::aer::{AsyncEvents, Notice};
use crate::auth::Credentials;
use crate::connect::{ConnectError, ConnectRequest, IoGrant, IoView};
use crate::discovery::Arrival;
use crate::error_log::ErrorLog;
use crate::export::{ControllerLimits, Export, Subsystem};
use crate::features::Features;
use crate::ident::{Cntlid, HostNqn, Qid, SubNqn};
use crate::keep_alive::KeepAlive;
use crate::limits;
use crate::log_page::ChangedNamespaces;
use crate::now::Now;
use crate::permit::{Outcome, Permit};
use crate::property::Properties;
use crate::wire::Status;

/// An I/O or discovery controller, from its Connect to the end of its association.
///
/// After each call to any `&mut` method, [`Controller::poll_event`] is to be called until it
/// returns nothing, and the timer set to [`Controller::poll_timeout`].
#[derive(Debug)]
pub struct Controller {
    cntlid: Cntlid,
    subnqn: SubNqn,
    host: HostNqn,
    host_id: [u8; 16],
    kind: Kind,
    limits: ControllerLimits,
    properties: Properties,
    features: Features,
    events: AsyncEvents,
    keep_alive: KeepAlive,
    /// What the host has to authenticate each of its queues with.
    credentials: Option<Arc<Credentials>>,
    io_queues: Vec<IoQueue>,
    /// Counts of I/O queues that are gone.
    past: IoCounts,
    /// Failures of all its queues.
    errors: Arc<ErrorLog>,
    changed: ChangedNamespaces,
    /// The list as the last Get Log Page found it: what `fill` shows.
    reported: ChangedNamespaces,
    phase: Phase,
    deadline: Option<Now>,
    outbox: Outbox,
}

#[derive(Debug)]
enum Kind {
    Io(Arc<Subsystem>),
    Discovery { export: Arc<Export>, arrival: Arrival },
}

#[derive(Debug)]
struct IoQueue {
    qid: Qid,
    activity: Arc<IoActivity>,
}

/// What the controller is waiting for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Nothing.
    Running,
    /// [`Controller::io_quiesced`], to be disabled.
    Disabling,
    /// [`Controller::io_quiesced`], to be shut down.
    ShuttingDown,
    /// The host, to disconnect after a shutdown.
    Lingering,
    /// Its end.
    Ended,
}

/// What is to be told, at most once each, so that no queue of events can grow.
#[derive(Debug, Default)]
struct Outbox {
    close: Option<CloseReason>,
    end: Option<EndCause>,
    views: bool,
    /// A request that Abort named, to be answered.
    aborted: Option<Permit>,
}

/// What a controller tells its caller.
#[derive(Debug)]
#[must_use = "an event that is not handled hangs its host"]
pub enum ControllerEvent {
    /// End this controller's I/O queues and their I/O, then call [`Controller::io_quiesced`].
    CloseIoQueues {
        /// Why.
        reason: CloseReason,
    },
    /// Give [`Controller::view`] to every I/O queue ([`crate::Queue::update`]).
    ViewsChanged,
    /// Complete this on the admin queue.
    Answer {
        /// The command.
        permit: Permit,
        /// How it ended.
        outcome: Outcome,
    },
    /// Close all connections of this controller.
    End {
        /// Why.
        cause: EndCause,
    },
}

/// Why I/O queues are to be closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CloseReason {
    /// CC.EN was cleared.
    Disabled,
    /// CC.SHN asked for a normal shutdown: caches are to be flushed too.
    Shutdown,
    /// CC.SHN asked for an abrupt shutdown.
    AbruptShutdown,
}

/// Why a controller came to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum EndCause {
    /// The host was silent for its keep-alive timeout.
    #[error("keep-alive timer expired")]
    KeepAliveExpired,
    /// A discovery host without keep-alive was silent.
    #[error("discovery controller was idle")]
    DiscoveryIdle,
    /// I/O did not end in time after a disable or a shutdown.
    #[error("I/O queues did not end in time")]
    QuiesceTimeout,
    /// The host did not disconnect after its shutdown.
    #[error("host did not disconnect after shutdown")]
    ShutdownLinger,
    /// The subsystem, or the host's right to it, was taken out of the export.
    #[error("subsystem is no longer exported to this host")]
    ExportRemoved,
}

impl Controller {
    /// A controller for a Connect command on an admin queue.
    ///
    /// # Errors
    /// How to refuse Connect.
    pub fn connect(
        now: Now,
        export: &Arc<Export>,
        arrival: Arrival,
        request: &ConnectRequest,
        cntlid: Cntlid,
    ) -> Result<Self, ConnectError> {
        let (kind, limits) = if request.subnqn.is_discovery() {
            let kind = Kind::Discovery { export: Arc::clone(export), arrival };
            (kind, export.discovery.limits)
        } else {
            let subsystem = admit(export, arrival, request)?;
            (Kind::Io(Arc::clone(subsystem)), subsystem.limits)
        };
        check_keep_alive(&limits, request.kato_ms)?;
        let credentials = match &kind {
            Kind::Io(subsystem) => subsystem.credentials(&request.hostnqn).cloned(),
            Kind::Discovery { .. } => None,
        };
        let (strict, idle_ms, notices, io_queues_max) = match kind {
            Kind::Io(_) => (true, 0, Notice::NAMESPACE_ATTRIBUTE, limits.io_queues_max),
            Kind::Discovery { .. } => (false, limits.discovery_idle_ms, Notice::DISCOVERY_LOG, 0),
        };
        Ok(Self {
            cntlid,
            subnqn: request.subnqn.clone(),
            host: request.hostnqn.clone(),
            host_id: request.host_id,
            kind,
            limits,
            properties: Properties::new(limits.mqes, strict),
            features: Features::new(io_queues_max),
            events: AsyncEvents::new(notices),
            keep_alive: KeepAlive::new(now, request.kato_ms, idle_ms),
            credentials,
            io_queues: Vec::new(),
            past: IoCounts::default(),
            errors: Arc::default(),
            changed: ChangedNamespaces::default(),
            reported: ChangedNamespaces::default(),
            phase: Phase::Running,
            deadline: None,
            outbox: Outbox::default(),
        })
    }

    /// Takes an I/O queue into the controller.
    ///
    /// # Errors
    /// How to refuse Connect.
    pub fn connect_io(
        &mut self,
        now: Now,
        request: &ConnectRequest,
    ) -> Result<IoGrant, ConnectError> {
        if request.cntlid != self.cntlid.0 || request.subnqn != self.subnqn {
            return Err(ConnectError::unknown_controller());
        }
        if request.hostnqn != self.host || request.host_id != self.host_id {
            return Err(ConnectError::invalid_host());
        }
        let view = match &self.kind {
            Kind::Io(subsystem) => self.view_of(subsystem),
            Kind::Discovery { .. } => return Err(ConnectError::invalid_qid()),
        };
        if !view.ready || self.phase != Phase::Running {
            return Err(Status::COMMAND_SEQUENCE_ERROR.dnr().into());
        }
        if request.qid == Qid::ADMIN || request.qid.0 > self.features.io_queues {
            return Err(ConnectError::invalid_qid());
        }
        if request.sqsize > self.limits.mqes {
            return Err(ConnectError::invalid_sqsize());
        }
        if self.io_queues.iter().any(|queue| queue.qid == request.qid) {
            return Err(ConnectError::busy());
        }
        self.keep_alive.touch(now);
        let activity = Arc::new(IoActivity::default());
        self.io_queues.push(IoQueue { qid: request.qid, activity: Arc::clone(&activity) });
        let errors = Arc::clone(&self.errors);
        let credentials = self.credentials.clone();
        Ok(IoGrant { cntlid: self.cntlid, view, activity, errors, credentials })
    }

    /// An I/O queue's connection is gone for good: its id is free again.
    pub fn io_queue_gone(&mut self, _now: Now, qid: Qid) {
        if let Some(at) = self.io_queues.iter().position(|queue| queue.qid == qid) {
            let queue = self.io_queues.swap_remove(at);
            self.past = self.past.plus(queue.activity.counts());
        }
    }

    /// The admin queue's connection is gone: waiting requests are given up without an answer.
    pub fn admin_queue_gone(&mut self, _now: Now) {
        while let Some(permit) = self.events.take_any() {
            permit.abandon();
        }
        if let Some(permit) = self.outbox.aborted.take() {
            permit.abandon();
        }
        self.phase = Phase::Ended;
        self.deadline = None;
    }

    /// After [`ControllerEvent::CloseIoQueues`]: no I/O of this controller is running any more.
    pub fn io_quiesced(&mut self, now: Now) {
        match self.phase {
            Phase::Disabling => {
                self.phase = Phase::Running;
                self.deadline = None;
                self.properties.disabled();
                self.keep_alive.touch(now);
            }
            Phase::ShuttingDown => {
                self.phase = Phase::Lingering;
                self.deadline = Some(now.after_ms(self.linger_ms()));
                self.properties.shut_down();
            }
            Phase::Running | Phase::Lingering | Phase::Ended => {}
        }
    }

    /// Twice the keep-alive timeout, which its host need not serve any more after a shutdown.
    fn linger_ms(&self) -> u32 {
        match self.keep_alive.timeout_ms() {
            0 => limits::SHUTDOWN_LINGER_MS,
            timeout => timeout.saturating_mul(2),
        }
    }

    /// When [`Controller::handle_timeout`] is to be called at the latest.
    pub fn poll_timeout(&self) -> Option<Now> {
        match self.phase {
            Phase::Ended => None,
            Phase::Lingering => self.deadline,
            Phase::Running | Phase::Disabling | Phase::ShuttingDown => {
                [self.deadline, self.keep_alive.deadline()].into_iter().flatten().min()
            }
        }
    }

    /// Time has passed.
    pub fn handle_timeout(&mut self, now: Now) {
        let late = self.deadline.is_some_and(|deadline| deadline <= now);
        match self.phase {
            Phase::Ended => return,
            Phase::Lingering => {
                if late {
                    self.end(EndCause::ShutdownLinger);
                }
                return;
            }
            Phase::Disabling | Phase::ShuttingDown if late => {
                self.end(EndCause::QuiesceTimeout);
                return;
            }
            Phase::Running | Phase::Disabling | Phase::ShuttingDown => {}
        }
        if !self.keep_alive.is_due(now) {
            return;
        }
        if self.take_io_touch() {
            self.keep_alive.touch(now);
            return;
        }
        self.end(match (&self.kind, self.keep_alive.timeout_ms()) {
            (Kind::Discovery { .. }, 0) => EndCause::DiscoveryIdle,
            (Kind::Discovery { .. } | Kind::Io(_), _) => EndCause::KeepAliveExpired,
        });
    }

    /// Whether any I/O queue saw a command since this was last asked; asks all of them.
    fn take_io_touch(&mut self) -> bool {
        // What a host computes for an authentication may take longer than its keep-alive timeout,
        // and it sends none before it is done. The exchange has a deadline of its own.
        let alive = |activity: &IoActivity| activity.take_touch() | activity.is_authenticating();
        self.io_queues.iter().filter(|queue| alive(&queue.activity)).count() > 0
    }

    fn end(&mut self, cause: EndCause) {
        self.properties.fail();
        self.phase = Phase::Ended;
        self.deadline = None;
        self.outbox.end = Some(cause);
        self.outbox.views = true;
    }

    /// What is to be done, until `None`.
    pub fn poll_event(&mut self) -> Option<ControllerEvent> {
        if core::mem::take(&mut self.outbox.views) && !self.io_queues.is_empty() {
            return Some(ControllerEvent::ViewsChanged);
        }
        if let Some(cause) = self.outbox.end.take() {
            return Some(ControllerEvent::End { cause });
        }
        if let Some(reason) = self.outbox.close.take() {
            return Some(ControllerEvent::CloseIoQueues { reason });
        }
        if let Some(permit) = self.outbox.aborted.take() {
            let outcome = Outcome::failed(Status::ABORT_REQUESTED);
            return Some(ControllerEvent::Answer { permit, outcome });
        }
        if !self.properties.is_ready() {
            return None;
        }
        let (permit, outcome) = self.events.poll()?;
        Some(ControllerEvent::Answer { permit, outcome })
    }

    /// The export was replaced.
    pub fn export_changed(&mut self, _now: Now, export: &Arc<Export>) {
        if self.phase == Phase::Ended {
            return;
        }
        match &mut self.kind {
            Kind::Discovery { export: old, .. } => {
                if old.discovery.genctr != export.discovery.genctr {
                    self.events.raise(Notice::DISCOVERY_LOG);
                }
                *old = Arc::clone(export);
            }
            Kind::Io(old) => {
                let new = export.subsystem(&self.subnqn).filter(|new| new.allows(&self.host));
                let Some(new) = new else {
                    self.end(EndCause::ExportRemoved);
                    return;
                };
                if changed_namespaces(old, new, &mut self.changed) {
                    self.events.raise(Notice::NAMESPACE_ATTRIBUTE);
                }
                // Limits were agreed with the host when it connected: they hold until it leaves.
                *old = if new.limits == self.limits {
                    Arc::clone(new)
                } else {
                    Arc::new(Subsystem { limits: self.limits, ..Subsystem::clone(new) })
                };
                self.outbox.views = true;
            }
        }
    }

    /// Snapshot for I/O queues; `None` for a discovery controller.
    pub fn view(&self) -> Option<IoView> {
        match &self.kind {
            Kind::Io(subsystem) => Some(self.view_of(subsystem)),
            Kind::Discovery { .. } => None,
        }
    }

    fn view_of(&self, subsystem: &Arc<Subsystem>) -> IoView {
        IoView {
            ready: self.properties.takes_io(),
            write_cache: self.features.write_cache,
            subsystem: Arc::clone(subsystem),
        }
    }

    /// Its id.
    pub fn cntlid(&self) -> Cntlid {
        self.cntlid
    }

    /// Its subsystem.
    pub fn subnqn(&self) -> &SubNqn {
        &self.subnqn
    }

    /// What its host has to authenticate each queue with; `None`: it need not.
    pub fn credentials(&self) -> Option<&Arc<Credentials>> {
        self.credentials.as_ref()
    }

    /// The host is there: it is at authenticating itself on the admin queue.
    pub fn touch(&mut self, now: Now) {
        self.keep_alive.touch(now);
    }

    /// Its host.
    pub fn host(&self) -> &HostNqn {
        &self.host
    }

    /// Whether it is a discovery controller.
    pub fn is_discovery(&self) -> bool {
        matches!(self.kind, Kind::Discovery { .. })
    }

    /// Where its queues keep their failures.
    pub(crate) fn errors(&self) -> &Arc<ErrorLog> {
        &self.errors
    }

    /// Ids of its I/O queues, in no order.
    pub fn io_queues(&self) -> impl Iterator<Item = Qid> {
        self.io_queues.iter().map(|queue| queue.qid)
    }

    /// CSTS, for status displays.
    pub fn csts(&self) -> u32 {
        self.properties.csts()
    }

    /// What its I/O queues did so far.
    pub fn counts(&self) -> IoCounts {
        self.io_queues.iter().fold(self.past, |sum, queue| sum.plus(queue.activity.counts()))
    }
}

/// The subsystem, if it is reachable on the port and lets the host in. What is on another port is
/// as unknown as what does not exist.
fn admit<'a>(
    export: &'a Export,
    arrival: Arrival,
    request: &ConnectRequest,
) -> Result<&'a Arc<Subsystem>, ConnectError> {
    let subsystem = export
        .subsystem(&request.subnqn)
        .filter(|subsystem| subsystem.ports.contains(&arrival.port))
        .ok_or(ConnectError::unknown_subsystem())?;
    if !subsystem.allows(&request.hostnqn) {
        return Err(ConnectError::invalid_host());
    }
    Ok(subsystem)
}

fn check_keep_alive(limits: &ControllerLimits, timeout_ms: u32) -> Result<(), Status> {
    if limits.keep_alive_ms_max != 0 && timeout_ms > limits.keep_alive_ms_max {
        return Err(Status::KEEP_ALIVE_INVALID.dnr());
    }
    Ok(())
}

/// Adds the ids of namespaces that came, went or changed; whether there are any.
fn changed_namespaces(old: &Subsystem, new: &Subsystem, changed: &mut ChangedNamespaces) -> bool {
    let mut any = false;
    let both = [(old, new), (new, old)];
    for (here, there) in both {
        for namespace in &here.namespaces {
            if there.namespace(namespace.nsid) != Some(namespace) {
                changed.add(namespace.nsid);
                any = true;
            }
        }
    }
    any
}
