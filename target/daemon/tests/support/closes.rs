//! Closes of every kind, as a daemon would tell of them.

use sluice::drains::{Account, Deadline, DrainRecord, Outcome, Returned, Stay};

fn stay(state: &str, entered_us: i64, lasted_us: u64) -> Stay {
    Stay { state: state.to_owned(), entered_us, lasted_us }
}

/// Closes 17, 16 and 12: a clean one, one that met a deadline on iWARP, one with a hostile host
/// and a loss.
pub(crate) fn closes() -> Vec<DrainRecord> {
    vec![clean(), late(), lost()]
}

fn ok() -> Option<Returned> {
    Some(Returned { ok: true, error: None })
}

fn failed(why: &str) -> Option<Returned> {
    Some(Returned { ok: false, error: Some(why.to_owned()) })
}

fn clean() -> DrainRecord {
    DrainRecord {
        id: 17,
        at: "2026-11-20T15:15:51.680Z".to_owned(),
        at_uptime_ms: 3_600_000,
        outcome: Outcome::Clean,
        peer: "192.0.2.99:5555".to_owned(),
        host_nqn: "nqn.2014-08.org.nvmexpress:uuid:0c0ffee0-0000-4000-8000-000000000001".to_owned(),
        subsystem_nqn: "nqn.2014-08.org.example:disk".to_owned(),
        cntlid: Some(3),
        qid: 2,
        device: "mlx5_0".to_owned(),
        provider: "mlx5".to_owned(),
        qp_number: 313,
        reactor: 1,
        cause: "peer disconnected".to_owned(),
        merged_causes: vec!["flushed by the device".to_owned()],
        path: vec![
            stay("accepting", -1_234_567_890, 1_530),
            stay("live", -1_234_566_360, 1_234_566_360),
            stay("erroring", 0, 41),
            stay("flushing", 41, 1_962),
            stay("destroying", 2_003, 3_310),
            stay("id closing", 5_313, 87),
            stay("reclaiming", 5_400, 0),
            stay("dead", 5_400, 0),
        ],
        send: Account { posted: 404, completed: 339, retired_in_order: 65, ..Account::default() },
        receive: Account { posted: 128, flushed: 128, ..Account::default() },
        move_to_error: ok(),
        to_destroy_us: Some(2_003),
        destroy: ok(),
        destroy_us: Some(3_104),
        ..DrainRecord::default()
    }
}

fn late() -> DrainRecord {
    DrainRecord {
        id: 16,
        outcome: Outcome::Late,
        cause: "shutdown".to_owned(),
        merged_causes: vec!["peer disconnected".to_owned()],
        device: "siw0".to_owned(),
        provider: "siw".to_owned(),
        path: vec![
            stay("accepting", -9_000_000, 2_000),
            stay("live", -8_998_000, 8_998_000),
            stay("quiesce", 0, 640),
            stay("linger", 640, 2_000_310),
            stay("closing", 2_000_950, 1_200),
            stay("erroring", 2_002_150, 12),
            stay("flushing", 2_002_162, 2_000_400),
            stay("destroying", 4_002_562, 210),
            stay("id closing", 4_002_772, 98),
            stay("reclaiming", 4_002_870, 0),
            stay("dead", 4_002_870, 0),
        ],
        kicks: 39,
        deadlines: vec![
            Deadline { state: "linger".to_owned(), waited_for: "the peer's close".to_owned() },
            Deadline {
                state: "flushing".to_owned(),
                waited_for: "completions of 2 sends and 5 receives".to_owned(),
            },
        ],
        send: Account { posted: 12, completed: 10, reclaimed: 2, ..Account::default() },
        receive: Account { posted: 37, completed: 32, reclaimed: 5, ..Account::default() },
        to_destroy_us: Some(4_002_562),
        destroy_us: Some(180),
        ..clean()
    }
}

fn lost() -> DrainRecord {
    DrainRecord {
        id: 12,
        outcome: Outcome::Quarantined,
        host_nqn: "nqn.x:\u{1b}[2J\"</text><script>alert(1)</script>&amp;']]>\u{202e}".to_owned(),
        device: "rxe<0>".to_owned(),
        cntlid: None,
        cause: "work request failed".to_owned(),
        path: vec![
            stay("accepting", -1_000, 1_000),
            stay("erroring", 0, 20),
            stay("flushing", 20, 100),
            stay("destroying", 120, 50_000_000),
            stay("quarantined", 50_000_120, 0),
        ],
        move_to_error: failed("Invalid argument (os error 22)"),
        destroy: failed("the driver may have given up after 50.0s"),
        to_destroy_us: Some(120),
        destroy_us: Some(50_000_000),
        stale_completions: 3,
        receive: Account { posted: 32, flushed: 30, leaked: 2, ..Account::default() },
        ..clean()
    }
}
