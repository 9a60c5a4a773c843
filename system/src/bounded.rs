//! A TCP connection whose way out is bounded to what the link carries: see [`Window`].

use std::io::{self, IoSlice};
use std::os::fd::AsFd;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Instant;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::tcp;
use crate::window::Window;

/// The connection below TLS, whose bytes are those of the wire.
#[derive(Debug)]
pub struct Bounded<S> {
    stream: S,
    window: Window,
}

impl<S> Bounded<S> {
    pub fn new(stream: S) -> Bounded<S> {
        Bounded { stream, window: Window::new(Instant::now()) }
    }
}

impl<S: AsFd> Bounded<S> {
    fn wrote(&mut self, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        match written {
            Poll::Pending => self.window.waits(),
            Poll::Ready(Err(_)) => {}
            Poll::Ready(Ok(bytes)) => {
                let round_trip = || tcp::seen(&self.stream).map_or_else(|_| Default::default(), |seen| seen.round_trip);
                if let Some(bound) = self.window.carried(bytes, round_trip, Instant::now()) {
                    tcp::hold(&self.stream, bound);
                }
            }
        }
        written
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Bounded<S> {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, room: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, room)
    }
}

impl<S: AsyncWrite + AsFd + Unpin> AsyncWrite for Bounded<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.wrote(written)
    }

    fn poll_write_vectored(mut self: Pin<&mut Self>, context: &mut Context<'_>, pieces: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, pieces);
        self.wrote(written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
