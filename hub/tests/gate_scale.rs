//! Prints what the gate can do: connects a second, memory an agent, bytes a second both ways. Nothing here asserts a time.
//! The clients are bare sockets, which take no memory of this process.

mod support;

use std::time::{Duration, Instant};

use bytes::Bytes;
use hub::bus::{Bus, Event};
use support::*;

/// One measurement at a time, as both read this process's memory or load it.
static ALONE: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

const AGENTS: usize = 2000;

fn id(n: usize) -> String {
    let digit = |n: usize| char::from(b"abcdefghijklmnopqrstuvwxyz234567"[n % 32]);
    format!("scale{}{}{}", digit(n / 1024), digit(n / 32), digit(n))
}

fn rss_kib() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn two_thousand_agents_connect_and_all_hear_one_announcement() {
    let _alone = ALONE.lock().await;
    let rig = start(config());
    let addr = rig.gate.local_addr();
    let (holding, mut held) = tokio::sync::mpsc::unbounded_channel();
    let mut sessions = rig.sessions;
    tokio::spawn(async move {
        while let Some(session) = sessions.recv().await {
            let _ = holding.send(session);
        }
    });
    blocking(move || drop(Raw::connect(addr, "warmupxx"))).await;
    let (before, began) = (rss_kib(), Instant::now());
    let mut agents = blocking(move || {
        let agents: Vec<Raw> = (0..AGENTS).map(|n| Raw::connect(addr, &id(n))).collect();
        agents
    })
    .await;
    let took = began.elapsed();
    let connected = rss_kib();
    agents = blocking(move || {
        agents.iter_mut().for_each(|raw| drop(raw.subscribe("cn1/f/0", 0)));
        agents
    })
    .await;
    println!("gate_connect_rate {:.0} connects/s, one client after another", AGENTS as f64 / took.as_secs_f64());
    println!("gate_rss_per_agent {:.2} KiB", (connected - before) / AGENTS as f64);
    println!("gate_rss_per_agent_subscribed {:.2} KiB", (rss_kib() - before) / AGENTS as f64);
    assert_eq!(rig.gate.agents(), AGENTS);
    assert!((connected - before) / (AGENTS as f64) < 20.0, "an agent must cost far less than the router's 39 KiB");

    let began = Instant::now();
    assert_eq!(rig.gate.fan_out(None, &Bytes::from(vec![9; 1024])).taken, AGENTS);
    blocking(move || agents.iter_mut().for_each(|raw| assert_eq!(raw.message().1.len(), 1024))).await;
    println!("gate_fan_out_2000 {:.1} ms", began.elapsed().as_secs_f64() * 1000.0);
    while tokio::time::timeout(Duration::from_millis(1), held.recv()).await.is_ok() {}
    rig.gate.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_agent_moves_a_hundred_megabytes_each_way() {
    const FRAMES: usize = 1700;
    let _alone = ALONE.lock().await;
    let mut rig = start(config());
    let addr = rig.gate.local_addr();
    let raw = blocking(move || {
        let mut raw = Raw::connect(addr, "aaaaaaaa");
        raw.subscribe("cn1/aaaaaaaa/d/#", 0);
        raw
    })
    .await;
    let mut session = rig.session().await;
    let megabytes = (FRAMES * 60_000) as f64 / 1e6;

    let reading = std::thread::spawn(move || {
        let mut raw = raw;
        (0..FRAMES).for_each(|_| assert_eq!(raw.message().1.len(), 60_000));
        raw
    });
    let (began, frame) = (Instant::now(), Bytes::from(vec![3; 60_000]));
    for _ in 0..FRAMES {
        session.downlink.ready(frame.len()).await.unwrap();
        session.downlink.try_send(frame.clone()).unwrap();
    }
    let mut raw = blocking(move || reading.join().unwrap()).await;
    println!("gate_downlink {:.0} MB/s", megabytes / began.elapsed().as_secs_f64());

    let began = Instant::now();
    let sending = std::thread::spawn(move || {
        let frame = publish("cn1/aaaaaaaa/u/m", &[4; 60_000], 0, 0);
        (0..FRAMES).for_each(|_| raw.send(&frame));
        raw
    });
    for _ in 0..FRAMES {
        assert!(matches!(event(&mut session).await, Event::Frame(frame) if frame.payload.len() == 60_000));
    }
    println!("gate_uplink {:.0} MB/s", megabytes / began.elapsed().as_secs_f64());
    drop(sending.join().unwrap());
}
