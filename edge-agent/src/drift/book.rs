//! What is known of each applied object, and which one is looked at next. Pure; the latest wins, nothing is queued.

use std::collections::{BTreeMap, BTreeSet};

use bus_schema::id::{Millis, ObjectId};
use bus_schema::message::{Health, Level};

use super::Drift;
use crate::cluster::health::Verdict;
use crate::cluster::projection::Projection;

/// Least time between two looks at one object.
const COALESCE: Millis = 1_000;
/// First pause before an unwell workload's pods are asked again; grows by half to [`MAX_UNWELL`].
const FIRST_UNWELL: Millis = 2_000;
const MAX_UNWELL: Millis = 30_000;
/// Doublings of the pause between corrections that are asked for in vain.
const MAX_IN_VAIN: u32 = 9;
/// How long pods may find no node before their object counts as unwell: a node that restarts or is being added comes back within it,
/// and a shop without room for its till is to be seen by somebody.
const UNSCHEDULABLE: Millis = 300_000;
/// Pause after a look that failed.
const RETRY: Millis = 5_000;

/// A kind that is watched.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Kind {
    pub group: String,
    pub version: String,
    pub kind: String,
}

/// One look that is to be taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Look {
    pub object: ObjectId,
    pub version: String,
    epoch: u64,
}

/// What a look has seen.
#[derive(Debug, Clone, PartialEq)]
pub enum Seen {
    Gone,
    Live(Box<Sight>),
    /// Nobody knows.
    Failed,
}

/// The live object.
#[derive(Debug, Clone, PartialEq)]
pub struct Sight {
    pub resource_version: String,
    pub deleting: bool,
    pub projection: Option<Projection>,
    /// An autoscaler sets the replica count.
    pub autoscaled: bool,
    pub verdict: Verdict,
}

/// What follows from a look or an apply.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Told {
    /// Health that is news, and whether a run-once has run.
    pub health: Option<(Health, bool)>,
    /// Apply it again now.
    pub drifted: bool,
}

#[derive(Debug, Default)]
struct Entry {
    version: String,
    /// Version of the live object that needs no look.
    seen: String,
    present: bool,
    /// What the server answered to the last apply.
    baseline: Option<Projection>,
    drift: Option<Drift>,
    /// Counts applies: a look that began before one says nothing.
    epoch: u64,
    applying: bool,
    looking: bool,
    looked: Option<Millis>,
    due: Option<Millis>,
    unwell: Millis,
    asked: Option<Millis>,
    /// Corrections asked for in vain: the object is not desired as it is, or its content is refused.
    in_vain: u32,
    verdict: Verdict,
    /// Since when its pods are seen to find no node.
    homeless: Option<Millis>,
    told: Option<Health>,
    /// What admission makes of the content that was applied last.
    rewritten: String,
}

/// Every object that was applied or found.
#[derive(Debug, Default)]
pub struct Book {
    entries: BTreeMap<ObjectId, Entry>,
    agenda: BTreeSet<(Millis, ObjectId)>,
}

impl Book {
    /// An object of ours that the survey found. Nothing is known of it but that this version needs no apply, or gets one.
    pub fn found(&mut self, object: &ObjectId, version: &str, resource_version: &str, now: Millis) {
        let entry = self.entries.entry(object.clone()).or_default();
        (entry.version, entry.present) = (version.to_owned(), true);
        resource_version.clone_into(&mut entry.seen);
        self.schedule(object, now);
    }

    /// The kinds that have objects.
    pub fn kinds(&self) -> BTreeSet<Kind> {
        let present = self.entries.iter().filter(|(_, entry)| entry.present || entry.applying);
        present
            .map(|(object, entry)| Kind { group: object.group.clone(), version: entry.version.clone(), kind: object.kind.clone() })
            .collect()
    }

    /// The doorbell rang for an object in this version; the echo of our own apply is no news.
    pub fn changed(&mut self, object: &ObjectId, resource_version: &str, now: Millis) {
        if self.entries.get(object).is_some_and(|entry| entry.seen != resource_version) {
            self.rang(object, now);
        }
    }

    /// It is gone, or hidden from the doorbell.
    pub fn gone(&mut self, object: &ObjectId, now: Millis) {
        if self.entries.get(object).is_some_and(|entry| entry.present) {
            self.rang(object, now);
        }
    }

    /// A run-once has run; whether it is still there is another question, and it may be gone before it is looked at.
    pub fn ended(&mut self, object: &ObjectId, verdict: Verdict, now: Millis) {
        if let Some(entry) = self.entries.get_mut(object) {
            entry.verdict = verdict;
            self.schedule(object, now);
        }
    }

    /// All objects of a kind that are there: the others are gone.
    pub fn listed(&mut self, kind: &Kind, there: &BTreeSet<ObjectId>, now: Millis) {
        let of_kind = |object: &ObjectId| object.group == kind.group && object.kind == kind.kind;
        let missing: Vec<_> = self.entries.keys().filter(|object| of_kind(object) && !there.contains(object)).cloned().collect();
        missing.iter().for_each(|object| self.gone(object, now));
    }

    fn rang(&mut self, object: &ObjectId, now: Millis) {
        let Some(entry) = self.entries.get_mut(object) else { return };
        entry.unwell = 0;
        let due = entry.looked.map_or(now, |looked| (looked + COALESCE).max(now));
        self.schedule(object, due);
    }

    fn schedule(&mut self, object: &ObjectId, due: Millis) {
        let Some(entry) = self.entries.get_mut(object) else { return };
        if entry.due.is_some_and(|known| known <= due) {
            return;
        }
        if let Some(known) = entry.due.replace(due) {
            self.agenda.remove(&(known, object.clone()));
        }
        self.agenda.insert((due, object.clone()));
    }

    /// When the next look is due.
    pub fn due(&self) -> Option<Millis> {
        self.agenda.first().map(|(due, _)| *due)
    }

    /// The next look, if one is due. While one is under way or an apply is, the object waits for its end.
    pub fn next(&mut self, now: Millis) -> Option<Look> {
        loop {
            let (_, object) = self.agenda.first().filter(|(due, _)| *due <= now)?.clone();
            self.agenda.pop_first();
            let Some(entry) = self.entries.get_mut(&object) else { continue };
            if entry.looking || entry.applying {
                continue;
            }
            (entry.due, entry.looking, entry.looked) = (None, true, Some(now));
            return Some(Look { version: entry.version.clone(), epoch: entry.epoch, object });
        }
    }

    /// Whether the replica count, and so perhaps an autoscaler, is all that differs.
    pub fn replicas_differ(&self, object: &ObjectId, projection: &Projection) -> bool {
        let baseline = self.entries.get(object).and_then(|entry| entry.baseline.as_ref());
        baseline.is_some_and(|baseline| baseline.replicas != projection.replicas)
    }

    fn has_ended(&self, object: &ObjectId) -> bool {
        self.entries.get(object).is_some_and(|entry| entry.verdict.ended)
    }

    /// A look has ended.
    pub fn looked(&mut self, look: &Look, seen: Seen, now: Millis) -> Told {
        let Some(entry) = self.entries.get_mut(&look.object) else { return Told::default() };
        entry.looking = false;
        let missed = entry.due.take();
        if let Some(missed) = missed {
            self.agenda.remove(&(missed, look.object.clone()));
        }
        let outdated = entry.epoch != look.epoch || entry.applying;
        let missed = missed.map(|due| due.max(now + COALESCE)).or(outdated.then_some(now));
        if let Some(due) = missed {
            self.schedule(&look.object, due);
        }
        if outdated {
            return Told::default();
        }
        match seen {
            Seen::Failed => {
                self.schedule(&look.object, now + RETRY);
                Told::default()
            }
            Seen::Gone if self.has_ended(&look.object) => Told { health: self.news(&look.object), drifted: false },
            Seen::Gone => Told { health: None, drifted: self.drifted(&look.object, now) },
            Seen::Live(sight) => self.saw(&look.object, *sight, now),
        }
    }

    fn saw(&mut self, object: &ObjectId, sight: Sight, now: Millis) -> Told {
        let Some(entry) = self.entries.get_mut(object) else { return Told::default() };
        let unchanged = entry.seen == sight.resource_version;
        entry.seen = sight.resource_version;
        entry.present = true;
        entry.verdict = sight.verdict;
        let ended = entry.verdict.ended;
        if entry.baseline.is_none() && unchanged {
            // Nothing was applied since the survey took this version as it is.
            entry.baseline.clone_from(&sight.projection);
        }
        let differs = sight.projection.as_ref().is_some_and(|projection| entry.differs(projection, sight.autoscaled));
        let correct = differs && !sight.deleting && !entry.verdict.health.paused && !ended;
        let drifted = correct && self.drifted(object, now);
        if !differs {
            self.calm_down(object, now);
        }
        self.look_again_if_unwell(object, now);
        self.lose_patience(object, now);
        Told { health: self.news(object), drifted }
    }

    /// Whether a drift that was seen is to be corrected now; else it is looked at again when it may be.
    fn drifted(&mut self, object: &ObjectId, now: Millis) -> bool {
        let Some(entry) = self.entries.get_mut(object) else { return false };
        let patience = COALESCE << entry.in_vain.min(MAX_IN_VAIN);
        let next = entry.drift.as_ref().map_or(0, Drift::next).max(entry.asked.map_or(0, |asked| asked + patience));
        if next > now {
            self.schedule(object, next);
            return false;
        }
        (entry.asked, entry.in_vain) = (Some(now), entry.in_vain.saturating_add(1));
        true
    }

    fn calm_down(&mut self, object: &ObjectId, now: Millis) {
        let Some(entry) = self.entries.get_mut(object) else { return };
        (entry.asked, entry.in_vain) = (None, 0);
        let Some(calm) = entry.drift.as_ref().map(Drift::calm) else { return };
        match calm <= now {
            true => entry.drift = None,
            false if entry.drift.as_ref().is_some_and(|drift| drift.contested().is_some()) => self.schedule(object, calm),
            false => {}
        }
    }

    fn look_again_if_unwell(&mut self, object: &ObjectId, now: Millis) {
        let Some(entry) = self.entries.get_mut(object).filter(|entry| entry.verdict.pods.is_some()) else { return };
        entry.unwell = (entry.unwell + entry.unwell / 2).clamp(FIRST_UNWELL, MAX_UNWELL);
        let due = now + entry.unwell;
        self.schedule(object, due);
    }

    /// What its controllers call progress for ever is unwell after a while.
    fn lose_patience(&mut self, object: &ObjectId, now: Millis) {
        let Some(entry) = self.entries.get_mut(object) else { return };
        let health = &mut entry.verdict.health;
        if health.reason != "Unschedulable" {
            entry.homeless = None;
            return;
        }
        let due = *entry.homeless.get_or_insert(now) + UNSCHEDULABLE;
        match due <= now {
            true => health.level = Level::Unhealthy as i32,
            false => self.schedule(object, due),
        }
    }

    /// Health, unless it is as it was told; other words for the same reason are no news.
    fn news(&mut self, object: &ObjectId) -> Option<(Health, bool)> {
        let entry = self.entries.get_mut(object)?;
        let mut health = entry.verdict.health.clone();
        health.contested = entry.drift.as_ref().and_then(Drift::contested).unwrap_or(&entry.rewritten).to_owned();
        if !health.contested.is_empty() && health.reason.is_empty() {
            health.reason = "Contested".into();
        }
        if let Some(told) = entry.told.as_ref().filter(|told| told.level == health.level && told.reason == health.reason) {
            health.message.clone_from(&told.message);
        }
        let news = entry.told.as_ref() != Some(&health);
        entry.told = Some(health.clone());
        news.then_some((health, entry.verdict.ended))
    }

    /// An apply begins.
    pub fn applying(&mut self, object: &ObjectId, version: &str) {
        let entry = self.entries.entry(object.clone()).or_default();
        version.clone_into(&mut entry.version);
        entry.applying = true;
        entry.epoch += 1;
    }

    /// An apply has ended well; `corrected` is what somebody had changed.
    pub fn applied(&mut self, object: &ObjectId, sight: Sight, corrected: Option<String>, now: Millis) -> Option<(Health, bool)> {
        let entry = self.entries.get_mut(object)?;
        entry.end_apply();
        (entry.present, entry.seen) = (true, sight.resource_version);
        if sight.projection.is_some() {
            entry.baseline = sight.projection;
        }
        if let Some(culprit) = corrected {
            match &mut entry.drift {
                Some(drift) => drift.again(culprit, now),
                None => entry.drift = Some(Drift::begin(culprit, now)),
            }
        }
        let pods = sight.verdict.pods.is_some();
        entry.verdict = sight.verdict;
        entry.rewritten = std::mem::take(&mut entry.verdict.health.contested);
        // What its pods said is better than nothing until they are asked again.
        if let Some(told) = entry.told.as_ref().filter(|told| pods && told.level > entry.verdict.health.level) {
            let (level, reason, message) = (told.level, told.reason.clone(), told.message.clone());
            let health = &mut entry.verdict.health;
            (health.level, health.reason, health.message) = (level, reason, message);
        }
        entry.unwell = 0;
        entry.looked = Some(now);
        if pods {
            self.schedule(object, now + COALESCE);
        }
        self.look_at_what_was_missed(object, now);
        self.news(object)
    }

    /// An apply has ended badly: what is there is looked at.
    pub fn not_applied(&mut self, object: &ObjectId, now: Millis) {
        let Some(entry) = self.entries.get_mut(object) else { return };
        entry.end_apply();
        match entry.present {
            true => self.look_at_what_was_missed(object, now),
            false => self.forget(object),
        }
    }

    /// A look that came due during the apply left the agenda.
    fn look_at_what_was_missed(&mut self, object: &ObjectId, now: Millis) {
        let missed = self.entries.get_mut(object).and_then(|entry| entry.due.take());
        if let Some(due) = missed {
            self.agenda.remove(&(due, object.clone()));
            self.schedule(object, due.max(now));
        }
    }

    /// It is not ours to keep any more.
    pub fn forget(&mut self, object: &ObjectId) {
        if let Some(due) = self.entries.remove(object).and_then(|entry| entry.due) {
            self.agenda.remove(&(due, object.clone()));
        }
    }

    /// It is not there: its kind needs no doorbell for its sake.
    pub fn absent(&mut self, object: &ObjectId) {
        if let Some(entry) = self.entries.get_mut(object) {
            entry.present = false;
        }
    }
}

impl Entry {
    fn differs(&self, projection: &Projection, autoscaled: bool) -> bool {
        let Some(baseline) = &self.baseline else { return true };
        baseline.hash != projection.hash || (baseline.replicas != projection.replicas && !autoscaled)
    }

    fn end_apply(&mut self) {
        self.applying = false;
        self.epoch += 1;
        (self.asked, self.in_vain) = (None, 0);
    }
}

#[cfg(test)]
mod tests;
