//! Replica numbers in Clusternet's shape: of one cluster, and summed up.

use crate::core::report::Replicas;
use crate::kinds::ReplicaStatus;

/// One cluster's numbers.
pub fn told(replicas: &Replicas) -> ReplicaStatus {
    ReplicaStatus { observed_generation: Some(replicas.observed_generation), ..counted(replicas) }
}

/// The numbers of all clusters together; none where no cluster has any.
pub fn summed<'a>(all: impl Iterator<Item = &'a Replicas>) -> Option<ReplicaStatus> {
    all.map(counted).reduce(|one, other| ReplicaStatus {
        observed_generation: None,
        replicas: one.replicas.saturating_add(other.replicas),
        updated_replicas: one.updated_replicas.saturating_add(other.updated_replicas),
        current_replicas: one.current_replicas.saturating_add(other.current_replicas),
        ready_replicas: one.ready_replicas.saturating_add(other.ready_replicas),
        available_replicas: one.available_replicas.saturating_add(other.available_replicas),
        unavailable_replicas: one.unavailable_replicas.saturating_add(other.unavailable_replicas),
        ..ReplicaStatus::default()
    })
}

fn counted(replicas: &Replicas) -> ReplicaStatus {
    ReplicaStatus {
        observed_generation: None,
        replicas: replicas.replicas,
        updated_replicas: replicas.updated,
        current_replicas: replicas.current,
        ready_replicas: replicas.ready,
        available_replicas: replicas.available,
        unavailable_replicas: replicas.unavailable,
        ..ReplicaStatus::default()
    }
}
