//! What is served, and what a request names. The kinds are those of the hub's catalogue that a member has, and Node.

use std::collections::BTreeMap;

use hub::api::catalogue::{Resource, Role, catalogue};
use serde_json::{Value, json};

static NODE: Resource = Resource {
    group: "",
    version: "v1",
    kind: "Node",
    plural: "nodes",
    singular: "node",
    short_names: &["no"],
    categories: &[],
    namespaced: false,
    role: Role::Live,
    status: true,
    scale: false,
};

/// What a path names.
#[derive(Clone, Debug, PartialEq)]
pub struct Target {
    pub resource: &'static Resource,
    /// Empty for all namespaces, or for a cluster-scoped kind.
    pub namespace: String,
    /// Empty for a collection.
    pub name: String,
}

/// Every kind served. CustomResourceDefinitions are left out: their kinds would not be served.
pub fn kinds() -> impl Iterator<Item = &'static Resource> {
    let has = |r: &&Resource| matches!(r.role, Role::Template | Role::Live) && r.kind != "CustomResourceDefinition";
    std::iter::once(&NODE).chain(catalogue().iter().filter(has))
}

impl Target {
    /// Reads a path; `None` when it names nothing served.
    pub fn parse(path: &str) -> Option<Self> {
        let parts: Vec<String> = path.split('/').filter(|part| !part.is_empty()).map(decoded).collect();
        let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
        match parts.as_slice() {
            ["api", version, rest @ ..] => Self::within("", version, rest),
            ["apis", group, version, rest @ ..] => Self::within(group, version, rest),
            _ => None,
        }
    }

    fn within(group: &str, version: &str, rest: &[&str]) -> Option<Self> {
        let (namespace, plural, name) = match rest {
            ["namespaces", namespace, plural] => (*namespace, plural, ""),
            ["namespaces", namespace, plural, name] => (*namespace, plural, *name),
            [plural] => ("", plural, ""),
            [plural, name] => ("", plural, *name),
            _ => return None,
        };
        let resource = kinds().find(|r| r.group == group && r.version == version && r.plural == *plural)?;
        let placed = resource.namespaced || namespace.is_empty();
        let housed = !resource.namespaced || !namespace.is_empty() || name.is_empty();
        (placed && housed).then(|| Self { resource, namespace: namespace.to_owned(), name: name.to_owned() })
    }
}

fn decoded(part: &str) -> String {
    let query = format!("x={}", part.replace('+', "%2B"));
    form_urlencoded::parse(query.as_bytes()).next().map_or_else(String::new, |(_, value)| value.into_owned())
}

/// A discovery document, `None` for a path that is none.
pub fn discovery(path: &str) -> Option<Value> {
    let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
    match parts.as_slice() {
        ["api"] => Some(json!({"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": []})),
        ["api", version] => resources("", version),
        ["apis"] => Some(json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": groups().into_values().collect::<Vec<_>>()})),
        ["apis", group] => {
            let mut found = groups().remove(*group)?;
            (found["kind"], found["apiVersion"]) = (json!("APIGroup"), json!("v1"));
            Some(found)
        }
        ["apis", group, version] => resources(group, version),
        _ => None,
    }
}

fn groups() -> BTreeMap<&'static str, Value> {
    let named = kinds().filter(|r| !r.group.is_empty());
    let described = named.map(|r| {
        let version = json!({"groupVersion": r.api_version(), "version": r.version});
        (r.group, json!({"name": r.group, "versions": [version], "preferredVersion": version}))
    });
    described.collect()
}

fn resources(group: &str, version: &str) -> Option<Value> {
    let rows: Vec<Value> = kinds().filter(|r| r.group == group && r.version == version).map(row).collect();
    let group_version = if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") };
    (!rows.is_empty()).then(|| json!({"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": group_version, "resources": rows}))
}

fn row(r: &Resource) -> Value {
    json!({
        "name": r.plural, "singularName": r.singular, "namespaced": r.namespaced, "kind": r.kind,
        "shortNames": r.short_names, "categories": r.categories, "verbs": ["create", "delete", "get", "list", "patch", "update", "watch"],
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_name_collections_and_objects() {
        let web = Target::parse("/apis/apps/v1/namespaces/shop/deployments/web").unwrap();
        assert_eq!((web.resource.kind, web.namespace.as_str(), web.name.as_str()), ("Deployment", "shop", "web"));
        let all = Target::parse("/api/v1/namespaces/system%3Ax/configmaps").unwrap();
        assert_eq!((all.namespace.as_str(), all.name.as_str()), ("system:x", ""));
        assert_eq!(Target::parse("/api/v1/namespaces/shop").unwrap().name, "shop");
        assert!(Target::parse("/api/v1/nodes").is_some());
    }

    #[test]
    fn what_a_member_of_this_kind_lacks_is_not_served() {
        for path in [
            "/apis/apps.clusternet.io/v1alpha1/subscriptions",
            "/apis/apiextensions.k8s.io/v1/customresourcedefinitions",
            "/apis/apps/v1/deployments/web",
            "/apis/apps/v1/namespaces/shop/deployments/web/scale",
            "/",
        ] {
            assert_eq!(Target::parse(path), None, "{path}");
        }
    }

    #[test]
    fn discovery_lists_each_group_version_and_says_no_to_others() {
        let groups = discovery("/apis").unwrap();
        let names: Vec<&str> = groups["groups"].as_array().unwrap().iter().filter_map(|g| g["name"].as_str()).collect();
        assert!(names.contains(&"apps") && names.contains(&"coordination.k8s.io") && !names.contains(&"apps.clusternet.io"), "{names:?}");
        for name in names {
            let version = discovery(&format!("/apis/{name}")).unwrap()["preferredVersion"]["version"].clone();
            let listed = discovery(&format!("/apis/{name}/{}", version.as_str().unwrap())).unwrap();
            assert!(!listed["resources"].as_array().unwrap().is_empty(), "{name}");
        }
        assert_eq!(discovery("/apis/nothing.example/v1"), None);
    }
}
