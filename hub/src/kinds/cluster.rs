//! ManagedCluster: a member as the hub knows it. Agents own the facts in `status`, the hub owns what it adds to them.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Taint;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::schema;

/// What a member cluster is.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[kube(
    group = "clusters.clusternet.io",
    version = "v1beta1",
    kind = "ManagedCluster",
    namespaced,
    status = "ManagedClusterStatus",
    shortname = "mcls",
    category = "clusternet",
    derive = "PartialEq",
    doc = "A member cluster.",
    printcolumn = r#"{"name": "STATUS", "type": "string", "jsonPath": ".status.conditions[?(@.type==\"Ready\")].status", "description": "Whether the cluster is ready"}"#,
    printcolumn = r#"{"name": "LINK", "type": "string", "jsonPath": ".status.link", "description": "Whether the agent is connected"}"#,
    printcolumn = r#"{"name": "LAST-CONTACT", "type": "date", "jsonPath": ".status.lastContact", "description": "How old everything here is"}"#,
    printcolumn = r#"{"name": "SYNC", "type": "string", "jsonPath": ".status.sync", "description": "Whether everything desired is applied"}"#,
    printcolumn = r#"{"name": "OBJECTS", "type": "integer", "jsonPath": ".status.objects", "description": "Objects that the cluster is to have"}"#,
    printcolumn = r#"{"name": "KUBERNETES", "type": "string", "jsonPath": ".status.k8sVersion", "description": "The cluster's Kubernetes version"}"#,
    printcolumn = r#"{"name": "AGE", "type": "date", "jsonPath": ".metadata.creationTimestamp"}"#,
    printcolumn = r#"{"name": "SYNC MODE", "type": "string", "jsonPath": ".spec.syncMode", "description": "Clusternet's sync mode; the agent pulls in each of them", "priority": 100}"#,
    printcolumn = r#"{"name": "CLUSTER ID", "type": "string", "jsonPath": ".spec.clusterId", "description": "The unique id of the cluster", "priority": 100}"#,
    printcolumn = r#"{"name": "CLUSTER TYPE", "type": "string", "jsonPath": ".spec.clusterType", "description": "The type of the cluster", "priority": 100}"#,
    printcolumn = r#"{"name": "AGENT VERSION", "type": "string", "jsonPath": ".status.agentVersion", "description": "The agent's version", "priority": 100}"#
)]
#[x_kube(validation = ("!has(oldSelf.clusterInitBaseName) || has(self.clusterInitBaseName)", "clusterInitBaseName is required once set"))]
#[serde(rename_all = "camelCase")]
pub struct ManagedClusterSpec {
    /// The cluster's identity: the UID of its Lease `clusternet-agent`.
    #[schemars(regex(pattern = "^[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}$"))]
    pub cluster_id: String,
    /// A label only, such as `EdgeCluster` or `StandardCluster`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster_type: Option<String>,
    /// Clusternet's Base for initialisation; immutable.
    #[schemars(length(max = 512))]
    #[x_kube(validation = ("self == oldSelf", "clusterInitBaseName is immutable"))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster_init_base_name: Option<String>,
    /// Clusternet's sync mode; over the bus the agent always pulls.
    #[schemars(extend("enum" = ["Push", "Pull", "Dual"]))]
    pub sync_mode: String,
    /// Taints that keep Subscriptions without a matching toleration away.
    #[schemars(schema_with = "schema::taints")]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub taints: Vec<Taint>,
}

/// What was last known of a member cluster; every value is as old as `lastObservedTime`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct ManagedClusterStatus {
    /// The cluster's id on the bus, 8 characters of a-z2-7.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sid: Option<String>,
    /// The agent's long-lived X25519 public key, which its sessions are sealed with: 32 bytes, base64.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub link_key: Option<String>,
    /// Who may connect as this cluster: SHA-256 of the SubjectPublicKeyInfo of its client keys, hex, the newest first. Nobody when empty.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tls_keys: Vec<String>,
    /// When the hub last heard from the agent.
    #[schemars(schema_with = "schema::time")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_contact: Option<Time>,
    /// `Connected`, `Offline`, `NeverConnected`, `Cloned` or `Revoked`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub link: Option<String>,
    /// `Synced`, `N pending`, or `Unknown` while nobody can say; what was last known while the agent is offline.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sync: Option<String>,
    /// How many objects the cluster is to have.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub objects: Option<i32>,
    /// What on the member waits for somebody or for time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pending: Option<Pending>,
    /// When these facts were true last: agents tell only what changes.
    #[schemars(schema_with = "schema::time")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_observed_time: Option<Time>,
    #[serde(rename = "k8sVersion", skip_serializing_if = "Option::is_none")]
    pub k8s_version: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub platform: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub agent_version: Option<String>,
    #[serde(rename = "apiserverURL", skip_serializing_if = "Option::is_none")]
    pub apiserver_url: Option<String>,
    pub healthz: bool,
    pub livez: bool,
    pub readyz: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub app_pusher: Option<bool>,
    pub use_socket: bool,
    #[serde(rename = "kubeQPS", skip_serializing_if = "Option::is_none")]
    #[schemars(extend("format" = "float"))]
    pub kube_qps: Option<f32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kube_burst: Option<i32>,
    #[schemars(schema_with = "schema::resource_list")]
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub allocatable: BTreeMap<String, String>,
    #[schemars(schema_with = "schema::resource_list")]
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub capacity: BTreeMap<String, String>,
    /// Networks of the pods, separated by commas.
    #[serde(rename = "clusterCIDR", skip_serializing_if = "Option::is_none")]
    pub cluster_cidr: Option<String>,
    /// Networks of the Services, separated by commas.
    #[serde(rename = "serviceCIDR", skip_serializing_if = "Option::is_none")]
    pub service_cidr: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node_statistics: Option<NodeStatistics>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pod_statistics: Option<PodStatistics>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resource_usage: Option<ResourceUsage>,
    /// Labels that enough nodes share; they become labels of this object unless somebody set others of the same key.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub node_labels: BTreeMap<String, String>,
    /// How many labels of nodes were left out because there are too many.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node_labels_left_out: Option<i32>,
    #[schemars(schema_with = "schema::conditions")]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
    /// Seconds between two signs of life of an idle link.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub heartbeat_frequency_seconds: Option<i64>,
    pub predictor_enabled: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub predictor_address: Option<String>,
    pub predictor_direct_access: bool,
}

/// Nodes by the state of their Ready condition.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct NodeStatistics {
    pub ready_nodes: i32,
    pub not_ready_nodes: i32,
    pub unknown_nodes: i32,
    pub lost_nodes: i32,
}

/// Pods of all namespaces, where the agent may list them.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct PodStatistics {
    pub running_pods: i32,
    pub total_pods: i32,
}

/// Use of the nodes, where the agent is to ask the member's metrics server; Kubernetes quantities.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct ResourceUsage {
    pub cpu_usage: String,
    pub memory_usage: String,
}

/// Objects on a member that the hub can't be done with yet.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Pending {
    pub counts: PendingCounts,
    /// The first 100 of them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub objects: Vec<PendingObject>,
    /// The hash that `clusternet.io/confirm-prune` has to name to prune the unclaimed ones.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub list_hash: Option<String>,
}

/// How many objects are pending, by state.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct PendingCounts {
    pub unclaimed: i32,
    pub kept: i32,
    pub removing: i32,
}

/// One object that is pending.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct PendingObject {
    #[serde(skip_serializing_if = "String::is_empty")]
    pub group: String,
    pub kind: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub namespace: String,
    pub name: String,
    /// `Unclaimed`, `Kept` or `Removing`.
    pub state: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub message: String,
}
