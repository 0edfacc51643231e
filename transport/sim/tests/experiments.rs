//! The simulated rxe and siw against the facts that `tests/experiments` asserts on the real ones.
#![allow(clippy::unwrap_used, reason = "a test that finds nothing fails")]

mod bed;
#[path = "../../../tests/experiments/src/expected.rs"]
#[allow(dead_code, reason = "the simulation shows a part of the facts")]
mod expected;

use bed::{Bed, Plain};
use expected::{
    Expected, FLUSH, Kernel, MARKER_RECV, MARKER_SEND, Provider, READ, RECVS, SEND_SILENT, SENDS,
    WORK, WRITE, WRITE_SILENT,
};
use sim::{Behaviour, rows};
use transport::device::{CmEvent, CmId, PostError, QueuePair, SendDesc, SendOp, Wc, WcStatus};

const ROWS: [(&Behaviour, Expected); 4] = [
    (&rows::RXE_6_1, Expected { provider: Provider::Rxe, kernel: Kernel::V6_1 }),
    (&rows::RXE_6_12, Expected { provider: Provider::Rxe, kernel: Kernel::V6_12 }),
    (&rows::SIW_6_1, Expected { provider: Provider::Siw, kernel: Kernel::V6_1 }),
    (&rows::SIW_6_12, Expected { provider: Provider::Siw, kernel: Kernel::V6_12 }),
];

/// A case: the connection, and everything that was polled so far.
struct Case {
    bed: Bed,
    done: Vec<Wc>,
}

impl Case {
    fn new(row: &'static Behaviour) -> Self {
        let mut bed = Bed::new(row, Box::new(Plain));
        for (at, wr_id) in RECVS.into_iter().enumerate() {
            bed.recv(wr_id, at * 64, 64).unwrap();
        }
        Self { bed, done: Vec::new() }
    }

    /// As the cases on real devices: rxe's peer takes no message, siw's network loses everything.
    fn with_work(row: &'static Behaviour, expected: Expected) -> Self {
        let mut case = Self::new(row);
        if expected.provider == Provider::Siw {
            case.bed.peer.vanish();
        }
        for (at, wr_id) in WORK.into_iter().enumerate() {
            let remote = case.bed.remote();
            let op = match wr_id {
                READ => SendOp::Read(remote),
                WRITE | WRITE_SILENT => SendOp::Write(remote),
                _ => SendOp::Send { invalidate: None },
            };
            let signaled = ![SEND_SILENT, WRITE_SILENT].contains(&wr_id);
            let desc = case.bed.desc(wr_id, op, 4096 + at * 64, 64);
            case.bed.post(&[SendDesc { signaled, ..desc }]).unwrap();
        }
        case.watch();
        case
    }

    fn watch(&mut self) {
        self.bed.pass(200);
        self.done.extend(self.bed.polled());
    }

    fn of(&self, wanted: &[u64], status: WcStatus) -> Vec<u64> {
        let matching = self.done.iter().filter(|wc| wc.status == status);
        matching.map(|wc| wc.wr_id).filter(|wr_id| wanted.contains(wr_id)).collect()
    }

    fn flushed(&self, wanted: &[u64]) -> Vec<u64> {
        self.of(wanted, WcStatus::Flushed)
    }

    fn status(&self, wr_id: u64) -> Option<u32> {
        let wc = self.done.iter().find(|wc| wc.wr_id == wr_id)?;
        Some(match wc.status {
            WcStatus::Success => 0,
            WcStatus::Flushed => FLUSH,
            WcStatus::Error(status) => status,
        })
    }

    fn error(&mut self) {
        self.bed.qp().modify_to_error().unwrap();
        self.watch();
    }

    fn post_markers(&mut self) -> (i32, i32) {
        let errno = |posted: Result<(), PostError>| posted.map_or_else(|e| e.error.errno, |()| 0);
        let recv = errno(self.bed.recv(MARKER_RECV, 8192, 64));
        (recv, errno(self.bed.send(MARKER_SEND, 8256, 0)))
    }
}

#[test]
fn our_move_to_err_flushes_what_it_flushes_on_the_real_ones() {
    for (row, expected) in ROWS {
        let mut case = Case::with_work(row, expected);
        assert_eq!(case.of(&WORK, WcStatus::Success), expected.completed_before(), "{}", row.name);
        case.error();
        assert_eq!(case.flushed(&WORK), expected.sends_flushed(), "{}", row.name);
        assert_eq!(case.flushed(&RECVS), RECVS, "{}", row.name);
        assert_eq!(case.of(&[SEND_SILENT, WRITE_SILENT], WcStatus::Success), [], "{}", row.name);
    }
}

#[test]
fn posts_behind_the_move_end_as_on_the_real_ones() {
    for (row, expected) in ROWS {
        let mut case = Case::with_work(row, expected);
        case.error();
        assert!(case.bed.recv(MARKER_RECV, 8192, 64).is_ok());
        case.watch();
        assert_eq!(case.status(MARKER_RECV), None, "{}", row.name);
        assert!(case.bed.send(MARKER_SEND, 8256, 0).is_ok());
        case.watch();
        assert_eq!(case.status(MARKER_SEND), expected.marker(), "{}", row.name);
        let pulled = expected.marker_recv_behind_send();
        assert_eq!(case.status(MARKER_RECV), pulled, "{}", row.name);
        for again in [MARKER_RECV, MARKER_RECV + 1] {
            if again != MARKER_RECV {
                case.bed.recv(again, 8320, 64).unwrap();
                case.watch();
                assert_eq!(case.status(again), None, "{}", row.name);
            }
            case.error();
            assert_eq!(case.status(again), expected.marker(), "{}", row.name);
        }
    }
}

#[test]
fn an_idle_queue_pair_flushes_its_receives_and_nothing_that_was_silent() {
    for (row, _) in ROWS {
        let mut case = Case::new(row);
        case.bed.write(WRITE_SILENT, 4096, false).unwrap();
        case.watch();
        case.error();
        assert_eq!(case.status(WRITE_SILENT), None, "{}", row.name);
        assert_eq!(case.flushed(&RECVS), RECVS, "{}", row.name);
    }
}

#[test]
fn a_disconnect_flushes_and_loses_what_it_does_on_the_real_ones() {
    for (row, expected) in ROWS {
        let mut case = Case::with_work(row, expected);
        case.bed.id().disconnect().unwrap();
        case.watch();
        assert_eq!(case.flushed(&RECVS), RECVS, "{}", row.name);
        let sends = expected.sends_flushed_by_disconnect();
        assert_eq!(case.flushed(&WORK), sends, "{}", row.name);
        assert_eq!(case.post_markers(), expected.errnos_after_disconnect(), "{}", row.name);
        case.watch();
        assert!(case.bed.id().disconnect().is_ok());
        case.error();
        assert_eq!(case.status(MARKER_RECV), Some(FLUSH), "{}", row.name);
        let lost = expected.lost_by_disconnect();
        assert_eq!(case.status(MARKER_SEND), lost, "{}", row.name);
        assert_eq!(case.status(READ), lost, "{}", row.name);
        case.bed.destroy().unwrap();
        case.watch();
        assert_eq!(case.status(READ), lost, "{}", row.name);
    }
}

#[test]
fn a_destroy_from_rts_leaves_the_completions_that_the_real_ones_leave() {
    for (row, expected) in ROWS {
        let mut case = Case::with_work(row, expected);
        case.bed.destroy().unwrap();
        case.done.extend(case.bed.polled());
        let all: Vec<u64> = WORK.into_iter().chain(RECVS).collect();
        assert_eq!(case.flushed(&all), expected.flushed_by_destroy(), "{}", row.name);
        let known = case.done.len();
        case.watch();
        assert_eq!(case.done.len(), known, "{}: more came later", row.name);
    }
}

#[test]
fn a_peer_that_disconnects_does_to_us_what_it_does_to_the_real_ones() {
    for (row, expected) in ROWS {
        let mut case = Case::new(row);
        case.bed.peer.disconnect();
        case.watch();
        assert!(case.bed.cm_events().contains(&CmEvent::Disconnected), "{}", row.name);
        assert_eq!(case.flushed(&RECVS), expected.flushed_by_peer(), "{}", row.name);
        assert!(case.bed.recv(MARKER_RECV, 8192, 64).is_ok());
        case.error();
        assert_eq!(case.flushed(&RECVS), RECVS, "{}", row.name);
        assert_eq!(case.status(MARKER_RECV), expected.marker(), "{}", row.name);
        assert_eq!(case.status(SENDS[0]), None, "nothing was posted");
    }
}
