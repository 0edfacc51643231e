//! From a received capsule to what is done about it.

use block::Engine;
use nvme::{Action, Completion, HostData, Outcome, Permit};
use transport::cause::Cause;
use transport::device::{Remote, Stack};
use transport::pool::{Buf, RecvBuf};

use crate::disk_buf::DiskBuf;
use crate::reactor::Reactor;
use crate::reactor::command::{Command, Work};

/// Bytes of a command capsule without data.
const SQE: u32 = 64;
/// Bytes of a response capsule.
const CQE: usize = 16;

impl<S: Stack, E: Engine<DiskBuf>> Reactor<S, E> {
    /// A receive completed with success.
    pub(crate) fn received(&mut self, c: usize, recv: RecvBuf, byte_len: u32) {
        let conn = &mut self.conns[c];
        if !conn.transport.is_open() {
            return;
        }
        conn.capsules_seen += 1;
        if !conn.capsules.is_empty() || !conn.has_room(conn.transport.send_out()) {
            conn.capsules.push_back((recv, byte_len));
            return;
        }
        self.capsule(c, recv, byte_len);
    }

    /// Goes on with capsules that waited for room on the send queue.
    pub(crate) fn waiting_capsules(&mut self, c: usize) {
        loop {
            let conn = &mut self.conns[c];
            if !conn.transport.is_open() || !conn.has_room(conn.transport.send_out()) {
                return;
            }
            let Some((recv, byte_len)) = conn.capsules.pop_front() else { return };
            self.capsule(c, recv, byte_len);
        }
    }

    fn capsule(&mut self, c: usize, recv: RecvBuf, byte_len: u32) {
        let RecvBuf { capsule, mut data } = recv;
        let sqe_len = byte_len.min(SQE) as usize;
        let had_data = data.is_some();
        let sqe = &capsule.as_slice()[..sqe_len];
        let now = self.nvme_now();
        let action = self.conns[c].queue.handle_capsule(now, sqe, byte_len.saturating_sub(SQE));
        self.act(c, action, &mut data);
        if self.conns[c].first_half.is_some() {
            self.forget_first_half(c);
        }
        // The capsule was read: another receive takes its place at once, whatever the disk does.
        let conn = &mut self.conns[c];
        if had_data && data.is_none() {
            data = conn.spare.pop();
        }
        if conn.transport.recv(RecvBuf { capsule, data }).is_err() {
            self.close(c, Cause::OutOfResources);
        }
    }

    /// Does what the core says. `data` is the capsule's in-capsule data, for the command to keep.
    pub(crate) fn act(&mut self, c: usize, action: Action, data: &mut Option<Buf>) {
        match action {
            Action::None => {}
            Action::Respond(completion) => self.respond(c, completion),
            Action::Hold => self.conns[c].first_half = data.take(),
            Action::Both(both) => {
                for action in *both {
                    self.act(c, action, data);
                }
            }
            Action::Finish(completion) => {
                self.respond(c, completion);
                self.finish(c, Cause::Finished);
            }
            Action::Disconnect { cause } => {
                let peer = self.conns[c].peer;
                tracing::warn!(%peer, %cause, "the host broke the protocol");
                self.counters.protocol_errors += 1;
                self.close(c, Cause::ProtocolError);
            }
            Action::Fetch { permit, from, len } => self.fetch(c, permit, from, len, data),
            Action::Execute { permit, op } => self.execute(c, permit, op, data),
            Action::Return { permit, to, len, source } => {
                self.begin(c, Command::new(permit, Work::Return { to, source }, len as usize));
            }
            Action::Compute { permit, work } => self.compute(c, permit, work),
            Action::Admin { permit, command } => self.admin(c, permit, command),
            Action::ConnectAdmin { permit, request } => self.connect_admin(c, permit, &request),
            Action::ConnectIo { permit, request } => self.connect_io(c, permit, request),
        }
    }

    /// In-capsule data of a Compare whose Write did not follow is free.
    #[cold]
    fn forget_first_half(&mut self, c: usize) {
        let conn = &mut self.conns[c];
        if !conn.queue.holds_first_half()
            && let Some(buf) = conn.first_half.take()
        {
            self.spare(c, buf);
        }
    }

    fn fetch(
        &mut self,
        c: usize,
        permit: Permit,
        from: HostData,
        len: u32,
        data: &mut Option<Buf>,
    ) {
        match from {
            HostData::Host(from) => {
                self.begin(c, Command::new(permit, Work::Fetch { from }, len as usize));
            }
            HostData::InCapsule { offset, .. } => {
                let range = offset as usize..(offset + len) as usize;
                // The core checked the range against what was received.
                let Some(mut buf) = data.take() else { return self.abandon(c, permit) };
                let now = self.nvme_now();
                let bytes = &buf.as_slice()[range.clone()];
                let action = self.conns[c].queue.handle_fetched(now, permit, bytes);
                // Whoever keeps the buffer finds the bytes at its start.
                if offset != 0 {
                    buf.as_mut_slice().copy_within(range, 0);
                }
                *data = self.act_fetched(c, action, buf, true);
            }
        }
    }

    /// What follows on fetched bytes, which lie at the start of `bytes`. That comes back, unless
    /// the command keeps it: the ranges of a deallocation are read from it, one after the other.
    pub(crate) fn act_fetched(
        &mut self,
        c: usize,
        action: Action,
        bytes: Buf,
        in_capsule: bool,
    ) -> Option<Buf> {
        if let Action::Execute { permit, op: nvme::DiskOp::Deallocate { disk, ranges } } = action {
            let work = Work::Deallocate { disk, ranges, next: 0, in_capsule };
            self.deallocate(c, permit, work, bytes);
            None
        } else {
            self.act(c, action, &mut None);
            Some(bytes)
        }
    }

    /// Answers a command.
    pub(crate) fn complete(&mut self, c: usize, permit: Permit, outcome: Outcome) {
        let conn = &mut self.conns[c];
        if conn.transport.is_posting() {
            let completion = conn.queue.complete(permit, outcome);
            self.respond(c, completion);
        } else {
            conn.queue.abandon(permit);
        }
    }

    /// Forgets a command: its connection ends.
    pub(crate) fn abandon(&mut self, c: usize, permit: Permit) {
        self.conns[c].queue.abandon(permit);
    }

    /// Sends a response capsule, now or when a slot is free.
    pub(crate) fn respond(&mut self, c: usize, completion: Completion) {
        let invalidate = self.shared.settings.send_with_invalidate;
        let conn = &mut self.conns[c];
        if !conn.transport.is_posting() {
            return;
        }
        let Some(mut slot) = conn.responses.pop() else {
            conn.completions.push_back(completion);
            return;
        };
        slot.set_len(CQE);
        slot.as_mut_slice().copy_from_slice(zerocopy::IntoBytes::as_bytes(&completion.cqe));
        let can = invalidate && self.lanes[conn.lane].send_with_invalidate;
        let key = completion.invalidate.filter(|_| can).map(|key| key.0);
        conn.responses_posted += 1;
        if conn.transport.send(slot, key, 0).is_err() {
            self.close(c, Cause::OutOfResources);
        }
        self.touch(c);
    }

    /// A response went out, or will not: its slot is free.
    pub(crate) fn response_slot(&mut self, c: usize, slot: Buf) {
        let conn = &mut self.conns[c];
        conn.responses_sent += 1;
        conn.responses.push(slot);
        if let Some(completion) = conn.completions.pop_front() {
            self.respond(c, completion);
        }
    }
}

/// The host's memory as the device takes it.
pub(crate) fn remote(host: nvme::HostSgl) -> Remote {
    Remote { addr: host.addr, rkey: host.rkey.0 }
}
