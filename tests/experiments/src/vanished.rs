//! A peer whose whole machine stops: it needs a second machine, so it is a mode of its own.

use std::io;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use verbs::probe::State;

use crate::case::{Lab, READ, RECVS, SENDS};
use crate::end::{End, FLUSH, RETRIES_EXCEEDED, SUCCESS};

/// Connects to the peer at the lab's address, says so, waits for a line on stdin by which the
/// peer's machine has stopped, and then sends to it.
#[allow(clippy::print_stdout, reason = "tells the scenario when to stop the machine")]
pub(crate) fn vanished(lab: &mut Lab) -> Result<()> {
    lab.table.begin("peer's machine stopped");
    let mut end = End::connect(lab.addr(), u64::try_from(RECVS.len())?, false)?;
    ensure!(end.send(0x2000, 64, true).is_ok(), "a healthy connection takes requests");
    let works = end.until(Duration::from_secs(5), |end| end.status(0x2000) == Some(SUCCESS))?;
    ensure!(works, "the connection works: {:?}", end.done);
    println!("connected");
    io::stdin().read_line(&mut String::new())?;
    lab.table.same("SEND: taken", true, end.send(SENDS[0], 64, true).is_ok());
    lab.table.same("READ: taken", true, end.read(READ, 4096).is_ok());
    let began = Instant::now();
    let patience = lab.by(Duration::from_secs(25), Duration::from_secs(8));
    let read_ended = end.until(patience, |end| end.status(READ).is_some())?;
    let took = began.elapsed();
    let statuses = (end.status(SENDS[0]), end.status(READ));
    let expected = lab.by((Some(RETRIES_EXCEEDED), Some(FLUSH)), (Some(SUCCESS), None));
    let seen = format!("{statuses:?}, READ ended {read_ended} after {took:.1?}");
    lab.table.row("SEND and READ", format!("{expected:?}"), seen, statuses == expected);
    lab.table.same("CM events", vec![], end.cm.clone());
    let state = end.state()?;
    let by_itself = end.until(Duration::from_millis(500), |end| end.all_done(&RECVS))?;
    lab.table.same("receives flushed by itself", lab.by(true, false), by_itself);
    if lab.by(true, false) {
        lab.table.same("state", State::ERR, state);
    }
    end.modify(State::ERR).0?;
    let mut all = RECVS.to_vec();
    all.push(READ);
    let flushed = end.until(Duration::from_secs(2), |end| end.all_done(&all))?;
    lab.table.same("all ended after our ERR", true, flushed);
    let took = end.destroy()?;
    let fast = took < Duration::from_secs(1);
    lab.table.row("ibv_destroy_qp", "0 in less than 1 s", format!("0 in {took:?}"), fast);
    drop(end);
    lab.table.same("leaks", verbs::Leaks::default(), verbs::leaks());
    Ok(())
}
