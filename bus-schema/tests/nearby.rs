//! What goes to a peer that answers at once is not packed, and neither is what comes from there.

use bus_schema::frame::Key;
use bus_schema::limits::MAX_FRAME;
use bus_schema::stream::{Event, Limits, Mux, Role, Session};

static ANSWER: [u8; 20_000] = [b'a'; 20_000];

fn ends() -> [Mux; 2] {
    let session = || Session { peer: 1, send: Key::public(), receive: Key::public(), max_frame: MAX_FRAME, packs: true };
    [Role::Hub, Role::Agent].map(|role| {
        let mut end = Mux::new(role, Limits::default());
        end.connected(session(), 0);
        end
    })
}

/// Bytes of all frames.
fn pass(from: &mut Mux, to: &mut Mux, now: u64) -> usize {
    let mut bytes = 0;
    while let Some(frame) = from.poll_transmit(MAX_FRAME, now) {
        bytes += frame.len();
        to.frame(frame.into(), now).unwrap();
    }
    bytes
}

/// Asks at `asked`, and gives the bytes that the answer, made at once, takes on its way. The hub acknowledges it with what it says next.
fn exchange([hub, agent]: &mut [Mux; 2], asked: u64, answered: u64) -> usize {
    let id = hub.open(asked).unwrap();
    hub.write(id, b"request", asked);
    hub.finish(id, asked);
    pass(hub, agent, asked);
    agent.pack(id);
    agent.write(id, &ANSWER, answered);
    agent.finish(id, answered);
    let bytes = pass(agent, hub, answered);
    let came = std::iter::from_fn(|| hub.poll_event()).map(|event| match event {
        Event::Data(_, data, _) => data.len(),
        other => panic!("{other:?}"),
    });
    let came = came.sum();
    hub.consumed(id, came, answered);
    assert_eq!(came, ANSWER.len());
    bytes
}

#[test]
fn an_agent_that_the_hub_has_found_nearby_packs_no_answer() {
    let mut near = ends();
    assert!(exchange(&mut near, 0, 2) < 1_000, "nothing is known yet");
    assert!(exchange(&mut near, 10, 12) > ANSWER.len());
    assert!(exchange(&mut near, 1_000, 1_900) > ANSWER.len(), "a slow answer of the API server says nothing of the link");
}

#[test]
fn an_agent_that_is_not_packs_all_answers() {
    let mut far = ends();
    for asked in [0, 100, 200] {
        assert!(exchange(&mut far, asked, asked + 20) < 1_000);
    }
}
