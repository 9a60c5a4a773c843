//! One Subscription on one cluster, judged.

use super::ClusterState;
use crate::core::plan::{Content, DesiredEntry};
use crate::core::report::ObjectState;

/// How far a Subscription is on one cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    pub progress: Progress,
    pub connected: bool,
    /// All objects are known to be healthy.
    pub healthy: bool,
}

/// The worst of a Subscription's objects.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Progress {
    Applied,
    /// The first object that is not there yet, if the cluster said.
    Pending(Option<String>),
    /// The first object that was refused, and why.
    Failed(String),
}

impl Verdict {
    /// Judges the entries of one Subscription; those that keep want nothing and are left out.
    pub(super) fn of(cluster: &ClusterState, entries: &[DesiredEntry]) -> Self {
        let wanted = || entries.iter().filter(|entry| entry.content != Content::Keep);
        let all_healthy = wanted().all(|entry| cluster.object(entry).is_some_and(|object| object.healthy == Some(true)));
        Self { progress: progress(cluster, wanted()), connected: cluster.is_connected(), healthy: cluster.is_current() && all_healthy }
    }
}

fn progress<'a>(cluster: &ClusterState, wanted: impl Iterator<Item = &'a DesiredEntry>) -> Progress {
    if !cluster.is_current() {
        return Progress::Pending(None);
    }
    let mut worst = Progress::Applied;
    for entry in wanted {
        match progress_of(cluster, entry) {
            failed @ Progress::Failed(_) => return failed,
            pending @ Progress::Pending(_) if worst == Progress::Applied => worst = pending,
            _ => {}
        }
    }
    worst
}

fn progress_of(cluster: &ClusterState, entry: &DesiredEntry) -> Progress {
    let object = &entry.object;
    match cluster.object(entry).map(|report| &report.state) {
        Some(ObjectState::Applied) => Progress::Applied,
        Some(ObjectState::Failed { code, message }) => Progress::Failed(format!("{object}: {message} ({code})")),
        Some(ObjectState::Rejected { message }) => Progress::Failed(format!("{object}: refused by the agent: {message}")),
        _ => Progress::Pending(Some(object.to_string())),
    }
}
