//! Kubernetes Events: what of a change of a status somebody looks for, and how much of it is told.
//!
//! Invariants: no change, no Event; the same thing said of the same object has one name, in this process and in the next; what is
//! told and what is remembered is bounded (`book`), since statuses hold the truth and an Event may be lost.

mod book;
mod draft;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

pub use self::book::{Book, MAX_OBJECTS, MAX_OWED, MOST_A_MINUTE, Owed};
pub use self::draft::{EventDraft, Involved};
use crate::kinds::{ManagedClusterStatus, PendingObject, SubscriptionStatus, UnhealthyCluster};

/// How many clusters or objects one change names one by one, each in an Event.
const MAX_NAMED: usize = 3;

/// What a change of a ManagedCluster's status tells.
pub fn of_cluster(before: &ManagedClusterStatus, after: &ManagedClusterStatus) -> Vec<EventDraft> {
    let mut drafts: Vec<EventDraft> = link(before, after).into_iter().collect();
    drafts.extend(unclaimed(before, after));
    drafts
}

/// What a change of a Subscription's status tells.
pub fn of_subscription(before: &SubscriptionStatus, after: &SubscriptionStatus) -> Vec<EventDraft> {
    let mut drafts = unwell(before, after);
    drafts.extend(override_failed(before, after));
    drafts.extend(became_true("Applied", before, after));
    drafts.extend(became_true("Healthy", before, after));
    drafts
}

/// What disputes that were not known before tell; each is a cluster, an object, and who else changes it.
pub fn of_disputes(before: &BTreeSet<String>, after: &BTreeSet<String>) -> Vec<EventDraft> {
    few(after.difference(before).map(|dispute| EventDraft::warning("Contested", dispute.clone())).collect())
}

fn link(before: &ManagedClusterStatus, after: &ManagedClusterStatus) -> Option<EventDraft> {
    if before.link == after.link {
        return None;
    }
    let ready = find(&after.conditions, "Ready");
    match after.link.as_deref()? {
        "Connected" => Some(EventDraft::normal("Connected", "the agent is connected")),
        "Revoked" => Some(EventDraft::warning("Revoked", "the cluster is locked out: no key of it is accepted any more")),
        "Cloned" => Some(EventDraft::warning("AgentCloned", ready?.message.clone())),
        // A hub that was started again has lost no connection: it has not heard from anybody yet.
        "Offline" if ready.is_none_or(|ready| ready.reason == "ClusterStatusNeverUpdated") => None,
        "Offline" => Some(EventDraft::warning("Away", "the agent is offline; what it has stays, and what changes waits for it")),
        _ => None,
    }
}

fn unclaimed(before: &ManagedClusterStatus, after: &ManagedClusterStatus) -> Vec<EventDraft> {
    let known: BTreeSet<String> = unclaimed_of(before).map(named).collect();
    let fresh = unclaimed_of(after).map(named).filter(|object| !known.contains(object));
    let told = |object: String| {
        let message = format!("{object} is on the cluster and in no list, and nothing proves that it may be deleted: see status.pending");
        EventDraft::warning("Unclaimed", message)
    };
    few(fresh.map(told).collect())
}

fn unclaimed_of(status: &ManagedClusterStatus) -> impl Iterator<Item = &PendingObject> {
    let objects = status.pending.iter().flat_map(|pending| &pending.objects);
    objects.filter(|object| object.state == "Unclaimed")
}

fn named(object: &PendingObject) -> String {
    let PendingObject { group, kind, namespace, name, .. } = object.clone();
    crate::core::id::ObjectId { group, kind, namespace, name }.to_string()
}

/// A member's wording changes with each try, and is no news.
fn unwell(before: &SubscriptionStatus, after: &SubscriptionStatus) -> Vec<EventDraft> {
    fn of(row: &UnhealthyCluster) -> (&str, &str, &str) {
        (&row.cluster, &row.object, &row.reason)
    }
    let known: BTreeSet<_> = before.unhealthy_clusters.iter().map(of).collect();
    let fresh = after.unhealthy_clusters.iter().filter(|row| !known.contains(&of(row)));
    let (refused, unhealthy): (Vec<_>, Vec<_>) = fresh.partition(|row| row.reason == "ApplyFailed");
    let refused = refused.into_iter().map(|row| EventDraft::warning("Refused", joined([&row.cluster, &row.object, &row.message])));
    let unhealthy = unhealthy.into_iter().map(|row| {
        let message = joined([&row.cluster, &row.object, &row.reason, &row.message]);
        EventDraft::warning("Unhealthy", message)
    });
    let mut drafts = few(refused.collect());
    drafts.extend(few(unhealthy.collect()));
    drafts
}

fn override_failed(before: &SubscriptionStatus, after: &SubscriptionStatus) -> Option<EventDraft> {
    let failure = |status: &SubscriptionStatus| {
        let found = find(&status.conditions, "OverridesApplied").filter(|found| found.reason == "OverrideFailed");
        found.map(|found| found.message.clone())
    };
    let now = failure(after)?;
    (failure(before).as_ref() != Some(&now)).then(|| EventDraft::warning("OverrideFailed", now))
}

fn became_true(kind: &'static str, before: &SubscriptionStatus, after: &SubscriptionStatus) -> Option<EventDraft> {
    let now = find(&after.conditions, kind).filter(|now| now.status == "True")?;
    let was = find(&before.conditions, kind).is_some_and(|was| was.status == "True");
    (!was).then(|| EventDraft::normal(kind, now.message.clone()))
}

fn find<'a>(conditions: &'a [Condition], kind: &str) -> Option<&'a Condition> {
    conditions.iter().find(|condition| condition.type_ == kind)
}

fn joined<const N: usize>(parts: [&String; N]) -> String {
    parts.into_iter().filter(|part| !part.is_empty()).map(String::as_str).collect::<Vec<_>>().join(": ")
}

/// The first of them; the last of these counts the others.
fn few(mut drafts: Vec<EventDraft>) -> Vec<EventDraft> {
    let more = drafts.len().saturating_sub(MAX_NAMED);
    drafts.truncate(MAX_NAMED);
    if let Some(last) = drafts.last_mut().filter(|_| more > 0) {
        last.count_others(more);
    }
    drafts
}
