//! One NVMe queue over one connection: from its first capsule to its last.

mod authentication;

use std::sync::Arc;

use crate::action::{Action, DisconnectCause};
use crate::activity::IoActivity;
use crate::admin::{self, AdminCommand};
use crate::auth::{Credentials, Exchange};
use crate::connect::{ConnectError, ConnectFields, ConnectRequest, IoGrant, IoView};
use crate::controller::Controller;
use crate::data::{self, InCapsule};
use crate::error_log::{ErrorLog, Failure};
use crate::ident::{Cid, Cntlid, Nsid, Qid};
use crate::io::{self, CompareAndWrite, DiskOp, FirstHalf, NotFused, Started, Step};
use crate::limits;
use crate::now::Now;
use crate::permit::{Completion, Outcome, Permit, Stage};
use crate::rdma::TransportClaim;
use crate::wire::refusal::field;
use crate::wire::{Cqe, Refusal, Sqe, Status};
use authentication::Authentication;

/// One queue. It lives on the reactor of its connection and never asks another one on the data
/// path: an I/O queue judges commands by its own snapshot.
///
/// INVARIANT: a command id is outstanding from the capsule that brought it until its permit ends
/// here, and never more of them than the queue has entries.
#[derive(Debug)]
pub struct Queue {
    claim: TransportClaim,
    in_capsule_bytes: u32,
    role: Role,
    outstanding: CidSet,
    entries: u16,
    sqhd: u16,
    flow_control: bool,
    /// The host disconnected it.
    disconnected: bool,
    /// Of a host that has to show who it is.
    authentication: Option<Box<Authentication>>,
    /// As of the last call that said it.
    now: Now,
    /// What the last command was, if it was the first half of a fused operation.
    first: Option<First>,
}

/// The first half of a fused operation; the next command has to be the second.
#[derive(Debug)]
enum First {
    /// It waits.
    Waits(Permit, FirstHalf),
    /// It was refused.
    Refused,
}

#[derive(Debug)]
enum Role {
    Fresh,
    Connecting,
    Admin { cntlid: Cntlid, errors: Arc<ErrorLog> },
    Io { cntlid: Cntlid, view: IoView, activity: Arc<IoActivity>, errors: Arc<ErrorLog> },
}

/// How far a queue is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum QueueKind {
    /// No Connect yet, or it was refused.
    Fresh,
    /// Connect is being answered.
    Connecting,
    /// The admin queue of a controller.
    Admin,
    /// An I/O queue of a controller.
    Io,
}

/// Connect's result: authentication is required (NVMe Base 2.0 §8.13.3), without a secure channel.
const AUTHREQ_ATR: u64 = 1 << 17;

impl Queue {
    /// A queue on an established connection, before Connect.
    ///
    /// `in_capsule_bytes` is what a capsule has room for after the 64 bytes; the admin queue has
    /// none whatever is said.
    pub fn new(claim: TransportClaim, in_capsule_bytes: u32) -> Self {
        Self {
            claim,
            in_capsule_bytes: if claim.qid == Qid::ADMIN { 0 } else { in_capsule_bytes },
            role: Role::Fresh,
            outstanding: CidSet::new(),
            entries: claim.entries,
            sqhd: 0,
            flow_control: true,
            disconnected: false,
            first: None,
            authentication: None,
            now: Now::default(),
        }
    }

    /// One command capsule. `capsule` is its first bytes, at most 64 of which are read;
    /// `in_capsule_len` is how many bytes came after the 64.
    pub fn handle_capsule(&mut self, now: Now, capsule: &[u8], in_capsule_len: u32) -> Action {
        self.now = now;
        let Some(sqe) = Sqe::parse(capsule) else {
            return Action::Disconnect { cause: DisconnectCause::ShortCapsule };
        };
        if self.outstanding.len() >= self.entries {
            return Action::Disconnect { cause: DisconnectCause::QueueOverrun };
        }
        let cid = sqe.cid();
        if !self.outstanding.insert(cid) {
            return Action::Respond(self.conflict(&sqe));
        }
        let mut permit = Permit::new(self.claim.qid, cid, sqe.opcode);
        permit.nsid = sqe.nsid();
        let came = InCapsule(in_capsule_len.min(self.in_capsule_bytes));
        if self.authentication.is_some() {
            if let Role::Io { activity, .. } = &self.role {
                activity.touch();
            }
            let direction = authentication::direction(&sqe);
            if direction.is_some() || !self.is_authenticated() {
                return self.guarded(permit, &sqe, came, direction);
            }
        }
        match &self.role {
            Role::Fresh | Role::Connecting => self.unconnected(permit, &sqe, came),
            Role::Admin { .. } => {
                permit.invalidate = sqe.sgl().ok().and_then(|sgl| sgl.invalidate());
                Action::Admin { permit, command: AdminCommand::parse(&sqe) }
            }
            Role::Io { view, activity, .. } => {
                activity.touch();
                permit.lba = sqe.cdw10_11();
                if sqe.fuse() != 0 || self.first.is_some() {
                    return self.fused(permit, &sqe, came);
                }
                if sqe.opcode == Sqe::FABRICS {
                    return self.fabrics(permit, &sqe);
                }
                let started = io::start(&sqe, view, came);
                self.started(permit, started)
            }
        }
    }

    /// A half of a fused operation, or what follows a first half (NVMe Base 2.0 §3.4.2): halves are
    /// next to each other, and one without the other is aborted.
    #[cold]
    fn fused(&mut self, permit: Permit, sqe: &Sqe, came: InCapsule) -> Action {
        let fuse = if sqe.opcode == Sqe::FABRICS { 0 } else { sqe.fuse() };
        let earlier = self.first.take();
        if fuse == Sqe::FUSE_SECOND {
            return match earlier {
                Some(First::Waits(first, half)) => self.second(first, &half, permit, sqe, came),
                Some(First::Refused) => self.respond(permit, Status::FAILED_FUSED),
                None => self.respond(permit, Status::MISSING_FUSED.dnr().at(field::FLAGS)),
            };
        }
        let missed = match earlier {
            Some(First::Waits(first, _)) => {
                Some(self.respond(first, Status::MISSING_FUSED.dnr().at(field::FLAGS)))
            }
            Some(First::Refused) | None => None,
        };
        let action = if fuse == Sqe::FUSE_FIRST {
            self.first(permit, sqe, came)
        } else if sqe.opcode == Sqe::FABRICS {
            self.fabrics(permit, sqe)
        } else {
            let started = match &self.role {
                Role::Io { view, .. } => io::start(sqe, view, came),
                Role::Fresh | Role::Connecting | Role::Admin { .. } => {
                    Err(Status::INTERNAL_ERROR.into())
                }
            };
            self.started(permit, started)
        };
        match missed {
            Some(missed) => Action::Both(Box::new([missed, action])),
            None => action,
        }
    }

    fn first(&mut self, mut permit: Permit, sqe: &Sqe, came: InCapsule) -> Action {
        let Role::Io { view, .. } = &self.role else {
            return self.respond(permit, Status::INTERNAL_ERROR);
        };
        match io::first_half(sqe, view, came) {
            Ok((started, half)) => {
                permit.stage = started.stage;
                permit.invalidate = started.invalidate;
                self.first = Some(First::Waits(permit, half));
                Action::Hold
            }
            Err(refusal) => {
                self.first = Some(First::Refused);
                self.respond(permit, refusal)
            }
        }
    }

    fn second(
        &mut self,
        first: Permit,
        half: &FirstHalf,
        mut permit: Permit,
        sqe: &Sqe,
        came: InCapsule,
    ) -> Action {
        let Role::Io { view, .. } = &self.role else {
            first.abandon();
            return self.respond(permit, Status::INTERNAL_ERROR);
        };
        let disk = view.subsystem.namespace(half.nsid).map(|namespace| namespace.disk);
        let second = io::second_half(sqe, view, came, half);
        let (one, two) = match (second, disk) {
            (Ok((started, write, fua)), Some(disk)) => {
                permit.stage = started.stage;
                permit.invalidate = started.invalidate;
                let (extent, compare) = (half.extent, half.from);
                let op = CompareAndWrite { first, disk, extent, compare, write, fua };
                return Action::Execute { permit, op: DiskOp::CompareAndWrite(Box::new(op)) };
            }
            (Ok(_), None) => {
                let gone = Outcome::from(Status::INVALID_NAMESPACE.dnr().at(field::NSID));
                (gone, gone)
            }
            (Err(NotFused::Second(refusal)), _) => {
                (Outcome::from(Status::FAILED_FUSED), Outcome::from(refusal))
            }
            (Err(NotFused::Both(refusal)), _) => (refusal.into(), refusal.into()),
        };
        let one = self.respond(first, one);
        Action::Both(Box::new([one, self.respond(permit, two)]))
    }

    /// Whether a Compare waits for the Write that is fused to it: its in-capsule data is in use.
    pub fn holds_first_half(&self) -> bool {
        matches!(self.first, Some(First::Waits(..)))
    }

    /// A command id that is outstanding already: the command of that id goes on.
    fn conflict(&mut self, sqe: &Sqe) -> Completion {
        let cid = sqe.cid();
        let outcome = Outcome::from(Status::COMMAND_ID_CONFLICT.dnr().at(field::CID));
        let mut permit = Permit::new(self.claim.qid, cid, sqe.opcode);
        permit.nsid = sqe.nsid();
        let outcome = self.report(&permit, outcome);
        permit.abandon();
        Completion { cqe: self.entry(cid, outcome), invalidate: None }
    }

    /// A Fabrics command on an I/O queue: Connect comes once, and what is for the admin queue only
    /// is refused (NVMe-oF 1.1 §3).
    fn fabrics(&mut self, permit: Permit, sqe: &Sqe) -> Action {
        let recfmt = sqe.cdw10.get() & 0xffff;
        let refusal = match sqe.fctype() {
            admin::fctype::DISCONNECT if recfmt == 0 && !self.disconnected => {
                self.disconnected = true;
                if let Role::Io { view, .. } = &mut self.role {
                    view.ready = false;
                }
                return Action::Finish(self.complete(permit, Outcome::SUCCESS));
            }
            admin::fctype::DISCONNECT if recfmt != 0 => {
                Status::CONNECT_INCOMPATIBLE_FORMAT.dnr().at(field::CDW10)
            }
            admin::fctype::CONNECT | admin::fctype::DISCONNECT => {
                Status::COMMAND_SEQUENCE_ERROR.dnr().at(field::NSID)
            }
            _ => Status::INVALID_OPCODE.dnr().at(field::NSID),
        };
        self.respond(permit, refusal)
    }

    /// A capsule before Connect was granted: only Connect itself, once at a time.
    fn unconnected(&mut self, mut permit: Permit, sqe: &Sqe, came: InCapsule) -> Action {
        let connect = sqe.opcode == Sqe::FABRICS && sqe.fctype() == admin::fctype::CONNECT;
        if !connect || matches!(self.role, Role::Connecting) {
            return self.respond(permit, Status::COMMAND_SEQUENCE_ERROR.dnr());
        }
        let fields = ConnectFields::parse(sqe);
        if let Err(error) = fields.check(self.claim) {
            return self.respond(permit, error);
        }
        let len = limits::CONNECT_DATA_BYTES;
        let from = match data::from_host_exact(sqe, came, u64::from(len)) {
            Ok(from) => from,
            Err(status) => return self.respond(permit, status),
        };
        permit.invalidate = sqe.sgl().ok().and_then(|sgl| sgl.invalidate());
        permit.stage = Stage::Connect(fields);
        self.role = Role::Connecting;
        Action::Fetch { permit, from, len }
    }

    fn started(&mut self, mut permit: Permit, started: Result<Started, Refusal>) -> Action {
        let started = match started {
            Ok(started) => started,
            Err(refusal) => return self.respond(permit, refusal),
        };
        permit.stage = started.stage;
        permit.invalidate = started.invalidate;
        match started.step {
            Step::Execute(op) => Action::Execute { permit, op },
            Step::Fetch { from, len } => Action::Fetch { permit, from, len },
            Step::Done => self.respond(permit, Outcome::SUCCESS),
        }
    }

    /// The bytes that an [`Action::Fetch`] asked for.
    pub fn handle_fetched(&mut self, now: Now, permit: Permit, data: &[u8]) -> Action {
        self.now = now;
        match (permit.stage, &self.role) {
            (Stage::Connect(fields), Role::Connecting) => {
                match ConnectRequest::parse(&fields, data) {
                    Ok(request) if fields.qid == Qid::ADMIN => {
                        Action::ConnectAdmin { permit, request: Box::new(request) }
                    }
                    Ok(request) => Action::ConnectIo { permit, request: Box::new(request) },
                    Err(error) => Action::Respond(self.refuse_connect(permit, error)),
                }
            }
            (Stage::Deallocate { nsid, ranges }, Role::Io { view, .. }) => {
                match io::deallocate(view, nsid, ranges, data) {
                    Ok(op) => Action::Execute { permit, op },
                    Err(status) => self.respond(permit, status),
                }
            }
            (Stage::Copy { fua }, Role::Io { view, .. }) => {
                match io::copy_range(view, permit.nsid, permit.lba, fua, data) {
                    Ok(op) => Action::Execute { permit, op },
                    Err(refusal) => self.respond(permit, refusal),
                }
            }
            (Stage::Authenticate, Role::Admin { .. } | Role::Io { .. }) => {
                self.authentication_message(permit, data)
            }
            // INVARIANT: Fetch is only asked for at the stages above, and a role never goes back
            // from Io. What the caller mixed up must not hang the host.
            (
                Stage::Connect(_)
                | Stage::Authenticate
                | Stage::Deallocate { .. }
                | Stage::Copy { .. }
                | Stage::Plain
                | Stage::Read { .. }
                | Stage::Write { .. },
                _,
            ) => self.respond(permit, Status::INTERNAL_ERROR),
        }
    }

    /// Answers a command.
    pub fn complete(&mut self, permit: Permit, outcome: Outcome) -> Completion {
        let outcome = self.report(&permit, outcome);
        let (cid, invalidate, stage) = permit.end();
        if outcome.status.is_success()
            && let Role::Io { activity, .. } = &self.role
        {
            match stage {
                Stage::Read { bytes } => activity.count_read(bytes),
                Stage::Write { bytes } => activity.count_write(bytes),
                Stage::Plain
                | Stage::Connect(_)
                | Stage::Authenticate
                | Stage::Deallocate { .. }
                | Stage::Copy { .. } => {}
            }
        }
        self.end_stage(stage);
        self.outstanding.remove(cid);
        Completion { cqe: self.entry(cid, outcome), invalidate }
    }

    /// Enters a failure in the controller's log, and says so in its status.
    fn report(&self, permit: &Permit, outcome: Outcome) -> Outcome {
        // The log is the host's: nobody writes into it before he has shown that he is that host.
        if outcome.status.is_success() || !self.is_authenticated() {
            return outcome;
        }
        let errors = match &self.role {
            Role::Admin { errors, .. } | Role::Io { errors, .. } => errors,
            Role::Fresh | Role::Connecting => return outcome,
        };
        if !ErrorLog::wants(outcome.status) {
            return outcome;
        }
        let fabrics = permit.opcode == Sqe::FABRICS;
        errors.record(Failure {
            qid: permit.qid,
            cid: permit.cid,
            opcode: permit.opcode,
            status: outcome.status,
            location: outcome.location,
            lba: if io::names_blocks(permit.opcode) { permit.lba } else { 0 },
            nsid: if fabrics { Nsid(0) } else { permit.nsid },
        });
        Outcome { status: outcome.status.more(), ..outcome }
    }

    /// Forgets a command without an answer: the host must not wait for one, as after a reset of
    /// its controller.
    pub fn abandon(&mut self, permit: Permit) {
        let (cid, _, stage) = permit.end();
        self.end_stage(stage);
        self.outstanding.remove(cid);
    }

    /// A Connect that was not granted leaves the queue as it was before; after a message of an
    /// authentication there may be another.
    fn end_stage(&mut self, stage: Stage) {
        if stage == Stage::Authenticate
            && let Some(authentication) = &mut self.authentication
        {
            authentication.busy = false;
            self.show_exchange();
        }
        if matches!(stage, Stage::Connect(_)) && matches!(self.role, Role::Connecting) {
            self.role = Role::Fresh;
        }
    }

    /// Grants Connect on the admin queue.
    pub fn connect_admin(&mut self, permit: Permit, controller: &Controller) -> Completion {
        let cntlid = controller.cntlid();
        let errors = Arc::clone(controller.errors());
        let credentials = controller.credentials().cloned();
        self.connected(permit, cntlid, Role::Admin { cntlid, errors }, credentials)
    }

    /// Grants Connect on an I/O queue.
    pub fn connect_io(&mut self, permit: Permit, grant: IoGrant) -> Completion {
        let IoGrant { cntlid, view, activity, errors, credentials } = grant;
        self.connected(permit, cntlid, Role::Io { cntlid, view, activity, errors }, credentials)
    }

    fn connected(
        &mut self,
        permit: Permit,
        cntlid: Cntlid,
        role: Role,
        credentials: Option<Arc<Credentials>>,
    ) -> Completion {
        let required = if credentials.is_some() { AUTHREQ_ATR } else { 0 };
        if let Stage::Connect(fields) = permit.stage {
            self.role = role;
            self.entries = fields.sqsize.saturating_add(1);
            self.flow_control = !fields.flow_control_disabled;
            self.authentication = credentials.map(|credentials| {
                let exchange = Exchange::new(credentials, self.now);
                Box::new(Authentication { exchange, busy: false })
            });
            self.show_exchange();
        }
        self.complete(permit, Outcome::result(u64::from(cntlid.0) | required))
    }

    /// Refuses Connect; the host may try again on the same connection.
    pub fn refuse_connect(&mut self, permit: Permit, error: ConnectError) -> Completion {
        self.complete(permit, Outcome::from(error))
    }

    /// A new snapshot from the controller's owner.
    pub fn update(&mut self, view: IoView) {
        if let Role::Io { view: old, .. } = &mut self.role {
            *old = IoView { ready: view.ready && !self.disconnected, ..view };
        }
    }

    /// How far it is.
    pub fn kind(&self) -> QueueKind {
        match self.role {
            Role::Fresh => QueueKind::Fresh,
            Role::Connecting => QueueKind::Connecting,
            Role::Admin { .. } => QueueKind::Admin,
            Role::Io { .. } => QueueKind::Io,
        }
    }

    /// Its id, as the transport was told.
    pub fn qid(&self) -> Qid {
        self.claim.qid
    }

    /// Its controller, once connected.
    pub fn cntlid(&self) -> Option<Cntlid> {
        match self.role {
            Role::Fresh | Role::Connecting => None,
            Role::Admin { cntlid, .. } | Role::Io { cntlid, .. } => Some(cntlid),
        }
    }

    /// Snapshot of an I/O queue.
    pub fn view(&self) -> Option<&IoView> {
        match &self.role {
            Role::Io { view, .. } => Some(view),
            Role::Fresh | Role::Connecting | Role::Admin { .. } => None,
        }
    }

    /// Commands outstanding.
    pub fn in_flight(&self) -> u16 {
        self.outstanding.len()
    }

    /// Commands that may be outstanding.
    pub fn entries(&self) -> u16 {
        self.entries
    }

    pub(crate) fn respond(&mut self, permit: Permit, outcome: impl Into<Outcome>) -> Action {
        Action::Respond(self.complete(permit, outcome.into()))
    }

    /// The entry that answers one capsule. The head moves by one for each, so that a host that
    /// counts credit by it never has more outstanding than we have entries.
    fn entry(&mut self, cid: Cid, outcome: Outcome) -> Cqe {
        self.sqhd = self.sqhd.wrapping_add(1);
        if self.sqhd >= self.entries {
            self.sqhd = 0;
        }
        let sqhd = if self.flow_control { self.sqhd } else { u16::MAX };
        Cqe::new(cid, sqhd, outcome.status, outcome.result)
    }
}

impl Drop for Queue {
    /// A first half that waits is given up with its queue.
    fn drop(&mut self) {
        if let Some(First::Waits(permit, _)) = self.first.take() {
            permit.abandon();
        }
    }
}

/// Which command ids are outstanding: a bit for each of the 65536, so that a host's choice of ids
/// costs nothing. 8 KiB a queue, allocated once.
struct CidSet {
    bits: Box<[u64]>,
    len: u16,
}

impl CidSet {
    fn new() -> Self {
        Self { bits: vec![0; 1024].into_boxed_slice(), len: 0 }
    }

    fn place(cid: Cid) -> (usize, u64) {
        (usize::from(cid.0 / 64), 1 << (cid.0 % 64))
    }

    /// Whether it was absent.
    fn insert(&mut self, cid: Cid) -> bool {
        let (word, bit) = Self::place(cid);
        let absent = self.bits[word] & bit == 0;
        self.bits[word] |= bit;
        self.len += u16::from(absent);
        absent
    }

    fn remove(&mut self, cid: Cid) {
        let (word, bit) = Self::place(cid);
        let present = self.bits[word] & bit != 0;
        debug_assert!(present, "command {cid} was not outstanding on this queue");
        self.bits[word] &= !bit;
        self.len -= u16::from(present);
    }

    fn len(&self) -> u16 {
        self.len
    }
}

impl core::fmt::Debug for CidSet {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "CidSet({})", self.len)
    }
}
