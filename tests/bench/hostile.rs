//! What 10,000 clients that never authenticate do to the fleet: change to *applied* of a hundred agents over mutual TLS, without and
//! with them, in turns of one run. The strangers are a process of their own that stands back (`nice`), as they have machines of their
//! own: what is measured is what they cost the hub.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use bus_schema::hash::Hash;
use bus_schema::id::Sid;
use kube::api::{Patch, PatchParams};
use rustls::ClientConfig;
use serde_json::json;
use tests::{App, Authority, Hub, Launch, Process, Scratch, Statuses, bus};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio_rustls::TlsConnector;

use crate::{figure, fleet, latency, percentile};

/// The name of the program's other half.
pub const STRANGERS: &str = "strangers";

const COUNT: usize = 10_000;
/// Many short turns: whatever else the machine does falls on both kinds.
const TURNS: usize = 5;
const ROUNDS: usize = 20;
/// Until every stranger has begun, or is gone.
const BUILD_UP: Duration = Duration::from_secs(6);
const SOON: Duration = Duration::from_secs(60);
/// The hub's threads for strangers.
const FRONT: &str = "gate-front";
/// How `/proc` counts processor time on every platform that the harness runs on.
const TICKS_A_SECOND: f64 = 100.0;
/// How far the strangers stand back.
const NICE: &str = "19";

pub async fn measure() -> Result<()> {
    let scratch = Scratch::create("bench-hostile")?;
    let hub = Hub::start_with(&[], &["--log", "info"])?;
    let identities = tokio::task::block_in_place(|| fleet::register(&hub, scratch.path()))?;
    let (mut client, mut agents) = (None, JoinSet::new());
    let (key, sids) = (fleet::hash_key(&hub)?, identities.iter().map(|identity| identity.sid).collect::<Vec<_>>());
    for (number, mut identity) in (1..).zip(identities) {
        client = Some(identity.credentials.client()?);
        agents.spawn(fleet::agent(hub.bus().port(), identity, key.clone(), number));
    }
    let client = client.context("there are agents")?;
    let database = hub.statuses()?;
    let app = App::load()?;
    tokio::task::block_in_place(|| -> Result<()> {
        hub.kubectl().apply(app.objects())?;
        hub.kubectl().apply(app.subscription())?;
        fleet::all_applied(&database, &sids)
    })?;
    let resident = |hub: &Hub| Ok::<_, anyhow::Error>(hub.process().context("the hub runs")?.memory()?.resident_kib as f64 / 1024.0);
    let alone = resident(&hub)?;
    let (mut quiet, mut flooded, mut connects, mut most) = (Vec::new(), Vec::new(), Vec::new(), alone);
    let (pid, mut spent, mut beside) = (hub.process().context("the hub runs")?.id(), 0.0, Duration::ZERO);
    for turn in 0..TURNS {
        quiet.extend(changes(&hub, &database, 2 * turn * ROUNDS).await?);
        let mut strangers = launch(&scratch, &hub)?;
        tokio::time::sleep(BUILD_UP).await;
        let (before, begun) = (processor_seconds(pid, FRONT)?, Instant::now());
        flooded.extend(changes(&hub, &database, (2 * turn + 1) * ROUNDS).await?);
        spent += processor_seconds(pid, FRONT)? - before;
        beside += begun.elapsed();
        connects.extend(connect_again(hub.bus(), &client).await?);
        most = most.max(resident(&hub)?);
        ensure!(agents.try_join_next().is_none(), "an agent was cut off");
        ensure!(strangers.is_running(), "the strangers have ended: {}", strangers.log_tail());
        let log = strangers.log();
        println!("hostile: the strangers: {}", log.lines().last().unwrap_or_default());
        strangers.kill();
        tokio::time::sleep(BUILD_UP).await;
    }
    let (alone_p99, with_p99) = (percentile(&mut quiet, 0.99), percentile(&mut flooded, 0.99));
    figure("hostile: change to applied, p50, nobody else", percentile(&mut quiet, 0.5), "ms", "-", "-");
    figure("hostile: change to applied, p50, 10,000 strangers", percentile(&mut flooded, 0.5), "ms", "-", "-");
    figure("hostile: change to applied, p99, nobody else", alone_p99, "ms", "-", "-");
    figure("hostile: change to applied, p99, 10,000 strangers", with_p99, "ms", "-", "-");
    figure("hostile: p99 with to without strangers", with_p99 / alone_p99, "", "-", "2");
    figure("hostile: processor that strangers cost the hub", spent / beside.as_secs_f64() * 100.0, "%", "-", "-");
    figure("hostile: an agent's full TLS handshake beside, p50", percentile(&mut connects, 0.5), "ms", "-", "-");
    figure("hostile: an agent's full TLS handshake beside, max", percentile(&mut connects, 1.0), "ms", "-", "-");
    figure("hostile: hub VmRSS, 100 agents", alone, "MB", "-", "-");
    figure("hostile: hub VmRSS, 10,000 strangers beside", most, "MB", "-", "-");
    Ok(())
}

/// Milliseconds of each agent from the write of each change to its *applied* in the hub's database.
async fn changes(hub: &Hub, database: &Statuses, first: usize) -> Result<Vec<f64>> {
    let maps = latency::config_maps(&hub.data().join("admin.kubeconfig")).await?;
    let mut times = Vec::new();
    for round in first..first + ROUNDS {
        let before = fleet::applied(database)?;
        let patch = Patch::Merge(json!({"data": {"round": round.to_string()}}));
        let begun = Instant::now();
        maps.patch("feature-flags", &PatchParams::default(), &patch).await?;
        times.extend(tokio::task::block_in_place(|| all_applied(database, &before, begun))?);
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    Ok(times)
}

fn all_applied(database: &Statuses, before: &BTreeMap<Sid, Hash>, begun: Instant) -> Result<Vec<f64>> {
    let (mut done, mut times) = (BTreeSet::new(), Vec::new());
    while done.len() < fleet::AGENTS {
        for (sid, _) in fleet::applied(database)?.into_iter().filter(|(sid, hash)| before.get(sid) != Some(hash)) {
            if done.insert(sid) {
                times.push(begun.elapsed().as_secs_f64() * 1e3);
            }
        }
        ensure!(begun.elapsed() < SOON, "{} of {} agents applied", done.len(), fleet::AGENTS);
        std::thread::sleep(Duration::from_millis(1));
    }
    Ok(times)
}

/// Milliseconds that TCP and a full handshake take an agent while the strangers are there.
async fn connect_again(addr: SocketAddr, client: &Arc<ClientConfig>) -> Result<Vec<f64>> {
    let (mut times, mut client) = (Vec::new(), ClientConfig::clone(client));
    client.resumption = rustls::client::Resumption::disabled();
    let connector = TlsConnector::from(Arc::new(client));
    for _ in 0..30 {
        let begun = Instant::now();
        let connect = async {
            let socket = TcpStream::connect(addr).await?;
            connector.connect(rustls::pki_types::ServerName::try_from(bus::HUB_NAME)?, socket).await?;
            Ok::<_, anyhow::Error>(())
        };
        tokio::time::timeout(SOON, connect).await??;
        times.push(begun.elapsed().as_secs_f64() * 1e3);
    }
    Ok(times)
}

/// What the threads of this name have used so far.
fn processor_seconds(pid: u32, name: &str) -> Result<f64> {
    let mut ticks = 0.0;
    for thread in std::fs::read_dir(format!("/proc/{pid}/task"))? {
        // A thread that has ended meanwhile counts no more.
        let Ok(stat) = std::fs::read_to_string(thread?.path().join("stat")) else { continue };
        let Some((head, fields)) = stat.rsplit_once(')').filter(|(head, _)| head.ends_with(&format!("({name}"))) else { continue };
        let used: Vec<f64> = fields.split_whitespace().skip(11).take(2).filter_map(|field| field.parse().ok()).collect();
        ensure!(used.len() == 2, "no times in {head}){fields}");
        ticks += used.iter().sum::<f64>();
    }
    Ok(ticks / TICKS_A_SECOND)
}

fn launch(scratch: &Scratch, hub: &Hub) -> Result<Process> {
    let launch = Launch::new(STRANGERS, "nice", scratch.path()).args(["-n", NICE]).arg(std::env::current_exe()?);
    let launch = launch.args([STRANGERS, &hub.bus().to_string()]).arg(hub.data());
    let mut process = launch.start()?;
    process.wait_for_line("strangers: ", SOON)?;
    Ok(process)
}

/// The other half: floods until it is killed. Its arguments are the target and the hub's data folder.
pub async fn strangers(mut arguments: impl Iterator<Item = String>) -> Result<()> {
    let target: SocketAddr = arguments.next().context("an address")?.parse()?;
    let data = PathBuf::from(arguments.next().context("a folder")?);
    // A session of their own: the scheduler shares processors among sessions before it looks at processes, and what the strangers
    // themselves burn must not be taken from the hub's and the agents' share.
    rustix::process::setsid()?;
    let scratch = Scratch::create(STRANGERS)?;
    let authority = Authority::open(scratch.path(), &data.join("ca.crt"), &data.join("ca.key"))?;
    let tally = tests::strangers::start(target, COUNT, &bus::strangers(&authority, scratch.path())?);
    loop {
        let (attempts, refused, admitted) = tally.read();
        println!("strangers: {COUNT} of them, {attempts} attempts, {refused} ended early, {admitted} let in");
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}
