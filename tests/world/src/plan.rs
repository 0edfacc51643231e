//! What a seed means: the rows, the shape of the world, and which faults there are, each with a
//! rate of its own (swarm: most runs see few kinds, some see many).

use std::time::Duration;

use sim::oracle::Delay;
use sim::{Behaviour, Plan as FabricPlan, rows};

use crate::dice::Dice;
use crate::disk::DiskFaults;

/// A host's mischief.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Act {
    /// Disconnects every queue at once.
    Disconnect,
    /// Its power goes off.
    Vanish,
    /// Its network stands still for up to some seconds.
    Pause,
    /// Resets its controller, I/O outstanding.
    Reset,
    /// Shuts its controller down, I/O outstanding.
    ShutDown,
    /// Sends a capsule of fewer than 64 bytes.
    ShortCapsule,
    /// Sends a command that does not exist.
    Garbage,
    /// Uses a command id twice.
    SameId,
    /// Sends more commands than the queue has entries.
    Overrun,
    /// Names memory that it does not have.
    BadKey,
}

const ACTS: [Act; 10] = [
    Act::Disconnect,
    Act::Vanish,
    Act::Pause,
    Act::Reset,
    Act::ShutDown,
    Act::ShortCapsule,
    Act::Garbage,
    Act::SameId,
    Act::Overrun,
    Act::BadKey,
];

/// What becomes of a device, at its time, by the number of its portal.
#[derive(Clone, Copy, Debug)]
pub(crate) struct DeviceAct {
    pub(crate) at: Duration,
    pub(crate) portal: usize,
    pub(crate) kind: DeviceActKind,
}

/// What becomes of a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DeviceActKind {
    /// It fails, is removed, and comes back.
    Fails,
    /// It is removed, and comes back.
    IsRemoved,
    /// Its completion queues fail.
    LosesCompletions,
    /// A queue pair of it fails by itself.
    QueuePairFails,
    /// An event of a connection comes that nothing caused.
    FalseEvent,
}

/// What one host does.
#[derive(Clone, Debug)]
pub(crate) struct HostPlan {
    /// Portals that it connects to.
    pub(crate) portals: Vec<usize>,
    /// When it comes.
    pub(crate) first: Duration,
    pub(crate) io_queues: u16,
    pub(crate) admin_entries: u16,
    pub(crate) io_entries: u16,
    pub(crate) kato_ms: u32,
    pub(crate) backoff: Duration,
    /// Its blocks of every disk.
    pub(crate) first_block: u64,
    pub(crate) blocks: u64,
    /// Blocks of one command.
    pub(crate) blocks_max: u64,
    /// Commands outstanding on one queue.
    pub(crate) depth: usize,
    /// I/O commands in all.
    pub(crate) quota: u64,
    /// Longest pause between two of them, microseconds.
    pub(crate) think_us: u64,
    pub(crate) in_capsule: usize,
    /// What mischief it may do; none if empty.
    pub(crate) acts: Vec<Act>,
    pub(crate) act_period: Duration,
}

/// A run.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) seed: u64,
    /// The row of each portal's device.
    pub(crate) devices: Vec<&'static Behaviour>,
    pub(crate) fabric: FabricPlan,
    pub(crate) reactors: u8,
    pub(crate) disks: usize,
    pub(crate) blocks: u64,
    pub(crate) disk_faults: DiskFaults,
    pub(crate) engine_capacity: usize,
    pub(crate) in_capsule: usize,
    pub(crate) hosts: Vec<HostPlan>,
    /// How long the faults last.
    pub(crate) safety: Duration,
    /// When the daemon is killed and the disks' power goes.
    pub(crate) crashes: Vec<Duration>,
    /// What becomes of the devices; in the order of their times.
    pub(crate) device_acts: Vec<DeviceAct>,
    /// Longest time from a reactor's wakeup to its run, microseconds.
    pub(crate) lag_us: u64,
    /// When the target surely knows that a host gave up: its events are neither late nor lost.
    pub(crate) over_after: Duration,
}

/// A host gave up, and nobody told the target: its capsules are through, its keep-alive timer has
/// expired (rounded up), and a reactor was slow to run.
pub(crate) const OVER_AFTER_SILENCE: Duration = Duration::from_secs(
    6 // the longest way of a capsule
    + 6 // the longest keep-alive timeout, rounded up
    + 8, // retries of a response that nobody takes
);
/// The target's events of a disconnect are prompt.
const OVER_AFTER_PROMPT: Duration = Duration::from_millis(50);

/// Blocks of each host on each disk.
const BLOCKS_OF_HOST: u64 = 48;

fn rate(dice: &mut Dice, one_in: u64, most: u64) -> u32 {
    let drawn = if dice.roll(one_in) == 0 { dice.between(1, most) } else { 0 };
    u32::try_from(drawn).unwrap_or(0)
}

impl Plan {
    /// The run of a seed: row by row, so that any few seeds in a row see every row.
    pub(crate) fn of_seed(seed: u64) -> Self {
        let mut dice = Dice::new(seed, "plan");
        let all = rows::ALL;
        let first = all[crate::disk::index(seed % all.len() as u64)];
        let mut devices = vec![first];
        if dice.chance(400_000) {
            let other = if dice.chance(500_000) { first } else { all[dice.index(all.len())] };
            devices.push(other);
        }
        let mut fabric = if dice.chance(100_000) {
            FabricPlan::CALM
        } else {
            FabricPlan::drawn(&mut sim::oracle::Dice::new(dice.next()))
        };
        let prompt = dice.chance(500_000);
        if prompt {
            fabric.never = 0;
            for late in [Delay::CmEvent, Delay::Peer, Delay::Request] {
                fabric.slow[late as usize] = 0;
            }
        }
        let told = fabric.never == 0
            && [Delay::CmEvent, Delay::Peer].iter().all(|late| fabric.slow[*late as usize] == 0);
        let in_capsule = [0, 512, 4096][dice.index(3)];
        let count = dice.between(1, 4);
        let hosts =
            (0..count).map(|n| host(&mut dice, n, devices.len(), in_capsule)).collect::<Vec<_>>();
        let safety = Duration::from_millis(dice.between(500, 20_000));
        let crashes = if dice.chance(300_000) {
            (0..dice.between(1, 2)).map(|_| part(&mut dice, safety)).collect()
        } else {
            Vec::new()
        };
        let device_acts = device_acts(&mut dice, safety, devices.len());
        let plan = Self {
            seed,
            device_acts,
            devices,
            fabric,
            reactors: u8::try_from(dice.between(1, 3)).unwrap_or(1),
            disks: crate::disk::index(dice.between(1, 2)),
            blocks: count * BLOCKS_OF_HOST,
            disk_faults: DiskFaults {
                error: rate(&mut dice, 3, 60_000),
                slow: rate(&mut dice, 2, 200_000),
                stuck: rate(&mut dice, 3, 30_000),
                evict: rate(&mut dice, 2, 500_000),
            },
            engine_capacity: [1, 3, 16, 256][dice.index(4)],
            in_capsule,
            hosts,
            safety,
            crashes,
            lag_us: [5, 200, 3_000][dice.index(3)],
            over_after: if told { OVER_AFTER_PROMPT } else { OVER_AFTER_SILENCE },
        };
        if dice.chance(250_000) { plan.with_late_writes(&mut dice) } else { plan }
    }

    /// Disks that are so slow, and hosts that leave and come back so fast and write so few blocks,
    /// that writes of a dead association meet those of its successor.
    fn with_late_writes(mut self, dice: &mut Dice) -> Self {
        for late in [Delay::CmEvent, Delay::Peer, Delay::Request, Delay::Wire] {
            self.fabric.slow[late as usize] = 0;
        }
        self.fabric.never = 0;
        self.over_after = OVER_AFTER_PROMPT;
        self.disk_faults.slow = 300_000;
        self.disk_faults.stuck = 20_000;
        self.engine_capacity = 256;
        self.lag_us = self.lag_us.min(200);
        for host in &mut self.hosts {
            host.acts = match dice.roll(3) {
                0 => vec![Act::Disconnect],
                1 => vec![Act::Reset],
                _ => vec![Act::Disconnect, Act::Reset, Act::ShutDown],
            };
            host.act_period = Duration::from_millis(dice.between(100, 600));
            host.backoff = Duration::from_millis(dice.between(1, 60));
            host.blocks = 6;
            host.blocks_max = 3;
            host.io_entries = host.io_entries.max(8);
            host.depth = 4;
            host.quota = 250;
            host.think_us = 3_000;
        }
        self
    }
}

fn device_acts(dice: &mut Dice, safety: Duration, portals: usize) -> Vec<DeviceAct> {
    use DeviceActKind::{Fails, FalseEvent, IsRemoved, LosesCompletions, QueuePairFails};
    let mut kinds = Vec::new();
    for kind in [Fails, IsRemoved, LosesCompletions, QueuePairFails, FalseEvent] {
        if dice.chance(120_000) {
            kinds.push(kind);
        }
    }
    let count = if kinds.is_empty() { 0 } else { dice.between(1, 6) };
    let mut acts: Vec<DeviceAct> = (0..count)
        .map(|_| DeviceAct {
            at: part(dice, safety),
            portal: dice.index(portals),
            kind: kinds[dice.index(kinds.len())],
        })
        .collect();
    acts.sort_by_key(|act| act.at);
    acts
}

fn part(dice: &mut Dice, of: Duration) -> Duration {
    Duration::from_micros(dice.roll(u64::try_from(of.as_micros()).unwrap_or(1)))
}

fn host(dice: &mut Dice, number: u64, portals: usize, in_capsule: usize) -> HostPlan {
    let first = dice.index(portals);
    let mut reached = vec![first];
    if dice.chance(400_000) {
        reached.push((first + 1) % portals.max(1));
    }
    let mut acts = Vec::new();
    for act in ACTS {
        if dice.chance(200_000) {
            acts.push(act);
        }
    }
    HostPlan {
        portals: reached,
        first: Duration::from_millis([0, 0, 700][dice.index(3)]),
        io_queues: u16::try_from(dice.between(1, 3)).unwrap_or(1),
        admin_entries: u16::try_from(dice.between(4, 32)).unwrap_or(8),
        io_entries: u16::try_from(dice.between(2, 24)).unwrap_or(8),
        kato_ms: u32::try_from(dice.between(1_000, 5_000)).unwrap_or(5_000),
        backoff: Duration::from_millis(dice.between(1, 2_000)),
        first_block: number * BLOCKS_OF_HOST,
        blocks: BLOCKS_OF_HOST,
        blocks_max: dice.between(1, 16),
        depth: crate::disk::index(dice.between(1, 16)),
        quota: dice.between(20, 250),
        think_us: [30, 2_000, 60_000][dice.index(3)],
        in_capsule,
        acts,
        act_period: Duration::from_millis(dice.between(20, 3_000)),
    }
}
