//! `rdma_disconnect`, and the peer's ways to end a connection.

use std::time::{Duration, Instant};

use anyhow::Result;
use transport::device::CmId;
use verbs::probe::{self, State};

use crate::case::{Case, Lab, MARKER_RECV, MARKER_SEND, Outstanding, Provider, READ, RECVS};
use crate::end::{FLUSH, RETRIES_EXCEEDED};
use crate::peer::Order;

/// `rdma_disconnect` with work outstanding and a stopped peer.
pub(crate) fn disconnect(lab: &mut Lab) -> Result<()> {
    let mut case = lab.begin("rdma_disconnect", Outstanding::Work)?;
    lab.table.same("result", Ok(()), case.end.id.disconnect());
    let expected = lab.expected().sends_flushed_by_disconnect();
    let mut wait = expected.clone();
    wait.extend(RECVS);
    let flushed = case.flushed(&wait)?;
    let (recvs, sends): (Vec<u64>, Vec<u64>) =
        flushed.iter().partition(|&&wr_id| RECVS.contains(&wr_id));
    lab.table.same("receives flush", RECVS.to_vec(), recvs);
    lab.table.same("send queue flushes (siw: a READ does not)", expected, sends);
    let cached = case.end.qp.as_ref().map(probe::cached_state);
    let state = lab.by(State::ERR, State::SQD);
    lab.table.same("state that libibverbs keeps", Some(state), cached);
    let errnos = case.post_markers();
    let refused = lab.expected().errnos_after_disconnect();
    lab.table.same("posts after it, receive and SEND: errno", refused, errnos);
    case.end.watch(300)?;
    lab.table.same("second rdma_disconnect", Ok(()), case.end.id.disconnect());
    case.error()?;
    case.end.watch(300)?;
    lab.table.same("receive after ERR", Some(FLUSH), case.end.status(MARKER_RECV));
    let send = lab.expected().lost_by_disconnect();
    lab.table.same("SEND after ERR", send, case.end.status(MARKER_SEND));
    let read = lab.expected().lost_by_disconnect();
    lab.table.same("the READ after ERR", read, case.end.status(READ));
    let took = case.end.destroy()?;
    lab.table.row("ibv_destroy_qp", "0", format!("0 in {took:?}"), true);
    case.end.watch(300)?;
    lab.table.same("the READ after destroy", read, case.end.status(READ));
    lab.finish(case)
}

/// `rdma_disconnect` of an idle connection whose peer answers.
pub(crate) fn disconnect_idle(lab: &mut Lab) -> Result<()> {
    let mut case = lab.begin("rdma_disconnect, idle", Outstanding::Receives)?;
    lab.table.same("result", Ok(()), case.end.id.disconnect());
    let told = case.end.until(Duration::from_secs(2), |end| end.disconnected())?;
    lab.table.same("DISCONNECTED, the peer answering", true, told);
    lab.table.same("receives flush", RECVS.to_vec(), case.flushed(&RECVS)?);
    lab.finish(case)
}

/// The peer disconnects.
pub(crate) fn peer_disconnects(lab: &mut Lab) -> Result<()> {
    let mut case = lab.begin("peer disconnects", Outstanding::Receives)?;
    case.peer.order(Order::Disconnect)?;
    ended_by_peer(lab, &mut case)?;
    lab.finish(case)
}

/// The peer's process is killed.
pub(crate) fn peer_killed(lab: &mut Lab) -> Result<()> {
    let mut case = lab.begin("peer killed", Outstanding::Receives)?;
    case.peer.kill()?;
    ended_by_peer(lab, &mut case)?;
    lab.finish(case)
}

/// DISCONNECTED comes; rxe does nothing more, siw has flushed everything and loses later posts.
fn ended_by_peer(lab: &mut Lab, case: &mut Case) -> Result<()> {
    let began = Instant::now();
    let told = case.end.until(Duration::from_secs(3), |end| end.disconnected())?;
    let when = format!("{told} after {:?}", began.elapsed());
    lab.table.row("DISCONNECTED", "within 3 s", when, told);
    case.end.watch(500)?;
    if lab.provider == Provider::Rxe {
        lab.table.same("state", State::RTS, case.end.state()?);
        let by_itself = lab.expected().flushed_by_peer();
        lab.table.same("flushed by itself", by_itself, case.end.with_status(FLUSH, &RECVS));
        case.end.recv(MARKER_RECV)?;
        case.error()?;
        let mut all = RECVS.to_vec();
        all.push(MARKER_RECV);
        lab.table.same("flushed by our ERR, later posts too", all.clone(), case.flushed(&all)?);
        return Ok(());
    }
    lost_after_peer(lab, case)
}

/// siw after an end that we did not make: all is flushed, later posts are taken and lost.
pub(crate) fn lost_after_peer(lab: &mut Lab, case: &mut Case) -> Result<()> {
    let by_itself = lab.expected().flushed_by_peer();
    lab.table.same("flushed by itself", by_itself, case.flushed(&RECVS)?);
    lab.table.same("posts after it: errno", (0, 0), case.post_markers());
    case.end.watch(300)?;
    case.error()?;
    case.end.watch(300)?;
    let seen = (case.end.status(MARKER_RECV), case.end.status(MARKER_SEND));
    lab.table.same("... and their completions, after our ERR too", (None, None), seen);
    Ok(())
}

/// The peer moves its own queue pair to the error state and tells nobody.
pub(crate) fn peer_errors(lab: &mut Lab) -> Result<()> {
    let mut case = lab.begin("peer to ERR", Outstanding::Receives)?;
    case.peer.order(Order::Error)?;
    if lab.provider == Provider::Siw {
        ended_by_peer(lab, &mut case)?;
        return lab.finish(case);
    }
    case.end.watch(1500)?;
    lab.table.same("CM events in 1.5 s", vec![], case.end.cm.clone());
    lab.table.same("state", State::RTS, case.end.state()?);
    lab.table.same("flushed", vec![], case.end.with_status(FLUSH, &RECVS));
    // Only a request that goes unanswered tells: retry_count 3.
    case.end.recv(MARKER_RECV)?;
    let taken = case.end.send(MARKER_SEND, 0, true).is_ok();
    lab.table.same("SEND: taken", true, taken);
    let began = Instant::now();
    case.end.until(Duration::from_secs(15), |end| end.status(MARKER_SEND).is_some())?;
    let (status, took) = (case.end.status(MARKER_SEND), began.elapsed());
    let ok = status == Some(RETRIES_EXCEEDED) && took > Duration::from_secs(1);
    let seen = format!("{status:?} after {took:.1?}");
    lab.table.row("... its completion", "12 (retries exceeded) after seconds", seen, ok);
    let mut all = RECVS.to_vec();
    all.push(MARKER_RECV);
    lab.table.same("... flushes the receives", all.clone(), case.flushed(&all)?);
    lab.table.same("... and is in", State::ERR, case.end.state()?);
    lab.finish(case)
}
