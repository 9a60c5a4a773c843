//! The keys of one hub and one agent, and a disk with nothing on it.
#![allow(dead_code)] // Each test program uses its part.

pub mod world;

use std::sync::Arc;

use bus_schema::frame::{Receiver, Sender};
use bus_schema::greeting::{Hello, SessionKeys, open_hello};
use bus_schema::hash::Hash;
use bus_schema::link::agent::Agent;
use bus_schema::link::hub::HubLink;
use bus_schema::link::{Cache, Contents};
use bus_schema::secret::{LinkPublic, LinkSecret, Trust};

/// Has nothing, and keeps nothing.
pub struct Nothing;

impl Cache for Nothing {
    fn content(&self, _: &Hash) -> Option<Vec<u8>> {
        None
    }

    fn partial(&self, _: &Hash) -> Vec<u8> {
        Vec::new()
    }
}

impl Contents for Nothing {
    fn get(&self, _: &Hash) -> Option<Arc<[u8]>> {
        None
    }
}

fn secrets() -> [LinkSecret; 2] {
    [[1; 32], [2; 32]].map(LinkSecret::new)
}

pub fn trust() -> Trust {
    let [agent, hub] = secrets();
    Trust { own: agent, peer: hub.public() }
}

pub fn hub() -> Arc<[LinkSecret]> {
    let [_, hub] = secrets();
    [hub].into()
}

pub fn agent() -> LinkPublic {
    secrets()[0].public()
}

/// Both greetings of an exchange with these seeds and bodies, and its keys.
pub fn greetings(seeds: [u8; 2], hello: &[u8], welcome: &[u8]) -> (Vec<u8>, Vec<u8>, SessionKeys) {
    let at_hub = Trust { own: hub()[0].clone(), peer: agent() };
    let sealed = Hello::seal(&trust(), [seeds[0]; 32], hello).expect("it fits");
    let greeted = open_hello(&at_hub, &[seeds[1]; 32], &sealed.frame).expect("it is the agent's");
    let (frame, keys) = greeted.welcome(welcome).expect("it fits");
    (sealed.frame, frame, keys)
}

/// What both ends of a session with these seeds would send and take.
pub fn session(seeds: [u8; 2]) -> [(Sender, Receiver); 2] {
    let (_, _, keys) = greetings(seeds, b"", b"");
    [(Sender::new(keys.up.clone()), Receiver::new(keys.up)), (Sender::new(keys.down.clone()), Receiver::new(keys.down))]
}

/// One connect: Hello, Welcome, and the first frame of the session.
pub fn connect(hub: &mut HubLink, agent: &mut Agent, chance: u8) {
    agent.connected([chance; 32], 0);
    agent.take_writes();
    let hello = agent.poll_transmit(60_000, 0).expect("an agent greets");
    hub.frame(&hello, [chance + 100; 32], 0).unwrap();
    hub.take_writes();
    let welcome = hub.poll_transmit(&Nothing, 60_000, 0).expect("a hub answers");
    agent.frame(&welcome, [0; 32], &Nothing, 0).unwrap();
    agent.take_writes();
    let first = agent.poll_transmit(60_000, 0).expect("an agent confirms");
    hub.frame(&first, [0; 32], 0).unwrap();
    hub.take_writes();
}
