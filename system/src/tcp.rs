//! What the kernel is told about a TCP connection, and what it tells.

use std::io;
use std::mem::size_of;
use std::os::fd::{AsFd, AsRawFd};
use std::time::Duration;

use socket2::SockRef;

/// Of one connection, as the kernel has seen it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Seen {
    /// The shortest round trip of the last minutes; zero before the first, and where the kernel does not say.
    pub round_trip: Duration,
    /// How long the peer has said nothing, not even that it has what was sent.
    pub silence: Duration,
    /// Bytes a second that have arrived at the peer, by the latest sample that what was sent did not limit; zero before the first.
    pub rate: u64,
}

/// Asks the kernel about a connection (TCP_INFO).
///
/// # Errors
/// No TCP socket.
pub fn seen(socket: &impl AsFd) -> io::Result<Seen> {
    let info = info(socket)?;
    let silence = info.tcpi_last_ack_recv.min(info.tcpi_last_data_recv);
    let round_trip = Duration::from_micros(info.tcpi_min_rtt.into());
    Ok(Seen { round_trip, silence: Duration::from_millis(silence.into()), rate: info.tcpi_delivery_rate })
}

#[expect(unsafe_code, reason = "no crate in use here binds TCP_INFO")]
fn info(socket: &impl AsFd) -> io::Result<libc::tcp_info> {
    // SAFETY: integers only. A kernel that knows fewer of them leaves the rest as it is: zero.
    let mut info: libc::tcp_info = unsafe { std::mem::zeroed() };
    let mut len = size_of::<libc::tcp_info>() as libc::socklen_t;
    let fd = socket.as_fd().as_raw_fd();
    // SAFETY: the descriptor is borrowed and open, and the kernel writes at most `len` bytes to what lies at `info`.
    let answer = unsafe { libc::getsockopt(fd, libc::IPPROTO_TCP, libc::TCP_INFO, (&raw mut info).cast(), &raw mut len) };
    if answer == 0 { Ok(info) } else { Err(io::Error::last_os_error()) }
}

/// Has small writes leave at once, and the kernel hold at most so many bytes that are not sent: what waits there can no longer be replaced
/// by something newer. Where it does not know that, it holds more, and all else works.
pub fn keep_little_unsent(socket: &impl AsFd, bytes: u32) {
    let socket = SockRef::from(socket);
    let told = socket.set_tcp_nodelay(true).and_then(|()| socket.set_tcp_notsent_lowat(bytes));
    told.unwrap_or_else(|error| tracing::debug!(%error, "TCP_NODELAY or TCP_NOTSENT_LOWAT was not taken"));
}

/// Sends bytes that the kernel joins no later ones to. Joined, they would be taken while there is room in the last buffer, which is up to
/// 64 KiB large, however much of that is unsent.
///
/// # Errors
/// As `send(2)`.
pub fn send_apart(socket: &impl AsFd, bytes: &[u8]) -> io::Result<usize> {
    SockRef::from(socket).send_with_flags(bytes, libc::MSG_EOR | libc::MSG_NOSIGNAL)
}

/// Bounds what may be on its way to the peer, unsent or not acknowledged.
pub fn hold(socket: &impl AsFd, bytes: usize) {
    // The kernel doubles it, and counts what it keeps beside the bytes: a third to a half of them.
    let told = SockRef::from(socket).set_send_buffer_size(bytes * 2 / 3);
    told.unwrap_or_else(|error| tracing::debug!(%error, "SO_SNDBUF was not taken"));
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};

    use super::*;

    #[test]
    fn the_kernel_tells_round_trip_silence_and_rate() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut near = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (mut far, _) = listener.accept().unwrap();
        near.write_all(b"x").unwrap();
        far.read_exact(&mut [0]).unwrap();
        far.write_all(b"y").unwrap();
        near.read_exact(&mut [0]).unwrap();
        let seen = seen(&near).unwrap();
        assert!(seen.round_trip > Duration::ZERO && seen.round_trip < Duration::from_secs(1), "{seen:?}");
        assert!(seen.rate > 0, "{seen:?}");
        std::thread::sleep(Duration::from_millis(300));
        let later = super::seen(&near).unwrap();
        assert!(later.silence >= seen.silence + Duration::from_millis(250), "{seen:?}, then {later:?}");
    }

    /// What the kernel holds unsent for a peer that reads nothing, when it takes no more.
    fn unsent(send: impl Fn(&TcpStream, &[u8]) -> io::Result<usize>) -> i32 {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let near = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let _far = listener.accept().unwrap();
        keep_little_unsent(&near, 4096);
        near.set_nonblocking(true).unwrap();
        while send(&near, &[0; 1448]).is_ok() {}
        let mut unsent = 0;
        #[expect(unsafe_code, reason = "SIOCOUTQNSD has no binding")]
        // SAFETY: the descriptor is open, and the kernel writes one integer.
        let asked = unsafe { libc::ioctl(near.as_raw_fd(), libc::SIOCOUTQNSD as _, &raw mut unsent) };
        assert_eq!(asked, 0);
        unsent
    }

    #[test]
    fn little_stays_unsent_of_what_is_sent_apart_and_much_of_what_is_joined() {
        let apart = unsent(send_apart);
        let joined = unsent(|mut socket, bytes| socket.write(bytes));
        assert!(apart <= 4096 + 1448, "{apart}");
        assert!(joined > apart, "{joined}: the kernel does by itself what is done here");
    }

    #[test]
    fn what_is_no_connection_has_an_error() {
        assert!(seen(&std::net::UdpSocket::bind("127.0.0.1:0").unwrap()).is_err());
    }
}
