//! What is in a Namespace, or of a CustomResourceDefinition's kind, and whether any of it is somebody else's.
//!
//! Asked by metadata right before a delete, page by page, and ended at the first few finds. Doubt keeps: a kind that
//! can't be listed, an owner that can't be read.

use std::collections::BTreeMap;
use std::pin::Pin;

use super::api::{Accept, Api, Failure};
use super::crd;
use super::discovery::{Discovery, Missing, Resource};
use super::list::Pager;
use super::object::{Meta, ObjectId, Origin, Owner, Partial, split_api_version};

/// Names shown of what keeps a container.
pub(super) const SHOWN: usize = 10;
/// Longest owner chain that is followed.
const MAX_CHAIN: usize = 8;
/// Owners remembered within one check.
const MAX_OWNERS: usize = 1_000;

/// Tells which identities are ours and may go with their container; an object that is still desired, by another
/// Subscription say, must answer `false`, so that it keeps its namespace.
pub type Known<'a> = &'a (dyn Fn(&ObjectId) -> bool + Sync);

/// What a container holds.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Contents {
    /// Nothing, or only what goes with it.
    OnlyOurs,
    /// Somebody else's objects, the first [`SHOWN`].
    Foreign(Vec<ObjectId>),
    /// Nobody can tell.
    Unlistable(String),
}

/// One check of one container.
pub(super) struct Check<'a> {
    api: &'a Api,
    discovery: &'a Discovery,
    known: Known<'a>,
    owners: BTreeMap<String, bool>,
    foreign: Vec<ObjectId>,
}

impl<'a> Check<'a> {
    pub(super) fn new(api: &'a Api, discovery: &'a Discovery, known: Known<'a>) -> Self {
        Self { api, discovery, known, owners: BTreeMap::new(), foreign: Vec::new() }
    }

    /// Looks through every listable kind of a namespace.
    pub(super) async fn namespace(mut self, name: &str) -> Contents {
        let kinds = match self.discovery.listable().await {
            Ok(kinds) => kinds,
            Err(failure) => {
                return Contents::Unlistable(format!("not every API group answers: {failure}"));
            }
        };
        for kind in kinds.iter().filter(|kind| kind.namespaced && kind.deletable && !is_record(kind)) {
            if let Some(end) = self.collection(kind, name).await {
                return end;
            }
        }
        self.verdict()
    }

    /// Looks through the objects of a definition, in every namespace.
    pub(super) async fn definition(mut self, name: &str) -> Contents {
        let resource = match crd::served(self.api, name).await {
            Ok(Some(resource)) => resource,
            Ok(None) => return Contents::OnlyOurs,
            Err(failure) => return Contents::Unlistable(format!("definition {name}: {failure}")),
        };
        self.collection(&resource, "").await.unwrap_or_else(|| self.verdict())
    }

    fn verdict(self) -> Contents {
        match self.foreign.is_empty() {
            true => Contents::OnlyOurs,
            false => Contents::Foreign(self.foreign),
        }
    }

    /// Looks through one collection; `Some` ends the whole check.
    async fn collection(&mut self, kind: &Resource, namespace: &str) -> Option<Contents> {
        match self.pages(kind, namespace).await {
            Ok(()) if self.foreign.len() < SHOWN => None,
            Ok(()) => Some(Contents::Foreign(std::mem::take(&mut self.foreign))),
            Err(failure) if failure.code() == Some(404) && self.has_vanished(kind).await => None,
            Err(failure) if self.foreign.is_empty() => Some(Contents::Unlistable(format!("{} can't be listed: {failure}", kind.plural))),
            Err(_) => Some(Contents::Foreign(std::mem::take(&mut self.foreign))),
        }
    }

    /// Whether the kind is not served any more, as when its definition went while we looked.
    async fn has_vanished(&self, kind: &Resource) -> bool {
        self.discovery.forget(&kind.group).await;
        let asked = self.discovery.resource(&kind.group, &kind.version, &kind.kind).await;
        matches!(asked, Err(Missing::NotServed { .. }))
    }

    async fn pages(&mut self, kind: &Resource, namespace: &str) -> Result<(), Failure> {
        let mut pager = Pager::new(&kind.collection(namespace), "", Accept::MetadataList);
        while let Some(page) = pager.page::<Partial>(self.api).await? {
            for Partial { metadata } in page {
                let id = metadata.id(&kind.group, &kind.kind);
                if self.is_foreign(&id, &metadata).await? {
                    self.foreign.push(id);
                }
                if self.foreign.len() == SHOWN {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    async fn is_foreign(&mut self, id: &ObjectId, meta: &Meta) -> Result<bool, Failure> {
        let going = meta.deletion_timestamp.is_some();
        if going || self.is_ours(id, meta) || comes_by_itself(id, meta, self.known) {
            return Ok(false);
        }
        // A claim outlives what claimed it, and holds data: an owner doesn't make it ours.
        let is_claim = id.group.is_empty() && id.kind == "PersistentVolumeClaim";
        Ok(is_claim || !self.is_owned(meta, 0).await?)
    }

    /// An adopted object in it was there before us, so it keeps the container.
    fn is_ours(&self, id: &ObjectId, meta: &Meta) -> bool {
        meta.origin() == Some(Origin::Created) && (self.known)(id)
    }

    /// Whether every owner chain ends in ours, or in nothing (the garbage collector is about to take it).
    fn is_owned<'b>(&'b mut self, meta: &'b Meta, depth: usize) -> Verdict<'b> {
        Box::pin(async move {
            if meta.owner_references.is_empty() || depth == MAX_CHAIN {
                return Ok(false);
            }
            for owner in &meta.owner_references {
                if !self.is_ours_or_gone(owner, &meta.namespace, depth).await? {
                    return Ok(false);
                }
            }
            Ok(true)
        })
    }

    async fn is_ours_or_gone(&mut self, owner: &Owner, namespace: &str, depth: usize) -> Result<bool, Failure> {
        if let Some(verdict) = self.owners.get(&owner.uid) {
            return Ok(*verdict);
        }
        let verdict = match self.live_owner(owner, namespace).await? {
            None => true,
            Some((id, meta)) => self.is_ours(&id, &meta) || self.is_owned(&meta, depth + 1).await?,
        };
        if self.owners.len() == MAX_OWNERS {
            self.owners.clear();
        }
        self.owners.insert(owner.uid.clone(), verdict);
        Ok(verdict)
    }

    async fn live_owner(&self, owner: &Owner, namespace: &str) -> Result<Option<(ObjectId, Meta)>, Failure> {
        let (group, version) = split_api_version(&owner.api_version);
        let resource = match self.discovery.any_version(group, version, &owner.kind).await {
            Ok(resource) => resource,
            Err(Missing::NotServed { .. }) => return Ok(None),
            Err(Missing::Failed(failure)) => return Err(failure),
        };
        let path = resource.object(namespace, &owner.name);
        let live: Option<Partial> = self.api.find(&path, Accept::Metadata).await?;
        let same = live.map(|live| live.metadata).filter(|meta| meta.uid == owner.uid);
        Ok(same.map(|meta| (meta.id(group, &owner.kind), meta)))
    }
}

type Verdict<'a> = Pin<Box<dyn Future<Output = Result<bool, Failure>> + Send + 'a>>;

/// Kinds that only record what happened; nobody keeps a namespace for them.
fn is_record(kind: &Resource) -> bool {
    match kind.group.as_str() {
        "" | "events.k8s.io" => kind.kind == "Event",
        "coordination.k8s.io" => kind.kind == "Lease",
        _ => false,
    }
}

/// What the cluster itself puts into a namespace or beside a Service of ours.
fn comes_by_itself(id: &ObjectId, meta: &Meta, known: Known) -> bool {
    let our_service = |name: &str| known(&ObjectId::new("", "Service", &id.namespace, name));
    match (id.group.as_str(), id.kind.as_str()) {
        ("", "ServiceAccount") => id.name == "default",
        ("", "ConfigMap") => id.name == "kube-root-ca.crt",
        ("", "Endpoints") => meta.labels.endpoints_managed_by.is_some() || our_service(&id.name),
        ("discovery.k8s.io", "EndpointSlice") => meta.labels.service_name.as_deref().is_some_and(our_service),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn by_itself(group: &str, kind: &str, name: &str, labels: &str) -> bool {
        let meta: Meta = serde_json::from_str(&format!(r#"{{"labels":{{{labels}}}}}"#)).expect("test metadata");
        let ours = |id: &ObjectId| id.kind == "Service" && id.name == "web";
        comes_by_itself(&ObjectId::new(group, kind, "shop", name), &meta, &ours)
    }

    #[test]
    fn what_every_namespace_has_is_nobodys() {
        assert!(by_itself("", "ServiceAccount", "default", ""));
        assert!(by_itself("", "ConfigMap", "kube-root-ca.crt", ""));
        assert!(!by_itself("", "ServiceAccount", "robot", ""));
        assert!(!by_itself("", "ConfigMap", "settings", ""));
    }

    #[test]
    fn endpoints_follow_their_service() {
        let of = |service: &str| format!(r#""kubernetes.io/service-name":"{service}""#);
        assert!(by_itself("discovery.k8s.io", "EndpointSlice", "web-x1", &of("web")));
        assert!(!by_itself("discovery.k8s.io", "EndpointSlice", "db-x1", &of("db")));
        assert!(!by_itself("discovery.k8s.io", "EndpointSlice", "hand-made", ""));
        assert!(by_itself("", "Endpoints", "web", ""));
        assert!(!by_itself("", "Endpoints", "db", ""));
    }
}
