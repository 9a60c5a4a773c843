//! A TLS connection to a server whose CA is in a file, for what no HTTP client would send.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// A server to connect to.
pub struct TlsClient {
    address: SocketAddr,
    name: ServerName<'static>,
    tls: TlsConnector,
}

impl TlsClient {
    /// The server at `address`, whose certificate has that address and is signed by a CA of the PEM file `ca`.
    ///
    /// # Errors
    /// When the file holds no CA.
    pub fn new(address: SocketAddr, ca: &Path) -> Result<TlsClient> {
        // Another one may be installed already.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_file_iter(ca).context("a CA")? {
            roots.add(certificate?)?;
        }
        let config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
        Ok(TlsClient { address, name: ServerName::from(address.ip()), tls: TlsConnector::from(Arc::new(config)) })
    }

    /// A new connection.
    ///
    /// # Errors
    /// When the server does not listen, or is another.
    pub async fn connect(&self) -> Result<TlsStream<TcpStream>> {
        let tcp = TcpStream::connect(self.address).await?;
        tcp.set_nodelay(true)?;
        Ok(self.tls.connect(self.name.clone(), tcp).await?)
    }
}
