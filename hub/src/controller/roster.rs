//! Tells the gate which client keys each cluster has, as the status of its ManagedCluster says.

use std::collections::BTreeMap;
use std::sync::Arc;

use kube::Client;
use kube::api::Api;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::watch::{Object, Seen, watch};
use crate::bus::gate::certificate::KeyHash;
use crate::bus::gate::roster::Roster;
use crate::bus::topics::Sid;
use crate::core::id::ClusterKey;
use crate::kinds::ManagedCluster;

const QUEUE: usize = 1024;

/// Keeps the roster as the ManagedClusters are, until cancelled.
pub async fn run(client: Client, roster: Arc<Roster>, shutdown: CancellationToken) {
    let (sender, mut clusters) = mpsc::channel(QUEUE);
    let mut watches = JoinSet::new();
    watches.spawn(watch(Api::all(client), sender, |seen: Seen<ManagedCluster>| seen));
    let mut keeper = Keeper { roster, sids: BTreeMap::new() };
    while let Some(Some(seen)) = shutdown.run_until_cancelled(clusters.recv()).await {
        keeper.see(seen);
    }
}

struct Keeper {
    roster: Arc<Roster>,
    /// The bus id that each cluster has, to take its keys away when it goes.
    sids: BTreeMap<ClusterKey, Sid>,
}

impl Keeper {
    fn see(&mut self, seen: Seen<ManagedCluster>) {
        match seen {
            Seen::Listed { objects, .. } => self.list(&objects),
            Seen::Applied { object, .. } => self.apply(&object),
            Seen::Deleted { object, .. } => self.forget(&object.name()),
            Seen::Reached { .. } => {}
        }
    }

    fn list(&mut self, objects: &[Object<ManagedCluster>]) {
        let read: Vec<_> = objects.iter().filter_map(|object| Some((object.name(), entry(object)?))).collect();
        self.sids = read.iter().map(|(name, (sid, _))| (name.clone(), *sid)).collect();
        self.roster.list(read.into_iter().map(|(_, entry)| entry));
    }

    fn apply(&mut self, object: &Object<ManagedCluster>) {
        let Some((sid, keys)) = entry(object) else { return self.forget(&object.name()) };
        if self.sids.get(&object.name()).is_some_and(|before| *before != sid) {
            self.forget(&object.name());
        }
        self.sids.insert(object.name(), sid);
        self.roster.set(sid, keys);
    }

    /// Whose object is gone or cannot be read has no keys.
    fn forget(&mut self, name: &ClusterKey) {
        if let Some(sid) = self.sids.remove(name) {
            self.roster.set(sid, Vec::new());
        }
    }
}

fn entry(object: &Object<ManagedCluster>) -> Option<(Sid, Vec<KeyHash>)> {
    let Object::Read(cluster) = object else { return None };
    let status = cluster.status.as_ref()?;
    let sid = Sid::parse(status.sid.as_deref()?).ok()?;
    let (good, bad): (Vec<_>, Vec<_>) = status.tls_keys.iter().map(|key| KeyHash::parse(key)).partition(Option::is_some);
    if !bad.is_empty() {
        warn!(%sid, "status.tlsKeys holds what is no SHA-256 in 64 hexadecimal digits: it is passed over");
    }
    Some((sid, good.into_iter().flatten().collect()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn cluster(name: &str, sid: &str, keys: &[&str]) -> Object<ManagedCluster> {
        let object = json!({
            "apiVersion": "clusters.clusternet.io/v1beta1", "kind": "ManagedCluster",
            "metadata": { "name": name, "namespace": "ns" },
            "spec": { "clusterId": name, "syncMode": "Pull" },
            "status": { "sid": sid, "tlsKeys": keys },
        });
        Object::Read(Box::new(serde_json::from_value(object).unwrap()))
    }

    #[test]
    fn the_roster_follows_the_clusters() {
        let (roster, _uses) = Roster::new();
        let mut keeper = Keeper { roster: Arc::new(roster), sids: BTreeMap::new() };
        let (hash, other) = ("ab".repeat(32), "cd".repeat(32));
        let accepts = |keeper: &Keeper, sid: &str, key: &str| keeper.roster.accepts(Sid::parse(sid).unwrap(), KeyHash::parse(key).unwrap());
        keeper.see(Seen::Listed { objects: vec![cluster("a", "aaaaaaaa", &[&hash])], rv: 1 });
        assert!(accepts(&keeper, "aaaaaaaa", &hash) && !accepts(&keeper, "aaaaaaaa", &other));
        keeper.see(Seen::Applied { object: cluster("b", "bbbbbbbb", &["nonsense", &other]), rv: 2 });
        assert!(accepts(&keeper, "bbbbbbbb", &other));
        keeper.see(Seen::Applied { object: cluster("b", "cccccccc", &[&other]), rv: 3 });
        assert!(accepts(&keeper, "cccccccc", &other) && !accepts(&keeper, "bbbbbbbb", &other), "the bus id it had is nobody's");
        keeper.see(Seen::Applied { object: cluster("a", "aaaaaaaa", &[]), rv: 4 });
        assert!(!accepts(&keeper, "aaaaaaaa", &hash), "no keys, nobody");
        keeper.see(Seen::Deleted { object: cluster("b", "cccccccc", &[&other]), rv: 5 });
        assert!(!accepts(&keeper, "cccccccc", &other));
        keeper.see(Seen::Listed { objects: vec![cluster("a", "aaaaaaaa", &[&hash])], rv: 6 });
        keeper.see(Seen::Applied { object: Object::Unreadable { namespace: "ns".into(), name: "a".into() }, rv: 7 });
        assert!(!accepts(&keeper, "aaaaaaaa", &hash), "what cannot be read lets nobody in");
    }
}
