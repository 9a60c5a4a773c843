use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::*;
use crate::core::build::{manifest, read};
use crate::core::id::ClusterKey;
use crate::core::render::{Rendered, render};
use crate::kinds::{Globalization, Localization};

fn feed() -> Value {
    json!({ "kind": "ConfigMap", "apiVersion": "v1", "namespace": "default", "name": "one" })
}

fn global(name: &str, priority: i32, created: &str, overrides: Value) -> Override {
    Override::of_globalization(&read::<Globalization>(json!({
        "apiVersion": "apps.clusternet.io/v1alpha1", "kind": "Globalization",
        "metadata": { "name": name, "creationTimestamp": created },
        "spec": { "priority": priority, "feed": feed(), "overrides": overrides },
    })))
}

fn local(name: &str, priority: i32, overrides: Value) -> Override {
    Override::of_localization(&read::<Localization>(json!({
        "apiVersion": "apps.clusternet.io/v1alpha1", "kind": "Localization",
        "metadata": { "name": name, "namespace": "clusternet-a", "creationTimestamp": "2026-01-01T00:00:00Z" },
        "spec": { "priority": priority, "feed": feed(), "overrides": overrides },
    })))
}

fn merge(value: &str) -> Value {
    json!([{ "type": "MergePatch", "value": value }])
}

fn template() -> Rendered {
    render(&manifest("one", "1").template).expect("valid")
}

fn outcome(overrides: &[Override]) -> Outcome {
    let key = ClusterKey::new("clusternet-a", "a");
    let labels = BTreeMap::from([("site".to_owned(), "north".to_owned())]);
    let annotations = BTreeMap::from([("note".to_owned(), "x: \"y\"".to_owned())]);
    let cluster = ClusterValues { key: &key, id: "id-1", labels: &labels, annotations: &annotations };
    apply(&template(), overrides, &cluster)
}

fn body(outcome: &Outcome) -> Value {
    serde_json::from_slice(&outcome.rendered.bytes).expect("JSON")
}

fn failures(outcome: &Outcome) -> Vec<String> {
    outcome.steps.iter().filter_map(|step| step.result.as_ref().err().map(ToString::to_string)).collect()
}

fn failure(overrides: Value) -> String {
    let outcome = outcome(&[local("l", 1, overrides)]);
    assert_eq!(outcome.rendered, template(), "what does not fit changes nothing");
    failures(&outcome).concat()
}

#[test]
fn globalizations_come_first_then_priority_then_the_older_then_the_name() {
    let day = "2026-01-01T00:00:00Z";
    let late = global("a", 600, day, merge(""));
    let young = global("a-young", 500, "2026-01-01T00:01:00Z", merge(""));
    let (old, alike) = (global("z-old", 500, day, merge("")), global("z-older", 500, day, merge("")));
    let (low, high) = (local("z", 0, merge("")), local("a", 1000, merge("")));
    let mut all = [&high, &low, &late, &young, &alike, &old];
    all.sort_by_key(|each| each.place.clone());
    let names: Vec<String> = all.iter().map(|each| each.key().to_string()).collect();
    assert_eq!(
        names,
        [
            "Globalization z-old",
            "Globalization z-older",
            "Globalization a-young",
            "Globalization a",
            "Localization clusternet-a/z",
            "Localization clusternet-a/a"
        ]
    );
}

#[test]
fn the_last_one_wins_and_each_says_what_it_set() {
    let first = global("g", 500, "2026-01-01T00:00:00Z", merge("data: {v: '2', w: a}"));
    let second = local("l", 500, json!([{ "type": "JSONPatch", "value": "- {op: replace, path: /data/v, value: '3'}" }]));
    let outcome = outcome(&[first, second]);
    assert_eq!(body(&outcome)["data"], json!({ "v": "3", "w": "a" }));
    let set: Vec<_> = outcome.steps.iter().map(|step| step.result.clone().expect("it fits")).collect();
    assert_eq!(set, [vec!["/data/v".to_owned(), "/data/w".to_owned()], vec!["/data/v".to_owned()]]);
}

#[test]
fn variables_are_the_clusters_own() {
    let value = r#"{"data": {"v": "${cluster.namespace}/${cluster.name} ${cluster.id} ${cluster.labels['site']} $${HOME} $5",
        "note": "${cluster.annotations['note']}"}}"#;
    let outcome = outcome(&[local("l", 500, merge(value))]);
    assert_eq!(body(&outcome)["data"], json!({ "v": "clusternet-a/a id-1 north ${HOME} $5", "note": "x: \"y\"" }));
}

#[test]
fn labels_and_annotations_can_be_added_where_there_are_none() {
    let patch = json!([{ "type": "JSONPatch", "value": r#"[{"op": "add", "path": "/metadata/annotations/site", "value": "${cluster.labels['site']}"}]"# }]);
    assert_eq!(body(&outcome(&[local("l", 500, patch)]))["metadata"]["annotations"], json!({ "site": "north" }));
}

#[test]
fn a_variable_that_is_unknown_or_has_no_value_is_named() {
    let say = |value: &str| failure(merge(&json!({ "data": { "v": value } }).to_string()));
    assert!(say("${HOME}").contains("unknown variable ${HOME}"), "{}", say("${HOME}"));
    assert!(say("${cluster.labels['rack']}").contains("cluster clusternet-a/a has no value for ${cluster.labels['rack']}"));
    assert!(say("${cluster.name").contains("has no closing brace"));
}

#[test]
fn what_does_not_fit_is_named_with_its_pointer_and_the_rest_goes_on() {
    let wrong = json!([
        { "name": "ports", "type": "JSONPatch", "value": r#"[{"op": "replace", "path": "/spec/none", "value": 1}]"# },
        { "type": "JSONPatch", "value": r#"[{"op": "test", "path": "/data/v", "value": "9"}, {"op": "remove", "path": "/data"}]"# },
        { "type": "MergePatch", "value": "data: {w: b}" },
    ]);
    let outcome = outcome(&[local("l", 500, wrong)]);
    assert_eq!(body(&outcome)["data"], json!({ "v": "1", "w": "b" }));
    assert_eq!(
        failures(&outcome),
        [
            "Localization clusternet-a/l overrides[0] (ports): ConfigMap default/one at /spec/none: there is nothing there, or nothing that could hold it (operation 0)",
            "Localization clusternet-a/l overrides[1]: ConfigMap default/one at /data/v: the test does not hold (operation 0)",
        ]
    );
}

#[test]
fn an_object_stays_the_object_it_is() {
    for value in ["kind: Secret", "metadata: {name: two}", "metadata: {namespace: other}", "apiVersion: apps/v1"] {
        assert!(failure(merge(value)).contains("can't be overridden"), "{value}");
    }
    for value in ["kind: null", "metadata: null"] {
        assert!(failure(merge(value)).contains("it leaves no object"), "{value}");
    }
    let whole = json!([{ "type": "JSONPatch", "value": r#"[{"op": "replace", "path": "", "value": 3}]"# }]);
    assert!(failure(whole).contains("it leaves no object"));
}

#[test]
fn values_that_mean_nothing_are_refused_with_what_to_write() {
    assert!(failure(merge("a: [")).contains("neither YAML nor JSON"));
    assert!(failure(merge("- a")).contains("no MergePatch"));
    assert!(failure(json!([{ "type": "JSONPatch", "value": "data: {}" }])).contains("no JSONPatch"));
    assert!(failure(json!([{ "type": "Helm", "value": "a: b" }])).contains("type Helm has no effect"));
    assert!(failure(json!([{ "type": "FieldMergePatch", "value": "a: b" }])).contains("is no JSON pointer"));
    assert_eq!(failure(merge("  \n")), "", "blank values are skipped, as in Clusternet");
}

#[test]
fn a_string_inside_an_object_can_be_patched() {
    let nested = r#"{"data": {"v": "port: 80\nhost: x\n", "j": "{\"a\": 1}"}}"#;
    let patches = json!([
        { "type": "FieldMergePatch", "fieldPath": "/data/v", "value": "host: '${cluster.name}'" },
        { "type": "FieldJSONPatch", "fieldPath": "/data/j", "fieldFormat": "JSON", "value": "[{op: replace, path: /a, value: 2}]" },
        { "type": "FieldMergePatch", "fieldPath": "/data/none", "value": "a: b" },
    ]);
    let outcome = outcome(&[local("a", 1, merge(nested)), local("b", 2, patches)]);
    let data = body(&outcome)["data"].clone();
    let held: Value = serde_saphyr::from_str(data["v"].as_str().expect("text")).expect("YAML");
    assert_eq!(held, json!({ "port": 80, "host": "a" }));
    assert_eq!(data["j"], "{\n    \"a\": 2\n}");
    assert!(failures(&outcome).concat().contains("at /data/none: there is nothing there"));
}

#[test]
fn a_selector_without_sense_fails_everywhere_and_says_so() {
    let broken = Override::of_globalization(&read(json!({
        "apiVersion": "apps.clusternet.io/v1alpha1", "kind": "Globalization", "metadata": { "name": "g" },
        "spec": { "feed": feed(), "overrides": merge("data: {v: '2'}"), "clusterAffinity": { "matchExpressions": [{ "key": "a", "operator": "In" }] } },
    })));
    assert!(broken.covers("any", &BTreeMap::new()));
    let outcome = outcome(&[broken]);
    assert_eq!(outcome.rendered, template());
    assert!(failures(&outcome).concat().contains("spec.clusterAffinity: operator In"));
}

#[test]
fn a_variable_that_is_a_whole_value_can_be_a_number_a_boolean_or_json() {
    let labels = |replicas: &str| BTreeMap::from([("replicas".to_owned(), replicas.to_owned()), ("on".to_owned(), "true".to_owned())]);
    let filled = |value: Value, replicas: &str| {
        let (key, labels) = (ClusterKey::new("clusternet-a", "a"), labels(replicas));
        let annotations = BTreeMap::from([("ports".to_owned(), "[80, 443]".to_owned())]);
        super::variables::fill(&value, &ClusterValues { key: &key, id: "id", labels: &labels, annotations: &annotations })
    };
    let value = json!({ "n": "${int:cluster.labels['replicas']}", "t": "${cluster.labels['replicas']}",
        "b": "${bool:cluster.labels['on']}", "j": "${json:cluster.annotations['ports']}", "x": "$${int:cluster.name}" });
    let expected = json!({ "n": 3, "t": "3", "b": true, "j": [80, 443], "x": "${int:cluster.name}" });
    assert_eq!(filled(value.clone(), "3"), Ok(expected));
    let why = "cluster clusternet-a/a: ${cluster.labels['replicas']} is \"three\" here, and must be a whole number";
    assert_eq!(filled(value.clone(), "three"), Err(why.to_owned()));
    assert_eq!(super::variables::used(&value).map(|found| found.len()), Ok(3));
    for (wrong, said) in
        [("${int:cluster.nope}", "unknown variable"), ("a ${int:cluster.name}", "must name a variable and be the whole value")]
    {
        let error = super::variables::used(&json!(wrong)).expect_err(wrong);
        assert!(error.contains(said), "{error}");
    }
}
