//! Everything that is known, one row a cluster of a Subscription or an object of a cluster, in pages.

use serde_json::{Value, json};

use super::verdict::{Progress, Verdict};
use super::{ClusterState, Outcomes, replicas};
use crate::core::id::{ClusterKey, ObjectId, SubscriptionKey};
use crate::core::report::{HealthLevel, ObjectReport, ObjectState};

/// Rows with what they are sorted by, and how many follow.
pub type Page = (Vec<(String, Value)>, usize);

impl Outcomes {
    /// A Subscription's clusters after the one with this key; `most` 0 means all. None for a Subscription that is not known.
    pub fn cluster_rows(&self, key: &SubscriptionKey, after: Option<&str>, most: usize) -> Option<Page> {
        let facts = self.subscriptions.get(key)?;
        let keyed = facts.bound.iter().map(|cluster| (cluster.to_string(), cluster)).collect();
        let row = |cluster: &&ClusterKey| {
            let state = self.clusters.get(cluster);
            cluster_row(cluster, state, state.and_then(|state| state.verdicts.get(&facts.reference)))
        };
        Some(page(keyed, after, most, row))
    }

    /// A cluster's objects, desired or reported, after the one with this key; `most` 0 means all. None for a cluster that is not known.
    pub fn object_rows(&self, key: &ClusterKey, after: Option<&str>, most: usize) -> Option<Page> {
        let state = self.clusters.get(key)?;
        let mut objects: Vec<&ObjectId> = state.entries().iter().map(|entry| &entry.object).chain(state.objects.keys()).collect();
        objects.sort();
        objects.dedup();
        let keyed = objects.into_iter().map(|object| (object.to_string(), object)).collect();
        let row = |object: &&ObjectId| object_row(object, state.objects.get(*object).and_then(|reports| reports.first()));
        Some(page(keyed, after, most, row))
    }
}

/// Sorts by key and makes only the rows of the page.
fn page<T>(mut keyed: Vec<(String, T)>, after: Option<&str>, most: usize, row: impl Fn(&T) -> Value) -> Page {
    keyed.sort_by(|one, other| one.0.cmp(&other.0));
    let first = after.map_or(0, |after| keyed.partition_point(|(key, _)| key.as_str() <= after));
    let most = if most == 0 { usize::MAX } else { most };
    let remaining = (keyed.len() - first).saturating_sub(most);
    let rows = keyed.into_iter().skip(first).take(most).map(|(key, about)| {
        let value = row(&about);
        (key, value)
    });
    (rows.collect(), remaining)
}

fn cluster_row(key: &ClusterKey, state: Option<&ClusterState>, verdict: Option<&Verdict>) -> Value {
    let (word, object, message) = match verdict.map(|verdict| &verdict.progress) {
        Some(Progress::Applied) => ("Applied", String::new(), String::new()),
        Some(Progress::Failed { object, why, .. }) => ("Failed", object.clone(), why.clone()),
        Some(Progress::Pending(object)) => ("Pending", object.clone().unwrap_or_default(), String::new()),
        None => ("Pending", String::new(), String::new()),
    };
    let health = verdict.map(|verdict| &verdict.health);
    let sick = health.filter(|health| !health.level.is_good() && !health.object.is_empty());
    let report = state.and_then(|state| state.report.as_ref());
    let mut row = json!({
        "namespace": key.namespace, "name": key.name, "connected": verdict.is_some_and(|verdict| verdict.connected), "state": word,
        "health": health.map_or(HealthLevel::Unknown, |health| health.level).word(),
        "object": sick.map_or(object, |sick| sick.object.clone()),
        "reason": sick.map(|sick| sick.reason.clone()).unwrap_or_default(),
        "message": if message.is_empty() { sick.map(|sick| sick.message.clone()).unwrap_or_default() } else { message },
    });
    if let Some(last) = report.and_then(|report| report.last_contact) {
        row["lastContact"] = super::condition::whole_seconds(last).to_string().into();
    }
    row
}

fn object_row(object: &ObjectId, report: Option<&ObjectReport>) -> Value {
    let (state, message) = report.map_or(("Pending", String::new()), |report| told(&report.state));
    let health = report.and_then(|report| report.health.as_ref());
    let mut row = json!({
        "group": object.group, "kind": object.kind, "namespace": object.namespace, "name": object.name, "state": state,
        "health": health.map_or(HealthLevel::Unknown, |health| health.level).word(),
        "reason": health.map(|health| health.reason.as_str()).unwrap_or_default(),
        "message": if message.is_empty() { health.map(|health| health.message.clone()).unwrap_or_default() } else { message },
    });
    let Some(health) = health else { return row };
    if let Some(replicas) = &health.replicas {
        row["replicaStatus"] = json!(replicas::told(replicas));
    }
    if health.paused {
        row["paused"] = true.into();
    }
    if !health.contested.is_empty() {
        row["contested"] = health.contested.clone().into();
    }
    row
}

fn told(state: &ObjectState) -> (&'static str, String) {
    match state {
        ObjectState::Applied => ("Applied", String::new()),
        ObjectState::Pending => ("Pending", String::new()),
        ObjectState::Failed { code, message } => ("Failed", format!("{message} ({code})")),
        ObjectState::Rejected { message } => ("Rejected", message.clone()),
        ObjectState::Unclaimed => ("Unclaimed", String::new()),
        ObjectState::Kept { why } => ("Kept", why.clone()),
        ObjectState::Removing => ("Removing", String::new()),
    }
}
