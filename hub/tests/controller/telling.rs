//! Statuses follow what is planned and reported.

use hub::core::id::{ClusterKey, ObjectId};
use hub::core::report::{ClusterFacts, ClusterReport, ObjectReport, ObjectState};
use hub::kinds::{ManagedCluster, Subscription};
use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt;
use serde_json::json;

use crate::world::{QUIET, World, eventually};

pub async fn statuses_tell_what_was_reported_and_are_written_only_when_they_differ(world: World) {
    let (cluster, mut controllers) = (world.cluster("a").await, world.start());
    world.manifest("one", "1").await;
    world.subscription("s", json!([world.config_map("one")])).await;
    let plan = controllers.plan(&cluster, |words| words == ["one=1"]).await;
    let report = |state: ObjectState, rv: u64| report(&cluster, vec![(&plan.entries[0].object, state)], rv);

    controllers.reports.send(cluster.clone(), report(ObjectState::Pending, plan.rv));
    let status = eventually(&world.api::<Subscription>(), "s", |found| says(found, "Applied", "False")).await.status.expect("written");
    assert_eq!((status.counts.clusters, status.counts.pending, status.observed_generation), (1, 1, Some(1)));
    assert_eq!(status.binding_clusters, [cluster.to_string()]);

    controllers.reports.send(cluster.clone(), report(ObjectState::Applied, plan.rv));
    let found = eventually(&world.api::<Subscription>(), "s", |found| says(found, "Applied", "True")).await;
    let (status, version) = (found.status.clone().expect("written"), found.resource_version());
    assert_eq!((status.counts.applied, status.completed_releases), (1, 1));
    assert!(status.aggregated_statuses[0].feed_status_summary.available);

    let member =
        eventually(&world.api::<ManagedCluster>(), "a", |found| found.status.as_ref().is_some_and(|status| !status.conditions.is_empty()))
            .await;
    let known = member.status.clone().expect("written");
    assert_eq!(
        (known.sid.as_deref(), known.k8s_version.as_deref(), known.conditions[0].status.as_str()),
        (Some("abcdefgh"), Some("v1.37.2"), "True")
    );

    for _ in 0..5 {
        controllers.reports.send(cluster.clone(), report(ObjectState::Applied, plan.rv));
    }
    tokio::time::sleep(QUIET * 2).await;
    assert_eq!(world.api::<Subscription>().get("s").await.expect("read").resource_version(), version, "written though nothing differs");
    assert_eq!(world.api::<ManagedCluster>().get("a").await.expect("read").resource_version(), member.resource_version());

    let orphan = ObjectId { name: "old".to_owned(), ..plan.entries[0].object.clone() };
    let refused = ObjectState::Failed { code: 422, message: "no".to_owned() };
    let both = vec![(&plan.entries[0].object, refused), (&orphan, ObjectState::Unclaimed)];
    controllers.reports.send(cluster.clone(), self::report(&cluster, both, plan.rv));
    let status = eventually(&world.api::<Subscription>(), "s", |found| says(found, "Applied", "False")).await.status.expect("written");
    let message = status.conditions.iter().find(|condition| condition.type_ == "Applied").map(|condition| condition.message.clone());
    assert_eq!(message, Some(format!("applied on 0 of 1 clusters, refused on 1; first {cluster}: ConfigMap {}/one: no (422)", world.test)));
    let member =
        eventually(&world.api::<ManagedCluster>(), "a", |found| found.status.as_ref().is_some_and(|status| status.pending.is_some())).await;
    let pending = member.status.and_then(|status| status.pending).expect("just seen");
    assert_eq!((pending.counts.unclaimed, pending.objects[0].name.as_str(), pending.list_hash.as_deref()), (1, "old", Some("0badcafe")));

    controllers.reports.send(cluster.clone(), report(ObjectState::Applied, plan.rv));
    eventually(&world.api::<ManagedCluster>(), "a", |found| found.status.as_ref().is_some_and(|status| status.pending.is_none())).await;
    // A newer plan, which this report does not speak of.
    world.manifest("one", "2").await;
    eventually(&world.api::<Subscription>(), "s", |found| says(found, "Applied", "False")).await;
}

pub async fn a_subscription_says_what_it_misses(world: World) {
    let _controllers = world.start();
    world.subscription("s", json!([world.config_map("gone")])).await;
    let found = eventually(&world.api::<Subscription>(), "s", |found| says(found, "Matched", "False")).await;
    let message = |kind: &str| {
        let conditions = &found.status.as_ref().expect("written").conditions;
        conditions.iter().find(|condition| condition.type_ == kind).map(|condition| condition.message.clone()).unwrap_or_default()
    };
    assert!(message("Matched").contains(&format!("test={}", world.test)), "{}", message("Matched"));
    assert!(says(&found, "FeedsResolved", "False") && message("FeedsResolved").contains(&format!("ConfigMap {}/gone", world.test)));
    world.manifest("gone", "1").await;
    world.cluster("a").await;
    eventually(&world.api::<Subscription>(), "s", |found| says(found, "Matched", "True") && says(found, "FeedsResolved", "True")).await;
}

fn says(subscription: &Subscription, kind: &str, status: &str) -> bool {
    let conditions = subscription.status.as_ref().map(|status| status.conditions.as_slice()).unwrap_or_default();
    conditions.iter().any(|condition| condition.type_ == kind && condition.status == status)
}

fn report(cluster: &ClusterKey, states: Vec<(&ObjectId, ObjectState)>, rv: u64) -> ClusterReport {
    let object =
        |(object, state): (&ObjectId, ObjectState)| ObjectReport { object: object.clone(), bundles: Vec::new(), state, health: None };
    ClusterReport {
        cluster: cluster.clone(),
        listed_at_rv: Some(rv),
        clones: None,
        connected: true,
        last_contact: Some(Timestamp::now()),
        objects: states.into_iter().map(object).collect(),
        list_hash: Some("0badcafe".to_owned()),
        facts: Some(ClusterFacts { k8s_version: "v1.37.2".to_owned(), livez: true, readyz: true, ..ClusterFacts::default() }),
    }
}
