//! The disk engine of one reactor, in virtual time.
//!
//! An operation moves its bytes at one moment between submission and completion, tells the
//! fabric's shadow for how long the disk may touch its memory, and may be slow, fail, or be stuck.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd};
use std::ptr::NonNull;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use block::{
    Completion, Disk, Engine, FixedRegion, IoBuf, IoError, IoErrorKind, Refused, RegionError,
    Request,
};
use sim::{DiskAccess, DiskTouch, Fabric};
use sluice::disk_buf::DiskBuf;

use crate::dice::Dice;
use crate::disk::{DiskFaults, SimDisk};
use crate::stamp::BLOCK;

/// The disks of a world, and what is wrong with them.
pub(crate) struct Disks {
    pub(crate) disks: Vec<SimDisk>,
    pub(crate) faults: DiskFaults,
    pub(crate) dice: Dice,
    /// What no disk should ever see: broken promises of whoever uses them.
    pub(crate) broken: Vec<String>,
}

/// How an operation will end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Succeeds,
    Fails(IoErrorKind),
}

struct Pending {
    disk: usize,
    token: u64,
    request: Request<DiskBuf>,
    fate: Fate,
    apply_at: Duration,
    done_at: Duration,
    applied: bool,
    /// Of the bytes that a write was submitted with.
    sum: u64,
    /// What lay in the cache when a flush was submitted.
    cached: Vec<u64>,
    touch: Option<DiskTouch>,
}

/// Beyond every run: an operation that is stuck.
const NEVER: Duration = Duration::from_secs(1 << 40);

struct Core {
    disks: Rc<RefCell<Disks>>,
    fabric: Fabric,
    capacity: usize,
    now: Duration,
    pending: Vec<Pending>,
    done: VecDeque<Completion<DiskBuf>>,
    regions: u16,
}

/// What the reactor has.
pub(crate) struct SimEngine {
    core: Rc<RefCell<Core>>,
    fd: File,
}

/// What the driver has.
#[derive(Clone)]
pub(crate) struct EngineHandle(Rc<RefCell<Core>>);

impl SimEngine {
    /// An engine that holds `capacity` operations, and the handle that moves it on.
    pub(crate) fn new(
        disks: Rc<RefCell<Disks>>,
        fabric: Fabric,
        capacity: usize,
    ) -> anyhow::Result<(Self, EngineHandle)> {
        let core = Rc::new(RefCell::new(Core {
            disks,
            fabric,
            capacity,
            now: Duration::ZERO,
            pending: Vec::new(),
            done: VecDeque::new(),
            regions: 0,
        }));
        let engine = Self { core: Rc::clone(&core), fd: File::open("/dev/null")? };
        Ok((engine, EngineHandle(core)))
    }
}

fn sum(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |sum, byte| {
        (sum ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3)
    })
}

impl Core {
    fn submit(&mut self, disk: &Arc<Disk>, token: u64, request: Request<DiskBuf>) {
        let mut disks = self.disks.borrow_mut();
        let disks = &mut *disks;
        let Some(index) = disks.disks.iter().position(|d| Arc::ptr_eq(&d.disk, disk)) else {
            disks.broken.push("an operation on a disk that nobody exports".to_owned());
            return;
        };
        if disks.dice.chance(disks.faults.evict) {
            disks.disks[index].evict(&mut disks.dice);
        }
        let (apply_at, done_at, fate) = draw(&mut disks.dice, disks.faults, self.now);
        let fate = if in_range(&disks.disks[index], &request) {
            fate
        } else {
            Fate::Fails(IoErrorKind::OutOfRange)
        };
        let mut request = request;
        let (mut total, mut touch, mut cached) = (0, None, Vec::new());
        match &mut request {
            Request::Read { buf, len, .. } => {
                touch = Some(self.fabric.disk_begins(address(buf), *len, DiskAccess::Writes));
                // It may write there from now on.
                buf.0.as_mut_slice()[..*len].fill(0xd1);
            }
            Request::Write { buf, len, .. } => {
                touch = Some(self.fabric.disk_begins(address(buf), *len, DiskAccess::Reads));
                total = sum(&buf.0.as_slice()[..*len]);
            }
            Request::Flush => cached = disks.disks[index].cached(),
            Request::WriteZeroes { .. } | Request::Discard { .. } => {}
        }
        self.pending.push(Pending {
            disk: index,
            token,
            request,
            fate,
            apply_at,
            done_at,
            applied: false,
            sum: total,
            cached,
            touch,
        });
    }

    /// Moves the bytes of one operation; of one that fails, of some of its blocks.
    fn apply(&mut self, at: usize, all: bool) {
        let pending = &mut self.pending[at];
        pending.applied = true;
        let fails = pending.fate != Fate::Succeeds;
        let mut disks = self.disks.borrow_mut();
        let Disks { disks, dice, broken, .. } = &mut *disks;
        let disk = &mut disks[pending.disk];
        let some = |dice: &mut Dice| all && !fails || dice.chance(500_000);
        match &mut pending.request {
            Request::Read { buf, len, offset_bytes } => {
                if let Some((lba, _)) = disk.range(*offset_bytes, *len as u64)
                    && !fails
                {
                    disk.read(lba, &mut buf.0.as_mut_slice()[..*len]);
                }
            }
            Request::Write { buf, len, offset_bytes, fua } => {
                let bytes = &buf.0.as_slice()[..*len];
                if sum(bytes) != pending.sum {
                    broken.push("the memory of a disk write changed while the disk had it".into());
                }
                if let Some((lba, _)) = disk.range(*offset_bytes, *len as u64) {
                    for (lba, block) in (lba..).zip(bytes.chunks_exact(BLOCK)) {
                        if some(dice) {
                            disk.write(lba, block);
                            if *fua {
                                disk.persist(lba);
                            }
                        }
                    }
                }
            }
            Request::WriteZeroes { len, offset_bytes, fua, .. } => {
                zero(disk, *offset_bytes, *len, *fua, || some(dice));
            }
            Request::Discard { len, offset_bytes } => {
                zero(disk, *offset_bytes, *len, false, || some(dice));
            }
            Request::Flush => {
                for lba in &pending.cached {
                    if some(dice) {
                        disk.persist(*lba);
                    }
                }
            }
        }
    }

    fn complete(&mut self, at: usize) {
        let pending = self.pending.remove(at);
        if let Some(touch) = pending.touch {
            self.fabric.disk_ends(touch);
        }
        let result = match pending.fate {
            Fate::Succeeds => Ok(()),
            Fate::Fails(kind) => Err(IoError::local(kind)),
        };
        let buf = match pending.request {
            Request::Read { buf, .. } | Request::Write { buf, .. } => Some(buf),
            Request::Flush | Request::WriteZeroes { .. } | Request::Discard { .. } => None,
        };
        self.done.push_back(Completion { token: pending.token, buf, result });
    }
}

fn zero(disk: &mut SimDisk, offset: u64, len: u64, fua: bool, mut some: impl FnMut() -> bool) {
    let Some((lba, count)) = disk.range(offset, len) else { return };
    for lba in lba..lba + count {
        if some() {
            disk.write(lba, &[0; BLOCK]);
            if fua {
                disk.persist(lba);
            }
        }
    }
}

fn address(buf: &DiskBuf) -> u64 {
    buf.as_ptr().addr() as u64
}

fn in_range(disk: &SimDisk, request: &Request<DiskBuf>) -> bool {
    match request {
        Request::Read { buf, len, offset_bytes }
        | Request::Write { buf, len, offset_bytes, .. } => {
            *len <= buf.len() && disk.range(*offset_bytes, *len as u64).is_some()
        }
        Request::WriteZeroes { len, offset_bytes, .. } | Request::Discard { len, offset_bytes } => {
            disk.range(*offset_bytes, *len).is_some()
        }
        Request::Flush => true,
    }
}

/// When an operation moves its bytes, when it is answered, and how.
fn draw(dice: &mut Dice, faults: DiskFaults, now: Duration) -> (Duration, Duration, Fate) {
    let us = Duration::from_micros;
    let stuck = dice.chance(faults.stuck);
    let longest = if dice.chance(faults.slow) { 4_000_000 } else { 800 };
    let takes = us(dice.between(5, longest));
    let done_at = if stuck { NEVER } else { now + takes };
    let first = now + us(dice.roll(u64::try_from(takes.as_micros()).unwrap_or(1)));
    // Stuck before it did anything, or after.
    let apply_at = if stuck && dice.chance(500_000) { NEVER } else { first };
    let kinds = [IoErrorKind::MediumError, IoErrorKind::Transient, IoErrorKind::NoSpace];
    let fate = if dice.chance(faults.error) {
        Fate::Fails(kinds[dice.index(kinds.len())])
    } else {
        Fate::Succeeds
    };
    (apply_at, done_at, fate)
}

impl EngineHandle {
    /// When something happens next.
    pub(crate) fn due(&self) -> Option<Duration> {
        let core = self.0.borrow();
        let next = |p: &Pending| if p.applied { p.done_at } else { p.apply_at.min(p.done_at) };
        core.pending.iter().map(next).min().filter(|at| *at < NEVER)
    }

    /// Lets one due thing happen.
    pub(crate) fn step(&self, now: Duration) {
        let mut core = self.0.borrow_mut();
        core.now = now;
        let mut next: Option<(Duration, usize)> = None;
        for (at, pending) in core.pending.iter().enumerate() {
            let due = if pending.applied { pending.done_at } else { pending.apply_at };
            let due = due.min(pending.done_at);
            if due <= now && next.is_none_or(|(first, _)| due < first) {
                next = Some((due, at));
            }
        }
        let Some((_, at)) = next else { return };
        if core.pending[at].applied { core.complete(at) } else { core.apply(at, true) }
    }

    /// The time that submissions are made at.
    pub(crate) fn set_now(&self, now: Duration) {
        self.0.borrow_mut().now = now;
    }

    /// Completions wait for the reactor.
    pub(crate) fn has_done(&self) -> bool {
        !self.0.borrow().done.is_empty()
    }

    /// Operations that nobody has the answer of.
    pub(crate) fn in_flight(&self) -> usize {
        let core = self.0.borrow();
        core.pending.len() + core.done.len()
    }

    /// What was stuck goes on.
    pub(crate) fn release_stuck(&self, now: Duration) {
        for pending in &mut self.0.borrow_mut().pending {
            pending.apply_at = pending.apply_at.min(now);
            pending.done_at = pending.done_at.min(now + Duration::from_micros(50));
        }
    }

    /// The daemon is gone: what is in flight is carried out in part, and nobody hears of it.
    pub(crate) fn crash(&self) {
        let mut core = self.0.borrow_mut();
        for at in 0..core.pending.len() {
            if !core.pending[at].applied {
                core.apply(at, false);
            }
        }
        let fabric = core.fabric.clone();
        for pending in core.pending.drain(..) {
            if let Some(touch) = pending.touch {
                fabric.disk_ends(touch);
            }
        }
        core.done.clear();
    }
}

impl Engine<DiskBuf> for SimEngine {
    fn submit(
        &mut self,
        disk: &Arc<Disk>,
        token: u64,
        request: Request<DiskBuf>,
    ) -> Result<(), Refused<DiskBuf>> {
        let mut core = self.core.borrow_mut();
        if core.pending.len() + core.done.len() >= core.capacity {
            return Err(Refused(request));
        }
        core.submit(disk, token, request);
        Ok(())
    }

    fn flush_submissions(&mut self) {}

    fn poll(&mut self, completions: &mut Vec<Completion<DiskBuf>>) -> usize {
        let mut core = self.core.borrow_mut();
        let count = core.done.len().min(block::limits::COMPLETION_BATCH_MAX);
        completions.extend(core.done.drain(..count));
        count
    }

    fn has_ready(&self) -> bool {
        !self.core.borrow().done.is_empty()
    }

    fn event_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    fn in_flight(&self) -> usize {
        let core = self.core.borrow();
        core.pending.len() + core.done.len()
    }

    fn register_region(
        &mut self,
        _start: NonNull<u8>,
        len: usize,
    ) -> Result<FixedRegion, RegionError> {
        let mut core = self.core.borrow_mut();
        let full = core.disks.borrow_mut().dice.chance(100_000);
        if full || len == 0 {
            return Err(RegionError::TableFull { entries: 1 });
        }
        core.regions += 1;
        Ok(FixedRegion(core.regions))
    }

    fn unregister_region(&mut self, _region: FixedRegion) {}

    fn release_disk(&mut self, _disk: &Disk) {}
}
