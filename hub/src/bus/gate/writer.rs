//! Writes to a socket whose peer may stop reading: progress is required, completion may take its time.

use std::io;
use std::time::{Duration, Instant};

use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::time::timeout;

/// The most that is offered to the socket at once, so that progress shows while a large frame drains: one record of TLS.
const CHUNK: usize = 16 * 1024;

/// Why bytes did not leave.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    #[error("the peer took no byte in time")]
    Stalled,
    #[error("the socket failed: {0}")]
    Io(#[from] io::Error),
}

/// Writes all of `bytes`, telling `progress` of each piece and how long the socket let it wait.
pub async fn write_all<W: AsyncWrite + Unpin>(
    io: &mut W,
    mut bytes: &[u8],
    patience: Duration,
    mut progress: impl FnMut(usize, Duration),
) -> Result<(), WriteError> {
    while !bytes.is_empty() {
        let began = Instant::now();
        let piece = &bytes[..bytes.len().min(CHUNK)];
        let taken = timeout(patience, io.write(piece)).await.map_err(|_| WriteError::Stalled)??;
        if taken == 0 {
            return Err(io::Error::from(io::ErrorKind::WriteZero).into());
        }
        progress(taken, began.elapsed());
        bytes = &bytes[taken..];
    }
    // TLS takes a piece before the socket does: what waits there is waited for here.
    let began = Instant::now();
    timeout(patience, io.flush()).await.map_err(|_| WriteError::Stalled)??;
    progress(0, began.elapsed());
    Ok(())
}
