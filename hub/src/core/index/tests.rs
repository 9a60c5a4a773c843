#[path = "override_tests.rs"]
mod overriding;

use std::collections::BTreeSet;
use std::sync::Arc;

use super::*;
use crate::core::build::{cluster, manifest, read, subscription};
use crate::core::plan::{Content, DesiredEntry};

/// An index over two edge clusters and one in the core.
fn world() -> Index {
    let mut index = Index::default();
    for (name, tier) in [("a", "edge"), ("b", "edge"), ("c", "core")] {
        index.apply_cluster(&cluster(name, tier));
    }
    index
}

/// What changed: cluster names, each with (Subscription, object, content) of its entries.
fn taken(index: &mut Index) -> Vec<(String, Vec<String>)> {
    index
        .take_plans()
        .into_iter()
        .map(|change| match change {
            ClusterChange::Planned { cluster, entries, .. } => (cluster.name, entries.iter().map(shown).collect()),
            ClusterChange::Removed { cluster } => (cluster.name, vec!["removed".to_owned()]),
        })
        .collect()
}

fn shown(entry: &DesiredEntry) -> String {
    let content = match &entry.content {
        Content::Keep => "keep".to_owned(),
        Content::Bytes(bytes) => {
            let object: serde_json::Value = serde_json::from_slice(bytes).expect("JSON");
            object["data"]["v"].as_str().unwrap_or_default().to_owned()
        }
    };
    format!("{} {}={content}", entry.bundle.name, entry.object.name)
}

fn facts(index: &mut Index, name: &str) -> SubscriptionFacts {
    let found = index.take_facts().into_iter().find_map(|change| match change {
        SubscriptionChange::Facts(facts) if facts.reference.name == name => Some(*facts),
        _ => None,
    });
    found.expect("facts of this Subscription")
}

fn plan(cluster: &str, entries: &[&str]) -> (String, Vec<String>) {
    (cluster.to_owned(), entries.iter().map(|entry| (*entry).to_owned()).collect())
}

#[test]
fn a_subscription_reaches_the_clusters_it_selects_and_no_other() {
    let mut index = world();
    index.apply_manifest(&manifest("one", "1")).expect("valid");
    index.apply_subscription(&subscription("s", "edge", &["one"]));
    assert_eq!(taken(&mut index), [plan("a", &["s one=1"]), plan("b", &["s one=1"]), plan("c", &[])]);
}

#[test]
fn nothing_is_given_twice() {
    let mut index = world();
    index.apply_manifest(&manifest("one", "1")).expect("valid");
    index.apply_subscription(&subscription("s", "edge", &["one"]));
    taken(&mut index);
    index.apply_manifest(&manifest("one", "1")).expect("valid");
    index.apply_subscription(&subscription("s", "edge", &["one"]));
    index.apply_cluster(&cluster("a", "edge"));
    assert_eq!(taken(&mut index), []);
}

#[test]
fn a_changed_template_replans_only_the_clusters_that_get_it() {
    let mut index = world();
    for name in ["one", "two"] {
        index.apply_manifest(&manifest(name, "1")).expect("valid");
    }
    index.apply_subscription(&subscription("s", "edge", &["one"]));
    index.apply_subscription(&subscription("t", "core", &["two"]));
    taken(&mut index);
    index.apply_manifest(&manifest("two", "2")).expect("valid");
    assert_eq!(taken(&mut index), [plan("c", &["t two=2"])]);
}

#[test]
fn clusters_with_the_same_subscriptions_share_one_list_and_all_share_the_bytes() {
    let mut index = world();
    index.apply_manifest(&manifest("one", "1")).expect("valid");
    index.apply_subscription(&subscription("s", "edge", &["one"]));
    index.apply_subscription(&subscription("t", "core", &["one"]));
    let lists: Vec<DesiredList> = index
        .take_plans()
        .into_iter()
        .filter_map(|change| match change {
            ClusterChange::Planned { entries, .. } => Some(entries),
            ClusterChange::Removed { .. } => None,
        })
        .collect();
    assert!(Arc::ptr_eq(&lists[0], &lists[1]));
    let (Content::Bytes(edge), Content::Bytes(core)) = (&lists[0][0].content, &lists[2][0].content) else { panic!("both have content") };
    assert!(Arc::ptr_eq(edge, core));
}

#[test]
fn a_missing_template_is_kept_and_told_and_comes_back_in_place() {
    let mut index = world();
    index.apply_manifest(&manifest("one", "1")).expect("valid");
    index.apply_subscription(&subscription("s", "core", &["one"]));
    taken(&mut index);
    index.delete_manifest("configmaps.default.one");
    assert_eq!(taken(&mut index), [plan("c", &["s one=keep"])]);
    index.apply_subscription(&subscription("late", "core", &["gone"]));
    let facts = facts(&mut index, "late");
    assert_eq!(facts.missing[0].object.to_string(), "ConfigMap default/gone");
    index.apply_manifest(&manifest("one", "2")).expect("valid");
    assert_eq!(taken(&mut index), [plan("c", &["late gone=keep", "s one=2"])]);
}

#[test]
fn a_template_that_stops_being_an_object_counts_as_missing() {
    let mut index = world();
    index.apply_manifest(&manifest("one", "1")).expect("valid");
    index.apply_subscription(&subscription("s", "core", &["one"]));
    taken(&mut index);
    let mut broken = manifest("one", "2");
    broken.template.remove("kind");
    index.apply_manifest(&broken).expect_err("no kind");
    assert_eq!(taken(&mut index), [plan("c", &["s one=keep"])]);
}

#[test]
fn a_feed_finds_a_template_of_another_version_of_its_group() {
    let mut index = world();
    let template = serde_json::json!({ "apiVersion": "apps/v1", "kind": "Deployment", "metadata": { "name": "web", "namespace": "d" } });
    index.apply_manifest(&Manifest::new("deployments.d.web", template.as_object().expect("an object").clone())).expect("valid");
    let mut old = subscription("s", "core", &[]);
    old.spec.feeds = read(serde_json::json!([{ "kind": "Deployment", "apiVersion": "apps/v1beta1", "namespace": "d", "name": "web" }]));
    index.apply_subscription(&old);
    let changes = index.take_plans();
    let Some(ClusterChange::Planned { entries, .. }) = changes.last() else { panic!("planned") };
    assert_eq!((entries[0].version.as_str(), entries[0].content != Content::Keep), ("v1", true));
}

#[test]
fn leaving_a_feed_a_label_or_a_subscription_takes_the_entry_away() {
    let mut index = world();
    index.apply_manifest(&manifest("one", "1")).expect("valid");
    index.apply_manifest(&manifest("two", "1")).expect("valid");
    let mut two_feeds = subscription("s", "edge", &["one", "two"]);
    index.apply_subscription(&two_feeds);
    taken(&mut index);
    two_feeds.spec.feeds.pop();
    two_feeds.metadata.generation = Some(2);
    index.apply_subscription(&two_feeds);
    assert_eq!(taken(&mut index), [plan("a", &["s one=1"]), plan("b", &["s one=1"])]);
    index.apply_cluster(&cluster("a", "lab"));
    assert_eq!(taken(&mut index), [plan("a", &[])]);
    two_feeds.metadata.deletion_timestamp = Some(read(serde_json::json!("2026-01-02T00:00:00Z")));
    index.apply_subscription(&two_feeds);
    assert_eq!(taken(&mut index), [plan("b", &[])]);
}

#[test]
fn a_subscription_made_again_is_another_bundle() {
    let mut index = world();
    index.apply_manifest(&manifest("one", "1")).expect("valid");
    index.apply_subscription(&subscription("s", "core", &["one"]));
    taken(&mut index);
    let mut again = subscription("s", "core", &["one"]);
    again.metadata.uid = Some("another".to_owned());
    index.apply_subscription(&again);
    let changes = index.take_plans();
    let ClusterChange::Planned { entries, .. } = &changes[0] else { panic!("planned") };
    assert_eq!(entries[0].bundle.uid, "another");
}

#[test]
fn two_claims_are_two_entries_with_one_content_and_the_loser_is_told() {
    let mut index = world();
    index.apply_manifest(&manifest("one", "1")).expect("valid");
    index.apply_subscription(&subscription("s", "core", &["one"]));
    let mut strong = subscription("t", "core", &["one"]);
    strong.spec.priority = Some(10);
    index.apply_subscription(&strong);
    taken(&mut index);
    let loser = facts(&mut index, "s");
    assert_eq!(loser.conflicts, [Conflict { object: object("one"), winner: SubscriptionKey::new("apps", "t") }]);
    index.apply_cluster(&cluster("d", "core"));
    assert_eq!(taken(&mut index), [plan("d", &["s one=1", "t one=1"])]);
    index.delete_subscription(&SubscriptionKey::new("apps", "t"));
    assert_eq!(facts(&mut index, "s").conflicts, []);
}

fn object(name: &str) -> ObjectId {
    ObjectId { group: String::new(), kind: "ConfigMap".to_owned(), namespace: "default".to_owned(), name: name.to_owned() }
}

#[test]
fn the_older_wins_among_equals_and_the_lower_uid_among_twins() {
    let mut index = world();
    let mut old = subscription("z-old", "core", &["one"]);
    old.metadata.creation_timestamp = Some(read(serde_json::json!("2020-01-01T00:00:00Z")));
    for subscription in [&old, &subscription("a", "core", &["one"]), &subscription("b", "core", &["one"])] {
        index.apply_subscription(subscription);
    }
    let winner = |index: &mut Index, name: &str| {
        index.touch_subscription(&SubscriptionKey::new("apps", name));
        facts(index, name).conflicts.first().map(|conflict| conflict.winner.name.clone())
    };
    assert_eq!(winner(&mut index, "a").as_deref(), Some("z-old"));
    index.delete_subscription(&SubscriptionKey::new("apps", "z-old"));
    assert_eq!(winner(&mut index, "b").as_deref(), Some("a"));
    assert_eq!(winner(&mut index, "a"), None);
}

#[test]
fn a_held_subscription_keeps_but_does_not_freeze_what_another_feeds() {
    let mut index = world();
    index.apply_manifest(&manifest("one", "1")).expect("valid");
    index.apply_manifest(&manifest("two", "1")).expect("valid");
    let mut held = subscription("held", "core", &["one", "two"]);
    held.spec.scheduling_strategy = crate::kinds::SchedulingStrategy::Dividing;
    held.spec.priority = Some(9);
    index.apply_subscription(&held);
    index.apply_subscription(&subscription("s", "core", &["one"]));
    assert_eq!(taken(&mut index).last(), Some(&plan("c", &["held one=1", "held two=keep", "s one=1"])));
}

#[test]
fn a_cluster_without_a_bus_id_is_planned_once_it_has_one() {
    let mut index = Index::default();
    let mut new = cluster("a", "edge");
    new.status = None;
    index.apply_cluster(&new);
    assert_eq!(taken(&mut index), []);
    index.apply_cluster(&cluster("a", "edge"));
    assert_eq!(taken(&mut index), [plan("a", &[])]);
    index.delete_cluster(&ClusterKey::new("clusternet-a", "a"));
    assert_eq!(taken(&mut index), [plan("a", &["removed"])]);
}

#[test]
fn a_confirmation_is_handed_on() {
    let mut index = world();
    taken(&mut index);
    let mut confirmed = cluster("a", "edge");
    confirmed.metadata.annotations = Some([("clusternet.io/confirm-prune".to_owned(), "abc".to_owned())].into());
    index.apply_cluster(&confirmed);
    let changes = index.take_plans();
    let ClusterChange::Planned { confirm_prune, .. } = &changes[0] else { panic!("planned") };
    assert_eq!(confirm_prune.as_deref(), Some("abc"));
}

#[test]
fn a_complete_list_deletes_what_it_does_not_name() {
    let mut index = world();
    index.apply_manifest(&manifest("one", "1")).expect("valid");
    index.apply_subscription(&subscription("s", "edge", &["one"]));
    index.apply_subscription(&subscription("t", "core", &["one"]));
    taken(&mut index);
    index.retain_subscriptions(&BTreeSet::from([SubscriptionKey::new("apps", "t")]));
    index.retain_manifests(&BTreeSet::new());
    index.retain_clusters(&BTreeSet::from([ClusterKey::new("clusternet-a", "a"), ClusterKey::new("clusternet-c", "c")]));
    assert_eq!(taken(&mut index), [plan("a", &[]), plan("b", &["removed"]), plan("c", &["t one=keep"])]);
}

#[test]
fn an_unreadable_subscription_keeps_what_was_known_or_holds_every_list() {
    let mut index = world();
    index.apply_subscription(&subscription("s", "edge", &["one"]));
    index.hold_unreadable_subscription(SubscriptionKey::new("apps", "s"));
    assert!(index.is_complete());
    index.hold_unreadable_subscription(SubscriptionKey::new("apps", "never-seen"));
    assert!(!index.is_complete());
    index.retain_subscriptions(&BTreeSet::from([SubscriptionKey::new("apps", "s")]));
    assert!(index.is_complete());
}

#[test]
fn the_order_of_arrival_makes_no_difference() {
    let steps: [fn(&mut Index); 4] = [
        |index| index.apply_manifest(&manifest("one", "1")).expect("valid"),
        |index| index.apply_subscription(&subscription("s", "edge", &["one", "two"])),
        |index| index.apply_subscription(&subscription("t", "edge", &["one"])),
        |index| index.apply_cluster(&cluster("a", "edge")),
    ];
    let planned = |order: [usize; 4]| {
        let mut index = Index::default();
        order.into_iter().for_each(|step| steps[step](&mut index));
        taken(&mut index)
    };
    let first = planned([0, 1, 2, 3]);
    assert_eq!(first, [plan("a", &["s one=1", "s two=keep", "t one=1"])]);
    for order in [[3, 2, 1, 0], [1, 3, 0, 2], [2, 0, 3, 1], [3, 0, 1, 2]] {
        assert_eq!(planned(order), first);
    }
}

#[test]
fn a_confirmed_removal_is_planned_and_a_deleted_subscription_is_not_alive() {
    let mut index = Index::default();
    index.apply_subscription(&subscription("s", "edge", &["one"]));
    let mut confirmed = cluster("a", "edge");
    index.apply_cluster(&confirmed);
    index.take_plans();
    assert_eq!(index.words().alive.iter().map(|of| of.name.as_str()).collect::<Vec<_>>(), ["s"]);
    confirmed.metadata.annotations.get_or_insert_default().insert("clusternet.io/confirm-removal".into(), "abc".into());
    index.apply_cluster(&confirmed);
    let changes = index.take_plans();
    let ClusterChange::Planned { confirm_removal, .. } = &changes[0] else { panic!("planned") };
    assert_eq!(confirm_removal.as_deref(), Some("abc"));
    index.delete_subscription(&SubscriptionKey::new("apps", "s"));
    assert!(index.words().alive.is_empty());
}

#[test]
fn what_a_subscription_confirms_is_told_and_nothing_is_planned_for_it() {
    let mut index = Index::default();
    let mut confirmed = subscription("s", "edge", &["one"]);
    index.apply_subscription(&confirmed);
    index.apply_cluster(&cluster("a", "edge"));
    index.take_plans();
    let before = index.words();
    assert!(before.confirmed.is_empty() && Arc::ptr_eq(&before, &index.words()));
    confirmed.metadata.annotations = Some([("clusternet.io/confirm-removal".to_owned(), "abc".to_owned())].into());
    index.apply_subscription(&confirmed);
    assert_eq!(index.words().confirmed.values().collect::<Vec<_>>(), ["abc"]);
    assert!(index.take_plans().is_empty());
}
