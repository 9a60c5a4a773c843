//! Bytes in order, in blocks: nothing moves when more come or the first ones go, and what is gone takes no memory.

use std::collections::VecDeque;

use prost::bytes::{Buf, BytesMut};

/// Bytes of the least and of the largest block that small additions share.
const BLOCK: (usize, usize) = (64, 16 * 1024);

#[derive(Default)]
pub struct Kept {
    blocks: VecDeque<BytesMut>,
    len: usize,
}

impl Kept {
    pub fn len(&self) -> usize {
        self.len
    }

    /// Adds a copy of these bytes at the end.
    pub fn add(&mut self, bytes: &[u8]) {
        let room = self.blocks.back().map_or(0, |last| last.capacity() - last.len());
        let (fitting, rest) = bytes.split_at(room.min(bytes.len()));
        if let Some(last) = self.blocks.back_mut() {
            last.extend_from_slice(fitting);
        }
        if !rest.is_empty() {
            // As much again as there is: few blocks for many small additions, and no large one for a few.
            let mut block = BytesMut::with_capacity(rest.len().max(self.len.clamp(BLOCK.0, BLOCK.1)));
            block.extend_from_slice(rest);
            self.blocks.push_back(block);
        }
        self.len += bytes.len();
    }

    /// Gives up the first `count` bytes.
    pub fn drop_first(&mut self, count: usize) {
        let mut left = count.min(self.len);
        self.len -= left;
        while let Some(first) = self.blocks.front_mut() {
            if first.len() > left {
                return first.advance(left);
            }
            left -= first.len();
            self.blocks.pop_front();
        }
    }

    /// `count` bytes from `from` on, as far as they are there, in the pieces that they lie in.
    pub fn range(&self, mut from: usize, mut count: usize) -> impl Iterator<Item = &[u8]> {
        self.blocks.iter().filter_map(move |block| {
            let skipped = from.min(block.len());
            let taken = count.min(block.len() - skipped);
            (from, count) = (from - skipped, count - taken);
            (taken > 0).then(|| &block[skipped..skipped + taken])
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_found_where_they_were_put_however_they_came() {
        for sizes in [vec![1; 500], vec![10_000, 1, 40_000, 7], vec![70_000]] {
            let (mut kept, mut all) = (Kept::default(), Vec::new());
            for (number, size) in sizes.into_iter().enumerate() {
                let bytes = vec![number as u8; size];
                kept.add(&bytes);
                all.extend_from_slice(&bytes);
            }
            for gone in [0, 1, 100, 250] {
                kept.drop_first(gone);
                all.drain(..gone);
                assert_eq!(kept.len(), all.len());
                for (from, count) in [(0, all.len()), (3, 100), (all.len() - 1, 1), (all.len(), 5)] {
                    let found: Vec<u8> = kept.range(from, count).flatten().copied().collect();
                    assert_eq!(found, all[from..(from + count).min(all.len())]);
                }
            }
        }
    }

    #[test]
    fn small_additions_share_blocks_and_what_is_gone_is_freed() {
        let mut kept = Kept::default();
        (0..100_000).for_each(|_| kept.add(b"x"));
        assert!(kept.blocks.len() < 20, "{}", kept.blocks.len());
        kept.drop_first(100_000);
        assert!(kept.blocks.is_empty());
    }
}
