//! What a reactor needs of the world besides the device and the disks: a simulator fills these too.

use std::io;
use std::os::fd::BorrowedFd;
use std::sync::Arc;

use transport::reaper::{Job, Reply};

/// Hands work that can block for seconds to another thread.
pub type Reap<S> = Arc<dyn Fn(Job<S>, Reply) + Send + Sync>;

/// Names what became readable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// The mailbox has messages.
    Mailbox,
    /// The disk engine has completions.
    Disks,
    /// A lane's completion channel.
    Lane(usize),
    /// A connection's CM channel.
    Cm(usize),
}

/// Watches file descriptors for the reactor.
pub trait Watch {
    /// Starts to watch, edge-triggered.
    ///
    /// # Errors
    /// The kernel has no room.
    fn watch(&self, fd: BorrowedFd<'_>, source: Source) -> io::Result<()>;

    /// Stops.
    fn unwatch(&self, fd: BorrowedFd<'_>);
}
