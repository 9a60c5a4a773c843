//! Which ManagedCluster a registration request gets, if any.
//!
//! Invariants: one cluster id has one ManagedCluster, one namespace and one bus id for as long as that object exists; names,
//! namespaces and bus ids are never shared; what somebody deleted does not come back by itself.

use std::collections::{BTreeMap, BTreeSet};

use kube::ResourceExt;

use super::id::ClusterKey;
use super::index::cluster_key_of;
use crate::kinds::names::{ANNOTATION_SID, CLUSTERS_GROUP, RESERVED_NAMESPACE};
use crate::kinds::{APPROVED, ClusterRegistrationRequest, ManagedCluster};

/// Randomness for one decision, so that the rules themselves are pure.
pub type Entropy = [u8; 16];

const SID_ALPHABET: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
const SUFFIX_ALPHABET: &[u8; 36] = b"abcdefghijklmnopqrstuvwxyz0123456789";
const SID_LENGTH: usize = 8;

/// The clusters there are, found by what must not be shared.
#[derive(Default)]
pub struct Registry {
    clusters: BTreeMap<ClusterKey, Member>,
    ids: Lookup,
    sids: Lookup,
    names: Lookup,
    namespaces: Lookup,
}

/// Clusters by one of their texts; in a parent cluster somebody may have made two with the same.
#[derive(Default)]
struct Lookup(BTreeSet<(String, ClusterKey)>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Member {
    cluster_id: String,
    sid: Option<String>,
}

/// What a request gets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// A ManagedCluster of this name and bus id; whatever of it is missing has to be made.
    Grant { cluster: ClusterKey, sid: String },
    /// Nothing, until somebody acts on the message.
    Deny { message: String },
}

impl Registry {
    /// Takes a ManagedCluster as it is now; true if it was not known so.
    pub fn apply(&mut self, cluster: &ManagedCluster) -> bool {
        let sid = cluster.status.as_ref().and_then(|status| status.sid.clone());
        let (key, new) = (cluster_key_of(cluster), Member { cluster_id: cluster.spec.cluster_id.clone(), sid });
        if self.clusters.get(&key) == Some(&new) {
            return false;
        }
        self.remove(&key);
        self.ids.insert(&new.cluster_id, &key);
        new.sid.iter().for_each(|sid| self.sids.insert(sid, &key));
        self.names.insert(&key.name, &key);
        self.namespaces.insert(&key.namespace, &key);
        self.clusters.insert(key, new);
        true
    }

    /// Takes note that a ManagedCluster is gone; true if there was one.
    pub fn remove(&mut self, cluster: &ClusterKey) -> bool {
        let Some(old) = self.clusters.remove(cluster) else {
            return false;
        };
        self.ids.remove(&old.cluster_id, cluster);
        old.sid.iter().for_each(|sid| self.sids.remove(sid, cluster));
        self.names.remove(&cluster.name, cluster);
        self.namespaces.remove(&cluster.namespace, cluster);
        true
    }

    /// Whether there is a cluster of this name.
    pub fn contains(&self, cluster: &ClusterKey) -> bool {
        self.clusters.contains_key(cluster)
    }

    /// The cluster with this id.
    pub fn find(&self, cluster_id: &str) -> Option<&ClusterKey> {
        self.ids.find(cluster_id)
    }

    /// The cluster with this bus id.
    pub fn find_sid(&self, sid: &str) -> Option<&ClusterKey> {
        self.sids.find(sid)
    }

    /// All clusters of this name, in whatever namespace.
    pub fn named(&self, name: &str) -> impl Iterator<Item = &ClusterKey> {
        self.names.all(name)
    }

    /// A cluster's bus id.
    pub fn sid(&self, cluster: &ClusterKey) -> Option<&str> {
        self.clusters.get(cluster)?.sid.as_deref()
    }

    /// Names of all clusters.
    pub fn keys(&self) -> impl Iterator<Item = &ClusterKey> {
        self.clusters.keys()
    }

    /// Decides a request. The same request is decided alike again once what was granted is known here.
    pub fn decide(&self, request: &ClusterRegistrationRequest, entropy: Entropy) -> Decision {
        let id = &request.spec.cluster_id;
        let expected = format!("clusternet-{id}");
        if request.name_any() != expected {
            return deny(format!("metadata.name must be {expected:?} for spec.clusterId {id:?}: create the request under that name"));
        }
        match self.ids.find(id) {
            Some(key) => {
                let sid = self.clusters[key].sid.clone().unwrap_or_else(|| self.free_sid(request, entropy));
                Decision::Grant { cluster: key.clone(), sid }
            }
            None if was_granted(request) => deny(format!(
                "the ManagedCluster of cluster {id} was deleted: to let the cluster come back, delete this request (`kubectl delete clsrr {expected}`)"
            )),
            None => self.admit(request, entropy),
        }
    }

    fn admit(&self, request: &ClusterRegistrationRequest, entropy: Entropy) -> Decision {
        let spec = &request.spec;
        let wished = |field: &Option<String>| field.clone().filter(|text| !text.is_empty());
        let name = wished(&spec.cluster_name).unwrap_or_else(|| format!("clusternet-cluster-{}", suffix(&entropy[6..11])));
        let namespace = wished(&spec.cluster_namespace).unwrap_or_else(|| self.free_namespace(entropy));
        if let Some(key) = self.names.find(&name) {
            return deny(format!(
                "spec.clusterName {name:?} belongs to cluster {} (ManagedCluster {key}): register under another name, or delete that ManagedCluster if it is gone for good",
                self.clusters[key].cluster_id
            ));
        }
        if let Some(why) = self.refuse_namespace(&namespace) {
            return deny(format!("spec.clusterNamespace {namespace:?} {why}: register with another namespace, or without one"));
        }
        Decision::Grant { cluster: ClusterKey::new(namespace, name), sid: self.free_sid(request, entropy) }
    }

    fn refuse_namespace(&self, namespace: &str) -> Option<String> {
        if [RESERVED_NAMESPACE, "clusternet-system", "default"].contains(&namespace) || namespace.starts_with("kube-") {
            return Some("is reserved".to_owned());
        }
        let key = self.namespaces.find(namespace)?;
        Some(format!("belongs to ManagedCluster {key}"))
    }

    /// The bus id the agent had (as this request was answered, or as it asks) if nobody else has it, else a random one.
    fn free_sid(&self, request: &ClusterRegistrationRequest, entropy: Entropy) -> String {
        let answered = request.status.as_ref().and_then(|status| status.sid.as_ref());
        let mut had = answered.into_iter().chain(request.annotations().get(ANNOTATION_SID));
        had.find(|sid| is_sid(sid) && self.is_free_sid(sid))
            .cloned()
            .unwrap_or_else(|| first_free(|step| sid(entropy, step), |sid| self.is_free_sid(sid)))
    }

    fn is_free_sid(&self, sid: &str) -> bool {
        self.sids.find(sid).is_none()
    }

    fn free_namespace(&self, entropy: Entropy) -> String {
        let name =
            |step: u8| format!("clusternet-{}", suffix(&entropy[..5].iter().map(|byte| byte.wrapping_add(step)).collect::<Vec<_>>()));
        first_free(name, |name| self.namespaces.find(name).is_none())
    }
}

impl Lookup {
    fn insert(&mut self, text: &str, key: &ClusterKey) {
        self.0.insert((text.to_owned(), key.clone()));
    }

    fn remove(&mut self, text: &str, key: &ClusterKey) {
        self.0.remove(&(text.to_owned(), key.clone()));
    }

    fn find(&self, text: &str) -> Option<&ClusterKey> {
        self.all(text).next()
    }

    fn all(&self, text: &str) -> impl Iterator<Item = &ClusterKey> {
        let first = (text.to_owned(), ClusterKey::default());
        self.0.range(first..).take_while(move |(found, _)| found == text).map(|(_, key)| key)
    }
}

fn deny(message: String) -> Decision {
    Decision::Deny { message }
}

/// Whether this very request was granted before.
fn was_granted(request: &ClusterRegistrationRequest) -> bool {
    request.status.as_ref().is_some_and(|status| status.result.as_deref() == Some(APPROVED) || status.sid.is_some())
}

fn is_sid(text: &str) -> bool {
    text.len() == SID_LENGTH && text.bytes().all(|byte| SID_ALPHABET.contains(&byte))
}

/// One random value is free as good as always; the steps make sure.
fn first_free(candidate: impl Fn(u8) -> String, is_free: impl Fn(&String) -> bool) -> String {
    (0..=u8::MAX).map(&candidate).find(is_free).unwrap_or_else(|| candidate(0))
}

fn sid(entropy: Entropy, step: u8) -> String {
    entropy[..SID_LENGTH].iter().map(|byte| char::from(SID_ALPHABET[usize::from(byte.wrapping_add(step)) % SID_ALPHABET.len()])).collect()
}

fn suffix(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| char::from(SUFFIX_ALPHABET[usize::from(*byte) % SUFFIX_ALPHABET.len()])).collect()
}

/// The labels of a cluster's own objects; the hub's come last, so that nobody registers under another's identity.
pub fn labels(request: &ClusterRegistrationRequest, cluster: &ClusterKey) -> BTreeMap<String, String> {
    use crate::kinds::names::{CREATED_BY_AGENT, LABEL_CLUSTER_ID, LABEL_CLUSTER_NAME, LABEL_CREATED_BY, LABEL_REGISTERED_BY};
    let own_prefix = format!("{CLUSTERS_GROUP}/");
    let wished = request.spec.cluster_labels.iter().filter(|(key, _)| !key.starts_with(&own_prefix));
    let mut labels: BTreeMap<String, String> = wished.map(|(key, value)| (key.clone(), value.clone())).collect();
    for (key, value) in [
        (LABEL_CREATED_BY, CREATED_BY_AGENT),
        (LABEL_REGISTERED_BY, CREATED_BY_AGENT),
        (LABEL_CLUSTER_ID, &request.spec.cluster_id),
        (LABEL_CLUSTER_NAME, &cluster.name),
    ] {
        labels.insert(key.to_owned(), value.to_owned());
    }
    labels
}

#[cfg(test)]
mod tests;
