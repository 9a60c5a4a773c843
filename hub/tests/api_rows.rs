//! What memory knows, shown by the API: filled into objects, and as sub-resources of rows.

mod api_support;

use std::sync::Arc;

use api_support::{SUBSCRIPTIONS, hub, subscription};
use hub::api::live::{Live, Row, Rows};
use serde_json::{Value, json};

const CLUSTERS: &str = "/apis/clusters.clusternet.io/v1beta1/namespaces/ns/managedclusters";

/// Five clusters of every Subscription; a contact with every ManagedCluster.
struct Known;

impl Live for Known {
    fn fill(&self, _: &str, object: &mut Value) {
        object["status"]["lastContact"] = "2026-11-23T22:00:30Z".into();
    }

    fn binds(&self, subscription: &Value, cluster: &Value) -> bool {
        subscription["spec"]["subscribers"][0]["name"] == cluster["metadata"]["name"]
    }

    fn rows(&self, kind: &str, _: &str, _: &str, after: Option<&str>, most: usize) -> Option<Rows> {
        let all = (0..5).map(|number| format!("ns/c{number}")).filter(|key| after.is_none_or(|after| key.as_str() > after));
        let all: Vec<String> = all.filter(|_| kind == "Subscription").collect();
        let remaining = all.len().saturating_sub(most);
        let row = |key: String| Row { value: json!({"namespace": "ns", "name": key[3..], "connected": true, "state": "Applied"}), key };
        Some(Rows { items: all.into_iter().take(most).map(row).collect(), remaining })
    }
}

#[tokio::test]
async fn clusters_of_a_subscription_are_listed_in_pages() {
    let hub = hub();
    hub.state.show(Arc::new(Known));
    hub.post(SUBSCRIPTIONS, &subscription("s")).await.expect(201);
    let path = format!("{SUBSCRIPTIONS}/s/clusters");
    let all = hub.get(&path).await.expect(200);
    assert_eq!((&all.body["kind"], all.body["items"].as_array().map(Vec::len)), (&json!("ClusterStatusList"), Some(5)));
    let first = hub.get(&format!("{path}?limit=2")).await.expect(200);
    assert_eq!((&first.body["items"][1]["name"], &first.body["metadata"]["remainingItemCount"]), (&json!("c1"), &json!(3)));
    let token = first.body["metadata"]["continue"].as_str().expect("more follows").to_owned();
    let rest = hub.get(&format!("{path}?limit=9&continue={token}")).await.expect(200);
    assert_eq!((&rest.body["items"][0]["name"], rest.body["metadata"].get("continue")), (&json!("c2"), None));
    hub.get(&format!("{path}?continue=%21")).await.refuses(400, "BadRequest", "continue token");
    hub.get(&format!("{SUBSCRIPTIONS}/gone/clusters")).await.refuses(404, "NotFound", "gone");
    hub.get(&format!("{SUBSCRIPTIONS}/s/objects")).await.refuses(404, "NotFound", "");
    hub.put(&path, &json!({})).await.refuses(405, "MethodNotAllowed", "");
}

#[tokio::test]
async fn rows_are_a_table_where_one_is_asked_for() {
    let hub = hub();
    hub.state.show(Arc::new(Known));
    hub.post(SUBSCRIPTIONS, &subscription("s")).await.expect(201);
    let request = http::Request::builder()
        .uri(format!("{SUBSCRIPTIONS}/s/clusters"))
        .header("authorization", format!("Bearer {}", api_support::ADMIN))
        .header("accept", "application/json;as=Table;v=v1;g=meta.k8s.io,application/json");
    let response = hub.raw(request.body(axum::body::Body::empty()).expect("a request")).await;
    let bytes = axum::body::to_bytes(response.into_body(), 1 << 20).await.expect("a body");
    let table: Value = serde_json::from_slice(&bytes).expect("JSON");
    assert_eq!(
        (&table["kind"], &table["rows"][0]["cells"][1], &table["rows"][0]["cells"][2]),
        (&json!("Table"), &json!("c0"), &json!("true"))
    );
}

#[tokio::test]
async fn reads_of_a_cluster_are_filled_in_from_memory() {
    let hub = hub();
    hub.post(CLUSTERS, &json!({"metadata": {"name": "a"}, "spec": {}})).await.expect(201);
    let before = hub.get(&format!("{CLUSTERS}/a")).await.expect(200);
    hub.state.show(Arc::new(Known));
    let shown = hub.get(&format!("{CLUSTERS}/a")).await.expect(200);
    assert_eq!((&shown.body["status"]["lastContact"], shown.version()), (&json!("2026-11-23T22:00:30Z"), before.version()));
    assert_eq!(hub.get(CLUSTERS).await.body["items"][0]["status"]["lastContact"], "2026-11-23T22:00:30Z");
    assert_eq!(hub.get(&format!("{CLUSTERS}/a/objects")).await.expect(200).body["items"], json!([]));
}

#[tokio::test]
async fn a_subscription_that_will_do_nothing_is_warned_of() {
    let hub = hub();
    hub.state.show(Arc::new(Known));
    hub.post("/api/v1/namespaces", &json!({"metadata": {"name": "shop"}})).await.expect(201);
    let mut body = subscription("s");
    body["spec"]["subscribers"] = json!([{"name": "a"}]);
    let made = hub.post(SUBSCRIPTIONS, &body).await.expect(201);
    assert!(made.warnings.len() == 1 && made.warnings[0].contains("no ManagedCluster matches"), "{:?}", made.warnings);
    hub.post(CLUSTERS, &json!({"metadata": {"name": "a"}, "spec": {}})).await.expect(201);
    let chart = json!({"apiVersion": "apps.clusternet.io/v1alpha1", "kind": "HelmChart", "namespace": "shop", "name": "c"});
    let changed = hub.merge(&format!("{SUBSCRIPTIONS}/s"), &json!({"spec": {"feeds": [chart]}})).await.expect(200);
    assert!(changed.warnings.len() == 1 && changed.warnings[0].contains("HelmChart"), "{:?}", changed.warnings);
}
