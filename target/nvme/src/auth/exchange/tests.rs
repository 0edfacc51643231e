//! A host that does exactly what a test says, against one exchange.

use super::*;
use crate::auth::group::Exponent;
use crate::auth::hash::Digest;
use crate::auth::{Key, Policy};
use crate::ident::{HostNqn, SubNqn};

const HOST: &str = "nqn.2026-01.org.example:host";
const SUBSYSTEM: &str = "nqn.2026-01.org.example:disks";
const NOW: Now = Now(core::time::Duration::from_secs(1000));

fn key(byte: u8, transform: Option<Hash>) -> Key {
    let fill = |bytes: &mut [u8]| {
        bytes.fill(byte);
        true
    };
    Key::generate(transform, fill).unwrap()
}

fn policy(hash: Hash, group: Group) -> Policy {
    Policy { hashes: vec![hash], groups: vec![group] }
}

fn target(policy: Policy, controller_key: Option<&Key>) -> Exchange {
    let (host, subsystem) = (HostNqn::new(HOST).unwrap(), SubNqn::new(SUBSYSTEM).unwrap());
    let host_key = key(1, Some(Hash::Sha256));
    let credentials = Credentials::new(host, subsystem, &host_key, controller_key, policy);
    Exchange::new(Arc::new(credentials), NOW)
}

/// Different bytes at each call: chance that a test can repeat.
fn chance() -> impl FnMut(&mut [u8]) -> bool {
    let mut next = 10u8;
    move |bytes| {
        for byte in bytes {
            next = next.wrapping_mul(5).wrapping_add(3);
            *byte = next;
        }
        true
    }
}

impl Exchange {
    /// A message, with what it makes us compute.
    fn send(&mut self, bytes: &[u8]) {
        if let Some(work) = self.handle_message(NOW, bytes) {
            self.handle_computed(NOW, work.run(chance()));
        }
    }

    fn next(&mut self) -> Option<Vec<u8>> {
        let len = self.receive(NOW, 4096).ok()?;
        let mut out = vec![0; len as usize];
        self.fill(&mut out);
        Some(out)
    }

    /// The code of a failure that is fetched now.
    fn failure(&mut self) -> Option<u8> {
        let message = self.next()?;
        (message[..2] == [0, 0xf1] && message[6] == 1).then(|| message[7])
    }
}

/// A host.
struct Host {
    key: Key,
    controller_key: Option<Key>,
    transaction: u16,
    exponent: u8,
    /// C2.
    challenge: u8,
    sequence: u32,
    session: Option<Digest>,
}

impl Host {
    fn new() -> Self {
        Self {
            key: key(1, Some(Hash::Sha256)),
            controller_key: Some(key(2, None)),
            transaction: 0x1234,
            exponent: 77,
            challenge: 0xcc,
            sequence: 9,
            session: None,
        }
    }

    fn negotiate(&self) -> Vec<u8> {
        let mut out = vec![0; 72];
        out[4..6].copy_from_slice(&self.transaction.to_le_bytes());
        out[7] = 1;
        out[8] = 1;
        out[10..12].copy_from_slice(&[3, 6]);
        out[12..15].copy_from_slice(&[1, 2, 3]);
        out[42..48].copy_from_slice(&[0, 1, 2, 3, 4, 5]);
        out
    }

    fn response(
        &self,
        (key, name): (&Key, &str),
        hash: Hash,
        (challenge, sequence): (&[u8], u32),
        text: &str,
    ) -> Vec<u8> {
        let mut said = match &self.session {
            Some(session) => hash.hmac(session.as_slice(), &[challenge]).as_slice().to_vec(),
            None => challenge.to_vec(),
        };
        said.extend_from_slice(&sequence.to_le_bytes());
        said.extend_from_slice(&self.transaction.to_le_bytes());
        said.push(0);
        said.extend_from_slice(text.as_bytes());
        let key = key.transformed(name);
        hash.hmac(key.as_slice(), &[&said]).as_slice().to_vec()
    }

    /// The answer to a challenge.
    fn reply(&mut self, challenge: &[u8]) -> Vec<u8> {
        assert_eq!(challenge[..2], [1, 1]);
        let hash = Hash::from_id(challenge[8]).unwrap();
        let group = Group::ALL[usize::from(challenge[9])];
        let len = hash.len_bytes();
        assert_eq!(usize::from(challenge[6]), len);
        assert_eq!(challenge.len(), 16 + len + group.len_bytes());
        let (c1, theirs) = challenge[16..].split_at(len);
        let exponent = Exponent::new(&mut vec![self.exponent; group.exponent_bytes()]);
        let value = group.public(&exponent);
        let shared = group.shared(&exponent, theirs).unwrap();
        self.session = (group != Group::Null).then(|| hash.digest(&shared));
        let s1 = u32::from_le_bytes(challenge[12..16].try_into().unwrap());
        let text = format!("HostHost{HOST}\0{SUBSYSTEM}");
        let response = self.response((&self.key, HOST), hash, (c1, s1), &text);
        let mut out = vec![0; 16];
        out[..2].copy_from_slice(&[1, 2]);
        out[4..6].copy_from_slice(&self.transaction.to_le_bytes());
        out[6] = challenge[6];
        out[8] = u8::from(self.controller_key.is_some());
        out[10..12].copy_from_slice(&challenge[10..12]);
        let sequence = if self.controller_key.is_some() { self.sequence } else { 0 };
        out[12..16].copy_from_slice(&sequence.to_le_bytes());
        out.extend_from_slice(&response);
        out.extend_from_slice(&vec![self.challenge; len]);
        out.extend_from_slice(&value);
        out
    }

    /// Whether the controller showed in its Success1 who it is.
    fn believes(&self, success: &[u8]) -> bool {
        assert_eq!(success[..2], [1, 3]);
        let Some(key) = &self.controller_key else { return false };
        let len = usize::from(success[6]);
        let hash = Hash::ALL.into_iter().find(|hash| hash.len_bytes() == len).unwrap();
        let text = format!("Controller{SUBSYSTEM}\0{HOST}");
        let challenge = vec![self.challenge; len];
        let wanted = self.response((key, SUBSYSTEM), hash, (&challenge, self.sequence), &text);
        success[8] == 1 && success[16..] == wanted
    }

    fn short(&self, kind: u8, id: u8) -> Vec<u8> {
        let mut out = vec![0; 16];
        out[..2].copy_from_slice(&[kind, id]);
        out[4..6].copy_from_slice(&self.transaction.to_le_bytes());
        out
    }

    fn success2(&self) -> Vec<u8> {
        self.short(1, 4)
    }

    fn failure2(&self) -> Vec<u8> {
        self.short(0, 0xf0)
    }
}

/// Goes through a whole exchange.
fn run(target: &mut Exchange, host: &mut Host) -> Option<Event> {
    target.send(&host.negotiate());
    let challenge = target.next()?;
    target.send(&host.reply(&challenge));
    let success = target.next()?;
    if host.controller_key.is_some() && success[..2] == [1, 3] {
        assert!(host.believes(&success), "the controller's response");
        assert!(!target.is_authenticated(), "before the host has accepted it");
        target.send(&host.success2());
    }
    target.poll_event()
}

#[test]
fn every_hash_with_every_group_authenticates_both_sides() {
    let controller_key = key(2, None);
    for hash in Hash::ALL {
        for group in Group::ALL {
            let mut target = target(policy(hash, group), Some(&controller_key));
            let event = run(&mut target, &mut Host::new());
            let wanted = Event::Authenticated { hash, group, mutual: true, again: false };
            assert_eq!(event, Some(wanted));
            assert!(target.is_authenticated() && target.deadline().is_none());
        }
    }
}

#[test]
fn host_that_asks_nothing_is_authenticated_when_it_has_fetched_the_success() {
    let mut target = target(policy(Hash::Sha384, Group::Null), None);
    let mut host = Host { controller_key: None, ..Host::new() };
    let event = run(&mut target, &mut host);
    assert!(matches!(event, Some(Event::Authenticated { mutual: false, .. })), "{event:?}");
    assert!(target.is_authenticated());
    // A queue in use is authenticated again, and keeps its right meanwhile.
    target.send(&host.negotiate());
    assert!(target.is_authenticated() && target.deadline().is_some());
    let challenge = target.next().unwrap();
    target.send(&host.reply(&challenge));
    target.next().unwrap();
    let event = target.poll_event();
    assert!(matches!(event, Some(Event::Authenticated { again: true, .. })), "{event:?}");
}

#[test]
fn policy_decides_among_what_the_host_offers() {
    let all = Policy::default();
    let mut target = target(all, None);
    let mut host = Host { controller_key: None, ..Host::new() };
    let wanted = Event::Authenticated {
        hash: Hash::Sha512,
        group: Group::Ffdhe2048,
        mutual: false,
        again: false,
    };
    assert_eq!(run(&mut target, &mut host), Some(wanted));
}

/// Sends what `spoil` makes of the right reply; what our log and the host learn of it.
fn spoilt(group: Group, spoil: impl FnOnce(&mut Vec<u8>, &[u8])) -> (Check, u8) {
    let mut target = target(policy(Hash::Sha256, group), None);
    let mut host = Host { controller_key: None, ..Host::new() };
    target.send(&host.negotiate());
    let challenge = target.next().unwrap();
    let mut reply = host.reply(&challenge);
    spoil(&mut reply, &challenge);
    target.send(&reply);
    assert!(!target.is_authenticated());
    let Some(Event::Failed(check)) = target.poll_event() else { panic!("no failure") };
    let code = target.failure().expect("a failure to fetch");
    assert_eq!(code, check.code());
    assert!(!target.takes_messages() && target.next().is_none(), "one try a connection");
    (check, code)
}

#[test]
fn replies_that_are_not_right_fail_with_the_standards_code() {
    use Group::{Ffdhe2048, Null};
    let flip = |at: usize| move |reply: &mut Vec<u8>, _: &[u8]| reply[at] ^= 1;
    // The first and the last byte of the response, and the host's value.
    assert_eq!(spoilt(Null, flip(16)), (Check::Response, 1));
    assert_eq!(spoilt(Null, flip(47)), (Check::Response, 1));
    assert_eq!(spoilt(Ffdhe2048, flip(16 + 64 + 255)), (Check::Response, 1));
    assert_eq!(spoilt(Null, flip(4)), (Check::Transaction, 6));
    assert_eq!(spoilt(Null, flip(6)), (Check::Length, 6));
    assert_eq!(spoilt(Null, |reply, _| reply.push(0)), (Check::Length, 6));
    assert_eq!(spoilt(Null, |reply, _| reply.truncate(15)), (Check::Length, 6));
    assert_eq!(spoilt(Null, |reply, _| reply.clear()), (Check::Length, 6));
    assert_eq!(spoilt(Null, |reply, _| reply[1] = 9), (Check::WrongMessage, 7));
    let shorter = |reply: &mut Vec<u8>, _: &[u8]| {
        reply[6] = 31;
        reply.truncate(16 + 62);
    };
    assert_eq!(spoilt(Null, shorter), (Check::HashLength, 6));
    let no_value = |reply: &mut Vec<u8>, _: &[u8]| {
        reply[10..12].fill(0);
        reply.truncate(16 + 64);
    };
    assert_eq!(spoilt(Ffdhe2048, no_value), (Check::ValueLength, 6));
    let zero = |reply: &mut Vec<u8>, _: &[u8]| reply[16 + 64..].fill(0);
    assert_eq!(spoilt(Ffdhe2048, zero), (Check::ValueRange, 6));
    let ask = |reply: &mut Vec<u8>, _: &[u8]| {
        reply[8] = 1;
        reply[12] = 1;
    };
    assert_eq!(spoilt(Null, ask), (Check::NoControllerKey, 1));
    let reflect = |reply: &mut Vec<u8>, challenge: &[u8]| {
        ask(reply, &[]);
        reply[48..80].copy_from_slice(&challenge[16..48]);
    };
    assert_eq!(spoilt(Null, reflect), (Check::Reflected, 1));
}

#[test]
fn other_keys_and_names_are_refused() {
    for other in [key(3, Some(Hash::Sha256)), key(1, None)] {
        let mut target = target(policy(Hash::Sha256, Group::Ffdhe2048), None);
        let mut host = Host { key: other, controller_key: None, ..Host::new() };
        assert_eq!(run(&mut target, &mut host), Some(Event::Failed(Check::Response)));
        assert!(!target.is_authenticated());
    }
}

#[test]
fn reply_to_an_earlier_challenge_is_refused() {
    let mut target = target(policy(Hash::Sha256, Group::Null), None);
    let mut host = Host { controller_key: None, ..Host::new() };
    target.send(&host.negotiate());
    let challenge = target.next().unwrap();
    let reply = host.reply(&challenge);
    target.send(&reply);
    target.next().unwrap();
    assert!(target.is_authenticated());
    let work = target.handle_message(NOW, &host.negotiate()).unwrap();
    let mut other = chance();
    other(&mut [0; 7]);
    target.handle_computed(NOW, work.run(other));
    target.next().unwrap();
    target.send(&reply);
    assert_eq!(target.failure(), Some(1));
    assert!(!target.is_authenticated(), "a failure takes the right away from a queue in use");
}

#[test]
fn negotiations_without_common_ground_say_which() {
    let fails = |spoil: &dyn Fn(&mut Vec<u8>)| {
        let mut target = target(policy(Hash::Sha512, Group::Ffdhe8192), None);
        let mut negotiate = Host::new().negotiate();
        spoil(&mut negotiate);
        target.send(&negotiate);
        target.failure()
    };
    assert_eq!(fails(&|_| {}), None);
    assert_eq!(fails(&|message| message[8] = 2), Some(2));
    assert_eq!(fails(&|message| message[6] = 1), Some(3));
    assert_eq!(fails(&|message| message[10] = 2), Some(4));
    assert_eq!(fails(&|message| message[11] = 5), Some(5));
    assert_eq!(fails(&|message| message[10] = 31), Some(6));
    assert_eq!(fails(&|message| message[11] = 31), Some(6));
    assert_eq!(fails(&|message| message[7] = 0), Some(6));
    assert_eq!(fails(&|message| message[7] = 2), Some(6));
    assert_eq!(fails(&|message| message.truncate(71)), Some(6));
    // A second descriptor, of another protocol, before ours.
    let two = |message: &mut Vec<u8>| {
        message[7] = 2;
        let ours = message.split_off(8);
        message.extend_from_slice(&[9; 64]);
        message.extend_from_slice(&ours);
    };
    assert_eq!(fails(&two), None);
}

/// An exchange in each state that a host can bring it to, with the host.
fn in_state(name: &str) -> (Exchange, Host, Vec<u8>) {
    let controller_key = key(2, None);
    let mut target = target(policy(Hash::Sha256, Group::Null), Some(&controller_key));
    let mut host = Host::new();
    let mut reply = host.short(1, 2);
    if name == "Idle" {
        return (target, host, reply);
    }
    if name == "Beginning" {
        let work = target.handle_message(NOW, &host.negotiate());
        assert!(work.is_some());
        return (target, host, reply);
    }
    target.send(&host.negotiate());
    if name == "Challenge" {
        return (target, host, reply);
    }
    reply = host.reply(&target.next().unwrap());
    match name {
        "Reply" => {}
        "Agreeing" => assert!(target.handle_message(NOW, &reply).is_some()),
        "Success1" => target.send(&reply),
        "Success2" => {
            target.send(&reply);
            target.next().unwrap();
        }
        "Failure1" => target.send(&[]),
        "Failed" => target.send(&host.failure2()),
        other => panic!("{other}"),
    }
    (target, host, reply)
}

/// What the exchange comes to after a message or a Receive.
fn outcome(mut target: Exchange, message: Option<&[u8]>) -> &'static str {
    match message {
        Some(_) if !target.takes_messages() => return "refused",
        Some(message) => target.send(message),
        None => {
            if target.next().is_none() {
                return "refused";
            }
        }
    }
    match &target.state {
        State::Idle if target.is_authenticated() => "authenticated",
        State::Idle => "Idle",
        State::Beginning(_) => "Beginning",
        State::Challenge(..) => "Challenge",
        State::Reply(..) => "Reply",
        State::Agreeing(..) => "Agreeing",
        State::Success1 { .. } => "Success1",
        State::Success2(_) => "Success2",
        State::Failure1 { .. } => "Failure1",
        State::Failed => "Failed",
    }
}

#[test]
fn every_message_in_every_state_leads_where_the_table_says() {
    // Negotiate, Reply, Success2, Failure2, Receive.
    let table = [
        ("Idle", ["Challenge", "Failure1", "Failure1", "Failure1", "refused"]),
        ("Beginning", ["refused"; 5]),
        ("Challenge", ["Failure1", "Failure1", "Failure1", "Failed", "Reply"]),
        ("Reply", ["Failure1", "Success1", "Failure1", "Failed", "refused"]),
        ("Agreeing", ["refused"; 5]),
        ("Success1", ["Failure1", "Failure1", "Failure1", "Failed", "Success2"]),
        ("Success2", ["Failure1", "Failure1", "authenticated", "Failed", "refused"]),
        ("Failure1", ["refused", "refused", "refused", "refused", "Failed"]),
        ("Failed", ["refused"; 5]),
    ];
    for (state, wanted) in table {
        for (column, wanted) in wanted.into_iter().enumerate() {
            let (target, host, reply) = in_state(state);
            let message = match column {
                0 => Some(host.negotiate()),
                1 => Some(reply),
                2 => Some(host.success2()),
                3 => Some(host.failure2()),
                _ => None,
            };
            let came = outcome(target, message.as_deref());
            assert_eq!(came, wanted, "column {column} in state {state}");
        }
    }
}

#[test]
fn time_ends_an_exchange_that_does_not_come_to_an_end() {
    let mut target = target(Policy::default(), None);
    assert_eq!(target.deadline(), Some(NOW.after_ms(AUTH_TIMEOUT_MS)));
    target.expire();
    assert_eq!(target.poll_event(), Some(Event::Failed(Check::TimedOut)));
    assert!(!target.takes_messages() && target.deadline().is_none());
    // After a failure there is only time to fetch it, and it is told once.
    let (mut target, _, _) = in_state("Failure1");
    assert_eq!(target.deadline(), Some(NOW.after_ms(AUTH_FAILED_LINGER_MS)));
    assert!(target.poll_event().is_some());
    target.expire();
    assert_eq!(target.poll_event(), None);
}

#[test]
fn room_that_is_too_small_changes_nothing() {
    let (mut target, _, _) = in_state("Challenge");
    assert_eq!(target.receive(NOW, 47), Err(Some(())));
    assert_eq!(target.receive(NOW, 48), Ok(48));
}

#[test]
fn computation_that_fails_fails_the_exchange() {
    let mut target = target(policy(Hash::Sha256, Group::Null), None);
    let work = target.handle_message(NOW, &Host::new().negotiate()).unwrap();
    target.handle_computed(NOW, work.run(|_| false));
    assert_eq!(target.poll_event(), Some(Event::Failed(Check::NotComputed)));
    assert_eq!(target.failure(), Some(1));
}

#[test]
fn debug_form_of_an_exchange_shows_no_secret() {
    for state in ["Challenge", "Reply", "Agreeing", "Success1", "Success2"] {
        let (target, _, _) = in_state(state);
        let shown = format!("{target:?}");
        assert!(!shown.contains("1, 1, 1, 1"), "the key: {shown}");
        // The message that was sent is no secret; digests and exponents are.
        assert!(shown.len() < 2000, "{shown}");
    }
}
