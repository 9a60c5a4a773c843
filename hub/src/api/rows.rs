//! The read-only sub-resources that list what is known of an object one row at a time: a Subscription's `clusters`, a ManagedCluster's
//! `objects`. They come from memory, so a page may miss what changes between pages.

use axum::response::Response;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::StatusCode;
use serde_json::{Value, json};

use super::catalogue::Resource;
use super::failure::Failure;
use super::live::{Row, Rows};
use super::request::Form;
use super::respond;
use super::serve::Call;

/// Rows a page where the client does not say.
const DEFAULT_PAGE: usize = 500;

/// What one such sub-resource is called.
struct Listing {
    subresource: &'static str,
    kind: &'static str,
    /// Column name and field of the row.
    columns: &'static [(&'static str, &'static str)],
}

const CLUSTERS: Listing = Listing {
    subresource: "clusters",
    kind: "ClusterStatus",
    columns: &[
        ("Namespace", "namespace"),
        ("Name", "name"),
        ("Connected", "connected"),
        ("State", "state"),
        ("Health", "health"),
        ("Object", "object"),
        ("Reason", "reason"),
        ("Message", "message"),
        ("Last-Contact", "lastContact"),
    ],
};

const OBJECTS: Listing = Listing {
    subresource: "objects",
    kind: "ObjectStatus",
    columns: &[
        ("Group", "group"),
        ("Kind", "kind"),
        ("Namespace", "namespace"),
        ("Name", "name"),
        ("State", "state"),
        ("Health", "health"),
        ("Reason", "reason"),
        ("Message", "message"),
    ],
};

/// Whether a kind has this sub-resource.
pub fn has(resource: &Resource, subresource: &str) -> bool {
    listing(resource.kind).is_some_and(|listing| listing.subresource == subresource)
}

fn listing(kind: &str) -> Option<&'static Listing> {
    match kind {
        "Subscription" => Some(&CLUSTERS),
        "ManagedCluster" => Some(&OBJECTS),
        _ => None,
    }
}

/// Answers a page of rows.
pub fn list(call: &Call) -> Result<Response, Failure> {
    let (target, options) = (&call.target, &call.options);
    let name = target.name.as_deref().unwrap_or_default();
    let listing = listing(target.resource.kind).ok_or_else(Failure::no_such_path)?;
    call.state.store().get(&target.key(name))?.ok_or_else(|| Failure::not_found(target.resource, name))?;
    let after = options.continue_token.as_deref().map(read_token).transpose()?;
    let most = if options.limit == 0 { DEFAULT_PAGE } else { options.limit };
    let known = call
        .state
        .live()
        .and_then(|live| live.rows(target.resource.kind, target.namespace.as_deref().unwrap_or_default(), name, after.as_deref(), most));
    // What was made a moment ago is not known yet: nothing is known of it.
    let Rows { items, remaining } = known.unwrap_or_default();
    let mut metadata = json!({"resourceVersion": call.state.store().resource_version().to_string()});
    if let (Some(last), true) = (items.last(), remaining > 0) {
        metadata["continue"] = URL_SAFE_NO_PAD.encode(&last.key).into();
        metadata["remainingItemCount"] = remaining.into();
    }
    let body = match Form::of(&call.parts.headers) {
        Form::Table => table(listing, &items, metadata),
        Form::Object | Form::Metadata => plain(listing, &target.resource.api_version(), items, metadata),
    };
    Ok(respond::json(StatusCode::OK, body.to_string()))
}

fn read_token(token: &str) -> Result<String, Failure> {
    let text = URL_SAFE_NO_PAD.decode(token).ok().and_then(|bytes| String::from_utf8(bytes).ok());
    text.ok_or_else(|| Failure::bad_request("the continue token is not one of this server: list again without it"))
}

fn plain(listing: &Listing, api_version: &str, items: Vec<Row>, metadata: Value) -> Value {
    let items: Vec<Value> = items.into_iter().map(|row| row.value).collect();
    json!({"kind": format!("{}List", listing.kind), "apiVersion": api_version, "metadata": metadata, "items": items})
}

fn table(listing: &Listing, items: &[Row], metadata: Value) -> Value {
    let column = |(name, field): &(&str, &str)| {
        let format = if *field == "name" { "name" } else { "" };
        json!({"name": name, "type": "string", "format": format, "description": "", "priority": 0})
    };
    let cell = |row: &Row, field: &str| match &row.value[field] {
        Value::String(text) => json!(text),
        Value::Null => json!(""),
        value => json!(value.to_string()),
    };
    let row = |row: &Row| {
        let cells: Vec<Value> = listing.columns.iter().map(|(_, field)| cell(row, field)).collect();
        json!({"cells": cells, "object": {"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1",
            "metadata": {"name": row.value["name"], "namespace": row.value["namespace"]}}})
    };
    json!({
        "kind": "Table", "apiVersion": "meta.k8s.io/v1", "metadata": metadata,
        "columnDefinitions": listing.columns.iter().map(column).collect::<Vec<_>>(),
        "rows": items.iter().map(row).collect::<Vec<_>>(),
    })
}
