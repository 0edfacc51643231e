//! The program as a process, and a daemon whose data path is made up.
#![allow(dead_code, reason = "each test binary takes what it needs")]

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::Arc;

use sluice::control::limits::SOCKET_MODE;
use sluice::control::{Running, Server};
use sluice::drains::{
    Account, Deadline, DrainList, DrainQuery, DrainRecord, Outcome, Returned, Stay,
};
use sluice::status::{
    Controller, ControllerState, DaemonState, Inspect, Lane, Listener, ListenerState, Namespace,
    Queue, Rdma, RdmaState, Reactor, Status, Subsystem,
};
use tempfile::TempDir;

/// The program, with an environment of its own.
pub(crate) fn program() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sluice"));
    command.env_clear().stdin(Stdio::null());
    command
}

/// Runs the program to its end.
pub(crate) fn sluice(arguments: &[&str]) -> Output {
    program().args(arguments).output().unwrap()
}

pub(crate) fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

pub(crate) fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// Asserts the exit code and that exactly one of stdout and stderr is used.
pub(crate) fn assert_silent_stderr(output: &Output, code: i32) {
    assert_eq!(output.status.code(), Some(code), "stderr: {}", stderr(output));
    assert_eq!(stderr(output), "");
}

pub(crate) fn assert_silent_stdout(output: &Output, code: i32) {
    assert_eq!(output.status.code(), Some(code), "stderr: {}", stderr(output));
    assert_eq!(stdout(output), "");
    assert_ne!(stderr(output), "");
}

pub(crate) fn write(directory: &TempDir, name: &str, text: &str) -> PathBuf {
    let path = directory.path().join(name);
    std::fs::write(&path, text).unwrap();
    path
}

pub(crate) fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// Always answers the same; the closes are those of [`closes`].
pub(crate) struct Fixed(pub(crate) Status);

impl Inspect for Fixed {
    fn status(&self) -> Status {
        self.0.clone()
    }

    fn drains(&self, query: DrainQuery) -> DrainList {
        let asked = |drain: &DrainRecord| query.id.is_none_or(|id| id == drain.id);
        let limit = usize::try_from(query.limit.unwrap_or(u64::MAX)).unwrap();
        let drains = closes().into_iter().filter(asked).take(limit).collect();
        DrainList { uptime_ms: 3_700_000, closed: 17, kept: 3, drains }
    }
}

/// Answers with `status` at `path`.
pub(crate) fn daemon(path: &Path, status: Status) -> Running {
    Server::bind(path, SOCKET_MODE).unwrap().start(Arc::new(Fixed(status))).unwrap()
}

fn stay(state: &str, entered_us: i64, lasted_us: u64) -> Stay {
    Stay { state: state.to_owned(), entered_us, lasted_us }
}

/// Closes 17, 16 and 12: a clean one, one that met a deadline on iWARP, one with a hostile host
/// and a loss.
pub(crate) fn closes() -> Vec<DrainRecord> {
    let ok = || Some(Returned { ok: true, error: None });
    let failed = |why: &str| Some(Returned { ok: false, error: Some(why.to_owned()) });
    let clean = DrainRecord {
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
    };
    let late = DrainRecord {
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
        ..clean.clone()
    };
    let lost = DrainRecord {
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
        ..clean.clone()
    };
    vec![clean, late, lost]
}

/// A daemon with something of everything.
pub(crate) fn busy() -> Status {
    let mut status = Status {
        version: "9.8.7".to_owned(),
        pid: 4711,
        uptime_s: 90_061,
        state: DaemonState::Serving,
        config_path: "/etc/sluice/other.toml".to_owned(),
        rdma: Rdma { state: RdmaState::Ready, waiting: None },
        listeners: vec![
            Listener {
                name: "fabric-a".to_owned(),
                address: "192.0.2.10".to_owned(),
                port: 4420,
                transport: "rdma".to_owned(),
                state: ListenerState::Listening,
                device: Some("mlx5_0".to_owned()),
                ..Listener::default()
            },
            Listener {
                name: "fabric-b".to_owned(),
                address: "2001:db8::10".to_owned(),
                port: 4421,
                transport: "rdma".to_owned(),
                reason: Some("the address is on no RDMA device".to_owned()),
                ..Listener::default()
            },
        ],
        subsystems: vec![Subsystem {
            nqn: "nqn.2014-08.org.example:disk".to_owned(),
            serial: "SL0123456789ABCDEF".to_owned(),
            namespaces: vec![Namespace {
                nsid: 7,
                uuid: "6f2b6f4e-65a1-4fb4-8d8d-f6f7f0a5d0c1".to_owned(),
                size_bytes: 10 << 30,
                block_size: 4096,
                backend: "file /srv/disk.img (direct, io_uring)".to_owned(),
                read_only: true,
            }],
            controllers: vec![controller()],
        }],
        reactors: vec![Reactor {
            index: 0,
            core: Some(3),
            connections: 2,
            closing: 1,
            wakeups: 123_456,
            lanes: vec![Lane {
                device: "mlx5_0".to_owned(),
                provider: "mlx5".to_owned(),
                pool_used_bytes: 5 << 20,
                pool_total_bytes: 256 << 20,
            }],
        }],
        ..Status::default()
    };
    status.drains.closed = 17;
    status.drains.clean = 15;
    status.drains.deadlines = [("flushing".to_owned(), 1)].into();
    status.drains.first_causes = [("peer disconnected".to_owned(), 16)].into();
    status.counters.commands_completed = 31_337;
    status
}

fn controller() -> Controller {
    let queue = |qid, qp_number| Queue {
        qid,
        device: "mlx5_0".to_owned(),
        depth: 128,
        in_flight: 2,
        commands: 1000,
        qp_number,
        peer: "192.0.2.99:5555".to_owned(),
        ..Queue::default()
    };
    Controller {
        cntlid: 1,
        host_nqn: "nqn.2014-08.org.example:host\u{1b}[2J".to_owned(),
        host_id: "0c0ffee0-0000-4000-8000-000000000001".to_owned(),
        kato_ms: 5000,
        listener: "fabric-a".to_owned(),
        peer: "192.0.2.99:5555".to_owned(),
        state: ControllerState::Ready,
        queues: vec![queue(0, 100), queue(1, 101)],
    }
}
