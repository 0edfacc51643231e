//! The reactor's part: one connection from its request to its end, one action at a time.
//!
//! It does what the daemon's reactor does around a `Connection`, in its order: events, completions
//! (the queue is polled until it is empty), timers, then settle, post, follow the drain.

use std::collections::BTreeSet;
use std::hash::{DefaultHasher, Hash, Hasher};

use sim::{DiskAccess, DiskTouch, Peer, Polls, Reaping, SimSrq, SimStack};
use transport::cause::Cause;
use transport::connection::Connection;
use transport::device::{
    AcceptParams, AsyncEvent, CmId, Device, DeviceError, ListenEvent, Remote, Stack, Token, Wc,
    WcStatus,
};
use transport::drain::State;
use transport::pool::{Buf, RecvBuf};
use transport::reaper::Job;
use transport::shared_receives::SharedQueue;
use transport::time::Now;
use transport::wr::{IdKind, Memory, Retired, WrId, WrKind};

use crate::actions::{CONNECTION, QUIET_POLLS};
use crate::choices::Choices;
use crate::stage::{QP_CAPS, Stage};

/// Whose events are this connection's.
pub(crate) const TOKEN: Token = Token(1);

/// What a reaper is busy with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Errand {
    Disconnect,
    DestroyQp,
    DestroyId,
}

/// A disk write that has the memory of a READ.
struct DiskWrite {
    touch: DiskTouch,
    memory: Buf,
}

/// What a run has done that it does not do twice.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Done {
    pub(crate) read: bool,
    pub(crate) response: bool,
    pub(crate) closed: bool,
    pub(crate) peer_left: bool,
    pub(crate) messages: u8,
    pub(crate) kicks: u8,
    pub(crate) quiet: u8,
}

/// What a run may yet spend, kind by kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget([u8; 8]);

impl Budget {
    /// At least as much of every kind.
    #[must_use]
    pub fn covers(&self, other: &Self) -> bool {
        self.0.iter().zip(other.0).all(|(mine, theirs)| *mine >= theirs)
    }
}

/// A run in progress.
pub struct Player<'a> {
    pub(crate) stage: &'a Stage,
    pub(crate) conn: Option<Connection<SimStack>>,
    shared: Option<SharedQueue<SimSrq>>,
    device: Option<<SimStack as Stack>::Device>,
    pub(crate) peer: Peer,
    pub(crate) errands: Vec<(Errand, Reaping)>,
    disk: Option<DiskWrite>,
    /// Memory that is with the connection: by its address.
    lent: BTreeSet<usize>,
    /// Bytes of the lane that earlier runs lost to quarantines.
    before: usize,
    retired: Vec<Retired>,
    /// The completion queue must not be polled any more.
    silent: bool,
    pub(crate) done: Done,
    seen: State,
    pub(crate) began: Option<Now>,
    /// What the run's own checks found.
    pub(crate) faults: Vec<String>,
}

type Connected = (Connection<SimStack>, Option<SharedQueue<SimSrq>>);

/// Makes the connection of a request, and the shared queue where the variant has one.
fn connect(stage: &Stage, now: Now, id: <SimStack as Stack>::Id) -> Result<Connected, DeviceError> {
    let lane = stage.lane.borrow();
    if !stage.variant.shared {
        let method = stage.variant.method;
        let made = Connection::create_with(now, &lane, id, TOKEN, 0, QP_CAPS, method);
        return Ok((made.map_err(|(error, _)| error)?, None));
    }
    let shared = lane.shared_queue(0, 4, 1)?;
    let srq = shared.srq().expect("just made");
    let made = Connection::create_shared(now, &lane, srq, id, TOKEN, 0, QP_CAPS);
    Ok((made.map_err(|(error, _)| error)?, Some(shared)))
}

impl<'a> Player<'a> {
    /// A connection that is accepted by us, and not yet established.
    ///
    /// # Panics
    /// The stage is broken: what is done here can't fail.
    #[must_use]
    pub fn new(stage: &'a Stage, path: &[u8]) -> Self {
        stage.restart();
        stage.choices.restart(&[], 0);
        stage.choices.freeze();
        let peer = stage.host.connect(Stage::address(), sim::peer::ConnectParams::default());
        debug_assert_eq!(peer.number(), CONNECTION);
        for context in 0..2 {
            peer.post_recv(64, context);
        }
        stage.fabric.run_due();
        let request = match stage.stack.next_event() {
            Ok(Some(ListenEvent::Request(request))) => request,
            _ => unreachable!("the request was let through"),
        };
        let device = request.id.device().expect("nothing fails before a run");
        let now = stage.now();
        let before = stage.lane.borrow().pool().used_bytes();
        let Ok((conn, shared)) = connect(stage, now, request.id) else {
            unreachable!("nothing fails before a run")
        };
        let mut player = Self {
            stage,
            conn: Some(conn),
            shared,
            device: Some(device),
            peer,
            errands: Vec::new(),
            disk: None,
            lent: BTreeSet::new(),
            before,
            retired: Vec::new(),
            silent: false,
            done: Done { read: !stage.bound.reads, ..Done::default() },
            seen: State::Accepting,
            began: None,
            faults: Vec::new(),
        };
        for _ in 0..stage.bound.receives {
            player.receive();
        }
        stage.choices.restart(path, stage.bound.adversities);
        player.flush_shared();
        player.drive(|conn, now, out| {
            conn.flush(now, out);
            if conn.is_posting() {
                let params = AcceptParams {
                    private_data: &[],
                    responder_resources: 0,
                    initiator_depth: 1,
                    rnr_retry_count: 7,
                };
                conn.accept(now, &params, out);
            }
        });
        player
    }

    pub(crate) fn choices(&self) -> &Choices {
        &self.stage.choices
    }

    pub(crate) fn now(&self) -> Now {
        self.stage.now()
    }

    pub(crate) fn state(&self) -> State {
        self.conn.as_ref().map_or(self.seen, Connection::state)
    }

    /// The run is over: the connection is finished, and so is the disk.
    pub(crate) fn is_over(&self) -> bool {
        self.conn.is_none() && self.disk.is_none() && self.errands.is_empty()
    }

    /// Bytes of the lane's memory that this run has.
    fn held(&self) -> usize {
        self.stage.lane.borrow().pool().used_bytes().saturating_sub(self.before)
    }

    fn slot(&mut self) -> Buf {
        let buf =
            self.stage.lane.borrow().pool().take_slot().expect("a run needs less than a lane has");
        self.lent.insert(buf.addr().as_ptr().addr());
        buf
    }

    fn receive(&mut self) {
        let capsule = self.slot();
        if let Some(shared) = &mut self.shared {
            let _ = shared.recv(RecvBuf { capsule, data: None });
            return;
        }
        if let Some(conn) = &mut self.conn {
            // A connection that stopped posting gives the memory back to its pool at once.
            let lent = capsule.addr().as_ptr().addr();
            if !conn.is_posting() {
                self.lent.remove(&lent);
            }
            let _ = conn.recv(RecvBuf { capsule, data: None });
        }
    }

    /// Posts a command's READ.
    pub(crate) fn post_read(&mut self) {
        self.done.read = true;
        let into = self.slot();
        let from = Remote { addr: self.stage.region.addr(), rkey: self.stage.region.rkey() };
        self.drive(|conn, now, out| {
            let _ = conn.read(into, from, 1);
            conn.flush(now, out);
        });
    }

    /// Posts a command's data and response, as one list.
    pub(crate) fn post_response(&mut self) {
        self.done.response = true;
        let (data, response) = (self.slot(), self.slot());
        let to = Remote { addr: self.stage.region.addr() + 1024, rkey: self.stage.region.rkey() };
        self.drive(|conn, now, out| {
            let _ = conn.write(data, to, 2);
            let _ = conn.send(response, None, 3);
            conn.flush(now, out);
        });
    }

    /// Tells the connection something, takes back what that retired, and follows its drain.
    pub(crate) fn drive(
        &mut self,
        tell: impl FnOnce(&mut Connection<SimStack>, Now, &mut Vec<Retired>),
    ) {
        let now = self.now();
        if let Some(conn) = &mut self.conn {
            tell(conn, now, &mut self.retired);
        }
        self.take_retired();
        self.settle();
    }

    fn settle(&mut self) {
        let now = self.now();
        let Some(conn) = &mut self.conn else { return };
        conn.settle(now, &mut self.retired);
        self.take_retired();
        let holding = u32::from(self.disk.is_some());
        self.flush_shared();
        let Some(conn) = &mut self.conn else { return };
        if conn.has_posts() {
            conn.flush(now, &mut self.retired);
        }
        if conn.state() > State::Live {
            conn.set_backend(now, holding, &mut self.retired);
        }
        self.take_retired();
        self.follow();
    }

    fn follow(&mut self) {
        let now = self.now();
        let Some(conn) = &mut self.conn else { return };
        let state = conn.state();
        if state < self.seen {
            self.faults.push(format!("S15: from {:?} back to {state:?}", self.seen));
        }
        if state > State::Live && self.began.is_none() {
            self.began = Some(now);
        }
        self.seen = state;
        if !conn.watches_cm() {
            self.stage.fabric.forget_peer(self.peer.number());
        }
        let Some(conn) = &mut self.conn else { return };
        let must_not_poll = conn.caps().after_destroy == transport::caps::AfterDestroy::MustNotPoll;
        self.silent |= must_not_poll && state >= State::Destroying;
        if conn.is_posting() && state >= State::Closing {
            self.faults.push(format!("S5: posts are taken in {state:?}"));
        }
        if conn.is_open() && state != State::Live {
            self.faults.push(format!("S6: commands are dispatched in {state:?}"));
        }
        while let Some(job) = conn.poll_job() {
            let errand = match &job {
                Job::Disconnect { .. } | Job::Refuse { .. } => Errand::Disconnect,
                Job::DestroyQp { .. } => Errand::DestroyQp,
                Job::DestroyId { .. } => Errand::DestroyId,
            };
            let reaping = self.stage.fabric.reaping(job);
            if errand == Errand::Disconnect && state >= State::Erroring {
                // Behind our own move to ERR it changes nothing here.
                drop(reaping.run());
            } else {
                self.errands.push((errand, reaping));
            }
        }
        if conn.is_finished() {
            self.finished();
        }
    }

    fn finished(&mut self) {
        let state = self.state();
        self.conn = None;
        let proved = self.shared_queue_goes();
        let held = self.held();
        if state == State::Dead && proved && held > 0 {
            self.faults.push(format!("S2: {held} bytes are missing in Dead"));
        }
        if self.disk.is_some() && state == State::Dead {
            self.faults.push("S3: Dead with a disk operation out".to_owned());
        }
    }

    /// Behind its last queue pair the shared queue goes, and gives back what is left, unless its
    /// destroy proves nothing.
    fn shared_queue_goes(&mut self) -> bool {
        let Some(mut shared) = self.shared.take() else { return true };
        let Some((srq, epoch)) = shared.take_srq() else { return true };
        let caps = self.stage.lane.borrow().caps();
        let now = self.now();
        let proof = transport::proof::destroy_srq(srq, epoch, caps, &|| now);
        let proved = proof.is_ok();
        shared.handle_destroyed(proof, &mut self.retired);
        self.take_retired();
        proved
    }

    /// Posts what is queued for the shared queue; a refusal closes the connection.
    fn flush_shared(&mut self) {
        let flushed = self.shared.as_mut().map(|shared| shared.flush(&mut self.retired));
        if let Some(Err(_)) = flushed {
            let now = self.now();
            if let Some(conn) = &mut self.conn {
                conn.close(now, Cause::PostRefused, &mut self.retired);
            }
            self.take_retired();
        }
    }

    /// What left the in-flight table: each buffer once, and nobody else may hold it.
    fn take_retired(&mut self) {
        while let Some(retired) = self.retired.pop() {
            let succeeded = retired.succeeded();
            let open = self.conn.as_ref().is_some_and(Connection::is_open);
            let posting = self.conn.as_ref().is_some_and(Connection::is_posting);
            let buf = match retired.memory {
                Memory::Buf(buf) => buf,
                Memory::Recv(recv) => recv.capsule,
            };
            if !self.lent.remove(&buf.addr().as_ptr().addr()) {
                self.faults.push(format!("S4: {:?} is retired twice", retired.kind));
            }
            self.stage.fabric.check_released(buf.addr().as_ptr().addr() as u64, buf.len());
            match retired.kind {
                // The daemon sends a READ's data to the disk while responses can be posted.
                WrKind::Read if succeeded && posting => self.write_to_disk(buf),
                // A command: its receive is posted anew.
                WrKind::Recv if succeeded && open => {
                    drop(buf);
                    self.receive();
                }
                WrKind::Read | WrKind::Recv | WrKind::Send | WrKind::Write => drop(buf),
            }
        }
    }

    fn write_to_disk(&mut self, memory: Buf) {
        let address = memory.addr().as_ptr().addr();
        let touch = self.stage.fabric.disk_begins(address as u64, memory.len(), DiskAccess::Reads);
        self.lent.insert(address);
        self.disk = Some(DiskWrite { touch, memory });
    }

    pub(crate) fn has_disk(&self) -> bool {
        self.disk.is_some()
    }

    /// The disk answers.
    pub(crate) fn disk_answers(&mut self) {
        let Some(DiskWrite { touch, memory }) = self.disk.take() else { return };
        self.stage.fabric.disk_ends(touch);
        self.lent.remove(&memory.addr().as_ptr().addr());
        drop(memory);
        self.drive(|conn, now, out| conn.set_backend(now, 0, out));
    }

    /// There is something to poll, and it may be polled.
    pub(crate) fn can_poll(&self) -> bool {
        self.conn.is_some() && !self.silent && self.stage.fabric.completions_waiting() > 0
    }

    /// Polls until the queue is empty; completions of a connection that is gone mean nothing.
    pub(crate) fn poll(&mut self) {
        if self.silent {
            return;
        }
        // More than the two queues and a stale completion: one batch empties the queue, so that it
        // makes no difference which completions would have been the last of the first batch.
        let mut wcs = [Wc::EMPTY; 16];
        // A batch is bounded all the same.
        for _ in 0..4 {
            let count = match self.stage.poll(&mut wcs) {
                Ok(count) => count,
                Err(_) => {
                    self.silent = true;
                    return self
                        .drive(|conn, now, out| conn.close(now, Cause::CompletionQueueError, out));
                }
            };
            for wc in &wcs[..count] {
                self.complete(wc);
            }
            if count < wcs.len() {
                break;
            }
        }
        self.settle();
    }

    fn complete(&mut self, wc: &Wc) {
        let Some(id) = WrId::from_raw(wc.wr_id) else { return };
        let now = self.now();
        if let (IdKind::SharedRecv, Some(shared)) = (id.kind, &mut self.shared) {
            shared.handle_completion(wc, id, &mut self.retired);
            if let Some(conn) = &mut self.conn {
                conn.shared_receive(now, &mut self.retired);
                if wc.status != WcStatus::Success {
                    conn.close(now, Cause::FlushedByDevice, &mut self.retired);
                }
            }
        } else if let Some(conn) = &mut self.conn {
            conn.handle_completion(wc, id, &mut self.retired);
        }
        self.take_retired();
    }

    /// Reads what is readable: the id's channel while it is watched, and the device's events.
    pub(crate) fn read_events(&mut self) {
        loop {
            let watched = self.conn.as_ref().filter(|conn| conn.watches_cm());
            let Some(Ok(Some(event))) = watched.and_then(Connection::id).map(CmId::next_event)
            else {
                break;
            };
            self.drive(|conn, now, out| conn.handle_cm_event(now, event, out));
        }
        while let Some(Ok(Some(event))) = self.device.as_ref().map(Device::next_async_event) {
            self.handle_async(event);
        }
    }

    fn handle_async(&mut self, event: AsyncEvent) {
        match event {
            AsyncEvent::QpError(_) => {
                self.drive(|conn, now, out| conn.close(now, Cause::QueuePairError, out));
            }
            AsyncEvent::CommEstablished(_) => self.drive(Connection::established),
            AsyncEvent::LastWqeReached(_) => self.drive(Connection::last_wqe_reached),
            AsyncEvent::CqError => {
                self.silent = true;
                self.drive(|conn, now, out| conn.close(now, Cause::CompletionQueueError, out));
            }
            AsyncEvent::DeviceFatal => {
                self.silent = true;
                self.drive(|conn, now, out| conn.close(now, Cause::DeviceFatal, out));
            }
            AsyncEvent::SqDrained(_) | AsyncEvent::Other(_) => {}
        }
    }

    /// A reaper is done with an errand.
    pub(crate) fn run_errand(&mut self, index: usize) {
        let (_, reaping) = self.errands.remove(index);
        self.stage.set_now(reaping.ready_at());
        if let Some(outcome) = reaping.run() {
            self.drive(|conn, now, out| conn.handle_outcome(now, outcome, out));
        }
        self.read_events();
    }

    /// What this driver makes of the order of completions.
    ///
    /// A connection that takes posts dispatches by it: a READ that is polled before the flush of a
    /// shared receive goes to the disk, one that is polled behind it does not. Once it takes none,
    /// a completion only gives its work request's memory back, and in order that of older ones of
    /// the same queue; a batch is settled when it is through.
    fn polls(&self) -> Polls {
        if self.silent {
            return Polls::Never;
        }
        let posting = self.conn.as_ref().is_some_and(Connection::is_posting);
        if posting { Polls::InOrder } else { Polls::ByQueue }
    }

    /// What decides how the run goes on.
    #[must_use]
    pub fn fingerprint(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        if let Some(conn) = &self.conn {
            self.stage.fabric.fingerprint(self.polls()).hash(&mut hasher);
            conn.fingerprint(&mut hasher);
        }
        (self.seen, self.silent, self.disk.is_some()).hash(&mut hasher);
        self.shared.as_ref().map(|shared| shared.table().out()).hash(&mut hasher);
        for (errand, _) in &self.errands {
            errand.hash(&mut hasher);
        }
        hasher.finish()
    }

    /// What may yet be spent. A state that was reached with as much of everything left covers one
    /// that was reached with less.
    #[must_use]
    pub fn budget(&self) -> Budget {
        let Done { read, response, closed, peer_left, messages, kicks, quiet } = self.done;
        let bound = self.stage.bound;
        Budget([
            self.choices().left(),
            u8::from(!read),
            u8::from(!response),
            u8::from(!closed),
            u8::from(!peer_left),
            bound.messages - messages,
            bound.kicks - kicks,
            QUIET_POLLS - quiet,
        ])
    }

    /// What decides how the run ends when nothing but time passes: the connection, and what it can
    /// poll.
    #[must_use]
    pub fn fingerprint_of_end(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        if let Some(conn) = &self.conn {
            conn.fingerprint(&mut hasher);
        }
        let left = self.began.map(|began| self.now().since(began));
        let completions = self.stage.fabric.fingerprint_of_completions(self.polls());
        (completions, left).hash(&mut hasher);
        (self.seen, self.silent, self.disk.is_some(), self.errands.len()).hash(&mut hasher);
        hasher.finish()
    }

    /// What was broken so far, in words.
    #[must_use]
    pub fn violations(&self) -> Vec<String> {
        let recorded = self.stage.fabric.violations();
        let recorded = recorded.iter().map(ToString::to_string);
        recorded.chain(self.faults.iter().cloned()).collect()
    }
}
