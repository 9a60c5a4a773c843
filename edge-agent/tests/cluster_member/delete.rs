//! Deleting one object: only what is ours, by UID and mark.

use edge_agent::cluster::apply::Outcome;
use edge_agent::cluster::delete::{Deleted, Why};
use edge_agent::cluster::object::{ObjectId, Origin};
use serde_json::json;

use super::{World, config_map, definition, live, support};

fn kept(why: Why, first: Vec<ObjectId>) -> Deleted {
    Deleted::Kept { why, first }
}

#[tokio::test]
async fn what_we_created_is_deleted_and_deleting_again_is_gone_too() {
    let (mut world, _) = World::in_namespace("d-ours").await;
    let object = config_map("d-ours", "c", json!({}));
    let applied = world.put(&object).await;
    assert_eq!(world.delete(&object, &applied.uid).await, Deleted::Gone);
    assert_eq!(world.delete(&object, &applied.uid).await, Deleted::Gone);
    assert_eq!(support::kubectl(&["-n", "d-ours", "get", "configmap", "c", "--ignore-not-found"], ""), "");
}

#[tokio::test]
async fn a_finalizer_shows_as_deleting() {
    let (mut world, _) = World::in_namespace("d-held").await;
    let mut object = config_map("d-held", "c", json!({}));
    object["metadata"]["finalizers"] = json!(["example.com/hold"]);
    let applied = world.put(&object).await;
    assert_eq!(world.delete(&object, &applied.uid).await, Deleted::Deleting);
    assert_eq!(world.delete(&object, &applied.uid).await, Deleted::Deleting);
    let release = r#"{"metadata":{"finalizers":null}}"#;
    support::kubectl(&["-n", "d-held", "patch", "configmap", "c", "--type=merge", "-p", release], "");
    assert_eq!(world.wait_gone(&object, &applied.uid).await, Deleted::Gone);
}

#[tokio::test]
async fn an_adopted_object_is_released_with_its_content() {
    let (mut world, _) = World::in_namespace("d-adopted").await;
    let object = config_map("d-adopted", "c", json!({"k": "theirs"}));
    support::kubectl(&["apply", "-f", "-"], &object.to_string());
    let desired = config_map("d-adopted", "c", json!({"k": "ours"}));
    let applied = world.put(&desired).await;
    assert_eq!(world.delete(&desired, &applied.uid).await, Deleted::Released);
    let live = live("d-adopted", "configmap/c");
    assert_eq!((&live["data"], live["metadata"]["uid"].as_str()), (&json!({"k": "ours"}), Some(applied.uid.as_str())));
    let text = live["metadata"].to_string();
    assert!(!text.contains("clusternet"), "{text}");
    assert_eq!(world.delete(&desired, &applied.uid).await, kept(Why::NotOurs, vec![]));
}

#[tokio::test]
async fn an_object_made_again_by_somebody_else_is_not_deleted() {
    let (mut world, _) = World::in_namespace("d-again").await;
    let object = config_map("d-again", "c", json!({}));
    let applied = world.put(&object).await;
    let copy = support::kubectl(&["-n", "d-again", "get", "configmap", "c", "-o", "json"], "");
    support::kubectl(&["-n", "d-again", "delete", "configmap", "c"], "");
    let mut copy: serde_json::Value = serde_json::from_str(&copy).expect("JSON");
    for field in ["uid", "resourceVersion", "creationTimestamp"] {
        copy["metadata"].as_object_mut().expect("metadata").remove(field);
    }
    support::kubectl(&["create", "-f", "-"], &copy.to_string());
    assert_eq!(world.delete(&object, &applied.uid).await, kept(Why::MadeAgain, vec![]));
    assert_eq!(world.wait_gone(&object, &applied.uid).await, Deleted::Gone);
    support::kubectl(&["-n", "d-again", "get", "configmap", "c"], "");
}

#[tokio::test]
async fn an_object_whose_mark_was_taken_off_is_kept() {
    let (mut world, _) = World::in_namespace("d-unmarked").await;
    let object = config_map("d-unmarked", "c", json!({}));
    let applied = world.put(&object).await;
    support::kubectl(&["-n", "d-unmarked", "label", "configmap", "c", "clusternet.io/created-by-"], "");
    assert_eq!(world.delete(&object, &applied.uid).await, kept(Why::NotOurs, vec![]));
}

#[tokio::test]
async fn a_definition_stays_while_somebody_else_has_objects_of_it() {
    let (mut world, _) = World::in_namespace("d-crd").await;
    let crd = definition("dshops", "Dshop");
    let applied = world.put(&crd).await;
    let shop = |name: &str| json!({"apiVersion": "example.com/v1", "kind": "Dshop", "metadata": {"namespace": "d-crd", "name": name}});
    support::kubectl(&["wait", "--for=condition=Established", "crd/dshops.example.com", "--timeout=30s"], "");
    support::kubectl(&["create", "-f", "-"], &shop("theirs").to_string());
    while !matches!(world.apply(&shop("ours")).await, Outcome::Applied(_)) {
        tokio::task::yield_now().await;
    }
    world.inventory.insert(ObjectId::new("example.com", "Dshop", "d-crd", "ours"));
    let theirs = ObjectId::new("example.com", "Dshop", "d-crd", "theirs");
    assert_eq!(world.delete(&crd, &applied.uid).await, kept(Why::NotEmpty, vec![theirs]));
    support::kubectl(&["-n", "d-crd", "delete", "dshop", "theirs"], "");
    let deleted = world.delete(&crd, &applied.uid).await;
    assert!(matches!(deleted, Deleted::Deleting | Deleted::Gone), "{deleted:?}");
    assert_eq!(world.wait_gone(&crd, &applied.uid).await, Deleted::Gone);
    assert_eq!(applied.origin, Origin::Created);
}
