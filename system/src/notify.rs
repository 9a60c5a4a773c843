//! What systemd is told, by one datagram each: `sd_notify(3)` without its library. It does nothing where no service manager waits for
//! word, as in a pod or a terminal.

use std::ffi::OsStr;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

/// The service has started.
pub const READY: &str = "READY=1";

/// The service is alive.
pub const ALIVE: &str = "WATCHDOG=1";

/// The service ends because it was asked to.
pub const STOPPING: &str = "STOPPING=1";

/// Tells the service manager; one that does not listen is no reason to stop.
pub fn tell(state: &str) {
    let Some(socket) = std::env::var_os("NOTIFY_SOCKET") else { return };
    let _ = send(&socket, state);
}

/// How often [`ALIVE`] has to be told: half of the time after which the unit's `WatchdogSec` ends the service, `None` without one.
#[must_use]
pub fn interval() -> Option<Duration> {
    let text = |name| std::env::var(name).ok();
    period(text("WATCHDOG_USEC").as_deref(), text("WATCHDOG_PID").as_deref(), std::process::id())
}

fn period(micros: Option<&str>, meant: Option<&str>, own: u32) -> Option<Duration> {
    let micros: u64 = micros?.parse().ok().filter(|micros| *micros > 0)?;
    let for_us = meant.is_none_or(|meant| meant.parse() == Ok(own));
    for_us.then(|| Duration::from_micros(micros) / 2)
}

fn send(socket: &OsStr, state: &str) -> io::Result<()> {
    let address = match socket.as_bytes().strip_prefix(b"@") {
        Some(name) => SocketAddr::from_abstract_name(name)?,
        None => SocketAddr::from_pathname(socket)?,
    };
    UnixDatagram::unbound()?.send_to_addr(state.as_bytes(), &address).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_datagram_arrives_by_path_and_by_abstract_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let name = format!("clusternet-edge-notify-{}", std::process::id());
        let by_path = UnixDatagram::bind(&path).unwrap();
        let by_name = UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
        for (socket, address) in [(by_path, path.into_os_string()), (by_name, format!("@{name}").into())] {
            send(&address, READY).unwrap();
            let mut told = [0; 64];
            let len = socket.recv(&mut told).unwrap();
            assert_eq!(&told[..len], READY.as_bytes());
        }
    }

    #[test]
    fn half_of_the_units_time_and_only_for_the_process_that_is_meant() {
        assert_eq!(period(Some("30000000"), None, 7), Some(Duration::from_secs(15)));
        assert_eq!(period(Some("30000000"), Some("7"), 7), Some(Duration::from_secs(15)));
        assert_eq!(period(Some("30000000"), Some("8"), 7), None);
        assert_eq!((period(None, None, 7), period(Some("0"), None, 7), period(Some("x"), None, 7)), (None, None, None));
    }
}
