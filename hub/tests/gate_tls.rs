//! A silent peer in the TLS handshake: the gate's accept loop does not know of it.
//!
//! Stock rumqttd's TLS needs a second rustls, which this workspace does not take, so the negative control is a loop of the same shape:
//! it awaits the handshake before it accepts again.

mod support;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hub::bus::gate::Gate;
use hub::bus::gate::admission::{LoopbackAdmission, PeerIdentity};
use hub::bus::gate::transport::Transport;
use rustls::pki_types::{PrivateKeyDer, ServerName};
use support::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_rustls::server::TlsStream;
use tokio_rustls::{TlsAcceptor, TlsConnector};

struct Tls(TlsAcceptor);

impl Transport for Tls {
    type Stream = TlsStream<TcpStream>;
    const SECURE: bool = true;

    async fn accept(&self, socket: TcpStream) -> io::Result<(Self::Stream, PeerIdentity)> {
        Ok((self.0.accept(socket).await?, PeerIdentity::Anonymous))
    }
}

fn ends() -> (TlsAcceptor, TlsConnector) {
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
    (TlsAcceptor::from(Arc::new(server)), TlsConnector::from(Arc::new(client)))
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

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_tls_peer_blocks_a_loop_that_awaits_handshakes_and_not_the_gate() {
    let (acceptor, connector) = ends();
    let naive = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let naive_addr = naive.local_addr().unwrap();
    let naive_acceptor = acceptor.clone();
    let looping = tokio::spawn(async move {
        loop {
            let (socket, _) = naive.accept().await.unwrap();
            if let Ok(mut tls) = naive_acceptor.accept(socket).await {
                tokio::spawn(async move { tls.write_all(&[0x20, 2, 0, 0]).await });
            }
        }
    });
    assert!(connack(naive_addr, &connector).await.is_ok(), "the control serves");
    let silent = TcpStream::connect(naive_addr).await.unwrap();
    let blocked = timeout(Duration::from_secs(1), connack(naive_addr, &connector)).await;
    assert!(blocked.is_err(), "the negative control was not blocked: this test shows nothing");
    drop(silent);
    looping.abort();

    let (sender, _sessions) = mpsc::channel(8);
    let gate = Gate::start_with(Tls(acceptor), config(), Arc::new(LoopbackAdmission), sender).unwrap();
    let mut silent = Vec::new();
    for _ in 0..50 {
        silent.push(TcpStream::connect(gate.local_addr()).await.unwrap());
    }
    let served = timeout(Duration::from_secs(1), connack(gate.local_addr(), &connector)).await;
    assert_eq!(served.expect("at once").unwrap(), [0x20, 2, 0, 0]);
    assert!(gate.shutdown().await);
}
