use k8s_openapi::jiff::Timestamp;

use super::*;
use crate::core::build::{cluster, manifest, subscription};
use crate::core::guard::{Held, fleet};
use crate::core::index::{ClusterChange, Index, SubscriptionChange};
use crate::core::report::{ClusterFacts, HealthLevel, ObjectHealth, ObjectState, Replicas};
use crate::kinds::{ManagedClusterStatus, PodStatistics, SubscriptionStatus};

/// Outcomes of one Subscription of ConfigMaps `one` and `two`, planned at resourceVersion 10 for these edge clusters.
fn planned(clusters: &[&str]) -> Outcomes {
    let (mut index, mut outcomes) = (Index::default(), Outcomes::default());
    for name in ["one", "two"] {
        index.apply_manifest(&manifest(name, "1")).expect("valid");
    }
    clusters.iter().for_each(|name| index.apply_cluster(&cluster(name, "edge")));
    index.apply_subscription(&subscription("s", "edge", &["one", "two"]));
    feed(&mut index, &mut outcomes, 10);
    outcomes
}

fn feed(index: &mut Index, outcomes: &mut Outcomes, rv: u64) {
    for change in index.take_plans() {
        match change {
            ClusterChange::Planned { cluster, cluster_id, entries, revoked, .. } => {
                outcomes.plan(cluster.clone(), cluster_id, rv, entries);
                outcomes.lock_out(&cluster, revoked);
            }
            ClusterChange::Removed { cluster } => outcomes.remove_cluster(&cluster),
        }
    }
    for change in index.take_facts() {
        match change {
            SubscriptionChange::Facts(facts) => outcomes.subscription(*facts),
            SubscriptionChange::Removed(key) => outcomes.remove_subscription(&key),
        }
    }
}

fn report(name: &str, rv: u64, states: &[(&str, ObjectState)]) -> ClusterReport {
    let object = |(name, state): &(&str, ObjectState)| ObjectReport {
        object: config_map(name),
        bundles: Vec::new(),
        state: state.clone(),
        health: Some(healthy()),
    };
    ClusterReport {
        cluster: key(name),
        listed_at_rv: Some(rv),
        clones: None,
        connected: true,
        last_contact: Some(at(100)),
        objects: states.iter().map(object).collect(),
        list_hash: Some("feed".to_owned()),
        held: None,
        facts: None,
    }
}

fn healthy() -> ObjectHealth {
    ObjectHealth { level: HealthLevel::Healthy, ..ObjectHealth::default() }
}

/// Everything applied, `one` with this health.
fn faring(name: &str, level: HealthLevel, reason: &str, message: &str) -> ClusterReport {
    let mut report = all_applied(name, 10);
    let (reason, message) = (reason.to_owned(), message.to_owned());
    report.objects[0].health = Some(ObjectHealth { level, reason, message, ..ObjectHealth::default() });
    report
}

fn all_applied(name: &str, rv: u64) -> ClusterReport {
    report(name, rv, &[("one", ObjectState::Applied), ("two", ObjectState::Applied)])
}

fn config_map(name: &str) -> ObjectId {
    ObjectId { group: String::new(), kind: "ConfigMap".to_owned(), namespace: "default".to_owned(), name: name.to_owned() }
}

fn key(name: &str) -> ClusterKey {
    ClusterKey::new(format!("clusternet-{name}"), name)
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).expect("in range")
}

fn status(outcomes: &Outcomes) -> SubscriptionStatus {
    let name = SubscriptionKey::new("apps", "s");
    outcomes.subscription_status(&name, &SubscriptionStatus::default(), at(1000)).expect("it exists")
}

fn condition(outcomes: &Outcomes, kind: &str) -> (String, String, String) {
    let found = status(outcomes).conditions.into_iter().find(|condition| condition.type_ == kind).expect("it is told");
    (found.status, found.reason, found.message)
}

fn told(status: &str, reason: &str, message: &str) -> (String, String, String) {
    (status.to_owned(), reason.to_owned(), message.to_owned())
}

#[test]
fn applied_everywhere_is_true_and_counted() {
    let mut outcomes = planned(&["a", "b"]);
    ["a", "b"].iter().for_each(|name| outcomes.report(all_applied(name, 10)));
    assert_eq!(condition(&outcomes, "Applied"), told("True", "Applied", "applied on 2 of 2 clusters"));
    let status = status(&outcomes);
    assert_eq!((status.counts.clusters, status.counts.applied, status.counts.healthy, status.counts.offline), (2, 2, 2, 0));
    assert_eq!((status.desired_releases, status.completed_releases, status.observed_generation), (2, 2, Some(1)));
    assert_eq!(status.binding_clusters, ["clusternet-a/a", "clusternet-b/b"]);
    assert!(status.aggregated_statuses.iter().all(|feed| feed.feed_status_summary.available && feed.feed_status_details.len() == 2));
}

#[test]
fn a_report_on_an_older_plan_proves_nothing() {
    let mut outcomes = planned(&["a"]);
    outcomes.report(all_applied("a", 9));
    assert_eq!(
        condition(&outcomes, "Applied"),
        told("False", "Progressing", "applied on 0 of 1 clusters; waiting for 1; first clusternet-a/a")
    );
    assert!(!status(&outcomes).aggregated_statuses[0].feed_status_summary.available);
}

#[test]
fn a_refusal_names_cluster_object_and_reason() {
    let mut outcomes = planned(&["a", "b"]);
    outcomes.report(all_applied("a", 10));
    let refused = ObjectState::Failed { code: 422, message: "data: too long".to_owned() };
    outcomes.report(report("b", 10, &[("one", ObjectState::Pending), ("two", refused)]));
    let message = "applied on 1 of 2 clusters, refused on 1; first clusternet-b/b: ConfigMap default/two: data: too long (422)";
    assert_eq!(condition(&outcomes, "Applied"), told("False", "ApplyFailed", message));
}

#[test]
fn a_revoked_cluster_says_so_until_it_is_let_in_again() {
    let (mut index, mut outcomes) = (Index::default(), planned(&["a"]));
    outcomes.report(ClusterReport { connected: false, ..all_applied("a", 10) });
    let (mut object, key) = (cluster("a", "edge"), key("a"));
    object.metadata.annotations = Some([("clusternet.io/revoked".to_owned(), "stolen".to_owned())].into());
    index.apply_cluster(&object);
    feed(&mut index, &mut outcomes, 11);
    assert!(outcomes.take_touched().1.contains(&key));
    let status = outcomes.cluster_status(&key, &ManagedClusterStatus::default(), at(100)).unwrap();
    let revoked =
        |status: &ManagedClusterStatus| status.conditions.iter().any(|of| (of.type_.as_str(), of.status.as_str()) == ("Revoked", "True"));
    assert!(revoked(&status) && status.link.as_deref() == Some("Revoked"), "{status:?}");
    object.metadata.annotations = None;
    index.apply_cluster(&object);
    feed(&mut index, &mut outcomes, 12);
    let status = outcomes.cluster_status(&key, &status, at(200)).unwrap();
    assert!(!revoked(&status) && status.link.as_deref() == Some("Offline"), "{status:?}");
}

#[test]
fn a_cluster_that_is_away_is_offline_and_not_failed_and_keeps_what_was_known() {
    let mut outcomes = planned(&["a", "b"]);
    outcomes.report(all_applied("a", 10));
    let message = "applied on 1 of 2 clusters; the others are offline; first clusternet-b/b";
    assert_eq!(condition(&outcomes, "Applied"), told("Unknown", "ClustersOffline", message));
    outcomes.report(ClusterReport { connected: false, ..all_applied("b", 10) });
    assert_eq!(condition(&outcomes, "Applied").0, "True");
    assert_eq!((status(&outcomes).counts.applied, status(&outcomes).counts.offline), (2, 1));
}

#[test]
fn an_object_that_nobody_reported_is_pending_and_named() {
    let mut outcomes = planned(&["a"]);
    outcomes.report(report("a", 10, &[("one", ObjectState::Applied)]));
    let message = "applied on 0 of 1 clusters; waiting for 1; first clusternet-a/a: ConfigMap default/two";
    assert_eq!(condition(&outcomes, "Applied"), told("False", "Progressing", message));
}

#[test]
fn a_report_for_another_bundle_is_not_ours() {
    let mut outcomes = planned(&["a"]);
    let mut foreign = all_applied("a", 10);
    foreign.objects[0].bundles = vec!["uid-other".to_owned()];
    outcomes.report(foreign.clone());
    assert_eq!(condition(&outcomes, "Applied").0, "False");
    foreign.objects[0].bundles.push("uid-s".to_owned());
    outcomes.report(foreign);
    assert_eq!(condition(&outcomes, "Applied").0, "True");
}

#[test]
fn matching_nothing_shows_the_labels_asked_for() {
    let (mut index, mut outcomes) = (Index::default(), Outcomes::default());
    index.apply_subscription(&subscription("s", "edge", &["gone"]));
    feed(&mut index, &mut outcomes, 10);
    let message = "no ManagedCluster matches tier=edge and has only tolerated taints: compare `kubectl get mcls -A --show-labels`";
    assert_eq!(condition(&outcomes, "Matched"), told("False", "NoMatchingCluster", message));
    let message = "1 of 1 feeds have no template: ConfigMap default/gone: apply it to the hub, or take it out of spec.feeds";
    assert_eq!(condition(&outcomes, "FeedsResolved"), told("False", "TemplateMissing", message));
    assert_eq!(condition(&outcomes, "Applied"), told("Unknown", "NoClusters", "bound to no cluster"));
}

#[test]
fn a_condition_keeps_its_time_until_its_status_changes() {
    let mut outcomes = planned(&["a"]);
    let name = SubscriptionKey::new("apps", "s");
    let first = status(&outcomes);
    let time = |status: &SubscriptionStatus| {
        status.conditions.iter().find(|condition| condition.type_ == "Applied").map(|found| found.last_transition_time.0)
    };
    outcomes.report(ClusterReport { connected: false, ..report("a", 10, &[("one", ObjectState::Applied)]) });
    let second = outcomes.subscription_status(&name, &first, at(2000)).expect("it exists");
    assert_eq!(time(&second), Some(at(1000)));
    outcomes.report(all_applied("a", 10));
    let third = outcomes.subscription_status(&name, &second, at(3000)).expect("it exists");
    assert_eq!(time(&third), Some(at(3000)));
}

#[test]
fn only_what_a_report_changes_is_touched() {
    let mut outcomes = planned(&["a", "b"]);
    outcomes.report(all_applied("a", 10));
    outcomes.take_touched();
    outcomes.report(ClusterReport { last_contact: Some(at(130)), ..all_applied("a", 10) });
    let (subscriptions, clusters) = outcomes.take_touched();
    assert!(subscriptions.is_empty(), "{subscriptions:?}");
    assert_eq!(clusters.into_iter().collect::<Vec<_>>(), [key("a")]);
    outcomes.report(report("a", 10, &[]));
    assert_eq!(outcomes.take_touched().0.len(), 1);
}

#[test]
fn pending_objects_are_counted_and_the_hash_to_confirm_is_told() {
    let mut outcomes = planned(&["a"]);
    let many: Vec<(String, ObjectState)> = (0..150).map(|number| (format!("old-{number}"), ObjectState::Unclaimed)).collect();
    let mut states: Vec<(&str, ObjectState)> = many.iter().map(|(name, state)| (name.as_str(), state.clone())).collect();
    states.push(("ns", ObjectState::Kept { why: "ConfigMap default/theirs is in it".to_owned() }));
    outcomes.report(report("a", 10, &states));
    let status = outcomes.cluster_status(&key("a"), &ManagedClusterStatus::default(), at(1000)).expect("reported");
    let pending = status.pending.expect("something is");
    assert_eq!((pending.counts.unclaimed, pending.counts.kept, pending.counts.removing, pending.objects.len()), (150, 1, 0, 100));
    assert_eq!(pending.list_hash.as_deref(), Some("feed"));
    outcomes.report(all_applied("a", 10));
    assert_eq!(outcomes.cluster_status(&key("a"), &ManagedClusterStatus::default(), at(1000)).expect("reported").pending, None);
}

#[test]
fn readiness_says_away_apart_from_not_ready_and_keeps_the_last_facts() {
    let mut outcomes = planned(&["a"]);
    let ready = |outcomes: &Outcomes| {
        let status = outcomes.cluster_status(&key("a"), &ManagedClusterStatus::default(), at(1000)).expect("reported");
        (status.conditions[0].status.clone(), status.conditions[0].reason.clone(), status.k8s_version)
    };
    let version = || Some("v1.37.2".to_owned());
    let facts = ClusterFacts { k8s_version: "v1.37.2".to_owned(), livez: true, readyz: true, ..ClusterFacts::default() };
    outcomes.report(ClusterReport { facts: Some(facts.clone()), ..all_applied("a", 10) });
    assert_eq!(ready(&outcomes), ("True".to_owned(), "ManagedClusterReady".to_owned(), version()));
    outcomes.report(ClusterReport { connected: false, ..all_applied("a", 10) });
    assert_eq!(ready(&outcomes), ("Unknown".to_owned(), "ClusterStatusUnknown".to_owned(), version()));
    outcomes.report(ClusterReport { facts: Some(ClusterFacts { readyz: false, ..facts }), ..all_applied("a", 10) });
    assert_eq!(ready(&outcomes), ("False".to_owned(), "ManagedClusterNotReady".to_owned(), version()));
}

#[test]
fn what_was_last_known_of_a_cluster_is_kept_while_its_agent_is_away_and_after_a_start_of_the_hub() {
    let mut outcomes = planned(&["a"]);
    let facts = ClusterFacts {
        livez: true,
        readyz: true,
        observed_at: Some(at(100)),
        cluster_cidr: Some("10.244.0.0/16".to_owned()),
        pod_statistics: Some(PodStatistics { running_pods: 3, total_pods: 5 }),
        node_labels: Some([("node.clusternet.io/zone".to_owned(), "a".to_owned())].into()),
        heartbeat_frequency_seconds: Some(30),
        ..ClusterFacts::default()
    };
    let mut tell = |report: ClusterReport, previous: &ManagedClusterStatus| {
        outcomes.report(report);
        outcomes.cluster_status(&key("a"), previous, at(1000)).expect("reported")
    };
    let known = tell(ClusterReport { facts: Some(facts.clone()), ..all_applied("a", 10) }, &ManagedClusterStatus::default());
    assert_eq!((known.pod_statistics.clone(), known.app_pusher), (facts.pod_statistics.clone(), Some(false)));
    assert_eq!((known.heartbeat_frequency_seconds, known.node_labels.len()), (Some(30), 1));
    let away = |last_contact| ClusterReport { facts: Some(facts.clone()), connected: false, last_contact, ..all_applied("a", 10) };
    for report in [away(Some(at(100))), ClusterReport { last_contact: None, ..away(None) }] {
        let status = tell(report, &known);
        assert_eq!((status.conditions[0].status.as_str(), status.conditions[0].reason.as_str()), ("Unknown", "ClusterStatusUnknown"));
        let kept = ManagedClusterStatus { conditions: known.conditions.clone(), link: known.link.clone(), ..status };
        assert_eq!(kept, known, "but for Ready and the link all is as it was");
    }
    let blind = ClusterFacts { node_labels: None, ..facts };
    let status = tell(ClusterReport { facts: Some(blind), ..all_applied("a", 10) }, &known);
    assert_eq!(status.node_labels, known.node_labels, "an agent that may not look any more takes no label away");
}

#[test]
fn a_heartbeat_alone_is_stored_every_five_minutes_only() {
    let mut outcomes = planned(&["a"]);
    let mut beat = |second: i64, previous: &ManagedClusterStatus| {
        outcomes.report(ClusterReport { last_contact: Some(at(second)), ..all_applied("a", 10) });
        outcomes.cluster_status(&key("a"), previous, at(second)).expect("reported")
    };
    let first = beat(100, &ManagedClusterStatus::default());
    assert_eq!(beat(130, &first), first);
    assert_eq!(beat(400, &first).last_contact.map(|time| time.0), Some(at(400)));
}

#[test]
fn what_the_hub_does_not_own_in_a_clusters_status_stays() {
    let mut outcomes = planned(&["a"]);
    outcomes.report(all_applied("a", 10));
    let previous = ManagedClusterStatus {
        sid: Some("abcdefgh".to_owned()),
        cluster_cidr: Some("10.0.0.0/8".to_owned()),
        ..ManagedClusterStatus::default()
    };
    let status = outcomes.cluster_status(&key("a"), &previous, at(1000)).expect("reported");
    assert_eq!((status.sid, status.cluster_cidr), (previous.sid, previous.cluster_cidr));
}

#[test]
fn a_status_of_many_feeds_on_many_clusters_stays_within_what_a_server_takes() {
    let (mut index, mut outcomes) = (Index::default(), Outcomes::default());
    let feeds: Vec<String> = (0..100).map(|number| format!("feed-{number}")).collect();
    let names: Vec<&str> = feeds.iter().map(String::as_str).collect();
    (0..600).for_each(|number| index.apply_cluster(&cluster(&format!("{number:03}"), "edge")));
    index.apply_subscription(&subscription("s", "edge", &names));
    feed(&mut index, &mut outcomes, 10);
    let status = status(&outcomes);
    let size = serde_json::to_vec(&status).expect("plain data").len();
    assert!(size < 1_000_000, "{size} bytes");
    assert_eq!((status.binding_clusters.len(), status.counts.clusters), (500, 600));
    let message = "bindingClusters names the first 500 and aggregatedStatuses the first 50 of 600 clusters";
    assert_eq!(condition(&outcomes, "Truncated"), told("True", "TooManyClusters", message));
}

#[test]
fn healthy_is_true_only_with_everything_applied_and_well() {
    let mut outcomes = planned(&["a", "b"]);
    outcomes.report(all_applied("a", 10));
    outcomes.report(report("b", 10, &[("one", ObjectState::Applied)]));
    assert_eq!(condition(&outcomes, "Healthy").0, "False");
    assert_eq!(condition(&outcomes, "Progressing").0, "True");
    outcomes.report(faring("b", HealthLevel::Finished, "", ""));
    assert_eq!(condition(&outcomes, "Healthy"), told("True", "Healthy", "healthy on 2 of 2 clusters"));
    assert_eq!(condition(&outcomes, "Ready").0, "True");
    assert_eq!(condition(&outcomes, "Progressing"), told("False", "Complete", "nothing is on its way"));
    assert_eq!(condition(&outcomes, "Stalled").0, "False");
    assert!(status(&outcomes).conditions.iter().all(|condition| condition.observed_generation == Some(1)));
}

#[test]
fn an_unhealthy_object_is_named_with_cluster_reason_and_message_and_stalls() {
    let mut outcomes = planned(&["a", "b"]);
    outcomes.report(all_applied("a", 10));
    outcomes.report(faring("b", HealthLevel::Unhealthy, "ImagePullBackOff", "no such image"));
    let message =
        "healthy on 1 of 2 clusters, unhealthy on 1; first clusternet-b/b: ConfigMap default/one: ImagePullBackOff: no such image";
    assert_eq!(condition(&outcomes, "Healthy"), told("False", "ImagePullBackOff", message));
    assert_eq!((condition(&outcomes, "Stalled").0.as_str(), condition(&outcomes, "Progressing").0.as_str()), ("True", "False"));
    let mut older = faring("b", HealthLevel::Unhealthy, "ImagePullBackOff", "no such image");
    older.listed_at_rv = Some(9);
    let status = status(&outcomes);
    assert_eq!((status.counts.healthy, status.counts.unhealthy, status.unhealthy_clusters.len()), (1, 1, 1));
    assert_eq!(status.unhealthy_clusters[0].object, "ConfigMap default/one");
    outcomes.report(faring("b", HealthLevel::Unhealthy, "not a reason", ""));
    assert_eq!(condition(&outcomes, "Healthy").1, "Unhealthy");
    outcomes.report(older);
    assert_eq!(condition(&outcomes, "Healthy").1, "Progressing", "what was said of older content");
    assert_eq!(condition(&outcomes, "Stalled").0, "False");
}

#[test]
fn what_will_be_tried_again_is_not_stalled() {
    let mut outcomes = planned(&["a"]);
    let failed = |code| report("a", 10, &[("one", ObjectState::Failed { code, message: "no".to_owned() }), ("two", ObjectState::Applied)]);
    for (code, stalled) in [(404, "False"), (503, "False"), (0, "False"), (422, "True"), (403, "True")] {
        outcomes.report(failed(code));
        assert_eq!(condition(&outcomes, "Stalled").0, stalled, "{code}");
        assert_eq!(condition(&outcomes, "Healthy").1, "ApplyFailed", "{code}");
    }
}

#[test]
fn nobody_having_looked_and_everybody_being_away_are_unknown() {
    let mut outcomes = planned(&["a", "b"]);
    let mut unseen = all_applied("b", 10);
    unseen.objects[1].health = None;
    outcomes.report(all_applied("a", 10));
    outcomes.report(unseen);
    let message = "healthy on 1 of 2 clusters; nothing is known of the others yet; first clusternet-b/b: ConfigMap default/two";
    assert_eq!(condition(&outcomes, "Healthy"), told("Unknown", "NotObserved", message));
    outcomes.report(ClusterReport { connected: false, ..all_applied("b", 10) });
    let message = "healthy on 2 of 2 clusters; 1 of them offline and as last heard";
    assert_eq!(condition(&outcomes, "Healthy"), told("True", "Healthy", message));
    outcomes.report(ClusterReport { connected: false, ..all_applied("a", 10) });
    assert_eq!(condition(&outcomes, "Healthy").1, "ClustersOffline");
}

#[test]
fn replicas_are_told_by_cluster_and_summed() {
    let mut outcomes = planned(&["a", "b"]);
    for (name, ready) in [("a", 2), ("b", 1)] {
        let mut report = all_applied(name, 10);
        let replicas = Replicas { observed_generation: 7, replicas: 2, updated: 2, ready, ..Replicas::default() };
        report.objects[0].health = Some(ObjectHealth { replicas: Some(replicas), ..healthy() });
        outcomes.report(report);
    }
    let one = &status(&outcomes).aggregated_statuses[0];
    let summed = one.feed_status_summary.replica_status.clone().expect("both told");
    assert_eq!((summed.replicas, summed.ready_replicas, summed.observed_generation), (4, 3, None));
    let details: Vec<_> = one.feed_status_details.iter().filter_map(|detail| detail.replica_status.as_ref()).collect();
    assert_eq!((details.len(), details[1].ready_replicas, details[1].observed_generation), (2, 1, Some(7)));
    assert_eq!(status(&outcomes).aggregated_statuses[1].feed_status_summary.replica_status, None);
}

#[test]
fn replicas_that_move_touch_the_subscription() {
    let mut outcomes = planned(&["a"]);
    outcomes.report(all_applied("a", 10));
    outcomes.take_touched();
    let mut moved = all_applied("a", 10);
    moved.objects[0].health = Some(ObjectHealth { replicas: Some(Replicas { ready: 1, ..Replicas::default() }), ..healthy() });
    outcomes.report(moved);
    assert_eq!(outcomes.take_touched().0.len(), 1);
}

#[test]
fn link_sync_and_objects_say_what_is_known_now() {
    let mut outcomes = planned(&["a"]);
    let told = |outcomes: &Outcomes| {
        let status = outcomes.cluster_status(&key("a"), &ManagedClusterStatus::default(), at(1000)).expect("reported");
        (status.link.expect("told"), status.sync.expect("told"), status.objects)
    };
    let words = |link: &str, sync: &str| (link.to_owned(), sync.to_owned(), Some(2));
    outcomes.report(ClusterReport { connected: false, last_contact: None, listed_at_rv: None, ..report("a", 10, &[]) });
    assert_eq!(told(&outcomes), words("NeverConnected", "Unknown"));
    outcomes.report(report("a", 10, &[("one", ObjectState::Applied)]));
    assert_eq!(told(&outcomes), words("Connected", "1 pending"));
    outcomes.report(all_applied("a", 10));
    assert_eq!(told(&outcomes), words("Connected", "Synced"));
    outcomes.report(ClusterReport { connected: false, ..all_applied("a", 10) });
    assert_eq!(told(&outcomes), words("Offline", "Synced"));
    outcomes.report(all_applied("a", 9));
    assert_eq!(told(&outcomes), words("Connected", "Unknown"));
}

#[test]
fn rows_come_in_pages_and_name_what_is_wrong() {
    let mut outcomes = planned(&["a", "b", "c"]);
    outcomes.report(all_applied("a", 10));
    outcomes.report(faring("b", HealthLevel::Unhealthy, "ImagePullBackOff", "no such image"));
    let name = SubscriptionKey::new("apps", "s");
    let (rows, remaining) = outcomes.cluster_rows(&name, None, 2).expect("known");
    assert_eq!((rows.len(), remaining, rows[1].0.as_str()), (2, 1, "clusternet-b/b"));
    assert_eq!((&rows[1].1["health"], &rows[1].1["reason"]), (&"Unhealthy".into(), &"ImagePullBackOff".into()));
    let (rows, remaining) = outcomes.cluster_rows(&name, Some("clusternet-b/b"), 2).expect("known");
    assert_eq!((rows.len(), remaining, &rows[0].1["state"], &rows[0].1["connected"]), (1, 0, &"Pending".into(), &false.into()));
    let (rows, _) = outcomes.object_rows(&key("b"), None, 0).expect("known");
    assert_eq!((rows.len(), &rows[0].1["name"], &rows[0].1["message"]), (2, &"one".into(), &"no such image".into()));
    assert!(outcomes.object_rows(&key("gone"), None, 0).is_none());
}

#[test]
fn a_dispute_and_a_pause_are_conditions_of_their_own_however_well_the_object_is() {
    let mut outcomes = planned(&["a", "b"]);
    outcomes.report(all_applied("a", 10));
    let mut disputed = all_applied("b", 10);
    disputed.objects[0].health = Some(ObjectHealth { contested: "hpa changes .spec.replicas".to_owned(), ..healthy() });
    disputed.objects[1].health = Some(ObjectHealth { paused: true, ..healthy() });
    outcomes.report(disputed);
    assert_eq!(condition(&outcomes, "Healthy").0, "True");
    let message =
        "somebody else changes what is applied on 1 clusters; first clusternet-b/b: ConfigMap default/one: hpa changes .spec.replicas";
    assert_eq!(condition(&outcomes, "Contested"), told("True", "ChangedByOthers", message));
    let message = "objects annotated clusternet.io/paused are left as they are on 1 clusters; first clusternet-b/b: ConfigMap default/two";
    assert_eq!(condition(&outcomes, "Paused"), told("True", "PausedOnMember", message));
    outcomes.report(all_applied("b", 10));
    assert!(status(&outcomes).conditions.iter().all(|condition| !matches!(condition.type_.as_str(), "Contested" | "Paused")));
}

#[test]
fn held_removals_are_told_with_the_command_that_lets_them_go() {
    let mut outcomes = planned(&["a", "b"]);
    let subscriptions = outcomes.subscriptions.values().map(|facts| facts.reference.clone()).collect();
    let held = Held { removals: 30, of: 40, hash: "0badcafe".to_owned(), subscriptions, of_fleet: 0 };
    let all = fleet::hash(fleet::token(&key("a"), &held));
    outcomes.report(ClusterReport { held: Some(held), ..all_applied("a", 10) });
    let everywhere = format!("`kubectl annotate --overwrite subscription -n apps s clusternet.io/confirm-removal={all}`");
    let command = "`kubectl annotate --overwrite managedcluster -n clusternet-a a clusternet.io/confirm-removal=0badcafe`";
    let (status, _, message) = condition(&outcomes, "RemovalHeld");
    assert!(status == "True" && message.contains("30 of 40 objects on clusternet-a/a") && message.contains(&everywhere), "{message}");
    let cluster = outcomes.cluster_status(&key("a"), &ManagedClusterStatus::default(), at(1000)).expect("reported");
    let told = cluster.conditions.iter().find(|condition| condition.type_ == "RemovalHeld").expect("told");
    assert!(told.message.contains(command), "{}", told.message);

    outcomes.take_touched();
    outcomes.report(all_applied("a", 10));
    assert_eq!(outcomes.take_touched().0.len(), 1, "the Subscription is looked at again");
    let after = outcomes.cluster_status(&key("a"), &cluster, at(1001)).expect("reported");
    assert!(after.conditions.iter().all(|condition| condition.type_ != "RemovalHeld"));
}
