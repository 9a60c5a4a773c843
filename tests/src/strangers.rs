//! Clients that never become agents, by the thousand: what a port that is open to the world meets.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsConnector;

/// How long a stranger holds a connection that it is let have.
const HOLD: Duration = Duration::from_secs(10);
/// Between two attempts of one stranger.
const PAUSE: Duration = Duration::from_millis(100);

/// What a stranger does, again and again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Connects and says nothing.
    Silent,
    /// Sends half of a ClientHello and waits.
    HalfTls,
    /// Sends random bytes.
    Garbage,
    /// Sends CONNECTs without TLS, one after another.
    Connects,
    /// TLS without a certificate.
    NoCertificate,
    /// TLS with a certificate of another CA.
    WrongCa,
    /// TLS with a certificate that has ended.
    Expired,
}

/// Every kind.
pub const KINDS: [Kind; 7] =
    [Kind::Silent, Kind::HalfTls, Kind::Garbage, Kind::Connects, Kind::NoCertificate, Kind::WrongCa, Kind::Expired];

/// What strangers of the TLS kinds show.
#[derive(Clone)]
pub struct Shown {
    pub nothing: Arc<ClientConfig>,
    pub wrong_ca: Arc<ClientConfig>,
    pub expired: Arc<ClientConfig>,
}

/// What came of it.
#[derive(Debug, Default)]
pub struct Tally {
    pub attempts: AtomicU64,
    /// Connections that the target or the kernel refused at once.
    pub refused: AtomicU64,
    /// CONNACKs with success: there must be none.
    pub admitted: AtomicU64,
}

impl Tally {
    /// Attempts, refusals and admissions so far.
    pub fn read(&self) -> (u64, u64, u64) {
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        (read(&self.attempts), read(&self.refused), read(&self.admitted))
    }
}

/// Starts `count` strangers, each of a network of its own below 127.0.0.0/8. They go on until the runtime ends.
pub fn start(target: SocketAddr, count: usize, shown: &Shown) -> Arc<Tally> {
    let tally = Arc::new(Tally::default());
    for number in 0..count {
        let (tally, shown) = (tally.clone(), shown.clone());
        tokio::spawn(async move {
            // Not all in the same instant, as nobody could arrange.
            sleep(Duration::from_micros(number as u64 * 200)).await;
            loop {
                tally.attempts.fetch_add(1, Ordering::Relaxed);
                match attempt(target, number, &shown).await {
                    Ok(true) => drop(tally.admitted.fetch_add(1, Ordering::Relaxed)),
                    Ok(false) => {}
                    Err(_) => drop(tally.refused.fetch_add(1, Ordering::Relaxed)),
                }
                sleep(PAUSE).await;
            }
        });
    }
    tally
}

/// The address that a stranger comes from: its own /24.
fn source(number: usize) -> Ipv4Addr {
    Ipv4Addr::new(127, 16 + (number / 256) as u8, (number % 256) as u8, 1)
}

/// One attempt; true when it was let in.
async fn attempt(target: SocketAddr, number: usize, shown: &Shown) -> Result<bool> {
    let socket = TcpSocket::new_v4()?;
    socket.bind((source(number), 0).into())?;
    let stream = timeout(HOLD, socket.connect(target)).await??;
    match KINDS[number % KINDS.len()] {
        Kind::Silent => plain(stream, &[]).await,
        Kind::HalfTls => plain(stream, &[0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3]).await,
        Kind::Garbage => plain(stream, &[0x5a; 600]).await,
        Kind::Connects => plain(stream, &connect().repeat(20)).await,
        Kind::NoCertificate => tls(stream, &shown.nothing).await,
        Kind::WrongCa => tls(stream, &shown.wrong_ca).await,
        Kind::Expired => tls(stream, &shown.expired).await,
    }
}

async fn plain(mut stream: TcpStream, said: &[u8]) -> Result<bool> {
    // Who is closed while speaking has been refused, which is what the caller counts.
    stream.write_all(said).await?;
    answer(&mut stream).await
}

async fn tls(stream: TcpStream, client: &Arc<ClientConfig>) -> Result<bool> {
    let name = ServerName::try_from(crate::bus::HUB_NAME)?;
    let mut stream = timeout(HOLD, TlsConnector::from(client.clone()).connect(name, stream)).await??;
    stream.write_all(&connect()).await?;
    answer(&mut stream).await
}

/// Waits for what the target says; true for CONNACK with success.
async fn answer<S: tokio::io::AsyncRead + Unpin>(stream: &mut S) -> Result<bool> {
    let mut connack = [0; 4];
    match timeout(HOLD, stream.read_exact(&mut connack)).await {
        Err(_) => Ok(false),
        Ok(read) => Ok(read.context("closed")? == 4 && connack == [0x20, 2, 0, 0]),
    }
}

/// A CONNECT of MQTT 3.1.1 as `aaaaaaaa`.
fn connect() -> Vec<u8> {
    [&[0x10, 20, 0, 4][..], b"MQTT", &[4, 2, 0, 60, 0, 8], b"aaaaaaaa"].concat()
}
