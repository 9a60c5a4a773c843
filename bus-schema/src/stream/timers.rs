//! When each stream wants to be looked at again.

use std::collections::{BTreeMap, BTreeSet};

use super::Mux;
use crate::id::Millis;
use crate::limits::MAX_REPEAT;
use crate::link::timer::earliest;
use crate::message::stream::Code;

#[derive(Debug, Default)]
pub struct Timers {
    dues: BTreeMap<u64, Millis>,
    order: BTreeSet<(Millis, u64)>,
}

impl Timers {
    pub fn set(&mut self, id: u64, due: Option<Millis>) {
        if self.dues.get(&id).copied() == due {
            return;
        }
        self.forget(id);
        if let Some(due) = due {
            self.dues.insert(id, due);
            self.order.insert((due, id));
        }
    }

    pub fn forget(&mut self, id: u64) {
        if let Some(due) = self.dues.remove(&id) {
            self.order.remove(&(due, id));
        }
    }

    pub fn clear(&mut self) {
        self.dues.clear();
        self.order.clear();
    }

    pub fn first(&self) -> Option<Millis> {
        self.order.first().map(|(due, _)| *due)
    }

    /// A stream whose time has come.
    pub fn pop(&mut self, now: Millis) -> Option<u64> {
        let (due, id) = *self.order.first()?;
        if due > now {
            return None;
        }
        self.forget(id);
        Some(id)
    }
}

impl Mux {
    /// Something may be due.
    pub fn timeout(&mut self, now: Millis) {
        if self.lost.is_some_and(|lost| lost + self.limits.grace <= now) {
            self.lost = None;
            self.end_all(Code::Lost, "the link to the cluster did not come back in time");
        }
        if self.lazy_due.take_if(|due| *due <= now).is_some() {
            self.credits.append(&mut self.lazy);
        }
        while let Some(id) = self.timers.pop(now) {
            self.on_timer(id, now);
        }
    }

    fn on_timer(&mut self, id: u64, now: Millis) {
        let Some(state) = self.streams.get_mut(&id) else { return };
        if let Some((due, pause)) = state.probe
            && due <= now
        {
            let pause = (2 * pause).min(MAX_REPEAT);
            state.probe = Some((now + pause, pause));
            match state.answered {
                true => drop(self.probes.insert(id)),
                false => {
                    state.out.again();
                    state.owes_open = true;
                }
            }
        }
        self.touch(id, now);
    }

    /// When `timeout` and `poll_transmit` should be called again at the latest.
    pub fn poll_timeout(&self, now: Millis) -> Option<Millis> {
        let lost = self.lost.filter(|_| !self.streams.is_empty()).map(|lost| lost + self.limits.grace);
        let paced = self.bucket.as_ref().filter(|_| !self.ready.is_empty()).and_then(|bucket| bucket.due(now));
        earliest([lost, self.lazy_due, self.timers.first(), self.reset_timers.first(), paced])
    }
}
