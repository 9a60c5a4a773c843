//! Many streams at once through a real hub and a real agent, of five kinds in equal parts, ended in five ways: descriptors, threads and
//! memory of both come back to what they were. `CLUSTERNET_EDGE_FULL` makes them 10,000.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use tests::{Agent, Hub, Launch, Member, Process, Scratch, TlsClient, workspace_program};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_rustls::client::TlsStream;

const SOON: Duration = Duration::from_secs(60);
/// Until all clients of a debug build have been told.
const PATIENCE: Duration = Duration::from_secs(180);
/// How long the hub's streams wait for their link: short, so that the test sees its end.
const GRACE: &str = "5s";
/// Opened side by side.
const AT_ONCE: usize = 64;
/// Ports of the stub: an agent that closes 10,000 connections to one port five times runs out of its own.
const PORTS: usize = 5;
/// Bytes that a forwarded port carries each way.
const CARRIED: usize = 16 << 10;

/// Descriptors that idle connections to API servers take, now more and now fewer.
const FEW: usize = 10;
/// Threads that wait for a file, which the runtime keeps for a while.
const FEW_THREADS: usize = 4;
/// What an allocator may keep more than after the first of these turns: a share of it, and KiB.
const KEPT: (f64, f64) = (1.25, 10_240.0);

const KINDS: [&str; 5] = ["shell", "watch", "logs", "forward", "half"];

type Connection = TlsStream<TcpStream>;

fn many() -> usize {
    if std::env::var_os("CLUSTERNET_EDGE_FULL").is_some() { 10_000 } else { 500 }
}

/// What a program holds.
#[derive(Clone, Copy, Debug)]
struct Held {
    descriptors: usize,
    threads: usize,
    kib: u64,
}

impl Held {
    fn of(process: &Process) -> Result<Held> {
        Ok(Held { descriptors: process.descriptors()?, threads: process.threads()?, kib: process.memory()?.resident_kib })
    }
}

/// A hub, an agent, and a server beside its API server that takes any number of connections.
struct World {
    // Before what they stand on: fields are dropped in this order.
    stub: Process,
    agent: Agent,
    hub: Hub,
    gate: Arc<Gate>,
    _member: Member,
    _scratch: Scratch,
}

impl World {
    async fn start() -> Result<World> {
        let member = Member::builder("many").api_server_only().start().await?;
        let hub = Hub::start_with(&[&member], &["--stream-grace", GRACE, "--log", "info"])?;
        let (scratch, gateway) = (Scratch::create("stub")?, member.site().gateway().to_string());
        let mut stub = Launch::new("stub", workspace_program("stub")?, scratch.path()).args([&gateway, &PORTS.to_string()]).start()?;
        stub.wait_for_line("ready", SOON)?;
        let said = stub.log();
        let ports = said.lines().filter_map(|line| line.strip_prefix("port: ")).map(|port| format!("{gateway}:{port}")).collect();
        let agent = Agent::prepare_logging(&hub, &member, "info")?;
        let (address, token, most) = (agent.hub_address(), agent.token_file(), (many() + 500).to_string());
        let joining = ["--hub", &address, "--name", "many", "--token-file", &token, "--proxy-allow", &gateway, "--proxy-streams", &most];
        let mut agent = agent.with_arguments(joining);
        agent.run(&[])?;
        hub.kubectl().wait_until(["mcls", "-A"], SOON, |found| found["items"][0]["status"]["link"] == "Connected")?;
        let gate = Arc::new(Gate::of(&hub, ports)?);
        Ok(World { stub, agent, hub, gate, _member: member, _scratch: scratch })
    }

    /// What hub and agent hold.
    fn held(&mut self) -> Result<[Held; 2]> {
        Ok([Held::of(self.hub.process().context("the hub runs")?)?, Held::of(self.agent.process()?)?])
    }

    /// Opens them all, each of which has carried something both ways.
    async fn open_all(&self) -> Result<Vec<Connection>> {
        let (places, mut opening) = (Arc::new(Semaphore::new(AT_ONCE)), JoinSet::new());
        for number in 0..many() {
            let (gate, places) = (self.gate.clone(), places.clone());
            opening.spawn(async move {
                let _place = places.acquire_owned().await?;
                gate.open(number).await.with_context(|| format!("stream {number} ({})", KINDS[number % KINDS.len()]))
            });
        }
        let mut open = Vec::with_capacity(many());
        while let Some(opened) = opening.join_next().await {
            open.push(opened??);
        }
        Ok(open)
    }

    /// Waits until one of each kind can be opened.
    async fn serves(&self) -> Result<()> {
        for number in 0..KINDS.len() {
            let deadline = Instant::now() + SOON;
            while let Err(error) = self.gate.open(number).await {
                ensure!(Instant::now() < deadline, "{error:#}\nHUB\n{}\nAGENT\n{}", self.hub.log(), self.agent.log());
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
        Ok(())
    }

    /// Waits until no descriptor and no thread is left of what was open; what is held then.
    async fn returns(&mut self, before: [Held; 2], stub: usize) -> Result<[Held; 2]> {
        let deadline = Instant::now() + SOON;
        loop {
            let now = self.held()?;
            let has =
                |now: &Held, before: &Held| now.descriptors <= before.descriptors + FEW && now.threads <= before.threads + FEW_THREADS;
            if now.iter().zip(&before).all(|(now, before)| has(now, before)) && self.stub.descriptors()? <= stub + FEW {
                return Ok(now);
            }
            ensure!(Instant::now() < deadline, "{before:?} before, {now:?} after; stub {stub}, {}", self.stub.descriptors()?);
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }
}

/// The hub's gateway, as its administrator.
struct Gate {
    client: TlsClient,
    sockets: String,
    token: String,
    ports: Vec<String>,
}

impl Gate {
    fn of(hub: &Hub, ports: Vec<String>) -> Result<Gate> {
        let found = hub.kubectl().get(["mcls", "-A"])?;
        let id = found["items"][0]["spec"]["clusterId"].as_str().context("an id")?.to_owned();
        let sockets = format!("/apis/proxies.clusternet.io/v1alpha1/sockets/{id}/proxy/http");
        let token = std::fs::read_to_string(hub.data().join("admin.token"))?.trim().to_owned();
        Ok(Gate { client: TlsClient::new(hub.api(), &hub.data().join("ca.crt"))?, sockets, token, ports })
    }

    async fn open(&self, number: usize) -> Result<Connection> {
        let (kind, port) = (KINDS[number % KINDS.len()], &self.ports[number / KINDS.len() % self.ports.len()]);
        let (method, path, further, body) = match kind {
            "shell" | "forward" => ("POST", "shell", "Content-Length: 0\r\nConnection: Upgrade\r\nUpgrade: SPDY/3.1\r\n", ""),
            "half" => ("POST", "half", "Content-Length: 5\r\n", "12345"),
            other => ("GET", other, "", ""),
        };
        let head = format!("{method} {}/{port}/{path} HTTP/1.1\r\nHost: hub\r\nAuthorization: Bearer {}\r\n", self.sockets, self.token);
        let mut connection = self.client.connect().await?;
        connection.write_all(format!("{head}{further}\r\n{body}").as_bytes()).await?;
        let mut got = Vec::new();
        while !got.windows(5).any(|window| window == b"begun") {
            let read = timeout(SOON, connection.read_buf(&mut got)).await?.context("an answer")?;
            ensure!(read > 0, "{}", String::from_utf8_lossy(&got));
        }
        let said: Vec<u8> = match kind {
            "shell" => vec![b'x'],
            "forward" => (0..CARRIED).map(|at| (at % 251) as u8).collect(),
            _ => Vec::new(),
        };
        connection.write_all(&said).await?;
        let mut heard = vec![0; said.len()];
        timeout(SOON, connection.read_exact(&mut heard)).await?.context("an echo")?;
        ensure!(heard == said, "other bytes came back");
        Ok(connection)
    }
}

/// Reads each until it ends, in order or not.
async fn all_are_told(open: Vec<Connection>) -> Result<()> {
    let mut reading = JoinSet::new();
    for mut connection in open {
        reading.spawn(async move {
            let mut chunk = vec![0; 4096];
            while connection.read(&mut chunk).await.is_ok_and(|count| count > 0) {}
        });
    }
    let all = reading.len();
    let told = async { while reading.join_next().await.is_some() {} };
    let in_time = timeout(PATIENCE, told).await;
    in_time.with_context(|| format!("{} of {all} clients were not told within {PATIENCE:?}", reading.len()))
}

/// How streams end.
#[derive(Clone, Copy, Debug, PartialEq)]
enum End {
    Client,
    Server,
    Link,
    Agent,
    Hub,
}

impl World {
    async fn end(&mut self, how: End, open: Vec<Connection>) -> Result<()> {
        match how {
            End::Client => {
                drop(open);
                return Ok(());
            }
            End::Server => self.stub.nudge()?,
            End::Link => {
                self.agent.bus.cut();
                self.agent.bus.reset();
            }
            End::Agent => {
                self.agent.kill();
                self.agent.run(&[])?;
            }
            End::Hub => self.hub.kill(),
        }
        all_are_told(open).await?;
        match how {
            End::Link => self.agent.bus.heal(),
            End::Hub => self.hub.start_again()?,
            _ => {}
        }
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn many_streams_that_end_anywhere_leave_nothing() -> Result<()> {
    let mut world = World::start().await?;
    world.serves().await?;
    let (before, stub) = (world.held()?, world.stub.descriptors()?);
    let before = world.returns(before, stub).await?;
    println!("{} streams of {KINDS:?}; before: hub and agent {before:?}", many());
    let mut first = None;
    for how in [End::Client, End::Server, End::Link, End::Agent, End::Hub] {
        let begun = Instant::now();
        let open = world.open_all().await?;
        let full = world.held()?;
        ensure!(full.iter().all(|held| held.descriptors >= many()), "they are not open: {full:?}");
        world.end(how, open).await?;
        world.serves().await?;
        let after = world.returns(before, stub).await?;
        println!("{how:?}: {full:?} with them, {after:?} after; {:.0} s", begun.elapsed().as_secs_f32());
        for (first, after) in first.get_or_insert(after).iter().zip(&after) {
            ensure!(after.kib as f64 <= first.kib as f64 * KEPT.0 + KEPT.1, "memory grows from turn to turn: {first:?}, then {after:?}");
        }
    }
    Ok(())
}
