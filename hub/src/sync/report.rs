//! A committed status table, as the controllers understand it.

use bus_schema::id::ObjectId;
use bus_schema::link::hub::HubLink;
use bus_schema::list::{DesiredList, Wanted};
use bus_schema::message::{Health, Level};
use bus_schema::status::{State, Status};
use k8s_openapi::jiff::Timestamp;

use super::facts;
use crate::core::id::ClusterKey;
use crate::core::report::{ClusterReport, HealthLevel, ObjectHealth, ObjectReport, ObjectState, Replicas};

/// Everything now known of one cluster.
pub fn of(cluster: &ClusterKey, link: &HubLink, connected: bool, last_contact: Option<Timestamp>) -> ClusterReport {
    let table = link.table();
    let desired = link.desired();
    let current = desired.filter(|desired| desired.list.root.short() == table.listed);
    let rows = table.rows.iter().filter(|(object, _)| !object.kind.is_empty());
    ClusterReport {
        cluster: cluster.clone(),
        listed_at_rv: current.map(|desired| desired.resource_version),
        connected,
        clones: link.clones().map(|boots| boots.map(|boot| boot.to_string())),
        last_contact,
        objects: rows.map(|(object, status)| object_report(object, status, desired.map(|desired| &*desired.list))).collect(),
        list_hash: desired.map(|desired| desired.list.root.to_string()),
        held: None,
        facts: table.rows.get(&ObjectId::default()).and_then(|row| facts::read(&row.facts, last_contact)),
    }
}

fn object_report(object: &ObjectId, status: &Status, list: Option<&DesiredList>) -> ObjectReport {
    let ObjectId { group, kind, namespace, name } = object.clone();
    let state = state(status, list.and_then(|list| list.claims(object).first()).map(|claim| claim.wanted));
    let health = status.health.as_ref().map(health);
    ObjectReport { object: crate::core::id::ObjectId { group, kind, namespace, name }, bundles: Vec::new(), state, health }
}

fn health(told: &Health) -> ObjectHealth {
    ObjectHealth {
        level: level(told.level()),
        reason: told.reason.clone(),
        message: told.message.clone(),
        replicas: told.replicas.as_ref().map(replicas),
        paused: told.paused,
        contested: told.contested.clone(),
    }
}

fn level(told: Level) -> HealthLevel {
    match told {
        Level::Unknown => HealthLevel::Unknown,
        Level::Healthy => HealthLevel::Healthy,
        Level::Progressing => HealthLevel::Progressing,
        Level::Unhealthy => HealthLevel::Unhealthy,
        Level::Finished => HealthLevel::Finished,
    }
}

fn replicas(told: &bus_schema::message::Replicas) -> Replicas {
    Replicas {
        generation: told.generation,
        observed_generation: told.observed_generation,
        replicas: told.replicas,
        updated: told.updated,
        current: told.current,
        ready: told.ready,
        available: told.available,
        unavailable: told.unavailable,
    }
}

/// A state of older content says nothing of what is desired now.
fn state(status: &Status, wanted: Option<Wanted>) -> ObjectState {
    let about_now = match wanted {
        Some(Wanted::Content { hash, .. }) => status.hash == Some(hash),
        Some(Wanted::Keep) | None => true,
    };
    let message = status.message.clone();
    match status.state {
        State::Unclaimed => ObjectState::Unclaimed,
        State::Kept => ObjectState::Kept { why: message },
        State::Removing => ObjectState::Removing,
        _ if !about_now => ObjectState::Pending,
        State::Pending => ObjectState::Pending,
        State::Applied => ObjectState::Applied,
        State::Failed | State::Refused => ObjectState::Failed { code: status.code as u16, message },
        State::Rejected => ObjectState::Rejected { message },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_agent_says_of_health_arrives_whole() {
        let replicas = bus_schema::message::Replicas { observed_generation: 2, generation: 3, updated: 1, ..Default::default() };
        let told = Health {
            level: Level::Unhealthy as i32,
            reason: "ImagePullBackOff".into(),
            message: "no such image".into(),
            replicas: Some(replicas),
            paused: true,
            contested: "hpa: spec.replicas".into(),
        };
        let read = health(&told);
        assert_eq!(
            (read.level, read.reason.as_str(), read.message.as_str()),
            (HealthLevel::Unhealthy, "ImagePullBackOff", "no such image")
        );
        assert_eq!((read.paused, read.contested.as_str()), (true, "hpa: spec.replicas"));
        assert_eq!(read.replicas, Some(Replicas { observed_generation: 2, generation: 3, updated: 1, ..Replicas::default() }));
        assert_eq!(health(&Health { level: 99, ..told }).level, HealthLevel::Unknown, "a level that a newer agent invented");
    }
}
