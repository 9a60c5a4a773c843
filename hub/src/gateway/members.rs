//! Finds the cluster that a path names, and its streams while it is there.

use std::sync::Arc;
use std::time::Duration;

use bus_schema::id::Sid;
use k8s_openapi::jiff::Timestamp;
use streams::Endpoint;
use tokio::time::Instant;

use super::query::MAX_WAIT;
use super::route::Wanted;
use crate::api::failure::Failure;
use crate::controller::registration::Directory;
use crate::core::contact::Contacts;
use crate::core::id::ClusterKey;
use crate::kinds::ManagedCluster;
use crate::store::{Key, Store};
use crate::sync::Streams;

/// Between two looks whether an agent has come.
const LOOK: Duration = Duration::from_millis(50);

/// How long after the last sign of life a link is taken to be about to come back: as long as it takes to see that it is gone. kubectl
/// repeats ten times what is answered with `Retry-After`, and shows nothing meanwhile: that hides a lost connection, and would only delay
/// the sentence about a cluster that is off.
const MOMENT: Duration = Duration::from_secs(45);

/// When somebody may look again for a cluster that is away for longer.
const LATER: Duration = Duration::from_secs(30);

/// What is known of clusters.
#[derive(Clone)]
pub struct Members {
    pub directory: Directory,
    pub streams: Streams,
    pub contacts: Arc<Contacts>,
    pub store: Store,
}

/// A cluster that exists.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    pub key: ClusterKey,
    pub sid: Sid,
}

impl Members {
    /// The cluster that is meant.
    ///
    /// # Errors
    /// 404 if there is none, 409 if there are several, 503 while that is not known.
    pub fn find(&self, wanted: &Wanted) -> Result<Member, Failure> {
        let later = || unavailable("the hub has not read its clusters yet: try again", Some(Duration::from_secs(1)));
        let key = match wanted {
            Wanted::Id(id) => self.directory.find(id).ok_or_else(later)?,
            Wanted::Name { namespace: Some(namespace), name } => {
                let named = self.directory.named(name).ok_or_else(later)?;
                named.into_iter().find(|key| key.namespace == *namespace)
            }
            Wanted::Name { namespace: None, name } => only(self.directory.named(name).ok_or_else(later)?, name)?,
        };
        let sid = key.as_ref().and_then(|key| self.directory.sid(key)).and_then(|sid| Sid::parse(&sid).ok());
        match (key, sid) {
            (Some(key), Some(sid)) => Ok(Member { key, sid }),
            (Some(key), None) => Err(unavailable(&format!("cluster {key} is being registered: try again"), Some(Duration::from_secs(1)))),
            (None, _) => Err(unknown(wanted)),
        }
    }

    /// Its streams, once it is connected.
    ///
    /// # Errors
    /// 503 if it is not, nor within the time that is to be waited.
    pub async fn endpoint(&self, member: &Member, wait: Option<Duration>) -> Result<Endpoint, Failure> {
        let until = Instant::now() + wait.unwrap_or_default();
        loop {
            if let Some(endpoint) = self.streams.in_session(member.sid) {
                return Ok(endpoint);
            }
            if self.streams.is_off(member.sid) {
                let why = format!("the agent of cluster {} carries no requests: it runs with --proxy off", member.key);
                return Err(Failure::new(403, "Forbidden", why));
            }
            if Instant::now() >= until {
                return Err(self.away(&member.key, wait));
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    fn away(&self, key: &ClusterKey, waited: Option<Duration>) -> Failure {
        let last = self.contacts.last(key).or_else(|| self.stored_contact(key));
        let away = last.map(|last| Duration::from_secs(u64::try_from(Timestamp::now().as_second() - last.as_second()).unwrap_or(0)));
        let since = match (last, away) {
            (Some(last), Some(away)) => format!("it was last heard from {} ago, at {last}", spoken(away)),
            _ => "it has never been heard from".to_owned(),
        };
        let remedy = match waited {
            Some(waited) => format!("it did not come back within {}", spoken(waited)),
            None => format!("add ?wait=30s to wait for it (at most {} s)", MAX_WAIT.as_secs()),
        };
        let soon = away.filter(|away| *away < MOMENT).map(|_| Duration::from_secs(1));
        unavailable(&format!("cluster {key} is not connected: {since}; {remedy}"), soon)
    }

    /// As it was stored, for what was heard before this start of the hub.
    fn stored_contact(&self, key: &ClusterKey) -> Option<Timestamp> {
        let key =
            Key { resource: "managedclusters.clusters.clusternet.io".into(), namespace: key.namespace.clone(), name: key.name.clone() };
        let stored = self.store.get(&key).ok()??;
        let cluster: ManagedCluster = serde_json::from_slice(&stored.body).ok()?;
        Some(cluster.status?.last_contact?.0)
    }
}

fn only(mut named: Vec<ClusterKey>, name: &str) -> Result<Option<ClusterKey>, Failure> {
    if named.len() < 2 {
        return Ok(named.pop());
    }
    let forms: Vec<String> = named.iter().map(|key| format!("/clusters/{}:{}/", key.namespace, key.name)).collect();
    Err(Failure::new(409, "Conflict", format!("there are {} clusters called {name:?}: write {}", named.len(), forms.join(" or "))))
}

fn unknown(wanted: &Wanted) -> Failure {
    let message = format!("there is no cluster {wanted}: kubectl get managedclusters -A shows those there are");
    Failure::new(404, "NotFound", message).with("group", "clusters.clusternet.io").with("kind", "managedclusters")
}

/// 503; `again` tells clients to repeat by themselves.
pub fn unavailable(why: &str, again: Option<Duration>) -> Failure {
    let failure = Failure::new(503, "ServiceUnavailable", why);
    match again {
        Some(again) => failure.again_after(again),
        None => failure.with("retryAfterSeconds", LATER.as_secs()),
    }
}

/// A time as people say it.
fn spoken(time: Duration) -> String {
    let seconds = time.as_secs();
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7_200 => format!("{} min", seconds / 60),
        7_200..172_800 => format!("{} h", seconds / 3_600),
        _ => format!("{} days", seconds / 86_400),
    }
}
