//! Compare, and Compare and Write as one operation, on their way: the host's data, the disk's, and
//! the answer.

use block::{Engine, Request};
use nvme::{CompareAndWrite, DiskId, Extent, HostData, HostSgl, Outcome, Permit, Status};
use transport::cause::Cause;
use transport::device::Stack;
use transport::limits::PAGE;
use transport::pool::Buf;

use crate::disk_buf::DiskBuf;
use crate::orphans::Range;
use crate::reactor::Reactor;
use crate::reactor::command::{Command, Work, status_of};

/// Data of the host.
#[derive(Debug)]
struct HostPart {
    /// Where it is to be brought from; `None` when it is here.
    from: Option<HostSgl>,
    buf: Option<Buf>,
    /// It came in the capsule: its buffer goes back to the connection.
    in_capsule: bool,
}

/// A Compare in progress.
#[derive(Debug)]
pub(crate) struct Comparison {
    pub(crate) disk: DiskId,
    offset: u64,
    len: usize,
    theirs: HostPart,
    /// What the disk has.
    ours: Option<Buf>,
    /// The Write that is fused to it.
    fused: Option<Fused>,
    /// The blocks were the same; they are being written.
    writing: bool,
}

/// A Write that follows a Compare with nothing in between.
#[derive(Debug)]
struct Fused {
    /// The right to answer the Compare; that of the Write is the command's.
    first: Option<Permit>,
    data: HostPart,
    fua: bool,
    /// Nobody else begins a write to its blocks.
    claimed: bool,
    /// Reactors that may still have begun one before.
    waits_for: usize,
}

impl Comparison {
    /// Bytes of memory: a piece for the disk's data, and one for each part that is not here.
    fn memory(&self) -> usize {
        let piece = self.len.max(PAGE).next_power_of_two();
        let parts = self.parts().filter(|part| part.from.is_some()).count();
        piece << parts
    }

    fn parts(&self) -> impl Iterator<Item = &HostPart> {
        std::iter::once(&self.theirs).chain(self.fused.as_ref().map(|fused| &fused.data))
    }

    fn parts_mut(&mut self) -> impl Iterator<Item = &mut HostPart> {
        std::iter::once(&mut self.theirs).chain(self.fused.as_mut().map(|fused| &mut fused.data))
    }

    /// Where the host's data is that is being fetched, or is the next to be.
    pub(crate) fn fetches(&self) -> Option<HostSgl> {
        self.parts().find_map(|part| part.from)
    }

    /// The bytes on its disk.
    pub(crate) fn range(&self) -> Range {
        Range { start: self.offset, end: self.offset.saturating_add(self.len as u64) }
    }

    /// Its blocks are claimed.
    pub(crate) fn is_claimed(&self) -> bool {
        self.fused.as_ref().is_some_and(|fused| fused.claimed)
    }

    /// Its blocks are claimed, and so many reactors have to say that they have let go of them.
    pub(crate) fn claimed(&mut self, reactors: usize) {
        if let Some(fused) = &mut self.fused {
            fused.claimed = true;
            fused.waits_for = reactors;
        }
    }

    /// A reactor has no write to its blocks out; says whether none has.
    pub(crate) fn let_go(&mut self) -> bool {
        let Some(fused) = self.fused.as_mut().filter(|fused| fused.waits_for > 0) else {
            return false;
        };
        fused.waits_for -= 1;
        fused.waits_for == 0
    }

    /// The right to answer the Compare of a fused operation.
    pub(crate) fn take_first(&mut self) -> Option<Permit> {
        self.fused.as_mut().and_then(|fused| fused.first.take())
    }

    fn is_same(&self) -> bool {
        let (ours, theirs) = (self.ours.as_ref(), self.theirs.buf.as_ref());
        let (Some(ours), Some(theirs)) = (ours, theirs) else { return false };
        ours.as_slice().get(..self.len) == theirs.as_slice().get(..self.len)
    }
}

/// The host's data as it came, or where it is. In-capsule data is moved to its buffer's start.
fn part(from: HostData, data: &mut Option<Buf>) -> Option<HostPart> {
    match from {
        HostData::Host(from) => Some(HostPart { from: Some(from), buf: None, in_capsule: false }),
        HostData::InCapsule { offset, len } => {
            let mut buf = data.take()?;
            let (start, len) = (offset as usize, len as usize);
            if start != 0 {
                buf.as_mut_slice().copy_within(start..start + len, 0);
            }
            Some(HostPart { from: None, buf: Some(buf), in_capsule: true })
        }
    }
}

impl<S: Stack, E: Engine<DiskBuf>> Reactor<S, E> {
    /// Begins a Compare.
    pub(crate) fn compare(
        &mut self,
        c: usize,
        permit: Permit,
        (disk, extent): (DiskId, Extent),
        from: HostData,
        data: &mut Option<Buf>,
    ) {
        let Some(theirs) = part(from, data) else { return self.abandon(c, permit) };
        self.begin_comparison(c, permit, (disk, extent), theirs, None);
    }

    /// Begins a Compare and Write. The Compare's in-capsule data was kept with its capsule.
    pub(crate) fn compare_and_write(
        &mut self,
        c: usize,
        permit: Permit,
        op: CompareAndWrite,
        data: &mut Option<Buf>,
    ) {
        let CompareAndWrite { first, disk, extent, compare, write, fua } = op;
        let theirs = part(compare, &mut self.conns[c].first_half);
        let (Some(theirs), Some(data)) = (theirs, part(write, data)) else {
            self.abandon(c, first);
            return self.abandon(c, permit);
        };
        let fused = Fused { first: Some(first), data, fua, claimed: false, waits_for: 0 };
        self.begin_comparison(c, permit, (disk, extent), theirs, Some(fused));
    }

    fn begin_comparison(
        &mut self,
        c: usize,
        permit: Permit,
        (disk, extent): (DiskId, Extent),
        theirs: HostPart,
        fused: Option<Fused>,
    ) {
        let comparison = Comparison {
            disk,
            offset: extent.offset_bytes,
            len: usize::try_from(extent.len_bytes).unwrap_or(usize::MAX),
            theirs,
            ours: None,
            fused,
            writing: false,
        };
        let memory = comparison.memory();
        self.begin(c, Command::new(permit, Work::Compare(Box::new(comparison)), memory));
    }

    /// Its memory is there: one buffer, so that none waits for a second while it holds a first.
    pub(crate) fn comparison_has_memory(&mut self, c: usize, i: usize, mut buf: Buf) {
        let Work::Compare(x) = &mut self.conns[c].commands[i].work else { return };
        let len = x.len;
        for part in x.parts_mut().filter(|part| part.from.is_some()) {
            part.buf = buf.split_off();
            if let Some(half) = &mut part.buf {
                half.set_len(len);
            }
        }
        buf.set_len(len);
        x.ours = Some(buf);
        self.comparison_goes_on(c, i);
    }

    /// A part of the host's data is there.
    pub(crate) fn comparison_fetched(&mut self, c: usize, i: usize, buf: Buf) {
        let Work::Compare(x) = &mut self.conns[c].commands[i].work else { return };
        if let Some(part) = x.parts_mut().find(|part| part.from.is_some()) {
            part.from = None;
            part.buf = Some(buf);
        }
        self.comparison_goes_on(c, i);
    }

    fn comparison_goes_on(&mut self, c: usize, i: usize) {
        let Work::Compare(x) = &mut self.conns[c].commands[i].work else { return };
        let fused = x.fused.is_some();
        let missing = x.parts_mut().find(|part| part.from.is_some());
        let next = missing.map(|part| part.buf.take());
        match next {
            Some(Some(buf)) => self.read_host(c, i, buf),
            // It was given one for each part that is not here.
            Some(None) => self.close(c, Cause::OutOfResources),
            None if fused => self.claim_blocks(c, i),
            None => self.compare_with_disk(c, i),
        }
    }

    /// Reads what the disk has. Where the blocks are claimed, nothing holds it up.
    pub(crate) fn compare_with_disk(&mut self, c: usize, i: usize) {
        let Work::Compare(x) = &mut self.conns[c].commands[i].work else { return };
        let Some(buf) = x.ours.take() else { return };
        let (disk, len, offset_bytes) = (x.disk, x.len, x.offset);
        let claimed = x.is_claimed();
        let request = Request::Read { buf: DiskBuf(buf), len, offset_bytes };
        if claimed {
            self.hand_claimed(c, i, disk, request);
        } else {
            self.hand_to_disk(c, i, disk, request);
        }
    }

    /// Hands an operation on claimed blocks over: those who wait behind the claim wait for it.
    fn hand_claimed(&mut self, c: usize, i: usize, disk: DiskId, request: Request<DiskBuf>) {
        let operation = self.disk_operation(c, i, disk, request);
        self.submit(operation);
    }

    /// A disk operation of a Compare succeeded.
    pub(crate) fn comparison_succeeded(&mut self, c: usize, i: usize, buf: Option<Buf>) {
        let Work::Compare(x) = &mut self.conns[c].commands[i].work else { return };
        if x.writing {
            if let Some(fused) = &mut x.fused {
                fused.data.buf = buf;
            }
            return self.finish_comparison(c, i, Outcome::SUCCESS, Outcome::SUCCESS);
        }
        x.ours = buf;
        if !x.is_same() {
            let failed = Outcome::failed(Status::FAILED_FUSED);
            let differs = Outcome::failed(Status::COMPARE_FAILURE.dnr());
            return self.finish_comparison(c, i, differs, failed);
        }
        let Some(fused) = &mut x.fused else {
            return self.finish_comparison(c, i, Outcome::SUCCESS, Outcome::SUCCESS);
        };
        let Some(buf) = fused.data.buf.take() else { return };
        x.writing = true;
        let (disk, len, offset_bytes, fua) = (x.disk, x.len, x.offset, fused.fua);
        self.hand_claimed(c, i, disk, Request::Write { buf: DiskBuf(buf), len, offset_bytes, fua });
    }

    /// A disk operation of a Compare failed.
    pub(crate) fn comparison_failed(
        &mut self,
        c: usize,
        i: usize,
        buf: Option<Buf>,
        error: &block::IoError,
    ) {
        let Work::Compare(x) = &mut self.conns[c].commands[i].work else { return };
        let failed = Outcome::failed(status_of(error, x.writing));
        if x.writing {
            if let Some(fused) = &mut x.fused {
                fused.data.buf = buf;
            }
            self.finish_comparison(c, i, Outcome::SUCCESS, failed);
        } else {
            self.finish_comparison(c, i, failed, Outcome::failed(Status::FAILED_FUSED));
        }
    }

    /// Answers: the Compare, and then the Write that is fused to it.
    fn finish_comparison(&mut self, c: usize, i: usize, compare: Outcome, write: Outcome) {
        let mut command = self.conns[c].commands.remove(i);
        let Work::Compare(x) = &mut command.work else { return };
        self.release_claim(c, i, x);
        let in_capsule = x.parts_mut().filter(|part| part.in_capsule);
        for buf in in_capsule.filter_map(|part| part.buf.take()) {
            self.spare(c, buf);
        }
        let outcome = match x.take_first() {
            Some(first) => {
                self.complete(c, first, compare);
                write
            }
            None => compare,
        };
        if let Some(permit) = command.permit.take() {
            self.complete(c, permit, outcome);
        }
    }
}
