//! A Subscription's status.

use k8s_openapi::jiff::Timestamp;

use super::condition::Saying;
use super::replicas;
use super::tally::Tally;
use super::verdict::Verdict;
use super::{ClusterState, MAX_CLUSTERS, MAX_DETAILS, Outcomes};
use crate::core::id::{ClusterKey, ObjectId, SubscriptionKey};
use crate::core::index::{SubscriptionFacts, identity_of};
use crate::core::report::{ObjectReport, ObjectState, Replicas};
use crate::kinds::{AggregatedStatus, Feed, FeedStatusPerCluster, FeedStatusSummary, ReplicaStatus, SubscriptionStatus};

/// How many missing feeds a message names.
const MAX_NAMED: usize = 10;

impl Outcomes {
    /// What a Subscription's status should be, given what it was; none for a Subscription that is gone.
    pub fn subscription_status(&self, key: &SubscriptionKey, previous: &SubscriptionStatus, now: Timestamp) -> Option<SubscriptionStatus> {
        let facts = self.subscriptions.get(key)?;
        let tally = self.tally(facts);
        let generation = Some(facts.generation);
        let conditions = sayings(facts, &tally)
            .into_iter()
            .chain(self.removal_held(&facts.reference))
            .map(|saying| saying.after(&previous.conditions, generation, now))
            .collect();
        let aggregated_statuses = facts.feeds.iter().map(|feed| self.aggregate(facts, feed, &tally)).collect();
        Some(SubscriptionStatus {
            observed_generation: generation,
            binding_clusters: facts.bound.iter().take(MAX_CLUSTERS).map(ToString::to_string).collect(),
            replicas: previous.replicas.clone(),
            desired_releases: tally.counts.clusters,
            completed_releases: tally.counts.applied,
            counts: tally.counts.clone(),
            unhealthy_clusters: tally.unhealthy,
            aggregated_statuses,
            conditions,
        })
    }

    fn tally(&self, facts: &SubscriptionFacts) -> Tally {
        let mut tally = Tally::default();
        for key in &facts.bound {
            let state = self.clusters.get(key);
            // Nothing to send is sent.
            let empty = state.filter(|_| facts.feeds.is_empty()).map(|state| Verdict::of(state, &[]));
            tally.add(key, state.and_then(|state| state.verdicts.get(&facts.reference)).or(empty.as_ref()));
        }
        tally
    }

    fn aggregate(&self, facts: &SubscriptionFacts, feed: &Feed, tally: &Tally) -> AggregatedStatus {
        let told = details_of_a_feed(facts);
        let states = facts.bound.iter().take(told).filter_map(|key| Some((key, self.clusters.get(key)?)));
        let object = identity_of(feed).0;
        let details: Vec<FeedStatusPerCluster> = states.map(|(key, state)| per_cluster(facts, &object, key, state)).collect();
        // Clusters that are not named have it if they have everything.
        let unnamed = details.len() == facts.bound.len() || tally.counts.applied == tally.counts.clusters;
        let available = !details.is_empty() && unnamed && details.iter().all(|detail| detail.available);
        AggregatedStatus {
            kind: feed.kind.clone(),
            api_version: feed.api_version.clone(),
            namespace: feed.namespace.clone(),
            name: feed.name.clone(),
            feed_status_summary: FeedStatusSummary { available, replica_status: self.summed(facts, &object) },
            feed_status_details: details,
        }
    }

    /// A feed's replicas over all bound clusters, named one by one or not.
    fn summed(&self, facts: &SubscriptionFacts, object: &ObjectId) -> Option<ReplicaStatus> {
        let states = facts.bound.iter().filter_map(|key| self.clusters.get(key));
        let reports = states.filter_map(|state| state.object(state.entry(&facts.reference, object)?));
        replicas::summed(reports.filter_map(replicas_of))
    }
}

/// How many clusters each feed names: an API server takes about 1.5 MB in one object, whatever the number of feeds.
fn details_of_a_feed(facts: &SubscriptionFacts) -> usize {
    MAX_CLUSTERS.min(MAX_DETAILS / facts.feeds.len().max(1))
}

fn per_cluster(facts: &SubscriptionFacts, object: &ObjectId, key: &ClusterKey, state: &ClusterState) -> FeedStatusPerCluster {
    let report = state.entry(&facts.reference, object).and_then(|entry| state.object(entry));
    FeedStatusPerCluster {
        cluster_id: state.cluster_id.clone(),
        cluster_name: key.name.clone(),
        available: state.is_current() && report.is_some_and(|report| report.state == ObjectState::Applied),
        replica_status: report.and_then(replicas_of).map(replicas::told),
    }
}

fn replicas_of(report: &ObjectReport) -> Option<&Replicas> {
    report.health.as_ref()?.replicas.as_ref()
}

fn sayings(facts: &SubscriptionFacts, tally: &Tally) -> Vec<Saying> {
    let mut sayings = vec![matched(facts), resolved(facts)];
    match &facts.problem {
        Some(_) => sayings.extend(held()),
        None => sayings.extend(tally.sayings()),
    }
    if let Some(first) = facts.conflicts.first() {
        let message = format!(
            "{} of its objects are also fed by another Subscription, which wins; first {} by {}",
            facts.conflicts.len(),
            first.object,
            first.winner
        );
        sayings.push(Saying::new("Conflicted", "True", "FedByAnother", message));
    }
    sayings.extend(super::overrides::overridden(facts));
    sayings.extend(tally.disputes());
    let told = details_of_a_feed(facts);
    if facts.bound.len() > told {
        let clusters = facts.bound.len();
        let message = format!(
            "bindingClusters names the first {} and aggregatedStatuses the first {told} of {clusters} clusters",
            clusters.min(MAX_CLUSTERS)
        );
        sayings.push(Saying::new("Truncated", "True", "TooManyClusters", message));
    }
    sayings
}

/// Nothing moves until somebody changes the spec.
fn held() -> [Saying; 5] {
    let why = "nothing is sent while the condition Matched names a problem";
    [("Applied", "Unknown"), ("Healthy", "Unknown"), ("Ready", "False"), ("Progressing", "False"), ("Stalled", "True")]
        .map(|(kind, status)| Saying::new(kind, status, "Held", why))
}

fn matched(facts: &SubscriptionFacts) -> Saying {
    let say = |status, reason, message: String| Saying::new("Matched", status, reason, message);
    match (&facts.problem, facts.bound.len()) {
        (Some(problem), _) => say("False", "NotSupported", format!("{problem}; what is on the clusters stays as it is")),
        (None, 0) if facts.selectors.is_empty() => {
            say("False", "NoSubscribers", "spec.subscribers is empty: add one with a clusterAffinity".to_owned())
        }
        (None, 0) => {
            let selectors = &facts.selectors;
            say(
                "False",
                "NoMatchingCluster",
                format!("no ManagedCluster matches {selectors} and has only tolerated taints: compare `kubectl get mcls -A --show-labels`"),
            )
        }
        (None, clusters) => say("True", "Bound", format!("bound to {clusters} clusters")),
    }
}

fn resolved(facts: &SubscriptionFacts) -> Saying {
    let Some(first) = facts.missing.first() else {
        return Saying::new("FeedsResolved", "True", "Resolved", format!("{} feeds have templates", facts.feeds.len()));
    };
    let named: Vec<String> = facts.missing.iter().take(MAX_NAMED).map(|missing| missing.object.to_string()).collect();
    let message =
        format!("{} of {} feeds have no template: {}: {}", facts.missing.len(), facts.feeds.len(), named.join(", "), first.remedy);
    Saying::new("FeedsResolved", "False", "TemplateMissing", message)
}
