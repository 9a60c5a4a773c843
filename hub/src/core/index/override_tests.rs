//! Overrides through the index: who gets what, when, and what it costs.

use std::sync::Arc;

use serde_json::{Value, json};

use super::super::*;
use super::{facts, plan, taken, world};
use crate::core::build::{cluster, manifest, read, subscription};
use crate::core::overrides::{Override, OverrideKey};

fn spec(policy: &str, value: &str, more: Value) -> Value {
    let mut spec = json!({
        "overridePolicy": policy, "overrides": [{ "type": "MergePatch", "value": value }],
        "feed": { "kind": "ConfigMap", "apiVersion": "v1", "namespace": "default", "name": "one" },
    });
    json_patch::merge(&mut spec, &more);
    spec
}

fn global(name: &str, policy: &str, value: &str, more: Value) -> Override {
    Override::of_globalization(&read(json!({
        "apiVersion": "apps.clusternet.io/v1alpha1", "kind": "Globalization", "metadata": { "name": name }, "spec": spec(policy, value, more),
    })))
}

fn local(cluster: &str, policy: &str, value: &str) -> Override {
    Override::of_localization(&read(json!({
        "apiVersion": "apps.clusternet.io/v1alpha1", "kind": "Localization",
        "metadata": { "name": "l", "namespace": format!("clusternet-{cluster}") }, "spec": spec(policy, value, json!({})),
    })))
}

/// Subscription `s` of ConfigMap `one`, planned on the edge clusters `a` and `b`.
fn planned() -> Index {
    let mut index = world();
    index.apply_manifest(&manifest("one", "1")).expect("valid");
    index.apply_subscription(&subscription("s", "edge", &["one"]));
    taken(&mut index);
    index.take_facts();
    index
}

#[test]
fn one_globalization_marks_each_cluster_and_a_localization_wins_over_it() {
    let mut index = planned();
    index.apply_override(global("g", "ApplyNow", "data: {v: '${cluster.name}'}", json!({})));
    assert_eq!(taken(&mut index), [plan("a", &["s one=a"]), plan("b", &["s one=b"])]);
    index.apply_override(local("b", "ApplyNow", "data: {v: mine}"));
    assert_eq!(taken(&mut index), [plan("b", &["s one=mine"])]);
}

#[test]
fn deleting_an_override_undoes_it() {
    let mut index = planned();
    index.apply_override(local("a", "ApplyNow", "data: {v: '2'}"));
    index.apply_override(global("g", "ApplyNow", "data: {v: '3'}", json!({ "clusterAffinity": { "matchLabels": { "tier": "edge" } } })));
    assert_eq!(taken(&mut index), [plan("a", &["s one=2"]), plan("b", &["s one=3"])]);
    index.delete_override(&OverrideKey::local("clusternet-a", "l"));
    assert_eq!(taken(&mut index), [plan("a", &["s one=3"])]);
    index.retain_overrides(crate::core::overrides::OverrideKind::Globalization, &BTreeSet::new());
    assert_eq!(taken(&mut index), [plan("a", &["s one=1"]), plan("b", &["s one=1"])]);
}

#[test]
fn a_change_that_applies_later_waits_for_the_template_or_the_subscription() {
    let mut index = planned();
    index.apply_override(global("g", "ApplyLater", "data: {w: x, v: '2'}", json!({})));
    assert_eq!(taken(&mut index), []);
    assert_eq!(facts(&mut index, "s").overrides.waiting, [OverrideKey::global("g")]);
    index.apply_manifest(&manifest("one", "9")).expect("valid");
    assert_eq!(taken(&mut index), [plan("a", &["s one=2"]), plan("b", &["s one=2"])]);
    assert_eq!(facts(&mut index, "s").overrides.waiting, []);
    index.apply_override(global("g", "ApplyLater", "data: {v: '3'}", json!({})));
    assert_eq!(taken(&mut index), []);
    let mut changed = subscription("s", "edge", &["one"]);
    changed.metadata.generation = Some(2);
    index.apply_subscription(&changed);
    assert_eq!(taken(&mut index), [plan("a", &["s one=3"]), plan("b", &["s one=3"])]);
    index.apply_override(global("g", "ApplyLater", "data: {v: '4'}", json!({})));
    index.apply_override(global("g", "ApplyNow", "data: {v: '4'}", json!({})));
    assert_eq!(taken(&mut index), [plan("a", &["s one=4"]), plan("b", &["s one=4"])]);
}

#[test]
fn what_was_there_before_the_first_list_is_in_force_whatever_its_policy() {
    let mut index = world();
    index.apply_override(global("g", "ApplyLater", "data: {v: '2'}", json!({})));
    index.apply_manifest(&manifest("one", "1")).expect("valid");
    index.apply_subscription(&subscription("s", "core", &["one"]));
    assert_eq!(taken(&mut index)[2], plan("c", &["s one=2"]));
    index.apply_cluster(&cluster("d", "edge"));
    taken(&mut index);
    index.apply_override(local("d", "ApplyLater", "data: {v: '3'}"));
    index.apply_cluster(&cluster("d", "core"));
    assert_eq!(taken(&mut index), [plan("d", &["s one=3"])]);
}

#[test]
fn a_failure_is_told_with_its_cluster_and_taken_back() {
    let mut index = planned();
    index.apply_override(global("g", "ApplyNow", "data: {v: \"${cluster.labels['rack']}\"}", json!({})));
    assert_eq!(taken(&mut index), []);
    let told = facts(&mut index, "s").overrides;
    assert_eq!((told.failed_clusters, told.failures.len()), (2, 2));
    assert_eq!(
        format!("{}: {}", told.failures[1].0, told.failures[1].1),
        "clusternet-b/b: Globalization g overrides[0]: ConfigMap default/one: cluster clusternet-b/b has no value for ${cluster.labels['rack']}"
    );
    let mut labelled = cluster("a", "edge");
    labelled.metadata.labels.get_or_insert_default().insert("rack".to_owned(), "7".to_owned());
    index.apply_cluster(&labelled);
    assert_eq!(taken(&mut index), [plan("a", &["s one=7"])]);
    assert_eq!(facts(&mut index, "s").overrides.failed_clusters, 1);
    index.delete_override(&OverrideKey::global("g"));
    taken(&mut index);
    assert_eq!(facts(&mut index, "s").overrides, OverrideFacts::default());
}

#[test]
fn equal_results_share_bytes_and_lists() {
    let mut index = planned();
    index.apply_override(local("a", "ApplyNow", "data: {v: '2'}"));
    index.apply_override(local("b", "ApplyNow", "data: {v: \"2\"}"));
    let lists: Vec<DesiredList> = index
        .take_plans()
        .into_iter()
        .filter_map(|change| match change {
            ClusterChange::Planned { entries, .. } => Some(entries),
            ClusterChange::Removed { .. } => None,
        })
        .collect();
    assert!(Arc::ptr_eq(&lists[0], &lists[1]));
}

#[test]
fn an_override_that_changes_nothing_or_that_nobody_feeds_plans_nothing() {
    let mut index = planned();
    index.apply_override(global("same", "ApplyNow", "data: {v: '1'}", json!({})));
    index.apply_override(global("other", "ApplyNow", "data: {v: '2'}", json!({ "feed": { "name": "two" } })));
    index.apply_override(global("core", "ApplyNow", "data: {v: '2'}", json!({ "clusterAffinity": { "matchLabels": { "tier": "core" } } })));
    assert!(index.dirty_clusters.iter().all(|key| key.name != "c"), "nothing that it gets is overridden");
    assert_eq!(taken(&mut index), []);
}

#[test]
fn overrides_of_other_feeds_and_other_clusters_are_no_work() {
    let mut index = planned();
    for number in 0..200 {
        let other = json!({ "feed": { "name": format!("other-{number}") } });
        index.apply_override(global(&format!("feed-{number}"), "ApplyNow", "data: {v: '2'}", other));
        let nobody = json!({ "clusterAffinity": { "matchLabels": { "tier": "none" } } });
        index.apply_override(global(&format!("tier-{number}"), "ApplyNow", "data: {v: '2'}", nobody));
    }
    assert!(index.dirty_clusters.is_empty());
    let (key, bound) = (ClusterKey::new("clusternet-a", "a"), index.clusters[&ClusterKey::new("clusternet-a", "a")].bound.clone());
    assert_eq!(index.relevant(&bound).len(), 1, "of all feeds, only its own is looked at");
    let relevant = index.relevant(&bound);
    assert!(index.clusters[&key].overrides_of(&relevant[0]).is_empty(), "of its overrides, only those for its labels");
}

#[test]
fn an_explanation_names_each_override_in_order() {
    let mut index = planned();
    index.apply_override(global("g", "ApplyNow", "data: {v: '2'}", json!({})));
    index.apply_override(local("a", "ApplyNow", "data: {v: '3'}"));
    let found = index.explain(&SubscriptionKey::new("apps", "s"), &ClusterKey::new("clusternet-a", "a")).expect("known");
    assert!(found.bound);
    let by: Vec<String> = found.objects[0].steps.iter().map(|step| step.by.to_string()).collect();
    assert_eq!(by, ["Globalization g", "Localization clusternet-a/l"]);
    assert!(index.explain(&SubscriptionKey::new("apps", "none"), &ClusterKey::new("clusternet-a", "a")).is_none());
}
