//! The device's hands: every access that the simulated device makes to memory of the target.
//!
//! Callers have checked that the range lies in a region that is registered now: whoever registered
//! it promised that it is mapped and writable until it is deregistered
//! (`transport::device::Device::reg_mr`).

use std::ptr::with_exposed_provenance_mut;

/// A range of the target's memory inside a registered region.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Range {
    pub(crate) addr: u64,
    pub(crate) len: usize,
}

impl Range {
    fn at(self, offset: usize) -> *mut u8 {
        let addr = usize::try_from(self.addr).expect("addresses of this process fit");
        with_exposed_provenance_mut::<u8>(addr + offset)
    }

    /// One past its last byte.
    pub(crate) fn end(self) -> u64 {
        self.addr + self.len as u64
    }

    /// Fills it, as a device does that places bytes.
    pub(crate) fn fill(self, byte: u8) {
        // SAFETY: registered, hence mapped and writable (module documentation).
        unsafe { self.at(0).write_bytes(byte, self.len) };
    }

    /// Places bytes at its start: at most its length.
    pub(crate) fn place(self, bytes: &[u8]) {
        let len = bytes.len().min(self.len);
        // SAFETY: registered, hence mapped and writable; `bytes` is memory of the simulation.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), self.at(0), len) };
    }

    /// A copy of its bytes.
    pub(crate) fn bytes(self) -> Vec<u8> {
        let mut bytes = vec![0; self.len];
        // SAFETY: registered, hence mapped; `bytes` is fresh and as long.
        unsafe { std::ptr::copy_nonoverlapping(self.at(0), bytes.as_mut_ptr(), self.len) };
        bytes
    }

    /// Every byte is `byte`.
    pub(crate) fn is_filled(self, byte: u8) -> bool {
        // SAFETY: registered, hence mapped; nothing of ours writes while this borrow lives.
        let bytes = unsafe { std::slice::from_raw_parts(self.at(0).cast_const(), self.len) };
        bytes.iter().all(|b| *b == byte)
    }

    /// A checksum of its bytes (FNV-1a).
    pub(crate) fn digest(self) -> u64 {
        // SAFETY: as in `is_filled`.
        let bytes = unsafe { std::slice::from_raw_parts(self.at(0).cast_const(), self.len) };
        bytes.iter().fold(0xCBF2_9CE4_8422_2325, |hash, byte| {
            (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01B3)
        })
    }
}
