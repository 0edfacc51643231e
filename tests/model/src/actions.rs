//! What may happen next in a run.

use sim::Injection;
use transport::cause::Cause;
use transport::connection::Connection;
use transport::device::{AsyncEvent, CmEvent, Token};
use transport::drain::State;
use transport::time::Now;

use crate::player::Player;
use crate::stage::TARGET;
use crate::variant::Close;

/// One action.
#[derive(Clone, Debug)]
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
    /// An event comes that nothing announced.
    Inject(Injection),
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
            Self::Inject(injection) => write!(f, "out of nothing: {injection:?}"),
            Self::Message => f.write_str("the peer sends a command"),
            Self::PeerDisconnects => f.write_str("the peer disconnects"),
            Self::PeerVanishes => f.write_str("the peer's power goes off"),
        }
    }
}

/// Polls for shared receives that are told apart: the most hesitant row waits for two.
pub(crate) const QUIET_POLLS: u8 = 2;

const CM_EVENTS: [CmEvent; 8] = [
    CmEvent::Established,
    CmEvent::Disconnected,
    CmEvent::Rejected,
    CmEvent::Unreachable,
    CmEvent::ConnectError,
    CmEvent::AddrChange,
    CmEvent::TimewaitExit,
    CmEvent::DeviceRemoval,
];

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
        let number = self.peer.number();
        if heard {
            actions.extend(CM_EVENTS.map(|event| Action::Inject(Injection::Cm(number, event))));
            actions.push(Action::Inject(Injection::DeviceRemoval(TARGET)));
        }
        let token = Token(1);
        actions.extend(
            [
                Injection::QueuePairError(number),
                Injection::Async(TARGET, AsyncEvent::QpError(token)),
                Injection::Async(TARGET, AsyncEvent::CommEstablished(token)),
                Injection::LastWqe(number),
                Injection::CompletionQueueError(TARGET),
                Injection::DeviceFatal(TARGET),
            ]
            .map(Action::Inject),
        );
    }

    /// Lets one of the actions happen, of the path's choice; `None` when there is none.
    pub(crate) fn step(&mut self) -> Option<Action> {
        let mut actions = self.actions();
        if actions.is_empty() {
            return None;
        }
        let pick = self.choices().step(actions.len());
        let action = actions.swap_remove(pick);
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
            Action::Inject(injection) => {
                self.choices().spend();
                self.stage.fabric.inject(*injection);
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
        self.stage.fabric.set_now(at);
        self.poll();
        self.drive(Connection::handle_timeout);
    }
}
