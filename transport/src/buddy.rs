//! Which pages of a pool are free: a buddy allocator over page numbers, and 64-byte slots in pages.
//!
//! Everything is an index; no memory is touched here. Every operation is bounded by the number of
//! orders (11), and nothing allocates after construction.

use crate::limits::{BUF_MAX, CAPSULE_SLOT, PAGE};

/// Orders: 4 KiB << order, up to the largest buffer.
const ORDERS: usize = (BUF_MAX / PAGE).ilog2() as usize + 1;
const TOP: u8 = {
    assert!(ORDERS < 64);
    10
};
const _: () = assert!(ORDERS == TOP as usize + 1);
const _: () = assert!(PAGE / CAPSULE_SLOT == 64, "a page's slots fill one u64");

const NONE: u32 = u32::MAX;

/// What a page is part of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Page {
    /// Head of a free block of this order.
    Free(u8),
    /// Head of a block in use.
    Used(u8),
    /// Carved into slots.
    Slots,
    /// Inside a block.
    Inner,
}

/// Doubly linked lists threaded through page numbers.
struct Links {
    next: Vec<u32>,
    prev: Vec<u32>,
}

impl Links {
    fn push(&mut self, head: &mut u32, page: u32) {
        self.next[page as usize] = *head;
        self.prev[page as usize] = NONE;
        if *head != NONE {
            self.prev[*head as usize] = page;
        }
        *head = page;
    }

    fn unlink(&mut self, head: &mut u32, page: u32) {
        let (next, prev) = (self.next[page as usize], self.prev[page as usize]);
        if prev == NONE {
            *head = next;
        } else {
            self.next[prev as usize] = next;
        }
        if next != NONE {
            self.prev[next as usize] = prev;
        }
    }
}

/// A block of pages, by its first page and order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Block {
    pub(crate) page: u32,
    pub(crate) order: u8,
}

/// A 64-byte slot: page and index in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Slot {
    pub(crate) page: u32,
    pub(crate) index: u8,
}

pub(crate) struct Buddy {
    pages: Vec<Page>,
    links: Links,
    free: [u32; ORDERS],
    /// Pages of slots with at least one free slot.
    roomy: u32,
    /// A set bit is a slot in use; meaningful for `Page::Slots` only.
    slots: Vec<u64>,
    used_bytes: usize,
}

/// The order whose block holds `len` bytes; `None` above the largest.
pub(crate) fn order_for(len: usize) -> Option<u8> {
    if len > BUF_MAX {
        return None;
    }
    let pages = len.div_ceil(PAGE).max(1).next_power_of_two();
    u8::try_from(pages.ilog2()).ok()
}

impl Buddy {
    /// `blocks` blocks of the largest order.
    pub(crate) fn new(blocks: u32) -> Self {
        let count = (blocks << TOP) as usize;
        let mut buddy = Self {
            pages: vec![Page::Inner; count],
            links: Links { next: vec![NONE; count], prev: vec![NONE; count] },
            free: [NONE; ORDERS],
            roomy: NONE,
            slots: vec![0; count],
            used_bytes: 0,
        };
        for block in (0..blocks).rev() {
            buddy.put_free(block << TOP, TOP);
        }
        buddy
    }

    pub(crate) fn used_bytes(&self) -> usize {
        self.used_bytes
    }

    fn put_free(&mut self, page: u32, order: u8) {
        self.pages[page as usize] = Page::Free(order);
        self.links.push(&mut self.free[usize::from(order)], page);
    }

    fn take_free(&mut self, page: u32, order: u8) {
        self.links.unlink(&mut self.free[usize::from(order)], page);
        self.pages[page as usize] = Page::Inner;
    }

    /// Takes a block; `None` when there is no room.
    pub(crate) fn take(&mut self, order: u8) -> Option<Block> {
        let found = (order..=TOP).find(|o| self.free[usize::from(*o)] != NONE)?;
        let page = self.free[usize::from(found)];
        self.take_free(page, found);
        for split in (order..found).rev() {
            self.put_free(page + (1 << split), split);
        }
        self.pages[page as usize] = Page::Used(order);
        self.used_bytes += PAGE << order;
        Some(Block { page, order })
    }

    /// Makes two blocks of one that is taken, each to be given back by itself; `None` for a page.
    pub(crate) fn split(&mut self, block: Block) -> Option<(Block, Block)> {
        let order = block.order.checked_sub(1)?;
        assert_eq!(self.pages[block.page as usize], Page::Used(block.order), "it is taken");
        let high = block.page + (1 << order);
        for page in [block.page, high] {
            self.pages[page as usize] = Page::Used(order);
        }
        Some((Block { page: block.page, order }, Block { page: high, order }))
    }

    /// Gives a block back and merges it with its free neighbours.
    pub(crate) fn give(&mut self, block: Block) {
        assert_eq!(
            self.pages[block.page as usize],
            Page::Used(block.order),
            "a buffer went back to its pool twice"
        );
        self.used_bytes -= PAGE << block.order;
        let Block { mut page, mut order } = block;
        while order < TOP {
            let buddy = page ^ (1 << order);
            if self.pages[buddy as usize] != Page::Free(order) {
                break;
            }
            self.take_free(buddy, order);
            self.pages[page as usize] = Page::Inner;
            page = page.min(buddy);
            order += 1;
        }
        self.put_free(page, order);
    }

    /// Takes a 64-byte slot; `None` when there is no room.
    pub(crate) fn take_slot(&mut self) -> Option<Slot> {
        if self.roomy == NONE {
            let block = self.take(0)?;
            self.pages[block.page as usize] = Page::Slots;
            self.slots[block.page as usize] = 0;
            self.links.push(&mut self.roomy, block.page);
        }
        let page = self.roomy;
        let bits = &mut self.slots[page as usize];
        let index = bits.trailing_ones();
        *bits |= 1 << index;
        if *bits == u64::MAX {
            self.links.unlink(&mut self.roomy, page);
        }
        Some(Slot { page, index: u8::try_from(index).expect("a u64 has 64 bits") })
    }

    /// Gives a slot back, and its page when that was the last one.
    pub(crate) fn give_slot(&mut self, slot: Slot) {
        let bits = &mut self.slots[slot.page as usize];
        let mask = 1_u64 << slot.index;
        assert!(
            self.pages[slot.page as usize] == Page::Slots && *bits & mask != 0,
            "a capsule slot went back to its pool twice"
        );
        let was_full = *bits == u64::MAX;
        *bits &= !mask;
        let empty = *bits == 0;
        if was_full {
            self.links.push(&mut self.roomy, slot.page);
        }
        if empty {
            self.links.unlink(&mut self.roomy, slot.page);
            self.pages[slot.page as usize] = Page::Used(0);
            self.give(Block { page: slot.page, order: 0 });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_given_back_makes_the_largest_blocks_again() {
        let mut buddy = Buddy::new(2);
        let mut held = Vec::new();
        for i in 0..200_u32 {
            held.extend(buddy.take(u8::try_from(i % 5).unwrap()));
        }
        let slots: Vec<_> = (0..130).map(|_| buddy.take_slot().unwrap()).collect();
        let mut seen: Vec<_> = slots.iter().map(|s| (s.page, s.index)).collect();
        seen.sort_unstable();
        seen.dedup();
        assert_eq!(seen.len(), 130, "no slot twice");
        for (i, block) in held.iter().enumerate().rev() {
            if i % 3 == 0 {
                buddy.give(*block);
            }
        }
        for (i, block) in held.iter().enumerate() {
            if i % 3 != 0 {
                buddy.give(*block);
            }
        }
        for slot in slots {
            buddy.give_slot(slot);
        }
        assert_eq!(buddy.used_bytes(), 0);
        assert!(buddy.take(TOP).is_some() && buddy.take(TOP).is_some());
        assert!(buddy.take(0).is_none());
    }

    #[test]
    fn blocks_in_use_never_overlap() {
        let mut buddy = Buddy::new(1);
        let mut owner = vec![0_u32; 1 << TOP];
        let mut held: Vec<(u32, Block)> = Vec::new();
        let mut seed = 1_u64;
        for turn in 1..5000_u32 {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let pick = (seed >> 33) as usize;
            if pick.is_multiple_of(3) && !held.is_empty() {
                let (mark, block) = held.swap_remove(pick % held.len());
                let start = block.page as usize;
                for page in &mut owner[start..start + (1 << block.order)] {
                    assert_eq!(std::mem::take(page), mark);
                }
                buddy.give(block);
            } else if let Some(block) = buddy.take(u8::try_from(pick % 6).unwrap()) {
                let start = block.page as usize;
                for page in &mut owner[start..start + (1 << block.order)] {
                    assert_eq!(std::mem::replace(page, turn), 0, "a page with two owners");
                }
                held.push((turn, block));
            }
        }
    }

    #[test]
    #[should_panic(expected = "twice")]
    fn a_block_given_back_twice_is_noticed() {
        let mut buddy = Buddy::new(1);
        let block = buddy.take(0).unwrap();
        buddy.give(block);
        buddy.give(block);
    }

    #[test]
    fn orders_hold_what_they_are_asked_for() {
        assert_eq!(order_for(0), Some(0));
        assert_eq!(order_for(PAGE), Some(0));
        assert_eq!(order_for(PAGE + 1), Some(1));
        assert_eq!(order_for(BUF_MAX), Some(TOP));
        assert_eq!(order_for(BUF_MAX + 1), None);
    }
}
