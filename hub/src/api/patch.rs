//! The patch types of Kubernetes on one object. Pure.

use json_patch::Patch as JsonPatch;
use serde_json::Value;

use super::catalogue::{Resource, Role};
use super::failure::Failure;
use super::{request, strategic};

/// A patch as its content type says it works.
#[derive(Clone, Debug)]
pub enum Patch {
    Json(JsonPatch),
    Merge(Value),
    Strategic(Value),
}

/// Operations one JSON patch may have, as in Kubernetes.
const MOST_OPERATIONS: usize = 10_000;

impl Patch {
    /// Reads a patch of `resource`.
    ///
    /// # Errors
    /// 415 for a type that does not work here, 400 for a body that is no such patch.
    pub fn parse(resource: &Resource, content_type: &str, body: &[u8]) -> Result<Self, Failure> {
        match content_type {
            "application/json-patch+json" => {
                let patch: JsonPatch = serde_json::from_slice(body).map_err(|error| unreadable("JSON patch", error))?;
                if patch.0.len() > MOST_OPERATIONS {
                    return Err(Failure::too_large(format!(
                        "a JSON patch may have {MOST_OPERATIONS} operations, this one has {}",
                        patch.0.len()
                    )));
                }
                Ok(Self::Json(patch))
            }
            "application/merge-patch+json" => Ok(Self::Merge(object(body)?)),
            "application/strategic-merge-patch+json" if resource.role == Role::Own => Err(Failure::unsupported(format!(
                "application/strategic-merge-patch+json is not supported for {}: use application/merge-patch+json (kubectl patch --type=merge)",
                resource.kind
            ))),
            "application/strategic-merge-patch+json" => Ok(Self::Strategic(object(body)?)),
            "application/apply-patch+yaml" | "application/apply-patch+cbor" => Err(Failure::unsupported(
                "server-side apply is not supported by this hub yet: apply without --server-side (client-side apply works)",
            )),
            other => Err(Failure::unsupported(format!(
                "the patch type {other:?} is not known: use application/json-patch+json, application/merge-patch+json or application/strategic-merge-patch+json"
            ))),
        }
    }

    /// The patched form of `original`.
    ///
    /// # Errors
    /// 422 when the patch does not fit the object.
    pub fn apply(&self, resource: &Resource, original: &Value) -> Result<Value, Failure> {
        let refused = |error: String| {
            let name = original["metadata"]["name"].as_str().unwrap_or_default();
            let message = format!("the patch of {} {name:?} can't be applied: {error}", resource.kind);
            Failure::new(422, "Invalid", message)
        };
        let mut object = original.clone();
        match self {
            Self::Json(patch) => json_patch::patch(&mut object, &patch.0).map_err(|error| refused(error.to_string()))?,
            Self::Merge(patch) => json_patch::merge(&mut object, patch),
            Self::Strategic(patch) => object = strategic::merge(resource, original, patch).map_err(refused)?,
        }
        Ok(object)
    }
}

fn object(body: &[u8]) -> Result<Value, Failure> {
    let value: Value = serde_json::from_slice(body).or_else(|_| request::decode_yaml(body))?;
    if value.is_object() { Ok(value) } else { Err(Failure::bad_request("the patch is not an object")) }
}

fn unreadable(what: &str, error: impl std::fmt::Display) -> Failure {
    Failure::bad_request(format!("the request body is not a {what}: {error}"))
}
