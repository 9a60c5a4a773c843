//! What lies between the TCP socket and MQTT: TLS ([`super::tls`]), or nothing on loopback.

use std::future::Future;
use std::io;

use system::bounded::Bounded;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

use super::admission::PeerIdentity;

/// What a handshake gave.
pub struct Accepted<S> {
    pub stream: S,
    pub identity: PeerIdentity,
    /// Whether an earlier session went on, so that no certificate was sent.
    pub resumed: bool,
}

/// Turns an accepted socket into a stream and says who is at its other end.
pub trait Transport: Send + Sync + 'static {
    type Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static;
    /// Whether peers are authenticated, so that the listener may leave loopback.
    const SECURE: bool;

    /// Runs the handshake, on the connection's own task and within its connect timeout.
    fn accept(&self, socket: TcpStream) -> impl Future<Output = io::Result<Accepted<Self::Stream>>> + Send;
}

/// Plain TCP: everybody is anonymous.
#[derive(Debug, Clone, Copy, Default)]
pub struct Plain;

impl Transport for Plain {
    type Stream = Bounded;
    const SECURE: bool = false;

    async fn accept(&self, socket: TcpStream) -> io::Result<Accepted<Self::Stream>> {
        Ok(Accepted { stream: Bounded::new(socket), identity: PeerIdentity::Anonymous, resumed: false })
    }
}
