//! The body of an answer, and the connection that it comes over.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use hyper::body::{Body, Frame, Incoming};

use super::connection::Connection;

/// What a server answers; dropped before its end, it closes the connection.
pub struct AnswerBody {
    incoming: Incoming,
    connection: Connection,
    /// It broke off behind what was gathered last.
    broken: Option<hyper::Error>,
}

impl AnswerBody {
    pub(super) fn new(incoming: Incoming, connection: Connection) -> AnswerBody {
        AnswerBody { incoming, connection, broken: None }
    }

    /// What is here by now, gathered until it is `enough` bytes; waits while nothing is. `None` at the end.
    ///
    /// # Errors
    /// The connection broke.
    pub async fn gathered(&mut self, enough: usize) -> Option<Result<Bytes, hyper::Error>> {
        let mut held = BytesMut::new();
        poll_fn(|context| self.poll_gathered(context, &mut held, enough)).await
    }

    fn poll_gathered(
        &mut self,
        context: &mut Context<'_>,
        held: &mut BytesMut,
        enough: usize,
    ) -> Poll<Option<Result<Bytes, hyper::Error>>> {
        if let Some(error) = self.broken.take() {
            return Poll::Ready(Some(Err(error)));
        }
        loop {
            match Pin::new(&mut *self).poll_frame(context) {
                Poll::Ready(Some(Ok(frame))) => match frame.into_data() {
                    Ok(data) if held.is_empty() && data.len() >= enough => return Poll::Ready(Some(Ok(data))),
                    Ok(data) => held.extend_from_slice(&data),
                    Err(_trailers) => {}
                },
                other if held.is_empty() => return other.map(|end| end.map(|end| end.map(|_| Bytes::new()))),
                Poll::Ready(Some(Err(error))) => self.broken = Some(error),
                Poll::Ready(None) | Poll::Pending => return Poll::Ready(Some(Ok(held.split().freeze()))),
            }
            if held.len() >= enough || self.broken.is_some() {
                return Poll::Ready(Some(Ok(held.split().freeze())));
            }
        }
    }

    /// The connection, to wait for it beside something else or to use it again.
    pub fn connection(&mut self) -> &mut Connection {
        &mut self.connection
    }

    /// The connection alone, when the answer has been read.
    pub fn into_connection(self) -> Connection {
        self.connection
    }
}

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let AnswerBody { incoming, connection, .. } = &mut *self;
        connection.poll_beside(context, |context| Pin::new(&mut *incoming).poll_frame(context))
    }
}

#[cfg(test)]
mod tests {
    use http::{Request, header};
    use http_body_util::BodyExt;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, TcpStream};

    use super::super::body::RequestBody;
    use super::super::connection::Connection;
    use super::super::pool::{IDLE_TIMEOUT, Pool, send};
    use super::*;

    /// The answer to one request, of which the server has said this much.
    async fn answer(said: &'static [u8]) -> (AnswerBody, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = async {
            let (mut socket, _) = listener.accept().await.unwrap();
            let mut asked = Vec::new();
            while !asked.ends_with(b"\r\n\r\n") {
                socket.read_buf(&mut asked).await.unwrap();
            }
            socket.write_all(said).await.unwrap();
            socket
        };
        let request = Request::get("/").header(header::HOST, "member").body(RequestBody::from(Bytes::new())).unwrap();
        let connect = async || Connection::open(TcpStream::connect(address).await.unwrap(), None, "member").await;
        let (socket, answered) = tokio::join!(server, send(None, request, connect));
        let Ok(Ok(response)) = answered else { panic!("not answered") };
        (response.into_body(), socket)
    }

    #[tokio::test]
    async fn lines_that_are_here_come_together_and_the_next_ones_when_they_are() {
        let (mut body, mut server) =
            answer(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\none\n\r\n4\r\ntwo\n\r\n6\r\nthree\n\r\n").await;
        assert_eq!(body.gathered(8).await.unwrap().unwrap(), "one\ntwo\n");
        assert_eq!(body.gathered(8).await.unwrap().unwrap(), "three\n");
        let (rest, said) = tokio::join!(body.gathered(8), server.write_all(b"5\r\nfour\n\r\n0\r\n\r\n"));
        said.unwrap();
        assert_eq!(rest.unwrap().unwrap(), "four\n");
        assert!(body.gathered(8).await.is_none());
    }

    #[tokio::test]
    async fn what_came_before_an_answer_broke_off_is_not_lost() {
        let (mut body, server) = answer(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\none\n\r\n").await;
        drop(server);
        assert_eq!(body.gathered(8).await.unwrap().unwrap(), "one\n");
        assert!(body.gathered(8).await.unwrap().is_err());
    }

    #[tokio::test]
    async fn a_connection_is_used_again_until_the_server_has_closed_it() {
        let pool = Pool::default();
        let (mut body, server) = answer(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi").await;
        assert_eq!((&mut body).collect().await.unwrap().to_bytes(), "hi");
        pool.keep(body.into_connection()).await;
        let again = pool.take().unwrap();
        pool.keep(again).await;
        drop(server);
        // The end travels through the kernel, which says nothing of when it has.
        while let Some(connection) = pool.take() {
            pool.keep(connection).await;
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn a_connection_that_nobody_needs_ends_while_another_is_used() {
        let (pool, mut open) = (Pool::default(), Vec::new());
        for _ in 0..2 {
            let (mut body, server) = answer(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi").await;
            (&mut body).collect().await.unwrap();
            pool.keep(body.into_connection()).await;
            open.push(server);
        }
        tokio::time::pause();
        for _ in 0..3 {
            tokio::time::advance(IDLE_TIMEOUT / 2).await;
            let used = pool.take().unwrap();
            pool.keep(used).await;
        }
        let mut end = [0; 1];
        assert_eq!(open[0].read(&mut end).await.unwrap(), 0, "its buffers go with it");
        assert!(pool.take().is_some());
    }
}
