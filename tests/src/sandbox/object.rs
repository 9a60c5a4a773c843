//! What a write makes of an object. Pure; the stamp is an argument.
//!
//! Server-side apply is coarse: JSON objects are merged, arrays and scalars replaced, and what the manager applied last and no longer
//! does goes. There is one manager entry an object.

use serde_json::{Map, Value, json};

/// What a write needs beside its content.
#[derive(Clone, Debug)]
pub struct Stamp {
    pub uid: String,
    /// RFC 3339 in seconds.
    pub time: String,
}

/// A new object as it is stored.
pub fn created(mut object: Value, stamp: &Stamp) -> Value {
    let has_spec = object.get("spec").is_some();
    let is_namespace = object["kind"] == "Namespace";
    let metadata = metadata(&mut object);
    metadata.insert("uid".into(), json!(stamp.uid));
    metadata.insert("creationTimestamp".into(), json!(stamp.time));
    if has_spec {
        metadata.insert("generation".into(), json!(1));
    }
    if is_namespace {
        object["status"] = json!({"phase": "Active"});
    }
    object
}

/// An object after an update: identity stays, generation follows the content. `None` when nothing changes.
pub fn updated(old: &Value, mut new: Value) -> Option<Value> {
    let changed = content(old) != content(&new);
    let kept = metadata(&mut new);
    for field in ["uid", "creationTimestamp", "generation", "resourceVersion", "name", "namespace"] {
        match old["metadata"].get(field) {
            Some(value) => kept.insert(field.into(), value.clone()),
            None => kept.remove(field),
        };
    }
    if let Some(generation) = old["metadata"]["generation"].as_i64().filter(|_| changed) {
        kept.insert("generation".into(), json!(generation + 1));
    }
    for field in ["apiVersion", "kind"] {
        new[field] = old[field].clone();
    }
    (new != *old).then_some(new)
}

/// Everything that generation counts.
fn content(object: &Value) -> Value {
    let mut content = object.clone();
    if let Some(fields) = content.as_object_mut() {
        for field in ["metadata", "status"] {
            fields.remove(field);
        }
    }
    content
}

/// The live object after a server-side apply of `config`, given what this manager applied last.
pub fn applied(live: &Value, last: Option<&Value>, config: &Value) -> Value {
    let mut merged = live.clone();
    if let Some(last) = last {
        withdraw(&mut merged, last, config);
    }
    merge(&mut merged, config);
    merged
}

fn withdraw(live: &mut Value, last: &Value, config: &Value) {
    let (Some(live), Some(last)) = (live.as_object_mut(), last.as_object()) else { return };
    for (key, before) in last {
        match (config.get(key), live.get_mut(key)) {
            (None, _) => drop(live.remove(key)),
            (Some(now), Some(live)) => withdraw(live, before, now),
            (Some(_), None) => {}
        }
    }
}

fn merge(live: &mut Value, config: &Value) {
    match (live, config) {
        (Value::Object(live), Value::Object(config)) => {
            for (key, value) in config {
                merge(live.entry(key.clone()).or_insert(Value::Null), value);
            }
        }
        (live, config) => *live = config.clone(),
    }
}

/// Notes who wrote what; the time stays while the rest does, so that a no-op is one.
pub fn note_manager(object: &mut Value, manager: &str, operation: &str, config: &Value, time: &str) {
    let mut entry = json!({
        "manager": manager, "operation": operation, "apiVersion": object["apiVersion"], "time": time,
        "fieldsType": "FieldsV1", "fieldsV1": owned(config),
    });
    let entries = metadata(object).entry("managedFields").or_insert(Value::Null);
    let before = &entries[0];
    let same = ["manager", "operation", "fieldsV1"].iter().all(|field| before[*field] == entry[*field]);
    if same {
        entry["time"] = before["time"].clone();
    }
    *entries = json!([entry]);
}

/// The field set of a configuration; a list counts as one field.
fn owned(config: &Value) -> Value {
    let Some(fields) = config.as_object() else { return json!({}) };
    let own = fields.iter().filter(|(key, _)| !matches!(key.as_str(), "apiVersion" | "kind" | "managedFields"));
    own.map(|(key, value)| (format!("f:{key}"), owned(value))).collect::<Map<_, _>>().into()
}

fn metadata(object: &mut Value) -> &mut Map<String, Value> {
    if !object["metadata"].is_object() {
        object["metadata"] = json!({});
    }
    object["metadata"].as_object_mut().expect("an object was just put there")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stamp() -> Stamp {
        Stamp { uid: "u1".into(), time: "2026-01-01T00:00:00Z".into() }
    }

    #[test]
    fn generation_follows_the_spec_and_not_labels_or_status() {
        let object = created(json!({"kind": "Deployment", "metadata": {"name": "web"}, "spec": {"replicas": 1}}), &stamp());
        assert_eq!(object["metadata"]["generation"], 1);
        let mut labelled = object.clone();
        labelled["metadata"]["labels"] = json!({"a": "b"});
        labelled["status"] = json!({"replicas": 1});
        assert_eq!(updated(&object, labelled).unwrap()["metadata"]["generation"], 1);
        let mut scaled = object.clone();
        scaled["spec"]["replicas"] = json!(2);
        assert_eq!(updated(&object, scaled).unwrap()["metadata"]["generation"], 2);
    }

    #[test]
    fn identity_can_not_be_written() {
        let object = created(json!({"kind": "ConfigMap", "metadata": {"name": "c"}}), &stamp());
        let update = json!({"kind": "Secret", "metadata": {"name": "d", "uid": "u2", "generation": 9}, "data": {"k": "v"}});
        let after = updated(&object, update).unwrap();
        assert_eq!((&after["kind"], &after["metadata"]), (&json!("ConfigMap"), &object["metadata"]));
    }

    #[test]
    fn an_apply_merges_objects_replaces_lists_and_withdraws_what_it_no_longer_says() {
        let live = json!({"data": {"theirs": "x", "a": "1", "b": "2"}, "list": [1, 2]});
        let last = json!({"data": {"a": "1", "b": "2"}, "list": [1, 2]});
        let config = json!({"data": {"a": "3"}, "list": [3]});
        assert_eq!(applied(&live, Some(&last), &config), json!({"data": {"theirs": "x", "a": "3"}, "list": [3]}));
    }

    #[test]
    fn applying_the_same_again_changes_nothing() {
        let config = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}, "data": {"a": "1"}});
        let mut object = created(config.clone(), &stamp());
        note_manager(&mut object, "m", "Apply", &config, "2026-01-01T00:00:00Z");
        let mut again = applied(&object, Some(&config), &config);
        note_manager(&mut again, "m", "Apply", &config, "2026-01-02T00:00:00Z");
        assert_eq!(updated(&object, again), None);
    }
}
