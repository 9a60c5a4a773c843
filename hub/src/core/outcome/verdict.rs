//! One Subscription on one cluster, judged.

use super::ClusterState;
use crate::core::plan::{Content, DesiredEntry};
use crate::core::report::{HealthLevel, ObjectState};

/// How far a Subscription is on one cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    pub progress: Progress,
    pub connected: bool,
    pub health: Wellness,
    /// The first objects that somebody else changes too, and who.
    pub contested: Vec<String>,
    /// The first object that is not corrected, because it says so itself.
    pub paused: Option<String>,
}

/// How many contested objects of one Subscription on one cluster are named.
const MAX_CONTESTED: usize = 3;

/// The worst of a Subscription's objects.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Progress {
    Applied,
    /// The first object that is not there yet, if the cluster said.
    Pending(Option<String>),
    /// The first object that was refused, and why; `stuck` when trying again changes nothing.
    Failed {
        stuck: bool,
        object: String,
        why: String,
    },
}

/// The least well of a Subscription's objects, the first of its level.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wellness {
    pub level: HealthLevel,
    /// Empty when all are well.
    pub object: String,
    pub reason: String,
    pub message: String,
}

impl Verdict {
    /// Judges the entries of one Subscription; those that keep want nothing and are left out.
    pub(super) fn of(cluster: &ClusterState, entries: &[DesiredEntry]) -> Self {
        let wanted = || entries.iter().filter(|entry| entry.content != Content::Keep);
        let is_paused =
            |entry: &DesiredEntry| cluster.object(entry).and_then(|report| report.health.as_ref()).is_some_and(|health| health.paused);
        let paused = |entry: &DesiredEntry| is_paused(entry).then(|| entry.object.to_string());
        Self {
            progress: progress(cluster, wanted()),
            connected: cluster.is_connected(),
            health: wellness(cluster, wanted()),
            contested: contested(cluster, wanted()),
            paused: wanted().find_map(paused),
        }
    }
}

fn contested<'a>(cluster: &ClusterState, wanted: impl Iterator<Item = &'a DesiredEntry>) -> Vec<String> {
    let healths = wanted.filter_map(|entry| Some((&entry.object, cluster.object(entry)?.health.as_ref()?)));
    let disputed = healths.filter(|(_, health)| !health.contested.is_empty());
    disputed.take(MAX_CONTESTED).map(|(object, health)| format!("{object}: {}", health.contested)).collect()
}

fn progress<'a>(cluster: &ClusterState, wanted: impl Iterator<Item = &'a DesiredEntry>) -> Progress {
    if !cluster.is_current() {
        return Progress::Pending(None);
    }
    let mut worst = Progress::Applied;
    for entry in wanted {
        match progress_of(cluster, entry) {
            failed @ Progress::Failed { .. } => return failed,
            pending @ Progress::Pending(_) if worst == Progress::Applied => worst = pending,
            _ => {}
        }
    }
    worst
}

fn progress_of(cluster: &ClusterState, entry: &DesiredEntry) -> Progress {
    let object = entry.object.to_string();
    match cluster.object(entry).map(|report| &report.state) {
        Some(ObjectState::Applied) => Progress::Applied,
        Some(ObjectState::Failed { code, message }) => {
            Progress::Failed { stuck: is_final(*code), object, why: format!("{message} ({code})") }
        }
        Some(ObjectState::Rejected { message }) => {
            Progress::Failed { stuck: true, object, why: format!("refused by the agent: {message}") }
        }
        _ => Progress::Pending(Some(object)),
    }
}

/// A kind or namespace may still come, a conflict be settled, a server get room; anything else that a server refuses it refuses again.
fn is_final(code: u16) -> bool {
    (400..500).contains(&code) && !matches!(code, 404 | 409 | 429)
}

/// What was said of older content counts for nothing: a tool that waits for a fix must not see what it fixes.
fn wellness<'a>(cluster: &ClusterState, wanted: impl Iterator<Item = &'a DesiredEntry>) -> Wellness {
    if !cluster.is_current() {
        return Wellness::default();
    }
    let mut worst = Wellness { level: HealthLevel::Finished, ..Wellness::default() };
    for entry in wanted {
        let applied = cluster.object(entry).filter(|report| report.state == ObjectState::Applied);
        let health = applied.and_then(|report| report.health.as_ref());
        let level = health.map_or(HealthLevel::Unknown, |health| health.level);
        if level > worst.level {
            let object = if level.is_good() { String::new() } else { entry.object.to_string() };
            let (reason, message) = health.filter(|_| !level.is_good()).map(|health| (&health.reason, &health.message)).unzip();
            worst = Wellness { level, object, reason: reason.cloned().unwrap_or_default(), message: message.cloned().unwrap_or_default() };
        }
    }
    worst
}
