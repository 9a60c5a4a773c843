//! Replica counts that an autoscaler sets: while one targets an object, the count is not ours to correct.

use bus_schema::id::ObjectId;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::api::{Accept, Api, Failure, escape};
use super::list::Pager;
use super::object::split_api_version;

#[derive(Deserialize)]
struct Scaler {
    spec: ScalerSpec,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ScalerSpec {
    scale_target_ref: Target,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Target {
    #[serde(default)]
    api_version: String,
    kind: String,
    name: String,
}

/// Whether an autoscaler of the namespace targets the object.
///
/// # Errors
/// The server can't be asked; one that serves or shows no autoscalers has none.
pub async fn targets(api: &Api, id: &ObjectId) -> Result<bool, Failure> {
    let path = format!("/apis/autoscaling/v2/namespaces/{}/horizontalpodautoscalers", escape(&id.namespace));
    let mut pager = Pager::new(&path, "", Accept::Whole);
    loop {
        match pager.page::<Scaler>(api).await {
            Ok(Some(page)) if page.iter().any(|scaler| scaler.is_for(id)) => return Ok(true),
            Ok(Some(_)) => {}
            Ok(None) => return Ok(false),
            Err(Failure::Status(_)) => return Ok(false),
            Err(failure) => return Err(failure),
        }
    }
}

impl Scaler {
    fn is_for(&self, id: &ObjectId) -> bool {
        let target = &self.spec.scale_target_ref;
        let (group, _) = split_api_version(&target.api_version);
        (group, target.kind.as_str(), target.name.as_str()) == (id.group.as_str(), id.kind.as_str(), id.name.as_str())
    }
}

/// Whether an object may be scaled by somebody else.
pub(super) fn scales(id: &ObjectId, stored: &[u8]) -> bool {
    let known = id.group == "apps" && ["Deployment", "StatefulSet", "ReplicaSet"].contains(&id.kind.as_str());
    !id.namespace.is_empty() && (known || replicas(stored).is_some())
}

/// The live replica count, where it must be sent instead of the desired one: owned by us too, it does not fall to 1.
pub(super) async fn kept_replicas(api: &Api, id: &ObjectId, live: &[u8], stored: &[u8]) -> Result<Option<i64>, Failure> {
    match (replicas(live), replicas(stored)) {
        (Some(live), desired) if live != desired.unwrap_or(1) && targets(api, id).await? => Ok(Some(live)),
        _ => Ok(None),
    }
}

fn replicas(object: &[u8]) -> Option<i64> {
    #[derive(Deserialize)]
    struct Outer<'a> {
        #[serde(borrow)]
        spec: Option<&'a RawValue>,
    }
    #[derive(Deserialize)]
    struct Spec {
        replicas: Option<i64>,
    }
    let spec = serde_json::from_slice::<Outer>(object).ok()?.spec?;
    serde_json::from_str::<Spec>(spec.get()).ok()?.replicas
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_carries_a_count_scales() {
        let id = |group, kind| ObjectId::new(group, kind, "shop", "x");
        assert!(scales(&id("apps", "Deployment"), b"{}"));
        assert!(scales(&id("example.com", "Farm"), br#"{"spec":{"replicas":3}}"#));
        for odd in ["{}", "", r#"{"spec":[]}"#, r#"{"spec":{"replicas":"many"}}"#] {
            assert!(!scales(&id("", "ConfigMap"), odd.as_bytes()), "{odd}");
        }
    }

    #[test]
    fn a_target_is_known_by_group_kind_and_name() {
        let scaler = r#"{"spec":{"scaleTargetRef":{"apiVersion":"apps/v1beta9","kind":"Deployment","name":"web"}}}"#;
        let scaler: Scaler = serde_json::from_str(scaler).expect("test scaler");
        assert!(scaler.is_for(&ObjectId::new("apps", "Deployment", "shop", "web")));
        assert!(!scaler.is_for(&ObjectId::new("", "Deployment", "shop", "web")));
    }
}
