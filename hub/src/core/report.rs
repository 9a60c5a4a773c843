//! What the sync side says of a cluster: how far each object is, and what the agent knows of its cluster.

use std::collections::BTreeMap;

use k8s_openapi::jiff::Timestamp;

use super::id::{ClusterKey, ObjectId};
use crate::kinds::NodeStatistics;

/// Everything now known of one cluster; a newer report replaces an older one whole.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ClusterReport {
    pub cluster: ClusterKey,
    /// The `rv` of the PlanUpdate that the states below were judged by. States of an older plan say nothing of the present one.
    pub listed_at_rv: Option<u64>,
    pub connected: bool,
    /// Two agent processes that share this cluster's identity, by boot id; neither is served.
    pub clones: Option<[String; 2]>,
    /// When the hub last heard from the agent.
    pub last_contact: Option<Timestamp>,
    pub objects: Vec<ObjectReport>,
    /// The hash of the agent's list, which a confirmation to prune has to name.
    pub list_hash: Option<String>,
    pub facts: Option<ClusterFacts>,
}

/// How far one object on one member is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectReport {
    pub object: ObjectId,
    /// UIDs of the Subscriptions it is for; empty means all whose list names it.
    pub bundles: Vec<String>,
    pub state: ObjectState,
    /// Absent while nobody has looked.
    pub healthy: Option<bool>,
}

/// How far an object is, measured against what is desired of it now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ObjectState {
    /// What is desired was applied.
    Applied,
    /// Not yet, for no fault of the object.
    Pending,
    /// The member's API server refused it.
    Failed { code: u16, message: String },
    /// The agent refused to take it.
    Rejected { message: String },
    /// On the member, in no list, and not proved to be deleted by us.
    Unclaimed,
    /// To be removed but held back.
    Kept { why: String },
    /// Being removed.
    Removing,
}

/// What an agent collected about its cluster.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ClusterFacts {
    pub observed_at: Option<Timestamp>,
    pub k8s_version: String,
    pub platform: String,
    pub agent_version: String,
    pub apiserver_url: String,
    pub healthz: bool,
    pub livez: bool,
    pub readyz: bool,
    /// Kubernetes quantities by resource name.
    pub allocatable: BTreeMap<String, String>,
    pub capacity: BTreeMap<String, String>,
    pub node_statistics: Option<NodeStatistics>,
    pub heartbeat_frequency_seconds: Option<i64>,
}
