//! The states of one queue's authentication.
//!
//! | state | Negotiate | Reply | Success2 | Failure2 | Receive | next |
//! |---|---|---|---|---|---|---|
//! | Idle | begins | fails | fails | fails | refused | Beginning, when computed: Challenge |
//! | Challenge | fails | fails | fails | ends | challenge | Reply |
//! | Reply | fails | checked | fails | ends | refused | Agreeing, when computed: Success1 |
//! | Success1 | fails | fails | fails | ends | success | Idle, or Success2 if mutual |
//! | Success2 | fails | fails | ends well | ends | refused | Idle |
//! | Failure1 | refused | refused | refused | refused | the failure | Failed |
//! | Failed | refused | refused | refused | refused | refused | - |
//!
//! "Fails" leads to Failure1, "ends" to Failed. A failure takes the right to send commands away,
//! also from a queue that had it: one try a connection, which is closed a moment later.

use std::sync::Arc;

use super::check::Check;
use super::credentials::{Credentials, Said};
use super::group::Group;
use super::hash::Hash;
use super::message::{self, Message, Negotiate, Reply};
use super::work::{Begun, Computed, Done, Work};
use crate::limits::{AUTH_FAILED_LINGER_MS, AUTH_TIMEOUT_MS};
use crate::now::Now;

/// What became of an exchange, for the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// The host knows its key.
    Authenticated {
        /// Hash function used.
        hash: Hash,
        /// Group used.
        group: Group,
        /// We have shown the host that we know ours.
        mutual: bool,
        /// The queue had been authenticated before.
        again: bool,
    },
    /// It does not, or the exchange went wrong.
    Failed(Check),
}

/// One queue's authentication.
#[derive(Debug)]
pub(crate) struct Exchange {
    credentials: Arc<Credentials>,
    authenticated: bool,
    state: State,
    deadline: Option<Now>,
    event: Option<Event>,
    /// The message that a Receive is taking.
    outgoing: Vec<u8>,
}

/// What both agreed on.
#[derive(Debug, Clone, Copy)]
struct Agreed {
    transaction: u16,
    hash: Hash,
    group: Group,
}

#[derive(Debug)]
enum State {
    Idle,
    Beginning(Agreed),
    Challenge(Agreed, Begun),
    Reply(Agreed, Begun),
    Agreeing(Agreed, Claim),
    Success1 { agreed: Agreed, response: Option<super::hash::Digest> },
    Success2(Agreed),
    Failure1 { transaction: u16, check: Check },
    Failed,
}

/// What a Reply claims, until the shared value is there to check it with.
struct Claim {
    ours: (Vec<u8>, u32),
    response: Vec<u8>,
    /// The host's challenge and its number.
    theirs: Option<(Vec<u8>, u32)>,
}

impl core::fmt::Debug for Claim {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("Claim")
    }
}

impl Exchange {
    /// On a queue that was connected just now.
    pub(crate) fn new(credentials: Arc<Credentials>, now: Now) -> Self {
        Self {
            credentials,
            authenticated: false,
            state: State::Idle,
            deadline: Some(now.after_ms(AUTH_TIMEOUT_MS)),
            event: None,
            outgoing: Vec::new(),
        }
    }

    /// Whether the queue may be used.
    pub(crate) fn is_authenticated(&self) -> bool {
        self.authenticated
    }

    /// When the connection is to be closed, unless something comes of it before.
    pub(crate) fn deadline(&self) -> Option<Now> {
        self.deadline
    }

    /// Whether the exchange is one that was not over in time, and not one that has failed already.
    pub(crate) fn expire(&mut self) {
        if !matches!(self.state, State::Failed | State::Failure1 { .. }) {
            self.event = Some(Event::Failed(Check::TimedOut));
        }
        self.state = State::Failed;
        self.authenticated = false;
        self.deadline = None;
    }

    pub(crate) fn poll_event(&mut self) -> Option<Event> {
        self.event.take()
    }

    /// Whether a Send can be taken now.
    pub(crate) fn takes_messages(&self) -> bool {
        match self.state {
            State::Idle
            | State::Challenge(..)
            | State::Reply(..)
            | State::Success1 { .. }
            | State::Success2(_) => true,
            State::Beginning(_) | State::Agreeing(..) | State::Failure1 { .. } | State::Failed => {
                false
            }
        }
    }

    /// A host's message; what has to be computed before it is answered.
    pub(crate) fn handle_message(&mut self, now: Now, bytes: &[u8]) -> Option<Work> {
        match self.judge(now, bytes) {
            Ok(work) => work,
            Err(check) => {
                self.fail(now, check);
                None
            }
        }
    }

    fn judge(&mut self, now: Now, bytes: &[u8]) -> Result<Option<Work>, Check> {
        let message = Message::parse(bytes)?;
        if let (Message::Negotiate(negotiate), State::Idle) = (message, &self.state) {
            return self.negotiate(now, &negotiate).map(Some);
        }
        let transaction = match message {
            Message::Negotiate(_) => return Err(Check::WrongMessage),
            Message::Reply(reply) => reply.transaction,
            Message::Success2 { transaction } | Message::Failure2 { transaction } => transaction,
        };
        if self.transaction().is_some_and(|ours| ours != transaction) {
            return Err(Check::Transaction);
        }
        match (message, core::mem::replace(&mut self.state, State::Idle)) {
            (Message::Reply(reply), State::Reply(agreed, begun)) => {
                self.reply(agreed, begun, &reply).map(Some)
            }
            (Message::Success2 { .. }, State::Success2(agreed)) => {
                self.succeed(agreed, true);
                Ok(None)
            }
            (
                Message::Failure2 { .. },
                state @ (State::Challenge(..)
                | State::Reply(..)
                | State::Success1 { .. }
                | State::Success2(_)),
            ) => {
                drop(state);
                self.fail(now, Check::ByHost);
                self.state = State::Failed;
                Ok(None)
            }
            (_, state) => {
                self.state = state;
                Err(Check::WrongMessage)
            }
        }
    }

    fn transaction(&self) -> Option<u16> {
        match &self.state {
            State::Beginning(agreed)
            | State::Challenge(agreed, _)
            | State::Reply(agreed, _)
            | State::Agreeing(agreed, _)
            | State::Success1 { agreed, .. }
            | State::Success2(agreed) => Some(agreed.transaction),
            State::Failure1 { transaction, .. } => Some(*transaction),
            State::Idle | State::Failed => None,
        }
    }

    fn negotiate(&mut self, now: Now, negotiate: &Negotiate<'_>) -> Result<Work, Check> {
        // A failure from here on names the host's transaction.
        let transaction = negotiate.transaction;
        self.state = State::Failure1 { transaction, check: Check::WrongMessage };
        if negotiate.secure_channel != 0 {
            return Err(Check::SecureChannel);
        }
        let offer = negotiate.offer.ok_or(Check::NoProtocol)?;
        let policy = self.credentials.policy();
        let hash = policy.hashes.iter().find(|hash| offer.hashes.contains(&hash.id()));
        let group = policy.groups.iter().find(|group| offer.groups.contains(&group.id()));
        let hash = *hash.ok_or(Check::NoHash)?;
        let group = *group.ok_or(Check::NoGroup)?;
        self.state = State::Beginning(Agreed { transaction, hash, group });
        self.deadline.get_or_insert(now.after_ms(AUTH_TIMEOUT_MS));
        Ok(Work::begin(hash, group))
    }

    fn reply(&mut self, agreed: Agreed, begun: Begun, reply: &Reply<'_>) -> Result<Work, Check> {
        let Agreed { transaction, hash, group } = agreed;
        self.state = State::Failure1 { transaction, check: Check::WrongMessage };
        if reply.response.len() != hash.len_bytes() {
            return Err(Check::HashLength);
        }
        if reply.value.len() != group.len_bytes() {
            return Err(Check::ValueLength);
        }
        let Begun { challenge, sequence, exponent, .. } = begun;
        // With the number 0 the challenge would only be for a secure channel.
        let theirs = (reply.challenges && reply.sequence != 0)
            .then(|| (reply.challenge.to_vec(), reply.sequence));
        if theirs.as_ref().is_some_and(|(theirs, _)| *theirs == challenge) {
            return Err(Check::Reflected);
        }
        let response = reply.response.to_vec();
        let claim = Claim { ours: (challenge, sequence), response, theirs };
        self.state = State::Agreeing(agreed, claim);
        Ok(Work::agree(hash, group, exponent, reply.value.to_vec()))
    }

    /// What [`Self::handle_message`] wanted computed.
    pub(crate) fn handle_computed(&mut self, now: Now, computed: Computed) {
        let done = match computed.0 {
            Ok(done) => done,
            Err(check) => return self.fail(now, check),
        };
        match (done, core::mem::replace(&mut self.state, State::Failed)) {
            (Done::Begun(begun), State::Beginning(agreed)) => {
                self.state = State::Challenge(agreed, begun);
            }
            (Done::Agreed(session), State::Agreeing(agreed, claim)) => {
                match self.check(agreed, &claim, session.as_ref()) {
                    Ok(response) => self.state = State::Success1 { agreed, response },
                    Err(check) => {
                        self.state = State::Failure1 { transaction: agreed.transaction, check };
                        self.fail(now, check);
                    }
                }
            }
            // INVARIANT: one work is out at a time, and nothing else leaves the two states but the
            // end of time.
            (_, state) => self.state = state,
        }
    }

    /// Checks the host's response, and makes ours.
    fn check(
        &self,
        agreed: Agreed,
        claim: &Claim,
        session: Option<&super::hash::Digest>,
    ) -> Result<Option<super::hash::Digest>, Check> {
        let Agreed { transaction, hash, .. } = agreed;
        let said = |(challenge, sequence)| Said { hash, challenge, sequence, transaction, session };
        let (challenge, sequence) = &claim.ours;
        let wanted = self.credentials.host_response(&said((challenge.as_slice(), *sequence)));
        if !wanted.is(&claim.response) {
            return Err(Check::Response);
        }
        let Some((challenge, sequence)) = &claim.theirs else { return Ok(None) };
        let ours = self.credentials.controller_response(&said((challenge.as_slice(), *sequence)));
        ours.map(Some).ok_or(Check::NoControllerKey)
    }

    /// The message for a Receive with room for `room` bytes: how long it is.
    ///
    /// # Errors
    /// There is none now (`None`), or it does not fit.
    pub(crate) fn receive(&mut self, now: Now, room: u32) -> Result<u32, Option<()>> {
        let message = match &self.state {
            State::Challenge(Agreed { transaction, hash, group }, begun) => {
                let Begun { challenge, sequence, public, .. } = begun;
                let algorithms = (*hash, *group);
                message::challenge(*transaction, algorithms, *sequence, challenge, public)
            }
            State::Success1 { agreed: Agreed { transaction, hash, .. }, response } => {
                let response = response.as_ref().map(super::hash::Digest::as_slice);
                message::success1(*transaction, *hash, response)
            }
            State::Failure1 { transaction, check } => message::failure1(*transaction, *check),
            State::Idle
            | State::Beginning(_)
            | State::Reply(..)
            | State::Agreeing(..)
            | State::Success2(_)
            | State::Failed => return Err(None),
        };
        let len = u32::try_from(message.len()).unwrap_or(u32::MAX);
        if len > room {
            return Err(Some(()));
        }
        self.outgoing = message;
        self.state = match core::mem::replace(&mut self.state, State::Failed) {
            State::Challenge(agreed, begun) => State::Reply(agreed, begun),
            State::Success1 { agreed, response: Some(_) } => State::Success2(agreed),
            State::Success1 { agreed, response: None } => {
                self.succeed(agreed, false);
                State::Idle
            }
            State::Failure1 { .. } => {
                self.linger(now);
                State::Failed
            }
            other @ (State::Idle
            | State::Beginning(_)
            | State::Reply(..)
            | State::Agreeing(..)
            | State::Success2(_)
            | State::Failed) => other,
        };
        Ok(len)
    }

    /// The bytes that [`Self::receive`] promised.
    pub(crate) fn fill(&self, out: &mut [u8]) {
        for (to, from) in out.iter_mut().zip(&self.outgoing) {
            *to = *from;
        }
    }

    fn succeed(&mut self, agreed: Agreed, mutual: bool) {
        let Agreed { hash, group, .. } = agreed;
        let again = self.authenticated;
        self.event = Some(Event::Authenticated { hash, group, mutual, again });
        self.authenticated = true;
        self.deadline = None;
        self.state = State::Idle;
    }

    fn fail(&mut self, now: Now, check: Check) {
        let transaction = self.transaction().unwrap_or(0);
        self.state = State::Failure1 { transaction, check };
        self.event = Some(Event::Failed(check));
        self.authenticated = false;
        self.linger(now);
    }

    /// The host has a moment to fetch the failure and to disconnect by itself.
    fn linger(&mut self, now: Now) {
        let soon = now.after_ms(AUTH_FAILED_LINGER_MS);
        self.deadline = Some(self.deadline.map_or(soon, |deadline| deadline.min(soon)));
    }
}

#[cfg(test)]
mod tests;
