//! Native kinds on the hub: templates kept as Manifests, with no effect here.

mod api_support;

use api_support::{ADMIN, CONFIGMAPS, DEPLOYMENTS, deployment, hub};
use serde_json::{Value, json};

const MANIFESTS: &str = "/apis/apps.clusternet.io/v1alpha1/namespaces/clusternet-reserved/manifests";

#[tokio::test]
async fn a_template_is_kept_as_a_manifest_and_shown_as_itself() {
    let hub = hub();
    let mut body = deployment("web");
    body["spec"]["unheardOf"] = json!({"kept": [1, null]});
    body["status"] = json!({"replicas": 3});
    let made = hub.post(DEPLOYMENTS, &body).await.expect(201);
    assert_eq!(made.body["spec"], body["spec"], "stored verbatim");
    assert!(made.body.get("status").is_none());
    let shown = hub.get(&format!("{DEPLOYMENTS}/web")).await.expect(200);
    assert_eq!(shown.body, made.body);
    let manifest = hub.get(&format!("{MANIFESTS}/deployments.shop.web")).await.expect(200);
    assert_eq!(manifest.version(), made.version());
    let labels = &manifest.body["metadata"]["labels"];
    let label = |part: &str| labels[format!("apps.clusternet.io/config.{part}")].as_str().unwrap_or("absent").to_owned();
    assert_eq!(["group", "version", "kind", "namespace", "name"].map(label), ["apps", "v1", "Deployment", "shop", "web"]);
    assert_eq!(manifest.body["template"]["spec"], body["spec"]);
    for gone in ["uid", "resourceVersion", "creationTimestamp", "managedFields"] {
        assert!(manifest.body["template"]["metadata"].get(gone).is_none(), "{gone}");
    }
    assert_eq!(hub.get("/apis/shadow/v1alpha1/namespaces/shop/deployments/web").await.expect(200).body, made.body);
}

#[tokio::test]
async fn templates_are_listed_by_kind_and_namespace_only() {
    let hub = hub();
    hub.post(DEPLOYMENTS, &deployment("web")).await.expect(201);
    hub.post(&DEPLOYMENTS.replace("shop", "shop-b"), &deployment("api")).await.expect(201);
    hub.post(CONFIGMAPS, &json!({"metadata": {"name": "web"}, "data": {"a": "b"}})).await.expect(201);
    hub.post("/api/v1/namespaces", &json!({"metadata": {"name": "shop"}})).await.expect(201);
    assert_eq!(hub.get(DEPLOYMENTS).await.names(), ["web"]);
    let mut all: Vec<String> = hub.get("/apis/apps/v1/deployments").await.names().into_iter().map(str::to_owned).collect();
    all.sort();
    assert_eq!(all, ["api", "web"]);
    assert_eq!(hub.get("/apis/apps/v1/deployments?fieldSelector=metadata.name%3Dapi").await.names(), ["api"]);
    assert_eq!(hub.get("/api/v1/namespaces").await.names(), ["shop"]);
    assert_eq!(hub.get(MANIFESTS).await.names().len(), 4);
}

#[tokio::test]
async fn a_template_changes_by_generation_of_its_spec_and_keeps_its_identity() {
    let hub = hub();
    let path = format!("{DEPLOYMENTS}/web");
    let made = hub.post(DEPLOYMENTS, &deployment("web")).await.expect(201);
    let labelled = hub.merge(&path, &json!({"metadata": {"labels": {"x": "y"}}})).await.expect(200);
    assert_eq!(labelled.body["metadata"]["generation"], 1);
    let scaled = hub.merge(&path, &json!({"spec": {"replicas": 4}})).await.expect(200);
    assert_eq!((&scaled.body["metadata"]["generation"], &scaled.body["metadata"]["uid"]), (&json!(2), &made.body["metadata"]["uid"]));
    let same = hub.put(&path, &scaled.body).await.expect(200);
    assert_eq!(same.version(), scaled.version());
    let with_status = hub.merge(&path, &json!({"status": {"replicas": 4}})).await.expect(200);
    assert_eq!(with_status.version(), scaled.version(), "a template has no status to change");
    hub.get(&format!("{path}/status")).await.refuses(405, "MethodNotAllowed", "template");
}

#[tokio::test]
async fn a_workload_is_scaled_through_its_scale() {
    let hub = hub();
    hub.post(DEPLOYMENTS, &deployment("web")).await.expect(201);
    let path = format!("{DEPLOYMENTS}/web/scale");
    let scale = hub.get(&path).await.expect(200);
    assert_eq!(
        (&scale.body["kind"], &scale.body["spec"]["replicas"], &scale.body["status"]["selector"]),
        (&json!("Scale"), &json!(1), &json!("app=web"))
    );
    let patched = hub.merge(&path, &json!({"spec": {"replicas": 7}})).await.expect(200);
    assert_eq!((&patched.body["apiVersion"], &patched.body["spec"]["replicas"]), (&json!("autoscaling/v1"), &json!(7)));
    hub.put(&path, &scale.body).await.refuses(409, "Conflict", "modified");
    hub.merge(&path, &json!({"spec": {"replicas": -1}})).await.refuses(422, "Invalid", "spec.replicas");
    assert_eq!(hub.get(&format!("{DEPLOYMENTS}/web")).await.body["spec"]["replicas"], 7);
}

#[tokio::test]
async fn finalizers_of_a_template_are_the_members_and_those_of_its_manifest_the_hubs() {
    let hub = hub();
    let mut body = deployment("web");
    body["metadata"]["finalizers"] = json!(["members.example/keep"]);
    hub.post(DEPLOYMENTS, &body).await.expect(201);
    hub.merge(&format!("{MANIFESTS}/deployments.shop.web"), &json!({"metadata": {"finalizers": ["hub.example/keep"]}})).await.expect(200);
    let held = hub.delete(&format!("{DEPLOYMENTS}/web"), &Value::Null).await.expect(200);
    assert!(held.body["metadata"]["deletionTimestamp"].is_string());
    assert_eq!(held.body["metadata"]["finalizers"], json!(["members.example/keep"]));
    hub.merge(&format!("{MANIFESTS}/deployments.shop.web"), &json!({"metadata": {"finalizers": null}})).await.expect(200);
    hub.get(&format!("{DEPLOYMENTS}/web")).await.refuses(404, "NotFound", "deployments.apps \"web\" not found");
}

#[tokio::test]
async fn an_object_that_no_member_would_take_is_refused_naming_the_limit() {
    let hub = hub();
    let big = |bytes: usize| json!({"metadata": {"name": "big"}, "data": {"a": "x".repeat(bytes)}});
    hub.post(CONFIGMAPS, &big(5 << 20)).await.refuses(413, "RequestEntityTooLarge", "1572864 bytes at most");
    hub.post(CONFIGMAPS, &big(20 << 20)).await.refuses(413, "RequestEntityTooLarge", "request body is larger");
    hub.post(CONFIGMAPS, &big(1 << 20)).await.expect(201);
    let noted = json!({"metadata": {"annotations": {"a": "x".repeat(300 << 10)}}});
    hub.merge(&format!("{CONFIGMAPS}/big"), &noted).await.refuses(422, "Invalid", "metadata.annotations");
}

#[tokio::test]
async fn odd_manifests_that_people_write_break_nothing() {
    let hub = hub();
    for (name, template) in [
        ("deployments.shop.x", json!("text")),
        ("deployments.shop.y", json!({"kind": "Deployment"})),
        ("deployments.shop.z", json!({"kind": "Deployment", "apiVersion": "apps/v1"})),
    ] {
        let body = json!({"metadata": {"name": name}, "template": template});
        hub.post(MANIFESTS, &body).await;
        assert!(hub.get(DEPLOYMENTS).await.expect(200).names().is_empty());
    }
    hub.get(&format!("{DEPLOYMENTS}/z")).await.refuses(404, "NotFound", "");
}

#[tokio::test]
async fn tokens_open_what_they_should() {
    let hub = hub();
    let ask = |method: &str, path: &str, token: Option<&str>, body: Value| {
        let mut request = http::Request::builder().method(method).uri(path).header("content-type", "application/json");
        if let Some(token) = token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        let request = request.body(axum::body::Body::from(body.to_string())).expect("request");
        let hub = &hub;
        async move { hub.raw(request).await.status().as_u16() }
    };
    assert_eq!(ask("GET", "/healthz", None, Value::Null).await, 200);
    assert_eq!(ask("GET", "/version", None, Value::Null).await, 401);
    assert_eq!(ask("GET", "/version", Some("wrong"), Value::Null).await, 401);
    assert_eq!(ask("GET", "/version", Some(ADMIN), Value::Null).await, 200);
}

#[tokio::test]
async fn reviews_are_answered_and_not_stored() {
    let hub = hub();
    let path = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews";
    let question = json!({"spec": {"resourceAttributes": {"verb": "delete", "resource": "deployments", "group": "apps"}}});
    assert_eq!(hub.post(path, &question).await.expect(201).body["status"]["allowed"], true);
    let me = hub.post("/apis/authentication.k8s.io/v1/selfsubjectreviews", &json!({})).await.expect(201);
    assert_eq!(me.body["status"]["userInfo"]["username"], "admin");
    hub.get(path).await.refuses(405, "MethodNotAllowed", "");
}

#[tokio::test]
async fn the_status_of_a_manifest_is_the_templates_and_stays_with_what_users_write() {
    let hub = hub();
    let path = format!("{DEPLOYMENTS}/web");
    hub.post(DEPLOYMENTS, &deployment("web")).await.expect(201);
    let status = json!({"observedGeneration": 1, "updatedReplicas": 1, "replicas": 1});
    hub.merge(&format!("{MANIFESTS}/deployments.shop.web/status"), &json!({"status": status})).await.expect(200);
    let shown = hub.get(&path).await.expect(200);
    assert_eq!((&shown.body["status"], &shown.body["metadata"]["generation"]), (&status, &json!(1)));
    assert_eq!(hub.get(&format!("{path}/scale")).await.body["status"]["replicas"], 1);
    let scaled = hub.merge(&path, &json!({"spec": {"replicas": 4}, "status": {"replicas": 9}})).await.expect(200);
    assert_eq!((&scaled.body["status"], &scaled.body["metadata"]["generation"]), (&status, &json!(2)));
    assert_eq!(hub.get(&path).await.body["status"], status);
    hub.merge(&format!("{MANIFESTS}/deployments.shop.web/status"), &json!({"status": null})).await.expect(200);
    assert!(hub.get(&path).await.body.get("status").is_none());
}
