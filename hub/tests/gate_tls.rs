//! A silent peer in the TLS handshake: the gate's accept loop does not know of it.
//!
//! Stock rumqttd's TLS needs a second rustls, which this workspace does not take: the negative control is the stock program itself.

mod support;

use std::io;
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use hub::bus::gate::Gate;
use hub::bus::gate::admission::{LoopbackAdmission, PeerIdentity};
use hub::bus::gate::transport::{Accepted, Transport};
use rustls::pki_types::{PrivateKeyDer, ServerName};
use support::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_rustls::server::TlsStream;
use tokio_rustls::{TlsAcceptor, TlsConnector};

struct Tls(TlsAcceptor);

impl Transport for Tls {
    type Stream = TlsStream<TcpStream>;
    const SECURE: bool = true;

    async fn accept(&self, socket: TcpStream) -> io::Result<Accepted<Self::Stream>> {
        Ok(Accepted { stream: self.0.accept(socket).await?, identity: PeerIdentity::Anonymous, resumed: false })
    }
}

/// What a TLS server needs, as files hold it.
struct Pem {
    certificate: String,
    key: String,
}

fn ends() -> (TlsAcceptor, TlsConnector, Pem) {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let server = rustls::ServerConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap();
    let mut roots = rustls::RootCertStore::empty();
    roots.add(made.cert.der().clone()).unwrap();
    let client = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let pem = Pem { certificate: made.cert.pem(), key: made.signing_key.serialize_pem() };
    (TlsAcceptor::from(Arc::new(server)), TlsConnector::from(Arc::new(client)), pem)
}

/// Connects and speaks MQTT over TLS; gives CONNACK.
async fn connack(addr: SocketAddr, connector: &TlsConnector) -> io::Result<[u8; 4]> {
    let socket = TcpStream::connect(addr).await?;
    let mut tls = connector.connect(ServerName::try_from("localhost").unwrap(), socket).await?;
    tls.write_all(&Hello::new("aaaaaaaa").bytes()).await?;
    let mut connack = [0; 4];
    tls.read_exact(&mut connack).await?;
    Ok(connack)
}

/// The stock rumqttd program with TLS on a free port; killed when dropped.
struct Stock {
    process: Child,
    addr: SocketAddr,
    _folder: tempfile::TempDir,
}

impl Stock {
    fn start(pem: &Pem) -> Stock {
        let program = Command::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/testbed/build-broker")).output().unwrap();
        assert!(program.status.success(), "{}", String::from_utf8_lossy(&program.stderr));
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name).display().to_string();
        let addr = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        std::fs::write(path("cert.pem"), &pem.certificate).unwrap();
        std::fs::write(path("key.pem"), &pem.key).unwrap();
        let settings = format!(
            "id = 0\n[router]\nid = 0\nmax_connections = 100\nmax_outgoing_packet_count = 200\nmax_segment_size = 1048576\nmax_segment_count = 4\n\
             [v4.1]\nname = \"stock\"\nlisten = \"{addr}\"\nnext_connection_delay_ms = 0\n\
             [v4.1.tls]\ncertpath = \"{}\"\nkeypath = \"{}\"\n\
             [v4.1.connections]\nconnection_timeout_ms = 60000\nmax_payload_size = 1048576\nmax_inflight_count = 100\n",
            path("cert.pem"),
            path("key.pem")
        );
        std::fs::write(path("rumqttd.toml"), settings).unwrap();
        let mut stock = Command::new(String::from_utf8(program.stdout).unwrap().trim());
        stock.args(["--config", &path("rumqttd.toml"), "--quiet"]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        Stock { process: stock.spawn().unwrap(), addr, _folder: folder }
    }

    async fn serves(&self, connector: &TlsConnector) {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        while connack(self.addr, connector).await.is_err() {
            assert!(tokio::time::Instant::now() < deadline, "the stock broker never served");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

impl Drop for Stock {
    fn drop(&mut self) {
        let _gone = self.process.kill();
        let _reaped = self.process.wait();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_tls_peer_blocks_stock_rumqttd_and_not_the_gate() {
    let (acceptor, connector, pem) = ends();
    let stock = blocking(move || Stock::start(&pem)).await;
    stock.serves(&connector).await;
    let silent = TcpStream::connect(stock.addr).await.unwrap();
    let blocked = timeout(Duration::from_secs(3), connack(stock.addr, &connector)).await;
    println!("stock rumqttd beside a silent TLS peer: {blocked:?}");
    assert!(blocked.is_err(), "the negative control was not blocked: this test shows nothing");
    drop(silent);

    let (sender, _sessions) = mpsc::channel(8);
    let gate = Gate::start_with(Tls(acceptor), config(), Arc::new(LoopbackAdmission), sender).unwrap();
    let mut silent = Vec::new();
    for _ in 0..50 {
        silent.push(TcpStream::connect(gate.local_addr()).await.unwrap());
    }
    let served = timeout(Duration::from_secs(3), connack(gate.local_addr(), &connector)).await;
    assert_eq!(served.expect("at once").unwrap(), [0x20, 2, 0, 0]);
    assert!(gate.shutdown().await);
}
