//! What the hub shows of a cluster comes from the cluster: networks, pods, and the labels of its nodes, which Subscriptions select by.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use tests::{Agent, Kubectl, Member, Road, condition};

/// Longer than the agent takes to look at the nodes, and to miss an API server, on a busy machine.
const SOON: Duration = Duration::from_secs(120);
const PODS: Duration = Duration::from_secs(120);
const ZONE: &str = "node.clusternet.io/zone";

const WORK: &str = "
apiVersion: apps/v1
kind: Deployment
metadata: {name: work, namespace: default}
spec:
  replicas: 2
  selector: {matchLabels: {app: work}}
  template:
    metadata: {labels: {app: work}}
    spec:
      terminationGracePeriodSeconds: 1
      containers: [{name: work, image: 'docker.io/local/busybox:1', imagePullPolicy: Never, command: [sleep, '100000']}]
";

const NORTH: &str = "
apiVersion: v1
kind: ConfigMap
metadata: {name: north, namespace: default}
data: {only: north}
---
apiVersion: apps.clusternet.io/v1alpha1
kind: Subscription
metadata: {name: north, namespace: default}
spec:
  subscribers: [{clusterAffinity: {matchLabels: {node.clusternet.io/zone: north}}}]
  feeds: [{apiVersion: v1, kind: ConfigMap, namespace: default, name: north}]
";

/// Waits until a ManagedCluster satisfies.
fn shown(road: &Road, cluster: &str, satisfies: impl Fn(&Value) -> bool) -> Result<Value> {
    let find = |found: &Value| found["items"].as_array()?.iter().find(|item| item["metadata"]["name"] == cluster).cloned();
    let waited = road.hub.kubectl().wait_until(["mcls", "-A"], SOON, |found| find(found).is_some_and(|item| satisfies(&item)));
    find(&waited.map_err(|error| error.context(road.logs()))?).context("just seen")
}

fn make_node(member: &Kubectl, name: &str, zone: &str, network: &str) -> Result<()> {
    let object = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": name, "labels": {ZONE: zone}},
        "spec": {"podCIDR": network, "podCIDRs": [network]}, "status": {"capacity": {"cpu": "2", "memory": "1Gi"}}});
    member.apply(&object.to_string()).map(drop)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_hub_shows_what_a_cluster_is_and_subscriptions_select_by_the_labels_of_its_nodes() -> Result<()> {
    let (first, second) = tokio::try_join!(Member::builder("view-one").with_node().start(), Member::start("view-two"))?;
    let node = first.node().context("asked for")?.name().to_owned();
    first.kubectl().run(["label", "node", &node, "node.clusternet.io/zone=north"])?;
    first.kubectl().run(["patch", "node", &node, "-p", r#"{"spec":{"podCIDR":"10.244.7.0/24","podCIDRs":["10.244.7.0/24"]}}"#])?;
    first.kubectl().apply(WORK)?;
    first.kubectl().wait_until(["deployment", "work"], PODS, |found| found["status"]["availableReplicas"] == 2)?;
    for (name, zone, network) in [("s1", "south", "10.42.0.0/24"), ("s2", "south", "10.42.1.0/24"), ("n1", "north", "10.42.2.0/24")] {
        make_node(second.kubectl(), name, zone, network)?;
    }
    let road = Road::between(first, &[&second])?;
    let _agent = Agent::start(&road.hub, &second)?;
    let hub = road.hub.kubectl();

    let one = shown(&road, "view-one", |found| found["metadata"]["labels"][ZONE] == "north")?;
    println!("{:#}", one["status"]);
    let status = &one["status"];
    ensure!((&status["clusterCIDR"], &status["serviceCIDR"]) == (&json!("10.244.7.0/24"), &json!("10.96.0.0/16")), "{status:#}");
    ensure!(status["podStatistics"] == json!({"runningPods": 2, "totalPods": 2}), "{status:#}");
    ensure!(status["nodeStatistics"]["readyNodes"] == 1 && status["capacity"]["cpu"].is_string(), "{status:#}");
    ensure!((&status["heartbeatFrequencySeconds"], &status["appPusher"]) == (&json!(30), &json!(false)), "{status:#}");
    let two = shown(&road, "view-two", |found| found["status"]["nodeStatistics"]["lostNodes"].is_number())?;
    ensure!(two["status"]["clusterCIDR"] == "10.42.0.0/22", "what holds all three: {two:#}");
    ensure!(two["metadata"]["labels"][ZONE].is_null(), "two of three nodes are fewer than 80 percent: {two:#}");
    let wide = hub.run(["get", "mcls", "-A", "-o", "wide"])?;
    println!("{wide}");
    ensure!(wide.contains("SYNC MODE") && wide.contains("Pull"), "{wide}");
    let namespace = two["metadata"]["namespace"].as_str().context("it is namespaced")?.to_owned();
    let mode = |mode: &str| {
        hub.run(["patch", "mcls", "view-two", "-n", &namespace, "--type=merge", "-p", &json!({"spec": {"syncMode": mode}}).to_string()])
    };
    ensure!(mode("Dual").is_ok() && mode("Push").is_ok() && mode("Odd").is_err(), "Clusternet's three modes are taken, and no other");
    road.step("networks, pods and nodes are shown, and the label that the node has");

    hub.apply(NORTH)?;
    road.applied("north")?;
    road.member.kubectl().run(["get", "configmap", "north"])?;
    ensure!(second.kubectl().run(["get", "configmap", "north"]).is_err(), "the south has it too");
    road.step("a Subscription selects by the label of the node");

    second.kubectl().run(["label", "nodes", "--all", "--overwrite", "node.clusternet.io/zone=north"])?;
    shown(&road, "view-two", |found| found["metadata"]["labels"][ZONE] == "north")?;
    second.kubectl().wait_until(["configmap", "north"], SOON, |_| true)?;
    road.member.kubectl().run(["label", "node", &node, "node.clusternet.io/zone-"])?;
    let one = shown(&road, "view-one", |found| found["metadata"]["labels"][ZONE].is_null())?;
    ensure!(one["metadata"]["labels"]["purpose"] == "shop", "a label of somebody else is gone: {one:#}");
    road.nothing_of_ours_is_left()?;
    road.step("a label that the nodes get brings the objects, one that they lose takes them away");
    a_member_that_does_not_answer_is_not_ready(&road, &second)
}

fn a_member_that_does_not_answer_is_not_ready(road: &Road, member: &Member) -> Result<()> {
    let ready = |found: &Value| condition(found, "Ready").map(|ready| ready["status"].clone());
    member.kill()?;
    let down = shown(road, member.name(), |found| ready(found).is_some_and(|status| status == "False"))?;
    ensure!(down["status"]["k8sVersion"] == "v1.37.2" && down["metadata"]["labels"][ZONE] == "north", "not kept: {down:#}");
    member.start_again()?;
    shown(road, member.name(), |found| ready(found).is_some_and(|status| status == "True"))?;
    road.step("an API server that does not answer: not ready, with all that was known; answers again: ready");
    Ok(())
}
