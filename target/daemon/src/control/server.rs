//! The thread that answers.

use std::io::{self, ErrorKind};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec};
use rustix::io::Errno;

use super::bind::{self, BindError, Claim};
use super::limits;
use super::line::{Line, Next};
use crate::status::Inspect;

/// A socket that is taken and not answered yet: clients wait.
pub struct Server {
    listener: UnixListener,
    claim: Claim,
}

/// A server that answers until it is stopped or dropped; then its socket is removed.
pub struct Running {
    stop: Arc<OwnedFd>,
    thread: Option<JoinHandle<()>>,
    claim: Claim,
}

impl Server {
    /// Takes the path, with these permissions. A socket whose daemon is dead is replaced, a missing
    /// directory is made.
    ///
    /// # Errors
    /// Another daemon lives there, or what the system said.
    pub fn bind(path: &Path, mode: u32) -> Result<Self, BindError> {
        let (listener, claim) = bind::bind(path, mode)?;
        Ok(Self { listener, claim })
    }

    /// Starts the thread. Without clients it sleeps.
    ///
    /// # Errors
    /// The system has no descriptor or thread left.
    pub fn start(self, inspect: Arc<dyn Inspect>) -> io::Result<Running> {
        let Self { listener, claim } = self;
        let stop = rustix::event::eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK);
        let stop = Arc::new(stop.inspect_err(|_| claim.release())?);
        let seen = Arc::clone(&stop);
        let thread = thread::Builder::new()
            .name("control".to_owned())
            .spawn(move || Clients::new(listener, seen, inspect).run())
            .inspect_err(|_| claim.release())?;
        Ok(Running { stop, thread: Some(thread), claim })
    }
}

impl Running {
    /// Ends the thread, waits for it, and removes the socket. Clients in the middle are dropped.
    pub fn stop(mut self) {
        self.end();
    }

    fn end(&mut self) {
        let Some(thread) = self.thread.take() else { return };
        self.claim.release();
        // The counter of an eventfd that is written once can't overflow, so this can't fail.
        let _ = rustix::io::write(&*self.stop, &1_u64.to_ne_bytes());
        let _ = thread.join();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.end();
    }
}

/// The state of the thread.
struct Clients {
    listener: UnixListener,
    stop: Arc<OwnedFd>,
    inspect: Arc<dyn Inspect>,
    /// In the order of their arrival; at most [`limits::CLIENTS_MAX`].
    lines: Vec<Line>,
    /// No `accept` before.
    pause: Option<Instant>,
}

/// What one wait saw.
struct Ready {
    stop: bool,
    accept: bool,
    lines: Vec<bool>,
}

impl Clients {
    fn new(listener: UnixListener, stop: Arc<OwnedFd>, inspect: Arc<dyn Inspect>) -> Self {
        Self { listener, stop, inspect, lines: Vec::new(), pause: None }
    }

    fn run(mut self) {
        loop {
            let ready = match self.wait() {
                Ok(ready) => ready,
                Err(Errno::INTR) => continue,
                Err(errno) => {
                    tracing::error!(%errno, "the control socket is gone: poll failed");
                    return;
                }
            };
            if ready.stop {
                return;
            }
            self.serve(&ready.lines);
            if ready.accept {
                self.accept();
            }
        }
    }

    fn full(&self) -> bool {
        self.lines.len() >= limits::CLIENTS_MAX
    }

    fn wait(&mut self) -> Result<Ready, Errno> {
        let now = Instant::now();
        if self.pause.is_some_and(|until| until <= now) {
            self.pause = None;
        }
        let accepting = self.pause.is_none() && !self.full();
        let crowded = self.full();
        let deadlines = self.lines.iter().map(|line| line.deadline(crowded));
        let timeout = deadlines.chain(self.pause).min().map(|at| timespec(at, now));
        let interest = if accepting { PollFlags::IN } else { PollFlags::empty() };
        let mut fds = Vec::with_capacity(self.lines.len() + 2);
        fds.push(PollFd::from_borrowed_fd(self.stop.as_fd(), PollFlags::IN));
        fds.push(PollFd::from_borrowed_fd(self.listener.as_fd(), interest));
        fds.extend(self.lines.iter().map(|line| {
            let wanted = if line.answering() { PollFlags::OUT } else { PollFlags::IN };
            PollFd::from_borrowed_fd(line.stream.as_fd(), wanted)
        }));
        rustix::event::poll(&mut fds, timeout.as_ref())?;
        let seen: Vec<bool> = fds.iter().map(|fd| !fd.revents().is_empty()).collect();
        Ok(Ready { stop: seen[0], accept: accepting && seen[1], lines: seen[2..].to_vec() })
    }

    /// Steps every line that is ready and drops those that ended or are out of time.
    fn serve(&mut self, ready: &[bool]) {
        let crowded = self.full();
        let mut ready = ready.iter().copied();
        let inspect = Arc::clone(&self.inspect);
        self.lines.retain_mut(|line| {
            let ready = ready.next().unwrap_or(false);
            if ready && line.step(&*inspect) == Next::End {
                return false;
            }
            ready || Instant::now() < line.deadline(crowded)
        });
    }

    fn accept(&mut self) {
        while !self.full() {
            match self.listener.accept() {
                Ok((stream, _)) => {
                    if stream.set_nonblocking(true).is_ok() {
                        self.lines.push(Line::new(stream, Instant::now()));
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error)
                    if matches!(
                        error.kind(),
                        ErrorKind::Interrupted | ErrorKind::ConnectionAborted
                    ) => {}
                Err(error) => {
                    tracing::warn!(%error, "the control socket can't take a client now");
                    self.pause = Some(Instant::now() + limits::ACCEPT_PAUSE);
                    return;
                }
            }
        }
    }
}

/// Time from now, rounded up so that the deadline has passed when the wait is over.
fn timespec(at: Instant, now: Instant) -> Timespec {
    let left = at.saturating_duration_since(now) + Duration::from_millis(1);
    Timespec {
        tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: i64::from(left.subsec_nanos()),
    }
}
