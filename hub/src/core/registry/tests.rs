use super::*;
use crate::core::build::read;
use serde_json::json;

const ONE: &str = "00000000-0000-4000-8000-000000000001";
const TWO: &str = "00000000-0000-4000-8000-000000000002";

fn request(id: &str, name: &str) -> ClusterRegistrationRequest {
    read(json!({ "apiVersion": "clusters.clusternet.io/v1beta1", "kind": "ClusterRegistrationRequest",
        "metadata": { "name": format!("clusternet-{id}") }, "spec": { "clusterId": id, "clusterName": name } }))
}

fn granted(decision: Decision) -> (ClusterKey, String) {
    match decision {
        Decision::Grant { cluster, sid } => (cluster, sid),
        Decision::Deny { message } => panic!("denied: {message}"),
    }
}

fn denied(decision: Decision) -> String {
    match decision {
        Decision::Deny { message } => message,
        Decision::Grant { cluster, .. } => panic!("granted {cluster}"),
    }
}

/// A registry that knows what was granted to this request.
fn with(request: &ClusterRegistrationRequest, cluster: &ClusterKey, sid: &str) -> Registry {
    let mut registry = Registry::default();
    registry.apply(&read(json!({ "metadata": { "namespace": cluster.namespace, "name": cluster.name },
        "apiVersion": "clusters.clusternet.io/v1beta1", "kind": "ManagedCluster",
        "spec": { "clusterId": request.spec.cluster_id, "syncMode": "Pull" }, "status": { "sid": sid } })));
    registry
}

#[test]
fn a_new_cluster_gets_the_name_it_wishes_a_namespace_and_a_bus_id() {
    let (cluster, sid) = granted(Registry::default().decide(&request(ONE, "shop"), [7; 16]));
    assert_eq!((cluster.name.as_str(), cluster.namespace.len(), sid.len()), ("shop", "clusternet-xxxxx".len(), 8));
    assert!(cluster.namespace.starts_with("clusternet-") && is_sid(&sid));
}

#[test]
fn the_same_id_gets_the_same_again_whatever_it_wishes_now() {
    let first = granted(Registry::default().decide(&request(ONE, "shop"), [7; 16]));
    let registry = with(&request(ONE, "shop"), &first.0, &first.1);
    assert_eq!(granted(registry.decide(&request(ONE, "another"), [9; 16])), first);
}

#[test]
fn another_id_under_a_taken_name_is_refused_with_the_remedy() {
    let first = granted(Registry::default().decide(&request(ONE, "shop"), [7; 16]));
    let message = denied(with(&request(ONE, "shop"), &first.0, &first.1).decide(&request(TWO, "shop"), [9; 16]));
    assert!(message.contains(ONE) && message.contains("register under another name"), "{message}");
}

#[test]
fn a_request_under_a_foreign_name_is_refused() {
    let mut wrong = request(ONE, "shop");
    wrong.metadata.name = Some(format!("clusternet-{TWO}"));
    assert!(denied(Registry::default().decide(&wrong, [7; 16])).contains(&format!("must be \"clusternet-{ONE}\"")));
}

#[test]
fn a_deleted_cluster_does_not_come_back_by_itself() {
    let mut old = request(ONE, "shop");
    old.status = Some(read(json!({ "result": "Approved", "sid": "abcdefgh" })));
    assert!(denied(Registry::default().decide(&old, [7; 16])).contains("delete this request"));
}

#[test]
fn a_wished_bus_id_is_honoured_if_it_is_one_and_free() {
    let wishing = |id: &str, sid: &str| {
        let mut request = request(id, if id == ONE { "shop" } else { "ship" });
        request.metadata.annotations = Some([(ANNOTATION_SID.to_owned(), sid.to_owned())].into());
        request
    };
    let (cluster, sid) = granted(Registry::default().decide(&wishing(ONE, "abcdefg2"), [7; 16]));
    assert_eq!(sid, "abcdefg2");
    let registry = with(&wishing(ONE, &sid), &cluster, &sid);
    assert_ne!(granted(registry.decide(&wishing(TWO, "abcdefg2"), [9; 16])).1, sid);
    for broken in ["", "ABCDEFGH", "abc", "abcdefg/", "abcdefg#"] {
        assert_ne!(granted(registry.decide(&wishing(TWO, broken), [9; 16])).1, broken);
    }
}

#[test]
fn names_and_bus_ids_stay_unique_with_the_same_randomness() {
    let first = granted(Registry::default().decide(&request(ONE, "shop"), [7; 16]));
    let second = granted(with(&request(ONE, "shop"), &first.0, &first.1).decide(&request(TWO, "ship"), [7; 16]));
    assert_ne!(first.0.namespace, second.0.namespace);
    assert_ne!(first.1, second.1);
}

#[test]
fn a_wished_namespace_that_is_taken_or_reserved_is_refused() {
    let wishing = |namespace: &str| {
        let mut request = request(TWO, "ship");
        request.spec.cluster_namespace = Some(namespace.to_owned());
        request
    };
    let registry = with(&request(ONE, "shop"), &ClusterKey::new("mine", "shop"), "abcdefgh");
    assert!(denied(registry.decide(&wishing("mine"), [9; 16])).contains("belongs to ManagedCluster mine/shop"));
    assert!(denied(registry.decide(&wishing("kube-system"), [9; 16])).contains("is reserved"));
    assert_eq!(granted(registry.decide(&wishing("free"), [9; 16])).0.namespace, "free");
}

#[test]
fn an_agent_cannot_label_itself_with_another_identity() {
    let mut sly = request(ONE, "shop");
    sly.spec.cluster_labels = read(json!({ "tier": "edge", "clusters.clusternet.io/cluster-id": TWO, "clusters.clusternet.io/x": "y" }));
    let labels = labels(&sly, &ClusterKey::new("ns", "shop"));
    assert_eq!(labels["clusters.clusternet.io/cluster-id"], ONE);
    assert_eq!((labels["tier"].as_str(), labels["clusternet.io/created-by"].as_str()), ("edge", "clusternet-agent"));
    assert!(!labels.contains_key("clusters.clusternet.io/x"));
}
