//! What the member's API server serves: from (group, version, kind) to a path.
//!
//! Answers are kept per group version and asked for again on a miss, but not more often than [`REFRESH`].
//! A kind that is not served is an error that passes: its CRD may be on the way.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use serde::Deserialize;
use tokio::sync::Mutex;

use super::api::{Accept, Api, Failure, escape};
use super::object::null_as_empty;

/// Shortest time between two questions about the same group version.
pub const REFRESH: Duration = Duration::from_secs(2);

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

/// Why a kind has no path.
#[derive(Debug, thiserror::Error)]
pub enum Missing {
    /// The server answered and the kind is not there.
    #[error(
        "kind {kind} of {api_version} is not served by this cluster; it is tried again, install its CRD or API server"
    )]
    NotServed {
        /// The kind asked for.
        kind: String,
        /// The group version asked for.
        api_version: String,
    },
    /// The server could not be asked.
    #[error(transparent)]
    Failed(#[from] Failure),
}

/// A cache of what is served.
pub struct Discovery {
    api: Api,
    known: Mutex<BTreeMap<(String, String), Served>>,
}

struct Served {
    at: Instant,
    resources: Vec<Resource>,
}

impl Discovery {
    /// An empty cache; nothing is asked yet.
    pub fn new(api: Api) -> Self {
        Self {
            api,
            known: Mutex::default(),
        }
    }

    /// Finds a kind at exactly this version.
    ///
    /// # Errors
    /// [`Missing::NotServed`] names the kind; it passes when its CRD arrives.
    pub async fn resource(
        &self,
        group: &str,
        version: &str,
        kind: &str,
    ) -> Result<Resource, Missing> {
        let mut known = self.known.lock().await;
        let key = (group.to_owned(), version.to_owned());
        let cached = known.get(&key);
        if let Some(found) = cached.and_then(|served| served.find(kind)) {
            return Ok(found);
        }
        if !cached.is_some_and(|served| served.at.elapsed() < REFRESH) {
            let resources = self.fetch(group, version).await?;
            known.insert(
                key.clone(),
                Served {
                    at: Instant::now(),
                    resources,
                },
            );
        }
        known
            .get(&key)
            .and_then(|served| served.find(kind))
            .ok_or_else(|| Missing::NotServed {
                kind: kind.to_owned(),
                api_version: format!("{group}/{version}")
                    .trim_start_matches('/')
                    .to_owned(),
            })
    }

    /// Finds a kind at this version or, when the cluster no longer serves that, at any other of its group.
    ///
    /// # Errors
    /// As [`Discovery::resource`].
    pub async fn any_version(
        &self,
        group: &str,
        version: &str,
        kind: &str,
    ) -> Result<Resource, Missing> {
        let missing = match self.resource(group, version, kind).await {
            Err(missing @ Missing::NotServed { .. }) => missing,
            other => return other,
        };
        for other in self.versions(group).await? {
            match self.resource(group, &other, kind).await {
                Err(Missing::NotServed { .. }) => {}
                found => return found,
            }
        }
        Err(missing)
    }

    /// Forgets one group, after its definitions came or went or one of its paths turned out not to be served.
    pub async fn forget(&self, group: &str) {
        self.known.lock().await.retain(|(held, _), _| held != group);
    }

    /// Every listable kind, once, at the version that the server prefers; asked afresh.
    ///
    /// # Errors
    /// Any group that can't be asked: a partial answer would hide objects.
    pub async fn listable(&self) -> Result<Vec<Resource>, Failure> {
        let mut found = self.fetch("", "v1").await?;
        let groups: GroupList = self.api.get("/apis", Accept::Whole).await?;
        let mut seen = BTreeSet::new();
        for group in groups.groups {
            for version in group.preferred_first() {
                let resources = self.fetch(&group.name, &version).await?;
                found.extend(
                    resources
                        .into_iter()
                        .filter(|r| seen.insert((r.group.clone(), r.kind.clone()))),
                );
            }
        }
        found.retain(|resource| resource.listable);
        Ok(found)
    }

    async fn versions(&self, group: &str) -> Result<Vec<String>, Failure> {
        if group.is_empty() {
            return Ok(vec!["v1".into()]);
        }
        let path = format!("/apis/{}", escape(group));
        let found: Option<Group> = self.api.find_document(&path).await?;
        Ok(found
            .map(|group| group.preferred_first())
            .unwrap_or_default())
    }

    async fn fetch(&self, group: &str, version: &str) -> Result<Vec<Resource>, Failure> {
        let list: Option<ResourceList> = self.api.find_document(&root(group, version)).await?;
        let entries = list.map(|list| list.resources).unwrap_or_default();
        Ok(entries
            .into_iter()
            .filter_map(|entry| entry.resource(group, version))
            .collect())
    }
}

impl Served {
    fn find(&self, kind: &str) -> Option<Resource> {
        self.resources
            .iter()
            .find(|resource| resource.kind == kind)
            .cloned()
    }
}

fn root(group: &str, version: &str) -> String {
    match group {
        "" => format!("/api/{}", escape(version)),
        group => format!("/apis/{}/{}", escape(group), escape(version)),
    }
}

#[derive(Deserialize)]
struct GroupList {
    #[serde(default, deserialize_with = "null_as_empty")]
    groups: Vec<Group>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Group {
    name: String,
    versions: Vec<GroupVersion>,
    preferred_version: Option<GroupVersion>,
}

#[derive(Deserialize)]
struct GroupVersion {
    version: String,
}

impl Group {
    fn preferred_first(&self) -> Vec<String> {
        let preferred = self.preferred_version.iter();
        let mut versions: Vec<_> = preferred.map(|group| group.version.clone()).collect();
        let rest = self.versions.iter().map(|group| group.version.clone());
        versions.extend(rest.filter(|version| {
            Some(version) != self.preferred_version.as_ref().map(|p| &p.version)
        }));
        versions
    }
}

#[derive(Deserialize)]
struct ResourceList {
    #[serde(default, deserialize_with = "null_as_empty")]
    resources: Vec<Entry>,
}

#[derive(Deserialize)]
struct Entry {
    name: String,
    kind: String,
    #[serde(default)]
    namespaced: bool,
    #[serde(default, deserialize_with = "null_as_empty")]
    verbs: Vec<String>,
}

impl Entry {
    fn resource(self, group: &str, version: &str) -> Option<Resource> {
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
        serde_json::from_str::<Entry>(json)
            .expect("test entry")
            .resource("apps", "v1")
    }

    #[test]
    fn subresources_are_no_resources() {
        assert_eq!(
            entry(r#"{"name":"deployments/scale","kind":"Scale"}"#),
            None
        );
    }

    #[test]
    fn paths_follow_scope() {
        let web = entry(
            r#"{"name":"deployments","kind":"Deployment","namespaced":true,"verbs":["list"]}"#,
        );
        let web = web.expect("a resource");
        assert_eq!(
            web.object("shop", "web"),
            "/apis/apps/v1/namespaces/shop/deployments/web"
        );
        assert_eq!(web.collection(""), "/apis/apps/v1/deployments");
        assert!(web.listable && !web.deletable);
    }

    #[test]
    fn the_preferred_version_comes_first_and_once() {
        let group: Group = serde_json::from_str(
            r#"{"name":"g","versions":[{"version":"v1"},{"version":"v2"}],"preferredVersion":{"version":"v2"}}"#,
        )
        .expect("test group");
        assert_eq!(group.preferred_first(), ["v2", "v1"]);
    }
}
