//! Messages between threads. A message carries slots and generations, never pointers into a
//! reactor.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crossbeam_queue::SegQueue;

struct Shared<M> {
    queue: SegQueue<M>,
    /// The reader was woken and has not looked yet.
    woken: AtomicBool,
    wake: Box<dyn Fn() + Send + Sync>,
}

/// The sending side; clones send to the same reader.
pub struct Sender<M>(Arc<Shared<M>>);

impl<M> Clone for Sender<M> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<M> Sender<M> {
    /// Sends and wakes the reader, once for any number of messages. Never blocks.
    pub fn send(&self, message: M) {
        self.0.queue.push(message);
        if !self.0.woken.swap(true, Ordering::AcqRel) {
            (self.0.wake)();
        }
    }
}

/// The reading side.
pub struct Mailbox<M>(Arc<Shared<M>>);

impl<M> Mailbox<M> {
    /// A mailbox whose reader is woken by `wake`.
    pub fn new(wake: Box<dyn Fn() + Send + Sync>) -> Self {
        let woken = AtomicBool::new(false);
        Self(Arc::new(Shared { queue: SegQueue::new(), woken, wake }))
    }

    /// A sender to it.
    #[must_use]
    pub fn sender(&self) -> Sender<M> {
        Sender(Arc::clone(&self.0))
    }

    /// Says that the reader looks now: call before reading until [`Self::take`] gives nothing.
    pub fn looking(&self) {
        self.0.woken.store(false, Ordering::Release);
    }

    /// Next message, oldest first.
    #[must_use]
    pub fn take(&self) -> Option<M> {
        self.0.queue.pop()
    }

    /// Whether a message waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.queue.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use super::*;

    #[test]
    fn many_messages_wake_once_and_one_after_a_look_wakes_again() {
        let wakes = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&wakes);
        let mailbox = Mailbox::new(Box::new(move || {
            count.fetch_add(1, Ordering::Relaxed);
        }));
        let sender = mailbox.sender();
        sender.send(1);
        sender.send(2);
        assert_eq!(wakes.load(Ordering::Relaxed), 1);
        mailbox.looking();
        assert_eq!((mailbox.take(), mailbox.take(), mailbox.take()), (Some(1), Some(2), None));
        sender.send(3);
        assert_eq!(wakes.load(Ordering::Relaxed), 2);
    }
}
