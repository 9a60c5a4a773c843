//! The client keys of clusters: the older leaves once the newer was used, all leave when a cluster is revoked.

use kube::api::{Api, Patch, PatchParams};
use kube::{Client, Error, ResourceExt};
use serde_json::json;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::registration::Directory;
use super::watch::{Object, Seen, watch};
use crate::bus::gate::roster::KeyUse;
use crate::core::enrol::{is_revoked, keys_after_use};
use crate::core::id::ClusterKey;
use crate::kinds::ManagedCluster;

/// Clusters that may wait to be looked at.
const QUEUE: usize = 1024;

/// Keeps the keys of all clusters as they should be, until cancelled. What `used` misses is told again by the next connection.
pub async fn run(client: Client, directory: Directory, mut used: mpsc::Receiver<KeyUse>, shutdown: CancellationToken) {
    let (sender, mut clusters) = mpsc::channel(QUEUE);
    let mut watches = JoinSet::new();
    watches.spawn(watch(Api::all(client.clone()), sender, |seen: Seen<ManagedCluster>| seen));
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return,
            Some(used) = used.recv() => note(&client, &directory, &used).await,
            Some(seen) = clusters.recv() => match seen {
                Seen::Listed { objects, .. } => for object in objects { lock_out(&client, object).await },
                Seen::Applied { object, .. } => lock_out(&client, object).await,
                Seen::Deleted { .. } | Seen::Reached { .. } => {}
            },
        }
    }
}

/// Lets the older key go.
async fn note(client: &Client, directory: &Directory, used: &KeyUse) {
    let Some(key) = directory.find_sid(used.sid.as_str()) else { return };
    let api = Api::<ManagedCluster>::namespaced(client.clone(), &key.namespace);
    let Ok(Some(cluster)) = api.get_opt(&key.name).await else { return };
    let keys = cluster.status.as_ref().map(|status| status.tls_keys.as_slice()).unwrap_or_default();
    if let Some(left) = keys_after_use(keys, &used.key.to_string()) {
        tracing::info!(cluster = %key, "a new key is in use, the one before it is not accepted any more");
        write(client, &key, cluster.resource_version(), json!(left)).await;
    }
}

/// Takes all keys from a cluster that was revoked.
async fn lock_out(client: &Client, object: Object<ManagedCluster>) {
    let Object::Read(cluster) = object else { return };
    let has_keys = cluster.status.as_ref().is_some_and(|status| !status.tls_keys.is_empty());
    if has_keys && is_revoked(&cluster) {
        let key = ClusterKey::of(&cluster);
        tracing::warn!(cluster = %key, "the cluster was revoked: no key of it is accepted any more");
        write(client, &key, None, json!(null)).await;
    }
}

async fn write(client: &Client, key: &ClusterKey, version: Option<String>, keys: serde_json::Value) {
    let api = Api::<ManagedCluster>::namespaced(client.clone(), &key.namespace);
    let mut patch = json!({"status": {"tlsKeys": keys}});
    if let Some(version) = version {
        patch["metadata"] = json!({"resourceVersion": version});
    }
    match api.patch_status(&key.name, &PatchParams::default(), &Patch::Merge(patch)).await {
        // Gone, or changed meanwhile: what has changed is seen again.
        Err(Error::Api(status)) if matches!(status.code, 404 | 409) => {}
        Err(error) => tracing::warn!(cluster = %key, %error, "the keys of a cluster could not be written"),
        Ok(_) => {}
    }
}
