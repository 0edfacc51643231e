//! Connect: every field wrong in turn, with the status and dword 0 that the host gets.

use nvme::{Action, Cid, Cntlid, Qid, Queue, QueueKind, Sgl, Status};
use zerocopy::IntoBytes;

use crate::pair::{Connect, IN_CAPSULE, Pair, SUBNQN, claim, export_of, keyed, ms, subsystem};

const DATA: u32 = 1 << 16;
const INVALID: Status = Status::CONNECT_INVALID_PARAMETERS.dnr();

fn pair() -> Pair {
    Pair::new(export_of(vec![subsystem()], 1))
}

#[test]
fn admin_connect_returns_the_controller_id() {
    let mut pair = pair();
    let reply = pair.connect(&Connect::admin(SUBNQN)).ok();
    assert_eq!(reply.dw0(), 42);
    assert_eq!(pair.admin.kind(), QueueKind::Admin);
    assert_eq!(pair.admin.cntlid(), Some(Cntlid(42)));
}

#[test]
fn admin_connect_with_one_field_wrong_is_refused_with_its_place() {
    type Spoil = fn(&mut Connect);
    let cases: [(&str, Spoil, Status, u32); 13] = [
        ("recfmt", |c| c.recfmt = 1, Status::CONNECT_INCOMPATIBLE_FORMAT.dnr(), 0),
        ("qid not the transport's", |c| c.qid = 1, INVALID, 42),
        ("sqsize 0", |c| c.sqsize = 0, INVALID, 44),
        ("sqsize above the transport's", |c| c.sqsize = 32, INVALID, 44),
        ("static controller", |c| c.cntlid = 0xfffe, INVALID, DATA | 16),
        ("one controller", |c| c.cntlid = 1, INVALID, DATA | 16),
        ("unknown subsystem", |c| c.subnqn.push(b'x'), INVALID, DATA | 256),
        ("empty subsystem", |c| c.subnqn.clear(), INVALID, DATA | 256),
        ("subsystem without end", |c| c.subnqn = vec![b'a'; 256], INVALID, DATA | 256),
        ("subsystem too long", |c| c.subnqn = vec![b'a'; 224], INVALID, DATA | 256),
        (
            "host not allowed",
            |c| c.hostnqn.push(b'x'),
            Status::CONNECT_INVALID_HOST.dnr(),
            DATA | 512,
        ),
        ("host without end", |c| c.hostnqn = vec![b'a'; 256], INVALID, DATA | 512),
        ("host not UTF-8", |c| c.hostnqn[4] = 0xff, INVALID, DATA | 512),
    ];
    for (what, spoil, status, dw0) in cases {
        let mut pair = pair();
        let mut connect = Connect::admin(SUBNQN);
        spoil(&mut connect);
        let reply = pair.connect(&connect);
        assert_eq!((reply.status(), reply.dw0()), (status, dw0), "{what}");
        assert_eq!(pair.admin.kind(), QueueKind::Fresh, "{what}");
        assert_eq!(pair.admin.in_flight(), 0, "{what}");
        // The connection is as good as new.
        pair.connect(&Connect::admin(SUBNQN)).ok();
    }
}

#[test]
fn subsystem_of_another_port_is_unknown() {
    let mut elsewhere = subsystem();
    elsewhere.ports = vec![nvme::PortId(2)];
    let mut pair = Pair::new(export_of(vec![elsewhere], 1));
    let reply = pair.connect(&Connect::admin(SUBNQN));
    assert_eq!((reply.status(), reply.dw0()), (INVALID, DATA | 256));
}

#[test]
fn subsystem_open_to_all_takes_a_host_it_never_heard_of() {
    let mut open = subsystem();
    open.allow_any_host = true;
    let mut pair = Pair::new(export_of(vec![open], 1));
    let mut connect = Connect::admin(SUBNQN);
    connect.hostnqn = b"nqn.2026-01.org.example:other".to_vec();
    pair.connect(&connect).ok();
}

#[test]
fn keep_alive_above_what_is_allowed_is_refused() {
    let mut strict = subsystem();
    strict.limits.keep_alive_ms_max = 10_000;
    let mut pair = Pair::new(export_of(vec![strict], 1));
    let mut connect = Connect::admin(SUBNQN);
    connect.kato_ms = 10_001;
    assert_eq!(pair.connect(&connect).status(), Status::KEEP_ALIVE_INVALID.dnr());
    connect.kato_ms = 10_000;
    pair.connect(&connect).ok();
}

#[test]
fn connect_data_of_another_length_or_in_the_capsule_is_refused_before_any_fetch() {
    let cases = [
        (keyed(1023), Status::DATA_SGL_LENGTH_INVALID),
        (keyed(1025), Status::DATA_SGL_LENGTH_INVALID),
        (keyed(0), Status::DATA_SGL_LENGTH_INVALID),
        // The admin queue has no in-capsule data, whatever came.
        (Sgl::InCapsule { offset: 0, len: 1024 }, Status::SGL_OFFSET_INVALID),
    ];
    for (sgl, status) in cases {
        let mut queue = Queue::new(claim(0, 32), IN_CAPSULE);
        let mut sqe = Connect::admin(SUBNQN).sqe(Cid(9));
        sqe.dptr = sgl.emit();
        match queue.handle_capsule(ms(0), sqe.as_bytes(), 1024) {
            Action::Respond(completion) => {
                assert_eq!(completion.cqe.status(), status.dnr(), "{sgl:?}");
            }
            other => panic!("unexpected {other:?}"),
        }
    }
}

#[test]
fn io_connect_data_may_be_in_the_capsule() {
    let mut queue = Queue::new(claim(1, 32), IN_CAPSULE);
    let mut sqe = Connect::io(Cntlid(1), 1).sqe(Cid(9));
    sqe.cdw11 = 31.into();
    sqe.dptr = Sgl::InCapsule { offset: 0, len: 1024 }.emit();
    match queue.handle_capsule(ms(0), sqe.as_bytes(), 1024) {
        Action::Fetch { permit, from, len } => {
            assert_eq!(from, nvme::HostData::InCapsule { offset: 0, len: 1024 });
            assert_eq!(len, 1024);
            permit.abandon();
        }
        other => panic!("unexpected {other:?}"),
    }
}

#[test]
fn commands_before_connect_and_while_it_is_answered_are_out_of_sequence() {
    let sequence = Status::COMMAND_SEQUENCE_ERROR.dnr();
    let mut queue = Queue::new(claim(0, 32), 0);
    let respond = |action: Action| match action {
        Action::Respond(completion) => completion.cqe.status(),
        other => panic!("unexpected {other:?}"),
    };
    let identify = nvme::Sqe::new(nvme::admin::opcode::IDENTIFY, Cid(1));
    assert_eq!(respond(queue.handle_capsule(ms(0), identify.as_bytes(), 0)), sequence);
    let mut property = nvme::Sqe::new(nvme::Sqe::FABRICS, Cid(2));
    property.nsid = u32::from(nvme::admin::fctype::PROPERTY_GET).into();
    assert_eq!(respond(queue.handle_capsule(ms(0), property.as_bytes(), 0)), sequence);

    let connect = Connect::admin(SUBNQN);
    let first = connect.sqe(Cid(3));
    let Action::Fetch { permit, .. } = queue.handle_capsule(ms(0), first.as_bytes(), 0) else {
        panic!("no fetch");
    };
    assert_eq!(queue.kind(), QueueKind::Connecting);
    let second = connect.sqe(Cid(4));
    assert_eq!(respond(queue.handle_capsule(ms(0), second.as_bytes(), 0)), sequence);
    assert_eq!(queue.kind(), QueueKind::Connecting, "the first one is still being answered");
    permit.abandon();
}

#[test]
fn second_connect_on_a_connected_queue_is_out_of_sequence() {
    let mut pair = Pair::live();
    let sequence = Status::COMMAND_SEQUENCE_ERROR.dnr();
    let sqe = Connect::admin(SUBNQN).sqe(Cid(0));
    assert_eq!(pair.admin(sqe).status(), sequence);
    assert_eq!(pair.io_status(&Connect::io(Cntlid(42), 1).sqe(Cid(77))), sequence);
}

#[test]
fn io_connect_with_one_field_wrong_is_refused_with_its_place() {
    type Spoil = fn(&mut Connect);
    let host = Status::CONNECT_INVALID_HOST.dnr();
    let cases: [(&str, Spoil, Status, u32); 9] = [
        ("recfmt", |c| c.recfmt = 1, Status::CONNECT_INCOMPATIBLE_FORMAT.dnr(), 0),
        ("qid not the transport's", |c| c.qid = 1, INVALID, 42),
        ("sqsize 0", |c| c.sqsize = 0, INVALID, 44),
        ("sqsize above the transport's", |c| c.sqsize = 200, INVALID, 44),
        ("sqsize above MQES", |c| c.sqsize = 128, INVALID, 44),
        ("another controller", |c| c.cntlid = 43, INVALID, DATA | 16),
        ("another subsystem", |c| c.subnqn.push(b'x'), INVALID, DATA | 16),
        ("another host", |c| c.hostnqn.push(b'x'), host, DATA | 512),
        ("another host identifier", |c| c.host_id[0] = 9, host, DATA | 512),
    ];
    for (what, spoil, status, dw0) in cases {
        let mut pair = Pair::live();
        let mut connect = Connect::io(Cntlid(42), 2);
        spoil(&mut connect);
        let reply = pair.try_connect_io(&connect, claim(2, 200));
        assert_eq!((reply.status(), reply.dw0()), (status, dw0), "{what}");
        pair.connect_io(2);
    }
}

#[test]
fn queue_id_in_use_is_busy_until_its_connection_is_gone() {
    let mut pair = Pair::live();
    let connect = Connect::io(Cntlid(42), 1);
    let reply = pair.try_connect_io(&connect, claim(1, 128));
    assert_eq!(reply.status(), Status::CONNECT_CONTROLLER_BUSY, "worth a retry");
    let now = pair.now;
    pair.controller().io_queue_gone(now, Qid(1));
    pair.try_connect_io(&connect, claim(1, 128)).ok();
}

#[test]
fn queue_id_above_what_was_granted_is_refused() {
    let mut pair = Pair::enabled();
    let reply = pair.try_connect_io(&Connect::io(Cntlid(42), 5), claim(5, 128));
    assert_eq!((reply.status(), reply.dw0()), (INVALID, 42), "4 is the limit");
    pair.set_feature(7, 0x0001_0001).ok();
    let reply = pair.try_connect_io(&Connect::io(Cntlid(42), 3), claim(3, 128));
    assert_eq!((reply.status(), reply.dw0()), (INVALID, 42), "2 were granted");
    pair.connect_io(2);
}

#[test]
fn io_connect_before_enable_is_out_of_sequence() {
    let mut pair = pair();
    pair.connect(&Connect::admin(SUBNQN)).ok();
    let reply = pair.try_connect_io(&Connect::io(Cntlid(42), 1), claim(1, 128));
    assert_eq!(reply.status(), Status::COMMAND_SEQUENCE_ERROR.dnr());
}

#[test]
fn discovery_controller_has_no_io_queues() {
    let mut pair = Pair::discovery(export_of(vec![subsystem()], 1));
    let mut connect = Connect::io(Cntlid(42), 1);
    connect.subnqn = nvme::DISCOVERY_NQN.as_bytes().to_vec();
    let reply = pair.try_connect_io(&connect, claim(1, 128));
    assert_eq!((reply.status(), reply.dw0()), (INVALID, 42));
}
