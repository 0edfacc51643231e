//! A registered buffer in the hands of a disk.
#![allow(unsafe_code, reason = "implements the unsafe trait IoBuf")]

use block::{FixedRegion, IoBuf};
use transport::pool::Buf;

/// A [`Buf`] that a disk operation owns: the same memory goes NIC, pool, disk with no copy.
#[derive(Debug)]
pub struct DiskBuf(pub Buf);

// SAFETY: a `Buf` is one piece of a mapped region, reached only through the value; moving it moves
// no memory, its address and length don't change while the value lies in an operation, and
// forgetting it keeps its pool, and so the mapping, for ever.
unsafe impl IoBuf for DiskBuf {
    fn as_mut_ptr(&mut self) -> *mut u8 {
        self.0.addr().as_ptr()
    }

    fn as_ptr(&self) -> *const u8 {
        self.0.addr().as_ptr()
    }

    fn len(&self) -> usize {
        self.0.len()
    }

    fn fixed(&self) -> Option<FixedRegion> {
        self.0.fixed().map(FixedRegion)
    }
}
