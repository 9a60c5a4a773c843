//! The rules of object metadata: what a create fills in, what an update may not touch, when generation rises.
//!
//! Pure; the time and the random parts are arguments. Objects here are in their native form, never Manifests around templates.

use serde_json::{Map, Value, json};

use super::catalogue::{Resource, Role};
use super::failure::{Cause, Failure};

/// What only the shell knows about a write.
#[derive(Clone, Debug)]
pub struct Stamp {
    /// Now, as RFC 3339 in seconds.
    pub time: String,
    pub uid: String,
    /// Five characters for `generateName`.
    pub suffix: String,
}

/// Annotations of one object together, as in Kubernetes.
const ANNOTATION_BYTES: usize = 256 << 10;

/// Makes a client's object one that can be stored: type, name, namespace and identity.
///
/// # Errors
/// 400 or 422 naming the field.
pub fn prepare_create(resource: &Resource, namespace: Option<&str>, mut object: Value, stamp: &Stamp) -> Result<Value, Failure> {
    check_shape(resource, &mut object)?;
    let metadata = metadata_mut(&mut object);
    if metadata.get("resourceVersion").and_then(Value::as_str).is_some_and(|version| !version.is_empty()) {
        return Err(Failure::bad_request("resourceVersion should not be set on objects to be created"));
    }
    let name = text(metadata, "name");
    if name.is_empty() {
        let base = text(metadata, "generateName");
        if base.is_empty() {
            let cause = Cause {
                field: "metadata.name".into(),
                reason: "FieldValueRequired",
                message: "Required value: name or generateName is required".into(),
            };
            return Err(Failure::invalid(resource, "", vec![cause]));
        }
        let base: String = base.chars().take(247).collect();
        metadata.insert("name".into(), format!("{base}{}", stamp.suffix).into());
    }
    place(metadata, namespace)?;
    for field in ["resourceVersion", "selfLink", "deletionTimestamp", "deletionGracePeriodSeconds", "generation"] {
        metadata.remove(field);
    }
    metadata.insert("uid".into(), stamp.uid.clone().into());
    metadata.insert("creationTimestamp".into(), stamp.time.clone().into());
    if counts_generations(resource, &object) {
        metadata_mut(&mut object).insert("generation".into(), 1.into());
    }
    if keeps_status_apart(resource) {
        remove(&mut object, "status");
    }
    check_metadata(resource, &object)?;
    Ok(object)
}

/// What a write of the main resource makes of `old`: identity and status stay, generation follows the content.
///
/// # Errors
/// 400, 409 or 422 naming the field.
pub fn prepare_update(resource: &Resource, old: &Value, mut new: Value) -> Result<Value, Failure> {
    check_shape(resource, &mut new)?;
    let name = old["metadata"]["name"].as_str().unwrap_or_default();
    check_identity(resource, old, metadata_mut(&mut new))?;
    if resource.status && resource.role != Role::Live {
        take(&mut new, old, "status");
    }
    let metadata = metadata_mut(&mut new);
    for field in ["uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds", "generation", "resourceVersion"] {
        restore(metadata, &old["metadata"], field);
    }
    metadata.remove("selfLink");
    if counts_generations(resource, &new) && content(resource, old) != content(resource, &new) {
        let generation = old["metadata"]["generation"].as_i64().unwrap_or(0) + 1;
        metadata_mut(&mut new).insert("generation".into(), generation.into());
    }
    if is_deleting(old) && finalizers(&new).iter().any(|one| !finalizers(old).contains(one)) {
        let why = "no new finalizers can be added if the object is being deleted";
        return Err(Failure::invalid(resource, name, vec![Cause::invalid("metadata.finalizers", &new["metadata"]["finalizers"], why)]));
    }
    check_metadata(resource, &new)?;
    Ok(new)
}

/// What a write of the `status` sub-resource makes of `old`: nothing but status changes.
///
/// # Errors
/// 400 or 409 naming the field.
pub fn prepare_status(resource: &Resource, old: &Value, mut new: Value) -> Result<Value, Failure> {
    check_shape(resource, &mut new)?;
    check_identity(resource, old, metadata_mut(&mut new))?;
    let mut object = old.clone();
    take(&mut object, &new, "status");
    Ok(object)
}

/// Marks an object that finalizers hold as being deleted.
pub fn begin_delete(resource: &Resource, old: &Value, time: &str) -> Value {
    let mut object = old.clone();
    if is_deleting(old) {
        return object;
    }
    let counted = counts_generations(resource, &object);
    let metadata = metadata_mut(&mut object);
    metadata.insert("deletionTimestamp".into(), time.into());
    metadata.insert("deletionGracePeriodSeconds".into(), 0.into());
    if counted {
        let generation = metadata.get("generation").and_then(Value::as_i64).unwrap_or(0) + 1;
        metadata.insert("generation".into(), generation.into());
    }
    object
}

/// Whether somebody asked for the object's deletion.
pub fn is_deleting(object: &Value) -> bool {
    object["metadata"]["deletionTimestamp"].is_string()
}

/// The finalizers of an object.
pub fn finalizers(object: &Value) -> Vec<&str> {
    object["metadata"]["finalizers"].as_array().into_iter().flatten().filter_map(Value::as_str).collect()
}

/// Whether two forms of an object differ in nothing that a write could change.
pub fn same(one: &Value, other: &Value) -> bool {
    let mut copies = [one.clone(), other.clone()];
    for copy in &mut copies {
        if let Some(metadata) = copy.get_mut("metadata").and_then(Value::as_object_mut) {
            metadata.remove("resourceVersion");
        }
    }
    copies[0] == copies[1]
}

fn check_shape(resource: &Resource, object: &mut Value) -> Result<(), Failure> {
    let Some(map) = object.as_object_mut() else {
        return Err(Failure::bad_request(format!("the body is not a {} object", resource.kind)));
    };
    let expected = resource.api_version();
    let (version, kind) = (text(map, "apiVersion"), text(map, "kind"));
    let same_group = version.split_once('/').map_or("", |(group, _)| group) == resource.group;
    if (!kind.is_empty() && kind != resource.kind) || (!version.is_empty() && !same_group) {
        let message = format!("the object is {version} {kind}, and this path takes {expected} {}", resource.kind);
        return Err(Failure::bad_request(message));
    }
    if !version.is_empty() && version != expected && resource.role != Role::Template {
        return Err(Failure::bad_request(format!(
            "the API version in the data ({version}) does not match the expected API version ({expected})"
        )));
    }
    map.insert("apiVersion".into(), expected.into());
    map.insert("kind".into(), resource.kind.into());
    if map.get("metadata").is_none_or(Value::is_null) {
        map.insert("metadata".into(), json!({}));
    }
    if !map["metadata"].is_object() {
        return Err(Failure::bad_request("metadata is not an object"));
    }
    Ok(())
}

fn place(metadata: &mut Map<String, Value>, namespace: Option<&str>) -> Result<(), Failure> {
    let given = text(metadata, "namespace");
    match namespace {
        Some(namespace) if !given.is_empty() && given != namespace => Err(Failure::bad_request(format!(
            "the namespace of the provided object does not match the namespace sent on the request: {given:?} and {namespace:?}"
        ))),
        Some(namespace) => {
            metadata.insert("namespace".into(), namespace.into());
            Ok(())
        }
        None => {
            metadata.remove("namespace");
            Ok(())
        }
    }
}

fn check_identity(resource: &Resource, old: &Value, new: &mut Map<String, Value>) -> Result<(), Failure> {
    let name = old["metadata"]["name"].as_str().unwrap_or_default();
    for field in ["name", "namespace"] {
        let (given, kept) = (text(new, field), old["metadata"][field].as_str().unwrap_or_default());
        if !given.is_empty() && given != kept {
            let message = format!("the {field} of the object ({given}) does not match the {field} on the URL ({kept})");
            return Err(Failure::bad_request(message));
        }
        restore(new, &old["metadata"], field);
    }
    let (given, kept) = (text(new, "uid"), old["metadata"]["uid"].as_str().unwrap_or_default());
    if !given.is_empty() && given != kept {
        let why = format!("Precondition failed: UID in precondition: {given}, UID in object meta: {kept}");
        return Err(Failure::conflict(resource, name, &why));
    }
    Ok(())
}

fn check_metadata(resource: &Resource, object: &Value) -> Result<(), Failure> {
    let metadata = &object["metadata"];
    let name = metadata["name"].as_str().unwrap_or_default();
    let mut causes = Vec::new();
    if let Some(why) = wrong_name(resource, name) {
        causes.push(Cause::invalid("metadata.name", &metadata["name"], why));
    }
    for field in ["labels", "annotations"] {
        match &metadata[field] {
            Value::Null => {}
            Value::Object(map) if map.values().all(Value::is_string) => {}
            other => causes.push(Cause::invalid(format!("metadata.{field}"), other, "must be an object whose values are strings")),
        }
    }
    if let Value::Array(list) = &metadata["finalizers"]
        && !list.iter().all(Value::is_string)
    {
        causes.push(Cause::invalid("metadata.finalizers", &metadata["finalizers"], "must be an array of strings"));
    }
    let bytes: usize =
        metadata["annotations"].as_object().into_iter().flatten().map(|(key, value)| key.len() + value.as_str().map_or(0, str::len)).sum();
    if bytes > ANNOTATION_BYTES {
        let message = format!("Too long: may not be more than {ANNOTATION_BYTES} bytes");
        causes.push(Cause { field: "metadata.annotations".into(), reason: "FieldValueTooLong", message });
    }
    if causes.is_empty() { Ok(()) } else { Err(Failure::invalid(resource, name, causes)) }
}

fn wrong_name(resource: &Resource, name: &str) -> Option<&'static str> {
    if name.is_empty() || name == "." || name == ".." || name.contains(['/', '%']) {
        return Some("may not be empty, '.', '..', or contain '/' or '%'");
    }
    // A Manifest's name is made of three, and RBAC names are path segments.
    if resource.kind == "Manifest" || resource.group == "rbac.authorization.k8s.io" {
        return None;
    }
    let inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '.';
    let edge = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let fine = name.len() <= 253 && name.chars().all(inner) && name.starts_with(edge) && name.ends_with(edge);
    (!fine).then_some("a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', start and end with an alphanumeric character, and be at most 253 characters")
}

fn counts_generations(resource: &Resource, object: &Value) -> bool {
    resource.role == Role::Own || (resource.role == Role::Template && object.get("spec").is_some())
}

fn keeps_status_apart(resource: &Resource) -> bool {
    resource.role == Role::Template || (resource.role == Role::Own && resource.status)
}

/// What a generation counts: everything but metadata and status, and only `spec` of a native kind.
fn content(resource: &Resource, object: &Value) -> Value {
    if resource.role == Role::Template {
        return object["spec"].clone();
    }
    let mut content = object.as_object().cloned().unwrap_or_default();
    content.retain(|field, _| field != "metadata" && (field != "status" || !resource.status));
    Value::Object(content)
}

fn metadata_mut(object: &mut Value) -> &mut Map<String, Value> {
    if !object["metadata"].is_object() {
        object["metadata"] = json!({});
    }
    object["metadata"].as_object_mut().expect("made an object above")
}

fn text(map: &Map<String, Value>, field: &str) -> String {
    map.get(field).and_then(Value::as_str).unwrap_or_default().to_owned()
}

fn take(object: &mut Value, from: &Value, field: &str) {
    match from.get(field) {
        Some(value) => object[field] = value.clone(),
        None => remove(object, field),
    }
}

fn restore(map: &mut Map<String, Value>, from: &Value, field: &str) {
    match from.get(field) {
        Some(value) => map.insert(field.into(), value.clone()),
        None => map.remove(field),
    };
}

fn remove(object: &mut Value, field: &str) {
    if let Some(map) = object.as_object_mut() {
        map.remove(field);
    }
}
