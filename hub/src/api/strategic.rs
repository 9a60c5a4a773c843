//! Placeholder until strategic merge is merged: maps merge, lists replace.

use serde_json::Value;

use super::catalogue::Resource;

/// Merges a patch into an object.
///
/// # Errors
/// None, until strategic merge is merged.
pub fn merge(_resource: &Resource, original: &Value, patch: &Value) -> Result<Value, String> {
    let mut object = original.clone();
    json_patch::merge(&mut object, patch);
    Ok(object)
}
