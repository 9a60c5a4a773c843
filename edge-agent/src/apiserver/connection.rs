//! One HTTP/1.1 connection to a server of the member's network.
//!
//! HTTP/2 is not spoken, although API servers offer it: they allow some hundred streams on one connection, so that as many watches would
//! keep the next request waiting, upgrades need HTTP/1.1 anyway, and the agent stays smaller.
//!
//! Whoever waits for a connection also drives it. In a task of its own it would wake its reader for each chunk, and be woken by it: logs
//! come a chunk a line.

use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::body::RequestBody;
use crate::cluster::failure::chain;

/// Longest wait for TCP, again for a proxy, and again for TLS.
pub(super) const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Bytes of a head that a server may answer with, and so of a connection's read buffer.
const MAX_ANSWER_HEAD: usize = 64 << 10;
/// A server that has vanished is noticed after 30 s and three probes, 10 s apart: watches and shells may be silent for hours.
const KEEPALIVE: Duration = Duration::from_secs(30);
const PROBE_INTERVAL: Duration = Duration::from_secs(10);
const PROBES: u32 = 3;

/// What bytes go over: TCP, or TLS on it.
pub trait Io: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}
pub type BoxIo = Box<dyn Io>;

/// How to speak TLS, and who has to answer.
#[derive(Clone)]
pub struct Tls {
    pub config: Arc<ClientConfig>,
    pub name: ServerName<'static>,
}

/// A connection that carries one request at a time; dropping it closes the socket, whatever is under way.
pub struct Connection {
    sender: http1::SendRequest<RequestBody>,
    driver: Driver,
}

/// What reads and writes the socket, until that is closed. How it ended is told by the request that it ended with.
struct Driver(Option<Pin<Box<dyn Future<Output = ()> + Send>>>);

/// Why no connection came about, in words.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unconnected {
    /// Nothing was sent.
    #[error("{0}")]
    Unreachable(String),
    /// Somebody answered, and is not believed.
    #[error("{0}")]
    Untrusted(String),
}

/// Why a request was not answered.
pub enum Unanswered {
    /// It never left, and is given back.
    Unsent(Box<Request<RequestBody>>),
    /// It may have arrived.
    Broken(hyper::Error),
}

impl Connection {
    /// Shakes hands over an open socket; `shown` is what the server is called in errors.
    ///
    /// # Errors
    /// Not reachable, or not trusted.
    pub async fn open(socket: TcpStream, tls: Option<&Tls>, shown: &str) -> Result<Connection, Unconnected> {
        let io = secure(socket, tls, shown).await?;
        let mut builder = http1::Builder::new();
        builder.max_buf_size(MAX_ANSWER_HEAD);
        let handshake = builder.handshake(TokioIo::new(io)).await;
        let (sender, connection) = handshake.map_err(|error| Unconnected::Unreachable(format!("{shown}: {}", chain(&error))))?;
        let driver = async move { drop(connection.with_upgrades().await) };
        Ok(Connection { sender, driver: Driver(Some(Box::pin(driver))) })
    }

    /// Sends a request and waits for the head of its answer, as long as the caller does.
    pub async fn send(&mut self, request: Request<RequestBody>) -> Result<Response<Incoming>, Unanswered> {
        let answer = self.driver.beside(self.sender.try_send_request(request)).await;
        answer.map_err(|mut error| match error.take_message() {
            Some(request) => Unanswered::Unsent(Box::new(request)),
            None => Unanswered::Broken(error.into_error()),
        })
    }

    /// Drives the connection while something else is waited for: what is sent goes on, and what comes.
    pub async fn beside<T>(&mut self, what: impl Future<Output = T>) -> T {
        self.driver.beside(what).await
    }

    /// As [`Connection::beside`], of a future's one step.
    pub(super) fn poll_beside<T>(&mut self, context: &mut Context<'_>, what: impl FnMut(&mut Context<'_>) -> Poll<T>) -> Poll<T> {
        self.driver.poll_beside(context, what)
    }

    /// Whether another request can be sent now.
    pub fn is_ready(&mut self) -> bool {
        // Who closed it in the meantime is not known before the socket is looked at.
        self.driver.poll(&mut Context::from_waker(Waker::noop()));
        self.sender.is_ready()
    }

    /// Waits until another request can be sent; false when none can.
    pub async fn ready(&mut self) -> bool {
        self.driver.beside(self.sender.ready()).await.is_ok()
    }
}

impl Driver {
    fn poll(&mut self, context: &mut Context<'_>) {
        if self.0.as_mut().is_some_and(|driver| driver.as_mut().poll(context).is_ready()) {
            self.0 = None;
        }
    }

    fn poll_beside<T>(&mut self, context: &mut Context<'_>, mut what: impl FnMut(&mut Context<'_>) -> Poll<T>) -> Poll<T> {
        if let Poll::Ready(done) = what(context) {
            return Poll::Ready(done);
        }
        self.poll(context);
        what(context)
    }

    async fn beside<T>(&mut self, what: impl Future<Output = T>) -> T {
        let mut what = pin!(what);
        poll_fn(|context| self.poll_beside(context, |context| what.as_mut().poll(context))).await
    }
}

/// Connects to the first of these addresses that answers.
///
/// # Errors
/// None does.
pub async fn dial(addresses: &[std::net::SocketAddr], shown: &str) -> Result<TcpStream, Unconnected> {
    let mut why = format!("{shown} has no address");
    for address in addresses {
        match tokio::time::timeout(CONNECT_TIMEOUT, TcpStream::connect(address)).await {
            Ok(Ok(socket)) => {
                prepare(&socket);
                return Ok(socket);
            }
            Ok(Err(error)) => why = format!("{shown} can't be reached at {address}: {error}"),
            Err(_) => why = format!("{shown} can't be reached at {address}: no answer in {} s", CONNECT_TIMEOUT.as_secs()),
        }
    }
    Err(Unconnected::Unreachable(why))
}

fn prepare(socket: &TcpStream) {
    // Neither is needed for correctness.
    let _ = socket.set_nodelay(true);
    let keepalive = socket2::TcpKeepalive::new().with_time(KEEPALIVE).with_interval(PROBE_INTERVAL).with_retries(PROBES);
    let _ = socket2::SockRef::from(socket).set_tcp_keepalive(&keepalive);
}

async fn secure(socket: TcpStream, tls: Option<&Tls>, shown: &str) -> Result<BoxIo, Unconnected> {
    let Some(tls) = tls else { return Ok(Box::new(socket)) };
    let handshake = TlsConnector::from(tls.config.clone()).connect(tls.name.clone(), socket);
    match tokio::time::timeout(CONNECT_TIMEOUT, handshake).await {
        Ok(Ok(stream)) => Ok(Box::new(stream)),
        Ok(Err(error)) => Err(unsecured(&error, shown)),
        Err(_) => Err(Unconnected::Unreachable(format!("{shown}: no TLS answer in {} s", CONNECT_TIMEOUT.as_secs()))),
    }
}

fn unsecured(error: &io::Error, shown: &str) -> Unconnected {
    match error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
        Some(rustls::Error::InvalidCertificate(why)) => Unconnected::Untrusted(format!("{shown}: its certificate is not trusted: {why}")),
        _ => Unconnected::Unreachable(format!("{shown}: {}", chain(error))),
    }
}
