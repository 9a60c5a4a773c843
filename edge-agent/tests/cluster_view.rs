//! The facts of a member, gathered from a real API server with hundreds of made-up nodes and pods.

mod support;

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use edge_agent::cluster::api::Api;
use edge_agent::cluster::connect::{Source, connect};
use edge_agent::cluster::facts::{Gatherer, NodeStatistics, Nodes, PodStatistics, ResourceUsage, Settings};
use http::Method;
use serde_json::{Value, json};
use support::kubectl;

const NODES: usize = 230;
const PODS: usize = 260;
const RUNNING: usize = 120;

async fn api(kubeconfig: &Path) -> Api {
    connect(&Source::Kubeconfig(kubeconfig.to_owned())).expect("kubeconfig is good")
}

async fn gatherer(settings: Settings) -> Gatherer {
    Gatherer::new(api(&support::member().kubeconfig).await, settings, None)
}

/// One test, since all nodes and pods are one cluster's.
#[tokio::test]
async fn facts_are_what_hundreds_of_nodes_and_pods_say() {
    let api = api(&support::member().kubeconfig).await;
    two_nodes_by_their_condition().await;
    create(NODES, node);
    pods(&api).await;
    let mut gatherer = gatherer(Settings::default()).await;
    let facts = gatherer.gather().await.expect("facts").clone();
    assert!(facts.k8s_version.starts_with("v1."), "{}", facts.k8s_version);
    assert!(facts.platform.starts_with("linux/") && facts.apiserver_url.starts_with("https://127.0.0.1:"));
    assert!(facts.healthz && facts.livez && facts.readyz && facts.heartbeat_frequency_seconds == 30);
    let nodes = facts.nodes.expect("nodes may be listed");
    let NodeStatistics { ready_nodes, not_ready_nodes, unknown_nodes, lost_nodes } = nodes.node_statistics;
    assert_eq!(usize::try_from(ready_nodes + not_ready_nodes + unknown_nodes + lost_nodes), Ok(NODES + 2));
    assert_eq!(nodes.capacity["cpu"], (4 * (NODES + 2)).to_string());
    let counted = PodStatistics { running_pods: RUNNING as i32, total_pods: PODS as i32 };
    assert_eq!(facts.pod_statistics, Some(counted));
    assert_eq!(facts.resource_usage, None, "the metrics server is not asked");
    let shared = BTreeMap::from([("node.clusternet.io/zone".to_owned(), "north".to_owned())]);
    assert_eq!((facts.node_labels, facts.node_labels_left_out), (Some(shared), 1), "a value of every node is too many values");
    assert_eq!(facts.service_cidr.as_deref(), Some("10.96.0.0/16"), "as the API server was started");
    assert_eq!(facts.cluster_cidr.as_deref(), Some("10.244.0.0/16"), "what holds 10.244.0.0/24 to 10.244.229.0/24");
    nodes_that_lose_a_label_take_it_away(&mut gatherer).await;
    a_controller_manager_in_a_pod_says_the_pods_network().await;
}

async fn two_nodes_by_their_condition() {
    for (name, ready, cpu, memory) in [("f1", "True", "3920m", "8Gi"), ("f2", "False", "80m", "512Mi")] {
        let node = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": name}});
        kubectl(&["create", "-f", "-"], &node.to_string());
        let status = json!({"status": {
            "capacity": {"cpu": "4", "memory": memory, "pods": "110"},
            "allocatable": {"cpu": cpu, "memory": memory},
            "conditions": [{"type": "Ready", "status": ready}]}});
        kubectl(&["patch", "node", name, "--subresource=status", "--type=merge", "-p", &status.to_string()], "");
    }
    let mut gatherer = gatherer(Settings::default()).await;
    let found = gatherer.gather().await.expect("facts").nodes.clone().expect("nodes may be listed");
    let sums = |cpu: &str| BTreeMap::from([("cpu".to_owned(), cpu.to_owned()), ("memory".into(), "8704Mi".into())]);
    let node_statistics = NodeStatistics { ready_nodes: 1, not_ready_nodes: 1, ..NodeStatistics::default() };
    assert_eq!(found, Nodes { capacity: sums("8"), allocatable: sums("4"), node_statistics });
}

/// Nine of ten nodes are in the north.
fn node(index: usize) -> Value {
    let zone = if index % 10 == 9 { "south" } else { "north" };
    let labels = json!({
        "node.clusternet.io/zone": zone, "node.clusternet.io/serial": format!("s{index}"), "node.clusternet.io/half": (index % 2).to_string(),
        "kubernetes.io/os": "linux"});
    json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": format!("view-{index:03}"), "labels": labels},
        "spec": {"podCIDR": format!("10.244.{index}.0/24"), "podCIDRs": [format!("10.244.{index}.0/24")]},
        "status": {"capacity": {"cpu": "4", "memory": "8Gi", "pods": "110"}}})
}

async fn pods(api: &Api) {
    kubectl(&["create", "namespace", "view"], "");
    let end = Instant::now() + Duration::from_secs(60);
    while kubectl(&["-n", "view", "get", "serviceaccount", "-o", "name"], "").is_empty() {
        assert!(Instant::now() < end, "the namespace has no service account");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    create(PODS, |index| pod("view", &format!("p{index}"), json!({}), &[]));
    let running = json!({"status": {"phase": "Running"}}).to_string();
    for index in 0..RUNNING {
        let path = format!("/api/v1/namespaces/view/pods/p{index}/status");
        let content = ("application/merge-patch+json", running.clone().into_bytes());
        api.write::<Value>(Method::PATCH, &path, content).await.expect("a status can be patched");
    }
}

fn pod(namespace: &str, name: &str, labels: Value, command: &[&str]) -> Value {
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": namespace, "labels": labels},
        "spec": {"automountServiceAccountToken": false, "containers": [{"name": "c", "image": "example.com/c:1", "command": command}]}})
}

fn create(count: usize, object: impl Fn(usize) -> Value) {
    let mut text = String::new();
    (0..count).for_each(|index| writeln!(text, "---\n{}", object(index)).expect("a string grows"));
    kubectl(&["create", "-f", "-"], &text);
}

async fn nodes_that_lose_a_label_take_it_away(gatherer: &mut Gatherer) {
    kubectl(&["label", "nodes", "-l", "node.clusternet.io/half=0", "node.clusternet.io/zone-"], "");
    let facts = gatherer.gather().await.expect("facts");
    assert_eq!(facts.node_labels, Some(BTreeMap::new()));
    assert!(facts.pod_statistics.is_some(), "pods are not counted again so soon, and what was counted stays");
}

async fn a_controller_manager_in_a_pod_says_the_pods_network() {
    let command = ["kube-controller-manager", "--allocate-node-cidrs=true", "--cluster-cidr=10.240.0.0/12"];
    let object = pod("kube-system", "kube-controller-manager-view", json!({"component": "kube-controller-manager"}), &command);
    kubectl(&["create", "-f", "-"], &object.to_string());
    let found = gatherer(Settings::default()).await.gather().await.expect("facts").cluster_cidr.clone();
    assert_eq!(found.as_deref(), Some("10.240.0.0/12"));
    let settings = Settings { cluster_cidr: Some("10.0.0.0/8".into()), ..Settings::default() };
    let said = gatherer(settings).await.gather().await.expect("facts").cluster_cidr.clone();
    assert_eq!(said.as_deref(), Some("10.0.0.0/8"), "what somebody said holds");
}

#[tokio::test]
async fn what_may_not_be_read_is_left_out_until_it_may() {
    kubectl(&["create", "namespace", "view-denied"], "");
    kubectl(&["-n", "view-denied", "create", "serviceaccount", "poor"], "");
    let mut gatherer = Gatherer::new(api(&poor_kubeconfig()).await, Settings::default(), None);
    let facts = gatherer.gather().await.expect("facts");
    assert!(facts.k8s_version.starts_with("v1.") && facts.livez);
    assert_eq!((&facts.nodes, &facts.node_labels, &facts.pod_statistics), (&None, &None, &None));
    assert_eq!((&facts.cluster_cidr, &facts.service_cidr), (&None, &None));
    kubectl(&["create", "clusterrole", "view-nodes", "--verb=list", "--resource=nodes"], "");
    kubectl(&["create", "clusterrolebinding", "view-nodes", "--clusterrole=view-nodes", "--serviceaccount=view-denied:poor"], "");
    let end = Instant::now() + Duration::from_secs(30);
    while gatherer.gather().await.expect("facts").nodes.is_none() {
        assert!(Instant::now() < end, "the right to list nodes is not noticed");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// A kubeconfig of somebody without any rights of its own.
fn poor_kubeconfig() -> PathBuf {
    let admin = std::fs::read_to_string(&support::member().kubeconfig).expect("a kubeconfig");
    let token = kubectl(&["-n", "view-denied", "create", "token", "poor"], "");
    let users = admin.lines().find(|line| line.starts_with("users:")).expect("a users line");
    let poor = admin.replace(users, &format!("users: [{{name: admin, user: {{token: {}}}}}]", token.trim()));
    let path = support::member().dir.join("poor.kubeconfig");
    std::fs::write(&path, poor).expect("kubeconfig is written");
    path
}

/// The metrics API, stood in for by a definition of the same path: what is under test is how its answer is read.
#[tokio::test]
async fn the_metrics_server_says_what_the_nodes_use_if_it_is_to_be_asked() {
    let ask = || async {
        let settings = Settings { use_metrics_server: true, ..Settings::default() };
        gatherer(settings).await.gather().await.expect("facts").resource_usage.clone()
    };
    assert_eq!(ask().await, None, "there is no metrics server");
    let definition = json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "nodes.metrics.k8s.io", "annotations": {"api-approved.kubernetes.io": "unapproved, a test"}},
        "spec": {"group": "metrics.k8s.io", "scope": "Cluster", "names": {"plural": "nodes", "singular": "node", "kind": "NodeMetrics"},
            "versions": [{"name": "v1beta1", "served": true, "storage": true,
                "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}}}]}});
    kubectl(&["create", "-f", "-"], &definition.to_string());
    kubectl(&["wait", "--for=condition=Established", "crd/nodes.metrics.k8s.io", "--timeout=60s"], "");
    for (name, cpu, memory) in [("m1", "156340123n", "1234Ki"), ("m2", "1", "790Ki")] {
        let usage = json!({"apiVersion": "metrics.k8s.io/v1beta1", "kind": "NodeMetrics", "metadata": {"name": name}, "usage": {"cpu": cpu, "memory": memory}});
        let end = Instant::now() + Duration::from_secs(30);
        while !support::try_kubectl(&["create", "-f", "-"], &usage.to_string()) {
            assert!(Instant::now() < end, "the new kind is not served");
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }
    let sum = ResourceUsage { cpu_usage: "1157m".into(), memory_usage: "2024Ki".into() };
    assert_eq!(ask().await, Some(sum));
}
