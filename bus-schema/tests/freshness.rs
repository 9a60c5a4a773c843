//! A broker that withholds frames: what is shown grows old, and nothing else happens.

mod support;

use std::sync::Arc;

use bus_schema::hash::HashKey;
use bus_schema::id::{BootId, IncarnationId, Millis};
use bus_schema::link::agent::{Agent, AgentConfig, AgentState};
use bus_schema::link::hub::{Desired, HubConfig, HubLink, HubState};
use bus_schema::list::DesiredList;
use support::Nothing;

const HEARTBEAT: Millis = 30_000;

/// What the broker passes on, up and down.
#[derive(Clone, Copy)]
struct Passes {
    up: bool,
    down: bool,
}

const OPEN: Passes = Passes { up: true, down: true };

struct World {
    hub: HubLink,
    agent: Agent,
    now: Millis,
    greetings: u32,
    seed: u8,
}

impl World {
    fn new() -> World {
        let key = HashKey::public();
        let config =
            HubConfig { own: support::hub(), key: key.clone(), incarnation: IncarnationId(1), closed: Default::default(), features: 0 };
        let mut hub = HubLink::new(config, HubState::default());
        hub.set_peer(Some(support::agent()), [0; 32], 0);
        hub.set_desired(Desired { list: Arc::new(DesiredList::new([], &key)), resource_version: 1 }, 0);
        let config = AgentConfig { heartbeat: Some(HEARTBEAT), ..AgentConfig::new(BootId(1), support::trust(), key) };
        let mut agent = Agent::new(config, AgentState::default(), 0);
        agent.surveyed(Vec::new(), 0);
        agent.connected([1; 32], 0);
        World { hub, agent, now: 0, greetings: 0, seed: 1 }
    }

    fn run(&mut self, span: Millis, passes: Passes) {
        let end = self.now + span;
        while self.now < end {
            self.now += 100;
            self.turn(passes);
        }
    }

    fn turn(&mut self, passes: Passes) {
        self.seed = self.seed.wrapping_add(1);
        let nonce = [self.seed; 32];
        self.agent.timeout(nonce, self.now);
        for _ in 0..20 {
            drop((self.agent.take_writes(), self.hub.take_writes()));
            let up = self.agent.poll_transmit(60_000, self.now);
            if let Some(frame) = up.as_ref().filter(|_| passes.up) {
                self.greetings += u32::from(frame[3] == 1);
                let _ = self.hub.frame(frame, nonce, self.now);
                drop(self.hub.take_writes());
            }
            let down = self.hub.poll_transmit(&Nothing, 60_000, self.now);
            if let Some(frame) = down.as_ref().filter(|_| passes.down) {
                let _ = self.agent.frame(frame, nonce, &Nothing, self.now);
            }
            if up.is_none() && down.is_none() {
                return;
            }
        }
    }

    fn age(&self) -> Millis {
        self.now - self.hub.last_heard().expect("in session")
    }
}

#[test]
fn a_fresh_link_is_never_older_than_a_heartbeat() {
    let mut world = World::new();
    for _ in 0..600 {
        world.run(1_000, OPEN);
        assert!(world.age() <= HEARTBEAT + 1_000, "{}", world.age());
    }
    assert_eq!(world.greetings, 1);
}

#[test]
fn what_an_agent_says_and_a_broker_withholds_shows_as_age() {
    let mut world = World::new();
    world.run(60_000, OPEN);
    world.run(HEARTBEAT * 5 / 2, Passes { up: false, down: true });
    assert!(world.age() >= HEARTBEAT * 3 / 2, "{}", world.age());
}

#[test]
fn an_agent_whose_hub_is_withheld_greets_again_within_two_and_a_half_heartbeats() {
    let mut world = World::new();
    world.run(60_000, OPEN);
    let before = world.greetings;
    world.run(HEARTBEAT * 5 / 2 + 1_000, Passes { up: true, down: false });
    assert!(world.greetings > before, "the hub sees that its words do not arrive");
    assert!(!world.agent.in_session());
    world.run(61_000, OPEN);
    assert!(world.agent.in_session() && world.age() <= HEARTBEAT, "and it heals");
}
