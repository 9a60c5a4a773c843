//! What a thousand shells that are open and silent take of hub and agent: upgraded streams to a stub in the member's network.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use base64::{Engine, engine::general_purpose::STANDARD};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject};
use serde_json::Value;
use tests::{Agent, Authority, Credential, Hub, Member, Process, Scratch};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::{TlsAcceptor, TlsConnector, client::TlsStream};

use crate::figure;
use crate::memory::megabytes;

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
    let stub = stub(gateway, &authority.server("stub", &[gateway.to_string()])?).await?;
    let ca = authority.certificate_file().display().to_string();
    let allow = format!("[\"{gateway}\"]");
    agent.run(&[("AGENT_PROXY_ALLOW", &allow), ("AGENT_PROXY_STREAMS", "2000"), ("AGENT_PROXY_CA", &ca)])?;
    let found = hub.kubectl().wait_until(["mcls", "-A"], SOON, |found| found["items"][0]["status"]["apiserverURL"].is_string())?;
    let id = found["items"][0]["spec"]["clusterId"].as_str().context("the cluster has an id")?.to_owned();
    let gate = Gate::of(&hub, &format!("/apis/proxies.clusternet.io/v1alpha1/sockets/{id}/proxy/https/{stub}/"))?;
    drop(gate.open().await?);
    let before = Held::of(&hub, &mut agent)?;
    let streams = open(&gate).await?;
    let with = Held::of(&hub, &mut agent)?;
    let each = |now: u64, before: u64| now.saturating_sub(before) as f64 / STREAMS as f64;
    figure("streams: agent VmRSS a silent stream", each(with.agent_kib, before.agent_kib), "KiB", "-", "64");
    figure("streams: hub VmRSS a silent stream", each(with.hub_kib, before.hub_kib), "KiB", "-", "64");
    drop(streams);
    let once = settled(&hub, &mut agent, &before).await?;
    // What the allocator keeps is used again: a second time takes no more.
    drop(open(&gate).await?);
    let twice = settled(&hub, &mut agent, &before).await?;
    for (when, held) in [("before", before), ("with them", with), ("after", once), ("after twice", twice)] {
        figure(&format!("streams: descriptors of both {when}"), held.descriptors as f64, "", "-", "-");
        figure(&format!("streams: agent VmRSS {when}"), megabytes(held.agent_kib), "MB", "-", "-");
        figure(&format!("streams: hub VmRSS {when}"), megabytes(held.hub_kib), "MB", "-", "-");
    }
    Ok(())
}

async fn open(gate: &Gate) -> Result<Vec<TlsStream<TcpStream>>> {
    let mut streams = Vec::with_capacity(STREAMS);
    for _ in 0..STREAMS {
        streams.push(gate.open().await?);
    }
    Ok(streams)
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

/// A TLS server, as API servers are, that goes over to another protocol and says back what it hears; its HOST:PORT.
async fn stub(address: IpAddr, credential: &Credential) -> Result<std::net::SocketAddr> {
    let certificate = CertificateDer::from_pem_file(&credential.certificate)?;
    let key = PrivateKeyDer::from_pem_file(&credential.key)?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    let acceptor = TlsAcceptor::from(Arc::new(config.with_no_client_auth().with_single_cert(vec![certificate], key)?));
    let listener = TcpListener::bind((address, 0)).await?;
    let address = listener.local_addr()?;
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let mut socket = acceptor.accept(socket).await?;
                head(&mut socket).await?;
                socket.write_all(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: SPDY/3.1\r\n\r\n").await?;
                let (mut reader, mut writer) = tokio::io::split(socket);
                tokio::io::copy(&mut reader, &mut writer).await?;
                anyhow::Ok(())
            });
        }
    });
    Ok(address)
}

async fn head(from: &mut (impl AsyncReadExt + Unpin)) -> Result<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(from.read_u8().await?);
    }
    Ok(String::from_utf8(head)?)
}

/// The hub's gateway, for its administrator.
struct Gate {
    address: std::net::SocketAddr,
    tls: TlsConnector,
    request: String,
}

impl Gate {
    fn of(hub: &Hub, path: &str) -> Result<Gate> {
        let config: Value = serde_json::from_str(&hub.kubectl().run(["config", "view", "--raw", "-o", "json"])?)?;
        let text = |value: &Value| value.as_str().map(str::to_owned).context("kubeconfig of the hub");
        let token = text(&config["users"][0]["user"]["token"])?;
        let ca = STANDARD.decode(text(&config["clusters"][0]["cluster"]["certificate-authority-data"])?)?;
        let mut roots = rustls::RootCertStore::empty();
        for root in CertificateDer::pem_slice_iter(&ca) {
            roots.add(root?)?;
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
        let tls = TlsConnector::from(Arc::new(config.with_root_certificates(roots).with_no_client_auth()));
        let request = format!(
            "POST {path} HTTP/1.1\r\nHost: hub\r\nAuthorization: Bearer {token}\r\nConnection: Upgrade\r\nUpgrade: SPDY/3.1\r\nContent-Length: 0\r\n\r\n"
        );
        Ok(Gate { address: hub.api(), tls, request })
    }

    /// A stream that has carried something both ways.
    async fn open(&self) -> Result<TlsStream<TcpStream>> {
        let socket = TcpStream::connect(self.address).await?;
        let mut stream = self.tls.connect(ServerName::from(self.address.ip()), socket).await?;
        stream.write_all(self.request.as_bytes()).await?;
        let answer = head(&mut stream).await?;
        ensure!(answer.starts_with("HTTP/1.1 101 "), "{answer}");
        stream.write_all(&SAID).await?;
        let mut heard = [0; SAID.len()];
        stream.read_exact(&mut heard).await?;
        ensure!(heard == SAID, "other bytes came back");
        Ok(stream)
    }
}
