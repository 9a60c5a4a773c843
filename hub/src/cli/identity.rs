//! `approve`, `deny` and `revoke`: what a person says about a cluster.

use clap::Args;
use kube::api::{Api, Patch, PatchParams};
use kube::{Client, ResourceExt};
use serde_json::json;

use super::reach::{Reach, Reached, chosen, list};
use crate::core::enrol::{GRANTED, REFUSED};
use crate::core::id::ClusterKey;
use crate::kinds::names::{ANNOTATION_APPROVAL, ANNOTATION_REVOKED};
use crate::kinds::{APPROVED, ClusterRegistrationRequest, ManagedCluster};

/// One cluster or request.
#[derive(Debug, Clone, Args)]
pub struct Named {
    /// Name of the cluster, or NAMESPACE/NAME, or of the request.
    pub name: String,
    #[command(flatten)]
    pub reach: Reach,
}

/// Grants or refuses a request that waits.
pub async fn approve(hub: &Reached, named: &Named, grant: bool) -> anyhow::Result<String> {
    let api = Api::<ClusterRegistrationRequest>::all(hub.client.clone());
    let is_meant =
        |request: &ClusterRegistrationRequest| request.name_any() == named.name || request.spec.cluster_name.as_ref() == Some(&named.name);
    let found: Vec<_> = list(api.clone()).await?.into_iter().filter(is_meant).collect();
    let request = chosen(found, &named.name, "request", "kubectl get clsrr")?;
    let is_granted = request.status.as_ref().and_then(|status| status.result.as_deref()) == Some(APPROVED);
    if is_granted && !grant {
        anyhow::bail!("{} is granted already: `{} revoke {}` locks the cluster out", request.name_any(), hub.program, named.name);
    }
    // As it was read: what the agent asks meanwhile is looked at again.
    let metadata = json!({
        "resourceVersion": request.resource_version(),
        "annotations": {ANNOTATION_APPROVAL: if grant { GRANTED } else { REFUSED }},
    });
    api.patch(&request.name_any(), &PatchParams::default(), &Patch::Merge(json!({"metadata": metadata}))).await?;
    let what = if grant { "approved" } else { "denied" };
    Ok(format!("{what}: {} ({})\n", request.spec.cluster_name.as_deref().unwrap_or("no name"), request.name_any()))
}

/// Locks a cluster out.
pub async fn revoke(hub: &Reached, named: &Named) -> anyhow::Result<String> {
    let cluster = cluster(&hub.client, &named.name).await?;
    let key = ClusterKey::of(&cluster);
    let api = Api::<ManagedCluster>::namespaced(hub.client.clone(), &key.namespace);
    let now = k8s_openapi::jiff::Timestamp::now();
    let revoked = json!({"metadata": {"annotations": {ANNOTATION_REVOKED: format!("{now:.0}")}}});
    api.patch(&key.name, &PatchParams::default(), &Patch::Merge(revoked)).await?;
    api.patch_status(&key.name, &PatchParams::default(), &Patch::Merge(json!({"status": {"tlsKeys": null}}))).await?;
    Ok(format!("revoked: {key}; `{} replace {}` gives its place to a machine again\n", hub.program, key.name))
}

/// The ManagedCluster of a name, or of NAMESPACE/NAME.
pub async fn cluster(client: &Client, name: &str) -> anyhow::Result<ManagedCluster> {
    let all = list(Api::<ManagedCluster>::all(client.clone())).await?;
    let is_meant = |cluster: &ManagedCluster| cluster.name_any() == name || ClusterKey::of(cluster).to_string() == name;
    chosen(all.into_iter().filter(is_meant).collect(), name, "ManagedCluster", "kubectl get mcls -A")
}
