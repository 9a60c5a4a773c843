//! What the kernel is told about a connection's socket.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use system::tcp;
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
        tcp::keep_little_unsent(&socket.0, NOTSENT_LOWAT);
        Ok(socket)
    }

    /// How long the peer has said nothing; zero where the kernel does not know.
    pub fn silence(&self) -> Duration {
        tcp::seen(&self.0).map_or(Duration::ZERO, |seen| seen.silence)
    }

    /// Says when the peer is to be asked whether it is there, and when it is given up.
    pub fn be(&self, patience: Patience) {
        let socket = SockRef::from(&self.0);
        let asked = match patience.ask {
            None => socket.set_keepalive(false),
            Some(ask) => {
                let pause = (patience.dead.saturating_sub(ask) / QUESTIONS).max(Duration::from_secs(1));
                socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(ask).with_interval(pause))
            }
        };
        if let Err(error) = asked.and_then(|()| socket.set_tcp_user_timeout(Some(patience.dead))) {
            tracing::debug!(%error, "the kernel does not watch the connection; MQTT's pings do");
        }
    }
}
