//! Refusals as Kubernetes `Status` objects: code, reason, a sentence, and details that clients act on.

use std::time::Duration;

use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use serde_json::{Map, Value, json};

use super::catalogue::Resource;
use crate::store::StoreError;

/// A request that was refused, with everything its `Status` says.
#[derive(Clone, Debug, PartialEq)]
pub struct Failure {
    pub code: u16,
    pub reason: &'static str,
    pub message: String,
    details: Map<String, Value>,
    /// Seconds.
    again: Option<u64>,
}

impl Failure {
    /// A refusal without details.
    pub fn new(code: u16, reason: &'static str, message: impl Into<String>) -> Self {
        Self { code, reason, message: message.into(), details: Map::new(), again: None }
    }

    /// 400: the request itself is wrong.
    pub fn bad_request(message: impl Into<String>) -> Self {
        Self::new(400, "BadRequest", message)
    }

    /// 404 for an object.
    pub fn not_found(resource: &Resource, name: &str) -> Self {
        Self::new(404, "NotFound", format!("{} {name:?} not found", qualified(resource))).about(resource, name)
    }

    /// 404 for a path that names nothing served.
    pub fn no_such_path() -> Self {
        Self::new(404, "NotFound", "the server could not find the requested resource")
    }

    /// 405 with what to do instead.
    pub fn not_allowed(message: impl Into<String>) -> Self {
        Self::new(405, "MethodNotAllowed", message)
    }

    /// 409 for a create.
    pub fn already_exists(resource: &Resource, name: &str) -> Self {
        Self::new(409, "AlreadyExists", format!("{} {name:?} already exists", qualified(resource))).about(resource, name)
    }

    /// 409 for a write that lost a race or a precondition.
    pub fn conflict(resource: &Resource, name: &str, why: &str) -> Self {
        let message = format!("Operation cannot be fulfilled on {} {name:?}: {why}", qualified(resource));
        Self::new(409, "Conflict", message).about(resource, name)
    }

    /// 410: what the client knows is too old to continue from.
    pub fn expired(message: impl Into<String>) -> Self {
        Self::new(410, "Expired", message)
    }

    /// 413 naming the limit.
    pub fn too_large(message: impl Into<String>) -> Self {
        Self::new(413, "RequestEntityTooLarge", message)
    }

    /// 415 with the types that are accepted.
    pub fn unsupported(message: impl Into<String>) -> Self {
        Self::new(415, "UnsupportedMediaType", message)
    }

    /// 422 with one cause a field.
    pub fn invalid(resource: &Resource, name: &str, causes: Vec<Cause>) -> Self {
        let shown: Vec<String> = causes.iter().map(Cause::to_string).collect();
        let list = if shown.len() == 1 { shown.concat() } else { format!("[{}]", shown.join(", ")) };
        let kind = if resource.group.is_empty() { resource.kind.into() } else { format!("{}.{}", resource.kind, resource.group) };
        let mut failure = Self::new(422, "Invalid", format!("{kind} {name:?} is invalid: {list}")).about(resource, name);
        failure.details.insert("kind".into(), resource.kind.into());
        failure.details.insert("causes".into(), causes.iter().map(Cause::to_value).collect());
        failure
    }

    fn about(mut self, resource: &Resource, name: &str) -> Self {
        self.details.insert("name".into(), name.into());
        if !resource.group.is_empty() {
            self.details.insert("group".into(), resource.group.into());
        }
        self.details.insert("kind".into(), resource.plural.into());
        self
    }

    /// Adds one detail.
    pub fn with(mut self, key: &str, value: impl Into<Value>) -> Self {
        self.details.insert(key.into(), value.into());
        self
    }

    /// Clients are to repeat the request after this: in details, and as the header that client-go acts on.
    pub fn again_after(mut self, time: Duration) -> Self {
        self.again = Some(time.as_secs().max(1));
        self.with("retryAfterSeconds", time.as_secs().max(1))
    }

    /// The `Status` object.
    pub fn status(&self) -> Value {
        let mut status = json!({
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
            "message": self.message, "reason": self.reason, "code": self.code,
        });
        if !self.details.is_empty() {
            status["details"] = Value::Object(self.details.clone());
        }
        status
    }
}

/// `plural` or `plural.group`, as Kubernetes' messages spell a resource.
pub fn qualified(resource: &Resource) -> String {
    if resource.group.is_empty() { resource.plural.to_owned() } else { format!("{}.{}", resource.plural, resource.group) }
}

/// One wrong field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cause {
    pub field: String,
    pub reason: &'static str,
    pub message: String,
}

impl Cause {
    /// A field that must be there.
    pub fn required(field: impl Into<String>) -> Self {
        Self { field: field.into(), reason: "FieldValueRequired", message: "Required value".into() }
    }

    /// A field with a value that is not allowed.
    pub fn invalid(field: impl Into<String>, value: &Value, why: impl std::fmt::Display) -> Self {
        Self { field: field.into(), reason: "FieldValueInvalid", message: format!("Invalid value: {}: {why}", shortened(value)) }
    }

    fn to_value(&self) -> Value {
        json!({"reason": self.reason, "message": self.message, "field": self.field})
    }
}

impl std::fmt::Display for Cause {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.field, self.message)
    }
}

/// A value for a message; long ones would hide the sentence.
fn shortened(value: &Value) -> String {
    let text = value.to_string();
    if text.chars().count() <= 100 { text } else { format!("{}...", text.chars().take(100).collect::<String>()) }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Expired { .. } => Self::expired(error.to_string()),
            StoreError::Closed => Self::new(503, "ServiceUnavailable", error.to_string()),
            _ => Self::new(500, "InternalError", error.to_string()),
        }
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let code = StatusCode::from_u16(self.code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = (code, self.status().to_string()).into_response();
        response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if let Some(seconds) = self.again {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if self.code == 401 {
            response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"clusternet-hub\""));
        }
        response
    }
}
