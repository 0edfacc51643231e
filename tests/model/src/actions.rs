//! What may happen next in a run.

use sim::Injection;
use transport::cause::Cause;
use transport::connection::Connection;
use transport::device::{AsyncEvent, CmEvent};
use transport::drain::State;
use transport::time::Now;

use crate::player::{Player, TOKEN};
use crate::stage::TARGET;
use crate::variant::Close;

/// One action.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// The fabric lets the one at this place happen, and the reactor reads events.
    Happen(usize),
    /// The reactor polls.
    Poll,
    /// The reactor posts a READ.
    PostRead,
    /// The reactor posts data and response.
    PostResponse,
    /// We close.
    Close,
    /// The disk answers.
    Disk,
    /// A reaper is done.
    Errand(usize),
    /// The move to ERR is due again.
    Kick,
    /// The state's deadline is met.
    Deadline,
    /// The next poll of a wait for shared receives is due.
    QuietPoll,
    /// The event at this place of [`INJECTIONS`] comes, that nothing announced.
    Inject(usize),
    /// The peer sends a command.
    Message,
    /// The peer disconnects.
    PeerDisconnects,
    /// The peer's power goes off.
    PeerVanishes,
}

impl std::fmt::Display for Action {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Happen(place) => write!(f, "enabled happening {place}"),
            Self::Poll => f.write_str("the reactor polls"),
            Self::PostRead => f.write_str("the reactor posts a READ"),
            Self::PostResponse => f.write_str("the reactor posts an unsignaled WRITE and a SEND"),
            Self::Close => f.write_str("we close"),
            Self::Disk => f.write_str("the disk answers"),
            Self::Errand(place) => write!(f, "reaper {place} is done"),
            Self::Kick => f.write_str("time passes: the move to ERR is due again"),
            Self::Deadline => f.write_str("time passes: the deadline is met"),
            Self::QuietPoll => f.write_str("time passes: the next poll is due"),
            Self::Inject(place) => write!(f, "out of nothing: {:?}", INJECTIONS[*place]),
            Self::Message => f.write_str("the peer sends a command"),
            Self::PeerDisconnects => f.write_str("the peer disconnects"),
            Self::PeerVanishes => f.write_str("the peer's power goes off"),
        }
    }
}

/// Polls for shared receives that are told apart: the most hesitant row waits for two.
pub(crate) const QUIET_POLLS: u8 = 2;

/// The number of a run's only connection.
pub(crate) const CONNECTION: usize = 0;

/// Events out of nothing: first those that are read while the CM's channel is.
const INJECTIONS: [Injection; 15] = [
    Injection::Cm(CONNECTION, CmEvent::Established),
    Injection::Cm(CONNECTION, CmEvent::Disconnected),
    Injection::Cm(CONNECTION, CmEvent::Rejected),
    Injection::Cm(CONNECTION, CmEvent::Unreachable),
    Injection::Cm(CONNECTION, CmEvent::ConnectError),
    Injection::Cm(CONNECTION, CmEvent::AddrChange),
    Injection::Cm(CONNECTION, CmEvent::TimewaitExit),
    Injection::Cm(CONNECTION, CmEvent::DeviceRemoval),
    Injection::DeviceRemoval(TARGET),
    Injection::QueuePairError(CONNECTION),
    Injection::Async(TARGET, AsyncEvent::QpError(TOKEN)),
    Injection::Async(TARGET, AsyncEvent::CommEstablished(TOKEN)),
    Injection::LastWqe(CONNECTION),
    Injection::CompletionQueueError(TARGET),
    Injection::DeviceFatal(TARGET),
];

/// So many of them come by the CM's channel.
const HEARD: usize = 9;

/// Actions that are one and not many.
const SINGLE: [Action; 11] = [
    Action::Poll,
    Action::PostRead,
    Action::PostResponse,
    Action::Close,
    Action::Disk,
    Action::Kick,
    Action::Deadline,
    Action::QuietPoll,
    Action::Message,
    Action::PeerDisconnects,
    Action::PeerVanishes,
];

// Bytes of a path: happenings from 0, and then from these on.
const ERRANDS_FROM: u8 = 64;
const SINGLE_FROM: u8 = 96;
const INJECTIONS_FROM: u8 = 128;

impl Action {
    /// Its byte in a path. A path names its actions, not their places among those that could have
    /// been: so it is played without looking what those were.
    pub(crate) fn byte(self) -> u8 {
        let (from, place) = match self {
            Self::Happen(place) => (0, place),
            Self::Errand(place) => (ERRANDS_FROM, place),
            Self::Inject(place) => (INJECTIONS_FROM, place),
            Self::Poll
            | Self::PostRead
            | Self::PostResponse
            | Self::Close
            | Self::Disk
            | Self::Kick
            | Self::Deadline
            | Self::QuietPoll
            | Self::Message
            | Self::PeerDisconnects
            | Self::PeerVanishes => {
                let place = SINGLE.iter().position(|action| *action == self);
                (SINGLE_FROM, place.expect("every action that is one is listed"))
            }
        };
        from + u8::try_from(place).expect("there are few of each kind")
    }

    fn from_byte(byte: u8) -> Option<Self> {
        let behind = |from: u8| usize::from(byte - from);
        match byte {
            0..ERRANDS_FROM => Some(Self::Happen(behind(0))),
            ERRANDS_FROM..SINGLE_FROM => Some(Self::Errand(behind(ERRANDS_FROM))),
            SINGLE_FROM..INJECTIONS_FROM => SINGLE.get(behind(SINGLE_FROM)).copied(),
            INJECTIONS_FROM.. => {
                let place = behind(INJECTIONS_FROM);
                (place < INJECTIONS.len()).then_some(Self::Inject(place))
            }
        }
    }
}

impl Player<'_> {
    /// What may happen now, in a fixed order.
    pub(crate) fn actions(&self) -> Vec<Action> {
        let mut actions = Vec::with_capacity(24);
        let Some(conn) = &self.conn else {
            if self.has_disk() {
                actions.push(Action::Disk);
            }
            self.add_errands(&mut actions);
            return actions;
        };
        actions.extend((0..self.stage.fabric.enabled_count()).map(Action::Happen));
        if self.can_poll() {
            actions.push(Action::Poll);
        }
        if conn.state() == State::Live && conn.is_open() {
            if !self.done.read {
                actions.push(Action::PostRead);
            }
            if self.done.read && !self.done.response {
                actions.push(Action::PostResponse);
            }
        }
        if !self.done.closed && conn.state() <= State::Live {
            actions.push(Action::Close);
        }
        if self.has_disk() {
            actions.push(Action::Disk);
        }
        self.add_errands(&mut actions);
        let [deadline, kick] = conn.deadlines();
        if kick.is_some() && self.done.kicks < self.stage.bound.kicks {
            actions.push(Action::Kick);
        }
        if deadline.is_some() {
            actions.push(Action::Deadline);
        }
        if conn.state() == State::SrqWait && self.done.quiet < QUIET_POLLS {
            actions.push(Action::QuietPoll);
        }
        if conn.state() < State::Destroying {
            self.add_events(&mut actions);
        }
        actions
    }

    fn add_errands(&self, actions: &mut Vec<Action>) {
        actions.extend((0..self.errands.len()).map(Action::Errand));
    }

    /// What comes from outside, within the bound.
    fn add_events(&self, actions: &mut Vec<Action>) {
        // Nobody reads the CM's channel any more, and a queue pair in ERR takes no message.
        let heard = self.conn.as_ref().is_some_and(Connection::watches_cm);
        if heard && self.peer.is_connected() && self.done.messages < self.stage.bound.messages {
            actions.push(Action::Message);
        }
        if self.choices().left() == 0 {
            return;
        }
        if heard && !self.done.peer_left {
            actions.push(Action::PeerDisconnects);
            actions.push(Action::PeerVanishes);
        }
        let from = if heard { 0 } else { HEARD };
        actions.extend((from..INJECTIONS.len()).map(Action::Inject));
    }

    /// Lets the path's next action happen; `None` when it has none, or none that there is.
    pub(crate) fn step(&mut self) -> Option<Action> {
        let action = Action::from_byte(self.choices().step()?)?;
        if matches!(action, Action::Errand(place) if place >= self.errands.len()) {
            return None;
        }
        self.stage.fabric.note_with(|| format!("-- {action}"));
        self.perform(&action);
        Some(action)
    }

    fn perform(&mut self, action: &Action) {
        match action {
            Action::Happen(index) => {
                self.stage.fabric.happen(*index);
                self.read_events();
            }
            Action::Poll => self.poll(),
            Action::PostRead => self.post_read(),
            Action::PostResponse => self.post_response(),
            Action::Close => {
                self.done.closed = true;
                let cause = Cause::Shutdown;
                let close = self.stage.variant.close;
                let busy = u32::from(self.has_disk());
                self.drive(|conn, now, out| match close {
                    Close::Abortive => conn.close(now, cause, out),
                    Close::Orderly => {
                        conn.set_backend(now, busy, out);
                        conn.finish(now, cause, out);
                    }
                });
            }
            Action::Disk => self.disk_answers(),
            Action::Errand(index) => self.run_errand(*index),
            Action::Kick => {
                self.done.kicks += 1;
                self.pass_until(1);
            }
            Action::Deadline => self.pass_until(0),
            Action::QuietPoll => {
                self.done.quiet += 1;
                let at = self.conn.as_ref().and_then(Connection::timeout);
                self.pass(at);
            }
            Action::Inject(place) => {
                self.choices().spend();
                self.stage.fabric.inject(INJECTIONS[*place]);
                self.read_events();
            }
            Action::Message => {
                self.done.messages += 1;
                self.peer.post_send(&[0x42; 64], 7);
            }
            Action::PeerDisconnects => {
                self.choices().spend();
                self.done.peer_left = true;
                self.peer.disconnect();
            }
            Action::PeerVanishes => {
                self.choices().spend();
                self.done.peer_left = true;
                self.peer.vanish();
            }
        }
    }

    /// Time passes to one of the drain's deadlines; the reactor polls, then looks at its timers.
    fn pass_until(&mut self, which: usize) {
        let at = self.conn.as_ref().and_then(|conn| conn.deadlines()[which]);
        self.pass(at);
    }

    fn pass(&mut self, at: Option<Now>) {
        let Some(at) = at else { return };
        self.stage.set_now(at);
        self.poll();
        self.drive(Connection::handle_timeout);
    }
}
