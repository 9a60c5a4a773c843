//! A hub's HTTPS listener with the gateway on it, and an agent's end of the streams in the hands of the test.
#![allow(dead_code, reason = "each test file uses a part")]

use std::future::Future;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bus_schema::id::Sid;
use bus_schema::message::stream::request_head::Identity;
use bus_schema::message::stream::{Header, RequestHead, ResponseHead};
use hub::api::{ApiState, Authenticator, DEFAULT_MEMBER_LIMIT};
use hub::controller::registration::{self, Directory, Issuing};
use hub::core::contact::{Contacts, Heard};
use hub::core::id::ClusterKey;
use hub::enrol::token::{Fresh, hashed};
use hub::gateway::{AuditLog, Gateway, Members};
use hub::kinds::{ManagedCluster, ManagedClusterSpec, ManagedClusterStatus, User, UserSpec};
use hub::store::Store;
use hub::sync::Streams;
use hub::tls::{Authority, HUB_NAME, Served, server_config};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use kube::Client;
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use serde_json::{Value, json};
use streams::{Endpoint, Limits, Role, Stream};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_util::sync::CancellationToken;

pub const ADMIN: &str = "admin-token";
pub const ID: &str = "00000000-0000-4000-8000-000000000001";
pub const PATIENCE: Duration = Duration::from_secs(20);

pub struct Gate {
    pub addr: SocketAddr,
    pub client: Client,
    pub state: ApiState,
    pub folder: tempfile::TempDir,
    pub streams: Streams,
    pub contacts: Arc<Contacts>,
    directory: Directory,
    tls: Arc<ClientConfig>,
    pub ca: PathBuf,
    _authority: watch::Sender<Arc<Authority>>,
    _stop: tokio_util::sync::DropGuard,
}

/// The two ends of a cluster's streams, and the link between them.
pub struct Link {
    pub hub: Endpoint,
    pub agent: Endpoint,
    carrier: Option<JoinHandle<()>>,
}

impl Link {
    fn new(hub: Endpoint, limits: Limits) -> Link {
        Link { hub, agent: Endpoint::new(Role::Agent, limits), carrier: None }
    }

    pub async fn up(&mut self) {
        let (hub, agent) = (self.hub.clone(), self.agent.clone());
        self.carrier = Some(tokio::spawn(async move { streams::loopback::connect(&hub, &agent).await }));
        until("the link is up", || self.hub.in_session()).await;
    }

    pub async fn cut(&mut self) {
        if let Some(carrier) = self.carrier.take() {
            carrier.abort();
            let _ = carrier.await;
        }
        until("the link is cut", || !self.hub.in_session()).await;
    }

    /// Performs every stream as this says.
    pub fn perform<F, W>(&self, work: F)
    where
        F: Fn(Stream, RequestHead) -> W + Send + Sync + 'static,
        W: Future<Output = ()> + Send + 'static,
    {
        let (agent, work) = (self.agent.clone(), Arc::new(work));
        tokio::spawn(async move {
            loop {
                let (mut stream, work) = (agent.accept().await, work.clone());
                tokio::spawn(async move {
                    if let Ok(head) = stream.read_head().await {
                        work(stream, head).await;
                    }
                });
            }
        });
    }
}

pub async fn gate() -> Gate {
    gate_with(Limits::default()).await
}

async fn gate_with(limits: Limits) -> Gate {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let folder = tempfile::tempdir().expect("a temporary folder");
    let store = Store::open(folder.path()).expect("an empty folder");
    let state = ApiState::new(store.clone(), hub::kinds::schemas(), Authenticator::new(ADMIN), DEFAULT_MEMBER_LIMIT);
    let client = hub::api::client(&state, hub::api::Identity::admin("test"));
    let made = Authority::make().expect("a CA");
    let roots = made.roots();
    let ca = folder.path().join("test-ca.pem");
    std::fs::write(&ca, made.pem()).expect("writable");
    let served = Served::new(&made, vec![HUB_NAME.into(), "127.0.0.1".into()], true).expect("a certificate");
    let (sender, authority) = watch::channel(Arc::new(made));
    let (directory, stop) = (Directory::default(), CancellationToken::new());
    let issuing = Issuing { authority, lifetime: Duration::from_secs(3600), hub_link_key: "hub".to_owned() };
    let config = registration::Config { real_namespaces: false, bus_address: "mqtts://h:1".into(), issuing, directory: directory.clone() };
    tokio::spawn(registration::run(client.clone(), config, stop.clone()));
    let (streams, contacts) = (Streams::new(limits), Arc::<Contacts>::default());
    let members = Members { directory: directory.clone(), streams: streams.clone(), contacts: contacts.clone(), store };
    let gateway = Gateway::new(state.clone(), members, AuditLog::open(folder.path()).expect("writable"));
    let router = hub::gateway::router(gateway).fallback_service(hub::api::router(state.clone()));
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let addr = listener.local_addr().expect("bound");
    tokio::spawn(hub::https::serve(listener, server_config(served), router, stop.clone()));
    let tls = Arc::new(ClientConfig::builder().with_root_certificates(roots).with_no_client_auth());
    until("the clusters are listed", || directory.find(ID).is_some()).await;
    Gate { addr, client, state, folder, streams, contacts, directory, tls, ca, _authority: sender, _stop: stop.drop_guard() }
}

/// A gate, a connected cluster `ns/shop-1` and its link.
pub async fn with_cluster() -> (Gate, Link) {
    with_limits(Limits::default()).await
}

pub async fn with_limits(limits: Limits) -> (Gate, Link) {
    let gate = gate_with(limits).await;
    let hub = gate.cluster("ns", "shop-1", ID, "aaaaaaaa").await;
    let mut link = Link::new(hub, limits);
    link.up().await;
    (gate, link)
}

impl Gate {
    pub async fn cluster(&self, namespace: &str, name: &str, id: &str, sid: &str) -> Endpoint {
        let spec = ManagedClusterSpec { cluster_id: id.into(), sync_mode: "Pull".into(), ..ManagedClusterSpec::default() };
        let api = Api::<ManagedCluster>::namespaced(self.client.clone(), namespace);
        api.create(&PostParams::default(), &ManagedCluster::new(name, spec)).await.expect("created");
        let status = ManagedClusterStatus { sid: Some(sid.into()), ..ManagedClusterStatus::default() };
        api.patch_status(name, &PatchParams::default(), &Patch::Merge(json!({"status": status}))).await.expect("status");
        let key = ClusterKey::new(namespace, name);
        until("the cluster is known", || self.directory.sid(&key).is_some()).await;
        self.streams.of(Sid::parse(sid).expect("a bus id"))
    }

    pub fn heard(&self, name: &str, ago: i64) {
        let heard = Heard::default();
        heard.hear(Timestamp::from_second(Timestamp::now().as_second() - ago).expect("in range"));
        self.contacts.set(ClusterKey::new("ns", name), heard);
    }

    /// Makes a user that is good for so many seconds; its token.
    pub async fn user(&self, name: &str, groups: &[&str], seconds: i64) -> String {
        let secret = Fresh::draw().expect("randomness").secret;
        let ends = Timestamp::from_second(Timestamp::now().as_second() + seconds).expect("in range");
        let groups = groups.iter().map(|group| (*group).to_owned()).collect();
        let user = User::new(name, UserSpec { groups, secret_hash: hashed(&secret), expires_at: Time(ends) });
        Api::<User>::all(self.client.clone()).create(&PostParams::default(), &user).await.expect("a user");
        format!("{name}.{secret}")
    }

    pub async fn revoke(&self, name: &str) {
        Api::<User>::all(self.client.clone()).delete(name, &DeleteParams::default()).await.expect("deleted");
    }

    pub async fn connect(&self) -> TlsStream<TcpStream> {
        let tcp = TcpStream::connect(self.addr).await.expect("the hub listens");
        let name = ServerName::try_from(HUB_NAME).expect("a name");
        TlsConnector::from(self.tls.clone()).connect(name, tcp).await.expect("TLS")
    }

    /// Sends bytes as they are, and reads until the hub closes.
    pub async fn raw(&self, bytes: &[u8]) -> Answer {
        let mut connection = self.connect().await;
        // The hub may close before it has read everything.
        let _ = connection.write_all(bytes).await.is_ok() && connection.flush().await.is_ok();
        let mut answer = Vec::new();
        let read = tokio::time::timeout(PATIENCE, connection.read_to_end(&mut answer)).await.expect("an end");
        Answer::read(&answer, read.is_ok())
    }

    /// An HTTP/1.1 request with these header lines, and a body whose length is said.
    pub async fn request(&self, method: &str, path: &str, headers: &[&str], body: &[u8]) -> Answer {
        let mut lines = headers.join("\r\n");
        if !headers.is_empty() {
            lines.push_str("\r\n");
        }
        let head = format!("{method} {path} HTTP/1.1\r\nHost: hub\r\nConnection: close\r\nContent-Length: {}\r\n{lines}\r\n", body.len());
        self.raw(&[head.as_bytes(), body].concat()).await
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.request("GET", path, &[&bearer(ADMIN)], b"").await
    }

    /// The audit log's lines that are over, once there are so many.
    pub async fn audit(&self, count: usize) -> Vec<Value> {
        let read = || -> Vec<Value> {
            let text = std::fs::read_to_string(self.folder.path().join("audit.log")).unwrap_or_default();
            text.lines().map(|line| serde_json::from_str(line).expect("JSON")).filter(|line: &Value| line["stage"] != "opened").collect()
        };
        until("the audit log is written", || read().len() >= count).await;
        read()
    }
}

pub fn bearer(token: &str) -> String {
    format!("Authorization: Bearer {token}")
}

#[derive(Debug)]
pub struct Answer {
    pub code: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    /// The body came to the end that its framing says.
    pub whole: bool,
}

impl Answer {
    fn read(bytes: &[u8], clean: bool) -> Answer {
        let end = bytes.windows(4).position(|window| window == b"\r\n\r\n");
        let Some(end) = end else { return Answer { code: 0, headers: vec![], body: bytes.to_vec(), whole: false } };
        let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
        let mut lines = head.split("\r\n");
        let code = lines.next().and_then(|line| line.split(' ').nth(1)?.parse().ok()).unwrap_or_default();
        let headers: Vec<(String, String)> =
            lines.filter_map(|line| line.split_once(": ")).map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned())).collect();
        let rest = &bytes[end + 4..];
        let is_chunked = headers.iter().any(|(name, value)| name == "transfer-encoding" && value == "chunked");
        let length: Option<usize> = headers.iter().find(|(name, _)| name == "content-length").and_then(|(_, value)| value.parse().ok());
        let (body, whole) = if is_chunked { unchunked(rest) } else { (rest.to_vec(), length.map_or(clean, |length| length == rest.len())) };
        Answer { code, headers, body, whole }
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str())
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub fn status(&self) -> Value {
        let status: Value = serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("no JSON: {}", self.text()));
        assert_eq!((status["kind"].as_str(), status["code"].as_u64()), (Some("Status"), Some(u64::from(self.code))), "{status}");
        status
    }

    pub fn message(&self) -> String {
        self.status()["message"].as_str().unwrap_or_default().to_owned()
    }
}

fn unchunked(mut rest: &[u8]) -> (Vec<u8>, bool) {
    let mut body = Vec::new();
    loop {
        let Some(end) = rest.windows(2).position(|window| window == b"\r\n") else { return (body, false) };
        let size = usize::from_str_radix(std::str::from_utf8(&rest[..end]).unwrap_or("x"), 16).unwrap_or(usize::MAX);
        rest = &rest[end + 2..];
        if size == 0 || size > rest.len() {
            return (body, size == 0);
        }
        body.extend_from_slice(&rest[..size]);
        rest = rest.get(size + 2..).unwrap_or_default();
    }
}

pub fn answer(status: u32, headers: &[(&str, &str)]) -> ResponseHead {
    let headers = headers.iter().map(|(name, value)| Header { name: (*name).into(), value: value.as_bytes().to_vec() });
    ResponseHead { status, headers: headers.collect() }
}

/// As whom it is done; what is secret does not show in its debug form.
fn shown(identity: Option<Identity>) -> Value {
    match identity {
        Some(Identity::User(user)) => json!([user.name, user.groups]),
        Some(Identity::Token(token)) => token.into(),
        Some(Identity::Certificate(found)) => json!([String::from_utf8_lossy(&found.certificate), String::from_utf8_lossy(&found.key)]),
        None => Value::Null,
    }
}

/// Answers with what was asked, as JSON, and whatever the body was.
pub async fn echo(mut stream: Stream, head: RequestHead) {
    let mut body = Vec::new();
    if stream.read_to_end(&mut body).await.is_err() {
        return;
    }
    let text = |header: &Header| (header.name.clone(), String::from_utf8_lossy(&header.value).into_owned());
    let told = json!({
        "method": head.method, "target": head.target, "authority": head.authority, "path": head.path, "upgrade": head.upgrade,
        "headers": head.headers.iter().map(text).collect::<Vec<_>>(), "impersonate": head.impersonate.iter().map(text).collect::<Vec<_>>(),
        "identity": shown(head.identity), "body": String::from_utf8_lossy(&body),
    });
    stream.write_head(&answer(200, &[("content-type", "application/json")])).await.expect("a head");
    stream.write_all(told.to_string().as_bytes()).await.expect("a body");
    stream.shutdown().await.expect("an end");
}

/// Waits for a condition, boundedly.
pub async fn until(what: &str, holds: impl Fn() -> bool) {
    let begun = std::time::Instant::now();
    while !holds() {
        assert!(begun.elapsed() < PATIENCE, "not within {PATIENCE:?}: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
