//! One association of a host: made, kept alive, used, ended, and made again.

use std::net::SocketAddr;
use std::time::Duration;

use nvme::Cqe;
use sim::Host;

use crate::host::command::{self, Command, Configuration, Connect};
use crate::host::queue::{Data, Event, Queue, Sent};
use crate::ledger::Ledger;
use crate::limits::{CM_PATIENCE, COMMAND_PATIENCE, STATUS_PERIOD};

/// How a host forms its associations.
#[derive(Clone, Debug)]
pub(crate) struct Shape {
    pub(crate) host: usize,
    pub(crate) hostnqn: String,
    pub(crate) host_id: [u8; 16],
    pub(crate) subnqn: String,
    pub(crate) admin_entries: u16,
    pub(crate) io_queues: u16,
    pub(crate) io_entries: u16,
    pub(crate) kato_ms: u32,
    /// Pause before the next try.
    pub(crate) backoff: Duration,
    /// When an association that its host gave up may be counted on to be over.
    pub(crate) over_after: Duration,
    /// The same where the target can't have been told.
    pub(crate) over_after_silence: Duration,
}

/// Where an association is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// It waits before it tries again.
    Down { until: Duration },
    /// It opens the connection of a queue.
    Opening,
    /// It sent Connect on its latest queue.
    Connecting,
    /// It sent CC.EN = 1.
    Enabling,
    /// It waits for CSTS.RDY.
    WaitingReady,
    /// It sent Identify.
    Identifying,
    /// It serves I/O.
    Live,
    /// It sent CC.EN = 0 and waits for CSTS.RDY to fall.
    Resetting,
    /// It sent CC.SHN and waits for CSTS.SHST.
    ShuttingDown,
    /// It stays away until it is asked back.
    Away,
    /// It will not come back.
    Over,
}

const CSTS_RDY: u64 = 1;
const CSTS_SHST: u64 = 3 << 2;
const CSTS_SHST_COMPLETE: u64 = 2 << 2;

/// One association after the other with one portal.
pub(crate) struct Path {
    pub(crate) shape: Shape,
    machine: Host,
    to: SocketAddr,
    pub(crate) phase: Phase,
    /// Admin queue first.
    pub(crate) queues: Vec<Queue>,
    cntlid: u16,
    /// Counts associations.
    pub(crate) generation: u64,
    since: Duration,
    next_keep_alive: Duration,
    next_status: Option<Duration>,
    pub(crate) paused_until: Option<Duration>,
    /// It does not try again.
    pub(crate) leaving: bool,
    /// Why it is down, for the trace.
    pub(crate) said: Vec<String>,
}

impl Path {
    pub(crate) fn new(machine: Host, to: SocketAddr, shape: Shape, first: Duration) -> Self {
        Self {
            shape,
            machine,
            to,
            phase: Phase::Down { until: first },
            queues: Vec::new(),
            cntlid: 0,
            generation: 0,
            since: Duration::ZERO,
            next_keep_alive: Duration::ZERO,
            next_status: None,
            paused_until: None,
            leaving: false,
            said: Vec::new(),
        }
    }

    pub(crate) fn is_live(&self) -> bool {
        self.phase == Phase::Live && self.paused_until.is_none()
    }

    fn enter(&mut self, now: Duration, phase: Phase) {
        self.phase = phase;
        self.since = now;
    }

    /// Takes what came from the target. Says whether there was anything.
    pub(crate) fn receive(&mut self, now: Duration, ledger: &mut Ledger) -> bool {
        if self.paused_until.is_some() {
            return false;
        }
        let mut any = false;
        let mut at = 0;
        while at < self.queues.len() {
            let Some(event) = self.queues[at].poll() else {
                at += 1;
                continue;
            };
            any = true;
            match event {
                Event::Established => self.established(now, at),
                Event::Answer(answer) => {
                    let (sent, cqe) = *answer;
                    self.answered(now, at, sent, &cqe, ledger);
                }
                Event::Ended(why) => {
                    let what = format!("queue {} {why}", self.queues[at].qid);
                    self.tear_down(now, false, &what, ledger);
                }
                Event::Wrong(what) => {
                    ledger.wrong.push(format!("host {}: {what}", self.shape.host));
                    self.tear_down(now, false, "the target was wrong", ledger);
                }
            }
            // Queues may have come or gone.
            at = 0;
        }
        any
    }

    /// Does what is due now.
    pub(crate) fn look(&mut self, now: Duration, ledger: &mut Ledger) {
        if let Some(until) = self.paused_until {
            if until > now {
                return;
            }
            self.paused_until = None;
            self.queues.iter().for_each(|queue| queue.pause(false));
        }
        match self.phase {
            Phase::Away | Phase::Over => return,
            Phase::Down { until } => {
                if self.leaving {
                    self.phase = Phase::Over;
                } else if until <= now {
                    self.open(now);
                }
                return;
            }
            Phase::Opening if now >= self.since + CM_PATIENCE => {
                return self.tear_down(now, false, "no answer to a connection request", ledger);
            }
            Phase::Opening
            | Phase::Connecting
            | Phase::Enabling
            | Phase::WaitingReady
            | Phase::Identifying
            | Phase::Live
            | Phase::Resetting
            | Phase::ShuttingDown => {}
        }
        let oldest = self.queues.iter().filter_map(Queue::oldest).min();
        if oldest.is_some_and(|at| now >= at + COMMAND_PATIENCE) {
            return self.tear_down(now, false, "a command was not answered", ledger);
        }
        if self.next_status.is_some_and(|at| at <= now) && self.queues[0].has_room() {
            self.next_status = None;
            self.queues[0].send(now, command::get_status(), Command::GetStatus, &Data::None);
        }
        if self.phase == Phase::Live && self.next_keep_alive <= now && self.queues[0].has_room() {
            self.next_keep_alive = now + Duration::from_millis(u64::from(self.shape.kato_ms / 2));
            self.queues[0].send(now, command::keep_alive(), Command::KeepAlive, &Data::None);
        }
    }

    /// When it is to be looked at next.
    pub(crate) fn due(&self) -> Option<Duration> {
        if self.paused_until.is_some() {
            return self.paused_until;
        }
        let oldest = self.queues.iter().filter_map(Queue::oldest).min();
        let timeout = oldest.map(|at| at + COMMAND_PATIENCE);
        match self.phase {
            Phase::Away | Phase::Over => None,
            Phase::Down { until } => Some(until),
            Phase::Opening => Some(self.since + CM_PATIENCE),
            Phase::Live => Some(timeout.map_or(self.next_keep_alive, |at| {
                if self.queues[0].has_room() { at.min(self.next_keep_alive) } else { at }
            })),
            Phase::Connecting
            | Phase::Enabling
            | Phase::WaitingReady
            | Phase::Identifying
            | Phase::Resetting
            | Phase::ShuttingDown => timeout.into_iter().chain(self.next_status).min(),
        }
    }

    fn entries(&self, qid: u16) -> u16 {
        if qid == 0 { self.shape.admin_entries } else { self.shape.io_entries }
    }

    fn open(&mut self, now: Duration) {
        let qid = u16::try_from(self.queues.len()).unwrap_or(u16::MAX);
        if qid == 0 {
            self.generation += 1;
        }
        let queue = Queue::open(&self.machine, self.to, qid, self.entries(qid));
        self.queues.push(queue);
        self.enter(now, Phase::Opening);
    }

    fn established(&mut self, now: Duration, at: usize) {
        if self.phase != Phase::Opening || at + 1 != self.queues.len() {
            return;
        }
        let qid = self.queues[at].qid;
        let connect = Connect {
            qid,
            entries: self.entries(qid),
            kato_ms: if qid == 0 { self.shape.kato_ms } else { 0 },
            cntlid: if qid == 0 { 0xffff } else { self.cntlid },
            host_id: self.shape.host_id,
            hostnqn: &self.shape.hostnqn,
            subnqn: &self.shape.subnqn,
        };
        let (sqe, data) = (connect.sqe(), connect.data());
        self.queues[at].send(now, sqe, Command::Connect, &Data::Keyed(&data));
        self.enter(now, Phase::Connecting);
    }

    fn answered(
        &mut self,
        now: Duration,
        at: usize,
        mut sent: Sent,
        cqe: &Cqe,
        ledger: &mut Ledger,
    ) {
        let data = self.queues[at].take_data(&mut sent);
        let succeeded = cqe.status().is_success();
        if !succeeded && ledger.calm && self.phase == Phase::Live && !self.queues[at].lawless {
            let (host, status) = (self.shape.host, cqe.status().bits());
            ledger.wrong.push(format!(
                "host {host}: {:?} failed with {status:#x} although nothing is wrong",
                sent.command
            ));
        }
        match sent.command {
            Command::Io(io) => return ledger.answered(&io, succeeded, &data),
            Command::KeepAlive | Command::AsyncEvent => return,
            Command::Connect
            | Command::SetConfiguration
            | Command::GetStatus
            | Command::Identify => {}
        }
        if !succeeded {
            let what = format!("{:?} failed: {:#x}", sent.command, cqe.status().bits());
            return self.tear_down(now, false, &what, ledger);
        }
        match (self.phase, sent.command) {
            (Phase::Connecting, Command::Connect) => self.connected(now, cqe, ledger),
            (Phase::Enabling, Command::SetConfiguration) => {
                self.enter(now, Phase::WaitingReady);
                self.next_status = Some(now);
            }
            (Phase::Resetting | Phase::ShuttingDown, Command::SetConfiguration) => {
                self.next_status = Some(now);
            }
            (_, Command::GetStatus) => self.status(now, cqe.result.get(), ledger),
            (Phase::Identifying, Command::Identify) => self.identified(now, &data, ledger),
            (_, _) => {}
        }
    }

    fn connected(&mut self, now: Duration, cqe: &Cqe, ledger: &mut Ledger) {
        let granted = u16::try_from(cqe.result.get() & 0xffff).unwrap_or(0);
        if self.queues.len() == 1 {
            self.cntlid = granted;
            self.configure(now, Configuration::Enabled, Phase::Enabling);
        } else if self.queues.len() <= usize::from(self.shape.io_queues) {
            self.open(now);
        } else {
            self.enter(now, Phase::Live);
            ledger.stats.associations += 1;
            self.said.push(format!("live as controller {}", self.cntlid));
            self.next_keep_alive = now + Duration::from_millis(u64::from(self.shape.kato_ms / 2));
        }
    }

    fn configure(&mut self, now: Duration, wanted: Configuration, phase: Phase) {
        let sqe = command::set_configuration(wanted);
        self.queues[0].send(now, sqe, Command::SetConfiguration, &Data::None);
        self.enter(now, phase);
    }

    fn status(&mut self, now: Duration, csts: u64, ledger: &mut Ledger) {
        let again = match self.phase {
            Phase::WaitingReady if csts & CSTS_RDY != 0 => {
                let room = Data::Room(4096);
                self.queues[0].send(now, command::async_event(), Command::AsyncEvent, &Data::None);
                self.queues[0].send(now, command::identify(), Command::Identify, &room);
                return self.enter(now, Phase::Identifying);
            }
            Phase::Resetting if csts & CSTS_RDY == 0 => {
                // No I/O of this controller runs any more: that is what RDY = 0 says.
                self.end(now, now, false, "reset", ledger);
                return;
            }
            Phase::ShuttingDown if csts & CSTS_SHST == CSTS_SHST_COMPLETE => {
                self.end(now, now, false, "shut down", ledger);
                return;
            }
            Phase::WaitingReady | Phase::Resetting | Phase::ShuttingDown => true,
            Phase::Down { .. }
            | Phase::Opening
            | Phase::Connecting
            | Phase::Enabling
            | Phase::Identifying
            | Phase::Live
            | Phase::Away
            | Phase::Over => false,
        };
        if again {
            self.next_status = Some(now + STATUS_PERIOD);
        }
    }

    fn identified(&mut self, now: Duration, data: &[u8], ledger: &mut Ledger) {
        // CNTLID, as Linux compares it with what Connect returned.
        let cntlid = u16::from_le_bytes([data[78], data[79]]);
        if cntlid != self.cntlid {
            let what = format!("Identify says controller {cntlid}, Connect said {}", self.cntlid);
            ledger.wrong.push(format!("host {}: {what}", self.shape.host));
        }
        self.open(now);
    }

    /// CC.EN = 0, then a new association.
    pub(crate) fn reset(&mut self, now: Duration) {
        if self.queues[0].has_room() {
            self.configure(now, Configuration::Disabled, Phase::Resetting);
        }
    }

    /// CC.SHN, then the end.
    pub(crate) fn shut_down(&mut self, now: Duration) {
        if self.queues[0].has_room() {
            self.configure(now, Configuration::ShutDown, Phase::ShuttingDown);
        }
    }

    /// It does not try again by itself.
    pub(crate) fn stay_away(&mut self) {
        self.phase = Phase::Away;
    }

    /// It tries again now if it stayed away.
    pub(crate) fn come_back(&mut self, now: Duration) {
        if self.phase == Phase::Away {
            self.phase = Phase::Down { until: now };
        }
    }

    /// It stops answering for a while.
    pub(crate) fn pause(&mut self, until: Duration) {
        self.paused_until = Some(until);
        self.queues.iter().for_each(|queue| queue.pause(true));
    }

    /// Gives the association up.
    pub(crate) fn tear_down(
        &mut self,
        now: Duration,
        vanish: bool,
        why: &str,
        ledger: &mut Ledger,
    ) {
        let patience = if vanish { self.shape.over_after_silence } else { self.shape.over_after };
        self.end(now, now + patience, vanish, why, ledger);
    }

    fn end(&mut self, now: Duration, over: Duration, vanish: bool, why: &str, ledger: &mut Ledger) {
        for queue in self.queues.drain(..) {
            for sent in queue.close(vanish) {
                if let Command::Io(io) = sent.command {
                    ledger.lost(io, over);
                }
            }
        }
        self.said.push(format!("down: {why}"));
        self.next_status = None;
        self.paused_until = None;
        self.enter(now, Phase::Down { until: now + self.shape.backoff });
    }
}
