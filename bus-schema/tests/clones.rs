//! Two processes with one identity, as a copied disk makes them.

mod support;

use bus_schema::hash::HashKey;
use bus_schema::id::{BootId, IncarnationId};
use bus_schema::link::agent::{Agent, AgentConfig, AgentState};
use bus_schema::link::hub::{HubConfig, HubLink, HubState};
use support::Nothing;

fn agent(boot: u64) -> Agent {
    Agent::new(AgentConfig::new(BootId(boot), support::trust(), HashKey::public()), AgentState::default(), 0)
}

/// One connect: Hello, Welcome, and the first frame of the session.
fn connect(hub: &mut HubLink, agent: &mut Agent, chance: u8) {
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

#[test]
fn a_process_that_comes_back_after_it_was_replaced_is_a_clone_until_a_new_one_starts() {
    let config = HubConfig { own: support::hub(), key: HashKey::public(), incarnation: IncarnationId(1), closed: Default::default() };
    let mut hub = HubLink::new(config, HubState::default());
    hub.set_peer(Some(support::agent()), [0; 32], 0);
    let (mut one, mut two, mut fresh) = (agent(1), agent(2), agent(3));
    connect(&mut hub, &mut one, 1);
    connect(&mut hub, &mut one, 2);
    connect(&mut hub, &mut two, 3);
    assert_eq!(hub.clones(), None, "a restart is no clone");
    connect(&mut hub, &mut one, 4);
    assert_eq!(hub.clones(), Some([BootId(2), BootId(1)]));
    assert_eq!(hub.poll_transmit(&Nothing, 60_000, 0), None, "neither is served");
    connect(&mut hub, &mut fresh, 5);
    assert_eq!(hub.clones(), None);
    assert!(hub.poll_transmit(&Nothing, 60_000, 0).is_some());
}
