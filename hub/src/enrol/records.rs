//! Tokens, requests and clusters as the API keeps them.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::time::{Duration, Instant};

use axum::response::Response;
use http::HeaderMap;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams};
use kube::{Client, Error, Resource, ResourceExt};
use serde::de::DeserializeOwned;
use serde_json::json;

use super::ask::Ask;
use super::{answer, token};
use crate::api::failure::Failure;
use crate::controller::registration::Directory;
use crate::core::enrol::{Admission, LEFT, key_of};
use crate::core::id::ClusterKey;
use crate::kinds::names::{
    ANNOTATION_APPROVAL, ANNOTATION_JOIN_TOKEN, ANNOTATION_PROVED_BY, ANNOTATION_REVOKED, ANNOTATION_SID, CREATED_BY_AGENT,
    LABEL_CLUSTER_ID, LABEL_CLUSTER_NAME, LABEL_REGISTERED_BY,
};
use crate::kinds::{APPROVED, ClusterRegistrationRequest, JoinToken, JoinTokenStatus, ManagedCluster};
use crate::tls::Shared;

/// How long a request is waited for: the controller answers within milliseconds.
const PATIENCE: Duration = Duration::from_secs(10);
/// Between two looks at it.
const LOOK: Duration = Duration::from_millis(5);

pub struct Records {
    pub client: Client,
    pub directory: Directory,
}

impl Records {
    /// The token whose id and secret the headers bring.
    pub async fn token(&self, headers: &HeaderMap) -> Result<Option<JoinToken>, Failure> {
        let Some((id, secret)) = token::bearer(headers) else { return Ok(None) };
        let found: Option<JoinToken> = find(&Api::all(self.client.clone()), id).await?;
        // An unknown id takes the same time.
        let hash = found.as_ref().map_or(UNKNOWN_HASH, |found| &found.spec.secret_hash);
        Ok(if token::matches(secret, hash) { found } else { None })
    }

    /// A token as it is now, if it is still the same.
    pub async fn token_of(&self, token: &JoinToken) -> Result<Option<JoinToken>, Failure> {
        let found: Option<JoinToken> = find(&Api::all(self.client.clone()), &token.name_any()).await?;
        Ok(found.filter(|found| found.spec.secret_hash == token.spec.secret_hash))
    }

    /// Counts a use of a token, unless somebody changed it meanwhile.
    pub async fn count(&self, token: &JoinToken) -> Result<(), Failure> {
        let used = token.status.as_ref().map_or(0, |status| status.used);
        let now = Timestamp::from_second(Timestamp::now().as_second()).unwrap_or_default();
        let counted = JoinToken { status: Some(JoinTokenStatus { used: used + 1, last_used: Some(Time(now)) }), ..token.clone() };
        let api = Api::<JoinToken>::all(self.client.clone());
        api.replace_status(&token.name_any(), &PostParams::default(), &counted).await.map(drop).map_err(later)
    }

    /// The ClusterRegistrationRequest of a cluster.
    pub async fn request(&self, cluster_id: &str) -> Result<Option<ClusterRegistrationRequest>, Failure> {
        find(&Api::all(self.client.clone()), &request_name(cluster_id)).await
    }

    /// The ManagedCluster with this id.
    pub async fn cluster(&self, cluster_id: &str) -> Result<Option<ManagedCluster>, Failure> {
        let known = self.directory.find(cluster_id).ok_or_else(|| unavailable("the hub has not read its clusters yet: try again"))?;
        let Some(key) = known else { return Ok(None) };
        let found: Option<ManagedCluster> = find(&Api::namespaced(self.client.clone(), &key.namespace), &key.name).await?;
        Ok(found.filter(|found| found.spec.cluster_id == cluster_id))
    }

    /// The ManagedCluster `NAMESPACE/NAME`.
    pub async fn cluster_named(&self, name: &str) -> Result<Option<ManagedCluster>, Failure> {
        let Some((namespace, name)) = name.split_once('/') else { return Ok(None) };
        find(&Api::namespaced(self.client.clone(), namespace), name).await
    }

    /// Gives a ManagedCluster to the machine with this id.
    pub async fn give(&self, place: &ManagedCluster, cluster_id: &str) -> Result<(), Failure> {
        let key = ClusterKey::of(place);
        let api = Api::<ManagedCluster>::namespaced(self.client.clone(), &key.namespace);
        let metadata = json!({"labels": {LABEL_CLUSTER_ID: cluster_id}, "annotations": {ANNOTATION_REVOKED: null}});
        let patch = Patch::Merge(json!({"metadata": metadata, "spec": {"clusterId": cluster_id}}));
        let given = api.patch(&key.name, &PatchParams::default(), &patch).await.map_err(later)?;
        tracing::info!(cluster = %key, id = cluster_id, "a new machine takes the place of a cluster");
        self.directory.learn(&given);
        Ok(())
    }

    /// Writes the request as it was admitted. One that waits is not changed by being asked again: what a person reads stays.
    pub async fn write(
        &self,
        ask: &Ask,
        key: &str,
        admission: &Admission,
        present: Option<&ClusterRegistrationRequest>,
    ) -> Result<ClusterRegistrationRequest, Failure> {
        let name = request_name(&ask.cluster_id);
        let mut body = body(&name, ask, admission);
        let waits = present.filter(|present| !is_granted(present) && key_of(present).as_deref() == Some(key));
        if let Some(waits) = waits {
            body["spec"]["csr"] = waits.spec.csr.clone().into();
        }
        let api = Api::<ClusterRegistrationRequest>::all(self.client.clone());
        if present.is_none() {
            let object = serde_json::from_value(without_nulls(body.clone())).map_err(|error| Failure::bad_request(error.to_string()))?;
            match api.create(&PostParams::default(), &object).await {
                Err(Error::Api(status)) if status.code == 409 => {}
                created => return created.map_err(|error| refused(error)),
            }
        }
        api.patch(&name, &PatchParams::default(), &Patch::Merge(body)).await.map_err(|error| refused(error))
    }

    /// Waits for the controller's answer to a request as it was written.
    pub async fn answered(&self, written: &ClusterRegistrationRequest, authority: &Shared, hash_key: &str) -> Result<Response, Failure> {
        let (name, begun) = (written.name_any(), Instant::now());
        let api = Api::<ClusterRegistrationRequest>::all(self.client.clone());
        while begun.elapsed() < PATIENCE {
            let found = find(&api, &name).await?.ok_or_else(|| unavailable(&format!("{name} was deleted: ask again")))?;
            if found.spec.csr != written.spec.csr {
                let why = format!("another agent asks as cluster {}: stop all but one of them", written.spec.cluster_id);
                return Err(Failure::new(409, "Conflict", why));
            }
            let current = authority.borrow().clone();
            match found.status.as_ref().filter(|status| status.result.is_some() && status.observed_generation >= found.metadata.generation)
            {
                Some(status) => return answer::of(status, &name, &current, hash_key, super::seconds()),
                None => tokio::time::sleep(LOOK).await,
            }
        }
        Err(unavailable(&format!("{name} was not answered within {} s: ask again", PATIENCE.as_secs())))
    }

    /// Forgets a cluster that has left; its request stays as a sign that it did, so that only a token lets it come back.
    pub async fn forget(&self, cluster: &ManagedCluster) -> Result<(), Failure> {
        let requests = Api::<ClusterRegistrationRequest>::all(self.client.clone());
        let name = request_name(&cluster.spec.cluster_id);
        let left =
            json!({"metadata": {"annotations": {ANNOTATION_APPROVAL: LEFT, ANNOTATION_JOIN_TOKEN: null, ANNOTATION_PROVED_BY: null}}});
        match requests.patch(&name, &PatchParams::default(), &Patch::Merge(left)).await {
            Err(Error::Api(status)) if status.code == 404 => {}
            marked => drop(marked.map_err(later)?),
        }
        let key = ClusterKey::of(cluster);
        let clusters = Api::<ManagedCluster>::namespaced(self.client.clone(), &key.namespace);
        match clusters.delete(&key.name, &DeleteParams::default()).await {
            Err(Error::Api(status)) if status.code == 404 => Ok(()),
            deleted => deleted.map(drop).map_err(later),
        }
    }
}

/// A hash that no secret has.
const UNKNOWN_HASH: &str = "----------------------------------------------------------------";

fn is_granted(request: &ClusterRegistrationRequest) -> bool {
    request.status.as_ref().is_some_and(|status| status.result.as_deref() == Some(APPROVED))
}

fn request_name(cluster_id: &str) -> String {
    format!("clusternet-{cluster_id}")
}

/// The request; a merge patch of it takes away what a request before it said.
fn body(name: &str, ask: &Ask, admission: &Admission) -> serde_json::Value {
    let labels: BTreeMap<&String, &String> = ask.labels.iter().chain(&admission.labels).collect();
    json!({
        "apiVersion": "clusters.clusternet.io/v1beta1",
        "kind": "ClusterRegistrationRequest",
        "metadata": {
            "name": name,
            "labels": {LABEL_REGISTERED_BY: CREATED_BY_AGENT, LABEL_CLUSTER_ID: ask.cluster_id, LABEL_CLUSTER_NAME: ask.name},
            "annotations": {
                ANNOTATION_SID: admission.sid.as_ref().or(ask.sid.as_ref()),
                ANNOTATION_JOIN_TOKEN: admission.token,
                ANNOTATION_PROVED_BY: admission.proved_by,
                ANNOTATION_APPROVAL: admission.approval,
            },
        },
        "spec": {
            "clusterId": ask.cluster_id, "clusterName": ask.name, "clusterNamespace": ask.namespace, "clusterType": "EdgeCluster",
            "syncMode": "Pull", "clusterLabels": labels, "csr": ask.csr, "linkKey": ask.link_key,
        },
    })
}

fn without_nulls(mut value: serde_json::Value) -> serde_json::Value {
    fn clean(value: &mut serde_json::Value) {
        if let Some(map) = value.as_object_mut() {
            map.retain(|_, field| !field.is_null());
            map.values_mut().for_each(clean);
        }
    }
    clean(&mut value);
    value
}

async fn find<K>(api: &Api<K>, name: &str) -> Result<Option<K>, Failure>
where
    K: Resource + Clone + Debug + DeserializeOwned,
{
    api.get_opt(name).await.map_err(later)
}

fn unavailable(why: &str) -> Failure {
    Failure::new(503, "ServiceUnavailable", why)
}

/// What goes wrong here is the hub's, or a race: the agent asks again.
fn later(error: Error) -> Failure {
    tracing::warn!(%error, "an enrolment could not be worked on");
    unavailable("the hub could not work on this now: ask again")
}

/// The API refuses what the agent said of itself.
fn refused(error: Error) -> Failure {
    match error {
        Error::Api(status) if matches!(status.code, 400 | 422) => Failure::bad_request(status.message),
        other => later(other),
    }
}
