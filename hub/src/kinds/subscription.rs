//! Subscription: which templates go to which clusters, and how far that has come.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Toleration;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, LabelSelector};
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::schema;

/// Which templates go to which clusters.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "apps.clusternet.io",
    version = "v1alpha1",
    kind = "Subscription",
    namespaced,
    status = "SubscriptionStatus",
    shortname = "sub",
    shortname = "subs",
    category = "clusternet",
    derive = "PartialEq",
    doc = "Which templates go to which clusters.",
    printcolumn = r#"{"name": "CLUSTERS", "type": "integer", "jsonPath": ".status.counts.clusters", "description": "Clusters this is bound to"}"#,
    printcolumn = r#"{"name": "APPLIED", "type": "integer", "jsonPath": ".status.counts.applied", "description": "Clusters where everything is applied"}"#,
    printcolumn = r#"{"name": "HEALTHY", "type": "integer", "jsonPath": ".status.counts.healthy", "description": "Clusters where everything is well"}"#,
    printcolumn = r#"{"name": "OFFLINE", "type": "integer", "jsonPath": ".status.counts.offline", "description": "Clusters that are away"}"#,
    printcolumn = r#"{"name": "REVISION", "type": "integer", "jsonPath": ".metadata.generation", "description": "How often the spec was changed"}"#,
    printcolumn = r#"{"name": "AGE", "type": "date", "jsonPath": ".metadata.creationTimestamp"}"#
)]
#[serde(rename_all = "camelCase")]
pub struct SubscriptionSpec {
    /// The scheduler that places this; only `default` is known.
    #[serde(default = "default_scheduler")]
    pub scheduler_name: String,
    /// Whether each subscriber picks clusters as a group of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scheduling_by_sub_group: Option<bool>,
    /// Copy to every matching cluster, or divide replicas among them.
    #[serde(default)]
    pub scheduling_strategy: SchedulingStrategy,
    /// How replicas are divided, with strategy `Dividing`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dividing_scheduling: Option<DividingScheduling>,
    /// Decides which of two Subscriptions owns an object that both feed; higher wins.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub priority: Option<i32>,
    /// Clusternet's preemption policy; nothing is preempted by being placed.
    #[serde(default = "default_preemption")]
    #[schemars(extend("enum" = ["PreemptLowerPriority", "PreemptNever", "Never"]))]
    pub preemption_policy: String,
    /// Clusters that match any of these are bound.
    pub subscribers: Vec<Subscriber>,
    /// Taints this Subscription puts up with.
    #[schemars(schema_with = "schema::tolerations")]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cluster_tolerations: Vec<Toleration>,
    /// The templates to send; their order means nothing.
    pub feeds: Vec<Feed>,
}

fn default_scheduler() -> String {
    "default".to_owned()
}

fn default_preemption() -> String {
    "PreemptLowerPriority".to_owned()
}

/// How replicas are laid out over clusters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum SchedulingStrategy {
    #[default]
    Replication,
    Dividing,
}

/// How replicas are divided among clusters.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DividingScheduling {
    #[serde(rename = "type", default = "static_dividing")]
    #[schemars(extend("enum" = ["Static", "Dynamic"]))]
    pub kind: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dynamic_dividing: Option<DynamicDividing>,
}

fn static_dividing() -> String {
    "Static".to_owned()
}

/// Division by free capacity.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DynamicDividing {
    #[serde(default = "spread")]
    #[schemars(extend("enum" = ["Spread", "Binpack"]))]
    pub strategy: String,
    #[schemars(schema_with = "schema::opaque_objects")]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub topology_spread_constraints: Vec<Value>,
    #[schemars(schema_with = "schema::opaque_objects")]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub preferred_clusters: Vec<Value>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_clusters: Option<i32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_clusters: Option<i32>,
}

fn spread() -> String {
    "Spread".to_owned()
}

/// One set of clusters.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Subscriber {
    /// Selects ManagedClusters of all namespaces by label.
    #[schemars(schema_with = "schema::label_selector")]
    pub cluster_affinity: LabelSelector,
    /// This set's share in static dividing.
    #[schemars(range(min = 0))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weight: Option<i32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sub_group_strategy: Option<SubGroupStrategy>,
}

/// How many clusters of a group are picked.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SubGroupStrategy {
    #[schemars(range(min = 0))]
    pub min_clusters: i32,
}

/// Names one template.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Feed {
    pub kind: String,
    pub api_version: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    pub name: String,
}

/// How far a Subscription has come.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct SubscriptionStatus {
    /// The generation that everything here speaks of.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Bound clusters as `namespace/name`, sorted; the first 500.
    pub binding_clusters: Vec<String>,
    /// Replicas by feed, index-aligned with `bindingClusters`, where they are divided.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub replicas: BTreeMap<String, Vec<i32>>,
    /// How many clusters are to have it.
    pub desired_releases: i32,
    /// How many clusters have it.
    pub completed_releases: i32,
    pub counts: Counts,
    /// The first 100 clusters that refuse something or where something is not well.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub unhealthy_clusters: Vec<UnhealthyCluster>,
    /// Each feed's state, by cluster; the first 500 clusters.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub aggregated_statuses: Vec<AggregatedStatus>,
    #[schemars(schema_with = "schema::conditions")]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
}

/// Clusters of a Subscription, counted; a cluster that is away counts in `offline` beside what was last known of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Counts {
    pub clusters: i32,
    pub applied: i32,
    pub pending: i32,
    pub failed: i32,
    pub healthy: i32,
    pub progressing: i32,
    pub unhealthy: i32,
    pub offline: i32,
}

/// A cluster on which something of a Subscription is not well, and the first thing that is not.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct UnhealthyCluster {
    /// `namespace/name` of the ManagedCluster.
    pub cluster: String,
    pub object: String,
    /// One word for machines, such as `ImagePullBackOff` or `ApplyFailed`.
    pub reason: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub message: String,
}

/// One feed's state over all clusters.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AggregatedStatus {
    pub kind: String,
    pub api_version: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    pub name: String,
    #[serde(default)]
    pub feed_status_summary: FeedStatusSummary,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub feed_status_details: Vec<FeedStatusPerCluster>,
}

/// A feed's state summed up.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct FeedStatusSummary {
    /// Whether it is applied on every bound cluster.
    pub available: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replica_status: Option<ReplicaStatus>,
}

/// A feed's state on one cluster.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct FeedStatusPerCluster {
    pub cluster_id: String,
    pub cluster_name: String,
    pub available: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replica_status: Option<ReplicaStatus>,
}

/// Replica numbers as workloads report them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct ReplicaStatus {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    pub replicas: i32,
    pub updated_replicas: i32,
    pub current_replicas: i32,
    pub ready_replicas: i32,
    pub available_replicas: i32,
    pub unavailable_replicas: i32,
    pub active: i32,
    pub succeeded: i32,
    pub failed: i32,
}
