//! A gate over TLS inside the test's own process, and identities for agents, all signed by one authority of the test.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result};
use edge_agent::link::credentials::Credentials;
use edge_agent::trust::clock::Clock;
use hub::bus::Session;
use hub::bus::gate::admission::RosterAdmission;
use hub::bus::gate::certificate::{AGENTS, ClientCertificate, KeyHash};
use hub::bus::gate::config::GateConfig;
use hub::bus::gate::roster::{KeyUse, Roster};
use hub::bus::gate::tls::{Material, Tls};
use hub::bus::gate::{Gate, GateHandle};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};
use tokio::sync::mpsc;

use crate::pki::{Authority, Credential};
use crate::strangers::Shown;

/// The name in every certificate of a hub.
pub const HUB_NAME: &str = "clusternet-hub";

/// A running gate, whom it lets in, and who came.
pub struct Bus {
    pub gate: GateHandle,
    pub roster: Arc<Roster>,
    pub uses: mpsc::Receiver<KeyUse>,
    pub sessions: mpsc::Receiver<Session>,
    pub tls: Tls,
}

impl Bus {
    /// Starts a gate on loopback whose certificate carries `names`.
    ///
    /// # Errors
    /// A file cannot be written, or the gate does not start.
    pub fn start(authority: &Authority, names: &[&str]) -> Result<Bus> {
        Bus::start_with(authority, names, GateConfig::new(SocketAddr::from(([127, 0, 0, 1], 0))))
    }

    /// As [`Bus::start`], with other limits.
    ///
    /// # Errors
    /// As [`Bus::start`].
    pub fn start_with(authority: &Authority, names: &[&str], config: GateConfig) -> Result<Bus> {
        Bus::start_on(material(authority, names)?, config)
    }

    /// Starts a gate with the files `ca.crt`, `bus.crt` and `bus.key` of a folder.
    ///
    /// # Errors
    /// As [`Bus::start`].
    pub fn start_from(folder: &Path, config: GateConfig) -> Result<Bus> {
        let key = PrivateKeyDer::from_pem_file(folder.join("bus.key")).context("the server's key")?;
        let (server, ca) = (certificate(&folder.join("bus.crt"))?, certificate(&folder.join("ca.crt"))?);
        Bus::start_on(Material::fixed(vec![server], key, vec![ca])?, config)
    }

    fn start_on(material: Material, config: GateConfig) -> Result<Bus> {
        let tls = Tls::new(material)?;
        let (roster, uses) = Roster::new();
        let (roster, (sender, sessions)) = (Arc::new(roster), mpsc::channel(256));
        let gate = Gate::start_with(tls.clone(), config, Arc::new(RosterAdmission(roster.clone())), sender)?;
        Ok(Bus { gate, roster, uses, sessions, tls })
    }
}

/// A server's certificate with these names, and the authority as the CA of clients.
///
/// # Errors
/// A file cannot be written.
pub fn material(authority: &Authority, names: &[&str]) -> Result<Material> {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let server = authority.server("bus", &names)?;
    let key = PrivateKeyDer::from_pem_file(&server.key).context("the server's key")?;
    Ok(Material::fixed(vec![certificate(&server.certificate)?], key, vec![certificate(&authority.certificate_file())?])?)
}

/// Makes the identity folder of an agent below `data`; gives the hash of its key.
///
/// # Errors
/// A file cannot be written.
pub fn identity(authority: &Authority, data: &Path, sid: &str) -> Result<(PathBuf, KeyHash)> {
    let made = authority.user("agent", sid, AGENTS)?;
    Ok((identity_of(authority, &made, data)?, key_hash(&made)?))
}

/// Makes an identity folder below `data` of what an agent has.
///
/// # Errors
/// A file cannot be written.
pub fn identity_of(authority: &Authority, agent: &Credential, data: &Path) -> Result<PathBuf> {
    let folder = data.join("identity");
    std::fs::create_dir_all(&folder)?;
    for (from, to) in [(&agent.key, "tls.key"), (&agent.certificate, "tls.crt"), (&authority.certificate_file(), "ca.crt")] {
        std::fs::copy(from, folder.join(to))?;
    }
    Ok(folder)
}

/// The hash of the key in a certificate.
///
/// # Errors
/// It cannot be read.
pub fn key_hash(credential: &Credential) -> Result<KeyHash> {
    Ok(ClientCertificate::read(&certificate(&credential.certificate)?, 0)?.key)
}

/// TLS as agents have it.
///
/// # Errors
/// The folder holds no identity.
pub fn agents_client(folder: &Path) -> Result<Arc<ClientConfig>> {
    Ok(Credentials::new(folder, Clock::new()).client()?)
}

/// TLS of a client that shows `credential`, or nothing, and believes `authority`.
///
/// # Errors
/// A file cannot be read.
pub fn client(authority: &Authority, credential: Option<&Credential>) -> Result<Arc<ClientConfig>> {
    let mut roots = RootCertStore::empty();
    roots.add(certificate(&authority.certificate_file())?)?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let client = ClientConfig::builder_with_provider(provider).with_protocol_versions(&[&rustls::version::TLS13])?;
    let client = client.with_root_certificates(roots);
    Ok(Arc::new(match credential {
        None => client.with_no_client_auth(),
        Some(shown) => {
            let key = PrivateKeyDer::from_pem_file(&shown.key).context("the client's key")?;
            client.with_client_auth_cert(vec![certificate(&shown.certificate)?], key)?
        }
    }))
}

/// What strangers show to a bus of `authority`: nothing, a certificate of another CA, one that has ended.
///
/// # Errors
/// A file cannot be written.
pub fn strangers(authority: &Authority, folder: &Path) -> Result<Shown> {
    let folder = folder.join("strangers");
    std::fs::create_dir_all(&folder)?;
    let foreign = Authority::create(&folder, "another CA")?.user("stranger", "aaaaaaaa", AGENTS)?;
    let expired = authority.former_user("former", "aaaaaaaa", AGENTS)?;
    Ok(Shown {
        nothing: client(authority, None)?,
        wrong_ca: client(authority, Some(&foreign))?,
        expired: client(authority, Some(&expired))?,
    })
}

fn certificate(path: &Path) -> Result<CertificateDer<'static>> {
    CertificateDer::from_pem_file(path).with_context(|| format!("no certificate in {}", path.display()))
}
