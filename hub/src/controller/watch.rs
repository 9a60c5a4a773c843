//! Lists one kind, watches it from there, and says what it saw, each with the resourceVersion it was seen at.
//!
//! kube's own watcher hides the resourceVersion of lists, which the planner's stamp needs. Invariants: a `Listed` is complete; a
//! watch that ends is resumed where it stopped; only 410 lists anew; any other error is tried again with back-off and says nothing.

use std::fmt::Debug;
use std::time::{Duration, Instant};

use futures::{StreamExt, TryStream, TryStreamExt};
use kube::api::{Api, ListParams, WatchParams};
use kube::core::{DeserializeGuard, Resource, WatchEvent};
use kube::{Error, ResourceExt};
use serde::de::DeserializeOwned;
use tokio::sync::mpsc;
use tracing::{debug, warn};

use super::backoff::Backoff;
use crate::core::id::ClusterKey;

const PAGE: u32 = 500;
/// A watch that lasted this long did not fail.
const HEALTHY: Duration = Duration::from_secs(5);
/// The buffers of a watch hold what it carried last, which may be a Secret: one that is quiet for so long is begun anew where it stopped.
const QUIET: Duration = Duration::from_secs(10);

/// What a watch saw.
pub enum Seen<K> {
    /// Everything there is; what is not in it is gone.
    Listed {
        objects: Vec<Object<K>>,
        rv: u64,
    },
    Applied {
        object: Object<K>,
        rv: u64,
    },
    Deleted {
        object: Object<K>,
        rv: u64,
    },
    /// Nothing changed up to here.
    Reached {
        rv: u64,
    },
}

/// An object, or the name of one that is not as its kind should be.
pub enum Object<K> {
    Read(Box<K>),
    Unreadable { namespace: String, name: String },
}

impl<K> Seen<K> {
    /// The resourceVersion it was seen at.
    pub fn rv(&self) -> u64 {
        match self {
            Self::Listed { rv, .. } | Self::Applied { rv, .. } | Self::Deleted { rv, .. } | Self::Reached { rv } => *rv,
        }
    }
}

impl<K: Resource> Object<K> {
    /// Namespace and name, whatever the kind.
    pub fn name(&self) -> ClusterKey {
        match self {
            Self::Read(object) => {
                let meta = object.meta();
                ClusterKey::new(meta.namespace.clone().unwrap_or_default(), meta.name.clone().unwrap_or_default())
            }
            Self::Unreadable { namespace, name } => ClusterKey::new(namespace, name),
        }
    }
}

/// How a watch went on.
enum Next<K> {
    Event(WatchEvent<K>),
    Ended(Error),
    Quiet,
}

/// Why watching stopped.
enum Stop {
    /// The receiver is gone: nobody listens any more.
    Unheard,
    /// List anew.
    Expired,
}

type Guarded<K> = DeserializeGuard<K>;

/// Watches until nobody listens; `wrap` makes the listener's message of what was seen.
pub async fn watch<K, M>(api: Api<Guarded<K>>, listener: mpsc::Sender<M>, wrap: impl Fn(Seen<K>) -> M)
where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + 'static,
{
    let mut backoff = Backoff::default();
    loop {
        match list(&api).await {
            Ok((objects, version)) => {
                backoff.reset();
                let rv = version.parse().unwrap_or_default();
                if listener.send(wrap(Seen::Listed { objects, rv })).await.is_err() {
                    return;
                }
                if let Stop::Unheard = follow(&api, version, &listener, &wrap).await {
                    return;
                }
            }
            Err(error) => {
                warn!(kind = %K::kind(&()), error = %error, "can't list; will try again");
                tokio::time::sleep(backoff.next()).await;
            }
        }
    }
}

async fn list<K>(api: &Api<Guarded<K>>) -> Result<(Vec<Object<K>>, String), Error>
where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned,
{
    let mut objects = Vec::new();
    let mut params = ListParams::default().limit(PAGE);
    loop {
        let page = api.list(&params).await?;
        objects.extend(page.items.into_iter().map(read));
        let version = page.metadata.resource_version.unwrap_or_default();
        match page.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => params = params.continue_token(&token),
            None => return Ok((objects, version)),
        }
    }
}

async fn follow<K, M>(api: &Api<Guarded<K>>, mut version: String, listener: &mpsc::Sender<M>, wrap: &impl Fn(Seen<K>) -> M) -> Stop
where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned,
{
    let mut backoff = Backoff::default();
    'watch: loop {
        let started = Instant::now();
        let error = match api.watch(&WatchParams::default(), &version).await {
            Err(error) => error,
            Ok(stream) => {
                let (mut stream, mut carried) = (stream.boxed(), false);
                loop {
                    match next(&mut stream, carried).await {
                        Next::Ended(error) => break error,
                        Next::Quiet => continue 'watch,
                        Next::Event(event) => {
                            backoff.reset();
                            carried = true;
                            let seen = seen(event, &mut version);
                            if listener.send(wrap(seen)).await.is_err() {
                                return Stop::Unheard;
                            }
                        }
                    }
                }
            }
        };
        if matches!(&error, Error::Api(status) if status.code == 410) {
            return Stop::Expired;
        }
        debug!(kind = %K::kind(&()), error = %error, "watch broke; resuming where it stopped");
        if listener.is_closed() {
            return Stop::Unheard;
        }
        // Servers end each watch after some minutes; in a quiet place that must not add up to a failure.
        if started.elapsed() >= HEALTHY {
            backoff.reset();
        }
        tokio::time::sleep(backoff.next()).await;
    }
}

async fn next<K, S>(stream: &mut S, carried: bool) -> Next<K>
where
    S: TryStream<Ok = WatchEvent<K>, Error = Error> + Unpin,
{
    let next = stream.try_next();
    let came = match carried {
        true => tokio::time::timeout(QUIET, next).await,
        false => Ok(next.await),
    };
    match came {
        Err(_) => Next::Quiet,
        Ok(Ok(None)) => Next::Ended(Error::Service("the watch ended".into())),
        Ok(Err(error)) => Next::Ended(error),
        Ok(Ok(Some(WatchEvent::Error(status)))) => Next::Ended(Error::Api(status)),
        Ok(Ok(Some(event))) => Next::Event(event),
    }
}

fn seen<K: Resource<DynamicType = ()>>(event: WatchEvent<Guarded<K>>, version: &mut String) -> Seen<K> {
    let mut at = |new: Option<String>| {
        if let Some(new) = new.filter(|new| !new.is_empty()) {
            *version = new;
        }
        version.parse().unwrap_or_default()
    };
    match event {
        WatchEvent::Added(object) | WatchEvent::Modified(object) => {
            let rv = at(object.resource_version());
            Seen::Applied { object: read(object), rv }
        }
        WatchEvent::Deleted(object) => {
            let rv = at(object.resource_version());
            Seen::Deleted { object: read(object), rv }
        }
        WatchEvent::Bookmark(bookmark) => Seen::Reached { rv: at(Some(bookmark.metadata.resource_version)) },
        // An error ends the stream before it gets here.
        WatchEvent::Error(_) => Seen::Reached { rv: at(None) },
    }
}

/// What is wrong, without the value that is quoted: it may be a Secret's.
fn unquoted(error: &str) -> String {
    error.split_once('"').map_or(error, |(before, _)| before).trim_end().to_owned()
}

fn read<K: Resource<DynamicType = ()>>(guarded: Guarded<K>) -> Object<K> {
    let (namespace, name) = (guarded.namespace().unwrap_or_default(), guarded.name_any());
    match guarded.0 {
        Ok(object) => Object::Read(Box::new(object)),
        Err(invalid) => {
            let error = unquoted(&invalid.error.to_string());
            warn!(kind = %K::kind(&()), %namespace, %name, error, "an object is not as its kind should be: correct or delete it");
            Object::Unreadable { namespace, name }
        }
    }
}

#[cfg(test)]
#[path = "watch_tests.rs"]
mod tests;
