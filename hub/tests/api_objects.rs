//! Objects of the hub's own kinds over raw requests: create, read, update, patch, delete, and every refusal.

mod api_support;

use api_support::{SUBSCRIPTIONS, hub, subscription};
use serde_json::{Value, json};

#[tokio::test]
async fn a_created_object_has_identity_defaults_and_generation_one() {
    let hub = hub();
    let made = hub.post(SUBSCRIPTIONS, &subscription("a")).await.expect(201);
    let metadata = &made.body["metadata"];
    assert_eq!((&metadata["generation"], &metadata["namespace"]), (&json!(1), &json!("default")));
    assert_eq!(made.body["spec"]["schedulingStrategy"], "Replication");
    assert!(metadata["uid"].as_str().is_some_and(|uid| uid.len() == 36));
    assert!(metadata["creationTimestamp"].as_str().is_some_and(|time| time.ends_with('Z')));
    assert_eq!(hub.get(&format!("{SUBSCRIPTIONS}/a")).await.expect(200).body, made.body);
    hub.post(SUBSCRIPTIONS, &subscription("a")).await.refuses(
        409,
        "AlreadyExists",
        "subscriptions.apps.clusternet.io \"a\" already exists",
    );
    hub.get(&format!("{SUBSCRIPTIONS}/b")).await.refuses(404, "NotFound", "subscriptions.apps.clusternet.io \"b\" not found");
}

#[tokio::test]
async fn generated_names_differ_and_yaml_is_read() {
    let hub = hub();
    let yaml = "apiVersion: apps.clusternet.io/v1alpha1\nkind: Subscription\nmetadata:\n  generateName: app-\nspec:\n  feeds: []\n";
    let one = hub.send("POST", SUBSCRIPTIONS, "application/yaml", yaml).await.expect(201);
    let two = hub.send("POST", SUBSCRIPTIONS, "application/yaml", yaml).await.expect(201);
    assert!(one.body["metadata"]["name"].as_str().is_some_and(|name| name.starts_with("app-") && name.len() == 9));
    assert_ne!(one.body["metadata"]["name"], two.body["metadata"]["name"]);
    hub.send("POST", SUBSCRIPTIONS, "application/yaml", "- a\n- b\n").await.refuses(400, "BadRequest", "not an object");
    hub.send("POST", SUBSCRIPTIONS, "application/yaml", "a: [").await.refuses(400, "BadRequest", "YAML");
    hub.send("POST", SUBSCRIPTIONS, "text/html", "x").await.refuses(415, "UnsupportedMediaType", "application/json");
}

#[tokio::test]
async fn unknown_fields_are_refused_warned_of_or_ignored_as_asked() {
    let hub = hub();
    let mut odd = subscription("a");
    odd["spec"]["fedes"] = json!(1);
    let at = |how: &str| format!("{SUBSCRIPTIONS}?dryRun=All&fieldValidation={how}");
    hub.post(&at("Strict"), &odd).await.refuses(400, "BadRequest", "unknown field \"spec.fedes\"");
    let warned = hub.post(&at("Warn"), &odd).await.expect(201);
    assert!(warned.warnings.iter().any(|warning| warning.contains("spec.fedes")), "{:?}", warned.warnings);
    assert!(warned.body["spec"].get("fedes").is_none());
    let ignored = hub.post(&at("Ignore"), &odd).await.expect(201);
    assert!(!ignored.warnings.iter().any(|warning| warning.contains("fedes")));
    assert!(hub.get(SUBSCRIPTIONS).await.names().is_empty(), "a dry run stores nothing");
}

#[tokio::test]
async fn broken_objects_are_refused_with_the_field() {
    let hub = hub();
    let mut wrong = subscription("a");
    wrong["spec"] = json!({"schedulingStrategy": "Chance"});
    let refused = hub.post(SUBSCRIPTIONS, &wrong).await.refuses(422, "Invalid", "Subscription.apps.clusternet.io \"a\" is invalid");
    let fields: Vec<&Value> = refused.body["details"]["causes"].as_array().expect("causes").iter().map(|cause| &cause["field"]).collect();
    assert_eq!(fields, ["spec.feeds", "spec.schedulingStrategy"]);
    hub.post(SUBSCRIPTIONS, &subscription("Upper_Case")).await.refuses(422, "Invalid", "metadata.name");
    let mut elsewhere = subscription("a");
    elsewhere["metadata"]["namespace"] = "other".into();
    hub.post(SUBSCRIPTIONS, &elsewhere).await.refuses(400, "BadRequest", "namespace");
    hub.post(SUBSCRIPTIONS, &json!({"kind": "Pod", "apiVersion": "v1"})).await.refuses(400, "BadRequest", "this path takes");
    hub.send("POST", SUBSCRIPTIONS, "application/json", "[1").await.refuses(400, "BadRequest", "JSON");
    hub.put(SUBSCRIPTIONS, &subscription("a")).await.refuses(405, "MethodNotAllowed", "PUT");
    hub.get("/apis/apps.clusternet.io/v1alpha1/nothing").await.refuses(404, "NotFound", "could not find");
}

#[tokio::test]
async fn an_update_needs_the_version_it_gives_and_a_no_op_keeps_it() {
    let hub = hub();
    let path = format!("{SUBSCRIPTIONS}/a");
    let made = hub.post(SUBSCRIPTIONS, &subscription("a")).await.expect(201);
    let same = hub.put(&path, &made.body).await.expect(200);
    assert_eq!(same.version(), made.version());
    let mut next = made.body.clone();
    next["spec"]["feeds"][0]["name"] = "other".into();
    let changed = hub.put(&path, &next).await.expect(200);
    assert_ne!(changed.version(), made.version());
    assert_eq!(changed.body["metadata"]["generation"], 2);
    hub.put(&path, &next).await.refuses(409, "Conflict", "the object has been modified");
    let without_version = hub.put(&path, &subscription("a")).await.expect(200);
    assert_eq!(without_version.body["metadata"]["uid"], made.body["metadata"]["uid"]);
    let labelled = hub.merge(&path, &json!({"metadata": {"labels": {"x": "y"}}})).await.expect(200);
    assert_eq!(labelled.body["metadata"]["generation"], without_version.body["metadata"]["generation"]);
    hub.put(&format!("{SUBSCRIPTIONS}/none"), &subscription("none")).await.refuses(404, "NotFound", "none");
    hub.put(&path, &subscription("b")).await.refuses(400, "BadRequest", "name");
}

#[tokio::test]
async fn status_and_spec_do_not_touch_each_other() {
    let hub = hub();
    let path = format!("{SUBSCRIPTIONS}/a");
    let mut body = subscription("a");
    body["status"] = json!({"desiredReleases": 9});
    let made = hub.post(SUBSCRIPTIONS, &body).await.expect(201);
    assert!(made.body.get("status").is_none());
    let patch = json!({"status": {"desiredReleases": 2}, "spec": {"feeds": []}, "metadata": {"labels": {"x": "y"}}});
    let told = hub.merge(&format!("{path}/status"), &patch).await.expect(200);
    assert_eq!((&told.body["status"]["desiredReleases"], &told.body["spec"]), (&json!(2), &made.body["spec"]));
    assert_eq!(told.body["metadata"]["generation"], 1);
    assert!(told.body["metadata"].get("labels").is_none());
    let main = hub.merge(&path, &json!({"status": {"desiredReleases": 5}})).await.expect(200);
    assert_eq!((&main.body["status"]["desiredReleases"], main.version()), (&json!(2), told.version()));
}

#[tokio::test]
async fn patches_work_by_type_and_say_which_do_not() {
    let hub = hub();
    let path = format!("{SUBSCRIPTIONS}/a");
    let made = hub.post(SUBSCRIPTIONS, &subscription("a")).await.expect(201);
    let json_patch = |body: Value| hub.send("PATCH", &path, "application/json-patch+json", body.to_string());
    let replaced = json_patch(json!([{"op": "replace", "path": "/spec/feeds/0/name", "value": "x"}])).await.expect(200);
    assert_eq!(replaced.body["spec"]["feeds"][0]["name"], "x");
    json_patch(json!([{"op": "test", "path": "/spec/feeds/0/name", "value": "y"}])).await.refuses(422, "Invalid", "can't be applied");
    json_patch(json!([{"op": "remove", "path": "/metadata"}])).await.expect(200);
    json_patch(json!([{"op": "replace", "path": "", "value": 5}])).await.refuses(400, "BadRequest", "");
    json_patch(json!({"not": "a patch"})).await.refuses(400, "BadRequest", "JSON patch");
    hub.merge(&path, &json!({"metadata": {"resourceVersion": made.version()}})).await.refuses(409, "Conflict", "modified");
    hub.merge(&path, &json!({"metadata": {"uid": "other"}})).await.refuses(409, "Conflict", "UID");
    hub.send("PATCH", &path, "application/strategic-merge-patch+json", "{}").await.refuses(415, "UnsupportedMediaType", "--type=merge");
    hub.send("PATCH", &path, "application/apply-patch+yaml", "{}").await.refuses(415, "UnsupportedMediaType", "server-side apply");
    hub.merge(&format!("{SUBSCRIPTIONS}/b"), &json!({})).await.refuses(404, "NotFound", "\"b\"");
}

#[tokio::test]
async fn twenty_writers_of_one_object_all_get_their_label() {
    let hub = hub();
    let path = format!("{SUBSCRIPTIONS}/a");
    hub.post(SUBSCRIPTIONS, &subscription("a")).await.expect(201);
    let writes = (0..20).map(|n| {
        let (hub, path) = (&hub, &path);
        async move {
            // Losers of many races are told so, and try again as clients do.
            while hub.merge(path, &json!({"metadata": {"labels": {format!("n{n}"): "x"}}})).await.code == 409 {}
        }
    });
    futures::future::join_all(writes).await;
    let labels = hub.get(&path).await.body["metadata"]["labels"].as_object().expect("labels").len();
    assert_eq!(labels, 20);
}

#[tokio::test]
async fn finalizers_hold_an_object_until_the_last_one_goes() {
    let hub = hub();
    let path = format!("{SUBSCRIPTIONS}/a");
    let mut body = subscription("a");
    body["metadata"]["finalizers"] = json!(["x.io/one", "x.io/two"]);
    hub.post(SUBSCRIPTIONS, &body).await.expect(201);
    let mut watch = hub.watch(&format!("{SUBSCRIPTIONS}?watch=true")).await;
    assert_eq!(watch.told().await, ("ADDED".into(), "a".into()));
    let held = hub.delete(&path, &json!({"propagationPolicy": "Foreground"})).await.expect(200);
    assert_eq!((&held.body["kind"], &held.body["metadata"]["generation"]), (&json!("Subscription"), &json!(2)));
    assert!(held.body["metadata"]["deletionTimestamp"].is_string());
    assert_eq!(watch.told().await.0, "MODIFIED");
    hub.merge(&path, &json!({"metadata": {"finalizers": ["x.io/one", "x.io/three"]}})).await.refuses(422, "Invalid", "no new finalizers");
    hub.merge(&path, &json!({"metadata": {"finalizers": ["x.io/two"]}})).await.expect(200);
    assert_eq!(watch.told().await.0, "MODIFIED");
    hub.merge(&path, &json!({"metadata": {"finalizers": null}})).await.expect(200);
    assert_eq!(watch.told().await, ("DELETED".into(), "a".into()));
    hub.get(&path).await.refuses(404, "NotFound", "");
}

#[tokio::test]
async fn a_delete_keeps_its_preconditions_and_a_dry_run_deletes_nothing() {
    let hub = hub();
    let path = format!("{SUBSCRIPTIONS}/a");
    let made = hub.post(SUBSCRIPTIONS, &subscription("a")).await.expect(201);
    hub.delete(&path, &json!({"preconditions": {"uid": "other"}})).await.refuses(409, "Conflict", "UID in precondition");
    hub.delete(&path, &json!({"preconditions": {"resourceVersion": "1"}})).await.refuses(409, "Conflict", "ResourceVersion");
    hub.delete(&path, &json!({"propagationPolicy": "Sideways"})).await.refuses(400, "BadRequest", "Sideways");
    hub.delete(&path, &json!({"dryRun": ["All"]})).await.expect(200);
    let gone = hub.delete(&path, &json!({"preconditions": {"uid": made.body["metadata"]["uid"]}})).await.expect(200);
    assert_eq!((&gone.body["status"], &gone.body["details"]["name"]), (&json!("Success"), &json!("a")));
    hub.delete(&path, &Value::Null).await.refuses(404, "NotFound", "");
}

#[tokio::test]
async fn a_collection_is_deleted_by_selector() {
    let hub = hub();
    for (name, tier) in [("a", "1"), ("b", "2"), ("c", "1")] {
        let mut body = subscription(name);
        body["metadata"]["labels"] = json!({"tier": tier});
        hub.post(SUBSCRIPTIONS, &body).await.expect(201);
    }
    let deleted = hub.delete(&format!("{SUBSCRIPTIONS}?labelSelector=tier%3D1"), &Value::Null).await.expect(200);
    assert_eq!(deleted.names(), ["a", "c"]);
    assert_eq!(hub.get(SUBSCRIPTIONS).await.names(), ["b"]);
}

#[tokio::test]
async fn a_subscription_to_nothing_yet_is_stored_with_a_warning() {
    let hub = hub();
    let made = hub.post(SUBSCRIPTIONS, &subscription("a")).await.expect(201);
    assert!(
        made.warnings.iter().any(|warning| warning.contains("spec.feeds[0]") && warning.contains("Namespace shop")),
        "{:?}",
        made.warnings
    );
    let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop"}});
    hub.post("/api/v1/namespaces", &namespace).await.expect(201);
    assert!(hub.post(SUBSCRIPTIONS, &subscription("b")).await.expect(201).warnings.is_empty());
}
