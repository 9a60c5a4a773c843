//! The ways in which a stock rumqttd listener dies for everybody: each kills a stock `Broker` here, and not the gate.

mod support;

use std::net::{SocketAddr, TcpListener};
use std::thread;
use std::time::{Duration, Instant};

use rumqttd::{Broker, Config, ConnectionSettings, RouterConfig, ServerSettings};
use support::*;

/// A stock broker on a free port; it never ends, so its threads live as long as the test program.
fn stock(max_connections: usize) -> SocketAddr {
    let addr = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let connections = ConnectionSettings {
        connection_timeout_ms: 5000,
        max_payload_size: 1 << 20,
        max_inflight_count: 100,
        auth: None,
        external_auth: None,
        dynamic_filters: false,
    };
    let server = ServerSettings { name: "stock".into(), listen: addr, tls: None, next_connection_delay_ms: 0, connections };
    let router = RouterConfig {
        max_connections,
        max_outgoing_packet_count: 200,
        max_segment_size: 1 << 20,
        max_segment_count: 4,
        ..RouterConfig::default()
    };
    let v4 = Some([("1".to_owned(), server)].into());
    let mut broker = Broker::new(Config { router, v4, ..Config::default() });
    thread::spawn(move || drop(broker.start()));
    let deadline = Instant::now() + PATIENCE;
    while healthy(addr).is_err() {
        assert!(Instant::now() < deadline, "the stock broker never served");
        thread::sleep(Duration::from_millis(20));
    }
    addr
}

/// Kills the stock broker, and shows that the same does nothing to the gate.
async fn kills_stock_only(max_connections: usize, attack: fn(SocketAddr)) {
    let addr = blocking(move || stock(max_connections)).await;
    let health = blocking(move || {
        attack(addr);
        thread::sleep(Duration::from_millis(300));
        healthy(addr)
    })
    .await;
    println!("stock rumqttd afterwards: {health:?}");
    assert!(health.is_err(), "the negative control lived: this test shows nothing");

    let mut config = config();
    config.max_clients = max_connections;
    let rig = start(config);
    let addr = rig.gate.local_addr();
    let health = blocking(move || {
        attack(addr);
        thread::sleep(Duration::from_millis(300));
        healthy(addr)
    })
    .await;
    assert_eq!(health, Ok(()));
    assert_eq!(rig.gate.counts().router_restarts, 0, "the router was never in danger");
    assert!(rig.gate.shutdown().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_client_ids_with_a_separator_kill_stock_rumqttd_and_not_the_gate() {
    kills_stock_only(20, |addr| {
        for _ in 0..2 {
            let (_raw, code) = Raw::greet(addr, &Hello::new("a/b"));
            assert_ne!(code.ok(), Some(0));
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn reconnecting_while_full_kills_stock_rumqttd_and_not_the_gate() {
    kills_stock_only(3, |addr| {
        let held: Vec<Raw> = (0..3).map(|n| Raw::connect(addr, &format!("holder{n}"))).collect();
        for _ in 0..2 {
            let (_raw, code) = Raw::greet(addr, &Hello::new("latecomer"));
            assert_ne!(code.ok(), Some(0), "it was full");
        }
        for mut raw in held {
            raw.send(&[0xe0, 0]);
            raw.closes_within(PATIENCE);
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shared_subscriber_that_leaves_kills_stock_rumqttd_and_not_the_gate() {
    kills_stock_only(20, |addr| {
        let hello = Hello { clean: false, ..Hello::new("sharer") };
        let mut sharer = Raw::connect_as(addr, &hello);
        sharer.send(&subscribe("$share/group/test/shared", 1));
        let subscribed = sharer.read().is_ok();
        let mut publisher = Raw::connect(addr, "publisher");
        for pkid in 1..=3 {
            publisher.send(&publish("test/shared", b"unacknowledged", 1, pkid));
            publisher.expect(0x40);
        }
        if subscribed {
            sharer.expect(0x32);
        }
        drop(sharer);
    })
    .await;
}
