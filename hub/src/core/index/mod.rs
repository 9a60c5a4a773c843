//! Everything the plans are made from, and what has to be planned again when one piece changes.
//!
//! `apply_*`, `delete_*` and `replace_*` take what a watch saw; `take_plans` gives the clusters whose list differs from the one last
//! taken, `take_facts` the Subscriptions that were touched. Work is proportional to what a change touches: a Manifest touches the Subscriptions
//! that feed it and the clusters bound to those; clusters bound to the same Subscriptions share one list in memory.

mod explain;
mod facts;
mod overriding;
mod state;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use bus_schema::secret::LinkPublic;
pub use explain::{Explained, Explanation};
pub use facts::{Conflict, MissingFeed, OverrideFacts, SubscriptionFacts};

use self::overriding::{Overlay, Overrides};
pub use self::state::identity_of;
use self::state::{BoundSubscription, Cluster, Emitted};
pub(crate) use self::state::{cluster_key_of, key_of};
use super::guard::fleet::Words;
use super::id::{ClusterKey, ObjectId, SubscriptionKey};
use super::plan::{Claimant, DesiredList, resolve};
use super::render::{RenderError, Rendered, render};
use crate::kinds::{ManagedCluster, Manifest, Subscription};

/// The state that plans are made from.
#[derive(Default)]
pub struct Index {
    subscriptions: BTreeMap<SubscriptionKey, BoundSubscription>,
    /// Templates by identity, then by the name of the Manifest that holds one.
    templates: Templates,
    manifests: BTreeMap<String, ObjectId>,
    clusters: BTreeMap<ClusterKey, Cluster>,
    fed_by: BTreeMap<ObjectId, BTreeSet<SubscriptionKey>>,
    overrides: Overrides,
    /// Lists by what they are made of; an entry goes when one of its Subscriptions or a template of theirs changes.
    lists: HashMap<ListKey, DesiredList>,
    unreadable: BTreeSet<SubscriptionKey>,
    dirty_clusters: BTreeSet<ClusterKey>,
    dirty_subscriptions: BTreeSet<SubscriptionKey>,
    /// What the Subscriptions say of removals, until one changes.
    words: Option<Arc<Words>>,
}

/// The Subscriptions bound, and the overridden objects, each with the number of its content.
type ListKey = (BTreeSet<SubscriptionKey>, Vec<(ObjectId, u64)>);

/// A cluster whose desired state differs.
#[derive(Debug, PartialEq)]
pub enum ClusterChange {
    Planned {
        cluster: ClusterKey,
        cluster_id: String,
        sid: String,
        link_key: Option<LinkPublic>,
        entries: DesiredList,
        confirm_prune: Option<String>,
        confirm_removal: Option<String>,
        revoked: bool,
    },
    Removed {
        cluster: ClusterKey,
    },
}

/// A Subscription whose facts may differ.
#[derive(Debug, PartialEq)]
pub enum SubscriptionChange {
    Facts(Box<SubscriptionFacts>),
    Removed(SubscriptionKey),
}

impl Index {
    /// Whether every Subscription that exists could be read; while one could not, a list would lack its entries.
    pub fn is_complete(&self) -> bool {
        self.unreadable.is_empty()
    }

    /// Takes a Subscription as it is now; one that is being deleted wants nothing any more.
    pub fn apply_subscription(&mut self, subscription: &Subscription) {
        let key = key_of(subscription);
        if subscription.metadata.deletion_timestamp.is_some() {
            return self.delete_subscription(&key);
        }
        self.unreadable.remove(&key);
        let mut new = BoundSubscription::read(subscription);
        if let Some(old) = self.subscriptions.get_mut(&key).filter(|old| old.wants_the_same(&new)) {
            if old.confirm_removal != new.confirm_removal {
                (old.confirm_removal, self.words) = (new.confirm_removal, None);
            }
            return;
        }
        new.feeds.keys().for_each(|object| self.promote(object));
        new.bound = self.clusters.iter().filter(|(_, cluster)| new.binds(cluster)).map(|(key, _)| key.clone()).collect();
        self.forget_feeds(&key);
        self.rebind(&key, &new.bound);
        for object in new.feeds.keys() {
            self.fed_by.entry(object.clone()).or_default().insert(key.clone());
        }
        self.subscriptions.insert(key.clone(), new);
        self.words = None;
        self.touch_subscription(&key);
    }

    /// Takes note of a Subscription that exists but can't be read: what was known of it stays.
    pub fn hold_unreadable_subscription(&mut self, key: SubscriptionKey) {
        if !self.subscriptions.contains_key(&key) {
            self.unreadable.insert(key);
        }
    }

    /// Takes note that a Subscription is gone.
    pub fn delete_subscription(&mut self, key: &SubscriptionKey) {
        self.unreadable.remove(key);
        self.touch_subscription(key);
        self.forget_feeds(key);
        self.rebind(key, &BTreeSet::new());
        self.subscriptions.remove(key);
        self.words = None;
    }

    /// Takes a Manifest as it is now.
    ///
    /// # Errors
    /// A template that is no object; its feeds count as missing, so what is on members stays.
    pub fn apply_manifest(&mut self, manifest: &Manifest) -> Result<(), RenderError> {
        let name = manifest.metadata.name.clone().unwrap_or_default();
        let rendered = render(&manifest.template).inspect_err(|_| self.delete_manifest(&name))?;
        if self.manifests.get(&name).is_some_and(|object| *object != rendered.object) {
            self.delete_manifest(&name);
        }
        self.manifests.insert(name.clone(), rendered.object.clone());
        let versions = self.templates.entry(rendered.object.clone()).or_default();
        if versions.get(&name) != Some(&rendered) {
            let object = rendered.object.clone();
            versions.insert(name, rendered);
            self.touch_template(&object);
        }
        Ok(())
    }

    /// Takes note that a Manifest is gone.
    pub fn delete_manifest(&mut self, name: &str) {
        let Some(object) = self.manifests.remove(name) else {
            return;
        };
        if let Some(versions) = self.templates.get_mut(&object) {
            versions.remove(name);
            if versions.is_empty() {
                self.templates.remove(&object);
            }
        }
        self.touch_template(&object);
    }

    /// Takes a ManagedCluster as it is now.
    pub fn apply_cluster(&mut self, cluster: &ManagedCluster) {
        let key = cluster_key_of(cluster);
        let mut new = Cluster::read(cluster);
        let old = self.clusters.get(&key);
        if let Some(old) = old {
            if old.is_the_same(&new) {
                return;
            }
            new.emitted = old.emitted.clone();
            new.failures = old.failures.clone();
        }
        new.bound = self.subscriptions.iter().filter(|(_, subscription)| subscription.binds(&new)).map(|(key, _)| key.clone()).collect();
        if old.is_none_or(|old| old.bound != new.bound) {
            self.promote_local(&key.namespace);
        }
        new.overrides = self.overrides.covering(&key, &new);
        self.bind_cluster(&key, &new.bound);
        self.clusters.insert(key.clone(), new);
        self.dirty_clusters.insert(key);
    }

    /// Takes note that a ManagedCluster is gone.
    pub fn delete_cluster(&mut self, key: &ClusterKey) {
        self.bind_cluster(key, &BTreeSet::new());
        if self.clusters.remove(key).is_some() {
            self.dirty_clusters.insert(key.clone());
        }
    }

    /// Deletes every Subscription that a complete list did not name.
    pub fn retain_subscriptions(&mut self, listed: &BTreeSet<SubscriptionKey>) {
        let gone: Vec<_> = self.subscriptions.keys().chain(&self.unreadable).filter(|key| !listed.contains(key)).cloned().collect();
        gone.iter().for_each(|key| self.delete_subscription(key));
    }

    /// Deletes every Manifest that a complete list did not name.
    pub fn retain_manifests(&mut self, listed: &BTreeSet<String>) {
        let gone: Vec<_> = self.manifests.keys().filter(|name| !listed.contains(*name)).cloned().collect();
        gone.iter().for_each(|name| self.delete_manifest(name));
    }

    /// Deletes every ManagedCluster that a complete list did not name.
    pub fn retain_clusters(&mut self, listed: &BTreeSet<ClusterKey>) {
        let gone: Vec<_> = self.clusters.keys().filter(|key| !listed.contains(key)).cloned().collect();
        gone.iter().for_each(|key| self.delete_cluster(key));
    }

    /// Plans the clusters that were touched and gives those whose desired state differs from what was last taken.
    pub fn take_plans(&mut self) -> Vec<ClusterChange> {
        self.overrides.note_planned();
        let touched = std::mem::take(&mut self.dirty_clusters);
        touched.into_iter().filter_map(|key| self.plan_cluster(key)).collect()
    }

    /// Which Subscriptions exist and are not being deleted, and what they confirm; the same value until that changes.
    pub fn words(&mut self) -> Arc<Words> {
        let subscriptions = &self.subscriptions;
        let words = self.words.get_or_insert_with(|| {
            let confirmed = subscriptions.values().filter_map(|of| Some((of.reference.uid.clone(), of.confirm_removal.clone()?)));
            let alive = subscriptions.values().map(|of| of.reference.clone());
            Arc::new(Words { alive: alive.collect(), confirmed: confirmed.collect() })
        });
        words.clone()
    }

    /// Gives the facts of the Subscriptions that were touched. They name every bound cluster, so they are for now and then.
    pub fn take_facts(&mut self) -> Vec<SubscriptionChange> {
        let touched = std::mem::take(&mut self.dirty_subscriptions);
        touched.into_iter().map(|key| self.facts_of(key)).collect()
    }

    /// Whether facts wait to be taken.
    pub fn has_facts(&self) -> bool {
        !self.dirty_subscriptions.is_empty()
    }

    fn plan_cluster(&mut self, key: ClusterKey) -> Option<ClusterChange> {
        let Some(cluster) = self.clusters.get(&key) else {
            return Some(ClusterChange::Removed { cluster: key });
        };
        // Without a bus id there is nobody to send a list to.
        let sid = cluster.sid.clone()?;
        let bound = cluster.bound.clone();
        let overlay = self.overlay(&key);
        self.note_failures(&key, &overlay);
        let entries = self.list_of(bound, &overlay);
        let cluster = self.clusters.get_mut(&key)?;
        let emitted = Emitted {
            sid,
            link_key: cluster.link_key,
            entries,
            confirm_prune: cluster.confirm_prune.clone(),
            confirm_removal: cluster.confirm_removal(),
            revoked: cluster.is_revoked(),
        };
        if cluster.emitted.as_ref() == Some(&emitted) {
            return None;
        }
        cluster.emitted = Some(emitted.clone());
        let cluster_id = cluster.cluster_id.clone();
        let Emitted { sid, link_key, entries, confirm_prune, confirm_removal, revoked } = emitted;
        Some(ClusterChange::Planned { cluster: key, cluster_id, sid, link_key, entries, confirm_prune, confirm_removal, revoked })
    }

    fn list_of(&mut self, bound: BTreeSet<SubscriptionKey>, overlay: &Overlay) -> DesiredList {
        let changed = overlay.iter().filter(|result| result.number != 0);
        let key = (bound, changed.map(|result| (result.rendered.object.clone(), result.number)).collect());
        if let Some(list) = self.lists.get(&key) {
            return list.clone();
        }
        let claimants: Vec<Claimant<'_>> =
            key.0.iter().filter_map(|key| self.subscriptions.get(key)).map(BoundSubscription::claimant).collect();
        let list = resolve(&claimants, |object| {
            let found = overlay.binary_search_by(|result| result.rendered.object.cmp(object));
            found.map_or_else(|_| self.template(object), |at| Some(&overlay[at].rendered))
        });
        self.drop_unused_lists();
        self.lists.insert(key, list.clone());
        list
    }

    /// Keeps the memo from growing with sets of Subscriptions that no cluster has any more.
    fn drop_unused_lists(&mut self) {
        if self.lists.len() > 2 * self.clusters.len() {
            self.lists.retain(|_, list| Arc::strong_count(list) > 1);
        }
    }

    /// The template of an identity; of two Manifests that hold the same one, the first by name, so that a restart chooses alike.
    fn template(&self, object: &ObjectId) -> Option<&Rendered> {
        first_template(&self.templates, object)
    }

    fn touch_template(&mut self, object: &ObjectId) {
        self.overrides.forget_results(object);
        self.promote(object);
        for key in self.fed_by.get(object).cloned().unwrap_or_default() {
            self.touch_subscription(&key);
        }
    }

    fn touch_subscription(&mut self, key: &SubscriptionKey) {
        self.overrides.forget_relevant();
        self.lists.retain(|(bound, _), _| !bound.contains(key));
        self.dirty_subscriptions.insert(key.clone());
        let Some(subscription) = self.subscriptions.get(key) else {
            return;
        };
        self.dirty_clusters.extend(subscription.bound.iter().cloned());
        for object in subscription.feeds.keys() {
            self.dirty_subscriptions.extend(self.fed_by.get(object).into_iter().flatten().cloned());
        }
    }

    fn forget_feeds(&mut self, key: &SubscriptionKey) {
        let Some(old) = self.subscriptions.get(key) else {
            return;
        };
        for object in old.feeds.keys() {
            if let Some(users) = self.fed_by.get_mut(object) {
                users.remove(key);
                self.dirty_subscriptions.extend(users.iter().cloned());
                if users.is_empty() {
                    self.fed_by.remove(object);
                }
            }
        }
    }

    /// Makes the clusters' side of the bindings agree with a Subscription's new ones.
    fn rebind(&mut self, key: &SubscriptionKey, bound: &BTreeSet<ClusterKey>) {
        let old = self.subscriptions.get(key).map(|old| old.bound.clone()).unwrap_or_default();
        for cluster in old.symmetric_difference(bound) {
            self.dirty_clusters.insert(cluster.clone());
            if let Some(state) = self.clusters.get_mut(cluster) {
                if bound.contains(cluster) {
                    state.bound.insert(key.clone())
                } else {
                    state.bound.remove(key)
                };
            }
        }
    }

    /// Makes the Subscriptions' side of the bindings agree with a cluster's new ones.
    fn bind_cluster(&mut self, key: &ClusterKey, bound: &BTreeSet<SubscriptionKey>) {
        let old = self.clusters.get(key).map(|old| old.bound.clone()).unwrap_or_default();
        for subscription in old.symmetric_difference(bound) {
            self.dirty_subscriptions.insert(subscription.clone());
            if let Some(state) = self.subscriptions.get_mut(subscription) {
                if bound.contains(subscription) {
                    state.bound.insert(key.clone())
                } else {
                    state.bound.remove(key)
                };
            }
        }
    }
}

type Templates = BTreeMap<ObjectId, BTreeMap<String, Rendered>>;

fn first_template<'a>(templates: &'a Templates, object: &ObjectId) -> Option<&'a Rendered> {
    templates.get(object)?.values().next()
}
