//! Freed blocks of the sizes that frames and pieces of bodies have, kept for their next use.
//!
//! musl's allocator maps each such block for itself, and unmaps it when it is freed: then each frame finds its pages gone, and the kernel
//! gives it others. Nobody waits for anybody here: a block is put into a free place, or taken out of one, by one exchange of a pointer.

use std::alloc::Layout;
use std::ptr;
use std::sync::atomic::{AtomicPtr, Ordering};

/// Blocks are made in multiples of so many bytes.
const STEP: usize = 16 << 10;
/// Bytes of the largest: twice a frame.
const LARGEST: usize = CLASSES * STEP;
/// Bytes of one class that wait, at most: two windows of a stream.
const MOST: usize = 512 << 10;
/// Below it the system's allocator is quick by itself.
const SMALLEST: usize = STEP / 2 + 1;
const CLASSES: usize = 8;
const PLACES: usize = MOST / STEP;
/// Nothing of these sizes is aligned to more.
const ALIGN: usize = 16;

/// A size that blocks are kept in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Class(usize);

impl Class {
    /// The class that blocks of this layout belong to, from their birth to their end.
    pub fn of(layout: &Layout) -> Option<Class> {
        let is_kept = (SMALLEST..=LARGEST).contains(&layout.size()) && layout.align() <= ALIGN;
        is_kept.then(|| Class((layout.size() - 1) / STEP))
    }

    fn size(self) -> usize {
        (self.0 + 1) * STEP
    }

    /// What the system is asked for.
    pub fn layout(self) -> Layout {
        Layout::from_size_align(self.size(), ALIGN).expect("some KiB, and a power of two")
    }
}

/// Blocks that wait. All of one class are of its layout, and nobody else's.
pub struct Spare {
    places: [[AtomicPtr<u8>; PLACES]; CLASSES],
}

impl Spare {
    pub const fn new() -> Spare {
        Spare { places: [const { [const { AtomicPtr::new(ptr::null_mut()) }; PLACES] }; CLASSES] }
    }

    fn places(&self, class: Class) -> &[AtomicPtr<u8>] {
        &self.places[class.0][..MOST / class.size()]
    }

    /// A block of the class, if one waits; it is the caller's.
    pub fn take(&self, class: Class) -> Option<*mut u8> {
        let waiting = self.places(class).iter().filter(|place| !place.load(Ordering::Relaxed).is_null());
        waiting.map(|place| place.swap(ptr::null_mut(), Ordering::Acquire)).find(|block| !block.is_null())
    }

    /// Keeps a block that the caller has alone, if there is a place; else it stays the caller's.
    pub fn put(&self, class: Class, block: *mut u8) -> bool {
        let free = |place: &&AtomicPtr<u8>| place.load(Ordering::Relaxed).is_null();
        let into = |place: &AtomicPtr<u8>| place.compare_exchange(ptr::null_mut(), block, Ordering::Release, Ordering::Relaxed).is_ok();
        self.places(class).iter().filter(free).any(into)
    }

    /// Everything that waits; it is the caller's.
    pub fn take_all(&self) -> impl Iterator<Item = (Class, *mut u8)> {
        (0..CLASSES).map(Class).flat_map(move |class| std::iter::from_fn(move || Some((class, self.take(class)?))))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use super::*;

    fn class(size: usize) -> Option<Class> {
        Class::of(&Layout::from_size_align(size, 8).unwrap())
    }

    #[test]
    fn a_class_holds_what_belongs_to_it() {
        for size in [SMALLEST, STEP, STEP + 1, 61_440, LARGEST] {
            let class = class(size).unwrap();
            assert!(class.layout().size() >= size && class.layout().size() < size + STEP, "{size}");
        }
        assert_eq!((class(SMALLEST - 1), class(LARGEST + 1)), (None, None));
        assert_eq!(Class::of(&Layout::from_size_align(STEP, 64).unwrap()), None, "aligned as no class is");
    }

    #[test]
    fn no_more_waits_than_is_allowed() {
        let spare = Spare::new();
        let blocks: Vec<*mut u8> = (1..=50).map(ptr::without_provenance_mut).collect();
        let kept = |size: usize| blocks.iter().filter(|block| spare.put(class(size).unwrap(), **block)).count();
        assert_eq!((kept(STEP), kept(3 * STEP), kept(LARGEST)), (32, 10, 4));
        let bytes: usize = spare.take_all().map(|(class, _)| class.size()).sum();
        assert_eq!(bytes, MOST + 30 * STEP + MOST);
        assert_eq!(spare.take(class(STEP).unwrap()), None);
    }

    #[test]
    fn no_two_threads_get_the_same_block() {
        let spare = Spare::new();
        let class = class(STEP).unwrap();
        let owners: [AtomicUsize; 12] = std::array::from_fn(|_| AtomicUsize::new(0));
        (1..=owners.len()).for_each(|address| assert!(spare.put(class, ptr::without_provenance_mut(address))));
        let use_one = || {
            let Some(block) = spare.take(class) else { return };
            let owner = &owners[block.addr() - 1];
            assert_eq!(owner.fetch_add(1, Ordering::SeqCst), 0, "somebody has it already");
            std::hint::spin_loop();
            owner.fetch_sub(1, Ordering::SeqCst);
            assert!(spare.put(class, block), "there is a place for each");
        };
        std::thread::scope(|scope| (0..8).for_each(|_| drop(scope.spawn(|| (0..50_000).for_each(|_| use_one())))));
        assert_eq!(std::iter::from_fn(|| spare.take(class)).count(), owners.len(), "none is lost");
    }
}
