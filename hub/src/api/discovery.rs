//! Discovery documents, legacy and aggregated, made from the catalogue.
//!
//! No field is ever `null`: clients of several languages refuse a null list of short names.

use serde_json::{Map, Value, json};

use super::catalogue::{Resource, catalogue, group_version, group_versions};

/// The answer to `GET /api`.
pub fn api_versions() -> Value {
    json!({
        "kind": "APIVersions",
        "versions": ["v1"],
        "serverAddressByClientCIDRs": [{"clientCIDR": "0.0.0.0/0", "serverAddress": ""}],
    })
}

/// The answer to `GET /apis`.
pub fn api_groups() -> Value {
    let named = group_versions().into_iter().filter(|(group, _)| !group.is_empty());
    let groups: Vec<Value> = named.chain([PROXIES]).map(|(g, v)| api_group_fields(g, v)).collect();
    json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": groups})
}

/// The answer to `GET /apis/{group}`, or `None` for a group that is not served.
pub fn api_group(group: &str) -> Option<Value> {
    let (name, version) = group_versions().into_iter().chain([PROXIES]).find(|(g, _)| !g.is_empty() && *g == group)?;
    let mut answer = api_group_fields(name, version);
    answer["kind"] = json!("APIGroup");
    answer["apiVersion"] = json!("v1");
    Some(answer)
}

/// The answer to `GET /api/v1` (the core group is `""`) and `GET /apis/{group}/{version}`, or `None` if it is not served.
pub fn api_resources(group: &str, version: &str) -> Option<Value> {
    if (group, version) == PROXIES {
        return Some(json!({
            "kind": "APIResourceList", "apiVersion": "v1", "groupVersion": group_version(group, version),
            "resources": [{"name": "sockets/proxy", "singularName": "", "namespaced": false, "kind": "Socket", "verbs": PROXY_VERBS}],
        }));
    }
    let served: Vec<&Resource> = resources(group, version).collect();
    if served.is_empty() {
        return None;
    }
    let rows: Vec<Value> = served.into_iter().flat_map(legacy_rows).collect();
    Some(json!({"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": group_version(group, version), "resources": rows}))
}

/// The `APIGroupDiscoveryList` of `/api` (`core`) or `/apis`, in version `v2` or else `v2beta1`.
pub fn aggregated(core: bool, v2: bool) -> Value {
    let mut items: Vec<Value> =
        group_versions().into_iter().filter(|(group, _)| group.is_empty() == core).map(|(g, v)| aggregated_group(g, v)).collect();
    if !core {
        items.push(aggregated_proxies());
    }
    let version = if v2 { "apidiscovery.k8s.io/v2" } else { "apidiscovery.k8s.io/v2beta1" };
    json!({"kind": "APIGroupDiscoveryList", "apiVersion": version, "metadata": {}, "items": items})
}

fn resources<'a>(group: &'a str, version: &'a str) -> impl Iterator<Item = &'static Resource> + 'a {
    catalogue().iter().filter(move |r| r.group == group && r.version == version)
}

fn api_group_fields(group: &str, version: &str) -> Value {
    let version = json!({"groupVersion": group_version(group, version), "version": version});
    json!({"name": group, "versions": [version], "preferredVersion": version})
}

fn legacy_rows(r: &'static Resource) -> Vec<Value> {
    let mut main = json!({"name": r.plural, "singularName": r.singular, "namespaced": r.namespaced, "kind": r.kind, "verbs": r.verbs()});
    put_names(main.as_object_mut().expect("an object was just made"), r);
    let mut rows = vec![main];
    if r.status {
        rows.push(json!({
            "name": format!("{}/status", r.plural), "singularName": "", "namespaced": r.namespaced, "kind": r.kind, "verbs": SUB_VERBS,
        }));
    }
    if r.scale {
        rows.push(json!({
            "name": format!("{}/scale", r.plural), "singularName": "", "namespaced": r.namespaced,
            "group": "autoscaling", "version": "v1", "kind": "Scale", "verbs": SUB_VERBS,
        }));
    }
    rows
}

/// The gateway's group: Clusternet's clients look for it, and nothing in it is an object.
const PROXIES: (&str, &str) = ("proxies.clusternet.io", "v1alpha1");
const PROXY_VERBS: [&str; 5] = ["create", "delete", "get", "patch", "update"];

/// A resource without verbs of its own, which clients pass over, and its subresource.
fn aggregated_proxies() -> Value {
    let (group, version) = PROXIES;
    let kind = json!({"group": group, "version": version, "kind": "Socket"});
    let proxy = json!({"subresource": "proxy", "responseKind": kind, "verbs": PROXY_VERBS});
    let sockets = json!({
        "resource": "sockets", "scope": "Cluster", "singularResource": "socket", "verbs": [], "subresources": [proxy],
    });
    json!({"metadata": {"name": group}, "versions": [{"version": version, "resources": [sockets], "freshness": "Current"}]})
}

const SUB_VERBS: [&str; 3] = ["get", "patch", "update"];

fn aggregated_group(group: &'static str, version: &'static str) -> Value {
    let metadata = if group.is_empty() { json!({}) } else { json!({"name": group}) };
    let rows: Vec<Value> = resources(group, version).map(aggregated_row).collect();
    json!({"metadata": metadata, "versions": [{"version": version, "resources": rows, "freshness": "Current"}]})
}

fn aggregated_row(r: &Resource) -> Value {
    let own_kind = json!({"group": r.group, "version": r.version, "kind": r.kind});
    let mut row = json!({
        "resource": r.plural,
        "responseKind": own_kind,
        "scope": if r.namespaced { "Namespaced" } else { "Cluster" },
        "singularResource": r.singular,
        "verbs": r.verbs(),
    });
    let fields = row.as_object_mut().expect("an object was just made");
    put_names(fields, r);
    let mut subresources = Vec::new();
    if r.status {
        subresources.push(json!({"subresource": "status", "responseKind": own_kind, "verbs": SUB_VERBS}));
    }
    if r.scale {
        let kind = json!({"group": "autoscaling", "version": "v1", "kind": "Scale"});
        subresources.push(json!({"subresource": "scale", "responseKind": kind, "verbs": SUB_VERBS}));
    }
    if !subresources.is_empty() {
        fields.insert("subresources".into(), Value::Array(subresources));
    }
    row
}

fn put_names(fields: &mut Map<String, Value>, r: &Resource) {
    if !r.short_names.is_empty() {
        fields.insert("shortNames".into(), json!(r.short_names));
    }
    if !r.categories.is_empty() {
        fields.insert("categories".into(), json!(r.categories));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn no_nulls(v: &Value) -> bool {
        match v {
            Value::Null => false,
            Value::Array(items) => items.iter().all(no_nulls),
            Value::Object(fields) => fields.values().all(no_nulls),
            _ => true,
        }
    }

    #[test]
    fn nothing_in_discovery_is_null() {
        for doc in [api_versions(), api_groups(), aggregated(true, true), aggregated(false, true), api_resources("apps", "v1").unwrap()] {
            assert!(no_nulls(&doc), "{doc}");
        }
    }

    #[test]
    fn a_resource_is_listed_with_its_subresources() {
        let apps = api_resources("apps", "v1").unwrap();
        let names: Vec<&str> = apps["resources"].as_array().unwrap().iter().filter_map(|r| r["name"].as_str()).collect();
        assert!(
            names.contains(&"deployments") && names.contains(&"deployments/status") && names.contains(&"deployments/scale"),
            "{names:?}"
        );
        assert_eq!(apps["groupVersion"], "apps/v1");
        assert!(api_resources("apps", "v9").is_none());
    }

    #[test]
    fn the_core_group_is_in_api_and_no_other_is() {
        let core = aggregated(true, true);
        assert_eq!(core["items"].as_array().unwrap().len(), 1);
        assert_eq!(core["apiVersion"], "apidiscovery.k8s.io/v2");
        let others = aggregated(false, false);
        assert_eq!(others["apiVersion"], "apidiscovery.k8s.io/v2beta1");
        let names: Vec<&str> = others["items"].as_array().unwrap().iter().filter_map(|g| g["metadata"]["name"].as_str()).collect();
        assert!(names.contains(&"clusters.clusternet.io") && names.contains(&"apps") && !names.contains(&""), "{names:?}");
        assert_eq!(api_groups()["groups"].as_array().unwrap().len(), names.len());
    }

    #[test]
    fn a_single_group_is_described_and_an_unknown_one_is_not() {
        assert_eq!(api_group("apps").unwrap()["preferredVersion"]["groupVersion"], "apps/v1");
        assert_eq!(api_group("proxies.clusternet.io").unwrap()["preferredVersion"]["version"], "v1alpha1");
        assert_eq!(api_resources("proxies.clusternet.io", "v1alpha1").unwrap()["resources"][0]["name"], "sockets/proxy");
        assert!(api_group("").is_none() && api_group("nothing.example").is_none());
    }

    #[test]
    fn virtual_kinds_only_create() {
        let doc = api_resources("authorization.k8s.io", "v1").unwrap();
        assert!(doc["resources"].as_array().unwrap().iter().all(|r| r["verbs"] == json!(["create"])), "{doc}");
    }
}
