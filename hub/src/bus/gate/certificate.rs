//! What a client certificate says about its holder. Its signature is TLS's to check, before this is asked.

use std::fmt;

use ring::digest::{SHA256, digest};
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::bus::topics::Sid;

/// The organisation of every certificate that the hub gives to an agent.
pub const AGENTS: &str = "clusternet:agents";

/// SHA-256 of a SubjectPublicKeyInfo: names a client key, whatever certificate carries it.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct KeyHash([u8; 32]);

impl KeyHash {
    /// The hash of a SubjectPublicKeyInfo in DER.
    pub fn of(spki: &[u8]) -> KeyHash {
        let mut hash = [0; 32];
        hash.copy_from_slice(digest(&SHA256, spki).as_ref());
        KeyHash(hash)
    }

    /// Reads 64 hexadecimal digits; `None` for anything else.
    pub fn parse(hex: &str) -> Option<KeyHash> {
        if hex.len() != 64 || !hex.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return None;
        }
        let mut hash = [0; 32];
        for (at, byte) in hash.iter_mut().enumerate() {
            *byte = u8::from_str_radix(&hex[2 * at..2 * at + 2], 16).ok()?;
        }
        Some(KeyHash(hash))
    }
}

impl fmt::Display for KeyHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for KeyHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The holder of a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClientCertificate {
    /// The cluster that it names.
    pub sid: Sid,
    pub key: KeyHash,
    /// The last second in which it holds, since 1970.
    pub not_after: i64,
}

/// Why a certificate names no agent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoAgent {
    #[error("its certificate cannot be read: {0}")]
    Unreadable(String),
    #[error("its certificate's subject is {0:?}, not a bus id as CN and {AGENTS} as O")]
    Subject(String),
    #[error("its certificate ended at {0} s since 1970")]
    Expired(i64),
}

impl ClientCertificate {
    /// Reads a certificate; `now` is in seconds since 1970.
    ///
    /// # Errors
    /// [`NoAgent`] when it is not an agent's, or no longer valid, which TLS does not look at when a session is resumed.
    pub fn read(der: &[u8], now: i64) -> Result<ClientCertificate, NoAgent> {
        let (_, certificate) = X509Certificate::from_der(der).map_err(|error| NoAgent::Unreadable(error.to_string()))?;
        let subject = certificate.subject();
        let one = |mut values: Vec<&str>| values.pop().filter(|_| values.is_empty()).map(str::to_owned);
        let name = one(subject.iter_common_name().filter_map(|name| name.as_str().ok()).collect());
        let organisation = one(subject.iter_organization().filter_map(|name| name.as_str().ok()).collect());
        let sid = name.filter(|_| organisation.as_deref() == Some(AGENTS)).and_then(|name| Sid::parse(&name).ok());
        let sid = sid.ok_or_else(|| NoAgent::Subject(subject.to_string()))?;
        let not_after = certificate.validity().not_after.timestamp();
        if now > not_after {
            return Err(NoAgent::Expired(not_after));
        }
        Ok(ClientCertificate { sid, key: KeyHash::of(certificate.public_key().raw), not_after })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{CertificateParams, DnType, KeyPair, PublicKeyData};

    fn certificate(names: &[&str], organisations: &[&str]) -> (Vec<u8>, KeyPair) {
        let mut params = CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        names.iter().for_each(|name| params.distinguished_name.push(DnType::CommonName, *name));
        organisations.iter().for_each(|name| params.distinguished_name.push(DnType::OrganizationName, *name));
        params.not_after = rcgen::date_time_ymd(2030, 1, 1);
        let key = KeyPair::generate().unwrap();
        (params.self_signed(&key).unwrap().der().to_vec(), key)
    }

    #[test]
    fn a_certificate_names_its_cluster_and_key() {
        let (der, key) = certificate(&["abcd2345"], &[AGENTS]);
        let read = ClientCertificate::read(&der, 0).unwrap();
        assert_eq!((read.sid.as_str(), read.not_after), ("abcd2345", 1_893_456_000));
        assert_eq!(read.key, KeyHash::of(&key.subject_public_key_info()));
        assert_eq!(KeyHash::parse(&read.key.to_string()), Some(read.key));
    }

    #[test]
    fn what_names_no_agent_or_has_ended_is_refused() {
        for (what, names, organisations) in [
            ("no name", &[][..], &[AGENTS][..]),
            ("another organisation", &["abcd2345"], &["system:masters"]),
            ("no organisation", &["abcd2345"], &[]),
            ("no bus id", &["admin"], &[AGENTS]),
            ("a bus id in capitals", &["ABCD2345"], &[AGENTS]),
        ] {
            let (der, _) = certificate(names, organisations);
            assert!(matches!(ClientCertificate::read(&der, 0), Err(NoAgent::Subject(_))), "{what}");
        }
        let (der, _) = certificate(&["abcd2345"], &[AGENTS]);
        assert_eq!(ClientCertificate::read(&der, 1_893_456_001), Err(NoAgent::Expired(1_893_456_000)));
        assert!(matches!(ClientCertificate::read(&der[..40], 0), Err(NoAgent::Unreadable(_))));
    }

    #[test]
    fn a_hash_is_64_hexadecimal_digits() {
        let hash = "ab".repeat(32);
        assert_eq!(KeyHash::parse(&hash).map(|hash| hash.to_string()), Some(hash.clone()));
        for wrong in ["", &hash[1..], &"zz".repeat(32), &"é".repeat(32)] {
            assert_eq!(KeyHash::parse(wrong), None, "{wrong}");
        }
    }
}
