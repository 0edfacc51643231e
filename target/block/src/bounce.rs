//! Aligned buffers for requests whose memory direct I/O would not take.

use crate::buffer::AlignedBuf;
use crate::limits;

/// Bounce buffers of one engine or worker, kept for reuse.
#[derive(Debug)]
pub(crate) struct BouncePool {
    kept: Vec<AlignedBuf>,
}

impl BouncePool {
    pub(crate) fn new() -> Self {
        Self { kept: Vec::with_capacity(limits::BOUNCE_KEPT_MAX) }
    }

    /// A buffer of [`limits::BOUNCE_BYTES`] with any content; `None` when memory is short.
    pub(crate) fn take(&mut self) -> Option<AlignedBuf> {
        let kept = self.kept.pop();
        kept.or_else(|| AlignedBuf::zeroed(limits::BOUNCE_BYTES, limits::DIRECT_ALIGN_MAX))
    }

    /// Takes a buffer back that the kernel has nothing of any more.
    pub(crate) fn put(&mut self, buffer: AlignedBuf) {
        if self.kept.len() < limits::BOUNCE_KEPT_MAX {
            self.kept.push(buffer);
        }
    }
}
