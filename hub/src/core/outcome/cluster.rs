//! A ManagedCluster's status: the agent's facts, whether it is ready, and what on it is pending.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;

use super::condition::{Saying, whole_seconds};
use super::{ClusterState, MAX_PENDING, Outcomes, held};
use crate::core::id::{ClusterKey, ObjectId};
use crate::core::plan::{Content, DesiredEntry};
use crate::core::report::{ClusterFacts, ClusterReport, ObjectReport, ObjectState};
use crate::kinds::{ManagedClusterStatus, Pending, PendingCounts, PendingObject};

/// How old the stored times may get while nothing else changes: every write costs a commit.
const STORED_TIMES_SECONDS: i64 = 300;

const REVOKED: &str = "Revoked";
const LOCKED_OUT: &str = "no key of this cluster is accepted: `clusternet-hub replace` gives its place to a machine again";

impl Outcomes {
    /// What a ManagedCluster's status should be, given what it was; none while no report of it has come.
    pub fn cluster_status(&self, key: &ClusterKey, previous: &ManagedClusterStatus, now: Timestamp) -> Option<ManagedClusterStatus> {
        let state = self.clusters.get(key)?;
        let report = state.report.as_ref()?;
        let mut status = previous.clone();
        if let Some(facts) = &report.facts {
            tell_facts(facts, &mut status);
        }
        status.pending = pending(report);
        status.link = Some(if state.revoked { "Revoked" } else { link(report) }.to_owned());
        let wanted: BTreeMap<&ObjectId, &DesiredEntry> = state.entries().iter().map(|entry| (&entry.object, entry)).collect();
        status.objects = Some(i32::try_from(wanted.len()).unwrap_or(i32::MAX));
        status.sync = Some(sync(state, wanted.into_values()));
        let ready = ready(report).after(&previous.conditions, None, now);
        status.conditions.retain(|condition| condition.type_ != ready.type_);
        status.conditions.insert(0, ready);
        status.conditions.retain(|condition| condition.type_ != held::KIND);
        let held = report.held.as_ref().map(|held| held::on_cluster(key, held));
        status.conditions.extend(held.map(|saying| saying.after(&previous.conditions, None, now)));
        status.conditions.retain(|condition| condition.type_ != REVOKED);
        let revoked = state.revoked.then(|| Saying::new(REVOKED, "True", REVOKED, LOCKED_OUT));
        status.conditions.extend(revoked.map(|saying| saying.after(&previous.conditions, None, now)));
        let changed = status != *previous;
        tell_times(report, &mut status, changed);
        Some(status)
    }
}

fn link(report: &ClusterReport) -> &'static str {
    match (&report.clones, report.connected, report.last_contact) {
        (Some(_), ..) => "Cloned",
        (None, true, _) => "Connected",
        (None, false, Some(_)) => "Offline",
        // After a start of the hub an agent that was here before has not come back yet; its facts are kept.
        (None, false, None) if report.facts.is_some() => "Offline",
        (None, false, None) => "NeverConnected",
    }
}

/// Whether the cluster has everything that is desired now; a report on an older list says nothing of that.
fn sync<'a>(state: &ClusterState, wanted: impl Iterator<Item = &'a DesiredEntry>) -> String {
    if state.plan.is_none() || !state.is_current() {
        return "Unknown".to_owned();
    }
    let lacks = |entry: &&DesiredEntry| entry.content != Content::Keep && !state.object(entry).is_some_and(is_applied);
    match wanted.filter(lacks).count() {
        0 => "Synced".to_owned(),
        pending => format!("{pending} pending"),
    }
}

fn is_applied(report: &ObjectReport) -> bool {
    report.state == ObjectState::Applied
}

fn tell_facts(facts: &ClusterFacts, status: &mut ManagedClusterStatus) {
    let text = |text: &String| Some(text.clone()).filter(|text| !text.is_empty());
    status.k8s_version = text(&facts.k8s_version);
    status.platform = text(&facts.platform);
    status.agent_version = text(&facts.agent_version);
    status.apiserver_url = text(&facts.apiserver_url);
    (status.healthz, status.livez, status.readyz) = (facts.healthz, facts.livez, facts.readyz);
    status.allocatable.clone_from(&facts.allocatable);
    status.capacity.clone_from(&facts.capacity);
    status.cluster_cidr.clone_from(&facts.cluster_cidr);
    status.service_cidr.clone_from(&facts.service_cidr);
    status.node_statistics.clone_from(&facts.node_statistics);
    status.pod_statistics.clone_from(&facts.pod_statistics);
    status.resource_usage.clone_from(&facts.resource_usage);
    status.heartbeat_frequency_seconds = facts.heartbeat_frequency_seconds;
    // Whatever the sync mode says, the agent is who applies.
    status.app_pusher = Some(false);
    // An agent that may not look any more takes no label away.
    if let Some(labels) = &facts.node_labels {
        status.node_labels.clone_from(labels);
        status.node_labels_left_out = Some(facts.node_labels_left_out).filter(|count| *count > 0);
    }
}

/// Times move with every heartbeat; they are stored with another change, or when they have grown old.
fn tell_times(report: &ClusterReport, status: &mut ManagedClusterStatus, changed: bool) {
    let observed = report.facts.as_ref().and_then(|facts| facts.observed_at);
    for (new, stored) in [(report.last_contact, &mut status.last_contact), (observed, &mut status.last_observed_time)] {
        let Some(new) = new else { continue };
        let age = stored.as_ref().map(|stored| new.as_second() - stored.0.as_second());
        if changed || age.is_none_or(|age| age >= STORED_TIMES_SECONDS) {
            *stored = Some(Time(whole_seconds(new)));
        }
    }
}

fn ready(report: &ClusterReport) -> Saying {
    let say = |status, reason, message: String| Saying::new("Ready", status, reason, message);
    let known = report.facts.as_ref();
    if let Some([one, other]) = &report.clones {
        let message = format!(
            "two agents ({one} and {other}) share this cluster's identity and neither is served: stop the wrong one; the other is served within two minutes"
        );
        return say("Unknown", "AgentCloned", message);
    }
    match (report.connected, report.last_contact, known) {
        (false, None, None) => say("Unknown", "ClusterStatusNeverUpdated", "the agent has not been heard from".to_owned()),
        // After a start of the hub nothing was heard yet of an agent that was here before.
        (false, ..) => {
            say("Unknown", "ClusterStatusUnknown", "the agent is offline; see lastContact for when it was last heard from".to_owned())
        }
        (true, _, None) => {
            say("Unknown", "ClusterStatusNeverUpdated", "the agent is connected and has not reported its cluster yet".to_owned())
        }
        (true, _, Some(facts)) if (facts.livez && facts.readyz) || facts.healthz => {
            say("True", "ManagedClusterReady", "the cluster is ready".to_owned())
        }
        (true, _, Some(_)) => {
            say("False", "ManagedClusterNotReady", "the cluster's API server is not ready, or does not answer the agent".to_owned())
        }
    }
}

fn pending(report: &ClusterReport) -> Option<Pending> {
    let mut pending = Pending::default();
    for object in &report.objects {
        let (count, state, message) = match &object.state {
            ObjectState::Unclaimed => (&mut pending.counts.unclaimed, "Unclaimed", ""),
            ObjectState::Kept { why } => (&mut pending.counts.kept, "Kept", why.as_str()),
            ObjectState::Removing => (&mut pending.counts.removing, "Removing", ""),
            _ => continue,
        };
        *count += 1;
        if pending.objects.len() < MAX_PENDING {
            pending.objects.push(told(object, state, message));
        }
    }
    pending.list_hash = report.list_hash.clone().filter(|_| pending.counts.unclaimed > 0);
    (pending.counts != PendingCounts::default()).then_some(pending)
}

fn told(report: &ObjectReport, state: &str, message: &str) -> PendingObject {
    let object = &report.object;
    PendingObject {
        group: object.group.clone(),
        kind: object.kind.clone(),
        namespace: object.namespace.clone(),
        name: object.name.clone(),
        state: state.to_owned(),
        message: message.to_owned(),
    }
}
