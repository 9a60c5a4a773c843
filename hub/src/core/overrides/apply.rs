//! Overrides applied to a template, one after the other; what does not fit is left out and said, and the rest goes on.

use std::fmt;

use json_patch::PatchErrorKind;
use serde_json::{Value, json};

use super::field;
use super::order::OverrideKey;
use super::parse::{Entry, Override, Patch};
use super::variables::{self, ClusterValues};
use crate::core::id::ObjectId;
use crate::core::render::{Rendered, identity, render};

/// What came of a template.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    /// The template itself if nothing in it was changed.
    pub rendered: Rendered,
    /// In the order they were taken.
    pub steps: Vec<Step>,
}

/// What came of one entry of an override.
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    pub by: OverrideKey,
    /// `overrides[0]`, with its name if it has one.
    pub entry: String,
    /// The pointers it set, or why it was left out.
    pub result: Result<Vec<String>, Failure>,
}

/// An entry that was left out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    pub by: OverrideKey,
    pub entry: String,
    pub object: ObjectId,
    /// Where in the object it did not fit.
    pub pointer: Option<String>,
    pub why: String,
}

/// Where and why an entry did not fit.
struct Misfit {
    pointer: Option<String>,
    why: String,
}

/// Applies overrides, sorted by their place, to a template for one cluster.
pub fn apply<'a>(template: &Rendered, overrides: impl IntoIterator<Item = &'a Override>, cluster: &ClusterValues<'_>) -> Outcome {
    let mut body = start(template);
    let mut steps = Vec::new();
    for each in overrides {
        for entry in &each.entries {
            let failed = |misfit: Misfit| Failure {
                by: each.key().clone(),
                entry: entry.shown.clone(),
                object: template.object.clone(),
                pointer: misfit.pointer,
                why: misfit.why,
            };
            let result = step(&mut body, template, entry, cluster).map_err(failed);
            steps.push(Step { by: each.key().clone(), entry: entry.shown.clone(), result });
        }
    }
    Outcome { rendered: finish(template, &body, &mut steps), steps }
}

/// The body that patches see: labels and annotations are always there, so that one can be added without asking.
fn start(template: &Rendered) -> Value {
    let mut body: Value = serde_json::from_slice(&template.bytes).unwrap_or_default();
    for field in ["labels", "annotations"] {
        if let Some(metadata) = body.get_mut("metadata").and_then(Value::as_object_mut) {
            metadata.entry(field).or_insert_with(|| json!({}));
        }
    }
    body
}

fn finish(template: &Rendered, body: &Value, steps: &mut [Step]) -> Rendered {
    let made = body.as_object().and_then(|body| render(body).ok()).unwrap_or_else(|| template.clone());
    if made.bytes == template.bytes {
        return template.clone();
    }
    let limit = bus_schema::limits::MAX_OBJECT as usize;
    if made.bytes.len() <= limit {
        return made;
    }
    let why = format!("the object would be {} bytes, and members take {limit}: it goes out without any override", made.bytes.len());
    for step in steps.iter_mut().filter(|step| step.result.is_ok()) {
        let (by, entry, object) = (step.by.clone(), step.entry.clone(), template.object.clone());
        step.result = Err(Failure { by, entry, object, pointer: None, why: why.clone() });
    }
    template.clone()
}

/// Applies one entry, or leaves the body as it was.
fn step(body: &mut Value, template: &Rendered, entry: &Entry, cluster: &ClusterValues<'_>) -> Result<Vec<String>, Misfit> {
    let nowhere = |why: String| Misfit { pointer: None, why };
    let patch = entry.patch.as_ref().map_err(|why| nowhere(why.clone()))?;
    let mut next = body.clone();
    let pointers = patched(&mut next, patch, cluster)?;
    let found = next.as_object().ok_or_else(|| nowhere("it leaves no object".to_owned()))?;
    let (object, _) = identity(found).map_err(|error| nowhere(format!("it leaves no object: {error}")))?;
    if object != template.object {
        return Err(nowhere(format!("it would make {object} of it; kind, group, namespace and name can't be overridden")));
    }
    *body = next;
    Ok(pointers)
}

fn patched(body: &mut Value, patch: &Patch, cluster: &ClusterValues<'_>) -> Result<Vec<String>, Misfit> {
    let fill = |value| variables::fill(value, cluster).map_err(|why| Misfit { pointer: None, why });
    match patch {
        Patch::Nothing => Ok(Vec::new()),
        Patch::Merge(value) => {
            let value = fill(value)?;
            json_patch::merge(body, &value);
            Ok(leaves(&value))
        }
        Patch::Json(value) => json_patched(body, fill(value)?),
        Patch::Field { pointer, format, inner } => {
            let at = |why| Misfit { pointer: Some(pointer.clone()), why };
            let target = body.pointer_mut(pointer).ok_or_else(|| at("there is nothing there".to_owned()))?;
            let text = target.as_str().ok_or_else(|| at("there is no string there".to_owned()))?;
            let mut held = field::read(*format, text).map_err(at)?;
            let within = |misfit: Misfit| Misfit { pointer: Some(format!("{pointer} {}", misfit.pointer.unwrap_or_default())), ..misfit };
            let pointers = patched(&mut held, inner, cluster).map_err(within)?;
            *target = Value::String(field::write(*format, &held).map_err(at)?);
            Ok(pointers.into_iter().map(|inner| format!("{pointer} {inner}")).collect())
        }
    }
}

fn json_patched(body: &mut Value, value: Value) -> Result<Vec<String>, Misfit> {
    let patch: json_patch::Patch = serde_json::from_value(value)
        .map_err(|error| Misfit { pointer: None, why: format!("no JSONPatch once its variables are filled in: {error}") })?;
    json_patch::patch(body, &patch).map_err(|error| {
        let why = match error.kind {
            PatchErrorKind::TestFailed => "the test does not hold".to_owned(),
            PatchErrorKind::InvalidPointer => "there is nothing there, or nothing that could hold it".to_owned(),
            other => other.to_string(),
        };
        Misfit { pointer: Some(error.path.to_string()), why: format!("{why} (operation {})", error.operation) }
    })?;
    let writing = patch.0.iter().filter(|operation| !matches!(operation, json_patch::PatchOperation::Test(_)));
    Ok(writing.map(|operation| operation.path().to_string()).collect())
}

/// The pointers that a merge patch sets or removes.
fn leaves(patch: &Value) -> Vec<String> {
    let Some(fields) = patch.as_object().filter(|fields| !fields.is_empty()) else {
        return vec![String::new()];
    };
    let below = fields.iter().flat_map(|(key, value)| {
        let key = key.replace('~', "~0").replace('/', "~1");
        leaves(value).into_iter().map(move |rest| format!("/{key}{rest}"))
    });
    below.collect()
}

/// `Localization ns/name overrides[0]: Deployment.apps shop/web at /spec/replicas: why`.
impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}: {}", self.by, self.entry, self.object)?;
        if let Some(pointer) = &self.pointer {
            write!(f, " at {pointer}")?;
        }
        write!(f, ": {}", self.why)
    }
}
