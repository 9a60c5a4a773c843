//! Watches what plans are made from and emits each cluster's desired list as soon as it changes.
//!
//! Invariants: nothing is emitted before every kind was listed by this process and every Subscription could be read; the stamp is the
//! highest resourceVersion seen in any list or event; a list that did not change is not emitted again; no wait is added on the way of
//! a change. Facts for statuses are gathered for a moment, since they name every bound cluster and nobody waits for them.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use kube::{Api, Client, Resource};
use tokio::sync::{mpsc, watch as position};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::latest;
use super::status::{StatusInput, StatusKey};
use super::templates::Templates;
use super::watch::{Object, Seen, watch};
use crate::core::guard::fleet::Words;
use crate::core::id::{ClusterKey, SubscriptionKey};
use crate::core::index::{ClusterChange, Index, SubscriptionChange};
use crate::core::overrides::{Override, OverrideKey, OverrideKind};
use crate::core::plan::PlanUpdate;
use crate::kinds::names::RESERVED_NAMESPACE;
use crate::kinds::{Globalization, Localization, ManagedCluster, Manifest, Subscription};

/// Events waiting to be planned; a full queue slows the watches down.
const QUEUE: usize = 1024;
const FACTS_PERIOD: Duration = Duration::from_millis(100);

/// What the planner says of a cluster.
#[derive(Clone, Debug, PartialEq)]
pub enum PlanEvent {
    Update(PlanUpdate),
    /// The ManagedCluster was deleted.
    Removed(ClusterKey),
}

/// How far the planner has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Position {
    /// Every kind was listed by this process and every list rendered from that: lists may be sent.
    pub synced: bool,
    /// The highest resourceVersion seen.
    pub rv: u64,
}

/// Where the planner's results go.
pub struct Outputs {
    pub plans: latest::Sender<ClusterKey, PlanEvent>,
    pub statuses: latest::Sender<StatusKey, StatusInput>,
    pub position: position::Sender<Position>,
    pub words: position::Sender<Arc<Words>>,
}

enum Input {
    Subscription(Seen<Subscription>),
    Manifest(Seen<Manifest>),
    Cluster(Seen<ManagedCluster>),
    Localization(Seen<Localization>),
    Globalization(Seen<Globalization>),
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Subscription,
    Manifest,
    Cluster,
    Localization,
    Globalization,
}

/// How many kinds there are.
const KINDS: usize = 5;

struct Planner {
    index: Index,
    listed: BTreeSet<Kind>,
    rv: u64,
    templates: Templates,
    outputs: Outputs,
}

/// Plans until cancelled.
pub async fn run(client: Client, outputs: Outputs, shutdown: CancellationToken) {
    let (sender, mut inputs) = mpsc::channel(QUEUE);
    let mut watches = JoinSet::new();
    watches.spawn(watch(Api::all(client.clone()), sender.clone(), Input::Subscription));
    watches.spawn(watch(Api::namespaced(client.clone(), RESERVED_NAMESPACE), sender.clone(), Input::Manifest));
    watches.spawn(watch(Api::all(client.clone()), sender.clone(), Input::Localization));
    watches.spawn(watch(Api::all(client.clone()), sender.clone(), Input::Globalization));
    watches.spawn(watch(Api::all(client), sender, Input::Cluster));
    let mut planner = Planner { index: Index::default(), listed: BTreeSet::new(), rv: 0, templates: Templates::default(), outputs };
    let mut facts_due = Instant::now();
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = sleep_until(facts_due), if planner.has_facts() => {
                planner.emit_facts();
                facts_due = Instant::now() + FACTS_PERIOD;
            }
            input = inputs.recv() => {
                let Some(input) = input else { return };
                planner.see(input);
                // What came in together is planned together.
                for _ in 0..inputs.len() {
                    inputs.try_recv().into_iter().for_each(|input| planner.see(input));
                }
                planner.emit_plans();
            }
        }
    }
}

impl Planner {
    fn see(&mut self, input: Input) {
        match input {
            Input::Subscription(seen) => {
                self.reach(seen.rv(), Kind::Subscription, &seen);
                self.see_subscription(seen);
            }
            Input::Manifest(seen) => {
                self.reach(seen.rv(), Kind::Manifest, &seen);
                self.see_manifest(seen);
            }
            Input::Cluster(seen) => {
                self.reach(seen.rv(), Kind::Cluster, &seen);
                self.see_cluster(seen);
            }
            Input::Localization(seen) => {
                self.reach(seen.rv(), Kind::Localization, &seen);
                self.see_override(seen, OverrideKind::Localization, Override::of_localization);
            }
            Input::Globalization(seen) => {
                self.reach(seen.rv(), Kind::Globalization, &seen);
                self.see_override(seen, OverrideKind::Globalization, Override::of_globalization);
            }
        }
    }

    fn reach<K>(&mut self, rv: u64, kind: Kind, seen: &Seen<K>) {
        self.rv = self.rv.max(rv);
        if let Seen::Listed { .. } = seen {
            self.listed.insert(kind);
        }
    }

    fn see_subscription(&mut self, seen: Seen<Subscription>) {
        let key = |object: &Object<Subscription>| {
            let name = object.name();
            SubscriptionKey::new(name.namespace, name.name)
        };
        match seen {
            Seen::Listed { objects, .. } => {
                self.index.retain_subscriptions(&objects.iter().map(key).collect());
                objects.into_iter().for_each(|object| self.take_subscription(object));
            }
            Seen::Applied { object, .. } => self.take_subscription(object),
            Seen::Deleted { object, .. } => self.index.delete_subscription(&key(&object)),
            Seen::Reached { .. } => {}
        }
    }

    fn take_subscription(&mut self, object: Object<Subscription>) {
        match object {
            Object::Read(subscription) => self.index.apply_subscription(&subscription),
            Object::Unreadable { namespace, name } => self.index.hold_unreadable_subscription(SubscriptionKey::new(namespace, name)),
        }
    }

    fn see_manifest(&mut self, seen: Seen<Manifest>) {
        match seen {
            Seen::Listed { objects, .. } => {
                let listed = objects.iter().map(|object| object.name().name).collect();
                self.index.retain_manifests(&listed);
                self.templates.retain(&listed);
                objects.into_iter().for_each(|object| self.take_manifest(object));
            }
            Seen::Applied { object, .. } => self.take_manifest(object),
            Seen::Deleted { object, .. } => {
                self.index.delete_manifest(&object.name().name);
                self.templates.delete(&object.name().name);
            }
            Seen::Reached { .. } => {}
        }
    }

    /// One that can't be read leaves what was known of it in place.
    fn take_manifest(&mut self, object: Object<Manifest>) {
        let Object::Read(manifest) = object else {
            return;
        };
        self.templates.see(&manifest);
        if let Err(error) = self.index.apply_manifest(&manifest) {
            warn!(manifest = ?manifest.metadata.name, %error, "template counts as missing");
        }
    }

    fn see_cluster(&mut self, seen: Seen<ManagedCluster>) {
        match seen {
            Seen::Listed { objects, .. } => {
                self.index.retain_clusters(&objects.iter().map(Object::name).collect());
                objects.into_iter().for_each(|object| self.take_cluster(object));
            }
            Seen::Applied { object, .. } => self.take_cluster(object),
            Seen::Deleted { object, .. } => self.index.delete_cluster(&object.name()),
            Seen::Reached { .. } => {}
        }
    }

    fn take_cluster(&mut self, object: Object<ManagedCluster>) {
        let Object::Read(cluster) = object else {
            return;
        };
        self.index.apply_cluster(&cluster);
    }

    fn see_override<K: Resource>(&mut self, seen: Seen<K>, kind: OverrideKind, read: fn(&K) -> Override) {
        let key = |object: &Object<K>| {
            let name = object.name();
            OverrideKey { kind, namespace: name.namespace, name: name.name }
        };
        match seen {
            Seen::Listed { objects, .. } => {
                self.index.retain_overrides(kind, &objects.iter().map(key).collect());
                objects.into_iter().for_each(|object| self.take_override(object, read));
            }
            Seen::Applied { object, .. } => self.take_override(object, read),
            Seen::Deleted { object, .. } => self.index.delete_override(&key(&object)),
            Seen::Reached { .. } => {}
        }
    }

    /// One that can't be read leaves what was known of it in place; one that is being deleted has no effect any more.
    fn take_override<K: Resource>(&mut self, object: Object<K>, read: fn(&K) -> Override) {
        let Object::Read(object) = object else {
            return;
        };
        let over = read(&object);
        if object.meta().deletion_timestamp.is_some() {
            return self.index.delete_override(over.key());
        }
        self.index.apply_override(over);
    }

    fn is_synced(&self) -> bool {
        self.listed.len() == KINDS && self.index.is_complete()
    }

    fn has_facts(&self) -> bool {
        self.is_synced() && self.index.has_facts()
    }

    fn emit_plans(&mut self) {
        if !self.is_synced() {
            return;
        }
        let changes = self.index.take_plans();
        self.emit_words();
        for change in changes {
            self.emit_plan(change);
        }
        // After the plans: who has a template's new facts has the lists made from it.
        for (manifest, facts) in self.templates.take() {
            self.outputs.statuses.send(StatusKey::Template(manifest.clone()), StatusInput::Template { manifest, facts });
        }
        let now = Position { synced: true, rv: self.rv };
        let before = self.outputs.position.send_replace(now);
        if !before.synced {
            info!(rv = now.rv, "every kind is listed and every list is planned");
        }
    }

    /// Clusters that a Subscription is not bound to any more hear of it too: it is their removals that wait. Before the plans, so that no
    /// plan without a Subscription meets the word that it lives.
    fn emit_words(&mut self) {
        let now = self.index.words();
        self.outputs.words.send_if_modified(|before| {
            let changed = !Arc::ptr_eq(before, &now);
            *before = now;
            changed
        });
    }

    fn emit_plan(&self, change: ClusterChange) {
        match change {
            ClusterChange::Planned { cluster, cluster_id, sid, link_key, entries, confirm_prune, confirm_removal, revoked } => {
                let (cluster_key, list) = (cluster.clone(), entries.clone());
                let update = PlanUpdate { cluster: cluster_key, sid, link_key, entries: list, rv: self.rv, confirm_prune, confirm_removal };
                self.outputs.plans.send(cluster.clone(), PlanEvent::Update(update));
                let input = StatusInput::Plan { cluster: cluster.clone(), cluster_id, rv: self.rv, entries, revoked };
                self.outputs.statuses.send(StatusKey::Cluster(cluster), input);
            }
            ClusterChange::Removed { cluster } => {
                self.outputs.plans.send(cluster.clone(), PlanEvent::Removed(cluster.clone()));
                self.outputs.statuses.send(StatusKey::Cluster(cluster.clone()), StatusInput::ClusterRemoved(cluster));
            }
        }
    }

    fn emit_facts(&mut self) {
        for change in self.index.take_facts() {
            let (key, input) = match change {
                SubscriptionChange::Facts(facts) => (facts.reference.key(), StatusInput::Facts(facts)),
                SubscriptionChange::Removed(key) => (key.clone(), StatusInput::SubscriptionRemoved(key)),
            };
            self.outputs.statuses.send(StatusKey::Subscription(key), input);
        }
    }
}

#[cfg(test)]
#[path = "planner_tests.rs"]
mod tests;
