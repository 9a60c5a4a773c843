//! An agent's request for a certificate (PKCS #10): only its key counts.

use rcgen::{CertificateSigningRequestParams, PKCS_ECDSA_P256_SHA256, PublicKey, PublicKeyData};

use super::key_hash;

/// Longest request that is read, bytes of PEM: one with a P-256 key has about 400.
pub const MAX_CSR: usize = 8192;

/// A request whose signature is right: whoever made it holds its key.
pub struct Csr(PublicKey);

impl Csr {
    /// Reads PEM.
    ///
    /// # Errors
    /// A sentence for whoever sent it.
    pub fn parse(pem: &str) -> Result<Csr, String> {
        if pem.len() > MAX_CSR {
            return Err(format!("csr is {} bytes, {MAX_CSR} are read", pem.len()));
        }
        let parsed = CertificateSigningRequestParams::from_pem(pem);
        let parsed = parsed.map_err(|why| format!("csr is no certificate request (PKCS #10, PEM) signed by its own key: {why}"))?;
        if parsed.public_key.algorithm() != &PKCS_ECDSA_P256_SHA256 {
            return Err("csr must be of a P-256 key, signed with SHA-256".to_owned());
        }
        Ok(Csr(parsed.public_key))
    }

    /// Names the key: SHA-256 of its SubjectPublicKeyInfo, hex.
    pub fn key_hash(&self) -> String {
        key_hash(&self.0.subject_public_key_info())
    }

    pub(super) fn key(&self) -> &PublicKey {
        &self.0
    }
}
