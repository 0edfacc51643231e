//! Messages of a host that does not know its key.

use nvme::admin::fctype;
use nvme::auth::{Key, Work};
use nvme::limits::AUTH_BYTES_MAX;
use nvme::{Action, Cid, HostSgl, Outcome, Queue, RKey, Sgl, Source, Sqe, Status};
use zerocopy::IntoBytes;

use crate::association::Association;
use crate::input::Input;

/// Steps of one input.
const STEPS_MAX: u16 = 64;

/// Bytes, each step begun by one that says what is done with the next.
pub(crate) fn authentication(bytes: &[u8]) {
    if let Ok(text) = std::str::from_utf8(bytes)
        && let Ok(key) = Key::parse(text)
    {
        assert_eq!(*key.to_text(), text.trim(), "a key that was read is written alike");
    }
    let (_association, mut queue) = Association::guarded_queue();
    let mut input = Input::new(bytes);
    for cid in 1..=STEPS_MAX {
        let Some(step) = input.byte() else { break };
        match step % 5 {
            0 => {
                let len = input.short() % 1300;
                let message = input.bytes(usize::from(len));
                send(&mut queue, cid, message);
            }
            1 => send(&mut queue, cid, &negotiate(input.byte().unwrap_or(0))),
            2 => receive(&mut queue, cid, u32::from(input.short())),
            3 => send(&mut queue, cid, &reply(&mut input)),
            _ => {
                let sqe = Sqe::new(input.byte().unwrap_or(0) & 0x7e, Cid(cid));
                let status = answered(queue.handle_capsule(now(), sqe.as_bytes(), 0));
                assert_eq!(status, Status::AUTHENTICATION_REQUIRED.dnr());
            }
        }
        assert!(!queue.is_authenticated(), "this host knows no key");
        assert_eq!(queue.in_flight(), 0, "every command has its answer");
        let _ = queue.poll_authentication();
    }
}

fn now() -> nvme::Now {
    nvme::Now(std::time::Duration::from_secs(1))
}

fn command(cid: u16, kind: u8, len: u32) -> Sqe {
    let mut sqe = Sqe::new(Sqe::FABRICS, Cid(cid));
    sqe.nsid = u32::from(kind).into();
    sqe.dptr = Sgl::Keyed(HostSgl { addr: 0, rkey: RKey(1), len, invalidate: false }).emit();
    sqe.cdw10 = 0xe901_0100.into();
    sqe.cdw11 = len.into();
    sqe
}

fn answered(action: Action) -> Status {
    let Action::Respond(completion) = action else { panic!("no answer: {action:?}") };
    completion.cqe.status()
}

fn send(queue: &mut Queue, cid: u16, message: &[u8]) {
    let len = u32::try_from(message.len()).unwrap_or(u32::MAX);
    let sqe = command(cid, fctype::AUTHENTICATION_SEND, len);
    let mut action = queue.handle_capsule(now(), sqe.as_bytes(), 0);
    if let Action::Fetch { permit, len, .. } = action {
        assert!((1..=AUTH_BYTES_MAX).contains(&len));
        action = queue.handle_fetched(now(), permit, message);
    }
    if let Action::Compute { permit, work } = action {
        let random = |bytes: &mut [u8]| {
            bytes.fill(0xa5);
            true
        };
        action = queue.handle_computed(now(), permit, Work::run(*work, random));
    }
    answered(action);
}

fn receive(queue: &mut Queue, cid: u16, room: u32) {
    let sqe = command(cid, fctype::AUTHENTICATION_RECEIVE, room);
    let action = queue.handle_capsule(now(), sqe.as_bytes(), 0);
    let Action::Return { permit, to, len, source } = action else {
        answered(action);
        return;
    };
    assert_eq!(source, Source::Authentication);
    assert!(len <= to.len && to.len == room);
    let mut out = vec![0; usize::try_from(len).unwrap_or_default()];
    queue.fill_authentication(&mut out);
    assert!(matches!(out[..2], [1, 1] | [0, 0xf1]), "a challenge or a failure");
    let _ = queue.complete(permit, Outcome::SUCCESS);
}

/// Offers everything, from one hash function and one group on.
fn negotiate(first: u8) -> [u8; 72] {
    let mut out = [0; 72];
    (out[7], out[8], out[10], out[11]) = (1, 1, 3, 2);
    for i in 0..3 {
        out[12 + usize::from(i)] = (first.wrapping_add(i)) % 4;
    }
    // Without the large groups, which only take long.
    (out[42], out[43]) = (first >> 4 & 1, first >> 5 & 1);
    out
}

/// A reply of the right shape for some hash function and group.
fn reply(input: &mut Input<'_>) -> Vec<u8> {
    let shape = input.byte().unwrap_or(0);
    let hash: u8 = [32, 48, 64, 1][usize::from(shape % 4)];
    let value: u16 = if shape & 4 == 0 { 0 } else { 256 };
    let mut out = vec![0; 16];
    out[..2].copy_from_slice(&[1, 2]);
    out[6] = hash;
    out[8] = shape >> 3 & 1;
    out[10..12].copy_from_slice(&value.to_le_bytes());
    out[12] = shape >> 4 & 1;
    out.resize(16 + 2 * usize::from(hash) + usize::from(value), input.byte().unwrap_or(0));
    out
}
