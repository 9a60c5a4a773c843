//! TLS towards the bus: the agent's certificate, and how it knows the hub.
//!
//! The files are read before every connect, so what a renewal wrote holds from the next one on. While they stay the same, so does the
//! client, and with it the session that a reconnect resumes: about a third of the bytes of a full handshake.
//!
//! The hub is known by its CA and by a name: the one that every certificate of a hub carries, so that addresses behind NAT and
//! port forwards need none of their own, or the host of the address, for brokers that somebody else runs.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::Resumption;
use rustls::crypto::CryptoProvider;
use rustls::crypto::ring::{cipher_suite, kx_group};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, Error};

use crate::trust::clock::Clock;
use crate::trust::verify::{Anchor, HubVerifier};

/// Sessions that are kept: there is one hub, and each of its answers brings one.
const SESSIONS: usize = 2;

/// Files of the identity folder.
const KEY: &str = "tls.key";
const CHAIN: &str = "tls.crt";
const CAS: &str = "ca.crt";

/// The agent's certificate, as its folder has it now.
pub struct Credentials {
    folder: PathBuf,
    clock: Clock,
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
    /// The identity in `folder`, certificates judged at the time that `clock` tells.
    pub fn new(folder: &Path, clock: Clock) -> Credentials {
        Credentials { folder: folder.to_owned(), clock, current: None }
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
        let roots = Anchor::roots(&String::from_utf8_lossy(&files.cas)).map_err(|why| self.wrong(CAS, &why))?;
        let unusable = |error: Error| CredentialsError::Unusable { folder: self.folder.display().to_string(), why: error.to_string() };
        let client = ClientConfig::builder_with_details(provider, Arc::new(self.clock.clone()));
        let client = client.with_protocol_versions(&[&rustls::version::TLS13]).map_err(unusable)?;
        let client = client.dangerous().with_custom_certificate_verifier(HubVerifier::new(roots, self.clock.clone()));
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

#[cfg(test)]
mod tests {
    use super::*;

    fn error(folder: &Path) -> String {
        Credentials::new(folder, Clock::new()).client().unwrap_err().to_string()
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
