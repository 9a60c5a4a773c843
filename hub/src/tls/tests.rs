use rcgen::{CertificateParams, KeyPair, PublicKeyData, SigningKey};
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier;
use rustls::pki_types::{ServerName, UnixTime};

use super::*;
use crate::folder::Folder;

const DAY: std::time::Duration = std::time::Duration::from_secs(86_400);

fn csr(key: &KeyPair) -> Csr {
    Csr::parse(&CertificateParams::default().serialize_request(key).unwrap().pem().unwrap()).unwrap()
}

/// Whether someone who knows `root` alone takes the hub of `authority` for the hub.
fn trusts(root: &Authority, authority: &Authority) -> bool {
    let key = KeyPair::generate().unwrap();
    let leaf = authority.sign_hub(&names("127.0.0.1".parse().unwrap(), &[]), &key, DAY).unwrap();
    let mut roots = rustls::RootCertStore::empty();
    roots.add(root.accepted()[0].clone()).unwrap();
    let provider = std::sync::Arc::new(rustls::crypto::ring::default_provider());
    let verifier = WebPkiServerVerifier::builder_with_provider(roots.into(), provider).build().unwrap();
    let name = ServerName::try_from(HUB_NAME).unwrap();
    verifier.verify_server_cert(&leaf, authority.crossed(), &name, &[], UnixTime::now()).is_ok()
}

#[test]
fn the_ca_is_made_once() {
    let temporary = tempfile::tempdir().unwrap();
    let files = Files::new(&Folder::open(temporary.path()).unwrap(), None);
    let (first, made) = files.open().unwrap();
    let (again, made_again) = files.open().unwrap();
    assert_eq!((first.pem(), made, made_again), (again.pem(), true, false));
    assert!(!trusts(&Authority::make().unwrap(), &first) && trusts(&first, &again));
}

#[test]
fn a_damaged_ca_says_what_to_do() {
    let temporary = tempfile::tempdir().unwrap();
    let folder = Folder::open(temporary.path()).unwrap();
    std::fs::write(folder.file("ca.crt"), "x").unwrap();
    std::fs::write(folder.file("ca.key"), "y").unwrap();
    let Err(error) = Files::new(&folder, None).open() else { panic!("a damaged CA was taken") };
    assert!(error.to_string().contains("remove both for a new CA"), "{error}");
}

#[test]
fn a_key_of_another_ca_is_refused() {
    let (one, other) = (authority::make().unwrap(), authority::make().unwrap());
    let Err(error) = Authority::new(&one.0, &other.1, "") else { panic!("taken") };
    assert_eq!(error.to_string(), "certificate and key do not belong together");
}

#[test]
fn whoever_knows_a_ca_trusts_the_hub_after_two_rotations_and_a_crash_in_one() {
    let temporary = tempfile::tempdir().unwrap();
    let folder = Folder::open(temporary.path()).unwrap();
    let files = Files::new(&folder, None);
    let (first, _) = files.open().unwrap();
    files.rotate().unwrap();
    assert!(files.rotate().unwrap_err().to_string().contains("under way"));
    // The power fails after the first file: the rotation is still there, and is done again.
    std::fs::write(folder.file("ca-crossed.crt"), "half").unwrap();
    let (second, made) = files.open().unwrap();
    files.rotate().unwrap();
    let (third, _) = files.open().unwrap();
    assert!(!made && first.pin().unwrap() != second.pin().unwrap());
    for root in [&first, &second, &third] {
        assert!(trusts(root, &third));
    }
    assert!(!trusts(&third, &first), "the old CA signs nothing that the new one vouches for");
    assert_eq!(third.accepted().len(), 3);
    // What the first CA signed for an agent is still known as the hub's own.
    let key = KeyPair::generate().unwrap();
    let pem = first.sign_agent(&csr(&key), "abcdefgh", DAY).unwrap();
    let peer = Peer::read(&pem, &third).unwrap();
    assert_eq!((peer.sid.as_str(), peer.is_ours, peer.key_hash), ("abcdefgh", true, key_hash(&key.subject_public_key_info())));
    assert!(!Peer::read(&pem, &Authority::make().unwrap()).unwrap().is_ours);
}

#[test]
fn a_ca_that_is_kept_elsewhere_is_used_and_never_replaced() {
    let temporary = tempfile::tempdir().unwrap();
    let folder = Folder::open(temporary.path()).unwrap();
    let (certificate, key) = authority::make().unwrap();
    let (before, _) = authority::make().unwrap();
    let given = Given { certificate: folder.file("given.crt"), key: folder.file("given.key") };
    std::fs::write(&given.certificate, certificate + &before).unwrap();
    std::fs::write(&given.key, key).unwrap();
    let files = Files::new(&folder, Some(given));
    let (authority, made) = files.open().unwrap();
    assert!(!made && authority.accepted().len() == 2 && !folder.file("ca.key").exists());
    assert!(files.rotate().unwrap_err().to_string().contains("kept"), "its owner rotates it");
}

#[test]
fn a_certificate_request_decides_nothing_but_the_key() {
    let (authority, key) = (Authority::make().unwrap(), KeyPair::generate().unwrap());
    let mut sly = CertificateParams::new(vec![HUB_NAME.to_owned()]).unwrap();
    sly.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let pem = sly.serialize_request(&key).unwrap().pem().unwrap();
    let signed = authority.sign_agent(&Csr::parse(&pem).unwrap(), "abcdefgh", DAY).unwrap();
    let der = <rustls::pki_types::CertificateDer as rustls::pki_types::pem::PemObject>::from_pem_slice(signed.as_bytes()).unwrap();
    let (_, found) = x509_parser::parse_x509_certificate(&der).unwrap();
    assert!(!found.is_ca() && found.subject_alternative_name().unwrap().is_none());
    let usage = found.extended_key_usage().unwrap().unwrap().value.clone();
    assert!(usage.client_auth && !usage.server_auth);
    assert_eq!(found.subject().to_string(), "O=clusternet:agents, CN=abcdefgh");
}

#[test]
fn a_request_that_is_not_signed_by_its_key_is_refused() {
    let key = KeyPair::generate().unwrap();
    let request = CertificateParams::default().serialize_request(&key).unwrap();
    let mut der = request.der().to_vec();
    *der.last_mut().unwrap() ^= 1;
    let forged = pem_of("CERTIFICATE REQUEST", &der);
    for wrong in [forged.as_str(), "", "-----BEGIN CERTIFICATE REQUEST-----\n-----END CERTIFICATE REQUEST-----\n", &"x".repeat(9000)] {
        assert!(Csr::parse(wrong).is_err());
    }
    let weak = KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap();
    let pem = CertificateParams::default().serialize_request(&weak).unwrap().pem().unwrap();
    assert!(Csr::parse(&pem).err().unwrap().contains("P-256"));
}

#[test]
fn a_proof_is_for_one_body_and_one_purpose() {
    let (authority, key) = (Authority::make().unwrap(), KeyPair::generate().unwrap());
    let peer = Peer::read(&authority.sign_agent(&csr(&key), "abcdefgh", DAY).unwrap(), &authority).unwrap();
    let proof = key.sign(&proves("enrol", b"body")).unwrap();
    assert!(peer.signed("enrol", b"body", &proof));
    assert!(!peer.signed("enrol", b"other", &proof) && !peer.signed("unregister", b"body", &proof) && !peer.signed("enrol", b"body", b""));
}

fn pem_of(label: &str, der: &[u8]) -> String {
    use base64::Engine;
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", base64::engine::general_purpose::STANDARD.encode(der))
}
