//! The agent's own client against a sandbox: what the quick start rests on.

use std::time::Duration;

use edge_agent::cluster::api::{Accept, Api};
use edge_agent::cluster::apply::{self, How, Outcome};
use edge_agent::cluster::connect::{self, Source};
use edge_agent::cluster::delete::{Deleted, Target, delete};
use edge_agent::cluster::discovery::Discovery;
use edge_agent::cluster::object::{ObjectId, Origin};
use edge_agent::cluster::{facts, survey};
use serde_json::{Value, json};

use crate::Scratch;
use crate::sandbox::Sandbox;

async fn sandbox() -> (Api, Discovery, Scratch) {
    let scratch = Scratch::create("sandbox").unwrap();
    let sandbox = Sandbox::open(scratch.path()).await.unwrap();
    let api = connect::connect(&Source::Kubeconfig(sandbox.kubeconfig().to_owned())).unwrap();
    tokio::spawn(sandbox.serve());
    (api.clone(), Discovery::new(api), scratch)
}

async fn apply(api: &Api, discovery: &Discovery, id: &ObjectId, body: Value) -> apply::Applied {
    match apply::apply(api, discovery, id, "v1", body.to_string().as_bytes(), How::default()).await {
        Outcome::Applied(applied) => *applied,
        other => panic!("{other:?}"),
    }
}

fn config_map(data: Value) -> (ObjectId, Value) {
    let body = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c", "namespace": "default"}, "data": data});
    (ObjectId::new("", "ConfigMap", "default", "c"), body)
}

#[tokio::test]
async fn an_agent_finds_its_identity_and_the_facts() {
    let (api, _, _scratch) = sandbox().await;
    let id = facts::cluster_id(&api).await.unwrap();
    assert_eq!(facts::cluster_id(&api).await.unwrap(), id, "the Lease is made once");
    let mut gatherer = facts::Gatherer::new(api.clone(), facts::Settings::default(), None);
    let facts = gatherer.gather().await.unwrap();
    assert!(facts.k8s_version.contains("sandbox") && facts.readyz, "{facts:?}");
}

#[tokio::test]
async fn what_an_agent_applies_is_stored_listed_and_deleted() {
    let (api, discovery, _scratch) = sandbox().await;
    let (id, body) = config_map(json!({"a": "1", "b": "2"}));
    let first = apply(&api, &discovery, &id, body.clone()).await;
    assert_eq!(first.origin, Origin::Created);
    let again = apply(&api, &discovery, &id, body).await;
    assert_eq!(again.resource_version, first.resource_version, "the same again is no write");
    apply(&api, &discovery, &id, config_map(json!({"a": "3"})).1).await;
    let live: Value = api.get("/api/v1/namespaces/default/configmaps/c", Accept::Whole).await.unwrap();
    assert_eq!(live["data"], json!({"a": "3"}));

    let mut found = Vec::new();
    let unread = survey::survey(&api, &discovery, &mut |object| found.push(object.id)).await.unwrap();
    assert!(unread.is_empty(), "{unread:?}");
    assert_eq!(found, std::slice::from_ref(&id));
    let target = Target { id: &id, version: "v1", uid: &first.uid };
    assert_eq!(delete(&api, &discovery, &target, &|_| true).await, Deleted::Gone);
}

#[tokio::test]
async fn somebody_elses_object_is_adopted_and_keeps_its_namespace() {
    let (api, discovery, _scratch) = sandbox().await;
    let space = ObjectId::new("", "Namespace", "", "shop");
    let made = apply(&api, &discovery, &space, json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop"}})).await;
    let theirs = json!({"metadata": {"name": "theirs"}}).to_string().into_bytes();
    let created = api.write::<Value>(http::Method::POST, "/api/v1/namespaces/shop/configmaps", ("application/json", theirs)).await.unwrap();
    assert_eq!(created.0, 201);
    let target = Target { id: &space, version: "v1", uid: &made.uid };
    assert!(matches!(delete(&api, &discovery, &target, &|_| true).await, Deleted::Kept { .. }));
    let id = ObjectId::new("", "ConfigMap", "shop", "theirs");
    let body = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "theirs", "namespace": "shop"}, "data": {"a": "1"}});
    assert_eq!(apply(&api, &discovery, &id, body).await.origin, Origin::Adopted);
}

#[tokio::test]
async fn an_object_in_no_namespace_is_refused_by_name() {
    let (api, discovery, _scratch) = sandbox().await;
    let id = ObjectId::new("", "ConfigMap", "nowhere", "c");
    let body = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c", "namespace": "nowhere"}}).to_string();
    let outcome = apply::apply(&api, &discovery, &id, "v1", body.as_bytes(), How::default()).await;
    assert!(matches!(&outcome, Outcome::Refused(refusal) if refusal.message.contains("nowhere")), "{outcome:?}");
}

#[tokio::test]
async fn lists_come_in_pages_and_a_watch_goes_on_from_them() {
    let (api, _, _scratch) = sandbox().await;
    let post = async |name: &str| {
        let body = json!({"metadata": {"name": name}}).to_string().into_bytes();
        api.write::<Value>(http::Method::POST, "/api/v1/namespaces/default/configmaps", ("application/json", body)).await.unwrap()
    };
    for name in ["a", "b", "c"] {
        post(name).await;
    }
    let names = |list: &Value| {
        list["items"].as_array().unwrap().iter().map(|item| item["metadata"]["name"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let page: Value = api.get("/api/v1/configmaps?limit=2", Accept::Whole).await.unwrap();
    assert_eq!(names(&page), ["a", "b"]);
    let next = page["metadata"]["continue"].as_str().unwrap().replace('/', "%2F");
    let rest: Value = api.get(&format!("/api/v1/configmaps?limit=2&continue={next}"), Accept::Whole).await.unwrap();
    assert_eq!((names(&rest), rest["metadata"]["continue"].as_str()), (vec!["c".to_owned()], Some("")));

    let version = rest["metadata"]["resourceVersion"].as_str().unwrap();
    post("d").await;
    let watch = format!("/api/v1/configmaps?watch=true&timeoutSeconds=1&resourceVersion={version}");
    let event: Value = tokio::time::timeout(Duration::from_secs(10), api.get(&watch, Accept::Whole)).await.unwrap().unwrap();
    assert_eq!((event["type"].as_str(), event["object"]["metadata"]["name"].as_str()), (Some("ADDED"), Some("d")));
}
