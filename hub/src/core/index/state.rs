//! What the index keeps of each object it has seen.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bus_schema::secret::LinkPublic;
use k8s_openapi::api::core::v1::Taint;
use kube::ResourceExt;

use super::overriding::{Overridden, Revision};
use crate::core::id::{ClusterKey, ObjectId, SubscriptionKey, SubscriptionRef, split_api_version};
use crate::core::overrides::{ClusterValues, Override};
use crate::core::placement::Placement;
use crate::core::plan::{Claimant, DesiredList, Rank};
use crate::kinds::names::{ANNOTATION_CONFIRM_PRUNE, ANNOTATION_CONFIRM_REMOVAL, ANNOTATION_REVOKED};
use crate::kinds::{Feed, ManagedCluster, Subscription};

/// A Subscription and the clusters it is bound to.
pub struct BoundSubscription {
    pub reference: SubscriptionRef,
    pub generation: i64,
    pub placement: Placement,
    pub rank: Rank,
    /// In the order of the spec.
    pub feed_order: Vec<Feed>,
    /// Objects it feeds, with the version its feed names.
    pub feeds: BTreeMap<ObjectId, String>,
    pub bound: BTreeSet<ClusterKey>,
    /// The hash of the removals that it confirms for all clusters.
    pub confirm_removal: Option<String>,
}

/// A cluster and the Subscriptions bound to it.
pub struct Cluster {
    pub cluster_id: String,
    pub sid: Option<String>,
    pub link_key: Option<LinkPublic>,
    labels: BTreeMap<String, String>,
    annotations: BTreeMap<String, String>,
    taints: Vec<Taint>,
    pub confirm_prune: Option<String>,
    pub bound: BTreeSet<SubscriptionKey>,
    pub emitted: Option<Emitted>,
    /// The overrides that cover it, sorted by object and place.
    pub overrides: Vec<Arc<Revision>>,
    /// Results that lack an override, by object.
    pub failures: BTreeMap<ObjectId, Arc<Overridden>>,
}

/// What was last handed on for a cluster.
#[derive(Clone, PartialEq)]
pub struct Emitted {
    pub sid: String,
    pub link_key: Option<LinkPublic>,
    pub entries: DesiredList,
    pub confirm_prune: Option<String>,
    pub confirm_removal: Option<String>,
    pub revoked: bool,
}

impl BoundSubscription {
    /// Reads a Subscription; it is bound to nothing yet.
    pub fn read(subscription: &Subscription) -> Self {
        let (spec, uid) = (&subscription.spec, subscription.uid().unwrap_or_default());
        let created = subscription.metadata.creation_timestamp.as_ref().map(|time| time.0.as_second());
        let key = key_of(subscription);
        Self {
            generation: subscription.metadata.generation.unwrap_or_default(),
            placement: Placement::of(spec),
            rank: Rank::new(spec.priority.unwrap_or_default(), created, &uid),
            feed_order: spec.feeds.clone(),
            feeds: spec.feeds.iter().map(identity_of).collect(),
            reference: SubscriptionRef { namespace: key.namespace, name: key.name, uid },
            confirm_removal: subscription.annotations().get(ANNOTATION_CONFIRM_REMOVAL).cloned(),
            bound: BTreeSet::new(),
        }
    }

    /// Whether two readings differ in nothing that matters, such as in status or labels only.
    pub fn wants_the_same(&self, other: &Self) -> bool {
        (&self.reference, self.generation, &self.rank, &self.feed_order, &self.placement)
            == (&other.reference, other.generation, &other.rank, &other.feed_order, &other.placement)
    }

    /// Whether its placement takes this cluster.
    pub fn binds(&self, cluster: &Cluster) -> bool {
        self.placement.binds(&cluster.labels, &cluster.taints)
    }

    /// Its part in a list.
    pub fn claimant(&self) -> Claimant<'_> {
        Claimant { bundle: &self.reference, rank: &self.rank, held: self.placement.problem().is_some(), feeds: &self.feeds }
    }
}

/// The key in a ManagedCluster's status.
fn link_key(text: &str) -> Option<LinkPublic> {
    LinkPublic::read(&STANDARD.decode(text).ok()?)
}

impl Cluster {
    /// Reads a ManagedCluster; nothing is bound to it yet.
    pub fn read(cluster: &ManagedCluster) -> Self {
        Self {
            cluster_id: cluster.spec.cluster_id.clone(),
            sid: cluster.status.as_ref().and_then(|status| status.sid.clone()),
            link_key: cluster.status.as_ref().and_then(|status| link_key(status.link_key.as_deref()?)),
            labels: cluster.labels().clone(),
            annotations: cluster.annotations().clone(),
            taints: cluster.spec.taints.clone(),
            confirm_prune: cluster.annotations().get(ANNOTATION_CONFIRM_PRUNE).cloned(),
            bound: BTreeSet::new(),
            emitted: None,
            overrides: Vec::new(),
            failures: BTreeMap::new(),
        }
    }

    /// Whether two readings differ in nothing that plans are made from, such as in a heartbeat only.
    pub fn is_the_same(&self, other: &Self) -> bool {
        (&self.sid, &self.labels, &self.taints, &self.confirm_prune) == (&other.sid, &other.labels, &other.taints, &other.confirm_prune)
            && (&self.cluster_id, &self.annotations, &self.link_key) == (&other.cluster_id, &other.annotations, &other.link_key)
    }

    /// The hash that held removals are confirmed for.
    pub fn confirm_removal(&self) -> Option<String> {
        self.annotations.get(ANNOTATION_CONFIRM_REMOVAL).cloned()
    }

    /// Whether it is locked out.
    pub fn is_revoked(&self) -> bool {
        self.annotations.contains_key(ANNOTATION_REVOKED)
    }

    /// Whether an override is for it.
    pub fn is_covered(&self, key: &ClusterKey, over: &Override) -> bool {
        over.covers(&key.namespace, &self.labels)
    }

    /// The overrides of one object that cover it, in their order.
    pub fn overrides_of(&self, object: &ObjectId) -> &[Arc<Revision>] {
        let from = self.overrides.partition_point(|revision| revision.over.object < *object);
        let rest = self.overrides.get(from..).unwrap_or_default();
        rest.get(..rest.partition_point(|revision| revision.over.object == *object)).unwrap_or_default()
    }

    /// What the variables in overrides stand for on it.
    pub fn values<'a>(&'a self, key: &'a ClusterKey) -> ClusterValues<'a> {
        ClusterValues { key, id: &self.cluster_id, labels: &self.labels, annotations: &self.annotations }
    }
}

/// Names a Subscription.
pub fn key_of(subscription: &Subscription) -> SubscriptionKey {
    SubscriptionKey::of(subscription)
}

/// Names a ManagedCluster.
pub fn cluster_key_of(cluster: &ManagedCluster) -> ClusterKey {
    ClusterKey::of(cluster)
}

/// The object that a feed names, and at which version.
pub fn identity_of(feed: &Feed) -> (ObjectId, String) {
    let (group, version) = split_api_version(&feed.api_version);
    let namespace = feed.namespace.clone().unwrap_or_default();
    let object = ObjectId { group: group.to_owned(), kind: feed.kind.clone(), namespace, name: feed.name.clone() };
    (object, version.to_owned())
}
