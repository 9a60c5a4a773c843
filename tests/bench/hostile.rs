//! What 10,000 clients that never authenticate do to the fleet: change to *applied* of a hundred agents over mutual TLS, in turns of one
//! run: with nobody else, beside strangers that flood another gate, and beside strangers that flood the hub.
//!
//! Strangers have machines of their own, here they have not: the turn with another gate, which runs in the strangers' own process, is
//! the control that tells what they take from the fleet by running here at all. What they cost the hub is the last turn to the control.

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
use tests::bus::{self, Bus};
use tests::{App, Authority, Hub, Launch, Process, Scratch, Statuses};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio_rustls::TlsConnector;

use crate::{figure, fleet, latency, percentile};

/// The name of the program's other half.
pub const STRANGERS: &str = "strangers";

const COUNT: usize = 10_000;
/// Many short turns: whatever else the machine does falls on all kinds.
const TURNS: usize = 5;
const ROUNDS: usize = 40;
/// Until every stranger has begun, or is gone.
const BUILD_UP: Duration = Duration::from_secs(6);
const SOON: Duration = Duration::from_secs(60);
/// The hub's threads for strangers.
const FRONT: &str = "gate-front";
/// How `/proc` counts processor time on every platform that the harness runs on.
const TICKS_A_SECOND: f64 = 100.0;
/// How far the strangers stand back (`nice`).
const NICE: &str = "19";
/// In place of a target: the strangers bring a gate of their own.
const CONTROL: &str = "control";

/// What was seen while others did something.
#[derive(Default)]
struct Seen {
    /// Milliseconds from a change to its *applied*.
    changes: Vec<f64>,
    /// Processor seconds of the hub: of its threads for strangers, and of all.
    front: f64,
    hub: f64,
    lasted: Duration,
}

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
    let (mut alone, mut begun) = (resident(&hub)?, false);
    let (mut quiet, mut control, mut flooded) = (Seen::default(), Seen::default(), Seen::default());
    let (mut connects, mut most, mut round) = (Vec::new(), alone, 0);
    for _ in 0..TURNS {
        quiet.turn(&hub, &database, &mut round).await?;
        for target in [CONTROL.to_owned(), hub.bus().to_string()] {
            let (seen, is_control) = if target == CONTROL { (&mut control, true) } else { (&mut flooded, false) };
            // A hub at work has more than one that has just begun, strangers or not.
            alone = if begun { alone } else { alone.max(resident(&hub)?) };
            begun |= !is_control;
            let mut strangers = launch(&scratch, &hub, &target)?;
            tokio::time::sleep(BUILD_UP).await;
            seen.turn(&hub, &database, &mut round).await?;
            if !is_control {
                connects.extend(connect_again(hub.bus(), &client).await?);
                most = most.max(resident(&hub)?);
            }
            ensure!(agents.try_join_next().is_none(), "an agent was cut off");
            ensure!(strangers.is_running(), "the strangers have ended: {}", strangers.log_tail());
            let log = strangers.log();
            println!("hostile: at {target}: {}", log.lines().last().unwrap_or_default());
            strangers.kill();
            tokio::time::sleep(BUILD_UP).await;
        }
    }
    let mut figures = |name: &str, share: f64| {
        let of = |seen: &mut Seen| percentile(&mut seen.changes, share);
        let (quiet, control, flooded) = (of(&mut quiet), of(&mut control), of(&mut flooded));
        figure(&format!("hostile: change to applied, {name}, nobody else"), quiet, "ms", "-", "-");
        figure(&format!("hostile: change to applied, {name}, strangers elsewhere"), control, "ms", "-", "-");
        figure(&format!("hostile: change to applied, {name}, 10,000 strangers"), flooded, "ms", "-", "-");
        figure(&format!("hostile: {name} with strangers to nobody else"), flooded / quiet, "", "-", "-");
        figure(&format!("hostile: {name} with strangers to strangers elsewhere"), flooded / control, "", "-", "2");
    };
    figures("p50", 0.5);
    figures("p99", 0.99);
    for (name, seen) in [("nobody else", &quiet), ("strangers elsewhere", &control), ("10,000 strangers", &flooded)] {
        let share = |seconds: f64| seconds / seen.lasted.as_secs_f64() * 100.0;
        figure(&format!("hostile: processor of the hub, {name}"), share(seen.hub), "%", "-", "-");
        figure(&format!("hostile: processor for strangers, {name}"), share(seen.front), "%", "-", "-");
    }
    figure("hostile: an agent's full TLS handshake beside, p50", percentile(&mut connects, 0.5), "ms", "-", "-");
    figure("hostile: an agent's full TLS handshake beside, max", percentile(&mut connects, 1.0), "ms", "-", "-");
    figure("hostile: hub VmRSS, 100 agents, before any stranger", alone, "MB", "-", "-");
    figure("hostile: hub VmRSS, 100 agents, 10,000 strangers", most, "MB", "-", "-");
    Ok(())
}

impl Seen {
    async fn turn(&mut self, hub: &Hub, database: &Statuses, round: &mut usize) -> Result<()> {
        let pid = hub.process().context("the hub runs")?.id();
        let (front, all, begun) = (processor_seconds(pid, FRONT)?, processor_seconds(pid, "")?, Instant::now());
        self.changes.extend(changes(hub, database, *round).await?);
        *round += ROUNDS;
        self.front += processor_seconds(pid, FRONT)? - front;
        self.hub += processor_seconds(pid, "")? - all;
        self.lasted += begun.elapsed();
        Ok(())
    }
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

/// What the threads whose name begins so have used so far.
fn processor_seconds(pid: u32, name: &str) -> Result<f64> {
    let mut ticks = 0.0;
    for thread in std::fs::read_dir(format!("/proc/{pid}/task"))? {
        // A thread that has ended meanwhile counts no more.
        let Ok(stat) = std::fs::read_to_string(thread?.path().join("stat")) else { continue };
        let Some((head, fields)) = stat.rsplit_once(')').filter(|(head, _)| head.contains(&format!("({name}"))) else { continue };
        let used: Vec<f64> = fields.split_whitespace().skip(11).take(2).filter_map(|field| field.parse().ok()).collect();
        ensure!(used.len() == 2, "no times in {head}){fields}");
        ticks += used.iter().sum::<f64>();
    }
    Ok(ticks / TICKS_A_SECOND)
}

fn launch(scratch: &Scratch, hub: &Hub, target: &str) -> Result<Process> {
    let launch = Launch::new(STRANGERS, "nice", scratch.path()).args(["-n", NICE]).arg(std::env::current_exe()?);
    let mut process = launch.args([STRANGERS, target]).arg(hub.data()).start()?;
    process.wait_for_line("strangers: ", SOON)?;
    Ok(process)
}

/// The other half: floods until it is killed. Its arguments are the target and the hub's data folder.
pub async fn strangers(mut arguments: impl Iterator<Item = String>) -> Result<()> {
    let target = arguments.next().context("an address")?;
    let data = PathBuf::from(arguments.next().context("a folder")?);
    // A session of their own: the scheduler shares processors among sessions before it looks at processes. They get the share of one, so
    // that they are as many a second as a machine has room for; what that takes from the fleet is what the control is for.
    rustix::process::setsid()?;
    let scratch = Scratch::create(STRANGERS)?;
    let authority = Authority::open(scratch.path(), &data.join("ca.crt"), &data.join("ca.key"))?;
    let own = if target == CONTROL { Some(Bus::start(&authority, &[bus::HUB_NAME])?) } else { None };
    if let Some(bus) = &own {
        bus.roster.list(Vec::new());
    }
    let target = own.as_ref().map_or_else(|| target.parse(), |bus| Ok(bus.gate.local_addr()))?;
    let (tally, begun) = (tests::strangers::start(target, COUNT, &bus::strangers(&authority, scratch.path())?), Instant::now());
    loop {
        let (attempts, refused, admitted) = tally.read();
        let rate = attempts as f64 / begun.elapsed().as_secs_f64();
        println!("strangers: {COUNT} of them, {attempts} attempts ({rate:.0} a second), {refused} ended early, {admitted} let in");
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}
