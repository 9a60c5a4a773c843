//! Builders that keep tests to their point.

use serde_json::{Value, json};

use crate::kinds::{ManagedCluster, Manifest, Subscription};

/// A Subscription of everything labelled `tier=<tier>`, feeding ConfigMaps `default/<name>`.
pub fn subscription(name: &str, tier: &str, feeds: &[&str]) -> Subscription {
    let feeds: Vec<Value> =
        feeds.iter().map(|feed| json!({ "kind": "ConfigMap", "apiVersion": "v1", "namespace": "default", "name": feed })).collect();
    read(json!({
        "apiVersion": "apps.clusternet.io/v1alpha1", "kind": "Subscription",
        "metadata": { "name": name, "namespace": "apps", "uid": format!("uid-{name}"), "generation": 1, "creationTimestamp": "2026-01-01T00:00:00Z" },
        "spec": { "subscribers": [{ "clusterAffinity": { "matchLabels": { "tier": tier } } }], "feeds": feeds },
    }))
}

/// The Manifest of ConfigMap `default/<name>` with one value.
pub fn manifest(name: &str, value: &str) -> Manifest {
    let template =
        json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": name, "namespace": "default" }, "data": { "v": value } });
    Manifest::new(&format!("configmaps.default.{name}"), template.as_object().expect("an object").clone())
}

/// ManagedCluster `clusternet-<name>/<name>` with label `tier` and bus id `sid-<name>`.
pub fn cluster(name: &str, tier: &str) -> ManagedCluster {
    read(json!({
        "apiVersion": "clusters.clusternet.io/v1beta1", "kind": "ManagedCluster",
        "metadata": { "name": name, "namespace": format!("clusternet-{name}"), "labels": { "tier": tier } },
        "spec": { "clusterId": "00000000-0000-4000-8000-000000000001", "syncMode": "Pull" },
        "status": { "sid": format!("sid-{name}") },
    }))
}

/// Reads a typed object from JSON.
pub fn read<T: serde::de::DeserializeOwned>(value: Value) -> T {
    serde_json::from_value(value).expect("a valid object")
}
