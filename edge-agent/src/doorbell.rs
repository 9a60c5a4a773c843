//! Listens for changes of what we applied, and looks: the shell around [`crate::drift::Book`].

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use bus_schema::id::{Millis, ObjectId};
use bus_schema::message::Health;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::cluster::api::{Accept, Api, Failure, escape};
use crate::cluster::apply::Applied;
use crate::cluster::autoscaler;
use crate::cluster::discovery::Discovery;
use crate::cluster::health::{self, Verdict};
use crate::cluster::object::Partial;
use crate::cluster::projection::project;
use crate::cluster::watch::{Doorbell, Ring};
use crate::drift::{Book, Kind, Look, Seen, Sight};
use crate::engine::{Engine, Input};

/// Looks that are taken at once.
const LOOKS: usize = 4;
/// Pods of an unwell workload that are asked why.
const PODS: usize = 20;
/// How often kinds that have no objects any more stop being watched.
const TIDY: Duration = Duration::from_secs(10);
/// How long new kinds are gathered: many objects are applied at once.
const GATHER: Duration = Duration::from_millis(100);
/// Pauses between attempts to watch a kind, doubled from the first; the longer limit is for a server that says no.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const MAX_PAUSE: Duration = Duration::from_secs(10);
const MAX_PAUSE_REFUSED: Duration = Duration::from_secs(60);
/// A watch that lasted so long was a good one.
const GOOD: Duration = Duration::from_secs(30);
/// A watch that lasted less was none.
const BRIEF: Duration = Duration::from_secs(1);

/// What is known of the objects on the member, and the bell that says that there is something to look at.
pub struct Watcher {
    api: Api,
    discovery: Arc<Discovery>,
    book: Mutex<Book>,
    started: Instant,
    /// Something may be due, or another kind have objects.
    bell: Notify,
    kinds: Notify,
}

impl Watcher {
    pub fn new(api: Api, discovery: Arc<Discovery>) -> Arc<Watcher> {
        let (bell, kinds) = (Notify::new(), Notify::new());
        Arc::new(Watcher { api, discovery, book: Mutex::default(), started: Instant::now(), bell, kinds })
    }

    fn now(&self) -> Millis {
        self.started.elapsed().as_millis() as Millis
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn with_book<T>(&self, change: impl FnOnce(&mut Book, Millis) -> T) -> T {
        let result = change(&mut self.book(), self.now());
        self.bell.notify_one();
        result
    }

    /// An object of ours that was there at the start.
    pub fn found(&self, object: &ObjectId, version: &str, resource_version: &str) {
        self.with_book(|book, now| book.found(object, version, resource_version, now));
        self.kinds.notify_one();
    }

    /// An apply begins.
    pub fn applying(&self, object: &ObjectId, version: &str) {
        self.with_book(|book, _| book.applying(object, version));
        self.kinds.notify_one();
    }

    /// An apply has ended; health that is news comes back.
    pub fn applied(&self, object: &ObjectId, applied: Option<&Applied>) -> Option<(Health, bool)> {
        self.with_book(|book, now| {
            let Some(applied) = applied else {
                book.not_applied(object, now);
                return None;
            };
            let sight = Sight {
                resource_version: applied.resource_version.clone(),
                deleting: false,
                projection: applied.projection.clone(),
                autoscaled: false,
                verdict: applied.verdict.clone(),
            };
            book.applied(object, sight, applied.corrected.clone(), now)
        })
    }

    /// An object is on its way out.
    pub fn forget(&self, object: &ObjectId) {
        self.with_book(|book, _| book.forget(object));
    }

    /// Listens and looks until `stop`.
    pub async fn run(self: Arc<Self>, engine: Engine, stop: CancellationToken) {
        let mut both = JoinSet::new();
        both.spawn(self.clone().listen());
        both.spawn(self.look_around(engine));
        stop.cancelled().await;
    }

    /// One watch a kind that has objects.
    async fn listen(self: Arc<Self>) {
        let mut watches: BTreeMap<Kind, tokio::task::AbortHandle> = BTreeMap::new();
        let mut running = JoinSet::new();
        let mut tidied = Instant::now();
        loop {
            let kinds = self.book().kinds();
            for kind in kinds.iter().filter(|kind| !watches.contains_key(kind)).cloned().collect::<Vec<_>>() {
                watches.insert(kind.clone(), running.spawn(self.clone().watch(kind)));
            }
            if tidied.elapsed() >= TIDY {
                tidied = Instant::now();
                watches.retain(|kind, watch| {
                    let needed = kinds.contains(kind);
                    if !needed {
                        watch.abort();
                    }
                    needed
                });
                while running.try_join_next().is_some() {}
            }
            let _ = tokio::time::timeout(TIDY, self.kinds.notified()).await;
            tokio::time::sleep(GATHER).await;
        }
    }

    async fn watch(self: Arc<Self>, kind: Kind) {
        let mut pause = FIRST_PAUSE;
        let mut doorbell: Option<Doorbell> = None;
        loop {
            let started = Instant::now();
            let bell = match &mut doorbell {
                Some(bell) => bell,
                None => match self.discovery.any_version(&kind.group, &kind.version, &kind.kind).await {
                    Ok(resource) => doorbell.insert(Doorbell::new(resource)),
                    Err(why) => {
                        tracing::debug!(kind = kind.kind, %why, "cannot be watched");
                        tokio::time::sleep(pause).await;
                        pause = (pause * 2).min(MAX_PAUSE);
                        continue;
                    }
                },
            };
            let watches = bell.has_listed();
            match bell.listen(&self.api, &mut |ring| self.rang(&kind, ring)).await {
                // A server that knows no watch ends one at once.
                Ok(()) if watches && started.elapsed() < BRIEF => {
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(MAX_PAUSE);
                }
                Ok(()) => pause = if watches { FIRST_PAUSE } else { pause },
                Err(why) => {
                    tracing::debug!(kind = kind.kind, %why, "the watch ended");
                    if why.code() == Some(404) {
                        self.discovery.forget(&kind.group).await;
                        doorbell = None;
                    }
                    pause = if started.elapsed() >= GOOD { FIRST_PAUSE } else { pause };
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(if why.code().is_some() { MAX_PAUSE_REFUSED } else { MAX_PAUSE });
                }
            }
        }
    }

    fn rang(&self, kind: &Kind, ring: Ring) {
        let now = self.now();
        let mut book = self.book();
        match ring {
            Ring::Changed(object, resource_version) => book.changed(&object, &resource_version, now),
            Ring::Ended(object, verdict) => book.ended(&object, *verdict, now),
            Ring::Gone(object) => book.gone(&object, now),
            Ring::Listed(there) => book.listed(kind, &there, now),
        }
        self.bell.notify_one();
    }

    /// Takes the looks that are due, a few at once.
    async fn look_around(self: Arc<Self>, engine: Engine) {
        let mut looks = JoinSet::new();
        loop {
            while looks.len() < LOOKS {
                let next = self.book().next(self.now());
                let Some(look) = next else { break };
                let (watcher, engine) = (self.clone(), engine.clone());
                looks.spawn(async move { watcher.look(look, &engine).await });
            }
            let due = self.book().due();
            let pause = due.map_or(TIDY, |due| Duration::from_millis(due.saturating_sub(self.now()).max(1)));
            tokio::select! {
                _ = looks.join_next(), if !looks.is_empty() => {}
                () = self.bell.notified(), if looks.len() < LOOKS => {}
                () = tokio::time::sleep(pause), if looks.len() < LOOKS => {}
            }
        }
    }

    async fn look(&self, look: Look, engine: &Engine) {
        let seen = self.see(&look).await.unwrap_or_else(|why| {
            tracing::debug!(object = %look.object, %why, "cannot be looked at");
            Seen::Failed
        });
        let gone = seen == Seen::Gone;
        let told = self.with_book(|book, now| {
            let told = book.looked(&look, seen, now);
            if gone && told.drifted {
                book.absent(&look.object);
            }
            told
        });
        if let Some((health, ended)) = told.health {
            engine.tell(Input::Health(look.object.clone(), health, ended)).await;
        }
        if told.drifted {
            tracing::info!(object = %look.object, gone, "is not as applied");
            engine.tell(Input::Drifted(look.object)).await;
        }
    }

    async fn see(&self, look: &Look) -> Result<Seen, Failure> {
        let object = &look.object;
        let resource = self.discovery.any_version(&object.group, &look.version, &object.kind).await;
        let resource = resource.map_err(|missing| Failure::Unavailable(missing.to_string()))?;
        let path = resource.object(&object.namespace, &object.name);
        let Some(live) = self.api.find_bytes(&path, Accept::Whole).await? else { return Ok(Seen::Gone) };
        let Ok(Partial { metadata }) = serde_json::from_slice(&live) else { return Ok(Seen::Failed) };
        let projection = project(&live);
        let mut verdict = health::judge(&object.group, &object.kind, &live);
        drop(live);
        verdict.health.paused = metadata.is_paused();
        self.ask_pods(object, &mut verdict).await;
        let differ = projection.as_ref().is_some_and(|projection| self.book().replicas_differ(object, projection));
        let autoscaled = differ && !object.namespace.is_empty() && autoscaler::targets(&self.api, object).await?;
        let deleting = metadata.deletion_timestamp.is_some();
        Ok(Seen::Live(Box::new(Sight { resource_version: metadata.resource_version, deleting, projection, autoscaled, verdict })))
    }

    /// One page of the workload's pods; when they cannot be read, it stays as it is.
    async fn ask_pods(&self, object: &ObjectId, verdict: &mut Verdict) {
        let Some(selector) = &verdict.pods else { return };
        let path = format!("/api/v1/namespaces/{}/pods?limit={PODS}&labelSelector={}", escape(&object.namespace), escape(selector));
        if let Ok(Some(page)) = self.api.find_bytes(&path, Accept::Whole).await
            && let Some(trouble) = health::worst(&page)
        {
            health::explain(&mut verdict.health, trouble);
        }
    }
}
