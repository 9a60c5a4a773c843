//! Conditions: a type's status changes its transition time, its wording does not.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use k8s_openapi::jiff::Timestamp;

/// What a condition is to say.
pub struct Saying {
    pub kind: &'static str,
    /// `True`, `False` or `Unknown`.
    pub status: &'static str,
    pub reason: String,
    pub message: String,
}

/// Kubernetes allows 32768 bytes; a table shows much less.
const MAX_MESSAGE: usize = 1024;

impl Saying {
    pub fn new(kind: &'static str, status: &'static str, reason: impl Into<String>, message: impl Into<String>) -> Self {
        Self { kind, status, reason: reason.into(), message: message.into() }
    }

    /// The condition, with the time of the one it takes the place of unless its status differs.
    pub fn after(self, previous: &[Condition], generation: Option<i64>, now: Timestamp) -> Condition {
        let old = previous.iter().find(|condition| condition.type_ == self.kind && condition.status == self.status);
        Condition {
            type_: self.kind.to_owned(),
            status: self.status.to_owned(),
            reason: self.reason,
            message: shortened(self.message),
            observed_generation: generation,
            last_transition_time: old.map_or_else(|| Time(whole_seconds(now)), |old| old.last_transition_time.clone()),
        }
    }
}

/// Kubernetes times have whole seconds; anything finer would not read back as written.
pub fn whole_seconds(time: Timestamp) -> Timestamp {
    Timestamp::from_second(time.as_second()).unwrap_or(time)
}

fn shortened(mut message: String) -> String {
    if message.len() > MAX_MESSAGE {
        message.truncate(message.floor_char_boundary(MAX_MESSAGE - 3));
        message.push_str("...");
    }
    message
}
