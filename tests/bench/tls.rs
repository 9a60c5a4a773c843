//! Mutual TLS: connects a second of the gate and of Mosquitto with the same certificates in turns of one run, bytes of a handshake,
//! memory of a connection. The gate is a process of its own, as Mosquitto is; the clients are this one.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use bus_schema::id::Sid;
use hub::bus::gate::allowance::Rate;
use hub::bus::gate::certificate::AGENTS as ORGANISATION;
use hub::bus::gate::config::GateConfig;
use rustls::client::Resumption;
use rustls::{ClientConfig, HandshakeKind};
use tests::bus::{self, Bus, HUB_NAME};
use tests::{Authority, Credential, Launch, Process, Relay, Scratch};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::figure;

/// The name of the program's other half.
pub const GATE: &str = "gate";

const CLIENTS: u64 = 32;
const HELD: u64 = 2_000;
const TURN: Duration = Duration::from_secs(4);
const TURNS: usize = 3;
const SOON: Duration = Duration::from_secs(20);
/// What TLS 1.3 adds to a record: header, type and tag.
const RECORD: u64 = 22;

pub async fn measure() -> Result<()> {
    let scratch = Scratch::create("bench-tls")?;
    let authority = Authority::create(scratch.path(), "fleet")?;
    let server = authority.server("bus", &[HUB_NAME.to_owned()])?;
    let (clients, last) = clients(&authority, HELD)?;
    let (gate, mosquitto) = (start_gate(&scratch)?, start_mosquitto(&scratch, &authority, &server)?);
    for (kind, resume) in [("full", false), ("resumed", true)] {
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        for _ in 0..TURNS {
            ours.push(rate(gate.addr, &clients[..CLIENTS as usize], resume).await?);
            theirs.push(rate(mosquitto.addr, &clients[..CLIENTS as usize], resume).await?);
        }
        let (ours, theirs) = (median(ours), median(theirs));
        figure(&format!("tls: gate, {kind} handshakes"), ours.0, "/s", "-", "-");
        figure(&format!("tls: gate, {kind}: share that was resumed"), ours.1, "%", "-", "-");
        figure(&format!("tls: mosquitto, asked for {kind}"), theirs.0, "/s", "-", "-");
        figure(&format!("tls: mosquitto, {kind}: share that was resumed"), theirs.1, "%", "-", "-");
        figure(&format!("tls: gate to mosquitto, {kind}"), ours.0 / theirs.0, "", "-", "2");
    }
    let identity = bus::identity_of(&authority, &last, scratch.path())?;
    bytes(gate.addr, &*bus::agents_client(&identity)?).await?;
    memory(&gate, &clients).await
}

/// An agent and what it shows.
type Client = (Sid, Arc<ClientConfig>);

/// Agents, each with its key, and what the last of them shows.
fn clients(authority: &Authority, count: u64) -> Result<(Vec<Client>, Credential)> {
    let (mut clients, mut last) = (Vec::new(), None);
    for sid in (0..count).map(sid) {
        let shown = authority.user("agent", sid.as_str(), ORGANISATION)?;
        let hash = bus::key_hash(&shown)?;
        std::fs::write(shown.key.with_file_name(format!("{sid}.hash")), hash.to_string())?;
        clients.push((sid, bus::client(authority, Some(&shown))?));
        last = Some(shown);
    }
    Ok((clients, last.context("at least one client")?))
}

fn sid(number: u64) -> Sid {
    Sid::from_random(number.wrapping_mul(0x9e37_79b9))
}

/// A server and where it listens.
struct Server {
    process: Process,
    addr: SocketAddr,
}

fn start_gate(scratch: &Scratch) -> Result<Server> {
    let mut process = Launch::new(GATE, std::env::current_exe()?, scratch.path()).arg(GATE).arg(scratch.path()).start()?;
    let addr = process.wait_for_line("gate: ", SOON)?.trim().parse()?;
    Ok(Server { process, addr })
}

fn start_mosquitto(scratch: &Scratch, authority: &Authority, server: &Credential) -> Result<Server> {
    let addr = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?;
    let settings = format!(
        "listener {} 127.0.0.1\nuser root\nallow_anonymous true\nrequire_certificate true\nuse_identity_as_username true\ntls_version tlsv1.3\n\
         cafile {}\ncertfile {}\nkeyfile {}\nmax_connections -1\nlog_type error\n",
        addr.port(),
        authority.certificate_file().display(),
        server.certificate.display(),
        server.key.display()
    );
    let file = scratch.path().join("mosquitto.conf");
    std::fs::write(&file, settings)?;
    let process = Launch::new("mosquitto", "mosquitto", scratch.path()).arg("-c").arg(file).start()?;
    let deadline = Instant::now() + SOON;
    while std::net::TcpStream::connect(addr).is_err() {
        ensure!(Instant::now() < deadline, "mosquitto does not listen: {}", process.log_tail());
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(Server { process, addr })
}

/// Connects a second, and percent that were resumed: every client connects, is answered, and leaves, again and again.
async fn rate(addr: SocketAddr, clients: &[Client], resume: bool) -> Result<(f64, f64)> {
    let counts = Arc::new((AtomicU64::new(0), AtomicU64::new(0)));
    let begun = Instant::now();
    let running: Vec<_> = clients
        .iter()
        .map(|(sid, tls)| {
            let (sid, tls, counts) = (*sid, tls_for(tls, resume), counts.clone());
            tokio::spawn(async move {
                while begun.elapsed() < TURN {
                    let stream = connect(addr, sid, &tls).await?;
                    let resumed = stream.get_ref().1.handshake_kind() == Some(HandshakeKind::Resumed);
                    counts.0.fetch_add(1, Ordering::Relaxed);
                    counts.1.fetch_add(resumed.into(), Ordering::Relaxed);
                }
                Ok::<_, anyhow::Error>(())
            })
        })
        .collect();
    for client in running {
        client.await??;
    }
    let (all, resumed) = (counts.0.load(Ordering::Relaxed) as f64, counts.1.load(Ordering::Relaxed) as f64);
    Ok((all / begun.elapsed().as_secs_f64(), resumed / all * 100.0))
}

fn tls_for(tls: &ClientConfig, resume: bool) -> Arc<ClientConfig> {
    let mut tls = tls.clone();
    tls.resumption = if resume { Resumption::in_memory_sessions(4) } else { Resumption::disabled() };
    Arc::new(tls)
}

/// TLS, CONNECT and CONNACK.
async fn connect(addr: SocketAddr, sid: Sid, tls: &Arc<ClientConfig>) -> Result<TlsStream<TcpStream>> {
    let socket = TcpStream::connect(addr).await?;
    socket.set_nodelay(true)?;
    let name = rustls::pki_types::ServerName::try_from(HUB_NAME)?;
    let mut stream = TlsConnector::from(tls.clone()).connect(name, socket).await?;
    stream.write_all(&hello(sid)).await?;
    let mut connack = [0; 4];
    stream.read_exact(&mut connack).await.context("no CONNACK")?;
    ensure!(connack == [0x20, 2, 0, 0], "CONNACK {connack:?}");
    Ok(stream)
}

fn hello(sid: Sid) -> Vec<u8> {
    [&[0x10, 20, 0, 4][..], b"MQTT", &[4, 2, 0, 60, 0, 8], sid.as_str().as_bytes()].concat()
}

fn median(mut turns: Vec<(f64, f64)>) -> (f64, f64) {
    turns.sort_by(|a, b| a.0.total_cmp(&b.0));
    turns[turns.len() / 2]
}

/// Bytes both ways of a full and a resumed handshake, without MQTT.
async fn bytes(addr: SocketAddr, tls: &ClientConfig) -> Result<()> {
    let (relay, tls, last) = (Relay::start("127.0.0.1".parse()?, addr)?, tls_for(tls, true), sid(HELD - 1));
    let mqtt = hello(last).len() as u64 + 4 + 2 * RECORD;
    let mut before = relay.traffic();
    for (kind, goal) in [("full", "2080"), ("resumed", "700")] {
        let stream = connect(relay.address(), last, &tls).await?;
        let now = relay.traffic();
        figure(&format!("tls: bytes of a {kind} handshake"), (now.since(before).total() - mqtt) as f64, "bytes", "-", goal);
        drop(stream);
        tokio::time::sleep(Duration::from_millis(200)).await;
        before = relay.traffic();
    }
    Ok(())
}

/// What connections that are held cost the gate.
async fn memory(gate: &Server, clients: &[Client]) -> Result<()> {
    let resident = || Ok::<_, anyhow::Error>(gate.process.memory()?.resident_kib as f64);
    let (before, mut held) = (resident()?, Vec::new());
    for (sid, tls) in clients {
        held.push(connect(gate.addr, *sid, &tls_for(tls, false)).await?);
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    figure("tls: gate VmRSS of one held connection", (resident()? - before) / held.len() as f64, "KiB", "-", "-");
    figure("tls: gate VmRSS with 2,000 held", resident()? / 1024.0, "MB", "-", "-");
    Ok(())
}

/// The other half: a gate that takes as many connects as come. Its argument is the folder of the fleet's authority.
pub async fn gate(mut arguments: impl Iterator<Item = String>) -> Result<()> {
    let folder = PathBuf::from(arguments.next().context("a folder")?);
    let config =
        GateConfig { connects: Rate { per_second: 1_000_000, burst: 1_000_000 }, ..GateConfig::new(SocketAddr::from(([127, 0, 0, 1], 0))) };
    let mut bus = Bus::start_from(&folder, config)?;
    let keys = (0..HELD).map(|number| key(&folder, sid(number)));
    bus.roster.list(keys.collect::<Result<Vec<_>>>()?);
    println!("gate: {}", bus.gate.local_addr());
    while let Some(mut session) = bus.sessions.recv().await {
        tokio::spawn(async move { while session.uplink.recv().await.is_some() {} });
    }
    Ok(())
}

fn key(folder: &Path, sid: Sid) -> Result<(Sid, Vec<hub::bus::gate::certificate::KeyHash>)> {
    let text = std::fs::read_to_string(folder.join(format!("{sid}.hash")))?;
    Ok((sid, vec![hub::bus::gate::certificate::KeyHash::parse(&text).context("a key hash")?]))
}
