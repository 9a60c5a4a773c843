//! The hub process: one link per registered cluster, and the planner that renders what users asked for.

use std::collections::BTreeMap;
use std::sync::Arc;

use bus_schema::greeting::{no_session, unknown_sid};
use bus_schema::hash::Hash;
use bus_schema::id::{IncarnationId, Millis};
use bus_schema::link::Contents;
use bus_schema::link::hub::{Desired, HubConfig, HubEvent, HubLink, HubState};
use bus_schema::list::DesiredList;

use crate::broker::Packet;
use crate::edge::{Armed, Strike, hub_secret, link_secret};
use crate::world::{Event, World};

/// Rendered content by hash; rendered again by each process.
#[derive(Debug, Default)]
pub struct Rendering(BTreeMap<Hash, Arc<[u8]>>);

impl Contents for Rendering {
    fn get(&self, hash: &Hash) -> Option<Arc<[u8]>> {
        self.0.get(hash).cloned()
    }
}

/// What the hub last asked of one cluster, as the model sees it.
#[derive(Debug, Clone)]
pub struct Asked {
    pub list: Arc<DesiredList>,
    /// The resourceVersion at which the list became this one.
    pub since: u64,
}

/// One run of the hub.
#[derive(Debug)]
pub struct Hub {
    pub config: HubConfig,
    pub links: BTreeMap<usize, HubLink>,
    pub contents: Rendering,
    /// All kinds have been listed: lists may be sent.
    pub ready: bool,
    pub asked: BTreeMap<usize, Asked>,
    planning: bool,
}

impl World {
    pub(crate) fn start_hub(&mut self) {
        if self.hub.is_some() {
            return;
        }
        let incarnation = IncarnationId(self.rng.u64(1..));
        self.disk.open_incarnation(incarnation, self.now * 1_000);
        let closed = self.disk.incarnations.iter().filter_map(|(id, row)| Some((*id, (*row)?))).collect();
        let config = HubConfig {
            own: [hub_secret()].into(),
            key: self.key.clone(),
            incarnation,
            closed: Arc::new(closed),
            features: self.rng.u64(..8),
        };
        self.model.hubs.insert(incarnation, (*config.closed).clone());
        self.trace(|| format!("hub starts as {incarnation}, closed {:?}", config.closed));
        let links = self.disk.links.iter().map(|(edge, state)| (*edge, HubLink::new(config.clone(), state.clone()))).collect();
        self.hub = Some(Hub { config, links, contents: Rendering::default(), ready: false, asked: BTreeMap::new(), planning: false });
        for edge in 0..self.edges.len() {
            let pause = self.rng.u64(1..2_000);
            self.at(pause, Event::Connect { edge });
        }
        let pause = self.rng.u64(1..3_000);
        self.at(pause, Event::Ready { incarnation });
    }

    /// The hub's process and the broker inside it are gone.
    pub(crate) fn crash_hub(&mut self) {
        if self.hub.take().is_none() {
            return;
        }
        self.counts.hub_crashes += 1;
        self.trace(|| "hub crashes".into());
        for edge in 0..self.edges.len() {
            self.cut(edge, 0);
        }
        let pause = self.rng.u64(1..5_000);
        self.at(pause, Event::StartHub);
    }

    /// An agent registers over HTTPS.
    pub(crate) fn register(&mut self, edge: usize) {
        let Some(hub) = &mut self.hub else { return };
        if hub.links.contains_key(&edge) {
            return;
        }
        self.disk.links.insert(edge, HubState::default());
        hub.links.insert(edge, HubLink::new(hub.config.clone(), HubState::default()));
        self.trace(|| format!("cluster {edge} registers"));
        self.plan_soon();
    }

    /// What users wrote is rendered a moment later, several writes at once.
    pub(crate) fn plan_soon(&mut self) {
        let Some(hub) = self.hub.as_mut().filter(|hub| !hub.planning) else { return };
        hub.planning = true;
        let incarnation = hub.config.incarnation;
        let pause = self.rng.u64(1..150);
        self.at(pause, Event::Plan { incarnation });
    }

    pub(crate) fn ready(&mut self, incarnation: IncarnationId) {
        if let Some(hub) = self.hub.as_mut().filter(|hub| hub.config.incarnation == incarnation) {
            hub.ready = true;
            self.plan_soon();
        }
    }

    pub(crate) fn plan(&mut self, incarnation: IncarnationId) {
        let Some(hub) = self.hub.as_mut().filter(|hub| hub.config.incarnation == incarnation) else { return };
        hub.planning = false;
        if !hub.ready {
            return;
        }
        for edge in 0..self.edges.len() {
            self.plan_for(edge);
        }
    }

    fn plan_for(&mut self, edge: usize) {
        let (now, nonce) = (self.now, self.nonce());
        let Some(hub) = &mut self.hub else { return };
        let Some(link) = hub.links.get_mut(&edge) else { return };
        let rendered = self.disk.store.render(edge, &self.universe, &self.key);
        for (hash, bytes) in rendered.contents {
            hub.contents.0.insert(hash, bytes.into());
        }
        let list = Arc::new(rendered.list);
        let same = hub.asked.get(&edge).is_some_and(|asked| asked.list.root == list.root);
        if !same {
            hub.asked.insert(edge, Asked { list: list.clone(), since: self.disk.store.resource_version });
        }
        link.set_peer(Some(link_secret(edge).public()), nonce, now);
        link.set_desired(Desired { list: list.clone(), resource_version: rendered.resource_version }, now);
        link.set_confirm_prune(self.disk.store.confirm.get(&edge).copied(), now);
        if !same {
            self.trace(|| format!("hub wants {:?} of {edge}: {} entries", list.root, list.entries.len()));
        }
        self.pump_hub(edge);
    }

    pub(crate) fn hub_hears(&mut self, packet: &Packet) {
        let (edge, nonce, now) = (packet.edge, self.nonce(), self.now);
        let Some(hub) = &mut self.hub else { return };
        let Some(link) = hub.links.get_mut(&edge) else {
            let connection = self.edges[edge].link.connection;
            let frame = unknown_sid(&hub_secret(), &packet.frame).unwrap_or_else(no_session);
            return self.send(Packet { edge, up: false, connection, session: 0, frame, forged: false });
        };
        let before = link.session();
        let taken = link.frame(&packet.frame, nonce, now).is_ok();
        let after = link.session();
        self.check_forged(packet, taken);
        self.check_hub_took(packet, taken, before, after);
        self.pump_hub(edge);
    }

    pub(crate) fn hub_loses(&mut self, edge: usize) {
        if let Some(link) = self.hub.as_mut().and_then(|hub| hub.links.get_mut(&edge)) {
            link.disconnected();
        }
    }

    /// Commits and says what one link wants, until it wants nothing.
    pub(crate) fn pump_hub(&mut self, edge: usize) {
        for _ in 0..10_000 {
            if self.failure.is_some() {
                return;
            }
            let spoke = self.hub_speaks(edge);
            let Some(link) = self.hub.as_mut().and_then(|hub| hub.links.get_mut(&edge)) else { return };
            let writes = link.take_writes();
            if !writes.is_empty() {
                if self.strikes_hub(Strike::BeforeCommit) {
                    return;
                }
                self.disk.commit(edge, &writes);
                if self.strikes_hub(Strike::AfterCommit) {
                    return;
                }
                continue;
            }
            let event = link.poll_event();
            if let Some(event) = &event {
                self.trace(|| format!("hub of {edge}: {event:?}"));
                if let HubEvent::Cloned { .. } = event {
                    self.fail(format!("agent {edge} was taken for a clone"));
                }
            }
            if !spoke && event.is_none() {
                return self.note_told(edge);
            }
        }
        self.fail(format!("the hub's link of {edge} never comes to rest"));
    }

    fn strikes_hub(&mut self, strike: Strike) -> bool {
        let hit = Armed::hit(&mut self.hub_armed, strike);
        if hit {
            self.count_strike(strike);
            self.crash_hub();
        }
        hit
    }

    fn hub_speaks(&mut self, edge: usize) -> bool {
        let (now, max_frame) = (self.now, self.max_frame);
        let Some(hub) = &mut self.hub else { return false };
        let Some(link) = hub.links.get_mut(&edge) else { return false };
        let Some(frame) = link.poll_transmit(&hub.contents, max_frame, now) else { return false };
        let session = link.session().map_or(0, |session| session.0);
        let connection = self.edges[edge].link.connection;
        self.check_hub_frame(edge, session, &frame);
        self.send(Packet { edge, up: false, connection, session, frame, forged: false });
        !self.strikes_hub(Strike::AfterSend)
    }

    /// When the hub wants to be called, per cluster.
    pub(crate) fn hub_timeouts(&self) -> Vec<(usize, Millis)> {
        let links = self.hub.iter().flat_map(|hub| &hub.links);
        links.filter_map(|(edge, link)| Some((*edge, link.poll_timeout()?))).collect()
    }
}
