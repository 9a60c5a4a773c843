//! Localization and Globalization: what one cluster, or many, get differently from the template.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Feed, schema};

/// The priority of an override that names none.
pub const DEFAULT_OVERRIDE_PRIORITY: i32 = 500;

/// What the cluster of this namespace gets differently.
#[derive(CustomResource, Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "apps.clusternet.io",
    version = "v1alpha1",
    kind = "Localization",
    namespaced,
    shortname = "loc",
    shortname = "local",
    shortname = "locs",
    category = "clusternet",
    derive = "PartialEq",
    doc = "What the cluster of this namespace gets differently from a template."
)]
#[serde(rename_all = "camelCase")]
pub struct LocalizationSpec {
    /// Whether a change here reaches what is already out at once, or with the next change of template or Subscription.
    #[serde(default)]
    pub override_policy: OverridePolicy,
    /// Applied in this order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub overrides: Vec<OverrideConfig>,
    /// Higher is applied later, and so wins.
    #[schemars(range(min = 0, max = 1000))]
    #[serde(default = "default_priority")]
    pub priority: i32,
    /// The template that is overridden.
    pub feed: Feed,
}

/// What many clusters get differently.
#[derive(CustomResource, Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "apps.clusternet.io",
    version = "v1alpha1",
    kind = "Globalization",
    shortname = "glob",
    shortname = "global",
    shortname = "globs",
    category = "clusternet",
    derive = "PartialEq",
    doc = "What many clusters get differently from a template."
)]
#[serde(rename_all = "camelCase")]
pub struct GlobalizationSpec {
    /// Whether a change here reaches what is already out at once, or with the next change of template or Subscription.
    #[serde(default)]
    pub override_policy: OverridePolicy,
    /// The clusters that get it, by label; all without it.
    #[schemars(schema_with = "schema::label_selector")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster_affinity: Option<LabelSelector>,
    /// Applied in this order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub overrides: Vec<OverrideConfig>,
    /// Higher is applied later, and so wins.
    #[schemars(range(min = 0, max = 1000))]
    #[serde(default = "default_priority")]
    pub priority: i32,
    /// The template that is overridden.
    pub feed: Feed,
}

fn default_priority() -> i32 {
    DEFAULT_OVERRIDE_PRIORITY
}

/// When a change of an override reaches clusters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum OverridePolicy {
    ApplyNow,
    #[default]
    ApplyLater,
}

/// One patch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct OverrideConfig {
    /// What messages call it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The patch as YAML or JSON, with `${cluster.name}` and the like where the cluster's own values stand.
    pub value: String,
    #[serde(rename = "type")]
    pub kind: OverrideType,
    /// Whether a Helm override is of the HelmChart itself.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub override_chart: bool,
    /// For the Field types, the pointer of the string that holds YAML or JSON.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub field_path: Option<String>,
    /// What that string holds; YAML if it is not said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub field_format: Option<FieldFormat>,
}

/// How the value of an override is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum OverrideType {
    Helm,
    JSONPatch,
    MergePatch,
    FieldJSONPatch,
    FieldMergePatch,
}

/// What a patched string holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum FieldFormat {
    YAML,
    JSON,
}
