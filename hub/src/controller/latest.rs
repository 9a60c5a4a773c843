//! A channel on which only the newest value of each key is ever owed.
//!
//! Bounded by the number of keys: sending never waits and never queues a second value of a key. Keys are received in the order in
//! which they became owed, so no key starves.

use std::collections::{HashMap, VecDeque};
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

struct Shared<K, V> {
    owed: Mutex<Owed<K, V>>,
    changed: Notify,
}

struct Owed<K, V> {
    order: VecDeque<K>,
    values: HashMap<K, V>,
    senders: usize,
}

/// The sending end; clones send into the same channel.
pub struct Sender<K, V>(Arc<Shared<K, V>>);

/// The receiving end.
pub struct Receiver<K, V>(Arc<Shared<K, V>>);

/// A new channel.
pub fn channel<K, V>() -> (Sender<K, V>, Receiver<K, V>) {
    let owed = Mutex::new(Owed { order: VecDeque::new(), values: HashMap::new(), senders: 1 });
    let shared = Arc::new(Shared { owed, changed: Notify::new() });
    (Sender(shared.clone()), Receiver(shared))
}

impl<K, V> Shared<K, V> {
    fn lock(&self) -> MutexGuard<'_, Owed<K, V>> {
        self.owed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K: Clone + Eq + Hash, V> Sender<K, V> {
    /// Owes this value of this key in place of any older one.
    pub fn send(&self, key: K, value: V) {
        let mut owed = self.0.lock();
        if owed.values.insert(key.clone(), value).is_none() {
            owed.order.push_back(key);
        }
        drop(owed);
        self.0.changed.notify_one();
    }
}

impl<K: Eq + Hash, V> Receiver<K, V> {
    /// The next value owed; none when every sender is gone and nothing is owed. Cancel safe.
    pub async fn recv(&mut self) -> Option<(K, V)> {
        loop {
            match self.try_recv() {
                Some(next) => return Some(next),
                None if self.0.lock().senders == 0 => return None,
                None => self.0.changed.notified().await,
            }
        }
    }

    /// The next value owed, if there is one now.
    pub fn try_recv(&mut self) -> Option<(K, V)> {
        let mut owed = self.0.lock();
        let key = owed.order.pop_front()?;
        let value = owed.values.remove(&key)?;
        Some((key, value))
    }
}

impl<K, V> Clone for Sender<K, V> {
    fn clone(&self) -> Self {
        self.0.lock().senders += 1;
        Self(self.0.clone())
    }
}

impl<K, V> Drop for Sender<K, V> {
    fn drop(&mut self) {
        self.0.lock().senders -= 1;
        self.0.changed.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_newest_value_of_each_key_comes_once_in_the_order_of_the_first() {
        let (sender, mut receiver) = channel();
        for (key, value) in [("b", 1), ("a", 2), ("b", 3)] {
            sender.send(key, value);
        }
        assert_eq!(receiver.recv().await, Some(("b", 3)));
        assert_eq!(receiver.recv().await, Some(("a", 2)));
        assert_eq!(receiver.try_recv(), None);
    }

    #[tokio::test]
    async fn a_waiting_receiver_is_woken_and_told_of_the_end() {
        let (sender, mut receiver) = channel();
        let waiting = tokio::spawn(async move { (receiver.recv().await, receiver.recv().await) });
        tokio::task::yield_now().await;
        let other = sender.clone();
        drop(sender);
        other.send("a", 1);
        drop(other);
        assert_eq!(waiting.await.expect("no panic"), (Some(("a", 1)), None));
    }
}
