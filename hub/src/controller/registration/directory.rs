//! Which clusters there are, for the controller and for those who have to know beside it.

use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use crate::core::id::ClusterKey;
use crate::core::registry::{Decision, Entropy, Registry};
use crate::kinds::{ClusterRegistrationRequest, ManagedCluster};

/// Shared; clones are the same.
#[derive(Clone, Default)]
pub struct Directory(Arc<RwLock<Known>>);

#[derive(Default)]
struct Known {
    listed: bool,
    registry: Registry,
}

impl Directory {
    /// The ManagedCluster with this id, if there is one; `None` while the clusters have not been listed.
    pub fn find(&self, cluster_id: &str) -> Option<Option<ClusterKey>> {
        let known = self.read();
        known.listed.then(|| known.registry.find(cluster_id).cloned())
    }

    /// All ManagedClusters of this name; `None` while the clusters have not been listed.
    pub fn named(&self, name: &str) -> Option<Vec<ClusterKey>> {
        let known = self.read();
        known.listed.then(|| known.registry.named(name).cloned().collect())
    }

    /// The bus id of a ManagedCluster.
    pub fn sid(&self, cluster: &ClusterKey) -> Option<String> {
        self.read().registry.sid(cluster).map(str::to_owned)
    }

    /// The ManagedCluster with this bus id.
    pub fn find_sid(&self, sid: &str) -> Option<ClusterKey> {
        self.read().registry.find_sid(sid).cloned()
    }

    /// Takes a ManagedCluster as it is now, ahead of the watch.
    pub fn learn(&self, cluster: &ManagedCluster) {
        self.apply(cluster);
    }

    pub(super) fn apply(&self, cluster: &ManagedCluster) -> bool {
        self.write().registry.apply(cluster)
    }

    pub(super) fn remove(&self, cluster: &ClusterKey) -> bool {
        self.write().registry.remove(cluster)
    }

    pub(super) fn contains(&self, cluster: &ClusterKey) -> bool {
        self.read().registry.contains(cluster)
    }

    pub(super) fn keys(&self) -> Vec<ClusterKey> {
        self.read().registry.keys().cloned().collect()
    }

    pub(super) fn is_listed(&self) {
        self.write().listed = true;
    }

    pub(super) fn decide(&self, request: &ClusterRegistrationRequest, entropy: Entropy) -> Decision {
        self.read().registry.decide(request, entropy)
    }

    fn read(&self) -> RwLockReadGuard<'_, Known> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Known> {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }
}
