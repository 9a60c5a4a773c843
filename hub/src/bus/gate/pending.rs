//! Connections that have not sent CONNECT yet: a bounded queue whose oldest is evicted by one too many.
//!
//! Eviction of the oldest, not refusal of the newest, keeps silent peers from shutting others out: an honest peer needs
//! milliseconds, a silent one only grows old.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio_util::sync::CancellationToken;

#[derive(Debug)]
pub struct Pending {
    limit: usize,
    queue: Mutex<Queue>,
}

#[derive(Debug, Default)]
struct Queue {
    next: u64,
    waiting: VecDeque<(u64, CancellationToken)>,
}

/// A place in the queue, given back when dropped.
#[derive(Debug)]
pub struct Place<'a> {
    pending: &'a Pending,
    number: u64,
    evicted: CancellationToken,
}

impl Pending {
    pub fn new(limit: usize) -> Pending {
        Pending { limit, queue: Mutex::default() }
    }

    /// Takes a place; the second value tells whether another had to leave for it.
    pub fn enter(&self) -> (Place<'_>, bool) {
        let mut queue = self.lock();
        let evict = queue.waiting.len() >= self.limit;
        if let Some((_, oldest)) = evict.then(|| queue.waiting.pop_front()).flatten() {
            oldest.cancel();
        }
        let number = queue.next;
        queue.next += 1;
        let evicted = CancellationToken::new();
        queue.waiting.push_back((number, evicted.clone()));
        (Place { pending: self, number, evicted }, evict)
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Place<'_> {
    /// Waits for being evicted.
    pub async fn evicted(&self) {
        self.evicted.cancelled().await
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut queue = self.pending.lock();
        // Numbers rise along the queue.
        if let Ok(at) = queue.waiting.binary_search_by_key(&self.number, |(number, _)| *number) {
            queue.waiting.remove(at);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_too_many_evicts_the_oldest_that_still_waits() {
        let pending = Pending::new(2);
        let (first, _) = pending.enter();
        let (second, _) = pending.enter();
        drop(first);
        let (third, evicted) = pending.enter();
        assert!(!evicted);
        let (fourth, evicted) = pending.enter();
        assert!(evicted && second.evicted.is_cancelled());
        assert!(!third.evicted.is_cancelled() && !fourth.evicted.is_cancelled());
        drop((second, third, fourth));
        assert!(pending.lock().waiting.is_empty());
    }
}
