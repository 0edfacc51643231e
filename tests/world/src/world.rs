//! One run: daemon, fabric, disks and hosts, moved on by a seed until all is over.

use std::cell::RefCell;
use std::net::IpAddr;
use std::rc::Rc;
use std::time::Duration;

use sim::{Fabric, Injection, Node, Seeded};
use transport::device::CmEvent;
use transport::drain::State;
use transport::limits::CLOSE_TIMEOUT;
use transport::time::Now;

use crate::daemon::{Daemon, SUBNQN, portal};
use crate::dice::Dice;
use crate::disk::{DiskFaults, SimDisk};
use crate::engine::Disks;
use crate::host::HostNode;
use crate::host::path::{Path, Shape};
use crate::ledger::Ledger;
use crate::limits::{CLOSE_SLACK, LIVENESS, SHUTDOWN, STEPS_AT_ONCE_MAX, STEPS_MAX};
use crate::plan::{DeviceAct, DeviceActKind, HostPlan, OVER_AFTER_SILENCE, Plan};

/// Steps between two looks at the reports of ended connections.
const DRAINS_PERIOD: u64 = 64;

/// What a run showed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// What must not happen and did, in words; empty for a good run.
    pub wrong: Vec<String>,
    /// The trace, if it was asked for.
    pub trace: Vec<String>,
    /// One line about what happened.
    pub summary: String,
}

/// A run under way.
pub(crate) struct World {
    plan: Plan,
    fabric: Fabric,
    node: Node,
    disks: Rc<RefCell<Disks>>,
    daemon: Option<Daemon>,
    life: u64,
    hosts: Vec<HostNode>,
    pub(crate) ledger: Ledger,
    dice: Dice,
    now: Duration,
    steps: u64,
    steps_at_once: u64,
    crashes: Vec<Duration>,
    device_acts: Vec<DeviceAct>,
    /// Devices that are away, by portal, and when they come back.
    away: Vec<(Duration, usize)>,
    /// Ends of connections looked at so far in this life of the daemon.
    drains_seen: u64,
    /// Connections whose queue pair could not be destroyed, in all lives.
    quarantined: u64,
    drained: u64,
}

impl World {
    pub(crate) fn new(plan: Plan, trace: bool) -> anyhow::Result<Self> {
        let oracle = Seeded::with_plan(plan.seed, plan.fabric.clone());
        let fabric = Fabric::new(Box::new(oracle));
        fabric.record(trace);
        let node = fabric.add_node("target");
        for (index, row) in plan.devices.iter().enumerate() {
            fabric.add_device(node, row, portal(index).ip());
        }
        let disks = Rc::new(RefCell::new(Disks {
            disks: (0..plan.disks).map(|_| SimDisk::new(plan.blocks)).collect(),
            faults: plan.disk_faults,
            dice: Dice::new(plan.seed, "disks"),
            broken: Vec::new(),
        }));
        let daemon = Daemon::start(&plan, &fabric, node, &disks, 0)?;
        let hosts = plan.hosts.iter().enumerate().map(|(index, host)| {
            let paths = paths(&plan, &fabric, index, host);
            HostNode::new(index, paths, host.clone(), plan.disks, plan.seed)
        });
        let hosts = hosts.collect();
        let mut crashes = plan.crashes.clone();
        crashes.sort_unstable();
        Ok(Self {
            ledger: Ledger::new(plan.disks),
            dice: Dice::new(plan.seed, "driver"),
            fabric,
            node,
            disks,
            daemon: Some(daemon),
            life: 0,
            hosts,
            now: Duration::ZERO,
            steps: 0,
            steps_at_once: 0,
            crashes,
            device_acts: plan.device_acts.clone(),
            away: Vec::new(),
            drains_seen: 0,
            quarantined: 0,
            drained: 0,
            plan,
        })
    }

    pub(crate) fn now(&self) -> Duration {
        self.now
    }

    /// Verbs and CM calls of the daemon so far.
    pub(crate) fn calls(&self) -> u64 {
        self.fabric.calls(self.node)
    }

    /// Makes the call of that number fail.
    pub(crate) fn fail_call(&self, number: u64) {
        self.fabric.fail_call(self.node, number);
    }

    /// A host is connected, and all that it wanted is done.
    pub(crate) fn is_served(&self, host: usize) -> bool {
        self.hosts[host].is_live() && self.hosts[host].is_done()
    }

    /// A host is connected, and never lost an association.
    pub(crate) fn is_undisturbed(&self, host: usize) -> bool {
        self.hosts[host].is_live() && self.hosts[host].paths.iter().all(|p| p.generation == 1)
    }

    /// A host disconnects and does not come back before it is asked to.
    pub(crate) fn hang_up(&mut self, host: usize) {
        for path in &mut self.hosts[host].paths {
            path.tear_down(self.now, false, "its own wish", &mut self.ledger);
            path.stay_away();
        }
    }

    /// Connections that the daemon has, closing ones included.
    pub(crate) fn connections(&self) -> Option<usize> {
        let holdings = self.daemon.as_ref()?.holdings();
        Some(holdings.iter().map(|holdings| holdings.connections).sum())
    }

    /// Connections that a host thinks it has.
    pub(crate) fn connections_of(&self, host: usize) -> usize {
        self.hosts[host].paths.iter().map(|path| path.queues.len()).sum()
    }

    fn note(&self, line: &str) {
        self.fabric.note(line);
    }

    /// Runs until `done` or `deadline`, or until something is wrong. Says whether it is done.
    pub(crate) fn run_until(
        &mut self,
        deadline: Duration,
        done: impl Fn(&Self) -> bool,
    ) -> anyhow::Result<bool> {
        while self.ledger.wrong.is_empty() {
            if done(self) {
                return Ok(true);
            }
            if self.steps > STEPS_MAX || self.steps_at_once > STEPS_AT_ONCE_MAX {
                self.ledger.wrong.push(format!("no end: {} steps", self.steps));
                return Ok(false);
            }
            if self.step()? {
                continue;
            }
            let next = self.due().map_or(deadline, |at| at.max(self.now)).min(deadline);
            if next == self.now && self.now >= deadline {
                return Ok(false);
            }
            if next > self.now {
                self.steps_at_once = 0;
            }
            self.now = next;
            self.fabric.set_now(Now(self.now));
        }
        Ok(false)
    }

    /// Lets one thing happen now. Says whether there was one.
    fn step(&mut self) -> anyhow::Result<bool> {
        self.steps += 1;
        self.steps_at_once += 1;
        if self.crashes.first().is_some_and(|at| *at <= self.now) {
            self.crashes.remove(0);
            self.crash()?;
        }
        if self.device_acts.first().is_some_and(|act| act.at <= self.now) {
            let act = self.device_acts.remove(0);
            self.act(act);
        }
        if let Some(at) = self.away.iter().position(|(until, _)| *until <= self.now) {
            let (_, portal) = self.away.swap_remove(at);
            self.come_back(portal);
        }
        self.ledger.settle(self.now);
        // Who goes first is a matter of chance; everybody gets a turn.
        let first = self.dice.roll(3);
        let mut any = false;
        for turn in 0..3 {
            any |= match (first + turn) % 3 {
                0 => self.fabric.step(),
                1 => self.step_daemon(),
                _ => self.step_hosts(),
            };
            if any {
                break;
            }
        }
        if any {
            self.look();
        }
        Ok(any)
    }

    fn step_daemon(&mut self) -> bool {
        let Some(daemon) = &mut self.daemon else { return false };
        daemon.notice(self.now);
        daemon.step(self.now)
    }

    fn step_hosts(&mut self) -> bool {
        let mut any = false;
        for host in &mut self.hosts {
            any |= host.receive(self.now, &mut self.ledger);
            if host.due().is_some_and(|at| at <= self.now) {
                host.look(self.now, &mut self.ledger);
                any = true;
            }
            for path in 0..host.paths.len() {
                for said in host.paths[path].said.drain(..) {
                    self.fabric.note(&format!("host {} path {path}: {said}", host.index));
                }
            }
        }
        any
    }

    fn due(&self) -> Option<Duration> {
        let hosts = self.hosts.iter().filter_map(HostNode::due);
        let daemon = self.daemon.as_ref().and_then(Daemon::due);
        let fabric = self.fabric.due().map(|at| at.0);
        let crash = self.crashes.first().copied();
        let act = self.device_acts.first().map(|act| act.at);
        let away = self.away.iter().map(|(until, _)| *until);
        let others = away.chain(crash).chain(act).chain(self.ledger.due());
        hosts.chain(daemon).chain(fabric).chain(others).min()
    }

    /// Something becomes of a device.
    fn act(&mut self, act: DeviceAct) {
        let address = portal(act.portal).ip();
        if self.away.iter().any(|(_, portal)| *portal == act.portal) {
            return;
        }
        let connection = self.dice.index(1 + 4 * self.hosts.len());
        match act.kind {
            DeviceActKind::Fails | DeviceActKind::IsRemoved => {
                if act.kind == DeviceActKind::Fails {
                    self.fabric.inject(Injection::DeviceFatal(address));
                }
                self.fabric.inject(Injection::DeviceRemoval(address));
                let back = self.now + Duration::from_millis(self.dice.between(1, 3_000));
                self.away.push((back, act.portal));
            }
            DeviceActKind::LosesCompletions => {
                self.fabric.inject(Injection::CompletionQueueError(address));
            }
            DeviceActKind::QueuePairFails => {
                self.fabric.inject(Injection::QueuePairError(connection));
            }
            DeviceActKind::FalseEvent => {
                let events = [
                    CmEvent::TimewaitExit,
                    CmEvent::AddrChange,
                    CmEvent::Unreachable,
                    CmEvent::Established,
                    CmEvent::Other(77),
                ];
                let event = events[self.dice.index(events.len())];
                self.fabric.inject(Injection::Cm(connection, event));
            }
        }
    }

    /// A device that was removed is plugged in again: it is another one.
    fn come_back(&mut self, at: usize) {
        self.note(&format!("a new device at portal {at}"));
        self.fabric.add_device(self.node, self.plan.devices[at], portal(at).ip());
    }

    /// Looks whether something is wrong.
    fn look(&mut self) {
        for violation in self.fabric.violations() {
            self.ledger.wrong.push(violation.to_string());
        }
        self.ledger.wrong.append(&mut self.disks.borrow_mut().broken);
        if self.steps.is_multiple_of(DRAINS_PERIOD) {
            self.look_at_drains();
        }
    }

    /// Every report of an end: nothing lost that is not quarantined, and soon enough.
    fn look_at_drains(&mut self) {
        let Some(daemon) = &self.daemon else { return };
        for ended in daemon.shared.drains.recent() {
            if ended.id <= self.drains_seen {
                continue;
            }
            self.drains_seen = ended.id;
            self.drained += 1;
            let report = &ended.report;
            self.fabric.note(&format!("drained {}: {report}", ended.whose.qid));
            let wrong = &mut self.ledger.wrong;
            if report.to_destroy.is_some_and(|took| took > CLOSE_TIMEOUT + CLOSE_SLACK) {
                wrong.push(format!("a close took too long: {report}"));
            }
            let total = report.total();
            if total.in_flight() != 0 {
                wrong.push(format!("ended with work requests out: {report}"));
            }
            let quarantined = report.end == State::Quarantined;
            self.quarantined += u64::from(quarantined);
            if total.leaked > 0 && !quarantined {
                wrong.push(format!("leaked without a failed destroy: {report}"));
            }
        }
    }

    /// The daemon dies, the disks lose their power, and both come back.
    fn crash(&mut self) -> anyhow::Result<()> {
        self.look_at_drains();
        self.note("the daemon is killed and the disks lose their power");
        self.fabric.crash(self.node);
        if let Some(daemon) = self.daemon.take() {
            daemon.kill();
        }
        {
            let mut disks = self.disks.borrow_mut();
            let Disks { disks, dice, .. } = &mut *disks;
            disks.iter_mut().for_each(|disk| disk.lose_power(dice));
        }
        self.ledger.crash();
        self.drains_seen = 0;
        self.life += 1;
        let daemon = Daemon::start(&self.plan, &self.fabric, self.node, &self.disks, self.life)?;
        self.daemon = Some(daemon);
        Ok(())
    }

    /// From here on nothing goes wrong any more.
    pub(crate) fn calm(&mut self) {
        self.note("no more faults");
        self.fabric.calm(true);
        self.crashes.clear();
        self.device_acts.clear();
        for (_, portal) in std::mem::take(&mut self.away) {
            self.come_back(portal);
        }
        self.disks.borrow_mut().faults = DiskFaults::default();
        if let Some(daemon) = &self.daemon {
            daemon.release_stuck(self.now);
        }
        for host in &mut self.hosts {
            host.calm(self.now);
        }
    }

    /// Everybody is served again, finishes, finds what it wrote, and leaves.
    pub(crate) fn live_on(&mut self) -> anyhow::Result<()> {
        self.calm();
        let deadline = self.now + LIVENESS;
        let served = |w: &Self| w.hosts.iter().all(|host| host.is_live() && host.is_done());
        self.must(deadline, "hosts are not served although nothing is wrong any more", served)?;
        self.ledger.calm = true;
        self.hosts.iter_mut().for_each(HostNode::verify);
        let verified = |w: &Self| w.hosts.iter().all(HostNode::is_verified);
        self.must(self.now + LIVENESS, "hosts can't read what they wrote", verified)?;
        self.ledger.calm = false;
        // Some leave by themselves, the others are sent away.
        let now = self.now;
        for at in 0..self.hosts.len() {
            if self.dice.chance(500_000) {
                self.hosts[at].leave(now);
            }
        }
        self.run_until(self.now + Duration::from_millis(self.dice.clone().roll(3_000)), |_| false)?;
        self.end()
    }

    /// SIGTERM.
    pub(crate) fn end(&mut self) -> anyhow::Result<()> {
        self.note("the daemon is told to stop");
        for host in &mut self.hosts {
            host.paths.iter_mut().for_each(|path| path.leaving = true);
        }
        if let Some(daemon) = &mut self.daemon {
            daemon.shut_down();
        }
        let finished = |w: &Self| w.daemon.as_ref().is_none_or(Daemon::is_finished);
        self.must(self.now + SHUTDOWN, "the daemon does not end", finished)?;
        // Messages from one reactor to another that nothing waits for.
        self.run_until(self.now + Duration::from_secs(1), |_| false)?;
        self.look_at_the_end();
        Ok(())
    }

    fn must(
        &mut self,
        deadline: Duration,
        otherwise: &str,
        done: impl Fn(&Self) -> bool,
    ) -> anyhow::Result<()> {
        if !self.run_until(deadline, done)? && self.ledger.wrong.is_empty() {
            let holdings = self.daemon.as_ref().map(Daemon::holdings);
            let phases: Vec<_> = self
                .hosts
                .iter()
                .map(|host| {
                    let phases: Vec<_> = host.paths.iter().map(|path| path.phase).collect();
                    (phases, host.is_done())
                })
                .collect();
            self.ledger.wrong.push(format!("{otherwise}: {phases:?} {holdings:?}"));
        }
        Ok(())
    }

    /// Nothing is left but what was quarantined.
    fn look_at_the_end(&mut self) {
        self.look_at_drains();
        let Some(daemon) = &self.daemon else { return };
        let wrong = &mut self.ledger.wrong;
        let drains = daemon.shared.drains.status();
        for holdings in daemon.holdings() {
            let used = holdings.lanes.iter().map(|l| l.data_used_bytes + l.reserve_used_bytes);
            let used: usize = used.sum();
            if used > 0 && drains.quarantined == 0 {
                wrong.push(format!("memory is still taken and nothing quarantined: {holdings:?}"));
            }
            let private = holdings.lanes.iter().filter(|lane| lane.private).count();
            if private > 0 || holdings.disk_operations_waiting > 0 || holdings.controllers > 0 {
                wrong.push(format!("something is left: {holdings:?}"));
            }
        }
        if daemon.disk_operations() > 0 {
            wrong.push("the disks are still at work".to_owned());
        }
        if !daemon.shared.registry().is_empty() {
            wrong.push("controller ids are still taken".to_owned());
        }
    }

    pub(crate) fn report(mut self) -> Report {
        if let Some(daemon) = self.daemon.take() {
            daemon.leave_behind();
        }
        let stats = self.ledger.stats;
        let rows: Vec<&str> = self.plan.devices.iter().map(|row| row.name).collect();
        let touched: usize = self.ledger.models.iter().map(crate::model::DiskModel::touched).sum();
        let summary = format!(
            "{}: {} hosts, {} associations, {} answered ({} failed), {} lost, {} drained, \
             {} quarantined, {} crashes, {touched} blocks, {} steps, {:.1} s",
            rows.join("+"),
            self.hosts.len(),
            stats.associations,
            stats.answered,
            stats.failed,
            stats.lost,
            self.drained,
            self.quarantined,
            stats.crashes,
            self.steps,
            self.now.as_secs_f64(),
        );
        Report { wrong: self.ledger.wrong, trace: self.fabric.trace(), summary }
    }
}

fn paths(plan: &Plan, fabric: &Fabric, index: usize, host: &HostPlan) -> Vec<Path> {
    let last = u8::try_from(index + 1).unwrap_or(u8::MAX);
    let machine = fabric.add_host(IpAddr::from([10, 0, 1, last]));
    let shape = Shape {
        host: index,
        hostnqn: format!("nqn.2026-01.world:host-{index}"),
        host_id: [last; 16],
        subnqn: SUBNQN.to_owned(),
        admin_entries: host.admin_entries,
        io_queues: host.io_queues,
        io_entries: host.io_entries,
        kato_ms: host.kato_ms,
        backoff: host.backoff,
        over_after: plan.over_after,
        over_after_silence: OVER_AFTER_SILENCE,
    };
    let path = |portal_index: &usize| {
        Path::new(machine.clone(), portal(*portal_index), shape.clone(), host.first)
    };
    host.portals.iter().map(path).collect()
}

/// Plays one plan from its start to its end.
pub(crate) fn play(plan: Plan, trace: bool) -> Report {
    let seed = plan.seed;
    let played = World::new(plan, trace).and_then(|mut world| {
        world.run_until(world.plan.safety, |_| false)?;
        if world.ledger.wrong.is_empty() {
            world.live_on()?;
        }
        Ok(world.report())
    });
    played.unwrap_or_else(|error| Report {
        wrong: vec![format!("seed {seed}: {error:#}")],
        ..Report::default()
    })
}
