//! What the member's API server serves: from (group, version, kind) to a path.
//!
//! Answers are kept per group version and asked for again on a miss, but not more often than [`REFRESH`].
//! A kind that is not served is an error that passes: its CRD may be on the way.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use tokio::sync::Mutex;

use super::api::{Accept, Api, Failure, escape};
use super::served::{Group, GroupList, ResourceList, root};

pub use super::served::Resource;

/// Shortest time between two questions about the same group version.
pub const REFRESH: Duration = Duration::from_secs(2);

/// Why a kind has no path.
#[derive(Debug, thiserror::Error)]
pub enum Missing {
    /// The server answered and the kind is not there.
    #[error("kind {kind} of {api_version} is not served by this cluster; it is tried again, install its CRD or API server")]
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
        Self { api, known: Mutex::default() }
    }

    /// Finds a kind at exactly this version.
    ///
    /// # Errors
    /// [`Missing::NotServed`] names the kind; it passes when its CRD arrives.
    pub async fn resource(&self, group: &str, version: &str, kind: &str) -> Result<Resource, Missing> {
        let mut known = self.known.lock().await;
        let key = (group.to_owned(), version.to_owned());
        let cached = known.get(&key);
        if let Some(found) = cached.and_then(|served| served.find(kind)) {
            return Ok(found);
        }
        if cached.is_none_or(|served| served.at.elapsed() >= REFRESH) {
            let resources = self.fetch(group, version).await?;
            known.insert(key.clone(), Served { at: Instant::now(), resources });
        }
        known.get(&key).and_then(|served| served.find(kind)).ok_or_else(|| Missing::NotServed {
            kind: kind.to_owned(),
            api_version: format!("{group}/{version}").trim_start_matches('/').to_owned(),
        })
    }

    /// Finds a kind at this version or, when the cluster no longer serves that, at any other of its group.
    ///
    /// # Errors
    /// As [`Discovery::resource`].
    pub async fn any_version(&self, group: &str, version: &str, kind: &str) -> Result<Resource, Missing> {
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
                found.extend(resources.into_iter().filter(|r| seen.insert((r.group.clone(), r.kind.clone()))));
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
        Ok(found.map(|group| group.preferred_first()).unwrap_or_default())
    }

    async fn fetch(&self, group: &str, version: &str) -> Result<Vec<Resource>, Failure> {
        let list: Option<ResourceList> = self.api.find_document(&root(group, version)).await?;
        let entries = list.map(|list| list.resources).unwrap_or_default();
        Ok(entries.into_iter().filter_map(|entry| entry.resource(group, version)).collect())
    }
}

impl Served {
    fn find(&self, kind: &str) -> Option<Resource> {
        self.resources.iter().find(|resource| resource.kind == kind).cloned()
    }
}
