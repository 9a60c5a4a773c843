//! Draws that are the same on every processor: for a `usize` of 32 bits fastrand would take fewer bits from the generator.

use std::ops::RangeBounds;

pub trait Draw {
    /// A number of this range.
    fn index(&mut self, range: impl RangeBounds<usize>) -> usize;

    /// One of these, if there are any.
    fn pick<I: IntoIterator<IntoIter: ExactSizeIterator>>(&mut self, items: I) -> Option<I::Item> {
        let mut items = items.into_iter();
        if items.len() == 0 {
            return None;
        }
        let index = self.index(..items.len());
        items.nth(index)
    }
}

impl Draw for fastrand::Rng {
    fn index(&mut self, range: impl RangeBounds<usize>) -> usize {
        let bounds = (range.start_bound().map(|bound| *bound as u64), range.end_bound().map(|bound| *bound as u64));
        self.u64(bounds) as usize
    }
}
