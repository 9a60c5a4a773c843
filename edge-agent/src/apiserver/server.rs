//! The member's API server, and how each kind of caller is connected to it.

use anyhow::Context;
use http::HeaderValue;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;

use super::access::Access;
use super::connection::{CONNECT_TIMEOUT, Connection, Tls, Unconnected, dial};
use super::pool::Pool;
use super::proxy::bare;
use super::tls::Identity;

/// The API server as the agent's kubeconfig, or its pod, describes it.
pub struct Server {
    access: Access,
    host: String,
    port: u16,
    /// Whose certificate it has to show; none where no TLS is spoken.
    name: Option<ServerName<'static>>,
    /// What the server is called in `Host`.
    authority: HeaderValue,
    /// Path that all paths of the API begin with; empty unless something stands before the server.
    prefix: String,
    /// Connections with the agent's credentials.
    pub agents: Pool,
    /// Connections without credentials, for requests that bring a token.
    pub callers: Pool,
}

/// With whose credentials a connection is opened.
pub enum As {
    Agent,
    Caller,
    Certificate(Identity),
}

impl Server {
    /// Touches no network.
    ///
    /// # Errors
    /// The URL or the server's name can't be used.
    pub fn new(access: Access) -> anyhow::Result<Server> {
        let authority = access.url.authority().context("the API server's URL has no host")?;
        let host = bare(authority.host());
        let is_tls = access.url.scheme_str() != Some("http");
        let port = authority.port_u16().unwrap_or(if is_tls { 443 } else { 80 });
        let name = access.server_name.clone().unwrap_or_else(|| host.clone());
        let name = is_tls.then(|| ServerName::try_from(name)).transpose()?;
        let prefix = access.url.path().trim_end_matches('/').to_owned();
        let authority = HeaderValue::from_str(authority.as_str())?;
        let (agents, callers) = (Pool::default(), Pool::default());
        Ok(Server { access, host, port, name, authority, prefix, agents, callers })
    }

    /// What the agent knows of it.
    pub fn access(&self) -> &Access {
        &self.access
    }

    /// What the server is called in `Host`.
    pub fn authority(&self) -> &HeaderValue {
        &self.authority
    }

    /// Path that all paths of the API begin with.
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// Whether it speaks TLS, without which nobody can show a certificate.
    pub fn is_tls(&self) -> bool {
        self.name.is_some()
    }

    /// Opens a connection.
    ///
    /// # Errors
    /// Not reachable, or not trusted.
    pub async fn connect(&self, credentials: &As) -> Result<Connection, Unconnected> {
        let shown = format!("the member's API server {}", self.access.url);
        let tls = self.tls(credentials).await?;
        let mut socket = self.dial(&shown).await?;
        if let Some(proxy) = &self.access.proxy {
            let asked = tokio::time::timeout(CONNECT_TIMEOUT, proxy.tunnel(&mut socket, &self.host, self.port)).await;
            asked
                .unwrap_or_else(|_| Err("the proxy does not answer".into()))
                .map_err(|why| Unconnected::Unreachable(format!("{shown}: {why}")))?;
        }
        Connection::open(socket, tls.as_ref(), &shown).await
    }

    async fn tls(&self, credentials: &As) -> Result<Option<Tls>, Unconnected> {
        let Some(name) = self.name.clone() else { return Ok(None) };
        let identity = match credentials {
            As::Agent => self.access.credentials.current().await.map_err(Unconnected::Unreachable)?.identity,
            As::Caller => None,
            As::Certificate(identity) => Some(identity.clone()),
        };
        let config = self.access.trust.client(identity.as_ref()).map_err(|error| Unconnected::Untrusted(format!("{error:#}")))?;
        Ok(Some(Tls { config, name }))
    }

    async fn dial(&self, shown: &str) -> Result<TcpStream, Unconnected> {
        let (host, port) = match &self.access.proxy {
            Some(proxy) => (&proxy.host, proxy.port),
            None => (&self.host, self.port),
        };
        let found = tokio::net::lookup_host((host.as_str(), port)).await;
        let addresses: Vec<_> = found.map_err(|error| Unconnected::Unreachable(format!("{shown}: {host}: {error}")))?.collect();
        dial(&addresses, shown).await
    }

    /// The agent's `Authorization`, where it has one.
    ///
    /// # Errors
    /// In words: it could not be renewed.
    pub async fn authorization(&self) -> Result<Option<HeaderValue>, String> {
        Ok(self.access.credentials.current().await?.authorization)
    }
}
