//! Everything on the member that carries our label: how a lost inventory is rebuilt and a cold start compared.
//!
//! Metadata only, a page at a time, handed on at once and dropped. A list that expires half-way is begun again, so the
//! visitor may see an object twice.

use super::api::{Accept, Api, Failure};
use super::discovery::{Discovery, Resource};
use super::list::Pager;
use super::object::{AGENT, CREATED_BY, Meta, ObjectId, Origin, Partial};

/// Attempts at a list that keeps expiring.
const ATTEMPTS: usize = 3;

/// One object that carries our label.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// Its identity.
    pub id: ObjectId,
    /// The version it was listed at.
    pub version: String,
    /// UID.
    pub uid: String,
    /// Version of the stored object.
    pub resource_version: String,
    /// Generation of the spec, 0 for kinds without one.
    pub generation: i64,
    /// The origin, `None` when the annotation was lost: then it is not ours to delete.
    pub origin: Option<Origin>,
    /// Whether it is being deleted.
    pub deleting: bool,
}

/// A kind that could not be listed, so that nothing is known of its objects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unread {
    /// API group.
    pub group: String,
    /// Kind.
    pub kind: String,
    /// What the server said.
    pub why: String,
}

/// Visits every labelled object of every listable kind; returns the kinds that could not be read.
///
/// # Errors
/// The kinds themselves can't be enumerated.
pub async fn survey(api: &Api, discovery: &Discovery, visit: &mut (dyn FnMut(Found) + Send)) -> Result<Vec<Unread>, Failure> {
    let mut unread = Vec::new();
    for kind in discovery.listable().await?.iter().filter(|kind| kind.deletable) {
        if let Err(failure) = one_kind(api, kind, visit).await {
            let (group, plain) = (kind.group.clone(), kind.kind.clone());
            unread.push(Unread { group, kind: plain, why: failure.to_string() });
        }
    }
    Ok(unread)
}

async fn one_kind(api: &Api, kind: &Resource, visit: &mut (dyn FnMut(Found) + Send)) -> Result<(), Failure> {
    let mut attempt = 1;
    while let Err(failure) = pages(api, kind, visit).await {
        let expired = failure.code() == Some(410);
        if !expired || attempt == ATTEMPTS {
            return Err(failure);
        }
        attempt += 1;
    }
    Ok(())
}

async fn pages(api: &Api, kind: &Resource, visit: &mut (dyn FnMut(Found) + Send)) -> Result<(), Failure> {
    let selector = format!("{CREATED_BY}={AGENT}");
    let mut pager = Pager::new(&kind.collection(""), &selector, Accept::MetadataList);
    while let Some(page) = pager.page::<Partial>(api).await? {
        page.into_iter().for_each(|item| visit(found(kind, item.metadata)));
    }
    Ok(())
}

fn found(kind: &Resource, meta: Meta) -> Found {
    Found {
        id: meta.id(&kind.group, &kind.kind),
        version: kind.version.clone(),
        origin: meta.origin(),
        deleting: meta.deletion_timestamp.is_some(),
        uid: meta.uid,
        resource_version: meta.resource_version,
        generation: meta.generation,
    }
}
