//! The kinds that the hub serves: one closed list, which discovery, OpenAPI, Table, protobuf and strategic merge all work from.
//!
//! One version a kind. Clusternet's own kinds are spelled here; the native ones come from `hub/data/kinds.json`, which
//! `hub/data/generate` makes from the discovery documents of a Kubernetes release.

use std::sync::LazyLock;

use serde::Deserialize;

/// What the hub does with the objects of a kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub enum Role {
    /// A typed kind of Clusternet: validated, stored, reconciled.
    Own,
    /// A native kind that is stored verbatim for members and has no effect on the hub.
    Template,
    /// A native kind that the hub really serves.
    Live,
    /// A question that is answered and never stored; only `create` exists.
    Virtual,
}

/// One served kind, as discovery describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resource {
    pub group: &'static str,
    pub version: &'static str,
    pub kind: &'static str,
    pub plural: &'static str,
    pub singular: &'static str,
    pub short_names: &'static [&'static str],
    pub categories: &'static [&'static str],
    pub namespaced: bool,
    pub role: Role,
    /// Has a `status` sub-resource.
    pub status: bool,
    /// Has a `scale` sub-resource.
    pub scale: bool,
}

impl Resource {
    /// `v1` or `apps/v1`, as an object's `apiVersion` spells it.
    pub fn api_version(&self) -> String {
        group_version(self.group, self.version)
    }

    /// The verbs that discovery announces.
    pub fn verbs(&self) -> &'static [&'static str] {
        match self.role {
            Role::Virtual => &["create"],
            _ => &["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"],
        }
    }
}

/// Every kind, core group first, then by group and plural; Clusternet's own groups last.
pub fn catalogue() -> &'static [Resource] {
    &CATALOGUE
}

/// The kind served at `/apis/{group}/{version}/{plural}` (the core group is `""`).
pub fn find(group: &str, version: &str, plural: &str) -> Option<&'static Resource> {
    catalogue().iter().find(|r| r.group == group && r.version == version && r.plural == plural)
}

/// The kind of this name in a group, whatever the version.
pub fn find_kind(group: &str, kind: &str) -> Option<&'static Resource> {
    catalogue().iter().find(|r| r.group == group && r.kind == kind)
}

/// The (group, version) pairs in catalogue order, each once.
pub fn group_versions() -> Vec<(&'static str, &'static str)> {
    let mut all: Vec<_> = catalogue().iter().map(|r| (r.group, r.version)).collect();
    all.dedup();
    all
}

pub(super) fn group_version(group: &str, version: &str) -> String {
    if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") }
}

static CATALOGUE: LazyLock<Vec<Resource>> = LazyLock::new(|| {
    let file: File = serde_json::from_str(include_str!("../../data/kinds.json")).expect("kinds.json is generated and tested");
    let mut all: Vec<Resource> = file.kinds.into_iter().map(Row::into_resource).collect();
    all.extend(own());
    all
});

fn own() -> [Resource; 8] {
    let access = ("access.clusternet.io", "v1alpha1");
    let apps = ("apps.clusternet.io", "v1alpha1");
    let clusters = ("clusters.clusternet.io", "v1beta1");
    [
        own_kind(access, "JoinToken", "jointokens", "jointoken", &["jt"]),
        own_kind(access, "User", "users", "user", &[]),
        own_kind(apps, "Globalization", "globalizations", "globalization", &["glob", "global", "globs"]),
        own_kind(apps, "Localization", "localizations", "localization", &["loc", "local", "locs"]),
        own_kind(apps, "Manifest", "manifests", "manifest", &[]),
        own_kind(apps, "Subscription", "subscriptions", "subscription", &["sub", "subs"]),
        own_kind(clusters, "ClusterRegistrationRequest", "clusterregistrationrequests", "clusterregistrationrequest", &["clsrr"]),
        own_kind(clusters, "ManagedCluster", "managedclusters", "managedcluster", &["mcls"]),
    ]
}

fn own_kind(
    (group, version): (&'static str, &'static str),
    kind: &'static str,
    plural: &'static str,
    singular: &'static str,
    short_names: &'static [&'static str],
) -> Resource {
    Resource {
        group,
        version,
        kind,
        plural,
        singular,
        short_names,
        categories: &["clusternet"],
        namespaced: !matches!(kind, "ClusterRegistrationRequest" | "Globalization" | "JoinToken" | "User"),
        role: Role::Own,
        status: !matches!(kind, "Localization" | "Globalization" | "User"),
        scale: false,
    }
}

#[derive(Deserialize)]
#[serde(bound(deserialize = "'de: 'static"))]
struct File {
    kinds: Vec<Row>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Row {
    group: &'static str,
    version: &'static str,
    kind: &'static str,
    plural: &'static str,
    singular: &'static str,
    short_names: Vec<&'static str>,
    categories: Vec<&'static str>,
    namespaced: bool,
    role: Role,
    status: bool,
    scale: bool,
}

impl Row {
    fn into_resource(self) -> Resource {
        Resource {
            group: self.group,
            version: self.version,
            kind: self.kind,
            plural: self.plural,
            singular: self.singular,
            short_names: self.short_names.leak(),
            categories: self.categories.leak(),
            namespaced: self.namespaced,
            role: self.role,
            status: self.status,
            scale: self.scale,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn native_and_own_kinds_are_found_by_path_and_by_kind() {
        let deployment = find("apps", "v1", "deployments").unwrap();
        assert_eq!(
            (deployment.kind, deployment.role, deployment.scale, deployment.short_names),
            ("Deployment", Role::Template, true, &["deploy"][..])
        );
        assert_eq!(deployment.api_version(), "apps/v1");
        assert_eq!(find_kind("", "Namespace").map(|r| (r.plural, r.namespaced)), Some(("namespaces", false)));
        assert_eq!(find_kind("apps.clusternet.io", "Subscription").map(|r| r.role), Some(Role::Own));
        assert!(find("apps", "v1beta1", "deployments").is_none());
        assert!(find_kind("", "Node").is_none(), "a member's nodes are nobody's template");
    }

    #[test]
    fn the_live_and_virtual_kinds_are_the_closed_lists() {
        let named = |role| catalogue().iter().filter(|r| r.role == role).map(|r| format!("{}/{}", r.group, r.plural)).collect::<Vec<_>>();
        assert_eq!(named(Role::Live), ["/events", "coordination.k8s.io/leases", "events.k8s.io/events"]);
        assert_eq!(
            named(Role::Virtual),
            [
                "authentication.k8s.io/selfsubjectreviews",
                "authorization.k8s.io/selfsubjectaccessreviews",
                "authorization.k8s.io/selfsubjectrulesreviews"
            ]
        );
        assert!(named(Role::Template).len() > 40, "{:?}", named(Role::Template));
    }

    #[test]
    fn each_kind_is_there_once_and_each_group_has_one_version() {
        let kinds: BTreeSet<_> = catalogue().iter().map(|r| (r.group, r.kind)).collect();
        assert_eq!(kinds.len(), catalogue().len());
        let groups: BTreeSet<_> = catalogue().iter().map(|r| r.group).collect();
        assert_eq!(groups.len(), group_versions().len());
    }
}
