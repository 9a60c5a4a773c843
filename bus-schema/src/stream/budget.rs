//! What all ends of one process may hold together, whatever each of them may hold by itself.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// Bytes for the streams of all links of a process; clones are the same budget.
///
/// Nothing fails when it is used up: streams are taken from little by little, and no window grows, so that whoever writes waits.
#[derive(Debug, Clone)]
pub struct Budget(Arc<Pools>);

#[derive(Debug)]
struct Pools {
    most: usize,
    kept: AtomicUsize,
    widened: AtomicUsize,
}

impl Budget {
    /// So many bytes that are kept until the peer has them, and as many of windows above the first.
    pub fn new(most: usize) -> Budget {
        Budget(Arc::new(Pools { most, kept: AtomicUsize::new(0), widened: AtomicUsize::new(0) }))
    }

    /// Bytes that all ends keep now.
    pub fn kept(&self) -> usize {
        self.0.kept.load(Relaxed)
    }

    /// Bytes of all windows above the first.
    pub fn widened(&self) -> usize {
        self.0.widened.load(Relaxed)
    }
}

impl Default for Budget {
    /// Without a limit.
    fn default() -> Budget {
        Budget::new(usize::MAX)
    }
}

/// What one end holds; it is given back when this is dropped.
#[derive(Debug, Default)]
pub struct Held {
    budget: Budget,
    kept: usize,
    widened: usize,
}

impl Held {
    pub fn of(budget: Budget) -> Held {
        Held { budget, ..Held::default() }
    }

    /// Bytes that this end keeps.
    pub fn kept(&self) -> usize {
        self.kept
    }

    /// Bytes that this end may still keep, of `most` of its own.
    pub fn room(&self, most: usize) -> usize {
        left(most, self.kept).min(left(self.budget.0.most, self.budget.kept()))
    }

    /// Bytes by which this end's windows may still grow, of `most` of its own.
    pub fn slack(&self, most: usize) -> usize {
        left(most, self.widened).min(left(self.budget.0.most, self.budget.widened()))
    }

    pub fn keep(&mut self, bytes: usize) {
        self.kept += bytes;
        self.budget.0.kept.fetch_add(bytes, Relaxed);
    }

    pub fn release(&mut self, bytes: usize) {
        self.kept -= bytes;
        self.budget.0.kept.fetch_sub(bytes, Relaxed);
    }

    pub fn widen(&mut self, bytes: usize) {
        self.widened += bytes;
        self.budget.0.widened.fetch_add(bytes, Relaxed);
    }

    pub fn narrow(&mut self, bytes: usize) {
        self.widened -= bytes;
        self.budget.0.widened.fetch_sub(bytes, Relaxed);
    }

    /// Nothing is held any more.
    pub fn clear(&mut self) {
        self.release(self.kept);
        self.narrow(self.widened);
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.clear();
    }
}

fn left(most: usize, taken: usize) -> usize {
    most.saturating_sub(taken)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_one_end_holds_another_cannot_have_until_it_is_given_back() {
        let budget = Budget::new(100);
        let (mut one, mut other) = (Held::of(budget.clone()), Held::of(budget.clone()));
        one.keep(70);
        one.widen(100);
        assert_eq!((other.room(50), other.room(20), other.slack(50)), (30, 20, 0));
        other.keep(40);
        assert_eq!((one.room(200), budget.kept()), (0, 110), "what must go on goes beyond it");
        one.release(20);
        assert_eq!(other.room(100), 10);
        drop(one);
        assert_eq!((other.room(100), other.slack(100), budget.kept(), budget.widened()), (60, 100, 40, 0));
        other.clear();
        assert_eq!((budget.kept(), other.room(100)), (0, 100));
    }

    #[test]
    fn without_a_budget_an_end_has_its_own_limit() {
        let mut held = Held::default();
        held.keep(10);
        assert_eq!((held.room(15), held.slack(15)), (5, 15));
    }
}
