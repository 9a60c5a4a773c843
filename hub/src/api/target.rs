//! From a request path to what it names, and to where that is kept.
//!
//! Own and live kinds are kept under their own resource. A template is kept as a `Manifest`; its native path and
//! `/apis/shadow/v1alpha1` are two projections of it.

use super::catalogue::{self, Resource, Role};
use super::projection;
use crate::store::{Key, Query};

/// The namespace that holds every Manifest.
pub const RESERVED_NAMESPACE: &str = "clusternet-reserved";
/// Where Manifests are kept.
pub const MANIFESTS: &str = "manifests.apps.clusternet.io";

/// What a resource path names.
#[derive(Clone, Debug, PartialEq)]
pub struct Target {
    pub resource: &'static Resource,
    /// `None`: all namespaces, or a cluster-scoped kind.
    pub namespace: Option<String>,
    pub name: Option<String>,
    pub subresource: Option<String>,
}

impl Target {
    /// Reads `/api/v1/...` and `/apis/GROUP/VERSION/...`; `None` when nothing served is named.
    pub fn parse(path: &str) -> Option<Self> {
        let parts: Vec<String> = path.split('/').filter(|part| !part.is_empty()).map(decoded).collect::<Option<_>>()?;
        let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
        match parts.as_slice() {
            ["api", version, rest @ ..] => Self::within("", version, rest),
            ["apis", group, version, rest @ ..] => Self::within(group, version, rest),
            _ => None,
        }
    }

    fn within(group: &str, version: &str, rest: &[&str]) -> Option<Self> {
        let (namespace, rest) = match rest {
            // `namespaces/x/status` is about the namespace, `namespaces/x/pods` is about pods in it.
            ["namespaces", namespace, plural, ..] if !matches!(*plural, "status" | "finalize") => {
                (Some((*namespace).to_owned()), &rest[2..])
            }
            _ => (None, rest),
        };
        let (plural, name, subresource) = match rest {
            [plural] => (plural, None, None),
            [plural, name] => (plural, Some((*name).to_owned()), None),
            [plural, name, subresource] => (plural, Some((*name).to_owned()), Some((*subresource).to_owned())),
            _ => return None,
        };
        let resource = find(group, version, plural)?;
        let misplaced = namespace.is_some() && !resource.namespaced;
        let homeless = namespace.is_none() && resource.namespaced && name.is_some();
        (!misplaced && !homeless).then_some(Self { resource, namespace, name, subresource })
    }

    /// Where the object of this name is kept.
    pub fn key(&self, name: &str) -> Key {
        let namespace = self.namespace.clone().unwrap_or_default();
        if self.is_template() {
            let name = projection::manifest_name(self.resource, &namespace, name);
            return Key { resource: MANIFESTS.into(), namespace: RESERVED_NAMESPACE.into(), name };
        }
        Key { resource: super::failure::qualified(self.resource), namespace, name: name.to_owned() }
    }

    /// Which stored objects may be of this target.
    pub fn query(&self) -> Query {
        if self.is_template() {
            return Query {
                resource: MANIFESTS.into(),
                namespace: Some(RESERVED_NAMESPACE.into()),
                name_prefix: projection::manifest_prefix(self.resource, self.namespace.as_deref()),
                ..Query::default()
            };
        }
        Query { resource: super::failure::qualified(self.resource), namespace: self.namespace.clone(), ..Query::default() }
    }

    /// Whether what is kept is a Manifest around the object.
    pub fn is_template(&self) -> bool {
        self.resource.role == Role::Template
    }

    /// The same target in another namespace: one item of a list over all of them.
    pub fn in_namespace(&self, namespace: Option<&str>) -> Self {
        Self { namespace: namespace.map(str::to_owned), ..self.clone() }
    }
}

fn find(group: &str, version: &str, plural: &str) -> Option<&'static Resource> {
    if (group, version) != ("shadow", "v1alpha1") {
        return catalogue::find(group, version, plural);
    }
    catalogue::catalogue().iter().find(|resource| resource.plural == plural && resource.role == Role::Template)
}

fn decoded(part: &str) -> Option<String> {
    let text = percent_encoding::percent_decode_str(part).decode_utf8().ok()?;
    (!text.contains('/') && text != "." && text != "..").then(|| text.into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    type Named = (String, Option<String>, Option<String>, Option<String>);

    fn named(path: &str) -> Option<Named> {
        let target = Target::parse(path)?;
        Some((super::super::failure::qualified(target.resource), target.namespace, target.name, target.subresource))
    }

    fn owned(text: &str) -> Option<String> {
        (!text.is_empty()).then(|| text.to_owned())
    }

    #[test]
    fn paths_name_collections_objects_and_subresources() {
        let cases = [
            ("/api/v1/namespaces", "namespaces", "", "", ""),
            ("/api/v1/namespaces/x", "namespaces", "", "x", ""),
            ("/api/v1/namespaces/x/status", "namespaces", "", "x", "status"),
            ("/api/v1/namespaces/x/configmaps", "configmaps", "x", "", ""),
            ("/apis/apps/v1/deployments", "deployments.apps", "", "", ""),
            ("/apis/apps/v1/namespaces/x/deployments/web/scale", "deployments.apps", "x", "web", "scale"),
            ("/apis/shadow/v1alpha1/namespaces/x/deployments/web", "deployments.apps", "x", "web", ""),
        ];
        for (path, resource, namespace, name, subresource) in cases {
            assert_eq!(named(path), Some((resource.into(), owned(namespace), owned(name), owned(subresource))), "{path}");
        }
    }

    #[test]
    fn paths_that_make_no_sense_name_nothing() {
        for path in [
            "/",
            "/api/v1/nothing",
            "/apis/apps/v1/deployments/web",
            "/apis/apps/v1/namespaces/x/deployments/web/scale/more",
            "/apis/clusters.clusternet.io/v1beta1/namespaces/x/clusterregistrationrequests/y",
            "/api/v1/namespaces/x/configmaps/a%2fb",
        ] {
            assert_eq!(named(path), None, "{path}");
        }
    }
}
