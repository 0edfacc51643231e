//! What a transport does for one queue, and what must hold of everything that the queue asks for.

use std::collections::BTreeMap;

use nvme::{
    Action, Cid, CompareAndWrite, Completion, Controller, DiskOp, Export, Extent, HostData, Now,
    Outcome, Permit, Qid, Queue, QueueKind, Sgl, Sqe, Status, Subsystem,
};

use crate::export::IN_CAPSULE_BYTES;
use crate::limits;
use crate::records::{Record, op};

/// The commands of one queue that are not answered yet, as their host knows them.
#[derive(Default)]
pub(crate) struct Commands {
    outstanding: BTreeMap<Cid, Sqe>,
    held: Vec<Permit>,
}

/// What is around the queue.
pub(crate) struct Around<'a> {
    pub(crate) now: Now,
    pub(crate) export: &'a Export,
    pub(crate) controller: Option<&'a mut Controller>,
}

impl Commands {
    /// Gives one capsule to the queue and does what it asks for; `false` when the connection is to
    /// end.
    pub(crate) fn feed(
        &mut self,
        queue: &mut Queue,
        around: &mut Around<'_>,
        record: &Record<'_>,
    ) -> bool {
        if record.op & op::RELEASE != 0 {
            self.release(queue, record.op);
        }
        let full = self.outstanding.len() >= usize::from(queue.entries());
        let action = queue.handle_capsule(around.now, record.sqe, u32::from(record.came));
        let Some(sqe) = Sqe::parse(record.sqe) else {
            assert!(matches!(action, Action::Disconnect { .. }), "a short capsule: {action:?}");
            return false;
        };
        if full {
            assert!(matches!(action, Action::Disconnect { .. }), "an overrun: {action:?}");
            return false;
        }
        if self.outstanding.contains_key(&sqe.cid()) {
            let Action::Respond(completion) = action else { panic!("twice the same: {action:?}") };
            assert_eq!(completion.cqe.cid(), sqe.cid());
            assert_eq!(completion.cqe.status(), Status::COMMAND_ID_CONFLICT.dnr());
            return true;
        }
        self.outstanding.insert(sqe.cid(), sqe);
        self.obey(queue, around, record, &sqe, action);
        assert_eq!(usize::from(queue.in_flight()), self.outstanding.len());
        true
    }

    fn obey(
        &mut self,
        queue: &mut Queue,
        around: &mut Around<'_>,
        record: &Record<'_>,
        sqe: &Sqe,
        first: Action,
    ) {
        let came = if queue.qid() == Qid::ADMIN { 0 } else { u32::from(record.came) };
        let came = came.min(IN_CAPSULE_BYTES);
        let mut action = first;
        let mut fetched: &[u8] = &[];
        // Fetch, then what follows, then its answer.
        for _ in 0..3 {
            action = match action {
                Action::None => {
                    assert!(queue.kind() == QueueKind::Admin, "only a controller lets one wait");
                    return;
                }
                Action::Respond(completion) | Action::Finish(completion) => {
                    return self.answered(queue, &completion);
                }
                // A Compare that waits for its Write: it is answered with what comes next.
                Action::Hold => return,
                Action::Both(both) => {
                    let [one, two] = *both;
                    let Action::Respond(completion) = one else { panic!("{one:?} comes first") };
                    self.answered(queue, &completion);
                    two
                }
                Action::Execute { permit, op: DiskOp::CompareAndWrite(op) } => {
                    judge_fused(queue, &op, sqe);
                    self.finish(queue, op.first, 0);
                    return self.finish(queue, permit, record.op);
                }
                Action::Disconnect { cause } => panic!("{cause} is not what this host did"),
                Action::Fetch { permit, from, len } => {
                    assert!((1..=4096).contains(&len), "{len} bytes to fetch");
                    judge_source(from, came, sqe);
                    assert!(len <= source_len(from), "more than the host has");
                    if record.op & op::FAIL != 0 {
                        return self.finish(queue, permit, record.op);
                    }
                    fetched = &record.data[..record.data.len().min(to_usize(len))];
                    queue.handle_fetched(around.now, permit, fetched)
                }
                Action::Execute { permit, op: work } => {
                    judge_work(queue, around.export, &work, sqe, came, fetched);
                    return self.finish(queue, permit, record.op);
                }
                Action::Return { permit, to, len, source } => {
                    // A log page may be shorter than what the host has room for.
                    assert!(len <= limits::MDTS_BYTES.min(to.len), "{len} bytes to {to:?}");
                    assert_eq!(sqe.sgl(), Ok(Sgl::Keyed(to)), "only where the host said");
                    let controller = around.controller.as_ref().expect("it asked for this");
                    judge_fill(controller, source, len);
                    return self.finish(queue, permit, record.op);
                }
                Action::Compute { work, .. } => panic!("{work:?} without credentials"),
                Action::Admin { permit, command } => match &mut around.controller {
                    Some(controller) => controller.handle_admin(around.now, queue, permit, command),
                    None => panic!("{command:?} without a controller"),
                },
                Action::ConnectAdmin { permit, request }
                | Action::ConnectIo { permit, request } => {
                    assert_eq!(request.qid, queue.qid());
                    assert!(request.sqsize >= 1 && request.sqsize < queue.entries());
                    let refused = nvme::ConnectError::unknown_controller();
                    Action::Respond(queue.refuse_connect(permit, refused))
                }
            };
        }
        panic!("actions without end");
    }

    /// Ends a command in one of the ways that a transport has.
    fn finish(&mut self, queue: &mut Queue, permit: Permit, how: u8) {
        if how & op::HOLD != 0 {
            self.held.push(permit);
            return;
        }
        if how & op::ABANDON != 0 {
            self.outstanding.remove(&permit.cid()).expect("a permit is of an outstanding command");
            queue.abandon(permit);
            return;
        }
        let failed = Outcome::failed(Status::DATA_TRANSFER_ERROR);
        let outcome = if how & op::FAIL != 0 { failed } else { Outcome::SUCCESS };
        self.complete(queue, permit, outcome);
    }

    /// Answers a command.
    pub(crate) fn complete(&mut self, queue: &mut Queue, permit: Permit, outcome: Outcome) {
        let cid = permit.cid();
        let completion = queue.complete(permit, outcome);
        assert_eq!(completion.cqe.cid(), cid);
        assert_eq!(completion.cqe.status(), outcome.status);
        self.answered(queue, &completion);
    }

    fn answered(&mut self, queue: &Queue, completion: &Completion) {
        let cqe = completion.cqe;
        let sqe = self.outstanding.remove(&cqe.cid()).expect("an answer to no command");
        assert!(cqe.sqid.get() == 0 && cqe.status.get() & 1 == 0, "reserved bits are clear");
        assert!(cqe.sqhd.get() < queue.entries() || cqe.sqhd.get() == u16::MAX);
        if let Some(rkey) = completion.invalidate {
            let asked = sqe.sgl().ok().and_then(|sgl| sgl.invalidate());
            assert_eq!(asked, Some(rkey), "a key that the host did not give up");
        }
    }

    /// Finishes the oldest command that was held.
    fn release(&mut self, queue: &mut Queue, how: u8) {
        if !self.held.is_empty() {
            let permit = self.held.remove(0);
            self.finish(queue, permit, how & !op::HOLD);
        }
    }

    /// Finishes all that were held.
    pub(crate) fn release_all(&mut self, queue: &mut Queue) {
        while !self.held.is_empty() {
            self.release(queue, 0);
        }
    }

    /// Commands not answered.
    pub(crate) fn len(&self) -> usize {
        self.outstanding.len()
    }
}

fn to_usize(len: u32) -> usize {
    usize::try_from(len).expect("a usize holds a u32 here")
}

fn source_len(from: HostData) -> u32 {
    match from {
        HostData::InCapsule { len, .. } => len,
        HostData::Host(sgl) => sgl.len,
    }
}

/// In-capsule data within what came, other data where the SGL says.
fn judge_source(from: HostData, came: u32, sqe: &Sqe) {
    match from {
        HostData::InCapsule { offset, len } => {
            let end = offset.checked_add(len).expect("the range wraps");
            assert!(end <= came, "bytes {offset} to {end} of {came} that came");
        }
        HostData::Host(sgl) => assert_eq!(sqe.sgl(), Ok(Sgl::Keyed(sgl))),
    }
}

/// The work is for a namespace that the command names, inside of it, and allowed there.
fn judge_work(queue: &Queue, export: &Export, work: &DiskOp, sqe: &Sqe, came: u32, fetched: &[u8]) {
    let view = queue.view().expect("work is of I/O queues");
    assert!(view.ready, "work while the controller is not ready");
    let named = view.subsystem.namespace(sqe.nsid());
    let (disk, extents, writes): (_, Vec<Extent>, bool) = match work {
        DiskOp::FlushAll { subsystem } => {
            assert!(export.subsystem(&subsystem.nqn).is_some());
            return;
        }
        DiskOp::Flush { disk } => (*disk, Vec::new(), false),
        DiskOp::Read { disk, extent, to } => {
            assert_eq!(u64::from(to.len), extent.len_bytes);
            assert_eq!(sqe.sgl(), Ok(Sgl::Keyed(*to)));
            (*disk, vec![data_of(*extent, &view.subsystem)], false)
        }
        DiskOp::Write { disk, extent, from, .. } => {
            judge_source(*from, came, sqe);
            assert_eq!(u64::from(source_len(*from)), extent.len_bytes);
            (*disk, vec![data_of(*extent, &view.subsystem)], true)
        }
        DiskOp::Compare { disk, extent, from } => {
            judge_source(*from, came, sqe);
            assert_eq!(u64::from(source_len(*from)), extent.len_bytes);
            (*disk, vec![data_of(*extent, &view.subsystem)], false)
        }
        DiskOp::CompareAndWrite(_) => panic!("it was judged before"),
        DiskOp::Verify { disk, extent } => (*disk, vec![data_of(*extent, &view.subsystem)], false),
        DiskOp::Copy { disk, from_bytes, to, .. } => {
            let end = from_bytes.checked_add(to.len_bytes).expect("the source wraps");
            let namespace = named.expect("a copy where there is no namespace");
            assert!(end <= namespace.lba_count << namespace.lba_shift);
            (*disk, vec![data_of(*to, &view.subsystem)], true)
        }
        DiskOp::WriteZeroes { disk, extent, .. } => {
            assert!((1..=65536).contains(&extent.blocks));
            (*disk, vec![*extent], true)
        }
        DiskOp::Deallocate { disk, ranges } => {
            let all = (0..ranges.count()).map(|i| ranges.get(fetched, i).expect("it was checked"));
            assert!(ranges.get(fetched, ranges.count()).is_none());
            (*disk, all.collect(), true)
        }
    };
    let namespace = named.expect("work for a namespace that is not there");
    assert_eq!(disk, namespace.disk);
    assert!(!(writes && namespace.read_only), "{work:?} on a read-only namespace");
    for extent in extents {
        let end = extent.lba.checked_add(extent.blocks).expect("the extent wraps");
        assert!(end <= namespace.lba_count, "{extent:?} of {} blocks", namespace.lba_count);
        assert_eq!(extent.offset_bytes, extent.lba << namespace.lba_shift);
        assert_eq!(extent.len_bytes, extent.blocks << namespace.lba_shift);
    }
}

/// Both halves are of the same blocks, which can be written.
fn judge_fused(queue: &Queue, op: &CompareAndWrite, sqe: &Sqe) {
    let view = queue.view().expect("work is of I/O queues");
    let namespace = view.subsystem.namespace(sqe.nsid()).expect("a namespace");
    assert!(!namespace.read_only && namespace.disk == op.disk);
    assert_eq!(op.extent.lba, sqe.cdw10_11());
    assert!(op.extent.lba + op.extent.blocks <= namespace.lba_count);
    assert_eq!(u64::from(source_len(op.compare)), op.extent.len_bytes);
    assert_eq!(u64::from(source_len(op.write)), op.extent.len_bytes);
}

fn data_of(extent: Extent, subsystem: &Subsystem) -> Extent {
    assert!(extent.blocks >= 1);
    assert!(extent.len_bytes <= u64::from(subsystem.limits.mdts_bytes));
    extent
}

/// Every byte that goes to the host is written: none shows what the buffer held before.
fn judge_fill(controller: &Controller, source: nvme::Source, len: u32) {
    let mut one = vec![0x00; to_usize(len)];
    let mut two = vec![0xff; to_usize(len)];
    controller.fill(&source, &mut one);
    controller.fill(&source, &mut two);
    assert!(one == two, "{source:?} shows what the buffer held before");
}
