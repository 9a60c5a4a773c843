//! Whether a server is the hub: its certificate carries the hub's name and leads to a CA that is known, or whose hash is.
//!
//! The name is [`HUB_NAME`], whatever the address: the CA is the hub's own and gives that name to nobody else, so a hub behind
//! NAT or a port forward needs no name of its own. A broker that somebody else runs, with a certificate of the same CA, is known by
//! its host name. A certificate that is not valid yet by the agent's clock is taken at its
//! beginning: such a clock is behind, and a CA signs nothing for the future.

use std::sync::Arc;

use ring::digest::{SHA256, digest};
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};

use super::clock::Clock;

/// The name in every certificate of a hub.
pub const HUB_NAME: &str = "clusternet-hub";

/// Certificates of one chain that may each begin later than the agent's clock says.
const MAX_LATE: usize = 4;

/// What is known of the hub's CA.
#[derive(Debug, Clone)]
pub enum Anchor {
    /// SHA-256 of its SubjectPublicKeyInfo, hex: the server shows the CA.
    Hash(String),
    /// Its certificates, and those of CAs before or after it.
    Roots(Arc<RootCertStore>),
}

impl Anchor {
    /// The CAs of a PEM text.
    ///
    /// # Errors
    /// A sentence that says what is wrong with it.
    pub fn roots(pem: &str) -> Result<Anchor, String> {
        let mut roots = RootCertStore::empty();
        for der in CertificateDer::pem_slice_iter(pem.as_bytes()) {
            let der = der.map_err(|error| format!("a PEM certificate is damaged: {error}"))?;
            roots.add(der).map_err(|error| format!("a certificate is none of a CA: {error}"))?;
        }
        if roots.is_empty() { Err("there is no PEM certificate in it".to_owned()) } else { Ok(Anchor::Roots(Arc::new(roots))) }
    }

    fn of(&self, shown: &[CertificateDer<'_>]) -> Arc<RootCertStore> {
        let Anchor::Hash(hash) = self else {
            let Anchor::Roots(roots) = self else { return Arc::new(RootCertStore::empty()) };
            return roots.clone();
        };
        let mut roots = RootCertStore::empty();
        for certificate in shown {
            let mut one = RootCertStore::empty();
            let is_it = one.add(certificate.clone().into_owned()).is_ok() && one.roots.first().is_some_and(|root| key_hash(root) == *hash);
            if is_it {
                roots.extend(one.roots);
            }
        }
        Arc::new(roots)
    }
}

fn key_hash(anchor: &rustls::pki_types::TrustAnchor<'_>) -> String {
    // The anchor has the contents of the SubjectPublicKeyInfo without its DER header.
    let content = anchor.subject_public_key_info.as_ref();
    let mut spki = vec![0x30];
    match u16::try_from(content.len()) {
        Ok(length @ 0..=127) => spki.push(length.to_be_bytes()[1]),
        Ok(length @ 128..=255) => spki.extend([0x81, length.to_be_bytes()[1]]),
        Ok(length) => spki.extend([0x82, length.to_be_bytes()[0], length.to_be_bytes()[1]]),
        Err(_) => return String::new(),
    }
    spki.extend(content);
    digest(&SHA256, &spki).as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Verifies hubs.
#[derive(Debug)]
pub struct HubVerifier {
    anchor: Anchor,
    clock: Clock,
    provider: Arc<CryptoProvider>,
}

impl HubVerifier {
    pub fn new(anchor: Anchor, clock: Clock) -> Arc<HubVerifier> {
        Arc::new(HubVerifier { anchor, clock, provider: Arc::new(rustls::crypto::ring::default_provider()) })
    }

    /// TLS without a certificate of our own, as for enrolment.
    ///
    /// # Errors
    /// Never with ring.
    pub fn client_config(self: Arc<Self>) -> Result<ClientConfig, Error> {
        let builder = ClientConfig::builder_with_provider(self.provider.clone()).with_safe_default_protocol_versions()?;
        Ok(builder.dangerous().with_custom_certificate_verifier(self).with_no_client_auth())
    }
}

impl ServerCertVerifier for HubVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        address: &ServerName<'_>,
        ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let hub = ServerName::try_from(HUB_NAME).map_err(|error| Error::General(error.to_string()))?;
        let names = if matches!(self.anchor, Anchor::Roots(_)) { vec![&hub, address] } else { vec![&hub] };
        let mut judged = Err(Error::InvalidCertificate(CertificateError::NotValidForName));
        for name in names {
            judged = self.judge(end_entity, intermediates, name, ocsp_response);
            let other_name = matches!(
                judged,
                Err(Error::InvalidCertificate(CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. }))
            );
            if !other_name {
                break;
            }
        }
        judged
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

impl HubVerifier {
    fn judge(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp_response: &[u8],
    ) -> Result<ServerCertVerified, Error> {
        let roots = self.anchor.of(intermediates);
        if roots.is_empty() {
            return Err(Error::InvalidCertificate(CertificateError::UnknownIssuer));
        }
        let verifier = WebPkiServerVerifier::builder_with_provider(roots, self.provider.clone()).build();
        let verifier = verifier.map_err(|error| Error::General(error.to_string()))?;
        let mut now = UnixTime::since_unix_epoch(std::time::Duration::from_secs(self.clock.now()));
        for _ in 0..MAX_LATE {
            match verifier.verify_server_cert(end_entity, intermediates, name, ocsp_response, now) {
                Err(Error::InvalidCertificate(CertificateError::NotValidYetContext { not_before, .. })) => now = not_before,
                verified => return verified,
            }
        }
        verifier.verify_server_cert(end_entity, intermediates, name, ocsp_response, now)
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, PublicKeyData, date_time_ymd};

    use super::*;

    fn ca() -> (CertificateParams, KeyPair) {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        (params, KeyPair::generate().unwrap())
    }

    fn server(names: &[&str], (params, key): &(CertificateParams, KeyPair), years: (i32, i32)) -> CertificateDer<'static> {
        let mut leaf = CertificateParams::new(names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>()).unwrap();
        (leaf.not_before, leaf.not_after) = (date_time_ymd(years.0, 1, 1), date_time_ymd(years.1, 1, 1));
        let server = KeyPair::generate().unwrap();
        leaf.signed_by(&server, &Issuer::from_params(params, key)).unwrap().der().clone()
    }

    fn verified(anchor: &Anchor, now: fn() -> u64, chain: &[CertificateDer<'_>]) -> bool {
        let address = ServerName::try_from("192.0.2.7").unwrap();
        let verifier = HubVerifier::new(anchor.clone(), Clock::with(now));
        verifier.verify_server_cert(&chain[0], &chain[1..], &address, &[], UnixTime::now()).is_ok()
    }

    const IN_2100: fn() -> u64 = || 4_102_444_800;

    #[test]
    fn the_hub_is_who_shows_the_ca_of_the_hash_and_carries_the_name_whatever_the_address() {
        let (ours, other) = (ca(), ca());
        let shown = |ca: &(CertificateParams, KeyPair)| ca.0.self_signed(&ca.1).unwrap().der().clone();
        let spki = ours.1.subject_public_key_info();
        let hash: String = digest(&SHA256, &spki).as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
        let anchor = Anchor::Hash(hash);
        let leaf = server(&[HUB_NAME], &ours, (2020, 2200));
        assert!(verified(&anchor, IN_2100, &[leaf.clone(), shown(&ours)]));
        assert!(!verified(&anchor, IN_2100, std::slice::from_ref(&leaf)), "the CA is not shown");
        let false_leaf = server(&[HUB_NAME], &other, (2020, 2200));
        assert!(!verified(&anchor, IN_2100, &[false_leaf.clone(), shown(&other)]));
        assert!(!verified(&anchor, IN_2100, &[false_leaf, shown(&ours)]), "showing the CA is not being signed by it");
        assert!(!verified(&anchor, IN_2100, &[server(&["192.0.2.7"], &ours, (2020, 2200)), shown(&ours)]));
        let roots = Anchor::roots(&ours.0.self_signed(&ours.1).unwrap().pem()).unwrap();
        assert!(verified(&roots, IN_2100, &[leaf]));
    }

    #[test]
    fn a_clock_that_is_behind_takes_what_begins_later_and_not_what_has_ended() {
        let ours = ca();
        let roots = Anchor::roots(&ours.0.self_signed(&ours.1).unwrap().pem()).unwrap();
        assert!(verified(&roots, || 0, &[server(&[HUB_NAME], &ours, (2090, 2200))]));
        assert!(!verified(&roots, IN_2100, &[server(&[HUB_NAME], &ours, (2020, 2090))]));
    }

    #[test]
    fn what_is_no_ca_is_named() {
        assert!(Anchor::roots("").unwrap_err().contains("no PEM certificate"));
        assert!(Anchor::roots("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n").unwrap_err().contains("none of a CA"));
    }
}
