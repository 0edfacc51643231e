//! Destroying what is still in use.

use std::time::Duration;

use anyhow::Result;

use crate::case::{Lab, Outstanding, RECVS, WORK};
use crate::end::FLUSH;

/// `ibv_destroy_qp` of a live connection with work outstanding.
pub(crate) fn destroy_live(lab: &mut Lab) -> Result<()> {
    let mut case = lab.begin("destroy from RTS", Outstanding::Work)?;
    let took = case.end.destroy()?;
    let fast = took < Duration::from_secs(1);
    lab.table.row("ibv_destroy_qp", "0 in less than 1 s", format!("0 in {took:?}"), fast);
    case.end.look()?;
    let mut all = WORK.to_vec();
    all.extend(RECVS);
    let expected = lab.expected().flushed_by_destroy();
    lab.table.same(
        "flushes in the queue when it returns",
        expected,
        case.end.with_status(FLUSH, &all),
    );
    let known = case.end.done.len();
    case.end.watch(500)?;
    lab.table.same("completions after that", known, case.end.done.len());
    lab.finish(case)
}

/// A region that is deregistered while receives name it.
pub(crate) fn dereg_first(lab: &mut Lab) -> Result<()> {
    let mut case = lab.begin("dereg before ERR", Outstanding::Receives)?;
    let before = verbs::leaks();
    drop(case.end.mr.take());
    lab.table.same("ibv_dereg_mr", before, verbs::leaks());
    case.error()?;
    lab.table.same("receives flush", RECVS.to_vec(), case.flushed(&RECVS)?);
    lab.finish(case)
}
