//! What one cluster gets of one Subscription, and why: what `clusternet-hub render` prints.

use super::Index;
use crate::core::id::{ClusterKey, SubscriptionKey};
use crate::core::overrides::{Step, apply};
use crate::core::plan::DesiredEntry;

/// What a cluster gets of a Subscription.
#[derive(Debug, PartialEq)]
pub struct Explanation {
    /// Whether the Subscription is bound to the cluster at all.
    pub bound: bool,
    /// Why the Subscription is held, if it is.
    pub problem: Option<String>,
    pub objects: Vec<Explained>,
}

/// One object, and what each override did to it, in order.
#[derive(Debug, PartialEq)]
pub struct Explained {
    pub entry: DesiredEntry,
    pub steps: Vec<Step>,
}

impl Index {
    /// Explains what a cluster gets of a Subscription, from the same state that plans are made from; none if one is unknown.
    pub fn explain(&mut self, subscription: &SubscriptionKey, cluster: &ClusterKey) -> Option<Explanation> {
        let bound = self.clusters.get(cluster)?.bound.clone();
        let overlay = self.overlay(cluster);
        let list = self.list_of(bound.clone(), &overlay);
        let problem = self.subscriptions.get(subscription)?.placement.problem().map(ToOwned::to_owned);
        let own = list.iter().filter(|entry| entry.bundle.key() == *subscription);
        let objects = own.map(|entry| Explained { steps: self.steps(cluster, entry), entry: entry.clone() }).collect();
        Some(Explanation { bound: bound.contains(subscription), problem, objects })
    }

    fn steps(&self, key: &ClusterKey, entry: &DesiredEntry) -> Vec<Step> {
        let (Some(cluster), Some(template)) = (self.clusters.get(key), self.template(&entry.object)) else {
            return Vec::new();
        };
        let own = cluster.overrides_of(&entry.object).iter().map(|revision| &revision.over);
        apply(template, own, &cluster.values(key)).steps
    }
}
