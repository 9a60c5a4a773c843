//! The task of one cluster: its sessions, its plan, its timers, around one state machine.

mod guarding;

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bus_schema::greeting::{no_session, unknown_sid};
use bus_schema::hash::Hash;
use bus_schema::id::{Millis, Nonce, Sid};
use bus_schema::link::hub::{Desired, HubConfig, HubEvent, HubLink, HubState};
use bytes::Bytes;
use k8s_openapi::jiff::Timestamp;
use ring::rand::SecureRandom;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::library::{Library, Shelf, bases};
use super::streams::{Lane, Streams};
use super::{report, tables};
use crate::bus::{Downlink, Event, SendError, Session, Uplink};
use crate::controller::latest;
use crate::core::contact::{Contacts, Heard};
use crate::core::guard::fleet::{Fleet, Words};
use crate::core::guard::{Guard, Held};
use crate::core::id::ClusterKey;
use crate::core::plan::PlanUpdate;
use crate::core::report::ClusterReport;
use crate::store::{Store, StoreError};

/// Longest sleep of the task.
const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// What all cluster tasks share.
pub struct Shared {
    pub store: Store,
    pub config: HubConfig,
    pub guard: Guard,
    /// What all clusters lose together.
    pub fleet: Mutex<Fleet>,
    pub words: watch::Receiver<Arc<Words>>,
    pub library: Arc<Library>,
    pub reports: latest::Sender<ClusterKey, ClusterReport>,
    pub contacts: Arc<Contacts>,
    pub streams: Streams,
    pub started: Instant,
    pub stop: CancellationToken,
}

/// What a cluster is to have.
#[derive(Debug, Clone)]
pub enum Plan {
    /// Not known yet: this hub has not seen everything that feeds it.
    Unknown,
    /// There is no such cluster.
    NoCluster,
    Desired(PlanUpdate),
}

/// Runs until the plan's sender is gone or the hub stops.
pub async fn run(sid: Sid, shared: Arc<Shared>, mut sessions: mpsc::Receiver<Session>, mut plans: watch::Receiver<Plan>) {
    let sealer = shared.store.sealer();
    let state = match shared.store.read(move |connection| tables::load(connection, &sealer, sid)).await {
        Ok(state) => state,
        Err(error) => return tracing::error!(%sid, %error, "the link's state cannot be read: this cluster is not served"),
    };
    let mut task = Task::new(sid, shared.clone(), state);
    let mut uplink: Option<Uplink> = None;
    let mut words = shared.words.clone();
    task.take_plan(&plans.borrow_and_update().clone());
    loop {
        if task.downlink.is_none() {
            uplink = None;
        }
        if let Err(error) = task.pump().await {
            return tracing::error!(%sid, %error, "the link's state cannot be stored: this cluster is not served");
        }
        let wait = task.wait();
        tokio::select! {
            () = shared.stop.cancelled() => return,
            Some(session) = sessions.recv() => {
                if let Some(opened) = task.open(session) {
                    uplink = Some(opened);
                }
            }
            changed = plans.changed() => match changed {
                Ok(()) => task.take_plan(&plans.borrow_and_update().clone()),
                Err(_) => return,
            },
            Ok(()) = words.changed(), if task.guarded.is_some() => task.judge_again(),
            event = next_event(&mut uplink) => task.take_event(event),
            ready = task.ready() => task.take_ready(ready),
            () = tokio::time::sleep(wait) => task.judge_when_due(),
        }
    }
}

async fn next_event(uplink: &mut Option<Uplink>) -> Option<Event> {
    match uplink {
        Some(uplink) => uplink.recv().await,
        None => std::future::pending().await,
    }
}

struct Task {
    sid: Sid,
    shared: Arc<Shared>,
    link: HubLink,
    shelf: Shelf,
    cluster: Option<ClusterKey>,
    unknown: bool,
    /// Removals that wait for a confirmation.
    held: Option<Held>,
    /// The plan whose removals are kept back, and when to look again.
    guarded: Option<(PlanUpdate, Millis)>,
    downlink: Option<Downlink>,
    streams: Lane,
    /// The downlink takes a frame of this size now.
    room: Option<usize>,
    /// Of the newest connection, alive or not.
    heard: Option<Heard>,
    random: ring::rand::SystemRandom,
}

impl Task {
    fn new(sid: Sid, shared: Arc<Shared>, state: HubState) -> Task {
        let link = HubLink::new(shared.config.clone(), state);
        let shelf = Shelf { library: shared.library.clone(), current: Arc::default(), before: Arc::default() };
        let random = ring::rand::SystemRandom::new();
        let streams = Lane::new(&shared.streams, sid);
        let (cluster, held, guarded, downlink, room, heard) = (None, None, None, None, None, None);
        Task { sid, shared, link, shelf, cluster, unknown: false, held, guarded, downlink, streams, room, heard, random }
    }

    fn now(&self) -> Millis {
        self.shared.started.elapsed().as_millis() as Millis
    }

    fn nonce(&self) -> Nonce {
        let mut nonce = [0; 32];
        self.random.fill(&mut nonce).expect("the system has randomness");
        nonce
    }

    /// Takes a connection, unless a later one is here already.
    fn open(&mut self, session: Session) -> Option<Uplink> {
        let newer = self.downlink.as_ref().is_none_or(|downlink| downlink.conn() < session.conn);
        if !newer {
            return None;
        }
        tracing::info!(sid = %self.sid, peer = %session.peer, "agent connected");
        self.link.disconnected();
        self.streams.lost();
        self.heard = Some(session.downlink.heard().clone());
        self.share_heard();
        self.downlink = Some(session.downlink);
        self.room = None;
        Some(session.uplink)
    }

    fn share_heard(&self) {
        if let (Some(cluster), Some(heard)) = (&self.cluster, &self.heard) {
            self.shared.contacts.set(cluster.clone(), heard.clone());
        }
    }

    fn take_plan(&mut self, plan: &Plan) {
        self.unknown = matches!(plan, Plan::NoCluster);
        match plan {
            Plan::Desired(update) => self.take_update(update),
            Plan::NoCluster => {
                self.link.set_peer(None, self.nonce(), self.now());
                self.leave_fleet();
            }
            Plan::Unknown => {}
        }
    }

    fn take_update(&mut self, update: &PlanUpdate) {
        let now = self.now();
        let prepared = self.guarded(update, self.shared.library.prepare(&update.entries));
        if !Arc::ptr_eq(&self.shelf.current, &prepared.contents) {
            let before = std::mem::replace(&mut self.shelf.current, prepared.contents);
            self.shelf.before = self.link.desired().map_or_else(Arc::default, |desired| bases(&before, &desired.list));
        }
        self.cluster = Some(update.cluster.clone());
        self.share_heard();
        self.link.set_peer(update.link_key, self.nonce(), now);
        self.link.set_desired(Desired { list: prepared.list, resource_version: update.rv }, now);
        self.link.set_confirm_prune(update.confirm_prune.as_deref().and_then(Hash::parse), now);
        self.report();
    }

    fn take_event(&mut self, event: Option<Event>) {
        match event {
            Some(Event::Frame(frame)) => {
                if self.unknown {
                    return self.say_unknown(&frame.payload);
                }
                if bus_schema::frame::is_of_streams(&frame.payload) {
                    return self.take_stream_frame(frame.payload);
                }
                if bus_schema::frame::is_hello(&frame.payload) {
                    self.streams.greeted();
                }
                let (nonce, now) = (self.nonce(), self.now());
                match (self.link.frame(&frame.payload, nonce, now), &self.heard) {
                    (Err(error), _) => tracing::debug!(sid = %self.sid, %error, "a frame was not taken"),
                    // Nothing that anybody may have made is a sign of life.
                    (Ok(()), Some(heard)) if self.link.last_heard() == Some(now) => heard.hear(Timestamp::now()),
                    (Ok(()), _) => {}
                }
            }
            Some(Event::Closed(closed)) => {
                tracing::info!(sid = %self.sid, cause = ?closed.cause, "agent disconnected");
                if closed.clean() {
                    self.link.ended();
                }
                self.close();
            }
            None => self.close(),
        }
    }

    fn take_stream_frame(&self, frame: Bytes) {
        match (self.streams.endpoint.frame(frame), &self.heard) {
            (Ok(()), Some(heard)) => heard.hear(Timestamp::now()),
            (Ok(()), None) => {}
            (Err(error), _) => tracing::debug!(sid = %self.sid, %error, "a stream's frame was not taken"),
        }
    }

    /// The agent registers again, proposing the sid it had.
    fn say_unknown(&self, heard: &[u8]) {
        if let Some(downlink) = &self.downlink {
            let own = self.shared.config.own.first();
            let answer = own.and_then(|own| unknown_sid(own, heard)).unwrap_or_else(no_session);
            let _ = downlink.try_send(answer.into());
        }
    }

    fn close(&mut self) {
        self.downlink = None;
        self.room = None;
        self.link.disconnected();
        self.streams.lost();
        self.report();
    }

    /// Waits until the downlink takes one frame of the size that suits the link.
    async fn ready(&self) -> Result<usize, SendError> {
        match &self.downlink {
            Some(downlink) if self.room.is_none() => {
                let frame = downlink.frame();
                downlink.ready(frame).await.map(|()| frame)
            }
            _ => std::future::pending().await,
        }
    }

    fn take_ready(&mut self, ready: Result<usize, SendError>) {
        match ready {
            Ok(frame) => self.room = Some(frame),
            Err(error) => {
                tracing::debug!(sid = %self.sid, %error, "the downlink has ended");
                self.close();
            }
        }
    }

    fn wait(&self) -> Duration {
        let due = self.link.poll_timeout().map(|due| Duration::from_millis(due.saturating_sub(self.now()).max(1)));
        let judged = self.guarded.as_ref().map(|(_, due)| Duration::from_millis(due.saturating_sub(self.now()).max(1)));
        let due = due.filter(|_| self.downlink.is_some() && self.room.is_some());
        due.into_iter().chain(judged).fold(LONGEST_WAIT, Duration::min)
    }

    /// Commits what was decided, then tells it.
    async fn pump(&mut self) -> Result<(), StoreError> {
        self.link.timeout(self.now());
        let writes = self.link.take_writes();
        if !writes.is_empty() {
            let sid = self.sid;
            self.shared
                .store
                .write(move |tx| {
                    tables::create(tx.connection(), sid)?;
                    writes.iter().try_for_each(|write| tables::save(tx.connection(), tx.sealer(), sid, write))?;
                    Ok::<(), StoreError>(())
                })
                .await?;
        }
        self.take_events();
        self.transmit();
        Ok(())
    }

    fn take_events(&mut self) {
        let mut changed = false;
        while let Some(event) = self.link.poll_event() {
            changed = true;
            match event {
                HubEvent::Confirmed { boot, restored } => {
                    tracing::info!(sid = %self.sid, %boot, restored, "in session");
                    self.resume_streams();
                }
                HubEvent::Cloned { boots } => {
                    self.streams.lost();
                    tracing::warn!(sid = %self.sid, ?boots, "two agents share this identity, and neither is served: stop the wrong one")
                }
                HubEvent::Alone(boot) => {
                    tracing::info!(sid = %self.sid, %boot, "of two agents that shared this identity one is left: it is served");
                    self.resume_streams();
                }
                HubEvent::Listed(root) => tracing::debug!(sid = %self.sid, %root, "listed"),
                HubEvent::Status => {}
                HubEvent::Rejected(message) => tracing::warn!(sid = %self.sid, message, "refused"),
            }
        }
        if changed {
            self.report();
        }
    }

    fn resume_streams(&mut self) {
        if let Some(downlink) = &self.downlink {
            self.streams.confirmed(self.link.stream_session(), downlink);
        }
    }

    fn transmit(&mut self) {
        let now = self.now();
        let (Some(room), Some(downlink)) = (self.room, &self.downlink) else { return };
        let Some(frame) = self.link.poll_transmit(&self.shelf, room, now) else { return };
        self.room = None;
        if let Err(error) = downlink.try_send(frame.into()) {
            tracing::debug!(sid = %self.sid, %error, "a frame was lost on its way to the link");
        }
    }

    fn report(&self) {
        let Some(cluster) = &self.cluster else { return };
        let connected = self.downlink.is_some() && self.link.session().is_some();
        let last_contact = self.heard.as_ref().and_then(Heard::last);
        let report = ClusterReport { held: self.held.clone(), ..report::of(cluster, &self.link, connected, last_contact) };
        self.shared.reports.send(cluster.clone(), report);
    }
}

#[cfg(test)]
#[path = "cluster_tests.rs"]
mod tests;
