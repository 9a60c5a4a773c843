//! A Subscription's status.

use k8s_openapi::jiff::Timestamp;

use super::condition::Saying;
use super::verdict::{Progress, Verdict};
use super::{ClusterState, MAX_CLUSTERS, MAX_DETAILS, Outcomes};
use crate::core::id::{ClusterKey, SubscriptionKey};
use crate::core::index::{SubscriptionFacts, identity_of};
use crate::core::report::ObjectState;
use crate::kinds::{AggregatedStatus, Counts, Feed, FeedStatusPerCluster, FeedStatusSummary, SubscriptionStatus};

/// How many missing feeds a message names.
const MAX_NAMED: usize = 10;

/// A Subscription over all its clusters.
#[derive(Default)]
struct Tally {
    counts: Counts,
    first_failed: Option<String>,
    first_pending: Option<String>,
    /// Of those pending, how many are connected and so will move by themselves.
    moving: i32,
}

impl Outcomes {
    /// What a Subscription's status should be, given what it was; none for a Subscription that is gone.
    pub fn subscription_status(&self, key: &SubscriptionKey, previous: &SubscriptionStatus, now: Timestamp) -> Option<SubscriptionStatus> {
        let facts = self.subscriptions.get(key)?;
        let tally = self.tally(facts);
        let generation = Some(facts.generation);
        let conditions = sayings(facts, &tally).into_iter().map(|saying| saying.after(&previous.conditions, generation, now)).collect();
        Some(SubscriptionStatus {
            observed_generation: generation,
            binding_clusters: facts.bound.iter().take(MAX_CLUSTERS).map(ToString::to_string).collect(),
            replicas: previous.replicas.clone(),
            desired_releases: tally.counts.clusters,
            completed_releases: tally.counts.applied,
            counts: tally.counts.clone(),
            aggregated_statuses: facts.feeds.iter().map(|feed| self.aggregate(facts, feed, &tally)).collect(),
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
        let details: Vec<FeedStatusPerCluster> = states.map(|(key, state)| per_cluster(facts, feed, key, state)).collect();
        // Clusters that are not named have it if they have everything.
        let unnamed = details.len() == facts.bound.len() || tally.counts.applied == tally.counts.clusters;
        let available = !details.is_empty() && unnamed && details.iter().all(|detail| detail.available);
        AggregatedStatus {
            kind: feed.kind.clone(),
            api_version: feed.api_version.clone(),
            namespace: feed.namespace.clone(),
            name: feed.name.clone(),
            feed_status_summary: FeedStatusSummary { available, replica_status: None },
            feed_status_details: details,
        }
    }
}

/// How many clusters each feed names: an API server takes about 1.5 MB in one object, whatever the number of feeds.
fn details_of_a_feed(facts: &SubscriptionFacts) -> usize {
    MAX_CLUSTERS.min(MAX_DETAILS / facts.feeds.len().max(1))
}

fn per_cluster(facts: &SubscriptionFacts, feed: &Feed, key: &ClusterKey, state: &ClusterState) -> FeedStatusPerCluster {
    let object = identity_of(feed).0;
    let wanted = (&facts.reference, &object);
    let entry = state.plan.as_ref().and_then(|(_, entries)| {
        let found = entries.binary_search_by(|entry| (&entry.bundle, &entry.object).cmp(&wanted));
        found.ok().map(|index| &entries[index])
    });
    let report = entry.and_then(|entry| state.object(entry));
    let available = state.is_current() && report.is_some_and(|report| report.state == ObjectState::Applied);
    FeedStatusPerCluster { cluster_id: state.cluster_id.clone(), cluster_name: key.name.clone(), available, replica_status: None }
}

impl Tally {
    fn add(&mut self, cluster: &ClusterKey, verdict: Option<&Verdict>) {
        self.counts.clusters += 1;
        self.counts.offline += i32::from(!verdict.is_some_and(|verdict| verdict.connected));
        self.counts.healthy += i32::from(verdict.is_some_and(|verdict| verdict.healthy));
        match verdict.map(|verdict| &verdict.progress) {
            Some(Progress::Applied) => self.counts.applied += 1,
            Some(Progress::Failed(why)) => {
                self.counts.failed += 1;
                self.first_failed.get_or_insert_with(|| format!("{cluster}: {why}"));
            }
            pending => {
                self.counts.pending += 1;
                let object = pending.and_then(|pending| if let Progress::Pending(object) = pending { object.as_ref() } else { None });
                self.moving += i32::from(verdict.is_some_and(|verdict| verdict.connected));
                self.first_pending
                    .get_or_insert_with(|| object.map_or_else(|| cluster.to_string(), |object| format!("{cluster}: {object}")));
            }
        }
    }

    fn applied(&self) -> Saying {
        let (counts, say) = (&self.counts, |status, reason, message: String| Saying::new("Applied", status, reason, message));
        let of = format!("{} of {} clusters", counts.applied, counts.clusters);
        if let Some(first) = &self.first_failed {
            return say("False", "ApplyFailed", format!("applied on {of}, refused on {}; first {first}", counts.failed));
        }
        match (&self.first_pending, self.moving) {
            (None, _) if counts.clusters == 0 => say("Unknown", "NoClusters", "bound to no cluster".to_owned()),
            (None, _) => say("True", "Applied", format!("applied on {of}")),
            (Some(first), 0) => say("Unknown", "ClustersOffline", format!("applied on {of}; the others are offline; first {first}")),
            (Some(first), _) => say("False", "Progressing", format!("applied on {of}; waiting for {}; first {first}", counts.pending)),
        }
    }
}

fn sayings(facts: &SubscriptionFacts, tally: &Tally) -> Vec<Saying> {
    let mut sayings = vec![matched(facts), resolved(facts), applied(facts, tally)];
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

fn applied(facts: &SubscriptionFacts, tally: &Tally) -> Saying {
    match &facts.problem {
        Some(_) => Saying::new("Applied", "Unknown", "Held", "nothing is sent while the condition Matched names a problem"),
        None => tally.applied(),
    }
}
