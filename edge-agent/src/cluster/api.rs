//! Raw requests to the member's API server: one request, one deadline, one bounded answer.
//!
//! Nothing here retries; the caller owns time.

use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Limited};
use kube::client::Body;
use serde::de::DeserializeOwned;

use super::failure::{chain, refusal};

pub use super::failure::{Failure, Status};

/// Longest that one request may take, answer included.
pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);
/// Largest answer that is read, in bytes: ten times what etcd stores of one object.
pub const MAX_ANSWER: usize = 16 << 20;
/// Objects a page of any list.
pub const PAGE: usize = 50;

/// What shape of answer is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Accept {
    /// The object as stored.
    Whole,
    /// `PartialObjectMetadata`.
    Metadata,
    /// `PartialObjectMetadataList`.
    MetadataList,
    /// `Table`: the columns that kubectl prints.
    Table,
}

impl Accept {
    fn header(self) -> &'static str {
        match self {
            Self::Whole => "application/json",
            Self::Metadata => "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1",
            Self::MetadataList => "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1",
            Self::Table => "application/json;as=Table;g=meta.k8s.io;v=v1",
        }
    }
}

/// A member's API server.
#[derive(Clone)]
pub struct Api {
    client: kube::Client,
    url: String,
}

impl Api {
    /// Wraps a client; `url` is what the agent itself calls the server.
    pub fn new(client: kube::Client, url: String) -> Self {
        Self { client, url }
    }

    /// The server's address as the agent uses it.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Reads one document.
    pub async fn get<T: DeserializeOwned>(&self, path: &str, accept: Accept) -> Result<T, Failure> {
        Ok(self.call(Method::GET, path, accept, None).await?.1)
    }

    /// Reads one object, `None` if it does not exist; a path that is not served at all is a failure with code 404.
    pub async fn find<T: DeserializeOwned>(&self, path: &str, accept: Accept) -> Result<Option<T>, Failure> {
        match self.get(path, accept).await {
            Ok(found) => Ok(Some(found)),
            Err(Failure::Status(status)) if status.names_an_absent_object() => Ok(None),
            Err(failure) => Err(failure),
        }
    }

    /// Reads one object as the server sends it, `None` if it does not exist.
    pub async fn find_bytes(&self, path: &str, accept: Accept) -> Result<Option<Bytes>, Failure> {
        match self.bytes(Method::GET, path, accept, None).await {
            Ok((_, found)) => Ok(Some(found)),
            Err(Failure::Status(status)) if status.names_an_absent_object() => Ok(None),
            Err(failure) => Err(failure),
        }
    }

    /// Reads one document that belongs to no object, such as discovery; `None` if the path is not served.
    pub async fn find_document<T: DeserializeOwned>(&self, path: &str) -> Result<Option<T>, Failure> {
        match self.get(path, Accept::Whole).await {
            Ok(found) => Ok(Some(found)),
            Err(failure) if failure.code() == Some(404) => Ok(None),
            Err(failure) => Err(failure),
        }
    }

    /// Sends a body and reads the answer with its HTTP code.
    pub async fn write<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        content: (&'static str, Vec<u8>),
    ) -> Result<(StatusCode, T), Failure> {
        self.call(method, path, Accept::Metadata, Some(content)).await
    }

    /// Sends a body and reads the whole object as the server has it now, with its HTTP code.
    pub async fn write_whole(&self, method: Method, path: &str, content: (&'static str, Vec<u8>)) -> Result<(StatusCode, Bytes), Failure> {
        self.bytes(method, path, Accept::Whole, Some(content)).await
    }

    /// Opens an answer that goes on, such as a watch; the caller bounds what it reads and how long.
    pub async fn open(&self, path: &str, accept: Accept) -> Result<Body, Failure> {
        let request = request(Method::GET, path, accept, None)?;
        let sent = tokio::time::timeout(REQUEST_TIMEOUT, self.client.send(request)).await;
        let response = sent.map_err(|_| Failure::Unavailable(format!("no answer to {path}")))?.map_err(|error| transport(&error))?;
        match response.status().is_success() {
            true => Ok(response.into_body()),
            false => {
                let (code, body) = read(response).await?;
                Err(refusal(code, &body))
            }
        }
    }

    /// Whether a health path answers 200.
    pub async fn healthy(&self, path: &str) -> bool {
        let Ok(request) = request(Method::GET, path, Accept::Whole, None) else {
            return false;
        };
        matches!(self.exchange(request).await, Ok((StatusCode::OK, _)))
    }

    async fn call<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        accept: Accept,
        content: Option<(&'static str, Vec<u8>)>,
    ) -> Result<(StatusCode, T), Failure> {
        let (code, body) = self.bytes(method, path, accept, content).await?;
        let parsed =
            serde_json::from_slice(&body).map_err(|error| Failure::Unavailable(format!("answer to {path} can't be read: {error}")))?;
        Ok((code, parsed))
    }

    async fn bytes(
        &self,
        method: Method,
        path: &str,
        accept: Accept,
        content: Option<(&'static str, Vec<u8>)>,
    ) -> Result<(StatusCode, Bytes), Failure> {
        let (code, body) = self.exchange(request(method, path, accept, content)?).await?;
        match code.is_success() {
            true => Ok((code, body)),
            false => Err(refusal(code, &body)),
        }
    }

    async fn exchange(&self, request: Request<Body>) -> Result<(StatusCode, Bytes), Failure> {
        let path = request.uri().path().to_owned();
        tokio::time::timeout(REQUEST_TIMEOUT, async {
            let response = self.client.send(request).await.map_err(|error| transport(&error))?;
            read(response).await
        })
        .await
        .map_err(|_| Failure::Unavailable(format!("no answer to {path} in {} s", REQUEST_TIMEOUT.as_secs())))?
    }
}

async fn read(response: Response<Body>) -> Result<(StatusCode, Bytes), Failure> {
    let code = response.status();
    let body = Limited::new(response.into_body(), MAX_ANSWER).collect().await;
    let body = body.map_err(|error| Failure::Unavailable(format!("answer broke off: {}", chain(&*error))))?;
    Ok((code, body.to_bytes()))
}

fn request(method: Method, path: &str, accept: Accept, content: Option<(&'static str, Vec<u8>)>) -> Result<Request<Body>, Failure> {
    let builder = Request::builder().method(method).uri(path).header(header::ACCEPT, accept.header());
    let built = match content {
        Some((kind, body)) => builder.header(header::CONTENT_TYPE, kind).body(Body::from(body)),
        None => builder.body(Body::empty()),
    };
    built.map_err(|error| Failure::Status(Box::new(Status::invalid(format!("{path} is no request path: {error}")))))
}

fn transport(error: &kube::Error) -> Failure {
    Failure::Unavailable(chain(error))
}

/// Escapes one path segment or query value.
pub fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'~' | b':' => out.push(byte.into()),
            b'.' if text != "." && text != ".." => out.push('.'),
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_cannot_leave_their_path_segment() {
        assert_eq!(escape("a/../b?c"), "a%2F..%2Fb%3Fc");
        assert_eq!(escape(".."), "%2E%2E");
        assert_eq!(escape("system:node.x"), "system:node.x");
    }
}
