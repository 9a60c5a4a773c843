//! Removals between a plan and the state machine: judged, kept back while they wait, and judged again.

use std::cell::LazyCell;
use std::collections::HashMap;
use std::sync::{Arc, PoisonError};

use bus_schema::list::DesiredList;

use super::Task;
use crate::core::guard::Held;
use crate::core::guard::fleet::Verdict;
use crate::core::plan::PlanUpdate;
use crate::sync::library::{Prepared, bundle_id};

impl Task {
    /// The plan's list, or the one that holds while its removals wait. They are judged against what was desired last; after a start of
    /// the hub that is what the agent acknowledged, so that a hold outlives the process.
    pub(super) fn guarded(&mut self, update: &PlanUpdate, prepared: Prepared) -> Prepared {
        let empty = || Arc::new(DesiredList::new([], &self.shared.config.key));
        let before = self.link.desired().map(|desired| &desired.list).or(self.link.acked()).cloned().unwrap_or_else(empty);
        let words = self.shared.words.borrow().clone();
        let owners = LazyCell::new(|| words.alive.iter().map(|of| (bundle_id(&of.uid), of)).collect::<HashMap<_, _>>());
        let owner = |bundle| owners.get(&bundle).map(|of| (*of).clone());
        let removal = self.shared.guard.removal(&before, &prepared.list, owner);
        let verdict = {
            let (objects, confirmed) = (before.objects().count(), update.confirm_removal.as_deref());
            let mut fleet = self.shared.fleet.lock().unwrap_or_else(PoisonError::into_inner);
            fleet.judge(&update.cluster, objects, removal.as_ref(), confirmed, &words, self.now())
        };
        self.keep_verdict(update, verdict);
        match removal.filter(|_| self.guarded.is_some()) {
            Some(removal) => self.kept_back(removal.kept_back(&before, &prepared.list, &self.shared.config.key), &prepared),
            None => prepared,
        }
    }

    fn keep_verdict(&mut self, update: &PlanUpdate, verdict: Verdict) {
        let (held, due) = match verdict {
            Verdict::Go => (None, None),
            Verdict::Wait(until) => (self.held.clone(), Some(until)),
            Verdict::Held(held, until) => (Some(held), Some(until)),
        };
        if let Some(held) = held.as_ref().filter(|held| self.held.as_ref() != Some(held)) {
            let Held { removals, of, hash, .. } = held;
            tracing::warn!(sid = %self.sid, cluster = %update.cluster, removals, of, hash, "removals are held");
        }
        self.held = held;
        self.guarded = due.map(|due| (update.clone(), due));
    }

    /// The list that holds, with its content where the hub has it.
    fn kept_back(&self, list: DesiredList, prepared: &Prepared) -> Prepared {
        let mut contents = HashMap::clone(&self.shelf.current);
        contents.retain(|hash, _| list.content(hash).is_some());
        contents.extend(prepared.contents.iter().map(|(hash, bytes)| (*hash, bytes.clone())));
        Prepared { list: Arc::new(list), contents: Arc::new(contents) }
    }

    pub(super) fn judge_again(&mut self) {
        if let Some((update, _)) = self.guarded.take() {
            self.take_update(&update);
        }
    }

    pub(super) fn judge_when_due(&mut self) {
        if self.guarded.as_ref().is_some_and(|(_, due)| *due <= self.now()) {
            self.judge_again();
        }
    }

    /// There is no such cluster any more.
    pub(super) fn leave_fleet(&mut self) {
        self.guarded = None;
        if let Some(cluster) = &self.cluster {
            self.shared.fleet.lock().unwrap_or_else(PoisonError::into_inner).forget(cluster);
        }
    }
}
