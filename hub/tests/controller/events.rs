//! Events tell of what became of things, and go when they are old.

use std::time::{Duration, Instant};

use hub::controller::expiry;
use hub::core::id::ClusterKey;
use hub::core::report::{ClusterFacts, ClusterReport, ObjectHealth, ObjectReport, ObjectState};
use hub::kinds::{ManagedCluster, Subscription};
use k8s_openapi::api::core::v1::Event;
use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt;
use kube::api::{Api, ListParams, PostParams};
use serde_json::json;

use crate::world::{QUIET, World};

const PATIENCE: Duration = Duration::from_secs(30);

pub async fn a_refused_object_and_a_lost_connection_make_events(world: World) {
    let (cluster, mut controllers) = (world.cluster("a").await, world.start());
    world.manifest("one", "1").await;
    let subscription = world.subscription("s", json!([world.config_map("one")])).await;
    let plan = controllers.plan(&cluster, |words| words == ["one=1"]).await;
    let object = |state| ObjectReport { object: plan.entries[0].object.clone(), bundles: Vec::new(), state, health: None };
    let here = report(&cluster, plan.rv, object(ObjectState::Failed { code: 422, message: "no".to_owned() }));
    controllers.reports.send(cluster.clone(), here.clone());
    let refused = about::<Subscription>(&world, &subscription, "Refused", 1).await;
    assert_eq!(refused.message, Some(format!("{cluster}: ConfigMap {}/one: no (422)", world.test)));
    assert_eq!((refused.type_.as_deref(), refused.reporting_component.as_deref()), (Some("Warning"), Some("clusternet-hub")));
    assert_eq!(refused.source.and_then(|source| source.component).as_deref(), Some("clusternet-hub"));
    assert!(refused.first_timestamp.is_some() && refused.last_timestamp.is_some());

    let member = world.api::<ManagedCluster>().get("a").await.expect("read");
    about::<ManagedCluster>(&world, &member, "Connected", 1).await;
    controllers.reports.send(cluster.clone(), ClusterReport { connected: false, ..here.clone() });
    let away = about::<ManagedCluster>(&world, &member, "Away", 1).await;
    assert_eq!(away.type_.as_deref(), Some("Warning"));
    controllers.reports.send(cluster.clone(), here.clone());
    let again = about::<ManagedCluster>(&world, &member, "Connected", 2).await;
    assert!(again.last_timestamp.map(|time| time.0) >= again.first_timestamp.map(|time| time.0));

    let mut contested = object(ObjectState::Applied);
    contested.health = Some(ObjectHealth { contested: "hpa: data".to_owned(), ..ObjectHealth::default() });
    controllers.reports.send(cluster.clone(), report(&cluster, plan.rv, contested));
    let disputed = about::<Subscription>(&world, &subscription, "Contested", 1).await;
    assert_eq!(disputed.message, Some(format!("{cluster}: ConfigMap {}/one: hpa: data", world.test)));
    let applied = about::<Subscription>(&world, &subscription, "Applied", 1).await;
    assert_eq!((applied.type_.as_deref(), applied.message.as_deref()), (Some("Normal"), Some("applied on 1 of 1 clusters")));
    tokio::time::sleep(QUIET).await;
    assert_eq!(all(&world, "Refused").await.len(), 1, "told once");
}

pub async fn an_event_is_deleted_an_hour_after_it_was_last_told(world: World) {
    let api = world.api::<Event>();
    let (begun, hour) = (Timestamp::now(), expiry::TIME_TO_LIVE);
    for (name, told) in [("old", begun), ("told-again", begun + hour / 2)] {
        let event = json!({
            "metadata": { "name": name, "namespace": world.test }, "involvedObject": { "namespace": world.test, "name": "x" },
            "lastTimestamp": told.to_string(), "reason": "Connected", "type": "Normal",
        });
        api.create(&PostParams::default(), &serde_json::from_value(event).expect("an Event")).await.expect("made");
    }
    let left = async || {
        let listed = api.list(&ListParams::default()).await.expect("listed");
        listed.items.iter().map(ResourceExt::name_any).filter(|name| name == "old" || name == "told-again").collect::<Vec<_>>()
    };
    expiry::sweep(&world.client, begun + hour - Duration::from_secs(60)).await.expect("swept");
    assert_eq!(left().await, ["old", "told-again"]);
    expiry::sweep(&world.client, begun + hour + Duration::from_secs(60)).await.expect("swept");
    assert_eq!(left().await, ["told-again"]);
    expiry::sweep(&world.client, begun + hour * 2).await.expect("swept");
    assert!(left().await.is_empty());
}

/// The Event with this reason about this object, as `kubectl describe` looks for it, once it was counted so often.
async fn about<K: kube::Resource<DynamicType = ()>>(world: &World, object: &K, reason: &str, count: i32) -> Event {
    let (kind, name, uid) = (K::kind(&()), object.name_any(), object.uid().expect("stored"));
    let fields = format!("involvedObject.kind={kind},involvedObject.name={name},involvedObject.uid={uid},reason={reason}");
    let (api, started): (Api<Event>, _) = (world.api(), Instant::now());
    loop {
        let mut found = api.list(&ListParams::default().fields(&fields)).await.expect("listed").items;
        if let Some(event) = found.pop().filter(|event| event.count == Some(count)) {
            let involved = &event.involved_object;
            assert_eq!(involved.api_version, Some(K::api_version(&()).into_owned()));
            assert_eq!(involved.namespace.as_deref(), Some(world.test.as_str()));
            return event;
        }
        assert!(started.elapsed() < PATIENCE, "no {reason} about {name}, {count} times: {:#?}", all(world, reason).await);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn all(world: &World, reason: &str) -> Vec<Event> {
    let params = ListParams::default().fields(&format!("reason={reason}"));
    world.api::<Event>().list(&params).await.expect("listed").items
}

fn report(cluster: &ClusterKey, rv: u64, object: ObjectReport) -> ClusterReport {
    ClusterReport {
        cluster: cluster.clone(),
        listed_at_rv: Some(rv),
        connected: true,
        last_contact: Some(Timestamp::now()),
        objects: vec![object],
        facts: Some(ClusterFacts { livez: true, readyz: true, ..ClusterFacts::default() }),
        ..ClusterReport::default()
    }
}
