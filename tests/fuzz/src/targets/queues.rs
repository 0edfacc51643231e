//! Capsules, in every phase of a queue and a controller.

use nvme::{Now, Permit, Qid, Queue, QueueKind, TransportClaim};

use crate::association::Association;
use crate::commands::{Around, Commands};
use crate::export::{self, IN_CAPSULE_BYTES};
use crate::input::Input;
use crate::limits;
use crate::records::{Record, op};

/// A queue before Connect, and while Connect is answered. The settings are its id.
pub(crate) fn queue_connect(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let qid = u16::from(input.byte().unwrap_or(0) % 4);
    let export = export::export(1);
    let claim = TransportClaim { qid: Qid(qid), entries: 4 };
    let mut queue = Queue::new(claim, IN_CAPSULE_BYTES);
    let mut commands = Commands::default();
    let mut around = Around { now: Now::default(), export: &export, controller: None };
    for _ in 0..limits::RECORDS_MAX {
        let Some(record) = Record::read(&mut input) else { break };
        if !commands.feed(&mut queue, &mut around, &record) {
            break;
        }
        assert!(matches!(queue.kind(), QueueKind::Fresh | QueueKind::Connecting));
        assert_eq!(queue.cntlid(), None);
    }
    commands.release_all(&mut queue);
    assert_eq!((commands.len(), queue.in_flight()), (0, 0));
    assert_eq!(queue.kind(), QueueKind::Fresh, "a Connect that was not granted leaves no trace");
    assert_eq!(Permit::dropped(), 0);
}

/// A connected I/O queue. The settings say whether the write cache is on.
pub(crate) fn queue_io(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let settings = input.byte().unwrap_or(0);
    let (mut association, mut queue) = Association::io_queue();
    let mut view = association.controller.view().expect("it is an I/O controller");
    view.write_cache = settings & 1 == 0;
    queue.update(view.clone());
    let mut commands = Commands::default();
    for _ in 0..limits::RECORDS_MAX {
        let Some(record) = Record::read(&mut input) else { break };
        if record.op & op::STATE != 0 {
            let which = record.sqe.first().copied().unwrap_or(0);
            view.ready = which & 1 == 0;
            view.subsystem = export::subsystem(u64::from(record.came)).into();
            queue.update(view.clone());
            continue;
        }
        let mut around =
            Around { now: association.now, export: &association.export, controller: None };
        if !commands.feed(&mut queue, &mut around, &record) {
            break;
        }
        assert_eq!(queue.kind(), QueueKind::Io);
    }
    commands.release_all(&mut queue);
    assert_eq!((commands.len(), queue.in_flight()), (0, 0));
    association.controller.io_queue_gone(association.now, Qid(1));
    association.end();
}

/// A connected admin queue with its controller. The settings choose discovery, and whether it is
/// enabled already.
pub(crate) fn controller(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let settings = input.byte().unwrap_or(0);
    let mut association = if settings & 2 == 0 {
        Association::enabled()
    } else {
        Association::new(settings & 1 != 0)
    };
    for _ in 0..limits::RECORDS_MAX {
        let Some(record) = Record::read(&mut input) else { break };
        if record.op & op::STATE != 0 {
            association.state(record.sqe.first().copied().unwrap_or(0), record.came);
        } else if !association.capsule(&record) {
            break;
        }
        association.pump();
    }
    association.end();
}
