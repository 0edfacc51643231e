//! Memory that an operation owns while the kernel may touch it.

use std::alloc::{Layout, alloc_zeroed, dealloc};
use std::ptr::NonNull;

/// A registered region of one engine, as returned by [`crate::Engine::register_region`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FixedRegion(pub u16);

/// Memory an operation owns while the kernel may read or write it.
///
/// # Safety
///
/// From the moment the value exists until it is dropped:
/// - `as_mut_ptr()..as_mut_ptr() + len()` is one allocation of initialised bytes, valid for reads
///   and writes, and neither call ever gives another answer;
/// - moving the value does not move the memory or invalidate pointers to it;
/// - nothing but the value's owner reads or writes that memory: it is exclusively owned;
/// - if the value is forgotten instead of dropped, the memory stays as it is for ever;
/// - another thread may read and write the memory and ask for its address, length and region, while
///   the value itself is dropped by the thread that gave it away, or never.
///
/// The value need not be `Send`: engines drop it, and give it back, only on their own thread.
pub unsafe trait IoBuf: 'static {
    /// The first byte, for reads and writes.
    fn as_mut_ptr(&mut self) -> *mut u8;

    /// The first byte, for reads.
    fn as_ptr(&self) -> *const u8;

    /// Length (bytes).
    fn len(&self) -> usize;

    /// Whether it has no bytes at all.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The registered region the memory lies in, if any.
    ///
    /// Only a hint: an engine uses it where the whole transfer lies within that region as it was
    /// registered with *this* engine, and ignores it otherwise.
    fn fixed(&self) -> Option<FixedRegion> {
        None
    }
}

/// Zeroed heap memory with an alignment of its own, for probes, bounces and callers without a pool.
pub struct AlignedBuf {
    start: NonNull<u8>,
    layout: Layout,
}

// SAFETY: the value is the only owner of its allocation, which is not tied to a thread.
unsafe impl Send for AlignedBuf {}
// SAFETY: a shared `AlignedBuf` only gives out shared slices.
unsafe impl Sync for AlignedBuf {}

impl AlignedBuf {
    /// Allocates `len` zeroed bytes at a multiple of `align` (a power of two, bytes).
    ///
    /// `None` for a length of 0, an alignment that is no power of two, or when memory is short.
    #[must_use]
    pub fn zeroed(len: usize, align: usize) -> Option<Self> {
        let layout = Layout::from_size_align(len, align).ok()?;
        if len == 0 {
            return None;
        }
        // SAFETY: the layout's size is not 0, checked above.
        let start = unsafe { alloc_zeroed(layout) };
        Some(Self { start: NonNull::new(start)?, layout })
    }

    /// The bytes.
    #[must_use]
    pub fn as_slice(&self) -> &[u8] {
        // SAFETY: `start` is valid for `layout.size()` initialised bytes, borrowed with `self`.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.layout.size()) }
    }

    /// The bytes, writable.
    #[must_use]
    pub fn as_mut_slice(&mut self) -> &mut [u8] {
        // SAFETY: as in `as_slice`, and `self` is borrowed exclusively.
        unsafe { std::slice::from_raw_parts_mut(self.start.as_ptr(), self.layout.size()) }
    }
}

impl Drop for AlignedBuf {
    fn drop(&mut self) {
        // SAFETY: allocated in `zeroed` with this very layout, and freed only here.
        unsafe { dealloc(self.start.as_ptr(), self.layout) }
    }
}

impl std::fmt::Debug for AlignedBuf {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AlignedBuf").field("len", &self.layout.size()).finish_non_exhaustive()
    }
}

// SAFETY: one heap allocation, reached only through the value, moved never, freed only by its drop.
unsafe impl IoBuf for AlignedBuf {
    fn as_mut_ptr(&mut self) -> *mut u8 {
        self.start.as_ptr()
    }

    fn as_ptr(&self) -> *const u8 {
        self.start.as_ptr()
    }

    fn len(&self) -> usize {
        self.layout.size()
    }
}

/// The bytes of a buffer that no operation has in the kernel.
pub(crate) fn as_mut_slice<B: IoBuf>(buf: &mut B) -> &mut [u8] {
    let (start, len) = (buf.as_mut_ptr(), buf.len());
    // SAFETY: the contract of `IoBuf`: initialised, valid, exclusively owned bytes; the borrow of
    // `buf` keeps them so. The one operation that may have it in the kernel is the caller's own,
    // and it asks only between its steps.
    unsafe { std::slice::from_raw_parts_mut(start, len) }
}
