//! `sluice serve` as systemd sees it, on a machine where RDMA is switched off.
#![allow(clippy::unwrap_used, reason = "a test ends at its first surprise")]

mod support;

use std::fs;
use std::io::Read as _;
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use sluice::status::{DaemonState, ListenerState, RdmaState, Status};
use support::*;
use tempfile::TempDir;

const LONG: Duration = Duration::from_secs(30);

struct Daemon {
    child: Child,
    systemd: UnixDatagram,
    directory: TempDir,
}

impl Daemon {
    /// Starts one and waits until it says that it is ready.
    fn start(environment: &[(&str, &str)]) -> Self {
        Self::start_with(environment, Stdio::piped())
    }

    fn start_with(environment: &[(&str, &str)], stderr: Stdio) -> Self {
        let directory = TempDir::new().unwrap();
        let base = text(directory.path());
        let config = format!(
            "state_dir = \"{base}\"\ncontrol_socket = \"{base}/control.sock\"\n\
             [log]\nlevel = \"debug\"\n[rdma]\nmode = \"off\"\n\
             [[listener]]\nname = \"a\"\naddress = \"127.0.0.1\"\n\
             [[subsystem]]\nnqn = \"nqn.2014-08.org.example:disk\"\nallow_any_host = true\n\
             [[subsystem.namespace]]\nnsid = 1\nram = \"8 MiB\"\n"
        );
        let file = write(&directory, "sluice.toml", &config);
        let notify = directory.path().join("notify");
        let systemd = UnixDatagram::bind(&notify).unwrap();
        systemd.set_read_timeout(Some(LONG)).unwrap();
        let child = program()
            .args(["serve", "--config", text(&file)])
            .envs(environment.iter().copied())
            .env("NOTIFY_SOCKET", &notify)
            .stdout(Stdio::piped())
            .stderr(stderr)
            .spawn()
            .unwrap();
        let daemon = Self { child, systemd, directory };
        assert!(daemon.told().starts_with("READY=1\nSTATUS="));
        daemon
    }

    /// What systemd hears next.
    fn told(&self) -> String {
        let mut bytes = [0; 4096];
        let len = self.systemd.recv(&mut bytes).unwrap();
        String::from_utf8(bytes[..len].to_vec()).unwrap()
    }

    fn socket(&self) -> PathBuf {
        self.directory.path().join("control.sock")
    }

    fn status(&self) -> Status {
        let output = sluice(&["status", "-o", "json", "--socket", text(&self.socket())]);
        assert_silent_stderr(&output, 0);
        serde_json::from_slice(&output.stdout).unwrap()
    }

    fn send(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Its exit code, and what it wrote to stdout and stderr.
    fn end(mut self) -> (Option<i32>, String, String) {
        let until = Instant::now() + LONG;
        while self.child.try_wait().unwrap().is_none() {
            assert!(Instant::now() < until, "it still runs");
            thread::sleep(Duration::from_millis(10));
        }
        let code = self.child.wait().unwrap().code();
        let (mut data, mut log) = (String::new(), String::new());
        self.child.stdout.take().unwrap().read_to_string(&mut data).unwrap();
        if let Some(mut stderr) = self.child.stderr.take() {
            stderr.read_to_string(&mut log).unwrap();
        }
        assert!(!self.socket().exists(), "the socket is left behind; log: {log}");
        (code, data, log)
    }

    fn proc(&self, file: &str) -> PathBuf {
        PathBuf::from(format!("/proc/{}/{file}", self.child.id()))
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_daemon_is_ready_shows_itself_and_ends_when_asked() {
    for signal in [Signal::TERM, Signal::INT] {
        let daemon = Daemon::start(&[]);
        let status = daemon.status();
        assert_eq!(status.state, DaemonState::Serving);
        assert_eq!(status.pid, daemon.child.id());
        assert_eq!(status.rdma.state, RdmaState::Off);
        assert_eq!(status.rdma.waiting, None);
        let listener = &status.listeners[0];
        assert_eq!((listener.name.as_str(), listener.state), ("a", ListenerState::Off));
        assert_eq!(listener.reason.as_deref(), Some("rdma.mode is \"off\""));
        assert!(status.subsystems[0].namespaces[0].backend.starts_with("ram 8 MiB"), "{status:?}");
        assert_eq!(status.subsystems[0].namespaces[0].size_bytes, 8 << 20);
        daemon.send(signal);
        assert!(daemon.told().starts_with("STOPPING=1\n"));
        let (socket, config) = (daemon.socket(), daemon.directory.path().join("sluice.toml"));
        let (code, data, log) = daemon.end();
        assert_eq!((code, data.as_str()), (Some(0), ""), "{log}");
        let starts: Vec<_> = log.lines().filter(|line| line.contains("sluice starts")).collect();
        assert_eq!(starts.len(), 1, "{log}");
        for named in [env!("CARGO_PKG_VERSION"), text(&socket), text(&config), "reactors=1"] {
            assert!(starts[0].contains(named), "no {named} in {}", starts[0]);
        }
    }
}

#[test]
fn a_reactor_that_can_not_start_ends_the_daemon_before_it_is_ready() {
    let daemon = Daemon::start(&[]);
    let config = fs::read_to_string(daemon.directory.path().join("sluice.toml")).unwrap();
    let other = config.replace("control.sock", "other.sock") + "[reactors]\ncores = [0, 1023]\n";
    let file = write(&daemon.directory, "other.toml", &other);
    let output = sluice(&["serve", "--config", text(&file)]);
    assert_silent_stdout(&output, 1);
    let said = stderr(&output);
    assert!(said.contains("reactor 1: can't run on core 1023"), "{said}");
}

#[test]
fn ram_disks_beyond_the_machines_memory_are_told_at_the_start() {
    let daemon = Daemon::start(&[]);
    let config = fs::read_to_string(daemon.directory.path().join("sluice.toml")).unwrap();
    // The system refuses this much, so that it ends by itself.
    let other = config.replace("control.sock", "other.sock").replace("8 MiB", "16 TiB");
    let file = write(&daemon.directory, "other.toml", &other);
    let output = sluice(&["serve", "--config", text(&file)]);
    assert_silent_stdout(&output, 1);
    let said = stderr(&output);
    let warns = |line: &&str| line.contains("WARN") && line.contains("take 16 TiB so far");
    assert_eq!(said.lines().filter(warns).count(), 1, "{said}");
    assert!(said.contains("ram disk: no room for 17592186044416 bytes: "), "{said}");
    assert_eq!(said.matches("(os error").count(), 1, "{said}");
}

#[test]
fn a_second_daemon_on_the_same_socket_names_the_first() {
    let daemon = Daemon::start(&[]);
    let config = daemon.directory.path().join("sluice.toml");
    let output = sluice(&["serve", "--config", text(&config)]);
    assert_silent_stdout(&output, 1);
    let named = format!("another sluice (pid {})", daemon.child.id());
    assert!(stderr(&output).contains(&named), "{}", stderr(&output));
    assert_eq!(daemon.status().state, DaemonState::Serving);
}

#[test]
fn a_daemon_that_was_killed_leaves_nothing_that_hinders_the_next() {
    let daemon = Daemon::start(&[]);
    let config = daemon.directory.path().join("sluice.toml");
    let (socket, pid) = (daemon.socket(), daemon.child.id());
    daemon.send(Signal::KILL);
    thread::sleep(Duration::from_millis(200));
    assert!(socket.exists());
    let output = sluice(&["status", "--socket", text(&socket)]);
    assert_silent_stdout(&output, 4);
    let mut next = program();
    next.args(["serve", "--config", text(&config)]).stderr(Stdio::null());
    let mut next = next.spawn().unwrap();
    let until = Instant::now() + LONG;
    let answered = loop {
        let output = sluice(&["status", "-o", "json", "--socket", text(&socket)]);
        if output.status.success() || Instant::now() > until {
            break output;
        }
        thread::sleep(Duration::from_millis(50));
    };
    let status = serde_json::from_slice::<Status>(&answered.stdout);
    let _ = next.kill();
    let _ = next.wait();
    assert_ne!(status.unwrap().pid, pid);
}

#[test]
fn an_idle_daemon_does_not_wake_up() {
    let daemon = Daemon::start(&[]);
    daemon.status();
    thread::sleep(Duration::from_secs(1));
    let switches = || -> Vec<(String, String)> {
        let tasks = fs::read_dir(daemon.proc("task")).unwrap();
        let mut all: Vec<_> = tasks
            .map(|task| fs::read_to_string(task.unwrap().path().join("status")).unwrap())
            .map(|status| {
                let line = |start: &str| {
                    status.lines().find(|line| line.starts_with(start)).unwrap().to_owned()
                };
                (line("Name:"), line("voluntary_ctxt_switches:"))
            })
            .collect();
        all.sort();
        all
    };
    let before = switches();
    thread::sleep(Duration::from_secs(3));
    assert_eq!(switches(), before);
}

#[test]
fn sigpipe_is_ignored_and_the_hiding_variable_is_gone() {
    let daemon = Daemon::start(&[("RDMAV_ALLOW_DISASSOC_DESTROY", "1")]);
    let status = fs::read_to_string(daemon.proc("status")).unwrap();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:\t")).unwrap();
    let ignored = u64::from_str_radix(ignored, 16).unwrap();
    assert_ne!(ignored & 1 << (Signal::PIPE.as_raw() - 1), 0, "SigIgn {ignored:x}");
    let environment = fs::read(daemon.proc("environ")).unwrap();
    let environment = String::from_utf8_lossy(&environment);
    assert!(environment.contains("NOTIFY_SOCKET="), "{environment}");
    assert!(!environment.contains("RDMAV_"), "{environment}");
}

#[test]
fn a_stalled_stderr_does_not_stall_the_daemon() {
    let (reader, writer) = full_pipe();
    let daemon = Daemon::start_with(&[], writer.into());
    assert_eq!(daemon.status().state, DaemonState::Serving);
    daemon.send(Signal::TERM);
    assert!(daemon.told().starts_with("STOPPING=1\n"));
    assert_eq!(daemon.end().0, Some(0));
    drop(reader);
}

/// A pipe that takes not one byte more, and whose reader reads nothing.
fn full_pipe() -> (std::io::PipeReader, std::io::PipeWriter) {
    use rustix::fs::{OFlags, fcntl_setfl};
    let (reader, mut writer) = std::io::pipe().unwrap();
    fcntl_setfl(&writer, OFlags::NONBLOCK).unwrap();
    for chunk in [4096, 1] {
        while std::io::Write::write_all(&mut writer, &vec![b'x'; chunk]).is_ok() {}
    }
    fcntl_setfl(&writer, OFlags::empty()).unwrap();
    (reader, writer)
}
