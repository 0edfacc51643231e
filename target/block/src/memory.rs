//! The memory of a ram disk, and the zeroes that are written where nothing better is there.
//!
//! A ram disk is shared by all reactors and two hosts may write the same block at once. Plain
//! copies would then be a data race, which Rust forbids, and a lock has no place on this path. So
//! every access to the disk's memory is a relaxed atomic access of 8 bytes (each block starts at a
//! multiple of 512), and only the caller's buffer, which is exclusively owned, is a slice.
//! Concurrent writes to one block from two reactors may thus leave a mix of both, in units of 8
//! bytes.

use std::io;
use std::num::NonZeroUsize;
use std::ptr::NonNull;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::mm::{Advice, MapFlags, ProtFlags, madvise, mmap_anonymous, munmap};

use crate::limits;

const WORD: usize = size_of::<u64>();

/// Ranges shorter than this are zeroed by stores; longer ones are given back to the system (bytes).
const GIVE_BACK_BYTES_MIN: usize = 64 << 10;

/// Zeroed, page-aligned memory of a ram disk; populated by the system as it is touched.
pub(crate) struct Memory {
    start: NonNull<u8>,
    len: NonZeroUsize,
}

// SAFETY: a mapping belongs to the process, not to a thread, and only its owner unmaps it.
unsafe impl Send for Memory {}
// SAFETY: through a shared reference the memory is only reached as `AtomicU64` and by `madvise`,
// whose effect on other threads is that of storing zeroes.
unsafe impl Sync for Memory {}

impl Memory {
    /// Maps `len` bytes (a multiple of 8).
    pub(crate) fn map(len: usize) -> io::Result<Self> {
        let size = NonZeroUsize::new(len).ok_or(io::ErrorKind::InvalidInput)?;
        if !len.is_multiple_of(WORD) {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let protection = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: a new anonymous mapping at an address of the kernel's choice touches nothing
        // else.
        let mapped =
            unsafe { mmap_anonymous(std::ptr::null_mut(), len, protection, MapFlags::PRIVATE) }?;
        let start = NonNull::new(mapped.cast::<u8>()).ok_or(io::ErrorKind::OutOfMemory)?;
        // Huge pages only save TLB misses: without them it works as well.
        // SAFETY: advice of this kind changes no content of our own mapping.
        let _ = unsafe { madvise(mapped, len, Advice::LinuxHugepage) };
        Ok(Self { start, len: size })
    }

    /// The words from byte `at`, `len` bytes long; both multiples of 8 and within the memory.
    fn words(&self, at: usize, len: usize) -> &[AtomicU64] {
        assert!(at.is_multiple_of(WORD) && len.is_multiple_of(WORD));
        assert!(at.checked_add(len).is_some_and(|end| end <= self.len.get()));
        // SAFETY: `at` lies within the mapping, checked above.
        let first = unsafe { self.start.add(at) };
        // SAFETY: page-aligned start plus a multiple of 8 is aligned; the range is mapped and
        // initialised (zeroes) as long as `self` lives; nobody reaches it but as `AtomicU64`.
        unsafe { std::slice::from_raw_parts(first.as_ptr().cast::<AtomicU64>(), len / WORD) }
    }

    /// Copies from byte `at` of the disk into a buffer of whole blocks.
    pub(crate) fn read(&self, at: usize, to: &mut [u8]) {
        let words = self.words(at, to.len());
        for (target, word) in to.chunks_exact_mut(WORD).zip(words) {
            target.copy_from_slice(&word.load(Ordering::Relaxed).to_ne_bytes());
        }
    }

    /// Copies a buffer of whole blocks to byte `at` of the disk.
    pub(crate) fn write(&self, at: usize, from: &[u8]) {
        for (source, word) in from.chunks_exact(WORD).zip(self.words(at, from.len())) {
            let mut bytes = [0; WORD];
            bytes.copy_from_slice(source);
            word.store(u64::from_ne_bytes(bytes), Ordering::Relaxed);
        }
    }

    /// Zeroes whole blocks; long ranges are given back to the system and read as zeroes again.
    pub(crate) fn zero(&self, at: usize, len: usize) {
        let page = rustix::param::page_size();
        let first_page = at.next_multiple_of(page);
        let end = at + len;
        let end_page = end - end % page;
        if len < GIVE_BACK_BYTES_MIN || first_page >= end_page {
            return self.store_zeroes(at, len);
        }
        self.store_zeroes(at, first_page - at);
        if self.give_back(first_page, end_page - first_page).is_err() {
            self.store_zeroes(first_page, end_page - first_page);
        }
        self.store_zeroes(end_page, end - end_page);
    }

    fn store_zeroes(&self, at: usize, len: usize) {
        for word in self.words(at, len) {
            word.store(0, Ordering::Relaxed);
        }
    }

    fn give_back(&self, at: usize, len: usize) -> io::Result<()> {
        let words = self.words(at, len);
        // SAFETY: the range is ours, page-aligned and mapped; afterwards it is mapped still and
        // reads as zeroes (`man madvise`, MADV_DONTNEED on a private anonymous mapping).
        unsafe { madvise(words.as_ptr().cast_mut().cast(), len, Advice::LinuxDontNeed) }?;
        Ok(())
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        // SAFETY: mapped in `map` with this length; no reference outlives `self`.
        let _ = unsafe { munmap(self.start.as_ptr().cast(), self.len.get()) };
    }
}

impl std::fmt::Debug for Memory {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Memory").field("len", &self.len).finish_non_exhaustive()
    }
}

/// [`limits::ZERO_REGION_BYTES`] zeroes that live as long as the process, page-aligned, never
/// written.
///
/// `None` when the system had no room to map them.
pub(crate) fn zero_region() -> Option<*const u8> {
    static ZEROES: OnceLock<Option<Memory>> = OnceLock::new();
    let region = ZEROES.get_or_init(|| Memory::map(limits::ZERO_REGION_BYTES).ok());
    region.as_ref().map(|memory| memory.start.as_ptr().cast_const())
}
