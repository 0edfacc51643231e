//! One operation from its request to its answer, as steps that any engine can carry out.
//!
//! An engine asks for the next [`Step`], carries it out by a ring or by system calls, and tells the
//! result to `advance`. What is short, interrupted or not supported is dealt with here, so that
//! both engines behave alike.

#[cfg(test)]
#[allow(unsafe_code, reason = "plays the kernel, which works on raw addresses")]
mod faults;

use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::FallocateFlags;

use crate::bounce::BouncePool;
use crate::buffer::{AlignedBuf, FixedRegion, IoBuf};
use crate::disk::{Backing, Disk, Opened};
use crate::error::{IoError, IoErrorKind};
use crate::limits;
use crate::memory::{self, Memory};
use crate::request::{Completion, Request};

type Outcome = Result<(), IoError>;

/// One thing for the kernel to do. Pointers are good until the operation is answered or dropped.
#[derive(Debug)]
pub(crate) enum Step {
    /// Read into memory.
    Read { to: *mut u8, len: usize, offset_bytes: u64, region: Option<FixedRegion>, punt: bool },
    /// Write from memory, with `RWF_DSYNC` if `dsync`.
    Write {
        from: *const u8,
        len: usize,
        offset_bytes: u64,
        region: Option<FixedRegion>,
        dsync: bool,
        punt: bool,
    },
    /// `fdatasync`.
    Sync,
    /// `fallocate`.
    Allocate { mode: FallocateFlags, offset_bytes: u64, len: u64 },
    /// `ioctl(BLKDISCARD)`, which blocks.
    DiscardIoctl { offset_bytes: u64, len: u64 },
}

/// What follows a step.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Progress {
    /// Ask for the next step.
    Again,
    /// The operation has its answer.
    Done(Outcome),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Work {
    Read,
    Write,
    Flush,
    Zero { unmap: bool },
    Discard,
}

/// The step that is being carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Doing {
    Nothing,
    Transfer,
    Punch,
    ZeroRange,
    WriteZeroes,
    Discard,
    Sync,
}

/// An operation that owns its buffer.
pub(crate) struct Operation<B> {
    token: u64,
    buf: Option<B>,
    bounce: Option<AlignedBuf>,
    work: Work,
    fua: bool,
    offset_bytes: u64,
    len: u64,
    done: u64,
    doing: Doing,
    step_len: usize,
    /// The step's memory is the bounce buffer.
    bounced: bool,
    idle_steps: u32,
    /// The kernel said `EAGAIN`: have it done by a worker.
    punt: bool,
    /// The kernel didn't take the caller's memory as it lies: go through a bounce buffer.
    must_bounce: bool,
}

impl<B: IoBuf> Operation<B> {
    pub(crate) fn new(token: u64, request: Request<B>) -> Self {
        let (work, buf, offset_bytes, len, fua) = match request {
            Request::Read { buf, len, offset_bytes } => {
                (Work::Read, Some(buf), offset_bytes, bytes(len), false)
            }
            Request::Write { buf, len, offset_bytes, fua } => {
                (Work::Write, Some(buf), offset_bytes, bytes(len), fua)
            }
            Request::Flush => (Work::Flush, None, 0, 0, false),
            Request::WriteZeroes { len, offset_bytes, unmap, fua } => {
                (Work::Zero { unmap }, None, offset_bytes, len, fua)
            }
            Request::Discard { len, offset_bytes } => {
                (Work::Discard, None, offset_bytes, len, false)
            }
        };
        Self {
            token,
            buf,
            bounce: None,
            work,
            fua,
            offset_bytes,
            len,
            done: 0,
            doing: Doing::Nothing,
            step_len: 0,
            bounced: false,
            idle_steps: 0,
            punt: false,
            must_bounce: false,
        }
    }

    /// The answer, where the request alone or a disk in memory gives it; `None` if the kernel has
    /// to be asked.
    pub(crate) fn answer_at_once(&mut self, disk: &Disk) -> Option<Outcome> {
        if let Err(error) = self.check(disk) {
            return Some(Err(error));
        }
        if self.len == 0 && self.work != Work::Flush {
            return Some(Ok(()));
        }
        match disk.backing() {
            Backing::File(_) if self.work == Work::Discard => {
                (!disk.geometry().features.discard).then_some(Ok(()))
            }
            Backing::File(_) => None,
            Backing::Ram(memory) => Some(self.run_in_memory(Some(memory))),
            Backing::Null => Some(self.run_in_memory(None)),
        }
    }

    /// Whether the request is one that this disk can be asked.
    fn check(&self, disk: &Disk) -> Outcome {
        let geometry = disk.geometry();
        if geometry.features.read_only && !matches!(self.work, Work::Read | Work::Flush) {
            return Err(IoError::local(IoErrorKind::WriteProtected));
        }
        if let Backing::File(opened) = disk.backing()
            && self.work != Work::Read
            && opened.lost_writes.load(Ordering::Acquire)
        {
            return Err(IoError::local(IoErrorKind::LostWrites));
        }
        let block = u64::from(geometry.block_size);
        let room = self.buf.as_ref().map_or(u64::MAX, |buf| bytes(buf.len()));
        if !self.offset_bytes.is_multiple_of(block)
            || !self.len.is_multiple_of(block)
            || self.len > room
        {
            return Err(IoError::local(IoErrorKind::Invalid));
        }
        match self.offset_bytes.checked_add(self.len) {
            Some(end) if end <= geometry.size_bytes() => Ok(()),
            Some(_) | None => Err(IoError::local(IoErrorKind::OutOfRange)),
        }
    }

    fn run_in_memory(&mut self, memory: Option<&Memory>) -> Outcome {
        // A ram disk's size was a `usize` when it was mapped, and `check` held the range to it; a
        // null disk does nothing with the offset.
        let at = usize::try_from(self.offset_bytes).unwrap_or(0);
        let len = usize::try_from(self.len).unwrap_or(0);
        match self.work {
            Work::Read => {
                let target = slice_of(self.buf.as_mut(), len)?;
                match memory {
                    Some(memory) => memory.read(at, target),
                    None => target.fill(0),
                }
            }
            Work::Write => {
                let source = slice_of(self.buf.as_mut(), len)?;
                if let Some(memory) = memory {
                    memory.write(at, source);
                }
            }
            Work::Zero { .. } | Work::Discard => {
                if let Some(memory) = memory {
                    memory.zero(at, len);
                }
            }
            Work::Flush => {}
        }
        Ok(())
    }

    /// What to do next.
    ///
    /// # Errors
    /// The operation's answer, where it can't be carried on for lack of memory.
    pub(crate) fn next_step(
        &mut self,
        disk: &Disk,
        opened: &Opened,
        pool: &mut BouncePool,
    ) -> Result<Step, IoError> {
        if self.done == self.len {
            self.doing = Doing::Sync;
            return Ok(Step::Sync);
        }
        match self.work {
            Work::Read | Work::Write => self.transfer_step(opened, pool),
            Work::Flush => {
                self.doing = Doing::Sync;
                Ok(Step::Sync)
            }
            Work::Zero { unmap } => self.zero_step(opened, unmap),
            Work::Discard => {
                debug_assert!(disk.geometry().features.discard);
                self.doing = Doing::Discard;
                let (offset_bytes, len) = self.range(limits::RANGE_STEP_BYTES_MAX);
                if opened.discard_by_ioctl {
                    return Ok(Step::DiscardIoctl { offset_bytes, len });
                }
                Ok(Step::Allocate { mode: punch_hole(), offset_bytes, len })
            }
        }
    }

    /// The part of the range that is left, cut to `most` bytes; kept as the step's length.
    fn range(&mut self, most: u64) -> (u64, u64) {
        let len = (self.len - self.done).min(most);
        self.step_len = usize::try_from(len).unwrap_or(usize::MAX);
        (self.offset_bytes + self.done, len)
    }

    fn transfer_step(&mut self, opened: &Opened, pool: &mut BouncePool) -> Result<Step, IoError> {
        self.doing = Doing::Transfer;
        let (offset_bytes, _) = self.range(bytes(limits::STEP_BYTES_MAX));
        let at = usize::try_from(self.done).unwrap_or(usize::MAX);
        let owned = self.buf.as_mut().ok_or(IoError::local(IoErrorKind::Invalid))?;
        let start = owned.as_mut_ptr().wrapping_add(at);
        let aligned = start.addr().is_multiple_of(opened.memory_align);
        self.bounced = !aligned || self.must_bounce;
        let (memory, region) = if !self.bounced {
            (start, owned.fixed())
        } else {
            self.step_len = self.step_len.min(limits::BOUNCE_BYTES);
            (self.fill_bounce(at, pool)?, None)
        };
        let (len, punt) = (self.step_len, self.punt);
        Ok(if self.work == Work::Write {
            // Through the page cache the sync is a step of its own: the failure of a write says
            // that this one is lost, that of a sync says nothing about which.
            let dsync = self.fua && opened.direct;
            Step::Write { from: memory, len, offset_bytes, region, dsync, punt }
        } else {
            Step::Read { to: memory, len, offset_bytes, region, punt }
        })
    }

    /// The bounce buffer, holding what is to be written from byte `at` of the caller's.
    fn fill_bounce(&mut self, at: usize, pool: &mut BouncePool) -> Result<*mut u8, IoError> {
        let no_memory = IoError::from_errno(libc::ENOMEM);
        if self.bounce.is_none() {
            self.bounce = Some(pool.take().ok_or(no_memory)?);
        }
        let bounce = self.bounce.as_mut().ok_or(no_memory)?;
        if self.work == Work::Write {
            let source = slice_of(self.buf.as_mut(), at + self.step_len)?;
            bounce.as_mut_slice()[..self.step_len].copy_from_slice(&source[at..]);
        }
        Ok(bounce.as_mut_ptr())
    }

    fn zero_step(&mut self, opened: &Opened, unmap: bool) -> Result<Step, IoError> {
        let (offset_bytes, len) = self.range(limits::RANGE_STEP_BYTES_MAX);
        if unmap && !opened.refuses_punch.load(Ordering::Relaxed) {
            self.doing = Doing::Punch;
            return Ok(Step::Allocate { mode: punch_hole(), offset_bytes, len });
        }
        if !opened.refuses_zero_range.load(Ordering::Relaxed) {
            self.doing = Doing::ZeroRange;
            let mode = FallocateFlags::ZERO_RANGE | FallocateFlags::KEEP_SIZE;
            return Ok(Step::Allocate { mode, offset_bytes, len });
        }
        self.doing = Doing::WriteZeroes;
        let from = memory::zero_region().ok_or(IoError::from_errno(libc::ENOMEM))?;
        let (offset_bytes, _) = self.range(bytes(limits::ZERO_REGION_BYTES));
        let (len, punt) = (self.step_len, self.punt);
        Ok(Step::Write { from, len, offset_bytes, region: None, dsync: false, punt })
    }

    /// Takes the result of the step: bytes moved (0 where nothing is counted), or an `errno`.
    pub(crate) fn advance(
        &mut self,
        disk: &Disk,
        opened: &Opened,
        result: Result<usize, i32>,
    ) -> Progress {
        let doing = std::mem::replace(&mut self.doing, Doing::Nothing);
        match (doing, result) {
            (Doing::Nothing, _) => Progress::Done(Err(IoError::local(IoErrorKind::Other))),
            (Doing::Sync, Ok(_)) => Progress::Done(Ok(())),
            (Doing::Transfer | Doing::WriteZeroes, Ok(moved)) => {
                self.account_moved(disk, opened, doing, moved)
            }
            (Doing::Punch | Doing::ZeroRange | Doing::Discard, Ok(_)) => {
                self.account(opened, bytes(self.step_len))
            }
            (_, Err(libc::EINTR | libc::EAGAIN)) => {
                self.punt = result == Err(libc::EAGAIN);
                self.account_idle(IoError::from_errno(libc::EAGAIN))
            }
            (Doing::Transfer, Err(libc::EINVAL)) if opened.direct && !self.must_bounce => {
                self.must_bounce = true;
                Progress::Again
            }
            (Doing::Punch, Err(errno)) if refuses(errno) => learn(&opened.refuses_punch),
            (Doing::ZeroRange, Err(errno)) if refuses(errno) => learn(&opened.refuses_zero_range),
            (Doing::Discard, Err(errno)) if refuses(errno) => {
                // Only advice, unless zeroes were promised.
                let promised = disk.geometry().features.discard_zeroes;
                let refused = IoError::local(IoErrorKind::Unsupported);
                Progress::Done(if promised { Err(refused) } else { Ok(()) })
            }
            (_, Err(errno)) => {
                if doing == Doing::Sync {
                    opened.sync_failed();
                }
                Progress::Done(Err(IoError::from_errno(errno)))
            }
        }
    }

    fn account_moved(
        &mut self,
        disk: &Disk,
        opened: &Opened,
        doing: Doing,
        moved: usize,
    ) -> Progress {
        let mut moved = moved.min(self.step_len);
        let stuck = IoError::local(if self.work == Work::Read {
            // The file ends before the size it had when it was opened.
            IoErrorKind::OutOfRange
        } else {
            IoErrorKind::MediumError
        });
        if moved == 0 {
            return Progress::Done(Err(stuck));
        }
        if opened.direct && moved < self.step_len {
            // Direct I/O goes on at whole blocks only: a part of one is done again.
            let block = usize::try_from(disk.geometry().block_size).unwrap_or(1);
            moved -= moved % block;
        }
        if moved == 0 {
            return self.account_idle(stuck);
        }
        if doing == Doing::Transfer && self.work == Work::Read && self.bounced {
            let at = usize::try_from(self.done).unwrap_or(usize::MAX);
            if let Err(error) = self.copy_back(at, moved) {
                return Progress::Done(Err(error));
            }
        }
        self.account(opened, bytes(moved))
    }

    fn copy_back(&mut self, at: usize, moved: usize) -> Outcome {
        let target = slice_of(self.buf.as_mut(), at + moved)?;
        if let Some(bounce) = &self.bounce {
            target[at..].copy_from_slice(&bounce.as_slice()[..moved]);
        }
        Ok(())
    }

    fn account(&mut self, opened: &Opened, moved: u64) -> Progress {
        self.idle_steps = 0;
        self.punt = false;
        self.done += moved;
        let synced_by_write = self.work == Work::Write && opened.direct;
        if self.done < self.len || (self.fua && !synced_by_write) {
            Progress::Again
        } else {
            Progress::Done(Ok(()))
        }
    }

    fn account_idle(&mut self, error: IoError) -> Progress {
        self.idle_steps += 1;
        if self.idle_steps < limits::IDLE_STEPS_MAX {
            Progress::Again
        } else {
            Progress::Done(Err(error))
        }
    }

    /// The answer with the buffer; the kernel has nothing of this operation any more.
    pub(crate) fn answer(self, result: Outcome, pool: &mut BouncePool) -> Completion<B> {
        if let Some(bounce) = self.bounce {
            pool.put(bounce);
        }
        Completion { token: self.token, buf: self.buf, result }
    }
}

fn bytes(len: usize) -> u64 {
    // INVARIANT: no supported target has a `usize` of more than 64 bits.
    u64::try_from(len).unwrap_or(u64::MAX)
}

fn slice_of<B: IoBuf>(buf: Option<&mut B>, len: usize) -> Result<&mut [u8], IoError> {
    let whole = buf.map(crate::buffer::as_mut_slice).ok_or(IoError::local(IoErrorKind::Invalid))?;
    whole.get_mut(..len).ok_or(IoError::local(IoErrorKind::Invalid))
}

fn punch_hole() -> FallocateFlags {
    FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE
}

/// The answers of `fallocate` and BLKDISCARD that mean "never here" (`man fallocate`).
fn refuses(errno: i32) -> bool {
    matches!(errno, libc::EOPNOTSUPP | libc::ENOSYS | libc::ENODEV | libc::ENOTTY)
}

fn learn(refusal: &AtomicBool) -> Progress {
    refusal.store(true, Ordering::Relaxed);
    Progress::Again
}
