//! The hub's own CA, made at the first start, and the API's certificate, made anew at each.

use std::net::IpAddr;
use std::sync::Arc;

use anyhow::Context;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
};
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};

use crate::bus::gate::tls::Material;
use crate::folder::Folder;

const CA_CERTIFICATE: &str = "ca.crt";
const CA_KEY: &str = "ca.key";

/// The CA that clients are given.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    /// The CA's certificate, PEM.
    pub pem: String,
    der: CertificateDer<'static>,
}

impl Authority {
    /// Reads the CA of the data folder, or makes it.
    ///
    /// # Errors
    /// The files cannot be read, or are no certificate and key.
    pub fn open(folder: &Folder) -> anyhow::Result<Authority> {
        let (certificate, key) = (folder.file(CA_CERTIFICATE), folder.file(CA_KEY));
        if !certificate.exists() && !key.exists() {
            let (pem, key) = make()?;
            folder.write_secret(CA_KEY, key.as_bytes())?;
            folder.write_secret(CA_CERTIFICATE, pem.as_bytes())?;
        }
        let wrong = || {
            format!(
                "CA in {}: ca.crt and ca.key must be a PEM certificate and its key; restore them, or remove both for a new CA (agents must then be given the new ca.crt)",
                folder.path().display()
            )
        };
        let pem = std::fs::read_to_string(certificate).with_context(wrong)?;
        let key = KeyPair::from_pem(&std::fs::read_to_string(key).with_context(wrong)?).with_context(wrong)?;
        let der = CertificateDer::from_pem_slice(pem.as_bytes()).with_context(wrong)?;
        Ok(Authority { issuer: Issuer::new(ca_params(), key), pem, der })
    }

    /// What the bus shows and believes, for these host names and addresses.
    ///
    /// # Errors
    /// As [`Authority::server_config`].
    pub fn bus_material(&self, names: &[String]) -> anyhow::Result<Material> {
        let (certificate, key) = self.certify(names)?;
        Ok(Material::fixed(vec![certificate], key, vec![self.der.clone()])?)
    }

    /// TLS for the API, for these host names and addresses.
    ///
    /// # Errors
    /// A name is no DNS name or address.
    pub fn server_config(&self, names: &[String]) -> anyhow::Result<Arc<ServerConfig>> {
        let (certificate, key) = self.certify(names)?;
        let mut config = ServerConfig::builder().with_no_client_auth().with_single_cert(vec![certificate, self.der.clone()], key)?;
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(Arc::new(config))
    }

    fn certify(&self, names: &[String]) -> anyhow::Result<(CertificateDer<'static>, PrivateKeyDer<'static>)> {
        let mut params =
            CertificateParams::new(names.to_vec()).with_context(|| format!("names for the API's certificate: {}", names.join(", ")))?;
        params.distinguished_name = common_name("clusternet-hub");
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, &self.issuer)?;
        Ok((certificate.der().clone(), PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()))))
    }
}

/// The names under which a listener on `ip` is reached from this machine, and those that were asked for.
pub fn names(ip: IpAddr, further: &[String]) -> Vec<String> {
    let mut names = vec!["clusternet-hub".to_owned(), "localhost".to_owned(), "127.0.0.1".into(), "::1".into()];
    if !ip.is_unspecified() && !ip.is_loopback() {
        names.push(ip.to_string());
    }
    names.extend(further.iter().filter(|name| !names.contains(name)).cloned().collect::<Vec<_>>());
    names
}

fn make() -> anyhow::Result<(String, String)> {
    let key = KeyPair::generate()?;
    let certificate = ca_params().self_signed(&key)?;
    Ok((certificate.pem(), key.serialize_pem()))
}

fn ca_params() -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = common_name("clusternet-hub CA");
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

fn common_name(name: &str) -> DistinguishedName {
    let mut subject = DistinguishedName::new();
    subject.push(DnType::CommonName, name);
    subject
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ca_is_made_once_and_signs_for_names_and_addresses() {
        let temporary = tempfile::tempdir().unwrap();
        let folder = Folder::open(temporary.path()).unwrap();
        let _ = rustls::crypto::ring::default_provider().install_default();
        let first = Authority::open(&folder).unwrap();
        let again = Authority::open(&folder).unwrap();
        assert_eq!(first.pem, again.pem);
        again.server_config(&names("10.0.0.7".parse().unwrap(), &["hub.example.com".into()])).unwrap();
    }

    #[test]
    fn a_damaged_ca_says_what_to_do() {
        let temporary = tempfile::tempdir().unwrap();
        let folder = Folder::open(temporary.path()).unwrap();
        std::fs::write(folder.file(CA_CERTIFICATE), "x").unwrap();
        std::fs::write(folder.file(CA_KEY), "y").unwrap();
        let Err(error) = Authority::open(&folder) else { panic!("a damaged CA was taken") };
        assert!(error.to_string().contains("remove both for a new CA"), "{error}");
    }
}
