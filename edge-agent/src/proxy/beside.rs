//! Servers beside the API server, as far as the owner of the member allows them. No credentials of the agent go there.

use std::path::Path;

use rustls::pki_types::ServerName;

use super::allow::{Allow, may_ask, may_dial};
use super::refusal::Refusal;
use super::request::{Host, Other};
use crate::apiserver::{Connection, Identity, Roots, Tls, Trust, dial};

/// What may be reached, and whom it is trusted to be.
pub struct Beside {
    allow: Vec<Allow>,
    trust: Trust,
}

impl Beside {
    /// Reads the CA file.
    ///
    /// # Errors
    /// The file can't be read, or has no certificate.
    pub fn new(allow: Vec<Allow>, ca: Option<&Path>) -> anyhow::Result<Beside> {
        let trust = Trust::new(ca.map_or(Roots::Host, |file| Roots::File(file.to_owned())))?;
        Ok(Beside { allow, trust })
    }

    /// Opens a connection, resolving a name once.
    ///
    /// # Errors
    /// Not allowed, not reachable, or not trusted, in words.
    pub async fn connect(&self, other: &Other, identity: Option<&Identity>) -> Result<Connection, Refusal> {
        if !may_ask(&self.allow, other) {
            return Err(not_allowed(other));
        }
        let tls = match other.tls {
            true => Some(self.tls(other, identity)?),
            false if identity.is_some() => return Err(Refusal::malformed("a certificate needs https")),
            false => None,
        };
        let addresses = self.addresses(other).await?;
        let socket = dial(&addresses, &other.authority).await?;
        Ok(Connection::open(socket, tls.as_ref(), &other.authority).await?)
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

    fn tls(&self, other: &Other, identity: Option<&Identity>) -> Result<Tls, Refusal> {
        let name = match &other.host {
            Host::Address(address) => ServerName::from(*address),
            Host::Name(name) => ServerName::try_from(name.clone()).map_err(|_| Refusal::malformed(format!("{name:?} is no DNS name")))?,
        };
        let config = self.trust.client(identity);
        let config =
            config.map_err(|error| Refusal::bad_gateway(format!("no CA to trust: {error:#}; give one to the agent with --proxy-ca")))?;
        Ok(Tls { config, name })
    }
}

fn not_allowed(other: &Other) -> Refusal {
    let Other { authority, .. } = other;
    Refusal::forbidden(format!(
        "{authority} may not be reached through this agent; whoever runs it may allow it with --proxy-allow, but not link-local and metadata addresses"
    ))
}
