//! The one outstanding Delta: from what the agent holds to what it shall hold, repeated until it is listed, replaced at any time.

use std::collections::VecDeque;
use std::sync::Arc;

use super::{Acked, Desired, HubEvent, HubLink, HubWrite};
use crate::frame;
use crate::hash::Hash;
use crate::id::Millis;
use crate::link::timer::Repeat;
use crate::link::{Contents, Encoded};
use crate::list::{DesiredList, Wanted};
use crate::message::{Confirm, Delta, Kind, ObjectPatch};
use crate::planted::{Bug, is_planted};
use crate::stamp::Stamp;
use crate::status::State;

/// Lists told lately, which the agent may hold or ask for.
const RECENT: usize = 4;

/// Bytes that one object's bookkeeping takes in a Delta, at most.
const PATCH_OVERHEAD: usize = 16;

/// A Welcome's word for the list that the agent has stored.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asserted {
    generation: u64,
    stamp: Stamp,
}

#[derive(Debug, Default)]
pub(super) struct Sync {
    /// The root that the agent holds, as far as is known; `None` for no list.
    held: Option<Hash>,
    /// Runs while the agent has not answered the target with its serial.
    outstanding: Option<Repeat>,
    /// Counts the lists that were desired in this session; 0 for the one that the Welcome asserted.
    serial: u32,
    /// An empty disk: the acknowledged list comes first.
    recover: bool,
    recent: VecDeque<(Arc<DesiredList>, Stamp)>,
    confirm: Option<Repeat>,
}

impl Sync {
    pub(super) fn confirm_now(&mut self, now: Millis) {
        self.confirm = Some(Repeat::at(now));
    }
}

impl HubLink {
    pub(super) fn new_desired(&mut self, desired: Desired, now: Millis) {
        let same = self.desired.as_ref().is_some_and(|old| old.list.root == desired.list.root);
        if is_planted(Bug::QueueInsteadOfLatest) && self.sync.outstanding.is_some() && !same {
            return self.queue.push_back(desired);
        }
        self.desired = Some(desired);
        if !same {
            self.generation += 1;
            self.sync.serial += 1;
            self.owe_delta(now);
            self.sync.confirm_now(now);
        }
    }

    /// Also a list that the agent holds already is asserted: it may have been another one in between, and the stamp says so.
    fn owe_delta(&mut self, now: Millis) {
        self.sync.outstanding = self.desired.as_ref().map(|_| Repeat::at(now));
    }

    /// A session was confirmed. `listed` is the root of the list that the agent has stored, `asserted` what the Welcome said of it.
    pub(super) fn start_sync(&mut self, listed: Option<Hash>, asserted: Option<Asserted>, now: Millis) {
        self.sync = Sync { held: listed, serial: 1, ..Sync::default() };
        self.sync.recover = listed.is_none() && self.acked.is_some();
        match (
            asserted.filter(|asserted| asserted.generation == self.generation),
            self.desired.as_ref().map(|desired| desired.list.clone()),
        ) {
            (Some(asserted), Some(list)) => {
                self.sync.serial = 0;
                self.acknowledge(&list, asserted.stamp);
            }
            _ => self.owe_delta(now),
        }
        if self.confirm_prune.is_some() {
            self.sync.confirm_now(now);
        }
    }

    /// What a Welcome asserts to an agent that has stored this list.
    pub(super) fn asserts(&self, listed: Option<Hash>) -> Option<Asserted> {
        let desired = self.desired.as_ref().filter(|desired| listed == Some(desired.list.root))?;
        Some(Asserted { generation: self.generation, stamp: self.stamp(desired.resource_version) })
    }

    fn acknowledge(&mut self, list: &Arc<DesiredList>, stamp: Stamp) {
        let unchanged = self.state.acked.as_ref().is_some_and(|acked| acked.stamp == stamp)
            && self.acked.as_ref().is_some_and(|acked| acked.root == list.root);
        if !unchanged {
            self.write(HubWrite::Acked(Acked { bytes: list.bytes.to_vec(), stamp }));
            self.acked = Some(list.clone());
        }
    }

    /// The agent reported a list as stored, after the Delta with this serial.
    pub(super) fn on_listed(&mut self, listed: u64, serial: u32, now: Millis) {
        let found = self.sync.recent.iter().find(|(list, _)| list.root.short() == listed).cloned();
        let Some((list, stamp)) = found else { return };
        let moved = self.sync.held != Some(list.root) || self.sync.recover;
        if moved {
            self.events.push(HubEvent::Listed(list.root));
        }
        self.acknowledge(&list, stamp);
        (self.sync.held, self.sync.recover) = (Some(list.root), false);
        let reached = self.desired.as_ref().is_some_and(|desired| desired.list.root == list.root);
        if !reached || serial != self.sync.serial {
            if moved {
                self.owe_delta(now);
            }
            return;
        }
        if let Some(repeat) = self.sync.outstanding.take() {
            repeat.answered(now, &mut self.rtt);
        }
        if let Some(next) = self.queue.pop_front() {
            self.new_desired(next, now);
        }
    }

    /// The list that the agent is known to hold, if its bytes are here.
    pub(super) fn base(&self) -> Option<Arc<DesiredList>> {
        self.known_list(self.sync.held?)
    }

    /// A list of this cluster by its root.
    pub(super) fn known_list(&self, root: Hash) -> Option<Arc<DesiredList>> {
        let recent = self.sync.recent.iter().map(|(list, _)| list);
        let desired = self.desired.iter().map(|desired| &desired.list);
        recent.chain(desired).chain(&self.acked).find(|list| list.root == root).cloned()
    }

    /// What the Delta leads to: the desired list, or first what an agent with an empty disk had.
    fn target(&self) -> Option<(Arc<DesiredList>, Stamp, bool)> {
        let desired = self.desired.as_ref()?;
        match (&self.state.acked, &self.acked) {
            (Some(acked), Some(list)) if self.sync.recover && list.root != desired.list.root => Some((list.clone(), acked.stamp, true)),
            _ => Some((desired.list.clone(), self.stamp(desired.resource_version), false)),
        }
    }

    pub(super) fn poll_delta(&mut self, contents: &dyn Contents, max_frame: usize, now: Millis) -> Option<Vec<u8>> {
        let max_frame = max_frame.min(self.sessions.current.as_ref()?.max_frame);
        self.sync.outstanding.filter(|repeat| repeat.is_due(now))?;
        let (list, stamp, recover) = self.target()?;
        let delta = self.delta(&list, stamp, recover, contents, max_frame);
        self.sync.recent.retain(|(known, _)| known.root != list.root);
        self.sync.recent.push_front((list, stamp));
        self.sync.recent.truncate(RECENT);
        let rtt = self.rtt;
        if let Some(repeat) = &mut self.sync.outstanding {
            repeat.said(now, rtt);
        }
        Some(self.seal(Kind::Delta, &delta))
    }

    fn delta(&self, list: &Arc<DesiredList>, stamp: Stamp, recover: bool, contents: &dyn Contents, max_frame: usize) -> Delta {
        let base = self.base();
        let current = stamp.incarnation == self.config.incarnation;
        let mut delta = Delta {
            base: 0,
            target: list.root.0.to_vec(),
            order: self.state.order,
            resource_version: stamp.resource_version,
            incarnation: if current { 0 } else { stamp.incarnation.0 },
            list: Vec::new(),
            size: list.bytes.len() as u32,
            objects: Vec::new(),
            recover,
            closed: if recover { self.closed(stamp.incarnation.0).into_iter().collect() } else { Vec::new() },
            serial: self.sync.serial,
        };
        let (short, bytes) = match &base {
            Some(base) => (base.root.short(), crate::codec::compress(&list.bytes, Some(&base.bytes))),
            None => (0, crate::codec::compress(&list.bytes, None)),
        };
        let room = frame::room(max_frame).saturating_sub(prost::Message::encoded_len(&delta) + 16);
        if bytes.len() <= room && (base.as_ref().is_none_or(|base| base.root != list.root)) {
            let room = room - bytes.len();
            (delta.base, delta.list) = (short, bytes);
            if !recover {
                delta.objects = self.patches(list, base.as_deref(), contents, room);
            }
        }
        delta
    }

    /// Content that the agent lacks, as much as fits.
    fn patches(&self, list: &DesiredList, base: Option<&DesiredList>, contents: &dyn Contents, mut room: usize) -> Vec<ObjectPatch> {
        let mut patches = Vec::new();
        for entry in list.objects() {
            let Wanted::Content { hash, secret, .. } = entry.wanted else { continue };
            let held = base.and_then(|base| base.claims(&entry.object).first()).and_then(|claim| claim.wanted.hash());
            if held == Some(hash) || room < PATCH_OVERHEAD {
                continue;
            }
            let Some(Encoded { mode, data, .. }) = contents.encoded(&hash, held.as_ref(), secret, &self.config.key) else { continue };
            let Some(left) = room.checked_sub(data.len() + PATCH_OVERHEAD) else { break };
            room = left;
            let index = list.index(&entry.object).unwrap_or_default() as u32;
            patches.push(ObjectPatch { index, mode: mode as u32, data: data.to_vec() });
        }
        patches
    }

    pub(super) fn delta_due(&self) -> Option<Millis> {
        self.desired.as_ref()?;
        self.sync.outstanding.map(|repeat| repeat.due())
    }

    fn may_confirm_prune(&self) -> bool {
        let desired = self.desired.as_ref().map(|desired| desired.list.root);
        let unclaimed = self.state.table.rows.values().any(|status| status.state == State::Unclaimed);
        unclaimed && self.confirm_prune.is_some() && self.confirm_prune == desired && self.sync.held == desired
    }

    /// The administrator's word, until nothing is unclaimed any more.
    pub(super) fn poll_confirm_prune(&mut self, now: Millis) -> Option<Vec<u8>> {
        if !self.may_confirm_prune() || self.sessions.current.is_none() {
            return None;
        }
        let rtt = self.rtt;
        let repeat = self.sync.confirm.get_or_insert_with(|| Repeat::at(now));
        if !repeat.is_due(now) {
            return None;
        }
        repeat.said(now, rtt);
        let list = self.confirm_prune?.0.to_vec();
        Some(self.seal(Kind::Confirm, &Confirm { list }))
    }

    pub(super) fn confirm_prune_due(&self) -> Option<Millis> {
        self.may_confirm_prune().then(|| self.sync.confirm.map_or(0, |repeat| repeat.due()))
    }

    /// Whether the agent has stored the desired list, as desired now.
    pub fn is_listed(&self) -> bool {
        let held = self.desired.as_ref().is_some_and(|desired| self.sync.held == Some(desired.list.root));
        held && !self.sync.recover && self.sync.outstanding.is_none()
    }
}
