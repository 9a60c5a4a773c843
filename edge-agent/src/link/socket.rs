//! What the kernel is told about a connection's socket.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use socket2::{SockRef, TcpKeepalive};
use tokio::net::TcpStream;

use super::attention::Patience;

/// Unsent bytes that the kernel may hold for us: what waits there cannot be replaced by something newer.
const NOTSENT_LOWAT: u32 = 4 * 1024;

/// A question that stays without answer is repeated so often before the time is up.
const QUESTIONS: u32 = 3;

/// The socket below a connection that TLS reads and writes.
#[derive(Debug)]
pub struct Socket(OwnedFd);

impl Socket {
    /// Prepares a socket that has just been connected.
    ///
    /// # Errors
    /// The process has no descriptor left.
    pub fn prepare(stream: &TcpStream) -> io::Result<Socket> {
        let socket = Socket(stream.as_fd().try_clone_to_owned()?);
        stream.set_nodelay(true)?;
        // A kernel that does not know it queues more, and all else works.
        if let Err(error) = SockRef::from(&socket.0).set_tcp_notsent_lowat(NOTSENT_LOWAT) {
            tracing::debug!(%error, "TCP_NOTSENT_LOWAT was not taken");
        }
        Ok(socket)
    }

    /// Bounds what may be on its way to the peer.
    pub fn hold(&self, bytes: usize) {
        // The kernel doubles it, and counts what it keeps beside the bytes, about a third of them.
        let told = SockRef::from(&self.0).set_send_buffer_size(bytes * 2 / 3);
        told.unwrap_or_else(|error| tracing::debug!(%error, "SO_SNDBUF was not taken"));
    }

    /// Says when the peer is to be asked whether it is there, and when it is given up.
    pub fn be(&self, patience: Patience) {
        let socket = SockRef::from(&self.0);
        let asked = match patience.ask {
            None => socket.set_keepalive(false),
            Some(ask) => {
                let pause = (patience.dead.saturating_sub(ask) / QUESTIONS).max(std::time::Duration::from_secs(1));
                socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(ask).with_interval(pause))
            }
        };
        if let Err(error) = asked.and_then(|()| socket.set_tcp_user_timeout(Some(patience.dead))) {
            tracing::debug!(%error, "the kernel does not watch the connection; MQTT's pings do");
        }
    }
}
