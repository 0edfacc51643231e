//! A simulated host: paths to the target, I/O over all of them, and mischief of its own.

pub(crate) mod command;
pub(crate) mod path;
pub(crate) mod queue;

use std::time::Duration;

use crate::dice::Dice;
use crate::host::command::{Command, Io, IoKind};
use crate::host::path::{Path, Phase};
use crate::host::queue::Data;
use crate::ledger::Ledger;
use crate::limits::IDLE_LOOK;
use crate::plan::{Act, HostPlan};
use crate::stamp::{self, BLOCK};

/// What the verification at the end still has to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// It does what its plan says.
    Working,
    /// It reads all of its blocks, next this one of this disk.
    Verifying { disk: usize, lba: u64 },
    /// It has read them all.
    Verified,
}

/// A host: it owns its blocks of every disk, whatever path it uses.
pub(crate) struct HostNode {
    pub(crate) index: usize,
    pub(crate) paths: Vec<Path>,
    pub(crate) plan: HostPlan,
    disks: usize,
    dice: Dice,
    quota: u64,
    stage: Stage,
    next_io: Duration,
    next_act: Option<Duration>,
}

impl HostNode {
    pub(crate) fn new(
        index: usize,
        paths: Vec<Path>,
        plan: HostPlan,
        disks: usize,
        seed: u64,
    ) -> Self {
        let dice = Dice::new(seed, &format!("host {index}"));
        let quota = plan.quota;
        let next_act = plan.acts.first().map(|_| plan.act_period);
        Self {
            index,
            paths,
            plan,
            disks,
            dice,
            quota,
            stage: Stage::Working,
            next_io: Duration::ZERO,
            next_act,
        }
    }

    /// Takes what came. Says whether there was anything.
    pub(crate) fn receive(&mut self, now: Duration, ledger: &mut Ledger) -> bool {
        let mut any = false;
        for path in &mut self.paths {
            any |= path.receive(now, ledger);
        }
        if any {
            let think = Duration::from_micros(self.dice.between(1, self.plan.think_us));
            self.next_io = self.next_io.min(now + think);
        }
        any
    }

    /// Does what is due now.
    pub(crate) fn look(&mut self, now: Duration, ledger: &mut Ledger) {
        for path in &mut self.paths {
            path.look(now, ledger);
        }
        if self.next_act.is_some_and(|at| at <= now) {
            let period = u64::try_from(self.plan.act_period.as_micros()).unwrap_or(1);
            let pause = Duration::from_micros(self.dice.between(period / 2, 2 * period));
            self.next_act = Some(now + pause);
            self.act(now, ledger);
        }
        if self.next_io <= now {
            let think = Duration::from_micros(self.dice.between(1, self.plan.think_us));
            // With nothing to send it waits for an answer, or for blocks in doubt.
            self.next_io = now + if self.pump(now, ledger) { think } else { IDLE_LOOK };
        }
    }

    /// When it is to be looked at next.
    pub(crate) fn due(&self) -> Option<Duration> {
        let io = (self.wants_io() && self.paths.iter().any(Path::is_live)).then_some(self.next_io);
        self.paths.iter().filter_map(Path::due).chain(io).chain(self.next_act).min()
    }

    fn wants_io(&self) -> bool {
        match self.stage {
            Stage::Working => self.quota > 0,
            Stage::Verifying { .. } => true,
            Stage::Verified => false,
        }
    }

    /// No mischief any more.
    pub(crate) fn calm(&mut self, now: Duration) {
        self.next_act = None;
        for path in &mut self.paths {
            path.paused_until = path.paused_until.map(|_| Duration::ZERO);
            path.come_back(now);
        }
    }

    /// All that it wanted is done: from now on it reads what it wrote.
    pub(crate) fn is_done(&self) -> bool {
        self.quota == 0 && self.outstanding() == 0
    }

    fn outstanding(&self) -> usize {
        let queues = self.paths.iter().flat_map(|path| path.queues.iter().skip(1));
        queues.map(super::host::queue::Queue::outstanding).sum()
    }

    /// Every path serves I/O.
    pub(crate) fn is_live(&self) -> bool {
        self.paths.iter().all(Path::is_live)
    }

    /// Reads all of its blocks.
    pub(crate) fn verify(&mut self) {
        if self.stage == Stage::Working {
            self.stage = Stage::Verifying { disk: 0, lba: self.plan.first_block };
        }
    }

    pub(crate) fn is_verified(&self) -> bool {
        self.stage == Stage::Verified && self.outstanding() == 0
    }

    /// Leaves, as an orderly host does.
    pub(crate) fn leave(&mut self, now: Duration) {
        for path in &mut self.paths {
            path.leaving = true;
            if path.phase == Phase::Live {
                path.shut_down(now);
            }
        }
    }

    /// One command at most for each of its queues. Says whether there was one.
    fn pump(&mut self, now: Duration, ledger: &mut Ledger) -> bool {
        let mut any = false;
        for p in 0..self.paths.len() {
            if !self.paths[p].is_live() {
                continue;
            }
            for q in 1..self.paths[p].queues.len() {
                let queue = &self.paths[p].queues[q];
                if !queue.has_room() || queue.outstanding() >= self.plan.depth {
                    continue;
                }
                let Some((disk, lba, count, kind)) = self.next_command(ledger) else { continue };
                let io = ledger.begin(disk, lba, count, kind);
                self.send(now, p, q, io);
                any = true;
            }
        }
        any
    }

    /// What to send next, if anything.
    fn next_command(&mut self, ledger: &mut Ledger) -> Option<(usize, u64, u64, IoKind)> {
        match self.stage {
            Stage::Working => self.draw(ledger),
            Stage::Verified => None,
            Stage::Verifying { disk, lba } => {
                let end = self.plan.first_block + self.plan.blocks;
                let count = (end - lba).min(self.plan.blocks_max);
                if !ledger.is_free(disk, lba, count) {
                    return None;
                }
                self.stage = if lba + count < end {
                    Stage::Verifying { disk, lba: lba + count }
                } else if disk + 1 < self.disks {
                    Stage::Verifying { disk: disk + 1, lba: self.plan.first_block }
                } else {
                    Stage::Verified
                };
                Some((disk, lba, count, IoKind::Read))
            }
        }
    }

    fn draw(&mut self, ledger: &mut Ledger) -> Option<(usize, u64, u64, IoKind)> {
        if self.quota == 0 {
            return None;
        }
        let dice = &mut self.dice;
        let disk = dice.index(self.disks);
        let at = dice.roll(self.plan.blocks);
        let count = dice.between(1, self.plan.blocks_max).min(self.plan.blocks - at);
        let lba = self.plan.first_block + at;
        let fua = dice.chance(150_000);
        let kind = match dice.roll(100) {
            0..35 => IoKind::Read,
            35..75 => IoKind::Write {
                version: ledger.version(),
                fua,
                in_capsule: dice.chance(500_000)
                    && count * BLOCK as u64 <= self.plan.in_capsule as u64,
            },
            75..81 => IoKind::Zero { fua },
            81..85 => IoKind::Deallocate,
            _ => IoKind::Flush,
        };
        if kind != IoKind::Flush && !ledger.is_free(disk, lba, count) {
            return None;
        }
        self.quota -= 1;
        Some((disk, lba, count, kind))
    }

    fn send(&mut self, now: Duration, p: usize, q: usize, io: Io) {
        let Io { disk, lba, count, kind, .. } = io;
        let sqe = command::io(disk, lba, count, kind);
        let len = crate::disk::index(count) * BLOCK;
        let mut bytes = Vec::new();
        let data = match kind {
            IoKind::Read => Data::Room(len),
            IoKind::Write { version, in_capsule, .. } => {
                bytes.resize(len, 0);
                for (lba, block) in (lba..).zip(bytes.chunks_exact_mut(BLOCK)) {
                    stamp::fill(block, disk as u64, lba, version);
                }
                if in_capsule { Data::InCapsule(&bytes) } else { Data::Keyed(&bytes) }
            }
            IoKind::Deallocate => {
                bytes.extend(command::range(lba, count));
                Data::Keyed(&bytes)
            }
            IoKind::Zero { .. } | IoKind::Flush => Data::None,
        };
        self.paths[p].queues[q].send(now, sqe, Command::Io(io), &data);
    }

    /// One act of mischief, on a path that lives.
    fn act(&mut self, now: Duration, ledger: &mut Ledger) {
        let act = self.plan.acts[self.dice.index(self.plan.acts.len())];
        let p = self.dice.index(self.paths.len());
        let path = &mut self.paths[p];
        if !path.is_live() {
            return;
        }
        path.said.push(format!("{act:?}"));
        match act {
            Act::Disconnect => path.tear_down(now, false, "its own wish", ledger),
            Act::Vanish => path.tear_down(now, true, "power loss", ledger),
            Act::Pause => {
                let span = self.dice.between(1_000, 9_000_000);
                path.pause(now + Duration::from_micros(span));
            }
            Act::Reset => path.reset(now),
            Act::ShutDown => path.shut_down(now),
            Act::ShortCapsule | Act::Garbage | Act::SameId | Act::Overrun | Act::BadKey => {
                let q = self.dice.index(path.queues.len());
                self.misbehave(now, act, p, q);
            }
        }
    }

    /// Breaks the rules on one queue, without a block at stake.
    fn misbehave(&mut self, now: Duration, act: Act, p: usize, q: usize) {
        let dice = &mut self.dice;
        let queue = &mut self.paths[p].queues[q];
        queue.lawless = true;
        let cid = queue.peek_cid();
        let mut flush = [0_u8; 64];
        // A flush of a namespace that nobody has.
        flush[1] = 0x40;
        flush[2..4].copy_from_slice(&cid.wrapping_add(0x4000).to_le_bytes());
        flush[4..8].copy_from_slice(&77_u32.to_le_bytes());
        match act {
            Act::ShortCapsule => queue.send_raw(&flush[..crate::disk::index(dice.roll(64))]),
            Act::Garbage => {
                let mut bytes = [0_u8; 64];
                for byte in &mut bytes {
                    *byte = dice.next().to_le_bytes()[0];
                }
                // Nothing that could change a block: an opcode that is none of ours.
                bytes[0] = 0x55;
                queue.send_raw(&bytes);
            }
            Act::SameId => {
                queue.send_raw(&flush);
                queue.send_raw(&flush);
            }
            Act::Overrun => {
                for n in 0..200_u16 {
                    let id = cid.wrapping_add(0x4000).wrapping_add(n);
                    flush[2..4].copy_from_slice(&id.to_le_bytes());
                    queue.send_raw(&flush);
                }
            }
            Act::BadKey => {
                let mut read = [0_u8; 64];
                read[0] = nvme::io::opcode::READ;
                read[1] = 0x40;
                read[2..4].copy_from_slice(&cid.wrapping_add(0x4000).to_le_bytes());
                read[4..8].copy_from_slice(&1_u32.to_le_bytes());
                let sgl = nvme::HostSgl {
                    addr: 0xdead_0000,
                    rkey: nvme::RKey(0xdead),
                    len: 512,
                    invalidate: false,
                };
                read[24..40].copy_from_slice(&nvme::Sgl::Keyed(sgl).emit());
                queue.send_raw(&read);
            }
            Act::Disconnect | Act::Vanish | Act::Pause | Act::Reset | Act::ShutDown => {}
        }
        let _ = now;
    }
}
