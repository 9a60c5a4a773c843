//! Two ends use what both of them have, and nothing else.

mod support;

use bus_schema::hash::HashKey;
use bus_schema::id::{BootId, IncarnationId};
use bus_schema::link::agent::{Agent, AgentConfig, AgentState};
use bus_schema::link::hub::{HubConfig, HubLink, HubState};
use bus_schema::message::Caps;
use bus_schema::stream::{Event, Limits, Mux, Role};

fn ends(at_hub: u64, at_agent: u64) -> (HubLink, Agent) {
    let (own, key) = (support::hub(), HashKey::public());
    let config = HubConfig { own, key: key.clone(), incarnation: IncarnationId(1), closed: Default::default(), features: at_hub };
    let mut hub = HubLink::new(config, HubState::default());
    hub.set_peer(Some(support::agent()), [0; 32], 0);
    let config = AgentConfig { features: at_agent, ..AgentConfig::new(BootId(7), support::trust(), key) };
    let mut agent = Agent::new(config, AgentState::default(), 0);
    support::connect(&mut hub, &mut agent, 1);
    (hub, agent)
}

/// Bytes on the wire of 20,000 letters that go down a stream of these two, where they come out as they were.
fn carried(hub: &HubLink, agent: &Agent) -> usize {
    let [mut from, mut to] = [Role::Hub, Role::Agent].map(|role| Mux::new(role, Limits { near: 0, ..Limits::default() }));
    from.connected(hub.stream_session().expect("both have streams").clone(), 0);
    to.connected(agent.stream_session().expect("both have streams").1.clone(), 0);
    let id = from.open(0).unwrap();
    from.write(id, b"head", 0);
    let opening = from.poll_transmit(60_000, 0).unwrap();
    to.frame(opening.into(), 0).unwrap();
    from.frame(to.poll_transmit(60_000, 0).unwrap().into(), 0).unwrap();
    from.pack(id);
    from.write(id, &[b'a'; 20_000], 0);
    let (mut bytes, mut came) = (0, Vec::new());
    while let Some(frame) = from.poll_transmit(60_000, 0) {
        bytes += frame.len();
        to.frame(frame.into(), 0).unwrap();
    }
    while let Some(event) = to.poll_event() {
        if let Event::Data(_, data, _) = event {
            came.extend_from_slice(&data);
        }
    }
    assert_eq!(came, [&b"head"[..], &[b'a'; 20_000]].concat());
    bytes
}

#[test]
fn whatever_either_end_has_streams_are_read_at_the_other() {
    for features in 0..16 {
        let (at_hub, at_agent) = ((features & 3) << 1 | Caps::STREAMS, (features >> 2) << 1 | Caps::STREAMS);
        let (hub, agent) = ends(at_hub, at_agent);
        let packs = at_hub & at_agent & Caps::PACKED != 0;
        let bytes = carried(&hub, &agent);
        assert_eq!(bytes < 1_000, packs, "{bytes} bytes between {at_hub:b} and {at_agent:b}");
    }
}

#[test]
fn a_hub_has_no_streams_with_an_agent_that_performs_none() {
    let (hub, _) = ends(Caps::STREAMS | Caps::PACKED, Caps::PACKED);
    assert!(hub.stream_session().is_none());
}
