//! One stream, whole or in halves. It ends when nobody has a half of it any more.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::endpoint::Shared;
use crate::{Code, StreamError, head};

/// One stream. `shutdown` half-closes it; dropped before that, it is reset.
#[derive(Debug)]
pub struct Stream {
    reader: Reader,
    writer: Writer,
}

/// The receiving half of a stream.
#[derive(Debug)]
pub struct Reader(Arc<Handle>);

/// The sending half of a stream.
#[derive(Debug)]
pub struct Writer(Arc<Handle>);

#[derive(Debug)]
struct Handle {
    shared: Arc<Shared>,
    id: u64,
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.shared.abandon(self.id);
    }
}

impl Stream {
    pub(crate) fn new(shared: Arc<Shared>, id: u64) -> Stream {
        let handle = Arc::new(Handle { shared, id });
        Stream { reader: Reader(handle.clone()), writer: Writer(handle) }
    }

    /// Rises with each stream that this process's hub opens.
    pub fn id(&self) -> u64 {
        self.reader.0.id
    }

    /// Ends it in both directions; the peer is told why.
    pub fn reset(self, code: Code, message: &str) {
        self.writer.reset(code, message);
    }

    /// Resolves when the stream ends before its time, also while nobody reads or writes it; for one who waits.
    pub fn broken(&self) -> impl Future<Output = StreamError> + Send + use<> {
        let (shared, id) = (self.reader.0.shared.clone(), self.id());
        std::future::poll_fn(move |context| shared.poll_broken(id, context))
    }

    /// As [`Writer::pack`].
    pub fn pack(&self) {
        self.writer.pack();
    }

    pub fn into_split(self) -> (Reader, Writer) {
        (self.reader, self.writer)
    }

    /// Writes the head that a direction begins with.
    ///
    /// # Errors
    /// A head beyond [`crate::MAX_HEAD`], or the stream's end.
    pub async fn write_head(&mut self, message: &impl prost::Message) -> io::Result<()> {
        head::write(&mut self.writer, message).await
    }

    /// Reads the head that the other direction begins with. Not to be cancelled and called again.
    ///
    /// # Errors
    /// A head beyond [`crate::MAX_HEAD`] or one that cannot be read, or the stream's end.
    pub async fn read_head<M: prost::Message + Default>(&mut self) -> io::Result<M> {
        self.reader.read_head().await
    }
}

impl Reader {
    /// As [`Stream::read_head`].
    ///
    /// # Errors
    /// As [`Stream::read_head`].
    pub async fn read_head<M: prost::Message + Default>(&mut self) -> io::Result<M> {
        head::read(self).await
    }

    /// At most `most` of the bytes that have come, without copying them; `None` at the end.
    ///
    /// # Errors
    /// The stream's end before its time.
    pub fn poll_bytes(&mut self, context: &mut Context<'_>, most: usize) -> Poll<io::Result<Option<Bytes>>> {
        self.0.shared.poll_bytes(self.0.id, context, most)
    }

    /// As [`Reader::poll_bytes`]. Cancellation loses nothing.
    ///
    /// # Errors
    /// As there.
    pub async fn bytes(&mut self, most: usize) -> io::Result<Option<Bytes>> {
        std::future::poll_fn(|context| self.poll_bytes(context, most)).await
    }
}

impl Writer {
    /// As [`Stream::write_head`].
    ///
    /// # Errors
    /// As there.
    pub async fn write_head(&mut self, message: &impl prost::Message) -> io::Result<()> {
        head::write(self, message).await
    }

    /// What is written from now on may be packed: nothing of it is a credential or a Secret.
    pub fn pack(&self) {
        self.0.shared.lock().mux.pack(self.0.id);
    }

    /// Ends the stream in both directions; the peer is told why.
    pub fn reset(&self, code: Code, message: &str) {
        self.0.shared.reset(self.0.id, code, message);
    }

    /// As [`Writer::reset`], after the peer has what was written.
    pub fn fail(&self, code: Code, message: &str) {
        self.0.shared.fail(self.0.id, code, message);
    }
}

impl AsyncRead for Reader {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.0.shared.poll_read(self.0.id, context, into)
    }
}

impl AsyncWrite for Writer {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.0.shared.poll_write(self.0.id, context, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.shared.act(|mux, now| mux.finish(self.0.id, now));
        Poll::Ready(Ok(()))
    }
}

impl AsyncRead for Stream {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.reader).poll_read(context, into)
    }
}

impl AsyncWrite for Stream {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.writer).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.writer).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.writer).poll_shutdown(context)
    }
}
