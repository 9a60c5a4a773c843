//! ClusterRegistrationRequest: how a cluster asks to be managed. Its name must be `clusternet-<clusterId>`.

use std::collections::BTreeMap;

use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// `status.result` of a request that was granted.
pub const APPROVED: &str = "Approved";
/// `status.result` of a request that is refused until somebody acts on `status.errorMessage`.
pub const DENIED: &str = "Denied";
/// `status.result` of a request that the API server would not let the hub grant.
pub const FAILED: &str = "Failed";

/// What a cluster says about itself when it asks to be managed.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "clusters.clusternet.io",
    version = "v1beta1",
    kind = "ClusterRegistrationRequest",
    status = "ClusterRegistrationRequestStatus",
    shortname = "clsrr",
    category = "clusternet",
    derive = "PartialEq",
    doc = "A cluster's request to be managed.",
    printcolumn = r#"{"name": "CLUSTER ID", "type": "string", "jsonPath": ".spec.clusterId", "description": "The unique id of the cluster"}"#,
    printcolumn = r#"{"name": "STATUS", "type": "string", "jsonPath": ".status.result", "description": "The result of the request"}"#,
    printcolumn = r#"{"name": "AGE", "type": "date", "jsonPath": ".metadata.creationTimestamp"}"#
)]
#[serde(rename_all = "camelCase")]
pub struct ClusterRegistrationRequestSpec {
    /// The cluster's identity: the UID of its Lease `clusternet-agent`.
    #[schemars(regex(pattern = "^[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}$"))]
    pub cluster_id: String,
    /// A label only, such as `EdgeCluster` or `StandardCluster`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster_type: Option<String>,
    /// The wished name of the ManagedCluster.
    #[schemars(length(max = 60), regex(pattern = "^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$"))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster_name: Option<String>,
    /// The wished dedicated namespace.
    #[schemars(length(max = 63), regex(pattern = "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster_namespace: Option<String>,
    /// Labels copied onto the ManagedCluster when it is made.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub cluster_labels: BTreeMap<String, String>,
    /// Clusternet's sync mode; over the bus the agent always pulls.
    #[serde(default = "pull")]
    #[schemars(extend("enum" = ["Push", "Pull", "Dual"]))]
    pub sync_mode: String,
    /// The request for a client certificate on the bus: PKCS #10 (RFC 2986), PEM.
    #[schemars(length(max = 8192))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub csr: Option<String>,
    /// The agent's long-lived X25519 public key, which its sessions are sealed with: 32 bytes, base64.
    #[schemars(length(max = 64))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub link_key: Option<String>,
}

fn pull() -> String {
    "Pull".to_owned()
}

/// The hub's answer to a request.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ClusterRegistrationRequestStatus {
    /// The namespace on the hub that is this cluster's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dedicated_namespace: Option<String>,
    /// The name of the ManagedCluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub managed_cluster_name: Option<String>,
    /// The cluster's id on the bus, 8 characters of a-z2-7.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sid: Option<String>,
    /// The client certificate for the bus, PEM, with what leads to the CA.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate: Option<String>,
    /// The hub's long-lived X25519 public key: 32 bytes, base64.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hub_link_key: Option<String>,
    /// Where the bus is, as `mqtts://host:port`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bus_address: Option<String>,
    /// `Approved`, `Denied` or `Failed`; absent until the hub has looked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result: Option<String>,
    /// Why the request is not approved, and what to do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error_message: Option<String>,
    /// The generation of the request that this answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Clusternet's credential for the agent; this hub gives none here.
    #[schemars(extend("format" = "byte"))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
    /// The CAs of the hub, PEM: whoever they signed for is the hub.
    #[schemars(extend("format" = "byte"))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_certificate: Option<String>,
}
