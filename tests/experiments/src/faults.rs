//! Faults of the remote side: refused access, missing receives, silence, and writes that come late.

use std::thread;
use std::time::Duration;

use anyhow::Result;
use transport::device::{Remote, SendOp};
use verbs::probe::State;

use crate::case::{Lab, Outstanding, Provider, READ, RECVS, SENDS};
use crate::disconnect::lost_after_peer;
use crate::end::{FLUSH, REMOTE_ACCESS, SUCCESS};
use crate::error_state::markers;
use crate::memory::REMOTE_AT;
use crate::network::Loss;
use crate::peer::Order;

/// A WRITE with a key that the peer never gave.
pub(crate) fn bad_rkey(lab: &mut Lab) -> Result<()> {
    let mut case = lab.begin("bad rkey", Outstanding::Receives)?;
    let Remote { addr, rkey } = case.end.remote;
    let wrong = Remote { addr, rkey: rkey ^ 0x5a00 };
    let taken = case.end.post(0x6000, SendOp::Write(wrong), 4096, true).is_ok();
    lab.table.same("WRITE: taken", true, taken);
    case.end.until(Duration::from_secs(3), |end| end.all_done(&RECVS))?;
    let status = case.end.status(0x6000);
    lab.table.same("... its completion", lab.by(Some(REMOTE_ACCESS), Some(SUCCESS)), status);
    if lab.provider == Provider::Siw {
        lost_after_peer(lab, &mut case)?;
    } else {
        lab.table.same("receives flush", RECVS.to_vec(), case.end.with_status(FLUSH, &RECVS));
        lab.table.same("state", State::ERR, case.end.state()?);
        markers(lab, &mut case)?;
    }
    lab.finish(case)
}

/// SENDs to a peer without a receive.
pub(crate) fn no_receive(lab: &mut Lab) -> Result<()> {
    let mut case = lab.begin("no receive at the peer", Outstanding::Receives)?;
    let taken = case.end.send(SENDS[0], 64, true).is_ok();
    lab.table.same("SEND: taken", true, taken);
    case.end.watch(1000)?;
    let status = case.end.status(SENDS[0]);
    lab.table.same("... its completion in 1 s", lab.by(None, Some(SUCCESS)), status);
    if lab.provider == Provider::Siw {
        let told = case.end.until(Duration::from_secs(3), |end| end.disconnected())?;
        lab.table.same("DISCONNECTED", true, told);
        lost_after_peer(lab, &mut case)?;
    } else {
        lab.table.same("state", State::RTS, case.end.state()?);
        case.error()?;
        lab.table.same("it flushes at ERR", vec![SENDS[0]], case.flushed(&[SENDS[0]])?);
    }
    lab.finish(case)
}

/// A peer that says nothing any more. rxe's retries are those of "peer to ERR"; between two
/// processes of one machine only siw's traffic can be lost.
pub(crate) fn peer_vanished(lab: &mut Lab) -> Result<()> {
    if lab.provider != Provider::Siw {
        return Ok(());
    }
    let mut case = lab.begin("peer vanished", Outstanding::Receives)?;
    case.loss = Some(Loss::begin()?);
    case.peer.stop()?;
    lab.table.same("SEND: taken", true, case.end.send(SENDS[0], 64, true).is_ok());
    lab.table.same("READ: taken", true, case.end.read(READ, 4096).is_ok());
    case.end.watch(3000)?;
    lab.table.same("SEND's completion in 3 s", Some(SUCCESS), case.end.status(SENDS[0]));
    lab.table.same("READ's completion in 3 s", None, case.end.status(READ));
    lab.table.same("CM events in 3 s", vec![], case.end.cm.clone());
    case.error()?;
    lab.table.same("the READ flushes at ERR", vec![READ], case.flushed(&[READ])?);
    lab.finish(case)
}

/// The peer writes to our memory while we move to the error state.
pub(crate) fn late_writes(lab: &mut Lab) -> Result<()> {
    let mut case = lab.begin("peer's writes after ERR", Outstanding::Receives)?;
    case.peer.order(Order::Write)?;
    case.end.watch(200)?;
    let before = case.end.memory.read_word(REMOTE_AT);
    lab.table.row("writes before", "more than 10", before, before > 10);
    case.error()?;
    let at_return = case.end.memory.read_word(REMOTE_AT);
    thread::sleep(Duration::from_millis(500));
    let later = case.end.memory.read_word(REMOTE_AT);
    lab.table.same("writes that landed after modify returned", 0, later - at_return);
    lab.finish(case)
}
