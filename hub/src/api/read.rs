//! get and list.

use std::sync::Arc;

use axum::response::Response;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::StatusCode;
use serde_json::{Value, json};

use super::failure::Failure;
use super::live::{self, Live};
use super::request::{Form, Options};
use super::respond::{self, Item};
use super::scale;
use super::selector::Selector;
use super::serve::Call;
use super::state::ApiState;
use super::target::Target;
use crate::store::{Page, Query, Row, Store};

/// Answers one object.
pub fn get(call: &Call) -> Result<Response, Failure> {
    let target = &call.target;
    let name = target.name.as_deref().unwrap_or_default();
    let stored = call.state.store().get(&target.key(name))?.ok_or_else(|| Failure::not_found(target.resource, name))?;
    let form = Form::of(&call.parts.headers);
    let scaled = target.subresource.as_deref() == Some("scale");
    let live = filling(call.state.live(), target);
    if form == Form::Object && !target.is_template() && !scaled && live.is_none() {
        return Ok(respond::json(StatusCode::OK, stored.body));
    }
    let mut object = respond::present(target, &stored.body).ok_or_else(|| Failure::not_found(target.resource, name))?;
    if let Some(live) = live {
        live.fill(target.resource.kind, &mut object);
    }
    let object = if scaled { scale::of(&object) } else { respond::shaped(target, object, form, &call.options) };
    Ok(respond::json(StatusCode::OK, object.to_string()))
}

/// Answers a collection, or a page of it.
pub async fn list(call: &Call) -> Result<Response, Failure> {
    let (target, options) = (&call.target, &call.options);
    let selector = selector(target, options)?;
    let start = Start::of(call.state.store(), options)?;
    let form = Form::of(&call.parts.headers);
    let page = fetch(&call.state, target, &selector, start.after, options.limit).await?;
    if start.resource_version.is_none() {
        check_version(options, page.resource_version)?;
    }
    let resource_version = start.resource_version.unwrap_or(page.resource_version);
    let mut metadata = json!({"resourceVersion": resource_version.to_string()});
    if let Some((namespace, name)) = &page.next {
        metadata["continue"] = token(resource_version, namespace, name).into();
    }
    let body = respond::list(target, page.items, metadata, form, options);
    Ok(respond::json(StatusCode::OK, body))
}

/// Refuses a version that this list can't be of; `current` is the version of what was just read.
fn check_version(options: &Options, current: u64) -> Result<(), Failure> {
    let wanted = options.resource_version.unwrap_or(0);
    if wanted > current {
        let cause = json!([{"reason": "ResourceVersionTooLarge", "message": "Too large resource version"}]);
        let message = format!("Timeout: Too large resource version: {wanted}, current: {current}");
        return Err(Failure::new(504, "Timeout", message).with("causes", cause).with("retryAfterSeconds", 1));
    }
    if options.resource_version_match.as_deref() == Some("Exact") && wanted != current {
        return Err(Failure::expired(format!("resourceVersion {wanted} is not kept for lists, the current one is {current}")));
    }
    Ok(())
}

/// The selector of a list or watch.
pub fn selector(target: &Target, options: &Options) -> Result<Selector, Failure> {
    let fields = match (&target.name, &options.field_selector) {
        // Watching one path of an object is watching its collection by name.
        (Some(name), None) => Some(format!("metadata.name={name}")),
        (Some(name), Some(fields)) => Some(format!("metadata.name={name},{fields}")),
        (None, fields) => fields.clone(),
    };
    Selector::parse(options.label_selector.as_deref(), fields.as_deref(), target.resource.kind)
}

/// Reads what is selected; raw bytes where nothing has to be looked at.
pub async fn fetch(
    state: &ApiState,
    target: &Target,
    selector: &Selector,
    after: Option<(String, String)>,
    limit: usize,
) -> Result<Page<Item>, Failure> {
    let query = Query { after, limit, ..narrowed(target, selector) };
    let live = filling(state.live(), target).cloned();
    let (target, selector) = (target.clone(), selector.clone());
    let pick = move |row: Row<'_>| {
        if !target.is_template() && selector.is_everything() && live.is_none() {
            return Some(Item::Raw(row.body.to_vec()));
        }
        let mut object = respond::present(&target, row.body)?;
        if let Some(live) = &live {
            live.fill(target.resource.kind, &mut object);
        }
        selector.matches(&object).then_some(Item::Value(object))
    };
    Ok(state.store().list(query, pick).await?)
}

/// Who fills in objects of this target, if anybody knows better than the store.
fn filling<'a>(live: Option<&'a Arc<dyn Live>>, target: &Target) -> Option<&'a Arc<dyn Live>> {
    live.filter(|_| live::is_filled(target.resource.kind))
}

/// The query of a target; a selector for one name narrows it to that name.
fn narrowed(target: &Target, selector: &Selector) -> Query {
    let mut query = target.query();
    let knows_prefix = !target.is_template() || !target.resource.namespaced || target.namespace.is_some();
    if let (true, Some(name)) = (knows_prefix, selector.only_name()) {
        query.name_prefix = target.key(name).name;
    }
    query
}

/// Where a list starts, and the version its pages share.
struct Start {
    after: Option<(String, String)>,
    resource_version: Option<u64>,
}

impl Start {
    fn of(store: &Store, options: &Options) -> Result<Self, Failure> {
        if let Some(token) = &options.continue_token {
            let (version, namespace, name) = read_token(token)
                .ok_or_else(|| Failure::bad_request("the continue token is not one of this server: list again without it"))?;
            // The first page's version is given again, so a watch from it replays what changed between the pages.
            store
                .watch(version)
                .map_err(|error| Failure::expired(format!("the continue token is too old, list again without it: {error}")))?;
            return Ok(Self { after: Some((namespace, name)), resource_version: Some(version) });
        }
        Ok(Self { after: None, resource_version: None })
    }
}

fn token(version: u64, namespace: &str, name: &str) -> String {
    URL_SAFE_NO_PAD.encode(json!([version, namespace, name]).to_string())
}

fn read_token(token: &str) -> Option<(u64, String, String)> {
    let value: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(token).ok()?).ok()?;
    serde_json::from_value(value).ok()
}
