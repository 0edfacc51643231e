//! Threads for what would keep a reactor from its connections: powers of 8192 bits.

use std::io;
use std::num::NonZeroUsize;
use std::sync::mpsc::{self, Receiver, SyncSender, TrySendError};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use nvme::auth::{Computed, Work};

use crate::limits::{COMPUTATIONS_MAX, COMPUTING_THREADS_MAX};

/// A computation, and who waits for it.
pub struct Computation {
    /// What is computed.
    pub work: Box<Work>,
    /// Takes what came of it.
    pub reply: Box<dyn FnOnce(Computed) + Send>,
}

/// Hands a computation to another thread.
pub type Compute = Arc<dyn Fn(Computation) + Send + Sync>;

impl Computation {
    /// Computes here and now.
    pub fn run(self) {
        let random = |bytes: &mut [u8]| getrandom::fill(bytes).is_ok();
        (self.reply)(self.work.run(random));
    }
}

/// Starts the threads. They end when what is returned is dropped everywhere and nothing waits.
///
/// At most [`COMPUTATIONS_MAX`] wait; what comes beyond is refused at once, and its host with it.
///
/// # Errors
/// The process has no thread left.
pub fn start() -> io::Result<Compute> {
    let (sender, receiver) = mpsc::sync_channel(COMPUTATIONS_MAX);
    let receiver = Arc::new(Mutex::new(receiver));
    let cores = thread::available_parallelism().map_or(1, NonZeroUsize::get);
    for index in 0..cores.min(COMPUTING_THREADS_MAX) {
        let receiver = Arc::clone(&receiver);
        let name = format!("compute-{index}");
        drop(thread::Builder::new().name(name).spawn(move || serve(&receiver))?);
    }
    Ok(Arc::new(move |computation| submit(&sender, computation)))
}

fn submit(sender: &SyncSender<Computation>, computation: Computation) {
    match sender.try_send(computation) {
        Ok(()) => {}
        Err(TrySendError::Full(computation) | TrySendError::Disconnected(computation)) => {
            (computation.reply)(Computed::refused());
        }
    }
}

fn serve(receiver: &Mutex<Receiver<Computation>>) {
    loop {
        let next = receiver.lock().unwrap_or_else(PoisonError::into_inner).recv();
        match next {
            Ok(computation) => computation.run(),
            Err(_) => return,
        }
    }
}
