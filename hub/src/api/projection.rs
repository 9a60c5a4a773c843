//! A template and the `Manifest` that keeps it: pure translation, both ways.
//!
//! The Manifest's uid, creation time, deletion time and resourceVersion are the template's; the template's own generation and everything
//! else stay verbatim in `template`. What the hub never keeps of a template: managedFields, selfLink, status; the status that it shows
//! is the Manifest's, which the hub alone writes.

use serde_json::{Map, Value, json};

use super::catalogue::{Resource, Role, catalogue};

/// Metadata that the Manifest holds in the template's place.
const SHARED: &[&str] = &["uid", "creationTimestamp", "resourceVersion", "deletionTimestamp", "deletionGracePeriodSeconds"];
/// Metadata that is not kept.
const DROPPED: &[&str] = &["managedFields", "selfLink"];

/// The Manifest's name: `plural.namespace.name`, or `plural.name` for a cluster-scoped kind.
pub fn manifest_name(resource: &Resource, namespace: &str, name: &str) -> String {
    let namespace = (!namespace.is_empty()).then_some(namespace);
    format!("{}{name}", manifest_prefix(resource, namespace))
}

/// What the names of a kind's Manifests begin with.
pub fn manifest_prefix(resource: &Resource, namespace: Option<&str>) -> String {
    let mut prefix = format!("{}.", resource.plural);
    // The first kind of a plural has the short form, as in Clusternet; a second one says its group.
    let first = catalogue().iter().find(|other| other.role == Role::Template && other.plural == resource.plural);
    if first.is_some_and(|first| first.group != resource.group) {
        prefix = format!("{prefix}{}.", resource.group);
    }
    if let Some(namespace) = namespace {
        prefix = format!("{prefix}{namespace}.");
    }
    prefix
}

/// The native object that a Manifest keeps; `None` when it keeps one of another kind.
pub fn to_native(resource: &Resource, manifest: &Value) -> Option<Value> {
    let mut object = manifest.get("template")?.clone();
    let group = object["apiVersion"].as_str()?.split_once('/').map_or("", |(group, _)| group);
    if object["kind"] != resource.kind || group != resource.group {
        return None;
    }
    let metadata = object.get_mut("metadata")?.as_object_mut()?;
    for field in SHARED {
        if let Some(value) = manifest["metadata"].get(*field) {
            metadata.insert((*field).into(), value.clone());
        }
    }
    object["apiVersion"] = resource.api_version().into();
    if let (Some(status), Some(object)) = (manifest.get("status").filter(|status| status.is_object()), object.as_object_mut()) {
        object.insert("status".into(), status.clone());
    }
    Some(object)
}

/// The Manifest that keeps a native object; `before` is the Manifest so far.
pub fn to_manifest(resource: &Resource, mut object: Value, before: Option<&Value>) -> Value {
    let mut metadata = before.map_or_else(Map::new, |before| before["metadata"].as_object().cloned().unwrap_or_default());
    let name = text(&object, "name");
    let namespace = text(&object, "namespace");
    metadata.insert("name".into(), manifest_name(resource, &namespace, &name).into());
    metadata.insert("namespace".into(), super::target::RESERVED_NAMESPACE.into());
    metadata.insert("labels".into(), labels(resource, &object, before));
    if let Some(own) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        for field in SHARED {
            match own.remove(*field) {
                Some(value) => metadata.insert((*field).into(), value),
                None => metadata.remove(*field),
            };
        }
        own.retain(|field, _| !DROPPED.contains(&field.as_str()));
    }
    if let Some(object) = object.as_object_mut() {
        object.remove("status");
    }
    let mut manifest = json!({"apiVersion": "apps.clusternet.io/v1alpha1", "kind": "Manifest", "metadata": metadata, "template": object});
    if let Some(status) = before.and_then(|before| before.get("status")) {
        manifest["status"] = status.clone();
    }
    manifest
}

/// Labels that others put on the Manifest, the template's own, and Clusternet's that say which object it is.
fn labels(resource: &Resource, object: &Value, before: Option<&Value>) -> Value {
    let of = |value: &Value| value["metadata"]["labels"].as_object().cloned().unwrap_or_default();
    let mut labels = before.map(&of).unwrap_or_default();
    for key in before.map(|before| of(&before["template"])).unwrap_or_default().keys() {
        labels.remove(key);
    }
    labels.extend(of(object));
    let identity = [
        ("group", resource.group.to_owned()),
        ("version", resource.version.to_owned()),
        ("kind", resource.kind.to_owned()),
        ("name", text(object, "name")),
        ("namespace", text(object, "namespace")),
    ];
    for (part, value) in identity {
        let key = format!("apps.clusternet.io/config.{part}");
        // A value that is no label value would make the Manifest invalid in a parent cluster; the template itself says it anyway.
        if value.len() <= 63 && value.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c)) {
            labels.insert(key, value.into());
        } else {
            labels.remove(&key);
        }
    }
    Value::Object(labels)
}

fn text(object: &Value, field: &str) -> String {
    object["metadata"][field].as_str().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::catalogue::find;

    fn deployment() -> (&'static Resource, Value) {
        let object = json!({
            "apiVersion": "apps/v1", "kind": "Deployment",
            "metadata": {"name": "web", "namespace": "shop", "uid": "u", "creationTimestamp": "t", "generation": 3,
                "labels": {"app": "web"}, "finalizers": ["members.example/keep"]},
            "spec": {"replicas": 2},
        });
        (find("apps", "v1", "deployments").expect("served"), object)
    }

    #[test]
    fn a_template_comes_back_as_it_was_kept() {
        let (resource, object) = deployment();
        let manifest = to_manifest(resource, object.clone(), None);
        assert_eq!(manifest["metadata"]["name"], "deployments.shop.web");
        assert_eq!(manifest["metadata"]["uid"], "u");
        assert_eq!(manifest["metadata"]["labels"]["apps.clusternet.io/config.kind"], "Deployment");
        assert!(manifest["template"]["metadata"].get("uid").is_none());
        assert_eq!(to_native(resource, &manifest), Some(object));
    }

    #[test]
    fn status_and_managed_fields_of_a_template_are_not_kept() {
        let (resource, mut object) = deployment();
        object["status"] = json!({"replicas": 1});
        object["metadata"]["managedFields"] = json!([{}]);
        let template = &to_manifest(resource, object, None)["template"];
        assert!(template.get("status").is_none() && template["metadata"].get("managedFields").is_none());
    }

    #[test]
    fn labels_that_others_put_on_the_manifest_stay_and_the_templates_follow_it() {
        let (resource, mut object) = deployment();
        let mut before = to_manifest(resource, object.clone(), None);
        before["metadata"]["labels"]["someone"] = "else".into();
        object["metadata"]["labels"] = json!({"new": "label"});
        let labels = to_manifest(resource, object, Some(&before))["metadata"]["labels"].clone();
        assert_eq!((&labels["someone"], &labels["new"], labels.get("app")), (&json!("else"), &json!("label"), None));
    }

    #[test]
    fn a_manifest_of_another_kind_is_not_projected() {
        let (resource, object) = deployment();
        let manifest = to_manifest(resource, object, None);
        assert_eq!(to_native(find("", "v1", "configmaps").expect("served"), &manifest), None);
    }
}
