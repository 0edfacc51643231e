//! The admin socket against clients that mean no good, and against other daemons.
#![allow(clippy::unwrap_used, reason = "a test ends at its first surprise")]

mod support;

use std::fs::{self, Permissions};
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::Shutdown;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use sluice::control::limits::{REQUEST_BYTES_MAX, REQUEST_TIMEOUT, SOCKET_MODE};
use sluice::control::{BindError, Client, ClientError, ErrorCode, ErrorReply, Server};
use sluice::status::{Queue, Status, Subsystem};
use support::*;
use tempfile::TempDir;

const SOON: Duration = Duration::from_secs(8);

fn ask(socket: &Path) -> Result<Status, ClientError> {
    Client::connect(socket, SOON).and_then(Client::status)
}

/// Sends bytes, says that there are no more, and returns what comes back.
fn exchange(socket: &Path, bytes: &[u8]) -> String {
    let mut stream = UnixStream::connect(socket).unwrap();
    stream.set_read_timeout(Some(SOON)).unwrap();
    // The server may be done with us before all is sent.
    let _ = stream.write_all(bytes);
    let _ = stream.shutdown(Shutdown::Write);
    let mut answer = Vec::new();
    match stream.read_to_end(&mut answer) {
        Ok(_) => {}
        Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionReset, "{error}"),
    }
    String::from_utf8(answer).unwrap()
}

#[test]
fn hostile_bytes_get_an_error_and_harm_nobody() {
    let directory = TempDir::new().unwrap();
    let socket = directory.path().join("control.sock");
    let _daemon = daemon(&socket, busy());
    let huge = vec![b'x'; 10 << 20];
    let full = [vec![b' '; REQUEST_BYTES_MAX], b"\n".to_vec()].concat();
    let binary: Vec<u8> = (0..=255).cycle().take(3000).collect();
    let nested = format!("{{\"version\":1,\"request\":{}\n", "[".repeat(4000));
    for (bytes, code) in [
        (&huge[..], "too_long"),
        (&full, "too_long"),
        (&binary, "malformed"),
        (nested.as_bytes(), "malformed"),
        (b"\n", "malformed"),
        (b"GET / HTTP/1.1\r\n\r\n", "malformed"),
        (b"{\"version\":1,\"request\":\"sta", "malformed"),
        (b"{\"version\":1,\"request\":\"drop\"}\n", "unknown_request"),
        (b"{\"version\":99,\"request\":\"status\"}\n", "unsupported_version"),
    ] {
        let answer = exchange(&socket, bytes);
        let expected = format!("{{\"version\":1,\"reply\":{{\"error\":{{\"code\":\"{code}\"");
        assert!(answer.starts_with(&expected), "{answer}");
        assert_eq!(answer.matches('\n').count(), 1, "{answer}");
        assert_eq!(ask(&socket).unwrap(), busy());
    }
    assert_eq!(exchange(&socket, b""), "");
}

#[test]
fn a_request_may_come_byte_by_byte_and_a_second_one_is_not_served() {
    let directory = TempDir::new().unwrap();
    let socket = directory.path().join("control.sock");
    let _daemon = daemon(&socket, busy());
    let mut stream = UnixStream::connect(&socket).unwrap();
    stream.set_read_timeout(Some(SOON)).unwrap();
    for byte in b"{\"version\":1,\"request\":\"status\"}\n" {
        stream.write_all(&[*byte]).unwrap();
        thread::sleep(Duration::from_millis(2));
    }
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("{\"version\":1,\"reply\":{\"status\":"), "{answer}");
    let twice = exchange(&socket, &b"{\"version\":1,\"request\":\"status\"}\n".repeat(2));
    assert_eq!(twice.matches('\n').count(), 1);
}

#[test]
fn half_a_request_is_dropped_at_its_deadline() {
    let directory = TempDir::new().unwrap();
    let socket = directory.path().join("control.sock");
    let _daemon = daemon(&socket, busy());
    let mut silent = UnixStream::connect(&socket).unwrap();
    silent.write_all(b"{\"version\":1,").unwrap();
    let began = Instant::now();
    silent.set_read_timeout(Some(REQUEST_TIMEOUT * 3)).unwrap();
    assert_eq!(silent.read(&mut [0; 64]).unwrap(), 0);
    assert!(began.elapsed() > REQUEST_TIMEOUT - Duration::from_millis(500));
    assert!(began.elapsed() < REQUEST_TIMEOUT * 2, "{:?}", began.elapsed());
}

#[test]
fn a_thousand_silent_clients_do_not_keep_an_honest_one_out() {
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }).unwrap();
    let directory = TempDir::new().unwrap();
    let socket = directory.path().join("control.sock");
    let _daemon = daemon(&socket, busy());
    let crowd: Vec<_> = (0..1000).map(|_| UnixStream::connect(&socket).unwrap()).collect();
    assert_eq!(ask(&socket).unwrap(), busy());
    drop(crowd);
    assert_eq!(ask(&socket).unwrap(), busy());
}

#[test]
fn a_client_that_does_not_read_does_not_hold_up_the_others() {
    let queues = vec![Queue { device: "x".repeat(100), ..Queue::default() }; 10_000];
    let mut large = busy();
    large.subsystems.push(Subsystem::default());
    large.subsystems[0].controllers[0].queues = queues;
    let directory = TempDir::new().unwrap();
    let socket = directory.path().join("control.sock");
    let running = daemon(&socket, large.clone());
    let mut deaf: Vec<_> = (0..8).map(|_| UnixStream::connect(&socket).unwrap()).collect();
    for stream in &mut deaf {
        stream.write_all(b"{\"version\":1,\"request\":\"status\"}\n").unwrap();
    }
    assert_eq!(ask(&socket).unwrap(), large);
    let began = Instant::now();
    running.stop();
    assert!(began.elapsed() < Duration::from_secs(2), "clients held up the stop");
}

#[test]
fn an_idle_server_sleeps() {
    let directory = TempDir::new().unwrap();
    let socket = directory.path().join("control.sock");
    // A process of its own has but one thread of that name, whatever other tests run here.
    let exe = std::env::current_exe().unwrap();
    let output = std::process::Command::new(exe)
        .args(["--ignored", "--exact", "counts_its_own_wakeups", "--nocapture"])
        .env("SOCKET", &socket)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    assert!(stdout(&output).contains("1 passed"), "{}", stdout(&output));
}

#[test]
#[ignore = "the process of an_idle_server_sleeps"]
fn counts_its_own_wakeups() {
    let socket = std::env::var_os("SOCKET").unwrap();
    let _daemon = daemon(Path::new(&socket), busy());
    ask(Path::new(&socket)).unwrap();
    thread::sleep(Duration::from_millis(200));
    let before = switches_of("control");
    thread::sleep(Duration::from_secs(2));
    assert_eq!(switches_of("control"), before);
}

/// Context switches of the thread of that name, of either kind.
fn switches_of(name: &str) -> Vec<String> {
    let tasks = fs::read_dir("/proc/self/task").unwrap().map(|task| task.unwrap().path());
    let status = tasks
        .map(|task| fs::read_to_string(task.join("status")).unwrap())
        .find(|status| status.starts_with(&format!("Name:\t{name}\n")))
        .unwrap();
    status.lines().filter(|line| line.contains("ctxt_switches")).map(str::to_owned).collect()
}

#[test]
fn only_owner_and_group_may_ask_and_nothing_is_left_behind() {
    let directory = TempDir::new().unwrap();
    let socket = directory.path().join("run").join("control.sock");
    let running = daemon(&socket, busy());
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o7777;
    assert_eq!(mode(&socket), 0o660);
    assert_eq!(mode(socket.parent().unwrap()), 0o750);
    running.stop();
    assert!(!socket.exists());
}

#[test]
fn a_dead_daemons_socket_is_replaced() {
    let directory = TempDir::new().unwrap();
    let socket = directory.path().join("control.sock");
    drop(UnixListener::bind(&socket).unwrap());
    assert!(socket.exists());
    let _daemon = daemon(&socket, busy());
    assert_eq!(ask(&socket).unwrap(), busy());
}

#[test]
fn a_living_daemon_is_left_alone_and_named() {
    let directory = TempDir::new().unwrap();
    let socket = directory.path().join("control.sock");
    let _daemon = daemon(&socket, busy());
    let error = Server::bind(&socket, SOCKET_MODE).err().unwrap();
    let expected =
        format!("another sluice (pid {}) serves at {}", std::process::id(), socket.display());
    assert_eq!(error.to_string(), expected);
    assert_eq!(ask(&socket).unwrap(), busy());
}

#[test]
fn a_file_that_is_no_socket_is_kept() {
    let directory = TempDir::new().unwrap();
    let file = write(&directory, "precious", "data");
    assert!(matches!(Server::bind(&file, SOCKET_MODE), Err(BindError::NotASocket(_))));
    assert_eq!(fs::read_to_string(&file).unwrap(), "data");
    let link = directory.path().join("link");
    std::os::unix::fs::symlink(&file, &link).unwrap();
    assert!(matches!(Server::bind(&link, SOCKET_MODE), Err(BindError::NotASocket(_))));
    assert_eq!(fs::read_to_string(&file).unwrap(), "data");
}

#[test]
fn of_daemons_that_start_together_one_wins() {
    let directory = TempDir::new().unwrap();
    let socket = directory.path().join("control.sock");
    for _ in 0..20 {
        drop(UnixListener::bind(&socket).unwrap());
        let start = Barrier::new(8);
        let bound: Vec<_> = thread::scope(|scope| {
            let tries: Vec<_> = (0..8)
                .map(|_| {
                    scope.spawn(|| {
                        start.wait();
                        Server::bind(&socket, SOCKET_MODE)
                    })
                })
                .collect();
            tries.into_iter().map(|one| one.join().unwrap()).collect()
        });
        let (won, lost): (Vec<_>, Vec<_>) = bound.into_iter().partition(Result::is_ok);
        assert_eq!(won.len(), 1);
        for error in lost.into_iter().filter_map(Result::err) {
            assert!(matches!(error, BindError::InUse { .. }), "{error}");
        }
        let running = won.into_iter().flatten().next().unwrap();
        let running = running.start(Arc::new(Fixed(busy()))).unwrap();
        assert_eq!(ask(&socket).unwrap(), busy());
        running.stop();
        assert!(!socket.exists());
    }
}

#[test]
fn the_socket_of_a_successor_is_not_removed() {
    let directory = TempDir::new().unwrap();
    let socket = directory.path().join("control.sock");
    let old = daemon(&socket, busy());
    fs::remove_file(&socket).unwrap();
    let _new = daemon(&socket, busy());
    old.stop();
    assert_eq!(ask(&socket).unwrap(), busy());
}

#[test]
fn a_daemon_that_never_answers_costs_no_more_than_the_timeout() {
    let directory = TempDir::new().unwrap();
    let socket = directory.path().join("control.sock");
    let _listener = UnixListener::bind(&socket).unwrap();
    fs::set_permissions(&socket, Permissions::from_mode(0o666)).unwrap();
    let timeout = Duration::from_millis(300);
    let began = Instant::now();
    let error = Client::connect(&socket, timeout).and_then(Client::status).unwrap_err();
    assert!(matches!(error, ClientError::TimedOut { .. }), "{error}");
    assert!(error.unreachable());
    assert!(began.elapsed() < timeout * 4, "{:?}", began.elapsed());
}

#[test]
fn a_full_backlog_costs_no_more_than_the_timeout() {
    use rustix::net::{AddressFamily, SocketAddrUnix, SocketType};
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("control.sock");
    let socket = rustix::net::socket(AddressFamily::UNIX, SocketType::STREAM, None).unwrap();
    rustix::net::bind(&socket, &SocketAddrUnix::new(&path).unwrap()).unwrap();
    rustix::net::listen(&socket, 0).unwrap();
    let timeout = Duration::from_millis(300);
    let waiting: Vec<_> = (0..4).map(|_| Client::connect(&path, timeout)).collect();
    let refused = waiting.into_iter().filter_map(Result::err);
    let errors: Vec<_> = refused.collect();
    assert!(!errors.is_empty());
    assert!(errors.iter().all(|error| matches!(error, ClientError::TimedOut { .. })), "{errors:?}");
    let taken = Server::bind(&path, SOCKET_MODE).err().unwrap();
    assert!(matches!(taken, BindError::InUse { .. }), "{taken}");
}

#[test]
fn what_is_printed_names_the_cause_once() {
    let printed = [
        Server::bind(Path::new("/proc/absent/control.sock"), SOCKET_MODE).err().map(chain),
        Client::connect(Path::new(&"x".repeat(300)), SOON).err().map(chain),
        Some(chain(ClientError::from(ErrorReply::new(ErrorCode::Internal, "(os error 0)")))),
    ];
    for printed in printed {
        let printed = printed.unwrap();
        assert_eq!(printed.matches("(os error").count(), 1, "{printed}");
    }
}

/// An error as the program prints it.
fn chain(error: impl std::error::Error + Send + Sync + 'static) -> String {
    format!("{:#}", anyhow::Error::new(error))
}
