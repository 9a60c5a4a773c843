//! Lists and watches over raw requests: pages, selectors, forms, expiry, and what a watcher is told.

mod api_support;

use std::time::Duration;

use api_support::{DEPLOYMENTS, Hub, SUBSCRIPTIONS, deployment, hub, hub_with, subscription};
use hub::store::StoreOptions;
use serde_json::{Value, json};

async fn labelled(hub: &Hub, name: &str, tier: &str) {
    let mut body = subscription(name);
    body["metadata"]["labels"] = json!({"tier": tier});
    hub.post(SUBSCRIPTIONS, &body).await.expect(201);
}

#[tokio::test]
async fn a_list_comes_in_pages_that_share_a_version() {
    let hub = hub();
    for n in 0..5 {
        labelled(&hub, &format!("s{n}"), if n % 2 == 0 { "even" } else { "odd" }).await;
    }
    let first = hub.get(&format!("{SUBSCRIPTIONS}?limit=2")).await.expect(200);
    assert_eq!(first.names(), ["s0", "s1"]);
    let token = first.body["metadata"]["continue"].as_str().expect("continue").to_owned();
    labelled(&hub, "s9", "odd").await;
    let second = hub.get(&format!("{SUBSCRIPTIONS}?limit=9&continue={token}")).await.expect(200);
    assert_eq!((second.names(), second.version()), (vec!["s2", "s3", "s4", "s9"], first.version()));
    assert!(second.body["metadata"].get("continue").is_none());
    assert_eq!(hub.get(&format!("{SUBSCRIPTIONS}?limit=2&labelSelector=tier%3Deven")).await.names(), ["s0", "s2"]);
    hub.get(&format!("{SUBSCRIPTIONS}?continue=nonsense")).await.refuses(400, "BadRequest", "continue");
}

#[tokio::test]
async fn lists_are_narrowed_by_namespace_label_and_field() {
    let hub = hub();
    labelled(&hub, "a", "1").await;
    labelled(&hub, "ab", "2").await;
    hub.post(&SUBSCRIPTIONS.replace("default", "other"), &subscription("c")).await.expect(201);
    assert_eq!(hub.get(SUBSCRIPTIONS).await.names(), ["a", "ab"]);
    assert_eq!(hub.get("/apis/apps.clusternet.io/v1alpha1/subscriptions").await.names(), ["a", "ab", "c"]);
    assert_eq!(hub.get(&format!("{SUBSCRIPTIONS}?fieldSelector=metadata.name%3Da")).await.names(), ["a"]);
    assert_eq!(hub.get(&format!("{SUBSCRIPTIONS}?labelSelector=tier+in+%282%2C3%29")).await.names(), ["ab"]);
    hub.get(&format!("{SUBSCRIPTIONS}?fieldSelector=spec.x%3Da")).await.refuses(400, "BadRequest", "field label not supported");
}

#[tokio::test]
async fn versions_of_lists_are_answered_or_refused() {
    let hub = hub();
    labelled(&hub, "a", "1").await;
    let version: u64 = hub.get(SUBSCRIPTIONS).await.version().parse().expect("number");
    let at = |query: String| format!("{SUBSCRIPTIONS}?{query}");
    hub.get(&at("resourceVersion=0".into())).await.expect(200);
    hub.get(&at(format!("resourceVersion={version}&resourceVersionMatch=Exact"))).await.expect(200);
    hub.get(&at(format!("resourceVersion={}&resourceVersionMatch=Exact", version - 1))).await.refuses(410, "Expired", "");
    hub.get(&at(format!("resourceVersion={}", version + 9))).await.refuses(504, "Timeout", "Too large resource version");
    hub.get(&at("resourceVersion=x".into())).await.refuses(400, "BadRequest", "resourceVersion");
}

#[tokio::test]
async fn tables_and_metadata_are_given_to_who_asks() {
    let hub = hub();
    hub.post(DEPLOYMENTS, &deployment("web")).await.expect(201);
    let table = hub.get_as(DEPLOYMENTS, "application/json;as=Table;v=v1;g=meta.k8s.io,application/json").await.expect(200);
    assert_eq!((&table.body["kind"], &table.body["rows"][0]["cells"][0]), (&json!("Table"), &json!("web")));
    let slim = hub.get_as(DEPLOYMENTS, "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1").await.expect(200);
    assert_eq!(slim.body["kind"], "PartialObjectMetadataList");
    assert!(slim.body["items"][0].get("spec").is_none());
    let one = hub.get_as(&format!("{DEPLOYMENTS}/web"), "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1").await.expect(200);
    assert_eq!((&one.body["kind"], one.body.get("spec")), (&json!("PartialObjectMetadata"), None));
}

#[tokio::test]
async fn a_watch_from_a_list_tells_each_change_once() {
    let hub = hub();
    labelled(&hub, "a", "1").await;
    let version = hub.get(SUBSCRIPTIONS).await.version();
    let mut watch = hub.watch(&format!("{SUBSCRIPTIONS}?watch=true&resourceVersion={version}")).await;
    labelled(&hub, "b", "1").await;
    hub.merge(&format!("{SUBSCRIPTIONS}/a"), &json!({"metadata": {"labels": {"x": "y"}}})).await.expect(200);
    hub.delete(&format!("{SUBSCRIPTIONS}/b"), &Value::Null).await.expect(200);
    hub.post(&SUBSCRIPTIONS.replace("default", "other"), &subscription("elsewhere")).await.expect(201);
    labelled(&hub, "c", "1").await;
    let mut told = Vec::new();
    for _ in 0..4 {
        told.push(watch.told().await);
    }
    let expected = [("ADDED", "b"), ("MODIFIED", "a"), ("DELETED", "b"), ("ADDED", "c")];
    assert_eq!(told, expected.map(|(kind, name)| (kind.to_owned(), name.to_owned())));
}

#[tokio::test]
async fn entering_and_leaving_a_selector_is_added_and_deleted() {
    let hub = hub();
    labelled(&hub, "a", "1").await;
    let version = hub.get(SUBSCRIPTIONS).await.version();
    let mut watch = hub.watch(&format!("{SUBSCRIPTIONS}?watch=true&labelSelector=tier%3D2&resourceVersion={version}")).await;
    let set = |tier: &'static str| hub.merge_owned(tier);
    for tier in ["2", "2b", "2"] {
        set(tier).await;
    }
    hub.delete(&format!("{SUBSCRIPTIONS}/a"), &Value::Null).await.expect(200);
    for kind in ["ADDED", "DELETED", "ADDED", "DELETED"] {
        assert_eq!(watch.told().await, (kind.to_owned(), "a".to_owned()));
    }
}

impl Hub {
    async fn merge_owned(&self, tier: &str) {
        self.merge(&format!("{SUBSCRIPTIONS}/a"), &json!({"metadata": {"labels": {"tier": tier}}})).await.expect(200);
    }
}

#[tokio::test]
async fn a_streaming_list_ends_its_initial_events_with_a_bookmark() {
    let hub = hub();
    labelled(&hub, "a", "1").await;
    let streaming = "watch=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true";
    let mut watch = hub.watch(&format!("{SUBSCRIPTIONS}?{streaming}")).await;
    assert_eq!(watch.told().await, ("ADDED".into(), "a".into()));
    let bookmark = watch.next().await.expect("bookmark");
    assert_eq!(bookmark["type"], "BOOKMARK");
    assert_eq!(bookmark["object"]["metadata"]["annotations"]["k8s.io/initial-events-end"], "true");
    labelled(&hub, "b", "1").await;
    assert_eq!(watch.told().await, ("ADDED".into(), "b".into()));
    hub.get(&format!("{SUBSCRIPTIONS}?watch=true&sendInitialEvents=true")).await.refuses(400, "BadRequest", "NotOlderThan");
}

#[tokio::test(start_paused = true)]
async fn a_watch_sends_bookmarks_and_ends_when_it_was_asked_to() {
    let hub = hub();
    let mut watch = hub.watch(&format!("{SUBSCRIPTIONS}?watch=true&allowWatchBookmarks=true&timeoutSeconds=100")).await;
    watch.patience = Duration::from_secs(1_000);
    let bookmark = watch.next().await;
    assert_eq!(bookmark.expect("bookmark")["type"], "BOOKMARK");
    assert_eq!(watch.next().await, None);
}

#[tokio::test]
async fn a_watch_from_what_is_forgotten_is_told_so_at_its_start_and_when_it_is_overtaken() {
    let options = StoreOptions { keep_for: Duration::ZERO, keep_events: 1, ring_events: 1, ..StoreOptions::default() };
    let hub = hub_with(options);
    labelled(&hub, "a", "1").await;
    let version = hub.get(SUBSCRIPTIONS).await.version();
    let mut watch = hub.watch(&format!("{SUBSCRIPTIONS}?watch=true&resourceVersion={version}")).await;
    for n in 0..5 {
        labelled(&hub, &format!("n{n}"), "1").await;
    }
    tokio::time::sleep(Duration::from_millis(5)).await;
    assert!(hub.state.store().compact().await.expect("compact") > 0);
    let error = watch.next().await.expect("an error event");
    assert_eq!((&error["type"], &error["object"]["code"], &error["object"]["reason"]), (&json!("ERROR"), &json!(410), &json!("Expired")));
    assert_eq!(watch.next().await, None);
    for forgotten in [version.as_str(), "5"] {
        let mut watch = hub.watch(&format!("{SUBSCRIPTIONS}?watch=true&resourceVersion={forgotten}")).await;
        assert_eq!(watch.next().await.expect("an error event")["object"]["reason"], "Expired");
        assert_eq!(watch.next().await, None);
    }
}

#[tokio::test]
async fn a_watch_of_templates_tells_native_objects_and_tables() {
    let hub = hub();
    let start = hub.get(DEPLOYMENTS).await.version();
    hub.post("/api/v1/namespaces/shop/configmaps", &json!({"metadata": {"name": "web"}})).await.expect(201);
    hub.post(DEPLOYMENTS, &deployment("web")).await.expect(201);
    let mut watch = hub.watch(&format!("{DEPLOYMENTS}?watch=true&resourceVersion={start}&fieldSelector=metadata.name%3Dweb")).await;
    let event = watch.next().await.expect("event");
    assert_eq!((&event["type"], &event["object"]["kind"]), (&json!("ADDED"), &json!("Deployment")));
    hub.delete(&format!("{DEPLOYMENTS}/web"), &Value::Null).await.expect(200);
    assert_eq!(watch.told().await, ("DELETED".into(), "web".into()));
}
