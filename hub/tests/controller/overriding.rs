//! Overrides reach the clusters they are for, and go away again.

use hub::kinds::{Globalization, Localization, Subscription};
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams};
use serde_json::{Value, json};

use crate::world::{World, eventually};

fn localization(world: &World, name: &str, value: &str) -> Localization {
    let object = json!({
        "apiVersion": "apps.clusternet.io/v1alpha1", "kind": "Localization", "metadata": { "name": name, "namespace": world.test },
        "spec": { "overridePolicy": "ApplyNow", "feed": world.config_map("one"), "overrides": [{ "type": "MergePatch", "value": value }] },
    });
    serde_json::from_value(object).expect("a Localization")
}

fn globalization(world: &World, value: &str, affinity: &Value) -> Globalization {
    let object = json!({
        "apiVersion": "apps.clusternet.io/v1alpha1", "kind": "Globalization", "metadata": { "name": world.test },
        "spec": { "overridePolicy": "ApplyNow", "feed": world.config_map("one"), "clusterAffinity": affinity,
            "overrides": [{ "name": "mark", "type": "MergePatch", "value": value }] },
    });
    serde_json::from_value(object).expect("a Globalization")
}

pub async fn an_override_is_right_on_two_clusters_follows_its_edits_and_is_undone(world: World) {
    let (a, b) = (world.cluster("a").await, world.cluster("b").await);
    let mut controllers = world.start();
    world.manifest("one", "1").await;
    world.subscription("s", json!([world.config_map("one")])).await;
    controllers.plan(&a, |words| words == ["one=1"]).await;
    let globals = Api::<Globalization>::all(world.client.clone());
    let affinity = json!({ "matchLabels": { "test": world.test } });
    globals.create(&PostParams::default(), &globalization(&world, "data: {v: '${cluster.name}'}", &affinity)).await.expect("made");
    let first = controllers.plan(&a, |words| words == ["one=a"]).await;
    drop(controllers);
    let mut controllers = world.start();
    let held = controllers.plan(&b, |words| words == ["one=b"]).await;
    assert_eq!((first.entries.len(), held.entries.len()), (1, 1));

    // A Localization is for every cluster of its namespace, and these two share one.
    world.api::<Localization>().create(&PostParams::default(), &localization(&world, "l", "data: {v: local}")).await.expect("made");
    controllers.plan(&a, |words| words == ["one=local"]).await;
    let edit = Patch::Merge(json!({ "spec": { "overrides": [{ "type": "MergePatch", "value": "data: {v: edited}" }] } }));
    world.api::<Localization>().patch("l", &PatchParams::default(), &edit).await.expect("edited");
    controllers.plan(&a, |words| words == ["one=edited"]).await;
    world.api::<Localization>().delete("l", &DeleteParams::default()).await.expect("deleted");
    controllers.plan(&a, |words| words == ["one=a"]).await;
    globals.delete(&world.test, &DeleteParams::default()).await.expect("deleted");
    controllers.plan(&a, |words| words == ["one=1"]).await;
}

pub async fn an_override_that_does_not_fit_is_told_and_the_object_goes_out_without_it(world: World) {
    let a = world.cluster("a").await;
    world.manifest("one", "1").await;
    world.subscription("s", json!([world.config_map("one")])).await;
    let value = "data: {v: \"${cluster.labels['rack']}\"}";
    let globals = Api::<Globalization>::all(world.client.clone());
    let affinity = json!({ "matchLabels": { "test": world.test } });
    globals.create(&PostParams::default(), &globalization(&world, value, &affinity)).await.expect("made");
    let mut controllers = world.start();
    controllers.plan(&a, |words| words == ["one=1"]).await;
    let told = |found: &Subscription| {
        let conditions = found.status.iter().flat_map(|status| &status.conditions);
        conditions.into_iter().any(|condition| condition.type_ == "OverridesApplied" && condition.status == "False")
    };
    let found = eventually(&world.api::<Subscription>(), "s", told).await;
    let conditions = found.status.expect("written").conditions;
    let message = &conditions.iter().find(|condition| condition.type_ == "OverridesApplied").expect("just seen").message;
    for part in [a.to_string(), format!("Globalization {} overrides[0] (mark)", world.test), "ConfigMap".to_owned(), "'rack'".to_owned()] {
        assert!(message.contains(&part), "{message:?} does not say {part:?}");
    }
    let printed = hub::cli::explain::of_api(&world.client, &world.test, "s", &a.to_string()).await.expect("explained");
    assert!(printed.contains("is LEFT OUT: cluster") && printed.contains("kind: ConfigMap"), "{printed}");
    globals.delete(&world.test, &DeleteParams::default()).await.expect("deleted");
}
