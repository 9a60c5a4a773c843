//! Everything that an agent may not do: one table for the plain gate, the gate over TLS, and brokers that others run.

use super::{Hello, packet, publish, subscribe};

/// Another agent.
pub const OTHER: &str = "bbbbbbbb";

/// Packets after CONNECT for which `own` is closed.
pub fn packets(own: &'static str) -> Vec<(&'static str, Vec<u8>)> {
    let mine = |rest: &str| format!("cn1/{own}/{rest}");
    let others = |rest: &str| format!("cn1/{OTHER}/{rest}");
    let longer = format!("cn1/{own}a/u/m");
    vec![
        ("subscribe to everything", subscribe("#", 0)),
        ("subscribe to every first level", subscribe("+", 0)),
        ("subscribe to everything below the prefix", subscribe("cn1/#", 0)),
        ("subscribe to every agent's downlink", subscribe("cn1/+/d/#", 0)),
        ("subscribe to every agent's uplink", subscribe("cn1/+/u/#", 0)),
        ("subscribe to another agent's downlink", subscribe(&others("d/#"), 0)),
        ("subscribe to another agent's messages", subscribe(&others("d/m"), 0)),
        ("subscribe to another agent's uplink", subscribe(&others("u/#"), 0)),
        ("subscribe to its own uplink", subscribe(&mine("u/#"), 0)),
        ("subscribe to both its directions", subscribe(&mine("#"), 0)),
        ("subscribe to its directions by wildcard", subscribe(&mine("+/m"), 0)),
        ("subscribe to every fleet channel", subscribe("cn1/f/#", 0)),
        ("subscribe to each fleet channel", subscribe("cn1/f/+", 0)),
        ("share its own downlink", subscribe(&format!("$share/g/{}", mine("d/#")), 0)),
        ("share everything", subscribe("$share/g/#", 0)),
        ("subscribe below test/", subscribe("test/#", 0)),
        ("subscribe to system topics", subscribe("$SYS/#", 0)),
        ("subscribe to an invalid filter", subscribe("cn1/#/d", 0)),
        ("subscribe to the empty filter", subscribe("", 0)),
        ("subscribe to one filter it may and one it may not", packet(0x82, &two_filters(&mine("d/#"), &others("d/#")))),
        ("publish to another agent's uplink", publish(&others("u/m"), b"x", 0, 0)),
        ("publish to another agent's downlink", publish(&others("d/m"), b"x", 0, 0)),
        ("publish to another agent's stream", publish(&others("d/s/1"), b"x", 0, 0)),
        ("publish to its own downlink", publish(&mine("d/m"), b"x", 0, 0)),
        ("publish to an id that begins like its own", publish(&longer, b"x", 0, 0)),
        ("publish an announcement", publish("cn1/f/0", b"x", 0, 0)),
        ("publish to a fleet channel", publish("cn1/f/00000000000000ff", b"x", 0, 0)),
        ("publish below test/", publish("test/x", b"x", 0, 0)),
        ("publish to system topics", publish("$SYS/x", b"x", 0, 0)),
        ("publish to a wildcard", publish(&mine("u/+"), b"x", 0, 0)),
        ("publish to the empty topic", publish("", b"x", 0, 0)),
        ("publish to a topic with NUL", publish(&mine("u/\0"), b"x", 0, 0)),
        ("publish a retained message to another agent", retained(&others("d/m"))),
        ("delete another agent's retained message", packet(0x31, &super::text(&others("d/m")))),
        ("publish with QoS 2", publish(&mine("u/m"), b"x", 2, 1)),
        ("publish with QoS 3", publish(&mine("u/m"), b"x", 3, 1)),
        ("publish with packet id 0", publish(&mine("u/m"), b"x", 1, 0)),
        ("a second CONNECT", Hello::new(own).bytes()),
        ("a CONNECT as another", Hello::new(OTHER).bytes()),
        ("an acknowledgement of nothing", packet(0x40, &[0, 1])),
        ("a release of nothing", packet(0x62, &[0, 1])),
        ("a packet of the server", packet(0x20, &[0, 0])),
        ("a message of MQTT 5", packet(0xf0, &[0, 0])),
        ("reserved flags", packet(0xc1, &[])),
        ("a length that never ends", vec![0x30, 0xff, 0xff, 0xff, 0xff, 0xff]),
        ("256 MiB announced", vec![0x30, 0xff, 0xff, 0xff, 0x7f]),
        ("a packet larger than allowed", packet(0x30, &vec![0; 70_000])),
    ]
}

/// CONNECTs of `own` that are refused, and the code of CONNACK.
pub fn connects(own: &'static str) -> Vec<(&'static str, Hello<'static>, u8)> {
    let will = |topic| Hello { will: Some((topic, b"w")), ..Hello::new(own) };
    vec![
        ("MQTT 5", Hello { level: 5, ..Hello::new(own) }, 1),
        ("MQTT 3.1 by level", Hello { level: 3, ..Hello::new(own) }, 1),
        ("a client that is no agent, while they are off", Hello::new("an-observer"), 5),
        ("a will for another agent", will("cn1/bbbbbbbb/u/m"), 5),
        ("a will down", will("cn1/aaaaaaaa/d/m"), 5),
        ("a will to the fleet", will("cn1/f/0"), 5),
        ("a will with a wildcard", will("cn1/aaaaaaaa/u/#"), 5),
    ]
}

fn two_filters(one: &str, two: &str) -> Vec<u8> {
    [vec![0, 1], super::text(one), vec![0], super::text(two), vec![0]].concat()
}

fn retained(topic: &str) -> Vec<u8> {
    packet(0x31, &[super::text(topic), b"x".to_vec()].concat())
}
