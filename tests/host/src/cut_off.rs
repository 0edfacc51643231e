//! A host that is cut off with data on its way, and does not care: it goes on sending, and
//! answering the target's READs, as long as its own end lets it.

use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use nvme::io::opcode;

use crate::association::Target;
use crate::command::{command, in_capsule, keyed, with_cid};
use crate::connection::Connection;
use crate::limits::{ANSWER_TIMEOUT, LOOK};

/// Writes whose data the target fetches, 128 KiB each.
const FETCHED: u16 = 32;
/// Blocks of 512 bytes in each.
const BLOCKS: u32 = 256;
/// How long it goes on after it was told that the connection is over.
const AFTER: Duration = Duration::from_millis(100);
/// By how much later than the one before it each of eight rounds breaks the rule.
const STEP: Duration = Duration::from_millis(1);

/// So many times; how many capsules were sent after the end.
pub(crate) fn run(target: &Target, rounds: u32) -> Result<u32> {
    let mut after = 0;
    for round in 0..rounds {
        let mut live = target.live()?;
        for cid in 0..FETCHED {
            let data = keyed(&live.io, BLOCKS * 512);
            let lba = u32::from(cid) * BLOCKS;
            let write = command(opcode::WRITE, 1, data, [lba, 0, BLOCKS - 1]);
            live.io.send(&with_cid(write, cid))?;
        }
        sleep(STEP * (round % 8));
        // A capsule that is too short ends the association.
        live.io.send(&[opcode::FLUSH; 63])?;
        after += go_on(&mut live.io)?;
        live.io.destroy()?;
        live.admin.queue.disconnect()?;
    }
    Ok(after)
}

/// Sends until the target has ended the connection, and for a while after that.
fn go_on(io: &mut Connection) -> Result<u32> {
    let mut capsule =
        with_cid(command(opcode::WRITE, 1, in_capsule(0, 4096), [0, 0, 7]), FETCHED).to_vec();
    capsule.resize(64 + 4096, 0xe7);
    let began = Instant::now();
    let (mut ended, mut after) = (None, 0);
    while ended.is_none_or(|at: Instant| at.elapsed() < AFTER) {
        ensure!(began.elapsed() < ANSWER_TIMEOUT, "the target has not ended the connection");
        if io.ended()? {
            ended.get_or_insert_with(Instant::now);
        }
        // On iWARP the first one after the end is refused, and that is the end of it.
        if io.send(&capsule).is_ok() && ended.is_some() {
            after += 1;
        }
        sleep(LOOK);
    }
    Ok(after)
}
