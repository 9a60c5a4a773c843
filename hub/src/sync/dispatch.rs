//! Gives each cluster's task its sessions and plans.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use bus_schema::id::Sid;
use bus_schema::link::hub::HubConfig;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::cluster::{self, Plan, Shared};
use super::library::Library;
use super::streams::Streams;
use super::tables;
use crate::bus::Session;
use crate::controller::latest;
use crate::controller::planner::{PlanEvent, Position};
use crate::core::contact::Contacts;
use crate::core::guard::Guard;
use crate::core::guard::fleet::{Fleet, Words};
use crate::core::id::ClusterKey;
use crate::core::report::ClusterReport;
use crate::store::{Store, StoreError};

/// Sessions that wait for one cluster's task; a newer one replaces an older one anyway.
const SESSIONS: usize = 4;

/// Where sessions and plans come from, and reports go to.
pub struct Inputs {
    pub sessions: mpsc::Receiver<Session>,
    pub plans: latest::Receiver<ClusterKey, PlanEvent>,
    pub position: watch::Receiver<Position>,
    pub reports: latest::Sender<ClusterKey, ClusterReport>,
    pub contacts: Arc<Contacts>,
    /// What the Subscriptions say of removals; at least as new as any plan.
    pub words: watch::Receiver<Arc<Words>>,
    pub streams: Streams,
}

/// Runs until `stop`, then waits for all tasks.
pub async fn run(store: Store, config: HubConfig, guard: Guard, inputs: Inputs, stop: CancellationToken) {
    let Inputs { mut sessions, mut plans, mut position, reports, contacts, words, streams } = inputs;
    let library = Arc::new(Library::new(config.key.clone()));
    let (fleet, started) = (Mutex::new(Fleet::new(guard)), Instant::now());
    let shared = Shared { store, config, guard, fleet, words, library, reports, contacts, streams, started, stop: stop.clone() };
    let shared = Arc::new(shared);
    let mut dispatch = Dispatch { shared, clusters: HashMap::new(), sids: HashMap::new(), synced: false, tasks: TaskTracker::new() };
    loop {
        tokio::select! {
            () = stop.cancelled() => break,
            Some((cluster, event)) = plans.recv() => dispatch.plan(cluster, event).await,
            // Before every list is known nothing could be asserted: CONNECTs wait.
            Some(session) = sessions.recv(), if dispatch.synced => dispatch.session(session),
            Ok(()) = position.changed() => {
                let synced = position.borrow_and_update().synced;
                dispatch.set_synced(synced);
            }
            else => break,
        }
    }
    dispatch.tasks.close();
    dispatch.tasks.wait().await;
}

struct Dispatch {
    shared: Arc<Shared>,
    clusters: HashMap<Sid, Handle>,
    sids: HashMap<ClusterKey, Sid>,
    synced: bool,
    tasks: TaskTracker,
}

struct Handle {
    sessions: mpsc::Sender<Session>,
    plan: watch::Sender<Plan>,
}

impl Dispatch {
    async fn plan(&mut self, cluster: ClusterKey, event: PlanEvent) {
        match event {
            PlanEvent::Update(update) => {
                let Ok(sid) = Sid::parse(&update.sid) else {
                    return tracing::warn!(%cluster, sid = update.sid, "the cluster has no valid bus id and is not served");
                };
                self.sids.insert(cluster, sid);
                self.handle(sid).plan.send_replace(Plan::Desired(update));
            }
            PlanEvent::Removed(cluster) => {
                let Some(sid) = self.sids.remove(&cluster) else { return };
                self.shared.contacts.remove(&cluster);
                self.shared.streams.forget(sid);
                self.handle(sid).plan.send_replace(Plan::NoCluster);
                let forgotten = self.shared.store.write(move |tx| Ok::<(), StoreError>(tables::remove(tx.connection(), sid)?)).await;
                if let Err(error) = forgotten {
                    tracing::warn!(%cluster, %error, "what was known of its link could not be forgotten");
                }
            }
        }
    }

    fn session(&mut self, session: Session) {
        let sid = session.sid;
        if let Err(error) = self.handle(sid).sessions.try_send(session) {
            tracing::warn!(%sid, %error, "a connection was dropped: the cluster's task is behind");
        }
    }

    /// Once every cluster was listed, one without a plan does not exist.
    fn set_synced(&mut self, synced: bool) {
        self.synced = synced;
        if synced {
            let known: Vec<Sid> = self.sids.values().copied().collect();
            for (_, handle) in self.clusters.iter().filter(|(sid, _)| !known.contains(sid)) {
                handle.plan.send_if_modified(|plan| {
                    let unknown = matches!(plan, Plan::Unknown);
                    if unknown {
                        *plan = Plan::NoCluster;
                    }
                    unknown
                });
            }
        }
    }

    fn handle(&mut self, sid: Sid) -> &Handle {
        let (shared, tasks, synced) = (&self.shared, &self.tasks, self.synced);
        self.clusters.entry(sid).or_insert_with(|| {
            let (sessions, received) = mpsc::channel(SESSIONS);
            let (plan, plans) = watch::channel(if synced { Plan::NoCluster } else { Plan::Unknown });
            tasks.spawn(cluster::run(sid, shared.clone(), received, plans));
            Handle { sessions, plan }
        })
    }
}
