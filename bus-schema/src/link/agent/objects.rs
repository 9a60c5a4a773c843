//! What to do on the member: apply what is held and not applied, remove what is proven to be gone, in order.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use super::{Agent, AgentWrite, Ended, Item, Live};
use crate::hash::Hash;
use crate::id::{BundleId, Millis, ObjectId};
use crate::limits::{MAX_MESSAGE, POLL_REMOVING, RETRY_FIRST, RETRY_KEPT, RETRY_MAX, RETRY_REFUSED};
use crate::list::Wanted;
use crate::message::{Health, Level};
use crate::order::phase;
use crate::planted::{Bug, is_planted};
use crate::status::{State, Status};

/// Something to do on the member. The outcome is told with `applied` or `removed`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    Apply {
        object: ObjectId,
        version: String,
        hash: Hash,
    },
    /// `live` is what must still be there; without it whatever carries our mark is meant.
    Remove {
        object: ObjectId,
        version: String,
        live: Option<Live>,
    },
}

/// How an apply ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ApplyOutcome {
    Applied(Live),
    /// The API server will not have it, now and until something changes.
    Refused {
        code: u32,
        message: String,
    },
    /// Not now, or the answer was lost. Also for an object that is being deleted: it would go in spite of the apply.
    Unavailable {
        code: u32,
        message: String,
    },
}

/// How a removal ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RemoveOutcome {
    /// Deleted, released because it was adopted, or not ours any more.
    Gone,
    /// Deletion is under way.
    Deleting,
    /// Somebody else's things are in it.
    Kept {
        message: String,
    },
    Unavailable {
        code: u32,
        message: String,
    },
}

/// An object of ours that the member has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    pub object: ObjectId,
    pub version: String,
    pub live: Live,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Doing {
    /// The doubt that it answers; later ones stay.
    Apply {
        hash: Hash,
        doubted: bool,
    },
    Remove,
}

/// What came of the last try.
#[derive(Debug)]
struct Outcome {
    /// The content that was tried; `None` for a removal.
    hash: Option<Hash>,
    status: Status,
    tries: u32,
    next: Millis,
}

#[derive(Debug, Default)]
pub(super) struct Objects {
    /// The member has been asked which objects of ours it has.
    surveyed: bool,
    /// Objects that may differ from what was applied.
    doubted: BTreeSet<ObjectId>,
    apply: BTreeSet<(u8, ObjectId)>,
    remove: BTreeSet<(Reverse<u8>, ObjectId)>,
    in_flight: BTreeMap<ObjectId, Doing>,
    outcomes: BTreeMap<ObjectId, Outcome>,
    retries: BTreeSet<(Millis, ObjectId)>,
    /// How objects did when they were looked at last; in memory only, flash is not worn out for it.
    health: BTreeMap<ObjectId, Health>,
}

impl Agent {
    /// All objects of ours that the member has. Until it is told nothing is done there.
    pub fn surveyed(&mut self, found: Vec<Found>, now: Millis) {
        let seen: BTreeMap<ObjectId, Found> = found.into_iter().map(|found| (found.object.clone(), found)).collect();
        let mut remade = Vec::new();
        for (object, item) in &self.state.items {
            let found = seen.get(object).map(|found| &found.live);
            // One without a known live object may be missing because an apply was not answered before a crash.
            if item.applied.is_some() && (found.is_none() || found != item.live.as_ref()) {
                self.objects.doubted.insert(object.clone());
            }
            if let Some(found) = found.filter(|found| item.live.as_ref().is_none_or(|live| live.uid != found.uid)) {
                // Known by its true UID, or else it could not be deleted; the old version keeps it in doubt over a crash.
                let resource_version = item.live.as_ref().map_or(String::new(), |live| live.resource_version.clone());
                remade.push((object.clone(), Item { live: Some(Live { resource_version, ..found.clone() }), ..item.clone() }));
            }
        }
        for (object, item) in remade {
            self.write(AgentWrite::Item(object, Some(item)));
        }
        let unknown: Vec<_> = seen.into_values().filter(|found| !self.state.items.contains_key(&found.object)).collect();
        for Found { object, version, live } in unknown {
            self.write(AgentWrite::Item(object, Some(Item { version, live: Some(live), ..Item::default() })));
        }
        self.objects.surveyed = true;
        self.plan_all(now);
        self.report.schedule(now);
    }

    /// The live object may differ from what was applied: look again. While an apply is under way the doubt outlives it, so a shell
    /// says this only of changes that are not the echo of its own.
    pub fn doubt(&mut self, object: &ObjectId, now: Millis) {
        let applied = self.state.items.get(object).is_some_and(|item| item.applied.is_some());
        if applied || self.objects.in_flight.contains_key(object) {
            self.objects.doubted.insert(object.clone());
            self.plan(object, now);
        }
    }

    /// How an object does. `ended` says that a run-once has run, well or not: then it is never made again for the same content.
    pub fn health(&mut self, object: &ObjectId, health: Health, ended: bool, now: Millis) {
        let Some(item) = self.state.items.get(object) else { return };
        let failed = health.level != Level::Finished as i32;
        let ended = item.applied.filter(|_| ended).map(|hash| Ended { hash, failed });
        if ended.is_some() && item.ended != ended {
            self.write(AgentWrite::Item(object.clone(), Some(Item { ended, ..item.clone() })));
        }
        if self.objects.health.get(object) != Some(&health) {
            self.report.schedule_health(&health, now);
            self.objects.health.insert(object.clone(), health);
            let row = self.row_with_health(object);
            self.table.set(object.clone(), row);
        }
    }

    /// Facts about the cluster, JSON.
    pub fn set_facts(&mut self, facts: Vec<u8>, now: Millis) {
        if self.state.facts != facts {
            self.write(AgentWrite::Facts(facts));
            self.refresh_facts();
            self.report.schedule(now);
        }
    }

    fn refresh_facts(&mut self) {
        let row = (!self.state.facts.is_empty()).then(|| Status { facts: self.state.facts.clone(), ..Status::of(State::Applied, None) });
        self.table.set(ObjectId::default(), row);
    }

    /// An apply has ended.
    pub fn applied(&mut self, object: &ObjectId, hash: Hash, outcome: ApplyOutcome, now: Millis) {
        let doing = self.objects.in_flight.remove(object);
        let done = matches!(outcome, ApplyOutcome::Applied(_));
        // What was not answered may have been done: should the earlier content be desired again, it is no longer certain.
        let uncertain = matches!(outcome, ApplyOutcome::Unavailable { .. });
        if uncertain || (!done && matches!(doing, Some(Doing::Apply { doubted: true, .. }))) {
            self.objects.doubted.insert(object.clone());
        }
        match outcome {
            ApplyOutcome::Applied(live) => {
                let version = self.version_of(object);
                self.objects.outcomes.remove(object);
                self.write(AgentWrite::Item(object.clone(), Some(Item { version, live: Some(live), applied: Some(hash), ended: None })));
            }
            ApplyOutcome::Refused { code, message } => self.note(object, Some(hash), State::Refused, code, message, RETRY_REFUSED, now),
            ApplyOutcome::Unavailable { code, message } => {
                let pause = self.back_off(object);
                self.forget_live(object);
                self.note(object, Some(hash), State::Failed, code, message, pause, now);
            }
        }
        self.plan(object, now);
        self.report.schedule_busy(now);
    }

    /// It may have been made anew although the answer was lost: a removal must not insist on the old UID.
    fn forget_live(&mut self, object: &ObjectId) {
        let known = self.state.items.get(object).filter(|item| item.live.is_some()).cloned();
        if let Some(item) = known {
            self.write(AgentWrite::Item(object.clone(), Some(Item { live: None, ..item })));
        }
    }

    /// A removal has ended.
    pub fn removed(&mut self, object: &ObjectId, outcome: RemoveOutcome, now: Millis) {
        self.objects.in_flight.remove(object);
        match outcome {
            RemoveOutcome::Gone => self.forget(object),
            RemoveOutcome::Deleting => self.note(object, None, State::Removing, 0, String::new(), POLL_REMOVING, now),
            RemoveOutcome::Kept { message } => self.note(object, None, State::Kept, 0, message, RETRY_KEPT, now),
            RemoveOutcome::Unavailable { code, message } => {
                let pause = self.back_off(object);
                self.note(object, None, State::Removing, code, message, pause, now);
            }
        }
        self.plan(object, now);
        self.report.schedule_busy(now);
    }

    fn forget(&mut self, object: &ObjectId) {
        for bundle in self.removals_of(object).into_keys() {
            self.write(AgentWrite::Removal(object.clone(), bundle, None));
        }
        self.write(AgentWrite::Item(object.clone(), None));
        self.objects.outcomes.remove(object);
        self.objects.doubted.remove(object);
        self.objects.health.remove(object);
    }

    fn back_off(&self, object: &ObjectId) -> Millis {
        let tries = self.objects.outcomes.get(object).map_or(0, |outcome| outcome.tries);
        (RETRY_FIRST << tries.min(10)).min(RETRY_MAX)
    }

    #[allow(clippy::too_many_arguments)] // the fields of one record
    fn note(&mut self, object: &ObjectId, hash: Option<Hash>, state: State, code: u32, message: String, pause: Millis, now: Millis) {
        let tries = self.objects.outcomes.get(object).map_or(0, |outcome| outcome.tries) + 1;
        let message = message.chars().take(MAX_MESSAGE).collect();
        let status = Status { code, message, ..Status::of(state, hash) };
        self.objects.outcomes.insert(object.clone(), Outcome { hash, status, tries, next: now + pause });
    }

    /// Looks at every object again.
    pub(super) fn plan_all(&mut self, now: Millis) {
        self.refresh_facts();
        for object in self.known_objects() {
            self.plan(&object, now);
        }
        let known = self.known_objects();
        self.table.rows.retain(|object, _| object.kind.is_empty() || known.contains(object));
        self.objects.health.retain(|object, _| known.contains(object));
    }

    /// Looks at the objects whose content was lacking.
    pub(super) fn plan_lacking(&mut self, now: Millis) {
        let pending = self.table.rows.iter().filter(|(_, status)| status.state != State::Applied);
        let pending: BTreeSet<_> = pending.map(|(object, _)| object).chain(&self.objects.doubted).cloned().collect();
        for object in pending {
            self.plan(&object, now);
        }
    }

    /// Decides anew what is to be done about one object, and what its row says.
    fn plan(&mut self, object: &ObjectId, now: Millis) {
        self.doubt_if_wanted_again(object);
        self.objects.apply.remove(&(phase(object), object.clone()));
        self.objects.remove.remove(&(Reverse(phase(object)), object.clone()));
        let recovering = self.state.list.as_ref().is_some_and(|list| list.recover);
        if !recovering && !self.objects.in_flight.contains_key(object) {
            if let Some(hash) = self.to_apply(object) {
                self.queue(object, Some(hash), now);
            } else if self.is_to_go(object) {
                self.queue(object, None, now);
            }
        }
        let row = self.row_with_health(object);
        self.table.set(object.clone(), row);
    }

    /// A removal was tried, and perhaps done, before the object was desired again.
    fn doubt_if_wanted_again(&mut self, object: &ObjectId) {
        let removal_tried = self.objects.outcomes.get(object).is_some_and(|outcome| outcome.hash.is_none());
        if !removal_tried || self.list.claims(object).is_empty() {
            return;
        }
        self.objects.outcomes.remove(object);
        if self.state.items.get(object).is_some_and(|item| item.applied.is_some()) {
            self.objects.doubted.insert(object.clone());
        }
    }

    fn queue(&mut self, object: &ObjectId, hash: Option<Hash>, now: Millis) {
        let waiting = self.objects.outcomes.get(object).filter(|outcome| outcome.hash == hash && outcome.next > now);
        if let Some(outcome) = waiting {
            self.objects.retries.insert((outcome.next, object.clone()));
            return;
        }
        match hash {
            Some(_) => {
                self.intend(object);
                self.objects.apply.insert((phase(object), object.clone()));
            }
            None => drop(self.objects.remove.insert((Reverse(phase(object)), object.clone()))),
        }
    }

    /// The inventory knows an object before the member does.
    fn intend(&mut self, object: &ObjectId) {
        if !self.state.items.contains_key(object) {
            let version = self.version_of(object);
            self.write(AgentWrite::Item(object.clone(), Some(Item { version, ..Item::default() })));
        }
    }

    fn version_of(&self, object: &ObjectId) -> String {
        let listed = self.list.claims(object).first().map(|claim| claim.version.clone());
        listed.or_else(|| self.state.items.get(object).map(|item| item.version.clone())).unwrap_or_default()
    }

    /// The content that is to be applied now, if any.
    fn to_apply(&self, object: &ObjectId) -> Option<Hash> {
        let applied = self.state.items.get(object).and_then(|item| item.applied);
        let wanted = match self.list.claims(object).first()?.wanted {
            Wanted::Keep => applied?,
            Wanted::Content { hash, .. } => hash,
        };
        let doubted = self.objects.doubted.contains(object) && self.ended(object).is_none_or(|ended| ended.hash != wanted);
        (self.state.contents.contains_key(&wanted) && (applied != Some(wanted) || doubted)).then_some(wanted)
    }

    /// Whether no claim is left and every removal is proven.
    fn is_to_go(&self, object: &ObjectId) -> bool {
        let removals = self.removals_of(object);
        if is_planted(Bug::AbsenceIsDelete) && self.list.claims(object).is_empty() {
            return self.state.list.is_some();
        }
        let claimed = !self.list.claims(object).is_empty() && !is_planted(Bug::ClaimCountIgnored) && !is_planted(Bug::UidAsIdentity);
        !claimed && !removals.is_empty() && removals.values().all(|removal| removal.proven)
    }

    /// Objects of ours that no list named: nobody knows why they are there.
    pub(super) fn orphans(&self) -> Vec<ObjectId> {
        let unnamed = |object: &&ObjectId| self.list.claims(object).is_empty() && self.removals_of(object).is_empty();
        self.state.items.keys().filter(unnamed).cloned().collect()
    }

    fn ended(&self, object: &ObjectId) -> Option<Ended> {
        self.state.items.get(object).and_then(|item| item.ended)
    }

    /// What the table says about an object. Content that changes keeps the health until it is looked at again.
    fn row_with_health(&self, object: &ObjectId) -> Option<Status> {
        let remembered = || self.ended(object).map(Ended::health);
        let health = self.objects.health.get(object).cloned().or_else(remembered);
        self.row(object).map(|row| Status { health, ..row })
    }

    fn row(&self, object: &ObjectId) -> Option<Status> {
        let applied = self.state.items.get(object).and_then(|item| item.applied);
        let outcome = self.objects.outcomes.get(object);
        let Some(claim) = self.list.claims(object).first() else { return self.row_of_leaving(object, outcome) };
        let Wanted::Content { hash, size, .. } = claim.wanted else {
            return Some(Status::of(if applied.is_some() { State::Applied } else { State::Pending }, applied));
        };
        if self.rejects(size) {
            let message = format!("the object has {size} bytes, this member takes {}", self.config.max_object);
            return Some(Status { message, ..Status::of(State::Rejected, Some(hash)) });
        }
        match outcome {
            Some(outcome) if outcome.hash == Some(hash) => Some(outcome.status.clone()),
            _ if applied == Some(hash) => Some(Status::of(State::Applied, Some(hash))),
            _ => Some(Status::of(State::Pending, Some(hash))),
        }
    }

    fn row_of_leaving(&self, object: &ObjectId, outcome: Option<&Outcome>) -> Option<Status> {
        let removals = self.removals_of(object);
        let has_item = self.state.items.contains_key(object);
        let stored = self.state.list.as_ref().is_some_and(|list| !list.recover);
        match outcome.filter(|outcome| outcome.hash.is_none()) {
            Some(outcome) => Some(outcome.status.clone()),
            None if removals.values().any(|removal| !removal.proven) => Some(Status::of(State::Unclaimed, None)),
            None if !removals.is_empty() => Some(Status::of(State::Removing, None)),
            None if has_item && stored && self.objects.surveyed => Some(Status::of(State::Unclaimed, None)),
            None => None,
        }
    }

    /// The next thing to do: applies by phase, then removals the other way round. Nothing is begun for a list that the hub has replaced:
    /// a member sees the newest state only, whatever piled up behind a cut.
    pub(super) fn next_action(&mut self, _now: Millis) -> Option<Action> {
        if self.transfer.fetches_list() || !self.objects.surveyed || self.objects.in_flight.len() >= self.config.max_in_flight {
            return None;
        }
        self.next_apply().or_else(|| self.next_remove())
    }

    fn next_apply(&mut self) -> Option<Action> {
        loop {
            let (first, object) = self.objects.apply.first()?.clone();
            let earlier = self.objects.in_flight.iter().any(|(other, doing)| matches!(doing, Doing::Apply { .. }) && phase(other) < first);
            if earlier {
                return None;
            }
            self.objects.apply.remove(&(first, object.clone()));
            if let Some(hash) = self.to_apply(&object) {
                let version = self.version_of(&object);
                let doubted = self.objects.doubted.remove(&object);
                self.objects.in_flight.insert(object.clone(), Doing::Apply { hash, doubted });
                return Some(Action::Apply { object, version, hash });
            }
        }
    }

    fn next_remove(&mut self) -> Option<Action> {
        if !self.is_held() {
            return None;
        }
        let object = self.objects.remove.iter().map(|(_, object)| object).find(|object| self.may_remove(object))?.clone();
        self.objects.remove.remove(&(Reverse(phase(&object)), object.clone()));
        self.objects.in_flight.insert(object.clone(), Doing::Remove);
        let item = self.state.items.get(&object).cloned().unwrap_or_default();
        Some(Action::Remove { version: self.version_of(&object), object, live: item.live })
    }

    /// A removal waits for what its bundles still add, and for what they remove before it.
    fn may_remove(&self, object: &ObjectId) -> bool {
        let bundles: BTreeSet<BundleId> = self.removals_of(object).into_keys().collect();
        let of_bundle = |other: &ObjectId| self.list.claims(other).iter().any(|claim| bundles.contains(&claim.bundle));
        let leaves_bundle = |other: &ObjectId| self.removals_of(other).keys().any(|bundle| bundles.contains(bundle));
        let adding = self.objects.apply.iter().map(|(_, other)| other);
        let adding =
            adding.chain(self.objects.in_flight.iter().filter(|(_, doing)| matches!(doing, Doing::Apply { .. })).map(|(other, _)| other));
        let leaving = self.objects.remove.iter().map(|(_, other)| other);
        let leaving = leaving.chain(self.objects.in_flight.iter().filter(|(_, doing)| **doing == Doing::Remove).map(|(other, _)| other));
        let under_way =
            self.objects.outcomes.iter().filter(|(_, outcome)| outcome.hash.is_none() && outcome.status.state == State::Removing);
        let mut leaving = leaving.chain(under_way.map(|(other, _)| other));
        !adding.into_iter().any(of_bundle) && !leaving.any(|other| phase(other) > phase(object) && leaves_bundle(other))
    }

    /// Objects whose pause is over are looked at again.
    pub(super) fn retry_due(&mut self, now: Millis) {
        while let Some((due, object)) = self.objects.retries.first().cloned() {
            if due > now {
                break;
            }
            self.objects.retries.remove(&(due, object.clone()));
            self.plan(&object, now);
        }
    }

    /// Content that is being applied.
    pub(super) fn being_applied(&self) -> impl Iterator<Item = Hash> {
        self.objects.in_flight.values().filter_map(|doing| match doing {
            Doing::Apply { hash, .. } => Some(*hash),
            Doing::Remove => None,
        })
    }

    pub(super) fn objects_due(&self) -> Option<Millis> {
        self.objects.retries.first().map(|(due, _)| *due)
    }

    /// Nothing is being applied or removed, or waits for its turn.
    pub(super) fn is_idle(&self) -> bool {
        self.objects.apply.is_empty() && self.objects.remove.is_empty() && self.objects.in_flight.is_empty()
    }
}
