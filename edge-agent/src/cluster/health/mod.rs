//! How an object does, by the rules of kstatus, from the bytes of the live object. Pure.
//!
//! One file a family: `workload` (what has replicas), `run_once` (Job), `pod`, `plain` (the rest). Unreadable answers are `Unknown`.

mod plain;
mod pod;
mod run_once;
mod shape;
mod workload;

pub use pod::worst;

use bus_schema::message::{Health, Level, Replicas};

/// What one look at an object tells.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Verdict {
    pub health: Health,
    /// A run-once that has run, well or not.
    pub ended: bool,
    /// Label selector of the pods that may know why it is not ready.
    pub pods: Option<String>,
}

/// Judges a live object.
pub fn judge(group: &str, kind: &str, object: &[u8]) -> Verdict {
    let judged = match (group, kind) {
        ("apps", "Deployment") => workload::deployment(object),
        ("apps", "StatefulSet") => workload::stateful_set(object),
        ("apps", "DaemonSet") => workload::daemon_set(object),
        ("apps", "ReplicaSet") => workload::replica_set(object),
        ("batch", "Job") => run_once::job(object),
        ("", "Pod") => pod::pod(object),
        ("", "PersistentVolumeClaim") => plain::claim(object),
        ("", "Service") => plain::service(object),
        ("apiextensions.k8s.io", "CustomResourceDefinition") => plain::definition(object),
        _ => plain::any(object),
    };
    let mut verdict = judged.unwrap_or_else(|_| Verdict::of(Level::Unknown, "Unreadable", "the live object cannot be read"));
    let health = &mut verdict.health;
    if health.message.is_empty() {
        // Both ends know these by heart: they cost nothing on the wire.
        health.message = bus_schema::health::sentence(&health.reason, health.replicas.as_ref());
    }
    verdict
}

/// Adds what the pods know; they never make it better.
pub fn explain(health: &mut Health, found: pod::Trouble) {
    if found.level as i32 >= health.level {
        health.level = found.level as i32;
        (health.reason, health.message) = (found.reason, found.message);
    }
}

type Judged = Result<Verdict, serde_json::Error>;

impl Verdict {
    fn of(level: Level, reason: &str, message: &str) -> Verdict {
        let message = message.chars().take(bus_schema::limits::MAX_MESSAGE).collect();
        let health = Health { level: level as i32, reason: reason.into(), message, ..Health::default() };
        Verdict { health, ..Verdict::default() }
    }

    fn healthy() -> Verdict {
        Verdict::of(Level::Healthy, "", "")
    }

    fn progressing(reason: &str, message: &str) -> Verdict {
        Verdict::of(Level::Progressing, reason, message)
    }

    fn unhealthy(reason: &str, message: &str) -> Verdict {
        Verdict::of(Level::Unhealthy, reason, message)
    }

    fn ended(self) -> Verdict {
        Verdict { ended: true, ..self }
    }

    fn with_replicas(mut self, replicas: Replicas) -> Verdict {
        self.health.replicas = Some(replicas);
        self
    }

    /// Pods are asked only while it is not well.
    fn asking(self, selector: &shape::Selector) -> Verdict {
        let well = [Level::Healthy, Level::Finished].iter().any(|level| *level as i32 == self.health.level);
        Verdict { pods: (!well && !self.ended).then(|| selector.query()).flatten(), ..self }
    }
}

#[cfg(test)]
mod tests;
