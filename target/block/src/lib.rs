//! Disks of the target: files, block devices, memory and nothing, over io_uring.
//!
//! - [`Disk`] is one opened disk with a fixed geometry, shared by all reactors.
//! - [`Engine`] carries out operations for one reactor thread: [`UringEngine`] on a ring of its
//!   own, [`ThreadEngine`] where the kernel or a container refuses io_uring, [`SystemEngine`]
//!   whichever works here. A simulator can fill the same trait.
//! - An operation owns its buffer ([`IoBuf`]) from `submit` to its [`Completion`].
//!
//! What stays true: a buffer the kernel may still touch is never freed, reused or handed out. There
//! is no allocation per operation once an engine is warm, and no lock on the path of a ring.
#![deny(unsafe_code)]

mod bounce;
#[allow(unsafe_code, reason = "defines the unsafe trait IoBuf and one allocation of its own")]
mod buffer;
mod disk;
mod engine;
mod error;
pub mod limits;
#[allow(unsafe_code, reason = "a mapping of its own, shared as atomics")]
mod memory;
mod open;
mod operation;
mod request;
mod spec;
mod system;
mod threads;
mod uring;

use std::sync::atomic::{AtomicU64, Ordering};

pub use buffer::{AlignedBuf, FixedRegion, IoBuf};
pub use disk::{DirectUse, Disk, Features, Geometry};
pub use engine::Engine;
pub use error::{EngineError, IoError, IoErrorKind, OpenError, RegionError};
pub use request::{Completion, Refused, Request};
pub use spec::{Direct, DiskKind, DiskSpec};
pub use system::{EngineKind, EngineOptions, SystemEngine};
pub use threads::ThreadEngine;
pub use uring::UringEngine;

static LEAKED: AtomicU64 = AtomicU64::new(0);

/// Operations of this process whose memory was leaked on purpose (count, never falls).
///
/// Each is one that did not come back from the kernel while its engine was dropped; its buffer will
/// never be freed or reused.
#[must_use]
pub fn leaked_operations() -> u64 {
    LEAKED.load(Ordering::Relaxed)
}

fn count_leaked(operations: u64) {
    LEAKED.fetch_add(operations, Ordering::Relaxed);
}
