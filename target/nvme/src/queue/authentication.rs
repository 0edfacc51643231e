//! Authentication Send and Receive on a queue (NVMe-oF 1.1 §3.1 and §3.2).

use super::{First, Queue, Role};
use crate::action::{Action, Source};
use crate::admin::fctype;
use crate::auth::{Computed, Event, Exchange};
use crate::data::{self, InCapsule};
use crate::limits::AUTH_BYTES_MAX;
use crate::now::Now;
use crate::permit::{Outcome, Permit, Stage};
use crate::wire::refusal::field;
use crate::wire::{Sqe, Status};

/// Security protocol of NVMe's own in-band authentication (SECP).
const SECURITY_PROTOCOL_NVME: u8 = 0xe9;
/// DH-HMAC-CHAP's part of it (SPSP0 and SPSP1).
const PROTOCOL_SPECIFIC: [u8; 2] = [1, 1];

/// A queue's exchange, and whether a command of it is in progress.
#[derive(Debug)]
pub(super) struct Authentication {
    pub(super) exchange: Exchange,
    /// From a Send or Receive until its permit ends.
    pub(super) busy: bool,
}

/// One of the two commands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Direction {
    Send,
    Receive,
}

/// Which of the two a command is, if any.
pub(super) fn direction(sqe: &Sqe) -> Option<Direction> {
    match (sqe.opcode, sqe.fctype()) {
        (Sqe::FABRICS, fctype::AUTHENTICATION_SEND) => Some(Direction::Send),
        (Sqe::FABRICS, fctype::AUTHENTICATION_RECEIVE) => Some(Direction::Receive),
        _ => None,
    }
}

impl Queue {
    /// Whether commands other than authentication's are taken: its host was authenticated, or need
    /// not be.
    pub fn is_authenticated(&self) -> bool {
        self.authentication.as_ref().is_none_or(|auth| auth.exchange.is_authenticated())
    }

    /// When [`Queue::handle_timeout`] is to be called, unless something comes before.
    pub fn poll_timeout(&self) -> Option<Now> {
        self.authentication.as_ref().and_then(|auth| auth.exchange.deadline())
    }

    /// The exchange's time is over: the connection is to be closed.
    pub fn handle_timeout(&mut self) {
        if let Some(auth) = &mut self.authentication {
            auth.exchange.expire();
        }
        self.show_exchange();
    }

    /// What became of an exchange, at most one for each.
    pub fn poll_authentication(&mut self) -> Option<Event> {
        self.authentication.as_mut().and_then(|auth| auth.exchange.poll_event())
    }

    /// Tells the controller's owner whether an exchange goes on.
    pub(super) fn show_exchange(&self) {
        if let Role::Io { activity, .. } = &self.role {
            activity.set_authenticating(self.poll_timeout().is_some());
        }
    }

    /// A message of an exchange, or a command that comes before one has succeeded. Like any other
    /// command it leaves the first half of a fused operation without its second.
    pub(super) fn guarded(
        &mut self,
        permit: Permit,
        sqe: &Sqe,
        came: InCapsule,
        direction: Option<Direction>,
    ) -> Action {
        let missed = match self.first.take() {
            Some(First::Waits(first, _)) => {
                Some(self.respond(first, Status::MISSING_FUSED.dnr().at(field::FLAGS)))
            }
            Some(First::Refused) | None => None,
        };
        let action = match direction {
            Some(direction) => self.authenticate(permit, sqe, came, direction),
            None => self.respond(permit, Status::AUTHENTICATION_REQUIRED.dnr()),
        };
        match missed {
            Some(missed) => Action::Both(Box::new([missed, action])),
            None => action,
        }
    }

    fn authenticate(
        &mut self,
        mut permit: Permit,
        sqe: &Sqe,
        came: InCapsule,
        direction: Direction,
    ) -> Action {
        let now = self.now;
        let Some(auth) = self.authentication.as_mut() else {
            return self.respond(permit, Status::INVALID_OPCODE.dnr());
        };
        let [_, spsp0, spsp1, secp] = sqe.cdw10.get().to_le_bytes();
        let len = sqe.cdw11.get();
        let known = secp == SECURITY_PROTOCOL_NVME && [spsp0, spsp1] == PROTOCOL_SPECIFIC;
        if !known || len == 0 {
            return self.respond(permit, Status::INVALID_FIELD.dnr());
        }
        if auth.busy {
            return self.respond(permit, Status::COMMAND_SEQUENCE_ERROR.dnr());
        }
        permit.invalidate = sqe.sgl().ok().and_then(|sgl| sgl.invalidate());
        match direction {
            Direction::Send => {
                if !auth.exchange.takes_messages() {
                    return self.respond(permit, Status::COMMAND_SEQUENCE_ERROR.dnr());
                }
                if len > AUTH_BYTES_MAX {
                    return self.respond(permit, Status::INVALID_FIELD.dnr());
                }
                match data::from_host_exact(sqe, came, u64::from(len)) {
                    Ok(from) => {
                        auth.busy = true;
                        permit.stage = Stage::Authenticate;
                        Action::Fetch { permit, from, len }
                    }
                    Err(status) => self.respond(permit, status),
                }
            }
            Direction::Receive => {
                let to = match data::to_host(sqe, u64::from(len)) {
                    Ok(to) => to,
                    Err(status) => return self.respond(permit, status),
                };
                match auth.exchange.receive(now, len) {
                    Ok(len) => {
                        auth.busy = true;
                        permit.stage = Stage::Authenticate;
                        Action::Return { permit, to, len, source: Source::Authentication }
                    }
                    Err(Some(())) => self.respond(permit, Status::INVALID_FIELD.dnr()),
                    Err(None) => self.respond(permit, Status::COMMAND_SEQUENCE_ERROR.dnr()),
                }
            }
        }
    }

    /// The message of an Authentication Send.
    pub(super) fn authentication_message(&mut self, permit: Permit, message: &[u8]) -> Action {
        let now = self.now;
        let work =
            self.authentication.as_mut().and_then(|a| a.exchange.handle_message(now, message));
        match work {
            Some(work) => Action::Compute { permit, work: Box::new(work) },
            // What was wrong with it, the host learns by its next Receive.
            None => self.respond(permit, Outcome::SUCCESS),
        }
    }

    /// What came of the work of an [`Action::Compute`].
    pub fn handle_computed(&mut self, now: Now, permit: Permit, computed: Computed) -> Action {
        self.now = now;
        if let Some(auth) = &mut self.authentication {
            auth.exchange.handle_computed(now, computed);
        }
        self.respond(permit, Outcome::SUCCESS)
    }

    /// Writes what an [`Action::Return`] of [`Source::Authentication`] promised.
    pub fn fill_authentication(&self, out: &mut [u8]) {
        if let Some(auth) = &self.authentication {
            auth.exchange.fill(out);
        }
    }
}
