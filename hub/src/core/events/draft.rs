//! One Event before it is written, and the name that it gets.

use std::fmt::Write;

use ring::digest::{SHA256, digest};

use crate::core::id::{ClusterKey, SubscriptionKey};

/// An API server refuses longer messages.
const MAX_MESSAGE: usize = 1024;
/// With the digest a name has to stay within 253 bytes.
const MAX_NAME: usize = 230;
/// Bytes of the digest in a name.
const DIGEST: usize = 8;

/// Something to tell of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventDraft {
    /// `Normal` or `Warning`.
    pub level: &'static str,
    pub reason: &'static str,
    pub message: String,
}

/// The object that an Event is about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Involved {
    pub api_version: &'static str,
    pub kind: &'static str,
    pub namespace: String,
    pub name: String,
    pub uid: String,
}

impl EventDraft {
    /// Of what goes as it should.
    pub fn normal(reason: &'static str, message: impl Into<String>) -> Self {
        Self { level: "Normal", reason, message: shortened(message.into(), MAX_MESSAGE) }
    }

    /// Of what somebody should look at.
    pub fn warning(reason: &'static str, message: impl Into<String>) -> Self {
        Self { level: "Warning", reason, message: shortened(message.into(), MAX_MESSAGE) }
    }

    /// Says how many others this one stands for.
    pub(super) fn count_others(&mut self, others: usize) {
        let tail = format!(" (and {others} others)");
        let head = shortened(std::mem::take(&mut self.message), MAX_MESSAGE - tail.len());
        self.message = head + &tail;
    }
}

impl Involved {
    /// A ManagedCluster.
    pub fn cluster(key: &ClusterKey, uid: String) -> Self {
        let (api_version, kind) = ("clusters.clusternet.io/v1beta1", "ManagedCluster");
        Self { api_version, kind, namespace: key.namespace.clone(), name: key.name.clone(), uid }
    }

    /// A Subscription.
    pub fn subscription(key: &SubscriptionKey, uid: String) -> Self {
        let (api_version, kind) = ("apps.clusternet.io/v1alpha1", "Subscription");
        Self { api_version, kind, namespace: key.namespace.clone(), name: key.name.clone(), uid }
    }

    /// The name of the one Event that says this of this object.
    pub(super) fn event_name(&self, draft: &EventDraft) -> String {
        let parts = [self.kind, &self.namespace, &self.name, &self.uid, draft.reason, &draft.message];
        let hash = digest(&SHA256, parts.join("\n").as_bytes());
        let head = &self.name[..self.name.floor_char_boundary(MAX_NAME)];
        let mut name = format!("{}.", head.trim_end_matches(['.', '-']));
        for byte in &hash.as_ref()[..DIGEST] {
            let _written = write!(name, "{byte:02x}");
        }
        name
    }
}

fn shortened(mut message: String, most: usize) -> String {
    if message.len() > most {
        message.truncate(message.floor_char_boundary(most - 3));
        message.push_str("...");
    }
    message
}
