//! Memory that holds nothing once it is freed.
//!
//! A payload passes through many hands: HTTP, JSON, the planner's index, frames, the writer of the database. Wiping each of them by name
//! would miss those of other crates, so the allocator does it for all. What is *in use* is not wiped, and neither is what C allocates:
//! SQLite sees sealed values only, and zstd no Secrets.

#![expect(unsafe_code, reason = "an allocator is unsafe by its trait; this one adds a wipe to the system's")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::time::Duration;

use crate::spare::{Class, Spare};

/// The system's allocator, which wipes what is freed, and keeps blocks of the size of frames for the next ones ([`give_back`]). A program
/// installs it with `#[global_allocator]`.
pub struct Wiping;

static SPARE: Spare = Spare::new();

/// How often a program that runs for long gives back what it keeps.
pub const GIVE_BACK_EVERY: Duration = Duration::from_secs(10);

/// Gives back to the system what is kept for the next frames: after a burst it is not needed.
pub fn give_back() {
    // SAFETY: what waits is `System`'s, of its class's layout, and nobody else's once it is taken.
    SPARE.take_all().for_each(|(class, block)| unsafe { System.dealloc(block, class.layout()) });
}

// SAFETY: every block is `System`'s, of the layout that `Class::of` gives for the caller's, the same for its whole life, or else of the
// caller's own; `wipe` writes only inside the block that the caller gives back, and what `Spare` holds is nobody's.
unsafe impl GlobalAlloc for Wiping {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let Some(class) = Class::of(&layout) else {
            // SAFETY: the caller's promises are those that `System` asks for.
            return unsafe { System.alloc(layout) };
        };
        // SAFETY: no class is of size 0.
        SPARE.take(class).unwrap_or_else(|| unsafe { System.alloc(class.layout()) })
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        let Some(class) = Class::of(&layout) else {
            // SAFETY: as above.
            return unsafe { System.alloc_zeroed(layout) };
        };
        let Some(block) = SPARE.take(class) else {
            // SAFETY: no class is of size 0.
            return unsafe { System.alloc_zeroed(class.layout()) };
        };
        // SAFETY: the class is at least as large as the layout. What was wiped may have been less than is asked for now.
        unsafe { block.write_bytes(0, layout.size()) };
        block
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: the block has `layout.size()` bytes, is not used after this, and came from `System`, with the layout of its class if it
        // has one.
        unsafe {
            wipe(block, layout.size());
            match Class::of(&layout) {
                None => System.dealloc(block, layout),
                Some(class) if SPARE.put(class, block) => {}
                Some(class) => System.dealloc(block, class.layout()),
            }
        }
    }

    // `realloc` is the trait's own: a new block, a copy, and `dealloc` of the old one. The system's would leave the old block behind.
}

/// # Safety
/// `block` has `len` bytes that nobody else uses.
unsafe fn wipe(block: *mut u8, len: usize) {
    // The C library promises that this write is not optimised away, which a plain one before `free` would be.
    // SAFETY: the caller's promise.
    unsafe { libc::explicit_bzero(block.cast(), len) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_is_wiped_to_its_last_byte() {
        let mut block = vec![0xa5_u8; 1000];
        // SAFETY: 999 bytes of a vector that is ours.
        unsafe { wipe(block.as_mut_ptr(), 999) };
        assert!(block[..999].iter().all(|byte| *byte == 0));
        assert_eq!(block[999], 0xa5);
    }

    #[test]
    fn a_block_that_grows_and_shrinks_keeps_its_bytes() {
        let layout = Layout::from_size_align(64, 8).unwrap();
        // SAFETY: blocks are used within their sizes and given back with their layouts.
        unsafe {
            let block = Wiping.alloc(layout);
            block.write_bytes(7, 64);
            let grown = Wiping.realloc(block, layout, 40_000);
            assert!(std::slice::from_raw_parts(grown, 64).iter().all(|byte| *byte == 7));
            let shrunk = Wiping.realloc(grown, Layout::from_size_align(40_000, 8).unwrap(), 16);
            assert!(std::slice::from_raw_parts(shrunk, 16).iter().all(|byte| *byte == 7));
            Wiping.dealloc(shrunk, Layout::from_size_align(16, 8).unwrap());
        }
    }

    #[test]
    fn a_freed_block_is_wiped_and_used_again() {
        let layout = |size| Layout::from_size_align(size, 1).unwrap();
        // SAFETY: blocks are used within their sizes, given back with their layouts, and read after that while nobody else has them.
        unsafe {
            let block = Wiping.alloc(layout(61_000));
            block.write_bytes(7, 61_000);
            Wiping.dealloc(block, layout(61_000));
            assert!(std::slice::from_raw_parts(block, 61_000).iter().all(|byte| *byte == 0));
            let other = Wiping.alloc(layout(20_000));
            assert_ne!(other, block, "of another size");
            // What no caller has written is not wiped.
            block.write_bytes(7, 64 << 10);
            let again = Wiping.alloc_zeroed(layout(62_000));
            assert_eq!(again, block);
            assert!(std::slice::from_raw_parts(again, 62_000).iter().all(|byte| *byte == 0));
            Wiping.dealloc(again, layout(62_000));
            Wiping.dealloc(other, layout(20_000));
        }
        give_back();
        assert_eq!(SPARE.take(Class::of(&layout(61_000)).unwrap()), None);
    }
}
