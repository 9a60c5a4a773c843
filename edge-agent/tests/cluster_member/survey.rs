//! The cluster's identity, and the survey that finds everything of ours.

use std::collections::BTreeMap;

use edge_agent::cluster::facts::cluster_id;
use edge_agent::cluster::object::Origin;
use edge_agent::cluster::survey::{Found, survey};
use serde_json::json;

use super::{World, config_map, deployment, support};

#[tokio::test]
async fn the_identity_is_the_uid_of_the_lease_and_stays() {
    let world = World::new().await;
    let id = cluster_id(&world.api).await.expect("an identity");
    assert_eq!(cluster_id(&world.api).await.expect("an identity"), id);
    let get = ["-n", "clusternet-system", "get", "lease", "clusternet-agent", "-o", "jsonpath={.metadata.uid}"];
    assert_eq!(support::kubectl(&get, ""), id);
}

#[tokio::test]
async fn a_survey_finds_everything_of_ours_over_many_pages_and_nothing_else() {
    let (mut world, _) = World::in_namespace("f-survey").await;
    let mut applied = BTreeMap::new();
    for n in 0..120 {
        let object = config_map("f-survey", &format!("c{n}"), json!({}));
        applied.insert(format!("c{n}"), world.put(&object).await);
    }
    let web = world.put(&deployment("f-survey", "web", "web")).await;
    support::kubectl(&["create", "-f", "-"], &config_map("f-survey", "theirs", json!({})).to_string());
    let mut found = BTreeMap::new();
    let mut visit = |object: Found| {
        if object.id.namespace == "f-survey" {
            found.insert((object.id.kind.clone(), object.id.name.clone()), object);
        }
    };
    let unread = survey(&world.api, &world.discovery, &mut visit).await.expect("survey");
    // Definitions come and go in the tests beside this one.
    let unread: Vec<_> = unread.iter().filter(|kind| kind.group != "example.com").collect();
    assert!(unread.is_empty(), "{unread:?}");
    assert_eq!(found.len(), applied.len() + 1);
    for (name, applied) in &applied {
        let object = &found[&("ConfigMap".to_owned(), name.clone())];
        assert_eq!((&object.uid, &object.resource_version), (&applied.uid, &applied.resource_version));
        assert_eq!((object.origin, object.version.as_str()), (Some(Origin::Created), "v1"));
    }
    let object = &found[&("Deployment".to_owned(), "web".to_owned())];
    assert_eq!((&object.uid, object.generation, object.id.group.as_str()), (&web.uid, 1, "apps"));
}
