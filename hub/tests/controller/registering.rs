//! Registration requests are answered.

use hub::kinds::{ClusterRegistrationRequest, ManagedCluster};
use kube::ResourceExt;
use kube::api::{Api, DeleteParams, Patch, PatchParams};
use serde_json::json;

use crate::world::World;

pub async fn a_cluster_is_registered_once_under_its_name(world: World) {
    let (one, two) = (uuid::Uuid::new_v4().to_string(), uuid::Uuid::new_v4().to_string());
    let spec = json!({ "clusterName": "shop-once", "clusterType": "EdgeCluster", "clusterLabels": { "tier": "edge" } });
    let registration = world.start_registration();
    let first = world.register(&one, spec.clone(), json!({})).await.status.expect("answered");
    registration.stop().await;
    assert_eq!((first.result.as_deref(), first.managed_cluster_name.as_deref()), (Some("Approved"), Some("shop-once")));
    assert_eq!(first.bus_address.as_deref(), Some("mqtt://127.0.0.1:1883"));
    let namespace = first.dedicated_namespace.clone().expect("named");
    let clusters = Api::<ManagedCluster>::namespaced(world.client.clone(), &namespace);
    let cluster = clusters.get("shop-once").await.expect("made");
    assert_eq!(cluster.status.as_ref().and_then(|status| status.sid.clone()), first.sid);
    assert_eq!((cluster.labels()["tier"].as_str(), cluster.labels()["clusters.clusternet.io/cluster-id"].as_str()), ("edge", one.as_str()));
    assert_eq!((cluster.spec.cluster_type.as_deref(), cluster.spec.sync_mode.as_str()), (Some("EdgeCluster"), "Pull"));
    if world.real {
        let made = Api::<k8s_openapi::api::core::v1::Namespace>::all(world.client.clone()).get(&namespace).await.expect("made");
        assert_eq!(made.labels()["clusters.clusternet.io/cluster-id"], one);
    }

    // The same cluster asks again of a hub that was started again.
    let requests = Api::<ClusterRegistrationRequest>::all(world.client.clone());
    requests.delete(&format!("clusternet-{one}"), &DeleteParams::default()).await.expect("deleted");
    let registration = world.start_registration();
    let again = world.register(&one, spec.clone(), json!({})).await.status.expect("answered");
    assert_eq!(again, first);

    let refused = world.register(&two, spec, json!({})).await.status.expect("answered");
    assert_eq!((refused.result.as_deref(), refused.sid), (Some("Denied"), None));
    let message = refused.error_message.expect("says why");
    assert!(message.contains(&one) && message.contains("register under another name"), "{message}");

    // The first remedy works: another name in the same request, and the answer says which request it answers.
    let requests = Api::<ClusterRegistrationRequest>::all(world.client.clone());
    let renamed = Patch::Merge(json!({ "spec": { "clusterName": "shop-other" } }));
    requests.patch(&format!("clusternet-{two}"), &PatchParams::default(), &renamed).await.expect("patched");
    let approved =
        |request: &ClusterRegistrationRequest| request.status.as_ref().is_some_and(|status| status.result.as_deref() == Some("Approved"));
    let other = world.answer(&two, approved).await;
    let status = other.status.expect("answered");
    assert_eq!((status.observed_generation, status.managed_cluster_name.as_deref()), (other.metadata.generation, Some("shop-other")));

    // So does the second: the name is free once its ManagedCluster is gone.
    let third = uuid::Uuid::new_v4().to_string();
    world.register(&third, json!({ "clusterName": "shop-once" }), json!({})).await;
    clusters.delete("shop-once", &DeleteParams::default()).await.expect("deleted");
    let granted = world.answer(&third, approved).await.status.expect("answered");
    assert_eq!((granted.error_message, granted.managed_cluster_name.as_deref()), (None, Some("shop-once")));
    registration.stop().await;
}

pub async fn an_agent_gets_back_the_bus_id_it_asks_for(world: World) {
    let registration = world.start_registration();
    let wished = json!({ "clusternet.io/sid": "zzzzzzz2" });
    let ids = [uuid::Uuid::new_v4().to_string(), uuid::Uuid::new_v4().to_string()];
    let first = world.register(&ids[0], json!({}), wished.clone()).await.status.expect("answered");
    assert_eq!(first.sid.as_deref(), Some("zzzzzzz2"));
    let second = world.register(&ids[1], json!({}), wished).await.status.expect("answered").sid.expect("named");
    assert!(second != "zzzzzzz2" && second.len() == 8 && second.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'2'..=b'7')), "{second}");
    registration.stop().await;
}

pub async fn a_deleted_cluster_is_told_how_to_come_back(world: World) {
    let registration = world.start_registration();
    let id = uuid::Uuid::new_v4().to_string();
    let granted = world.register(&id, json!({}), json!({})).await.status.expect("answered");
    let clusters = Api::<ManagedCluster>::namespaced(world.client.clone(), granted.dedicated_namespace.as_deref().expect("named"));
    clusters.delete(granted.managed_cluster_name.as_deref().expect("named"), &DeleteParams::default()).await.expect("deleted");
    let denied =
        |request: &ClusterRegistrationRequest| request.status.as_ref().is_some_and(|status| status.result.as_deref() == Some("Denied"));
    let told = world.answer(&id, denied).await.status.expect("answered").error_message.expect("says why");
    assert!(told.contains(&format!("kubectl delete clsrr clusternet-{id}")), "{told}");
    let requests = Api::<ClusterRegistrationRequest>::all(world.client.clone());
    requests.delete(&format!("clusternet-{id}"), &DeleteParams::default()).await.expect("deleted");
    let back = world.register(&id, json!({}), json!({ "clusternet.io/sid": granted.sid })).await.status.expect("answered");
    assert_eq!((back.result.as_deref(), back.sid), (Some("Approved"), granted.sid));
    registration.stop().await;
}
