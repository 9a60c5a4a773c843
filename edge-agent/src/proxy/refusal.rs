//! What the agent answers itself, as a Kubernetes `Status` that kubectl prints.

use bus_schema::message::stream::{Header, ResponseHead};
use bytes::Bytes;
use http::StatusCode;

use crate::apiserver::Unconnected;

/// Why a request was not performed, or brought no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    pub code: StatusCode,
    /// What, where, and what to do.
    pub message: String,
}

impl Refusal {
    pub fn new(code: StatusCode, message: impl Into<String>) -> Refusal {
        Refusal { code, message: message.into() }
    }

    /// The request is not one that may be sent on.
    pub fn malformed(message: impl Into<String>) -> Refusal {
        Refusal::new(StatusCode::BAD_REQUEST, message)
    }

    /// The agent may not, or will not.
    pub fn forbidden(message: impl Into<String>) -> Refusal {
        Refusal::new(StatusCode::FORBIDDEN, message)
    }

    /// Nothing was sent: the server can't be reached.
    pub fn unavailable(message: impl Into<String>) -> Refusal {
        Refusal::new(StatusCode::SERVICE_UNAVAILABLE, message)
    }

    /// The server was reached and gave no answer that can be passed on.
    pub fn bad_gateway(message: impl Into<String>) -> Refusal {
        Refusal::new(StatusCode::BAD_GATEWAY, message)
    }

    /// Head and body of the answer.
    pub fn answer(&self) -> (ResponseHead, Bytes) {
        let status = serde_json::json!({
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": self.message,
            "reason": self.reason(),
            "code": self.code.as_u16(),
        });
        let body = Bytes::from(status.to_string());
        let header = |name: &str, value: String| Header { name: name.into(), value: value.into_bytes() };
        let headers = vec![header("content-type", "application/json".into()), header("content-length", body.len().to_string())];
        (ResponseHead { status: self.code.as_u16().into(), headers }, body)
    }

    fn reason(&self) -> &'static str {
        match self.code {
            StatusCode::BAD_REQUEST => "BadRequest",
            StatusCode::FORBIDDEN => "Forbidden",
            StatusCode::METHOD_NOT_ALLOWED => "MethodNotAllowed",
            StatusCode::TOO_MANY_REQUESTS => "TooManyRequests",
            StatusCode::SERVICE_UNAVAILABLE => "ServiceUnavailable",
            _ => "InternalError",
        }
    }
}

impl From<Unconnected> for Refusal {
    fn from(why: Unconnected) -> Refusal {
        match why {
            Unconnected::Unreachable(why) => Refusal::unavailable(why),
            Unconnected::Untrusted(why) => Refusal::bad_gateway(why),
        }
    }
}
