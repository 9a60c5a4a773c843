//! User: a person or a program that may go through the hub to members. Its token's secret is never stored.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::schema;

/// Who somebody is to members, and how long.
#[derive(CustomResource, Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "access.clusternet.io",
    version = "v1alpha1",
    kind = "User",
    category = "clusternet",
    derive = "PartialEq",
    doc = "Who may go through the hub to members.",
    printcolumn = r#"{"name": "GROUPS", "type": "string", "jsonPath": ".spec.groups", "description": "What members' RBAC binds, each with the prefix hub:"}"#,
    printcolumn = r#"{"name": "EXPIRES", "type": "string", "jsonPath": ".spec.expiresAt", "description": "When the token stops working"}"#,
    printcolumn = r#"{"name": "AGE", "type": "date", "jsonPath": ".metadata.creationTimestamp"}"#
)]
#[serde(rename_all = "camelCase")]
pub struct UserSpec {
    /// Groups, which members see as `hub:GROUP`.
    #[schemars(inner(regex(pattern = "^[a-z0-9]([-a-z0-9.]{0,61}[a-z0-9])?$")))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<String>,
    /// SHA-256 of the token's secret, hex. The secret has 256 random bits, so its hash gives nothing away.
    #[schemars(regex(pattern = "^[0-9a-f]{64}$"))]
    pub secret_hash: String,
    /// When the token stops working.
    #[schemars(schema_with = "schema::instant")]
    pub expires_at: Time,
}
