use std::path::PathBuf;

use super::*;

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../deploy/crds")
}

#[test]
fn deploy_crds_are_what_the_types_say() {
    let update = std::env::var_os("UPDATE_CRDS").is_some();
    for crd in crds() {
        let file = folder().join(format!("{}.yaml", crd.metadata.name.as_deref().expect("generated CRDs are named")));
        let wanted = serde_saphyr::to_string(&crd).expect("a CRD is plain data");
        if update {
            std::fs::create_dir_all(folder()).and_then(|()| std::fs::write(&file, &wanted)).expect("deploy/crds is writable");
        }
        let found = std::fs::read_to_string(&file).unwrap_or_default();
        assert!(found == wanted, "{} is not what the types say: run this test with UPDATE_CRDS=1 and commit", file.display());
    }
}

#[test]
fn every_kind_has_a_structural_schema_under_its_own_name() {
    for (crd, (kind, schema)) in crds().iter().zip(schemas()) {
        assert_eq!(crd.spec.names.kind, kind);
        assert_eq!(schema["type"], "object", "{kind}");
        assert!(!schema.to_string().contains("$ref"), "{kind} refers outside itself");
    }
}

#[test]
fn defaults_are_clusternets_and_nothing_else_is_defaulted() {
    let schemas = schemas();
    let spec = |kind: &str| schemas[kind]["properties"]["spec"]["properties"].clone();
    let subscription = spec("Subscription");
    assert_eq!(subscription["schedulerName"]["default"], "default");
    assert_eq!(subscription["schedulingStrategy"]["default"], "Replication");
    assert_eq!(subscription["preemptionPolicy"]["default"], "PreemptLowerPriority");
    assert_eq!(spec("ClusterRegistrationRequest")["syncMode"]["default"], "Pull");
    let defaults: usize = schemas.values().map(|schema| schema.to_string().matches("\"default\":").count()).sum();
    for kind in ["Localization", "Globalization"] {
        assert_eq!((&spec(kind)["priority"]["default"], &spec(kind)["overridePolicy"]["default"]), (&500.into(), &"ApplyLater".into()));
    }
    assert_eq!(defaults, 10, "a default that nobody asked for is written into every object");
}

#[test]
fn both_spellings_of_the_preemption_policy_are_allowed() {
    let allowed = &schemas()["Subscription"]["properties"]["spec"]["properties"]["preemptionPolicy"]["enum"];
    assert_eq!(allowed, &serde_json::json!(["PreemptLowerPriority", "PreemptNever", "Never"]));
}

#[test]
fn a_documented_subscription_reads_and_writes_back_unchanged() {
    let written = serde_json::json!({
        "apiVersion": "apps.clusternet.io/v1alpha1", "kind": "Subscription",
        "metadata": { "name": "app-demo", "namespace": "default" },
        "spec": {
            "schedulerName": "default", "schedulingStrategy": "Replication", "preemptionPolicy": "PreemptLowerPriority",
            "subscribers": [{ "clusterAffinity": { "matchExpressions": [
                { "key": "clusters.clusternet.io/cluster-id", "operator": "Exists" }] } }],
            "clusterTolerations": [{ "key": "a", "operator": "Exists", "effect": "NoSchedule" }],
            "feeds": [{ "apiVersion": "v1", "kind": "Namespace", "name": "foo" },
                      { "apiVersion": "apps/v1", "kind": "Deployment", "namespace": "foo", "name": "my-nginx" }],
        },
    });
    let read: crate::kinds::Subscription = serde_json::from_value(written.clone()).expect("documented YAML is readable");
    assert_eq!(serde_json::to_value(read).expect("plain data"), written);
}
