//! What a ManagedCluster's status says about the member: version, health, nodes, capacity, networks, pods, labels that the nodes share.
//!
//! Everything is read a page at a time and only sums are kept, so that memory does not grow with the cluster. What the agent may not
//! read is left out, and the rest goes on.

mod bound;
mod gather;
mod identity;
mod labels;
mod network;
mod nodes;
mod pods;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

pub use gather::Gatherer;
pub use identity::{LEASE, NAMESPACE, cluster_id};

/// Facts about a cluster, under the names of `ManagedCluster.status`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Facts {
    /// Version of the agent.
    pub agent_version: String,
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
    /// Seconds between two signs of life of an idle link.
    pub heartbeat_frequency_seconds: u64,
    /// Sums over all nodes; absent where the agent may not list them.
    #[serde(flatten)]
    pub nodes: Option<Nodes>,
    /// Networks of the pods, separated by commas.
    #[serde(rename = "clusterCIDR", skip_serializing_if = "Option::is_none")]
    pub cluster_cidr: Option<String>,
    /// Networks of the Services, separated by commas.
    #[serde(rename = "serviceCIDR", skip_serializing_if = "Option::is_none")]
    pub service_cidr: Option<String>,
    /// Pods of all namespaces; absent where the agent may not list them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pod_statistics: Option<PodStatistics>,
    /// What the nodes use, if the metrics server is asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resource_usage: Option<ResourceUsage>,
    /// Labels that enough nodes share; absent where the agent may not list them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node_labels: Option<BTreeMap<String, String>>,
    /// How many labels are left out of `node_labels` because there are too many.
    #[serde(skip_serializing_if = "is_zero")]
    pub node_labels_left_out: u32,
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

/// Pods of all namespaces.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PodStatistics {
    /// Their phase is Running.
    pub running_pods: i32,
    /// Whatever their phase.
    pub total_pods: i32,
}

/// What all nodes together use, as quantities.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ResourceUsage {
    /// Cores.
    pub cpu_usage: String,
    /// Bytes.
    pub memory_usage: String,
}

/// What is gathered beyond what every cluster has.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// Beginnings of the keys of node labels that may become labels of the cluster.
    pub label_prefixes: Vec<String>,
    /// Share of the nodes, above 0 up to 1, that must have a label in common.
    pub label_threshold: f64,
    /// Whether the metrics server is asked for what the nodes use.
    pub use_metrics_server: bool,
    /// The pods' networks where somebody has said them: they are not looked for.
    pub cluster_cidr: Option<String>,
    /// The Services' networks where somebody has said them: they are not looked for.
    pub service_cidr: Option<String>,
}

impl Default for Settings {
    /// Clusternet's defaults.
    fn default() -> Settings {
        Settings {
            label_prefixes: vec!["node.clusternet.io/".into()],
            label_threshold: 0.8,
            use_metrics_server: false,
            cluster_cidr: None,
            service_cidr: None,
        }
    }
}

impl Facts {
    /// The facts of a cluster whose API server does not answer: what was last known, but not healthy.
    #[must_use]
    pub fn unreachable(&self) -> Facts {
        Facts { healthz: false, livez: false, readyz: false, ..self.clone() }
    }
}

/// Whether a text is networks, separated by commas.
#[must_use]
pub fn are_networks(text: &str) -> bool {
    network::networks(text).is_some()
}

fn is_zero(count: &u32) -> bool {
    *count == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn facts_carry_the_names_of_managed_cluster_status_and_read_back() {
        let facts = Facts {
            k8s_version: "v1.37.2".into(),
            apiserver_url: "https://10.0.0.1".into(),
            healthz: true,
            nodes: Some(Nodes::default()),
            cluster_cidr: Some("10.244.0.0/16".into()),
            pod_statistics: Some(PodStatistics { running_pods: 1, total_pods: 2 }),
            node_labels: Some(BTreeMap::from([("node.clusternet.io/zone".into(), "a".into())])),
            ..Facts::default()
        };
        let value = serde_json::to_value(&facts).expect("serializes");
        assert_eq!(value["apiserverURL"], "https://10.0.0.1");
        assert_eq!(value["nodeStatistics"]["notReadyNodes"], 0);
        assert_eq!(value["k8sVersion"], "v1.37.2");
        assert_eq!((&value["clusterCIDR"], &value["podStatistics"]["totalPods"]), (&"10.244.0.0/16".into(), &2.into()));
        assert_eq!(value["nodeLabels"]["node.clusternet.io/zone"], "a");
        assert_eq!(serde_json::from_value::<Facts>(value).expect("reads back"), facts);
    }

    #[test]
    fn what_is_not_known_is_not_told() {
        let value = serde_json::to_value(Facts::default()).expect("serializes");
        for field in ["capacity", "nodeStatistics", "clusterCIDR", "serviceCIDR", "podStatistics", "resourceUsage", "nodeLabels"] {
            assert_eq!(value.get(field), None, "{field}");
        }
        assert_eq!(serde_json::from_value::<Facts>(value).expect("reads back"), Facts::default());
    }

    #[test]
    fn a_server_that_does_not_answer_keeps_what_was_known_but_is_not_healthy() {
        let known = Facts { healthz: true, livez: true, readyz: true, k8s_version: "v1.37.2".into(), ..Facts::default() };
        assert_eq!(known.unreachable(), Facts { k8s_version: "v1.37.2".into(), ..Facts::default() });
    }
}
