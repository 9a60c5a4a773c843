//! The `meta.k8s.io/v1` Table that `kubectl get` prints: one row an object, the columns chosen by kind.
//!
//! Pure: the time is an argument. A value that an object doesn't have prints as `<none>`; nothing fails on odd objects.

mod age;
mod cell;
mod columns;

use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use super::catalogue::Resource;
use columns::Column;

/// How much of each object a row carries, as the client's `includeObject` asks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum IncludeObject {
    None,
    /// The metadata only, which is what a client gets that doesn't ask.
    #[default]
    Metadata,
    Object,
}

impl IncludeObject {
    /// Reads the query parameter; `None` for a value that doesn't exist.
    pub fn parse(parameter: &str) -> Option<Self> {
        match parameter {
            "None" => Some(Self::None),
            "" | "Metadata" => Some(Self::Metadata),
            "Object" => Some(Self::Object),
            _ => None,
        }
    }
}

/// The Table of `objects`, under the metadata of their list (`{"resourceVersion": ...}`).
pub fn table(resource: &Resource, objects: &[Value], include: IncludeObject, list_meta: Value, now: SystemTime) -> Value {
    let columns = columns::of(resource);
    let now = seconds(now);
    let rows: Vec<Value> = objects.iter().map(|object| row(&columns, object, include, now)).collect();
    json!({
        "kind": "Table",
        "apiVersion": "meta.k8s.io/v1",
        "metadata": if list_meta.is_object() { list_meta } else { json!({}) },
        "columnDefinitions": columns.iter().map(Column::definition).collect::<Vec<_>>(),
        "rows": rows,
    })
}

fn row(columns: &[Column], object: &Value, include: IncludeObject, now: i64) -> Value {
    let cells: Vec<Value> = columns.iter().map(|column| (column.cell)(object, now)).collect();
    json!({"cells": cells, "object": carried(object, include)})
}

fn carried(object: &Value, include: IncludeObject) -> Value {
    match include {
        IncludeObject::None => Value::Null,
        IncludeObject::Object => object.clone(),
        IncludeObject::Metadata => {
            json!({"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": object["metadata"]})
        }
    }
}

fn seconds(now: SystemTime) -> i64 {
    now.duration_since(UNIX_EPOCH).map_or(0, |since| i64::try_from(since.as_secs()).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests;
