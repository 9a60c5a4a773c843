//! Writes what became of the plans into the status of Subscriptions and ManagedClusters.
//!
//! Invariants: at most one write an object at a time and one a second, the first at once; only what differs is written, as a merge
//! patch of the status sub-resource, so that fields of other writers stay; a write that fails is computed anew.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::{Duration, Instant};

use k8s_openapi::jiff::Timestamp;
use kube::api::{Api, Patch, PatchParams};
use kube::{Client, Error, ResourceExt};
use serde::Serialize;
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::events::Recorder;
use super::latest;
use super::merge::difference;
use super::schedule::Schedule;
use crate::core::events::{self, Involved};
use crate::core::id::{ClusterKey, SubscriptionKey};
use crate::core::index::SubscriptionFacts;
use crate::core::outcome::{Outcomes, TemplateFacts};
use crate::core::plan::DesiredList;
use crate::core::report::ClusterReport;
use crate::kinds::names::RESERVED_NAMESPACE;
use crate::kinds::{ManagedCluster, ManagedClusterStatus, Manifest, Subscription, SubscriptionStatus};

/// What is known of all clusters, for the writer and for those who read.
pub type SharedOutcomes = Arc<RwLock<Outcomes>>;

const REST: Duration = Duration::from_secs(1);
const MAX_WRITES: usize = 16;

/// What an input is about; only the newest input of each is owed.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum StatusKey {
    Cluster(ClusterKey),
    Subscription(SubscriptionKey),
    /// A template, by the name of its Manifest.
    Template(String),
}

/// What the planner tells the status writer.
#[derive(Clone, Debug)]
pub enum StatusInput {
    Plan { cluster: ClusterKey, cluster_id: String, rv: u64, entries: DesiredList, revoked: bool },
    ClusterRemoved(ClusterKey),
    Facts(Box<SubscriptionFacts>),
    SubscriptionRemoved(SubscriptionKey),
    Template { manifest: String, facts: Option<TemplateFacts> },
}

/// A status as it is stored.
#[derive(Clone)]
enum Stored {
    Cluster(Box<ManagedClusterStatus>),
    Subscription(Box<SubscriptionStatus>),
    Template(Value),
}

/// What a task brought back.
enum Outcome {
    /// The object's status as it is now.
    Known(Stored),
    /// The status as it is now, and the object's uid.
    Written(Stored, String),
    Gone,
    Failed(Error),
}

struct Writer {
    client: Client,
    outcomes: SharedOutcomes,
    /// Statuses as last read or written.
    known: HashMap<StatusKey, Stored>,
    recorder: Recorder,
    /// What Events have told of disputes, where there are any.
    disputes: HashMap<SubscriptionKey, BTreeSet<String>>,
    schedule: Schedule<StatusKey>,
    tasks: JoinSet<(StatusKey, Outcome)>,
}

/// Writes statuses until cancelled; a sender that is gone is not waited for.
pub async fn run(
    client: Client,
    outcomes: SharedOutcomes,
    mut inputs: latest::Receiver<StatusKey, StatusInput>,
    mut reports: latest::Receiver<ClusterKey, ClusterReport>,
    recorder: Recorder,
    shutdown: CancellationToken,
) {
    let mut writer = Writer {
        client,
        outcomes,
        known: HashMap::new(),
        recorder,
        disputes: HashMap::new(),
        schedule: Schedule::new(REST),
        tasks: JoinSet::new(),
    };
    loop {
        let next = writer.next_start();
        tokio::select! {
            () = shutdown.cancelled() => return,
            Some((_, input)) = inputs.recv() => {
                writer.take_input(input);
                // All that is owed, before anything follows from it: a template's facts mean nothing without the lists sent before them.
                while let Some((_, input)) = inputs.try_recv() {
                    writer.take_input(input);
                }
            }
            Some((_, report)) = reports.recv() => writer.outcomes_mut().report(report),
            Some(done) = writer.tasks.join_next() => writer.finish(done),
            () = sleep_until(next), if next.is_some() => {}
        }
        writer.start();
    }
}

async fn sleep_until(at: Option<Instant>) {
    tokio::time::sleep_until(at.unwrap_or_else(Instant::now).into()).await;
}

impl Writer {
    fn outcomes(&self) -> RwLockReadGuard<'_, Outcomes> {
        self.outcomes.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn outcomes_mut(&self) -> RwLockWriteGuard<'_, Outcomes> {
        self.outcomes.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn take_input(&mut self, input: StatusInput) {
        match input {
            StatusInput::Plan { cluster, cluster_id, rv, entries, revoked } => {
                let mut outcomes = self.outcomes_mut();
                outcomes.plan(cluster.clone(), cluster_id, rv, entries);
                outcomes.lock_out(&cluster, revoked);
            }
            StatusInput::ClusterRemoved(cluster) => {
                self.outcomes_mut().remove_cluster(&cluster);
                self.known.remove(&StatusKey::Cluster(cluster));
            }
            StatusInput::Facts(facts) => self.outcomes_mut().subscription(*facts),
            StatusInput::SubscriptionRemoved(key) => {
                self.outcomes_mut().remove_subscription(&key);
                self.disputes.remove(&key);
                self.known.remove(&StatusKey::Subscription(key));
            }
            StatusInput::Template { manifest, facts } => {
                // It may be another life of the same name: what was known of its status is read again.
                self.known.remove(&StatusKey::Template(manifest.clone()));
                self.outcomes_mut().template(manifest, facts);
            }
        }
    }

    /// When the next write may start, unless that waits for a running one to end.
    fn next_start(&self) -> Option<Instant> {
        self.schedule.next().filter(|_| self.tasks.len() < MAX_WRITES)
    }

    fn start(&mut self) {
        let (subscriptions, clusters) = self.outcomes_mut().take_touched();
        let templates = self.outcomes_mut().take_touched_templates();
        let now = Instant::now();
        let touched = subscriptions.into_iter().map(StatusKey::Subscription).chain(clusters.into_iter().map(StatusKey::Cluster));
        let touched = touched.chain(templates.into_iter().map(StatusKey::Template));
        touched.for_each(|key| self.schedule.touch(key, now));
        while self.tasks.len() < MAX_WRITES {
            let Some(key) = self.schedule.take(now) else {
                return;
            };
            self.work_on(key, now);
        }
    }

    fn work_on(&mut self, key: StatusKey, now: Instant) {
        let Some(known) = self.known.get(&key) else {
            self.tasks.spawn(read(self.client.clone(), key));
            return;
        };
        let change = self.change(&key, known);
        if let StatusKey::Subscription(key) = &key {
            self.tell_disputes(key);
        }
        match change {
            Some((patch, new)) => {
                self.tasks.spawn(write(self.client.clone(), key, patch, new));
            }
            None => self.schedule.done(&key, false, false, now),
        }
    }

    /// The patch that is due, and what the status is after it.
    fn change(&self, key: &StatusKey, known: &Stored) -> Option<(Value, Stored)> {
        let now = Timestamp::now();
        match (key, known) {
            (StatusKey::Cluster(key), Stored::Cluster(known)) => {
                let new = self.outcomes().cluster_status(key, known, now)?;
                Some((patch(&**known, &new)?, Stored::Cluster(Box::new(new))))
            }
            (StatusKey::Subscription(key), Stored::Subscription(known)) => {
                let new = self.outcomes().subscription_status(key, known, now)?;
                Some((patch(&**known, &new)?, Stored::Subscription(Box::new(new))))
            }
            (StatusKey::Template(name), Stored::Template(known)) => {
                let new = self.outcomes().template_status(name, known, now)?;
                Some((json!({ "status": difference(known, &new)? }), Stored::Template(new)))
            }
            _ => None,
        }
    }

    fn finish(&mut self, done: Result<(StatusKey, Outcome), tokio::task::JoinError>) {
        let (key, outcome) = done.expect("reading and writing a status does not panic and is not cancelled before the writer");
        let now = Instant::now();
        match outcome {
            Outcome::Known(status) => {
                self.known.insert(key.clone(), status);
                self.schedule.done(&key, false, true, now);
            }
            Outcome::Written(status, uid) => {
                if let Some(before) = self.known.get(&key) {
                    self.tell(&key, before, &status, uid);
                }
                self.known.insert(key.clone(), status);
                self.schedule.done(&key, true, false, now);
            }
            Outcome::Gone => {
                self.known.remove(&key);
                self.schedule.done(&key, false, false, now);
            }
            Outcome::Failed(error) => {
                warn!(object = ?key, %error, "can't write a status; will try again");
                self.known.remove(&key);
                self.schedule.done(&key, true, true, now);
            }
        }
    }

    /// Events of what a written status changed.
    fn tell(&self, key: &StatusKey, before: &Stored, after: &Stored, uid: String) {
        match (key, before, after) {
            (StatusKey::Cluster(key), Stored::Cluster(before), Stored::Cluster(after)) => {
                self.recorder.record(&Involved::cluster(key, uid), events::of_cluster(before, after));
            }
            (StatusKey::Subscription(key), Stored::Subscription(before), Stored::Subscription(after)) => {
                self.recorder.record(&Involved::subscription(key, uid), events::of_subscription(before, after));
            }
            _ => {}
        }
    }

    /// Events of new disputes, which no status names.
    fn tell_disputes(&mut self, key: &SubscriptionKey) {
        let Some((uid, disputes)) = self.outcomes().disputes(key) else {
            return;
        };
        let known = self.disputes.remove(key).unwrap_or_default();
        self.recorder.record(&Involved::subscription(key, uid), events::of_disputes(&known, &disputes));
        if !disputes.is_empty() {
            self.disputes.insert(key.clone(), disputes);
        }
    }
}

fn patch(old: &impl Serialize, new: &impl Serialize) -> Option<Value> {
    let json = |status: Result<Value, serde_json::Error>| status.expect("a status has string keys only");
    difference(&json(serde_json::to_value(old)), &json(serde_json::to_value(new))).map(|status| json!({ "status": status }))
}

async fn read(client: Client, key: StatusKey) -> (StatusKey, Outcome) {
    let status = match &key {
        StatusKey::Cluster(name) => {
            let found = Api::<ManagedCluster>::namespaced(client, &name.namespace).get_opt(&name.name).await;
            found.map(|found| found.map(|cluster| Stored::Cluster(Box::new(cluster.status.unwrap_or_default()))))
        }
        StatusKey::Subscription(name) => {
            let found = Api::<Subscription>::namespaced(client, &name.namespace).get_opt(&name.name).await;
            found.map(|found| found.map(|subscription| Stored::Subscription(Box::new(subscription.status.unwrap_or_default()))))
        }
        StatusKey::Template(name) => {
            let found = Api::<Manifest>::namespaced(client, RESERVED_NAMESPACE).get_opt(name).await;
            found.map(|found| found.map(|manifest| Stored::Template(manifest.status.map_or(Value::Null, Value::Object))))
        }
    };
    (key, status.map_or_else(Outcome::Failed, |status| status.map_or(Outcome::Gone, Outcome::Known)))
}

async fn write(client: Client, key: StatusKey, patch: Value, new: Stored) -> (StatusKey, Outcome) {
    let (params, patch) = (PatchParams::default(), Patch::Merge(patch));
    let written = match &key {
        StatusKey::Cluster(name) => {
            let api = Api::<ManagedCluster>::namespaced(client, &name.namespace);
            api.patch_status(&name.name, &params, &patch).await.map(|found| found.uid())
        }
        StatusKey::Subscription(name) => {
            let api = Api::<Subscription>::namespaced(client, &name.namespace);
            api.patch_status(&name.name, &params, &patch).await.map(|found| found.uid())
        }
        StatusKey::Template(name) => {
            let api = Api::<Manifest>::namespaced(client, RESERVED_NAMESPACE);
            api.patch_status(name, &params, &patch).await.map(|found| found.uid())
        }
    };
    match written {
        Ok(uid) => (key, Outcome::Written(new, uid.unwrap_or_default())),
        Err(Error::Api(status)) if status.code == 404 => (key, Outcome::Gone),
        Err(error) => (key, Outcome::Failed(error)),
    }
}
