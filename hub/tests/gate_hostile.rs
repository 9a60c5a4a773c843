//! An agent with a good certificate that means harm: what it may not do is refused, and what it may costs the hub little.

mod support;

use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use hub::bus::gate::allowance::Rate;
use hub::bus::gate::config::GateConfig;
use hub::bus::topics::{Direction, Sid, Topic};
use hub::bus::{CloseCause, Closed, Event, Frame};
use rustls::ClientConfig;
use support::attempts::{self, OTHER};
use support::pki::{TlsRaw, TlsRig, open};
use support::*;

const OWN: &str = "aaaaaaaa";
const UP: &str = "cn1/aaaaaaaa/u/m";

/// The measurements of memory are of the whole process.
static ALONE: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

fn sid(text: &str) -> Sid {
    Sid::parse(text).unwrap()
}

/// A gate that takes as many connects as a test makes.
fn patient() -> GateConfig {
    GateConfig { connects: Rate { per_second: 1000, burst: 10_000 }, ..config() }
}

fn closed(cause: CloseCause) -> Event {
    Event::Closed(Closed { cause, will: None })
}

#[tokio::test(flavor = "multi_thread")]
async fn every_attempt_of_a_certificate_holder_outside_its_own_topics_is_refused() {
    let (mut rig, agent) = TlsRig::with_agent(patient(), OWN);
    let (other, tls) = (rig.ca.agent(OTHER), agent.tls(&rig.ca));
    rig.roster.set(sid(OTHER), vec![other.hash()]);
    let (mut bystander, mut others) = rig.connect(&other.tls(&rig.ca), OTHER).await;
    let mut bystander = blocking(move || {
        bystander.subscribe("cn1/bbbbbbbb/d/#", 0);
        bystander
    })
    .await;
    let packets = attempts::packets(OWN);
    let (after_connect, in_connect) = (packets.len(), attempts::connects(OWN));
    for (what, bytes) in packets {
        let (mut raw, mut session) = rig.connect(&tls, OWN).await;
        let took = blocking(move || {
            raw.send(&bytes);
            raw.closes_within(Duration::from_secs(3))
        })
        .await;
        assert!(took.is_some(), "{what}: still open");
        assert_eq!(event(&mut session).await, closed(CloseCause::Violation), "{what}");
    }
    let refused = in_connect.len();
    for (what, hello, code) in in_connect {
        let (addr, tls, bytes) = (rig.addr(), tls.clone(), hello.bytes());
        let answer = blocking(move || {
            let mut raw = open(addr, &tls);
            raw.send(&bytes);
            raw.read()
        })
        .await;
        assert_eq!(answer.unwrap(), (0x20, vec![0, code]), "{what}");
    }
    println!("{after_connect} kinds of packets and {refused} kinds of CONNECTs refused over TLS");
    assert_eq!(rig.gate.counts().violations, after_connect as u64);
    let _bystander = blocking(move || {
        bystander.ping();
        bystander
    })
    .await;
    let heard = tokio::time::timeout(Duration::from_millis(100), others.uplink.recv()).await;
    assert!(heard.is_err(), "something was said in the other's name: {heard:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn paho_with_an_agents_certificate_is_refused_everything_but_its_own() {
    let (mut rig, agent) = TlsRig::with_agent(patient(), OWN);
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        std::fs::write(folder.path().join(name), text).unwrap();
        folder.path().join(name)
    };
    let files = [file("ca", &rig.ca.pem), file("crt", &agent.pem), file("key", &agent.key.serialize_pem())];
    let port = rig.addr().port();
    let running = tokio::spawn(async move {
        let mut held = Vec::new();
        while let Some(session) = rig.sessions.recv().await {
            held.push(session);
        }
    });
    let output = blocking(move || {
        let support = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/support");
        let paho = Command::new(support.join("install-paho")).output().unwrap();
        let mut python = Command::new("python3");
        python.env("PYTHONPATH", String::from_utf8(paho.stdout).unwrap().trim()).env("PYTHONDONTWRITEBYTECODE", "1");
        python.arg(support.join("paho_hostile.py")).arg(port.to_string()).args(files).output().unwrap()
    })
    .await;
    let said = String::from_utf8_lossy(&[&output.stdout[..], &output.stderr[..]].concat()).into_owned();
    println!("{said}");
    assert!(output.status.success() && said.contains("25 attempts refused"), "{said}");
    running.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_agent_says_is_heard_as_its_own_whoever_made_it() {
    let (mut rig, agent) = TlsRig::with_agent(patient(), OWN);
    let other = rig.ca.agent(OTHER);
    rig.roster.set(sid(OTHER), vec![other.hash()]);
    let (mut raw, mut session) = rig.connect(&agent.tls(&rig.ca), OWN).await;
    let (_other_raw, mut others) = rig.connect(&other.tls(&rig.ca), OTHER).await;
    let _raw = blocking(move || {
        raw.send(&publish(UP, b"a frame of the other's session", 0, 0));
        raw
    })
    .await;
    let own = Topic::Main(sid(OWN), Direction::Up);
    assert!(matches!(event(&mut session).await, Event::Frame(Frame { topic, .. }) if topic == own));
    assert!(tokio::time::timeout(Duration::from_millis(100), others.uplink.recv()).await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn many_connections_of_one_certificate_are_one_connection() {
    let (mut rig, agent) = TlsRig::with_agent(config(), OWN);
    let (tls, addr) = (agent.tls(&rig.ca), rig.addr());
    let greeting = |tls: Arc<ClientConfig>| {
        std::thread::spawn(move || {
            let mut raw = open(addr, &tls);
            (raw.hello(&Hello::new(OWN)), raw)
        })
    };
    let threads: Vec<_> = (0..100).map(|_| greeting(tls.clone())).collect();
    let held: Vec<_> = blocking(move || threads.into_iter().map(|thread| thread.join().unwrap()).collect()).await;
    let held: Vec<(std::io::Result<u8>, TlsRaw)> = held;
    let admitted = held.iter().filter(|(code, _)| matches!(code, Ok(0))).count();
    let counts = rig.gate.counts();
    println!("100 connections of one certificate: {admitted} were let in, {} now: {counts:?}", rig.gate.agents());
    assert_eq!(rig.gate.agents(), 1);
    assert!(counts.too_often > 0 && admitted < 60, "{admitted}");
    while rig.sessions.try_recv().is_ok() {}
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connect_that_never_ends_is_cut_off() {
    let mut settings = config();
    settings.connect_timeout = Duration::from_secs(2);
    let (mut rig, agent) = TlsRig::with_agent(settings, OWN);
    let (tls, addr) = (agent.tls(&rig.ca), rig.addr());
    let endless = |announced: Vec<u8>| {
        let tls = tls.clone();
        blocking(move || {
            let (mut raw, began, mut sent) = (open(addr, &tls), Instant::now(), 0_usize);
            raw.send(&announced);
            // Byte by byte, so that there is always something new.
            while raw.closes_within(Duration::from_millis(20)).is_none() && began.elapsed() < Duration::from_secs(10) {
                raw.send(&[0]);
                sent += 1;
            }
            (began.elapsed(), sent)
        })
    };
    let (took, sent) = endless([&[0x10, 0xff, 0x3f][..], &[0, 4], b"MQTT", &[4, 2, 0, 60, 0x1f, 0xff]].concat()).await;
    println!("a CONNECT that comes byte by byte is cut off after {took:?} and {sent} bytes");
    assert!(took < Duration::from_secs(4), "{took:?}");
    let (took, _) = endless(vec![0x10, 0xff, 0xff, 0x7f]).await;
    assert!(took < Duration::from_secs(1), "2 MiB announced: {took:?}");
    assert!(rig.sessions.try_recv().is_err());
}

/// Connections that each do what costs the hub most.
const HOSTILE: usize = 200;

#[tokio::test(flavor = "multi_thread")]
async fn the_memory_that_connections_can_take_is_bounded() {
    let _alone = ALONE.lock().await;
    let settings = GateConfig { write_timeout: Duration::from_secs(60), ..patient() };
    let mut rig = TlsRig::start(settings);
    let agents: Vec<_> = (0..HOSTILE as u64).map(|n| rig.ca.agent(Sid::from_random(n * 0x9e37).as_str())).collect();
    let sids: Vec<_> = (0..HOSTILE as u64).map(|n| Sid::from_random(n * 0x9e37)).collect();
    rig.roster.list(sids.iter().copied().zip(agents.iter().map(|agent| vec![agent.hash()])));
    let tls: Vec<_> = agents.iter().map(|agent| agent.tls(&rig.ca)).collect();
    drop(rig.connect(&tls[0], sids[0].as_str()).await);
    let before = rss_kib();
    let (mut raws, mut sessions) = (Vec::new(), Vec::new());
    for (tls, sid) in tls.iter().zip(&sids) {
        let (raw, session) = rig.connect(tls, sid.as_str()).await;
        raws.push(raw);
        sessions.push(session);
    }
    let idle = (rss_kib() - before) as f64 / HOSTILE as f64;
    // Half of each agent's largest packet, as many fleet channels as it may have, and it never reads what the hub has for it.
    let _raws = blocking(move || {
        for (raw, sid) in raws.iter_mut().zip(&sids) {
            raw.subscribe(&Topic::filter(*sid), 0);
            (0..250_u64).for_each(|channel| raw.send(&subscribe(&Topic::Channel(channel).to_string(), 0)));
            raw.send(&publish(&Topic::Main(*sid, Direction::Up).to_string(), &[7; 65_000], 0, 0)[..60_000]);
        }
        raws
    })
    .await;
    let mut queued = 0_usize;
    for session in &sessions {
        while session.downlink.try_send(Bytes::from(vec![1; 16_000])).is_ok() {
            queued += 16_000;
            tokio::task::yield_now().await;
            assert!(queued < HOSTILE * 8_000_000, "no bound");
        }
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    let hostile = (rss_kib() - before) as f64 / HOSTILE as f64;
    println!("memory of both ends: {idle:.1} KiB an idle connection, {hostile:.1} KiB a hostile one, {HOSTILE} of each");
    println!("{} bytes of each hostile one wait in kernel and queue", queued / HOSTILE);
    assert!(idle < 80.0, "{idle} KiB");
    assert!(hostile < 400.0, "{hostile} KiB");
    assert_eq!(rig.gate.agents(), HOSTILE);
}

fn rss_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn more_fleet_channels_than_an_agent_may_hold_close_it() {
    let (mut rig, agent) = TlsRig::with_agent(config(), OWN);
    let (mut raw, mut session) = rig.connect(&agent.tls(&rig.ca), OWN).await;
    let took = blocking(move || {
        (0..300_u64).for_each(|channel| raw.send(&subscribe(&Topic::Channel(channel).to_string(), 0)));
        raw.closes_within(Duration::from_secs(5))
    })
    .await;
    assert!(took.is_some());
    assert_eq!(event(&mut session).await, closed(CloseCause::Violation));
}
