//! One connection: its queue pair, what is in flight on it, and its drain.
//!
//! Work requests collect during a reactor's tick and go out with one doorbell per queue
//! ([`Connection::flush`]). Nothing here calls what can sleep, but for the move to ERR (a few
//! milliseconds at most): the rest goes to a reaper as a [`Job`].

use std::collections::VecDeque;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use rustix::io::Errno;

use crate::caps::DrainCaps;
use crate::cause::{Cause, Causes};
use crate::device::{
    AcceptParams, Accepted, CmEvent, CmId, Device, DeviceError, PostError, QpCaps, QueuePair,
    RecvDesc, Remote, SendDesc, SendOp, Sge, SharedReceives, Stack, Token, Wc, WcStatus,
};
use crate::drain::{Drain, Input, State, Step};
use crate::in_flight::InFlight;
use crate::lane::Lane;
use crate::marker::{Method, Posted, Queue};
use crate::pool::{Buf, RecvBuf};
use crate::proof::{Epoch, QpDestroyed};
use crate::reaper::{Job, Outcome};
use crate::report::{Destroy, DrainReport};
use crate::time::Now;
use crate::wr::{IdKind, Memory, Retired, WrId, WrKind};

/// The queues have no room: the caller posted more than it said it would.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoRoom;

/// One connection, owned by one reactor from accept to end.
pub struct Connection<S: Stack> {
    token: Token,
    qp_caps: QpCaps,
    id: Option<Arc<S::Id>>,
    qp: Option<S::Qp>,
    in_flight: InFlight,
    drain: Drain,
    /// For the marker of the receive queue; put aside at the start, so that a close needs no
    /// memory.
    marker: Option<Buf>,
    posting: bool,
    open: bool,
    send_list: Vec<SendDesc>,
    recv_list: Vec<RecvDesc>,
    /// Receives that came before ESTABLISHED.
    parked: VecDeque<Retired>,
    /// Causes met inside a completion batch: the batch is finished first.
    met: Causes,
    proof: Option<QpDestroyed>,
    destroy: Option<Destroy>,
    jobs: VecDeque<Job<S>>,
    finished: bool,
}

impl<S: Stack> Connection<S> {
    /// Makes the queue pair of a request. `slot` is the connection's slot in its reactor.
    ///
    /// # Errors
    /// The queue pair could not be made; the id comes back, to be refused.
    pub fn create(
        now: Now,
        lane: &Lane<S>,
        id: S::Id,
        token: Token,
        slot: u16,
        qp_caps: QpCaps,
    ) -> Result<Self, (DeviceError, S::Id)> {
        Self::create_with(now, lane, id, token, slot, qp_caps, Method::Accounting)
    }

    /// The same, to be drained by `method`. Markers take one more place on each queue.
    ///
    /// # Errors
    /// As for [`Self::create`].
    pub fn create_with(
        now: Now,
        lane: &Lane<S>,
        id: S::Id,
        token: Token,
        slot: u16,
        qp_caps: QpCaps,
        method: Method,
    ) -> Result<Self, (DeviceError, S::Id)> {
        let room = match method {
            Method::Accounting => qp_caps,
            Method::Markers => qp_caps.with_markers(),
        };
        let qp = match lane.device.create_qp(&id, &lane.pd, lane.current_cq(), room, token) {
            Ok(qp) => qp,
            Err(error) => return Err((error, id)),
        };
        let drain = Drain::with(now, lane.caps(), method);
        let mut made = Self::with_qp(lane, id, qp, token, slot, qp_caps, drain);
        if method == Method::Markers {
            made.marker = lane.pool().take_slot();
        }
        Ok(made)
    }

    /// The same for a queue pair that takes its receives from `srq`: [`Self::recv`] has no room.
    /// Completions of shared receives go to their
    /// [`SharedQueue`](crate::shared_receives::SharedQueue), and here by [`Self::shared_receive`].
    ///
    /// # Errors
    /// As for [`Self::create`].
    pub fn create_shared(
        now: Now,
        lane: &Lane<S>,
        srq: &<S::Device as SharedReceives<S>>::Srq,
        id: S::Id,
        token: Token,
        slot: u16,
        qp_caps: QpCaps,
    ) -> Result<Self, (DeviceError, S::Id)>
    where
        S::Device: SharedReceives<S>,
    {
        let qp_caps = QpCaps { recv_wr_max: 0, ..qp_caps };
        let made =
            lane.device.create_qp_shared(&id, &lane.pd, lane.current_cq(), srq, qp_caps, token);
        let qp = match made {
            Ok(qp) => qp,
            Err(error) => return Err((error, id)),
        };
        let drain = Drain::new(now, lane.caps()).with_shared_receives();
        Ok(Self::with_qp(lane, id, qp, token, slot, qp_caps, drain))
    }

    fn with_qp(
        lane: &Lane<S>,
        id: S::Id,
        qp: S::Qp,
        token: Token,
        slot: u16,
        qp_caps: QpCaps,
        drain: Drain,
    ) -> Self {
        let slots = qp_caps.send_wr_max as usize + qp_caps.recv_wr_max as usize;
        let order = lane.caps().sq_in_order;
        Self {
            token,
            qp_caps,
            id: Some(Arc::new(id)),
            qp: Some(qp),
            in_flight: InFlight::new(Epoch::next(), slot, slots, order, lane.generations()),
            drain,
            marker: None,
            posting: true,
            open: false,
            send_list: Vec::with_capacity(qp_caps.send_wr_max as usize),
            recv_list: Vec::with_capacity(qp_caps.recv_wr_max as usize),
            parked: VecDeque::with_capacity(qp_caps.recv_wr_max as usize),
            met: Causes::default(),
            proof: None,
            destroy: None,
            jobs: VecDeque::with_capacity(3),
            finished: false,
        }
    }

    /// Accepts; receives must have been posted and flushed before. A failure begins the close.
    pub fn accept(&mut self, now: Now, params: &AcceptParams<'_>, out: &mut Vec<Retired>) {
        let Some(id) = &self.id else { return };
        if let Err(error) = id.accept(params) {
            tracing::debug!(%error, "the peer went away before it was accepted");
            self.close(now, Cause::NotEstablished, out);
        }
    }

    fn admit(&mut self, kind: WrKind, memory: Memory, context: u64) -> Result<WrId, NoRoom> {
        // Memory of a work request that was never admitted goes back to its pool here.
        self.in_flight.admit(kind, memory, context).map_err(|_| NoRoom)
    }

    fn push_send(
        &mut self,
        kind: WrKind,
        op: SendOp,
        buf: Buf,
        context: u64,
    ) -> Result<(), NoRoom> {
        let sge = buf.sge();
        let id = self.admit(kind, Memory::Buf(buf), context)?;
        let signaled = kind != WrKind::Write || self.drain.caps().signal_all;
        self.send_list.push(SendDesc { wr_id: id.to_raw(), op, sge, signaled });
        Ok(())
    }

    /// Queues a receive. A connection that stopped posting gives the memory back to its pool.
    ///
    /// # Errors
    /// More receives than the queue pair was made for.
    pub fn recv(&mut self, memory: RecvBuf) -> Result<(), NoRoom> {
        if !self.posting {
            return Ok(());
        }
        if self.qp_caps.recv_wr_max == 0 {
            return Err(NoRoom);
        }
        let id = self.admit(WrKind::Recv, Memory::Recv(memory), 0)?;
        let desc = self.in_flight.memory(id).recv_desc(id.to_raw());
        self.recv_list.push(desc);
        Ok(())
    }

    /// Queues an RDMA READ of `into.len()` bytes. Comes back in a [`Retired`] with `context`.
    ///
    /// # Errors
    /// More work requests than the queue pair was made for.
    pub fn read(&mut self, into: Buf, from: Remote, context: u64) -> Result<(), NoRoom> {
        if !self.posting {
            return Ok(());
        }
        self.push_send(WrKind::Read, SendOp::Read(from), into, context)
    }

    /// Queues an RDMA WRITE of `from.len()` bytes. A SEND must follow it on this connection: where
    /// the provider keeps order, that SEND's completion retires it.
    ///
    /// # Errors
    /// More work requests than the queue pair was made for.
    pub fn write(&mut self, from: Buf, to: Remote, context: u64) -> Result<(), NoRoom> {
        if !self.posting {
            return Ok(());
        }
        self.push_send(WrKind::Write, SendOp::Write(to), from, context)
    }

    /// Queues a SEND of `from.len()` bytes, with an optional remote key to invalidate.
    ///
    /// # Errors
    /// More work requests than the queue pair was made for.
    pub fn send(&mut self, from: Buf, invalidate: Option<u32>, context: u64) -> Result<(), NoRoom> {
        if !self.posting {
            return Ok(());
        }
        self.push_send(WrKind::Send, SendOp::Send { invalidate }, from, context)
    }

    /// Whether there is something to flush.
    #[must_use]
    pub fn has_posts(&self) -> bool {
        !self.send_list.is_empty() || !self.recv_list.is_empty()
    }

    /// Posts what is queued, receives first: a response may be answered before the call returns.
    pub fn flush(&mut self, now: Now, out: &mut Vec<Retired>) {
        let Some(qp) = self.qp.as_mut().filter(|_| self.posting) else {
            return;
        };
        let mut refused = None;
        if !self.recv_list.is_empty() {
            // SAFETY: every entry's memory lies in `in_flight` and leaves it only by a completion,
            // this refusal, or the destroyed queue pair.
            let posted = unsafe { qp.post_recv(&self.recv_list) };
            if let Err(error) = posted {
                refused = Some(error);
                let ids = self.recv_list.iter().map(|desc| desc.wr_id);
                refuse(&mut self.in_flight, error.accepted, ids, out);
            }
            self.recv_list.clear();
        }
        if !self.send_list.is_empty() {
            // SAFETY: as above.
            let posted = unsafe { qp.post_send(&self.send_list) };
            if let Err(error) = posted {
                refused = Some(error);
                let ids = self.send_list.iter().map(|desc| desc.wr_id);
                refuse(&mut self.in_flight, error.accepted, ids, out);
            }
            self.send_list.clear();
        }
        if let Some(PostError { error, accepted }) = refused {
            tracing::debug!(%error, ?accepted, "a post was refused");
            self.close(now, Cause::PostRefused, out);
        }
    }

    /// Takes one completion of this connection; what it gives back is appended to `out`.
    ///
    /// Errors only note a cause: [`Self::settle`] closes when the whole batch is through.
    pub fn handle_completion(&mut self, wc: &Wc, id: WrId, out: &mut Vec<Retired>) {
        let before = out.len();
        self.in_flight.complete(wc, id, out);
        if out.len() == before {
            return;
        }
        if self.drain.state() >= State::Erroring {
            return;
        }
        match wc.status {
            WcStatus::Success => {
                if id.kind == IdKind::Work(WrKind::Recv) && self.drain.state() == State::Accepting {
                    self.parked.extend(out.drain(before..));
                }
            }
            WcStatus::Flushed => self.met.add(Cause::FlushedByDevice),
            WcStatus::Error(status) => {
                let vendor = wc.vendor_err;
                tracing::debug!(status, kind = ?id.kind, vendor, "work request failed");
                self.met.add(Cause::WorkRequestFailed);
            }
        }
    }

    /// Ends a completion batch: closes if one of them says so, and looks whether a drain is done.
    pub fn settle(&mut self, now: Now, out: &mut Vec<Retired>) {
        let met = std::mem::take(&mut self.met);
        for cause in met.first().into_iter().chain(met.merged()) {
            self.input(now, Input::Close(cause), out);
        }
        self.observe(now, out);
    }

    fn observe(&mut self, now: Now, out: &mut Vec<Retired>) {
        let polled = Input::Polled {
            send_out: self.in_flight.send_out(),
            recv_out: self.in_flight.recv_out(),
        };
        self.input(now, polled, out);
    }

    /// Takes one event of this connection's CM id.
    pub fn handle_cm_event(&mut self, now: Now, event: CmEvent, out: &mut Vec<Retired>) {
        let cause = match event {
            CmEvent::Established => {
                self.input(now, Input::Established, out);
                return;
            }
            CmEvent::Disconnected | CmEvent::TimewaitExit => Cause::PeerDisconnected,
            CmEvent::Rejected | CmEvent::Unreachable | CmEvent::ConnectError => {
                Cause::NotEstablished
            }
            CmEvent::AddrChange => Cause::AddressChanged,
            CmEvent::DeviceRemoval => Cause::DeviceRemoved,
            CmEvent::Other(number) => {
                tracing::debug!(number, "connection-manager event that changes nothing");
                return;
            }
        };
        self.close(now, cause, out);
    }

    /// The first message, or the provider, says that the connection is up.
    pub fn established(&mut self, now: Now, out: &mut Vec<Retired>) {
        self.input(now, Input::Established, out);
    }

    /// LAST_WQE_REACHED was raised for this queue pair (shared receives only).
    pub fn last_wqe_reached(&mut self, now: Now, out: &mut Vec<Retired>) {
        self.input(now, Input::LastWqeReached, out);
    }

    /// A shared receive that this queue pair took has completed.
    pub fn shared_receive(&mut self, now: Now, out: &mut Vec<Retired>) {
        self.input(now, Input::SharedReceive, out);
    }

    /// Closes now. Idempotent; causes add up.
    pub fn close(&mut self, now: Now, cause: Cause, out: &mut Vec<Retired>) {
        self.observe(now, out);
        self.input(now, Input::Close(cause), out);
    }

    /// Closes after the responses that are queued.
    pub fn finish(&mut self, now: Now, cause: Cause, out: &mut Vec<Retired>) {
        self.observe(now, out);
        self.input(now, Input::Finish(cause), out);
    }

    /// Says how many disk operations hold memory for this connection.
    pub fn set_backend(&mut self, now: Now, count: u32, out: &mut Vec<Retired>) {
        self.input(now, Input::Backend(count), out);
    }

    /// Takes a reaper's answer.
    pub fn handle_outcome(&mut self, now: Now, outcome: Outcome, out: &mut Vec<Retired>) {
        match outcome {
            Outcome::QpDestroyed { proof: Ok(proof), took, .. } => {
                self.destroy = Some(Destroy { took, failure: None });
                self.proof = Some(proof);
                self.input(now, Input::Destroyed(true), out);
            }
            Outcome::QpDestroyed { proof: Err(failure), took, .. } => {
                self.destroy = Some(Destroy { took, failure: Some(failure) });
                tracing::error!(?failure, "a queue pair could not be destroyed");
                self.input(now, Input::Destroyed(false), out);
            }
            Outcome::IdDestroyed { .. } => self.input(now, Input::IdDestroyed, out),
        }
    }

    /// Call when [`Self::timeout`] came, after polling the lane.
    pub fn handle_timeout(&mut self, now: Now, out: &mut Vec<Retired>) {
        self.observe(now, out);
        self.input(now, Input::Timeout, out);
    }

    /// When [`Self::handle_timeout`] is due.
    #[must_use]
    pub fn timeout(&self) -> Option<Now> {
        self.drain.timeout()
    }

    fn input(&mut self, now: Now, input: Input, out: &mut Vec<Retired>) {
        let mut next = Some(input);
        while let Some(input) = next.take() {
            for step in self.drain.handle(now, input) {
                if let Some(answer) = self.take_step(step, out) {
                    next = Some(answer);
                }
            }
        }
    }

    /// Does one step; the move to ERR and the markers are the ones that answer at once, and no
    /// transition asks for both.
    fn take_step(&mut self, step: Step, out: &mut Vec<Retired>) -> Option<Input> {
        match step {
            Step::Open => {
                self.open = true;
                out.extend(self.parked.drain(..));
            }
            Step::StopPosting => self.stop_posting(out),
            Step::ModifyToError => {
                let result = self.qp.as_mut().map_or(Ok(()), QueuePair::modify_to_error);
                return Some(Input::Modified(result.map_err(|error| error.errno)));
            }
            Step::PostMarkers { send, recv } => {
                let mut post =
                    |queue, asked: bool| if asked { self.post_marker(queue) } else { Posted::No };
                let (send, recv) = (post(Queue::Send, send), post(Queue::Recv, recv));
                return Some(Input::Markers { send, recv });
            }
            Step::Disconnect => {
                self.jobs.extend(self.id.clone().map(|id| Job::Disconnect { id }));
            }
            Step::DestroyQp => {
                self.marker = None;
                let job = self.destroy_job();
                self.jobs.extend(job);
            }
            Step::Reclaim => self.reclaim(out),
            Step::DestroyId => {
                let token = self.token;
                self.jobs.extend(self.id.take().map(|id| Job::DestroyId { token, id }));
            }
            Step::Quarantine => {
                self.in_flight.quarantine();
                // The id knows a queue pair that may be alive: it is kept for ever as well.
                std::mem::forget(self.id.take());
            }
            Step::Finished => self.finished = true,
        }
        None
    }

    fn post_marker(&mut self, queue: Queue) -> Posted {
        let memory = match queue {
            Queue::Send => None,
            Queue::Recv => self.marker.take(),
        };
        // A pool that had no room at the start leaves the receive queue without a marker.
        let Some(qp) = self.qp.as_mut().filter(|_| queue == Queue::Send || memory.is_some()) else {
            return Posted::Refused;
        };
        let id = match self.in_flight.admit_marker(queue, memory) {
            Ok(id) => id,
            Err(memory) => {
                self.marker = memory;
                return Posted::Refused;
            }
        };
        let wr_id = id.to_raw();
        let none = Sge { addr: 0, len: 0, lkey: 0 };
        let sge = self.in_flight.marker_memory(queue).map_or(none, Buf::sge);
        let posted = match queue {
            Queue::Send => {
                let op = SendOp::Write(Remote { addr: 0, rkey: 0 });
                // SAFETY: the request has length 0 and names no memory.
                unsafe { qp.post_send(&[SendDesc { wr_id, op, sge, signaled: true }]) }
            }
            Queue::Recv => {
                // SAFETY: the entry's memory lies in `in_flight` and leaves it only by a
                // completion, this refusal, or the destroyed queue pair.
                unsafe { qp.post_recv(&[RecvDesc { wr_id, sges: [sge, none] }]) }
            }
        };
        match posted {
            Ok(()) | Err(PostError { accepted: Accepted::Unknown, .. }) => Posted::Accepted,
            Err(PostError { error, .. }) => {
                self.marker = self.in_flight.refuse_marker(id).or(self.marker.take());
                let full = error.errno == Errno::NOMEM.raw_os_error();
                tracing::debug!(%error, ?queue, full, "a marker was refused");
                if full { Posted::NoRoom } else { Posted::Refused }
            }
        }
    }

    fn stop_posting(&mut self, out: &mut Vec<Retired>) {
        self.posting = false;
        self.open = false;
        self.parked.clear();
        let unposted = self.recv_list.drain(..).map(|desc| desc.wr_id);
        refuse(&mut self.in_flight, Accepted::Prefix(0), unposted, out);
        let unposted = self.send_list.drain(..).map(|desc| desc.wr_id);
        refuse(&mut self.in_flight, Accepted::Prefix(0), unposted, out);
    }

    fn destroy_job(&mut self) -> Option<Job<S>> {
        Some(Job::DestroyQp {
            token: self.token,
            qp: self.qp.take()?,
            id: self.id.clone()?,
            epoch: self.in_flight.epoch(),
            caps: self.drain.caps(),
        })
    }

    fn reclaim(&mut self, out: &mut Vec<Retired>) {
        let proof = self.proof.take();
        if proof.is_none_or(|proof| self.in_flight.reclaim(proof, out).is_err()) {
            tracing::error!("a reclaim came without this connection's proof");
            self.in_flight.quarantine();
        }
    }

    /// Next job for a reaper. Before the first one the reactor must stop watching the CM id.
    pub fn poll_job(&mut self) -> Option<Job<S>> {
        self.jobs.pop_front()
    }

    /// Work requests out on the send queue, those that are not posted yet included.
    #[must_use]
    pub fn send_out(&self) -> u64 {
        self.in_flight.send_out()
    }

    /// New commands are to be dispatched.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.open && self.drain.state() == State::Live && self.met.first().is_none()
    }

    /// Responses can still be posted.
    #[must_use]
    pub fn is_posting(&self) -> bool {
        self.posting
    }

    /// The CM id's channel is to be read.
    #[must_use]
    pub fn watches_cm(&self) -> bool {
        self.drain.state() < State::Erroring
    }

    /// The CM id, to be watched and read while [`Self::watches_cm`].
    #[must_use]
    pub fn id(&self) -> Option<&S::Id> {
        self.id.as_deref()
    }

    /// Nothing is left: the slot may be used again.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.finished
    }

    /// Where it is in its life.
    #[must_use]
    pub fn state(&self) -> State {
        self.drain.state()
    }

    /// Why it closes.
    #[must_use]
    pub fn causes(&self) -> Causes {
        self.drain.causes()
    }

    /// What it was made with.
    #[must_use]
    pub fn qp_caps(&self) -> QpCaps {
        self.qp_caps
    }

    /// Its number, for people; 0 when the queue pair is with a reaper.
    #[must_use]
    pub fn qp_number(&self) -> u32 {
        self.qp.as_ref().map_or(0, QueuePair::number)
    }

    /// How it drains.
    #[must_use]
    pub fn caps(&self) -> &'static DrainCaps {
        self.drain.caps()
    }

    /// The drain's deadline and next repeated move to ERR ([`Drain::deadlines`]).
    #[must_use]
    pub fn deadlines(&self) -> [Option<Now>; 2] {
        self.drain.deadlines()
    }

    /// What decides how it goes on: two connections that agree in it, and in what the device does,
    /// go on alike. For exhaustive tests; [`Drain::fingerprint`] says what is left out.
    pub fn fingerprint(&self, hasher: &mut impl Hasher) {
        self.drain.fingerprint(hasher);
        self.in_flight.fingerprint(hasher);
        (self.posting, self.open, self.send_list.len(), self.recv_list.len()).hash(hasher);
        (self.parked.len(), self.met, self.proof.is_some(), self.jobs.len()).hash(hasher);
        (self.id.is_some(), self.qp.is_some(), self.finished).hash(hasher);
    }

    /// Whose it is.
    #[must_use]
    pub fn token(&self) -> Token {
        self.token
    }

    /// The account so far.
    #[must_use]
    pub fn report(&self, now: Now) -> DrainReport {
        DrainReport::new(now, &self.drain, &self.in_flight, self.destroy)
    }
}

/// R3: gives back what a refused list left unposted.
fn refuse(
    in_flight: &mut InFlight,
    accepted: Accepted,
    ids: impl Iterator<Item = u64>,
    out: &mut Vec<Retired>,
) {
    let taken = match accepted {
        Accepted::Prefix(taken) => taken,
        // Posted or not: what is not known stays until a completion or the destroy.
        Accepted::Unknown => return,
    };
    for id in ids.skip(taken).filter_map(WrId::from_raw) {
        in_flight.refuse(id, out);
    }
}
