//! Claims on blocks: what makes a fused Compare and Write atomic against every other write.
//!
//! A claim lies among the orphans of its disk: from then on no reactor begins I/O that overlaps it,
//! at the cost of what the data path looks at anyway. What was begun before is out with some
//! reactor, so each is asked to say when it has nothing out on these blocks; then they are the
//! claimant's alone until it has its answer from the disk.

use block::Engine;
use nvme::DiskId;
use std::collections::VecDeque;
use transport::device::Stack;

use crate::disk_buf::DiskBuf;
use crate::orphans::{OrphanId, Range};
use crate::reactor::Reactor;
use crate::reactor::command::{Stage, Work};
use crate::reactor::compare::Comparison;
use crate::reactor::disks::DiskToken;
use crate::reactor::message::Message;

/// A claim that a reactor was asked about.
#[derive(Clone, Copy, Debug)]
pub struct Claim {
    /// Whose it is.
    pub id: OrphanId,
    /// The disk.
    pub disk: DiskId,
    /// The bytes.
    pub range: Range,
}

/// What a reactor knows of claims.
#[derive(Debug, Default)]
pub(crate) struct Claims {
    /// Own commands that wait because what they want overlaps something.
    waiting: VecDeque<DiskToken>,
    /// Claims that wait until own writes have ended.
    asked: Vec<Claim>,
}

impl<S: Stack, E: Engine<DiskBuf>> Reactor<S, E> {
    /// Claims the blocks of a fused operation, now or when nothing overlaps them any more.
    pub(crate) fn claim_blocks(&mut self, c: usize, i: usize) {
        let conn = &mut self.conns[c];
        let token = DiskToken { conn: c, command: i, generation: conn.generation };
        let command = &mut conn.commands[i];
        let Work::Compare(x) = &mut command.work else { return };
        command.stage = Stage::Claim;
        let id = OrphanId { reactor: self.index, token: token.to_raw() };
        let claim = Claim { id, disk: x.disk, range: x.range() };
        if !self.shared.disk(claim.disk).orphans.claim(id, claim.range) {
            self.claims.waiting.push_back(token);
            return;
        }
        let reactors = self.shared.reactors();
        x.claimed(reactors.len());
        for reactor in reactors {
            reactor.send(Message::Claim(claim));
        }
        if reactors.is_empty() {
            self.compare_with_disk(c, i);
        }
    }

    /// Another reactor, or this one, claims blocks.
    pub(crate) fn claim_asked(&mut self, claim: Claim) {
        self.claims.asked.push(claim);
        self.look_at_claims();
    }

    /// Answers the claims whose blocks this reactor has let go of.
    pub(crate) fn look_at_claims(&mut self) {
        let mut at = 0;
        while let Some(claim) = self.claims.asked.get(at).copied() {
            if self.has_writes_out(claim.disk, claim.range) {
                at += 1;
                continue;
            }
            self.claims.asked.swap_remove(at);
            if let Some(owner) = self.shared.reactors().get(usize::from(claim.id.reactor)) {
                owner.send(Message::Claimed(claim.id));
            }
        }
    }

    /// Whether claims wait for writes of this reactor.
    pub(crate) fn has_claims_to_look_at(&self) -> bool {
        !self.claims.asked.is_empty()
    }

    /// Whether an operation that changes these bytes is with the disk, or on its way there.
    fn has_writes_out(&self, disk: DiskId, range: Range) -> bool {
        self.disk_queues.operations(disk).any(|token| {
            let conn = self.conns.get(token.conn).filter(|x| x.generation == token.generation);
            let changes = conn.and_then(|x| x.commands.get(token.command)?.changes());
            changes.is_some_and(|(_, changed)| changed.overlaps(range))
        })
    }

    /// A reactor has let go of claimed blocks.
    pub(crate) fn claim_answered(&mut self, id: OrphanId) {
        let token = DiskToken::from_raw(id.token);
        let Some(command) = self.command_of(token) else { return };
        if let Work::Compare(x) = &mut command.work
            && x.let_go()
            && command.stage == Stage::Claim
        {
            self.compare_with_disk(token.conn, token.command);
            self.touch(token.conn);
        }
    }

    fn command_of(&mut self, token: DiskToken) -> Option<&mut crate::reactor::command::Command> {
        let conn = self.conns.get_mut(token.conn)?;
        (conn.generation == token.generation).then(|| conn.commands.get_mut(token.command))?
    }

    /// Something on a disk was let go of: those that wait for their claim try again.
    pub(crate) fn retry_claims(&mut self) {
        for _ in 0..self.claims.waiting.len() {
            let Some(token) = self.claims.waiting.pop_front() else { return };
            let Some(command) = self.command_of(token) else { continue };
            if command.stage == Stage::Claim
                && matches!(&command.work, Work::Compare(x) if !x.is_claimed())
            {
                self.claim_blocks(token.conn, token.command);
            }
        }
    }

    /// The claim of a command that ends is over.
    pub(crate) fn release_claim(&self, c: usize, i: usize, x: &Comparison) {
        if !x.is_claimed() {
            return;
        }
        let generation = self.conns[c].generation;
        let token = DiskToken { conn: c, command: i, generation };
        let id = OrphanId { reactor: self.index, token: token.to_raw() };
        self.shared.disk(x.disk).orphans.release(id);
        self.shared.tell_all_orphan_gone();
    }
}
