//! What an agent shows of the identity it has: its certificate, and a signature by that certificate's key.
//!
//! Time plays no part: a certificate that ended long ago still names a key, and the key still signs.

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::{AGENTS, Authority, hex, key_hash};

/// A certificate that an agent shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    /// SHA-256 of its SubjectPublicKeyInfo, hex.
    pub key_hash: String,
    /// The bus id it was made for.
    pub sid: String,
    /// Whether a CA of this hub signed it for an agent.
    pub is_ours: bool,
    /// When it was made, and when it ends: seconds since 1970.
    pub begins: i64,
    pub ends: i64,
    point: Vec<u8>,
}

impl Peer {
    /// Reads the first certificate of a PEM text; `None` when it is none.
    pub fn read(pem: &str, authority: &Authority) -> Option<Peer> {
        let der = CertificateDer::from_pem_slice(pem.as_bytes()).ok()?;
        let (_, found) = X509Certificate::from_der(&der).ok()?;
        let organisation = found.subject().iter_organization().next().and_then(|name| name.as_str().ok());
        let sid = found.subject().iter_common_name().next().and_then(|name| name.as_str().ok()).unwrap_or_default().to_owned();
        Some(Peer {
            key_hash: key_hash(found.public_key().raw),
            is_ours: organisation == Some(AGENTS) && authority.has_signed(&found),
            sid,
            begins: found.validity().not_before.timestamp(),
            ends: found.validity().not_after.timestamp(),
            point: found.public_key().subject_public_key.data.to_vec(),
        })
    }

    /// Whether this key signed `body` for `purpose`.
    pub fn signed(&self, purpose: &str, body: &[u8], signature: &[u8]) -> bool {
        let key = ring::signature::UnparsedPublicKey::new(&ring::signature::ECDSA_P256_SHA256_ASN1, &self.point);
        key.verify(&proves(purpose, body), signature).is_ok()
    }
}

/// What is signed as proof: what it is for, and the hash of the whole body, so that a proof for one thing proves no other.
pub fn proves(purpose: &str, body: &[u8]) -> Vec<u8> {
    let hash = ring::digest::digest(&ring::digest::SHA256, body);
    format!("clusternet.io proof 1\n{purpose}\n{}", hex(hash.as_ref())).into_bytes()
}
