//! Who owns which field: taking over what kubectl applied before us, and letting go again.
//!
//! Pure. A field owned by another manager survives when it leaves the desired object, so at first adoption the fields of
//! client-side appliers become ours; from then on a field removed from the desired object is removed from the live one.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::object::AGENT;

/// Managers whose fields came from a desired object, not from a controller.
const CLIENT_SIDE: [&str; 3] = ["kubectl-client-side-apply", "before-first-apply", AGENT];

/// One entry of `metadata.managedFields`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Entry {
    manager: String,
    operation: String,
    api_version: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    time: Option<String>,
    fields_type: String,
    #[serde(rename = "fieldsV1")]
    fields: Map<String, Value>,
    #[serde(skip_serializing_if = "String::is_empty")]
    subresource: String,
}

impl Default for Entry {
    fn default() -> Self {
        Self {
            manager: String::new(),
            operation: String::new(),
            api_version: String::new(),
            time: None,
            fields_type: "FieldsV1".into(),
            fields: Map::new(),
            subresource: String::new(),
        }
    }
}

impl Entry {
    fn is_client_side(&self) -> bool {
        self.operation == "Update" && self.subresource.is_empty() && CLIENT_SIDE.contains(&self.manager.as_str())
    }

    fn is_ours(&self) -> bool {
        self.manager == AGENT && self.operation == "Apply" && self.subresource.is_empty()
    }
}

/// The entries with client-side appliers' fields moved to our manager, or `None` if there are none to move.
pub(super) fn take_over(entries: Vec<Entry>) -> Option<Vec<Entry>> {
    let (taken, mut rest): (Vec<_>, Vec<_>) = entries.into_iter().partition(Entry::is_client_side);
    let newest = taken.iter().max_by(|a, b| a.time.cmp(&b.time))?.clone();
    let at = rest.iter().position(Entry::is_ours).unwrap_or_else(|| {
        let fields = Map::new();
        rest.push(Entry { manager: AGENT.into(), operation: "Apply".into(), fields, ..newest });
        rest.len() - 1
    });
    for entry in taken {
        merge(&mut rest[at].fields, entry.fields);
    }
    Some(rest)
}

/// The entries without ours: values stay as they are and nobody of us owns them.
pub(super) fn let_go(entries: Vec<Entry>) -> Value {
    let rest: Vec<_> = entries.into_iter().filter(|entry| entry.manager != AGENT).collect();
    match rest.is_empty() {
        // The server ignores an empty list; one empty entry is its way to say "nobody".
        true => json!([{}]),
        false => json!(rest),
    }
}

fn merge(into: &mut Map<String, Value>, from: Map<String, Value>) {
    for (key, value) in from {
        match (into.get_mut(&key), value) {
            (Some(Value::Object(into)), Value::Object(from)) => merge(into, from),
            (Some(_), _) => {}
            (None, value) => {
                into.insert(key, value);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(manager: &str, operation: &str, fields: Value) -> Entry {
        let fields = fields.as_object().cloned().unwrap_or_default();
        Entry { manager: manager.into(), operation: operation.into(), fields, ..Entry::default() }
    }

    #[test]
    fn client_side_fields_become_ours_and_controllers_keep_theirs() {
        let controller = entry("kube-controller-manager", "Update", json!({"f:x": {}}));
        let taken = take_over(vec![
            entry("kubectl-client-side-apply", "Update", json!({"f:data": {"f:a": {}}})),
            controller.clone(),
            entry("before-first-apply", "Update", json!({"f:data": {"f:b": {}}})),
        ]);
        let ours = entry(AGENT, "Apply", json!({"f:data": {"f:a": {}, "f:b": {}}}));
        assert_eq!(taken, Some(vec![controller, ours]));
    }

    #[test]
    fn fields_join_an_entry_we_have() {
        let taken = take_over(vec![
            entry(AGENT, "Apply", json!({"f:data": {"f:a": {}}})),
            entry("kubectl-client-side-apply", "Update", json!({"f:data": {"f:b": {}}})),
        ]);
        assert_eq!(taken, Some(vec![entry(AGENT, "Apply", json!({"f:data": {"f:a": {}, "f:b": {}}}))]));
    }

    #[test]
    fn nothing_moves_when_no_client_side_applier_was_there() {
        assert_eq!(take_over(vec![entry("helm", "Update", json!({"f:data": {}}))]), None);
        let mut status = entry("before-first-apply", "Update", json!({}));
        status.subresource = "status".into();
        assert_eq!(take_over(vec![status]), None);
    }

    #[test]
    fn letting_go_of_the_only_entry_leaves_the_empty_one() {
        assert_eq!(let_go(vec![entry(AGENT, "Apply", json!({}))]), json!([{}]));
        let other = entry("helm", "Apply", json!({"f:x": {}}));
        assert_eq!(let_go(vec![other.clone(), entry(AGENT, "Apply", json!({}))]), json!([other]));
    }
}
