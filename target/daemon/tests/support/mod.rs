//! The program as a process, and a daemon whose data path is made up.
#![allow(dead_code, reason = "each test binary takes what it needs")]

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::Arc;

use sluice::control::limits::SOCKET_MODE;
use sluice::control::{Running, Server};
use sluice::drains::{DrainList, DrainQuery, DrainRecord};
use sluice::status::{
    Controller, ControllerState, DaemonState, Inspect, Lane, Listener, ListenerState, Namespace,
    Queue, Rdma, RdmaState, Reactor, Status, Subsystem,
};
use tempfile::TempDir;

mod closes;

pub(crate) use closes::closes;

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
            Listener {
                name: "fabric-c".to_owned(),
                address: "192.0.2.11".to_owned(),
                port: 4420,
                transport: "rdma".to_owned(),
                state: ListenerState::Off,
                reason: Some("rdma.mode is \"off\"".to_owned()),
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
