//! What the usual messages cost, MQTT included: bytes are money. The goals are those of the design.

mod support;

use std::collections::BTreeMap;
use std::sync::Arc;

use bus_schema::hash::{Domain, Hash, HashKey};
use bus_schema::health::sentence;
use bus_schema::id::{BootId, BundleId, IncarnationId, ObjectId, Sid};
use bus_schema::limits::{COALESCE, PAUSE_RESULT};
use bus_schema::link::agent::{Action, Agent, AgentConfig, AgentState, AgentWrite, ApplyOutcome, Live, Origin};
use bus_schema::link::hub::{Desired, HubConfig, HubLink, HubState};
use bus_schema::link::{Cache, Contents};
use bus_schema::list::{DesiredEntry, DesiredList, Wanted};
use bus_schema::message::{Health, Level, Replicas};
use bus_schema::topic::{Direction, Topic};

#[derive(Default)]
struct Disk(BTreeMap<Hash, Vec<u8>>, BTreeMap<Hash, Vec<u8>>);

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

/// A hub and an agent on a perfect link that counts.
struct World {
    key: HashKey,
    hub: HubLink,
    agent: Agent,
    shelf: Disk,
    disk: Disk,
    bytes: usize,
    up: usize,
    frames: usize,
    now: u64,
}

impl World {
    fn new() -> World {
        let key = HashKey::public();
        let config =
            HubConfig { own: support::hub(), key: key.clone(), incarnation: IncarnationId(0x1234_5678_9abc_def0), closed: Arc::default() };
        let mut hub = HubLink::new(config, HubState::default());
        hub.set_peer(Some(support::agent()), [0; 32], 0);
        let agent = Agent::new(AgentConfig::new(BootId(77), support::trust(), key.clone()), AgentState::default(), 0);
        World { key, hub, agent, shelf: Disk::default(), disk: Disk::default(), bytes: 0, up: 0, frames: 0, now: 0 }
    }

    fn desire(&mut self, objects: &[String], version: u64) {
        let entries: Vec<_> = objects.iter().enumerate().map(|(index, text)| self.entry(index, text)).collect();
        let list = Arc::new(DesiredList::new(entries, &self.key));
        self.hub.set_desired(Desired { list, resource_version: 1_795_479_919_858_428 + version }, self.now);
    }

    fn entry(&mut self, index: usize, text: &str) -> DesiredEntry {
        let hash = self.key.hash(Domain::Object, text.as_bytes());
        self.shelf.0.insert(hash, text.as_bytes().to_vec());
        let object = ObjectId::new("apps", "Deployment", "shop", &format!("service-{index:02}"));
        let wanted = Wanted::Content { hash, size: text.len() as u32, secret: false };
        DesiredEntry { bundle: BundleId(0xfeed_beef_1234_5678), object, version: "v1".into(), wanted }
    }

    fn connect(&mut self, chance: u8) {
        self.hub.disconnected();
        self.agent.disconnected();
        self.agent.connected([chance; 32], self.now);
    }

    /// Runs until nobody has anything to say; returns the bytes on the wire, MQTT included.
    fn settle(&mut self) -> usize {
        (self.bytes, self.up, self.frames) = (0, 0, 0);
        let mut rounds = 0;
        while self.step() {
            rounds += 1;
            assert!(rounds < 10_000, "they never stop talking");
        }
        self.bytes
    }

    fn step(&mut self) -> bool {
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

    fn commit(&mut self) {
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

    fn act(&mut self) -> bool {
        match self.agent.poll_action(self.now) {
            Some(Action::Apply { object, hash, .. }) => {
                let live = Live { uid: "9b2a5a0e".into(), resource_version: "1".into(), origin: Origin::Created };
                self.agent.applied(&object, hash, ApplyOutcome::Applied(live), self.now);
                true
            }
            _ => false,
        }
    }

    /// An MQTT PUBLISH of QoS 0: fixed header, topic, payload.
    fn count(&mut self, direction: Direction, frame: &[u8]) {
        let rest = 2 + Topic::Main(Sid::from_random(1), direction).to_string().len() + frame.len();
        let packet = 1 + if rest < 128 { 1 } else { 2 + usize::from(rest >= 16_384) } + rest;
        self.bytes += packet;
        self.up += if direction == Direction::Up { packet } else { 0 };
        self.frames += 1;
    }
}

fn deployment(index: usize, image: &str) -> String {
    format!(
        r#"{{"apiVersion":"apps/v1","kind":"Deployment","metadata":{{"labels":{{"app":"service-{index}","clusternet.io/created-by":"clusternet-agent"}},"name":"service-{index:02}","namespace":"shop"}},"spec":{{"replicas":2,"selector":{{"matchLabels":{{"app":"service-{index}"}}}},"template":{{"metadata":{{"labels":{{"app":"service-{index}"}}}},"spec":{{"containers":[{{"env":[{{"name":"PORT","value":"80{index:02}"}}],"image":"{image}","name":"main","ports":[{{"containerPort":80{index:02}}}]}}]}}}}}}}}"#
    )
}

fn shop(image: &str) -> Vec<String> {
    (0..35).map(|index| deployment(index, if index == 7 { image } else { "registry.example/shop/service:1.0.0" })).collect()
}

fn settled() -> World {
    let mut world = World::new();
    world.desire(&shop("registry.example/shop/service:1.0.0"), 1);
    world.agent.surveyed(Vec::new(), 0);
    world.connect(1);
    world.settle();
    assert!(world.agent.is_held() && world.agent.is_reported() && world.hub.is_listed());
    world
}

#[test]
fn one_image_of_35_objects_costs_300_bytes() {
    let mut world = settled();
    world.desire(&shop("registry.example/shop/service:1.0.1"), 2);
    let bytes = world.settle();
    eprintln!("one image change, delta + applied + acknowledged: {bytes} bytes in {} frames", world.frames);
    assert!(world.agent.is_reported() && bytes <= 300, "{bytes}");
}

#[test]
fn an_unchanged_reconnect_costs_256_bytes_of_greeting() {
    let mut world = settled();
    world.connect(2);
    let bytes = world.settle();
    let mqtt = world.frames * 20;
    eprintln!(
        "unchanged reconnect: {bytes} bytes in {} frames, {} without MQTT; CONNECT to SUBACK not counted",
        world.frames,
        bytes - mqtt
    );
    assert!(bytes <= 450 - 56, "{bytes}: with CONNECT, CONNACK, SUBSCRIBE and SUBACK (56) more than 450");
}

#[test]
fn one_field_in_a_megabyte_costs_500_bytes() {
    let large = |word: &str| -> Vec<String> {
        let lines: String =
            (0..40_000_u64).map(|line| format!("\"setting-{line}\":\"{:x}\",", line.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 20)).collect();
        vec![format!("{{{lines}\"word\":\"{word}\"}}")]
    };
    let mut world = World::new();
    world.desire(&large("old"), 1);
    world.agent.surveyed(Vec::new(), 0);
    world.connect(1);
    world.settle();
    assert!(world.agent.is_held());
    world.desire(&large("new"), 2);
    let bytes = world.settle();
    eprintln!("one field in {} bytes: {bytes} bytes in {} frames", large("old")[0].len(), world.frames);
    assert!(world.agent.is_reported() && bytes <= 500, "{bytes}");
}

/// Everything that a small cluster says of itself, as the agent writes it.
fn facts(pods: u32) -> Vec<u8> {
    let sums = r#"{"cpu":"12","memory":"24587Mi"}"#;
    format!(
        r#"{{"agentVersion":"0.1.0","k8sVersion":"v1.37.2","platform":"linux/arm64","apiserverURL":"https://10.96.0.1:443","healthz":true,"livez":true,"readyz":true,"heartbeatFrequencySeconds":30,"capacity":{sums},"allocatable":{sums},"nodeStatistics":{{"readyNodes":3,"notReadyNodes":0,"unknownNodes":0,"lostNodes":0}},"clusterCIDR":"10.244.0.0/16","serviceCIDR":"10.96.0.0/12","podStatistics":{{"runningPods":{pods},"totalPods":{}}},"nodeLabels":{{"node.clusternet.io/site":"harbour-7","node.clusternet.io/zone":"north"}}}}"#,
        pods + 4
    )
    .into_bytes()
}

#[test]
fn a_changed_count_of_pods_costs_120_bytes_and_all_facts_600() {
    let mut world = settled();
    world.agent.set_facts(facts(41), world.now);
    world.now += 1_000;
    let first = world.settle();
    eprintln!("all facts ({} bytes): {} bytes, with their acknowledgement {first}", facts(41).len(), world.up);
    assert!(world.up <= 600, "{}", world.up);
    world.agent.set_facts(facts(38), world.now);
    world.now += 1_000;
    let bytes = world.settle();
    eprintln!("a status change: {} bytes, with its acknowledgement {bytes}", world.up);
    assert!(world.up <= 120, "{}", world.up);
    assert_eq!(world.hub.table().rows[&ObjectId::default()].facts, facts(38));
}

#[test]
fn facts_that_have_not_changed_are_not_told_again_nor_after_a_reconnect() {
    let mut bare = settled();
    bare.connect(2);
    let unchanged = bare.settle();
    let mut world = settled();
    world.agent.set_facts(facts(41), world.now);
    world.now += 1_000;
    world.settle();
    world.agent.set_facts(facts(41), world.now);
    world.now += 1_000;
    assert_eq!(world.settle(), 0, "the same facts again");
    world.connect(2);
    assert_eq!(world.settle(), unchanged, "a reconnect costs the same with facts and without");
}

fn object() -> ObjectId {
    ObjectId::new("apps", "Deployment", "shop", "service-07")
}

/// A Deployment of three on its way, or there.
fn rollout(level: Level, reason: &str, ready: i32) -> Health {
    let [replicas, updated, desired] = [3; 3];
    let numbers = Replicas {
        observed_generation: 7,
        generation: 7,
        replicas,
        updated,
        desired,
        ready,
        available: ready,
        unavailable: 3 - ready,
        ..Replicas::default()
    };
    let message = sentence(reason, Some(&numbers));
    Health { level: level as i32, reason: reason.into(), message, replicas: Some(numbers), ..Health::default() }
}

#[test]
fn a_health_change_reaches_the_hub_and_costs_120_bytes() {
    let mut world = settled();
    world.now += 60_000;
    let health = rollout(Level::Unhealthy, "ImagePullBackOff", 2);
    world.agent.health(&object(), health.clone(), false, world.now);
    world.now += COALESCE;
    let bytes = world.settle();
    eprintln!("a health change: {} bytes, with its acknowledgement {bytes}", world.up);
    assert_eq!(world.hub.table().rows[&object()].health, Some(health));
    // The acknowledgement is mostly padding and MQTT, and says one number.
    assert!(world.up <= 120 && bytes <= 136, "{bytes}");
}

#[test]
fn a_rollout_costs_two_reports_and_its_result_is_told_within_the_pause() {
    let mut world = settled();
    world.now += 60_000;
    world.desire(&shop("registry.example/shop/service:1.0.1"), 2);
    let mut bytes = world.settle();
    assert!(world.agent.is_reported(), "applied waits for nothing");
    let steps = [("NotObserved", 2), ("Updating", 0), ("NotReady", 1), ("NotReady", 2)];
    for (reason, ready) in steps {
        world.agent.health(&object(), rollout(Level::Progressing, reason, ready), false, world.now);
        world.now += 100;
        bytes += world.settle();
    }
    assert!(!world.agent.is_reported(), "progress was told at once after a step");
    let healthy = rollout(Level::Healthy, "", 3);
    world.agent.health(&object(), healthy.clone(), false, world.now);
    world.now += PAUSE_RESULT;
    bytes += world.settle();
    eprintln!("one image change with its rollout: {bytes} bytes");
    assert_eq!(world.hub.table().rows[&object()].health, Some(healthy));
    assert!(world.agent.is_reported() && bytes <= 300 + 120, "{bytes}");
}

#[test]
fn progress_after_a_quiet_time_is_told_at_once_then_at_a_bounded_rate() {
    let mut world = settled();
    world.now += 60_000;
    let mut frames = 0;
    for round in 0..100 {
        world.agent.health(&object(), rollout(Level::Progressing, "NotReady", round % 3), false, world.now);
        world.now += 100;
        world.settle();
        frames += world.frames;
        assert!(round > 0 || frames == 2, "the first step waited");
    }
    assert_eq!(frames, 4, "a report and an acknowledgement each five seconds");
}
