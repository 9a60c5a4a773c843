//! Lists: merged by key, merged as sets of scalars, or replaced; and the order that the result has.
//!
//! Order: elements that the patch names stand as the patch orders them; the others keep the original's order and stand before
//! an element of the patch only where the original had them so.

use serde_json::Value;

use super::{PATCH, fresh, merge_map};
use crate::api::types::{Field, Message};

/// How the list of a field is merged.
#[derive(Clone, Copy)]
pub struct Rule {
    /// Else the patch's list takes the place of the original's.
    merges: bool,
    /// The merge key of a list of maps.
    key: Option<&'static str>,
    message: Option<&'static Message>,
}

impl Rule {
    /// The rule of a field; one that is not known is replaced.
    pub fn of(field: Option<&'static Field>) -> Self {
        Self {
            merges: field.is_some_and(|f| f.patches_by("merge")),
            key: field.map(|f| f.patch_merge_key).filter(|key| !key.is_empty()),
            message: field.and_then(Field::message),
        }
    }

    /// Whether two elements are the same one: by merge key, or by value for scalars.
    fn same(self, a: &Value, b: &Value) -> bool {
        match self.key {
            Some(key) => a.get(key).is_some() && a.get(key) == b.get(key),
            None => a == b,
        }
    }

    fn place(self, order: &[Value], element: &Value) -> Option<usize> {
        order.iter().position(|known| self.same(known, element))
    }
}

/// The original's list with the patch's list merged into it.
pub fn merge(original: Vec<Value>, patch: Vec<Value>, rule: Rule) -> Result<Vec<Value>, String> {
    if !rule.merges {
        return Ok(patch.into_iter().filter_map(fresh).collect());
    }
    check_elements(original.iter().chain(&patch), rule)?;
    let order: Vec<Value> = patch.iter().filter(|element| element.get(PATCH).is_none()).cloned().collect();
    let (merged, server_order) = contents(original, patch, rule)?;
    Ok(ordered(merged, &order, &server_order, rule))
}

/// The same for a list whose whole order the patch gives; `None` if there is no list on either side.
pub fn merge_ordered(
    original: Option<Vec<Value>>,
    patch: Option<Vec<Value>>,
    order: &[Value],
    rule: Rule,
) -> Result<Option<Vec<Value>>, String> {
    check_elements(original.iter().flatten().chain(patch.iter().flatten()).chain(order), rule)?;
    check_order(patch.iter().flatten(), order, rule)?;
    let Some(original) = original else {
        let added: Option<Vec<Value>> = patch.map(|patch| patch.into_iter().filter_map(fresh).collect());
        return Ok(added.map(|added| ordered(added, order, &[], rule)));
    };
    let (merged, server_order) = match patch {
        None => (original.clone(), original),
        Some(patch) => {
            let places = places(&original, &patch, rule);
            (merge(original, patch, rule)?, places)
        }
    };
    Ok(Some(ordered(merged, order, &server_order, rule)))
}

/// The order that the server's own elements keep: what the patch adds takes the places of what it deletes, as on an API server,
/// so that the same patch gives the same order on both.
fn places(original: &[Value], patch: &[Value], rule: Rule) -> Vec<Value> {
    let is_deleted = |element: &Value| patch.iter().any(|p| p.get(PATCH).is_some() && rule.same(p, element));
    let kept = original.iter().filter(|element| !is_deleted(element));
    let added = patch.iter().filter(|p| p.get(PATCH).is_none() && rule.place(original, p).is_none());
    kept.chain(added).take(original.len()).cloned().collect()
}

/// All elements are maps with the merge key, or all are scalars of a list without one.
fn check_elements<'a>(elements: impl Iterator<Item = &'a Value>, rule: Rule) -> Result<(), String> {
    for element in elements {
        match (element, rule.key) {
            (Value::Object(fields), _) if fields.get(PATCH).is_some_and(|directive| directive == "replace") => {}
            (Value::Object(fields), Some(key)) if fields.contains_key(key) => {}
            (Value::Object(_), Some(key)) => {
                return Err(format!("an element has no {key}, by which this list is merged: {element}"));
            }
            (Value::Object(_), None) => return Err("this list of maps has no merge key".into()),
            (Value::Array(_), _) => return Err("a list of lists can't be merged".into()),
            (_, Some(key)) => return Err(format!("{element} is no map with the key {key}")),
            (_, None) => {}
        }
    }
    Ok(())
}

/// What the patch's list holds must stand in the order that it announces; a list that is replaced has none to announce.
fn check_order<'a>(patch: impl Iterator<Item = &'a Value>, order: &[Value], rule: Rule) -> Result<(), String> {
    if order.is_empty() {
        return Ok(());
    }
    let mut rest = order.iter();
    for element in patch.filter(|element| element.get(PATCH).is_none_or(|directive| directive == "replace")) {
        if !rest.any(|ordered| rule.same(ordered, element)) {
            return Err(format!("{element} is not where $setElementOrder has it"));
        }
    }
    Ok(())
}

/// The elements of the result in no order yet, and the list whose order the server's own elements keep.
fn contents(mut original: Vec<Value>, patch: Vec<Value>, rule: Rule) -> Result<(Vec<Value>, Vec<Value>), String> {
    let mut changes = Vec::new();
    let mut replaced = false;
    for element in patch {
        match element.get(PATCH) {
            None => changes.push(element),
            Some(directive) if directive == "delete" => original.retain(|known| !rule.same(known, &element)),
            Some(directive) if directive == "replace" => replaced = true,
            Some(other) => {
                return Err(format!("$patch in a list is delete or replace, not {other}"));
            }
        }
    }
    if replaced {
        let all: Vec<Value> = changes.into_iter().filter_map(fresh).collect();
        return Ok((all.clone(), all));
    }
    let server_order = original.clone();
    for change in changes {
        put(&mut original, change, rule)?;
    }
    Ok((original, server_order))
}

fn put(list: &mut Vec<Value>, change: Value, rule: Rule) -> Result<(), String> {
    match (list.iter_mut().find(|known| rule.same(known, &change)), change) {
        (Some(known @ Value::Object(_)), Value::Object(fields)) => {
            let Value::Object(old) = known.take() else {
                return Ok(());
            };
            *known = Value::Object(merge_map(old, fields, rule.message)?);
        }
        (Some(_), _) => {}
        (None, new) => list.extend(fresh(new)),
    }
    Ok(())
}

/// Sorts what the patch names by the patch's order and weaves in what only the server has.
fn ordered(merged: Vec<Value>, order: &[Value], server_order: &[Value], rule: Rule) -> Vec<Value> {
    let (mut named, mut server_only): (Vec<Value>, Vec<Value>) =
        merged.into_iter().partition(|element| rule.place(order, element).is_some());
    named.sort_by_key(|element| rule.place(order, element));
    server_only.sort_by_key(|element| rule.place(server_order, element));
    let mut woven = Vec::with_capacity(named.len() + server_only.len());
    let mut server_only = server_only.into_iter().peekable();
    for element in named {
        let limit = rule.place(server_order, &element);
        while let Some(next) =
            server_only.next_if(|own| limit.is_some_and(|limit| rule.place(server_order, own).is_some_and(|at| at < limit)))
        {
            woven.push(next);
        }
        woven.push(element);
    }
    woven.extend(server_only);
    woven
}
