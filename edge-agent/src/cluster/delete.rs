//! Taking one object off the member, if it is ours to take.
//!
//! Ours means: the live object has the UID we applied and carries our mark. What we adopted is released, not deleted. A
//! Namespace or CRD stays while anything in it is somebody else's. The delete itself carries the UID, so an object
//! made again between the look and the delete is not touched.

use std::fmt;
use std::time::Duration;

use http::Method;
use serde::de::IgnoredAny;
use serde_json::json;

use super::api::{Accept, Api};
use super::apply::object_path;
use super::contents::{Check, Contents};
use super::discovery::{Discovery, Missing};
use super::object::{Meta, ObjectId, Origin, Partial};
use super::outcome::{Refusal, Stop};
use super::owner;
use bus_schema::order::{is_container, is_crd};

pub use super::contents::Known;

/// First pause between two looks at an object that is going; it doubles to [`MAX_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const MAX_PAUSE: Duration = Duration::from_secs(2);

/// What is to go.
#[derive(Debug, Clone)]
pub struct Target<'a> {
    /// Its identity.
    pub id: &'a ObjectId,
    /// The version it was applied at; another of its group is used when this one is no longer served.
    pub version: &'a str,
    /// The UID that the last apply returned.
    pub uid: &'a str,
}

/// How a delete ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Deleted {
    /// It does not exist any more.
    Gone,
    /// The server has accepted the delete and finalizers or contents are still going.
    Deleting,
    /// It stays.
    Kept {
        /// Why.
        why: Why,
        /// The first objects that keep it, at most ten.
        first: Vec<ObjectId>,
    },
    /// It was there before us: our mark and ownership are removed and its content stays.
    Released,
    /// The server refused.
    Refused(Refusal),
    /// The server can't be asked now.
    Unavailable(String),
}

/// Why an object stays.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Why {
    /// An object of this name with another UID is there: ours is gone and this one is somebody's.
    MadeAgain,
    /// The live object does not carry our mark.
    NotOurs,
    /// A Namespace or CRD with somebody else's objects in it.
    NotEmpty,
    /// A Namespace or CRD whose contents can't be seen whole.
    Unlistable(String),
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::MadeAgain => f.write_str("it was deleted and made again by somebody else"),
            Self::NotOurs => f.write_str("it does not carry our label and annotation (any more)"),
            Self::NotEmpty => f.write_str("objects in it are somebody else's; move or delete them first"),
            Self::Unlistable(why) => write!(f, "its contents can't be seen whole: {why}"),
        }
    }
}

/// Deletes or releases one object; repeat it until it is [`Deleted::Gone`], [`Deleted::Released`] or kept.
pub async fn delete(api: &Api, discovery: &Discovery, target: &Target<'_>, known: Known<'_>) -> Deleted {
    let mut ended = attempt(api, discovery, target, known).await;
    if matches!(&ended, Err(Stop::Refused(refusal)) if refusal.code == 404) {
        // The version that discovery remembers is not served any more; the object may live on at another.
        discovery.forget(&target.id.group).await;
        ended = attempt(api, discovery, target, known).await;
    }
    match ended {
        Ok(deleted) => deleted,
        Err(Stop::Refused(refusal)) => Deleted::Refused(refusal),
        Err(Stop::Unavailable(why)) => Deleted::Unavailable(why),
    }
}

/// Waits until the object with this UID is gone, at most `patience`; the last answer says how far it is.
pub async fn wait_gone(api: &Api, discovery: &Discovery, target: &Target<'_>, patience: Duration) -> Deleted {
    let end = tokio::time::Instant::now() + patience;
    let mut pause = FIRST_PAUSE;
    loop {
        match look(api, discovery, target).await {
            Ok(None) => return Deleted::Gone,
            Ok(Some(_)) if tokio::time::Instant::now() + pause > end => return Deleted::Deleting,
            Ok(Some(_)) => tokio::time::sleep(pause).await,
            Err(Stop::Refused(refusal)) => return Deleted::Refused(refusal),
            Err(Stop::Unavailable(why)) => return Deleted::Unavailable(why),
        }
        pause = (pause * 2).min(MAX_PAUSE);
    }
}

async fn attempt(api: &Api, discovery: &Discovery, target: &Target<'_>, known: Known<'_>) -> Result<Deleted, Stop> {
    let Some(path) = path(api, discovery, target).await? else {
        return Ok(Deleted::Gone);
    };
    let Some(live) = api.find::<Partial>(&path, Accept::Metadata).await? else {
        return Ok(Deleted::Gone);
    };
    let meta = live.metadata;
    if let Some(why) = refuse(&meta, target.uid) {
        return Ok(kept(why));
    }
    if meta.origin() == Some(Origin::Adopted) {
        owner::release(api, &path, &meta.uid).await?;
        return Ok(Deleted::Released);
    }
    if meta.deletion_timestamp.is_some() {
        return Ok(Deleted::Deleting);
    }
    match contents(api, discovery, target.id, known).await {
        Contents::OnlyOurs => remove(api, discovery, target, &path).await,
        Contents::Foreign(first) => Ok(Deleted::Kept { why: Why::NotEmpty, first }),
        Contents::Unlistable(why) => Ok(kept(Why::Unlistable(why))),
    }
}

fn refuse(meta: &Meta, uid: &str) -> Option<Why> {
    match (meta.uid == uid, meta.origin()) {
        (false, _) => Some(Why::MadeAgain),
        (true, None) => Some(Why::NotOurs),
        (true, Some(_)) => None,
    }
}

fn kept(why: Why) -> Deleted {
    Deleted::Kept { why, first: Vec::new() }
}

async fn contents(api: &Api, discovery: &Discovery, id: &ObjectId, known: Known<'_>) -> Contents {
    let check = Check::new(api, discovery, known);
    match (is_container(id), is_crd(id)) {
        (false, _) => Contents::OnlyOurs,
        (true, true) => check.definition(&id.name).await,
        (true, false) => check.namespace(&id.name).await,
    }
}

async fn remove(api: &Api, discovery: &Discovery, target: &Target<'_>, path: &str) -> Result<Deleted, Stop> {
    let options = json!({
        "apiVersion": "v1",
        "kind": "DeleteOptions",
        "propagationPolicy": "Background",
        "preconditions": {"uid": target.uid},
    });
    let content = ("application/json", options.to_string().into_bytes());
    match api.write::<IgnoredAny>(Method::DELETE, path, content).await {
        Ok(_) => {}
        Err(failure) if failure.code() == Some(404) => return Ok(Deleted::Gone),
        Err(failure) if failure.code() == Some(409) => return Ok(kept(Why::MadeAgain)),
        Err(failure) => return Err(failure.into()),
    }
    if is_crd(target.id) {
        let group = target.id.name.split_once('.').map_or("", |(_, group)| group);
        discovery.forget(group).await;
    }
    Ok(look(api, discovery, target).await?.map_or(Deleted::Gone, |_| Deleted::Deleting))
}

/// The object with exactly this UID, if it is still there.
async fn look(api: &Api, discovery: &Discovery, target: &Target<'_>) -> Result<Option<Meta>, Stop> {
    let Some(path) = path(api, discovery, target).await? else {
        return Ok(None);
    };
    let live: Option<Partial> = api.find(&path, Accept::Metadata).await?;
    Ok(live.map(|live| live.metadata).filter(|meta| meta.uid == target.uid))
}

/// The object's path, `None` when its kind is no longer served, which counts only from a server that is ready.
async fn path(api: &Api, discovery: &Discovery, target: &Target<'_>) -> Result<Option<String>, Stop> {
    match discovery.any_version(&target.id.group, target.version, &target.id.kind).await {
        Ok(resource) => Ok(Some(object_path(&resource, target.id)?)),
        Err(Missing::NotServed { .. }) if api.healthy("/readyz").await => Ok(None),
        Err(missing @ Missing::NotServed { .. }) => Err(Stop::Unavailable(format!("{missing} (the server is not ready yet)"))),
        Err(Missing::Failed(failure)) => Err(failure.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MARK: &str = r#""labels":{"clusternet.io/created-by":"clusternet-agent"},
        "annotations":{"clusternet.io/origin":"created"}"#;

    fn meta(fields: &str) -> Meta {
        serde_json::from_str(&format!(r#"{{"uid":"u1",{fields}}}"#)).expect("test metadata")
    }

    #[test]
    fn only_our_uid_with_our_mark_may_go() {
        assert_eq!(refuse(&meta(MARK), "u1"), None);
        assert_eq!(refuse(&meta(MARK), "u2"), Some(Why::MadeAgain));
        assert_eq!(refuse(&meta(r#""labels":{}"#), "u1"), Some(Why::NotOurs));
    }
}
