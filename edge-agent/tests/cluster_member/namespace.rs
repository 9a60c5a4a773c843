//! Deleting a namespace: only when nothing in it is somebody else's.

use std::time::Duration;

use edge_agent::cluster::delete::{Deleted, Why};
use edge_agent::cluster::object::{ObjectId, Origin};
use serde_json::{Value, json};

use super::{World, config_map, deployment, live, support};

fn namespace(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
}

fn kept_by(objects: &[ObjectId]) -> Deleted {
    Deleted::Kept { why: Why::NotEmpty, first: objects.to_vec() }
}

/// Waits until kubectl finds as many objects as the controllers are about to make.
async fn wait_for(namespace: &str, kind: &str, count: usize) {
    for _ in 0..300 {
        let found = support::kubectl(&["-n", namespace, "get", kind, "-o", "name"], "");
        if found.lines().count() >= count {
            return;
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    panic!("no {count} {kind} in {namespace} after 60 s");
}

#[tokio::test]
async fn a_namespace_with_somebody_elses_config_map_is_kept_and_the_config_map_named() {
    let (mut world, applied) = World::in_namespace("n-foreign").await;
    world.put(&config_map("n-foreign", "ours", json!({}))).await;
    support::kubectl(&["create", "-f", "-"], &config_map("n-foreign", "theirs", json!({})).to_string());
    let theirs = ObjectId::new("", "ConfigMap", "n-foreign", "theirs");
    assert_eq!(world.delete(&namespace("n-foreign"), &applied.uid).await, kept_by(&[theirs]));
    assert_eq!(live("", "namespace/n-foreign")["metadata"]["deletionTimestamp"], Value::Null);
    support::kubectl(&["-n", "n-foreign", "delete", "configmap", "theirs"], "");
    assert_eq!(world.delete(&namespace("n-foreign"), &applied.uid).await, Deleted::Deleting);
    assert_eq!(world.wait_gone(&namespace("n-foreign"), &applied.uid).await, Deleted::Gone);
}

#[tokio::test]
async fn what_controllers_made_of_our_objects_does_not_keep_a_namespace() {
    let (mut world, applied) = World::in_namespace("n-ours").await;
    world.put(&deployment("n-ours", "web", "web")).await;
    let service = json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"namespace": "n-ours", "name": "web"},
        "spec": {"selector": {"app": "web"}, "ports": [{"port": 80}]}
    });
    world.put(&service).await;
    wait_for("n-ours", "pods", 2).await;
    wait_for("n-ours", "endpointslices", 1).await;
    wait_for("n-ours", "endpoints", 1).await;
    wait_for("n-ours", "configmap/kube-root-ca.crt", 1).await;
    wait_for("n-ours", "serviceaccount/default", 1).await;
    assert_eq!(world.delete(&namespace("n-ours"), &applied.uid).await, Deleted::Deleting);
    assert_eq!(world.wait_gone(&namespace("n-ours"), &applied.uid).await, Deleted::Gone);
}

#[tokio::test]
async fn pods_of_somebody_elses_deployment_keep_a_namespace_and_ten_are_named() {
    let (world, applied) = World::in_namespace("n-pods").await;
    let mut theirs = deployment("n-pods", "web", "web");
    theirs["spec"]["replicas"] = json!(60);
    support::kubectl(&["create", "-f", "-"], &theirs.to_string());
    wait_for("n-pods", "pods", 60).await;
    let Deleted::Kept { why: Why::NotEmpty, first } = world.delete(&namespace("n-pods"), &applied.uid).await else {
        panic!("the namespace was not kept");
    };
    assert_eq!(first.len(), 10);
    support::kubectl(&["delete", "namespace", "n-pods", "--wait=false"], "");
}

#[tokio::test]
async fn a_claim_keeps_a_namespace_whoever_owns_it() {
    let (mut world, applied) = World::in_namespace("n-claim").await;
    let owner = world.put(&config_map("n-claim", "owner", json!({}))).await;
    let claim = json!({
        "apiVersion": "v1", "kind": "PersistentVolumeClaim",
        "metadata": {"namespace": "n-claim", "name": "data", "ownerReferences": [
            {"apiVersion": "v1", "kind": "ConfigMap", "name": "owner", "uid": owner.uid}]},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
    });
    support::kubectl(&["create", "-f", "-"], &claim.to_string());
    let data = ObjectId::new("", "PersistentVolumeClaim", "n-claim", "data");
    assert_eq!(world.delete(&namespace("n-claim"), &applied.uid).await, kept_by(&[data]));
}

#[tokio::test]
async fn an_object_we_adopted_keeps_the_namespace() {
    let (mut world, applied) = World::in_namespace("n-adopted").await;
    support::kubectl(&["create", "-f", "-"], &config_map("n-adopted", "c", json!({})).to_string());
    assert_eq!(world.put(&config_map("n-adopted", "c", json!({}))).await.origin, Origin::Adopted);
    let adopted = ObjectId::new("", "ConfigMap", "n-adopted", "c");
    assert_eq!(world.delete(&namespace("n-adopted"), &applied.uid).await, kept_by(&[adopted]));
}

#[tokio::test]
async fn a_namespace_that_was_there_before_us_is_released() {
    support::kubectl(&["create", "namespace", "n-theirs"], "");
    let (world, applied) = World::in_namespace("n-theirs").await;
    assert_eq!(applied.origin, Origin::Adopted);
    assert_eq!(world.delete(&namespace("n-theirs"), &applied.uid).await, Deleted::Released);
    assert_eq!(live("", "namespace/n-theirs")["metadata"]["deletionTimestamp"], Value::Null);
}
