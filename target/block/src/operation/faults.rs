//! Operations against a kernel that cuts transfers short, interrupts and refuses, by seed.

use std::os::fd::OwnedFd;
use std::sync::atomic::AtomicBool;

use super::*;
use crate::disk::{DirectUse, Features, Geometry, Parts};

const DISK_BYTES: usize = 1 << 20;
const BLOCK: usize = 512;

/// xorshift64*.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let number = self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 16;
        usize::try_from(number).unwrap() % bound
    }
}

/// What it does with the steps it is given.
struct FaultyKernel {
    dice: Dice,
    stored: Vec<u8>,
    direct: bool,
    /// What memory must be aligned to in truth (bytes), which may be more than it tells.
    true_align: usize,
    has_punch: bool,
    has_zero_range: bool,
    /// Something is written and not on stable storage.
    dirty: bool,
    steps: usize,
}

impl FaultyKernel {
    fn run(&mut self, step: &Step) -> Result<usize, i32> {
        self.steps += 1;
        match self.dice.below(8) {
            0 => return Err(libc::EINTR),
            1 => return Err(libc::EAGAIN),
            _ => {}
        }
        match *step {
            Step::Read { to, len, offset_bytes, .. } => {
                let (at, moved) = self.transfer(to.addr(), len, offset_bytes)?;
                let source = &self.stored[at..at + moved];
                // SAFETY: a step's memory is valid for `len >= moved` bytes and owned by the
                // operation.
                unsafe { to.copy_from_nonoverlapping(source.as_ptr(), moved) };
                Ok(moved)
            }
            Step::Write { from, len, offset_bytes, dsync, .. } => {
                let (at, moved) = self.transfer(from.addr(), len, offset_bytes)?;
                // SAFETY: as for a read.
                let source = unsafe { std::slice::from_raw_parts(from, moved) };
                self.stored[at..at + moved].copy_from_slice(source);
                self.dirty |= !dsync;
                Ok(moved)
            }
            Step::Sync => {
                self.dirty = false;
                Ok(0)
            }
            Step::Allocate { mode, offset_bytes, len } => {
                let punch = mode.contains(FallocateFlags::PUNCH_HOLE);
                if !(if punch { self.has_punch } else { self.has_zero_range }) {
                    return Err(libc::EOPNOTSUPP);
                }
                let at = usize::try_from(offset_bytes).unwrap();
                self.stored[at..at + usize::try_from(len).unwrap()].fill(0);
                self.dirty = true;
                Ok(0)
            }
            Step::DiscardIoctl { .. } => Err(libc::ENOTTY),
        }
    }

    /// Where a transfer begins and how much of it is done: anything from one byte to all.
    fn transfer(&mut self, memory: usize, len: usize, offset: u64) -> Result<(usize, usize), i32> {
        let at = usize::try_from(offset).unwrap();
        assert!(len > 0 && at + len <= DISK_BYTES, "within the disk");
        if self.direct {
            assert!(at.is_multiple_of(BLOCK) && len.is_multiple_of(BLOCK), "whole blocks");
            if !memory.is_multiple_of(self.true_align) {
                return Err(libc::EINVAL);
            }
        }
        let moved = if self.dice.below(3) == 0 { 1 + self.dice.below(len) } else { len };
        Ok((at, moved))
    }
}

fn opened(direct: bool, memory_align: usize) -> Opened {
    Opened {
        fd: OwnedFd::from(std::fs::File::open("/dev/null").unwrap()),
        direct,
        memory_align,
        discard_by_ioctl: false,
        refuses_zero_range: AtomicBool::new(false),
        refuses_punch: AtomicBool::new(false),
        lost_writes: AtomicBool::new(false),
    }
}

fn disk() -> Disk {
    disk_over(opened(true, 512))
}

fn disk_over(opened: Opened) -> Disk {
    let features = Features {
        volatile_cache: true,
        discard: true,
        discard_zeroes: true,
        write_zeroes: true,
        fua: true,
        read_only: false,
        direct: DirectUse::Direct,
    };
    let block_count = u64::try_from(DISK_BYTES / BLOCK).unwrap();
    let geometry = Geometry { block_size: 512, physical_block_size: 512, block_count, features };
    let backing = Backing::File(opened);
    Disk::of_parts(Parts { geometry, backing, description: String::new(), notes: Vec::new() })
}

fn carry_out(
    kernel: &mut FaultyKernel,
    disk: &Disk,
    opened: &Opened,
    request: Request<AlignedBuf>,
) -> Completion<AlignedBuf> {
    let mut pool = BouncePool::new();
    let mut operation = Operation::new(1, request);
    assert_eq!(operation.check(disk), Ok(()));
    kernel.steps = 0;
    loop {
        assert!(kernel.steps < 10_000, "does not end");
        let step = operation.next_step(disk, opened, &mut pool).unwrap();
        let result = kernel.run(&step);
        if let Progress::Done(outcome) = operation.advance(disk, opened, result) {
            return operation.answer(outcome, &mut pool);
        }
    }
}

fn request(dice: &mut Dice, at: usize, len: usize) -> Request<AlignedBuf> {
    let offset_bytes = u64::try_from(at).unwrap();
    let range = u64::try_from(len).unwrap();
    let fua = dice.below(2) == 0;
    // An allocation aligned to 512 only, so that its address is any multiple of that.
    let mut buf = AlignedBuf::zeroed(len + BLOCK, [8, 512, 4096][dice.below(3)]).unwrap();
    for byte in buf.as_mut_slice() {
        *byte = u8::try_from(dice.below(256)).unwrap();
    }
    match dice.below(4) {
        0 => Request::Read { buf, len, offset_bytes },
        1 => Request::Write { buf, len, offset_bytes, fua },
        2 => Request::WriteZeroes { len: range, offset_bytes, unmap: dice.below(2) == 0, fua },
        _ => Request::Discard { len: range, offset_bytes },
    }
}

#[test]
fn every_byte_arrives_once_however_the_kernel_cuts_and_refuses() {
    let disk = disk();
    for seed in 1..120_u64 {
        let mut dice = Dice(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
        let direct = dice.below(2) == 0;
        let told = [512, 4096][dice.below(2)];
        let opened = opened(direct, if direct { told } else { 1 });
        let mut kernel = FaultyKernel {
            stored: (0..DISK_BYTES).map(|_| u8::try_from(dice.below(256)).unwrap()).collect(),
            direct,
            true_align: if dice.below(4) == 0 { 4096 } else { told },
            has_punch: dice.below(2) == 0,
            has_zero_range: dice.below(2) == 0,
            dirty: false,
            steps: 0,
            dice: Dice(dice.0 | 1),
        };
        for _ in 0..8 {
            let first = dice.below(DISK_BYTES / BLOCK);
            let count = 1 + dice.below(DISK_BYTES / BLOCK - first);
            let (at, len) = (first * BLOCK, count * BLOCK);
            one(&mut kernel, &disk, &opened, request(&mut dice, at, len), (at, len, seed));
        }
    }
}

fn one(
    kernel: &mut FaultyKernel,
    disk: &Disk,
    opened: &Opened,
    request: Request<AlignedBuf>,
    (at, len, seed): (usize, usize, u64),
) {
    let mut wanted = kernel.stored.clone();
    let mut in_buffer = None;
    let (mut durable, mut discard) = (false, false);
    match &request {
        Request::Read { buf, .. } => {
            let mut bytes = buf.as_slice().to_vec();
            bytes[..len].copy_from_slice(&wanted[at..at + len]);
            in_buffer = Some(bytes);
        }
        Request::Write { buf, fua, .. } => {
            wanted[at..at + len].copy_from_slice(&buf.as_slice()[..len]);
            in_buffer = Some(buf.as_slice().to_vec());
            durable = *fua;
        }
        Request::WriteZeroes { fua, .. } => {
            wanted[at..at + len].fill(0);
            durable = *fua;
        }
        Request::Discard { .. } => discard = true,
        Request::Flush => {}
    }
    if discard && kernel.has_punch {
        wanted[at..at + len].fill(0);
    }
    kernel.dirty = false;
    let has_punch = kernel.has_punch;
    let completion = carry_out(kernel, disk, opened, request);
    if discard && !has_punch {
        let error = completion.result.unwrap_err();
        assert_eq!(error.kind, IoErrorKind::Unsupported, "zeroes were promised, seed {seed}");
    } else {
        assert_eq!(completion.result, Ok(()), "seed {seed}");
    }
    assert!(kernel.stored == wanted, "the disk, seed {seed}");
    assert!(completion.buf.map(|buf| buf.as_slice().to_vec()) == in_buffer, "buf, seed {seed}");
    assert!(!(durable && kernel.dirty), "FUA answered before it is stable, seed {seed}");
}

#[test]
fn a_kernel_that_never_moves_is_given_up() {
    let (disk, opened) = (disk(), opened(true, 512));
    for result in [Err(libc::EAGAIN), Err(libc::EINTR), Ok(100), Err(libc::EINVAL)] {
        let mut pool = BouncePool::new();
        let buf = AlignedBuf::zeroed(4096, 512).unwrap();
        let request = Request::Read { buf, len: 4096, offset_bytes: 0 };
        let mut operation = Operation::new(1, request);
        let ended = (0..=limits::IDLE_STEPS_MAX).any(|_| {
            operation.next_step(&disk, &opened, &mut pool).unwrap();
            matches!(operation.advance(&disk, &opened, result), Progress::Done(Err(_)))
        });
        assert!(ended, "{result:?}");
    }
}

/// What a disk answers to each of these, one after the other, when every sync fails.
fn answers(direct: bool, requests: Vec<Request<AlignedBuf>>) -> Vec<Result<(), IoErrorKind>> {
    let disk = disk_over(opened(direct, 512));
    let Backing::File(opened) = disk.backing() else { panic!("made so") };
    let mut pool = BouncePool::new();
    let answer = |request| {
        let mut operation = Operation::new(1, request);
        operation.check(&disk)?;
        loop {
            let done = match operation.next_step(&disk, opened, &mut pool)? {
                Step::Sync | Step::Write { dsync: true, .. } => Err(libc::EIO),
                Step::Read { len, .. } | Step::Write { len, .. } => Ok(len),
                Step::Allocate { .. } | Step::DiscardIoctl { .. } => Ok(0),
            };
            if let Progress::Done(outcome) = operation.advance(&disk, opened, done) {
                return outcome;
            }
        }
    };
    let kind = |error: IoError| error.kind;
    requests.into_iter().map(answer).map(|outcome| outcome.map_err(kind)).collect()
}

#[test]
fn a_buffered_disk_promises_nothing_more_once_a_sync_failed() {
    let write = |fua| {
        let buf = AlignedBuf::zeroed(4096, 512).unwrap();
        Request::Write { buf, len: 4096, offset_bytes: 0, fua }
    };
    let read = || {
        let buf = AlignedBuf::zeroed(4096, 512).unwrap();
        Request::Read { buf, len: 4096, offset_bytes: 0 }
    };
    let (medium, lost) = (Err(IoErrorKind::MediumError), Err(IoErrorKind::LostWrites));
    let requests = || vec![write(false), Request::Flush, Request::Flush, write(false), read()];
    assert_eq!(answers(false, requests()), [Ok(()), medium, lost, lost, Ok(())]);
    assert_eq!(answers(false, vec![write(true), Request::Flush]), [medium, lost], "FUA is a sync");
    // Direct writes are the device's: it still has what it could not flush.
    assert_eq!(answers(true, requests()), [Ok(()), medium, medium, Ok(()), Ok(())]);
}
