//! Random 4 KiB reads of a disk at a fixed depth: operations per second, and with `strace -c -f`
//! how many system calls they take.
//!
//! `cargo run --release -p block --example depth -- FILE uring|threads DEPTH OPERATIONS`
//!
//! FILE is created with 256 MiB if it does not exist; `ram` and `null` name disks without a file.
#![allow(clippy::print_stdout, reason = "its result is what it prints")]

use std::error::Error;
use std::sync::Arc;
use std::time::Instant;

use block::{
    AlignedBuf, Disk, DiskKind, DiskSpec, Engine, EngineKind, EngineOptions, Request, SystemEngine,
};
use rustix::event::{PollFd, PollFlags, poll};

const LEN: usize = 4096;
const SIZE: u64 = 256 << 20;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, file, kind, depth, count] = arguments.as_slice() else {
        return Err("usage: depth FILE uring|threads DEPTH OPERATIONS".into());
    };
    let kind = if kind == "threads" { EngineKind::Threads } else { EngineKind::Uring };
    let (depth, count): (u32, u64) = (depth.parse()?, count.parse()?);
    let disk_kind = match file.as_str() {
        "ram" => DiskKind::Ram { size_bytes: SIZE },
        "null" => DiskKind::Null { size_bytes: SIZE },
        path => DiskKind::File { path: path.into(), create_size_bytes: Some(SIZE) },
    };
    let disk = Arc::new(Disk::open(&DiskSpec::new(disk_kind))?);
    let options = EngineOptions { kind, queue_depth: depth, ..EngineOptions::default() };
    let mut engine = SystemEngine::start(&options)?;
    println!("{}; {}", disk.describe(), engine.describe());
    let begun = Instant::now();
    let ticks = run(&mut engine, &disk, depth, count)?;
    let seconds = begun.elapsed().as_secs_f64();
    println!("{count} operations in {seconds:.3} s, {ticks} ticks");
    Ok(())
}

/// A reactor's loop: take what is done, ask for as many, hand over, sleep if there is nothing.
fn run(
    engine: &mut SystemEngine<AlignedBuf>,
    disk: &Arc<Disk>,
    depth: u32,
    count: u64,
) -> Result<u64, Box<dyn Error>> {
    let blocks = disk.geometry().size_bytes() / 4096;
    let mut buffers = (0..depth)
        .map(|_| AlignedBuf::zeroed(LEN, LEN).ok_or("memory"))
        .collect::<Result<Vec<_>, _>>()?;
    let mut completions = Vec::new();
    let (mut asked, mut answered, mut ticks, mut place) = (0, 0, 0, 1_u64);
    while answered < count {
        ticks += 1;
        let done = engine.poll(&mut completions);
        answered += u64::try_from(done)?;
        for completion in completions.drain(..) {
            completion.result?;
            buffers.extend(completion.buf);
        }
        while asked < count {
            let Some(buf) = buffers.pop() else { break };
            place = place.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let offset_bytes = (place >> 20) % blocks * 4096;
            let request = Request::Read { buf, len: LEN, offset_bytes };
            engine.submit(disk, asked, request).map_err(|_full| "full")?;
            asked += 1;
        }
        engine.flush_submissions();
        if answered < count && !engine.has_ready() {
            let event = engine.event_fd();
            poll(&mut [PollFd::new(&event, PollFlags::IN)], None)?;
            rustix::io::read(event, &mut [0_u8; 8])?;
        }
    }
    Ok(ticks)
}
