//! The threads that destroy: one that is stuck holds up nobody else.
#![allow(clippy::unwrap_used, reason = "a test that finds nothing fails")]

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use sim::peer::ConnectParams;
use sim::{Fabric, Plan, Seeded, SimId, SimStack, rows};
use transport::device::{ListenEvent, Stack, Token};
use transport::limits::REAPER_THREADS;
use transport::reaper::{Job, Outcome, Reapers, Reply};
use transport::time::Now;

/// Ids of `count` connection requests.
fn ids(count: usize) -> Vec<Arc<SimId>> {
    let (target, host) = (Ipv4Addr::new(10, 0, 0, 1), Ipv4Addr::new(10, 0, 0, 2));
    let fabric = Fabric::new(Box::new(Seeded::with_plan(1, Plan::CALM)));
    let node = fabric.add_node("target");
    fabric.add_device(node, &rows::RXE_6_12, IpAddr::V4(target));
    let stack: SimStack = fabric.stack(node);
    let address = SocketAddr::new(IpAddr::V4(target), 4420);
    let _listener = stack.listen(address, 64, 0).unwrap();
    let host = fabric.add_host(IpAddr::V4(host));
    let _peers: Vec<_> =
        (0..count).map(|_| host.connect(address, ConnectParams::default())).collect();
    let mut ids = Vec::new();
    while ids.len() < count {
        match stack.next_event().unwrap() {
            Some(ListenEvent::Request(request)) => ids.push(Arc::new(request.id)),
            Some(ListenEvent::ListenerGone { .. } | ListenEvent::Ignored) => {}
            None => {
                fabric.set_now(fabric.due().unwrap().max(fabric.now()));
                fabric.run_due();
            }
        }
    }
    ids
}

#[test]
fn a_stuck_destroy_takes_a_thread_and_not_the_turn_of_the_others() {
    const STUCK: usize = 2 * REAPER_THREADS;
    let reapers: Reapers<SimStack> = Reapers::new(Box::new(Now::default));
    let gate = Arc::new(Mutex::new(()));
    let shut = gate.lock().unwrap();
    let (done, answers) = mpsc::channel();
    let mut ids = ids(STUCK + 1);
    let last = ids.pop().unwrap();
    for (place, id) in ids.into_iter().enumerate() {
        let (gate, done) = (Arc::clone(&gate), done.clone());
        // The thread is stuck in its job, as in a destroy that does not return.
        let reply: Reply = Arc::new(move |outcome| {
            drop(gate.lock().unwrap());
            done.send(token(&outcome)).unwrap();
        });
        reapers.submit(Job::DestroyId { token: Token(place as u64), id }, reply);
    }
    let reply: Reply = Arc::new(move |outcome| done.send(token(&outcome)).unwrap());
    reapers.submit(Job::DestroyId { token: Token(99), id: last }, reply);
    let first = answers.recv_timeout(Duration::from_secs(20));
    assert_eq!(first, Ok(Token(99)), "the others are stuck");
    drop(shut);
    let mut rest: Vec<Token> = (0..STUCK)
        .map(|_| answers.recv_timeout(Duration::from_secs(20)).expect("each is answered"))
        .collect();
    rest.sort_unstable();
    assert_eq!(rest, (0..STUCK as u64).map(Token).collect::<Vec<_>>(), "once each");
    reapers.stop();
}

fn token(outcome: &Outcome) -> Token {
    match outcome {
        Outcome::QpDestroyed { token, .. } | Outcome::IdDestroyed { token } => *token,
    }
}
