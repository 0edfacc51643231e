//! No allocation per operation once an engine is warm, on any thread of the process.
#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

mod bed;

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bed::{BOTH, Bench, TestBuf, engine_of, every_kind};
use block::{Completion, Engine, EngineKind, Request, SystemEngine};

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

struct Counting;

// SAFETY: everything is passed on to the system's allocator as it is.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::SeqCst);
        // SAFETY: the caller keeps the contract of `alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, start: *mut u8, layout: Layout) {
        // SAFETY: the caller keeps the contract of `dealloc`.
        unsafe { System.dealloc(start, layout) }
    }

    unsafe fn realloc(&self, start: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::SeqCst);
        // SAFETY: the caller keeps the contract of `realloc`.
        unsafe { System.realloc(start, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const DEPTH: usize = 16;
const LEN: usize = 8192;

/// Carries out `count` operations of every kind in turn, with buffers that go round.
fn carry_out(
    bench: &Bench,
    engine: &mut SystemEngine<TestBuf>,
    buffers: &mut Vec<TestBuf>,
    completions: &mut Vec<Completion<TestBuf>>,
    count: u64,
) {
    let deadline = Instant::now() + Duration::from_secs(60);
    let (mut asked, mut answered) = (0, 0);
    while answered < count {
        assert!(Instant::now() < deadline, "stuck");
        while asked < count && engine.in_flight() < DEPTH {
            let offset_bytes = asked * 8192 % (1 << 20);
            let request = match asked % 8 {
                0 => Request::Flush,
                1 => Request::WriteZeroes { len: 8192, offset_bytes, unmap: true, fua: true },
                2 => Request::Discard { len: 8192, offset_bytes },
                number => {
                    let buf = buffers.pop().unwrap();
                    if number % 2 == 0 {
                        Request::Read { buf, len: LEN, offset_bytes }
                    } else {
                        Request::Write { buf, len: LEN, offset_bytes, fua: number == 5 }
                    }
                }
            };
            assert!(engine.submit(&bench.disk, asked, request).is_ok());
            asked += 1;
        }
        engine.flush_submissions();
        answered += u64::try_from(engine.poll(completions)).unwrap();
        for completion in completions.drain(..) {
            assert_eq!(completion.result, Ok(()));
            buffers.extend(completion.buf);
        }
    }
}

fn allocations_when_warm(bench: &Bench, kind: EngineKind, skew: usize) -> u64 {
    let mut engine = engine_of(kind, u32::try_from(DEPTH).unwrap());
    let drops = std::sync::Arc::default();
    let mut buffers: Vec<_> = (0..DEPTH).map(|_| TestBuf::new(LEN, skew, &drops)).collect();
    let mut completions = Vec::with_capacity(2 * DEPTH);
    // Threads begin on their own time, and take their stack and pools then.
    std::thread::sleep(Duration::from_millis(50));
    // As many bounce buffers at once as there can ever be.
    for token in 0..DEPTH {
        let buf = buffers.pop().unwrap();
        let request = Request::Read { buf, len: LEN, offset_bytes: 0 };
        assert!(engine.submit(&bench.disk, u64::try_from(token).unwrap(), request).is_ok());
    }
    buffers.extend(bed::run_all(&mut engine).into_iter().filter_map(|done| done.buf));
    carry_out(bench, &mut engine, &mut buffers, &mut completions, 200);
    // On a busy machine a worker may see its first operation only now and take its pool then, once.
    // What allocates for an operation does so in every window.
    let mut window = || {
        let before = ALLOCATIONS.load(Ordering::SeqCst);
        carry_out(bench, &mut engine, &mut buffers, &mut completions, 600);
        ALLOCATIONS.load(Ordering::SeqCst) - before
    };
    (0..8).map(|_| window()).find(|count| *count == 0).unwrap_or_else(window)
}

#[test]
fn a_warm_engine_allocates_nothing() {
    let control = ALLOCATIONS.load(Ordering::SeqCst);
    drop(Box::new(std::hint::black_box(1)));
    assert!(ALLOCATIONS.load(Ordering::SeqCst) > control, "the counter counts");
    for kind in BOTH {
        for bench in every_kind(1 << 20) {
            // 8 bytes off: through bounce buffers, where direct I/O wants them.
            for skew in [0, 8] {
                let count = allocations_when_warm(&bench, kind, skew);
                assert_eq!(count, 0, "{kind:?}, {skew} bytes off, {}", bench.name);
            }
        }
    }
}
