//! Desired lists follow what is stored.

use std::time::{Duration, Instant};

use hub::core::plan::Content;
use hub::kinds::{ManagedCluster, Subscription};
use kube::ResourceExt;
use kube::api::{Api, DeleteParams, Patch, PatchParams};
use serde_json::{Value, json};

use crate::world::{World, words};

pub async fn a_change_is_planned_from_manifests_at_the_highest_version_seen(world: World) {
    let (cluster, mut controllers) = (world.cluster("a").await, world.start());
    if world.real {
        // A living ConfigMap of the server's own is no template.
        let living = serde_json::from_value(json!({ "metadata": { "name": "one" }, "data": { "v": "living" } })).expect("a ConfigMap");
        Api::<k8s_openapi::api::core::v1::ConfigMap>::namespaced(world.client.clone(), &world.test)
            .create(&Default::default(), &living)
            .await
            .expect("made");
        let living = json!({ "metadata": { "name": "web" }, "spec": { "selector": { "matchLabels": { "a": "b" } },
            "template": { "metadata": { "labels": { "a": "b" } }, "spec": { "containers": [{ "name": "c", "image": "i" }] } } } });
        let living = serde_json::from_value(living).expect("a Deployment");
        Api::<k8s_openapi::api::apps::v1::Deployment>::namespaced(world.client.clone(), &world.test)
            .create(&Default::default(), &living)
            .await
            .expect("made");
    }
    let deployment = json!({ "kind": "Deployment", "apiVersion": "apps/v1", "namespace": world.test, "name": "web" });
    world.subscription("s", json!([world.config_map("one"), deployment])).await;
    controllers.plan(&cluster, |words| words == ["one=keep", "web=keep"]).await;

    let rv = world.manifest("one", "1").await;
    let plan = controllers.plan(&cluster, |words| words == ["one=1", "web=keep"]).await;
    assert!(plan.rv >= rv, "the stamp {} is below {rv}, which it was rendered from", plan.rv);
    assert_eq!(plan.sid, "abcdefgh");
    let stored: Value = serde_json::from_slice(match &plan.entries[0].content {
        Content::Bytes(bytes) => bytes,
        Content::Keep => panic!("it has content"),
    })
    .expect("JSON");
    assert_eq!(
        stored,
        json!({ "apiVersion": "v1", "kind": "ConfigMap", "data": { "v": "1" },
        "metadata": { "name": "one", "namespace": world.test, "labels": { "clusternet.io/created-by": "clusternet-agent" } } })
    );

    let mut slowest = Duration::ZERO;
    for value in ["2", "3", "4", "5"] {
        let rv = world.manifest("one", value).await;
        let answered = Instant::now();
        let plan = controllers.plan(&cluster, |words| words[0] == format!("one={value}")).await;
        assert!(plan.rv >= rv);
        slowest = slowest.max(answered.elapsed());
    }
    println!("write answered to plan emitted, slowest of 4: {slowest:?}");
    // Any wait that was put in on purpose would be longer.
    assert!(slowest < Duration::from_millis(100), "{slowest:?}");
}

pub async fn what_changes_nothing_is_not_planned_again(world: World) {
    let (cluster, mut controllers) = (world.cluster("a").await, world.start());
    world.manifest("one", "1").await;
    let subscription = world.subscription("s", json!([world.config_map("one")])).await;
    controllers.plan(&cluster, |words| words == ["one=1"]).await;
    let label = Patch::Merge(json!({ "metadata": { "annotations": { "note": "x" } } }));
    world.api::<Subscription>().patch(&subscription.name_any(), &PatchParams::default(), &label).await.expect("annotated");
    let beat = Patch::Merge(json!({ "status": { "lastContact": "2026-01-01T00:00:00Z" } }));
    world.api::<ManagedCluster>().patch_status("a", &PatchParams::default(), &beat).await.expect("written");
    world.manifest("unused", "1").await;
    controllers.no_plan(&cluster).await;
    let confirm = Patch::Merge(json!({ "metadata": { "annotations": { "clusternet.io/confirm-prune": "abc" } } }));
    world.api::<ManagedCluster>().patch("a", &PatchParams::default(), &confirm).await.expect("annotated");
    assert_eq!(controllers.plan(&cluster, |_| true).await.confirm_prune.as_deref(), Some("abc"));
}

pub async fn a_missing_template_is_kept_and_comes_back_in_place(world: World) {
    let (cluster, mut controllers) = (world.cluster("a").await, world.start());
    world.manifest("one", "1").await;
    world.subscription("s", json!([world.config_map("one")])).await;
    controllers.plan(&cluster, |words| words == ["one=1"]).await;
    world.delete_manifest("one").await;
    controllers.plan(&cluster, |words| words == ["one=keep"]).await;
    world.manifest("one", "2").await;
    controllers.plan(&cluster, |words| words == ["one=2"]).await;
}

pub async fn deleting_a_subscription_empties_the_list(world: World) {
    let (cluster, mut controllers) = (world.cluster("a").await, world.start());
    world.manifest("one", "1").await;
    world.subscription("s", json!([world.config_map("one")])).await;
    controllers.plan(&cluster, |words| words == ["one=1"]).await;
    world.api::<Subscription>().delete("s", &DeleteParams::default()).await.expect("deleted");
    controllers.plan(&cluster, |words| words.is_empty()).await;
}

pub async fn a_planner_started_again_plans_whole_lists_first(world: World) {
    let cluster = world.cluster("a").await;
    world.manifest("one", "1").await;
    world.manifest("two", "1").await;
    world.subscription("s", json!([world.config_map("one"), world.config_map("two")])).await;
    for _ in 0..5 {
        let mut controllers = world.start();
        let first = controllers.plan(&cluster, |_| true).await;
        assert_eq!(words(&first), ["one=1", "two=1"], "a list was sent before everything was listed");
        assert!(controllers.synced().await.rv >= first.rv);
    }
}
