//! Two processes with one identity, as a copied disk makes them, or one that is being replaced.

mod support;

use bus_schema::hash::HashKey;
use bus_schema::id::{BootId, IncarnationId};
use bus_schema::limits::CLONE_SILENCE;
use bus_schema::link::agent::{Agent, AgentConfig, AgentState};
use bus_schema::link::hub::{HubConfig, HubLink, HubState};
use support::{Nothing, connect};

fn agent(boot: u64) -> Agent {
    Agent::new(AgentConfig::new(BootId(boot), support::trust(), HashKey::public()), AgentState::default(), 0)
}

fn hub() -> HubLink {
    let config =
        HubConfig { own: support::hub(), key: HashKey::public(), incarnation: IncarnationId(1), closed: Default::default(), features: 0 };
    let mut hub = HubLink::new(config, HubState::default());
    hub.set_peer(Some(support::agent()), [0; 32], 0);
    hub
}

/// The first of two took the link back from the second.
fn taken_back() -> (HubLink, Agent, Agent) {
    let (mut hub, mut one, mut two) = (hub(), agent(1), agent(2));
    connect(&mut hub, &mut one, 1);
    connect(&mut hub, &mut two, 2);
    connect(&mut hub, &mut one, 3);
    assert!(hub.clones().is_some());
    (hub, one, two)
}

fn speaks(hub: &mut HubLink, now: u64) -> bool {
    hub.timeout(now);
    hub.take_writes();
    hub.poll_transmit(&Nothing, 60_000, now).is_some()
}

#[test]
fn a_process_that_comes_back_after_it_was_replaced_is_a_clone_until_a_new_one_starts() {
    let (mut hub, mut one, mut two, mut fresh) = (hub(), agent(1), agent(2), agent(3));
    connect(&mut hub, &mut one, 1);
    connect(&mut hub, &mut one, 2);
    connect(&mut hub, &mut two, 3);
    assert_eq!(hub.clones(), None, "a restart is no clone");
    connect(&mut hub, &mut one, 4);
    assert_eq!(hub.clones(), Some([BootId(2), BootId(1)]));
    assert!(!speaks(&mut hub, 0), "neither is served");
    connect(&mut hub, &mut fresh, 5);
    assert_eq!(hub.clones(), None);
    assert!(speaks(&mut hub, 0));
}

#[test]
fn of_two_processes_the_one_that_is_left_when_the_other_says_goodbye_is_served() {
    let (mut hub, _leaving, mut next) = taken_back();
    hub.ended();
    hub.disconnected();
    connect(&mut hub, &mut next, 4);
    assert_eq!(hub.clones(), None);
    assert!(speaks(&mut hub, 0));
}

#[test]
fn of_two_processes_the_one_that_is_left_alone_for_long_is_served_and_who_comes_back_then_is_a_clone_again() {
    let (mut hub, mut one, mut two) = taken_back();
    let due = hub.poll_timeout().expect("it ends by itself");
    assert_eq!(due, CLONE_SILENCE);
    assert!(!speaks(&mut hub, due - 1) && speaks(&mut hub, due));
    assert_eq!(hub.clones(), None);
    connect(&mut hub, &mut two, 4);
    assert_eq!(hub.clones(), None, "as if it were new");
    connect(&mut hub, &mut one, 5);
    assert!(hub.clones().is_some());
}
