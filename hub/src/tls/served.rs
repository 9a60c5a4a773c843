//! The hub's own certificate as its listeners show it: made anew without closing a connection.

use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use anyhow::Context;
use rcgen::KeyPair;
use rustls::ServerConfig;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use super::Authority;

/// How long a certificate of the hub is good; a new one is made after two thirds.
pub const LIFETIME: Duration = Duration::from_secs(90 * 86_400);

/// A certificate that can be exchanged under its listener.
pub struct Served {
    names: Vec<String>,
    whole: bool,
    current: RwLock<Arc<CertifiedKey>>,
}

impl Served {
    /// For a listener of these names. `whole` also shows the CAs themselves, for agents that know only a hash of one; without,
    /// what agents with a CA need is shown, which is less on the wire.
    ///
    /// # Errors
    /// A name is no DNS name or address.
    pub fn new(authority: &Authority, names: Vec<String>, whole: bool) -> anyhow::Result<Arc<Served>> {
        let current = RwLock::new(sign(authority, &names, whole)?);
        Ok(Arc::new(Served { names, whole, current }))
    }

    /// Makes a new key and certificate; new connections see them.
    ///
    /// # Errors
    /// The CA cannot sign.
    pub fn renew(&self, authority: &Authority) -> anyhow::Result<()> {
        let renewed = sign(authority, &self.names, self.whole)?;
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = renewed;
        Ok(())
    }
}

impl fmt::Debug for Served {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Served").field("names", &self.names).finish_non_exhaustive()
    }
}

impl ResolvesServerCert for Served {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.current.read().unwrap_or_else(PoisonError::into_inner).clone())
    }
}

fn sign(authority: &Authority, names: &[String], whole: bool) -> anyhow::Result<Arc<CertifiedKey>> {
    let key = KeyPair::generate().context("the system has no randomness")?;
    let mut chain: Vec<CertificateDer<'static>> = vec![authority.sign_hub(names, &key, LIFETIME)?];
    chain.extend(authority.crossed().iter().cloned());
    if whole {
        chain.extend(authority.accepted().iter().cloned());
    }
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let key = rustls::crypto::ring::sign::any_ecdsa_type(&key).context("a key that was just made")?;
    Ok(Arc::new(CertifiedKey::new(chain, key)))
}

/// TLS for the API: whoever comes is asked for a token, not for a certificate.
pub fn server_config(served: Arc<Served>) -> Arc<ServerConfig> {
    let mut config = ServerConfig::builder().with_no_client_auth().with_cert_resolver(served);
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Arc::new(config)
}
