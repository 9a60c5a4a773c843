//! What sealing costs in time: one frame of 4 KiB sealed and opened, and the greeting that agrees on the keys.

use std::hint::black_box;
use std::time::Instant;

use anyhow::{Context, Result};
use bus_schema::frame::{self, Header, Key};
use bus_schema::greeting::{Hello, open_hello};
use bus_schema::message::Kind;
use bus_schema::secret::{LinkSecret, Trust};

use super::{figure, percentile};

const ROUNDS: u64 = 20_000;
const GREETINGS: u8 = 200;

pub fn measure() -> Result<()> {
    frames()?;
    greetings()
}

fn frames() -> Result<()> {
    let (key, body) = (Key::public(), vec![7; 4096]);
    let mut times = Vec::with_capacity(ROUNDS as usize);
    for counter in 0..ROUNDS {
        let begun = Instant::now();
        let sealed = frame::seal(&key, &Header { kind: Kind::Content, counter, nonce: None }, black_box(&body));
        black_box(frame::open(&key, &sealed)?);
        times.push(begun.elapsed().as_secs_f64() * 1e6);
    }
    figure("seal and open 4 KiB, p50", percentile(&mut times, 0.5), "us", "-", "15");
    Ok(())
}

fn greetings() -> Result<()> {
    let (agent, hub) = (LinkSecret::new([1; 32]), LinkSecret::new([2; 32]));
    let at_agent = Trust { own: agent.clone(), peer: hub.public() };
    let at_hub = Trust { own: hub, peer: agent.public() };
    let (mut hub_times, mut agent_times) = (Vec::new(), Vec::new());
    for seed in 0..GREETINGS {
        let begun = Instant::now();
        let hello = Hello::seal(&at_agent, [seed; 32], b"hello").context("a Hello")?;
        let said = begun.elapsed();
        let begun = Instant::now();
        let (welcome, _) = open_hello(&at_hub, &[seed; 32], &hello.frame)?.welcome(b"welcome").context("a Welcome")?;
        hub_times.push(begun.elapsed().as_secs_f64() * 1e6);
        let begun = Instant::now();
        black_box(hello.open_welcome(&at_agent, &welcome)?);
        agent_times.push((said + begun.elapsed()).as_secs_f64() * 1e6);
    }
    figure("greeting, the hub's part, p50", percentile(&mut hub_times, 0.5), "us", "-", "-");
    figure("greeting, the agent's part, p50", percentile(&mut agent_times, 0.5), "us", "-", "-");
    Ok(())
}
