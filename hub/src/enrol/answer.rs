//! What an agent is told.

use axum::response::{IntoResponse, Response};
use http::StatusCode;
use serde_json::{Value, json};

use crate::api::failure::Failure;
use crate::kinds::{APPROVED, ClusterRegistrationRequestStatus, DENIED, PENDING};
use crate::tls::{Authority, Peer};

/// Seconds after which an agent that waits for a person asks again.
const ASK_AGAIN: u64 = 3;

/// The answer to a request whose ClusterRegistrationRequest was answered so.
///
/// # Errors
/// It was refused; the sentence is the controller's.
pub fn of(
    status: &ClusterRegistrationRequestStatus,
    name: &str,
    authority: &Authority,
    hash_key: &str,
    now: i64,
) -> Result<Response, Failure> {
    let why = status.error_message.clone().unwrap_or_else(|| "no reason is given".to_owned());
    match status.result.as_deref() {
        Some(APPROVED) => granted(status, name, authority, hash_key, now),
        Some(PENDING) => Ok(said(StatusCode::ACCEPTED, &json!({"result": PENDING, "message": why, "retryAfter": ASK_AGAIN}))),
        Some(DENIED) => Err(Failure::new(403, "Forbidden", why)),
        _ => Err(Failure::new(503, "ServiceUnavailable", why)),
    }
}

fn granted(
    status: &ClusterRegistrationRequestStatus,
    name: &str,
    authority: &Authority,
    hash_key: &str,
    now: i64,
) -> Result<Response, Failure> {
    let certificate = status.certificate.as_deref().and_then(|pem| Peer::read(pem, authority));
    let Some(certificate) = certificate else {
        return Err(Failure::new(503, "ServiceUnavailable", format!("{name} was granted and has no certificate yet: ask again")));
    };
    let answer = json!({
        "result": APPROVED,
        "sid": status.sid, "namespace": status.dedicated_namespace, "name": status.managed_cluster_name,
        "busAddress": status.bus_address, "hubLinkKey": status.hub_link_key, "hashKey": hash_key,
        "certificate": status.certificate, "ca": authority.pem(),
        "begins": certificate.begins, "ends": certificate.ends, "time": now,
    });
    Ok(said(StatusCode::OK, &answer))
}

/// The answer to an agent that has left.
pub fn left() -> Response {
    said(StatusCode::OK, &json!({"result": "Unregistered"}))
}

fn said(code: StatusCode, answer: &Value) -> Response {
    let headers = [(http::header::CONTENT_TYPE, "application/json"), (http::header::CACHE_CONTROL, "no-store")];
    (code, headers, answer.to_string()).into_response()
}
