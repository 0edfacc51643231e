//! What the tests stand on: buffers that count their drops, disks of every kind, engines of both.
#![allow(dead_code, reason = "each test binary uses a part of it")]

use std::fs::File;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use block::{
    AlignedBuf, Completion, Direct, Disk, DiskKind, DiskSpec, Engine, EngineKind, EngineOptions,
    FixedRegion, IoBuf, SystemEngine,
};
use rustix::event::{PollFd, PollFlags, poll};
use tempfile::TempDir;

/// What buffers hold before an operation, so that untouched bytes show.
pub(crate) const POISON: u8 = 0xA5;

/// A buffer, possibly at an odd address or within a registered region, that counts its drops.
pub(crate) struct TestBuf {
    start: NonNull<u8>,
    len: usize,
    /// Keeps the memory; `None` where it is part of a region that lives as long as the process.
    _owner: Option<AlignedBuf>,
    region: Option<FixedRegion>,
    drops: Arc<AtomicUsize>,
}

// SAFETY: the memory is its own allocation, or a part of a leaked one that is given out once.
unsafe impl Send for TestBuf {}

// SAFETY: see `Send`; the allocation lives as long as the value (or for ever), and doesn't move.
unsafe impl IoBuf for TestBuf {
    fn as_mut_ptr(&mut self) -> *mut u8 {
        self.start.as_ptr()
    }
    fn as_ptr(&self) -> *const u8 {
        self.start.as_ptr()
    }
    fn len(&self) -> usize {
        self.len
    }
    fn fixed(&self) -> Option<FixedRegion> {
        self.region
    }
}

impl TestBuf {
    /// A poisoned buffer whose address is `skew` bytes off a multiple of 4096.
    pub(crate) fn new(len: usize, skew: usize, drops: &Arc<AtomicUsize>) -> Self {
        let mut owner = AlignedBuf::zeroed(len + skew, 4096).unwrap();
        owner.as_mut_slice().fill(POISON);
        let start = NonNull::new(owner.as_mut_ptr().wrapping_add(skew)).unwrap();
        Self { start, len, _owner: Some(owner), region: None, drops: Arc::clone(drops) }
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        // SAFETY: the bytes of this value, borrowed with it.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.len) }
    }

    pub(crate) fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: the bytes of this value, borrowed exclusively with it.
        unsafe { std::slice::from_raw_parts_mut(self.start.as_ptr(), self.len) }
    }
}

impl Drop for TestBuf {
    fn drop(&mut self) {
        self.drops.fetch_add(1, Ordering::SeqCst);
    }
}

/// Memory for buffers within one registered region, given out once, from the start.
pub(crate) struct RegionMemory {
    start: NonNull<u8>,
    len: usize,
    given: usize,
    pub(crate) region: Option<FixedRegion>,
}

impl RegionMemory {
    pub(crate) fn new(len: usize) -> Self {
        let memory = Box::leak(Box::new(AlignedBuf::zeroed(len, 4096).unwrap()));
        Self { start: NonNull::new(memory.as_mut_ptr()).unwrap(), len, given: 0, region: None }
    }

    pub(crate) fn register(&mut self, engine: &mut impl Engine<TestBuf>) {
        self.region = Some(engine.register_region(self.start, self.len).unwrap());
    }

    /// Starts again from the beginning; every buffer given out must be gone.
    pub(crate) fn rewind(&mut self) {
        self.given = 0;
    }

    pub(crate) fn take(&mut self, len: usize, drops: &Arc<AtomicUsize>) -> TestBuf {
        assert!(self.given + len <= self.len);
        let start = NonNull::new(self.start.as_ptr().wrapping_add(self.given)).unwrap();
        self.given += len.next_multiple_of(4096);
        let mut buf =
            TestBuf { start, len, _owner: None, region: self.region, drops: Arc::clone(drops) };
        buf.bytes_mut().fill(POISON);
        buf
    }
}

pub(crate) fn engine_of(kind: EngineKind, queue_depth: u32) -> SystemEngine<TestBuf> {
    SystemEngine::start(&EngineOptions { kind, queue_depth, workers: 4 }).unwrap()
}

pub(crate) const BOTH: [EngineKind; 2] = [EngineKind::Uring, EngineKind::Threads];

/// Lets the engine work until nothing is in flight, asleep in between as a reactor would be.
pub(crate) fn run_all<B: IoBuf>(engine: &mut SystemEngine<B>) -> Vec<Completion<B>> {
    let mut completions = Vec::new();
    let deadline = Instant::now() + Duration::from_secs(60);
    while engine.in_flight() > 0 {
        assert!(Instant::now() < deadline, "operations did not come back in a minute");
        engine.flush_submissions();
        if engine.poll(&mut completions) == 0 && !engine.has_ready() {
            sleep_until_event(engine);
        }
    }
    completions
}

/// Sleeps on the eventfd, and takes the count so that the next sleep waits for the next event. A
/// time-out here is a lost wakeup.
pub(crate) fn sleep_until_event<B: IoBuf>(engine: &SystemEngine<B>) {
    let event = engine.event_fd();
    let mut watched = [PollFd::new(&event, PollFlags::IN)];
    let patience = rustix::event::Timespec { tv_sec: 20, tv_nsec: 0 };
    match poll(&mut watched, Some(&patience)) {
        Ok(0) => panic!("no wakeup in 20 s with {} operations in flight", engine.in_flight()),
        Ok(_) | Err(rustix::io::Errno::INTR) => {}
        Err(errno) => panic!("poll: {errno}"),
    }
    let _ = rustix::io::read(event.as_fd(), &mut [0_u8; 8]);
}

/// One disk to test, and what has to live as long.
pub(crate) struct Bench {
    pub(crate) name: String,
    pub(crate) disk: Arc<Disk>,
    /// The file whose bytes are the disk's.
    pub(crate) file: Option<PathBuf>,
    pub(crate) keeps_data: bool,
    _loop_device: Option<LoopDevice>,
    _folder: Option<TempDir>,
}

pub(crate) fn file_bench(size_bytes: u64, direct: Direct, block_size: u32) -> Bench {
    file_bench_in(tempfile::tempdir().unwrap(), size_bytes, direct, block_size)
}

/// A file on tmpfs, which has no FALLOC_FL_ZERO_RANGE: zeroes are written out there.
fn tmpfs_bench(size_bytes: u64) -> Option<Bench> {
    match tempfile::tempdir_in("/dev/shm") {
        Ok(folder) => Some(file_bench_in(folder, size_bytes, Direct::Auto, 512)),
        Err(error) => skipped("a file on tmpfs", &error.to_string()),
    }
}

fn file_bench_in(folder: TempDir, size_bytes: u64, direct: Direct, block_size: u32) -> Bench {
    let path = folder.path().join("disk");
    let kind = DiskKind::File { path: path.clone(), create_size_bytes: Some(size_bytes) };
    let spec = DiskSpec { direct, block_size: Some(block_size), ..DiskSpec::new(kind) };
    let disk = Arc::new(Disk::open(&spec).unwrap());
    Bench {
        name: disk.describe().to_owned(),
        disk,
        file: Some(path),
        keeps_data: true,
        _loop_device: None,
        _folder: Some(folder),
    }
}

pub(crate) fn memory_bench(kind: DiskKind) -> Bench {
    let keeps_data = matches!(kind, DiskKind::Ram { .. });
    let disk = Arc::new(Disk::open(&DiskSpec::new(kind)).unwrap());
    let name = disk.describe().to_owned();
    Bench { name, disk, file: None, keeps_data, _loop_device: None, _folder: None }
}

/// A loop device, or `None` (and a loud line) where this machine or user can't have one.
pub(crate) fn loop_bench(size_bytes: u64, sector: u32, direct: Direct) -> Option<Bench> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("backing");
    File::create(&path).unwrap().set_len(size_bytes).unwrap();
    let device = LoopDevice::attach(&path, sector)?;
    let kind = DiskKind::Device { path: device.path.clone() };
    let spec = DiskSpec { direct, ..DiskSpec::new(kind) };
    let disk = Arc::new(Disk::open(&spec).unwrap());
    Some(Bench {
        name: disk.describe().to_owned(),
        disk,
        file: Some(path),
        keeps_data: true,
        _loop_device: Some(device),
        _folder: Some(folder),
    })
}

/// Every kind of disk this machine can have.
pub(crate) fn every_kind(size_bytes: u64) -> Vec<Bench> {
    let mut benches = vec![
        file_bench(size_bytes, Direct::Auto, 512),
        file_bench(size_bytes, Direct::Auto, 4096),
        file_bench(size_bytes, Direct::Off, 512),
        memory_bench(DiskKind::Ram { size_bytes }),
        memory_bench(DiskKind::Null { size_bytes }),
    ];
    benches.extend(tmpfs_bench(size_bytes));
    benches.extend(loop_bench(size_bytes, 512, Direct::Auto));
    benches.extend(loop_bench(size_bytes, 4096, Direct::Auto));
    benches.extend(loop_bench(size_bytes, 512, Direct::Off));
    benches
}

/// A loop device that is given back when dropped.
pub(crate) struct LoopDevice {
    pub(crate) path: PathBuf,
}

impl LoopDevice {
    pub(crate) fn attach(backing: &Path, sector: u32) -> Option<Self> {
        let output = Command::new("losetup")
            .args(["--find", "--show", "--sector-size", &sector.to_string()])
            .arg(backing)
            .output();
        match output {
            Ok(output) if output.status.success() => {
                let path = String::from_utf8(output.stdout).unwrap();
                Some(Self { path: PathBuf::from(path.trim()) })
            }
            Ok(output) => {
                let why = String::from_utf8_lossy(&output.stderr).trim().to_owned();
                skipped("loop devices", &why)
            }
            Err(error) => skipped("loop devices", &error.to_string()),
        }
    }
}

impl Drop for LoopDevice {
    fn drop(&mut self) {
        // A loop device stays read-only for its next user otherwise.
        let _ = Command::new("blockdev").arg("--setrw").arg(&self.path).status();
        let _ = Command::new("losetup").arg("--detach").arg(&self.path).status();
    }
}

/// Says loudly that a part was not tested.
pub(crate) fn skipped<T>(what: &str, why: &str) -> Option<T> {
    eprintln!("*** SKIPPED, NOT TESTED: {what}: {why}");
    None
}

/// A small reproducible source of numbers (xorshift64*).
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }
}
