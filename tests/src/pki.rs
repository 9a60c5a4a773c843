//! Certificates for the tests' servers and users, each a key pair in PEM signed by one authority.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use base64::{Engine, engine::general_purpose::STANDARD};
use rcgen::{BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose};

/// A certificate authority whose certificate and all it issues are files of one folder.
#[derive(Debug)]
pub struct Authority {
    folder: PathBuf,
    certificate: String,
    issuer: Issuer<'static, KeyPair>,
}

/// A certificate with its key, as files.
#[derive(Clone, Debug)]
pub struct Credential {
    /// The certificate in PEM.
    pub certificate: PathBuf,
    /// The private key in PEM.
    pub key: PathBuf,
}

/// A key pair without a certificate, as files.
#[derive(Clone, Debug)]
pub struct BareKey {
    /// The private key in PEM.
    pub private: PathBuf,
    /// The public key in PEM.
    pub public: PathBuf,
}

impl Authority {
    /// Makes an authority and writes `ca.crt` into the folder.
    ///
    /// # Errors
    /// When the folder can't be written.
    pub fn create(folder: &Path, name: &str) -> Result<Self> {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
        let key = KeyPair::generate().context("can't make a key")?;
        let certificate = params.self_signed(&key).context("can't sign the authority")?.pem();
        let authority = Self { folder: folder.to_owned(), certificate, issuer: Issuer::new(params, key) };
        write(&authority.certificate_file(), &authority.certificate)?;
        Ok(authority)
    }

    /// The authority whose certificate and key are these files; what it issues goes into `folder`, and a copy of its certificate.
    ///
    /// # Errors
    /// When a file can't be read or written.
    pub fn open(folder: &Path, certificate: &Path, key: &Path) -> Result<Self> {
        let read = |path: &Path| fs::read_to_string(path).with_context(|| format!("can't read {}", path.display()));
        let (certificate, key) = (read(certificate)?, KeyPair::from_pem(&read(key)?).context("not a key")?);
        let issuer = Issuer::from_ca_cert_pem(&certificate, key).context("not a certificate")?;
        let authority = Self { folder: folder.to_owned(), certificate, issuer };
        write(&authority.certificate_file(), &authority.certificate)?;
        Ok(authority)
    }

    /// The authority's certificate file.
    #[must_use]
    pub fn certificate_file(&self) -> PathBuf {
        self.folder.join("ca.crt")
    }

    /// Issues a client certificate for a Kubernetes user with a group.
    ///
    /// # Errors
    /// When the folder can't be written.
    pub fn user(&self, file: &str, user: &str, group: &str) -> Result<Credential> {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, user);
        params.distinguished_name.push(DnType::OrganizationName, group);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        self.issue(file, params)
    }

    /// As [`Authority::user`], of a certificate that ended in 2020.
    ///
    /// # Errors
    /// When the folder can't be written.
    pub fn former_user(&self, file: &str, user: &str, group: &str) -> Result<Credential> {
        let mut params = CertificateParams::default();
        params.not_after = rcgen::date_time_ymd(2020, 1, 1);
        params.distinguished_name.push(DnType::CommonName, user);
        params.distinguished_name.push(DnType::OrganizationName, group);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        self.issue(file, params)
    }

    /// Issues a server certificate for host names and addresses.
    ///
    /// # Errors
    /// When a name is no host name, or the folder can't be written.
    pub fn server(&self, file: &str, names: &[String]) -> Result<Credential> {
        let mut params = CertificateParams::new(names).context("not a host name or address")?;
        params.distinguished_name.push(DnType::CommonName, file);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        self.issue(file, params)
    }

    /// Writes a key pair without a certificate, as service account tokens are signed with: `<file>.key` and `<file>.pub`.
    ///
    /// # Errors
    /// When the folder can't be written.
    pub fn bare_key(&self, file: &str) -> Result<BareKey> {
        let key = KeyPair::generate().context("can't make a key")?;
        let [private, public] = ["key", "pub"].map(|kind| self.folder.join(format!("{file}.{kind}")));
        write(&private, &key.serialize_pem())?;
        write(&public, &key.public_key_pem())?;
        Ok(BareKey { private, public })
    }

    /// Writes a kubeconfig that holds its certificates itself, so that it can be copied.
    ///
    /// # Errors
    /// When a file can't be read or written.
    pub fn kubeconfig(&self, file: &str, server: &str, user: &Credential) -> Result<PathBuf> {
        let path = self.folder.join(format!("{file}.kubeconfig"));
        let config = serde_json::json!({
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "member", "cluster": {"server": server, "certificate-authority-data": STANDARD.encode(&self.certificate)}}],
            "users": [{"name": file, "user": {"client-certificate-data": encoded(&user.certificate)?, "client-key-data": encoded(&user.key)?}}],
            "contexts": [{"name": file, "context": {"cluster": "member", "user": file}}],
            "current-context": file,
        });
        write(&path, &serde_json::to_string_pretty(&config)?)?;
        Ok(path)
    }

    fn issue(&self, file: &str, mut params: CertificateParams) -> Result<Credential> {
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        let key = KeyPair::generate().context("can't make a key")?;
        let certificate = params.signed_by(&key, &self.issuer).with_context(|| format!("can't sign {file}"))?;
        let [certificate_file, key_file] = ["crt", "key"].map(|kind| self.folder.join(format!("{file}.{kind}")));
        write(&certificate_file, &certificate.pem())?;
        write(&key_file, &key.serialize_pem())?;
        Ok(Credential { certificate: certificate_file, key: key_file })
    }
}

fn encoded(path: &Path) -> Result<String> {
    let bytes = fs::read(path).with_context(|| format!("can't read {}", path.display()))?;
    Ok(STANDARD.encode(bytes))
}

fn write(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text).with_context(|| format!("can't write {}", path.display()))
}
