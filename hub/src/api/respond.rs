//! Answers: one object or a list of them, in the form the client asked for.

use std::time::SystemTime;

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use http::{HeaderValue, StatusCode, header};
use serde_json::{Value, json};

use super::projection;
use super::request::{Form, Options};
use super::table;
use super::target::Target;

/// A JSON answer.
pub fn json(code: StatusCode, body: impl Into<Body>) -> Response {
    with_type(code, "application/json", body)
}

/// An answer of a given media type.
pub fn with_type(code: StatusCode, media_type: &str, body: impl Into<Body>) -> Response {
    let mut response = Response::new(body.into());
    *response.status_mut() = code;
    let value = HeaderValue::from_str(media_type).unwrap_or(HeaderValue::from_static("application/octet-stream"));
    response.headers_mut().insert(header::CONTENT_TYPE, value);
    response
}

/// Adds one `Warning:` header a sentence.
pub fn warn(mut response: Response, sentences: &[String]) -> Response {
    for sentence in sentences {
        let quoted = sentence.replace('\\', "\\\\").replace('"', "\\\"");
        if let Ok(value) = HeaderValue::from_str(&format!("299 - \"{quoted}\"")) {
            response.headers_mut().append(header::WARNING, value);
        }
    }
    response
}

/// The object that stored bytes are, as this target shows it; `None` for a Manifest of something else.
pub fn present(target: &Target, body: &[u8]) -> Option<Value> {
    let stored: Value = serde_json::from_slice(body).ok()?;
    if target.is_template() { projection::to_native(target.resource, &stored) } else { Some(stored) }
}

/// One object in the form asked for.
pub fn shaped(target: &Target, object: Value, form: Form, options: &Options) -> Value {
    match form {
        Form::Object => object,
        Form::Table => {
            let list = json!({"resourceVersion": object["metadata"]["resourceVersion"]});
            table::table(target.resource, &[object], options.include, list, SystemTime::now())
        }
        Form::Metadata => metadata_of(&object, true),
    }
}

/// An object without its content.
fn metadata_of(object: &Value, typed: bool) -> Value {
    let metadata = &object["metadata"];
    if typed {
        json!({"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": metadata})
    } else {
        json!({"metadata": metadata})
    }
}

/// One item of a list, as it waits for the others.
pub enum Item {
    /// JSON that needs no change.
    Raw(Vec<u8>),
    Value(Value),
}

/// A list in the form asked for; `metadata` is the list's.
pub fn list(target: &Target, items: Vec<Item>, metadata: Value, form: Form, options: &Options) -> Bytes {
    match form {
        Form::Table => {
            let objects: Vec<Value> = items.into_iter().filter_map(Item::into_value).collect();
            table::table(target.resource, &objects, options.include, metadata, SystemTime::now()).to_string().into()
        }
        Form::Object => joined(&format!("{}List", target.resource.kind), &target.resource.api_version(), &metadata, items),
        Form::Metadata => {
            let slim = |item: Item| item.into_value().map(|object| Item::Value(metadata_of(&object, false)));
            let items = items.into_iter().filter_map(slim).collect();
            joined("PartialObjectMetadataList", "meta.k8s.io/v1", &metadata, items)
        }
    }
}

impl Item {
    fn into_value(self) -> Option<Value> {
        match self {
            Self::Raw(bytes) => serde_json::from_slice(&bytes).ok(),
            Self::Value(value) => Some(value),
        }
    }
}

/// Lists are joined from bytes: parsing stored objects only to print them again would be most of the work.
fn joined(kind: &str, api_version: &str, metadata: &Value, items: Vec<Item>) -> Bytes {
    let mut body = format!(r#"{{"kind":"{kind}","apiVersion":"{api_version}","metadata":{metadata},"items":["#).into_bytes();
    for (index, item) in items.into_iter().enumerate() {
        if index > 0 {
            body.push(b',');
        }
        match item {
            Item::Raw(bytes) => body.extend_from_slice(&bytes),
            Item::Value(value) => body.extend_from_slice(value.to_string().as_bytes()),
        }
    }
    body.extend_from_slice(b"]}");
    body.into()
}
