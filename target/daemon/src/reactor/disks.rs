//! Disk operations of a reactor: their names, and those that wait.

use std::collections::VecDeque;

use block::{Engine, Request};
use nvme::DiskId;
use slab::Slab;
use transport::device::Stack;

use crate::disk_buf::DiskBuf;
use crate::orphans::Range;
use crate::reactor::Reactor;

/// Names a disk operation: connection, its generation, and command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct DiskToken {
    pub(crate) conn: usize,
    pub(crate) generation: u32,
    pub(crate) command: usize,
}

impl DiskToken {
    /// Connection (16 bits), command (16), generation (32).
    pub(crate) fn to_raw(self) -> u64 {
        (self.conn as u64) << 48 | (self.command as u64 & 0xFFFF) << 32 | u64::from(self.generation)
    }

    pub(crate) fn from_raw(raw: u64) -> Self {
        let [c1, c0, i1, i0, g3, g2, g1, g0] = raw.to_be_bytes();
        Self {
            conn: usize::from(u16::from_be_bytes([c1, c0])),
            command: usize::from(u16::from_be_bytes([i1, i0])),
            generation: u32::from_be_bytes([g3, g2, g1, g0]),
        }
    }
}

/// An operation that is not with the engine yet.
#[derive(Debug)]
pub(crate) struct HeldUp {
    pub(crate) disk: DiskId,
    pub(crate) token: DiskToken,
    pub(crate) request: Request<DiskBuf>,
}

impl HeldUp {
    /// The bytes it reads or changes.
    pub(crate) fn range(&self) -> Range {
        match &self.request {
            Request::Read { len, offset_bytes, .. } | Request::Write { len, offset_bytes, .. } => {
                Range { start: *offset_bytes, end: offset_bytes.saturating_add(*len as u64) }
            }
            Request::WriteZeroes { len, offset_bytes, .. }
            | Request::Discard { len, offset_bytes } => {
                Range { start: *offset_bytes, end: offset_bytes.saturating_add(*len) }
            }
            // A flush promises nothing about writes that have not completed.
            Request::Flush => Range { start: 0, end: 0 },
        }
    }
}

/// Operations of this reactor on one disk.
#[derive(Debug, Default)]
struct DiskQueue {
    /// With the engine.
    out: usize,
    /// For the engine, oldest first.
    waiting: VecDeque<HeldUp>,
}

/// Operations that the engine has, and those that wait for it.
///
/// A disk may have as many operations out as it leaves to the others: a disk that does not answer
/// keeps half of the engine at most, two of them keep two thirds.
#[derive(Debug)]
pub(crate) struct DiskQueues {
    disks: Vec<DiskQueue>,
    /// Disks for which operations wait, each once.
    turns: VecDeque<usize>,
    /// What the engine has, by the token that it knows.
    out: Slab<(usize, DiskToken)>,
    /// Operations that the engine holds at a time.
    room: usize,
}

impl DiskQueues {
    /// For so many disks.
    pub(crate) fn new(disks: usize) -> Self {
        let room = block::limits::QUEUE_DEPTH_DEFAULT as usize;
        Self {
            disks: (0..disks).map(|_| DiskQueue::default()).collect(),
            turns: VecDeque::with_capacity(disks),
            out: Slab::with_capacity(room),
            room,
        }
    }

    fn may_have_more(&self, disk: usize) -> bool {
        self.disks[disk].out < self.room.saturating_sub(self.out.len())
    }

    fn wait(&mut self, held: HeldUp) {
        let disk = held.disk.0 as usize;
        let queue = &mut self.disks[disk].waiting;
        if queue.is_empty() {
            self.turns.push_back(disk);
        }
        queue.push_back(held);
    }

    /// The next operation of the disk whose turn it is, if one may have more.
    fn next(&mut self) -> Option<HeldUp> {
        for _ in 0..self.turns.len() {
            let disk = self.turns.pop_front()?;
            if !self.may_have_more(disk) {
                self.turns.push_back(disk);
                continue;
            }
            let queue = &mut self.disks[disk].waiting;
            let held = queue.pop_front();
            if !queue.is_empty() {
                self.turns.push_back(disk);
            }
            if held.is_some() {
                return held;
            }
        }
        None
    }

    /// Takes a waiting operation back that could not be handed over: it is still the first.
    fn wait_first(&mut self, held: HeldUp) {
        let disk = held.disk.0 as usize;
        let queue = &mut self.disks[disk].waiting;
        if queue.is_empty() {
            self.turns.push_front(disk);
        }
        queue.push_front(held);
    }

    /// The engine is done with an operation: what the reactor calls it.
    fn finish(&mut self, token: u64) -> Option<DiskToken> {
        let (disk, token) = self.out.try_remove(usize::try_from(token).ok()?)?;
        self.disks[disk].out -= 1;
        Some(token)
    }

    /// What the reactor calls the operations on one disk that the engine has or will have.
    pub(crate) fn operations(&self, disk: DiskId) -> impl Iterator<Item = DiskToken> {
        let index = disk.0 as usize;
        let out = self.out.iter().map(|(_, operation)| *operation);
        let out = out.filter(move |(on, _)| *on == index).map(|(_, token)| token);
        out.chain(self.disks[index].waiting.iter().map(|held| held.token))
    }

    /// Operations that wait.
    pub(crate) fn waiting(&self) -> usize {
        self.disks.iter().map(|disk| disk.waiting.len()).sum()
    }

    /// Forgets waiting operations; says which commands they were of.
    pub(crate) fn purge(&mut self, gone: impl Fn(&HeldUp) -> bool, commands: &mut Vec<usize>) {
        for disk in &mut self.disks {
            let dropped = disk.waiting.iter().filter(|held| gone(held));
            commands.extend(dropped.map(|held| held.token.command));
            disk.waiting.retain(|held| !gone(held));
        }
        let disks = &self.disks;
        self.turns.retain(|disk| !disks[*disk].waiting.is_empty());
    }
}

impl<S: Stack, E: Engine<DiskBuf>> Reactor<S, E> {
    /// Gives an operation to the engine, or keeps it until there is room for its disk.
    pub(crate) fn submit(&mut self, held: HeldUp) {
        let disk = held.disk.0 as usize;
        let queues = &self.disk_queues;
        if queues.disks[disk].waiting.is_empty() && queues.may_have_more(disk) {
            if let Err(held) = self.hand_over(held) {
                self.disk_queues.wait(held);
            }
        } else {
            self.disk_queues.wait(held);
        }
    }

    fn hand_over(&mut self, held: HeldUp) -> Result<(), HeldUp> {
        let HeldUp { disk, token, request } = held;
        let entry = self.disk_queues.out.vacant_entry();
        let key = entry.key() as u64;
        match self.disks.submit(&self.shared.disk(disk).disk, key, request) {
            Ok(()) => {
                let index = disk.0 as usize;
                entry.insert((index, token));
                self.disk_queues.disks[index].out += 1;
                Ok(())
            }
            Err(block::Refused(request)) => Err(HeldUp { disk, token, request }),
        }
    }

    /// Takes what the disks finished.
    pub(crate) fn poll_disks(&mut self) -> bool {
        let mut done = std::mem::take(&mut self.done);
        let count = self.disks.poll(&mut done);
        for mut completion in done.drain(..) {
            let Some(token) = self.disk_queues.finish(completion.token) else {
                tracing::error!(token = completion.token, "a disk answered what nobody asked");
                continue;
            };
            completion.token = token.to_raw();
            self.disk_done(completion);
        }
        self.done = done;
        if count > 0 {
            self.submit_waiting();
        }
        count > 0
    }

    /// Each disk in its turn: one that does not answer is passed over.
    fn submit_waiting(&mut self) {
        while let Some(held) = self.disk_queues.next() {
            if let Err(held) = self.hand_over(held) {
                self.disk_queues.wait_first(held);
                return;
            }
        }
    }

    /// Looks again at what waits behind orphans.
    pub(crate) fn retry_held_up(&mut self) {
        for _ in 0..self.held_up.len() {
            let Some(held) = self.held_up.pop_front() else { return };
            if self.shared.disk(held.disk).orphans.hold_up(held.range()) {
                self.held_up.push_back(held);
            } else {
                self.submit(held);
            }
        }
        self.retry_claims();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_token_comes_back_as_it_went() {
        let token = DiskToken { conn: 16_383, generation: 0xDEAD_BEEF, command: 511 };
        assert_eq!(DiskToken::from_raw(token.to_raw()), token);
    }
}
