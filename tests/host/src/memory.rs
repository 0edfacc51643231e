//! Memory that the target may read and write: never borrowed, only copied to and from.

use std::ptr::NonNull;

/// Bytes of one connection's memory.
pub(crate) const BYTES: usize = 512 << 10;
/// Where responses land, in bytes from the start; [`RECV_BYTES`] each.
pub(crate) const RECV_AT: usize = 0;
/// Bytes of one receive.
pub(crate) const RECV_BYTES: usize = 64;
/// Where capsules are sent from; [`SEND_BYTES`] each.
pub(crate) const SEND_AT: usize = 16 << 10;
/// Bytes of one capsule without data.
pub(crate) const SEND_BYTES: usize = 64;
/// Where a capsule with data is sent from.
pub(crate) const LONG_AT: usize = 64 << 10;
/// Where commands say that their data is.
pub(crate) const DATA_AT: usize = 128 << 10;
/// Bytes of it: as far as the region reaches.
pub(crate) const DATA_BYTES: usize = BYTES - DATA_AT;

/// Never freed: a peer that misbehaves may write to it as long as the process lives.
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
    pub(crate) fn addr(&self, offset: usize) -> u64 {
        (self.start.addr().get() + offset) as u64
    }

    pub(crate) fn write(&self, offset: usize, bytes: &[u8]) {
        assert!(offset + bytes.len() <= BYTES, "inside the memory");
        // SAFETY: inside the allocation, by the assertion.
        let to = unsafe { self.start.add(offset) };
        // SAFETY: as above; `bytes` is something else, as this memory is never borrowed.
        unsafe { to.copy_from_nonoverlapping(NonNull::from(bytes).cast(), bytes.len()) };
    }

    pub(crate) fn read<const N: usize>(&self, offset: usize) -> [u8; N] {
        assert!(offset + N <= BYTES, "inside the memory");
        let mut bytes = [0; N];
        // SAFETY: inside the allocation, by the assertion.
        let from = unsafe { self.start.add(offset) };
        // SAFETY: as above; what the device writes here it has completed before it is read.
        unsafe { from.copy_to_nonoverlapping(NonNull::from(&mut bytes).cast(), N) };
        bytes
    }
}
