//! An upgraded connection: bytes both ways until each side has said all.

use std::io;

use streams::{Code, Reader, Stream, Writer, pass_some};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, split};

/// Most bytes handed to the server at once: one record of TLS.
const UPWARD: usize = 16 << 10;

/// Copies until both directions have ended in order, or the server's has broken. What the server said before it went arrives, although
/// more was under way to it: a link that comes back brings what a client sent all the while, and by then a shell may be over.
pub async fn run(io: impl AsyncRead + AsyncWrite, stream: Stream) {
    let ((mut from, mut to), (mut reader, mut writer)) = (split(io), stream.into_split());
    let up = async {
        if let Err(error) = upward(&mut reader, &mut to).await {
            tracing::debug!(%error, "the server takes no more");
        }
        Ok(())
    };
    if let Err(error) = tokio::try_join!(up, downward(&mut from, &mut writer)) {
        writer.fail(Code::Failed, &format!("the connection to the server broke: {error}"));
    }
}

async fn upward(from: &mut Reader, to: &mut (impl AsyncWrite + Unpin)) -> io::Result<()> {
    while let Some(bytes) = from.bytes(UPWARD).await? {
        to.write_all(&bytes).await?;
        to.flush().await?;
    }
    to.shutdown().await
}

async fn downward(from: &mut (impl AsyncRead + Unpin), to: &mut Writer) -> io::Result<()> {
    while pass_some(from, to).await? > 0 {}
    to.shutdown().await
}
