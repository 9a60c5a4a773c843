//! JoinToken: what lets a machine ask to be managed. Its name is the token's id; the secret itself is never stored.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::schema;

/// `spec.approval` of a token whose requests are granted at once.
pub const AUTO: &str = "Auto";
/// `spec.approval` of a token whose requests wait for `approve` or `deny`.
pub const MANUAL: &str = "Manual";

/// What a token allows, to whom, and for how long.
#[derive(CustomResource, Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "access.clusternet.io",
    version = "v1alpha1",
    kind = "JoinToken",
    status = "JoinTokenStatus",
    shortname = "jt",
    category = "clusternet",
    derive = "PartialEq",
    doc = "What lets machines ask to be managed.",
    printcolumn = r#"{"name": "EXPIRES", "type": "string", "jsonPath": ".spec.expiresAt", "description": "When it stops working"}"#,
    printcolumn = r#"{"name": "USED", "type": "integer", "jsonPath": ".status.used", "description": "How often it was used"}"#,
    printcolumn = r#"{"name": "USES", "type": "integer", "jsonPath": ".spec.uses", "description": "How often it may be used"}"#,
    printcolumn = r#"{"name": "APPROVAL", "type": "string", "jsonPath": ".spec.approval", "description": "Whether requests wait for a person"}"#,
    printcolumn = r#"{"name": "AGE", "type": "date", "jsonPath": ".metadata.creationTimestamp"}"#
)]
#[serde(rename_all = "camelCase")]
pub struct JoinTokenSpec {
    /// SHA-256 of the secret, hex. The secret has 256 random bits, so its hash gives nothing away.
    #[schemars(regex(pattern = "^[0-9a-f]{64}$"))]
    pub secret_hash: String,
    /// When it stops working.
    #[schemars(schema_with = "schema::instant")]
    pub expires_at: Time,
    /// How many keys may join with it; without it as many as come.
    #[schemars(range(min = 1))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uses: Option<i32>,
    /// Labels of the clusters that join with it; they win over what the agent says.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Networks that agents may come from, as `10.0.0.0/8`; without any, from everywhere.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cidrs: Vec<String>,
    /// `Auto` grants requests at once, `Manual` lets them wait for a person.
    #[schemars(extend("enum" = ["Auto", "Manual"]))]
    pub approval: String,
    /// The only name that a cluster may join under.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster_name: Option<String>,
    /// The ManagedCluster, NAMESPACE/NAME, whose place a new machine takes; its old keys end then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replaces: Option<String>,
}

/// What became of a token.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct JoinTokenStatus {
    /// How many keys joined with it. Counted before anything is granted: a crash may cost a use and never gives one.
    #[serde(default)]
    pub used: i32,
    /// When it was last used.
    #[schemars(schema_with = "schema::time")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_used: Option<Time>,
}
