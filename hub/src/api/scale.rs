//! The `scale` sub-resource: `autoscaling/v1` Scale as a view of `spec.replicas`. Pure.

use serde_json::{Value, json};

use super::catalogue::Resource;
use super::failure::{Cause, Failure};

/// The Scale of a workload.
pub fn of(object: &Value) -> Value {
    let metadata = &object["metadata"];
    let mut kept = serde_json::Map::new();
    for field in ["name", "namespace", "uid", "resourceVersion", "creationTimestamp"] {
        if let Some(value) = metadata.get(field) {
            kept.insert(field.into(), value.clone());
        }
    }
    let replicas = object["spec"]["replicas"].as_i64().unwrap_or(1);
    let mut status = json!({"replicas": object["status"]["replicas"].as_i64().unwrap_or(0)});
    let selector = selector(&object["spec"]["selector"]);
    if !selector.is_empty() {
        status["selector"] = selector.into();
    }
    json!({"kind": "Scale", "apiVersion": "autoscaling/v1", "metadata": kept, "spec": {"replicas": replicas}, "status": status})
}

/// The workload with the replicas that a Scale asks for.
///
/// # Errors
/// 422 for a number that can't be.
pub fn set(resource: &Resource, object: &Value, scale: &Value) -> Result<Value, Failure> {
    let name = object["metadata"]["name"].as_str().unwrap_or_default();
    // A Scale without the field means none, as Kubernetes reads it.
    let wanted = scale["spec"].get("replicas").cloned().unwrap_or_else(|| 0.into());
    if wanted.as_i64().is_none_or(|count| !(0..=i64::from(i32::MAX)).contains(&count)) {
        let cause = Cause::invalid("spec.replicas", &wanted, "must be a number from 0 to 2147483647");
        return Err(Failure::invalid(resource, name, vec![cause]));
    }
    let mut object = object.clone();
    if !object["spec"].is_object() {
        object["spec"] = json!({});
    }
    object["spec"]["replicas"] = wanted;
    if let Some(version) = scale["metadata"].get("resourceVersion") {
        object["metadata"]["resourceVersion"] = version.clone();
    }
    Ok(object)
}

fn selector(selector: &Value) -> String {
    let pairs = selector["matchLabels"].as_object().into_iter().flatten();
    let pairs: Vec<String> = pairs.map(|(key, value)| format!("{key}={}", value.as_str().unwrap_or_default())).collect();
    pairs.join(",")
}
