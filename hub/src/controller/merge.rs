//! The smallest JSON merge patch that turns one object into another.

use serde_json::{Map, Value};

/// A merge patch (RFC 7386) from `old` to `new`, or none where they are equal. Arrays are replaced whole.
pub fn difference(old: &Value, new: &Value) -> Option<Value> {
    if old == new {
        return None;
    }
    let (Value::Object(before), Value::Object(after)) = (old, new) else {
        return Some(new.clone());
    };
    let gone = before.keys().filter(|key| !after.contains_key(*key)).map(|key| (key.clone(), Value::Null));
    let changed = after.iter().filter_map(|(key, value)| {
        let patch = before.get(key).map_or_else(|| Some(value.clone()), |old| difference(old, value));
        Some((key.clone(), patch?))
    });
    Some(Value::Object(gone.chain(changed).collect::<Map<_, _>>()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_patch_names_only_what_differs_and_gives_the_new_object() {
        let old = json!({ "same": 1, "gone": 2, "deep": { "same": [1], "list": [1, 2], "gone": {} }, "kind": "x" });
        let new = json!({ "same": 1, "deep": { "same": [1], "list": [1] }, "kind": { "now": "an object" }, "fresh": true });
        let patch = difference(&old, &new).expect("they differ");
        assert_eq!(patch, json!({ "gone": null, "deep": { "list": [1], "gone": null }, "kind": { "now": "an object" }, "fresh": true }));
        let mut patched = old;
        json_patch::merge(&mut patched, &patch);
        assert_eq!(patched, new);
    }

    #[test]
    fn equal_objects_need_no_patch() {
        assert_eq!(difference(&json!({ "a": [1] }), &json!({ "a": [1] })), None);
    }
}
