//! The identity of a cluster: the UID of the Lease [`LEASE`] in [`NAMESPACE`], as in Clusternet; it is made once and never changed.

use http::Method;
use serde_json::json;

use crate::cluster::api::{Accept, Api, Failure};
use crate::cluster::object::{AGENT, Partial};

/// Namespace of the agent's Lease.
pub const NAMESPACE: &str = "clusternet-system";
/// Name of the agent's Lease.
pub const LEASE: &str = AGENT;

/// The cluster's identity: the UID of the agent's Lease, which is made (with its namespace) if it is missing.
///
/// # Errors
/// The server can't be asked, or refuses; the sentence says what.
pub async fn cluster_id(api: &Api) -> Result<String, Failure> {
    let leases = format!("/apis/coordination.k8s.io/v1/namespaces/{NAMESPACE}/leases");
    let lease = format!("{leases}/{LEASE}");
    if let Some(found) = api.find::<Partial>(&lease, Accept::Metadata).await? {
        return Ok(found.metadata.uid);
    }
    let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}});
    // Who may not make namespaces may find that somebody has made this one: the Lease shows.
    match create(api, "/api/v1/namespaces", &namespace).await {
        Err(failure) if failure.code() != Some(403) => return Err(failure),
        _ => {}
    }
    let empty = json!({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": LEASE}});
    create(api, &leases, &empty).await?;
    Ok(api.get::<Partial>(&lease, Accept::Metadata).await?.metadata.uid)
}

/// Creates an object; that it exists already is as good.
async fn create(api: &Api, collection: &str, object: &serde_json::Value) -> Result<(), Failure> {
    let content = ("application/json", object.to_string().into_bytes());
    let target = format!("{collection}?fieldManager={AGENT}");
    match api.write::<Partial>(Method::POST, &target, content).await {
        Err(failure) if failure.code() != Some(409) => Err(failure),
        _ => Ok(()),
    }
}
