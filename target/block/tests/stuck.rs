//! Operations that the kernel doesn't give back: their memory is leaked on purpose, never freed.
//!
//! The disk is a file on a frozen file system (`fsfreeze`): a write to it waits in the kernel until
//! the thaw, and can't be cancelled. After the thaw the kernel still reads the buffers of an engine
//! that is gone, so what it stores shows whether their memory was left alone.
#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

mod bed;

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bed::{BOTH, TestBuf, engine_of, skipped};
use block::{Direct, Disk, DiskKind, DiskSpec, Engine, EngineKind, Request};

const WRITES: u64 = 3;
const LEN: usize = 64 << 10;

/// An ext4 of its own, which can be frozen; thawed and unmounted when dropped.
struct Freezer {
    folder: tempfile::TempDir,
    frozen: bool,
}

impl Freezer {
    fn mount() -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let image = folder.path().join("image");
        File::create(&image).unwrap().set_len(32 << 20).unwrap();
        let point = folder.path().join("point");
        std::fs::create_dir(&point).unwrap();
        let made = succeeds(Command::new("mkfs.ext4").arg("-q").arg(&image))
            && succeeds(Command::new("mount").args(["-o", "loop"]).arg(&image).arg(&point));
        if !made {
            return skipped("operations stuck in the kernel", "no ext4 can be mounted here");
        }
        Some(Self { folder, frozen: false })
    }

    fn point(&self) -> PathBuf {
        self.folder.path().join("point")
    }

    fn freeze(&mut self) {
        self.frozen = succeeds(Command::new("fsfreeze").arg("-f").arg(self.point()));
        assert!(self.frozen, "fsfreeze");
    }

    fn thaw(&mut self) {
        if std::mem::take(&mut self.frozen) {
            assert!(succeeds(Command::new("fsfreeze").arg("-u").arg(self.point())), "thaw");
        }
    }
}

impl Drop for Freezer {
    fn drop(&mut self) {
        self.thaw();
        for _ in 0..50 {
            if succeeds(Command::new("umount").arg(self.point())) {
                return;
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    }
}

fn succeeds(command: &mut Command) -> bool {
    command.output().is_ok_and(|output| output.status.success())
}

fn pattern(number: u64) -> u8 {
    0x30 + u8::try_from(number).unwrap()
}

/// Drops an engine whose writes are stuck, and thaws.
fn drop_with_writes_stuck(kind: EngineKind, disk: &Arc<Disk>, freezer: &mut Freezer) {
    let drops = Arc::new(AtomicUsize::new(0));
    let mut engine = engine_of(kind, 16);
    freezer.freeze();
    for number in 0..WRITES {
        let mut buf = TestBuf::new(LEN, 0, &drops);
        buf.bytes_mut().fill(pattern(number));
        let offset_bytes = number * 65536;
        let request = Request::Write { buf, len: LEN, offset_bytes, fua: false };
        assert!(engine.submit(disk, number, request).is_ok());
    }
    engine.flush_submissions();
    let mut completions = Vec::new();
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(engine.poll(&mut completions), 0, "{kind:?}: a frozen file system takes no writes");

    let leaked_before = block::leaked_operations();
    let begun = Instant::now();
    drop(engine);
    assert!(begun.elapsed() < Duration::from_secs(10), "{kind:?}: the wait is bounded");
    // Linux 6.1 cancels writes that wait behind the stuck one: those come back, unwritten.
    let leaked = block::leaked_operations() - leaked_before;
    let came_back = drops.load(Ordering::SeqCst);
    assert!(leaked >= 1, "{kind:?}: a stuck write is counted");
    assert_eq!(leaked, WRITES - u64::try_from(came_back).unwrap(), "{kind:?}: each one is counted");

    // Whoever asks for memory now must not be given that of the stuck writes.
    let other: Vec<TestBuf> = (0..256).map(|_| TestBuf::new(LEN, 0, &Arc::default())).collect();
    freezer.thaw();
    std::thread::sleep(Duration::from_millis(500));
    drop(other);
    assert_eq!(drops.load(Ordering::SeqCst), came_back, "{kind:?}: leaked for ever");
}

fn stored(path: &Path) -> Vec<u8> {
    std::fs::read(path).unwrap()
}

#[test]
fn memory_of_stuck_writes_is_leaked_counted_and_left_alone() {
    let Some(mut freezer) = Freezer::mount() else { return };
    for kind in BOTH {
        for direct in [Direct::On, Direct::Off] {
            let path = freezer.point().join(format!("{kind:?}-{direct:?}"));
            let create = DiskKind::File { path: path.clone(), create_size_bytes: Some(1 << 20) };
            let spec = DiskSpec { direct, ..DiskSpec::new(create) };
            let disk = Arc::new(Disk::open(&spec).unwrap());
            drop_with_writes_stuck(kind, &disk, &mut freezer);
            let bytes = stored(&path);
            for number in 0..WRITES {
                let at = usize::try_from(number).unwrap() * LEN;
                let found = &bytes[at..at + LEN];
                // A ring's write may have been given up at the thaw: then nothing is stored.
                let whole = found.iter().all(|byte| *byte == pattern(number));
                let none = found.iter().all(|byte| *byte == 0);
                assert!(whole || none, "{kind:?} {direct:?}: write {number} has other bytes");
                if kind == EngineKind::Threads || number == 0 {
                    assert!(whole, "{kind:?} {direct:?}: write {number} was carried out");
                }
                eprintln!("{kind:?} {direct:?}: write {number} stored: {whole}");
            }
        }
    }
}
