//! What the sync side says of a cluster: how far each object is, and what the agent knows of its cluster.

use std::collections::BTreeMap;

use k8s_openapi::jiff::Timestamp;

use super::guard::Held;
use super::id::{ClusterKey, ObjectId};
use crate::kinds::{NodeStatistics, PodStatistics, ResourceUsage};

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
    /// Removals that wait for a confirmation.
    pub held: Option<Held>,
}

/// How far one object on one member is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectReport {
    pub object: ObjectId,
    /// UIDs of the Subscriptions it is for; empty means all whose list names it.
    pub bundles: Vec<String>,
    pub state: ObjectState,
    /// Absent while nobody has looked.
    pub health: Option<ObjectHealth>,
}

/// How one object does on its member, as the agent saw it last.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ObjectHealth {
    pub level: HealthLevel,
    /// One word for machines, such as `ImagePullBackOff`.
    pub reason: String,
    pub message: String,
    /// Of kinds that have replicas.
    pub replicas: Option<Replicas>,
    /// Drift is not corrected: the live object says so.
    pub paused: bool,
    /// Who else keeps changing what is applied, for people; empty: nobody.
    pub contested: String,
}

/// Whether an object does what it is for; the worst is the greatest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum HealthLevel {
    /// It ended as it should.
    Finished,
    Healthy,
    #[default]
    Unknown,
    Progressing,
    Unhealthy,
}

/// Replica numbers of one workload on one member.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Replicas {
    /// Of the member's live object, as is `observed_generation`.
    pub generation: i64,
    pub observed_generation: i64,
    pub replicas: i32,
    pub updated: i32,
    pub current: i32,
    pub ready: i32,
    pub available: i32,
    pub unavailable: i32,
}

impl HealthLevel {
    /// Nothing more is to be hoped for.
    pub fn is_good(self) -> bool {
        matches!(self, Self::Healthy | Self::Finished)
    }

    /// The level in one word, as people and machines read it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Finished => "Finished",
            Self::Healthy => "Healthy",
            Self::Unknown => "Unknown",
            Self::Progressing => "Progressing",
            Self::Unhealthy => "Unhealthy",
        }
    }
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
    pub cluster_cidr: Option<String>,
    pub service_cidr: Option<String>,
    pub node_statistics: Option<NodeStatistics>,
    pub pod_statistics: Option<PodStatistics>,
    pub resource_usage: Option<ResourceUsage>,
    pub heartbeat_frequency_seconds: Option<i64>,
    /// Labels that the nodes share; none where the agent does not know.
    pub node_labels: Option<BTreeMap<String, String>>,
    /// How many labels of nodes the agent left out because there are too many.
    pub node_labels_left_out: i32,
}
