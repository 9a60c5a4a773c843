use serde_json::{Value, json};

use super::merge;
use crate::api::catalogue::find_kind;

fn patched(kind: &str, original: Value, patch: Value) -> Result<Value, String> {
    let (group, kind) = kind.split_once('/').unwrap_or(("", kind));
    merge(find_kind(group, kind).unwrap(), &original, &patch)
}

fn pod(spec: Value) -> Value {
    json!({"spec": spec})
}

#[test]
fn containers_are_merged_by_name_and_others_stay() {
    let original =
        pod(json!({"containers": [{"name": "a", "image": "a:1", "env": [{"name": "X", "value": "1"}]}, {"name": "b", "image": "b:1"}]}));
    let patch = pod(json!({"containers": [{"name": "a", "image": "a:2", "env": [{"name": "Y", "value": "2"}]}]}));
    let result = pod(json!({"containers": [
        {"name": "a", "image": "a:2", "env": [{"name": "Y", "value": "2"}, {"name": "X", "value": "1"}]},
        {"name": "b", "image": "b:1"},
    ]}));
    assert_eq!(patched("Pod", original, patch), Ok(result));
}

#[test]
fn set_element_order_orders_and_a_delete_directive_deletes() {
    let original = pod(json!({"containers": [{"name": "a"}, {"name": "b"}, {"name": "injected"}, {"name": "c"}]}));
    let patch = pod(json!({
        "$setElementOrder/containers": [{"name": "c"}, {"name": "new"}, {"name": "a"}],
        "containers": [{"name": "new", "image": "n"}, {"name": "b", "$patch": "delete"}],
    }));
    let result = pod(json!({"containers": [{"name": "injected"}, {"name": "c"}, {"name": "new", "image": "n"}, {"name": "a"}]}));
    assert_eq!(patched("Pod", original, patch), Ok(result));
}

#[test]
fn retain_keys_changes_the_member_of_a_union() {
    let original = json!({"spec": {"strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1}}}});
    let patch = json!({"spec": {"strategy": {"$retainKeys": ["type"], "type": "Recreate"}}});
    assert_eq!(patched("apps/Deployment", original.clone(), patch), Ok(json!({"spec": {"strategy": {"type": "Recreate"}}})));
    let wrong = json!({"spec": {"strategy": {"$retainKeys": ["rollingUpdate"], "type": "Recreate"}}});
    assert_eq!(
        patched("apps/Deployment", original, wrong).unwrap_err(),
        "spec: strategy: the patch sets type, which its $retainKeys does not name"
    );
}

#[test]
fn scalars_of_a_set_are_added_and_deleted() {
    let original = json!({"metadata": {"finalizers": ["a", "b"]}});
    let patch = json!({"metadata": {"finalizers": ["c", "a"], "$deleteFromPrimitiveList/finalizers": ["b"]}});
    assert_eq!(patched("ConfigMap", original, patch), Ok(json!({"metadata": {"finalizers": ["c", "a"]}})));
}

#[test]
fn lists_without_a_strategy_are_replaced_and_nulls_delete() {
    let original = pod(json!({"containers": [{"name": "a", "command": ["x", "y"], "tty": true}], "nodeSelector": {"k": "v", "l": "w"}}));
    let patch = pod(json!({"containers": [{"name": "a", "command": ["z"], "tty": null, "stdin": null}], "nodeSelector": {"k": null}}));
    let result = pod(json!({"containers": [{"name": "a", "command": ["z"]}], "nodeSelector": {"l": "w"}}));
    assert_eq!(patched("Pod", original, patch), Ok(result));
}

#[test]
fn patch_directives_replace_and_delete_maps_and_lists() {
    let original = pod(json!({"containers": [{"name": "a"}], "securityContext": {"runAsUser": 1}, "affinity": {"nodeAffinity": {}}}));
    let patch = pod(json!({
        "containers": [{"$patch": "replace"}, {"name": "b", "image": null}],
        "securityContext": {"$patch": "replace", "runAsGroup": 2},
        "affinity": {"$patch": "delete"},
    }));
    let result = pod(json!({"containers": [{"name": "b"}], "securityContext": {"runAsGroup": 2}, "affinity": {}}));
    assert_eq!(patched("Pod", original, patch), Ok(result));
}

#[test]
fn fields_newer_than_the_table_are_merged_as_plain_json() {
    let original = pod(json!({"fromTheFuture": {"a": 1, "list": [1]}}));
    let patch = pod(json!({"fromTheFuture": {"b": 2, "list": [{"x": 1}]}}));
    assert_eq!(patched("Pod", original, patch), Ok(pod(json!({"fromTheFuture": {"a": 1, "b": 2, "list": [{"x": 1}]}}))));
}

#[test]
fn what_is_wrong_in_a_patch_is_said_with_its_place() {
    let original = pod(json!({"containers": [{"name": "a"}]}));
    let cases = [
        (
            json!({"containers": [{"image": "x"}]}),
            r#"spec: containers: an element has no name, by which this list is merged: {"image":"x"}"#,
        ),
        (json!({"containers": ["x"]}), "spec: containers: \"x\" is no map with the key name"),
        (json!({"$patch": "explode"}), "spec: $patch of a map is replace or delete, not \"explode\""),
        (json!({"$retainKeys": 1}), "spec: $retainKeys is a list of field names"),
        (json!({"$setElementOrder/containers": {}}), "spec: $setElementOrder/containers is a list"),
    ];
    for (spec, message) in cases {
        assert_eq!(patched("Pod", original.clone(), pod(spec)).unwrap_err(), message);
    }
    assert!(patched("Pod", json!([]), json!({})).unwrap_err().contains("JSON objects"));
    assert!(patched("apps.clusternet.io/Subscription", json!({}), json!({})).unwrap_err().contains("takes no strategic merge patch"));
}

/// Some hundred patches, merged by Kubernetes' own code; made by `hub/data/oracle`.
#[test]
fn generated_patches_merge_as_kubernetes_merges_them() {
    let file: Value = serde_json::from_str(include_str!("../../../data/oracle/cases.json")).unwrap();
    let cases = file["cases"].as_array().unwrap();
    let (mut merged, mut refused) = (0, 0);
    for case in cases {
        let kind = case["kind"].as_str().unwrap();
        let result = patched(kind, case["original"].clone(), case["patch"].clone());
        match case.get("result").filter(|result| !result.is_null()) {
            Some(expected) => assert_eq!(result.as_ref(), Ok(expected), "{case:#}"),
            None => assert!(result.is_err(), "Kubernetes refuses {case:#}"),
        }
        if result.is_ok() { merged += 1 } else { refused += 1 }
    }
    assert!(merged > 250 && refused > 10, "{merged} merged, {refused} refused");
}
