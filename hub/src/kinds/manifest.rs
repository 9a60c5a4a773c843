//! Manifest: one template, stored verbatim. It has no spec, so the derive macro for custom resources does not fit.

use std::borrow::Cow;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Resource;
use kube::core::NamespaceResourceScope;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::names::APPS_GROUP;

const VERSION: &str = "v1alpha1";

/// A template that Subscriptions feed from; it lives in `clusternet-reserved` and has no effect on the hub.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Manifest {
    #[serde(default = "api_version")]
    pub api_version: String,
    #[serde(default = "kind")]
    pub kind: String,
    #[serde(default)]
    pub metadata: ObjectMeta,
    /// The object as its author wrote it.
    #[serde(default)]
    pub template: Map<String, Value>,
    /// What the fleet made of it, in the shape of the template's own status.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<Map<String, Value>>,
}

impl Manifest {
    /// A Manifest of this name in `clusternet-reserved`.
    pub fn new(name: &str, template: Map<String, Value>) -> Self {
        let metadata = ObjectMeta {
            name: Some(name.to_owned()),
            namespace: Some(super::names::RESERVED_NAMESPACE.to_owned()),
            ..ObjectMeta::default()
        };
        Self { api_version: api_version(), kind: kind(), metadata, template, status: None }
    }
}

fn api_version() -> String {
    format!("{APPS_GROUP}/{VERSION}")
}

fn kind() -> String {
    "Manifest".to_owned()
}

impl Resource for Manifest {
    type DynamicType = ();
    type Scope = NamespaceResourceScope;

    fn kind(_: &()) -> Cow<'_, str> {
        "Manifest".into()
    }
    fn group(_: &()) -> Cow<'_, str> {
        APPS_GROUP.into()
    }
    fn version(_: &()) -> Cow<'_, str> {
        VERSION.into()
    }
    fn plural(_: &()) -> Cow<'_, str> {
        "manifests".into()
    }
    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }
    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}

/// The CRD of Manifest.
pub(super) fn crd() -> Value {
    json!({
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": { "name": format!("manifests.{APPS_GROUP}") },
        "spec": {
            "group": APPS_GROUP,
            "scope": "Namespaced",
            "names": {
                "kind": "Manifest", "plural": "manifests", "singular": "manifest",
                "categories": ["clusternet"], "shortNames": [],
            },
            "versions": [{
                "name": VERSION, "served": true, "storage": true,
                "schema": { "openAPIV3Schema": schema() },
                "subresources": { "status": {} },
            }],
        },
    })
}

fn schema() -> Value {
    json!({
        "type": "object",
        "description": "A template that Subscriptions feed from.",
        "properties": {
            "template": {
                "type": "object",
                "description": "The object as its author wrote it.",
                "x-kubernetes-preserve-unknown-fields": true,
            },
            "status": {
                "type": "object",
                "description": "What the fleet made of it, in the shape of the template's own status.",
                "x-kubernetes-preserve-unknown-fields": true,
            },
        },
    })
}
