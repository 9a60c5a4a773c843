//! From a Localization or Globalization to patches that are ready to apply.
//!
//! What is wrong with one is kept in it and comes out where it would have been applied: nothing here fails.

use std::collections::{BTreeMap, BTreeSet};

use kube::ResourceExt;
use kube::api::ObjectMeta;
use serde_json::Value;

use super::order::{OverrideKey, OverrideKind, Place};
use super::variables::{self, Variable};
use crate::core::id::ObjectId;
use crate::core::index::identity_of;
use crate::core::selector::Selector;
use crate::kinds::{FieldFormat, Globalization, Localization, OverrideConfig, OverridePolicy, OverrideType};

/// The kind whose values an override of type Helm sets.
const HELM_CHART: &str = "HelmChart";

/// Operations that one JSONPatch may have, as in Clusternet.
const MAX_OPERATIONS: usize = 10_000;

/// An override, read.
#[derive(Clone, Debug, PartialEq)]
pub struct Override {
    pub place: Place,
    /// The template it is for.
    pub object: ObjectId,
    pub policy: OverridePolicy,
    scope: Scope,
    pub(super) entries: Vec<Entry>,
}

#[derive(Clone, Debug, PartialEq)]
enum Scope {
    Every,
    Matching(Selector),
    Namespace(String),
}

/// One of `spec.overrides`.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Entry {
    /// `overrides[0]`, with its name if it has one.
    pub shown: String,
    pub patch: Result<Patch, String>,
    pub variables: BTreeSet<Variable>,
}

/// What an entry does; values may hold variables.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Patch {
    /// Its value is blank.
    Nothing,
    Json(Value),
    Merge(Value),
    /// Patches what the string at a pointer holds.
    Field {
        pointer: String,
        format: FieldFormat,
        inner: Box<Patch>,
    },
}

impl Override {
    /// Reads a Localization.
    pub fn of_localization(object: &Localization) -> Self {
        let namespace = object.namespace().unwrap_or_default();
        let (key, spec) = (OverrideKey::local(&namespace, object.name_any()), &object.spec);
        Self {
            place: place(key, spec.priority, &object.metadata),
            object: identity_of(&spec.feed).0,
            policy: spec.override_policy,
            scope: Scope::Namespace(namespace),
            entries: entries(&spec.overrides, None),
        }
    }

    /// Reads a Globalization; with a selector that means nothing it fails everywhere.
    pub fn of_globalization(object: &Globalization) -> Self {
        let (key, spec) = (OverrideKey::global(object.name_any()), &object.spec);
        let (scope, problem) = match spec.cluster_affinity.as_ref().map(Selector::parse) {
            None => (Scope::Every, None),
            Some(Ok(selector)) => (Scope::Matching(selector), None),
            Some(Err(error)) => (Scope::Every, Some(format!("spec.clusterAffinity: {error}"))),
        };
        Self {
            place: place(key, spec.priority, &object.metadata),
            object: identity_of(&spec.feed).0,
            policy: spec.override_policy,
            scope,
            entries: entries(&spec.overrides, problem.as_deref()),
        }
    }

    pub fn key(&self) -> &OverrideKey {
        &self.place.key
    }

    /// Whether a cluster of this namespace with these labels gets it.
    pub fn covers(&self, namespace: &str, labels: &BTreeMap<String, String>) -> bool {
        match &self.scope {
            Scope::Every => true,
            Scope::Matching(selector) => selector.matches(labels),
            Scope::Namespace(own) => own == namespace,
        }
    }

    /// The variables that its values have.
    pub fn variables(&self) -> impl Iterator<Item = &Variable> {
        self.entries.iter().flat_map(|entry| &entry.variables)
    }

    pub(crate) fn is_local(&self) -> bool {
        self.place.kind == OverrideKind::Localization
    }
}

fn place(key: OverrideKey, priority: i32, metadata: &ObjectMeta) -> Place {
    let created = metadata.creation_timestamp.as_ref().map(|time| time.0.as_second());
    Place { kind: key.kind, priority, created, key }
}

/// What is wrong with one override of a feed of this kind, if anything: its field, and why.
pub fn check(kind: &str, config: &OverrideConfig) -> Option<(&'static str, String)> {
    match config.kind {
        OverrideType::Helm if kind == HELM_CHART => None,
        OverrideType::Helm => Some(("type", format!("Helm is for feeds of kind {HELM_CHART}: use MergePatch or JSONPatch for a {kind}"))),
        _ => read(config).err().map(|why| ("value", why)),
    }
}

fn entries(configs: &[OverrideConfig], problem: Option<&str>) -> Vec<Entry> {
    let broken = problem.filter(|_| configs.is_empty()).map(|problem| Entry {
        shown: "spec".to_owned(),
        patch: Err(problem.to_owned()),
        variables: BTreeSet::new(),
    });
    let all = configs.iter().enumerate().map(|(index, config)| {
        let read = problem.map_or_else(|| read(config), |problem| Err(problem.to_owned()));
        let name = config.name.as_deref().filter(|name| !name.is_empty());
        let shown = name.map_or_else(|| format!("overrides[{index}]"), |name| format!("overrides[{index}] ({name})"));
        match read {
            Ok((patch, variables)) => Entry { shown, patch: Ok(patch), variables },
            Err(problem) => Entry { shown, patch: Err(problem), variables: BTreeSet::new() },
        }
    });
    all.chain(broken).collect()
}

fn read(config: &OverrideConfig) -> Result<(Patch, BTreeSet<Variable>), String> {
    if config.kind == OverrideType::Helm {
        return Err("type Helm has no effect on this hub yet: feed the chart's manifests and patch those".to_owned());
    }
    if config.value.trim().is_empty() {
        return Ok((Patch::Nothing, BTreeSet::new()));
    }
    let value: Value = serde_saphyr::from_str(&config.value).map_err(|error| {
        let error = error.to_string();
        let line = error.lines().next().unwrap_or_default();
        format!("value is neither YAML nor JSON: {line}; text with ${{...}} stands in quotes")
    })?;
    let variables = variables::used(&value)?;
    let patch = match config.kind {
        OverrideType::JSONPatch | OverrideType::FieldJSONPatch => json(value)?,
        _ => merge(value)?,
    };
    let patch = match config.kind {
        OverrideType::FieldJSONPatch | OverrideType::FieldMergePatch => field(config, patch)?,
        _ => patch,
    };
    Ok((patch, variables))
}

fn json(value: Value) -> Result<Patch, String> {
    let operations: json_patch::Patch = serde_json::from_value(value.clone())
        .map_err(|error| format!("value is no JSONPatch: {error}; it is a list of {{op, path, value}}, each path beginning with /"))?;
    match operations.0.len() {
        count if count > MAX_OPERATIONS => Err(format!("value has {count} operations, and {MAX_OPERATIONS} is the limit: split it")),
        _ => Ok(Patch::Json(value)),
    }
}

fn merge(value: Value) -> Result<Patch, String> {
    match value {
        Value::Null => Ok(Patch::Nothing),
        Value::Object(_) => Ok(Patch::Merge(value)),
        _ => Err("value is no MergePatch: it is an object with the fields to set, and null for those to remove".to_owned()),
    }
}

fn field(config: &OverrideConfig, inner: Patch) -> Result<Patch, String> {
    let pointer = config.field_path.clone().unwrap_or_default();
    if !pointer.starts_with('/') {
        return Err(format!("fieldPath {pointer:?} is no JSON pointer: write it as /data/KEY"));
    }
    Ok(Patch::Field { pointer, format: config.field_format.unwrap_or(FieldFormat::YAML), inner: Box::new(inner) })
}
