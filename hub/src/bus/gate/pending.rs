//! Connections that have not sent CONNECT yet: bounded places for each class of source.
//!
//! Where strangers are to have a chance, one too many evicts the oldest, for an honest peer needs milliseconds and a silent one only
//! grows old. Where a network keeps failing, one too many is turned away, which costs least.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use tokio_util::sync::CancellationToken;

use super::sources::{Class, Sources};

#[derive(Debug)]
pub struct Pending {
    limits: Limits,
    waiting: Mutex<Waiting>,
}

/// Places before CONNECT, by class.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    pub known: usize,
    pub unknown: usize,
    pub failing: usize,
}

#[derive(Debug, Default)]
struct Waiting {
    next: u64,
    known: VecDeque<(u64, CancellationToken)>,
    unknown: VecDeque<(u64, CancellationToken)>,
    failing: VecDeque<(u64, CancellationToken)>,
    sources: Sources,
}

/// A place before CONNECT, given back when dropped; unless the peer became an agent, that is held against its network.
#[derive(Debug)]
pub struct Place {
    pending: Arc<Pending>,
    address: IpAddr,
    class: Class,
    number: u64,
    evicted: CancellationToken,
    arrived: bool,
}

/// What became of a newcomer.
#[derive(Debug)]
pub enum Entry {
    /// It has a place; the second value tells whether another had to leave for it.
    Place(Place, bool),
    /// Its network keeps failing, and the places for such are taken.
    TurnedAway,
}

impl Pending {
    pub fn new(limits: Limits) -> Arc<Pending> {
        Arc::new(Pending { limits, waiting: Mutex::default() })
    }

    /// Takes a place for a peer.
    pub fn enter(self: &Arc<Self>, address: IpAddr, now: Instant) -> Entry {
        let mut waiting = self.lock();
        let class = waiting.sources.class(address, now);
        let number = waiting.next;
        let (queue, limit) = (waiting.queue(class), self.limit(class));
        let full = queue.len() >= limit;
        if full && class == Class::Failing {
            return Entry::TurnedAway;
        }
        if let Some((_, oldest)) = full.then(|| queue.pop_front()).flatten() {
            oldest.cancel();
        }
        let evicted = CancellationToken::new();
        queue.push_back((number, evicted.clone()));
        waiting.next += 1;
        Entry::Place(Place { pending: self.clone(), address, class, number, evicted, arrived: false }, full)
    }

    fn limit(&self, class: Class) -> usize {
        match class {
            Class::Known => self.limits.known,
            Class::Unknown => self.limits.unknown,
            Class::Failing => self.limits.failing,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Waiting {
    fn queue(&mut self, class: Class) -> &mut VecDeque<(u64, CancellationToken)> {
        match class {
            Class::Known => &mut self.known,
            Class::Unknown => &mut self.unknown,
            Class::Failing => &mut self.failing,
        }
    }
}

impl Place {
    /// Waits for being evicted.
    pub async fn evicted(&self) {
        self.evicted.cancelled().await
    }

    /// The peer is admitted.
    pub fn arrived(mut self) {
        self.arrived = true;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut waiting = self.pending.lock();
        let queue = waiting.queue(self.class);
        // Numbers rise along the queue.
        if let Ok(at) = queue.binary_search_by_key(&self.number, |(number, _)| *number) {
            queue.remove(at);
        }
        match self.arrived {
            true => waiting.sources.arrived(self.address, Instant::now()),
            false => waiting.sources.failed(self.address, Instant::now()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn enter(pending: &Arc<Pending>, address: [u8; 4]) -> (Place, bool) {
        match pending.enter(address.into(), Instant::now()) {
            Entry::Place(place, evicted) => (place, evicted),
            Entry::TurnedAway => panic!("turned away"),
        }
    }

    #[test]
    fn one_too_many_evicts_the_oldest_that_still_waits() {
        let pending = Pending::new(Limits { known: 2, unknown: 2, failing: 2 });
        let (first, _) = enter(&pending, [10, 0, 0, 1]);
        let (second, _) = enter(&pending, [10, 0, 0, 1]);
        drop(first);
        let (third, evicted) = enter(&pending, [10, 0, 0, 1]);
        assert!(!evicted);
        let (fourth, evicted) = enter(&pending, [10, 0, 0, 1]);
        assert!(evicted && second.evicted.is_cancelled());
        assert!(!third.evicted.is_cancelled() && !fourth.evicted.is_cancelled());
        drop((second, third, fourth));
        assert!(pending.lock().unknown.is_empty());
    }

    #[test]
    fn a_flood_of_one_class_takes_no_place_of_another() {
        let pending = Pending::new(Limits { known: 2, unknown: 2, failing: 2 });
        enter(&pending, [10, 0, 0, 1]).0.arrived();
        let (agent, _) = enter(&pending, [10, 0, 0, 1]);
        let strangers: Vec<_> = (0..70).map(|_| enter(&pending, [10, 9, 0, 1]).0).collect();
        drop(strangers);
        let (_one, _two) = (enter(&pending, [10, 9, 0, 1]), enter(&pending, [10, 9, 0, 2]));
        assert!(matches!(pending.enter([10, 9, 0, 3].into(), Instant::now()), Entry::TurnedAway));
        let (stranger, evicted) = enter(&pending, [10, 8, 0, 1]);
        assert!(!evicted && !stranger.evicted.is_cancelled() && !agent.evicted.is_cancelled());
    }
}
