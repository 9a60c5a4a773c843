//! What the index knows of one Subscription that its status has to tell.

use super::state::{BoundSubscription, identity_of};
use super::{Index, SubscriptionChange};
use crate::core::id::{ClusterKey, ObjectId, SubscriptionKey, SubscriptionRef};
use crate::core::overrides::{Failure, OverrideKey};
use crate::kinds::Feed;
use crate::kinds::names::APPS_GROUP;

/// A Subscription as it was planned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SubscriptionFacts {
    pub reference: SubscriptionRef,
    pub generation: i64,
    /// Sorted.
    pub bound: Vec<ClusterKey>,
    /// In the order of the spec.
    pub feeds: Vec<Feed>,
    pub missing: Vec<MissingFeed>,
    pub conflicts: Vec<Conflict>,
    pub overrides: OverrideFacts,
    /// Why it is held, if it is.
    pub problem: Option<String>,
    /// Its label selectors as kubectl takes them.
    pub selectors: String,
}

/// How many failed overrides are kept to be named.
const MAX_FAILURES: usize = 10;

/// The overrides of what a Subscription feeds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OverrideFacts {
    pub in_force: usize,
    /// Those whose change waits for the next change of template or Subscription, by name.
    pub waiting: Vec<OverrideKey>,
    /// Clusters where one or more were left out.
    pub failed_clusters: usize,
    /// The first that were left out, with the cluster.
    pub failures: Vec<(ClusterKey, Failure)>,
}

/// A feed with nothing behind it: what is on the members stays as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MissingFeed {
    pub object: ObjectId,
    pub remedy: &'static str,
}

/// An object that another Subscription owns on a cluster that both are bound to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conflict {
    pub object: ObjectId,
    pub winner: SubscriptionKey,
}

impl Index {
    pub(super) fn facts_of(&self, key: SubscriptionKey) -> SubscriptionChange {
        let Some(subscription) = self.subscriptions.get(&key) else {
            return SubscriptionChange::Removed(key);
        };
        SubscriptionChange::Facts(Box::new(SubscriptionFacts {
            reference: subscription.reference.clone(),
            generation: subscription.generation,
            bound: subscription.bound.iter().cloned().collect(),
            feeds: subscription.feed_order.clone(),
            missing: self.missing(subscription),
            conflicts: self.conflicts(subscription),
            overrides: self.override_facts(subscription),
            problem: subscription.placement.problem().map(ToOwned::to_owned),
            selectors: subscription.placement.selectors(),
        }))
    }

    fn missing(&self, subscription: &BoundSubscription) -> Vec<MissingFeed> {
        let objects = subscription.feed_order.iter().map(|feed| identity_of(feed).0);
        let missing = objects.filter(|object| self.template(object).is_none());
        missing.map(|object| MissingFeed { remedy: remedy(&object), object }).collect()
    }

    fn override_facts(&self, subscription: &BoundSubscription) -> OverrideFacts {
        let mut facts = OverrideFacts::default();
        for object in subscription.feeds.keys() {
            let (in_force, waiting) = self.overrides.of_object(object);
            facts.in_force += in_force;
            facts.waiting.extend(waiting.into_iter().cloned());
        }
        for key in &subscription.bound {
            let Some(cluster) = self.clusters.get(key).filter(|cluster| !cluster.failures.is_empty()) else {
                continue;
            };
            let failed = cluster.failures.iter().filter(|(object, _)| subscription.feeds.contains_key(*object));
            let mut failed = failed.flat_map(|(_, result)| &result.failures).peekable();
            facts.failed_clusters += usize::from(failed.peek().is_some());
            let room = MAX_FAILURES.saturating_sub(facts.failures.len());
            facts.failures.extend(failed.take(room).map(|failure| (key.clone(), failure.clone())));
        }
        facts
    }

    fn conflicts(&self, subscription: &BoundSubscription) -> Vec<Conflict> {
        let lost = |object: &ObjectId| {
            let rivals = self.fed_by.get(object)?.iter().filter_map(|key| self.subscriptions.get(key));
            let stronger = rivals.filter(|rival| rival.rank > subscription.rank && rival.placement.problem().is_none());
            let winner = stronger.filter(|rival| !rival.bound.is_disjoint(&subscription.bound)).max_by_key(|rival| &rival.rank)?;
            Some(Conflict { object: object.clone(), winner: winner.reference.key() })
        };
        subscription.feeds.keys().filter_map(lost).collect()
    }
}

fn remedy(object: &ObjectId) -> &'static str {
    match (object.group.as_str(), object.kind.as_str()) {
        (APPS_GROUP, "HelmChart") => "this hub does not support HelmChart feeds: feed the chart's manifests",
        _ => "apply it to the hub, or take it out of spec.feeds",
    }
}
