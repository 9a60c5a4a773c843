//! The fleet's state as the status of the template it came from, so that `kubectl rollout status` on the hub ends when the fleet is there.
//!
//! A client compares these numbers with the template's own `spec.replicas`, which is what one cluster runs, so they are those of the
//! least advanced cluster and not a sum (docs/adr/0008-template-status.md).

use std::collections::BTreeSet;

use k8s_openapi::jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::condition::whole_seconds;
use super::{ClusterState, Outcomes};
use crate::core::id::{ClusterKey, ObjectId, split_api_version};
use crate::core::plan::Content;
use crate::core::report::{HealthLevel, ObjectHealth, ObjectState};
use crate::kinds::{Feed, Manifest};

/// What a template's status is judged by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TemplateFacts {
    pub uid: String,
    pub object: ObjectId,
    pub generation: i64,
    /// What the template asks each cluster for.
    pub replicas: i32,
    kind: Workload,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Workload {
    Deployment,
    ReplicaSet,
    StatefulSet,
    DaemonSet,
    Job,
}

/// One cluster's part.
struct Part<'a> {
    applied: bool,
    health: Option<&'a ObjectHealth>,
}

/// Replica numbers as a client of the template is to see them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Numbers {
    updated: i32,
    ready: i32,
    available: i32,
    /// Replicas of older content.
    old: i32,
}

impl TemplateFacts {
    /// Reads a Manifest; none for a kind that tells no progress.
    pub fn of(manifest: &Manifest) -> Option<Self> {
        let template = &manifest.template;
        let text = |value: Option<&Value>| value.and_then(Value::as_str).unwrap_or_default().to_owned();
        let (api_version, kind_name) = (text(template.get("apiVersion")), text(template.get("kind")));
        let group = split_api_version(&api_version).0;
        let kind = Workload::of(group, &kind_name)?;
        let metadata = template.get("metadata")?;
        let object = ObjectId {
            group: group.to_owned(),
            kind: kind_name,
            namespace: text(metadata.get("namespace")),
            name: text(metadata.get("name")),
        };
        let replicas = template.get("spec").and_then(|spec| spec.get("replicas")).and_then(Value::as_i64).unwrap_or(1);
        Some(Self {
            uid: manifest.metadata.uid.clone().unwrap_or_default(),
            object,
            generation: metadata.get("generation").and_then(Value::as_i64).unwrap_or_default(),
            replicas: i32::try_from(replicas).unwrap_or(i32::MAX).max(0),
            kind,
        })
    }
}

impl Workload {
    fn of(group: &str, kind: &str) -> Option<Self> {
        match (group, kind) {
            ("apps", "Deployment") => Some(Self::Deployment),
            ("apps", "ReplicaSet") => Some(Self::ReplicaSet),
            ("apps", "StatefulSet") => Some(Self::StatefulSet),
            ("apps", "DaemonSet") => Some(Self::DaemonSet),
            ("batch", "Job") => Some(Self::Job),
            _ => None,
        }
    }
}

impl Part<'_> {
    fn level(&self) -> HealthLevel {
        self.health.map_or(HealthLevel::Unknown, |health| health.level)
    }

    fn is_done(&self) -> bool {
        self.applied && self.level().is_good()
    }

    /// What counts of a cluster that is to have so many replicas. One that says it is done is, whatever an override made of its number;
    /// one that does not is short of something, whatever its numbers say.
    fn numbers(&self, wanted: i32) -> Numbers {
        if self.is_done() {
            return Numbers { updated: wanted, ready: wanted, available: wanted, old: 0 };
        }
        let told = self.health.and_then(|health| health.replicas).unwrap_or_default();
        let upto = |count: i32| count.clamp(0, wanted);
        let old = told.replicas.saturating_sub(told.updated).max(0);
        let mut numbers = Numbers { updated: upto(told.updated), ready: upto(told.ready), available: upto(told.available), old };
        if numbers.updated == wanted && numbers.available == wanted && old == 0 {
            match wanted {
                0 => numbers.old = 1,
                _ => (numbers.ready, numbers.available) = (numbers.ready.min(wanted - 1), wanted - 1),
            }
        }
        numbers
    }
}

impl Outcomes {
    /// What a template's status should be, given what it was; `Null` while no cluster is to have it, none for one that is not known.
    pub fn template_status(&self, manifest: &str, previous: &Value, now: Timestamp) -> Option<Value> {
        let facts = self.templates.get(manifest)?;
        let parts = self.parts(&facts.object);
        if parts.is_empty() {
            return Some(Value::Null);
        }
        let mut status = match facts.kind {
            Workload::DaemonSet => daemons(&parts),
            Workload::Job => Map::new(),
            _ => replicas(facts, &parts),
        };
        if facts.kind != Workload::Job {
            let observed = parts.iter().all(|part| part.applied);
            status.insert("observedGeneration".into(), (facts.generation - i64::from(!observed)).into());
        }
        let conditions = conditions(facts.kind, &parts);
        if !conditions.is_empty() {
            let conditions = conditions.into_iter().map(|condition| dated(condition, previous, now)).collect();
            status.insert("conditions".into(), Value::Array(conditions));
        }
        Some(Value::Object(status))
    }

    /// Each cluster that is to have the object, once.
    fn parts(&self, object: &ObjectId) -> Vec<Part<'_>> {
        let feeding = self.subscriptions.values().filter(|facts| facts.feeds.iter().any(|feed| names(feed, object)));
        let mut seen: BTreeSet<&ClusterKey> = BTreeSet::new();
        let mut parts = Vec::new();
        for facts in feeding {
            for cluster in &facts.bound {
                if seen.insert(cluster) {
                    parts.push(self.clusters.get(cluster).map_or(Part { applied: false, health: None }, |state| {
                        let entry = state.entry(&facts.reference, object).filter(|entry| entry.content != Content::Keep);
                        part(state, entry.and_then(|entry| state.object(entry)))
                    }));
                }
            }
        }
        parts
    }
}

fn part<'a>(state: &ClusterState, report: Option<&'a crate::core::report::ObjectReport>) -> Part<'a> {
    let applied = state.is_current() && report.is_some_and(|report| report.state == ObjectState::Applied);
    Part { applied, health: report.and_then(|report| report.health.as_ref()) }
}

/// As [`crate::core::index::identity_of`], without making anything.
fn names(feed: &Feed, object: &ObjectId) -> bool {
    feed.name == object.name
        && feed.kind == object.kind
        && feed.namespace.as_deref().unwrap_or_default() == object.namespace
        && split_api_version(&feed.api_version).0 == object.group
}

/// The numbers of the least advanced cluster, each by itself.
fn replicas(facts: &TemplateFacts, parts: &[Part<'_>]) -> Map<String, Value> {
    let least = parts.iter().map(|part| part.numbers(facts.replicas)).reduce(|one, other| Numbers {
        updated: one.updated.min(other.updated),
        ready: one.ready.min(other.ready),
        available: one.available.min(other.available),
        old: one.old.max(other.old),
    });
    let Numbers { updated, ready, available, old } = least.unwrap_or_default();
    let mut status = Map::new();
    let mut set = |field: &str, value: i32| status.insert(field.to_owned(), value.into());
    set("replicas", updated.saturating_add(old));
    set("readyReplicas", ready);
    set("availableReplicas", available);
    match facts.kind {
        Workload::Deployment => {
            set("updatedReplicas", updated);
            set("unavailableReplicas", facts.replicas - available);
        }
        Workload::StatefulSet => {
            set("updatedReplicas", updated);
            set("currentReplicas", updated);
        }
        _ => {}
    }
    status
}

/// Daemons are as many as there are nodes, so nothing in the template is compared with them: here the sum is right.
fn daemons(parts: &[Part<'_>]) -> Map<String, Value> {
    let told = parts.iter().filter_map(|part| part.health?.replicas);
    let mut sum = [0_i32; 5];
    for one in told {
        for (total, count) in sum.iter_mut().zip([one.replicas, one.current, one.updated, one.ready, one.available]) {
            *total = total.saturating_add(count.max(0));
        }
    }
    let [mut desired, current, updated, ready, mut available] = sum;
    if !parts.iter().all(Part::is_done) {
        desired = desired.max(1);
        available = available.min(desired - 1);
    }
    let fields = [
        ("desiredNumberScheduled", desired),
        ("currentNumberScheduled", current),
        ("updatedNumberScheduled", updated),
        ("numberReady", ready),
        ("numberAvailable", available),
        ("numberUnavailable", desired.saturating_sub(available).max(0)),
        ("numberMisscheduled", 0),
    ];
    fields.into_iter().map(|(field, count)| (field.to_owned(), count.into())).collect()
}

/// Conditions that clients wait for, as (type, status, reason, message).
fn conditions(kind: Workload, parts: &[Part<'_>]) -> Vec<Value> {
    let done = parts.iter().filter(|part| part.is_done()).count();
    let message = format!("done on {done} of {} clusters", parts.len());
    let sick = parts.iter().find_map(|part| part.health.filter(|health| health.level == HealthLevel::Unhealthy));
    let say = |kind: &str, truth: bool, reason: &str| json!({"type": kind, "status": if truth { "True" } else { "False" }, "reason": reason, "message": message});
    let all = done == parts.len();
    match kind {
        Workload::Deployment => {
            let late = sick.is_some_and(|health| health.reason == "ProgressDeadlineExceeded");
            let reason = if all { "NewReplicaSetAvailable" } else { "ReplicaSetUpdated" };
            let available = say("Available", all, if all { "FleetAvailable" } else { "FleetUnavailable" });
            vec![available, if late { say("Progressing", false, "ProgressDeadlineExceeded") } else { say("Progressing", true, reason) }]
        }
        Workload::Job if parts.iter().all(|part| part.applied && part.level() == HealthLevel::Finished) => {
            vec![say("Complete", true, "FleetComplete")]
        }
        Workload::Job if sick.is_some() => vec![say("Failed", true, "FleetFailed")],
        _ => Vec::new(),
    }
}

/// The condition with the times of the one it takes the place of, unless its status differs.
fn dated(mut condition: Value, previous: &Value, now: Timestamp) -> Value {
    let same = |old: &&Value| old["type"] == condition["type"] && old["status"] == condition["status"];
    let old = previous["conditions"].as_array().into_iter().flatten().find(same);
    let now = Value::from(whole_seconds(now).to_string());
    let time = old.and_then(|old| old.get("lastTransitionTime")).cloned().unwrap_or(now);
    condition["lastTransitionTime"] = time;
    condition
}

#[cfg(test)]
#[path = "template_tests.rs"]
mod tests;
