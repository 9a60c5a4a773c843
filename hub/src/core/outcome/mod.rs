//! What became of the plans: reports of clusters judged against what was planned, and the statuses that follow.
//!
//! Invariants: a report on an older plan proves nothing about the present one; a cluster that is away keeps what was last known of it
//! and counts as offline, not as failed; statuses follow from the state alone, so writing one twice changes nothing.

mod cluster;
mod condition;
mod contested;
mod held;
mod overrides;
mod replicas;
mod rows;
mod subscription;
mod tally;
mod template;
#[cfg(test)]
mod tests;
mod verdict;

use std::collections::{BTreeMap, BTreeSet};

pub use self::template::TemplateFacts;
use self::verdict::Verdict;
use super::id::{ClusterKey, ObjectId, SubscriptionKey, SubscriptionRef};
use super::index::{SubscriptionFacts, identity_of};
use super::plan::{DesiredEntry, DesiredList};
use super::report::{ClusterReport, ObjectReport};

/// How many clusters a Subscription's status names one by one.
pub const MAX_CLUSTERS: usize = 500;
/// How many rows of one feed on one cluster a Subscription's status has, of about 110 bytes each.
pub const MAX_DETAILS: usize = 5_000;
/// How many clusters that are not well a Subscription's status names.
pub const MAX_UNHEALTHY: usize = 100;
/// How many pending objects a ManagedCluster's status names.
pub const MAX_PENDING: usize = 100;

/// Plans, reports, and whose status has to be looked at again.
#[derive(Default)]
pub struct Outcomes {
    clusters: BTreeMap<ClusterKey, ClusterState>,
    subscriptions: BTreeMap<SubscriptionKey, SubscriptionFacts>,
    dirty_clusters: BTreeSet<ClusterKey>,
    dirty_subscriptions: BTreeSet<SubscriptionKey>,
    /// Templates whose status is told, by the name of their Manifest.
    templates: BTreeMap<String, TemplateFacts>,
    template_names: BTreeMap<ObjectId, BTreeSet<String>>,
    dirty_templates: BTreeSet<String>,
}

/// What is known of one cluster.
#[derive(Default)]
struct ClusterState {
    cluster_id: String,
    plan: Option<(u64, DesiredList)>,
    report: Option<ClusterReport>,
    /// The report's objects, to be found.
    objects: BTreeMap<ObjectId, Vec<ObjectReport>>,
    verdicts: BTreeMap<SubscriptionRef, Verdict>,
    revoked: bool,
}

impl Outcomes {
    /// Takes the plan of a cluster, rendered at `rv`.
    pub fn plan(&mut self, cluster: ClusterKey, cluster_id: String, rv: u64, entries: DesiredList) {
        let state = self.clusters.entry(cluster.clone()).or_default();
        state.cluster_id = cluster_id;
        state.plan = Some((rv, entries));
        self.judge(&cluster);
        self.touch_templates_of(&cluster);
        self.dirty_clusters.insert(cluster);
    }

    /// Takes whether no key of a planned cluster is accepted any more.
    pub fn lock_out(&mut self, cluster: &ClusterKey, revoked: bool) {
        if let Some(state) = self.clusters.get_mut(cluster).filter(|state| state.revoked != revoked) {
            state.revoked = revoked;
            self.dirty_clusters.insert(cluster.clone());
        }
    }

    /// Forgets a cluster.
    pub fn remove_cluster(&mut self, cluster: &ClusterKey) {
        self.touch_templates_of(cluster);
        let Some(state) = self.clusters.remove(cluster) else {
            return;
        };
        self.dirty_clusters.remove(cluster);
        self.dirty_subscriptions.extend(state.verdicts.keys().map(SubscriptionRef::key));
    }

    /// Takes what the index knows of a Subscription.
    pub fn subscription(&mut self, facts: SubscriptionFacts) {
        let key = facts.reference.key();
        self.touch_templates_fed_by(&key);
        self.subscriptions.insert(key.clone(), facts);
        self.touch_templates_fed_by(&key);
        self.dirty_subscriptions.insert(key);
    }

    /// Forgets a Subscription.
    pub fn remove_subscription(&mut self, key: &SubscriptionKey) {
        self.touch_templates_fed_by(key);
        self.subscriptions.remove(key);
        self.dirty_subscriptions.remove(key);
    }

    /// Takes a report.
    pub fn report(&mut self, mut report: ClusterReport) {
        let cluster = report.cluster.clone();
        let state = self.clusters.entry(cluster.clone()).or_default();
        let old = state.report.take().unwrap_or_default();
        let listed_before = old.listed_at_rv;
        report.facts = report.facts.or(old.facts);
        if report.held != old.held {
            let concerned = report.held.iter().chain(&old.held).flat_map(|held| &held.subscriptions);
            self.dirty_subscriptions.extend(concerned.map(SubscriptionRef::key));
        }
        let before = std::mem::take(&mut state.objects);
        for object in &report.objects {
            state.objects.entry(object.object.clone()).or_default().push(object.clone());
        }
        state.report = Some(report);
        let moved = state.entries().iter().filter(|entry| before.get(&entry.object) != state.objects.get(&entry.object));
        self.dirty_subscriptions.extend(moved.map(|entry| entry.bundle.key()));
        let moved = before != state.objects || listed_before != state.report.as_ref().and_then(|report| report.listed_at_rv);
        self.judge(&cluster);
        if moved {
            self.touch_templates_of(&cluster);
        }
        self.dirty_clusters.insert(cluster);
    }

    /// The Subscriptions and clusters whose status may have changed since the last time.
    pub fn take_touched(&mut self) -> (BTreeSet<SubscriptionKey>, BTreeSet<ClusterKey>) {
        (std::mem::take(&mut self.dirty_subscriptions), std::mem::take(&mut self.dirty_clusters))
    }

    /// Takes what a template's status is judged by; none when its Manifest is gone or its kind tells no progress.
    pub fn template(&mut self, manifest: String, facts: Option<TemplateFacts>) {
        if let Some(old) = self.templates.remove(&manifest)
            && let Some(names) = self.template_names.get_mut(&old.object)
        {
            names.remove(&manifest);
            if names.is_empty() {
                self.template_names.remove(&old.object);
            }
        }
        self.dirty_templates.remove(&manifest);
        if let Some(facts) = facts {
            self.template_names.entry(facts.object.clone()).or_default().insert(manifest.clone());
            self.templates.insert(manifest.clone(), facts);
            self.dirty_templates.insert(manifest);
        }
    }

    /// The templates whose status may have changed since the last time, by the name of their Manifest.
    pub fn take_touched_templates(&mut self) -> BTreeSet<String> {
        std::mem::take(&mut self.dirty_templates)
    }

    fn touch_templates_of(&mut self, cluster: &ClusterKey) {
        let Some(state) = self.clusters.get(cluster).filter(|_| !self.templates.is_empty()) else { return };
        let named = state.entries().iter().filter_map(|entry| self.template_names.get(&entry.object));
        self.dirty_templates.extend(named.flatten().cloned());
    }

    fn touch_templates_fed_by(&mut self, key: &SubscriptionKey) {
        let Some(facts) = self.subscriptions.get(key).filter(|_| !self.templates.is_empty()) else { return };
        let named = facts.feeds.iter().filter_map(|feed| self.template_names.get(&identity_of(feed).0));
        self.dirty_templates.extend(named.flatten().cloned());
    }

    fn judge(&mut self, cluster: &ClusterKey) {
        let Some(state) = self.clusters.get_mut(cluster) else {
            return;
        };
        let new = state.judge();
        let old = std::mem::replace(&mut state.verdicts, new);
        let new = &state.verdicts;
        let differs = |bundle: &&SubscriptionRef| old.get(*bundle) != new.get(*bundle);
        self.dirty_subscriptions.extend(old.keys().chain(new.keys()).filter(differs).map(SubscriptionRef::key));
    }
}

impl ClusterState {
    fn judge(&self) -> BTreeMap<SubscriptionRef, Verdict> {
        let bundles = self.entries().chunk_by(|one, two| one.bundle == two.bundle);
        bundles.map(|entries| (entries[0].bundle.clone(), Verdict::of(self, entries))).collect()
    }

    fn entries(&self) -> &[DesiredEntry] {
        self.plan.as_ref().map(|(_, entries)| entries.as_ref()).unwrap_or_default()
    }

    /// The entry of one Subscription for one object.
    fn entry(&self, bundle: &SubscriptionRef, object: &ObjectId) -> Option<&DesiredEntry> {
        let entries = self.entries();
        let found = entries.binary_search_by(|entry| (&entry.bundle, &entry.object).cmp(&(bundle, object)));
        found.ok().map(|index| &entries[index])
    }

    fn is_connected(&self) -> bool {
        self.report.as_ref().is_some_and(|report| report.connected)
    }

    /// Whether the report speaks of the present plan.
    fn is_current(&self) -> bool {
        let listed = self.report.as_ref().and_then(|report| report.listed_at_rv);
        self.plan.as_ref().is_some_and(|(rv, _)| listed.is_some_and(|listed| listed >= *rv))
    }

    fn object(&self, entry: &DesiredEntry) -> Option<&ObjectReport> {
        let candidates = self.objects.get(&entry.object)?;
        candidates.iter().find(|report| report.bundles.is_empty() || report.bundles.contains(&entry.bundle.uid))
    }
}
