//! The agent's work on its member: surveys it, performs the engine's tasks, several at once.

use std::sync::Arc;
use std::time::Duration;

use bus_schema::id::ObjectId;
use bus_schema::link::agent::{ApplyOutcome, Found, Live, Origin, RemoveOutcome};
use bus_schema::message::Health;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::cluster::api::Api;
use crate::cluster::apply::{self, How, Outcome};
use crate::cluster::crd::{Established, wait_established};
use crate::cluster::delete::{Deleted, Target, delete};
use crate::cluster::discovery::Discovery;
use crate::cluster::outcome::Refusal;
use crate::cluster::secret::discreet;
use crate::cluster::{object, survey};
use crate::config::Adopt;
use crate::doorbell::Watcher;
use crate::engine::{Engine, Input, Task};
use crate::failpoint::{Point, hit};

/// Pause between attempts while the API server does not answer.
const RETRY: Duration = Duration::from_millis(500);

/// How long one look waits for a deletion before it is reported as under way.
const PATIENCE: Duration = Duration::from_secs(2);

/// How long a CRD may take to be established before its objects are tried all the same.
const CRD_PATIENCE: Duration = Duration::from_secs(10);

/// The member's API server, shared by all tasks.
pub struct Member {
    api: Api,
    discovery: Arc<Discovery>,
    watcher: Arc<Watcher>,
    adopt: Adopt,
}

impl Member {
    pub fn new(api: Api, adopt: Adopt) -> Arc<Member> {
        let discovery = Arc::new(Discovery::new(api.clone()));
        Arc::new(Member { watcher: Watcher::new(api.clone(), discovery.clone()), discovery, api, adopt })
    }

    /// Surveys the member, then performs tasks until there are no more or `stop`.
    pub async fn run(self: Arc<Self>, engine: Engine, mut tasks: mpsc::UnboundedReceiver<Task>, stop: CancellationToken) {
        let mut running = JoinSet::new();
        self.survey(&engine, &stop).await;
        running.spawn(self.watcher.clone().run(engine.clone(), stop.clone()));
        loop {
            tokio::select! {
                task = tasks.recv() => match task {
                    Some(task) => drop(running.spawn(self.clone().perform(task, engine.clone()))),
                    None => return,
                },
                Some(_) = running.join_next(), if !running.is_empty() => {}
                () = stop.cancelled() => return,
            }
        }
    }

    /// Asks until the API server answers.
    async fn survey(&self, engine: &Engine, stop: &CancellationToken) {
        loop {
            let mut found = Vec::new();
            match survey::survey(&self.api, &self.discovery, &mut |object| found.extend(to_found(object))).await {
                Ok(unread) => {
                    for kind in &unread {
                        tracing::warn!(group = kind.group, kind = kind.kind, why = kind.why, "objects of this kind cannot be listed");
                    }
                    let unread = unread.into_iter().map(|kind| (kind.group, kind.kind)).collect();
                    tracing::info!(objects = found.len(), "surveyed the member");
                    for Found { object, version, live } in &found {
                        self.watcher.found(object, version, &live.resource_version);
                    }
                    return engine.tell(Input::Surveyed { found, unread }).await;
                }
                Err(failure) => tracing::warn!(why = %failure, "the member's API server does not answer yet"),
            }
            tokio::select! {
                () = tokio::time::sleep(RETRY) => {}
                () = stop.cancelled() => return,
            }
        }
    }

    async fn perform(self: Arc<Self>, task: Task, engine: Engine) {
        match task {
            Task::Apply { object, version, hash, bytes, again } => {
                hit(Point::BeforeApply);
                self.watcher.applying(&object, &version);
                let (outcome, health) = self.apply(&object, &version, &bytes, again).await;
                hit(Point::AfterApply);
                engine.tell(Input::Applied(object, hash, outcome, health)).await;
            }
            Task::Remove { object, version, live, ours } => {
                hit(Point::BeforeRemove);
                self.watcher.forget(&object);
                let outcome = self.remove(&object, &version, live, &|id| ours.contains(id)).await;
                hit(Point::AfterRemove);
                engine.tell(Input::Removed(object, outcome)).await;
            }
        }
    }

    /// Applies, and says how the object does if that is news.
    async fn apply(&self, object: &ObjectId, version: &str, bytes: &[u8], again: bool) -> (ApplyOutcome, Option<(Health, bool)>) {
        let how = How { again, only_report: self.adopt == Adopt::Report };
        match apply::apply(&self.api, &self.discovery, object, version, bytes, how).await {
            Outcome::Applied(applied) => {
                self.wait_if_crd(object).await;
                let health = self.watcher.applied(object, Some(&applied));
                tracing::info!(%object, corrected = applied.corrected, "applied");
                (ApplyOutcome::Applied(live(applied.uid, applied.resource_version, applied.origin)), health)
            }
            Outcome::Refused(mut refusal) => {
                refusal.message = discreet(object, &refusal.message);
                self.watcher.applied(object, None);
                tracing::warn!(%object, code = refusal.code, refusal.message, "refused");
                (refused(refusal), None)
            }
            Outcome::Unavailable(message) => {
                self.watcher.applied(object, None);
                (ApplyOutcome::Unavailable { code: 0, message: discreet(object, &message) }, None)
            }
        }
    }

    async fn wait_if_crd(&self, object: &ObjectId) {
        if !bus_schema::order::is_crd(object) {
            return;
        }
        match wait_established(&self.api, &self.discovery, &object.name, CRD_PATIENCE).await {
            Established::Yes => {}
            _ => tracing::warn!(%object, "not established yet"),
        }
    }

    /// Removes one object if it is ours to remove; `ours` are those that may go with a Namespace.
    pub async fn remove(
        &self,
        object: &ObjectId,
        version: &str,
        live: Option<Live>,
        ours: crate::cluster::delete::Known<'_>,
    ) -> RemoveOutcome {
        let uid = match live {
            Some(live) => live.uid,
            None => match self.uid(object, version).await {
                Ok(Some(uid)) => uid,
                Ok(None) => return RemoveOutcome::Gone,
                Err(message) => return RemoveOutcome::Unavailable { code: 0, message },
            },
        };
        let target = Target { id: object, version, uid: &uid };
        let mut deleted = delete(&self.api, &self.discovery, &target, ours).await;
        if deleted == Deleted::Deleting {
            deleted = crate::cluster::delete::wait_gone(&self.api, &self.discovery, &target, PATIENCE).await;
        }
        outcome(object, deleted)
    }

    /// The UID of an object whose apply was never heard of.
    async fn uid(&self, object: &ObjectId, version: &str) -> Result<Option<String>, String> {
        let resource = match self.discovery.any_version(&object.group, version, &object.kind).await {
            Ok(resource) => resource,
            Err(missing) => return Err(missing.to_string()),
        };
        let path = resource.object(&object.namespace, &object.name);
        let found = self.api.find::<object::Partial>(&path, crate::cluster::api::Accept::Metadata).await;
        found.map(|found| found.map(|found| found.metadata.uid)).map_err(|failure| failure.to_string())
    }
}

fn outcome(object: &ObjectId, deleted: Deleted) -> RemoveOutcome {
    match deleted {
        Deleted::Gone | Deleted::Released => {
            tracing::info!(%object, "removed");
            RemoveOutcome::Gone
        }
        Deleted::Deleting => RemoveOutcome::Deleting,
        Deleted::Kept { why: crate::cluster::delete::Why::MadeAgain | crate::cluster::delete::Why::NotOurs, .. } => {
            tracing::info!(%object, "somebody else's now: let go");
            RemoveOutcome::Gone
        }
        Deleted::Kept { why, first } => {
            let first: Vec<String> = first.iter().map(ToString::to_string).collect();
            let message = if first.is_empty() { why.to_string() } else { format!("{why}: {}", first.join(", ")) };
            tracing::warn!(%object, message, "kept");
            RemoveOutcome::Kept { message }
        }
        Deleted::Refused(refusal) => RemoveOutcome::Unavailable { code: refusal.code.into(), message: refusal.message },
        Deleted::Unavailable(message) => RemoveOutcome::Unavailable { code: 0, message },
    }
}

fn refused(Refusal { code, message, permanent, .. }: Refusal) -> ApplyOutcome {
    match permanent {
        true => ApplyOutcome::Refused { code: code.into(), message },
        false => ApplyOutcome::Unavailable { code: code.into(), message },
    }
}

fn live(uid: String, resource_version: String, origin: object::Origin) -> Live {
    let origin = match origin {
        object::Origin::Created => Origin::Created,
        object::Origin::Adopted => Origin::Adopted,
    };
    Live { uid, resource_version, origin }
}

/// What carries only half of our mark is not ours.
fn to_found(found: survey::Found) -> Option<Found> {
    let live = live(found.uid, found.resource_version, found.origin?);
    Some(Found { object: found.id, version: found.version, live })
}
