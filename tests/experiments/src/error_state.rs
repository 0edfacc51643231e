//! Our own move to the error state: what is flushed, what posts do afterwards.

use std::time::Duration;

use anyhow::Result;
use transport::device::{AsyncEvent, CompletionQueue, Token};
use verbs::probe::State;

use crate::case::{
    Case, Kernel, Lab, MARKER_RECV, MARKER_SEND, Outstanding, Provider, READ, RECVS, SEND_SILENT,
    WORK, WRITE_SILENT,
};
use crate::end::{End, FLUSH, SUCCESS};

/// `IBV_WC_RECV` and `IBV_WC_RDMA_READ`
const OPCODE_RECV: u32 = 128;
const OPCODE_READ: u32 = 2;

const SQ_DRAINED: AsyncEvent = AsyncEvent::SqDrained(Token(0x5eed));

/// RTS to ERR with work outstanding.
pub(crate) fn error(lab: &mut Lab) -> Result<()> {
    let mut case = lab.begin("RTS to ERR", Outstanding::Work)?;
    let acked = lab.expected().completed_before();
    let seen = case.end.with_status(SUCCESS, &WORK);
    lab.table.same("completed before (siw: TCP took them)", acked, seen);
    lab.table.same("state before, by ibv_query_qp", state(lab, State::RTS), case.end.state()?);
    case.end.look()?;
    case.end.comp_events = 0;
    case.end.cq.arm()?;
    let (result, took) = case.end.modify(State::ERR);
    let fast = result.is_ok() && took < Duration::from_secs(1);
    lab.table.row("modify to ERR", "0 in less than 1 s", format!("{result:?} in {took:?}"), fast);
    let sends = lab.expected().sends_flushed();
    let mut all = sends.clone();
    all.extend(RECVS);
    let flushed = case.flushed(&all)?;
    let in_order = |wanted: &[u64]| -> Vec<u64> {
        flushed.iter().copied().filter(|wr_id| wanted.contains(wr_id)).collect()
    };
    lab.table.same("send queue flushes, in order, unsignaled too", sends, in_order(&WORK));
    lab.table.same("receive queue flushes, in order", RECVS.to_vec(), in_order(&RECVS));
    let silent = case.end.with_status(SUCCESS, &[SEND_SILENT, WRITE_SILENT]);
    lab.table.same("unsignaled that were executed: completions", vec![], silent);
    opcodes(lab, &case);
    case.end.until(Duration::from_millis(500), |end| end.comp_events > 0)?;
    lab.table.same("flushes raise a completion event", true, case.end.comp_events > 0);
    lab.table.same("state after", state(lab, State::ERR), case.end.state()?);
    markers(lab, &mut case)?;
    let reached = case.end.asynchronous.contains(&AsyncEvent::LastWqeReached(Token(0x5eed)));
    lab.table.same("LAST_WQE_REACHED", false, reached);
    lab.finish(case)
}

/// What `ibv_query_qp` says of a queue pair in this state: siw of 6.1 fills in nothing, which reads
/// as RESET; that of 6.12 tells the state.
fn state(lab: &Lab, real: State) -> State {
    match (lab.provider, lab.kernel) {
        (Provider::Siw, Kernel::V6_1) => State::RESET,
        (Provider::Siw, Kernel::V6_12) | (Provider::Rxe, _) => real,
    }
}

fn opcodes(lab: &mut Lab, case: &Case) {
    let of =
        |wr_id: u64| case.end.done.iter().find(|done| done.wr_id == wr_id).map(|done| done.opcode);
    let expected = lab.by([Some(0), Some(0)], [Some(OPCODE_READ), Some(OPCODE_RECV)]);
    let seen = [of(READ), of(RECVS[0])];
    lab.table.same("opcodes of a READ's and a receive's flush", expected, seen);
}

/// Posts after the flush, and the second and third move. Nothing of theirs is to be waited for on
/// siw.
pub(crate) fn markers(lab: &mut Lab, case: &mut Case) -> Result<()> {
    case.end.comp_events = 0;
    case.end.cq.arm()?;
    case.end.watch(50)?;
    let recv = case.end.recv(MARKER_RECV);
    case.end.watch(200)?;
    lab.table.same("receive posted after the flush: taken", true, recv.is_ok());
    lab.table.same("... and its completion", None, case.end.status(MARKER_RECV));
    let send = case.end.send(MARKER_SEND, 0, true);
    case.end.watch(200)?;
    lab.table.same("SEND posted after the flush: taken", true, send.is_ok());
    let flush_on_rxe = lab.expected().marker();
    lab.table.same("... and its completion", flush_on_rxe, case.end.status(MARKER_SEND));
    let pulled = lab.expected().marker_recv_behind_send();
    lab.table.same("... and the receive's before it", pulled, case.end.status(MARKER_RECV));
    for (kick, wr_id) in [("second", MARKER_RECV), ("third", MARKER_RECV + 1)] {
        if wr_id != MARKER_RECV {
            case.end.recv(wr_id)?;
            case.end.watch(100)?;
            lab.table.same("another receive, before the next move", None, case.end.status(wr_id));
        }
        let (result, _) = case.end.modify(State::ERR);
        lab.table.same(&format!("{kick} move to ERR"), Ok(()), result);
        case.end.watch(300)?;
        let row = format!("receive after the {kick} move");
        lab.table.same(&row, flush_on_rxe, case.end.status(wr_id));
    }
    if lab.provider == Provider::Siw {
        lab.table.same("completion events of lost posts", 0, case.end.comp_events);
    }
    Ok(())
}

/// The same with requests that TCP did not take.
pub(crate) fn error_queued(lab: &mut Lab) -> Result<()> {
    if lab.provider != Provider::Siw {
        return Ok(());
    }
    let mut case = lab.begin("RTS to ERR behind a full socket", Outstanding::Queued)?;
    let early = case.end.with_status(SUCCESS, &WORK);
    lab.table.same("completed before", vec![], early);
    case.error()?;
    let mut all = WORK.to_vec();
    all.extend(RECVS);
    let flushed = case.flushed(&all)?;
    lab.table.same("queued requests flush, unsignaled too, then receives", all, flushed);
    lab.table.same("SQ_DRAINED", true, case.end.asynchronous.contains(&SQ_DRAINED));
    lab.finish(case)
}

/// The same with nothing outstanding but receives, the last request having been unsignaled.
pub(crate) fn error_idle(lab: &mut Lab) -> Result<()> {
    let mut case = lab.begin("RTS to ERR, idle", Outstanding::Receives)?;
    let taken = case.end.write(WRITE_SILENT, 64, false).is_ok();
    lab.table.same("an unsignaled WRITE: taken", true, taken);
    case.end.watch(300)?;
    lab.table.same("... completions", None, case.end.status(WRITE_SILENT));
    case.error()?;
    lab.table.same("receives flush", RECVS.to_vec(), case.flushed(&RECVS)?);
    case.end.watch(100)?;
    lab.table.same("... and the executed unsignaled one", None, case.end.status(WRITE_SILENT));
    lab.table.same("SQ_DRAINED", false, case.end.asynchronous.contains(&SQ_DRAINED));
    lab.finish(case)
}

/// Markers posted before the move.
pub(crate) fn markers_before(lab: &mut Lab) -> Result<()> {
    let mut case = lab.begin("markers before ERR", Outstanding::Work)?;
    case.end.recv(MARKER_RECV)?;
    lab.table.same("0-byte WRITE: taken", true, case.end.write(MARKER_SEND, 0, true).is_ok());
    case.end.watch(100)?;
    let early = case.end.status(MARKER_SEND);
    lab.table.same("WRITE marker before the READ's end", lab.by(None, Some(SUCCESS)), early);
    case.error()?;
    let mut all = WORK.to_vec();
    all.extend([MARKER_SEND]);
    let expected = lab.by(all, vec![READ]);
    let mut wait = expected.clone();
    wait.extend(RECVS);
    wait.push(MARKER_RECV);
    let flushed = case.flushed(&wait)?;
    let (recvs, sends): (Vec<u64>, Vec<u64>) =
        flushed.iter().partition(|&&wr_id| RECVS.contains(&wr_id) || wr_id == MARKER_RECV);
    lab.table.same("send queue's flushes, in order", expected, sends);
    let mut expected = RECVS.to_vec();
    expected.push(MARKER_RECV);
    lab.table.same("receive queue's flushes, in order", expected, recvs);
    lab.finish(case)
}

/// Receives on a shared queue.
///
/// rxe of 6.12 raises LAST_WQE_REACHED whenever its receiver looks at a queue pair in the error
/// state, so it comes once a move and says nothing about the receives. rxe of 6.1 and siw never
/// raise it.
pub(crate) fn shared_receives(lab: &mut Lab) -> Result<()> {
    let mut case = lab.begin_with("shared receive queue", Outstanding::Work, true)?;
    let reached = |end: &End| {
        let wanted = AsyncEvent::LastWqeReached(Token(0x5eed));
        end.asynchronous.iter().filter(|&&event| event == wanted).count()
    };
    let raised = (lab.provider, lab.kernel) == (Provider::Rxe, Kernel::V6_12);
    case.error()?;
    let sends = lab.expected().sends_flushed();
    lab.table.same("send queue flushes", sends.clone(), case.flushed(&sends)?);
    case.end.until(Duration::from_millis(500), |end| raised && reached(end) > 0)?;
    let first = reached(&case.end);
    lab.table.same("LAST_WQE_REACHED", raised, first > 0);
    case.end.recv(MARKER_RECV)?;
    let (again, _) = case.end.modify(State::ERR);
    lab.table.same("second move to ERR", Ok(()), again);
    case.end.watch(300)?;
    lab.table.same("LAST_WQE_REACHED again", raised, reached(&case.end) > first);
    let mut shared = RECVS.to_vec();
    shared.push(MARKER_RECV);
    lab.table.same("shared receives flushed", vec![], case.end.with_status(FLUSH, &shared));
    lab.finish(case)
}
