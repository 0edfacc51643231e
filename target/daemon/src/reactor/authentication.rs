//! The authentication of a queue's host: what is computed for it, and what became of it.

use block::Engine;
use nvme::Permit;
use nvme::auth::{Computed, Event, Work};
use transport::cause::Cause;
use transport::device::Stack;

use crate::computing::Computation;
use crate::disk_buf::DiskBuf;
use crate::reactor::Reactor;
use crate::reactor::message::Message;
use crate::reactor::queue::Role;
use crate::token::Name;

impl<S: Stack, E: Engine<DiskBuf>> Reactor<S, E> {
    /// Has something computed elsewhere. A queue has one computation out at a time.
    pub(crate) fn compute(&mut self, c: usize, permit: Permit, work: Box<Work>) {
        self.touch_controller(c);
        let queue = self.name(c);
        self.conns[c].computing = Some(permit);
        let Some(sender) = self.shared.reactors().get(usize::from(self.index)).cloned() else {
            return;
        };
        let reply = Box::new(move |computed| sender.send(Message::Computed { queue, computed }));
        self.shared.compute(Computation { work, reply });
    }

    /// What came of it. The connection may be gone or at its end.
    pub(crate) fn computed(&mut self, queue: Name, computed: Computed) {
        let Some(c) = self.find(queue) else { return };
        let now = self.nvme_now();
        let conn = &mut self.conns[c];
        let Some(permit) = conn.computing.take() else { return };
        if !conn.transport.is_posting() {
            return conn.queue.abandon(permit);
        }
        let action = conn.queue.handle_computed(now, permit, computed);
        self.touch_controller(c);
        self.act(c, action, &mut None);
        self.touch(c);
    }

    /// A host that authenticates itself is alive.
    fn touch_controller(&mut self, c: usize) {
        let now = self.nvme_now();
        if let Role::Admin(slot) = self.conns[c].role
            && let Some(entry) = self.controllers.get_mut(slot)
        {
            entry.controller.touch(now);
        }
    }

    /// Says what became of an exchange. Hosts learn no more than the standard's code.
    pub(crate) fn report_authentication(&mut self, c: usize) {
        let conn = &mut self.conns[c];
        let Some(event) = conn.queue.poll_authentication() else { return };
        let (peer, qid) = (conn.peer, conn.queue.qid());
        let Some(host) = conn.connect.as_ref().map(|connect| &connect.host) else { return };
        match event {
            Event::Authenticated { hash, group, mutual, again } => {
                conn.ticket.set_connected();
                tracing::info!(%peer, %qid, %host, %hash, %group, mutual, again,
                    "host authenticated");
            }
            Event::Failed(check) => {
                tracing::warn!(%peer, %qid, %host, %check, "authentication failed");
            }
        }
    }

    /// The time of an exchange is over.
    pub(crate) fn authentication_due(&mut self, c: usize) -> bool {
        let now = self.nvme_now();
        let conn = &mut self.conns[c];
        if conn.is_ending() || conn.queue.poll_timeout().is_none_or(|at| at > now) {
            return false;
        }
        conn.queue.handle_timeout();
        self.report_authentication(c);
        self.close(c, Cause::Idle);
        true
    }
}
