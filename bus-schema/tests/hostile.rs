//! Bytes that nobody honest would send, to both ends: nothing panics, nothing grows.

mod support;

use std::collections::BTreeMap;
use std::sync::Arc;

use bus_schema::frame;
use bus_schema::greeting::{Hello, no_session};
use bus_schema::hash::{Domain, Hash, HashKey};
use bus_schema::id::{BootId, BundleId, IncarnationId, ObjectId};
use bus_schema::link::Contents;
use bus_schema::link::agent::{Agent, AgentConfig, AgentState};
use bus_schema::link::hub::{Desired, HubConfig, HubLink, HubState};
use bus_schema::list::{DesiredEntry, DesiredList, Wanted};
use bus_schema::message::Kind;
use support::Nothing;

struct One(Hash, Arc<[u8]>);

impl Contents for One {
    fn get(&self, hash: &Hash) -> Option<Arc<[u8]>> {
        (*hash == self.0).then(|| self.1.clone())
    }
}

struct Rng(u64);

impl Rng {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        self.0 >> 33
    }
}

/// A hub and an agent in session, and the frames they exchanged on the way.
fn pair() -> (HubLink, Agent, One, Vec<Vec<u8>>) {
    let key = HashKey::public();
    let content = One(key.hash(Domain::Object, b"{}"), b"{}".as_slice().into());
    let object = ObjectId { kind: "ConfigMap".into(), namespace: "shop".into(), name: "a".into(), ..ObjectId::default() };
    let entry = DesiredEntry {
        bundle: BundleId(1),
        object,
        version: "v1".into(),
        wanted: Wanted::Content { hash: content.0, size: 2, secret: false },
    };
    let config =
        HubConfig { own: support::hub(), key: key.clone(), incarnation: IncarnationId(1), closed: Arc::new(BTreeMap::new()), features: 0 };
    let mut hub = HubLink::new(config, HubState::default());
    hub.set_peer(Some(support::agent()), [0; 32], 0);
    hub.set_desired(Desired { list: Arc::new(DesiredList::new([entry], &key)), resource_version: 5 }, 0);
    let mut agent = Agent::new(AgentConfig::new(BootId(1), support::trust(), key), AgentState::default(), 0);
    agent.surveyed(Vec::new(), 0);
    agent.connected([1; 32], 0);
    let mut seen = Vec::new();
    for now in 0..20 {
        drop((agent.take_writes(), hub.take_writes()));
        while let Some(frame) = agent.poll_transmit(60_000, now * 100) {
            let _ = hub.frame(&frame, [2; 32], now * 100);
            drop(hub.take_writes());
            seen.push(frame);
        }
        while let Some(frame) = hub.poll_transmit(&content, 60_000, now * 100) {
            let _ = agent.frame(&frame, [3; 32], &Nothing, now * 100);
            drop(agent.take_writes());
            seen.push(frame);
        }
    }
    assert!(agent.in_session() && hub.session().is_some() && seen.len() > 5, "the two ends must have talked");
    (hub, agent, content, seen)
}

#[test]
fn a_hundred_thousand_mutated_frames_harm_neither_end() {
    let (mut hub, mut agent, content, seen) = pair();
    let [(mut up, _), (mut down, _)] = support::session([1, 2]);
    let (bodies, mut rng) = (bodies(&seen), Rng(1));
    let (mut now, mut taken) = (10_000, 0_u32);
    // Emulated processors take their time: they get fewer.
    let rounds = std::env::var("CLUSTERNET_EDGE_HOSTILE_ROUNDS").ok().and_then(|text| text.parse().ok()).unwrap_or(100_000_u64);
    for round in 0..rounds {
        now += 1;
        let frame = match round % 2 {
            0 => {
                // Sealed anew, so that the mutation reaches what is behind the seal.
                let (kind, body) = &bodies[rng.next() as usize % bodies.len()];
                let body = mutated(body, &mut rng);
                let sender = if round % 4 == 0 { &mut up } else { &mut down };
                if *kind == Kind::Hello { greeting(&body, round) } else { sender.seal_bytes(*kind, &body) }
            }
            _ => mutated(&seen[rng.next() as usize % seen.len()], &mut rng),
        };
        taken += u32::from(hub.frame(&frame, [2; 32], now).is_ok()) + u32::from(agent.frame(&frame, [3; 32], &Nothing, now).is_ok());
        let spoken = [agent.poll_transmit(60_000, now), hub.poll_transmit(&content, 60_000, now)];
        drop((agent.take_writes(), hub.take_writes(), agent.poll_action(now), spoken));
        while hub.poll_event().is_some() || agent.poll_event().is_some() {}
        assert!(hub.table().rows.len() < 1_000 && agent.state().contents.len() < 1_000 && agent.state().partials.len() < 1_000);
    }
    assert!(u64::from(taken) > rounds / 100, "only {taken} frames reached what is behind the seal");
}

fn mutated(bytes: &[u8], rng: &mut Rng) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for _ in 0..rng.next() % 4 {
        let at = rng.next() as usize % bytes.len().max(1);
        if let Some(byte) = bytes.get_mut(at) {
            *byte = rng.next() as u8;
        }
    }
    bytes.truncate(bytes.len().saturating_sub(rng.next() as usize % 3));
    bytes
}

/// What is behind the seals of a session with the seeds 1 and 2; of the greetings, the Hello.
fn bodies(seen: &[Vec<u8>]) -> Vec<(Kind, Vec<u8>)> {
    let keys = support::greetings([1, 2], b"", b"").2;
    let opened = |frame: &Vec<u8>| {
        let opened = frame::open(&keys.up, frame).or_else(|_| frame::open(&keys.down, frame));
        opened.map(|(header, body)| (header.kind, body)).ok()
    };
    let hello = (Kind::Hello, vec![8, 1, 16, 2, 24, 3]);
    let bodies: Vec<_> = seen.iter().filter_map(opened).chain([hello]).collect();
    assert!(bodies.len() > 4, "the frames of the session open with its keys");
    bodies
}

fn greeting(body: &[u8], round: u64) -> Vec<u8> {
    Hello::seal(&support::trust(), [round as u8; 32], body).expect("it fits").frame
}

#[test]
fn random_bytes_are_refused() {
    let (mut hub, mut agent, ..) = pair();
    let mut rng = Rng(7);
    for _ in 0..20_000 {
        let len = rng.next() as usize % 200;
        let bytes: Vec<u8> = std::iter::repeat_with(|| rng.next() as u8).take(len).collect();
        assert!(hub.frame(&bytes, [0; 32], 0).is_err());
        assert!(agent.frame(&bytes, [0; 32], &Nothing, 0).is_err());
    }
}

#[test]
fn a_welcome_for_another_hello_is_refused() {
    let (_, mut agent, ..) = pair();
    agent.connected([9; 32], 50_000);
    let (_, welcome, _) = support::greetings([8, 4], b"", b"");
    assert!(agent.frame(&welcome, [0; 32], &Nothing, 50_000).is_err());
}

#[test]
fn nobody_but_the_hub_makes_an_agent_register_again() {
    let (_, mut agent, ..) = pair();
    agent.connected([9; 32], 50_000);
    while agent.poll_event().is_some() {}
    assert!(agent.frame(&no_session(), [0; 32], &Nothing, 50_000).is_err());
    assert_eq!(agent.poll_event(), None);
}
