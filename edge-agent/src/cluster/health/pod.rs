//! Pods: as objects of their own, and as the ones who know why a workload is not ready.

use serde::Deserialize;

use super::shape::{Condition, Meta, condition};
use super::{Judged, Level, Verdict};

#[derive(Default, Deserialize)]
#[serde(default)]
struct Pod {
    metadata: Meta,
    status: Status,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Status {
    phase: String,
    reason: Option<String>,
    message: Option<String>,
    conditions: Option<Vec<Condition>>,
    init_container_statuses: Option<Vec<Container>>,
    container_statuses: Option<Vec<Container>>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Container {
    name: String,
    restart_count: u32,
    state: Option<State>,
    last_state: Option<State>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct State {
    waiting: Option<Stopped>,
    terminated: Option<Stopped>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Stopped {
    reason: Option<String>,
    message: Option<String>,
    exit_code: i32,
}

impl Stopped {
    fn reason(&self) -> &str {
        self.reason.as_deref().unwrap_or_default()
    }

    fn message(&self) -> &str {
        self.message.as_deref().unwrap_or_default()
    }
}

/// Why a pod is not ready.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trouble {
    pub level: Level,
    pub reason: String,
    pub message: String,
}

impl Trouble {
    fn new(level: Level, reason: &str, message: &str) -> Trouble {
        let message = message.chars().take(bus_schema::limits::MAX_MESSAGE).collect();
        Trouble { level, reason: reason.into(), message }
    }
}

pub(super) fn pod(object: &[u8]) -> Judged {
    let pod: Pod = serde_json::from_slice(object)?;
    let status = &pod.status;
    let why = |default: &'static str| status.reason.as_deref().unwrap_or(default);
    let message = status.message.as_deref().unwrap_or_default();
    Ok(match status.phase.as_str() {
        "Succeeded" => Verdict::of(Level::Finished, "", "").ended(),
        "Failed" => Verdict::unhealthy(why("Failed"), message).ended(),
        _ if pod.metadata.deletion_timestamp.is_some() => Verdict::progressing("Terminating", ""),
        "Running" if condition(status.conditions.as_deref(), "Ready", "True").is_some() => Verdict::healthy(),
        _ => match trouble(&pod) {
            Some(trouble) => Verdict::of(trouble.level, &trouble.reason, &trouble.message),
            None => Verdict::progressing("NotReady", message),
        },
    })
}

/// The worst that a page of pods (a `PodList`) knows.
pub fn worst(page: &[u8]) -> Option<Trouble> {
    #[derive(Default, Deserialize)]
    #[serde(default)]
    struct Page {
        items: Option<Vec<Pod>>,
    }
    let page: Page = serde_json::from_slice(page).ok()?;
    let living = page.items.into_iter().flatten().filter(|pod| pod.metadata.deletion_timestamp.is_none());
    let found: Vec<_> = living.filter_map(|pod| trouble(&pod)).collect();
    // Of two equally bad ones always the same, whatever the order.
    found.into_iter().max_by(|a, b| (a.level, &b.reason, &b.message).cmp(&(b.level, &a.reason, &a.message)))
}

fn trouble(pod: &Pod) -> Option<Trouble> {
    let status = &pod.status;
    let containers = status.init_container_statuses.iter().chain(&status.container_statuses).flatten();
    let of_container = containers.filter_map(of_container).max_by_key(|trouble| trouble.level);
    let unscheduled = || condition(status.conditions.as_deref(), "PodScheduled", "False");
    of_container.or_else(|| {
        let unscheduled = unscheduled()?;
        let reason = if unscheduled.reason().is_empty() { "Pending" } else { unscheduled.reason() };
        Some(Trouble::new(Level::Progressing, reason, unscheduled.message()))
    })
}

fn of_container(container: &Container) -> Option<Trouble> {
    let last = container.last_state.as_ref().and_then(|state| state.terminated.as_ref());
    let state = container.state.as_ref()?;
    if let Some(waiting) = &state.waiting {
        return match waiting.reason() {
            "" | "ContainerCreating" | "PodInitializing" => None,
            // The two alternate with each attempt.
            "ErrImagePull" | "ImagePullBackOff" => Some(Trouble::new(Level::Unhealthy, "ImagePullBackOff", waiting.message())),
            "CrashLoopBackOff" if last.is_some_and(|last| last.reason() == "OOMKilled") => Some(out_of_memory(container)),
            reason => Some(Trouble::new(Level::Unhealthy, reason, waiting.message())),
        };
    }
    let stopped = state.terminated.as_ref().filter(|stopped| stopped.exit_code != 0)?;
    match stopped.reason() {
        "OOMKilled" => Some(out_of_memory(container)),
        _ if container.restart_count > 0 => Some(Trouble::new(Level::Unhealthy, "CrashLoopBackOff", stopped.message())),
        reason => Some(Trouble::new(Level::Unhealthy, if reason.is_empty() { "Error" } else { reason }, stopped.message())),
    }
}

fn out_of_memory(container: &Container) -> Trouble {
    Trouble::new(Level::Unhealthy, "OOMKilled", &format!("container {} needs more memory than its limit", container.name))
}
