//! Which streams an agent has begun: each once, although the hub repeats itself.

use std::collections::BTreeSet;

use crate::planted::{Bug, is_planted};

/// Ids that are remembered at once: more than a hub has unanswered.
const MOST: usize = 64 * 1024;

#[derive(Debug, Default)]
pub struct Performed {
    /// Everything below it is past.
    floor: u64,
    ids: BTreeSet<u64>,
}

impl Performed {
    /// The hub opens nothing below `floor` any more.
    pub fn raise(&mut self, floor: u64) {
        if floor > self.floor {
            self.floor = floor;
            self.ids = self.ids.split_off(&floor);
        }
    }

    pub fn contains(&self, id: u64) -> bool {
        !is_planted(Bug::StreamPerformedTwice) && (id < self.floor || self.ids.contains(&id))
    }

    pub fn insert(&mut self, id: u64) {
        self.ids.insert(id);
        if self.ids.len() > MOST
            && let Some(oldest) = self.ids.pop_first()
        {
            self.floor = oldest + 1;
        }
    }
}
