//! An upgraded connection: bytes both ways until each side has ended, and the pings of WebSockets answered here.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use streams::{Reader, Stream, Writer, read_some};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::sync::watch;

use super::audit::Entry;
use super::websocket::{FromClient, FromServer};

/// Most bytes handed to a client at once: one record of TLS.
const CHUNK: usize = 16 << 10;

/// How long one direction goes on after the other has ended. kube-apiserver itself ends both at once; a client that is gone for good and
/// one that has only half-closed look the same.
const LINGER: Duration = Duration::from_secs(10);

/// The newest ping of the client that waits for an answer.
type Pings = watch::Receiver<Vec<u8>>;

/// Copies until both directions have ended, or one breaks; then the stream and the connection are gone.
pub async fn run(client: impl AsyncRead + AsyncWrite, stream: Stream, is_websocket: bool, entry: Arc<Entry>) {
    let ((from, to), (reader, writer)) = (tokio::io::split(client), stream.into_split());
    let (sender, pings) = watch::channel(Vec::new());
    let tracked = is_websocket.then_some(());
    let up = upward(from, writer, tracked.map(|()| (FromClient::default(), sender)), &entry);
    let down = downward(reader, to, tracked.map(|()| (FromServer::default(), pings)), &entry);
    tokio::pin!(up, down);
    let ended = tokio::select! {
        ended = &mut up => match ended {
            Ok(()) => tokio::time::timeout(LINGER, down).await,
            broken => Ok(broken),
        },
        ended = &mut down => match ended {
            Ok(()) => tokio::time::timeout(LINGER, up).await,
            broken => Ok(broken),
        },
    };
    match ended {
        Ok(Ok(())) | Err(_) => entry.complete(),
        Ok(Err(error)) => tracing::debug!(%error, "an upgraded connection has broken"),
    }
}

async fn upward(
    mut from: impl AsyncRead + Unpin,
    mut to: Writer,
    mut tracked: Option<(FromClient, watch::Sender<Vec<u8>>)>,
    entry: &Entry,
) -> io::Result<()> {
    let mut out = Vec::new();
    loop {
        let chunk = read_some(&mut from).await?;
        if chunk.is_empty() {
            break;
        }
        let passing = match &mut tracked {
            Some((tracker, pings)) => {
                out.clear();
                if let Some(ping) = tracker.take(&chunk, &mut out) {
                    pings.send_replace(ping);
                }
                &out
            }
            None => &chunk[..],
        };
        to.write_all(passing).await?;
        entry.up(passing.len());
    }
    if let Some((tracker, _)) = tracked {
        out.clear();
        tracker.end(&mut out);
        to.write_all(&out).await?;
    }
    to.shutdown().await
}

async fn downward(
    mut from: Reader,
    mut to: impl AsyncWrite + Unpin,
    mut tracked: Option<(FromServer, Pings)>,
    entry: &Entry,
) -> io::Result<()> {
    let mut out = Vec::new();
    loop {
        let event = tokio::select! {
            bytes = from.bytes(CHUNK) => Ok(bytes?),
            ping = pinged(&mut tracked) => Err(ping),
        };
        out.clear();
        let passing = match (&event, &mut tracked) {
            (Ok(None), _) => break,
            (Ok(Some(bytes)), None) => &bytes[..],
            (Ok(Some(bytes)), Some((tracker, _))) => {
                tracker.take(bytes, &mut out);
                &out
            }
            (Err(ping), Some((tracker, _))) => {
                tracker.pong(ping.clone(), &mut out);
                &out
            }
            (Err(_), None) => &out,
        };
        to.write_all(passing).await?;
        to.flush().await?;
        entry.down(passing.len());
    }
    if let Some((tracker, _)) = tracked {
        out.clear();
        tracker.end(&mut out);
        to.write_all(&out).await?;
    }
    to.shutdown().await
}

/// The client's next ping; without a client that can still ping, none ever.
async fn pinged(tracked: &mut Option<(FromServer, Pings)>) -> Vec<u8> {
    if let Some((_, pings)) = tracked
        && pings.changed().await.is_ok()
    {
        return pings.borrow_and_update().clone();
    }
    std::future::pending().await
}
