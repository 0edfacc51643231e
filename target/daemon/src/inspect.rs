//! Gathers `status` from the reactors.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, mpsc};
use std::time::{Duration, Instant};

use sluice_config::Config;
use sluice_config::schema::{self, RdmaMode, Transport};
use transport::device::Stack;

use crate::acceptor::{ListenerState, ListenerStates};
use crate::drains::{DrainList, DrainQuery};
use crate::limits::STATUS_TIMEOUT;
use crate::mailbox::Sender;
use crate::reactor::message::{Message, ReactorStatus};
use crate::shared::Shared;
use crate::status::{self, DaemonState, Inspect, Status};

/// Knows where everything is.
pub struct Inspector<S: Stack> {
    /// The configuration in force.
    pub config: Config,
    /// Where it came from.
    pub config_path: PathBuf,
    /// When the daemon started.
    pub started: Instant,
    /// The reactors.
    pub shared: Arc<Shared<S>>,
    /// The listeners.
    pub listeners: ListenerStates,
    /// The daemon is on its way out.
    pub draining: Arc<AtomicBool>,
}

impl<S: Stack> Inspect for Inspector<S> {
    fn status(&self) -> Status {
        let draining = self.draining.load(Ordering::Relaxed);
        let state = if draining { DaemonState::Draining } else { DaemonState::Serving };
        let mut status = Status::of_this_process(&self.config_path, self.started, state);
        (status.rdma, status.listeners) = self.listeners(draining);
        status.subsystems = self.subsystems();
        status.drains = self.shared.drains.status();
        let mut queues: BTreeMap<_, Vec<status::Queue>> = BTreeMap::new();
        let mut controllers = Vec::new();
        for part in ask(self.shared.reactors(), self.shared.reactors().len()) {
            add(&mut status.counters, &part);
            status.reactors.push(part.reactor);
            controllers.extend(part.controllers);
            for (controller, queue) in part.queues {
                queues.entry(controller).or_default().push(queue);
            }
        }
        for (name, nqn, mut controller) in controllers {
            controller.queues = queues.remove(&name).unwrap_or_default();
            controller.queues.sort_by_key(|queue| queue.qid);
            match status.subsystems.iter_mut().find(|s| s.nqn == nqn) {
                Some(subsystem) => subsystem.controllers.push(controller),
                None => status.discovery.push(controller),
            }
        }
        status.counters.allocations = crate::allocations::count();
        status.counters.log_lines_dropped = crate::log::dropped_lines();
        status.counters.log_lines_suppressed = crate::log::suppressed_lines();
        status
    }

    fn drains(&self, query: DrainQuery) -> DrainList {
        self.shared.drains.list(query, self.started.elapsed())
    }
}

/// Asks every reactor, of which so many are `running`; one that does not answer is left out.
pub(crate) fn ask<S: Stack>(reactors: &[Sender<Message<S>>], running: usize) -> Vec<ReactorStatus> {
    let (reply, answers) = mpsc::sync_channel(reactors.len());
    for reactor in reactors {
        reactor.send(Message::Status(reply.clone()));
    }
    drop(reply);
    let deadline = Instant::now() + STATUS_TIMEOUT;
    let left = || deadline.checked_duration_since(Instant::now()).unwrap_or(Duration::ZERO);
    let mut parts: Vec<_> = (0..running).map_while(|_| answers.recv_timeout(left()).ok()).collect();
    parts.sort_by_key(|part| part.reactor.index);
    parts
}

impl<S: Stack> Inspector<S> {
    fn listeners(&self, draining: bool) -> (status::Rdma, Vec<status::Listener>) {
        let states = self.listeners.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let rdma = rdma(self.config.rdma.mode, &states);
        let states = states.into_iter().map(|state| in_force(state, draining));
        (rdma, self.config.listeners.iter().zip(states).map(listener).collect())
    }

    fn subsystems(&self) -> Vec<status::Subsystem> {
        let subsystems = self.shared.export.subsystems.iter();
        subsystems.map(|subsystem| self.subsystem(subsystem)).collect()
    }

    fn subsystem(&self, subsystem: &nvme::Subsystem) -> status::Subsystem {
        let namespaces = subsystem.namespaces.iter().map(|namespace| {
            let disk = &self.shared.disk(namespace.disk).disk;
            status::Namespace {
                nsid: namespace.nsid.0,
                uuid: namespace.uuid.to_string(),
                size_bytes: disk.geometry().size_bytes(),
                block_size: disk.geometry().block_size,
                backend: disk.describe().to_owned(),
                read_only: namespace.read_only,
            }
        });
        status::Subsystem {
            nqn: subsystem.nqn.as_str().to_owned(),
            serial: String::from_utf8_lossy(&subsystem.identity.serial).trim_end().to_owned(),
            namespaces: namespaces.collect(),
            controllers: Vec::new(),
        }
    }
}

/// The stack is open when any listener listens; where none does, the first says what is missing.
fn rdma(mode: RdmaMode, listeners: &[ListenerState]) -> status::Rdma {
    let waiting = listeners.iter().find_map(|state| match state {
        ListenerState::Waiting(reason) => Some(reason.clone()),
        ListenerState::Listening | ListenerState::Off(_) => None,
    });
    let listening = listeners.contains(&ListenerState::Listening);
    let (state, waiting) = match (mode, waiting) {
        (RdmaMode::Off, _) => (status::RdmaState::Off, None),
        (RdmaMode::Auto | RdmaMode::On, Some(waiting)) if !listening => {
            (status::RdmaState::Waiting, Some(waiting))
        }
        (RdmaMode::Auto | RdmaMode::On, _) => (status::RdmaState::Ready, None),
    };
    status::Rdma { state, waiting }
}

/// When the daemon ends nobody listens any more, whatever was said last.
fn in_force(state: ListenerState, draining: bool) -> ListenerState {
    match state {
        ListenerState::Listening | ListenerState::Waiting(_) if draining => {
            ListenerState::Off("the daemon is ending".to_owned())
        }
        ListenerState::Listening | ListenerState::Waiting(_) | ListenerState::Off(_) => state,
    }
}

fn listener((config, state): (&schema::Listener, ListenerState)) -> status::Listener {
    let (state, reason) = match state {
        ListenerState::Listening => (status::ListenerState::Listening, None),
        ListenerState::Waiting(reason) => (status::ListenerState::Waiting, Some(reason)),
        ListenerState::Off(reason) => (status::ListenerState::Off, Some(reason)),
    };
    status::Listener {
        name: config.name.as_str().to_owned(),
        address: config.address.value.to_string(),
        port: config.port,
        transport: match config.transport {
            Transport::Rdma => "rdma".to_owned(),
        },
        state,
        reason,
        device: None,
    }
}

fn add(sum: &mut status::Counters, part: &ReactorStatus) {
    let counters = part.counters;
    sum.connections_accepted += counters.connections_accepted;
    sum.connections_refused += counters.connections_refused;
    sum.handshakes_timed_out += counters.handshakes_timed_out;
    sum.keep_alives_expired += counters.keep_alives_expired;
    sum.protocol_errors += counters.protocol_errors;
    sum.disk_errors += counters.disk_errors;
    sum.stale_completions += counters.stale_completions;
    sum.commands_completed += counters.io.reads + counters.io.writes;
    sum.read_bytes += counters.io.read_bytes;
    sum.written_bytes += counters.io.written_bytes;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::RdmaState;

    #[test]
    fn rdma_and_listeners_say_whether_they_wait_or_are_off() {
        let waiting = || ListenerState::Waiting("no device".to_owned());
        let off = ListenerState::Off("rdma.mode is \"off\"".to_owned());
        let ending = in_force(ListenerState::Listening, true);
        assert!(matches!(&ending, ListenerState::Off(why) if why.contains("ending")), "{ending:?}");
        assert_eq!(in_force(off.clone(), true), off);
        assert_eq!(in_force(waiting(), false), waiting());
        for (mode, listeners, state) in [
            (RdmaMode::Auto, vec![], RdmaState::Ready),
            (RdmaMode::Auto, vec![waiting(), waiting()], RdmaState::Waiting),
            (RdmaMode::On, vec![waiting(), ListenerState::Listening], RdmaState::Ready),
            (RdmaMode::Off, vec![off], RdmaState::Off),
        ] {
            let told = rdma(mode, &listeners);
            assert_eq!(told.state, state, "{listeners:?}");
            assert_eq!(told.waiting.is_some(), state == RdmaState::Waiting, "{listeners:?}");
        }
    }
}
