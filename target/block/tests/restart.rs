//! What a daemon that is started again finds. A test binary of its own: a test that starts programs
//! beside it would hold the disk's lock in their `fork` for a moment.
#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

mod bed;

use std::sync::Arc;

use bed::{BOTH, TestBuf, engine_of, file_bench, run_all};
use block::{Direct, Engine, Request};
use rustix::fs::{FlockOperation, flock};

#[test]
fn a_dropped_engine_holds_no_lock_of_a_disk() {
    for kind in BOTH {
        for _ in 0..20 {
            let bench = file_bench(1 << 20, Direct::Auto, 512);
            let path = bench.file.clone().unwrap();
            let mut engine = engine_of(kind, 4);
            // A read: after a write a worker of the kernel may have the file a moment longer.
            let buf = TestBuf::new(4096, 0, &Arc::default());
            let request = Request::Read { buf, len: 4096, offset_bytes: 0 };
            assert!(engine.submit(&bench.disk, 1, request).is_ok());
            assert_eq!(run_all(&mut engine)[0].result, Ok(()));
            let file = std::fs::File::open(&path).unwrap();
            let lock = FlockOperation::NonBlockingLockExclusive;
            assert!(flock(&file, lock).is_err(), "{kind:?}: locked while it is open");
            drop(engine);
            drop(bench.disk);
            assert!(flock(&file, lock).is_ok(), "{kind:?}: held by an engine that is gone");
        }
    }
}
