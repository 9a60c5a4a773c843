//! A TCP relay outside the programs under test: the independent counter of payload bytes, and a link that can be cut or reset.
//!
//! It splits the TCP connection, so it says nothing about loss; for lost packets cut the [`Site`](crate::Site)'s own link.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};
use socket2::SockRef;

/// How long a write into a full socket blocks before the relay looks whether it was told to end.
const WRITE_PATIENCE: Duration = Duration::from_millis(200);

/// What passed through a relay.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Payload bytes from clients to the target.
    pub to_target: u64,
    /// Payload bytes from the target to clients.
    pub from_target: u64,
    /// Connections accepted.
    pub connections: u64,
}

impl Traffic {
    /// Bytes both ways.
    #[must_use]
    pub fn total(self) -> u64 {
        self.to_target + self.from_target
    }

    /// What was added since an earlier reading.
    #[must_use]
    pub fn since(self, earlier: Self) -> Self {
        Self {
            to_target: self.to_target - earlier.to_target,
            from_target: self.from_target - earlier.from_target,
            connections: self.connections - earlier.connections,
        }
    }
}

#[derive(Debug)]
struct Links {
    target: SocketAddr,
    cut: bool,
    ended: bool,
    open: Vec<Weak<Link>>,
}

#[derive(Debug)]
struct Shared {
    links: Mutex<Links>,
    changed: Condvar,
    to_target: AtomicU64,
    from_target: AtomicU64,
    connections: AtomicU64,
}

/// One client's connection and its other half; both close when the last of its two pumps has ended.
#[derive(Debug)]
struct Link {
    client: TcpStream,
    target: TcpStream,
    reset: AtomicBool,
}

/// A running relay; dropping it resets what is open.
#[derive(Debug)]
pub struct Relay {
    address: SocketAddr,
    listener: Arc<TcpListener>,
    shared: Arc<Shared>,
}

impl Relay {
    /// Listens on a free port of `address` (a site's gateway, or loopback) and passes connections on to `target`.
    ///
    /// # Errors
    /// When the address can't be listened on.
    pub fn start(address: IpAddr, target: SocketAddr) -> Result<Self> {
        let listener = TcpListener::bind((address, 0)).with_context(|| format!("relay can't listen on {address}"))?;
        let address = listener.local_addr().context("relay has no address")?;
        let listener = Arc::new(listener);
        let shared = Arc::new(Shared {
            links: Mutex::new(Links { target, cut: false, ended: false, open: Vec::new() }),
            changed: Condvar::new(),
            to_target: AtomicU64::new(0),
            from_target: AtomicU64::new(0),
            connections: AtomicU64::new(0),
        });
        let (accepting, state) = (Arc::clone(&listener), Arc::clone(&shared));
        thread::spawn(move || accept(&accepting, &state));
        Ok(Self { address, listener, shared })
    }

    /// Where clients connect to.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What has passed so far.
    #[must_use]
    pub fn traffic(&self) -> Traffic {
        let read = |counter: &AtomicU64| counter.load(Ordering::SeqCst);
        Traffic {
            to_target: read(&self.shared.to_target),
            from_target: read(&self.shared.from_target),
            connections: read(&self.shared.connections),
        }
    }

    /// Connections that are open now.
    #[must_use]
    pub fn open_connections(&self) -> usize {
        self.shared.lock().open.iter().filter(|link| link.strong_count() > 0).count()
    }

    /// Stops passing bytes; connections stay open, new ones get no answer.
    pub fn cut(&self) {
        self.shared.lock().cut = true;
    }

    /// Passes bytes again, those that were held first.
    pub fn heal(&self) {
        self.shared.lock().cut = false;
        self.shared.changed.notify_all();
    }

    /// Ends every open connection with a TCP reset at both sides; bytes that were held are lost.
    pub fn reset(&self) {
        let open = std::mem::take(&mut self.shared.lock().open);
        open.iter().filter_map(Weak::upgrade).for_each(|link| link.reset());
        self.shared.changed.notify_all();
    }

    /// Passes later connections on to another target.
    pub fn set_target(&self, target: SocketAddr) {
        self.shared.lock().target = target;
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.shared.lock().ended = true;
        self.reset();
        // Wakes the accepting thread.
        let _ = SockRef::from(&*self.listener).shutdown(Shutdown::Both);
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Links> {
        self.links.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Blocks while the relay is cut; false when there is nothing more to pass on.
    fn may_pass(&self, given_up: impl Fn() -> bool) -> bool {
        let mut links = self.lock();
        while links.cut && !links.ended && !given_up() {
            links = self.changed.wait(links).unwrap_or_else(PoisonError::into_inner);
        }
        !links.ended && !given_up()
    }
}

impl Link {
    fn reset(&self) {
        self.reset.store(true, Ordering::SeqCst);
        for stream in [&self.client, &self.target] {
            // Lingering for no time makes close send a reset; shutting the reading half sends nothing but wakes the pump.
            let _ = SockRef::from(stream).set_linger(Some(Duration::ZERO));
            let _ = stream.shutdown(Shutdown::Read);
        }
    }

    fn is_reset(&self) -> bool {
        self.reset.load(Ordering::SeqCst)
    }
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    while let Ok((client, _)) = listener.accept() {
        if shared.lock().ended {
            return;
        }
        shared.connections.fetch_add(1, Ordering::SeqCst);
        let shared = Arc::clone(shared);
        thread::spawn(move || connect(client, &shared));
    }
}

fn connect(client: TcpStream, shared: &Arc<Shared>) {
    if !shared.may_pass(|| false) {
        return;
    }
    let target = shared.lock().target;
    // A target that refuses shows to the client as a closed connection, as through any proxy.
    let Ok(link) = TcpStream::connect(target).and_then(|target| open(client, target)) else {
        return;
    };
    let link = Arc::new(link);
    register(shared, &link);
    let (upward, state) = (Arc::clone(&link), Arc::clone(shared));
    thread::spawn(move || pump(&upward, &upward.client, &upward.target, &state.to_target, &state));
    pump(&link, &link.target, &link.client, &shared.from_target, shared);
}

fn open(client: TcpStream, target: TcpStream) -> io::Result<Link> {
    for stream in [&client, &target] {
        stream.set_nodelay(true)?;
        stream.set_write_timeout(Some(WRITE_PATIENCE))?;
    }
    Ok(Link { client, target, reset: AtomicBool::new(false) })
}

fn register(shared: &Shared, link: &Arc<Link>) {
    let mut links = shared.lock();
    links.open.retain(|other| other.strong_count() > 0);
    links.open.push(Arc::downgrade(link));
    if links.ended {
        link.reset();
    }
}

fn pump(link: &Link, from: &TcpStream, to: &TcpStream, passed: &AtomicU64, shared: &Shared) {
    let mut from_half = from;
    let mut buffer = vec![0; 64 * 1024];
    loop {
        match from_half.read(&mut buffer) {
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            // A half-close is passed on like bytes; a broken connection breaks the other half.
            Ok(0) if shared.may_pass(|| link.is_reset()) => {
                return drop(to.shutdown(Shutdown::Write));
            }
            Ok(read) if read > 0 && write(link, to, &buffer[..read], passed, shared) => {}
            _ => return link.reset(),
        }
    }
}

fn write(link: &Link, mut to: &TcpStream, mut bytes: &[u8], passed: &AtomicU64, shared: &Shared) -> bool {
    while !bytes.is_empty() {
        if !shared.may_pass(|| link.is_reset()) {
            return false;
        }
        // Counted first: whoever has seen the bytes arrive finds them counted.
        passed.fetch_add(bytes.len() as u64, Ordering::SeqCst);
        let outcome = to.write(bytes);
        let written = *outcome.as_ref().unwrap_or(&0);
        bytes = &bytes[written..];
        passed.fetch_sub(bytes.len() as u64, Ordering::SeqCst);
        match outcome {
            Ok(0) => return false,
            Err(error) if !will_pass(error.kind()) => return false,
            _ => {}
        }
    }
    true
}

fn will_pass(error: ErrorKind) -> bool {
    matches!(error, ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted)
}

#[cfg(test)]
mod tests;
