//! Making what was granted: the namespace where that means anything, the ManagedCluster, its bus id.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{Api, Patch, PatchParams, PostParams};
use kube::{Error, ResourceExt};
use serde_json::json;
use tracing::info;

use super::Registrar;
use crate::core::id::ClusterKey;
use crate::core::registry::labels;
use crate::kinds::names::LABEL_CLUSTER_ID;
use crate::kinds::{ClusterRegistrationRequest, ClusterRegistrationRequestStatus, DENIED, FAILED, ManagedCluster, ManagedClusterSpec};

/// Why a request could not be answered as decided.
pub(super) enum Trouble {
    /// Try again later.
    Later(String),
    /// Tell the agent.
    Refused { result: &'static str, message: String },
}

impl Registrar {
    /// Makes whatever of a grant is missing.
    pub(super) async fn grant(
        &mut self,
        request: &ClusterRegistrationRequest,
        cluster: &ClusterKey,
        sid: &str,
    ) -> Result<ClusterRegistrationRequestStatus, Trouble> {
        if self.config.real_namespaces {
            self.ensure_namespace(request, cluster).await?;
        }
        let made = self.ensure_cluster(request, cluster).await?;
        let named = made.status.as_ref().and_then(|status| status.sid.as_deref()) == Some(sid);
        let (issued, keys) = self.config.issuing.issue(request, sid)?;
        let mut status = keys.unwrap_or_else(|| json!({}));
        if named && status == json!({}) {
            return Ok(issued);
        }
        status["sid"] = sid.into();
        let api = Api::<ManagedCluster>::namespaced(self.client.clone(), &cluster.namespace);
        // Before the answer: whoever has a certificate is let in.
        let named = api.patch_status(&cluster.name, &PatchParams::default(), &Patch::Merge(json!({ "status": status }))).await?;
        self.config.directory.apply(&named);
        Ok(issued)
    }

    async fn ensure_namespace(&self, request: &ClusterRegistrationRequest, cluster: &ClusterKey) -> Result<(), Trouble> {
        let (api, name) = (Api::<Namespace>::all(self.client.clone()), &cluster.namespace);
        if let Some(found) = api.get_opt(name).await? {
            let ours = found.labels().get(LABEL_CLUSTER_ID) == Some(&request.spec.cluster_id);
            let message =
                format!("spec.clusterNamespace {name:?} exists and is not this cluster's: register with another namespace, or without one");
            return if ours { Ok(()) } else { Err(Trouble::Refused { result: DENIED, message }) };
        }
        let metadata = ObjectMeta { name: Some(name.clone()), labels: Some(own_labels(request, cluster)), ..ObjectMeta::default() };
        api.create(&PostParams::default(), &Namespace { metadata, ..Namespace::default() }).await?;
        Ok(())
    }

    async fn ensure_cluster(&mut self, request: &ClusterRegistrationRequest, cluster: &ClusterKey) -> Result<ManagedCluster, Trouble> {
        let api = Api::<ManagedCluster>::namespaced(self.client.clone(), &cluster.namespace);
        if let Some(found) = api.get_opt(&cluster.name).await? {
            self.config.directory.apply(&found);
            let ours = found.spec.cluster_id == request.spec.cluster_id;
            return if ours {
                Ok(found)
            } else {
                Err(Trouble::Later(format!("ManagedCluster {cluster} was just given to another cluster")))
            };
        }
        // Known and yet not there: somebody has just deleted it, and making it again would undo that.
        if self.config.directory.remove(cluster) {
            return Err(Trouble::Later(format!("ManagedCluster {cluster} was just deleted")));
        }
        let spec = &request.spec;
        let mut object = ManagedCluster::new(
            &cluster.name,
            ManagedClusterSpec {
                cluster_id: spec.cluster_id.clone(),
                cluster_type: spec.cluster_type.clone(),
                sync_mode: spec.sync_mode.clone(),
                ..ManagedClusterSpec::default()
            },
        );
        object.metadata.namespace = Some(cluster.namespace.clone());
        object.metadata.labels = Some(labels(request, cluster));
        let made = api.create(&PostParams::default(), &object).await?;
        info!(%cluster, id = %spec.cluster_id, "registered a cluster");
        self.config.directory.apply(&made);
        Ok(made)
    }
}

/// The labels of the namespace: the hub's own, without those the agent wished for its ManagedCluster.
fn own_labels(request: &ClusterRegistrationRequest, cluster: &ClusterKey) -> BTreeMap<String, String> {
    let mut bare = request.clone();
    bare.spec.cluster_labels.clear();
    labels(&bare, cluster)
}

impl From<Error> for Trouble {
    fn from(error: Error) -> Self {
        match error {
            Error::Api(status) if matches!(status.code, 400 | 403 | 413 | 422) => {
                Self::Refused { result: FAILED, message: format!("the API server refused to register the cluster: {}", status.message) }
            }
            other => Self::Later(other.to_string()),
        }
    }
}
