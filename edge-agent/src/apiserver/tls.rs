//! TLS to servers of the member's network: whom the agent believes, and what it shows.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Context;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{Resumption, WebPkiServerVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};

/// How often a CA file is read again: the CA of a pod's service account is replaced while the pod runs.
const AGAIN: Duration = Duration::from_secs(60);

/// Whose certificates are believed.
pub enum Roots {
    /// PEM.
    Given(Vec<u8>),
    /// A PEM file, read again now and then.
    File(PathBuf),
    /// Those of the host. They take memory, and are read when they are first needed.
    Host,
    /// Everybody's: `insecure-skip-tls-verify`.
    Anybody,
}

type Verifier = Arc<dyn ServerCertVerifier>;

/// Verifies servers; shared by all connections.
pub struct Trust {
    roots: Roots,
    verifier: Mutex<Option<(Verifier, Instant)>>,
}

impl Trust {
    /// Reads what is named.
    ///
    /// # Errors
    /// It can't be read, or has no certificate.
    pub fn new(roots: Roots) -> anyhow::Result<Trust> {
        let trust = Trust { roots, verifier: Mutex::default() };
        if !matches!(trust.roots, Roots::Host) {
            trust.verifier()?;
        }
        Ok(trust)
    }

    /// For one connection: whom to believe now, and who asks. Sessions are not resumed, for connections are few.
    ///
    /// # Errors
    /// The host has no CA.
    pub fn client(&self, identity: Option<&Identity>) -> anyhow::Result<Arc<ClientConfig>> {
        let builder = ClientConfig::builder().dangerous().with_custom_certificate_verifier(self.verifier()?);
        let mut config = match identity {
            Some(Identity(shown)) => builder.with_client_cert_resolver(shown.clone()),
            None => builder.with_no_client_auth(),
        };
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        config.resumption = Resumption::disabled();
        Ok(Arc::new(config))
    }

    fn verifier(&self) -> anyhow::Result<Verifier> {
        let mut held = self.verifier.lock().unwrap_or_else(PoisonError::into_inner);
        let is_due = |read: &Instant| matches!(self.roots, Roots::File(_)) && read.elapsed() >= AGAIN;
        let known = match &*held {
            Some((verifier, read)) if !is_due(read) => return Ok(verifier.clone()),
            Some((verifier, _)) => Some(verifier.clone()),
            None => None,
        };
        let verifier = match (load(&self.roots), known) {
            (Ok(verifier), _) => verifier,
            (Err(error), Some(verifier)) => {
                tracing::warn!("{error:#}; the CA that was read before stays");
                verifier
            }
            (Err(error), None) => return Err(error),
        };
        *held = Some((verifier.clone(), Instant::now()));
        Ok(verifier)
    }
}

fn load(roots: &Roots) -> anyhow::Result<Verifier> {
    match roots {
        Roots::Given(pem) => believing(pem).context("certificate-authority-data"),
        Roots::File(path) => {
            let shown = || format!("CA file {}", path.display());
            believing(&std::fs::read(path).with_context(shown)?).with_context(shown)
        }
        Roots::Host => {
            let mut store = RootCertStore::empty();
            store.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            anyhow::ensure!(!store.is_empty(), "no CA is named, and this host has none");
            Ok(WebPkiServerVerifier::builder(Arc::new(store)).build()?)
        }
        Roots::Anybody => Ok(Arc::new(Anybody)),
    }
}

fn believing(pem: &[u8]) -> anyhow::Result<Verifier> {
    let mut store = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem) {
        store.add(certificate?)?;
    }
    anyhow::ensure!(!store.is_empty(), "no certificate in it");
    Ok(WebPkiServerVerifier::builder(Arc::new(store)).build()?)
}

/// A client certificate and its key.
#[derive(Clone, Debug)]
pub struct Identity(Arc<SingleCertAndKey>);

impl Identity {
    /// Reads both from PEM.
    ///
    /// # Errors
    /// They are none, or do not belong together.
    pub fn new(certificate: &[u8], key: &[u8]) -> anyhow::Result<Identity> {
        let chain: Vec<_> = CertificateDer::pem_slice_iter(certificate).collect::<Result<_, _>>().context("client certificate")?;
        anyhow::ensure!(!chain.is_empty(), "client certificate: none in it");
        let key = PrivateKeyDer::from_pem_slice(key).context("client key")?;
        let provider = CryptoProvider::get_default().cloned().unwrap_or_else(|| Arc::new(ring::default_provider()));
        let both = CertifiedKey::from_der(chain, key, &provider).context("client certificate and key")?;
        Ok(Identity(Arc::new(SingleCertAndKey::from(both))))
    }
}

/// Believes every certificate; its holder still proves to have the key.
#[derive(Debug)]
struct Anybody;

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signed, &ring::default_provider().signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signed, &ring::default_provider().signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        ring::default_provider().signature_verification_algorithms.supported_schemes()
    }
}
