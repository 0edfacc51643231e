//! Queue pairs: posts, the moves to ERR and CLOSING, destroy.

use std::collections::VecDeque;
use std::sync::Arc;

use transport::device::{
    Accepted, AsyncEvent, DeviceError, PostError, QpCaps, QueuePair, RecvDesc, SendDesc, SendOp,
    Sge, Token, Transport, Wc, WcStatus,
};

use crate::behaviour::{AfterDestroy, FlushOrder, FlushTiming, PostInError, QpState};
use crate::cm::{SimId, SimStack};
use crate::completion::{CqEntry, CqInner, SimCq};
use crate::connection::PeerState;
use crate::fabric::Fabric;
use crate::happening::{Track, What};
use crate::memory::Range;
use crate::oracle::{Call, Delay, Question};
use crate::peer::PeerEvent;
use crate::shadow::Holder;
use crate::violation::Rule;
use crate::world::{World, error};

/// What a receive or READ buffer is filled with until the device places bytes.
const POISON: u8 = 0x5A;

/// What the device makes of a work request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Fate {
    /// It is worked on.
    Normal,
    /// It lies there until the next move to ERR.
    AwaitsModify,
    /// It is never heard of again.
    Lost,
}

/// How far a work request is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Phase {
    /// The device may touch its memory.
    Posted,
    /// Executed; its completion is to come, if any.
    Executed,
    /// Its completion is in the completion queue.
    Completed,
    /// Executed, and no completion will ever come.
    Silent,
}

/// A work request as the device knows it.
#[derive(Clone, Debug)]
pub(crate) struct Wr {
    pub(crate) ordinal: u32,
    pub(crate) wr_id: u64,
    pub(crate) op: Option<SendOp>,
    pub(crate) signaled: bool,
    pub(crate) phase: Phase,
    pub(crate) fate: Fate,
    pub(crate) ranges: Vec<Range>,
    pub(crate) holds: Vec<(u64, u64)>,
    /// Checksum of what is to be sent.
    digest: u64,
    /// Its memory is not registered: it fails when it is executed.
    pub(crate) invalid: bool,
}

impl Wr {
    /// The device writes its memory.
    pub(crate) fn is_sink(&self) -> bool {
        matches!(self.op, None | Some(SendOp::Read(_)))
    }

    pub(crate) fn is_read(&self) -> bool {
        matches!(self.op, Some(SendOp::Read(_)))
    }
}

/// Whether a queue pair is still there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Existence {
    /// It is.
    Alive,
    /// Its destroy failed, or gave up: the device may go on.
    Zombie,
    /// It is gone.
    Destroyed,
}

/// A queue pair as the device knows it.
#[derive(Debug)]
pub(crate) struct QpModel {
    pub(crate) device: usize,
    pub(crate) conn: usize,
    pub(crate) number: u32,
    pub(crate) token: Token,
    pub(crate) cq: usize,
    /// The shared receive queue that it takes its receives from.
    pub(crate) srq: Option<usize>,
    caps: QpCaps,
    pub(crate) state: QpState,
    /// The library knows nothing of the error state: nobody here asked for it.
    pub(crate) unseen: bool,
    /// We asked for ERR.
    pub(crate) error_ours: bool,
    /// We asked for CLOSING.
    pub(crate) closing_ours: bool,
    pub(crate) existence: Existence,
    pub(crate) send: VecDeque<Wr>,
    pub(crate) recv: VecDeque<Wr>,
    /// The next work request's number, by queue.
    ordinal: [u32; 2],
    /// Something of it was flushed, by queue.
    flushed: [bool; 2],
    /// Posts after our own move to ERR, send and receive.
    late: [u32; 2],
}

impl QpModel {
    pub(crate) fn is_alive(&self) -> bool {
        self.existence == Existence::Alive
    }

    /// The device works on it, whatever we know of that.
    pub(crate) fn is_at_work(&self) -> bool {
        self.existence != Existence::Destroyed
    }

    pub(crate) fn queue(&mut self, is_recv: bool) -> &mut VecDeque<Wr> {
        if is_recv { &mut self.recv } else { &mut self.send }
    }

    /// The next work request's number.
    pub(crate) fn next_ordinal(&mut self, is_recv: bool) -> u32 {
        let next = &mut self.ordinal[usize::from(is_recv)];
        *next += 1;
        *next - 1
    }
}

/// A queue pair as the target holds it. Dropping it leaves it alive.
pub struct SimQp {
    fabric: Fabric,
    index: usize,
    epoch: u64,
    number: u32,
    /// Destroyed after it.
    _cq: Arc<CqInner>,
}

impl SimQp {
    pub(crate) fn create(
        fabric: &Fabric,
        device: usize,
        id: &SimId,
        cq: &SimCq,
        caps: QpCaps,
        token: Token,
        srq: Option<usize>,
    ) -> Result<Self, DeviceError> {
        let mut world = fabric.lock();
        world.device_call(device, Call::CreateQp)?;
        let row = world.devices[device].row;
        let gone = world.conns[id.conn].peer == PeerState::Over;
        if (gone && row.transport == Transport::InfiniBand) || world.devices[device].removed {
            return Err(error(Call::CreateQp, rustix::io::Errno::INVAL));
        }
        let state = &mut world.devices[device];
        let number = state.numbers_free.pop().unwrap_or_else(|| {
            state.number_next += 1;
            state.number_next - 1
        });
        let cq = cq.inner();
        let index = world.qps.len();
        world.qps.push(QpModel {
            device,
            conn: id.conn,
            number,
            token,
            cq: cq.index,
            srq,
            caps,
            state: QpState::Init,
            unseen: false,
            error_ours: false,
            closing_ours: false,
            existence: Existence::Alive,
            send: VecDeque::new(),
            recv: VecDeque::new(),
            ordinal: [0; 2],
            flushed: [false; 2],
            late: [0; 2],
        });
        world.conns[id.conn].qp = Some(index);
        world.note(|| format!("qp {index} (number {number}) made for connection {}", id.conn));
        let epoch = world.epoch;
        drop(world);
        Ok(Self { fabric: fabric.clone(), index, epoch, number, _cq: cq })
    }
}

impl QueuePair<SimStack> for SimQp {
    unsafe fn post_send(&mut self, list: &[SendDesc]) -> Result<(), PostError> {
        let mut world = self.fabric.lock();
        world.post(self.index, Call::PostSend, list.len(), |at| Entry::Send(list[at]))
    }

    unsafe fn post_recv(&mut self, list: &[RecvDesc]) -> Result<(), PostError> {
        let mut world = self.fabric.lock();
        world.post(self.index, Call::PostRecv, list.len(), |at| Entry::Recv(list[at]))
    }

    fn modify_to_error(&mut self) -> Result<(), DeviceError> {
        self.fabric.lock().modify_to_error(self.index)
    }

    fn destroy(self, id: &SimId) -> Result<(), DeviceError> {
        let mut world = self.fabric.lock();
        if world.epoch != self.epoch {
            return Ok(());
        }
        world.destroy(self.index, id.conn)
    }

    fn number(&self) -> u32 {
        self.number
    }
}

/// A work request as it is posted.
#[derive(Clone, Copy)]
pub(crate) enum Entry {
    Send(SendDesc),
    Recv(RecvDesc),
}

impl Entry {
    fn sges(&self) -> [Sge; 2] {
        match self {
            Self::Send(desc) => [desc.sge, Sge { addr: 0, len: 0, lkey: 0 }],
            Self::Recv(desc) => desc.sges,
        }
    }
}

impl World {
    /// Posts a list: all of it, a prefix, or nobody knows.
    fn post(
        &mut self,
        qp: usize,
        call: Call,
        count: usize,
        entry: impl Fn(usize) -> Entry,
    ) -> Result<(), PostError> {
        let device = self.qps[qp].device;
        if self.conns[self.qps[qp].conn].crashed {
            return Ok(());
        }
        let refused =
            |error: DeviceError, taken| Err(PostError { error, accepted: Accepted::Prefix(taken) });
        if let Err(failure) = self.device_call(device, call) {
            // A list that fails for a reason of its own may have been taken in part.
            let taken = self.choose(Question::Mischief("part of a failed list is taken"), count);
            for at in 0..taken {
                self.take(qp, entry(at), Fate::Normal);
            }
            return refused(failure, taken);
        }
        let is_recv = call == Call::PostRecv;
        for at in 0..count {
            let room =
                if is_recv { self.qps[qp].caps.recv_wr_max } else { self.qps[qp].caps.send_wr_max };
            if self.qps[qp].queue(is_recv).len() >= room as usize {
                return refused(error(call, rustix::io::Errno::NOMEM), at);
            }
            match self.verdict(qp, is_recv) {
                Ok(fate) => self.take(qp, entry(at), fate),
                Err(errno) => {
                    return refused(DeviceError { call: call.name(), errno }, at);
                }
            }
        }
        let row = self.row_of(qp);
        if row.doorbell_may_fail && !is_recv && self.mischief("the doorbell fails") {
            let error = error(call, rustix::io::Errno::NOTCONN);
            return Err(PostError { error, accepted: Accepted::Unknown });
        }
        Ok(())
    }

    fn taken_after_our_move(&mut self, qp: usize, is_recv: bool) {
        let model = &mut self.qps[qp];
        let late = &mut model.late[usize::from(is_recv)];
        *late += 1;
        // One marker for each queue is allowed in ERR, and nothing in CLOSING.
        if *late > u32::from(model.error_ours) {
            self.violate(Rule::S5, || format!("qp {qp} is given work after our own move"));
        }
    }

    /// What the device makes of one more work request, by its state and row.
    fn verdict(&mut self, qp: usize, is_recv: bool) -> Result<Fate, i32> {
        let row = self.row_of(qp);
        let model = &self.qps[qp];
        let axis = match model.state {
            QpState::Init if !is_recv => return Err(rustix::io::Errno::INVAL.raw_os_error()),
            QpState::Init | QpState::Rts => return Ok(Fate::Normal),
            QpState::Closing | QpState::Terminate if is_recv => row.post_recv_in_closing,
            QpState::Closing | QpState::Terminate => row.post_send_in_closing,
            QpState::Error => match row.post_in_unseen_error {
                Some(axis) if model.unseen => axis,
                Some(_) | None if is_recv => row.post_recv_in_error,
                Some(_) | None => row.post_send_in_error,
            },
        };
        match self.axis("post in the error state", axis) {
            PostInError::Flushed => Ok(Fate::Normal),
            PostInError::AwaitsModify => Ok(Fate::AwaitsModify),
            PostInError::Lost => Ok(Fate::Lost),
            PostInError::Refused(errno) => Err(errno),
        }
    }

    /// The device has it: its memory is held from here on.
    fn take(&mut self, qp: usize, entry: Entry, fate: Fate) {
        let ordinal = self.qps[qp].next_ordinal(matches!(entry, Entry::Recv(_)));
        let wr = self.prepare(Holder::Device { qp }, entry, ordinal, fate);
        let (op, signaled) = (wr.op, wr.signaled);
        self.note(|| {
            let what = wr.op.map_or_else(|| "RECV".to_owned(), |op| format!("{op:?}"));
            let silent = if signaled { "" } else { " unsignaled" };
            format!("qp {qp} takes {ordinal}: {what}{silent} {:?}", wr.fate)
        });
        let is_recv = op.is_none();
        self.qps[qp].queue(is_recv).push_back(wr);
        if self.qps[qp].error_ours || self.qps[qp].closing_ours {
            self.taken_after_our_move(qp, is_recv);
        }
        if fate != Fate::Normal {
            return;
        }
        if self.qps[qp].state == QpState::Error {
            self.schedule_flush(qp, is_recv);
            if !is_recv && self.row_of(qp).send_pulls_receives {
                self.revive(qp);
            }
        } else if !is_recv {
            self.schedule(qp, ordinal);
        }
    }

    /// A work request as the device knows it, with its memory held.
    pub(crate) fn prepare(&mut self, holder: Holder, entry: Entry, ordinal: u32, fate: Fate) -> Wr {
        let (wr_id, op, signaled) = match entry {
            Entry::Send(desc) => (desc.wr_id, Some(desc.op), desc.signaled),
            Entry::Recv(desc) => (desc.wr_id, None, true),
        };
        let mut wr = Wr {
            ordinal,
            wr_id,
            op,
            signaled,
            phase: Phase::Posted,
            fate,
            ranges: Vec::new(),
            holds: Vec::new(),
            digest: 0,
            invalid: false,
        };
        for sge in entry.sges().into_iter().filter(|sge| sge.len > 0) {
            self.take_memory(holder, &mut wr, sge);
        }
        wr
    }

    fn take_memory(&mut self, holder: Holder, wr: &mut Wr, sge: Sge) {
        let range = Range { addr: sge.addr, len: sge.len as usize };
        let registered = (sge.lkey as usize).checked_sub(1).and_then(|at| self.regions.get(at));
        let good = registered
            .is_some_and(|r| r.alive && range.addr >= r.addr && range.end() <= r.addr + r.len);
        if !good {
            wr.invalid = true;
            self.violate(Rule::S12, || {
                format!("{holder} is given memory outside of region {}", sge.lkey)
            });
            return;
        }
        if let Some(rule) = self.shadow.conflict(range, holder, wr.is_sink()) {
            let rule = self.sharpen(rule, range);
            self.violate(rule, || {
                format!("{holder} is given {} bytes at {:#x} in use", range.len, range.addr)
            });
        }
        if wr.is_sink() {
            range.fill(POISON);
        } else {
            wr.digest = range.digest();
        }
        wr.holds.push(self.shadow.hold(range, holder, wr.is_sink(), sge.lkey));
        wr.ranges.push(range);
    }

    /// The same conflict by a sharper name: the memory belongs to a destroy that failed.
    fn sharpen(&self, rule: Rule, range: Range) -> Rule {
        let of_zombie = |holder: &Holder| match holder {
            Holder::Device { qp } => self.qps[*qp].existence == Existence::Zombie,
            Holder::Shared { srq } => self.srqs[*srq].is_zombie(),
            Holder::Disk => false,
        };
        let holders = self.shadow.holders(range);
        if holders.iter().any(of_zombie) {
            Rule::S14
        } else if holders.iter().any(|holder| matches!(holder, Holder::Shared { .. })) {
            Rule::S16
        } else {
            rule
        }
    }

    pub(crate) fn check_released(&mut self, range: Range) {
        if range.len == 0 {
            return;
        }
        let held = !self.shadow.holders(range).is_empty();
        if held {
            let rule = self.sharpen(Rule::S1, range);
            self.violate(rule, || {
                format!("{} bytes at {:#x} came back and are in use", range.len, range.addr)
            });
        }
    }

    /// Nobody may have touched what lies with the device: checked when it leaves.
    pub(crate) fn check_untouched(&mut self, holder: Holder, wr: &Wr) {
        let clean = if wr.is_sink() {
            wr.ranges.iter().all(|range| range.is_filled(POISON))
        } else {
            wr.ranges.iter().all(|range| range.digest() == wr.digest)
        };
        if !clean {
            let ordinal = wr.ordinal;
            self.violate(Rule::S1, || format!("memory of {ordinal} on {holder} changed in flight"));
        }
    }

    fn modify_to_error(&mut self, qp: usize) -> Result<(), DeviceError> {
        if self.conns[self.qps[qp].conn].crashed {
            return Ok(());
        }
        let device = self.qps[qp].device;
        self.qps[qp].error_ours = true;
        if !self.qps[qp].is_alive() {
            self.violate(Rule::S8, || format!("qp {qp} is moved to ERR after its destroy"));
        }
        self.device_call(device, Call::Modify)?;
        let row = self.row_of(qp);
        if row.modify_refused_from.contains(&self.qps[qp].state) {
            self.note(|| format!("qp {qp} refuses the move to ERR"));
            return Err(error(Call::Modify, rustix::io::Errno::INVAL));
        }
        self.note(|| format!("qp {qp} moves to ERR"));
        self.enter_error(qp, true);
        if self.axis("the move to ERR is made and reported as failed", row.modify_lies) {
            return Err(error(Call::Modify, rustix::io::Errno::INVAL));
        }
        Ok(())
    }

    /// Enters the error state, by our own move or not; repeats a flush when it is there already.
    pub(crate) fn enter_error(&mut self, qp: usize, ours: bool) {
        let row = self.row_of(qp);
        let again = self.qps[qp].state == QpState::Error;
        if ours {
            self.qps[qp].unseen = false;
        } else if !again {
            self.qps[qp].unseen = true;
        }
        if again {
            if ours && row.modify_repeats {
                self.revive(qp);
            }
            if ours {
                self.last_wqe(qp, true);
            }
            return;
        }
        self.qps[qp].state = QpState::Error;
        self.note(|| format!("qp {qp} is in the error state"));
        if ours {
            self.revive(qp);
        }
        self.shared_receive_in_progress(qp);
        self.flush(qp);
        self.last_wqe(qp, false);
    }

    /// What waited for a move to ERR is flushed now.
    fn revive(&mut self, qp: usize) {
        for is_recv in [false, true] {
            let mut any = false;
            for wr in self.qps[qp].queue(is_recv) {
                any |= wr.fate == Fate::AwaitsModify;
                if wr.fate == Fate::AwaitsModify {
                    wr.fate = Fate::Normal;
                }
            }
            if any {
                self.schedule_flush(qp, is_recv);
            }
        }
    }

    fn flush(&mut self, qp: usize) {
        let row = self.row_of(qp);
        let model = &self.qps[qp];
        let had_sends = model.send.iter().any(|wr| wr.phase == Phase::Posted);
        if self.devices[model.device].fatal {
            return;
        }
        if had_sends && row.flush_raises_sq_drained {
            let (device, token) = (model.device, model.token);
            self.raise_async(device, AsyncEvent::SqDrained(token));
        }
        let waiting = [false, true].map(|is_recv| self.flushable(qp, is_recv).is_some());
        let any = waiting.contains(&true);
        match self.axis_by("flush", row.flush_timing, |timing| any.then_some(timing)) {
            FlushTiming::Never => {}
            FlushTiming::Async => {
                self.schedule_flush(qp, false);
                self.schedule_flush(qp, true);
            }
            FlushTiming::Sync => {
                let both = !waiting.contains(&false);
                let effect = |order| both.then_some(order);
                let order = self.axis_by("order of the flush", row.flush_order, effect);
                let recv_first = match order {
                    FlushOrder::SendFirst => false,
                    FlushOrder::RecvFirst => true,
                };
                for is_recv in [recv_first, !recv_first] {
                    while self.flush_one(qp, is_recv) {}
                }
            }
        }
    }

    fn schedule_flush(&mut self, qp: usize, is_recv: bool) {
        if self.devices[self.qps[qp].device].fatal {
            return;
        }
        let wanted = if is_recv { What::FlushRecv { qp } } else { What::FlushSend { qp } };
        if self.flushable(qp, is_recv).is_none() || self.pending.iter().any(|p| p.what == wanted) {
            return;
        }
        let track = if is_recv { Track::FlushRecv(qp) } else { Track::FlushSend(qp) };
        self.soon(Delay::Flush, track, wanted);
    }

    pub(crate) fn flushable(&self, qp: usize, is_recv: bool) -> Option<usize> {
        let queue = if is_recv { &self.qps[qp].recv } else { &self.qps[qp].send };
        queue.iter().position(|wr| {
            wr.fate == Fate::Normal && matches!(wr.phase, Phase::Posted | Phase::Executed)
        })
    }

    /// Flushes the oldest that is left, and schedules the next.
    pub(crate) fn flush_next(&mut self, qp: usize, is_recv: bool) {
        let first = !self.qps[qp].flushed[usize::from(is_recv)];
        self.qps[qp].flushed[usize::from(is_recv)] = true;
        if self.coarse && !first {
            while self.flush_one(qp, is_recv) {}
        } else if self.flush_one(qp, is_recv) {
            self.schedule_flush(qp, is_recv);
        }
    }

    /// Flushes the oldest that is left; says whether there was one.
    pub(crate) fn flush_one(&mut self, qp: usize, is_recv: bool) -> bool {
        let Some(at) = self.flushable(qp, is_recv) else { return false };
        let row = self.row_of(qp);
        let wr = self.qps[qp].queue(is_recv)[at].clone();
        let executed = wr.phase == Phase::Executed;
        if !is_recv {
            self.cancel_work(qp, wr.ordinal);
        }
        if !executed {
            self.check_untouched(Holder::Device { qp }, &wr);
            if !is_recv {
                self.cancel_later(qp, wr.ordinal);
            }
        } else if !wr.signaled && !self.axis("flush of an executed one", row.flush_executed) {
            self.qps[qp].queue(is_recv)[at].phase = Phase::Silent;
            return true;
        }
        let done = executed && wr.signaled && row.completes_locally;
        let status = if done { WcStatus::Success } else { WcStatus::Flushed };
        let armed = self.cqs[self.qps[qp].cq].armed;
        let event = armed && self.axis("a flush raises an event", row.flush_raises_event);
        self.complete(qp, is_recv, wr.ordinal, status, 0, event);
        true
    }

    pub(crate) fn cancel_work(&mut self, qp: usize, ordinal: u32) {
        self.cancel(|what| {
            *what == What::Execute { qp, ordinal } || *what == What::Complete { qp, ordinal }
        });
    }

    /// A completion of a work request enters the completion queue.
    pub(crate) fn complete(
        &mut self,
        qp: usize,
        is_recv: bool,
        ordinal: u32,
        status: WcStatus,
        byte_len: u32,
        event: bool,
    ) {
        let model = &mut self.qps[qp];
        let cq = model.cq;
        let Some(wr) = model.queue(is_recv).iter_mut().find(|wr| wr.ordinal == ordinal) else {
            return;
        };
        wr.phase = Phase::Completed;
        let vendor_err = if status == WcStatus::Success { 0 } else { 0x99 };
        let wc = Wc { wr_id: wr.wr_id, status, byte_len, vendor_err };
        self.complete_to(cq, CqEntry { wc, qp, is_recv, ordinal }, event);
    }

    /// The target polled a completion: its memory is its own again, and that of older work
    /// requests of the queue that end without a completion.
    pub(crate) fn polled(&mut self, entry: CqEntry) {
        let Some(model) = self.qps.get_mut(entry.qp) else { return };
        let srq = model.srq.filter(|_| entry.is_recv);
        let queue = model.queue(entry.is_recv);
        if !queue.iter().any(|wr| wr.ordinal == entry.ordinal) {
            if let Some(srq) = srq {
                self.polled_late(srq, entry);
            }
            return;
        }
        let over = |wr: &Wr| {
            wr.ordinal == entry.ordinal || wr.ordinal < entry.ordinal && wr.phase == Phase::Silent
        };
        let (gone, left): (Vec<Wr>, Vec<Wr>) = queue.drain(..).partition(over);
        queue.extend(left);
        for at in gone.into_iter().flat_map(|wr| wr.holds) {
            self.shadow.release(at);
        }
    }

    /// The destroy, at the end of the time that it takes.
    fn destroy(&mut self, qp: usize, conn: usize) -> Result<(), DeviceError> {
        self.destroys += 1;
        if self.conns[conn].crashed {
            return Ok(());
        }
        let device = self.qps[qp].device;
        if !self.qps[qp].is_alive() {
            self.violate(Rule::S8, || format!("qp {qp} is destroyed twice"));
        }
        self.conns[conn].destroy_began = true;
        if let Err(failure) = self.device_call(device, Call::Destroy) {
            self.qps[qp].existence = Existence::Zombie;
            self.note(|| format!("destroy of qp {qp}: {failure}"));
            return Err(failure);
        }
        let row = self.row_of(qp);
        if std::mem::take(&mut self.conns[conn].destroy_gives_up) {
            self.qps[qp].existence = Existence::Zombie;
            self.note(|| format!("destroy of qp {qp} gives up and says 0"));
            return Ok(());
        }
        if row.destroy_flushes && !self.devices[device].fatal {
            for is_recv in [false, true] {
                while self.flush_one(qp, is_recv) {}
            }
        }
        self.remove(qp);
        let cq = self.qps[qp].cq;
        let mine = |entry: &CqEntry| entry.qp == qp;
        let any = self.cqs[cq].entries.iter().any(mine);
        let effect = |after| any.then_some(after);
        match self.axis_by("completions after the destroy", row.after_destroy, effect) {
            AfterDestroy::Vanish => self.cqs[cq].entries.retain(|entry| !mine(entry)),
            AfterDestroy::Stay => {}
            AfterDestroy::MustNotPoll => {
                self.cqs[cq].poisoned |= self.cqs[cq].entries.iter().any(mine);
            }
        }
        if row.reuses_qpn {
            let number = self.qps[qp].number;
            self.devices[device].numbers_free.push(number);
        }
        if row.transport == Transport::Iwarp && self.conns[conn].peer == PeerState::Connected {
            self.tell_peer(conn, PeerEvent::Disconnected);
        }
        self.note(|| format!("qp {qp} destroyed"));
        Ok(())
    }

    /// Nothing of a queue pair is left in the device: all its memory is the owner's.
    pub(crate) fn remove(&mut self, qp: usize) {
        self.cancel(|what| what.is_of(qp));
        let model = &mut self.qps[qp];
        model.existence = Existence::Destroyed;
        let (send, mut recv) = (std::mem::take(&mut model.send), std::mem::take(&mut model.recv));
        if let Some(srq) = model.srq {
            // A destroyed queue pair gives no shared receive back.
            self.abandon(srq, qp, std::mem::take(&mut recv));
        }
        for wr in send.into_iter().chain(recv) {
            if wr.phase == Phase::Posted {
                self.check_untouched(Holder::Device { qp }, &wr);
            }
            for at in wr.holds {
                self.shadow.release(at);
            }
        }
    }
}
