//! TLS of the gate: rustls with ring, client certificates demanded, sessions resumed from memory, everything replaced without a restart.
//!
//! - TLS 1.3 only: a client certificate is not sent in clear, a resumed handshake is one round trip and has a fresh key, and what
//!   agents do not speak cannot be attacked. Agents are ours; paho and mosquitto speak it too.
//! - A resumed session brings the certificate it began with, and admission judges it as if it were sent now: its key, its end, and
//!   (by forgetting all sessions when the roots change) its issuer.
//! - Sessions are kept here, one ticket each, and used once. A ticket is a random name of 32 bytes, so a resumed handshake is small.

use std::io;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{SystemTime, UNIX_EPOCH};

use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ResolvesServerCert, ServerSessionMemoryCache, StoresServerSessions, WebPkiClientVerifier};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{HandshakeKind, RootCertStore, ServerConfig};
use system::bounded::Bounded;
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::admission::PeerIdentity;
use super::certificate::ClientCertificate;
use super::transport::{Accepted, Transport};

/// Sessions that can be resumed, about 1 KiB each: one for each agent of the largest fleet, and the oldest goes first.
const MAX_SESSIONS: usize = 131_072;
/// Encrypted bytes that may wait in one connection: what waits there can no longer be replaced by something newer.
const WRITE_BUFFER: usize = 8 * 1024;

/// The first byte of a TLS connection: a record with a handshake message.
const HANDSHAKE: u8 = 22;

/// What the gate shows, and whom it believes.
#[derive(Clone)]
pub struct Material {
    /// Gives the server's certificate and key, which it may replace by itself at any time.
    pub server: Arc<dyn ResolvesServerCert>,
    /// The CAs that sign client certificates: two while one takes over from the other.
    pub client_roots: Vec<CertificateDer<'static>>,
}

impl Material {
    /// Material with a certificate (then intermediates; a root that agents have is bytes for nothing) that stays the same.
    ///
    /// # Errors
    /// Certificate and key do not belong together or are of no use.
    pub fn fixed(
        chain: Vec<CertificateDer<'static>>,
        key: PrivateKeyDer<'static>,
        client_roots: Vec<CertificateDer<'static>>,
    ) -> Result<Material, MaterialError> {
        let certified = CertifiedKey::from_der(chain, key, &rustls::crypto::ring::default_provider())?;
        Ok(Material { server: Arc::new(SingleCertAndKey::from(certified)), client_roots })
    }
}

/// Why material does not serve.
#[derive(Debug, thiserror::Error)]
pub enum MaterialError {
    #[error("TLS of the bus: the CA of client certificates is unusable: {0}")]
    Roots(String),
    #[error("TLS of the bus: certificate and key do not serve: {0}; they must belong together and be ECDSA, Ed25519 or RSA")]
    Certificate(#[from] rustls::Error),
}

/// The transport. Copies share everything, so that any of them can [`reload`](Tls::reload).
#[derive(Clone)]
pub struct Tls(Arc<RwLock<Current>>);

struct Current {
    config: Arc<ServerConfig>,
    roots: Vec<CertificateDer<'static>>,
}

impl Tls {
    /// TLS with this material.
    ///
    /// # Errors
    /// [`MaterialError`].
    pub fn new(material: Material) -> Result<Tls, MaterialError> {
        let sessions = ServerSessionMemoryCache::new(MAX_SESSIONS);
        Ok(Tls(Arc::new(RwLock::new(Current::new(material, sessions)?))))
    }

    /// Serves later connections with other material. Sessions can go on unless the CAs have changed.
    ///
    /// # Errors
    /// [`MaterialError`]; then everything stays as it was.
    pub fn reload(&self, material: Material) -> Result<(), MaterialError> {
        let mut current = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let sessions = match current.roots == material.client_roots {
            true => current.config.session_storage.clone(),
            false => ServerSessionMemoryCache::new(MAX_SESSIONS),
        };
        *current = Current::new(material, sessions)?;
        Ok(())
    }

    fn config(&self) -> Arc<ServerConfig> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).config.clone()
    }
}

impl Current {
    fn new(material: Material, sessions: Arc<dyn StoresServerSessions>) -> Result<Current, MaterialError> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut roots = RootCertStore::empty();
        for root in &material.client_roots {
            roots.add(root.clone()).map_err(|error| MaterialError::Roots(error.to_string()))?;
        }
        // Agents know which certificate to show: naming the CAs to them is bytes for nothing.
        let verifier = WebPkiClientVerifier::builder_with_provider(roots.into(), provider.clone()).clear_root_hint_subjects().build();
        let verifier = verifier.map_err(|error| MaterialError::Roots(error.to_string()))?;
        let config = ServerConfig::builder_with_provider(provider).with_protocol_versions(&[&rustls::version::TLS13])?;
        let mut config = config.with_client_cert_verifier(verifier).with_cert_resolver(material.server);
        config.session_storage = sessions;
        config.send_tls13_tickets = 1;
        Ok(Current { config: Arc::new(config), roots: material.client_roots })
    }
}

impl Transport for Tls {
    type Stream = TlsStream<Bounded>;
    const SECURE: bool = true;

    async fn accept(&self, socket: TcpStream) -> io::Result<Accepted<Self::Stream>> {
        speaks_tls(&socket).await?;
        let acceptor = TlsAcceptor::from(self.config());
        // Boxed, so that who says nothing holds no room for a handshake.
        let stream =
            Box::pin(acceptor.accept_with(Bounded::new(socket), |connection| connection.set_buffer_limit(Some(WRITE_BUFFER)))).await?;
        let connection = stream.get_ref().1;
        let shown = connection.peer_certificates().and_then(<[_]>::first);
        let shown = shown.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "no client certificate"))?;
        let certificate =
            ClientCertificate::read(shown, seconds_since_1970()).map_err(|why| io::Error::new(io::ErrorKind::InvalidData, why))?;
        let resumed = connection.handshake_kind() == Some(HandshakeKind::Resumed);
        Ok(Accepted { stream, identity: PeerIdentity::Certificate(certificate), resumed })
    }
}

/// Waits for the first byte, which stays where it is: who is silent, or speaks something else, costs nothing that TLS needs.
async fn speaks_tls(socket: &TcpStream) -> io::Result<()> {
    let mut first = [0];
    match socket.peek(&mut first).await? {
        0 => Err(io::Error::new(io::ErrorKind::UnexpectedEof, "closed without a word")),
        _ if first == [HANDSHAKE] => Ok(()),
        _ => Err(io::Error::new(io::ErrorKind::InvalidData, "no TLS")),
    }
}

/// Now, as certificates count.
pub fn seconds_since_1970() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| i64::try_from(since.as_secs()).unwrap_or(i64::MAX))
}
