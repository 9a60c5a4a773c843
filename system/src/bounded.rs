//! A TCP connection whose way out is bounded to what the link carries: see [`Window`].

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::TcpStream;

use crate::tcp;
use crate::window::Window;

/// The connection below TLS, whose bytes are those of the wire.
#[derive(Debug)]
pub struct Bounded {
    stream: TcpStream,
    window: Window,
}

impl Bounded {
    pub fn new(stream: TcpStream) -> Bounded {
        Bounded { stream, window: Window::new(Instant::now()) }
    }

    fn wrote(&mut self, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        match written {
            Poll::Pending => self.window.waits(),
            Poll::Ready(Err(_)) => {}
            Poll::Ready(Ok(_)) => {
                let seen = || tcp::seen(&self.stream).unwrap_or_default();
                if let Some(bound) = self.window.wrote(seen, Instant::now()) {
                    tcp::hold(&self.stream, bound);
                }
            }
        }
        written
    }

    /// Writes a piece that nothing is joined to.
    fn poll_piece(&self, context: &mut Context<'_>, piece: &[u8]) -> Poll<io::Result<usize>> {
        loop {
            ready!(self.stream.poll_write_ready(context))?;
            match self.stream.try_io(Interest::WRITABLE, || tcp::send_apart(&self.stream, piece)) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                sent => return Poll::Ready(sent),
            }
        }
    }
}

impl AsyncRead for Bounded {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, room: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, room)
    }
}

impl AsyncWrite for Bounded {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = match self.window.piece() {
            Some(most) => self.poll_piece(context, &bytes[..bytes.len().min(most)]),
            None => Pin::new(&mut self.stream).poll_write(context, bytes),
        };
        self.wrote(written)
    }

    fn poll_write_vectored(mut self: Pin<&mut Self>, context: &mut Context<'_>, pieces: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        if self.window.piece().is_some() {
            let first = pieces.iter().find(|piece| !piece.is_empty());
            return self.poll_write(context, first.map_or(&[], |first| first));
        }
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
