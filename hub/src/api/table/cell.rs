//! How single values become cells.

use serde_json::{Value, json};

use super::age;
use crate::api::rfc3339;

/// The value at a JSON pointer, or `<none>`.
pub fn at(object: &Value, pointer: &str) -> Value {
    match object.pointer(pointer) {
        None | Some(Value::Null) => none(),
        Some(Value::String(text)) if text.is_empty() => none(),
        Some(value) => value.clone(),
    }
}

/// A count of the status, or `-` where there is no status: a template on the hub runs nowhere, so 0 would be untrue.
pub fn count(object: &Value, pointer: &str) -> Value {
    match object.pointer(pointer) {
        Some(value) if value.is_number() => json!(value.to_string()),
        _ if has_status(object) => json!("0"),
        _ => json!("-"),
    }
}

/// `ready/wanted`.
pub fn ratio(object: &Value, ready: &str, wanted: Value) -> Value {
    let ready = count(object, ready);
    json!(format!("{}/{}", plain(&ready), plain(&wanted)))
}

fn has_status(object: &Value) -> bool {
    object["status"].as_object().is_some_and(|status| !status.is_empty())
}

/// The time since the RFC 3339 text at a pointer.
pub fn since(object: &Value, pointer: &str, now: i64) -> Value {
    let then = object.pointer(pointer).and_then(Value::as_str).and_then(rfc3339::parse);
    then.map_or_else(unknown, |then| json!(age::human(now.saturating_sub(then))))
}

/// The status (`True`, `False`, `Unknown`) of a condition.
pub fn condition(object: &Value, kind: &str) -> Value {
    condition_field(object, kind, "status")
}

/// One field of the condition of a type.
pub fn condition_field(object: &Value, kind: &str, field: &str) -> Value {
    let conditions = object.pointer("/status/conditions").and_then(Value::as_array);
    let found = conditions.into_iter().flatten().find(|condition| condition["type"] == kind);
    found.map_or_else(none, |condition| at(condition, &format!("/{field}")))
}

/// How many members the maps or lists at these pointers have together.
pub fn size(object: &Value, pointers: &[&str]) -> Value {
    let size = |pointer: &&str| match object.pointer(pointer) {
        Some(Value::Object(fields)) => fields.len(),
        Some(Value::Array(items)) => items.len(),
        _ => 0,
    };
    json!(pointers.iter().map(size).sum::<usize>())
}

/// One field of every element of a list, joined by commas.
pub fn joined(object: &Value, pointer: &str, field: &str) -> Value {
    let items = object.pointer(pointer).and_then(Value::as_array);
    list(items.into_iter().flatten().filter_map(|item| item.get(field)).map(plain))
}

/// `a=b,c=d` of a map of strings.
pub fn pairs(object: &Value, pointer: &str) -> Value {
    let map = object.pointer(pointer).and_then(Value::as_object);
    list(map.into_iter().flatten().map(|(key, value)| format!("{key}={}", plain(value))))
}

/// A label selector in kubectl's notation.
pub fn selector(object: &Value, pointer: &str) -> Value {
    let labels = object.pointer(&format!("{pointer}/matchLabels")).and_then(Value::as_object);
    let labels = labels.into_iter().flatten().map(|(key, value)| format!("{key}={}", plain(value)));
    let rules = object.pointer(&format!("{pointer}/matchExpressions")).and_then(Value::as_array);
    list(labels.chain(rules.into_iter().flatten().map(requirement)))
}

fn requirement(rule: &Value) -> String {
    let (key, values) = (plain(&rule["key"]), rule["values"].as_array().into_iter().flatten().map(plain).collect::<Vec<_>>().join(","));
    match rule["operator"].as_str() {
        Some("Exists") => key,
        Some("DoesNotExist") => format!("!{key}"),
        Some("NotIn") => format!("{key} notin ({values})"),
        _ => format!("{key} in ({values})"),
    }
}

/// `a,b,c`, or `<none>`.
pub fn list(items: impl Iterator<Item = String>) -> Value {
    let text = items.collect::<Vec<_>>().join(",");
    if text.is_empty() { none() } else { json!(text) }
}

/// A value as text, strings without quotes.
pub fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

pub fn none() -> Value {
    json!("<none>")
}

pub fn unknown() -> Value {
    json!("<unknown>")
}
