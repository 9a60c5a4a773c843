//! Applying: created, adopted, unchanged, refused.

use std::time::Duration;

use edge_agent::cluster::apply::{How, Outcome};
use edge_agent::cluster::connect::{Source, connect};
use edge_agent::cluster::crd::{Established, wait_established};
use edge_agent::cluster::discovery::Discovery;
use edge_agent::cluster::object::Origin;
use serde_json::json;

use super::{World, config_map, definition, deployment, identify, live, support};

#[tokio::test]
async fn a_new_object_is_created_and_carries_our_mark() {
    let (mut world, namespace) = World::in_namespace("a-created").await;
    assert_eq!(namespace.origin, Origin::Created);
    let applied = world.put(&config_map("a-created", "c", json!({"k": "v"}))).await;
    let live = live("a-created", "configmap/c");
    assert_eq!(live["metadata"]["uid"], applied.uid);
    assert_eq!(live["metadata"]["labels"]["clusternet.io/created-by"], "clusternet-agent");
    assert_eq!(live["metadata"]["annotations"]["clusternet.io/origin"], "created");
    assert_eq!(live["data"], json!({"k": "v"}));
}

#[tokio::test]
async fn applying_the_same_again_changes_nothing() {
    let (mut world, _) = World::in_namespace("a-same").await;
    let object = config_map("a-same", "c", json!({"k": "v"}));
    let first = world.put(&object).await;
    assert_eq!(world.put(&object).await, first);
    let mut object = deployment("a-same", "web", "web");
    object["spec"]["paused"] = json!(true);
    let first = world.put(&object).await;
    assert_eq!(world.put(&object).await.generation, first.generation);
    object["spec"]["replicas"] = json!(3);
    assert_eq!(world.put(&object).await.generation, first.generation + 1);
}

#[tokio::test]
async fn what_kubectl_applied_before_is_adopted_and_a_field_removed_later_goes_away() {
    let (mut world, _) = World::in_namespace("a-adopt").await;
    let before = config_map("a-adopt", "c", json!({"a": "1", "b": "1"}));
    support::kubectl(&["apply", "-f", "-"], &before.to_string());
    let adopted = world.put(&config_map("a-adopt", "c", json!({"a": "2", "b": "2"}))).await;
    assert_eq!(adopted.origin, Origin::Adopted);
    let again = world.put(&config_map("a-adopt", "c", json!({"a": "2"}))).await;
    assert_eq!((again.origin, &again.uid), (Origin::Adopted, &adopted.uid));
    let live = live("a-adopt", "configmap/c");
    assert_eq!(live["data"], json!({"a": "2"}));
    let managers: Vec<_> = live["metadata"]["managedFields"].as_array().expect("a list").iter().collect();
    assert!(managers.iter().all(|entry| entry["manager"] == "clusternet-agent"), "{managers:?}");
}

#[tokio::test]
async fn an_object_adopted_then_deleted_by_others_comes_back_as_created() {
    let (mut world, _) = World::in_namespace("a-back").await;
    let object = config_map("a-back", "c", json!({"a": "1"}));
    support::kubectl(&["create", "-f", "-"], &object.to_string());
    assert_eq!(world.put(&object).await.origin, Origin::Adopted);
    support::kubectl(&["-n", "a-back", "delete", "configmap", "c"], "");
    assert_eq!(world.put(&object).await.origin, Origin::Created);
}

#[tokio::test]
async fn an_immutable_field_is_refused_for_good_and_named() {
    let (mut world, _) = World::in_namespace("a-immutable").await;
    world.put(&deployment("a-immutable", "web", "one")).await;
    let refusal = world.refused(&deployment("a-immutable", "web", "two")).await;
    assert_eq!((refusal.code, refusal.reason.as_str(), refusal.permanent), (422, "Invalid", true));
    assert!(refusal.message.contains("spec.selector"), "{}", refusal.message);
    assert!(refusal.message.chars().count() <= 300);
}

#[tokio::test]
async fn a_missing_namespace_is_refused_for_now() {
    let world = World::new().await;
    let refusal = world.refused(&config_map("a-nowhere", "c", json!({}))).await;
    assert_eq!((refusal.code, refusal.permanent), (404, false));
    assert!(refusal.message.contains("a-nowhere"), "{}", refusal.message);
}

#[tokio::test]
async fn an_object_that_is_being_deleted_is_applied_when_it_is_gone() {
    let (mut world, _) = World::in_namespace("a-going").await;
    let object = config_map("a-going", "c", json!({}));
    let mut held = object.clone();
    held["metadata"]["finalizers"] = json!(["example.com/hold"]);
    support::kubectl(&["create", "-f", "-"], &held.to_string());
    support::kubectl(&["-n", "a-going", "delete", "configmap", "c", "--wait=false"], "");
    let refusal = world.refused(&object).await;
    assert_eq!((refusal.reason.as_str(), refusal.permanent), ("Terminating", false));
    let release = r#"{"metadata":{"finalizers":null}}"#;
    support::kubectl(&["-n", "a-going", "patch", "configmap", "c", "--type=merge", "-p", release], "");
    assert_eq!(world.put(&object).await.origin, Origin::Created);
}

#[tokio::test]
async fn a_kind_is_applied_once_its_definition_is_established() {
    let (mut world, _) = World::in_namespace("a-kind").await;
    let shop = json!({"apiVersion": "example.com/v1", "kind": "Ashop", "metadata": {"namespace": "a-kind", "name": "s"}});
    let refusal = world.refused(&shop).await;
    assert_eq!((refusal.reason.as_str(), refusal.permanent), ("KindNotServed", false));
    assert!(refusal.message.contains("kind Ashop of example.com/v1"), "{}", refusal.message);
    world.put(&definition("ashops", "Ashop")).await;
    let established = wait_established(&world.api, &world.discovery, "ashops.example.com", Duration::from_secs(30)).await;
    assert_eq!(established, Established::Yes);
    assert_eq!(world.put(&shop).await.origin, Origin::Created);
    assert_eq!(wait_established(&world.api, &world.discovery, "no.example.com", Duration::ZERO).await, Established::Gone);
}

#[tokio::test]
async fn an_unreachable_server_says_nothing_about_the_object() {
    let text = std::fs::read_to_string(&support::member().kubeconfig).expect("kubeconfig");
    let at = text.find("127.0.0.1:").expect("an address") + "127.0.0.1:".len();
    let port: String = text[at..].chars().take_while(char::is_ascii_digit).collect();
    let path = support::member().dir.join("closed.kubeconfig");
    std::fs::write(&path, text.replace(&port, &support::free_port().to_string())).expect("written");
    let api = connect(&Source::Kubeconfig(path)).expect("no network is needed");
    let object = config_map("default", "c", json!({}));
    let (id, version) = identify(&object);
    let discovery = Discovery::new(api.clone());
    let outcome = edge_agent::cluster::apply::apply(&api, &discovery, &id, &version, object.to_string().as_bytes(), How::default()).await;
    assert!(matches!(outcome, Outcome::Unavailable(_)), "{outcome:?}");
}
