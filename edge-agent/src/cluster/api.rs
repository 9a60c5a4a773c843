//! Raw requests to the member's API server: one request, one deadline, one bounded answer.
//!
//! Every failure is one of two kinds: the server said no ([`Failure::Status`]) or no answer came that counts
//! ([`Failure::Unavailable`]). Nothing here retries; the caller owns time.

use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Limited};
use kube::client::Body;
use serde::{Deserialize, de::DeserializeOwned};

use super::object::null_as_empty;

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
}

impl Accept {
    fn header(self) -> &'static str {
        match self {
            Self::Whole => "application/json",
            Self::Metadata => "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1",
            Self::MetadataList => {
                "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"
            }
        }
    }
}

/// Why a request has no result.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The server answered with an error that is about this request.
    #[error("{0}")]
    Status(Box<Status>),
    /// Transport, deadline, 401, 429 or 5xx: it says nothing about the object.
    #[error("{0}")]
    Unavailable(String),
}

impl Failure {
    /// The HTTP code of a refusal.
    pub fn code(&self) -> Option<u16> {
        match self {
            Self::Status(status) => Some(status.code),
            Self::Unavailable(_) => None,
        }
    }
}

/// The parts of a Kubernetes `Status` that are shown or decided on.
#[derive(Debug, Clone, Default, Deserialize, thiserror::Error)]
#[error("{code} {reason}: {message}")]
#[serde(default)]
pub struct Status {
    /// HTTP code.
    pub code: u16,
    /// Machine-readable reason.
    pub reason: String,
    /// Sentence for people.
    pub message: String,
    /// What it is about.
    pub details: Details,
}

/// Details of a [`Status`].
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Details {
    /// Name of the object it is about, empty when it is about a path.
    pub name: String,
    /// One entry a field or circumstance.
    #[serde(deserialize_with = "null_as_empty")]
    pub causes: Vec<Cause>,
}

/// One cause of a refusal.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Cause {
    /// Machine-readable reason.
    pub reason: String,
    /// The field it is about.
    pub field: String,
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
    pub async fn find<T: DeserializeOwned>(
        &self,
        path: &str,
        accept: Accept,
    ) -> Result<Option<T>, Failure> {
        match self.get(path, accept).await {
            Ok(found) => Ok(Some(found)),
            Err(Failure::Status(status)) if status.names_an_absent_object() => Ok(None),
            Err(failure) => Err(failure),
        }
    }

    /// Reads one document that belongs to no object, such as discovery; `None` if the path is not served.
    pub async fn find_document<T: DeserializeOwned>(
        &self,
        path: &str,
    ) -> Result<Option<T>, Failure> {
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
        self.call(method, path, Accept::Metadata, Some(content))
            .await
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
        let (code, body) = self
            .exchange(request(method, path, accept, content)?)
            .await?;
        if !code.is_success() {
            return Err(refusal(code, &body));
        }
        let parsed = serde_json::from_slice(&body).map_err(|error| {
            Failure::Unavailable(format!("answer to {path} can't be read: {error}"))
        })?;
        Ok((code, parsed))
    }

    async fn exchange(&self, request: Request<Body>) -> Result<(StatusCode, Bytes), Failure> {
        let path = request.uri().path().to_owned();
        tokio::time::timeout(REQUEST_TIMEOUT, async {
            let response = self
                .client
                .send(request)
                .await
                .map_err(|error| transport(&error))?;
            read(response).await
        })
        .await
        .map_err(|_| {
            Failure::Unavailable(format!(
                "no answer to {path} in {} s",
                REQUEST_TIMEOUT.as_secs()
            ))
        })?
    }
}

async fn read(response: Response<Body>) -> Result<(StatusCode, Bytes), Failure> {
    let code = response.status();
    let body = Limited::new(response.into_body(), MAX_ANSWER)
        .collect()
        .await;
    let body = body
        .map_err(|error| Failure::Unavailable(format!("answer broke off: {}", chain(&*error))))?;
    Ok((code, body.to_bytes()))
}

fn request(
    method: Method,
    path: &str,
    accept: Accept,
    content: Option<(&'static str, Vec<u8>)>,
) -> Result<Request<Body>, Failure> {
    let builder = Request::builder()
        .method(method)
        .uri(path)
        .header(header::ACCEPT, accept.header());
    let built = match content {
        Some((kind, body)) => builder
            .header(header::CONTENT_TYPE, kind)
            .body(Body::from(body)),
        None => builder.body(Body::empty()),
    };
    built.map_err(|error| {
        Failure::Status(Box::new(Status::invalid(format!(
            "{path} is no request path: {error}"
        ))))
    })
}

fn transport(error: &kube::Error) -> Failure {
    Failure::Unavailable(chain(error))
}

/// An error with all its sources, since the useful part (refused, wrong certificate) is the innermost.
pub fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(inner) = source {
        let line = inner.to_string();
        if !text.contains(&line) {
            text = format!("{text}: {line}");
        }
        source = inner.source();
    }
    text
}

fn refusal(code: StatusCode, body: &[u8]) -> Failure {
    let mut status: Status = serde_json::from_slice(body).unwrap_or_default();
    status.code = code.as_u16();
    if status.message.is_empty() {
        status.message = String::from_utf8_lossy(&body[..body.len().min(200)])
            .trim()
            .to_owned();
    }
    match status.says_nothing_about_the_object() {
        true => Failure::Unavailable(status.to_string()),
        false => Failure::Status(Box::new(status)),
    }
}

impl Status {
    /// A refusal made here, before anything was sent.
    pub fn invalid(message: String) -> Self {
        Self {
            code: 400,
            reason: "BadRequest".into(),
            message,
            details: Details::default(),
        }
    }

    /// A failing webhook answers 500 for the objects it looks at only, so it must not count as an outage.
    fn says_nothing_about_the_object(&self) -> bool {
        let by_webhook = self.code == 500 && self.message.contains("webhook");
        matches!(self.code, 401 | 429 | 500..) && !by_webhook
    }

    /// A 404 about an object proves that it is absent; one about a path proves nothing, since another version may be
    /// served.
    fn names_an_absent_object(&self) -> bool {
        self.code == 404 && !self.details.name.is_empty()
    }

    /// Whether the same request would be refused again until the object, or the member's policy, changes.
    pub fn is_permanent(&self) -> bool {
        let passing = self
            .details
            .causes
            .iter()
            .any(|cause| cause.reason == "NamespaceTerminating")
            || (self.code == 403 && self.message.contains("exceeded quota"));
        matches!(self.code, 400 | 403 | 405 | 413 | 415 | 422) && !passing
    }
}

/// Escapes one path segment or query value.
pub fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'~' | b':' => {
                out.push(byte.into())
            }
            b'.' if text != "." && text != ".." => out.push('.'),
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failure(code: u16, body: &str) -> Failure {
        refusal(StatusCode::from_u16(code).expect("code"), body.as_bytes())
    }

    fn status(code: u16, body: &str) -> Status {
        match failure(code, body) {
            Failure::Status(status) => *status,
            Failure::Unavailable(why) => panic!("unavailable: {why}"),
        }
    }

    #[test]
    fn overload_and_lost_credentials_say_nothing_about_the_object() {
        for code in [401, 429, 500, 503, 504] {
            assert!(
                matches!(failure(code, r#"{"message":"x"}"#), Failure::Unavailable(_)),
                "{code}"
            );
        }
    }

    #[test]
    fn a_failing_webhook_is_about_the_object_and_passes() {
        let status = status(
            500,
            r#"{"message":"failed calling webhook \"a.b\": refused"}"#,
        );
        assert!(!status.is_permanent());
    }

    #[test]
    fn a_terminating_namespace_and_a_quota_pass_but_a_denial_stays() {
        let terminating = r#"{"details":{"causes":[{"reason":"NamespaceTerminating"}]}}"#;
        assert!(!status(403, terminating).is_permanent());
        assert!(!status(403, r#"{"message":"exceeded quota: q"}"#).is_permanent());
        assert!(status(403, r#"{"message":"cannot patch"}"#).is_permanent());
        assert!(!status(404, "{}").is_permanent());
    }

    #[test]
    fn only_a_404_that_names_an_object_proves_absence() {
        assert!(
            status(404, r#"{"details":{"name":"c","kind":"configmaps"}}"#).names_an_absent_object()
        );
        assert!(
            !status(
                404,
                r#"{"details":{},"message":"could not find the requested resource"}"#
            )
            .names_an_absent_object()
        );
        assert!(!status(404, "404 page not found").names_an_absent_object());
    }

    #[test]
    fn an_answer_that_is_no_status_still_shows_its_text() {
        assert_eq!(
            status(404, "404 page not found\n").message,
            "404 page not found"
        );
    }

    #[test]
    fn names_cannot_leave_their_path_segment() {
        assert_eq!(escape("a/../b?c"), "a%2F..%2Fb%3Fc");
        assert_eq!(escape(".."), "%2E%2E");
        assert_eq!(escape("system:node.x"), "system:node.x");
    }
}
