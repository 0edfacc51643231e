//! What signals do to a process that watches for them.
#![allow(clippy::unwrap_used, reason = "a test ends at its first surprise")]

use std::io::{BufRead as _, BufReader};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use sluice::signals::watch;

const LONG: Duration = Duration::from_secs(60);

/// A process that says on stdout what it hears, and does nothing about it.
struct Watcher {
    child: Child,
    lines: BufReader<ChildStdout>,
}

impl Watcher {
    fn start() -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--ignored", "--exact", "watches_until_it_is_ended", "--nocapture"])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap());
        let mut watcher = Self { child, lines };
        watcher.expect("watching");
        watcher
    }

    fn send(&self, signal: Signal) {
        let pid = Pid::from_child(&self.child);
        kill_process(pid, signal).unwrap();
    }

    /// Reads on to a line that ends so.
    fn expect(&mut self, end: &str) {
        let mut line = String::new();
        while !line.trim_end().ends_with(end) {
            line.clear();
            assert_ne!(self.lines.read_line(&mut line).unwrap(), 0, "no {end:?}");
        }
    }

    fn exit_code(&mut self) -> Option<i32> {
        let until = Instant::now() + Duration::from_secs(10);
        while Instant::now() < until {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code();
            }
            thread::sleep(Duration::from_millis(10));
        }
        panic!("it still runs");
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
#[ignore = "the process of the other tests"]
fn watches_until_it_is_ended() {
    let _watch = watch(|signal| println!("asked by {signal}")).unwrap();
    println!("watching");
    thread::sleep(LONG);
}

#[test]
fn the_first_signal_asks_and_a_second_sigint_ends_at_once() {
    let mut watcher = Watcher::start();
    watcher.send(Signal::INT);
    watcher.expect("asked by SIGINT");
    watcher.send(Signal::INT);
    assert_eq!(watcher.exit_code(), Some(1));
}

#[test]
fn sigterm_asks_once_however_often_it_comes() {
    let mut watcher = Watcher::start();
    watcher.send(Signal::TERM);
    watcher.expect("asked by SIGTERM");
    watcher.send(Signal::TERM);
    thread::sleep(Duration::from_millis(300));
    assert!(watcher.child.try_wait().unwrap().is_none(), "a second SIGTERM ended it");
    watcher.send(Signal::INT);
    assert_eq!(watcher.exit_code(), Some(1));
    let mut rest = String::new();
    std::io::Read::read_to_string(&mut watcher.lines, &mut rest).unwrap();
    assert!(!rest.contains("asked"), "{rest}");
}

#[test]
fn sighup_and_sigpipe_end_nothing() {
    let mut watcher = Watcher::start();
    watcher.send(Signal::HUP);
    watcher.send(Signal::PIPE);
    thread::sleep(Duration::from_millis(300));
    assert!(watcher.child.try_wait().unwrap().is_none());
    watcher.send(Signal::TERM);
    watcher.expect("asked by SIGTERM");
}
