//! From one list to the next: what a Delta brings, what the difference means.

use std::collections::BTreeSet;

use super::session::State;
use super::transfer::Fetch;
use super::{Agent, AgentEvent, AgentWrite, Removal, StoredList};
use crate::codec::{self, Mode};
use crate::hash::{Domain, Hash};
use crate::id::{BundleId, IncarnationId, Millis, ObjectId};
use crate::limits::MAX_LIST;
use crate::link::Cache;
use crate::list::{DesiredEntry, DesiredList};
use crate::message::{Confirm, Delta};
use crate::planted::{Bug, is_planted};
use crate::stamp::{Proof, Stamp};

/// What a Delta says about its target beside the list itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Target {
    pub(super) root: Hash,
    pub(super) order: u64,
    pub(super) stamp: Stamp,
    pub(super) recover: bool,
    pub(super) serial: u32,
}

impl Agent {
    pub(super) fn on_delta(&mut self, delta: &Delta, cache: &dyn Cache, now: Millis) {
        let (Some(target), State::Open(session)) = (self.target(delta), &mut self.session) else {
            return self.events.push(AgentEvent::Rejected("a Delta without a target root".into()));
        };
        session.list_is_known = true;
        session.closed.extend(delta.closed.iter().map(|row| (IncarnationId(row.incarnation), row.resource_version)));
        if self.state.list.as_ref().is_some_and(|stored| self.list.root == target.root && stored.recover == target.recover) {
            self.transfer.fetch_list(None, now);
            self.answered_by(target.serial);
            self.assert_list(target.stamp, now);
            return self.report.answer(now);
        }
        match self.rebuild(delta) {
            Some(bytes) => self.accept_list(target, bytes, delta, cache, now),
            None => {
                self.session_list_is_known(false);
                let fetch = Fetch { target, size: delta.size };
                self.transfer.fetch_list(Some(fetch), now);
            }
        }
    }

    fn target(&self, delta: &Delta) -> Option<Target> {
        let State::Open(session) = &self.session else { return None };
        let incarnation = match delta.incarnation {
            0 => session.incarnation,
            named => IncarnationId(named),
        };
        let stamp = Stamp { incarnation, resource_version: delta.resource_version };
        Some(Target { root: Hash::read(&delta.target)?, order: delta.order, stamp, recover: delta.recover, serial: delta.serial })
    }

    /// Whether rows may point into the stored list.
    pub(super) fn session_list_is_known(&mut self, known: bool) {
        if let State::Open(session) = &mut self.session {
            session.list_is_known = known;
        }
    }

    /// Reports answer this Delta from now on.
    fn answered_by(&mut self, serial: u32) {
        if let State::Open(session) = &mut self.session {
            session.serial = serial;
        }
    }

    /// The target list, when the Delta carries it against what is stored.
    fn rebuild(&self, delta: &Delta) -> Option<Vec<u8>> {
        if delta.list.is_empty() {
            return None;
        }
        let base = match (&self.state.list, delta.base) {
            (_, 0) => None,
            (Some(_), base) if base == self.list.root.short() || is_planted(Bug::DeltaOnWrongBase) => Some(&*self.list.bytes),
            _ => return None,
        };
        let mode = if base.is_some() { Mode::Delta } else { Mode::Whole };
        codec::decode(mode, &delta.list, base, delta.size, MAX_LIST).ok()
    }

    fn accept_list(&mut self, target: Target, bytes: Vec<u8>, delta: &Delta, cache: &dyn Cache, now: Millis) {
        let Some(list) = self.checked(&bytes, target.root) else {
            self.session_list_is_known(false);
            return self.transfer.fetch_list(Some(Fetch { target, size: delta.size }), now);
        };
        let base = std::mem::replace(&mut self.list, list);
        for patch in &delta.objects {
            self.take_patch(patch, &base, cache);
        }
        self.commit_list(target, &base, now);
    }

    /// The list, if the bytes are what the root names.
    fn checked(&self, bytes: &[u8], root: Hash) -> Option<DesiredList> {
        DesiredList::parse(bytes, &self.config.key).ok().filter(|list| list.root == root || is_planted(Bug::DeltaOnWrongBase))
    }

    /// A list that was fetched in pieces.
    pub(super) fn fetched_list(&mut self, target: Target, bytes: &[u8], now: Millis) -> bool {
        let Some(list) = self.checked(bytes, target.root) else { return false };
        let base = std::mem::replace(&mut self.list, list);
        self.session_list_is_known(true);
        self.commit_list(target, &base, now);
        true
    }

    /// Stores the list that `self.list` has become.
    fn commit_list(&mut self, target: Target, base: &DesiredList, now: Millis) {
        let before = self.state.list.as_ref().map(|stored| stored.stamp);
        self.transfer.fetch_list(None, now);
        self.write(AgentWrite::List(StoredList { bytes: self.list.bytes.to_vec(), stamp: target.stamp, recover: target.recover }));
        self.write(AgentWrite::Order(target.order));
        self.answered_by(target.serial);
        self.release_claims(base, before);
        self.events.push(AgentEvent::Listed { objects: self.list.objects().count() });
        self.prove(self.proof());
        self.plan_all(now);
        self.finish_if_held();
        self.report.answer(now);
    }

    /// A claim that is in the old list and not in the new one becomes a removal with the stamp that the old list had.
    fn release_claims(&mut self, base: &DesiredList, stamp: Option<Stamp>) {
        let key = |entry: &DesiredEntry| {
            let version = entry.wanted.hash().filter(|_| is_planted(Bug::UidAsIdentity));
            (entry.object.clone(), entry.bundle, version)
        };
        let kept: BTreeSet<_> = self.list.entries.iter().map(key).collect();
        let gone: Vec<_> = base.entries.iter().map(key).filter(|entry| !kept.contains(entry)).collect();
        for (object, bundle, _) in gone {
            let removal = Removal { stamp: stamp.unwrap_or(Stamp::NEVER), proven: false };
            self.write(AgentWrite::Removal(object, bundle, Some(removal)));
        }
        let back: Vec<_> = self.state.removals.keys().filter(|(object, bundle)| self.is_wanted_again(object, *bundle)).cloned().collect();
        for (object, bundle) in back {
            self.write(AgentWrite::Removal(object, bundle, None));
        }
    }

    fn is_wanted_again(&self, object: &ObjectId, bundle: BundleId) -> bool {
        let orphan = bundle == BundleId(0) && !self.list.claims(object).is_empty();
        (orphan || self.list.claim(object, bundle).is_some()) && !is_planted(Bug::UidAsIdentity)
    }

    /// A hub that desires what was restored as the list before a lost disk: from now on it is the list.
    pub(super) fn end_recovery(&mut self, stamp: Stamp) {
        let recovering = self.state.list.as_ref().filter(|stored| stored.recover);
        if let Some(stored) = recovering {
            let bytes = stored.bytes.clone();
            self.write(AgentWrite::List(StoredList { bytes, stamp, recover: false }));
        }
    }

    /// The hub asserts the stored list: its stamp counts for every entry.
    pub(super) fn assert_list(&mut self, stamp: Stamp, now: Millis) {
        if self.state.list.as_ref().is_some_and(|stored| stored.stamp != stamp) {
            self.write(AgentWrite::Stamp(stamp));
        }
        self.prove(self.proof());
        self.plan_all(now);
    }

    /// Marks the removals that this hub had seen; a claim that went while others stay is forgotten.
    pub(super) fn prove(&mut self, proof: Option<Proof>) {
        let Some(proof) = proof else { return };
        let proven: Vec<_> = self
            .state
            .removals
            .iter()
            .filter(|(_, removal)| removal.proven || proof.covers(removal.stamp))
            .map(|(key, removal)| (key.clone(), *removal))
            .collect();
        for ((object, bundle), removal) in proven {
            let others = !self.list.claims(&object).is_empty() && !is_planted(Bug::ClaimCountIgnored) && !is_planted(Bug::UidAsIdentity);
            if others {
                self.write(AgentWrite::Removal(object, bundle, None));
            } else if !removal.proven {
                self.write(AgentWrite::Removal(object, bundle, Some(Removal { proven: true, ..removal })));
            }
        }
    }

    /// An administrator's word for exactly this list.
    pub(super) fn on_confirm(&mut self, confirm: &Confirm, now: Millis) {
        let stored = self.state.list.as_ref().is_some_and(|list| !list.recover);
        if !stored || Hash::read(&confirm.list) != Some(self.list.root) {
            return self
                .events
                .push(AgentEvent::Rejected("prune was confirmed for another list than the stored one: nothing is pruned".into()));
        }
        let unproven: Vec<_> =
            self.state.removals.iter().filter(|(_, removal)| !removal.proven).map(|(key, removal)| (key.clone(), *removal)).collect();
        for ((object, bundle), removal) in unproven {
            self.write(AgentWrite::Removal(object, bundle, Some(Removal { proven: true, ..removal })));
        }
        for object in self.orphans() {
            self.write(AgentWrite::Removal(object, BundleId(0), Some(Removal { stamp: Stamp::NEVER, proven: true })));
        }
        self.plan_all(now);
    }

    /// Content that came with the Delta.
    fn take_patch(&mut self, patch: &crate::message::ObjectPatch, base: &DesiredList, cache: &dyn Cache) {
        let Some(entry) = self.list.entries.get(patch.index as usize).cloned() else { return };
        let crate::list::Wanted::Content { hash, size, .. } = entry.wanted else { return };
        if self.state.contents.contains_key(&hash) || size > self.config.max_object {
            return;
        }
        let held = base.claims(&entry.object).first().and_then(|claim| claim.wanted.hash()).and_then(|hash| cache.content(&hash));
        let Some(mode) = Mode::read(patch.mode) else { return };
        let Ok(bytes) = codec::decode(mode, &patch.data, held.as_deref(), size, self.config.max_object) else { return };
        if self.config.key.hash(Domain::Object, &bytes) == hash || is_planted(Bug::DeltaOnWrongBase) {
            self.write(AgentWrite::Content(hash, bytes));
        }
    }
}
