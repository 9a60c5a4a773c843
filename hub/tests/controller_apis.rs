//! The controllers against an API server, each test written once and run on every server there is: a real kube-apiserver with
//! `deploy/crds`, and the hub's own embedded API.

#[path = "support/apiserver.rs"]
mod apiserver;
#[path = "support/world.rs"]
mod world;

use std::time::Instant;

use hub::core::id::{ClusterKey, ObjectId};
use hub::core::report::{ClusterFacts, ClusterReport, ObjectReport, ObjectState};
use hub::kinds::{ManagedCluster, Subscription};
use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt;
use kube::api::{Api, DeleteParams, Patch, PatchParams};
use serde_json::{Value, json};
use world::{QUIET, World, eventually};

macro_rules! on_every_api {
    ($($name:ident),* $(,)?) => {
        mod real_api_server {
            $(#[tokio::test]
            async fn $name() {
                let name: String = stringify!($name).replace('_', "-").chars().take(40).collect();
                super::$name(super::World::new(super::apiserver::client().await, true, name.leak().trim_end_matches('-')).await).await;
            })*
        }
    };
}

on_every_api! {
    a_change_is_planned_from_manifests_at_the_highest_version_seen,
    what_changes_nothing_is_not_planned_again,
    a_missing_template_is_kept_and_comes_back_in_place,
    deleting_a_subscription_empties_the_list,
    a_planner_started_again_plans_whole_lists_first,
    a_cluster_is_registered_once_under_its_name,
    an_agent_gets_back_the_bus_id_it_asks_for,
    a_deleted_cluster_is_told_how_to_come_back,
    statuses_tell_what_was_reported_and_are_written_only_when_they_differ,
    a_subscription_says_what_it_misses,
}

async fn a_change_is_planned_from_manifests_at_the_highest_version_seen(world: World) {
    let (cluster, mut controllers) = (world.cluster("a").await, world.start());
    if world.real {
        // A living ConfigMap of the server's own is no template.
        let living = serde_json::from_value(
            json!({ "metadata": { "name": "one" }, "data": { "v": "living" } }),
        )
        .expect("a ConfigMap");
        Api::<k8s_openapi::api::core::v1::ConfigMap>::namespaced(world.client.clone(), world.test)
            .create(&Default::default(), &living)
            .await
            .expect("made");
        let living = json!({ "metadata": { "name": "web" }, "spec": { "selector": { "matchLabels": { "a": "b" } },
            "template": { "metadata": { "labels": { "a": "b" } }, "spec": { "containers": [{ "name": "c", "image": "i" }] } } } });
        let living = serde_json::from_value(living).expect("a Deployment");
        Api::<k8s_openapi::api::apps::v1::Deployment>::namespaced(world.client.clone(), world.test)
            .create(&Default::default(), &living)
            .await
            .expect("made");
    }
    let deployment = json!({ "kind": "Deployment", "apiVersion": "apps/v1", "namespace": world.test, "name": "web" });
    world
        .subscription("s", json!([world.config_map("one"), deployment]))
        .await;
    controllers
        .plan(&cluster, |words| words == ["one=keep", "web=keep"])
        .await;

    let rv = world.manifest("one", "1").await;
    let plan = controllers
        .plan(&cluster, |words| words == ["one=1", "web=keep"])
        .await;
    assert!(
        plan.rv >= rv,
        "the stamp {} is below {rv}, which it was rendered from",
        plan.rv
    );
    assert_eq!(plan.sid, "abcdefgh");
    let stored: Value = serde_json::from_slice(match &plan.entries[0].content {
        hub::core::plan::Content::Bytes(bytes) => bytes,
        hub::core::plan::Content::Keep => panic!("it has content"),
    })
    .expect("JSON");
    assert_eq!(
        stored,
        json!({ "apiVersion": "v1", "kind": "ConfigMap", "data": { "v": "1" },
        "metadata": { "name": "one", "namespace": world.test, "labels": { "clusternet.io/created-by": "clusternet-agent" } } })
    );

    let mut slowest = std::time::Duration::ZERO;
    for value in ["2", "3", "4", "5"] {
        let rv = world.manifest("one", value).await;
        let answered = Instant::now();
        let plan = controllers
            .plan(&cluster, |words| words[0] == format!("one={value}"))
            .await;
        assert!(plan.rv >= rv);
        slowest = slowest.max(answered.elapsed());
    }
    println!("write answered to plan emitted, slowest of 4: {slowest:?}");
    // Any wait that was put in on purpose would be longer.
    assert!(
        slowest < std::time::Duration::from_millis(100),
        "{slowest:?}"
    );
}

async fn what_changes_nothing_is_not_planned_again(world: World) {
    let (cluster, mut controllers) = (world.cluster("a").await, world.start());
    world.manifest("one", "1").await;
    let subscription = world
        .subscription("s", json!([world.config_map("one")]))
        .await;
    controllers.plan(&cluster, |words| words == ["one=1"]).await;
    let label = Patch::Merge(json!({ "metadata": { "annotations": { "note": "x" } } }));
    world
        .api::<Subscription>()
        .patch(&subscription.name_any(), &PatchParams::default(), &label)
        .await
        .expect("annotated");
    let beat = Patch::Merge(json!({ "status": { "lastContact": "2026-01-01T00:00:00Z" } }));
    world
        .api::<ManagedCluster>()
        .patch_status("a", &PatchParams::default(), &beat)
        .await
        .expect("written");
    world.manifest("unused", "1").await;
    controllers.no_plan(&cluster).await;
    let confirm = Patch::Merge(
        json!({ "metadata": { "annotations": { "clusternet.io/confirm-prune": "abc" } } }),
    );
    world
        .api::<ManagedCluster>()
        .patch("a", &PatchParams::default(), &confirm)
        .await
        .expect("annotated");
    assert_eq!(
        controllers
            .plan(&cluster, |_| true)
            .await
            .confirm_prune
            .as_deref(),
        Some("abc")
    );
}

async fn a_missing_template_is_kept_and_comes_back_in_place(world: World) {
    let (cluster, mut controllers) = (world.cluster("a").await, world.start());
    world.manifest("one", "1").await;
    world
        .subscription("s", json!([world.config_map("one")]))
        .await;
    controllers.plan(&cluster, |words| words == ["one=1"]).await;
    world.delete_manifest("one").await;
    controllers
        .plan(&cluster, |words| words == ["one=keep"])
        .await;
    world.manifest("one", "2").await;
    controllers.plan(&cluster, |words| words == ["one=2"]).await;
}

async fn deleting_a_subscription_empties_the_list(world: World) {
    let (cluster, mut controllers) = (world.cluster("a").await, world.start());
    world.manifest("one", "1").await;
    world
        .subscription("s", json!([world.config_map("one")]))
        .await;
    controllers.plan(&cluster, |words| words == ["one=1"]).await;
    world
        .api::<Subscription>()
        .delete("s", &DeleteParams::default())
        .await
        .expect("deleted");
    controllers.plan(&cluster, |words| words.is_empty()).await;
}

async fn a_planner_started_again_plans_whole_lists_first(world: World) {
    let cluster = world.cluster("a").await;
    world.manifest("one", "1").await;
    world.manifest("two", "1").await;
    world
        .subscription(
            "s",
            json!([world.config_map("one"), world.config_map("two")]),
        )
        .await;
    for _ in 0..5 {
        let mut controllers = world.start();
        let first = controllers.plan(&cluster, |_| true).await;
        assert_eq!(
            world::words(&first),
            ["one=1", "two=1"],
            "a list was sent before everything was listed"
        );
        assert!(controllers.synced().await.rv >= first.rv);
    }
}

async fn a_cluster_is_registered_once_under_its_name(world: World) {
    let (one, two) = (
        uuid::Uuid::new_v4().to_string(),
        uuid::Uuid::new_v4().to_string(),
    );
    let spec = json!({ "clusterName": "shop-once", "clusterType": "EdgeCluster", "clusterLabels": { "tier": "edge" } });
    let registration = world.start_registration().await;
    let first = world
        .register(&one, spec.clone(), json!({}))
        .await
        .status
        .expect("answered");
    registration.stop().await;
    assert_eq!(
        (
            first.result.as_deref(),
            first.managed_cluster_name.as_deref()
        ),
        (Some("Approved"), Some("shop-once"))
    );
    assert_eq!(first.bus_address.as_deref(), Some("mqtt://127.0.0.1:1883"));
    let namespace = first.dedicated_namespace.clone().expect("named");
    let clusters = Api::<ManagedCluster>::namespaced(world.client.clone(), &namespace);
    let cluster = clusters.get("shop-once").await.expect("made");
    assert_eq!(
        cluster
            .status
            .as_ref()
            .and_then(|status| status.sid.clone()),
        first.sid
    );
    assert_eq!(
        (
            cluster.labels()["tier"].as_str(),
            cluster.labels()["clusters.clusternet.io/cluster-id"].as_str()
        ),
        ("edge", one.as_str())
    );
    assert_eq!(
        (
            cluster.spec.cluster_type.as_deref(),
            cluster.spec.sync_mode.as_str()
        ),
        (Some("EdgeCluster"), "Pull")
    );
    if world.real {
        let made = Api::<k8s_openapi::api::core::v1::Namespace>::all(world.client.clone())
            .get(&namespace)
            .await
            .expect("made");
        assert_eq!(made.labels()["clusters.clusternet.io/cluster-id"], one);
    }

    // The same cluster asks again of a hub that was started again.
    let requests = Api::<hub::kinds::ClusterRegistrationRequest>::all(world.client.clone());
    requests
        .delete(&format!("clusternet-{one}"), &DeleteParams::default())
        .await
        .expect("deleted");
    let registration = world.start_registration().await;
    let again = world
        .register(&one, spec.clone(), json!({}))
        .await
        .status
        .expect("answered");
    assert_eq!(again, first);

    let refused = world
        .register(&two, spec, json!({}))
        .await
        .status
        .expect("answered");
    assert_eq!(
        (refused.result.as_deref(), refused.sid),
        (Some("Denied"), None)
    );
    let message = refused.error_message.expect("says why");
    assert!(
        message.contains(&one) && message.contains("register under another name"),
        "{message}"
    );

    // The remedy works: the name is free once its ManagedCluster is gone.
    clusters
        .delete("shop-once", &DeleteParams::default())
        .await
        .expect("deleted");
    let approved = |request: &hub::kinds::ClusterRegistrationRequest| {
        request
            .status
            .as_ref()
            .is_some_and(|status| status.result.as_deref() == Some("Approved"))
    };
    let granted = world.answer(&two, approved).await.status.expect("answered");
    assert_eq!(
        (
            granted.error_message,
            granted.managed_cluster_name.as_deref()
        ),
        (None, Some("shop-once"))
    );
    registration.stop().await;
}

async fn an_agent_gets_back_the_bus_id_it_asks_for(world: World) {
    let registration = world.start_registration().await;
    let wished = json!({ "clusternet.io/sid": "zzzzzzz2" });
    let ids = [
        uuid::Uuid::new_v4().to_string(),
        uuid::Uuid::new_v4().to_string(),
    ];
    let first = world
        .register(&ids[0], json!({}), wished.clone())
        .await
        .status
        .expect("answered");
    assert_eq!(first.sid.as_deref(), Some("zzzzzzz2"));
    let second = world
        .register(&ids[1], json!({}), wished)
        .await
        .status
        .expect("answered")
        .sid
        .expect("named");
    assert!(
        second != "zzzzzzz2"
            && second.len() == 8
            && second
                .bytes()
                .all(|byte| matches!(byte, b'a'..=b'z' | b'2'..=b'7')),
        "{second}"
    );
    registration.stop().await;
}

async fn a_deleted_cluster_is_told_how_to_come_back(world: World) {
    let registration = world.start_registration().await;
    let id = uuid::Uuid::new_v4().to_string();
    let granted = world
        .register(&id, json!({}), json!({}))
        .await
        .status
        .expect("answered");
    let clusters = Api::<ManagedCluster>::namespaced(
        world.client.clone(),
        granted.dedicated_namespace.as_deref().expect("named"),
    );
    clusters
        .delete(
            granted.managed_cluster_name.as_deref().expect("named"),
            &DeleteParams::default(),
        )
        .await
        .expect("deleted");
    let denied = |request: &hub::kinds::ClusterRegistrationRequest| {
        request
            .status
            .as_ref()
            .is_some_and(|status| status.result.as_deref() == Some("Denied"))
    };
    let told = world
        .answer(&id, denied)
        .await
        .status
        .expect("answered")
        .error_message
        .expect("says why");
    assert!(
        told.contains(&format!("kubectl delete clsrr clusternet-{id}")),
        "{told}"
    );
    let requests = Api::<hub::kinds::ClusterRegistrationRequest>::all(world.client.clone());
    requests
        .delete(&format!("clusternet-{id}"), &DeleteParams::default())
        .await
        .expect("deleted");
    let back = world
        .register(&id, json!({}), json!({ "clusternet.io/sid": granted.sid }))
        .await
        .status
        .expect("answered");
    assert_eq!(
        (back.result.as_deref(), back.sid),
        (Some("Approved"), granted.sid)
    );
    registration.stop().await;
}

async fn statuses_tell_what_was_reported_and_are_written_only_when_they_differ(world: World) {
    let (cluster, mut controllers) = (world.cluster("a").await, world.start());
    world.manifest("one", "1").await;
    world
        .subscription("s", json!([world.config_map("one")]))
        .await;
    let plan = controllers.plan(&cluster, |words| words == ["one=1"]).await;
    let report =
        |state: ObjectState, rv: u64| report(&cluster, vec![(&plan.entries[0].object, state)], rv);

    controllers
        .reports
        .send(cluster.clone(), report(ObjectState::Pending, plan.rv));
    let status = eventually(&world.api::<Subscription>(), "s", |found| {
        says(found, "Applied", "False")
    })
    .await
    .status
    .expect("written");
    assert_eq!(
        (
            status.counts.clusters,
            status.counts.pending,
            status.observed_generation
        ),
        (1, 1, Some(1))
    );
    assert_eq!(status.binding_clusters, [cluster.to_string()]);

    controllers
        .reports
        .send(cluster.clone(), report(ObjectState::Applied, plan.rv));
    let found = eventually(&world.api::<Subscription>(), "s", |found| {
        says(found, "Applied", "True")
    })
    .await;
    let (status, version) = (
        found.status.clone().expect("written"),
        found.resource_version(),
    );
    assert_eq!((status.counts.applied, status.completed_releases), (1, 1));
    assert!(status.aggregated_statuses[0].feed_status_summary.available);

    let member = eventually(&world.api::<ManagedCluster>(), "a", |found| {
        found
            .status
            .as_ref()
            .is_some_and(|status| !status.conditions.is_empty())
    })
    .await;
    let known = member.status.clone().expect("written");
    assert_eq!(
        (
            known.sid.as_deref(),
            known.k8s_version.as_deref(),
            known.conditions[0].status.as_str()
        ),
        (Some("abcdefgh"), Some("v1.37.2"), "True")
    );

    for _ in 0..5 {
        controllers
            .reports
            .send(cluster.clone(), report(ObjectState::Applied, plan.rv));
    }
    tokio::time::sleep(QUIET * 2).await;
    assert_eq!(
        world
            .api::<Subscription>()
            .get("s")
            .await
            .expect("read")
            .resource_version(),
        version,
        "written though nothing differs"
    );
    assert_eq!(
        world
            .api::<ManagedCluster>()
            .get("a")
            .await
            .expect("read")
            .resource_version(),
        member.resource_version()
    );

    let orphan = ObjectId {
        name: "old".to_owned(),
        ..plan.entries[0].object.clone()
    };
    let refused = ObjectState::Failed {
        code: 422,
        message: "no".to_owned(),
    };
    let both = vec![
        (&plan.entries[0].object, refused),
        (&orphan, ObjectState::Unclaimed),
    ];
    controllers
        .reports
        .send(cluster.clone(), self::report(&cluster, both, plan.rv));
    let status = eventually(&world.api::<Subscription>(), "s", |found| {
        says(found, "Applied", "False")
    })
    .await
    .status
    .expect("written");
    let message = status
        .conditions
        .iter()
        .find(|condition| condition.type_ == "Applied")
        .map(|condition| condition.message.clone());
    assert_eq!(
        message,
        Some(format!(
            "applied on 0 of 1 clusters, refused on 1; first {cluster}: ConfigMap {}/one: no (422)",
            world.test
        ))
    );
    let member = eventually(&world.api::<ManagedCluster>(), "a", |found| {
        found
            .status
            .as_ref()
            .is_some_and(|status| status.pending.is_some())
    })
    .await;
    let pending = member
        .status
        .and_then(|status| status.pending)
        .expect("just seen");
    assert_eq!(
        (
            pending.counts.unclaimed,
            pending.objects[0].name.as_str(),
            pending.list_hash.as_deref()
        ),
        (1, "old", Some("0badcafe"))
    );

    controllers
        .reports
        .send(cluster.clone(), report(ObjectState::Applied, plan.rv));
    eventually(&world.api::<ManagedCluster>(), "a", |found| {
        found
            .status
            .as_ref()
            .is_some_and(|status| status.pending.is_none())
    })
    .await;
    // A newer plan, which this report does not speak of.
    world.manifest("one", "2").await;
    eventually(&world.api::<Subscription>(), "s", |found| {
        says(found, "Applied", "False")
    })
    .await;
}

async fn a_subscription_says_what_it_misses(world: World) {
    let _controllers = world.start();
    world
        .subscription("s", json!([world.config_map("gone")]))
        .await;
    let found = eventually(&world.api::<Subscription>(), "s", |found| {
        says(found, "Matched", "False")
    })
    .await;
    let message = |kind: &str| {
        let conditions = &found.status.as_ref().expect("written").conditions;
        conditions
            .iter()
            .find(|condition| condition.type_ == kind)
            .map(|condition| condition.message.clone())
            .unwrap_or_default()
    };
    assert!(
        message("Matched").contains(&format!("test={}", world.test)),
        "{}",
        message("Matched")
    );
    assert!(
        says(&found, "FeedsResolved", "False")
            && message("FeedsResolved").contains(&format!("ConfigMap {}/gone", world.test))
    );
    world.manifest("gone", "1").await;
    world.cluster("a").await;
    eventually(&world.api::<Subscription>(), "s", |found| {
        says(found, "Matched", "True") && says(found, "FeedsResolved", "True")
    })
    .await;
}

fn says(subscription: &Subscription, kind: &str, status: &str) -> bool {
    let conditions = subscription
        .status
        .as_ref()
        .map(|status| status.conditions.as_slice())
        .unwrap_or_default();
    conditions
        .iter()
        .any(|condition| condition.type_ == kind && condition.status == status)
}

fn report(cluster: &ClusterKey, states: Vec<(&ObjectId, ObjectState)>, rv: u64) -> ClusterReport {
    let object = |(object, state): (&ObjectId, ObjectState)| ObjectReport {
        object: object.clone(),
        bundles: Vec::new(),
        state,
        healthy: None,
    };
    ClusterReport {
        cluster: cluster.clone(),
        listed_at_rv: Some(rv),
        connected: true,
        last_contact: Some(Timestamp::now()),
        objects: states.into_iter().map(object).collect(),
        list_hash: Some("0badcafe".to_owned()),
        facts: Some(ClusterFacts {
            k8s_version: "v1.37.2".to_owned(),
            livez: true,
            readyz: true,
            ..ClusterFacts::default()
        }),
    }
}
