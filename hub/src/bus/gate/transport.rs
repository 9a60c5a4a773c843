//! What lies between the TCP socket and MQTT: nothing yet, TLS with trust.

use std::future::Future;
use std::io;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

use super::admission::PeerIdentity;

/// Turns an accepted socket into a stream and says who is at its other end.
pub trait Transport: Send + Sync + 'static {
    type Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static;
    /// Whether peers are authenticated, so that the listener may leave loopback.
    const SECURE: bool;

    /// Runs the handshake, on the connection's own task and within its connect timeout.
    fn accept(&self, socket: TcpStream) -> impl Future<Output = io::Result<(Self::Stream, PeerIdentity)>> + Send;
}

/// Plain TCP: everybody is anonymous.
#[derive(Debug, Clone, Copy, Default)]
pub struct Plain;

impl Transport for Plain {
    type Stream = TcpStream;
    const SECURE: bool = false;

    async fn accept(&self, socket: TcpStream) -> io::Result<(TcpStream, PeerIdentity)> {
        Ok((socket, PeerIdentity::Anonymous))
    }
}
