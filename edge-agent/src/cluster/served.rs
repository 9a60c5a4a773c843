//! One kind as served, and the discovery documents it is read from.

use serde::Deserialize;

use super::api::escape;
use super::object::null_as_empty;

/// One kind as served at one version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resource {
    /// API group, empty for core.
    pub group: String,
    /// Version of the group.
    pub version: String,
    /// Kind.
    pub kind: String,
    /// Name in paths.
    pub plural: String,
    /// Whether its objects live in namespaces.
    pub namespaced: bool,
    /// Whether it can be listed.
    pub listable: bool,
    /// Whether its objects can be deleted; virtual kinds such as metrics can't.
    pub deletable: bool,
}

impl Resource {
    /// Path of the collection, in one namespace or (empty) over all.
    pub fn collection(&self, namespace: &str) -> String {
        let root = root(&self.group, &self.version);
        match self.namespaced && !namespace.is_empty() {
            true => format!("{root}/namespaces/{}/{}", escape(namespace), self.plural),
            false => format!("{root}/{}", self.plural),
        }
    }

    /// Path of one object.
    pub fn object(&self, namespace: &str, name: &str) -> String {
        format!("{}/{}", self.collection(namespace), escape(name))
    }

    /// `v1` or `group/version`, as in an object.
    pub fn api_version(&self) -> String {
        match self.group.as_str() {
            "" => self.version.clone(),
            group => format!("{group}/{}", self.version),
        }
    }
}

/// Path of a group version.
pub(super) fn root(group: &str, version: &str) -> String {
    match group {
        "" => format!("/api/{}", escape(version)),
        group => format!("/apis/{}/{}", escape(group), escape(version)),
    }
}

#[derive(Deserialize)]
pub(super) struct GroupList {
    #[serde(default, deserialize_with = "null_as_empty")]
    pub(super) groups: Vec<Group>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Group {
    pub(super) name: String,
    versions: Vec<GroupVersion>,
    preferred_version: Option<GroupVersion>,
}

#[derive(Deserialize)]
pub(super) struct GroupVersion {
    version: String,
}

impl Group {
    /// Its versions, the preferred one first.
    pub(super) fn preferred_first(&self) -> Vec<String> {
        let preferred = self.preferred_version.iter();
        let mut versions: Vec<_> = preferred.map(|group| group.version.clone()).collect();
        let rest = self.versions.iter().map(|group| group.version.clone());
        versions.extend(rest.filter(|version| Some(version) != self.preferred_version.as_ref().map(|p| &p.version)));
        versions
    }
}

#[derive(Deserialize)]
pub(super) struct ResourceList {
    #[serde(default, deserialize_with = "null_as_empty")]
    pub(super) resources: Vec<Entry>,
}

#[derive(Deserialize)]
pub(super) struct Entry {
    name: String,
    kind: String,
    #[serde(default)]
    namespaced: bool,
    #[serde(default, deserialize_with = "null_as_empty")]
    verbs: Vec<String>,
}

impl Entry {
    /// The resource, unless it is a subresource.
    pub(super) fn resource(self, group: &str, version: &str) -> Option<Resource> {
        let is_subresource = self.name.contains('/');
        let can = |verb: &str| self.verbs.iter().any(|have| have == verb);
        (!is_subresource).then(|| Resource {
            listable: can("list"),
            deletable: can("delete"),
            group: group.to_owned(),
            version: version.to_owned(),
            kind: self.kind,
            plural: self.name,
            namespaced: self.namespaced,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(json: &str) -> Option<Resource> {
        serde_json::from_str::<Entry>(json).expect("test entry").resource("apps", "v1")
    }

    #[test]
    fn subresources_are_no_resources() {
        assert_eq!(entry(r#"{"name":"deployments/scale","kind":"Scale"}"#), None);
    }

    #[test]
    fn paths_follow_scope() {
        let web = entry(r#"{"name":"deployments","kind":"Deployment","namespaced":true,"verbs":["list"]}"#);
        let web = web.expect("a resource");
        assert_eq!(web.object("shop", "web"), "/apis/apps/v1/namespaces/shop/deployments/web");
        assert_eq!(web.collection(""), "/apis/apps/v1/deployments");
        assert!(web.listable && !web.deletable);
    }

    #[test]
    fn the_preferred_version_comes_first_and_once() {
        let group: Group =
            serde_json::from_str(r#"{"name":"g","versions":[{"version":"v1"},{"version":"v2"}],"preferredVersion":{"version":"v2"}}"#)
                .expect("test group");
        assert_eq!(group.preferred_first(), ["v2", "v1"]);
    }
}
