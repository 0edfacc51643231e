//! Memory that devices and peers write: read and written here byte by byte, never borrowed.

use std::ptr::NonNull;

/// Bytes of one end's memory.
pub(crate) const BYTES: usize = 1 << 20;

/// Where receives go, in bytes from the start; 16 of [`RECV_BYTES`] each.
pub(crate) const RECV_AT: u64 = 0;
/// Bytes of one receive.
pub(crate) const RECV_BYTES: u32 = 4096;
/// Where sends and writes come from, and READs go to: [`BIG`] bytes.
pub(crate) const LOCAL_AT: u64 = 256 << 10;
/// Where the peer's WRITEs land and its READs read.
pub(crate) const REMOTE_AT: u64 = 800 << 10;
/// Bytes there that READs bring: none of them is 0 at the peer.
pub(crate) const READABLE_BYTES: u32 = 128 << 10;
/// Bytes of a message that takes a socket's buffer.
pub(crate) const BIG: u32 = 512 << 10;

/// Never freed: what the experiments do to a queue pair ends before the process, but is not trusted
/// to.
pub(crate) struct Memory {
    start: NonNull<u8>,
}

impl Memory {
    pub(crate) fn new() -> Self {
        let bytes = Box::leak(vec![0_u8; BYTES].into_boxed_slice());
        Self { start: NonNull::from(bytes).cast() }
    }

    pub(crate) fn start(&self) -> NonNull<u8> {
        self.start
    }

    /// The address `offset` bytes from the start.
    pub(crate) fn addr(&self, offset: u64) -> u64 {
        self.start.addr().get() as u64 + offset
    }

    fn word(&self, offset: u64) -> NonNull<u64> {
        let offset = usize::try_from(offset).unwrap_or(BYTES);
        assert!(offset.is_multiple_of(8) && offset + 8 <= BYTES, "a word inside the memory");
        // SAFETY: inside the allocation, by the assertion.
        unsafe { self.start.add(offset) }.cast()
    }

    /// Reads a word that a peer may be writing.
    pub(crate) fn read_word(&self, offset: u64) -> u64 {
        // SAFETY: `word` is inside the allocation and aligned (the allocator gives 1 MiB
        // page-aligned or at least 16-aligned); any bits are a value.
        unsafe { self.word(offset).read_volatile() }
    }

    /// Writes a word that the device may be reading.
    pub(crate) fn write_word(&self, offset: u64, value: u64) {
        // SAFETY: as for `read_word`.
        unsafe { self.word(offset).write_volatile(value) }
    }

    /// Sets every word of a range to 0.
    pub(crate) fn clear(&self, offset: u64, len: u32) {
        words(offset, len).for_each(|at| self.write_word(at, 0));
    }

    /// Sets every word of a range to what is not 0.
    pub(crate) fn fill(&self, offset: u64, len: u32) {
        words(offset, len).for_each(|at| self.write_word(at, 0xa5a5_a5a5_a5a5_a5a5));
    }

    /// Words of a range that are not 0.
    pub(crate) fn count_set(&self, offset: u64, len: u32) -> usize {
        words(offset, len).filter(|&at| self.read_word(at) != 0).count()
    }
}

/// Offsets of the words of a range.
fn words(offset: u64, len: u32) -> impl Iterator<Item = u64> {
    (offset..offset + u64::from(len)).step_by(8)
}
