//! The body of a request: whole, or fed from the hub's stream as fast as the server takes it.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use hyper::body::{Body, Frame, SizeHint};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::sync::mpsc;

/// Bytes that are read at once.
const CHUNK: usize = 16 << 10;

/// What hyper reads; its other end may be a [`Feed`].
pub struct RequestBody {
    whole: Option<Bytes>,
    chunks: Option<mpsc::Receiver<io::Result<Bytes>>>,
    length: Option<u64>,
}

/// Fills a [`RequestBody`].
pub struct Feed {
    chunks: Option<mpsc::Sender<io::Result<Bytes>>>,
    /// Bytes that are still to come, where they were announced.
    left: Option<u64>,
}

/// A body of `length` bytes, or of as many as come.
pub fn channel(length: Option<u64>) -> (Feed, RequestBody) {
    if length == Some(0) {
        return (Feed { chunks: None, left: length }, RequestBody::from(Bytes::new()));
    }
    let (sender, receiver) = mpsc::channel(1);
    (Feed { chunks: Some(sender), left: length }, RequestBody { whole: None, chunks: Some(receiver), length })
}

impl From<Bytes> for RequestBody {
    fn from(whole: Bytes) -> RequestBody {
        let length = Some(whole.len() as u64);
        RequestBody { whole: Some(whole).filter(|whole| !whole.is_empty()), chunks: None, length }
    }
}

impl Feed {
    /// Reads to the end of the stream's direction; what the server does not want any more is thrown away.
    ///
    /// # Errors
    /// The stream broke, or was not as long as announced; the server's connection is broken then, for it must not take a part for the whole.
    pub async fn fill(mut self, mut stream: impl AsyncRead + Unpin) -> io::Result<()> {
        let mut buffer = BytesMut::new();
        loop {
            buffer.reserve(CHUNK);
            let read = match stream.read_buf(&mut buffer).await {
                Ok(read) => self.count(read),
                Err(error) => Err(error),
            };
            match read {
                Ok(0) => return Ok(()),
                Ok(_) => self.pass(Ok(buffer.split().freeze())).await,
                Err(error) => {
                    self.pass(Err(io::Error::new(error.kind(), error.to_string()))).await;
                    return Err(error);
                }
            }
        }
    }

    fn count(&mut self, read: usize) -> io::Result<usize> {
        let wrong =
            |text: &str| Err(io::Error::new(io::ErrorKind::InvalidData, format!("the request's body is {text} than its content-length")));
        match &mut self.left {
            Some(0) | None if read == 0 => Ok(0),
            Some(_) if read == 0 => wrong("shorter"),
            None => Ok(read),
            Some(left) => match left.checked_sub(read as u64) {
                Some(rest) => {
                    *left = rest;
                    Ok(read)
                }
                None => wrong("longer"),
            },
        }
    }

    async fn pass(&mut self, chunk: io::Result<Bytes>) {
        if let Some(chunks) = &self.chunks
            && chunks.send(chunk).await.is_err()
        {
            self.chunks = None;
        }
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        if let Some(whole) = self.whole.take() {
            return Poll::Ready(Some(Ok(Frame::data(whole))));
        }
        let Some(chunks) = &mut self.chunks else { return Poll::Ready(None) };
        chunks.poll_recv(context).map(|chunk| chunk.map(|chunk| chunk.map(Frame::data)))
    }

    fn is_end_stream(&self) -> bool {
        self.whole.is_none() && self.chunks.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        self.length.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;

    use super::*;

    async fn through(length: Option<u64>, sent: &'static [u8]) -> (io::Result<()>, Result<Bytes, io::Error>) {
        let (feed, body) = channel(length);
        let collected = async { Ok(body.collect().await?.to_bytes()) };
        tokio::join!(feed.fill(sent), collected)
    }

    #[tokio::test]
    async fn a_body_of_the_announced_or_of_unknown_length_passes_whole() {
        for length in [None, Some(5)] {
            let (fed, body) = through(length, b"hello").await;
            assert!(fed.is_ok() && body.unwrap() == "hello");
        }
    }

    #[tokio::test]
    async fn a_body_that_is_not_as_long_as_announced_breaks_at_both_ends() {
        for length in [4, 6] {
            let (fed, body) = through(Some(length), b"hello").await;
            assert!(fed.is_err() && body.is_err(), "{length}");
        }
        assert!(through(Some(0), b"hello").await.0.is_err());
        assert!(through(Some(0), b"").await.0.is_ok());
    }

    #[tokio::test]
    async fn what_the_server_does_not_want_is_read_to_its_end() {
        let (feed, body) = channel(None);
        drop(body);
        let long = vec![0; 1 << 20];
        feed.fill(&long[..]).await.unwrap();
    }
}
