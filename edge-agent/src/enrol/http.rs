//! One HTTPS request to the hub's API: a connection of its own, one deadline, a bounded answer.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, StatusCode, Uri, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::cluster::failure::chain;
use crate::trust::clock::Clock;
use crate::trust::verify::{Anchor, HubVerifier};

/// Longest that one request may take, connect and answer included, on a link that crawls.
const TIMEOUT: Duration = Duration::from_secs(60);
/// Largest answer, bytes: certificates and CAs.
const MAX_ANSWER: usize = 256 << 10;

/// Where the hub's API is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hub {
    host: String,
    port: u16,
    authority: String,
    prefix: String,
}

/// What the hub answered.
pub struct Answer {
    pub code: StatusCode,
    pub body: Vec<u8>,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum NoAnswer {
    /// The server is not the hub.
    #[error("{0}")]
    Untrusted(String),
    /// Nobody answers, or not yet.
    #[error("{0}")]
    Unreachable(String),
}

impl Hub {
    /// Reads `https://HOST:PORT`, with a path if a proxy has put the hub under one.
    ///
    /// # Errors
    /// A sentence that says what is wrong.
    pub fn parse(url: &str) -> Result<Hub, String> {
        let wrong = || format!("{url:?} must be https://HOST:PORT");
        let uri: Uri = url.parse().map_err(|_| wrong())?;
        let authority = uri.authority().filter(|_| uri.scheme_str() == Some("https") && uri.query().is_none()).ok_or_else(wrong)?;
        let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_owned();
        let prefix = uri.path().trim_end_matches('/').to_owned();
        let text = authority.as_str().to_owned();
        if host.is_empty() || text.contains('@') {
            Err(wrong())
        } else {
            Ok(Hub { host, port: authority.port_u16().unwrap_or(443), authority: text, prefix })
        }
    }

    /// Sends a body by POST. Nothing is sent before the server has proved to be the hub.
    ///
    /// # Errors
    /// [`NoAnswer`].
    pub async fn post(
        &self,
        path: &str,
        headers: &[(&'static str, String)],
        body: Vec<u8>,
        anchor: Anchor,
        clock: &Clock,
    ) -> Result<Answer, NoAnswer> {
        let exchange = self.exchange(path, headers, body, HubVerifier::new(anchor, clock.clone()));
        let late = || NoAnswer::Unreachable(format!("no answer within {} s", TIMEOUT.as_secs()));
        tokio::time::timeout(TIMEOUT, exchange).await.map_err(|_| late())?
    }

    async fn exchange(
        &self,
        path: &str,
        headers: &[(&'static str, String)],
        body: Vec<u8>,
        verifier: Arc<HubVerifier>,
    ) -> Result<Answer, NoAnswer> {
        let found = tokio::net::lookup_host((self.host.as_str(), self.port)).await.map_err(|error| unknown(&self.host, &error))?;
        let socket = TcpStream::connect(&*found.collect::<Vec<_>>()).await.map_err(|error| broken(&error))?;
        let _ = socket.set_nodelay(true);
        let config = verifier.client_config().map_err(|error| broken(&error))?;
        let name = ServerName::try_from(self.host.clone()).map_err(|error| broken(&error))?;
        let stream = TlsConnector::from(Arc::new(config)).connect(name, socket).await.map_err(|error| refused(&error))?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(|error| broken(&error))?;
        let connection = tokio::spawn(connection);
        let mut request = Request::post(format!("{}{path}", self.prefix)).header(header::HOST, &self.authority);
        request = request.header(header::CONTENT_TYPE, "application/json").header(header::CONNECTION, "close");
        for (name, value) in headers {
            request = request.header(*name, value);
        }
        let request = request.body(Full::new(Bytes::from(body))).map_err(|error| broken(&error))?;
        let response = sender.send_request(request).await.map_err(|error| broken(&error))?;
        let code = response.status();
        let body =
            Limited::new(response.into_body(), MAX_ANSWER).collect().await.map_err(|error| NoAnswer::Unreachable(error.to_string()))?;
        connection.abort();
        Ok(Answer { code, body: body.to_bytes().to_vec() })
    }
}

/// The static program asks the servers of one file, and no other service of the host.
fn unknown(host: &str, error: &std::io::Error) -> NoAnswer {
    let file = "/etc/resolv.conf";
    let state = if std::path::Path::new(file).exists() { "see what it says" } else { "it is not there" };
    NoAnswer::Unreachable(format!("no address of {host} ({error}); names are asked of the servers in {file}: {state}"))
}

fn broken(error: &(dyn std::error::Error + 'static)) -> NoAnswer {
    NoAnswer::Unreachable(chain(error))
}

/// A certificate that was not believed is told apart from a connection that broke.
fn refused(error: &std::io::Error) -> NoAnswer {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    match inner {
        Some(rustls::Error::InvalidCertificate(why)) => NoAnswer::Untrusted(why.to_string()),
        _ => NoAnswer::Unreachable(chain(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_read_or_explained() {
        let read = |url: &str| Hub::parse(url).map(|hub| (hub.host, hub.port, hub.prefix));
        assert_eq!(read("https://hub.example.com"), Ok(("hub.example.com".into(), 443, String::new())));
        assert_eq!(read("https://[::1]:8443/"), Ok(("::1".into(), 8443, String::new())));
        assert_eq!(read("https://10.0.0.1:1/under/hub/"), Ok(("10.0.0.1".into(), 1, "/under/hub".into())));
        for wrong in ["", "hub", "http://hub", "https://", "https://user@hub", "https://hub?x"] {
            assert_eq!(read(wrong), Err(format!("{wrong:?} must be https://HOST:PORT")));
        }
    }
}
