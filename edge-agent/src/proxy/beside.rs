//! Servers beside the API server, as far as the owner of the member allows them. No credentials of the agent go there.

use std::path::Path;
use std::sync::{Arc, OnceLock};

use anyhow::Context;
use rustls::ClientConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};

use super::allow::{Allow, may_ask, may_dial};
use super::connection::{Connection, Tls, dial};
use super::refusal::Refusal;
use super::request::{Host, Other};
use super::server::{client_config, with_certificate};

/// What may be reached, and whom it is trusted to be.
pub struct Beside {
    allow: Vec<Allow>,
    /// Whose roots it has; nothing else of it is used.
    config: kube::Config,
    /// Made when it is first needed: the system's roots take memory.
    tls: OnceLock<Arc<ClientConfig>>,
}

impl Beside {
    /// Reads the CA file.
    ///
    /// # Errors
    /// The file can't be read, or has no certificate.
    pub fn new(allow: Vec<Allow>, ca: Option<&Path>) -> anyhow::Result<Beside> {
        let mut config = kube::Config::new(http::Uri::from_static("https://localhost"));
        config.root_cert = ca.map(roots).transpose()?;
        Ok(Beside { allow, config, tls: OnceLock::new() })
    }

    /// Opens a connection, resolving a name once.
    ///
    /// # Errors
    /// Not allowed, not reachable, or not trusted, in words.
    pub async fn connect(&self, other: &Other, certificate: Option<(&[u8], &[u8])>) -> Result<Connection, Refusal> {
        if !may_ask(&self.allow, other) {
            return Err(not_allowed(other));
        }
        let tls = match other.tls {
            true => Some(self.tls(other, certificate)?),
            false if certificate.is_some() => return Err(Refusal::malformed("a certificate needs https")),
            false => None,
        };
        let addresses = self.addresses(other).await?;
        let socket = dial(&addresses, &other.authority).await?;
        Connection::open(socket, tls.as_ref(), &other.authority).await
    }

    async fn addresses(&self, other: &Other) -> Result<Vec<std::net::SocketAddr>, Refusal> {
        let found: Vec<_> = match &other.host {
            Host::Address(address) => vec![(*address, other.port).into()],
            Host::Name(name) => {
                let found = tokio::net::lookup_host((name.as_str(), other.port)).await;
                found.map_err(|error| Refusal::bad_gateway(format!("{name} can't be resolved in the member's network: {error}")))?.collect()
            }
        };
        let allowed: Vec<_> = found.into_iter().filter(|address| may_dial(&self.allow, other, address.ip())).collect();
        if allowed.is_empty() { Err(not_allowed(other)) } else { Ok(allowed) }
    }

    fn tls(&self, other: &Other, certificate: Option<(&[u8], &[u8])>) -> Result<Tls, Refusal> {
        let name = match &other.host {
            Host::Address(address) => ServerName::from(*address),
            Host::Name(name) => ServerName::try_from(name.clone()).map_err(|_| Refusal::malformed(format!("{name:?} is no DNS name")))?,
        };
        let config = match certificate {
            Some((certificate, key)) => with_certificate(&self.config, certificate, key)?,
            None => self.plain()?,
        };
        Ok(Tls { config, name })
    }

    fn plain(&self) -> Result<Arc<ClientConfig>, Refusal> {
        if let Some(known) = self.tls.get() {
            return Ok(known.clone());
        }
        let made = client_config(&self.config);
        let made =
            made.map_err(|error| Refusal::bad_gateway(format!("no CA to trust: {error:#}; give one to the agent with --proxy-ca")))?;
        Ok(self.tls.get_or_init(|| Arc::new(made)).clone())
    }
}

fn not_allowed(other: &Other) -> Refusal {
    let Other { authority, .. } = other;
    Refusal::forbidden(format!(
        "{authority} may not be reached through this agent; whoever runs it may allow it with --proxy-allow, but not link-local and metadata addresses"
    ))
}

fn roots(path: &Path) -> anyhow::Result<Vec<Vec<u8>>> {
    let shown = || format!("CA file {}", path.display());
    let found = CertificateDer::pem_file_iter(path).with_context(shown)?;
    let found: Vec<Vec<u8>> = found.map(|one| one.map(|one| one.to_vec())).collect::<Result<_, _>>().with_context(shown)?;
    anyhow::ensure!(!found.is_empty(), "{}: no certificate in it", shown());
    Ok(found)
}
