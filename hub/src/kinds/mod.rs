//! The hub's own kinds: Clusternet's API groups as Rust types, and the CRDs generated from them.
//!
//! Fields, defaults and short names are Clusternet's, so its documented YAML works unchanged; what the hub adds is in
//! `status` only. The types hold no behaviour: rules live in `core`, reading and writing in `controller`.

mod cluster;
mod crd;
mod manifest;
pub mod names;
mod overriding;
mod registration;
mod schema;
mod subscription;
mod token;
mod user;

pub use cluster::{
    ManagedCluster, ManagedClusterSpec, ManagedClusterStatus, NodeStatistics, Pending, PendingCounts, PendingObject, PodStatistics,
    ResourceUsage,
};
pub use crd::{crds, schemas};
pub use manifest::Manifest;
pub use overriding::{
    DEFAULT_OVERRIDE_PRIORITY, FieldFormat, Globalization, GlobalizationSpec, Localization, LocalizationSpec, OverrideConfig,
    OverridePolicy, OverrideType,
};
pub use registration::{
    APPROVED, ClusterRegistrationRequest, ClusterRegistrationRequestSpec, ClusterRegistrationRequestStatus, DENIED, FAILED, PENDING,
};
pub use subscription::{
    AggregatedStatus, Counts, DividingScheduling, DynamicDividing, Feed, FeedStatusPerCluster, FeedStatusSummary, ReplicaStatus,
    SchedulingStrategy, SubGroupStrategy, Subscriber, Subscription, SubscriptionSpec, SubscriptionStatus, UnhealthyCluster,
};
pub use token::{AUTO, JoinToken, JoinTokenSpec, JoinTokenStatus, MANUAL};
pub use user::{User, UserSpec};
