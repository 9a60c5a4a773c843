//! Upgraded connections, as shells are: a stub in the member's network that goes over to another protocol, and how it is reached through
//! the hub.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tests::{Authority, Credential, Hub, TlsClient};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::client::TlsStream;

const SWITCHED: &[u8] = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: SPDY/3.1\r\n\r\n";

/// A TLS server, as API servers are, that goes over to another protocol and says back what it hears; its HOST:PORT.
pub async fn stub(address: IpAddr, authority: &Authority) -> Result<SocketAddr> {
    let acceptor = acceptor(&authority.server("stub", &[address.to_string()])?)?;
    let listener = TcpListener::bind((address, 0)).await?;
    let address = listener.local_addr()?;
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            tokio::spawn(serve(socket, acceptor.clone()));
        }
    });
    Ok(address)
}

fn acceptor(credential: &Credential) -> Result<TlsAcceptor> {
    let certificate = CertificateDer::from_pem_file(&credential.certificate)?;
    let key = PrivateKeyDer::from_pem_file(&credential.key)?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    Ok(TlsAcceptor::from(Arc::new(config.with_no_client_auth().with_single_cert(vec![certificate], key)?)))
}

async fn serve(socket: TcpStream, acceptor: TlsAcceptor) -> Result<()> {
    socket.set_nodelay(true)?;
    let mut socket = acceptor.accept(socket).await?;
    head(&mut socket).await?;
    socket.write_all(SWITCHED).await?;
    let (mut reader, mut writer) = tokio::io::split(socket);
    tokio::io::copy(&mut reader, &mut writer).await?;
    Ok(())
}

async fn head(from: &mut (impl AsyncReadExt + Unpin)) -> Result<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(from.read_u8().await.context("a head")?);
    }
    Ok(String::from_utf8(head)?)
}

/// Opens connections to a stub.
pub struct Gate {
    server: TlsClient,
    head: String,
}

impl Gate {
    /// To the stub itself.
    pub fn direct(stub: SocketAddr, authority: &Authority) -> Result<Gate> {
        Ok(Gate { server: TlsClient::new(stub, &authority.certificate_file())?, head: request("/", "") })
    }

    /// Through hub, bus and agent of the hub's only cluster, as its administrator.
    pub fn through(hub: &Hub, stub: SocketAddr) -> Result<Gate> {
        let clusters = hub.kubectl().get(["mcls", "-A"])?;
        let id = clusters["items"][0]["spec"]["clusterId"].as_str().context("the cluster has an id")?;
        let token = std::fs::read_to_string(hub.data().join("admin.token"))?;
        let path = format!("/apis/proxies.clusternet.io/v1alpha1/sockets/{id}/proxy/https/{stub}/");
        let head = request(&path, &format!("Authorization: Bearer {}\r\n", token.trim()));
        Ok(Gate { server: TlsClient::new(hub.api(), &hub.data().join("ca.crt"))?, head })
    }

    /// A connection that has gone over.
    pub async fn open(&self) -> Result<TlsStream<TcpStream>> {
        let mut connection = self.server.connect().await?;
        connection.write_all(self.head.as_bytes()).await?;
        connection.flush().await?;
        let answer = head(&mut connection).await?;
        ensure!(answer.starts_with("HTTP/1.1 101 "), "{answer}");
        Ok(connection)
    }
}

fn request(path: &str, more: &str) -> String {
    format!("POST {path} HTTP/1.1\r\nHost: stub\r\n{more}Connection: Upgrade\r\nUpgrade: SPDY/3.1\r\nContent-Length: 0\r\n\r\n")
}
