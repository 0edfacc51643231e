//! Disk operations of a reactor: their names, and those that wait.

use block::{Engine, Request};
use nvme::DiskId;
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

impl<S: Stack, E: Engine<DiskBuf>> Reactor<S, E> {
    /// Takes what the disks finished.
    pub(crate) fn poll_disks(&mut self) -> bool {
        let mut done = std::mem::take(&mut self.done);
        let count = self.disks.poll(&mut done);
        for completion in done.drain(..) {
            self.disk_done(completion);
        }
        self.done = done;
        if count > 0 {
            self.retry_refused();
        }
        count > 0
    }

    fn retry_refused(&mut self) {
        for _ in 0..self.refused.len() {
            let Some(held) = self.refused.pop_front() else { return };
            let before = self.refused.len();
            let entry = self.shared.disk(held.disk);
            let token = held.token.to_raw();
            if let Err(block::Refused(request)) =
                self.disks.submit(&entry.disk, token, held.request)
            {
                self.refused.push_front(HeldUp { request, ..held });
                debug_assert_eq!(self.refused.len(), before + 1);
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
