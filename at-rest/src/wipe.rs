//! Memory that holds nothing once it is freed.
//!
//! A payload passes through many hands: HTTP, JSON, the planner's index, frames, the writer of the database. Wiping each of them by name
//! would miss those of other crates, so the allocator does it for all. What is *in use* is not wiped, and neither is what C allocates:
//! SQLite sees sealed values only, and zstd no Secrets.

#![expect(unsafe_code, reason = "an allocator is unsafe by its trait; this one adds a wipe to the system's")]

use std::alloc::{GlobalAlloc, Layout, System};

/// The system's allocator, which wipes what is freed. A program installs it with `#[global_allocator]`.
pub struct Wiping;

// SAFETY: every call goes to `System` with the caller's own arguments; `wipe` writes only inside the block that the caller gives back.
unsafe impl GlobalAlloc for Wiping {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promises are those that `System` asks for.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as above.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: the block has `layout.size()` bytes, is not used after this, and came from `System`.
        unsafe {
            wipe(block, layout.size());
            System.dealloc(block, layout);
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
            let grown = Wiping.realloc(block, layout, 4096);
            assert!(std::slice::from_raw_parts(grown, 64).iter().all(|byte| *byte == 7));
            let shrunk = Wiping.realloc(grown, Layout::from_size_align(4096, 8).unwrap(), 16);
            assert!(std::slice::from_raw_parts(shrunk, 16).iter().all(|byte| *byte == 7));
            Wiping.dealloc(shrunk, Layout::from_size_align(16, 8).unwrap());
        }
    }
}
