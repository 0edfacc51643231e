//! A command's data on its way: pool buffers, RDMA READ and WRITE, disks.

use block::{Engine, Request};
use nvme::{DiskId, DiskOp, HostData, Outcome, Permit, Status};
use transport::cause::Cause;
use transport::device::Stack;
use transport::pool::Buf;

use crate::disk_buf::DiskBuf;
use crate::orphans::{OrphanId, Range};
use crate::reactor::Reactor;
use crate::reactor::capsule::remote;
use crate::reactor::command::{Command, Stage, Work, status_of};
use crate::reactor::disks::{DiskToken, HeldUp};

impl<S: Stack, E: Engine<DiskBuf>> Reactor<S, E> {
    /// Begins a disk command.
    pub(crate) fn execute(&mut self, c: usize, permit: Permit, op: DiskOp, data: &mut Option<Buf>) {
        match op {
            DiskOp::Read { disk, extent, to } => {
                let work = Work::Read { disk, offset: extent.offset_bytes, to };
                self.begin(c, Command::new(permit, work, to.len as usize));
            }
            DiskOp::Write { disk, extent, from: HostData::Host(from), fua } => {
                let offset = extent.offset_bytes;
                let work = Work::Write { disk, offset, from: Some(from), fua };
                self.begin(c, Command::new(permit, work, from.len as usize));
            }
            DiskOp::Write { disk, extent, from: HostData::InCapsule { offset, len }, fua } => {
                let Some(mut buf) = data.take() else { return self.abandon(c, permit) };
                let (start, len) = (offset as usize, len as usize);
                // Linux sends offset 0; anything else is moved to the page's start, which a disk
                // needs.
                if start != 0 {
                    buf.as_mut_slice().copy_within(start..start + len, 0);
                }
                let work = Work::Write { disk, offset: extent.offset_bytes, from: None, fua };
                let i = self.conns[c].commands.insert(Command::new(permit, work, len));
                let offset_bytes = extent.offset_bytes;
                let request = Request::Write { buf: DiskBuf(buf), len, offset_bytes, fua };
                self.hand_to_disk(c, i, disk, request);
            }
            DiskOp::Compare { disk, extent, from } => {
                self.compare(c, permit, (disk, extent), from, data);
            }
            DiskOp::CompareAndWrite(op) => self.compare_and_write(c, permit, *op, data),
            DiskOp::Verify { disk, extent } => {
                let work = Work::Verify { disk, offset: extent.offset_bytes };
                let len = usize::try_from(extent.len_bytes).unwrap_or(usize::MAX);
                self.begin(c, Command::new(permit, work, len));
            }
            DiskOp::Copy { disk, from_bytes, to, fua } => {
                let (from, start) = (from_bytes, to.offset_bytes);
                let work = Work::Copy { disk, from, to: start, fua, writing: false };
                let len = usize::try_from(to.len_bytes).unwrap_or(usize::MAX);
                self.begin(c, Command::new(permit, work, len));
            }
            DiskOp::Flush { disk } => {
                let command = Command::new(permit, Work::Flush, 0);
                let i = self.conns[c].commands.insert(command);
                self.hand_to_disk(c, i, disk, Request::Flush);
            }
            DiskOp::FlushAll { subsystem } => {
                let work = Work::FlushAll { subsystem, next: 0 };
                let i = self.conns[c].commands.insert(Command::new(permit, work, 0));
                self.next_flush(c, i);
            }
            DiskOp::WriteZeroes { disk, extent, deallocate, fua } => {
                let (offset_bytes, len) = (extent.offset_bytes, extent.len_bytes);
                let range = Range { start: offset_bytes, end: offset_bytes + len };
                let command = Command::new(permit, Work::Range { disk, range }, 0);
                let i = self.conns[c].commands.insert(command);
                let request = Request::WriteZeroes { len, offset_bytes, unmap: deallocate, fua };
                self.hand_to_disk(c, i, disk, request);
            }
            DiskOp::Deallocate { .. } => {
                // Only ever follows fetched bytes, which `act_fetched` sees first.
                self.complete(c, permit, Outcome::failed(Status::INTERNAL_ERROR));
            }
        }
    }

    /// A command has its buffer.
    pub(crate) fn got_buffer(&mut self, c: usize, i: usize, mut buf: Buf) {
        let command = &mut self.conns[c].commands[i];
        command.stage = Stage::Ready;
        match command.work {
            Work::Fetch { .. } | Work::Write { .. } => self.read_host(c, i, buf),
            Work::Return { to, source } => {
                self.fill(c, &source, buf.as_mut_slice());
                self.write_host(c, i, buf, to);
            }
            Work::Compare(_) => self.comparison_has_memory(c, i, buf),
            Work::Read { disk, offset, .. }
            | Work::Verify { disk, offset }
            | Work::Copy { disk, from: offset, .. } => {
                let len = buf.len();
                let request = Request::Read { buf: DiskBuf(buf), len, offset_bytes: offset };
                self.hand_to_disk(c, i, disk, request);
            }
            Work::Range { .. } | Work::Flush | Work::FlushAll { .. } | Work::Deallocate { .. } => {}
        }
    }

    /// Posts the RDMA READ of a command, or lets it wait for its turn: a device has only so many at
    /// a time.
    pub(crate) fn read_host(&mut self, c: usize, i: usize, buf: Buf) {
        let conn = &mut self.conns[c];
        let command = &mut conn.commands[i];
        if conn.reads_out >= conn.read_depth {
            command.buf = Some(buf);
            command.stage = Stage::ReadTurn;
            conn.reads.push_back(i);
            return;
        }
        let from = match &command.work {
            Work::Fetch { from } | Work::Write { from: Some(from), .. } => Some(*from),
            Work::Compare(x) => x.fetches(),
            Work::Return { .. }
            | Work::Read { .. }
            | Work::Write { from: None, .. }
            | Work::Verify { .. }
            | Work::Copy { .. }
            | Work::Range { .. }
            | Work::Flush
            | Work::FlushAll { .. }
            | Work::Deallocate { .. } => None,
        };
        let Some(from) = from else { return };
        command.stage = Stage::Reading;
        command.since = self.now;
        conn.reads_out += 1;
        if conn.transport.read(buf, remote(from), i as u64).is_err() {
            self.close(c, Cause::OutOfResources);
        }
        self.touch(c);
    }

    /// An RDMA READ is over, one way or the other.
    pub(crate) fn read_retired(&mut self, c: usize, i: usize, buf: Buf, succeeded: bool) {
        let conn = &mut self.conns[c];
        conn.reads_out = conn.reads_out.saturating_sub(1);
        if conn.transport.is_posting()
            && let Some(next) = conn.reads.pop_front()
            && let Some(next_buf) = conn.commands.get_mut(next).and_then(|n| n.buf.take())
        {
            self.read_host(c, next, next_buf);
        }
        let conn = &mut self.conns[c];
        let Some(command) = conn.commands.get_mut(i) else { return };
        if !succeeded || !conn.transport.is_posting() {
            self.drop_command(c, i);
            return;
        }
        match command.work {
            Work::Write { disk, offset, fua, .. } => {
                let len = buf.len();
                let request = Request::Write { buf: DiskBuf(buf), len, offset_bytes: offset, fua };
                self.hand_to_disk(c, i, disk, request);
            }
            Work::Fetch { .. } => {
                let permit = conn.commands.remove(i).permit;
                let Some(permit) = permit else { return };
                let now = self.nvme_now();
                let action = self.conns[c].queue.handle_fetched(now, permit, buf.as_slice());
                drop(self.act_fetched(c, action, buf, false));
            }
            Work::Compare(_) => self.comparison_fetched(c, i, buf),
            Work::Return { .. }
            | Work::Read { .. }
            | Work::Verify { .. }
            | Work::Copy { .. }
            | Work::Range { .. }
            | Work::Flush
            | Work::FlushAll { .. }
            | Work::Deallocate { .. } => self.drop_command(c, i),
        }
    }

    /// Posts the RDMA WRITE of a command and its response behind it.
    fn write_host(&mut self, c: usize, i: usize, buf: Buf, to: nvme::HostSgl) {
        let conn = &mut self.conns[c];
        let Some(permit) = conn.commands.remove(i).permit else { return };
        if conn.transport.write(buf, remote(to), i as u64).is_err() {
            self.abandon(c, permit);
            self.close(c, Cause::OutOfResources);
            return;
        }
        self.complete(c, permit, Outcome::SUCCESS);
    }

    /// Hands a disk operation over, behind whatever orphan it overlaps.
    pub(crate) fn hand_to_disk(
        &mut self,
        c: usize,
        i: usize,
        disk: DiskId,
        request: Request<DiskBuf>,
    ) {
        let held = self.disk_operation(c, i, disk, request);
        if self.shared.disk(disk).orphans.hold_up(held.range()) {
            self.held_up.push_back(held);
            return;
        }
        self.submit(held);
    }

    /// An operation of a command, which from here on waits for the disk.
    pub(crate) fn disk_operation(
        &mut self,
        c: usize,
        i: usize,
        disk: DiskId,
        request: Request<DiskBuf>,
    ) -> HeldUp {
        let conn = &mut self.conns[c];
        conn.commands[i].stage = Stage::Disk;
        conn.backend += 1;
        let token = DiskToken { conn: c, command: i, generation: conn.generation };
        HeldUp { disk, token, request }
    }

    /// A disk answered.
    pub(crate) fn disk_done(&mut self, done: block::Completion<DiskBuf>) {
        let token = DiskToken::from_raw(done.token);
        if self.shutdown_flushed(token, done.result) {
            return;
        }
        let (c, i) = (token.conn, token.command);
        let buf = done.buf.map(|buf| buf.0);
        let Some(conn) = self.conns.get_mut(c).filter(|x| x.generation == token.generation) else {
            tracing::error!(?token, "a disk answered for a connection that is gone");
            return;
        };
        conn.backend -= 1;
        self.touch(c);
        let conn = &mut self.conns[c];
        let Some(command) = conn.commands.get_mut(i) else { return };
        if let Some((disk, _)) = command.changes().filter(|_| conn.closing) {
            let id = OrphanId { reactor: self.index, token: done.token };
            self.shared.disk(disk).orphans.release(id);
            self.shared.tell_all_orphan_gone();
        }
        if !conn.transport.is_posting() {
            self.drop_command(c, i);
            return;
        }
        if let Err(error) = &done.result {
            let status = status_of(error, command.is_writing());
            let compares = matches!(command.work, Work::Compare(_));
            tracing::warn!(peer = %conn.peer, %error, "a disk operation failed");
            self.counters.disk_errors += 1;
            if compares {
                return self.comparison_failed(c, i, buf, error);
            }
            self.keep_spare(c, i, buf);
            self.finish_command(c, i, Outcome::failed(status));
            return;
        }
        self.disk_succeeded(c, i, buf);
    }

    fn disk_succeeded(&mut self, c: usize, i: usize, buf: Option<Buf>) {
        match self.conns[c].commands[i].work {
            Work::Read { to, .. } => {
                if let Some(buf) = buf {
                    self.write_host(c, i, buf, to);
                }
            }
            Work::Write { .. } => {
                self.keep_spare(c, i, buf);
                self.finish_command(c, i, Outcome::SUCCESS);
            }
            Work::Compare(_) => self.comparison_succeeded(c, i, buf),
            Work::Copy { disk, to, fua, writing: false, .. } => {
                let Some(buf) = buf else { return };
                if let Work::Copy { writing, .. } = &mut self.conns[c].commands[i].work {
                    *writing = true;
                }
                let len = buf.len();
                let request = Request::Write { buf: DiskBuf(buf), len, offset_bytes: to, fua };
                self.hand_to_disk(c, i, disk, request);
            }
            Work::FlushAll { .. } => self.next_flush(c, i),
            Work::Deallocate { .. } => self.next_range(c, i),
            Work::Range { .. } | Work::Flush | Work::Verify { .. } | Work::Copy { .. } => {
                self.finish_command(c, i, Outcome::SUCCESS);
            }
            Work::Fetch { .. } | Work::Return { .. } => {}
        }
    }

    /// In-capsule data goes back to its connection, everything else to the pool.
    fn keep_spare(&mut self, c: usize, i: usize, buf: Option<Buf>) {
        let command = &self.conns[c].commands[i];
        let in_capsule = matches!(command.work, Work::Write { from: None, .. });
        if let Some(buf) = buf.filter(|_| in_capsule) {
            self.spare(c, buf);
        }
    }

    /// A buffer for in-capsule data is free again.
    pub(crate) fn spare(&mut self, c: usize, mut buf: Buf) {
        buf.set_len(self.shared.settings.in_capsule_bytes);
        self.conns[c].spare.push(buf);
    }

    fn finish_command(&mut self, c: usize, i: usize, outcome: Outcome) {
        let Command { permit, work, buf, .. } = self.conns[c].commands.remove(i);
        if let (Work::Deallocate { in_capsule: true, .. }, Some(buf)) = (work, buf) {
            self.spare(c, buf);
        }
        if let Some(permit) = permit {
            self.complete(c, permit, outcome);
        }
    }

    /// Forgets a command of a connection that ends.
    pub(crate) fn drop_command(&mut self, c: usize, i: usize) {
        let mut command = self.conns[c].commands.remove(i);
        let mut first = None;
        if let Work::Compare(x) = &mut command.work {
            self.release_claim(c, i, x);
            first = x.take_first();
        }
        for permit in [first, command.permit].into_iter().flatten() {
            self.conns[c].queue.abandon(permit);
        }
    }

    fn next_flush(&mut self, c: usize, i: usize) {
        let Work::FlushAll { subsystem, next } = &mut self.conns[c].commands[i].work else {
            return;
        };
        let disk = subsystem.namespaces.get(*next).map(|namespace| namespace.disk);
        *next += 1;
        match disk {
            Some(disk) => self.hand_to_disk(c, i, disk, Request::Flush),
            None => self.finish_command(c, i, Outcome::SUCCESS),
        }
    }

    pub(crate) fn deallocate(&mut self, c: usize, permit: Permit, work: Work, ranges: Buf) {
        let mut command = Command::new(permit, work, 0);
        command.buf = Some(ranges);
        let i = self.conns[c].commands.insert(command);
        self.next_range(c, i);
    }

    fn next_range(&mut self, c: usize, i: usize) {
        let command = &mut self.conns[c].commands[i];
        let Work::Deallocate { disk, ranges, next, .. } = &mut command.work else { return };
        let bytes = command.buf.as_ref().map_or(&[][..], Buf::as_slice);
        let mut extent = None;
        while extent.is_none() && *next < ranges.count() {
            extent = ranges.get(bytes, *next).filter(|extent| extent.len_bytes > 0);
            *next += 1;
        }
        let disk = *disk;
        match extent {
            Some(extent) => {
                let (len, offset_bytes) = (extent.len_bytes, extent.offset_bytes);
                self.hand_to_disk(c, i, disk, Request::Discard { len, offset_bytes });
            }
            None => self.finish_command(c, i, Outcome::SUCCESS),
        }
    }
}
