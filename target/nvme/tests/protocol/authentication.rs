//! Hosts that have to authenticate themselves, by the commands of their queues.

use std::sync::Arc;

use hmac::{Hmac, KeyInit, Mac};
use nvme::admin::fctype;
use nvme::auth::{Credentials, Event, Group, Hash, Key, Policy, Work};
use nvme::property::offset;
use nvme::{Action, HostNqn, Queue, Source, Sqe, Status, SubNqn, Subsystem};
use sha2::Sha256;
use zerocopy::IntoBytes;
use zerocopy::little_endian::U32;

use crate::pair::{Connect, HOSTNQN, Pair, SUBNQN, claim, export_of, keyed, subsystem};

/// 32 bytes from 1 on, as `nvme gen-dhchap-key` writes them.
const KEY: &str = "DHHC-1:00:AQIDBAUGBwgJCgsMDQ4PEBESExQVFhcYGRobHB0eHyAl7OaH:";
/// SECP, SPSP1 and SPSP0.
const PROTOCOL: u32 = 0xe901_0100;
const ATR: u32 = 1 << 17;

fn guarded() -> Subsystem {
    let policy = Policy { hashes: vec![Hash::Sha256], groups: vec![Group::Null] };
    let (host, nqn) = (HostNqn::new(HOSTNQN).unwrap(), SubNqn::new(SUBNQN).unwrap());
    let key = Key::parse(KEY).unwrap();
    let credentials = Credentials::new(host, nqn, &key, None, policy);
    Subsystem { credentials: vec![Arc::new(credentials)], ..subsystem() }
}

fn connected() -> Pair {
    let mut pair = Pair::new(export_of(vec![guarded()], 1));
    let reply = pair.connect(&Connect::admin(SUBNQN)).ok();
    assert_eq!(reply.dw0(), 42 | ATR, "the controller's id, and what is required");
    pair
}

/// The admin queue authenticated, an I/O queue connected and not yet authenticated.
fn with_io_queue() -> Pair {
    let mut pair = connected();
    let mut get = Sqe::new(Sqe::FABRICS, pair.cid());
    get.nsid = U32::new(u32::from(fctype::PROPERTY_GET));
    authenticate(&mut pair, 0, get);
    pair.enable();
    pair.try_connect_io(&Connect::io(pair.cntlid, 1), claim(1, 128)).ok();
    pair
}

fn command(pair: &mut Pair, kind: u8, len: u32) -> Sqe {
    let mut sqe = Sqe::new(Sqe::FABRICS, pair.cid());
    sqe.nsid = U32::new(u32::from(kind));
    sqe.dptr = keyed(len).emit();
    sqe.cdw10 = U32::new(PROTOCOL);
    sqe.cdw11 = U32::new(len);
    sqe
}

fn random(bytes: &mut [u8]) -> bool {
    bytes.fill(0x5a);
    true
}

/// What an action comes to, with `message` as the host's memory and `room` for ours.
fn finish(queue: &mut Queue, action: Action, message: &[u8], taken: &mut Vec<u8>) -> Status {
    let now = crate::pair::ms(1_000);
    let action = match action {
        Action::Fetch { permit, len, .. } => {
            assert_eq!(len as usize, message.len());
            queue.handle_fetched(now, permit, message)
        }
        other => other,
    };
    match action {
        Action::Compute { permit, work } => {
            let computed = Work::run(*work, random);
            match queue.handle_computed(now, permit, computed) {
                Action::Respond(completion) => completion.cqe.status(),
                other => panic!("unexpected {other:?}"),
            }
        }
        Action::Return { permit, len, source, .. } => {
            assert_eq!(source, Source::Authentication);
            taken.resize(len as usize, 0);
            queue.fill_authentication(taken);
            queue.complete(permit, nvme::Outcome::SUCCESS).cqe.status()
        }
        Action::Respond(completion) => completion.cqe.status(),
        other => panic!("unexpected {other:?}"),
    }
}

fn send(queue: &mut Queue, sqe: &Sqe, message: &[u8]) -> Status {
    let action = queue.handle_capsule(crate::pair::ms(1_000), sqe.as_bytes(), 0);
    finish(queue, action, message, &mut Vec::new())
}

fn receive(queue: &mut Queue, sqe: &Sqe) -> (Status, Vec<u8>) {
    let mut taken = Vec::new();
    let action = queue.handle_capsule(crate::pair::ms(1_000), sqe.as_bytes(), 0);
    let status = finish(queue, action, &[], &mut taken);
    (status, taken)
}

fn negotiate() -> Vec<u8> {
    let mut out = vec![0; 72];
    out[7] = 1;
    out[8] = 1;
    out[10..13].copy_from_slice(&[1, 1, 1]);
    out
}

fn reply(challenge: &[u8]) -> Vec<u8> {
    let key: Vec<u8> = (1..=32).collect();
    let mut mac = Hmac::<Sha256>::new_from_slice(&key).unwrap();
    mac.update(&challenge[16..48]);
    mac.update(&challenge[12..16]);
    mac.update(&[0, 0, 0]);
    mac.update(format!("HostHost{HOSTNQN}\0{SUBNQN}").as_bytes());
    let mut out = vec![0; 80];
    out[..2].copy_from_slice(&[1, 2]);
    out[6] = 32;
    out[16..48].copy_from_slice(&mac.finalize().into_bytes());
    out
}

/// The whole exchange on one queue, which refuses `other` before and not after.
fn authenticate(pair: &mut Pair, qid: u16, other: Sqe) {
    let sends = [command(pair, fctype::AUTHENTICATION_SEND, 72)];
    let reply_sqe = command(pair, fctype::AUTHENTICATION_SEND, 80);
    let receives = [(); 2].map(|()| command(pair, fctype::AUTHENTICATION_RECEIVE, 4096));
    let queue = if qid == 0 { &mut pair.admin } else { pair.io.get_mut(&qid).unwrap() };
    let refused = |queue: &mut Queue| {
        assert!(!queue.is_authenticated());
        let status = send(queue, &other, &[]);
        assert_eq!(status, Status::AUTHENTICATION_REQUIRED.dnr());
    };
    refused(queue);
    assert_eq!(send(queue, &sends[0], &negotiate()), Status::SUCCESS);
    refused(queue);
    let (status, challenge) = receive(queue, &receives[0]);
    assert_eq!((status, challenge.len()), (Status::SUCCESS, 48));
    refused(queue);
    assert_eq!(send(queue, &reply_sqe, &reply(&challenge)), Status::SUCCESS);
    refused(queue);
    let (status, success) = receive(queue, &receives[1]);
    assert_eq!((status, &success[..2]), (Status::SUCCESS, &[1, 3][..]));
    assert!(queue.is_authenticated());
    assert!(matches!(queue.poll_authentication(), Some(Event::Authenticated { .. })));
}

#[test]
fn every_queue_takes_commands_only_after_its_own_authentication() {
    let mut pair = connected();
    let mut get = Sqe::new(Sqe::FABRICS, pair.cid());
    get.nsid = U32::new(u32::from(fctype::PROPERTY_GET));
    get.cdw11 = U32::new(offset::VS);
    authenticate(&mut pair, 0, get);
    pair.enable();
    let io = pair.try_connect_io(&Connect::io(pair.cntlid, 1), claim(1, 128)).ok();
    assert_eq!(io.dw0(), 42 | ATR);
    let flush = Sqe { nsid: 1.into(), ..Sqe::new(nvme::io::opcode::FLUSH, pair.cid()) };
    authenticate(&mut pair, 1, flush);
    let action = pair.io.get_mut(&1).unwrap().handle_capsule(pair.now, flush.as_bytes(), 0);
    let Action::Execute { permit, .. } = action else { panic!("unexpected {action:?}") };
    permit.abandon();
}

#[test]
fn commands_that_are_no_part_of_an_exchange_are_refused_and_change_nothing() {
    let mut pair = connected();
    let good = command(&mut pair, fctype::AUTHENTICATION_SEND, 72);
    let receive_sqe = command(&mut pair, fctype::AUTHENTICATION_RECEIVE, 4096);
    let queue = &mut pair.admin;
    let field = Status::INVALID_FIELD.dnr();
    for bad in [0, PROTOCOL ^ 1 << 8, PROTOCOL ^ 1 << 16, PROTOCOL ^ 1 << 24] {
        let sqe = Sqe { cdw10: U32::new(bad), ..good };
        assert_eq!(send(queue, &sqe, &negotiate()), field, "{bad:x}");
    }
    assert_eq!(send(queue, &Sqe { cdw11: U32::new(0), ..good }, &[]), field);
    let long = Sqe { cdw11: U32::new(4097), dptr: keyed(4097).emit(), ..good };
    assert_eq!(send(queue, &long, &[]), field);
    let other_length = Sqe { cdw11: U32::new(71), ..good };
    assert_eq!(send(queue, &other_length, &[]), Status::DATA_SGL_LENGTH_INVALID.dnr());
    let sequence = Status::COMMAND_SEQUENCE_ERROR.dnr();
    assert_eq!(receive(queue, &receive_sqe).0, sequence, "there is nothing to receive");
    // While one message is on its way there is no room for another.
    let action = queue.handle_capsule(pair.now, good.as_bytes(), 0);
    let second = Sqe { cid: 999.into(), ..good };
    assert_eq!(send(queue, &second, &negotiate()), sequence);
    assert_eq!(finish(queue, action, &negotiate(), &mut Vec::new()), Status::SUCCESS);
    assert_eq!(receive(queue, &receive_sqe).1[..2], [1, 1]);
    assert!(queue.poll_timeout().is_some(), "the exchange has to come to an end");
}

#[test]
fn message_between_the_halves_of_a_fused_operation_ends_the_first() {
    let mut pair = with_io_queue();
    let flush = Sqe { nsid: 1.into(), ..Sqe::new(nvme::io::opcode::FLUSH, pair.cid()) };
    authenticate(&mut pair, 1, flush);
    let mut compare = Sqe::new(nvme::io::opcode::COMPARE, pair.cid());
    compare.flags |= Sqe::FUSE_FIRST;
    compare.nsid = 1.into();
    compare.dptr = keyed(512).emit();
    let receive_sqe = command(&mut pair, fctype::AUTHENTICATION_RECEIVE, 4096);
    let queue = pair.io.get_mut(&1).unwrap();
    let held = queue.handle_capsule(pair.now, compare.as_bytes(), 0);
    assert!(matches!(held, Action::Hold), "{held:?}");
    let action = queue.handle_capsule(pair.now, receive_sqe.as_bytes(), 0);
    let Action::Both(both) = action else { panic!("unexpected {action:?}") };
    let statuses = both.map(|action| finish(queue, action, &[], &mut Vec::new()));
    let plain = statuses.map(|status| (status.sct(), status.sc()));
    let wanted = [Status::MISSING_FUSED, Status::COMMAND_SEQUENCE_ERROR];
    assert_eq!(plain, wanted.map(|status| (status.sct(), status.sc())));
    assert_eq!(queue.in_flight(), 0);
}

#[test]
fn host_that_computes_is_not_taken_for_dead() {
    let mut pair = with_io_queue();
    // The keep-alive timeout is 5 s.
    for second in [8, 14, 20, 26] {
        pair.controller().handle_timeout(crate::pair::ms(second * 1000));
        pair.pump();
        assert_eq!(pair.ended, None, "while queue 1 is at its exchange");
    }
    let flush = Sqe { nsid: 1.into(), ..Sqe::new(nvme::io::opcode::FLUSH, pair.cid()) };
    authenticate(&mut pair, 1, flush);
    for second in [32, 38, 44] {
        pair.controller().handle_timeout(crate::pair::ms(second * 1000));
        pair.pump();
    }
    assert_eq!(pair.ended, Some(nvme::EndCause::KeepAliveExpired), "its exchange is over");
}

#[test]
fn hosts_without_credentials_know_no_authentication() {
    let mut pair = Pair::enabled();
    let sqe = command(&mut pair, fctype::AUTHENTICATION_SEND, 72);
    assert!(pair.admin.is_authenticated() && pair.admin.poll_timeout().is_none());
    assert_eq!(pair.admin(sqe).status(), Status::INVALID_OPCODE.dnr());
}
