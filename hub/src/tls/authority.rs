//! The CA in memory: what it signs, and which CAs count beside it.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
};
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use time::OffsetDateTime;
use tokio::sync::watch;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::{AGENTS, Csr, HUB_NAME, key_hash};

/// How long a CA that the hub makes is good: longer than most hardware it serves.
const CA_LIFETIME: Duration = Duration::from_secs(3650 * 86_400);

/// Certificates begin so long before they are made: clocks of servers differ by minutes.
const SKEW: Duration = Duration::from_secs(3600);

/// The CA that holds now; a rotation sends a new one.
pub type Shared = watch::Receiver<Arc<Authority>>;

/// A CA that signs, and those that still count.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    /// Accepted CAs, the one that signs first.
    accepted: Vec<CertificateDer<'static>>,
    /// CAs signed by the ones before them, the newest first.
    crossed: Vec<CertificateDer<'static>>,
}

impl Authority {
    /// Takes a CA from its PEM texts: its certificate and those of CAs before it, its key, and what those signed of later ones.
    ///
    /// # Errors
    /// A text is not what it should be, or certificate and key do not belong together.
    pub fn new(certificates: &str, key: &str, crossed: &str) -> anyhow::Result<Authority> {
        let key = KeyPair::from_pem(key).context("the key is no PEM private key of a kind that can sign")?;
        let mut accepted = read(certificates)?;
        let own = accepted.first().context("there is no PEM certificate")?;
        anyhow::ensure!(spki_of(own)? == rcgen::PublicKeyData::subject_public_key_info(&key), "certificate and key do not belong together");
        let issuer = Issuer::from_ca_cert_der(own, key).context("the certificate is none of a CA")?;
        let now = OffsetDateTime::now_utc().unix_timestamp();
        let ours = accepted.remove(0);
        accepted.retain(|ca| !has_ended(ca, now));
        accepted.insert(0, ours);
        Ok(Authority { issuer, accepted, crossed: read(crossed)?.into_iter().filter(|ca| !has_ended(ca, now)).collect() })
    }

    /// Makes a CA that nobody knows yet.
    ///
    /// # Errors
    /// The system has no randomness.
    pub fn make() -> anyhow::Result<Authority> {
        let (certificate, key) = make()?;
        Authority::new(&certificate, &key, "")
    }

    /// The accepted CAs, PEM, the one that signs first: whoever one of them signed for is the hub, or an agent of it.
    pub fn pem(&self) -> String {
        self.accepted.iter().map(|ca| pem(ca)).collect()
    }

    /// The accepted CAs, as roots to verify agents by.
    pub fn roots(&self) -> RootCertStore {
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(self.accepted.iter().cloned());
        roots
    }

    /// SHA-256 of the public key of the CA that signs, as join tokens carry it.
    ///
    /// # Errors
    /// Never for a CA that was taken.
    pub fn pin(&self) -> anyhow::Result<String> {
        Ok(key_hash(&spki_of(&self.accepted[0])?))
    }

    /// Whether one of the accepted CAs signed a certificate, whatever the time.
    pub fn has_signed(&self, certificate: &X509Certificate<'_>) -> bool {
        self.accepted.iter().any(|ca| {
            let Ok((_, ca)) = X509Certificate::from_der(ca) else { return false };
            ca.subject() == certificate.issuer() && certificate.verify_signature(Some(ca.public_key())).is_ok()
        })
    }

    /// Signs a certificate for the agent of this bus id; the request decides nothing but the key.
    ///
    /// # Errors
    /// The CA cannot sign.
    pub fn sign_agent(&self, csr: &Csr, sid: &str, lifetime: Duration) -> anyhow::Result<String> {
        let mut subject = DistinguishedName::new();
        subject.push(DnType::OrganizationName, AGENTS);
        subject.push(DnType::CommonName, sid);
        let mut params = leaf(subject, ExtendedKeyUsagePurpose::ClientAuth, lifetime);
        // From now on, not from earlier: agents take the middle of the lifetime from these two times.
        params.not_before = OffsetDateTime::now_utc();
        Ok(params.signed_by(csr.key(), &self.issuer).context("the CA cannot sign")?.pem())
    }

    /// Signs a certificate for the hub itself.
    ///
    /// # Errors
    /// A name is no DNS name or address.
    pub fn sign_hub(&self, names: &[String], key: &KeyPair, lifetime: Duration) -> anyhow::Result<CertificateDer<'static>> {
        let with_names = CertificateParams::new(names.to_vec());
        let with_names = with_names.with_context(|| format!("names for the hub's certificate: {}", names.join(", ")))?;
        let mut params = leaf(common_name(HUB_NAME), ExtendedKeyUsagePurpose::ServerAuth, lifetime);
        params.subject_alt_names = with_names.subject_alt_names;
        Ok(params.signed_by(key, &self.issuer).context("the CA cannot sign")?.der().clone())
    }

    /// What follows the hub's certificate so that somebody who knows any accepted CA finds a way to it.
    pub fn crossed(&self) -> &[CertificateDer<'static>] {
        &self.crossed
    }

    /// The accepted CAs themselves, for those who know only a hash of one.
    pub fn accepted(&self) -> &[CertificateDer<'static>] {
        &self.accepted
    }

    /// Signs the CA that comes after this one, so that those who know only this one accept it.
    pub(super) fn cross(&self, next: &KeyPair, params: &CertificateParams) -> anyhow::Result<String> {
        let mut params = params.clone();
        params.use_authority_key_identifier_extension = true;
        Ok(params.signed_by(next, &self.issuer)?.pem())
    }
}

/// A new CA: certificate and key, PEM.
pub(super) fn make() -> anyhow::Result<(String, String)> {
    let key = KeyPair::generate()?;
    let certificate = ca_params(&key).self_signed(&key)?;
    Ok((certificate.pem(), key.serialize_pem()))
}

/// What a new CA says of itself. Its name holds a part of its key's hash, since two CAs of one name confuse those who look for a chain.
pub(super) fn ca_params(key: &KeyPair) -> CertificateParams {
    let hash = key_hash(&rcgen::PublicKeyData::subject_public_key_info(key));
    let mut params = CertificateParams::default();
    params.distinguished_name = common_name(&format!("clusternet-hub CA {}", &hash[..8]));
    params.not_before = OffsetDateTime::now_utc() - SKEW;
    params.not_after = OffsetDateTime::now_utc() + CA_LIFETIME;
    // No limit to the length: a CA signs the next one, which signs the next.
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign, KeyUsagePurpose::DigitalSignature];
    params
}

fn leaf(subject: DistinguishedName, usage: ExtendedKeyUsagePurpose, lifetime: Duration) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = subject;
    params.not_before = OffsetDateTime::now_utc() - SKEW;
    params.not_after = OffsetDateTime::now_utc() + lifetime;
    params.extended_key_usages = vec![usage];
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.use_authority_key_identifier_extension = true;
    params
}

fn common_name(name: &str) -> DistinguishedName {
    let mut subject = DistinguishedName::new();
    subject.push(DnType::CommonName, name);
    subject
}

fn read(text: &str) -> anyhow::Result<Vec<CertificateDer<'static>>> {
    use rustls::pki_types::pem::PemObject;
    CertificateDer::pem_slice_iter(text.as_bytes()).map(|der| Ok(der.context("a PEM certificate is damaged")?.into_owned())).collect()
}

fn spki_of(certificate: &CertificateDer<'_>) -> anyhow::Result<Vec<u8>> {
    let (_, parsed) = X509Certificate::from_der(certificate).context("a certificate is damaged")?;
    Ok(parsed.public_key().raw.to_vec())
}

fn has_ended(certificate: &CertificateDer<'_>, now: i64) -> bool {
    X509Certificate::from_der(certificate).is_ok_and(|(_, parsed)| parsed.validity().not_after.timestamp() < now)
}

/// A certificate as text.
pub fn pem(certificate: &[u8]) -> String {
    use base64::Engine;
    let text = base64::engine::general_purpose::STANDARD.encode(certificate);
    let lines: Vec<&str> = text.as_bytes().chunks(64).filter_map(|line| std::str::from_utf8(line).ok()).collect();
    format!("-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n", lines.join("\n"))
}
