//! When each cluster was last heard from: in memory only, since it moves with every packet.

use std::collections::HashMap;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use k8s_openapi::jiff::Timestamp;

use super::id::ClusterKey;

/// When one connection was last heard from; clones share it.
#[derive(Clone, Debug, Default)]
pub struct Heard(Arc<AtomicI64>);

impl Heard {
    /// Something came.
    pub fn hear(&self, now: Timestamp) {
        self.0.fetch_max(now.as_second(), Ordering::Relaxed);
    }

    /// When that was, in whole seconds; none before the first time.
    pub fn last(&self) -> Option<Timestamp> {
        let second = self.0.load(Ordering::Relaxed);
        if second > 0 { Timestamp::from_second(second).ok() } else { None }
    }
}

/// The newest connection of every cluster that this process has heard from.
#[derive(Debug, Default)]
pub struct Contacts(RwLock<HashMap<ClusterKey, Heard>>);

impl Contacts {
    /// A cluster's newest connection, alive or not.
    pub fn set(&self, cluster: ClusterKey, heard: Heard) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).insert(cluster, heard);
    }

    /// Forgets a cluster.
    pub fn remove(&self, cluster: &ClusterKey) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).remove(cluster);
    }

    /// When a cluster was last heard from, if this process has.
    pub fn last(&self, cluster: &ClusterKey) -> Option<Timestamp> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).get(cluster)?.last()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_time_moves_with_what_is_heard_and_stays_when_nothing_is() {
        let (contacts, heard, key) = (Contacts::default(), Heard::default(), ClusterKey::new("ns", "a"));
        let at = |second| Timestamp::from_second(second).expect("in range");
        contacts.set(key.clone(), heard.clone());
        assert_eq!(contacts.last(&key), None);
        [100, 130, 120].into_iter().for_each(|second| heard.hear(at(second)));
        assert_eq!(contacts.last(&key), Some(at(130)), "a clock that steps back makes nothing older");
        contacts.remove(&key);
        assert_eq!(contacts.last(&key), None);
    }
}
