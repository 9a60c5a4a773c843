//! Time and events. Nothing happens but what stands in the queue or what an end's `poll_timeout` asks for.

use std::collections::BTreeMap;

use bus_schema::hash::HashKey;
use bus_schema::id::{IncarnationId, Millis, Nonce, ObjectId};
use bus_schema::link::agent::Action;

use crate::broker::{Packet, Weather};
use crate::counts::Counts;
use crate::disk::HubDisk;
use crate::draw::Draw;
use crate::edge::{Armed, Edge, Outcome, Strike};
use crate::hostile::Archive;
use crate::hub::Hub;
use crate::inspect::inspect;
use crate::model::Model;
use crate::object::{Shape, universe};

/// Something that will happen.
#[derive(Debug)]
pub enum Event {
    Arrive(Packet),
    Connect { edge: usize },
    StartAgent { edge: usize },
    Survey { edge: usize, boot: u64 },
    Effect { edge: usize, boot: u64, action: Action, content: Option<Vec<u8>> },
    Answer { edge: usize, boot: u64, action: Action, outcome: Outcome },
    Finalized { edge: usize, object: ObjectId },
    StartHub,
    Ready { incarnation: IncarnationId },
    Plan { incarnation: IncarnationId },
    Register { edge: usize },
}

/// Everything there is.
pub struct World {
    pub rng: fastrand::Rng,
    pub now: Millis,
    pub key: HashKey,
    pub universe: Vec<Shape>,
    pub edges: Vec<Edge>,
    pub hub: Option<Hub>,
    pub hub_armed: Option<Armed>,
    pub disk: HubDisk,
    /// Older copies of the hub's disk.
    pub copies: Vec<HubDisk>,
    pub weather: Weather,
    /// What a hostile broker has kept.
    pub archive: Archive,
    /// The hub's disk is never replaced, so that histories grow long.
    pub steady: bool,
    /// Requests to members fail now and then.
    pub stormy: bool,
    /// Bytes of the largest frame that the links ask for.
    pub max_frame: usize,
    pub counts: Counts,
    pub model: Model,
    pub failure: Option<String>,
    pub log: Option<Vec<String>>,
    queue: BTreeMap<(Millis, u64), Event>,
    sequence: u64,
}

impl World {
    pub fn new(seed: u64, edges: usize, traced: bool) -> World {
        let mut rng = fastrand::Rng::with_seed(seed);
        let max_frame = [1_024, 2_048, 61_440][rng.index(..3)];
        let mut world = World {
            rng,
            now: 1_000,
            key: HashKey::public(),
            universe: universe(),
            edges: std::iter::repeat_with(Edge::default).take(edges).collect(),
            hub: None,
            hub_armed: None,
            disk: HubDisk::default(),
            copies: Vec::new(),
            weather: Weather::CLEAR,
            archive: Archive::default(),
            stormy: false,
            steady: seed.is_multiple_of(3),
            max_frame,
            counts: Counts::default(),
            model: Model::new(edges),
            failure: None,
            log: traced.then(Vec::new),
            queue: BTreeMap::new(),
            sequence: 0,
        };
        world.start_hub();
        for edge in 0..edges {
            world.register(edge);
            world.at(1, Event::StartAgent { edge });
        }
        world
    }

    pub fn fail(&mut self, message: String) {
        self.trace(|| format!("FAILED: {message}"));
        self.failure.get_or_insert(message);
    }

    pub fn trace(&mut self, line: impl FnOnce() -> String) {
        if let Some(log) = &mut self.log {
            log.push(format!("{:>9} {}", self.now, line()));
        }
    }

    pub(crate) fn nonce(&mut self) -> Nonce {
        let mut nonce = [0; 32];
        self.rng.fill(&mut nonce);
        nonce
    }

    /// Percent dice of a member's API server; 99 when it is in order.
    pub(crate) fn trouble(&mut self) -> u8 {
        if self.stormy { self.rng.u8(..30) } else { 99 }
    }

    pub(crate) fn at(&mut self, pause: Millis, event: Event) {
        self.sequence += 1;
        self.queue.insert((self.now + pause, self.sequence), event);
    }

    pub(crate) fn count_strike(&mut self, strike: Strike) {
        match strike {
            Strike::BeforeCommit => self.counts.crashes_before_commit += 1,
            Strike::AfterCommit => self.counts.crashes_after_commit += 1,
            Strike::AfterSend => self.counts.crashes_after_send += 1,
        }
    }

    /// A frame leaves; without a connection it goes nowhere.
    pub(crate) fn send(&mut self, packet: Packet) {
        let Packet { edge, up, .. } = packet;
        let link = &mut self.edges[edge].link;
        if !link.connected {
            return;
        }
        self.counts.frames += 1;
        self.counts.bytes += packet.frame.len() as u64;
        let arrivals = link.arrivals(up, self.now, self.weather, &mut self.rng, &mut self.counts);
        if self.log.is_some() {
            let line = inspect(&packet.frame).map_or("damaged".into(), |(counter, inside)| format!("{counter} {}", inside.line()));
            let way = if up { "^" } else { "v" };
            self.trace(|| format!("{edge}{way} {line} at {arrivals:?}"));
        }
        for arrival in arrivals {
            self.at(arrival - self.now, Event::Arrive(packet.clone()));
        }
        self.meddle(&packet);
    }

    /// The link of an edge breaks, and heals `pause` later at the earliest.
    pub(crate) fn cut(&mut self, edge: usize, pause: Millis) {
        let link = &mut self.edges[edge].link;
        link.severed_until = link.severed_until.max(self.now + pause);
        if !link.connected {
            return;
        }
        link.connected = false;
        let connection = link.connection;
        self.counts.cuts += 1;
        self.trace(|| format!("link of {edge} breaks for {pause}"));
        self.strand(edge, connection);
        if let Some(agent) = &mut self.edges[edge].agent {
            agent.disconnected();
            self.pump_agent(edge);
        }
        if self.rng.u8(..4) > 0 {
            self.hub_loses(edge);
        }
        let pause = pause + self.rng.u64(1..3_000);
        self.at(pause, Event::Connect { edge });
    }

    /// Frames under way on a broken connection are lost, or come late.
    fn strand(&mut self, edge: usize, connection: u64) {
        let stranded = |event: &Event| matches!(event, Event::Arrive(packet) if packet.edge == edge && packet.connection == connection);
        let keys: Vec<_> = self.queue.iter().filter(|(_, event)| stranded(event)).map(|(key, _)| *key).collect();
        for key in keys {
            let Some(event) = self.queue.remove(&key) else { continue };
            if self.rng.u8(..100) < self.weather.late {
                self.counts.late_frames += 1;
                let pause = self.rng.u64(1..20_000);
                self.at(pause, event);
            }
        }
    }

    fn connect(&mut self, edge: usize) {
        let (now, nonce) = (self.now, self.nonce());
        let reachable = self.hub.is_some();
        let site = &mut self.edges[edge];
        if site.link.connected || !reachable {
            return;
        }
        let Some(agent) = &mut site.agent else { return };
        if site.link.severed_until > now {
            let pause = site.link.severed_until - now;
            return self.at(pause, Event::Connect { edge });
        }
        self.sequence += 1;
        site.link.open(self.sequence);
        agent.connected(nonce, now);
        self.trace(|| format!("link of {edge} is up"));
        self.pump_agent(edge);
    }

    /// Lets time pass.
    pub fn run(&mut self, span: Millis) {
        let end = self.now + span;
        let mut idle = 0;
        while self.failure.is_none() {
            let next = self.next_time();
            if next > end {
                break;
            }
            idle = if next > self.now { 0 } else { idle + 1 };
            if idle > 20_000 {
                self.fail("time stands still: something asks to be called for nothing".into());
            }
            self.now = self.now.max(next);
            self.turn();
        }
        self.now = self.now.max(end);
    }

    fn next_time(&self) -> Millis {
        let queued = self.queue.keys().next().map(|(at, _)| *at);
        let agents = self.edges.iter().filter_map(|site| site.agent.as_ref()?.poll_timeout());
        let links = self.hub_timeouts().into_iter().map(|(_, at)| at);
        queued.into_iter().chain(agents).chain(links).min().unwrap_or(Millis::MAX)
    }

    /// Everything that is due now.
    fn turn(&mut self) {
        while let Some(entry) = self.queue.first_entry().filter(|entry| entry.key().0 <= self.now) {
            let event = entry.remove();
            self.happen(event);
            if self.failure.is_some() {
                return;
            }
        }
        for edge in 0..self.edges.len() {
            if self.edges[edge].agent.as_ref().and_then(|agent| agent.poll_timeout()).is_some_and(|at| at <= self.now) {
                self.agent_timeout(edge);
            }
        }
        for (edge, at) in self.hub_timeouts() {
            if at <= self.now {
                self.pump_hub(edge);
            }
        }
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Arrive(packet) if packet.up => self.hub_hears(&packet),
            Event::Arrive(packet) => self.agent_hears(&packet),
            Event::Connect { edge } => self.connect(edge),
            Event::StartAgent { edge } => self.start_agent(edge),
            Event::Survey { edge, boot } => self.survey(edge, boot),
            Event::Effect { edge, boot, action, content } => self.effect(edge, boot, &action, content),
            Event::Answer { edge, boot, action, outcome } => self.answer(edge, boot, &action, outcome),
            Event::Finalized { edge, object } => self.finalized(edge, &object),
            Event::StartHub => self.start_hub(),
            Event::Ready { incarnation } => self.ready(incarnation),
            Event::Plan { incarnation } => self.plan(incarnation),
            Event::Register { edge } => self.register(edge),
        }
    }
}
