//! One stream from its head to its end.

use std::time::Duration;

use bus_schema::message::stream::RequestHead;
use bus_schema::message::stream::request_head::Identity;
use bytes::BytesMut;
use http::header::{self, HeaderMap, HeaderValue};
use http::uri::PathAndQuery;
use http::{Method, Request, Response, StatusCode, Uri};
use streams::{Code, Stream};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::answer::{broken, drain, refuse, relay, response_head, say, upgraded};
use super::beside::Beside;
use super::deny::{Asker, Deny, denied};
use super::identity::{Credentials, credentials};
use super::refusal::Refusal;
use super::request::{Checked, Other, Place, check, has_dot_segments};
use super::settings::Settings;
use super::tunnel;
use crate::apiserver::{Access, AnswerBody, As, Identity as Certificate, Pool, RequestBody, Server, Unanswered, channel, send};

/// How long a hub may take to say what it wants of a stream that it has opened.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);

/// Performs requests; shared by all streams.
pub struct Performer {
    server: Server,
    beside: Beside,
    deny: Vec<Deny>,
    /// Requests that are performed at once.
    pub(super) at_once: usize,
}

/// A request that may be sent.
struct Job {
    head: Request<()>,
    length: Option<u64>,
    route: Route,
    is_upgrade: bool,
}

/// Over which connection it is sent.
enum Route {
    Server(As),
    Beside { other: Other, certificate: Option<Certificate> },
}

impl Performer {
    /// Prepares everything; touches no network.
    ///
    /// # Errors
    /// What of the member's credentials or the settings can't be used.
    pub fn new(access: Access, settings: &Settings) -> anyhow::Result<Performer> {
        let beside = Beside::new(settings.allow.clone(), settings.ca.as_deref())?;
        Ok(Performer { server: Server::new(access)?, beside, deny: settings.deny.clone(), at_once: settings.at_once })
    }

    /// Closes connections that have waited too long.
    pub(super) fn sweep(&self) {
        self.server.agents.sweep();
        self.server.callers.sweep();
    }

    /// Whether connections wait for requests.
    pub(super) fn has_idle(&self) -> bool {
        !(self.server.agents.is_empty() && self.server.callers.is_empty())
    }

    /// Does what a stream asks for. When the hub ends the stream, whatever is under way is dropped at once.
    pub(super) async fn perform(&self, stream: Stream) {
        let (id, broken) = (stream.id(), stream.broken());
        tokio::select! {
            biased;
            error = broken => tracing::debug!(id, %error, "the hub ended the stream"),
            () = self.serve(stream) => {}
        }
    }

    async fn serve(&self, mut stream: Stream) {
        let head = match tokio::time::timeout(HEAD_TIMEOUT, stream.read_head::<RequestHead>()).await {
            Ok(Ok(head)) => head,
            Ok(Err(error)) => return stream.reset(Code::Protocol, &error.to_string()),
            Err(_) => return stream.reset(Code::Protocol, &format!("no request within {} s", HEAD_TIMEOUT.as_secs())),
        };
        if !head.is_secret() {
            stream.pack();
        }
        match self.job(&head).await {
            Err(refusal) => refuse(stream, &refusal).await,
            Ok(job) if job.is_upgrade => self.upgrade(stream, job).await,
            Ok(job) => self.exchange(stream, job).await,
        }
    }

    async fn job(&self, head: &RequestHead) -> Result<Job, Refusal> {
        let mut checked = check(head)?;
        let (credentials, more) = credentials(head)?;
        if let Some(rule) = denied(&self.deny, asker(head), &checked) {
            return Err(Refusal::forbidden(format!("denied by the owner of this cluster: {rule}")));
        }
        tracing::debug!(method = %checked.method, path = checked.path.path(), authority = head.authority, "performing");
        let (path, host) = self.address(&checked)?;
        let mut uri = Uri::default().into_parts();
        uri.path_and_query = Some(path);
        let uri = Uri::from_parts(uri).map_err(|error| Refusal::malformed(format!("path {:?}: {error}", head.path)))?;
        let is_upgrade = checked.upgrade.is_some();
        let length = if is_upgrade { Some(0) } else { checked.length };
        if let Some(protocol) = checked.upgrade.take() {
            checked.headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
            checked.headers.insert(header::UPGRADE, protocol);
        }
        if length == Some(0) && [Method::POST, Method::PUT, Method::PATCH].contains(&checked.method) {
            checked.headers.insert(header::CONTENT_LENGTH, HeaderValue::from_static("0"));
        }
        let mut headers = checked.headers;
        headers.insert(header::HOST, host);
        let route = self.route(checked.place, credentials, more, &mut headers).await?;
        let mut request = Request::new(());
        (*request.method_mut(), *request.uri_mut(), *request.headers_mut()) = (checked.method, uri, headers);
        Ok(Job { head: request, length, route, is_upgrade })
    }

    /// The path that is sent, and to whom.
    fn address(&self, checked: &Checked) -> Result<(PathAndQuery, HeaderValue), Refusal> {
        let prefix = self.server.prefix();
        match &checked.place {
            Place::Other(other) => {
                let host = HeaderValue::from_str(&other.authority).map_err(|error| Refusal::malformed(error.to_string()))?;
                Ok((checked.path.clone(), host))
            }
            Place::Api if prefix.is_empty() => Ok((checked.path.clone(), self.server.authority().clone())),
            // What stands before the server would be reached by them.
            Place::Api if has_dot_segments(checked.path.path()) => {
                Err(Refusal::malformed("a path with . or .. would leave this API server"))
            }
            Place::Api => {
                let path = format!("{prefix}{}", checked.path).parse().map_err(|_| Refusal::malformed("the path can't be sent"))?;
                Ok((path, self.server.authority().clone()))
            }
        }
    }

    async fn route(&self, place: Place, credentials: Credentials, more: HeaderMap, headers: &mut HeaderMap) -> Result<Route, Refusal> {
        let is_agent = credentials == Credentials::Agent;
        let route = match (place, credentials) {
            (Place::Api, Credentials::Agent) => Route::Server(As::Agent),
            (Place::Api, Credentials::Caller) => Route::Server(As::Caller),
            (Place::Api, Credentials::Certificate { .. }) if !self.server.is_tls() => {
                return Err(Refusal::malformed("a certificate needs TLS, which the member's API server does not speak"));
            }
            (Place::Api, Credentials::Certificate { certificate, key }) => Route::Server(As::Certificate(callers(&certificate, &key)?)),
            (Place::Other(other), Credentials::Certificate { certificate, key }) => {
                Route::Beside { other, certificate: Some(callers(&certificate, &key)?) }
            }
            (Place::Other(other), _) => Route::Beside { other, certificate: None },
        };
        match &route {
            // A user of the hub is nobody there, and the agent neither.
            Route::Beside { .. } if is_agent => {}
            _ => headers.extend(more),
        }
        if matches!(route, Route::Server(As::Agent))
            && let Some(authorization) = self.server.authorization().await.map_err(unrenewed)?
        {
            headers.insert(header::AUTHORIZATION, authorization);
        }
        Ok(route)
    }

    /// An ordinary request: its body goes in while the answer may already come out.
    async fn exchange(&self, stream: Stream, job: Job) {
        let (mut reader, mut writer) = stream.into_split();
        let mut first = BytesMut::new();
        let mut length = job.length;
        // A body of no announced length is none if nothing comes.
        if length.is_none() {
            first.reserve(1024);
            match reader.read_buf(&mut first).await {
                Ok(0) => length = Some(0),
                Ok(_) => {}
                Err(_) => return,
            }
        }
        let (feed, body) = channel(length);
        let pool = if job.is_upgrade { None } else { self.pool(&job.route) };
        let request = job.head.map(|()| body);
        let answer = async {
            match self.send(&job.route, pool, request).await {
                Ok(response) => relay(response, &mut writer, pool).await,
                Err(refusal) => say(&refusal, &mut writer).await,
            }
        };
        let rest = std::io::Cursor::new(first).chain(reader);
        // How the body ended is told by the answer.
        let _ = tokio::join!(feed.fill(rest), answer);
    }

    /// A request to go over to another protocol, on a connection of its own.
    async fn upgrade(&self, mut stream: Stream, job: Job) {
        let (_, body) = channel(Some(0));
        let request = job.head.map(|()| body);
        let response = match self.send(&job.route, None, request).await {
            Ok(answered) => answered,
            Err(refusal) => return refuse(stream, &refusal).await,
        };
        if response.status() != StatusCode::SWITCHING_PROTOCOLS {
            let (reader, mut writer) = stream.into_split();
            tokio::join!(relay(response, &mut writer, None), drain(reader));
            return;
        }
        let head = response_head(&response);
        let (io, early) = match upgraded(response).await {
            Ok(upgraded) => upgraded,
            Err(why) => return stream.reset(Code::Failed, &why),
        };
        // Only the stream's end can prevent it, and is known to whoever ended it.
        if stream.write_head(&head).await.is_ok() && stream.write_all(&early).await.is_ok() {
            tunnel::run(io, stream).await;
        }
    }

    fn pool(&self, route: &Route) -> Option<&Pool> {
        match route {
            Route::Server(As::Agent) => Some(&self.server.agents),
            Route::Server(As::Caller) => Some(&self.server.callers),
            Route::Server(As::Certificate(_)) | Route::Beside { .. } => None,
        }
    }

    /// Sends a request over a connection that waits, or over a new one.
    async fn send(&self, route: &Route, pool: Option<&Pool>, request: Request<RequestBody>) -> Result<Response<AnswerBody>, Refusal> {
        let connected = async || match route {
            Route::Server(credentials) => Ok(self.server.connect(credentials).await?),
            Route::Beside { other, certificate } => self.beside.connect(other, certificate.as_ref()).await,
        };
        send(pool, request, connected).await?.map_err(|unanswered| match unanswered {
            Unanswered::Unsent(_) => Refusal::unavailable("the server closed the connection before the request was sent; try again"),
            Unanswered::Broken(error) => broken(&error),
        })
    }
}

fn callers(certificate: &[u8], key: &[u8]) -> Result<Certificate, Refusal> {
    Certificate::new(certificate, key)
        .map_err(|error| Refusal::malformed(format!("the caller's certificate or key can't be used: {error:#}")))
}

fn unrenewed(why: String) -> Refusal {
    Refusal::unavailable(format!("the agent's own credentials can't be renewed: {why}"))
}

/// Who asks, as far as the agent knows.
fn asker(head: &RequestHead) -> Asker<'_> {
    match &head.identity {
        Some(Identity::User(user)) => Asker { user: &user.name, groups: &user.groups },
        _ => Asker::default(),
    }
}
