//! create, update, patch, delete: read, decide with pure rules, write on condition of what was read, again if that was overtaken.

use axum::response::Response;
use http::StatusCode;
use serde_json::{Value, json};

use super::catalogue::Resource;
use super::failure::Failure;
use super::patch::Patch;
use super::request::{self, Form};
use super::respond::{self, Item};
use super::selector::Selector;
use super::serve::Call;
use super::state::stamp;
use super::target::Target;
use super::{advice, meta, projection, read, scale, warnings};
use crate::store::{Expect, Key, StoreError, Stored};

/// How often a write that lost a race is decided again before the client hears of it.
const RETRIES: usize = 16;

/// Makes an object.
pub async fn create(call: &Call, body: &[u8]) -> Result<Response, Failure> {
    let resource = call.target.resource;
    if resource.namespaced && call.target.namespace.is_none() {
        return Err(Failure::bad_request("an empty namespace may not be set during creation: use the path with /namespaces/NAME/"));
    }
    let wanted = request::decode_object(&call.parts, body)?;
    call.state.check_size(resource, &wanted)?;
    for _ in 0..RETRIES {
        let mut object = meta::prepare_create(resource, call.target.namespace.as_deref(), wanted.clone(), &stamp())?;
        let mut warnings = call.state.weed(resource, &mut object, call.options.validation)?;
        call.state.conform(resource, &mut object)?;
        refuse_wrong(resource, &object)?;
        warnings.extend(warnings::of(call, &object).await);
        let name = object["metadata"]["name"].as_str().unwrap_or_default().to_owned();
        match insert(call, &name, object).await {
            Err(failure) if failure.reason == "AlreadyExists" && wanted["metadata"]["name"].is_null() => {}
            outcome => return Ok(respond::warn(answer(call, StatusCode::CREATED, outcome?), &warnings)),
        }
    }
    Err(Failure::new(500, "ServerTimeout", "no free name was found for generateName: try again"))
}

async fn insert(call: &Call, name: &str, object: Value) -> Result<Value, Failure> {
    let target = &call.target;
    let key = target.key(name);
    if call.options.dry_run {
        let taken = call.state.store().get(&key)?.is_some();
        return if taken { Err(Failure::already_exists(target.resource, name)) } else { Ok(object) };
    }
    let stored = to_stored(target, object.clone(), None);
    match put(call, key, Expect::Absent, stored).await {
        Ok(version) => Ok(at_version(object, version)),
        Err(StoreError::Conflict { .. }) => Err(Failure::already_exists(target.resource, name)),
        Err(error) => Err(error.into()),
    }
}

/// Replaces an object, its status, or its scale.
pub async fn update(call: &Call, body: &[u8]) -> Result<Response, Failure> {
    let wanted = request::decode_object(&call.parts, body)?;
    let resource = call.target.resource;
    let scaled = call.target.subresource.as_deref() == Some("scale");
    let replace = |current: &Value| if scaled { scale::set(resource, current, &wanted) } else { Ok(wanted.clone()) };
    change(call, replace).await
}

/// Patches an object, its status, or its scale.
pub async fn patch(call: &Call, body: &[u8]) -> Result<Response, Failure> {
    let resource = call.target.resource;
    let patch = Patch::parse(resource, request::content_type(&call.parts.headers), body)?;
    let scaled = call.target.subresource.as_deref() == Some("scale");
    let apply = |current: &Value| {
        if scaled { scale::set(resource, current, &patch.apply(resource, &scale::of(current))?) } else { patch.apply(resource, current) }
    };
    change(call, apply).await
}

/// What is stored now, and the object it is.
struct Current {
    key: Key,
    version: u64,
    stored: Value,
    object: Value,
}

impl Current {
    fn read(call: &Call, target: &Target, name: &str) -> Result<Self, Failure> {
        let missing = || Failure::not_found(target.resource, name);
        let key = target.key(name);
        let Stored { resource_version, body } = call.state.store().get(&key)?.ok_or_else(missing)?;
        let stored: Value = serde_json::from_slice(&body)
            .map_err(|error| Failure::new(500, "InternalError", format!("stored object {key} is not readable: {error}")))?;
        let object =
            if target.is_template() { projection::to_native(target.resource, &stored).ok_or_else(missing)? } else { stored.clone() };
        Ok(Self { key, version: resource_version, stored, object })
    }
}

/// Changes an object to what `wanted` makes of it, deciding again when another write came first.
async fn change(call: &Call, wanted: impl Fn(&Value) -> Result<Value, Failure>) -> Result<Response, Failure> {
    let target = &call.target;
    let name = target.name.as_deref().unwrap_or_default();
    let overtaken = || {
        let why = "the object has been modified; please apply your changes to the latest version and try again";
        Failure::conflict(target.resource, name, why)
    };
    for _ in 0..RETRIES {
        let current = Current::read(call, target, name)?;
        let wanted = wanted(&current.object)?;
        let given = wanted["metadata"]["resourceVersion"].as_str().filter(|version| !version.is_empty());
        if given.is_some_and(|version| version != current.version.to_string()) {
            return Err(overtaken());
        }
        let (object, mut warnings) = prepare(call, &current.object, wanted)?;
        warnings.extend(warnings::of(call, &object).await);
        match store_changed(call, current, object).await {
            Err(StoreError::Conflict { .. }) => {}
            outcome => return Ok(respond::warn(answer(call, StatusCode::OK, outcome?), &warnings)),
        }
    }
    Err(overtaken())
}

fn prepare(call: &Call, current: &Value, mut wanted: Value) -> Result<(Value, Vec<String>), Failure> {
    let resource = call.target.resource;
    let status = call.target.subresource.as_deref() == Some("status");
    // Unknown fields are told of the client's object, before the parts that it may not write are set back.
    let warnings = call.state.weed(resource, &mut wanted, call.options.validation)?;
    call.state.check_size(resource, &wanted)?;
    let prepare = if status { meta::prepare_status } else { meta::prepare_update };
    let mut object = prepare(resource, current, wanted)?;
    call.state.conform(resource, &mut object)?;
    // What was stored as it is may go on, and go away.
    if !status && current["spec"] != object["spec"] && !meta::is_deleting(&object) {
        refuse_wrong(resource, &object)?;
    }
    Ok((object, warnings))
}

/// Writes a changed object; nothing when it did not change, a removal when the last finalizer went.
async fn store_changed(call: &Call, current: Current, object: Value) -> Result<Value, StoreError> {
    let stored = to_stored(&call.target, object.clone(), Some(&current.stored));
    if call.options.dry_run {
        return Ok(object);
    }
    if meta::is_deleting(&stored) && meta::finalizers(&stored).is_empty() {
        let Current { key, version, .. } = current;
        let gone = call.state.store().write(move |tx| tx.delete(&key, version, stored)).await?;
        return Ok(at_version(object, gone.resource_version));
    }
    if meta::same(&stored, &current.stored) {
        return Ok(at_version(object, current.version));
    }
    let version = put(call, current.key, Expect::Version(current.version), stored).await?;
    Ok(at_version(object, version))
}

/// What a delete asks beside the name.
#[derive(Default)]
struct DeleteOptions {
    uid: Option<String>,
    resource_version: Option<String>,
    dry_run: bool,
}

impl DeleteOptions {
    fn read(call: &Call, body: &[u8]) -> Result<Self, Failure> {
        let mut options = Self { dry_run: call.options.dry_run, ..Self::default() };
        if body.iter().all(u8::is_ascii_whitespace) {
            return Ok(options);
        }
        let given = request::decode_object(&call.parts, body)?;
        let text = |field: &str| given["preconditions"][field].as_str().map(str::to_owned);
        options.uid = text("uid");
        options.resource_version = text("resourceVersion");
        options.dry_run |= given["dryRun"].as_array().is_some_and(|list| list.iter().any(|one| one == "All"));
        match given["propagationPolicy"].as_str() {
            None | Some("Background" | "Foreground" | "Orphan") => Ok(options),
            Some(other) => Err(Failure::bad_request(format!("propagationPolicy {other:?} is not Background, Foreground or Orphan"))),
        }
    }

    fn check(&self, resource: &Resource, name: &str, object: &Value) -> Result<(), Failure> {
        for (what, field, wanted) in [("UID", "uid", &self.uid), ("ResourceVersion", "resourceVersion", &self.resource_version)] {
            let found = object["metadata"][field].as_str().unwrap_or_default();
            if let Some(wanted) = wanted
                && wanted != found
            {
                let why = format!("Precondition failed: {what} in precondition: {wanted}, {what} in object meta: {found}");
                return Err(Failure::conflict(resource, name, &why));
            }
        }
        Ok(())
    }
}

/// Deletes an object, or marks it when finalizers hold it.
pub async fn delete(call: &Call, body: &[u8]) -> Result<Response, Failure> {
    let options = DeleteOptions::read(call, body)?;
    let (resource, name) = (call.target.resource, call.target.name.as_deref().unwrap_or_default());
    let deleted = delete_one(call, &call.target, name, &options).await?;
    if meta::is_deleting(&deleted) {
        return Ok(answer(call, StatusCode::OK, deleted));
    }
    let mut details = json!({"name": name, "kind": resource.plural, "uid": deleted["metadata"]["uid"]});
    if !resource.group.is_empty() {
        details["group"] = resource.group.into();
    }
    let status = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details});
    Ok(respond::json(StatusCode::OK, status.to_string()))
}

/// Deletes what is selected, and answers what that was.
pub async fn delete_collection(call: &Call) -> Result<Response, Failure> {
    let selector: Selector = read::selector(&call.target, &call.options)?;
    let everything = read::fetch(&call.state, &call.target, &selector, None, 0).await?;
    let options = DeleteOptions { dry_run: call.options.dry_run, ..DeleteOptions::default() };
    let mut deleted = Vec::new();
    for item in everything.items {
        let object: Value = match item {
            Item::Value(object) => object,
            Item::Raw(bytes) => serde_json::from_slice(&bytes).unwrap_or_default(),
        };
        let target = call.target.in_namespace(object["metadata"]["namespace"].as_str());
        match delete_one(call, &target, object["metadata"]["name"].as_str().unwrap_or_default(), &options).await {
            Ok(object) => deleted.push(Item::Value(object)),
            Err(failure) if failure.code == 404 => {}
            Err(failure) => return Err(failure),
        }
    }
    let metadata = json!({"resourceVersion": call.state.store().resource_version().to_string()});
    Ok(respond::json(StatusCode::OK, respond::list(&call.target, deleted, metadata, Form::Object, &call.options)))
}

async fn delete_one(call: &Call, target: &Target, name: &str, options: &DeleteOptions) -> Result<Value, Failure> {
    for _ in 0..RETRIES {
        let current = Current::read(call, target, name)?;
        options.check(target.resource, name, &current.object)?;
        let held = !meta::finalizers(&current.stored).is_empty();
        let Current { key, version, stored, object } = current;
        if held && meta::is_deleting(&object) {
            return Ok(object);
        }
        let object = if held { meta::begin_delete(target.resource, &object, &stamp().time) } else { object };
        if options.dry_run {
            return Ok(object);
        }
        let outcome = if held {
            put(call, key, Expect::Version(version), to_stored(target, object.clone(), Some(&stored))).await
        } else {
            call.state.store().write(move |tx| tx.delete(&key, version, stored)).await.map(|gone| gone.resource_version)
        };
        match outcome {
            Err(StoreError::Conflict { .. }) => {}
            outcome => return Ok(at_version(object, outcome?)),
        }
    }
    Err(Failure::conflict(target.resource, name, "the object is changed all the time; try again"))
}

async fn put(call: &Call, key: Key, expect: Expect, stored: Value) -> Result<u64, StoreError> {
    call.state.store().write(move |tx| tx.put(&key, expect, stored).map(|stored| stored.resource_version)).await
}

fn to_stored(target: &Target, object: Value, before: Option<&Value>) -> Value {
    if target.is_template() { projection::to_manifest(target.resource, object, before) } else { object }
}

fn at_version(mut object: Value, version: u64) -> Value {
    if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.insert("resourceVersion".into(), version.to_string().into());
    }
    object
}

/// The object as the client asked for it; what is not kept of a template is not shown either.
fn answer(call: &Call, code: StatusCode, object: Value) -> Response {
    let mut object = object;
    if call.target.subresource.as_deref() == Some("scale") {
        return respond::json(code, scale::of(&object).to_string());
    }
    if call.target.is_template() {
        let status = object.get("status").filter(|_| call.target.resource.status).cloned();
        let kept = projection::to_manifest(call.target.resource, object.clone(), None);
        object = projection::to_native(call.target.resource, &kept).unwrap_or(object);
        if let (Some(status), Some(object)) = (status, object.as_object_mut()) {
            object.insert("status".into(), status);
        }
    }
    let object = respond::shaped(&call.target, object, Form::of(&call.parts.headers), &call.options);
    respond::json(code, object.to_string())
}

fn refuse_wrong(resource: &Resource, object: &Value) -> Result<(), Failure> {
    let causes = advice::wrong(resource, object);
    let name = object["metadata"]["name"].as_str().unwrap_or_default();
    if causes.is_empty() { Ok(()) } else { Err(Failure::invalid(resource, name, causes)) }
}
