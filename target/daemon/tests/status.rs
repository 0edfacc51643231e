//! `sluice status` against a real socket, as an administrator and a script see it.
#![allow(clippy::unwrap_used, reason = "a test ends at its first surprise")]

mod support;

use std::io::Write as _;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::thread;

use sluice::status::Status;
use support::*;
use tempfile::TempDir;

#[test]
fn json_is_what_the_daemon_said() {
    let directory = TempDir::new().unwrap();
    let socket = directory.path().join("control.sock");
    let _daemon = daemon(&socket, busy());
    let output = sluice(&["status", "--socket", text(&socket), "-o", "json"]);
    assert_silent_stderr(&output, 0);
    assert_eq!(serde_json::from_slice::<Status>(&output.stdout).unwrap(), busy());
}

#[test]
fn names_in_json_are_the_documented_ones() {
    let json = serde_json::to_value(busy()).unwrap();
    for (pointer, expected) in [
        ("/state", "serving"),
        ("/rdma/state", "ready"),
        ("/listeners/0/state", "listening"),
        ("/listeners/1/reason", "the address is on no RDMA device"),
        ("/listeners/1/state", "waiting"),
        ("/listeners/2/state", "off"),
        ("/listeners/2/reason", "rdma.mode is \"off\""),
        ("/subsystems/0/controllers/0/state", "ready"),
        ("/subsystems/0/controllers/0/queues/1/device", "mlx5_0"),
    ] {
        assert_eq!(json.pointer(pointer).unwrap(), expected, "{pointer}");
    }
    for pointer in [
        "/uptime_s",
        "/subsystems/0/namespaces/0/size_bytes",
        "/subsystems/0/controllers/0/kato_ms",
        "/subsystems/0/controllers/0/queues/0/qp_number",
        "/reactors/0/lanes/0/pool_total_bytes",
        "/drains/slowest_to_destroy_ms",
        "/drains/clean",
        "/drains/late",
        "/drains/deadlines/flushing",
        "/drains/first_causes/peer disconnected",
        "/counters/read_bytes",
    ] {
        assert!(json.pointer(pointer).unwrap().is_u64(), "{pointer}");
    }
}

#[test]
fn an_older_or_newer_daemon_is_understood() {
    let status: Status =
        serde_json::from_str(r#"{"version":"0.0.1","news":[1],"drains":{"closed":3}}"#).unwrap();
    assert_eq!((status.version.as_str(), status.drains.closed), ("0.0.1", 3));
    assert!(status.listeners.is_empty());
}

#[test]
fn tables_show_each_part_once_and_nothing_of_a_host_raw() {
    let directory = TempDir::new().unwrap();
    let socket = directory.path().join("control.sock");
    let _daemon = daemon(&socket, busy());
    let output = sluice(&["status", "--socket", text(&socket)]);
    assert_silent_stderr(&output, 0);
    let shown = stdout(&output);
    for part in [
        "sluice 9.8.7  serving  pid 4711  up 1d 01:01:01\n",
        "fabric-a  rdma       192.0.2.10    4420  mlx5_0  listening\n",
        "waiting: the address is on no RDMA device\n",
        "off: rdma.mode is \"off\"\n",
        "0 ended at the deadline",
        "Subsystem nqn.2014-08.org.example:disk  serial SL0123456789ABCDEF\n",
        "10 GiB",
        "ro",
        "nqn.2014-08.org.example:host\u{fffd}[2J",
        "5 MiB  256 MiB",
        "17 closed",
        "31337 completed",
    ] {
        assert!(shown.contains(part), "no {part:?} in\n{shown}");
    }
    assert!(!shown.contains('\u{1b}'));
    assert!(shown.lines().all(|line| !line.ends_with(' ')), "{shown}");
}

#[test]
fn verbose_adds_queues() {
    let directory = TempDir::new().unwrap();
    let socket = directory.path().join("control.sock");
    let _daemon = daemon(&socket, busy());
    let shown = stdout(&sluice(&["status", "-v", "--socket", text(&socket)]));
    let queues = shown.lines().filter(|line| line.contains("mlx5_0") && line.contains("128"));
    assert_eq!(queues.count(), 2, "{shown}");
}

#[test]
fn losses_are_shouted_and_their_absence_is_not_mentioned() {
    let directory = TempDir::new().unwrap();
    let socket = directory.path().join("control.sock");
    let mut lossy = busy();
    lossy.drains.quarantined = 2;
    let running = daemon(&socket, lossy);
    let shown = stdout(&sluice(&["status", "--socket", text(&socket)]));
    assert!(shown.contains("LOST: 2 connections quarantined"), "{shown}");
    running.stop();
    let _daemon = daemon(&socket, busy());
    let shown = stdout(&sluice(&["status", "--socket", text(&socket)]));
    assert!(!shown.contains("LOST"), "{shown}");
}

#[test]
fn the_configuration_names_the_socket() {
    let directory = TempDir::new().unwrap();
    let socket = directory.path().join("elsewhere.sock");
    let _daemon = daemon(&socket, busy());
    let config = format!(
        "control_socket = {:?}\n[[listener]]\nname = \"a\"\ntransport = \"rdma\"\n\
         address = \"192.0.2.1\"\n[[subsystem]]\nnqn = \"nqn.2014-08.org.example:d\"\n\
         allow_any_host = true\n[[subsystem.namespace]]\nnsid = 1\nram = \"1 MiB\"\n",
        text(&socket)
    );
    let file = write(&directory, "sluice.toml", &config);
    let output = sluice(&["status", "--config", text(&file), "-o", "json"]);
    assert_silent_stderr(&output, 0);
    let bad = write(&directory, "bad.toml", "nonsense = 1");
    assert_silent_stdout(&sluice(&["status", "--config", text(&bad)]), 3);
}

#[test]
fn an_absent_daemon_has_an_exit_code_and_advice() {
    let directory = TempDir::new().unwrap();
    let absent = directory.path().join("absent.sock");
    let dead = directory.path().join("dead.sock");
    drop(UnixListener::bind(&dead).unwrap());
    let file = write(&directory, "file", "no socket");
    for socket in [&absent, &dead, &file, &absent.join("below"), Path::new("/proc/x")] {
        let output = sluice(&["status", "--socket", text(socket)]);
        assert_silent_stdout(&output, 4);
        assert!(stderr(&output).contains(text(socket)), "{}", stderr(&output));
        assert!(stderr(&output).contains("systemctl start sluice"), "{}", stderr(&output));
    }
    let long = format!("/{}", "x".repeat(300));
    assert_silent_stdout(&sluice(&["status", "--socket", &long]), 4);
}

#[test]
fn a_daemon_that_dies_is_unreachable_and_one_that_babbles_is_a_failure() {
    for (answer, code) in [
        (&b""[..], 4),
        (b"{\"version\":1,", 4),
        (b"\xff\xff\xff\n", 1),
        (b"{\"version\":2,\"reply\":{\"status\":{}}}\n", 1),
        (b"{\"version\":1,\"reply\":{\"error\":{\"code\":\"internal\",\"message\":\"x\"}}}\n", 1),
    ] {
        let directory = TempDir::new().unwrap();
        let socket = directory.path().join("control.sock");
        let listener = UnixListener::bind(&socket).unwrap();
        let daemon = thread::spawn(move || {
            let (mut client, _) = listener.accept().unwrap();
            client.write_all(answer).unwrap();
        });
        let output = sluice(&["status", "--socket", text(&socket)]);
        daemon.join().unwrap();
        assert_silent_stdout(&output, code);
    }
}
