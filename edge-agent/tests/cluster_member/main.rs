//! The agent's hands against a real API server: nothing here is simulated.

mod alone;
mod apply;
mod connect;
mod delete;
mod drift;

mod namespace;
mod race;
#[path = "../support/mod.rs"]
mod support;
mod survey;

use std::collections::BTreeSet;
use std::time::Duration;

use edge_agent::cluster::api::Api;
use edge_agent::cluster::apply::{Applied, How, Outcome, apply};
use edge_agent::cluster::connect::{Source, connect};
use edge_agent::cluster::delete::{Deleted, Target, delete, wait_gone};
use edge_agent::cluster::discovery::Discovery;
use edge_agent::cluster::object::ObjectId;
use edge_agent::cluster::outcome::Refusal;
use serde_json::{Value, json};

/// A member as the agent sees it, and what the test has applied.
struct World {
    api: Api,
    discovery: Discovery,
    inventory: BTreeSet<ObjectId>,
}

impl World {
    async fn new() -> Self {
        let source = Source::Kubeconfig(support::member().kubeconfig.clone());
        let api = connect(&source).expect("kubeconfig is good");
        Self { discovery: Discovery::new(api.clone()), api, inventory: BTreeSet::new() }
    }

    /// A world with a namespace made by the agent.
    async fn in_namespace(name: &str) -> (Self, Applied) {
        let mut world = Self::new().await;
        let namespace = world.put(&json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})).await;
        (world, namespace)
    }

    async fn apply(&self, object: &Value) -> Outcome {
        let (id, version) = identify(object);
        apply(&self.api, &self.discovery, &id, &version, object.to_string().as_bytes(), How::default()).await
    }

    /// Applies what must be accepted, and remembers it.
    async fn put(&mut self, object: &Value) -> Applied {
        match self.apply(object).await {
            Outcome::Applied(applied) => {
                self.inventory.insert(identify(object).0);
                *applied
            }
            other => panic!("{object}: {other:?}"),
        }
    }

    async fn refused(&self, object: &Value) -> Refusal {
        match self.apply(object).await {
            Outcome::Refused(refusal) => refusal,
            other => panic!("{object}: {other:?}"),
        }
    }

    async fn delete(&self, object: &Value, uid: &str) -> Deleted {
        let (id, version) = identify(object);
        let target = Target { id: &id, version: &version, uid };
        delete(&self.api, &self.discovery, &target, &|id| self.inventory.contains(id)).await
    }

    async fn wait_gone(&self, object: &Value, uid: &str) -> Deleted {
        let (id, version) = identify(object);
        let target = Target { id: &id, version: &version, uid };
        wait_gone(&self.api, &self.discovery, &target, Duration::from_secs(60)).await
    }
}

fn identify(object: &Value) -> (ObjectId, String) {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let api_version = text(&object["apiVersion"]);
    let (group, version) = api_version.split_once('/').unwrap_or(("", &api_version));
    let metadata = &object["metadata"];
    let id = ObjectId::new(group, &text(&object["kind"]), &text(&metadata["namespace"]), &text(&metadata["name"]));
    (id, version.to_owned())
}

fn config_map(namespace: &str, name: &str, data: Value) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"namespace": namespace, "name": name}, "data": data})
}

fn deployment(namespace: &str, name: &str, app: &str) -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"namespace": namespace, "name": name},
        "spec": {
            "replicas": 2, "selector": {"matchLabels": {"app": app}},
            "template": {
                "metadata": {"labels": {"app": app}},
                "spec": {"containers": [{"name": "c", "image": "example.com/c:1"}]}
            }
        }
    })
}

fn definition(plural: &str, kind: &str) -> Value {
    json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": format!("{plural}.example.com")},
        "spec": {
            "group": "example.com", "scope": "Namespaced",
            "names": {"plural": plural, "singular": kind.to_lowercase(), "kind": kind},
            "versions": [{"name": "v1", "served": true, "storage": true,
                "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}}}]
        }
    })
}

/// One live object as kubectl shows it, managed fields included.
fn live(namespace: &str, what: &str) -> Value {
    let shown = support::kubectl(&["-n", namespace, "get", what, "-o", "json", "--show-managed-fields"], "");
    serde_json::from_str(&shown).expect("kubectl prints JSON")
}
