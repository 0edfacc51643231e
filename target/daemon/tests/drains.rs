//! `sluice drains` against a real socket, as an administrator and a script see it.
#![allow(clippy::unwrap_used, reason = "a test ends at its first surprise")]

mod support;

use std::io::Write as _;
use std::os::unix::net::UnixListener;
use std::process::Stdio;
use std::thread;
use std::time::{Duration, Instant};

use sluice::drains::{DrainList, DrainRecord};
use sluice::status::Status;
use support::*;
use tempfile::TempDir;

/// Runs `sluice drains` with these arguments against a daemon that knows [`closes`].
fn drains(arguments: &[&str]) -> std::process::Output {
    let directory = TempDir::new().unwrap();
    let socket = directory.path().join("control.sock");
    let _daemon = daemon(&socket, Status::default());
    sluice(&[&["drains", "--socket", text(&socket)], arguments].concat())
}

#[test]
fn json_is_what_the_daemon_said() {
    let output = drains(&["-o", "json"]);
    assert_silent_stderr(&output, 0);
    let list: DrainList = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(list.drains, closes());
    let output = drains(&["-o", "json", "16"]);
    let one: DrainRecord = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(one, closes()[1]);
}

#[test]
fn names_in_json_are_the_documented_ones() {
    let json = serde_json::to_value(&closes()[1]).unwrap();
    for (pointer, expected) in [
        ("/outcome", "late"),
        ("/at", "2026-11-20T15:15:51.680Z"),
        ("/host_nqn", "nqn.2014-08.org.nvmexpress:uuid:0c0ffee0-0000-4000-8000-000000000001"),
        ("/cause", "shutdown"),
        ("/merged_causes/0", "peer disconnected"),
        ("/path/3/state", "linger"),
        ("/deadlines/1/waited_for", "completions of 2 sends and 5 receives"),
        ("/device", "siw0"),
        ("/provider", "siw"),
    ] {
        assert_eq!(json.pointer(pointer).unwrap(), expected, "{pointer}");
    }
    for pointer in [
        "/id",
        "/cntlid",
        "/path/3/entered_us",
        "/path/3/lasted_us",
        "/send/retired_in_order",
        "/receive/leaked",
        "/kicks",
        "/stale_completions",
        "/to_destroy_us",
        "/destroy_us",
    ] {
        assert!(json.pointer(pointer).unwrap().is_u64(), "{pointer}");
    }
    assert_eq!(json.pointer("/move_to_error/ok").unwrap(), true);
}

#[test]
fn the_table_has_a_line_for_each_and_the_newest_first() {
    let output = drains(&[]);
    assert_silent_stderr(&output, 0);
    let shown = stdout(&output);
    let lines: Vec<&str> = shown.lines().collect();
    assert!(lines[0].starts_with("ID  ENDED"), "{shown}");
    for (line, parts) in [
        (1, ["17  2026-11-20 15:15:51", "clean", "2.00 ms", "mlx5_0", "peer disconnected"]),
        (2, ["16  2026-11-20 15:15:51", "late", "4.00 s", "siw0", "shutdown (then peer disc"]),
        (3, ["12  2026-11-20 15:15:51", "quarantined", "120 \u{b5}s", "rxe<0>", "  2  work requ"]),
    ] {
        for part in parts {
            assert!(lines[line].contains(part), "no {part:?} in\n{shown}");
        }
    }
    assert_eq!(lines.last().unwrap(), &"3 shown of 3 kept, 17 ended.");
    assert!(!shown.contains('\u{1b}') && !shown.contains('\u{202e}'), "{shown:?}");
}

#[test]
fn a_limit_shows_no_more() {
    let shown = stdout(&drains(&["--limit", "1"]));
    assert!(shown.contains("\n17 ") && !shown.contains("\n16 "), "{shown}");
    assert!(shown.ends_with("1 shown of 3 kept, 17 ended.\n"), "{shown}");
}

#[test]
fn one_is_shown_in_full() {
    let output = drains(&["16"]);
    assert_silent_stderr(&output, 0);
    let shown = stdout(&output);
    for part in [
        "Drain 16  late  2026-11-20T15:15:51.680Z  00:01:40 ago\n",
        "controller 3, queue 2",
        "siw0, provider siw, queue pair 313, reactor 1",
        "shutdown (then peer disconnected)",
        "ok, repeated 39 times",
        "ok, took 180 \u{b5}s, began 4.00 s after the cause",
        "ended at it, without completions of 2 sends and 5 receives",
        "ended at it, without the peer's close",
    ] {
        assert!(shown.contains(part), "no {part:?} in\n{shown}");
    }
    for stay in &closes()[1].path {
        let named = |line: &&str| line.trim_start().starts_with(&format!("{} ", stay.state));
        assert_eq!(shown.lines().filter(named).count(), 1, "{} in\n{shown}", stay.state);
    }
    let both = ["both", "49", "42", "0", "0", "7", "0"];
    let found = |line: &str| line.split_whitespace().eq(both);
    assert!(shown.lines().any(found), "{shown}");
}

#[test]
fn nothing_of_a_host_reaches_the_terminal_raw() {
    let shown = stdout(&drains(&["12"]));
    assert!(shown.contains("<script>") && shown.contains("failed (Invalid argument"), "{shown}");
    assert!(!shown.contains('\u{1b}') && !shown.contains('\u{202e}'), "{shown:?}");
    assert!(shown.contains("no Connect command was granted"), "{shown}");
}

#[test]
fn one_that_is_not_there_is_a_failure_that_says_why() {
    let output = drains(&["15"]);
    assert_silent_stdout(&output, 1);
    assert!(stderr(&output).contains("drain 15 is not kept any more"), "{}", stderr(&output));
    for id in ["0", "18"] {
        let output = drains(&[id]);
        assert_silent_stdout(&output, 1);
        assert!(stderr(&output).contains("17 connections have ended"), "{}", stderr(&output));
    }
}

#[test]
fn what_contradicts_itself_is_wrong_usage() {
    for arguments in [
        &["16", "--limit", "3"][..],
        &["-16"],
        &["latest"],
        &["-o", "yaml"],
        &["--svg"],
        &["16", "--svg", "17"],
        &["16", "--svg", "-o", "json"],
        &["16", "--svg", "--limit", "2"],
        &["--output", "/tmp/never.svg"],
        &["16", "--output", "/tmp/never.svg"],
    ] {
        assert_silent_stdout(&drains(arguments), 2);
    }
}

#[test]
fn an_older_daemon_is_a_failure_with_advice() {
    let directory = TempDir::new().unwrap();
    let socket = directory.path().join("control.sock");
    let listener = UnixListener::bind(&socket).unwrap();
    let older = thread::spawn(move || {
        let (mut client, _) = listener.accept().unwrap();
        let refusal = r#"{"version":1,"reply":{"error":{"code":"unknown_request","message":"x"}}}"#;
        writeln!(client, "{refusal}").unwrap();
    });
    let output = sluice(&["drains", "--socket", text(&socket)]);
    older.join().unwrap();
    assert_silent_stdout(&output, 1);
    assert!(stderr(&output).contains("another version"), "{}", stderr(&output));
}

/// The texts of a drawing, in its order.
fn texts(svg: &str) -> Vec<String> {
    let drawing = roxmltree::Document::parse(svg).unwrap();
    let shown = |node: roxmltree::Node<'_, '_>| {
        node.descendants().filter_map(|part| part.text().filter(|_| part.is_text())).collect()
    };
    drawing.descendants().filter(|node| node.has_tag_name("text")).map(shown).collect()
}

#[test]
fn a_drawing_shows_every_state_and_what_happened() {
    for close in closes() {
        let output = drains(&[&close.id.to_string(), "--svg"]);
        assert_silent_stderr(&output, 0);
        let svg = stdout(&output);
        let texts = texts(&svg);
        let has = |wanted: &str| texts.iter().any(|text| text.contains(wanted));
        for stay in &close.path {
            let row = format!(" text-anchor=\"end\">{}</text>", stay.state);
            assert_eq!(svg.matches(&row).count(), 1, "{} in {texts:?}", stay.state);
        }
        for wanted in [&close.cause, close.outcome.as_str(), &close.at, &close.peer] {
            assert!(has(wanted), "no {wanted:?} in {texts:?}");
        }
        for deadline in &close.deadlines {
            let told = format!("ended at its deadline, without {}", deadline.waited_for);
            assert!(has(&told), "no {told:?} in {texts:?}");
        }
        for returned in [&close.move_to_error, &close.destroy].into_iter().flatten() {
            assert!(has(returned.error.as_deref().unwrap_or(": ok")), "{returned:?} in {texts:?}");
        }
    }
}

#[test]
fn a_drawing_tells_the_account_of_each_queue() {
    let texts = texts(&stdout(&drains(&["16", "--svg"])));
    for line in [
        "12 posted = \u{25a0} 10 completed + \u{25a0} 2 reclaimed; 0 leaked",
        "37 posted = \u{25a0} 32 completed + \u{25a0} 5 reclaimed; 0 leaked",
    ] {
        assert!(texts.iter().any(|text| text == line), "no {line:?} in {texts:?}");
    }
}

#[test]
fn a_hostile_name_is_text_in_a_drawing_and_nothing_else() {
    let output = drains(&["12", "--svg"]);
    let svg = stdout(&output);
    let drawing = roxmltree::Document::parse(&svg).unwrap();
    let shown = "nqn.x:\u{fffd}[2J\"</text><script>alert(1)</script>&amp;']]>\u{fffd}";
    assert!(texts(&svg).iter().any(|text| text == shown), "{svg}");
    let known =
        ["svg", "title", "desc", "style", "rect", "line", "circle", "polygon", "text", "tspan"];
    for node in drawing.descendants().filter(roxmltree::Node::is_element) {
        assert!(known.contains(&node.tag_name().name()), "{node:?}");
        assert!(node.attributes().all(|a| !a.name().starts_with("on") && a.name() != "href"));
    }
    assert!(!svg.contains("url(") && !svg.contains("@import"), "it refers to something outside");
}

#[test]
fn a_drawing_goes_where_it_is_told_to() {
    let directory = TempDir::new().unwrap();
    let file = directory.path().join("close.svg");
    let output = drains(&["17", "--svg", "--output", text(&file)]);
    assert_silent_stderr(&output, 0);
    assert_eq!(stdout(&output), "");
    let written = std::fs::read_to_string(&file).unwrap();
    assert_eq!(written, stdout(&drains(&["17", "--svg"])));
    assert_eq!(written, stdout(&drains(&["--svg", "17"])), "the order does not matter");
    let nowhere = directory.path().join("absent/close.svg");
    let output = drains(&["17", "--svg", "--output", text(&nowhere)]);
    assert_silent_stdout(&output, 1);
    assert!(stderr(&output).contains(text(&nowhere)), "{}", stderr(&output));
    assert_silent_stdout(&drains(&["15", "--svg"]), 1);
}

#[test]
fn a_daemon_that_has_just_started_has_no_drains() {
    let directory = TempDir::new().unwrap();
    let base = text(directory.path());
    let config = format!(
        "state_dir = \"{base}\"\ncontrol_socket = \"{base}/control.sock\"\n\
         [rdma]\nmode = \"off\"\n[[listener]]\nname = \"a\"\naddress = \"127.0.0.1\"\n\
         [[subsystem]]\nnqn = \"nqn.2014-08.org.example:disk\"\nallow_any_host = true\n\
         [[subsystem.namespace]]\nnsid = 1\nram = \"8 MiB\"\n"
    );
    let file = write(&directory, "sluice.toml", &config);
    let mut daemon = program();
    daemon.args(["serve", "--config", text(&file)]).stderr(Stdio::null());
    let mut daemon = daemon.spawn().unwrap();
    let ask = |arguments: &[&str]| {
        let until = Instant::now() + Duration::from_secs(30);
        loop {
            let output = sluice(&[&["drains", "--config", text(&file)], arguments].concat());
            if output.status.code() != Some(4) || Instant::now() > until {
                return output;
            }
            thread::sleep(Duration::from_millis(20));
        }
    };
    let (table, json, one) = (ask(&[]), ask(&["-o", "json"]), ask(&["1"]));
    daemon.kill().unwrap();
    daemon.wait().unwrap();
    assert_silent_stderr(&table, 0);
    assert_eq!(stdout(&table), "No drains: 0 connections have ended so far.\n");
    let list: DrainList = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!((list.closed, list.kept, list.drains.len()), (0, 0, 0));
    assert_silent_stdout(&one, 1);
}
