//! Strategic merge patch for native kinds, with the merge keys of Kubernetes' own types.
//!
//! The rules are those of an API server that applies a patch (parallel lists merged, unmatched nulls ignored), with one
//! difference: a field that the table doesn't know is merged as plain JSON (maps merge, lists are replaced), since a template
//! may be meant for a newer member than this hub. Directives and nulls never get into the result.

mod list;

use serde_json::{Map, Value};

use super::catalogue::Resource;
use super::types::{self, Field, Message, Shape};

type Object = Map<String, Value>;

const PATCH: &str = "$patch";
const RETAIN_KEYS: &str = "$retainKeys";
const ORDER_PREFIX: &str = "$setElementOrder/";
const DELETE_PREFIX: &str = "$deleteFromPrimitiveList/";

/// The original with the patch merged into it.
///
/// # Errors
/// A sentence for the client: the kind has no strategic merge, or what in the patch is wrong.
pub fn merge(kind: &Resource, original: &Value, patch: &Value) -> Result<Value, String> {
    let message = types::of_kind(kind.group, kind.version, kind.kind).ok_or_else(|| {
        format!("{} {} takes no strategic merge patch: send a merge patch (kubectl patch --type=merge)", kind.api_version(), kind.kind)
    })?;
    let (Value::Object(original), Value::Object(patch)) = (original, patch) else {
        return Err("a strategic merge patch and what it patches are JSON objects".into());
    };
    merge_map(original.clone(), patch.clone(), Some(message)).map(Value::Object)
}

fn merge_map(mut original: Object, mut patch: Object, message: Option<&'static Message>) -> Result<Object, String> {
    match patch.remove(PATCH) {
        None => {}
        Some(directive) if directive == "replace" => return Ok(fresh_fields(patch)),
        Some(directive) if directive == "delete" => return Ok(Object::new()),
        Some(other) => return Err(format!("$patch of a map is replace or delete, not {other}")),
    }
    retain_keys(&mut original, &mut patch)?;
    merge_ordered_lists(&mut original, &mut patch, message)?;
    for (key, value) in patch {
        match key.strip_prefix(DELETE_PREFIX) {
            Some(name) => delete_from_list(&mut original, name, value)?,
            None => merge_field(&mut original, key, value, message)?,
        }
    }
    Ok(original)
}

/// `$retainKeys` names all fields that may be there afterwards: how a union changes its member.
fn retain_keys(original: &mut Object, patch: &mut Object) -> Result<(), String> {
    let Some(keys) = patch.remove(RETAIN_KEYS) else {
        return Ok(());
    };
    let keys = keys.as_array().ok_or("$retainKeys is a list of field names")?;
    let retained = |key: &String| keys.iter().any(|retained| retained == key);
    let set = patch.iter().filter(|(key, value)| !value.is_null() && !key.starts_with(DELETE_PREFIX) && !key.starts_with(ORDER_PREFIX));
    if let Some((missing, _)) = set.into_iter().find(|(key, _)| !retained(key)) {
        return Err(format!("the patch sets {missing}, which its $retainKeys does not name"));
    }
    original.retain(|key, _| retained(key));
    Ok(())
}

/// `$setElementOrder/x` goes with the patch of x, if there is one; without one it only orders.
fn merge_ordered_lists(original: &mut Object, patch: &mut Object, message: Option<&'static Message>) -> Result<(), String> {
    let directives: Vec<String> = patch.keys().filter(|key| key.starts_with(ORDER_PREFIX)).cloned().collect();
    for directive in directives {
        let name = &directive[ORDER_PREFIX.len()..];
        let Some(Value::Array(order)) = patch.remove(&directive) else {
            return Err(format!("{directive} is a list"));
        };
        let (had, patched) = (take_list(original, name)?, take_list(patch, name)?);
        let rule = list::Rule::of(field(message, name));
        if let Some(merged) = list::merge_ordered(had, patched, &order, rule).map_err(|e| format!("{name}: {e}"))? {
            original.insert(name.to_owned(), Value::Array(merged));
        }
    }
    Ok(())
}

fn take_list(object: &mut Object, name: &str) -> Result<Option<Vec<Value>>, String> {
    match object.remove(name) {
        None => Ok(None),
        Some(Value::Array(items)) => Ok(Some(items)),
        Some(_) => Err(format!("{name} is ordered by the patch but is no list")),
    }
}

fn delete_from_list(original: &mut Object, name: &str, unwanted: Value) -> Result<(), String> {
    let Value::Array(unwanted) = unwanted else {
        return Err(format!("{DELETE_PREFIX}{name} is a list"));
    };
    if let Some(Value::Array(items)) = original.get_mut(name) {
        items.retain(|item| !unwanted.contains(item));
    }
    Ok(())
}

fn merge_field(original: &mut Object, key: String, value: Value, message: Option<&'static Message>) -> Result<(), String> {
    let field = field(message, &key);
    let merged = match (original.remove(&key), value) {
        (_, Value::Null) => None,
        (Some(Value::Object(_)), Value::Object(new)) if field.is_some_and(|f| f.patches_by("replace")) => {
            Some(Value::Object(fresh_fields(new)))
        }
        (Some(Value::Object(old)), Value::Object(new)) => {
            let inner = field.filter(|f| f.shape == Shape::One).and_then(Field::message);
            Some(Value::Object(merge_map(old, new, inner).map_err(|e| format!("{key}: {e}"))?))
        }
        (Some(Value::Array(old)), Value::Array(new)) => {
            let merged = list::merge(old, new, list::Rule::of(field)).map_err(|e| format!("{key}: {e}"))?;
            Some(Value::Array(merged))
        }
        (_, new) => fresh(new),
    };
    if let Some(merged) = merged {
        original.insert(key, merged);
    }
    Ok(())
}

fn field(message: Option<&'static Message>, name: &str) -> Option<&'static Field> {
    message.and_then(|message| message.field(name))
}

/// A value of the patch that meets nothing in the original: without nulls and directives, and not at all if it is one.
fn fresh(value: Value) -> Option<Value> {
    match value {
        Value::Object(fields) if fields.contains_key(PATCH) => None,
        Value::Object(fields) => Some(Value::Object(fresh_fields(fields))),
        Value::Array(items) => Some(Value::Array(items.into_iter().filter_map(fresh).collect())),
        Value::Null => None,
        scalar => Some(scalar),
    }
}

fn fresh_fields(fields: Object) -> Object {
    let is_directive = |key: &str| key == RETAIN_KEYS || key.starts_with(ORDER_PREFIX) || key.starts_with(DELETE_PREFIX);
    fields.into_iter().filter(|(key, _)| !is_directive(key)).filter_map(|(key, value)| Some((key, fresh(value)?))).collect()
}

#[cfg(test)]
mod tests;
