//! Certificates of a fleet and of its enemies, and TLS clients that show them.

use std::io;
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;

use hub::bus::Session;
use hub::bus::gate::admission::RosterAdmission;
use hub::bus::gate::certificate::{AGENTS, KeyHash};
use hub::bus::gate::config::GateConfig;
use hub::bus::gate::roster::{KeyUse, Roster};
use hub::bus::gate::tls::{Material, Tls};
use hub::bus::gate::{Gate, GateHandle};
use hub::bus::topics::Sid;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    PublicKeyData,
};
use rustls::client::Resumption;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned, SupportedProtocolVersion};
use tokio::sync::mpsc;

use super::{Hello, PATIENCE, Raw, blocking, tcp};

pub type TlsRaw = Raw<StreamOwned<ClientConnection, TcpStream>>;

/// The name that every certificate of a hub carries.
pub const HUB: &str = "clusternet-hub";

/// A CA.
pub struct Ca {
    issuer: Issuer<'static, KeyPair>,
    pub der: CertificateDer<'static>,
    pub pem: String,
}

/// A certificate and its key.
pub struct Identity {
    pub certificate: CertificateDer<'static>,
    pub pem: String,
    pub key: KeyPair,
}

impl Ca {
    pub fn new(name: &str) -> Ca {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        Ca { der: certificate.der().clone(), pem: certificate.pem(), issuer: Issuer::new(params, key) }
    }

    pub fn server(&self) -> Identity {
        let mut params = CertificateParams::new(vec![HUB.to_owned(), "127.0.0.1".to_owned()]).unwrap();
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        self.sign(params)
    }

    pub fn agent(&self, sid: &str) -> Identity {
        self.client(sid, AGENTS, |_| {})
    }

    pub fn client(&self, name: &str, organisation: &str, change: impl FnOnce(&mut CertificateParams)) -> Identity {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, name);
        params.distinguished_name.push(DnType::OrganizationName, organisation);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        change(&mut params);
        self.sign(params)
    }

    fn sign(&self, mut params: CertificateParams) -> Identity {
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        Identity { certificate: certificate.der().clone(), pem: certificate.pem(), key }
    }

    /// What a gate of this CA shows and believes.
    pub fn material(&self) -> Material {
        let server = self.server();
        Material::fixed(vec![server.certificate.clone()], server.key(), vec![self.der.clone()]).unwrap()
    }
}

impl Identity {
    pub fn key(&self) -> PrivateKeyDer<'static> {
        PrivateKeyDer::from(PrivatePkcs8KeyDer::from(self.key.serialize_der()))
    }

    pub fn hash(&self) -> KeyHash {
        KeyHash::of(&self.key.subject_public_key_info())
    }

    /// A client that shows this certificate and believes `ca`; it resumes what it has kept.
    pub fn tls(&self, ca: &Ca) -> Arc<ClientConfig> {
        self.tls_of(ca, &[&rustls::version::TLS13])
    }

    pub fn tls_of(&self, ca: &Ca, versions: &[&'static SupportedProtocolVersion]) -> Arc<ClientConfig> {
        let client = builder(ca, versions).with_client_auth_cert(vec![self.certificate.clone()], self.key());
        kept(client.unwrap())
    }
}

/// A client that shows no certificate.
pub fn anonymous(ca: &Ca) -> Arc<ClientConfig> {
    kept(builder(ca, &[&rustls::version::TLS13]).with_no_client_auth())
}

fn builder(
    ca: &Ca,
    versions: &[&'static SupportedProtocolVersion],
) -> rustls::ConfigBuilder<ClientConfig, rustls::client::WantsClientCert> {
    let mut roots = RootCertStore::empty();
    roots.add(ca.der.clone()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    ClientConfig::builder_with_provider(provider).with_protocol_versions(versions).unwrap().with_root_certificates(roots)
}

fn kept(mut config: ClientConfig) -> Arc<ClientConfig> {
    config.resumption = Resumption::in_memory_sessions(4);
    Arc::new(config)
}

/// A TLS connection on which nothing was said yet.
pub fn open(addr: SocketAddr, tls: &Arc<ClientConfig>) -> TlsRaw {
    over(tcp(addr), tls)
}

/// TLS over a socket.
pub fn over(socket: TcpStream, tls: &Arc<ClientConfig>) -> TlsRaw {
    let connection = ClientConnection::new(tls.clone(), ServerName::try_from(HUB).unwrap()).unwrap();
    Raw(StreamOwned::new(connection, socket))
}

/// A gate over TLS, its CA, and whom it lets in.
pub struct TlsRig {
    pub gate: GateHandle,
    pub sessions: mpsc::Receiver<Session>,
    pub roster: Arc<Roster>,
    pub uses: mpsc::Receiver<KeyUse>,
    pub ca: Ca,
    pub tls: Tls,
}

impl TlsRig {
    /// A gate that nobody is listed at yet.
    pub fn start(config: GateConfig) -> TlsRig {
        let (sender, sessions) = mpsc::channel(64);
        let (ca, (roster, uses)) = (Ca::new("fleet"), Roster::new());
        let (tls, roster) = (Tls::new(ca.material()).unwrap(), Arc::new(roster));
        let gate = Gate::start_with(tls.clone(), config, Arc::new(RosterAdmission(roster.clone())), sender).unwrap();
        TlsRig { gate, sessions, roster, uses, ca, tls }
    }

    /// A gate that knows one agent; gives its identity too.
    pub fn with_agent(config: GateConfig, sid: &str) -> (TlsRig, Identity) {
        let rig = TlsRig::start(config);
        let agent = rig.ca.agent(sid);
        rig.roster.list([(Sid::parse(sid).unwrap(), vec![agent.hash()])]);
        (rig, agent)
    }

    pub fn addr(&self) -> SocketAddr {
        self.gate.local_addr()
    }

    pub async fn session(&mut self) -> Session {
        tokio::time::timeout(PATIENCE, self.sessions.recv()).await.expect("a session in time").expect("the gate lives")
    }

    /// Connects over TLS and gives CONNACK's code, or what came instead of it.
    pub async fn greet(&self, tls: &Arc<ClientConfig>, id: &str) -> (TlsRaw, io::Result<u8>) {
        let (addr, tls, id) = (self.addr(), tls.clone(), id.to_owned());
        blocking(move || {
            let mut raw = open(addr, &tls);
            let code = raw.hello(&Hello::new(&id));
            (raw, code)
        })
        .await
    }

    /// Connects an agent that must be let in.
    pub async fn connect(&mut self, tls: &Arc<ClientConfig>, id: &str) -> (TlsRaw, Session) {
        let (raw, code) = self.greet(tls, id).await;
        assert_eq!(code.expect("CONNACK"), 0, "{id}");
        (raw, self.session().await)
    }
}
