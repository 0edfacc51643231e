//! The states the daemon never asks for: SQD and RESET.

use std::time::Duration;

use anyhow::Result;
use transport::device::{AsyncEvent, CmId, Token};
use verbs::probe::State;

use crate::case::{Lab, MARKER_RECV, MARKER_SEND, Outstanding, Provider, READ, RECVS, WORK, WRITE};
use crate::end::{FLUSH, SUCCESS};

const SQ_DRAINED: AsyncEvent = AsyncEvent::SqDrained(Token(0x5eed));

/// RTS to SQD with work outstanding: a state on RoCE, a close on iWARP.
pub(crate) fn sqd(lab: &mut Lab) -> Result<()> {
    let mut case = lab.begin("RTS to SQD", Outstanding::Work)?;
    lab.table.same("modify to SQD", Ok(()), case.end.modify(State::SQD).0);
    let drained = |end: &crate::end::End| end.asynchronous.contains(&SQ_DRAINED);
    if lab.provider == Provider::Siw {
        lab.table.same("receives flush", RECVS.to_vec(), case.flushed(&RECVS)?);
        case.end.watch(500)?;
        case.error()?;
        case.end.watch(500)?;
        lab.table.same("the READ, after ERR too", None, case.end.status(READ));
        return lab.finish(case);
    }
    let told = case.end.until(Duration::from_secs(2), drained)?;
    lab.table.same("SQ_DRAINED although work is outstanding", true, told);
    lab.table.same("state", State::SQD, case.end.state()?);
    let taken = case.end.send(MARKER_SEND, 0, true).is_ok();
    lab.table.same("SEND posted in SQD: taken", true, taken);
    case.end.watch(300)?;
    let mut all = WORK.to_vec();
    all.push(MARKER_SEND);
    lab.table.same("completions in SQD", vec![], case.end.with_status(FLUSH, &all));
    case.error()?;
    lab.table.same("all flush at ERR", all.clone(), case.flushed(&all)?);
    lab.finish(case)
}

/// RTS to SQD with nothing outstanding.
pub(crate) fn sqd_idle(lab: &mut Lab) -> Result<()> {
    let mut case = lab.begin("RTS to SQD, idle", Outstanding::Receives)?;
    lab.table.same("modify to SQD", Ok(()), case.end.modify(State::SQD).0);
    let told = case.end.until(Duration::from_secs(1), |end| end.disconnected())?;
    lab.table.same("DISCONNECTED", lab.by(false, true), told);
    let drained = case.end.asynchronous.contains(&SQ_DRAINED);
    lab.table.same("SQ_DRAINED", lab.by(true, false), drained);
    case.error()?;
    lab.table.same("receives flush", RECVS.to_vec(), case.flushed(&RECVS)?);
    lab.finish(case)
}

/// RTS to RESET: everything vanishes on rxe, nothing happens on siw.
pub(crate) fn reset(lab: &mut Lab) -> Result<()> {
    let name = "RTS to RESET";
    let mut case = if lab.provider == Provider::Siw {
        lab.begin(name, Outstanding::Receives)?
    } else {
        lab.begin(name, Outstanding::Work)?
    };
    lab.table.same("modify to RESET", Ok(()), case.end.modify(State::RESET).0);
    case.end.watch(300)?;
    let mut all = WORK.to_vec();
    all.extend(RECVS);
    let completed: Vec<u64> =
        all.iter().copied().filter(|&wr_id| case.end.status(wr_id).is_some()).collect();
    lab.table.same("completions", vec![], completed);
    if lab.provider == Provider::Siw {
        lab.table.same("a WRITE: taken", true, case.end.write(WRITE, 64, true).is_ok());
        case.end.watch(300)?;
        lab.table.same("... and executed", Some(SUCCESS), case.end.status(WRITE));
        lab.table.same("rdma_disconnect", Ok(()), case.end.id.disconnect());
        lab.table.same("receives flush", RECVS.to_vec(), case.flushed(&RECVS)?);
        lab.table.same("a receive: taken", true, case.end.recv(MARKER_RECV).is_ok());
    } else {
        lab.table.same("state", State::RESET, case.end.state()?);
    }
    lab.finish(case)
}
