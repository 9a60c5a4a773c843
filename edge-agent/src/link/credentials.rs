//! TLS towards the bus: the agent's certificate, and how it knows the hub.
//!
//! The files are read before every connect, so what a renewal wrote holds from the next one on. While they stay the same, so does the
//! client, and with it the session that a reconnect resumes: about a third of the bytes of a full handshake.
//!
//! The hub is known by its CA and by a name: the one that every certificate of a hub carries, so that addresses behind NAT and
//! port forwards need none of their own, or the host of the address, for brokers that somebody else runs.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{Resumption, WebPkiServerVerifier};
use rustls::crypto::CryptoProvider;
use rustls::crypto::ring::{cipher_suite, kx_group};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::time_provider::TimeProvider;
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};

/// The name in every certificate of a hub.
const HUB_NAME: &str = "clusternet-hub";
/// Sessions that are kept: there is one hub, and each of its answers brings one.
const SESSIONS: usize = 2;

/// Files of the identity folder.
const KEY: &str = "tls.key";
const CHAIN: &str = "tls.crt";
const CAS: &str = "ca.crt";

/// The agent's certificate, as its folder has it now.
pub struct Credentials {
    folder: PathBuf,
    time: Arc<dyn TimeProvider>,
    current: Option<(Files, Arc<ClientConfig>)>,
}

/// What the folder holds.
#[derive(Clone, PartialEq, Eq)]
struct Files {
    key: Vec<u8>,
    chain: Vec<u8>,
    cas: Vec<u8>,
}

/// Why there is no TLS.
#[derive(Debug, thiserror::Error)]
pub enum CredentialsError {
    #[error("{path}: {why}; the cluster has to join again if it is lost")]
    File { path: String, why: String },
    #[error("the certificate and key in {folder} are of no use: {why}")]
    Unusable { folder: String, why: String },
}

impl Credentials {
    /// The identity in `folder`, its certificates judged at the time that `time` tells.
    pub fn new(folder: &Path, time: Arc<dyn TimeProvider>) -> Credentials {
        Credentials { folder: folder.to_owned(), time, current: None }
    }

    /// TLS with what the folder holds now.
    ///
    /// # Errors
    /// A file is missing or is not what it should be.
    pub fn client(&mut self) -> Result<Arc<ClientConfig>, CredentialsError> {
        let files = Files { key: self.read(KEY)?, chain: self.read(CHAIN)?, cas: self.read(CAS)? };
        if let Some((known, client)) = &self.current
            && *known == files
        {
            return Ok(client.clone());
        }
        let client = Arc::new(self.build(&files)?);
        self.current = Some((files, client.clone()));
        Ok(client)
    }

    fn read(&self, name: &str) -> Result<Vec<u8>, CredentialsError> {
        let path = self.folder.join(name);
        std::fs::read(&path).map_err(|error| CredentialsError::File { path: path.display().to_string(), why: error.to_string() })
    }

    fn build(&self, files: &Files) -> Result<ClientConfig, CredentialsError> {
        let chain = self.certificates(CHAIN, &files.chain)?;
        let key = PrivateKeyDer::from_pem_slice(&files.key).map_err(|error| self.wrong(KEY, &error.to_string()))?;
        let provider = Arc::new(small_provider());
        let mut roots = RootCertStore::empty();
        for ca in self.certificates(CAS, &files.cas)? {
            roots.add(ca).map_err(|error| self.wrong(CAS, &error.to_string()))?;
        }
        let unusable = |error: Error| CredentialsError::Unusable { folder: self.folder.display().to_string(), why: error.to_string() };
        let verifier = WebPkiServerVerifier::builder_with_provider(roots.into(), provider.clone()).build();
        let verifier = verifier.map_err(|error| self.wrong(CAS, &error.to_string()))?;
        let client = ClientConfig::builder_with_details(provider, self.time.clone());
        let client = client.with_protocol_versions(&[&rustls::version::TLS13]).map_err(unusable)?;
        let client = client.dangerous().with_custom_certificate_verifier(Arc::new(HubVerifier { verifier }));
        let mut client = client.with_client_auth_cert(chain, key).map_err(unusable)?;
        client.resumption = Resumption::in_memory_sessions(SESSIONS);
        Ok(client)
    }

    fn certificates(&self, name: &str, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, CredentialsError> {
        let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
        let read = read.map_err(|error| self.wrong(name, &error.to_string()))?;
        if read.is_empty() { Err(self.wrong(name, "there is no certificate in it")) } else { Ok(read) }
    }

    fn wrong(&self, name: &str, why: &str) -> CredentialsError {
        CredentialsError::File { path: self.folder.join(name).display().to_string(), why: why.to_owned() }
    }
}

/// What TLS 1.3 demands of everybody and no more: hashes of 32 bytes, not 48, and a shorter list in each ClientHello.
fn small_provider() -> CryptoProvider {
    CryptoProvider {
        cipher_suites: vec![cipher_suite::TLS13_AES_128_GCM_SHA256, cipher_suite::TLS13_CHACHA20_POLY1305_SHA256],
        kx_groups: vec![kx_group::X25519, kx_group::SECP256R1],
        ..rustls::crypto::ring::default_provider()
    }
}

/// Believes whom the CA has signed, under either name. Nothing of the judgement is its own.
#[derive(Debug)]
struct HubVerifier {
    verifier: Arc<WebPkiServerVerifier>,
}

impl ServerCertVerifier for HubVerifier {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        address: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let hub = ServerName::try_from(HUB_NAME).map_err(|_| Error::General("the hub's own name is no DNS name".into()))?;
        match self.verifier.verify_server_cert(certificate, intermediates, &hub, ocsp, now) {
            Err(Error::InvalidCertificate(CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. })) => {
                self.verifier.verify_server_cert(certificate, intermediates, address, ocsp, now)
            }
            judged => judged,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.verifier.verify_tls12_signature(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.verifier.verify_tls13_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.verifier.supported_verify_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(folder: &Path) -> String {
        Credentials::new(folder, Arc::new(rustls::time_provider::DefaultTimeProvider)).client().unwrap_err().to_string()
    }

    #[test]
    fn a_missing_or_damaged_file_is_named() {
        let folder = tempfile::tempdir().unwrap();
        assert!(error(folder.path()).contains("tls.key: No such file"), "{}", error(folder.path()));
        for name in [KEY, CHAIN, CAS] {
            std::fs::write(folder.path().join(name), "no PEM").unwrap();
        }
        assert!(error(folder.path()).contains("tls.crt: there is no certificate in it"), "{}", error(folder.path()));
    }
}
