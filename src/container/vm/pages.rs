//! Room for Luau's pages, laid out so that few of the system's own pages are touched.
//!
//! Luau takes its small objects from pages of 16 or 32 KiB, one kind for each size, and has some forty kinds at once. It
//! writes a head at the start of a page, and fills it from its end. So most of a page is never touched, and what counts is
//! how many of the system's pages of 4 KiB hold a head or an end. Here each of Luau's pages begins just before a border of
//! the system's pages: its head lies beside the end of the page before it. Next to pages that lie anywhere this saves a
//! fifth of an idle VM.
#![expect(unsafe_code, reason = "hands out raw memory")]

use std::alloc::{Layout, alloc, dealloc};
use std::cell::RefCell;

/// What Luau asks for as a page of its own, in bytes (`kSmallPageSize` and `kLargePageSize` of its `lmem.cpp`).
const SMALL_BYTES: usize = 16 * 1024 - 24;
const LARGE_BYTES: usize = 32 * 1024 - 24;
/// A page of most systems.
const SYSTEM_PAGE_BYTES: usize = 4_096;
/// Before a border of the system's pages there is room for a head.
const HEAD_BYTES: usize = 64;

/// A slot has room for a small page, two side by side for a large one.
const SLOT_BYTES: usize = 16 * 1024;
/// Slots of one chunk: what a small VM needs, so that it has one chunk.
const SLOTS: usize = 64;

/// The pages of one VM.
#[derive(Default)]
pub(super) struct Pages {
    chunks: RefCell<Chunks>,
}

impl Pages {
    /// Room for a page of this size, null if there is no memory; `None` if it is no page's size.
    pub(super) fn take(&self, bytes: usize) -> Option<*mut u8> {
        Some(self.chunks.borrow_mut().take(slots_of(bytes)?))
    }

    /// Gives the room for a page back. False if it is no page's size.
    ///
    /// # Safety
    ///
    /// It must come from [`Pages::take`] with the same size, and not be used any more.
    pub(super) unsafe fn give_back(&self, page: *mut u8, bytes: usize) -> bool {
        let Some(slots) = slots_of(bytes) else { return false };
        self.chunks.borrow_mut().give_back(page, slots);
        true
    }

    /// Whether an allocation of this size is a page.
    pub(super) fn is_page(bytes: usize) -> bool {
        slots_of(bytes).is_some()
    }
}

fn slots_of(bytes: usize) -> Option<u32> {
    match bytes {
        SMALL_BYTES => Some(1),
        LARGE_BYTES => Some(2),
        _ => None,
    }
}

#[derive(Default)]
struct Chunks {
    /// By their addresses.
    chunks: Vec<Chunk>,
    /// All chunks before this one are full.
    hint: usize,
}

struct Chunk {
    block: *mut u8,
    /// The first slot.
    first: *mut u8,
    /// A bit for each slot that is free.
    free: u64,
}

impl Chunk {
    /// The first of so many free slots side by side.
    fn place(&self, slots: u32) -> Option<u32> {
        let places = if slots == 1 { self.free } else { self.free & (self.free >> 1) };
        (places != 0).then(|| places.trailing_zeros())
    }
}

/// A chunk is a block of the allocator. What the allocator itself writes lies before it, in the page of the first head.
fn layout() -> Layout {
    let bytes = SYSTEM_PAGE_BYTES + HEAD_BYTES + SLOTS * SLOT_BYTES;
    Layout::from_size_align(bytes, 16).expect("a chunk is far smaller than memory")
}

impl Chunks {
    fn take(&mut self, slots: u32) -> *mut u8 {
        let not_full = self.chunks[self.hint..].iter().position(|chunk| chunk.free != 0);
        self.hint = not_full.map_or(self.chunks.len(), |at| self.hint + at);
        let with_room = self.chunks[self.hint..].iter().position(|chunk| chunk.place(slots).is_some());
        let at = match with_room {
            Some(at) => self.hint + at,
            None => match self.add() {
                Some(at) => at,
                None => return std::ptr::null_mut(),
            },
        };
        let chunk = &mut self.chunks[at];
        let place = chunk.place(slots).expect("it has room");
        chunk.free &= !(mask(slots) << place);
        // SAFETY: the slots lie in the block: see `layout`.
        unsafe { chunk.first.add(place as usize * SLOT_BYTES) }
    }

    /// Adds an empty chunk.
    fn add(&mut self) -> Option<usize> {
        // SAFETY: the layout is not empty.
        let block = unsafe { alloc(layout()) };
        if block.is_null() {
            return None;
        }
        let border = (block as usize + HEAD_BYTES).next_multiple_of(SYSTEM_PAGE_BYTES);
        // SAFETY: there is room for this and for all slots: see `layout`.
        let first = unsafe { block.add(border - HEAD_BYTES - block as usize) };
        let at = self.chunks.partition_point(|chunk| chunk.block < block);
        self.chunks.insert(at, Chunk { block, first, free: u64::MAX });
        self.hint = self.hint.min(at);
        Some(at)
    }

    fn give_back(&mut self, page: *mut u8, slots: u32) {
        let Some(at) = self.chunks.partition_point(|chunk| chunk.block <= page).checked_sub(1) else { return };
        let place = (page as usize - self.chunks[at].first as usize) / SLOT_BYTES;
        self.chunks[at].free |= mask(slots) << place;
        self.hint = self.hint.min(at);
        if self.chunks[at].free == u64::MAX {
            let chunk = self.chunks.remove(at);
            // SAFETY: it was made with this layout, and all of its slots are free.
            unsafe { dealloc(chunk.block, layout()) };
        }
    }
}

const fn mask(slots: u32) -> u64 {
    (1 << slots) - 1
}

impl Drop for Chunks {
    fn drop(&mut self) {
        for chunk in &self.chunks {
            // SAFETY: as above; the VM is closed.
            unsafe { dealloc(chunk.block, layout()) };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_do_not_overlap_and_their_heads_lie_before_a_border() {
        let pages = Pages::default();
        let sizes = [SMALL_BYTES, LARGE_BYTES, SMALL_BYTES, SMALL_BYTES, LARGE_BYTES];
        let mut taken: Vec<(usize, usize)> =
            sizes.iter().cycle().take(500).map(|bytes| (pages.take(*bytes).unwrap() as usize, *bytes)).collect();
        assert!(taken.iter().all(|(page, _)| (page + HEAD_BYTES).is_multiple_of(SYSTEM_PAGE_BYTES)));
        taken.sort_unstable();
        assert!(taken.windows(2).all(|pair| pair[0].0 + pair[0].1 <= pair[1].0));
        for (page, bytes) in taken {
            // SAFETY: it was taken above. Writing all of it shows that it is ours.
            unsafe {
                std::ptr::write_bytes(page as *mut u8, 0xa5, bytes);
                assert!(pages.give_back(page as *mut u8, bytes));
            }
        }
        assert!(pages.chunks.borrow().chunks.is_empty());
        assert!(pages.take(SMALL_BYTES - 1).is_none());
    }

    #[test]
    fn room_that_was_given_back_is_used_again() {
        let pages = Pages::default();
        let taken: Vec<*mut u8> = (0..SLOTS).map(|_| pages.take(SMALL_BYTES).unwrap()).collect();
        // SAFETY: they were taken above.
        unsafe {
            pages.give_back(taken[7], SMALL_BYTES);
            pages.give_back(taken[9], SMALL_BYTES);
            pages.give_back(taken[10], SMALL_BYTES);
        }
        assert_eq!(pages.take(LARGE_BYTES).unwrap(), taken[9]);
        assert_eq!(pages.take(SMALL_BYTES).unwrap(), taken[7]);
        assert_eq!(pages.chunks.borrow().chunks.len(), 1);
        pages.take(SMALL_BYTES).unwrap();
        assert_eq!(pages.chunks.borrow().chunks.len(), 2);
    }
}
