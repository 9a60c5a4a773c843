//! Why a request has no result, and what that says about the object it was about.
//!
//! Every failure is one of two kinds: the server said no ([`Failure::Status`]) or no answer came that counts
//! ([`Failure::Unavailable`]). Only the first is ever held against an object.

use http::StatusCode;
use serde::Deserialize;

use super::object::null_as_empty;

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

/// Reads the body of an answer that is no success.
pub(super) fn refusal(code: StatusCode, body: &[u8]) -> Failure {
    let mut status: Status = serde_json::from_slice(body).unwrap_or_default();
    status.code = code.as_u16();
    if status.message.is_empty() {
        status.message = String::from_utf8_lossy(&body[..body.len().min(200)]).trim().to_owned();
    }
    match status.says_nothing_about_the_object() {
        true => Failure::Unavailable(status.to_string()),
        false => Failure::Status(Box::new(status)),
    }
}

impl Status {
    /// A refusal made here, before anything was sent.
    pub fn invalid(message: String) -> Self {
        Self { code: 400, reason: "BadRequest".into(), message, details: Details::default() }
    }

    /// A failing webhook answers 500 for the objects it looks at only, so it must not count as an outage.
    fn says_nothing_about_the_object(&self) -> bool {
        let by_webhook = self.code == 500 && self.message.contains("webhook");
        matches!(self.code, 401 | 429 | 500..) && !by_webhook && !self.is_about_the_schema()
    }

    /// The server says 500 to an apply that does not fit the kind's schema.
    fn is_about_the_schema(&self) -> bool {
        self.code == 500 && self.message.contains("failed to create typed patch object")
    }

    /// A list that has one key twice is refused until it is mended; another misfit may pass with a new definition.
    fn has_a_key_twice(&self) -> bool {
        self.is_about_the_schema() && self.message.contains("duplicate entries for key")
    }

    /// A 404 about an object proves that it is absent; one about a path proves nothing, since another version may be
    /// served.
    pub(super) fn names_an_absent_object(&self) -> bool {
        self.code == 404 && !self.details.name.is_empty()
    }

    /// Whether the same request would be refused again until the object, or the member's policy, changes.
    pub fn is_permanent(&self) -> bool {
        let passing = self.details.causes.iter().any(|cause| cause.reason == "NamespaceTerminating")
            || (self.code == 403 && self.message.contains("exceeded quota"));
        (matches!(self.code, 400 | 403 | 405 | 413 | 415 | 422) && !passing) || self.has_a_key_twice()
    }
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
            assert!(matches!(failure(code, r#"{"message":"x"}"#), Failure::Unavailable(_)), "{code}");
        }
    }

    #[test]
    fn a_failing_webhook_is_about_the_object_and_passes() {
        let status = status(500, r#"{"message":"failed calling webhook \"a.b\": refused"}"#);
        assert!(!status.is_permanent());
    }

    #[test]
    fn an_object_that_does_not_fit_its_schema_is_no_outage_and_a_key_twice_stays() {
        let misfit = |why: &str| format!(r#"{{"message":"failed to create typed patch object (shop/web; apps/v1): .spec.env: {why}"}}"#);
        assert!(status(500, &misfit("duplicate entries for key [name=A]")).is_permanent());
        assert!(!status(500, &misfit("field not declared in schema")).is_permanent());
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
        assert!(status(404, r#"{"details":{"name":"c","kind":"configmaps"}}"#).names_an_absent_object());
        assert!(!status(404, r#"{"details":{},"message":"could not find the requested resource"}"#).names_an_absent_object());
        assert!(!status(404, "404 page not found").names_an_absent_object());
    }

    #[test]
    fn an_answer_that_is_no_status_still_shows_its_text() {
        assert_eq!(status(404, "404 page not found\n").message, "404 page not found");
    }
}
