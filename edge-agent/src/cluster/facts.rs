//! What a ManagedCluster's status says about the member: identity, version, health, nodes, capacity.
//!
//! The identity is the UID of the Lease [`LEASE`] in [`NAMESPACE`], as in Clusternet; it is made once and never changed.

use std::collections::BTreeMap;

use http::Method;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::api::{Accept, Api, Failure};
use super::connect::Version;
use super::list::Pager;
use super::object::{AGENT, Partial, null_as_empty};
use super::quantity::Quantity;

/// Namespace of the agent's Lease.
pub const NAMESPACE: &str = "clusternet-system";
/// Name of the agent's Lease.
pub const LEASE: &str = AGENT;

const SUMMED: [&str; 3] = ["cpu", "memory", "nvidia.com/gpu"];

/// Facts about a cluster, under the names of `ManagedCluster.status`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Facts {
    /// Version of the API server.
    pub k8s_version: String,
    /// Its platform.
    pub platform: String,
    /// The server's address as the agent uses it.
    #[serde(rename = "apiserverURL")]
    pub apiserver_url: String,
    /// Whether `/healthz` answers 200.
    pub healthz: bool,
    /// Whether `/livez` answers 200.
    pub livez: bool,
    /// Whether `/readyz` answers 200.
    pub readyz: bool,
    /// Sums over all nodes.
    #[serde(flatten)]
    pub nodes: Nodes,
}

/// Sums over all nodes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Nodes {
    /// Sum of capacity, as quantities.
    pub capacity: BTreeMap<String, String>,
    /// Sum of what pods may use, as quantities.
    pub allocatable: BTreeMap<String, String>,
    /// Counts by state.
    pub node_statistics: NodeStatistics,
}

/// Nodes by their Ready condition.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NodeStatistics {
    /// Ready is True.
    pub ready_nodes: i32,
    /// Ready is False.
    pub not_ready_nodes: i32,
    /// Ready is Unknown.
    pub unknown_nodes: i32,
    /// There is no Ready condition.
    pub lost_nodes: i32,
}

/// Collects the facts.
///
/// # Errors
/// The server can't be asked, or does not let the agent list nodes.
pub async fn collect(api: &Api) -> Result<Facts, Failure> {
    let version: Version = api.get("/version", Accept::Whole).await?;
    let nodes = nodes(api).await?;
    Ok(Facts {
        k8s_version: version.git_version,
        platform: version.platform,
        apiserver_url: api.url().to_owned(),
        healthz: api.healthy("/healthz").await,
        livez: api.healthy("/livez").await,
        readyz: api.healthy("/readyz").await,
        nodes,
    })
}

/// The cluster's identity: the UID of the agent's Lease, which is made (with its namespace) if it is missing.
///
/// # Errors
/// The server can't be asked, or refuses; the sentence says what.
pub async fn cluster_id(api: &Api) -> Result<String, Failure> {
    let leases = format!("/apis/coordination.k8s.io/v1/namespaces/{NAMESPACE}/leases");
    let lease = format!("{leases}/{LEASE}");
    if let Some(found) = api.find::<Partial>(&lease, Accept::Metadata).await? {
        return Ok(found.metadata.uid);
    }
    let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}});
    // Who may not make namespaces may find that somebody has made this one: the Lease shows.
    match create(api, "/api/v1/namespaces", &namespace).await {
        Err(failure) if failure.code() != Some(403) => return Err(failure),
        _ => {}
    }
    let empty = json!({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": LEASE}});
    create(api, &leases, &empty).await?;
    Ok(api.get::<Partial>(&lease, Accept::Metadata).await?.metadata.uid)
}

/// Creates an object; that it exists already is as good.
async fn create(api: &Api, collection: &str, object: &serde_json::Value) -> Result<(), Failure> {
    let content = ("application/json", object.to_string().into_bytes());
    let target = format!("{collection}?fieldManager={AGENT}");
    match api.write::<Partial>(Method::POST, &target, content).await {
        Err(failure) if failure.code() != Some(409) => Err(failure),
        _ => Ok(()),
    }
}

async fn nodes(api: &Api) -> Result<Nodes, Failure> {
    let mut totals = Totals::default();
    let mut pager = Pager::new("/api/v1/nodes", "", Accept::Whole);
    while let Some(page) = pager.page::<Node>(api).await? {
        page.iter().for_each(|node| totals.count(&node.status));
    }
    Ok(totals.finish())
}

#[derive(Deserialize)]
struct Node {
    #[serde(default)]
    status: NodeStatus,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct NodeStatus {
    capacity: BTreeMap<String, String>,
    allocatable: BTreeMap<String, String>,
    #[serde(deserialize_with = "null_as_empty")]
    conditions: Vec<Condition>,
}

#[derive(Deserialize)]
struct Condition {
    #[serde(rename = "type")]
    kind: String,
    status: String,
}

#[derive(Default)]
struct Totals {
    capacity: BTreeMap<&'static str, Quantity>,
    allocatable: BTreeMap<&'static str, Quantity>,
    statistics: NodeStatistics,
}

impl Totals {
    fn count(&mut self, node: &NodeStatus) {
        add(&mut self.capacity, &node.capacity);
        add(&mut self.allocatable, &node.allocatable);
        let ready = node.conditions.iter().find(|condition| condition.kind == "Ready");
        let statistics = &mut self.statistics;
        *match ready.map(|condition| condition.status.as_str()) {
            Some("True") => &mut statistics.ready_nodes,
            Some("False") => &mut statistics.not_ready_nodes,
            Some(_) => &mut statistics.unknown_nodes,
            None => &mut statistics.lost_nodes,
        } += 1;
    }

    fn finish(self) -> Nodes {
        let write = |sums: BTreeMap<&str, Quantity>| sums.into_iter().map(|(name, sum)| (name.to_owned(), sum.to_string())).collect();
        Nodes { capacity: write(self.capacity), allocatable: write(self.allocatable), node_statistics: self.statistics }
    }
}

fn add(sums: &mut BTreeMap<&'static str, Quantity>, node: &BTreeMap<String, String>) {
    for name in SUMMED {
        if let Some(amount) = node.get(name).and_then(|text| Quantity::parse(text)) {
            let sum = sums.entry(name).or_default();
            *sum = *sum + amount;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(ready: &str, cpu: &str) -> NodeStatus {
        let condition = match ready {
            "" => String::new(),
            status => format!(r#"{{"type":"Ready","status":"{status}"}}"#),
        };
        let json = format!(r#"{{"capacity":{{"cpu":"{cpu}","pods":"110"}},"conditions":[{condition}]}}"#);
        serde_json::from_str(&json).expect("test node")
    }

    #[test]
    fn nodes_are_counted_by_condition_and_summed() {
        let mut totals = Totals::default();
        for (ready, cpu) in [("True", "4"), ("True", "500m"), ("False", "1"), ("Unknown", "1"), ("", "odd")] {
            totals.count(&node(ready, cpu));
        }
        let nodes = totals.finish();
        assert_eq!(nodes.capacity, BTreeMap::from([("cpu".to_owned(), "6500m".to_owned())]));
        let expected = NodeStatistics { ready_nodes: 2, not_ready_nodes: 1, unknown_nodes: 1, lost_nodes: 1 };
        assert_eq!(nodes.node_statistics, expected);
    }

    #[test]
    fn facts_carry_the_names_of_managed_cluster_status() {
        let facts = Facts {
            k8s_version: "v1.37.2".into(),
            platform: "linux/arm64".into(),
            apiserver_url: "https://10.0.0.1".into(),
            healthz: true,
            livez: true,
            readyz: false,
            nodes: Nodes::default(),
        };
        let value = serde_json::to_value(facts).expect("serializes");
        assert_eq!(value["apiserverURL"], "https://10.0.0.1");
        assert_eq!(value["nodeStatistics"]["notReadyNodes"], 0);
        assert_eq!(value["k8sVersion"], "v1.37.2");
    }
}
