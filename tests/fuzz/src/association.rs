//! A controller and its queues, driven in any order.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use nvme::{
    Arrival, ConnectRequest, Controller, ControllerEvent, Export, HostNqn, Now, Permit, Qid, Queue,
    SubNqn, TransportClaim,
};

use crate::commands::{Around, Commands};
use crate::export::{self, HOST_ID, HOSTNQN, IN_CAPSULE_BYTES, PORT, SUBNQN};
use crate::limits;
use crate::records::Record;

/// Entries of the queues.
const ENTRIES: u16 = 32;
/// Commands that may wait in a controller: Asynchronous Event Requests.
const WAITING_MAX: usize = nvme::limits::ASYNC_EVENT_REQUESTS_MAX;

/// An association whose admin queue is connected.
pub(crate) struct Association {
    pub(crate) now: Now,
    pub(crate) export: Arc<Export>,
    pub(crate) admin: Queue,
    pub(crate) commands: Commands,
    pub(crate) controller: Controller,
    io: BTreeSet<u16>,
    closing: bool,
    ended: bool,
}

fn request(qid: u16, subnqn: &str) -> ConnectRequest {
    ConnectRequest {
        qid: Qid(qid),
        sqsize: ENTRIES - 1,
        flow_control_disabled: false,
        kato_ms: if qid == 0 { 5000 } else { 0 },
        host_id: HOST_ID,
        cntlid: if qid == 0 { 0xffff } else { 1 },
        subnqn: SubNqn::new(subnqn).expect("the constant is a name"),
        hostnqn: HostNqn::new(HOSTNQN).expect("the constant is a name"),
    }
}

/// A queue of which the Connect command waits for its data, and that command's permit.
fn connecting(qid: u16, subnqn: &str) -> (Queue, nvme::Action) {
    let claim = TransportClaim { qid: Qid(qid), entries: ENTRIES };
    let mut queue = Queue::new(claim, IN_CAPSULE_BYTES);
    let (sqe, data) = connect_command(&request(qid, subnqn));
    let action = queue.handle_capsule(Now::default(), &sqe, 0);
    let nvme::Action::Fetch { permit, .. } = action else { panic!("no Connect: {action:?}") };
    let action = queue.handle_fetched(Now::default(), permit, &data);
    (queue, action)
}

/// A Connect command's SQE and data.
pub(crate) fn connect_command(request: &ConnectRequest) -> ([u8; 64], Vec<u8>) {
    let mut sqe = [0; 64];
    (sqe[0], sqe[2], sqe[4]) = (nvme::Sqe::FABRICS, 1, nvme::admin::fctype::CONNECT);
    // A keyed SGL of 1024 bytes.
    (sqe[33], sqe[39]) = (4, 0x40);
    sqe[42..44].copy_from_slice(&request.qid.0.to_le_bytes());
    sqe[44..46].copy_from_slice(&request.sqsize.to_le_bytes());
    sqe[48..52].copy_from_slice(&request.kato_ms.to_le_bytes());
    let mut data = vec![0; 1024];
    data[..16].copy_from_slice(&request.host_id);
    data[16..18].copy_from_slice(&request.cntlid.to_le_bytes());
    data[256..512].copy_from_slice(&request.subnqn.emit());
    data[512..768].copy_from_slice(&request.hostnqn.emit());
    (sqe, data)
}

fn arrival() -> Arrival {
    Arrival { port: PORT, address: None }
}

impl Association {
    /// With the test subsystem, or with discovery.
    pub(crate) fn new(discovery: bool) -> Self {
        let export = export::export(1);
        let subnqn = if discovery { nvme::DISCOVERY_NQN } else { SUBNQN };
        let (mut admin, action) = connecting(0, subnqn);
        let nvme::Action::ConnectAdmin { permit, request } = action else {
            panic!("no Connect: {action:?}")
        };
        let now = Now(Duration::from_secs(1));
        let made = Controller::connect(now, &export, arrival(), &request, nvme::Cntlid(1));
        let controller = made.expect("the host may connect");
        let _ = admin.connect_admin(permit, &controller);
        Self {
            now,
            export,
            admin,
            commands: Commands::default(),
            controller,
            io: BTreeSet::new(),
            closing: false,
            ended: false,
        }
    }

    /// With a controller that is enabled.
    pub(crate) fn enabled() -> Self {
        let mut this = Self::new(false);
        let mut sqe = [0; 64];
        // Property Set of CC: enabled, all command sets, entries of 64 and 16 bytes.
        sqe[0] = nvme::Sqe::FABRICS;
        sqe[44] = 0x14;
        sqe[48..52].copy_from_slice(&0x0046_0061_u32.to_le_bytes());
        assert!(this.capsule(&Record { op: 0, came: 0, sqe: &sqe, data: &[] }));
        this.pump();
        assert_eq!(this.controller.csts(), 1, "ready");
        this
    }

    /// A connected I/O queue of an enabled controller.
    pub(crate) fn io_queue() -> (Self, Queue) {
        let mut this = Self::enabled();
        let (mut queue, action) = connecting(1, SUBNQN);
        let nvme::Action::ConnectIo { permit, request } = action else {
            panic!("no Connect: {action:?}")
        };
        let grant = this.controller.connect_io(this.now, &request).expect("queue 1 is free");
        let _ = queue.connect_io(permit, grant);
        (this, queue)
    }

    /// A connected I/O queue whose host has to authenticate itself.
    pub(crate) fn guarded_queue() -> (Self, Queue) {
        let mut this = Self::enabled();
        let (mut queue, action) = connecting(1, SUBNQN);
        let nvme::Action::ConnectIo { permit, request } = action else {
            panic!("no Connect: {action:?}")
        };
        let mut grant = this.controller.connect_io(this.now, &request).expect("queue 1 is free");
        grant.credentials = Some(Arc::new(export::credentials()));
        let _ = queue.connect_io(permit, grant);
        (this, queue)
    }

    /// One capsule on the admin queue.
    pub(crate) fn capsule(&mut self, record: &Record<'_>) -> bool {
        let controller = Some(&mut self.controller);
        let mut around = Around { now: self.now, export: &self.export, controller };
        self.commands.feed(&mut self.admin, &mut around, record)
    }

    /// A change around the controller, selected and sized by two numbers.
    pub(crate) fn state(&mut self, which: u8, amount: u16) {
        let qid = amount % 6;
        match which % 6 {
            0 => self.wait(u64::from(amount)),
            1 => {
                let granted = self.controller.connect_io(self.now, &request(qid, SUBNQN));
                if let Ok(grant) = granted {
                    assert!(grant.view.ready && !self.ended, "I/O of a controller not ready");
                    assert!(qid >= 1 && self.io.insert(qid), "queue {qid} was granted twice");
                }
            }
            2 => {
                self.io.remove(&qid);
                self.controller.io_queue_gone(self.now, Qid(qid));
            }
            3 => self.quiesce(),
            4 => {
                self.export = export::export(u64::from(amount));
                self.controller.export_changed(self.now, &self.export);
            }
            _ => {
                let empty = Export { subsystems: Vec::new(), ..(*self.export).clone() };
                self.export = Arc::new(empty);
                self.controller.export_changed(self.now, &self.export);
            }
        }
    }

    /// As a transport does when all I/O has ended, asked for or not.
    fn quiesce(&mut self) {
        for qid in std::mem::take(&mut self.io) {
            self.controller.io_queue_gone(self.now, Qid(qid));
        }
        self.controller.io_quiesced(self.now);
        self.closing = false;
    }

    fn wait(&mut self, ms: u64) {
        let then = Now(self.now.0 + Duration::from_millis(ms));
        for _ in 0..limits::EVENTS_MAX {
            match self.controller.poll_timeout() {
                Some(due) if due <= then => {
                    self.now = self.now.max(due);
                    self.controller.handle_timeout(self.now);
                    self.pump();
                }
                Some(_) | None => {
                    self.now = then;
                    return;
                }
            }
        }
        panic!("timers without end");
    }

    /// Does what the controller asks for.
    pub(crate) fn pump(&mut self) {
        for _ in 0..limits::EVENTS_MAX {
            match self.controller.poll_event() {
                None => return self.judge(),
                Some(ControllerEvent::ViewsChanged) => {
                    assert!(self.controller.view().is_some(), "only I/O controllers have views");
                }
                Some(ControllerEvent::Answer { permit, outcome }) => {
                    self.commands.complete(&mut self.admin, permit, outcome);
                }
                Some(ControllerEvent::End { .. }) => {
                    assert!(!self.ended, "it ends once");
                    self.ended = true;
                    assert_ne!(self.controller.csts() & 2, 0, "failed, and says so");
                }
                Some(ControllerEvent::CloseIoQueues { .. }) => self.closing = true,
            }
        }
        panic!("events without end");
    }

    fn judge(&self) {
        let known: BTreeSet<u16> = self.controller.io_queues().map(|qid| qid.0).collect();
        assert_eq!(known, self.io, "queues that the controller counts");
        let waits = self.closing && !self.ended;
        assert!(!waits || self.controller.poll_timeout().is_some(), "every wait has an end");
        if self.ended {
            assert_eq!(self.controller.poll_timeout(), None);
        }
    }

    /// The connection is gone.
    pub(crate) fn end(mut self) {
        self.commands.release_all(&mut self.admin);
        assert!(self.commands.len() <= WAITING_MAX, "only event requests wait");
        self.controller.admin_queue_gone(self.now);
        assert!(self.controller.poll_timeout().is_none());
        assert_eq!(Permit::dropped(), 0);
    }
}
