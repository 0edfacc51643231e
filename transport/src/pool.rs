//! Registered memory and the exclusively owned pieces of it that commands use.
//!
//! A [`Pool`] is one region, registered once with one device, used by one reactor. A [`Buf`] is a
//! piece of it and the only type that shows its bytes. While a device may touch the piece, the
//! `Buf` lies inside [`InFlight`](crate::in_flight::InFlight), where nothing shows its bytes.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::fmt;
use std::ptr::NonNull;
use std::rc::Rc;

use rustix::mm::{MapFlags, ProtFlags};

use crate::buddy::{self, Block, Buddy, Slot};
use crate::device::{Device, DeviceError, Sge, Stack};
use crate::limits::{BUF_MAX, CAPSULE_SLOT, PAGE};

/// Debug builds fill free memory with this and check it when it is used again.
const POISON: u8 = 0xA5;
static POISON_PAGE: [u8; PAGE] = [POISON; PAGE];
const POISONING: bool = cfg!(debug_assertions);

/// A private anonymous mapping.
struct Mapping {
    addr: NonNull<u8>,
    len: usize,
}

impl Mapping {
    fn new(len: usize) -> Result<Self, DeviceError> {
        let failed =
            |errno: rustix::io::Errno| DeviceError { call: "mmap", errno: errno.raw_os_error() };
        // SAFETY: a new anonymous mapping at an address of the kernel's choice aliases nothing.
        let addr = unsafe {
            rustix::mm::mmap_anonymous(
                std::ptr::null_mut(),
                len,
                ProtFlags::READ | ProtFlags::WRITE,
                MapFlags::PRIVATE,
            )
        }
        .map_err(failed)?;
        let addr = NonNull::new(addr.cast()).ok_or(failed(rustix::io::Errno::NOMEM))?;
        Ok(Self { addr, len })
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: mapped by `new` with this length; every `Buf` holds the pool that holds this.
        let unmapped = unsafe { rustix::mm::munmap(self.addr.as_ptr().cast(), self.len) };
        debug_assert!(unmapped.is_ok());
    }
}

struct Region {
    /// Deregisters when dropped, so it stands before the mapping. Type-erased: a `Buf` knows no
    /// device.
    _mr: Box<dyn Any>,
    mapping: Mapping,
    lkey: u32,
    fixed: Cell<Option<u16>>,
    buddy: RefCell<Buddy>,
}

/// A registered region and which of its pieces are free.
#[derive(Clone)]
pub struct Pool {
    region: Rc<Region>,
}

impl Pool {
    /// Maps and registers `bytes` (rounded up to 4 MiB) in `pd`.
    ///
    /// # Errors
    /// The mapping or the registration failed: `ENOMEM` usually means a low `RLIMIT_MEMLOCK`.
    pub fn register<S: Stack>(
        device: &S::Device,
        pd: &<S::Device as Device<S>>::Pd,
        bytes: usize,
        remote_write: bool,
    ) -> Result<Self, DeviceError>
    where
        <S::Device as Device<S>>::Mr: 'static,
    {
        let blocks = u32::try_from(bytes.div_ceil(BUF_MAX).max(1)).map_err(|_| DeviceError {
            call: "mmap",
            errno: rustix::io::Errno::NOMEM.raw_os_error(),
        })?;
        let mapping = Mapping::new(blocks as usize * BUF_MAX)?;
        if POISONING {
            // SAFETY: the mapping is ours alone until the first `Buf` is taken.
            unsafe { mapping.addr.write_bytes(POISON, mapping.len) };
        }
        // SAFETY: the mapping outlives the region: both lie in `Region`, which drops `_mr` first.
        let mr = unsafe { device.reg_mr(pd, mapping.addr, mapping.len, remote_write) }?;
        let lkey = <S::Device as Device<S>>::lkey(&mr);
        let region = Region {
            _mr: Box::new(mr),
            mapping,
            lkey,
            fixed: Cell::new(None),
            buddy: RefCell::new(Buddy::new(blocks)),
        };
        Ok(Self { region: Rc::new(region) })
    }

    /// A pool that no device knows.
    #[cfg(test)]
    pub(crate) fn unregistered(blocks: u32) -> Self {
        let mapping = Mapping::new(blocks as usize * BUF_MAX).expect("memory");
        if POISONING {
            // SAFETY: the mapping is ours alone until the first `Buf` is taken.
            unsafe { mapping.addr.write_bytes(POISON, mapping.len) };
        }
        let region = Region {
            _mr: Box::new(()),
            mapping,
            lkey: 7,
            fixed: Cell::new(None),
            buddy: RefCell::new(Buddy::new(blocks)),
        };
        Self { region: Rc::new(region) }
    }

    /// A buffer of at least `len` bytes, page aligned and contiguous; `None` when there is no room
    /// now.
    ///
    /// Its bytes are whatever an earlier use left. `len` is 1 byte to 4 MiB.
    #[must_use]
    pub fn take(&self, len: usize) -> Option<Buf> {
        let block = self.region.buddy.borrow_mut().take(buddy::order_for(len)?)?;
        Some(self.buf(Piece::Block(block), len))
    }

    /// The same on an account, which has its capacity until it is dropped.
    #[must_use]
    pub fn take_for(&self, len: usize, account: &Account) -> Option<Buf> {
        let mut buf = self.take(len)?;
        account.bytes.set(account.bytes() + buf.capacity());
        buf.account = Some(account.clone());
        Some(buf)
    }

    /// A 64-byte slot for a capsule or a response; `None` when there is no room now.
    #[must_use]
    pub fn take_slot(&self) -> Option<Buf> {
        let slot = self.region.buddy.borrow_mut().take_slot()?;
        Some(self.buf(Piece::Slot(slot), CAPSULE_SLOT))
    }

    fn buf(&self, piece: Piece, len: usize) -> Buf {
        let offset = piece.offset();
        debug_assert!(offset + piece.capacity() <= self.region.mapping.len);
        // SAFETY: the buddy allocator deals in pages of this mapping only, so the offset is inside.
        let addr = unsafe { self.region.mapping.addr.add(offset) };
        let len = u32::try_from(len).expect("a buffer is at most 4 MiB");
        let buf = Buf { addr, len, piece, region: Rc::clone(&self.region), account: None };
        if POISONING {
            buf.check_poison();
        }
        buf
    }

    /// Start and length of the region, for a ring that wants it registered.
    #[must_use]
    pub fn memory(&self) -> (NonNull<u8>, usize) {
        (self.region.mapping.addr, self.region.mapping.len)
    }

    /// Says under which index the disk ring knows this region.
    pub fn set_fixed(&self, index: Option<u16>) {
        self.region.fixed.set(index);
    }

    /// The index under which the disk ring knows this region.
    #[must_use]
    pub fn fixed(&self) -> Option<u16> {
        self.region.fixed.get()
    }

    /// Bytes taken now.
    #[must_use]
    pub fn used_bytes(&self) -> usize {
        self.region.buddy.borrow().used_bytes()
    }

    /// Bytes in all.
    #[must_use]
    pub fn total_bytes(&self) -> usize {
        self.region.mapping.len
    }
}

#[derive(Clone, Copy)]
enum Piece {
    Block(Block),
    Slot(Slot),
}

impl Piece {
    fn offset(self) -> usize {
        match self {
            Self::Block(block) => block.page as usize * PAGE,
            Self::Slot(slot) => slot.page as usize * PAGE + usize::from(slot.index) * CAPSULE_SLOT,
        }
    }

    fn capacity(self) -> usize {
        match self {
            Self::Block(block) => PAGE << block.order,
            Self::Slot(_) => CAPSULE_SLOT,
        }
    }
}

/// Exclusively owned bytes of a registered region. Dropping it gives them back to the pool.
///
/// The one type that shows a slice: a `Buf` that a device may touch is not reachable as a `Buf`.
pub struct Buf {
    addr: NonNull<u8>,
    len: u32,
    piece: Piece,
    region: Rc<Region>,
    account: Option<Account>,
}

/// Counts the bytes of the buffers that one holder has taken of any pool. Clones are the same
/// account.
#[derive(Clone, Debug, Default)]
pub struct Account {
    bytes: Rc<Cell<usize>>,
}

impl Account {
    /// Bytes held now; memory that was given up for ever counts for ever.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes.get()
    }
}

impl Buf {
    /// Bytes in use, at most [`Self::capacity`].
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "a buffer of length 0 has no use of its own")]
    pub fn len(&self) -> usize {
        self.len as usize
    }

    /// Bytes that fit.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.piece.capacity()
    }

    /// Sets how many bytes are in use.
    ///
    /// # Panics
    /// `len` is more than fits: a caller's bug.
    pub fn set_len(&mut self, len: usize) {
        assert!(len <= self.capacity(), "{len} bytes in a buffer of {}", self.capacity());
        self.len = u32::try_from(len).expect("a capacity is at most 4 MiB");
    }

    /// Makes the second half of its capacity a buffer of its own, on the same account; both halves
    /// are in use as a whole. `None` for what is no larger than a page.
    #[must_use]
    pub fn split_off(&mut self) -> Option<Self> {
        let Piece::Block(block) = self.piece else { return None };
        let (low, high) = self.region.buddy.borrow_mut().split(block)?;
        let (low, high) = (Piece::Block(low), Piece::Block(high));
        let len = u32::try_from(low.capacity()).expect("a capacity is at most 4 MiB");
        // SAFETY: the second half lies in the block that `self` owned as a whole until here.
        let addr = unsafe { self.addr.add(low.capacity()) };
        self.piece = low;
        self.len = len;
        let (region, account) = (Rc::clone(&self.region), self.account.clone());
        Some(Self { addr, len, piece: high, region, account })
    }

    /// The bytes in use.
    #[must_use]
    pub fn as_slice(&self) -> &[u8] {
        // SAFETY: the piece is mapped, initialised (anonymous memory) and owned by `self` alone.
        unsafe { std::slice::from_raw_parts(self.addr.as_ptr(), self.len()) }
    }

    /// The bytes in use.
    #[must_use]
    pub fn as_mut_slice(&mut self) -> &mut [u8] {
        // SAFETY: as in `as_slice`, and `self` is borrowed exclusively.
        unsafe { std::slice::from_raw_parts_mut(self.addr.as_ptr(), self.len()) }
    }

    /// Where it lies.
    #[must_use]
    pub fn addr(&self) -> NonNull<u8> {
        self.addr
    }

    /// The index under which the disk ring knows its region.
    #[must_use]
    pub fn fixed(&self) -> Option<u16> {
        self.region.fixed.get()
    }

    /// The scatter/gather entry of its bytes in use.
    #[must_use]
    pub fn sge(&self) -> Sge {
        Sge { addr: self.addr.as_ptr() as u64, len: self.len, lkey: self.region.lkey }
    }

    fn all_bytes(&mut self) -> &mut [u8] {
        // SAFETY: the whole piece is mapped and owned by `self` alone.
        unsafe { std::slice::from_raw_parts_mut(self.addr.as_ptr(), self.piece.capacity()) }
    }

    /// A free buffer that changed was written by someone who did not own it.
    fn check_poison(&self) {
        // SAFETY: as in `all_bytes`; nothing else looks at it yet.
        let bytes = unsafe { std::slice::from_raw_parts(self.addr.as_ptr(), self.capacity()) };
        assert!(
            bytes.chunks(PAGE).all(|chunk| chunk == &POISON_PAGE[..chunk.len()]),
            "a free buffer at {:p} was written to: a device or a disk touched it after its release",
            self.addr
        );
    }
}

impl Drop for Buf {
    fn drop(&mut self) {
        if POISONING {
            self.all_bytes().fill(POISON);
        }
        if let Some(account) = &self.account {
            account.bytes.set(account.bytes() - self.capacity());
        }
        let mut buddy = self.region.buddy.borrow_mut();
        match self.piece {
            Piece::Block(block) => buddy.give(block),
            Piece::Slot(slot) => buddy.give_slot(slot),
        }
    }
}

impl fmt::Debug for Buf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Buf").field("addr", &self.addr).field("len", &self.len).finish()
    }
}

/// A receive's memory: the capsule, and room for in-capsule data at a page boundary.
#[derive(Debug)]
pub struct RecvBuf {
    /// 64 bytes for the command capsule.
    pub capsule: Buf,
    /// In-capsule data, so that it can go to a disk as it is.
    pub data: Option<Buf>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_goes_back_when_it_is_dropped_and_is_page_aligned() {
        let pool = Pool::unregistered(1);
        let buf = pool.take(5000).unwrap();
        assert_eq!((buf.len(), buf.capacity()), (5000, 8192));
        assert_eq!(buf.addr().as_ptr() as usize % PAGE, 0);
        assert_eq!(buf.sge().len, 5000);
        let slot = pool.take_slot().unwrap();
        assert_eq!(slot.capacity(), CAPSULE_SLOT);
        drop((buf, slot));
        assert_eq!(pool.used_bytes(), 0);
    }

    #[test]
    fn a_pool_without_room_says_so_and_serves_again_after_a_release() {
        let pool = Pool::unregistered(1);
        let all = pool.take(BUF_MAX).unwrap();
        assert!(pool.take(1).is_none() && pool.take_slot().is_none());
        drop(all);
        assert!(pool.take(BUF_MAX).is_some());
        assert!(pool.take(BUF_MAX + 1).is_none());
    }

    #[test]
    fn an_account_has_what_its_buffers_take_until_they_are_dropped() {
        let pool = Pool::unregistered(1);
        let account = Account::default();
        let (small, large) = (pool.take_for(1, &account), pool.take_for(5000, &account));
        let other = pool.take(PAGE);
        assert_eq!(account.bytes(), 3 * PAGE);
        drop(large);
        assert_eq!(account.bytes(), PAGE);
        drop((small, other));
        assert_eq!(account.bytes(), 0);
    }

    #[test]
    fn halves_of_a_buffer_go_back_one_by_one_and_make_a_whole_again() {
        let pool = Pool::unregistered(1);
        let account = Account::default();
        let mut low = pool.take_for(4 * PAGE, &account).unwrap();
        let mut high = low.split_off().unwrap();
        assert_eq!((low.len(), high.len()), (2 * PAGE, 2 * PAGE));
        assert_eq!(high.addr().as_ptr() as usize - low.addr().as_ptr() as usize, 2 * PAGE);
        let quarter = high.split_off().unwrap();
        assert!(pool.take_slot().unwrap().split_off().is_none());
        drop(low);
        assert_eq!((account.bytes(), pool.used_bytes()), (2 * PAGE, 2 * PAGE));
        assert!(high.split_off().is_none(), "a page is a page");
        drop((high, quarter));
        assert_eq!((account.bytes(), pool.used_bytes()), (0, 0));
        assert!(pool.take(BUF_MAX).is_some());
    }

    #[test]
    #[cfg(debug_assertions)]
    #[should_panic(expected = "was written to")]
    fn a_write_after_the_release_is_noticed_when_the_buffer_leaves_again() {
        let pool = Pool::unregistered(1);
        let addr = pool.take(PAGE).unwrap().addr();
        // SAFETY: the page is mapped as long as the pool lives; being nobody's is the point.
        unsafe { addr.write(1) };
        drop(pool.take(PAGE));
    }
}
