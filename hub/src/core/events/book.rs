//! What was told lately and what is still to be written, both bounded.

use std::collections::{BTreeMap, HashMap, VecDeque};

use k8s_openapi::jiff::Timestamp;

use super::draft::{EventDraft, Involved};

/// How many Events an object gets in one minute of the clock.
pub const MOST_A_MINUTE: u32 = 6;
/// How many objects get Events in one minute of the clock.
pub const MAX_OBJECTS: usize = 20_000;
/// How many Events wait to be written; the oldest are lost.
pub const MAX_OWED: usize = 4_096;

const MINUTE: i64 = 60;

/// One Event to be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owed {
    /// The Event's own name.
    pub name: String,
    pub about: Involved,
    pub draft: EventDraft,
    pub first: Timestamp,
    pub last: Timestamp,
    /// How often it happened since it was last written.
    pub times: i32,
}

/// Counts what was told and holds what is owed.
#[derive(Default)]
pub struct Book {
    minute: i64,
    told: BTreeMap<Involved, u32>,
    order: VecDeque<(String, String)>,
    /// By namespace and name.
    owed: HashMap<(String, String), Owed>,
}

impl Book {
    /// Owes an Event, unless enough was told of its object; says whether it does.
    pub fn record(&mut self, about: &Involved, draft: EventDraft, now: Timestamp) -> bool {
        if !self.may_tell(about, now) {
            return false;
        }
        let name = about.event_name(&draft);
        let key = (about.namespace.clone(), name.clone());
        if let Some(owed) = self.owed.get_mut(&key) {
            (owed.last, owed.times) = (now, owed.times.saturating_add(1));
            return true;
        }
        if self.order.len() >= MAX_OWED
            && let Some(oldest) = self.order.pop_front()
        {
            self.owed.remove(&oldest);
        }
        self.order.push_back(key.clone());
        self.owed.insert(key, Owed { name, about: about.clone(), draft, first: now, last: now, times: 1 });
        true
    }

    /// The next Event to write.
    pub fn take(&mut self) -> Option<Owed> {
        let key = self.order.pop_front()?;
        self.owed.remove(&key)
    }

    fn may_tell(&mut self, about: &Involved, now: Timestamp) -> bool {
        let minute = now.as_second().div_euclid(MINUTE);
        if self.minute != minute {
            self.minute = minute;
            self.told.clear();
        }
        if let Some(told) = self.told.get_mut(about) {
            *told = told.saturating_add(1);
            return *told <= MOST_A_MINUTE;
        }
        let room = self.told.len() < MAX_OBJECTS;
        if room {
            self.told.insert(about.clone(), 1);
        }
        room
    }
}
