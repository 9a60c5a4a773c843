//! Raw requests to the member's API server: one request, one deadline, one bounded answer.
//!
//! Nothing here retries; the caller owns time.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::uri::PathAndQuery;
use http::{Method, Request, Response, StatusCode, Uri, header};
use http_body_util::{BodyExt, Limited};
use serde::de::DeserializeOwned;

use super::failure::{chain, refusal};
use crate::apiserver::{Access, AnswerBody, As, RequestBody, Server, Unanswered, send};

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
    server: Arc<Server>,
    url: String,
}

impl Api {
    /// Touches no network.
    ///
    /// # Errors
    /// The URL or the server's name can't be used.
    pub fn new(access: Access) -> anyhow::Result<Self> {
        let url = access.url.to_string().trim_end_matches('/').to_owned();
        Ok(Self { server: Arc::new(Server::new(access)?), url })
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
    pub async fn open(&self, path: &str, accept: Accept) -> Result<AnswerBody, Failure> {
        let request = request(Method::GET, path, accept, None)?;
        let sent = tokio::time::timeout(REQUEST_TIMEOUT, self.send(request)).await;
        let mut response = sent.map_err(|_| Failure::Unavailable(format!("no answer to {path}")))??;
        match response.status().is_success() {
            true => Ok(response.into_body()),
            false => {
                let (code, body) = read(&mut response).await?;
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

    async fn exchange(&self, request: Request<RequestBody>) -> Result<(StatusCode, Bytes), Failure> {
        let path = request.uri().path().to_owned();
        tokio::time::timeout(REQUEST_TIMEOUT, async {
            let mut response = self.send(request).await?;
            let answer = read(&mut response).await?;
            self.server.agents.keep(response.into_body().into_connection()).await;
            Ok(answer)
        })
        .await
        .map_err(|_| Failure::Unavailable(format!("no answer to {path} in {} s", REQUEST_TIMEOUT.as_secs())))?
    }

    /// Sends a request as the agent.
    async fn send(&self, mut request: Request<RequestBody>) -> Result<Response<AnswerBody>, Failure> {
        let (server, access) = (&self.server, self.server.access());
        *request.uri_mut() = below(server.prefix(), request.uri())?;
        let headers = request.headers_mut();
        headers.insert(header::HOST, server.authority().clone());
        headers.extend(access.impersonation.clone());
        if let Some(authorization) = server.authorization().await.map_err(Failure::Unavailable)? {
            headers.insert(header::AUTHORIZATION, authorization);
        }
        let sent = send(Some(&server.agents), request, async || server.connect(&As::Agent).await).await;
        let sent = sent.map_err(|unconnected| Failure::Unavailable(unconnected.to_string()))?;
        let response = sent.map_err(|unanswered| match unanswered {
            Unanswered::Unsent(_) => Failure::Unavailable("the server closed the connection before the request was sent".into()),
            Unanswered::Broken(error) => Failure::Unavailable(chain(&error)),
        })?;
        if response.status() == StatusCode::UNAUTHORIZED {
            access.credentials.refused().await;
        }
        Ok(response)
    }
}

/// The path as the server's URL has it.
fn below(prefix: &str, uri: &Uri) -> Result<Uri, Failure> {
    let path = uri.path_and_query().map_or("/", PathAndQuery::as_str);
    let placed = format!("{prefix}{path}").parse();
    placed.map_err(|error| Failure::Status(Box::new(Status::invalid(format!("{path} is no request path: {error}")))))
}

async fn read(response: &mut Response<AnswerBody>) -> Result<(StatusCode, Bytes), Failure> {
    let code = response.status();
    let body = Limited::new(response.body_mut(), MAX_ANSWER).collect().await;
    let body = body.map_err(|error| Failure::Unavailable(format!("answer broke off: {}", chain(&*error))))?;
    Ok((code, body.to_bytes()))
}

fn request(method: Method, path: &str, accept: Accept, content: Option<(&'static str, Vec<u8>)>) -> Result<Request<RequestBody>, Failure> {
    let builder = Request::builder().method(method).uri(path).header(header::ACCEPT, accept.header());
    let built = match content {
        Some((kind, body)) => builder.header(header::CONTENT_TYPE, kind).body(RequestBody::from(Bytes::from(body))),
        None => builder.body(RequestBody::from(Bytes::new())),
    };
    built.map_err(|error| Failure::Status(Box::new(Status::invalid(format!("{path} is no request path: {error}")))))
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
