//! Agents at the gate, as raw bytes: what passes, what is refused, how connections end, and what bounds them.

mod support;

use std::time::{Duration, Instant};

use bytes::Bytes;
use hub::bus::topics::{Direction, Sid, Topic};
use hub::bus::{Bus, CloseCause, Closed, Event, FanOut, Frame, SendError};
use support::*;

const OWN: &str = "aaaaaaaa";
const UP: &str = "cn1/aaaaaaaa/u/m";
const DOWN: &str = "cn1/aaaaaaaa/d/#";

fn sid(text: &str) -> Sid {
    Sid::parse(text).unwrap()
}

/// Waits for something that follows what the client has already seen.
async fn until(mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !done() {
        assert!(Instant::now() < deadline, "it never came true");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

fn closed(cause: CloseCause) -> Event {
    Event::Closed(Closed { cause, will: None })
}

#[tokio::test(flavor = "multi_thread")]
async fn frames_travel_both_ways_and_a_qos_1_publish_is_acknowledged() {
    let mut rig = start(config());
    let addr = rig.gate.local_addr();
    let mut raw = blocking(move || Raw::connect(addr, OWN)).await;
    let mut session = rig.session().await;
    assert_eq!((session.sid, session.peer.ip()), (sid(OWN), addr.ip()));
    assert_eq!(session.downlink.try_send(Bytes::from_static(b"early")), Err(SendError::Full), "not subscribed yet");
    let mut raw = blocking(move || {
        assert_eq!(raw.subscribe(DOWN, 1), [0, 1, 0], "granted with QoS 0");
        raw.send(&publish(UP, b"plain", 0, 0));
        raw.send(&publish(UP, b"asked", 1, 77));
        assert_eq!(raw.expect(0x40), [0, 77]);
        raw
    })
    .await;
    for payload in ["plain", "asked"] {
        let topic = Topic::Main(sid(OWN), Direction::Up);
        assert_eq!(event(&mut session).await, Event::Frame(Frame { topic, payload: payload.into() }));
    }
    session.downlink.ready(5).await.unwrap();
    session.downlink.try_send(Bytes::from_static(b"hello")).unwrap();
    assert!(session.downlink.flushed().await);
    let heard = blocking(move || {
        let heard = raw.message();
        raw.send(&[0xe0, 0]);
        heard
    })
    .await;
    assert_eq!(heard, ("cn1/aaaaaaaa/d/m".to_owned(), b"hello".to_vec()));
    assert_eq!(event(&mut session).await, closed(CloseCause::Disconnected));
    assert!(rig.gate.link(sid(OWN)).is_none());
    assert_eq!(session.downlink.try_send(Bytes::new()), Err(SendError::Closed));
}

#[tokio::test(flavor = "multi_thread")]
async fn every_attempt_outside_the_acl_closes_the_connection() {
    let mut rig = start(config());
    let addr = rig.gate.local_addr();
    let attempts = attempts::packets(OWN);
    let total = attempts.len() as u64;
    for (what, bytes) in attempts {
        let mut raw = blocking(move || Raw::connect(addr, OWN)).await;
        let mut session = rig.session().await;
        let took = blocking(move || {
            raw.send(&bytes);
            raw.closes_within(Duration::from_secs(3))
        })
        .await;
        assert!(took.is_some(), "{what}: still open");
        assert_eq!(event(&mut session).await, closed(CloseCause::Violation), "{what}");
    }
    until(|| rig.gate.counts().violations == total).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn connects_that_may_not_be_get_the_connack_that_says_why() {
    let mut rig = start(config());
    let addr = rig.gate.local_addr();
    let cases = attempts::connects(OWN);
    for (what, hello, code) in cases {
        let bytes = hello.bytes();
        let answer = blocking(move || {
            let mut raw = Raw::open(addr);
            raw.send(&bytes);
            let answer = raw.read();
            (answer.ok(), raw.closes_within(PATIENCE).is_some())
        })
        .await;
        assert_eq!(answer, (Some((0x20, vec![0, code])), true), "{what}");
    }
    assert!(rig.sessions.try_recv().is_err(), "the hub hears of none of them");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_will_reaches_the_hub_unless_the_agent_says_goodbye() {
    let mut rig = start(config());
    let addr = rig.gate.local_addr();
    for goodbye in [false, true] {
        let mut raw = blocking(move || Raw::connect_as(addr, &Hello { will: Some((UP, b"last")), ..Hello::new(OWN) })).await;
        let mut session = rig.session().await;
        if goodbye {
            raw.send(&[0xe0, 0]);
        }
        drop(raw);
        let expected = if goodbye {
            Closed { cause: CloseCause::Disconnected, will: None }
        } else {
            Closed { cause: CloseCause::Lost, will: Some(Bytes::from_static(b"last")) }
        };
        assert_eq!(event(&mut session).await, Event::Closed(expected));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_later_connection_takes_over_and_the_old_end_is_not_its_own() {
    let mut rig = start(config());
    let addr = rig.gate.local_addr();
    let mut old_raw = blocking(move || Raw::connect(addr, OWN)).await;
    let mut old = rig.session().await;
    let mut new_raw = blocking(move || Raw::connect(addr, OWN)).await;
    let new = rig.session().await;
    assert!(new.conn > old.conn);
    assert_eq!(event(&mut old).await, closed(CloseCause::TakenOver));
    assert!(blocking(move || old_raw.closes_within(PATIENCE)).await.is_some());
    assert_eq!(rig.gate.link(sid(OWN)).map(|down| down.conn()), Some(new.conn));
    blocking(move || new_raw.ping()).await;
    until(|| rig.gate.counts().taken_over == 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn silence_ends_a_connection_at_one_and_a_half_keepalives() {
    let mut rig = start(config());
    let addr = rig.gate.local_addr();
    let mut raw = blocking(move || Raw::connect_as(addr, &Hello { keep_alive: 2, ..Hello::new(OWN) })).await;
    let mut session = rig.session().await;
    let took = blocking(move || {
        std::thread::sleep(Duration::from_millis(1500));
        raw.ping();
        raw.closes_within(Duration::from_secs(6))
    })
    .await
    .expect("closed");
    assert!((2.8..4.0).contains(&took.as_secs_f64()), "{took:?} after the ping, not 3 s");
    assert_eq!(event(&mut session).await, closed(CloseCause::KeepAlive));
}

#[tokio::test(flavor = "multi_thread")]
async fn keepalive_zero_is_bounded_by_the_server() {
    let mut config = config();
    config.max_idle = Duration::from_secs(1);
    let mut rig = start(config);
    let addr = rig.gate.local_addr();
    let mut raw = blocking(move || Raw::connect_as(addr, &Hello { keep_alive: 0, ..Hello::new(OWN) })).await;
    let mut session = rig.session().await;
    assert!(blocking(move || raw.closes_within(Duration::from_secs(4))).await.is_some());
    assert_eq!(event(&mut session).await, closed(CloseCause::KeepAlive));
}

#[tokio::test(flavor = "multi_thread")]
async fn silent_peers_are_dropped_and_shut_nobody_out() {
    let mut config = config();
    config.max_pending = 10;
    config.connect_timeout = Duration::from_secs(2);
    let rig = start(config);
    let addr = rig.gate.local_addr();
    let (first, last) = blocking(move || {
        let mut silent: Vec<Raw> = (0..50).map(|_| Raw::open(addr)).collect();
        let first = silent[0].closes_within(Duration::from_secs(1));
        Raw::connect(addr, OWN).ping();
        (first, silent[49].closes_within(Duration::from_secs(5)))
    })
    .await;
    assert!(first.is_some(), "the oldest make room");
    assert!(last.is_some(), "the youngest run out of time");
    until(|| rig.gate.counts().evicted >= 40 && rig.gate.counts().no_connect >= 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_more_than_the_limit_is_closed_and_room_comes_back() {
    let mut config = config();
    config.max_connections = 2;
    let rig = start(config);
    let addr = rig.gate.local_addr();
    blocking(move || {
        let first = Raw::connect(addr, "aaaaaaaa");
        let _second = Raw::connect(addr, "bbbbbbbb");
        assert!(Raw::open(addr).closes_within(Duration::from_secs(2)).is_some());
        drop(first);
        let deadline = Instant::now() + PATIENCE;
        while Raw::greet(addr, &Hello::new("cccccccc")).1.is_err() {
            assert!(Instant::now() < deadline, "the room of the one that left never came back");
        }
    })
    .await;
    until(|| rig.gate.counts().over_limit >= 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_counts_once_while_it_passes_to_the_threads_of_the_hub() {
    for round in 0..100 {
        let mut config = config();
        config.max_connections = 2;
        let rig = start(config);
        let addr = rig.gate.local_addr();
        blocking(move || (Raw::connect(addr, "aaaaaaaa"), Raw::connect(addr, "bbbbbbbb"))).await;
        assert_eq!(rig.gate.counts().over_limit, 0, "round {round}");
        rig.gate.shutdown().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_floods_is_held_at_its_socket_and_delays_nobody() {
    let mut rig = start(config());
    let addr = rig.gate.local_addr();
    let flood = blocking(move || Raw::connect(addr, OWN)).await;
    let mut flooded = rig.session().await;
    let quiet = blocking(move || Raw::connect(addr, "bbbbbbbb")).await;
    let mut other = rig.session().await;
    let flooding = std::thread::spawn(move || {
        use std::io::Write;
        let (mut flood, frame) = (flood, publish(UP, &[7; 60_000], 0, 0));
        flood.0.set_write_timeout(Some(Duration::from_secs(1))).unwrap();
        let mut sent = 0_u64;
        while flood.0.write_all(&frame).is_ok() && sent < 4000 {
            sent += 1;
        }
        sent
    });
    // The hub does not read the flood's session; the other's frames come at once all the same.
    let mut slowest = Duration::ZERO;
    let mut quiet = Some(quiet);
    for _ in 0..50 {
        let began = Instant::now();
        let mut raw = quiet.take().expect("given back each round");
        quiet = Some(
            blocking(move || {
                raw.send(&publish("cn1/bbbbbbbb/u/m", b"beat", 1, 1));
                raw.expect(0x40);
                raw
            })
            .await,
        );
        assert!(matches!(event(&mut other).await, Event::Frame(frame) if frame.payload == "beat"));
        slowest = slowest.max(began.elapsed());
    }
    let sent = blocking(move || flooding.join().unwrap()).await;
    println!("flood held after {sent} frames of 60,000 bytes; the other agent's slowest round trip was {slowest:?}");
    assert!(sent < 400, "{sent} frames of 60,000 bytes were taken while nobody read them");
    assert!(slowest < Duration::from_secs(1), "{slowest:?}");
    let mut read = 0;
    while let Event::Frame(_) = event(&mut flooded).await {
        read += 1;
    }
    assert!(read >= sent, "{read} of {sent}: back-pressure loses nothing");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_does_not_read_holds_little_and_is_closed() {
    let mut config = config();
    config.write_timeout = Duration::from_secs(2);
    let mut rig = start(config);
    let addr = rig.gate.local_addr();
    let raw = blocking(move || {
        let mut raw = Raw::connect_as(addr, &Hello { keep_alive: 0, ..Hello::new(OWN) });
        raw.subscribe(DOWN, 0);
        raw
    })
    .await;
    let mut session = rig.session().await;
    let (mut taken, frame) = (0_usize, Bytes::from(vec![1; 60_000]));
    let before = rss_kib();
    let ended = loop {
        let ready = tokio::time::timeout(PATIENCE, session.downlink.ready(frame.len())).await;
        match ready.expect("room or the end, within the write timeout") {
            Ok(()) => session.downlink.try_send(frame.clone()).unwrap(),
            Err(error) => break error,
        }
        taken += frame.len();
        assert!(taken < 100_000_000, "no bound");
    };
    let grown = rss_kib().saturating_sub(before);
    println!("a reader that never reads: {taken} bytes taken before it was closed, {grown} KiB of memory");
    assert_eq!(ended, SendError::Closed);
    assert_eq!(event(&mut session).await, closed(CloseCause::SlowReader));
    assert!(session.downlink.written() as usize + 128 * 1024 > taken, "what was taken and not written stays below two frames");
    assert!(grown < 8 * 1024, "{grown} KiB");
    drop(raw);
}

fn rss_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_throttled_reader_shows_its_rate() {
    let mut rig = start(config());
    let addr = rig.gate.local_addr();
    let raw = blocking(move || {
        let mut raw = Raw::connect(addr, OWN);
        raw.subscribe(DOWN, 0);
        raw
    })
    .await;
    let session = rig.session().await;
    let assumed = session.downlink.drain_rate();
    socket2::SockRef::from(&raw.0).set_recv_buffer_size(8 * 1024).unwrap();
    let reading = std::thread::spawn(move || {
        use std::io::Read;
        let (mut raw, mut piece, began) = (raw, [0; 10_000], Instant::now());
        while began.elapsed() < Duration::from_secs(8) && raw.0.read_exact(&mut piece).is_ok() {
            std::thread::sleep(Duration::from_millis(100));
        }
    });
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(5) {
        session.downlink.ready(4000).await.unwrap();
        session.downlink.try_send(Bytes::from(vec![2; 4000])).unwrap();
    }
    assert_ne!(session.downlink.drain_rate(), assumed, "it was measured");
    let rate = session.downlink.drain_rate().expect("it had to wait");
    let average = session.downlink.written() / began.elapsed().as_secs();
    println!("a reader that took {average} bytes a second on average shows {rate} in the last second");
    assert!((average / 3..average * 3).contains(&rate), "{rate}");
    session.downlink.close();
    let _ = blocking(move || reading.join()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn fleet_channels_reach_their_subscribers_only() {
    let mut rig = start(config());
    let addr = rig.gate.local_addr();
    let (mut one, mut two) = blocking(move || {
        let (mut one, mut two) = (Raw::connect(addr, OWN), Raw::connect(addr, "bbbbbbbb"));
        one.subscribe("cn1/f/0", 0);
        one.subscribe("cn1/f/00000000000000ff", 0);
        two.subscribe("cn1/f/0", 0);
        (one, two)
    })
    .await;
    let _held = (rig.session().await, rig.session().await);
    assert_eq!(rig.gate.fan_out(None, &Bytes::from_static(b"all")), FanOut { taken: 2, missed: 0 });
    assert_eq!(rig.gate.fan_out(Some(255), &Bytes::from_static(b"some")), FanOut { taken: 1, missed: 0 });
    assert_eq!(rig.gate.fan_out(Some(7), &Bytes::from_static(b"none")), FanOut::default());
    let both = blocking(move || {
        assert_eq!(one.message(), ("cn1/f/0".to_owned(), b"all".to_vec()));
        assert_eq!(one.message(), ("cn1/f/00000000000000ff".to_owned(), b"some".to_vec()));
        assert_eq!(two.message(), ("cn1/f/0".to_owned(), b"all".to_vec()));
        two.ping();
        one.send(&packet(0xa2, &[vec![0, 2], text("cn1/f/0")].concat()));
        assert_eq!(one.expect(0xb0), [0, 2]);
        (one, two)
    })
    .await;
    assert_eq!(rig.gate.fan_out(None, &Bytes::from_static(b"again")), FanOut { taken: 1, missed: 0 });
    drop(both);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_hub_can_dismiss_an_agent_by_the_link_or_by_letting_go() {
    let mut rig = start(config());
    let addr = rig.gate.local_addr();
    let mut raw = blocking(move || Raw::connect(addr, OWN)).await;
    let mut session = rig.session().await;
    rig.gate.link(sid(OWN)).unwrap().close();
    assert_eq!(event(&mut session).await, closed(CloseCause::Dismissed));
    assert!(blocking(move || raw.closes_within(PATIENCE)).await.is_some());
    let mut raw = blocking(move || Raw::connect(addr, OWN)).await;
    drop(rig.session().await);
    assert!(blocking(move || raw.closes_within(PATIENCE)).await.is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn shutdown_closes_everything_and_the_port() {
    let mut rig = start(config());
    let addr = rig.gate.local_addr();
    let mut raw = blocking(move || Raw::connect(addr, OWN)).await;
    let mut silent = Raw::open(addr);
    let mut session = rig.session().await;
    assert!(rig.gate.shutdown().await, "all tasks end");
    assert_eq!(event(&mut session).await, closed(CloseCause::Shutdown));
    assert!(blocking(move || raw.closes_within(PATIENCE).is_some() && silent.closes_within(PATIENCE).is_some()).await);
    assert!(blocking(move || std::net::TcpStream::connect(addr)).await.is_err());
}

#[tokio::test]
async fn a_port_in_use_is_said_with_its_address() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = taken.local_addr().unwrap();
    let mut config = config();
    config.listen = addr;
    let (sender, _sessions) = tokio::sync::mpsc::channel(1);
    let admission = std::sync::Arc::new(hub::bus::gate::admission::LoopbackAdmission);
    let error = hub::bus::gate::Gate::start(config, admission, sender).err().expect("taken").to_string();
    assert!(error.starts_with(&format!("the MQTT gate cannot listen on {addr}; stop")), "{error}");
}
