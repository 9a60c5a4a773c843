//! kubectl into members: HTTP ends here, and each request goes on as one stream over the bus to the cluster's agent.
//!
//! `route` reads what a path names, `who` the caller, `acting` as whom the member sees it, `headers` what crosses; `members` finds the
//! cluster and its streams. `exchange` carries a request, `tunnel` an upgraded connection, in which `websocket` answers pings. `audit`
//! writes down who did what. Clusternet's paths and headers work, with a token of the hub beside them.
//!
//! Invariants: nothing is forwarded for somebody who has not proved who they are; what is forwarded is never repeated; no credential of a
//! member is kept or logged; a client that goes away ends its stream.

mod acting;
mod audit;
mod broken;
mod exchange;
mod headers;
mod members;
mod query;
mod route;
mod tunnel;
mod websocket;
mod who;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::any;
use bus_schema::message::stream::{RequestHead, ResponseHead};
use http::{HeaderValue, Method, Request, StatusCode, Version, header};
use hyper::body::Body as _;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use streams::Stream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use self::acting::Acting;
use self::audit::Entry;
pub use self::audit::Log as AuditLog;
use self::exchange::Download;
pub use self::members::Members;
use self::route::Route;
use crate::api::failure::Failure;
use crate::api::{ApiState, Identity};
use crate::enrol::PeerAddress;

/// Requests under way to all clusters together, watches and terminals among them; each takes some 64 KiB of memory.
pub const MAX_STREAMS: usize = 20_000;

/// Shared by all requests; clones are cheap.
#[derive(Clone)]
pub struct Gateway(Arc<Inner>);

struct Inner {
    state: ApiState,
    members: Members,
    log: Arc<AuditLog>,
    places: Arc<Semaphore>,
}

impl Gateway {
    /// Serves callers whom `state` knows.
    pub fn new(state: ApiState, members: Members, log: AuditLog) -> Gateway {
        Gateway(Arc::new(Inner { state, members, log: Arc::new(log), places: Arc::new(Semaphore::new(MAX_STREAMS)) }))
    }
}

/// The gateway's paths. They are matched as they are written: nothing is cleaned or decoded first.
pub fn router(gateway: Gateway) -> Router {
    let (sockets, clusters) = (format!("{}{{*rest}}", route::SOCKETS), format!("{}{{*rest}}", route::CLUSTERS));
    Router::new().route(&sockets, any(serve)).route(&clusters, any(serve)).with_state(gateway)
}

async fn serve(State(gateway): State<Gateway>, request: Request<Body>) -> Response {
    let from = request.extensions().get::<PeerAddress>().map(|peer| peer.0);
    gateway.answer(from, request).await.unwrap_or_else(IntoResponse::into_response)
}

impl Gateway {
    async fn answer(&self, from: Option<IpAddr>, request: Request<Body>) -> Result<Response, Failure> {
        let caller = who::caller(&self.0.state, request.headers())?;
        let entry = Entry::begin(self.0.log.clone(), &caller.user, from);
        let answered = self.perform(&caller, request, &entry).await;
        let code = answered.as_ref().map_or_else(|failure| failure.code, |response| response.status().as_u16());
        entry.answered(code);
        if answered.is_err() {
            entry.complete();
        }
        if code == StatusCode::SWITCHING_PROTOCOLS.as_u16() {
            entry.opened();
        }
        answered
    }

    async fn perform(&self, caller: &Identity, mut request: Request<Body>, entry: &Arc<Entry>) -> Result<Response, Failure> {
        let (wait, query) = query::take_wait(request.uri().query());
        let upgrade = headers::upgrade(request.headers()).filter(|_| request.version() == Version::HTTP_11);
        note(entry, &request, query.as_deref(), upgrade.is_some());
        allowed(request.method())?;
        if request.version() == Version::HTTP_11 {
            headers::one_host(request.headers())?;
        }
        let route = Route::parse(request.uri().path())?;
        entry.note(|record| (record.path, record.host) = (route.path.clone(), route.authority.clone()));
        let acting = Acting::of(caller, request.headers())?;
        entry.note(|record| record.acting = acting.how());
        let forwarded = headers::of_request(request.headers())?;
        let member = self.0.members.find(&route.cluster)?;
        let cluster = member.key.to_string();
        entry.note(|record| record.cluster.clone_from(&cluster));
        let place =
            self.0.places.clone().try_acquire_owned().map_err(|_| too_many(&format!("the hub serves {MAX_STREAMS} requests at once")))?;
        let endpoint = self.0.members.endpoint(&member, wait).await?;
        let stream = endpoint.open().map_err(|error| too_many(&format!("{cluster}: {error}")))?;
        let head = RequestHead {
            method: request.method().as_str().to_owned(),
            target: route.target.into(),
            authority: route.authority,
            path: query.map_or_else(|| route.path.clone(), |query| format!("{}?{query}", route.path)),
            headers: forwarded,
            upgrade: upgrade.unwrap_or_default().to_owned(),
            impersonate: acting.impersonate,
            identity: Some(acting.identity),
        };
        let method = request.method().clone();
        let upgrade = upgrade.map(|protocol| Upgrade { protocol, client: hyper::upgrade::on(&mut request) });
        let call = Call { method, cluster, stream, entry: entry.clone(), place };
        match upgrade {
            Some(upgrade) if request.body().is_end_stream() => call.upgrade(&head, upgrade).await,
            Some(_) => Err(Failure::bad_request("a request that asks for an upgrade has no body")),
            None => call.exchange(&head, request.into_body()).await,
        }
    }
}

/// What is known before anything was looked at.
fn note(entry: &Entry, request: &Request<Body>, query: Option<&str>, is_upgrade: bool) {
    entry.note(|record| {
        record.verb = audit::verb(request.method(), query, is_upgrade);
        record.path = request.uri().path().to_owned();
        record.query = query.map(query::shown).unwrap_or_default();
        record.command = query.map(query::command).unwrap_or_default();
    });
}

fn allowed(method: &Method) -> Result<(), Failure> {
    match method.as_str() {
        "GET" | "HEAD" | "POST" | "PUT" | "PATCH" | "DELETE" | "OPTIONS" => Ok(()),
        other => Err(Failure::not_allowed(format!("the method {other} is not carried to members"))),
    }
}

fn too_many(why: &str) -> Failure {
    Failure::new(429, "TooManyRequests", format!("{why}: try again")).again_after(Duration::from_secs(1))
}

/// A request whose stream is open.
struct Call {
    method: Method,
    cluster: String,
    stream: Stream,
    entry: Arc<Entry>,
    place: OwnedSemaphorePermit,
}

/// What a client wants its connection to become.
struct Upgrade {
    protocol: &'static str,
    client: OnUpgrade,
}

impl Call {
    /// The head has credentials, and travels as it is.
    async fn ask(&mut self, head: &RequestHead) -> Result<(), Failure> {
        let sent = self.stream.write_head(head).await;
        sent.map_err(|error| broken::failure(&error, &self.method, &self.cluster))?;
        if !head.is_secret() {
            self.stream.pack();
        }
        Ok(())
    }

    async fn exchange(mut self, head: &RequestHead, body: Body) -> Result<Response, Failure> {
        self.ask(head).await?;
        let (mut from, to) = self.stream.into_split();
        let mut upload = exchange::upload(body, to, self.entry.clone()).await;
        let head = exchange::head(&mut from, &mut upload).await;
        let head = head.ok_or_else(|| Failure::bad_request("the body broke off"))?;
        let head = head.map_err(|error| broken::failure(&error, &self.method, &self.cluster))?;
        let down = Download { from, entry: self.entry, upload, _place: self.place };
        exchange::answer(head, &self.method, down).ok_or_else(|| no_http(&self.cluster))
    }

    async fn upgrade(mut self, head: &RequestHead, upgrade: Upgrade) -> Result<Response, Failure> {
        self.ask(head).await?;
        let head = self.stream.read_head::<ResponseHead>().await;
        let head = head.map_err(|error| broken::failure(&error, &self.method, &self.cluster))?;
        if head.status != u32::from(StatusCode::SWITCHING_PROTOCOLS.as_u16()) {
            let (from, to) = self.stream.into_split();
            let upload = exchange::upload(Body::empty(), to, self.entry.clone()).await;
            let down = Download { from, entry: self.entry, upload, _place: self.place };
            return exchange::answer(head, &self.method, down).ok_or_else(|| no_http(&self.cluster));
        }
        let response = switching(head, upgrade.protocol);
        tokio::spawn(async move {
            let Call { stream, entry, place, .. } = self;
            match upgrade.client.await {
                Ok(client) => tunnel::run(TokioIo::new(client), stream, upgrade.protocol == headers::WEBSOCKET, entry).await,
                Err(error) => tracing::debug!(%error, "the client went away before its connection was upgraded"),
            }
            drop(place);
        });
        Ok(response)
    }
}

fn switching(head: ResponseHead, protocol: &'static str) -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    *response.headers_mut() = headers::of_response(head.headers);
    response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    response.headers_mut().insert(header::UPGRADE, HeaderValue::from_static(protocol));
    response
}

fn no_http(cluster: &str) -> Failure {
    Failure::new(502, "InternalError", format!("the agent of {cluster} answered with a status that is none"))
}
