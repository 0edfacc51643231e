//! Signals become a call on a thread that sleeps until one comes.
//!
//! SIGPIPE needs nothing: std ignores it before `main`.

use std::fmt;
use std::io;
use std::thread::{self, JoinHandle};

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::{Handle, Signals};

/// Exit code when the operator does not want to wait for the drain.
const IMPATIENT: i32 = 1;

/// A signal that asks the daemon to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StopSignal {
    /// SIGTERM.
    Terminate,
    /// SIGINT.
    Interrupt,
}

impl fmt::Display for StopSignal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Terminate => "SIGTERM",
            Self::Interrupt => "SIGINT",
        })
    }
}

/// Keeps the signals; dropping it leaves them without effect.
#[must_use = "signals are heard as long as this lives"]
pub struct Watch {
    handle: Handle,
    thread: Option<JoinHandle<()>>,
}

/// Calls `stop` once, for the first SIGTERM or SIGINT, on a thread of its own.
///
/// A SIGINT after that ends the process at once, with the exit code 1. SIGHUP is only logged.
///
/// # Errors
/// The system has no descriptor or thread left.
pub fn watch(stop: impl FnOnce(StopSignal) + Send + 'static) -> io::Result<Watch> {
    let signals = Signals::new([SIGTERM, SIGINT, SIGHUP])?;
    let handle = signals.handle();
    let thread =
        thread::Builder::new().name("signals".to_owned()).spawn(move || listen(signals, stop))?;
    Ok(Watch { handle, thread: Some(thread) })
}

fn listen(mut signals: Signals, stop: impl FnOnce(StopSignal)) {
    let mut stop = Some(stop);
    for signal in signals.forever() {
        let asked = match signal {
            SIGTERM => StopSignal::Terminate,
            SIGINT => StopSignal::Interrupt,
            _ => {
                tracing::info!("SIGHUP: there is nothing to reload, the daemon goes on");
                continue;
            }
        };
        match (stop.take(), asked) {
            (Some(stop), _) => stop(asked),
            (None, StopSignal::Interrupt) => {
                tracing::warn!("a second SIGINT: ending at once, without the rest of the drain");
                signal_hook::low_level::exit(IMPATIENT);
            }
            (None, StopSignal::Terminate) => {
                tracing::info!("SIGTERM again: already ending; SIGINT ends at once");
            }
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.handle.close();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
