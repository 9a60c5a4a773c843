//! The API through `kube::Client` in this process: what the controllers rely on.

mod api_support;

use std::time::Duration;

use api_support::{Hub, hub, hub_with, subscription};
use futures::{StreamExt, TryStreamExt};
use hub::store::StoreOptions;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{ApiResource, DeleteParams, DynamicObject, GroupVersionKind, ListParams, Patch, PatchParams, PostParams};
use kube::runtime::watcher::{self, Event};
use kube::{Api, Discovery, ResourceExt};
use serde_json::json;

fn subscriptions(hub: &Hub) -> Api<DynamicObject> {
    let kind = GroupVersionKind::gvk("apps.clusternet.io", "v1alpha1", "Subscription");
    Api::default_namespaced_with(hub.client(), &ApiResource::from_gvk(&kind))
}

fn object(name: &str) -> DynamicObject {
    serde_json::from_value(subscription(name)).expect("a Subscription")
}

#[tokio::test]
async fn objects_are_made_changed_and_deleted_through_the_client() {
    let hub = hub();
    let api = subscriptions(&hub);
    let made = api.create(&PostParams::default(), &object("a")).await.expect("create");
    let mut changed = made.clone();
    changed.labels_mut().insert("x".into(), "y".into());
    let changed = api.replace("a", &PostParams::default(), &changed).await.expect("replace");
    let lost = api.replace("a", &PostParams::default(), &made).await.expect_err("an old version");
    assert!(matches!(lost, kube::Error::Api(status) if status.code == 409));
    let status = Patch::Merge(json!({"status": {"desiredReleases": 1}}));
    let told = api.patch_status("a", &PatchParams::default(), &status).await.expect("status");
    assert_eq!((told.data["status"]["desiredReleases"].as_i64(), told.uid()), (Some(1), changed.uid()));
    assert_eq!(api.list(&ListParams::default().labels("x=y")).await.expect("list").items.len(), 1);
    assert_eq!(api.list_metadata(&ListParams::default()).await.expect("metadata").items[0].name_any(), "a");
    api.delete("a", &DeleteParams::default()).await.expect("delete");
    assert!(api.get_opt("a").await.expect("get").is_none());
}

#[tokio::test]
async fn templates_are_typed_objects_to_a_typed_client() {
    let hub = hub();
    let api: Api<Deployment> = Api::namespaced(hub.client(), "shop");
    let web = serde_json::from_value(api_support::deployment("web")).expect("a Deployment");
    api.create(&PostParams::default(), &web).await.expect("create");
    let image = Patch::Strategic(json!({"spec": {"template": {"spec": {"containers": [{"name": "c", "image": "web:2"}]}}}}));
    let changed = api.patch("web", &PatchParams::default(), &image).await.expect("patch");
    assert_eq!(changed.metadata.generation, Some(2));
    let scale = api.patch_scale("web", &PatchParams::default(), &Patch::Merge(json!({"spec": {"replicas": 3}}))).await.expect("scale");
    assert_eq!(scale.spec.and_then(|spec| spec.replicas), Some(3));
    let maps: Api<ConfigMap> = Api::all(hub.client());
    assert!(maps.list(&ListParams::default()).await.expect("list").items.is_empty());
}

#[tokio::test]
async fn discovery_of_both_kinds_is_understood() {
    let hub = hub();
    for discovery in [Discovery::new(hub.client()).run().await, Discovery::new(hub.client()).run_aggregated().await] {
        let discovery = discovery.expect("discovery");
        let kind = GroupVersionKind::gvk("apps.clusternet.io", "v1alpha1", "Subscription");
        let (resource, _) = discovery.resolve_gvk(&kind).expect("Subscription is served");
        assert_eq!(resource.plural, "subscriptions");
    }
    assert_eq!(hub.client().apiserver_version().await.expect("version").major, "1");
}

async fn follow(hub: &Hub, config: watcher::Config) {
    let api = subscriptions(hub);
    api.create(&PostParams::default(), &object("a")).await.expect("create");
    let mut events = watcher::watcher(api.clone(), config).boxed();
    let mut next = async || tokio::time::timeout(Duration::from_secs(10), events.try_next()).await.expect("in time").expect("no error");
    assert!(matches!(next().await, Some(Event::Init)));
    assert!(matches!(next().await, Some(Event::InitApply(object)) if object.name_any() == "a"));
    assert!(matches!(next().await, Some(Event::InitDone)));
    api.create(&PostParams::default(), &object("b")).await.expect("create");
    assert!(matches!(next().await, Some(Event::Apply(object)) if object.name_any() == "b"));
    api.delete("a", &DeleteParams::default()).await.expect("delete");
    assert!(matches!(next().await, Some(Event::Delete(object)) if object.name_any() == "a"));
}

#[tokio::test]
async fn a_watcher_follows_by_list_and_watch() {
    follow(&hub(), watcher::Config::default()).await;
}

#[tokio::test]
async fn a_watcher_follows_by_streaming_list() {
    follow(&hub(), watcher::Config::default().streaming_lists()).await;
}

#[tokio::test]
async fn a_watcher_that_fell_behind_lists_again() {
    let options = StoreOptions { keep_for: Duration::ZERO, keep_events: 1, ring_events: 1, ..StoreOptions::default() };
    let hub = hub_with(options);
    let api = subscriptions(&hub);
    let mut events = watcher::watcher(api.clone(), watcher::Config::default()).boxed();
    // Not polled while the history goes: the list is known, what follows is not.
    for expected in ["Init", "InitDone"] {
        let event = format!("{:?}", events.try_next().await.expect("event"));
        assert!(event.contains(expected), "{event}");
    }
    for n in 0..20 {
        api.create(&PostParams::default(), &object(&format!("n{n}"))).await.expect("create");
    }
    tokio::time::sleep(Duration::from_millis(5)).await;
    assert!(hub.state.store().compact().await.expect("compact") > 0);
    let mut listed = 0;
    let mut expired = false;
    while listed < 20 {
        match tokio::time::timeout(Duration::from_secs(20), events.next()).await.expect("in time") {
            Some(Ok(Event::InitApply(_))) => listed += 1,
            Some(Err(_)) => expired = true,
            Some(Ok(_)) => {}
            None => panic!("the watcher ended"),
        }
    }
    assert!(expired, "the watcher was told that its version is gone");
}
