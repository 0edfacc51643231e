//! What every engine promises beside the data: bounds, errors, buffers back, nothing lost at the
//! end.
#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

mod bed;

use std::fs::OpenOptions;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bed::{
    BOTH, Bench, LoopDevice, POISON, TestBuf, engine_of, every_kind, file_bench, loop_bench,
    memory_bench, run_all, skipped,
};
use block::{
    Completion, Direct, Disk, DiskKind, DiskSpec, Engine, EngineKind, IoErrorKind, OpenError,
    Refused, Request, SystemEngine,
};
use rustix::event::epoll;

const DISK_BYTES: u64 = 1 << 20;

fn one(
    engine: &mut SystemEngine<TestBuf>,
    disk: &Arc<Disk>,
    request: Request<TestBuf>,
) -> Completion<TestBuf> {
    assert!(engine.submit(disk, 7, request).is_ok());
    let mut completions = run_all(engine);
    assert_eq!(completions.len(), 1);
    completions.pop().unwrap()
}

fn read(len: usize, offset_bytes: u64) -> Request<TestBuf> {
    Request::Read { buf: TestBuf::new(len, 0, &Arc::default()), len, offset_bytes }
}

fn write(len: usize, offset_bytes: u64) -> Request<TestBuf> {
    let buf = TestBuf::new(len, 0, &Arc::default());
    Request::Write { buf, len, offset_bytes, fua: false }
}

#[test]
fn a_full_engine_gives_the_request_back() {
    for kind in BOTH {
        for bench in every_kind(DISK_BYTES) {
            let mut engine = engine_of(kind, 4);
            for token in 0..4 {
                assert!(engine.submit(&bench.disk, token, read(4096, 0)).is_ok());
            }
            let Err(Refused(back)) = engine.submit(&bench.disk, 4, write(4096, 8192)) else {
                panic!("{}: a fifth operation at depth 4", bench.name);
            };
            let Request::Write { buf, len, offset_bytes, .. } = back else {
                panic!("another request")
            };
            assert_eq!((buf.bytes()[0], len, offset_bytes), (POISON, 4096, 8192));
            assert_eq!(run_all(&mut engine).len(), 4, "{}", bench.name);
            assert!(engine.submit(&bench.disk, 5, read(4096, 0)).is_ok(), "{}", bench.name);
            run_all(&mut engine);
        }
    }
}

#[test]
fn requests_outside_of_the_disk_or_of_blocks_fail_and_touch_nothing() {
    let max = u64::MAX - 511;
    for kind in BOTH {
        for bench in every_kind(DISK_BYTES) {
            let mut engine = engine_of(kind, 8);
            let disk = &bench.disk;
            let cases = [
                (read(4096, DISK_BYTES), IoErrorKind::OutOfRange),
                (write(8192, DISK_BYTES - 4096), IoErrorKind::OutOfRange),
                (read(4096, max - max % 4096), IoErrorKind::OutOfRange),
                (read(4096, 100), IoErrorKind::Invalid),
                (write(100, 0), IoErrorKind::Invalid),
                (
                    Request::WriteZeroes {
                        len: max - max % 4096,
                        offset_bytes: 4096,
                        unmap: true,
                        fua: true,
                    },
                    IoErrorKind::OutOfRange,
                ),
                (Request::Discard { len: DISK_BYTES, offset_bytes: 4096 }, IoErrorKind::OutOfRange),
            ];
            for (request, wanted) in cases {
                let say = format!("{}: {}", bench.name, name_of(&request));
                let completion = one(&mut engine, disk, request);
                assert_eq!(completion.result.unwrap_err().kind, wanted, "{say}");
            }
            let too_long = Request::Read {
                buf: TestBuf::new(4096, 0, &Arc::default()),
                len: 8192,
                offset_bytes: 0,
            };
            let completion = one(&mut engine, disk, too_long);
            assert_eq!(completion.result.unwrap_err().kind, IoErrorKind::Invalid);
            let buf = completion.buf.unwrap();
            assert!(buf.bytes().iter().all(|byte| *byte == POISON), "{}", bench.name);
        }
    }
}

fn name_of(request: &Request<TestBuf>) -> &'static str {
    match request {
        Request::Read { .. } => "read",
        Request::Write { .. } => "write",
        Request::Flush => "flush",
        Request::WriteZeroes { .. } => "write zeroes",
        Request::Discard { .. } => "discard",
    }
}

#[test]
fn an_operation_of_no_blocks_succeeds() {
    for kind in BOTH {
        for bench in every_kind(DISK_BYTES) {
            let mut engine = engine_of(kind, 4);
            let buf = TestBuf::new(512, 0, &Arc::default());
            let nothing = Request::Read { buf, len: 0, offset_bytes: DISK_BYTES };
            let completion = one(&mut engine, &bench.disk, nothing);
            assert_eq!(completion.result, Ok(()));
            assert!(completion.buf.is_some_and(|buf| buf.bytes()[0] == POISON));
        }
    }
}

#[test]
fn a_read_only_disk_refuses_what_changes_data() {
    let bench = file_bench(DISK_BYTES, Direct::Auto, 512);
    let path = bench.file.clone().unwrap();
    drop(bench.disk);
    let kind = DiskKind::File { path, create_size_bytes: None };
    let spec = DiskSpec { read_only: true, ..DiskSpec::new(kind) };
    let disk = Arc::new(Disk::open(&spec).unwrap());
    let features = disk.geometry().features;
    assert!(features.read_only && !features.discard && !features.write_zeroes);
    for kind in BOTH {
        let mut engine = engine_of(kind, 4);
        let zeroes = Request::WriteZeroes { len: 512, offset_bytes: 0, unmap: false, fua: false };
        for request in [write(512, 0), zeroes, Request::Discard { len: 512, offset_bytes: 0 }] {
            let completion = one(&mut engine, &disk, request);
            assert_eq!(completion.result.unwrap_err().kind, IoErrorKind::WriteProtected);
        }
        assert_eq!(one(&mut engine, &disk, read(512, 0)).result, Ok(()));
        assert_eq!(one(&mut engine, &disk, Request::Flush).result, Ok(()));
    }
}

#[test]
fn a_file_cut_while_open_is_an_error_and_not_stale_bytes() {
    for kind in BOTH {
        for direct in [Direct::Auto, Direct::Off] {
            let bench = file_bench(DISK_BYTES, direct, 512);
            let path = bench.file.as_ref().unwrap();
            OpenOptions::new().write(true).open(path).unwrap().set_len(10_000).unwrap();
            let mut engine = engine_of(kind, 4);
            let completion = one(&mut engine, &bench.disk, read(8192, 4096));
            assert_eq!(completion.result.unwrap_err().kind, IoErrorKind::OutOfRange);
            let completion = one(&mut engine, &bench.disk, read(4096, 512 * 1024));
            assert_eq!(completion.result.unwrap_err().kind, IoErrorKind::OutOfRange);
            assert_eq!(one(&mut engine, &bench.disk, read(4096, 4096)).result, Ok(()));
        }
    }
}

/// A small file system of its own, unmounted when dropped.
struct SmallMount(tempfile::TempDir);

impl SmallMount {
    fn tmpfs(size: &str) -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let option = format!("size={size}");
        let status = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &option, "tmpfs"])
            .arg(folder.path())
            .status();
        match status {
            Ok(status) if status.success() => Some(Self(folder)),
            Ok(_) | Err(_) => skipped("ENOSPC on a small tmpfs", "mount is not permitted"),
        }
    }
}

impl Drop for SmallMount {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(self.0.path()).status();
    }
}

#[test]
fn a_full_file_system_is_no_space_and_the_buffer_comes_back() {
    let Some(mount) = SmallMount::tmpfs("1m") else { return };
    for kind in BOTH {
        let path = mount.0.path().join("thin");
        let spec =
            DiskSpec::new(DiskKind::File { path: path.clone(), create_size_bytes: Some(8 << 20) });
        let disk = Arc::new(Disk::open(&spec).unwrap());
        let mut engine = engine_of(kind, 4);
        let fits = one(&mut engine, &disk, write(256 << 10, 0));
        assert_eq!(fits.result, Ok(()));
        let drops = Arc::new(AtomicUsize::new(0));
        let buf = TestBuf::new(4 << 20, 0, &drops);
        let request = Request::Write { buf, len: 4 << 20, offset_bytes: 1 << 20, fua: false };
        let completion = one(&mut engine, &disk, request);
        let error = completion.result.unwrap_err();
        assert_eq!((error.kind, error.errno), (IoErrorKind::NoSpace, libc::ENOSPC));
        assert!(completion.buf.is_some() && drops.load(Ordering::SeqCst) == 0);
        // What is written stays readable, and room that is given back can be used.
        assert_eq!(one(&mut engine, &disk, read(256 << 10, 0)).result, Ok(()));
        let all = Request::Discard { len: 8 << 20, offset_bytes: 0 };
        assert_eq!(one(&mut engine, &disk, all).result, Ok(()));
        assert_eq!(one(&mut engine, &disk, write(256 << 10, 4 << 20)).result, Ok(()));
        engine.release_disk(&disk);
        drop(disk);
        std::fs::remove_file(path).unwrap();
    }
}

#[test]
fn a_failing_device_is_a_medium_error() {
    for kind in BOTH {
        let Some(bench) = loop_bench(DISK_BYTES, 512, Direct::Auto) else { return };
        // Or a failing backing file gives zeroes instead of an error (Linux 6.1).
        let direct = Command::new("losetup").arg("--direct-io=on").arg(device_of(&bench)).status();
        if !direct.is_ok_and(|status| status.success()) {
            return skipped::<()>("a failing device", "no direct I/O below").unwrap_or(());
        }
        let backing = bench.file.as_ref().unwrap();
        OpenOptions::new().write(true).open(backing).unwrap().set_len(0).unwrap();
        let mut engine = engine_of(kind, 4);
        let completion = one(&mut engine, &bench.disk, read(4096, 8192));
        assert_eq!(completion.result.unwrap_err().kind, IoErrorKind::MediumError);
        assert!(completion.buf.is_some());
    }
}

/// The path of a loop device, from the description of its disk.
fn device_of(bench: &Bench) -> String {
    let path = bench.name.split([' ', ',']).find(|word| word.starts_with("/dev/"));
    path.unwrap().to_owned()
}

/// Flushes a device has been asked for since it began (`Documentation/block/stat.rst`, field 16).
fn flushes(device: &str) -> u64 {
    let stat = std::fs::read_to_string(format!("/sys/block/{device}/stat")).unwrap();
    stat.split_whitespace().nth(15).unwrap().parse().unwrap()
}

#[test]
fn fua_and_flush_reach_the_device_and_plain_writes_ask_for_nothing() {
    for kind in BOTH {
        let Some(bench) = loop_bench(DISK_BYTES, 512, Direct::On) else { return };
        let path = device_of(&bench);
        let device = path.strip_prefix("/dev/").unwrap();
        assert!(bench.disk.geometry().features.volatile_cache, "a loop device has a cache");
        let mut engine = engine_of(kind, 4);
        let mut flushes_of = |request| {
            let before = flushes(device);
            assert_eq!(one(&mut engine, &bench.disk, request).result, Ok(()));
            flushes(device) - before
        };
        let fua_write = Request::Write {
            buf: TestBuf::new(4096, 0, &Arc::default()),
            len: 4096,
            offset_bytes: 0,
            fua: true,
        };
        let zeroes = |fua| Request::WriteZeroes { len: 4096, offset_bytes: 0, unmap: false, fua };
        assert_eq!(flushes_of(write(4096, 0)), 0, "{kind:?}: a plain write");
        // A synchronous direct write flushes twice: for REQ_FUA, and at its end for O_DSYNC.
        assert!(flushes_of(fua_write) >= 1, "{kind:?}: a FUA write");
        assert_eq!(flushes_of(Request::Flush), 1, "{kind:?}: a flush");
        assert_eq!(flushes_of(zeroes(false)), 0, "{kind:?}: plain zeroes");
        assert_eq!(flushes_of(zeroes(true)), 1, "{kind:?}: FUA zeroes");
    }
}

#[test]
fn discards_and_unmapped_zeroes_give_space_back_and_plain_zeroes_keep_it() {
    use std::os::unix::fs::MetadataExt;
    for kind in BOTH {
        let bench = file_bench(DISK_BYTES, Direct::Auto, 512);
        let path = bench.file.as_ref().unwrap();
        let kept = || std::fs::metadata(path).unwrap().blocks() * 512;
        let mut engine = engine_of(kind, 4);
        let whole = usize::try_from(DISK_BYTES).unwrap();
        let mut after = |request| {
            assert_eq!(one(&mut engine, &bench.disk, write(whole, 0)).result, Ok(()));
            assert!(kept() >= DISK_BYTES);
            assert_eq!(one(&mut engine, &bench.disk, request).result, Ok(()));
            kept()
        };
        let zeroes =
            |unmap| Request::WriteZeroes { len: DISK_BYTES, offset_bytes: 0, unmap, fua: true };
        assert!(after(Request::Discard { len: DISK_BYTES, offset_bytes: 0 }) < 64 << 10);
        assert!(after(zeroes(true)) < 64 << 10);
        assert!(after(zeroes(false)) >= DISK_BYTES);
    }
}

#[test]
fn dropping_an_engine_at_work_brings_every_buffer_back() {
    for kind in BOTH {
        for bench in every_kind(DISK_BYTES) {
            let drops = Arc::new(AtomicUsize::new(0));
            let mut engine = engine_of(kind, 64);
            for token in 0..64 {
                let buf = TestBuf::new(64 << 10, usize::from(token % 2 == 0) * 16, &drops);
                let len = 64 << 10;
                let offset_bytes = token % 16 * 65536;
                let request = if token % 3 == 0 {
                    Request::Read { buf, len, offset_bytes }
                } else {
                    Request::Write { buf, len, offset_bytes, fua: false }
                };
                assert!(engine.submit(&bench.disk, token, request).is_ok());
                if token == 40 {
                    engine.flush_submissions();
                }
            }
            drop(engine);
            assert_eq!(drops.load(Ordering::SeqCst), 64, "{}, {kind:?}", bench.name);
            assert_eq!(block::leaked_operations(), 0);
        }
    }
}

#[test]
fn a_released_disk_is_closed_once_its_operations_are_done() {
    for kind in BOTH {
        let bench = file_bench(DISK_BYTES, Direct::Auto, 512);
        let path = bench.file.clone().unwrap();
        let kind_of_disk = DiskKind::File { path, create_size_bytes: None };
        let again = || Disk::open(&DiskSpec::new(kind_of_disk.clone()));
        let disk = bench.disk;
        let mut engine = engine_of(kind, 4);
        assert!(engine.submit(&disk, 0, write(4096, 0)).is_ok());
        engine.flush_submissions();
        engine.release_disk(&disk);
        drop(disk);
        assert_eq!(run_all(&mut engine)[0].result, Ok(()));
        // The lock of the file is gone with its last descriptor.
        let reopened = (0..200).find_map(|_| {
            std::thread::sleep(std::time::Duration::from_millis(5));
            again().ok()
        });
        assert!(reopened.is_some(), "{kind:?}: still held");
    }
}

fn sleep_until_edge(epoll: &OwnedFd) {
    let mut events = Vec::with_capacity(1);
    let patience = rustix::event::Timespec { tv_sec: 20, tv_nsec: 0 };
    let spare = rustix::buffer::spare_capacity(&mut events);
    match epoll::wait(epoll, spare, Some(&patience)) {
        // A signal, or deferred work of the ring (Linux 6.18): as good as an event.
        Err(rustix::io::Errno::INTR) => {}
        result => assert_eq!(result.unwrap(), 1, "no wakeup in 20 s"),
    }
}

#[test]
fn the_eventfd_wakes_a_sleeper_and_memory_disks_need_no_wakeup() {
    for kind in BOTH {
        let bench = file_bench(DISK_BYTES, Direct::Auto, 512);
        let mut engine = engine_of(kind, 4);
        let mut completions = Vec::new();
        // Edge-triggered and never read, as a reactor has it.
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC).unwrap();
        let edge = epoll::EventFlags::IN | epoll::EventFlags::ET;
        epoll::add(&epoll, engine.event_fd(), epoll::EventData::new_u64(1), edge).unwrap();
        for _ in 0..200 {
            assert!(engine.submit(&bench.disk, 1, read(4096, 0)).is_ok());
            engine.flush_submissions();
            completions.clear();
            while engine.poll(&mut completions) == 0 {
                if !engine.has_ready() {
                    sleep_until_edge(&epoll);
                }
            }
        }
        assert!(!engine.has_ready(), "{kind:?}: idle");
        let ram = memory_bench(DiskKind::Ram { size_bytes: DISK_BYTES });
        assert!(engine.submit(&ram.disk, 2, read(4096, 0)).is_ok());
        assert!(engine.has_ready(), "{kind:?}: an answer waits");
        completions.clear();
        assert_eq!(engine.poll(&mut completions), 1);
        assert!(!engine.has_ready(), "{kind:?}: idle again");
    }
}

#[test]
fn a_region_that_is_not_there_or_not_enough_is_only_slower() {
    let mut engine = engine_of(EngineKind::Uring, 4);
    let bench = file_bench(DISK_BYTES, Direct::Auto, 512);
    let mut region = bed::RegionMemory::new(1 << 20);
    region.register(&mut engine);
    let named = region.region.unwrap();
    engine.unregister_region(named);
    let buf = region.take(8192, &Arc::default());
    let request = Request::Read { buf, len: 8192, offset_bytes: 0 };
    assert_eq!(one(&mut engine, &bench.disk, request).result, Ok(()));
    // The same number, now of other memory.
    let mut other = bed::RegionMemory::new(1 << 16);
    other.register(&mut engine);
    assert_eq!(other.region, Some(named));
    let buf = region.take(8192, &Arc::default());
    let request = Request::Read { buf, len: 8192, offset_bytes: 0 };
    let completion = one(&mut engine, &bench.disk, request);
    assert_eq!(completion.result, Ok(()));
    assert!(completion.buf.unwrap().bytes().iter().all(|byte| *byte == 0));
}

#[test]
fn a_file_in_use_or_of_another_kind_is_explained() {
    let bench = file_bench(DISK_BYTES, Direct::Auto, 512);
    let path = bench.file.clone().unwrap();
    let file = |path: PathBuf| DiskSpec::new(DiskKind::File { path, create_size_bytes: None });
    let twice = Disk::open(&file(path.clone())).unwrap_err();
    assert!(matches!(twice, OpenError::InUse { .. }), "{twice}");
    let absent = Disk::open(&file("/nonexistent/disk".into())).unwrap_err();
    assert!(matches!(absent, OpenError::NotFound { .. }), "{absent}");
    let folder = Disk::open(&file("/tmp".into())).unwrap_err();
    assert!(matches!(folder, OpenError::WrongKind { .. }), "{folder}");
    let device = Disk::open(&DiskSpec::new(DiskKind::Device { path: path.clone() })).unwrap_err();
    assert!(matches!(device, OpenError::WrongKind { .. }), "{device}");
    assert!(device.to_string().contains(path.to_str().unwrap()));
}

#[test]
fn a_mounted_device_is_in_use_and_a_read_only_one_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let image = folder.path().join("image");
    std::fs::File::create(&image).unwrap().set_len(DISK_BYTES).unwrap();
    let Some(device) = LoopDevice::attach(&image, 512) else { return };
    let spec = DiskSpec::new(DiskKind::Device { path: device.path.clone() });
    let first = Disk::open(&spec).unwrap();
    let second = Disk::open(&spec).unwrap_err();
    assert!(matches!(second, OpenError::InUse { .. }), "{second}");
    drop(first);
    let set = Command::new("blockdev").arg("--setro").arg(&device.path).status();
    if !set.is_ok_and(|status| status.success()) {
        return skipped::<()>("a read-only device", "blockdev").unwrap_or(());
    }
    let protected = Disk::open(&spec).unwrap_err();
    assert!(matches!(protected, OpenError::ReadOnly { .. }), "{protected}");
    assert!(Disk::open(&DiskSpec { read_only: true, ..spec }).is_ok());
}

#[test]
fn sizes_are_cut_to_blocks_and_block_sizes_checked() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("odd");
    let file = std::fs::File::create(&path).unwrap();
    file.set_len(10_000).unwrap();
    file.write_all_at(b"tail", 9_990).unwrap();
    let spec = DiskSpec::new(DiskKind::File { path, create_size_bytes: Some(1 << 20) });
    let disk = Disk::open(&spec).unwrap();
    assert_eq!((disk.geometry().block_count, disk.geometry().size_bytes()), (19, 9728));
    assert_eq!(disk.notes().len(), 2, "cut, and the size that does not count: {:?}", disk.notes());
    drop(disk);
    let disk = Disk::open(&DiskSpec { block_size: Some(4096), ..spec.clone() }).unwrap();
    assert_eq!(disk.geometry().block_count, 2);
    drop(disk);
    let odd = Disk::open(&DiskSpec { block_size: Some(1024), ..spec }).unwrap_err();
    assert!(matches!(odd, OpenError::BlockSize { .. }), "{odd}");
    let none = Disk::open(&DiskSpec::new(DiskKind::Ram { size_bytes: 100 })).unwrap_err();
    assert!(matches!(none, OpenError::TooSmall { .. }), "{none}");
    let huge = Disk::open(&DiskSpec::new(DiskKind::Ram { size_bytes: 1 << 62 })).unwrap_err();
    assert!(matches!(huge, OpenError::NoRoom { .. }), "{huge}");
}

#[test]
fn a_device_with_large_blocks_refuses_small_ones() {
    let folder = tempfile::tempdir().unwrap();
    let image = folder.path().join("image");
    std::fs::File::create(&image).unwrap().set_len(DISK_BYTES).unwrap();
    let Some(device) = LoopDevice::attach(&image, 4096) else { return };
    let spec = DiskSpec::new(DiskKind::Device { path: device.path.clone() });
    let small = Disk::open(&DiskSpec { block_size: Some(512), ..spec.clone() }).unwrap_err();
    assert!(matches!(small, OpenError::BlockSize { .. }), "{small}");
    assert_eq!(Disk::open(&spec).unwrap().geometry().block_size, 4096);
}

#[test]
fn a_sleeper_that_took_a_part_of_a_batch_is_not_forgotten() {
    for kind in BOTH {
        let bench = file_bench(DISK_BYTES, Direct::Auto, 512);
        std::fs::write(bench.file.as_ref().unwrap(), vec![1; 1 << 20]).unwrap();
        let mut engine = engine_of(kind, 64);
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC).unwrap();
        let edge = epoll::EventFlags::IN | epoll::EventFlags::ET;
        epoll::add(&epoll, engine.event_fd(), epoll::EventData::new_u64(1), edge).unwrap();
        let mut completions = Vec::new();
        for _ in 0..200 {
            for token in 0..64 {
                let len = 4096 << (token % 3);
                assert!(engine.submit(&bench.disk, token, read(len, token * 8192)).is_ok());
            }
            engine.flush_submissions();
            // One poll for each wakeup, whatever it gave.
            while engine.in_flight() > 0 {
                if !engine.has_ready() {
                    sleep_until_edge(&epoll);
                }
                engine.poll(&mut completions);
            }
            assert_eq!(completions.len(), 64);
            completions.clear();
        }
    }
}
