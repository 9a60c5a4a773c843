//! One request without an upgrade: its body goes up beside the answer that comes down, each as fast as its reader takes it.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use axum::body::Body;
use axum::response::Response;
use bus_schema::message::stream::ResponseHead;
use bytes::Bytes;
use http::{Method, StatusCode};
use http_body_util::BodyExt;
use hyper::body::{Body as _, Frame};
use streams::{Reader, Writer};
use tokio::io::AsyncWriteExt;
use tokio::sync::OwnedSemaphorePermit;
use tokio_util::task::AbortOnDropHandle;

use super::audit::Entry;
use super::headers;

/// Bytes that are handed to the client's connection at once.
const CHUNK: usize = 16 << 10;

/// A request's body on its way; dropped, it stops. True when the client broke off.
pub type Upload = AbortOnDropHandle<bool>;

/// Sends a request's body, and its end; no end where the client breaks off. `None` when there was no body.
pub async fn upload(mut body: Body, mut to: Writer, entry: Arc<Entry>) -> Option<Upload> {
    if body.is_end_stream() {
        let _ = to.shutdown().await;
        return None;
    }
    Some(AbortOnDropHandle::new(tokio::spawn(async move {
        while let Some(frame) = body.frame().await {
            let Ok(frame) = frame else { return true };
            let Some(data) = frame.data_ref() else { continue };
            if to.write_all(data).await.is_err() {
                // The answer, or its absence, says why.
                return false;
            }
            entry.up(data.len());
        }
        let _ = to.shutdown().await;
        false
    })))
}

/// The head of the answer; `None` when the client breaks off its request before.
pub async fn head(from: &mut Reader, upload: &mut Option<Upload>) -> Option<io::Result<ResponseHead>> {
    let broken_off = async {
        let ended = match upload.as_mut() {
            Some(upload) => upload.await.unwrap_or(false),
            None => false,
        };
        *upload = None;
        if !ended {
            std::future::pending::<()>().await;
        }
    };
    tokio::select! {
        biased;
        () = broken_off => None,
        head = from.read_head() => Some(head),
    }
}

/// The answer as far as its head says it; `None` for one that HTTP does not know.
pub fn answer(head: ResponseHead, method: &Method, down: Download) -> Option<Response> {
    let status = StatusCode::from_u16(u16::try_from(head.status).ok()?).ok().filter(|status| !status.is_informational())?;
    let has_body = *method != Method::HEAD && !matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
    if !has_body {
        down.entry.complete();
    }
    let mut response = Response::new(Body::new(down));
    *response.status_mut() = status;
    *response.headers_mut() = headers::of_response(head.headers);
    Some(response)
}

/// The answer's body. Dropped before its end, it ends the stream.
pub struct Download {
    pub from: Reader,
    pub entry: Arc<Entry>,
    /// Goes on while the answer does; none once it has ended.
    pub upload: Option<Upload>,
    /// Among all requests under way.
    pub _place: OwnedSemaphorePermit,
}

impl Download {
    /// Whether the client is gone in the middle of its request. Without bytes to write nobody else would notice.
    fn is_broken_off(&mut self, context: &mut Context<'_>) -> bool {
        let Some(Poll::Ready(ended)) = self.upload.as_mut().map(|upload| Pin::new(upload).poll(context)) else { return false };
        self.upload = None;
        ended.unwrap_or(false)
    }
}

impl hyper::body::Body for Download {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        if self.is_broken_off(context) {
            return Poll::Ready(Some(Err(io::ErrorKind::ConnectionAborted.into())));
        }
        let next = ready!(self.from.poll_bytes(context, CHUNK)).transpose();
        match &next {
            Some(Ok(bytes)) => self.entry.down(bytes.len()),
            Some(Err(_)) => {}
            None => self.entry.complete(),
        }
        Poll::Ready(next.map(|read| read.map(Frame::data)))
    }
}
