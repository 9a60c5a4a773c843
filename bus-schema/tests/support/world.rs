//! A hub and an agent on a perfect link that counts.

use std::collections::BTreeMap;
use std::sync::Arc;

use bus_schema::hash::{Domain, Hash, HashKey};
use bus_schema::id::{BootId, BundleId, IncarnationId, ObjectId, Sid};
use bus_schema::link::agent::{Action, Agent, AgentConfig, AgentState, AgentWrite, ApplyOutcome, Live, Origin};
use bus_schema::link::hub::{Desired, HubConfig, HubLink, HubState};
use bus_schema::link::{Cache, Contents};
use bus_schema::list::{DesiredEntry, DesiredList, Wanted};
use bus_schema::topic::{Direction, Topic};

#[derive(Default)]
pub struct Disk(pub BTreeMap<Hash, Vec<u8>>, pub BTreeMap<Hash, Vec<u8>>);

impl Cache for Disk {
    fn content(&self, hash: &Hash) -> Option<Vec<u8>> {
        self.0.get(hash).cloned()
    }

    fn partial(&self, hash: &Hash) -> Vec<u8> {
        self.1.get(hash).cloned().unwrap_or_default()
    }
}

impl Contents for Disk {
    fn get(&self, hash: &Hash) -> Option<Arc<[u8]>> {
        self.0.get(hash).map(|bytes| bytes.as_slice().into())
    }
}

pub struct World {
    pub key: HashKey,
    pub hub: HubLink,
    pub agent: Agent,
    pub shelf: Disk,
    pub disk: Disk,
    pub bytes: usize,
    pub up: usize,
    pub frames: usize,
    pub now: u64,
}

impl World {
    pub fn new() -> World {
        let key = HashKey::public();
        let config = HubConfig {
            own: super::hub(),
            key: key.clone(),
            incarnation: IncarnationId(0x1234_5678_9abc_def0),
            closed: Arc::default(),
            features: 0,
        };
        let mut hub = HubLink::new(config, HubState::default());
        hub.set_peer(Some(super::agent()), [0; 32], 0);
        let agent = Agent::new(AgentConfig::new(BootId(77), super::trust(), key.clone()), AgentState::default(), 0);
        World { key, hub, agent, shelf: Disk::default(), disk: Disk::default(), bytes: 0, up: 0, frames: 0, now: 0 }
    }

    pub fn desire(&mut self, objects: &[String], version: u64) {
        let entries: Vec<_> = objects.iter().enumerate().map(|(index, text)| self.entry(index, text)).collect();
        let list = Arc::new(DesiredList::new(entries, &self.key));
        self.hub.set_desired(Desired { list, resource_version: 1_795_479_919_858_428 + version }, self.now);
    }

    pub fn entry(&mut self, index: usize, text: &str) -> DesiredEntry {
        let hash = self.key.hash(Domain::Object, text.as_bytes());
        self.shelf.0.insert(hash, text.as_bytes().to_vec());
        let object = ObjectId::new("apps", "Deployment", "shop", &format!("service-{index:02}"));
        let wanted = Wanted::Content { hash, size: text.len() as u32, secret: false };
        DesiredEntry { bundle: BundleId(0xfeed_beef_1234_5678), object, version: "v1".into(), wanted }
    }

    pub fn connect(&mut self, chance: u8) {
        self.hub.disconnected();
        self.agent.disconnected();
        self.agent.connected([chance; 32], self.now);
    }

    /// Runs until nobody has anything to say; returns the bytes on the wire, MQTT included.
    pub fn settle(&mut self) -> usize {
        (self.bytes, self.up, self.frames) = (0, 0, 0);
        let mut rounds = 0;
        while self.step() {
            rounds += 1;
            assert!(rounds < 10_000, "they never stop talking");
        }
        self.bytes
    }

    pub fn step(&mut self) -> bool {
        self.commit();
        if let Some(frame) = self.hub.poll_transmit(&self.shelf, 60_000, self.now) {
            self.count(Direction::Down, &frame);
            let _ = self.agent.frame(&frame, [9; 32], &self.disk, self.now);
            return true;
        }
        if let Some(frame) = self.agent.poll_transmit(60_000, self.now) {
            self.count(Direction::Up, &frame);
            let _ = self.hub.frame(&frame, [8; 32], self.now);
            return true;
        }
        self.act()
    }

    pub fn commit(&mut self) {
        self.hub.take_writes();
        for write in self.agent.take_writes() {
            match write {
                AgentWrite::Content(hash, bytes) => drop(self.disk.0.insert(hash, bytes)),
                AgentWrite::DropContent(hash) => drop(self.disk.0.remove(&hash)),
                AgentWrite::Partial(hash, _, bytes) => self.disk.1.entry(hash).or_default().extend(bytes),
                AgentWrite::DropPartial(hash) => drop(self.disk.1.remove(&hash)),
                _ => {}
            }
        }
    }

    pub fn act(&mut self) -> bool {
        match self.agent.poll_action(self.now) {
            Some(action @ Action::Apply { .. }) => {
                self.finish(action);
                true
            }
            _ => false,
        }
    }

    /// The member has taken an object.
    pub fn finish(&mut self, action: Action) {
        let Action::Apply { object, hash, .. } = action else { panic!("no object to apply: {action:?}") };
        let live = Live { uid: "9b2a5a0e".into(), resource_version: "1".into(), origin: Origin::Created };
        self.agent.applied(&object, hash, ApplyOutcome::Applied(live), self.now);
    }

    /// An MQTT PUBLISH of QoS 0: fixed header, topic, payload.
    pub fn count(&mut self, direction: Direction, frame: &[u8]) {
        let rest = 2 + Topic::Main(Sid::from_random(1), direction).to_string().len() + frame.len();
        let packet = 1 + if rest < 128 { 1 } else { 2 + usize::from(rest >= 16_384) } + rest;
        self.bytes += packet;
        self.up += if direction == Direction::Up { packet } else { 0 };
        self.frames += 1;
    }
}

pub fn deployment(index: usize, image: &str) -> String {
    format!(
        r#"{{"apiVersion":"apps/v1","kind":"Deployment","metadata":{{"labels":{{"app":"service-{index}","clusternet.io/created-by":"clusternet-agent"}},"name":"service-{index:02}","namespace":"shop"}},"spec":{{"replicas":2,"selector":{{"matchLabels":{{"app":"service-{index}"}}}},"template":{{"metadata":{{"labels":{{"app":"service-{index}"}}}},"spec":{{"containers":[{{"env":[{{"name":"PORT","value":"80{index:02}"}}],"image":"{image}","name":"main","ports":[{{"containerPort":80{index:02}}}]}}]}}}}}}}}"#
    )
}

pub fn shop(image: &str) -> Vec<String> {
    (0..35).map(|index| deployment(index, if index == 7 { image } else { "registry.example/shop/service:1.0.0" })).collect()
}

pub fn settled() -> World {
    let mut world = World::new();
    world.desire(&shop("registry.example/shop/service:1.0.0"), 1);
    world.agent.surveyed(Vec::new(), 0);
    world.connect(1);
    world.settle();
    assert!(world.agent.is_held() && world.agent.is_reported() && world.hub.is_listed());
    world
}
