use std::time::Duration;

use super::*;
use crate::api::catalogue::{catalogue, find_kind};

fn at(seconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(seconds)
}

/// The header and the rows as kubectl prints them: columns of priority 0, or all.
fn printed(group: &str, kind: &str, object: Value, wide: bool) -> Vec<(String, String)> {
    let table = table(find_kind(group, kind).unwrap(), &[object], IncludeObject::None, json!({}), at(1_795_471_507));
    let columns = table["columnDefinitions"].as_array().unwrap();
    let cells = table["rows"][0]["cells"].as_array().unwrap();
    assert_eq!(columns.len(), cells.len());
    let shown = columns.iter().zip(cells).filter(|(column, _)| wide || column["priority"] == 0);
    shown.map(|(column, value)| (column["name"].as_str().unwrap().to_uppercase(), cell::plain(value))).collect()
}

fn pairs(expected: &[(&str, &str)]) -> Vec<(String, String)> {
    expected.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect()
}

#[test]
fn a_managed_cluster_prints_how_it_is_and_how_old_that_is() {
    let cluster = json!({
        "metadata": {"name": "c1", "creationTimestamp": "2026-11-23T22:00:07Z"},
        "spec": {"clusterId": "7f0c", "syncMode": "Pull", "clusterType": "EdgeCluster"},
        "status": {"k8sVersion": "v1.37.2", "agentVersion": "v0.1", "conditions": [{"type": "Ready", "status": "True"}],
            "link": "Offline", "lastContact": "2026-11-23T22:05:00Z", "sync": "3 pending", "objects": 12},
    });
    let narrow = pairs(&[
        ("NAME", "c1"),
        ("STATUS", "True"),
        ("LINK", "Offline"),
        ("LAST-CONTACT", "7s"),
        ("SYNC", "3 pending"),
        ("OBJECTS", "12"),
        ("KUBERNETES", "v1.37.2"),
        ("AGE", "5m"),
    ]);
    assert_eq!(printed("clusters.clusternet.io", "ManagedCluster", cluster.clone(), false), narrow);
    let all = printed("clusters.clusternet.io", "ManagedCluster", cluster, true);
    assert_eq!(
        all[8..],
        pairs(&[("SYNC MODE", "Pull"), ("CLUSTER ID", "7f0c"), ("CLUSTER TYPE", "EdgeCluster"), ("AGENT VERSION", "v0.1")])
    );
}

#[test]
fn a_subscription_prints_its_counts_and_the_first_thing_that_is_wrong() {
    let object = json!({
        "metadata": {"name": "app", "creationTimestamp": "2026-11-23T22:05:00Z", "generation": 4},
        "status": {"counts": {"clusters": 3, "applied": 2, "healthy": 1, "offline": 1},
            "conditions": [{"type": "Healthy", "status": "False", "message": "1 of 2 clusters"}]},
    });
    let expected = [("CLUSTERS", "3"), ("APPLIED", "2"), ("HEALTHY", "1"), ("OFFLINE", "1"), ("REVISION", "4"), ("AGE", "7s")];
    let expected = [&[("NAME", "app")], &expected[..], &[("MESSAGE", "1 of 2 clusters")]].concat();
    assert_eq!(printed("apps.clusternet.io", "Subscription", object, true), pairs(&expected));
}

#[test]
fn a_template_that_runs_nowhere_shows_no_counts() {
    let object = json!({
        "metadata": {"name": "web", "creationTimestamp": "2026-11-23T22:05:00Z"},
        "spec": {"replicas": 3, "selector": {"matchLabels": {"app": "web"}}, "template": {"spec": {"containers": [{"name": "a", "image": "b:1"}, {"name": "c", "image": "d"}]}}},
    });
    let expected = pairs(&[
        ("NAME", "web"),
        ("READY", "-/3"),
        ("UP-TO-DATE", "-"),
        ("AVAILABLE", "-"),
        ("AGE", "7s"),
        ("CONTAINERS", "a,c"),
        ("IMAGES", "b:1,d"),
        ("SELECTOR", "app=web"),
    ]);
    assert_eq!(printed("apps", "Deployment", object.clone(), true), expected);
    let mut running = object;
    running["status"] = json!({"readyReplicas": 2});
    assert_eq!(printed("apps", "Deployment", running, false)[1..4], pairs(&[("READY", "2/3"), ("UP-TO-DATE", "0"), ("AVAILABLE", "0")]));
}

#[test]
fn services_and_secrets_print_as_kubectl_users_know_them() {
    let service = json!({"metadata": {"name": "s"}, "spec": {"ports": [{"port": 80, "nodePort": 30080}, {"port": 53, "protocol": "UDP"}]}});
    let expected = [
        ("NAME", "s"),
        ("TYPE", "ClusterIP"),
        ("CLUSTER-IP", "<none>"),
        ("EXTERNAL-IP", "<none>"),
        ("PORT(S)", "80:30080/TCP,53/UDP"),
        ("AGE", "<unknown>"),
    ];
    assert_eq!(printed("", "Service", service, false), pairs(&expected));
    let secret = json!({"metadata": {"name": "x"}, "type": "Opaque", "data": {"a": "", "b": ""}});
    assert_eq!(printed("", "Secret", secret, false)[1..3], pairs(&[("TYPE", "Opaque"), ("DATA", "2")]));
}

#[test]
fn rows_carry_what_the_client_asked_for() {
    let (resource, object) =
        (find_kind("", "ConfigMap").unwrap(), json!({"kind": "ConfigMap", "metadata": {"name": "a"}, "data": {"k": "v"}}));
    let carried = |include| table(resource, std::slice::from_ref(&object), include, json!({"resourceVersion": "7"}), at(0));
    assert_eq!(carried(IncludeObject::Object)["rows"][0]["object"], object);
    assert_eq!(carried(IncludeObject::None)["rows"][0]["object"], Value::Null);
    let default = carried(IncludeObject::parse("").unwrap());
    let partial = json!({"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": {"name": "a"}});
    assert_eq!(default["rows"][0]["object"], partial);
    assert_eq!(default["metadata"]["resourceVersion"], "7");
    assert_eq!(IncludeObject::parse("Everything"), None);
}

#[test]
fn no_kind_fails_on_an_odd_object() {
    for resource in catalogue() {
        for odd in [json!({}), json!(null), json!([1]), json!({"metadata": 1, "spec": "x", "status": [], "template": 3})] {
            let made = table(resource, &[odd], IncludeObject::Metadata, Value::Null, at(0));
            assert_eq!(made["rows"][0]["cells"].as_array().map(Vec::len), made["columnDefinitions"].as_array().map(Vec::len));
        }
    }
}
