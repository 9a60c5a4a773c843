//! `POST /enrol`: where a machine asks for a certificate, and `POST /unregister`, where it takes its leave.
//!
//! `core::enrol` decides; this reads what it decides by, counts the use of a token, writes the ClusterRegistrationRequest that the
//! registration controller answers, and hands the answer on. A body is bounded, everybody's requests are, and whoever proves nothing
//! gets one and the same 401.

mod answer;
mod ask;
mod records;
pub mod token;

use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use base64::Engine;
use http::{HeaderMap, HeaderValue, Request, header};
use kube::Client;

use self::ask::{Ask, Leave};
use self::records::Records;
use crate::api::failure::Failure;
use crate::controller::registration::Directory;
use crate::core::enrol::limit::Limiter;
use crate::core::enrol::{Facts, Signer, Verdict, decide};
use crate::core::reserved::Reserved;
use crate::kinds::JoinToken;
use crate::tls::{Peer, Shared};

/// The header of a proof: base64 of a signature by the key of the certificate in the body.
pub const PROOF: &str = "clusternet-proof";

/// Requests that are worked on at once; further ones wait in their connections.
const AT_ONCE: usize = 64;

/// Where a request came from.
#[derive(Debug, Clone, Copy)]
pub struct PeerAddress(pub IpAddr);

/// Shared by all requests; clones are cheap.
#[derive(Clone)]
pub struct Enrolment(Arc<Inner>);

struct Inner {
    records: Records,
    authority: Shared,
    /// The fleet's key for content hashes, base64.
    hash_key: String,
    /// Labels that no cluster may give itself.
    reserved: Reserved,
    limiter: Mutex<Limiter>,
    begun: Instant,
    places: tokio::sync::Semaphore,
    /// Held from reading a token's count to the written request: the last use goes to one.
    counting: tokio::sync::Mutex<()>,
}

impl Enrolment {
    /// Works on the API behind `client`; `directory` knows which clusters there are.
    pub fn new(client: Client, authority: Shared, directory: Directory, hash_key: &[u8; 32], reserved: Reserved) -> Enrolment {
        let inner = Inner {
            records: Records { client, directory },
            authority,
            hash_key: base64::engine::general_purpose::STANDARD.encode(hash_key),
            reserved,
            limiter: Mutex::default(),
            begun: Instant::now(),
            places: tokio::sync::Semaphore::new(AT_ONCE),
            counting: tokio::sync::Mutex::default(),
        };
        Enrolment(Arc::new(inner))
    }

    fn now(&self) -> u64 {
        u64::try_from(self.0.begun.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn ask(&self, peer: IpAddr) -> Result<(), Failure> {
        let asked = self.0.limiter.lock().unwrap_or_else(PoisonError::into_inner).ask(peer, self.now());
        asked.map_err(|seconds| Failure::new(429, "TooManyRequests", format!("too many requests: try again in {seconds} s")))
    }

    /// What is said of a request; refusals of this address are counted.
    fn said(&self, peer: IpAddr, said: Result<Response, Failure>) -> Response {
        match said {
            Ok(response) => response,
            Err(failure) => {
                let waits = failure.code == 429;
                if matches!(failure.code, 400..=499) && !waits {
                    self.0.limiter.lock().unwrap_or_else(PoisonError::into_inner).failed(peer, self.now());
                }
                tracing::info!(%peer, code = failure.code, why = failure.message, "an enrolment was refused");
                let mut response = failure.into_response();
                if waits {
                    response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("6"));
                }
                response
            }
        }
    }
}

/// The two paths, for the listener of the API.
pub fn router(enrolment: Enrolment) -> Router {
    Router::new().route("/enrol", post(enrol)).route("/unregister", post(unregister)).with_state(enrolment)
}

async fn enrol(State(enrolment): State<Enrolment>, request: Request<Body>) -> Response {
    let peer = peer_of(&request);
    let said = enrol_now(&enrolment, peer, request).await;
    enrolment.said(peer, said)
}

async fn unregister(State(enrolment): State<Enrolment>, request: Request<Body>) -> Response {
    let peer = peer_of(&request);
    let said = unregister_now(&enrolment, peer, request).await;
    enrolment.said(peer, said)
}

/// A request without an address came from this process, or through something that hides it: it shares one.
fn peer_of(request: &Request<Body>) -> IpAddr {
    request.extensions().get::<PeerAddress>().map_or(IpAddr::from([0, 0, 0, 0]), |peer| peer.0.to_canonical())
}

async fn enrol_now(enrolment: &Enrolment, peer: IpAddr, request: Request<Body>) -> Result<Response, Failure> {
    let inner = &enrolment.0;
    enrolment.ask(peer)?;
    let (headers, body) = read(request).await?;
    let _place = inner.places.acquire().await;
    // Whoever brings nothing that may be known costs nothing more.
    let token = inner.records.token(&headers).await?;
    if token.is_none() && !headers.contains_key(PROOF) {
        return Err(unknown());
    }
    let (ask, csr) = Ask::read(&body).map_err(Failure::bad_request)?;
    let signer = ask.certificate.as_deref().and_then(|certificate| signer(inner, "enrol", &headers, &body, certificate));
    if token.is_none() && signer.is_none() {
        return Err(unknown());
    }
    let key = csr.key_hash();
    let written = {
        let _turn = inner.counting.lock().await;
        // Read again under the lock: what another request has counted since counts.
        let token = match &token {
            Some(token) => inner.records.token_of(token).await?,
            None => None,
        };
        write(enrolment, peer, &ask, &key, token, signer.as_ref()).await?
    };
    inner.records.answered(&written, &inner.authority, &inner.hash_key).await
}

/// Decides, counts and writes; the request as it was written.
async fn write(
    enrolment: &Enrolment,
    peer: IpAddr,
    ask: &Ask,
    key: &str,
    token: Option<JoinToken>,
    signer: Option<&Peer>,
) -> Result<crate::kinds::ClusterRegistrationRequest, Failure> {
    let records = &enrolment.0.records;
    let request = records.request(&ask.cluster_id).await?;
    let cluster = records.cluster(&ask.cluster_id).await?;
    let place = match token.as_ref().and_then(|token| token.spec.replaces.as_deref()) {
        Some(name) => records.cluster_named(name).await?,
        None => None,
    };
    let now = seconds();
    let authority = enrolment.0.authority.borrow().clone();
    let certificate = request.as_ref().and_then(|request| request.status.as_ref()?.certificate.as_deref());
    let newest = certificate.and_then(|pem| Peer::read(pem, &authority)).map(|certificate| certificate.begins);
    let facts = Facts {
        cluster_id: &ask.cluster_id,
        name: &ask.name,
        key,
        peer,
        now,
        token: token.as_ref(),
        signer: signer.map(|peer| Signer {
            key: &peer.key_hash,
            sid: &peer.sid,
            is_ours: peer.is_ours,
            is_current: now < peer.ends,
            begins: peer.begins,
        }),
        cluster: cluster.as_ref(),
        place: place.as_ref(),
        request: request.as_ref(),
        newest,
    };
    let admission = match decide(&facts) {
        Verdict::Admit(admission) => admission,
        Verdict::Unknown => return Err(unknown()),
        Verdict::Refuse(why) => return Err(Failure::new(403, "Forbidden", why)),
    };
    let reserved = &enrolment.0.reserved;
    let takes = |key: &&String| reserved.covers(key) && !admission.labels.contains_key(*key);
    // Who has a place already is not kept from it: what it says of labels changes nothing there.
    if let Some(key) = ask.labels.keys().find(takes).filter(|_| cluster.is_none() && place.is_none()) {
        let why =
            format!("label {key} is reserved: a cluster may not give it itself; an administrator gives it with the token (`--label`)");
        return Err(Failure::new(403, "Forbidden", why));
    }
    let ask = Ask { labels: reserved.without(&ask.labels), ..ask.clone() };
    if let Some(token) = token.as_ref().filter(|_| admission.counts) {
        records.count(token).await?;
    }
    if let Some(place) = place.as_ref().filter(|_| admission.replaces.is_some()) {
        records.give(place, &ask.cluster_id).await?;
    }
    records.write(&ask, key, &admission, request.as_ref()).await
}

async fn unregister_now(enrolment: &Enrolment, peer: IpAddr, request: Request<Body>) -> Result<Response, Failure> {
    let inner = &enrolment.0;
    enrolment.ask(peer)?;
    let (headers, body) = read(request).await?;
    let _place = inner.places.acquire().await;
    let leave = Leave::read(&body).map_err(Failure::bad_request)?;
    let signer = signer(inner, "unregister", &headers, &body, &leave.certificate).ok_or_else(unknown)?;
    let Some(cluster) = inner.records.cluster(&leave.cluster_id).await? else {
        return if signer.is_ours { Ok(answer::left()) } else { Err(unknown()) };
    };
    let keys = cluster.status.as_ref().map(|status| status.tls_keys.as_slice()).unwrap_or_default();
    if !keys.contains(&signer.key_hash) {
        return Err(unknown());
    }
    inner.records.forget(&cluster).await?;
    tracing::info!(cluster = %crate::core::id::ClusterKey::of(&cluster), "a cluster has unregistered");
    Ok(answer::left())
}

/// The certificate of a body, if its key signed the body.
fn signer(inner: &Inner, purpose: &str, headers: &HeaderMap, body: &[u8], certificate: &str) -> Option<Peer> {
    let proof = base64::engine::general_purpose::STANDARD.decode(headers.get(PROOF)?.as_bytes()).ok()?;
    let peer = Peer::read(certificate, &inner.authority.borrow())?;
    peer.signed(purpose, body, &proof).then_some(peer)
}

async fn read(request: Request<Body>) -> Result<(HeaderMap, Vec<u8>), Failure> {
    let (parts, body) = request.into_parts();
    let body = axum::body::to_bytes(body, ask::MAX_BODY).await;
    let body = body.map_err(|_| Failure::too_large(format!("a body here has {} bytes at most", ask::MAX_BODY)))?;
    Ok((parts.headers, body.to_vec()))
}

fn unknown() -> Failure {
    let message = "the join token or the proof is not accepted: the token may be wrong, expired, used up, revoked or not for this address; \
                   an administrator makes another with `clusternet-hub token create`";
    Failure::new(401, "Unauthorized", message)
}

fn seconds() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}
