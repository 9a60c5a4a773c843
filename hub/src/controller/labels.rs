//! Keeps the labels of ManagedClusters as their nodes say (`status.nodeLabels`); `core::node_labels` decides, this writes.
//!
//! Invariants: labels and the record of which are ours are one write, made on the version that was looked at; a write that lost a race
//! is decided anew on what won.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use kube::api::{Api, Patch, PatchParams};
use kube::{Client, Error, ResourceExt};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::watch::{Object, Seen, watch};
use crate::core::id::ClusterKey;
use crate::core::node_labels::{Change, change};
use crate::core::reserved::Reserved;
use crate::kinds::ManagedCluster;
use crate::kinds::names::ANNOTATION_NODE_LABELS;

/// Events waiting to be looked at; a full queue slows the watch down.
const QUEUE: usize = 1024;
const RETRY: Duration = Duration::from_secs(1);

/// Keeps labels until cancelled.
pub async fn run(client: Client, reserved: Reserved, shutdown: CancellationToken) {
    let (sender, mut inputs) = mpsc::channel(QUEUE);
    let mut watches = JoinSet::new();
    watches.spawn(watch(Api::all(client.clone()), sender, |seen: Seen<ManagedCluster>| seen));
    // Clusters whose labels are to be written, each as it was seen last.
    let mut due = BTreeMap::new();
    let wanted = |cluster: &ManagedCluster| wanted(cluster, &reserved);
    loop {
        let waiting = !due.is_empty();
        tokio::select! {
            () = shutdown.cancelled() => return,
            input = inputs.recv() => {
                let Some(seen) = input else { return };
                take(&mut due, seen, &wanted);
                while let Ok(seen) = inputs.try_recv() {
                    take(&mut due, seen, &wanted);
                }
            }
            () = tokio::time::sleep(RETRY), if waiting => {}
        }
        write_all(&client, &mut due, &wanted).await;
    }
}

/// What is to be written of a cluster.
type Wanted<'a> = dyn Fn(&ManagedCluster) -> Option<Change> + Send + Sync + 'a;

fn take(due: &mut BTreeMap<ClusterKey, ManagedCluster>, seen: Seen<ManagedCluster>, wanted: &Wanted<'_>) {
    match seen {
        Seen::Listed { objects, .. } => {
            let listed: BTreeSet<ClusterKey> = objects.iter().map(Object::name).collect();
            due.retain(|key, _| listed.contains(key));
            objects.into_iter().for_each(|object| look(due, object, wanted));
        }
        Seen::Applied { object, .. } => look(due, object, wanted),
        Seen::Deleted { object, .. } => drop(due.remove(&object.name())),
        Seen::Reached { .. } => {}
    }
}

fn look(due: &mut BTreeMap<ClusterKey, ManagedCluster>, object: Object<ManagedCluster>, wanted: &Wanted<'_>) {
    let key = object.name();
    match object {
        Object::Read(cluster) if wanted(&cluster).is_some() => drop(due.insert(key, *cluster)),
        _ => drop(due.remove(&key)),
    }
}

fn wanted(cluster: &ManagedCluster, reserved: &Reserved) -> Option<Change> {
    let told = reserved.without(&cluster.status.as_ref()?.node_labels);
    change(cluster.labels(), cluster.annotations().get(ANNOTATION_NODE_LABELS).map(String::as_str), &told)
}

/// Writes what is due; what fails stays due.
async fn write_all(client: &Client, due: &mut BTreeMap<ClusterKey, ManagedCluster>, wanted: &Wanted<'_>) {
    for (key, cluster) in std::mem::take(due) {
        let Some(change) = wanted(&cluster) else { continue };
        let api = Api::<ManagedCluster>::namespaced(client.clone(), &key.namespace);
        let patch = Patch::Merge(patch(&cluster, &change));
        match api.patch(&key.name, &PatchParams::default(), &patch).await {
            Ok(_) => info!(cluster = %key, labels = ?change.labels, "labels follow the cluster's nodes"),
            // The watch brings what came between, or that it is gone.
            Err(Error::Api(status)) if matches!(status.code, 404 | 409) => {}
            Err(error) => {
                warn!(cluster = %key, %error, "can't write a cluster's labels; will try again");
                due.insert(key, cluster);
            }
        }
    }
}

fn patch(cluster: &ManagedCluster, change: &Change) -> Value {
    json!({"metadata": {
        "resourceVersion": cluster.resource_version(),
        "labels": change.labels,
        "annotations": {ANNOTATION_NODE_LABELS: change.record},
    }})
}
