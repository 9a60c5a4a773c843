//! kubectl's requests: direct, through a plain TCP relay, and through hub, bus and agent, one after another in one run.

use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use http::Request;
use kube::config::{KubeConfigOptions, Kubeconfig};
use tests::{Agent, Hub, Member, Process, Relay, TlsClient};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::client::TlsStream;

use crate::{figure, percentile};

const SOON: Duration = Duration::from_secs(40);
const ROUNDS: usize = 500;
/// ConfigMaps of 1 MB each in the long list.
const LONG: usize = 16;
/// Upgraded connections held at once.
const HELD: usize = 1_000;

const BINDING: &str = "
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: hub-admins}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: cluster-admin}
subjects: [{apiGroup: rbac.authorization.k8s.io, kind: Group, name: 'hub:admins'}]
---
apiVersion: v1
kind: Namespace
metadata: {name: long}
";

pub async fn measure() -> Result<()> {
    let member = Member::builder("bench-kubectl").api_server_only().start().await?;
    let hub = Hub::start(&[&member])?;
    let stub = echo_server(member.site().gateway()).await?;
    let agent = Agent::prepare(&hub, &member)?;
    let (address, token, allowed) = (agent.hub_address(), agent.token_file(), stub.to_string());
    let arguments =
        ["--hub", &address, "--name", "bench-kubectl", "--token-file", &token, "--proxy-allow", &allowed, "--proxy-streams", "1200"];
    let mut agent = agent.with_arguments(arguments);
    agent.run(&[])?;
    hub.kubectl().wait_until(["mcls", "-A"], SOON, |found| found["items"][0]["status"]["link"] == "Connected")?;
    member.kubectl().apply(BINDING)?;
    for number in 0..LONG {
        let text = "x".repeat(1_000_000);
        member.kubectl().run_with_input(
            &["create", "-f", "-"],
            &format!("apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: c{number}, namespace: long}}\ndata: {{text: {text}}}\n"),
        )?;
    }
    let (ip, port) = member.control_plane().address();
    let relay = Relay::start(member.site().gateway(), SocketAddr::from((ip, port)))?;
    let direct = client(member.kubeconfig(), None).await?;
    let relayed = client(member.kubeconfig(), Some((relay.address(), ip))).await?;
    let printed = hub.data().join("bench.kubeconfig");
    std::fs::write(&printed, hub.run(&["kubeconfig", "--cluster", "bench-kubectl"])?)?;
    let through = client(&printed, None).await?;
    for (name, client) in [("direct", &direct), ("by a relay", &relayed), ("over the bus", &through)] {
        requests(name, client).await?;
    }
    let upgrading = Upgrading::new(&hub, stub).await?;
    keystrokes("direct", TcpStream::connect(stub).await.map(|stream| stream.set_nodelay(true).map(|()| stream))??).await?;
    keystrokes("over the bus", upgrading.open().await?).await?;
    held(&upgrading, hub.process().context("it runs")?, agent.process()?).await
}

async fn client(kubeconfig: &Path, instead: Option<(SocketAddr, IpAddr)>) -> Result<kube::Client> {
    let mut config = kube::Config::from_custom_kubeconfig(Kubeconfig::read_from(kubeconfig)?, &KubeConfigOptions::default()).await?;
    if let Some((relay, server)) = instead {
        config.cluster_url = format!("https://{relay}").parse()?;
        config.tls_server_name = Some(server.to_string());
    }
    Ok(kube::Client::try_from(config)?)
}

async fn requests(name: &str, client: &kube::Client) -> Result<()> {
    for (what, path, rounds) in [("GET /version", "/version", ROUNDS), ("get pods", "/api/v1/namespaces/default/pods", ROUNDS)] {
        let mut times = Vec::new();
        for _ in 0..rounds {
            let begun = Instant::now();
            client.request_text(Request::get(path).body(Vec::new())?).await?;
            times.push(begun.elapsed().as_secs_f64() * 1e3);
        }
        let goal = if name == "over the bus" { "direct + 1.5" } else { "-" };
        let clusternet = if name == "over the bus" && path == "/version" { "13.8" } else { "-" };
        figure(&format!("kubectl: {what} {name}, p50"), percentile(&mut times, 0.5), "ms", clusternet, goal);
        figure(&format!("kubectl: {what} {name}, p99"), percentile(&mut times, 0.99), "ms", "-", "-");
    }
    let mut rates = Vec::new();
    for _ in 0..5 {
        let begun = Instant::now();
        let list = client.request_text(Request::get("/api/v1/namespaces/long/configmaps").body(Vec::new())?).await?;
        ensure!(list.len() >= LONG * 1_000_000);
        rates.push(list.len() as f64 / 1e6 / begun.elapsed().as_secs_f64());
    }
    figure(&format!("kubectl: a list of 16 MB {name}, p50"), percentile(&mut rates, 0.5), "MB/s", "69 %", "80 % of direct");
    Ok(())
}

/// Accepts any upgrade, and sends back what comes.
async fn echo_server(address: IpAddr) -> Result<SocketAddr> {
    let listener = TcpListener::bind((address, 0)).await?;
    let bound = listener.local_addr()?;
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(echo(stream));
        }
    });
    Ok(bound)
}

async fn echo(mut stream: TcpStream) -> Result<()> {
    stream.set_nodelay(true)?;
    let mut seen = Vec::new();
    let mut chunk = vec![0; 16 << 10];
    loop {
        let count = stream.read(&mut chunk).await?;
        if count == 0 {
            return Ok(());
        }
        seen.extend_from_slice(&chunk[..count]);
        if seen.starts_with(b"GET ") {
            if seen.ends_with(b"\r\n\r\n") {
                stream.write_all(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n").await?;
                seen.clear();
            }
            continue;
        }
        stream.write_all(&seen).await?;
        seen.clear();
    }
}

/// Opens WebSockets to the stub through hub, bus and agent.
struct Upgrading {
    server: TlsClient,
    head: String,
}

impl Upgrading {
    async fn new(hub: &Hub, stub: SocketAddr) -> Result<Upgrading> {
        let found = hub.kubectl().get(["mcls", "-A"])?;
        let id = found["items"][0]["spec"]["clusterId"].as_str().context("an id")?.to_owned();
        let token = std::fs::read_to_string(hub.data().join("admin.token"))?;
        let head = format!(
            "GET /apis/proxies.clusternet.io/v1alpha1/sockets/{id}/proxy/http/{stub}/echo HTTP/1.1\r\nHost: hub\r\nAuthorization: Bearer {}\r\n\
             Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
            token.trim()
        );
        Ok(Upgrading { server: TlsClient::new(hub.api(), &hub.data().join("ca.crt"))?, head })
    }

    async fn open(&self) -> Result<TlsStream<TcpStream>> {
        let mut connection = self.server.connect().await?;
        connection.write_all(self.head.as_bytes()).await?;
        connection.flush().await?;
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(connection.read_u8().await.context("an answer")?);
        }
        ensure!(head.starts_with(b"HTTP/1.1 101 "), "{}", String::from_utf8_lossy(&head));
        Ok(connection)
    }
}

async fn keystrokes(name: &str, mut connection: impl tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin) -> Result<()> {
    // One typed byte as kubectl frames it; the stub sends it back as it is.
    let frame = [0x82, 0x82, 0, 0, 0, 0, 0, b'x'];
    let mut times = Vec::new();
    for _ in 0..ROUNDS {
        let begun = Instant::now();
        connection.write_all(&frame).await?;
        connection.flush().await?;
        connection.read_exact(&mut [0; 8]).await?;
        times.push(begun.elapsed().as_secs_f64() * 1e3);
    }
    figure(&format!("kubectl: a keystroke and its echo {name}, p50"), percentile(&mut times, 0.5), "ms", "-", "RTT + 5");
    figure(&format!("kubectl: a keystroke and its echo {name}, p99"), percentile(&mut times, 0.99), "ms", "-", "-");
    Ok(())
}

async fn held(upgrading: &Upgrading, hub: &Process, agent: &Process) -> Result<()> {
    let before = (hub.memory()?.resident_kib, agent.memory()?.resident_kib);
    let mut connections = Vec::new();
    for _ in 0..HELD {
        connections.push(upgrading.open().await?);
    }
    for connection in &mut connections {
        connection.write_all(&[0x82, 0x81, 0, 0, 0, 0, b'x']).await?;
        connection.flush().await?;
        connection.read_exact(&mut [0; 7]).await?;
    }
    let after = (hub.memory()?.resident_kib, agent.memory()?.resident_kib);
    let each = |after: u64, before: u64| (after as f64 - before as f64) / HELD as f64;
    figure("kubectl: memory of the hub for an exec, of 1,000", each(after.0, before.0), "KiB", "-", "64");
    figure("kubectl: memory of the agent for an exec, of 1,000", each(after.1, before.1), "KiB", "-", "-");
    Ok(())
}
