//! CustomResourceDefinitions and schemas generated from the types.

use std::collections::BTreeMap;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt;
use serde_json::Value;

use super::{ClusterRegistrationRequest, Globalization, JoinToken, Localization, ManagedCluster, Subscription, User, manifest, schema};

/// The CRDs of all own kinds, as a parent cluster needs them.
pub fn crds() -> Vec<CustomResourceDefinition> {
    documents().into_iter().map(|crd| serde_json::from_value(crd).expect("generated from the type it is read into")).collect()
}

/// The structural `openAPIV3Schema` of each own kind, by kind.
pub fn schemas() -> BTreeMap<&'static str, Value> {
    const KINDS: [&str; 8] =
        ["ClusterRegistrationRequest", "Globalization", "JoinToken", "Localization", "ManagedCluster", "Manifest", "Subscription", "User"];
    let schema_of = |mut crd: Value| crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"].take();
    KINDS.into_iter().zip(documents().into_iter().map(schema_of)).collect()
}

/// The CRDs as JSON, sorted by kind.
fn documents() -> [Value; 8] {
    let derived = [
        ClusterRegistrationRequest::crd(),
        Globalization::crd(),
        JoinToken::crd(),
        Localization::crd(),
        ManagedCluster::crd(),
        Subscription::crd(),
        User::crd(),
    ];
    let [request, globalization, token, localization, cluster, subscription, user] = derived.map(|crd| {
        let mut crd = serde_json::to_value(crd).expect("a CRD is plain JSON");
        schema::drop_empty_defaults(&mut crd);
        crd
    });
    [request, globalization, token, localization, cluster, manifest::crd(), subscription, user]
}

#[cfg(test)]
#[path = "crd_tests.rs"]
mod tests;
