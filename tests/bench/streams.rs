//! What a thousand shells that are open and silent take of hub and agent, and give back: memory and descriptors.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use tests::{Agent, Authority, Hub, Member, Process, Scratch};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use crate::figure;
use crate::memory::megabytes;
use crate::upgrade::{Gate, stub};

const STREAMS: usize = 1_000;
const SOON: Duration = Duration::from_secs(60);
/// What each stream carries both ways, so that its buffers are there.
const SAID: [u8; 1024] = [7; 1024];

pub async fn measure() -> Result<()> {
    let member = Member::builder("bench-streams").api_server_only().start().await?;
    let hub = Hub::start(&[&member])?;
    let mut agent = Agent::prepare(&hub, &member)?;
    let gateway = member.site().gateway();
    let scratch = Scratch::create("bench-streams")?;
    let authority = Authority::create(scratch.path(), "stub")?;
    let stub = stub(gateway, &authority).await?;
    let ca = authority.certificate_file().display().to_string();
    let allow = format!("[\"{gateway}\"]");
    agent.run(&[("AGENT_PROXY_ALLOW", &allow), ("AGENT_PROXY_STREAMS", "2000"), ("AGENT_PROXY_CA", &ca)])?;
    hub.kubectl().wait_until(["mcls", "-A"], SOON, |found| found["items"][0]["status"]["apiserverURL"].is_string())?;
    let gate = Gate::through(&hub, stub)?;
    drop(open(&gate).await?);
    let before = Held::of(&hub, &mut agent)?;
    let streams = open_all(&gate).await?;
    let with = Held::of(&hub, &mut agent)?;
    let each = |now: u64, before: u64| now.saturating_sub(before) as f64 / STREAMS as f64;
    figure("streams: agent VmRSS a silent stream", each(with.agent_kib, before.agent_kib), "KiB", "-", "64");
    figure("streams: hub VmRSS a silent stream", each(with.hub_kib, before.hub_kib), "KiB", "-", "64");
    drop(streams);
    let once = settled(&hub, &mut agent, &before).await?;
    // What the allocator keeps is used again: a second time takes no more.
    drop(open_all(&gate).await?);
    let twice = settled(&hub, &mut agent, &before).await?;
    for (when, held) in [("before", before), ("with them", with), ("after", once), ("after twice", twice)] {
        figure(&format!("streams: descriptors of both {when}"), held.descriptors as f64, "", "-", "-");
        figure(&format!("streams: agent VmRSS {when}"), megabytes(held.agent_kib), "MB", "-", "-");
        figure(&format!("streams: hub VmRSS {when}"), megabytes(held.hub_kib), "MB", "-", "-");
    }
    Ok(())
}

async fn open_all(gate: &Gate) -> Result<Vec<TlsStream<TcpStream>>> {
    let mut streams = Vec::with_capacity(STREAMS);
    for _ in 0..STREAMS {
        streams.push(open(gate).await?);
    }
    Ok(streams)
}

/// A stream that has carried something both ways.
async fn open(gate: &Gate) -> Result<TlsStream<TcpStream>> {
    let mut stream = gate.open().await?;
    stream.write_all(&SAID).await?;
    stream.flush().await?;
    let mut heard = [0; SAID.len()];
    stream.read_exact(&mut heard).await?;
    ensure!(heard == SAID, "other bytes came back");
    Ok(stream)
}

/// What is held once all descriptors of streams are gone.
async fn settled(hub: &Hub, agent: &mut Agent, before: &Held) -> Result<Held> {
    let deadline = Instant::now() + SOON;
    loop {
        let held = Held::of(hub, agent)?;
        if held.descriptors <= before.descriptors + 10 {
            return Ok(held);
        }
        ensure!(Instant::now() < deadline, "{} descriptors are left", held.descriptors);
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// What both programs hold.
struct Held {
    agent_kib: u64,
    hub_kib: u64,
    descriptors: usize,
}

impl Held {
    fn of(hub: &Hub, agent: &mut Agent) -> Result<Held> {
        let (hub, agent) = (hub.process().context("the hub runs")?, agent.process()?);
        let open = |process: &Process| -> Result<usize> { Ok(std::fs::read_dir(format!("/proc/{}/fd", process.id()))?.count()) };
        let descriptors = open(hub)? + open(agent)?;
        Ok(Held { agent_kib: agent.memory()?.resident_kib, hub_kib: hub.memory()?.resident_kib, descriptors })
    }
}
