//! The member's API server, and how each kind of caller is connected to it.

use std::sync::Arc;

use anyhow::Context;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response, header};
use http_body_util::Empty;
use kube::client::ConfigExt;
use kube::config::AuthInfo;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tower::util::BoxCloneSyncService;
use tower::{BoxError, Layer, ServiceExt};

use super::connection::{Connection, Tls, dial};
use super::pool::Pool;
use super::refusal::Refusal;
use crate::cluster::failure::chain;

/// kube's own keeper of the agent's `Authorization`, around a service that answers with the headers it was asked with; tokens that expire
/// are read again.
type Authorize = BoxCloneSyncService<Request<Empty<Bytes>>, Response<()>, BoxError>;

/// The API server as the agent's kubeconfig, or its pod, describes it.
pub struct Server {
    config: kube::Config,
    host: String,
    port: u16,
    /// What the server is called in `Host`.
    authority: HeaderValue,
    /// Path that all paths of the API begin with; empty unless something stands before the server.
    prefix: String,
    agent: Option<Tls>,
    caller: Option<Tls>,
    authorize: Option<Authorize>,
    /// Connections with the agent's credentials.
    pub agents: Pool,
    /// Connections without credentials, for requests that bring a token.
    pub callers: Pool,
}

/// With whose credentials a connection is opened.
pub enum As {
    Agent,
    Caller,
    Certificate(Arc<ClientConfig>),
}

impl Server {
    /// Reads the configuration; touches no network.
    ///
    /// # Errors
    /// Credentials or CA can't be used.
    pub fn new(config: kube::Config) -> anyhow::Result<Server> {
        let url = config.cluster_url.clone();
        let authority = url.authority().context("the API server's URL has no host")?;
        let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_owned();
        let is_tls = url.scheme_str() != Some("http");
        let port = authority.port_u16().unwrap_or(if is_tls { 443 } else { 80 });
        let name = ServerName::try_from(config.tls_server_name.clone().unwrap_or_else(|| host.clone()))?;
        let tls = |config: ClientConfig| Tls { config: Arc::new(config), name: name.clone() };
        let (agent, caller) = match is_tls {
            true => (Some(tls(client_config(&config)?)), Some(tls(client_config(&with_credentials(&config, AuthInfo::default()))?))),
            false => (None, None),
        };
        let authorize = config.auth_layer()?.map(|layer| {
            BoxCloneSyncService::new(layer.layer(tower::service_fn(|request: Request<Empty<Bytes>>| echo(request.into_parts().0.headers))))
        });
        let prefix = url.path().trim_end_matches('/').to_owned();
        let authority = HeaderValue::from_str(authority.as_str())?;
        let (agents, callers) = (Pool::default(), Pool::default());
        Ok(Server { config, host, port, authority, prefix, agent, caller, authorize, agents, callers })
    }

    /// What the server is called in `Host`.
    pub fn authority(&self) -> &HeaderValue {
        &self.authority
    }

    /// Path that all paths of the API begin with.
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// Opens a connection.
    ///
    /// # Errors
    /// In words: not reachable, or not trusted.
    pub async fn connect(&self, credentials: &As) -> Result<Connection, Refusal> {
        let shown = format!("the member's API server {}", self.config.cluster_url);
        let found = tokio::net::lookup_host((self.host.as_str(), self.port)).await;
        let addresses: Vec<_> = found.map_err(|error| Refusal::unavailable(format!("{shown}: {error}")))?.collect();
        let socket = dial(&addresses, &shown).await?;
        let certificate =
            |config: &Arc<ClientConfig>| self.caller.as_ref().map(|tls| Tls { config: config.clone(), name: tls.name.clone() });
        let tls = match credentials {
            As::Agent => self.agent.clone(),
            As::Caller => self.caller.clone(),
            As::Certificate(config) => certificate(config),
        };
        Connection::open(socket, tls.as_ref(), &shown).await
    }

    /// The agent's `Authorization`, where it has one.
    ///
    /// # Errors
    /// The token could not be renewed.
    pub async fn authorization(&self) -> Result<Option<HeaderValue>, Refusal> {
        let Some(authorize) = &self.authorize else { return Ok(None) };
        let failed = |error: BoxError| Refusal::unavailable(format!("the agent's own credentials can't be renewed: {}", chain(&*error)));
        let mut echoed = authorize.clone().oneshot(Request::new(Empty::new())).await.map_err(failed)?;
        Ok(echoed.headers_mut().remove(header::AUTHORIZATION))
    }

    /// TLS with a caller's certificate.
    ///
    /// # Errors
    /// Certificate or key can't be used.
    pub fn with_certificate(&self, certificate: &[u8], key: &[u8]) -> Result<As, Refusal> {
        if self.caller.is_none() {
            return Err(Refusal::malformed("a certificate needs TLS, which the member's API server does not speak"));
        }
        with_certificate(&self.config, certificate, key).map(As::Certificate)
    }
}

async fn echo(headers: HeaderMap) -> Result<Response<()>, BoxError> {
    let mut response = Response::new(());
    *response.headers_mut() = headers;
    Ok(response)
}

fn with_credentials(config: &kube::Config, credentials: AuthInfo) -> kube::Config {
    let mut config = config.clone();
    config.auth_info = credentials;
    config
}

/// TLS as `config` has it, with a caller's certificate instead of the agent's.
///
/// # Errors
/// Certificate or key can't be used.
pub fn with_certificate(config: &kube::Config, certificate: &[u8], key: &[u8]) -> Result<Arc<ClientConfig>, Refusal> {
    let pair = serde_json::json!({"client-certificate-data": STANDARD.encode(certificate), "client-key-data": STANDARD.encode(key)});
    let unusable = |why: String| Refusal::malformed(format!("the caller's certificate or key can't be used: {why}"));
    let credentials = serde_json::from_value(pair).map_err(|_| unusable("not PEM".into()))?;
    let config = client_config(&with_credentials(config, credentials)).map_err(|error| unusable(format!("{error:#}")))?;
    Ok(Arc::new(config))
}

/// TLS as `config` has it.
///
/// # Errors
/// Credentials or CA can't be used.
pub fn client_config(config: &kube::Config) -> anyhow::Result<ClientConfig> {
    let mut config = config.rustls_client_config()?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}
