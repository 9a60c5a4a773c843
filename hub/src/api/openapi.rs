//! Thin OpenAPI v3: as much as kubectl and helm need to send `fieldValidation` and leave the checking to the server.
//!
//! Each kind has a PATCH operation with the `fieldValidation` parameter and one component schema. The request bodies are left
//! out on purpose: a document that offers strategic merge makes kubectl compute patches from these schemas, which don't
//! hold the merge keys, in place of its own compiled-in types. Clusternet's own kinds carry their real schema.

use ring::digest;
use serde_json::{Map, Value, json};

use super::catalogue::{Resource, Role, catalogue, group_versions};

/// Gives the `openAPIV3Schema` of one of Clusternet's own kinds.
pub type OwnSchema<'a> = &'a dyn Fn(&str) -> Option<Value>;

/// The answer to `GET /openapi/v3`: a document a group and version, each under a URL that changes with its content.
pub fn index(own: OwnSchema) -> Value {
    let paths: Map<String, Value> = group_versions()
        .into_iter()
        .filter_map(|(group, version)| {
            let path = root(group, version);
            let hash = content_hash(&document(group, version, own)?);
            Some((path.clone(), json!({"serverRelativeURL": format!("/openapi/v3/{path}?hash={hash}")})))
        })
        .collect();
    json!({"paths": paths})
}

/// The answer to `GET /openapi/v3/api/v1` (the core group is `""`) and `/openapi/v3/apis/{group}/{version}`.
pub fn document(group: &str, version: &str, own: OwnSchema) -> Option<Value> {
    let served: Vec<&Resource> = catalogue().iter().filter(|r| r.group == group && r.version == version).collect();
    if served.is_empty() {
        return None;
    }
    let paths: Map<String, Value> = served.iter().map(|r| (object_path(r), operations(r))).collect();
    let schemas: Map<String, Value> = served.iter().map(|r| (schema_name(r), schema(r, own))).collect();
    Some(json!({
        "openapi": "3.0.0",
        "info": {"title": "clusternet-hub", "version": env!("CARGO_PKG_VERSION")},
        "paths": paths,
        "components": {"schemas": schemas},
    }))
}

fn root(group: &str, version: &str) -> String {
    if group.is_empty() { format!("api/{version}") } else { format!("apis/{group}/{version}") }
}

fn object_path(r: &Resource) -> String {
    let namespace = if r.namespaced { "namespaces/{namespace}/" } else { "" };
    format!("/{}/{namespace}{}/{{name}}", root(r.group, r.version), r.plural)
}

fn gvk(r: &Resource) -> Value {
    json!({"group": r.group, "version": r.version, "kind": r.kind})
}

/// GET is there for `kubectl explain`, which finds a kind by any operation on its path; PATCH is what kubectl asks about.
fn operations(r: &Resource) -> Value {
    let schema = json!({"$ref": format!("#/components/schemas/{}", schema_name(r))});
    let ok = json!({"200": {"description": "OK", "content": {"application/json": {"schema": schema}}}});
    let query = |name: &str| json!({"name": name, "in": "query", "schema": {"type": "string", "uniqueItems": true}});
    json!({
        "get": {"x-kubernetes-action": "get", "x-kubernetes-group-version-kind": gvk(r), "responses": ok},
        "patch": {
            "x-kubernetes-action": "patch",
            "x-kubernetes-group-version-kind": gvk(r),
            "parameters": (["dryRun", "fieldManager", "fieldValidation", "force"].map(query)),
            "responses": ok,
        },
    })
}

/// `io.clusternet.apps.v1alpha1.Subscription`: the group reversed, so that names stay unique over all documents.
fn schema_name(r: &Resource) -> String {
    let group: Vec<&str> = if r.group.is_empty() { vec!["core"] } else { r.group.split('.').rev().collect() };
    format!("{}.{}.{}", group.join("."), r.version, r.kind)
}

fn schema(r: &Resource, own: OwnSchema) -> Value {
    let real = (r.role == Role::Own).then(|| own(r.kind)).flatten();
    let mut schema =
        real.filter(Value::is_object).unwrap_or_else(|| json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true}));
    schema["x-kubernetes-group-version-kind"] = json!([gvk(r)]);
    for (field, text) in [("apiVersion", "The version of this representation."), ("kind", "The kind that this object is.")] {
        schema["properties"][field] = json!({"type": "string", "description": text});
    }
    if !schema["properties"]["metadata"].is_object() {
        schema["properties"]["metadata"] = json!({"type": "object"});
    }
    schema
}

fn content_hash(document: &Value) -> String {
    let digest = digest::digest(&digest::SHA256, document.to_string().as_bytes());
    digest.as_ref()[..16].iter().map(|byte| format!("{byte:02X}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn none(_: &str) -> Option<Value> {
        None
    }

    #[test]
    fn every_served_kind_takes_field_validation() {
        for r in catalogue() {
            let doc = document(r.group, r.version, &none).unwrap();
            let patch = &doc["paths"][object_path(r)]["patch"];
            assert_eq!(patch["x-kubernetes-group-version-kind"], gvk(r));
            assert!(
                patch["parameters"].as_array().unwrap().iter().any(|p| p["name"] == "fieldValidation" && p["in"] == "query"),
                "{patch}"
            );
            assert_eq!(doc["components"]["schemas"][schema_name(r)]["x-kubernetes-group-version-kind"], json!([gvk(r)]));
        }
    }

    #[test]
    fn own_kinds_show_their_real_schema() {
        let own = |kind: &str| (kind == "Subscription").then(|| json!({"type": "object", "properties": {"spec": {"type": "object"}}}));
        let doc = document("apps.clusternet.io", "v1alpha1", &own).unwrap();
        let schema = &doc["components"]["schemas"]["io.clusternet.apps.v1alpha1.Subscription"];
        assert_eq!(schema["properties"]["spec"]["type"], "object");
        assert_eq!(schema["properties"]["kind"]["type"], "string");
        assert!(schema.get("x-kubernetes-preserve-unknown-fields").is_none());
    }

    #[test]
    fn the_url_of_a_document_changes_with_its_content() {
        let own = |_: &str| Some(json!({"type": "object"}));
        let (thin, real) = (index(&none), index(&own));
        assert_eq!(thin["paths"]["apis/apps/v1"], real["paths"]["apis/apps/v1"]);
        assert_ne!(thin["paths"]["apis/apps.clusternet.io/v1alpha1"], real["paths"]["apis/apps.clusternet.io/v1alpha1"]);
        let url = thin["paths"]["api/v1"]["serverRelativeURL"].as_str().unwrap();
        assert!(url.starts_with("/openapi/v3/api/v1?hash="), "{url}");
        assert!(document("nothing", "v1", &none).is_none());
    }
}
