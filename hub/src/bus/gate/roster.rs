//! Which client keys each cluster may connect with.
//!
//! The gate asks at every CONNECT, also of a resumed TLS session, and is told of every change, so that a key that is taken away
//! closes what was opened with it. Until the first full list nobody is judged: the gate does not accept.

use std::collections::HashMap;
use std::sync::{PoisonError, RwLock};

use tokio::sync::{mpsc, watch};

use super::certificate::KeyHash;
use crate::bus::topics::Sid;

/// Keys that one cluster may have at once: the newest, and the one before it until the newest was used.
pub const MAX_KEYS: usize = 2;
/// Reports that wait for their reader; one more is lost, and the next connect says it again.
const MAX_REPORTS: usize = 1024;

/// The keys of all clusters.
#[derive(Debug)]
pub struct Roster {
    keys: RwLock<HashMap<Sid, Vec<KeyHash>>>,
    /// How often something was taken away; `None` before the first full list.
    removals: watch::Sender<Option<u64>>,
    used: mpsc::Sender<KeyUse>,
}

/// A cluster has connected with the newest of its several keys, so that the others can go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyUse {
    pub sid: Sid,
    pub key: KeyHash,
}

impl Roster {
    /// An empty roster that is not listed yet, and where the use of newest keys is told.
    pub fn new() -> (Roster, mpsc::Receiver<KeyUse>) {
        let (used, uses) = mpsc::channel(MAX_REPORTS);
        (Roster { keys: RwLock::default(), removals: watch::Sender::new(None), used }, uses)
    }

    /// Takes all clusters at once; who is not in it has no keys.
    pub fn list(&self, clusters: impl IntoIterator<Item = (Sid, Vec<KeyHash>)>) {
        let mut keys = self.keys.write().unwrap_or_else(PoisonError::into_inner);
        *keys = clusters.into_iter().map(|(sid, keys)| (sid, newest(keys))).collect();
        drop(keys);
        self.removed();
    }

    /// Takes the keys of one cluster, the newest first.
    pub fn set(&self, sid: Sid, new: Vec<KeyHash>) {
        let new = newest(new);
        let mut keys = self.keys.write().unwrap_or_else(PoisonError::into_inner);
        let old = if new.is_empty() { keys.remove(&sid) } else { keys.insert(sid, new.clone()) };
        drop(keys);
        if old.is_some_and(|old| old.iter().any(|key| !new.contains(key))) {
            self.removed();
        }
    }

    /// Whether a cluster may connect with this key.
    pub fn accepts(&self, sid: Sid, key: KeyHash) -> bool {
        let keys = self.keys.read().unwrap_or_else(PoisonError::into_inner);
        keys.get(&sid).is_some_and(|keys| keys.contains(&key))
    }

    /// Notes that a cluster has connected; tells it when the key is the newest of several.
    pub fn connected(&self, sid: Sid, key: KeyHash) {
        let keys = self.keys.read().unwrap_or_else(PoisonError::into_inner);
        let supersedes = keys.get(&sid).is_some_and(|keys| keys.len() > 1 && keys.first() == Some(&key));
        if supersedes {
            // A full or closed channel loses nothing: every connect of such a key is told.
            let _ = self.used.try_send(KeyUse { sid, key });
        }
    }

    /// Waits for the first full list.
    pub async fn listed(&self) {
        // The sender is this roster's own, so waiting cannot fail.
        let _ = self.removals.subscribe().wait_for(Option::is_some).await;
    }

    /// Changes with everything that is taken away.
    pub fn removals(&self) -> watch::Receiver<Option<u64>> {
        self.removals.subscribe()
    }

    fn removed(&self) {
        self.removals.send_modify(|count| *count = Some(count.unwrap_or_default() + 1));
    }
}

fn newest(mut keys: Vec<KeyHash>) -> Vec<KeyHash> {
    keys.truncate(MAX_KEYS);
    keys
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sid() -> Sid {
        Sid::parse("abcd2345").unwrap()
    }

    fn key(name: &str) -> KeyHash {
        KeyHash::of(name.as_bytes())
    }

    #[test]
    fn only_listed_keys_are_accepted_and_at_most_two() {
        let (roster, _uses) = Roster::new();
        roster.set(sid(), vec![key("c"), key("b"), key("a")]);
        assert!(roster.accepts(sid(), key("c")) && roster.accepts(sid(), key("b")));
        assert!(!roster.accepts(sid(), key("a")) && !roster.accepts(Sid::parse("bbbbbbbb").unwrap(), key("c")));
        roster.list([]);
        assert!(!roster.accepts(sid(), key("c")));
    }

    #[test]
    fn a_key_that_goes_is_told_and_one_that_comes_is_not() {
        let (roster, _uses) = Roster::new();
        roster.list([]);
        let mut removals = roster.removals();
        roster.set(sid(), vec![key("a")]);
        roster.set(sid(), vec![key("b"), key("a")]);
        assert!(!removals.has_changed().unwrap());
        roster.set(sid(), vec![key("b")]);
        assert!(removals.has_changed().unwrap());
        removals.mark_unchanged();
        roster.set(sid(), Vec::new());
        assert!(removals.has_changed().unwrap() && !roster.accepts(sid(), key("b")));
    }

    #[test]
    fn the_use_of_the_newest_of_two_keys_is_reported() {
        let (roster, mut uses) = Roster::new();
        roster.set(sid(), vec![key("a")]);
        roster.connected(sid(), key("a"));
        roster.set(sid(), vec![key("b"), key("a")]);
        roster.connected(sid(), key("a"));
        assert!(uses.try_recv().is_err());
        roster.connected(sid(), key("b"));
        assert_eq!(uses.try_recv(), Ok(KeyUse { sid: sid(), key: key("b") }));
    }
}
