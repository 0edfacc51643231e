//! The thread around a reactor: it waits, or spins for a bounded while.

use std::os::fd::{AsRawFd, BorrowedFd};
use std::sync::Arc;
use std::time::Duration;
use std::{hint, io};

use block::Engine;
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Registry, Token, Waker};
use transport::device::{Device, Stack};

use crate::clock::Clock;
use crate::disk_buf::DiskBuf;
use crate::mailbox::Mailbox;
use crate::reactor::Reactor;
use crate::reactor::message::Message;
use crate::reactor::platform::{Source, Watch};
use crate::shared::Shared;

const MAILBOX: usize = 0;
const DISKS: usize = 1;
const FIRST: usize = 2;

impl From<Source> for Token {
    fn from(source: Source) -> Self {
        Self(match source {
            Source::Mailbox => MAILBOX,
            Source::Disks => DISKS,
            Source::Lane(index) => FIRST + 2 * index,
            Source::Cm(index) => FIRST + 2 * index + 1,
        })
    }
}

fn source(token: Token) -> Source {
    match token.0 {
        MAILBOX => Source::Mailbox,
        DISKS => Source::Disks,
        other => {
            let index = (other - FIRST) / 2;
            if (other - FIRST).is_multiple_of(2) { Source::Lane(index) } else { Source::Cm(index) }
        }
    }
}

/// Watches through epoll.
struct Epoll(Registry);

impl Watch for Epoll {
    fn watch(&self, fd: BorrowedFd<'_>, source: Source) -> io::Result<()> {
        self.0.register(&mut SourceFd(&fd.as_raw_fd()), source.into(), Interest::READABLE)
    }

    fn unwatch(&self, fd: BorrowedFd<'_>) {
        if let Err(error) = self.0.deregister(&mut SourceFd(&fd.as_raw_fd())) {
            tracing::debug!(%error, "was not watched");
        }
    }
}

/// A reactor's mailbox and what wakes its thread.
pub struct Inbox<S: Stack> {
    poll: Poll,
    mailbox: Mailbox<Message<S>>,
}

impl<S: Stack> Inbox<S> {
    /// Makes a mailbox that wakes an epoll.
    ///
    /// # Errors
    /// The process has no file descriptor left.
    pub fn new() -> io::Result<Self> {
        let poll = Poll::new()?;
        let waker = Waker::new(poll.registry(), Source::Mailbox.into())?;
        // A wake that fails finds the mailbox's next one; the thread also looks at every timer.
        let mailbox = Mailbox::new(Box::new(move || drop(waker.wake())));
        Ok(Self { poll, mailbox })
    }

    /// Sends to it.
    #[must_use]
    pub fn sender(&self) -> crate::mailbox::Sender<Message<S>> {
        self.mailbox.sender()
    }
}

/// How a reactor's thread waits.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// How long it looks for more work after the last before it sleeps.
    pub spin: Duration,
}

/// Ticks between two looks at epoll while there is always something to do.
const BUSY_TICKS: u32 = 32;

/// Runs a reactor on this thread until it was told to stop and all its connections have ended.
///
/// # Errors
/// epoll failed.
pub fn run<S: Stack, E: Engine<DiskBuf>>(
    index: u8,
    shared: Arc<Shared<S>>,
    inbox: Inbox<S>,
    disks: E,
    clock: &dyn Clock,
    pace: Pace,
) -> io::Result<()>
where
    <S::Device as Device<S>>::Mr: 'static,
{
    let Inbox { mut poll, mailbox } = inbox;
    let watch = Epoll(poll.registry().try_clone()?);
    watch.watch(disks.event_fd(), Source::Disks)?;
    let mut reactor = Reactor::new(index, shared, mailbox, disks, Box::new(watch));
    let mut events = Events::with_capacity(256);
    let mut last_work = clock.now();
    let mut busy = 0;
    loop {
        let now = clock.now();
        if reactor.tick(now) {
            last_work = now;
            busy += 1;
            if busy < BUSY_TICKS {
                continue;
            }
        } else if reactor.is_finished() {
            return Ok(());
        } else if now.saturating_sub(last_work) < pace.spin {
            hint::spin_loop();
            busy += 1;
            if busy < BUSY_TICKS {
                continue;
            }
        }
        let idle = clock.now().saturating_sub(last_work) >= pace.spin;
        busy = 0;
        let mut timeout = Some(Duration::ZERO);
        if idle {
            // What completed before the queues were armed raises no event: look once more.
            reactor.arm_lanes();
            let now = clock.now();
            if !reactor.tick(now) && !reactor.has_ready() {
                timeout = reactor.next_deadline().map(|at| at.saturating_sub(now));
            }
        }
        wait(&mut poll, &mut events, timeout)?;
        reactor.counters.wakeups += u64::from(timeout != Some(Duration::ZERO));
        let now = clock.now();
        for event in &events {
            reactor.readable(source(event.token()), now);
        }
    }
}

/// Waits for events; an interrupted wait is an ordinary one.
fn wait(poll: &mut Poll, events: &mut Events, timeout: Option<Duration>) -> io::Result<()> {
    match poll.poll(events, timeout) {
        Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_source_has_a_token_of_its_own() {
        let sources = [
            Source::Mailbox,
            Source::Disks,
            Source::Lane(0),
            Source::Cm(0),
            Source::Lane(7),
            Source::Cm(7),
        ];
        for s in sources {
            assert_eq!(source(s.into()), s);
        }
    }
}
