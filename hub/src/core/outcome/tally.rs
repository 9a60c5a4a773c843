//! A Subscription over all its clusters: counts, the first that is not well, and the conditions that say so.
//!
//! A cluster that is away counts as it was last known, so that a fleet of which some part is always away can be Healthy at all; if all
//! are away nobody knows. `Ready` repeats `Healthy` for tools that know no other word (kstatus, so Flux and Argo CD).

use super::MAX_UNHEALTHY;
use super::condition::Saying;
use super::verdict::{Progress, Verdict, Wellness};
use crate::core::id::ClusterKey;
use crate::core::report::HealthLevel;
use crate::kinds::{Counts, UnhealthyCluster};

/// What has been seen of the clusters so far.
#[derive(Default)]
pub struct Tally {
    pub counts: Counts,
    /// Refused or unhealthy, the first of them.
    pub unhealthy: Vec<UnhealthyCluster>,
    first_failed: Option<String>,
    first_stuck: Option<String>,
    first_pending: Option<String>,
    first_unhealthy: Option<(String, String)>,
    first_progressing: Option<String>,
    first_unseen: Option<String>,
    /// Clusters where somebody else keeps changing an object, and the first.
    contested: (i32, Option<String>),
    /// Clusters where an object is not corrected, and the first.
    paused: (i32, Option<String>),
    /// Of those pending, how many are connected and so will move by themselves.
    moving: i32,
    /// Applied, healthy or not yet looked at, and connected: what is missing will be told.
    looking: i32,
}

impl Tally {
    /// Adds a cluster; none for one that nothing was planned for yet.
    pub fn add(&mut self, cluster: &ClusterKey, verdict: Option<&Verdict>) {
        self.counts.clusters += 1;
        let connected = verdict.is_some_and(|verdict| verdict.connected);
        self.counts.offline += i32::from(!connected);
        match verdict.map(|verdict| &verdict.progress) {
            Some(Progress::Applied) => self.counts.applied += 1,
            Some(Progress::Failed { stuck, object, why }) => self.add_failed(cluster, *stuck, object, why),
            Some(Progress::Pending(object)) => self.add_pending(cluster, object.as_deref(), connected),
            None => self.add_pending(cluster, None, connected),
        }
        if let Some(verdict) = verdict {
            self.add_health(cluster, verdict);
            note(&mut self.contested, cluster, verdict.contested.first());
            note(&mut self.paused, cluster, verdict.paused.as_ref());
        }
    }

    fn add_failed(&mut self, cluster: &ClusterKey, stuck: bool, object: &str, why: &str) {
        self.counts.failed += 1;
        let told = format!("{cluster}: {object}: {why}");
        if stuck {
            self.first_stuck.get_or_insert_with(|| told.clone());
        }
        self.first_failed.get_or_insert(told);
        self.name(cluster, object, "ApplyFailed", why);
    }

    fn add_pending(&mut self, cluster: &ClusterKey, object: Option<&str>, connected: bool) {
        self.counts.pending += 1;
        self.moving += i32::from(connected);
        self.first_pending.get_or_insert_with(|| object.map_or_else(|| cluster.to_string(), |object| format!("{cluster}: {object}")));
    }

    fn add_health(&mut self, cluster: &ClusterKey, verdict: &Verdict) {
        let Wellness { level, object, reason, message } = &verdict.health;
        let applied = verdict.progress == Progress::Applied;
        match level {
            HealthLevel::Unhealthy => {
                self.counts.unhealthy += 1;
                let told = [cluster.to_string(), object.clone(), reason.clone(), message.clone()];
                let told: Vec<String> = told.into_iter().filter(|part| !part.is_empty()).collect();
                self.first_unhealthy.get_or_insert_with(|| (reason.clone(), told.join(": ")));
                self.name(cluster, object, reason, message);
            }
            HealthLevel::Progressing => {
                self.counts.progressing += 1;
                self.looking += i32::from(verdict.connected);
                self.first_progressing.get_or_insert_with(|| format!("{cluster}: {object}"));
            }
            HealthLevel::Unknown if applied => {
                self.looking += i32::from(verdict.connected);
                self.first_unseen.get_or_insert_with(|| format!("{cluster}: {object}"));
            }
            HealthLevel::Healthy | HealthLevel::Finished if applied => self.counts.healthy += 1,
            _ => {}
        }
    }

    /// Names each cluster once, by what was found first.
    fn name(&mut self, cluster: &ClusterKey, object: &str, reason: &str, message: &str) {
        let cluster = cluster.to_string();
        if self.unhealthy.len() < MAX_UNHEALTHY && self.unhealthy.last().is_none_or(|last| last.cluster != cluster) {
            let (object, reason, message) = (object.to_owned(), reason.to_owned(), shortened(message));
            self.unhealthy.push(UnhealthyCluster { cluster, object, reason, message });
        }
    }

    /// The conditions Applied, Healthy, Ready, Progressing and Stalled.
    pub fn sayings(&self) -> [Saying; 5] {
        let healthy = self.healthy();
        let ready = Saying { kind: "Ready", message: healthy.message.clone(), reason: healthy.reason.clone(), ..healthy };
        [self.applied(), healthy, ready, self.progressing(), self.stalled()]
    }

    /// The conditions Contested and Paused; none where there is nothing of the kind.
    pub fn disputes(&self) -> impl Iterator<Item = Saying> {
        let say = |kind, reason, what: &str, (clusters, first): &(i32, Option<String>)| {
            let message = format!("{what} on {clusters} clusters; first {}", first.as_ref()?);
            Some(Saying::new(kind, "True", reason, message))
        };
        let contested = say("Contested", "ChangedByOthers", "somebody else changes what is applied", &self.contested);
        let paused = say("Paused", "PausedOnMember", "objects annotated clusternet.io/paused are left as they are", &self.paused);
        contested.into_iter().chain(paused)
    }

    fn applied(&self) -> Saying {
        let (counts, say) = (&self.counts, |status, reason, message: String| Saying::new("Applied", status, reason, message));
        let of = format!("{} of {} clusters", counts.applied, counts.clusters);
        if let Some(first) = &self.first_failed {
            return say("False", "ApplyFailed", format!("applied on {of}, refused on {}; first {first}", counts.failed));
        }
        match (&self.first_pending, self.moving) {
            (None, _) if counts.clusters == 0 => say("Unknown", "NoClusters", "bound to no cluster".to_owned()),
            (None, _) => say("True", "Applied", format!("applied on {of}")),
            (Some(first), 0) => say("Unknown", "ClustersOffline", format!("applied on {of}; the others are offline; first {first}")),
            (Some(first), _) => say("False", "Progressing", format!("applied on {of}; waiting for {}; first {first}", counts.pending)),
        }
    }

    fn healthy(&self) -> Saying {
        let counts = &self.counts;
        let say = |status, reason: &str, message: String| Saying::new("Healthy", status, reason, message);
        let of = format!("healthy on {} of {} clusters", counts.healthy, counts.clusters);
        if let Some((reason, first)) = &self.first_unhealthy {
            return say("False", or_else(reason, "Unhealthy"), format!("{of}, unhealthy on {}; first {first}", counts.unhealthy));
        }
        if let Some(first) = &self.first_failed {
            return say("False", "ApplyFailed", format!("{of}, refused on {}; first {first}", counts.failed));
        }
        if counts.clusters == 0 {
            return say("Unknown", "NoClusters", "bound to no cluster".to_owned());
        }
        if counts.offline == counts.clusters {
            return say("Unknown", "ClustersOffline", format!("every cluster is offline; {of} when last heard from"));
        }
        if let Some(first) = self.first_progressing.as_ref().or(self.first_pending.as_ref().filter(|_| self.moving > 0)) {
            return say("False", "Progressing", format!("{of}; the others are on their way; first {first}"));
        }
        if let Some(first) = &self.first_pending {
            return say("Unknown", "ClustersOffline", format!("{of}; the others are offline; first {first}"));
        }
        if let Some(first) = &self.first_unseen {
            return say("Unknown", "NotObserved", format!("{of}; nothing is known of the others yet; first {first}"));
        }
        let away = if counts.offline > 0 { format!("; {} of them offline and as last heard", counts.offline) } else { String::new() };
        say("True", "Healthy", format!("{of}{away}"))
    }

    fn progressing(&self) -> Saying {
        let first = self.first_pending.as_ref().or(self.first_progressing.as_ref()).or(self.first_unseen.as_ref());
        match first.filter(|_| self.moving + self.looking > 0) {
            Some(first) => Saying::new("Progressing", "True", "Progressing", format!("on its way; first {first}")),
            None if self.first_stuck.is_some() || self.first_unhealthy.is_some() => {
                Saying::new("Progressing", "False", "Stalled", "see the condition Stalled")
            }
            None if self.first_failed.is_some() => Saying::new("Progressing", "True", "Retrying", "what was refused is tried again"),
            None if first.is_some() => {
                Saying::new("Progressing", "False", "ClustersOffline", "what is missing waits for clusters that are offline")
            }
            None => Saying::new("Progressing", "False", "Complete", "nothing is on its way"),
        }
    }

    fn stalled(&self) -> Saying {
        let say = |status, reason: &str, message: &str| Saying::new("Stalled", status, reason, message);
        match (&self.first_stuck, &self.first_unhealthy) {
            (Some(first), _) => say("True", "ApplyFailed", &format!("trying again will not help; first {first}")),
            (None, Some((reason, first))) => say("True", or_else(reason, "Unhealthy"), &format!("unhealthy; first {first}")),
            (None, None) => say("False", "NotStalled", "nothing waits for a person"),
        }
    }
}

fn note((clusters, first): &mut (i32, Option<String>), cluster: &ClusterKey, found: Option<&String>) {
    let Some(found) = found else { return };
    *clusters += 1;
    first.get_or_insert_with(|| format!("{cluster}: {found}"));
}

/// What a member gave as reason, if the API takes it as one.
fn or_else<'a>(reason: &'a str, otherwise: &'a str) -> &'a str {
    let begins = reason.starts_with(|c: char| c.is_ascii_alphabetic());
    let ends = reason.ends_with(|c: char| c.is_ascii_alphanumeric() || c == '_');
    let fits = reason.len() <= 256 && reason.chars().all(|c| c.is_ascii_alphanumeric() || "_,:".contains(c));
    if begins && ends && fits { reason } else { otherwise }
}

/// A hundred of these stand in one status.
fn shortened(message: &str) -> String {
    const MOST: usize = 256;
    if message.len() <= MOST { message.to_owned() } else { format!("{}...", &message[..message.floor_char_boundary(MOST - 3)]) }
}
