//! How an operation on one object ends when it does not succeed.

use super::api::{Failure, Status};
use super::discovery::Missing;
use super::object::ObjectId;

/// Longest message of a refusal, in characters; it travels to the hub.
pub const MAX_MESSAGE: usize = 300;

/// The server's no to one object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// HTTP code.
    pub code: u16,
    /// Kubernetes' reason, such as `Invalid`.
    pub reason: String,
    /// At most [`MAX_MESSAGE`] characters; names the field where the server does.
    pub message: String,
    /// Whether trying the same again is useless before the object or the member's policy changes.
    pub permanent: bool,
}

/// Why an operation stopped.
#[derive(Debug)]
pub(super) enum Stop {
    Refused(Refusal),
    Unavailable(String),
}

impl Stop {
    pub(super) fn passing(code: u16, reason: &str, message: &str) -> Self {
        Self::Refused(Refusal { code, reason: reason.into(), message: cut(message), permanent: false })
    }

    /// What was there before us is only reported.
    pub(super) fn foreign(id: &ObjectId) -> Self {
        let message = format!("exists and is not ours; would be adopted: {id}; start the agent with --adopt=yes, or delete the object");
        Self::Refused(Refusal { code: 409, reason: "NotOurs".into(), message: cut(&message), permanent: true })
    }

    pub(super) fn permanent(reason: &str, message: &str) -> Self {
        Self::Refused(Refusal { code: 400, reason: reason.into(), message: cut(message), permanent: true })
    }
}

impl From<Status> for Refusal {
    fn from(status: Status) -> Self {
        let permanent = status.is_permanent();
        Self { code: status.code, message: cut(&status.message), reason: status.reason, permanent }
    }
}

impl From<Failure> for Stop {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Status(status) => Self::Refused((*status).into()),
            Failure::Unavailable(why) => Self::Unavailable(why),
        }
    }
}

impl From<Missing> for Stop {
    fn from(missing: Missing) -> Self {
        match missing {
            Missing::NotServed { .. } => Self::passing(404, "KindNotServed", &missing.to_string()),
            Missing::Failed(failure) => failure.into(),
        }
    }
}

fn cut(message: &str) -> String {
    match message.char_indices().nth(MAX_MESSAGE - 1) {
        Some((end, last)) if end + last.len_utf8() < message.len() => {
            format!("{}…", &message[..end])
        }
        _ => message.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_messages_are_cut_at_characters() {
        let text = cut(&"é".repeat(400));
        assert_eq!(text.chars().count(), MAX_MESSAGE);
        assert!(text.ends_with('…'));
        assert_eq!(cut(&"é".repeat(MAX_MESSAGE)).chars().count(), MAX_MESSAGE);
        assert_eq!(cut("short"), "short");
    }
}
