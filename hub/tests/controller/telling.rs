//! Statuses follow what is planned and reported.

use hub::core::id::{ClusterKey, ObjectId};
use hub::core::report::{ClusterFacts, ClusterReport, HealthLevel, ObjectHealth, ObjectReport, ObjectState, Replicas};
use hub::kinds::{ManagedCluster, Manifest, Subscription};
use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt;
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};

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

pub async fn a_subscription_is_healthy_when_its_objects_are_and_names_the_first_that_is_not(world: World) {
    let (cluster, mut controllers) = (world.cluster("a").await, world.start());
    world.manifest("one", "1").await;
    world.subscription("s", json!([world.config_map("one")])).await;
    let plan = controllers.plan(&cluster, |words| words == ["one=1"]).await;
    let send = |level: HealthLevel, reason: &str| {
        let mut report = report(&cluster, vec![(&plan.entries[0].object, ObjectState::Applied)], plan.rv);
        report.objects[0].health = Some(ObjectHealth { level, reason: reason.to_owned(), ..ObjectHealth::default() });
        controllers.reports.send(cluster.clone(), report);
    };
    send(HealthLevel::Unhealthy, "ImagePullBackOff");
    let found = eventually(&world.api::<Subscription>(), "s", |found| says(found, "Healthy", "False")).await;
    assert!(says(&found, "Stalled", "True") && says(&found, "Ready", "False") && says(&found, "Applied", "True"));
    let status = found.status.expect("written");
    let healthy = status.conditions.iter().find(|condition| condition.type_ == "Healthy").expect("just seen");
    assert_eq!((healthy.reason.as_str(), healthy.observed_generation), ("ImagePullBackOff", Some(1)));
    assert_eq!(status.unhealthy_clusters[0].cluster, cluster.to_string());
    send(HealthLevel::Progressing, "");
    eventually(&world.api::<Subscription>(), "s", |found| says(found, "Progressing", "True") && says(found, "Stalled", "False")).await;
    send(HealthLevel::Healthy, "");
    let found = eventually(&world.api::<Subscription>(), "s", |found| says(found, "Healthy", "True")).await;
    let counts = found.status.expect("written").counts;
    assert_eq!((counts.healthy, counts.unhealthy), (1, 0));
    let synced = |found: &ManagedCluster| found.status.as_ref().is_some_and(|status| status.sync.as_deref() == Some("Synced"));
    let status = eventually(&world.api::<ManagedCluster>(), "a", synced).await.status.expect("just seen");
    assert_eq!((status.link.as_deref(), status.objects), (Some("Connected"), Some(1)));
}

pub async fn a_template_tells_how_far_the_fleet_is_and_is_not_planned_again_for_it(world: World) {
    let (cluster, mut controllers) = (world.cluster("a").await, world.start());
    let name = format!("deployments.{}.web", world.test);
    let template = |generation: i64, image: &str| {
        json!({
            "apiVersion": "apps/v1", "kind": "Deployment",
            "metadata": { "name": "web", "namespace": world.test, "generation": generation },
            "spec": { "replicas": 2, "template": { "spec": { "containers": [{ "name": "web", "image": image }] } } },
        })
    };
    world.template(&name, template(1, "web:1")).await;
    world.subscription("s", json!([{ "kind": "Deployment", "apiVersion": "apps/v1", "namespace": world.test, "name": "web" }])).await;
    let plan = controllers.plan(&cluster, |words| words == ["web=content"]).await;
    let (reports, object) = (controllers.reports.clone(), plan.entries[0].object.clone());
    let send = |level: HealthLevel, ready: i32, rv: u64| {
        let mut report = report(&cluster, vec![(&object, ObjectState::Applied)], rv);
        let replicas = Some(Replicas { replicas: 2, updated: 2, ready, available: ready, ..Replicas::default() });
        report.objects[0].health = Some(ObjectHealth { level, replicas, ..ObjectHealth::default() });
        reports.send(cluster.clone(), report);
    };
    let manifests = world.manifests();
    let tells = |generation: i64, available: i64| {
        move |found: &Manifest| {
            let number = |field: &str| found.status.as_ref().and_then(|status| status.get(field)).and_then(Value::as_i64);
            number("observedGeneration") == Some(generation) && number("availableReplicas") == Some(available)
        }
    };
    let rv = plan.rv;
    send(HealthLevel::Progressing, 1, rv);
    eventually(&manifests, &name, tells(1, 1)).await;
    send(HealthLevel::Healthy, 2, rv);
    eventually(&manifests, &name, tells(1, 2)).await;
    controllers.no_plan(&cluster).await;
    world.template(&name, template(2, "web:2")).await;
    let plan = controllers.plan(&cluster, |_| true).await;
    tokio::time::sleep(QUIET * 2).await;
    let found = manifests.get(&name).await.expect("read");
    assert!(!tells(2, 2)(&found), "nobody has applied it: {found:#?}");
    send(HealthLevel::Healthy, 2, plan.rv);
    eventually(&manifests, &name, tells(2, 2)).await;
}

pub async fn a_cluster_gets_the_labels_of_its_nodes_and_is_selected_by_them(world: World) {
    let (cluster, mut controllers) = (world.cluster("a").await, world.start());
    let (zone, tier) = ("node.clusternet.io/zone", "node.clusternet.io/tier");
    let mine = Patch::Merge(json!({"metadata": {"labels": {tier: "mine"}}}));
    let clusters = world.api::<ManagedCluster>();
    clusters.patch("a", &PatchParams::default(), &mine).await.expect("labelled");
    world.manifest("one", "1").await;
    world.subscription_for("s", json!({ zone: world.test }), json!([world.config_map("one")])).await;
    let reports = controllers.reports.clone();
    let send = |labels: Option<&[(&str, &str)]>, rv: u64| {
        let mut told = report(&cluster, Vec::new(), rv);
        let own = |labels: &[(&str, &str)]| labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        told.facts.as_mut().expect("facts").node_labels = labels.map(own);
        reports.send(cluster.clone(), told);
    };
    let lies = [("clusters.clusternet.io/cluster-id", "lie"), ("hub.clusternet.io/tier", "reserved")];
    send(Some(&[(zone, &world.test), (tier, "nodes"), lies[0], lies[1]]), 1);
    let plan = controllers.plan(&cluster, |words| words == ["one=1"]).await;
    let found = clusters.get("a").await.expect("read");
    assert_eq!((found.labels()[zone].as_str(), found.labels()[tier].as_str()), (world.test.as_str(), "mine"), "people come first");
    assert!(lies.iter().all(|(key, _)| !found.labels().contains_key(*key)), "{:?}", found.labels());

    send(None, plan.rv);
    controllers.no_plan(&cluster).await;
    send(Some(&[]), plan.rv);
    controllers.plan(&cluster, <[String]>::is_empty).await;
    let found = eventually(&clusters, "a", |found| !found.labels().contains_key(zone)).await;
    assert_eq!((found.labels()[tier].as_str(), found.labels()["test"].as_str()), ("mine", world.test.as_str()));
    assert!(found.annotations().is_empty(), "nothing is left of what was ours: {:?}", found.annotations());
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
        held: None,
        facts: Some(ClusterFacts { k8s_version: "v1.37.2".to_owned(), livez: true, readyz: true, ..ClusterFacts::default() }),
    }
}
