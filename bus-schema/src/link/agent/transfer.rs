//! Fetching what a Delta did not bring: receiver-driven, a window at a time, resumed where it stopped.

use std::collections::{BTreeMap, BTreeSet};

use super::lists::Target;
use super::session::State;
use super::{Agent, AgentEvent, AgentWrite, Partial};
use crate::codec::{self, Mode};
use crate::frame;
use crate::hash::{Domain, Hash};
use crate::id::Millis;
use crate::limits::{MAX_LIST, MAX_WANT_ITEMS, RETRY_MAX, WANT_WINDOW};
use crate::link::Cache;
use crate::link::timer::{Repeat, earliest};
use crate::list::Wanted;
use crate::message::{Content, Kind, Part, Want, WantItem};
use crate::planted::{Bug, is_planted};

/// Bytes that one item of a Want takes, at most.
const ITEM_SIZE: usize = 64;

/// A list that is being fetched.
#[derive(Debug, Clone, Copy)]
pub(super) struct Fetch {
    pub(super) target: Target,
    pub(super) size: u32,
}

#[derive(Debug, Default)]
pub(super) struct Transfer {
    list: Option<Fetch>,
    /// Said until something that was asked for comes.
    asked: Option<Repeat>,
    /// What the last Want covers and has not come: up to which encoded byte.
    open: BTreeMap<Hash, u32>,
    /// Content that the hub did not have, not asked for before that time.
    missing: BTreeMap<Hash, Millis>,
    /// Deltas that did not decode: asked for whole.
    whole_only: BTreeSet<Hash>,
}

impl Transfer {
    pub(super) fn fetch_list(&mut self, fetch: Option<Fetch>, now: Millis) {
        let changed = self.list.map(|old| old.target.root) != fetch.map(|new| new.target.root);
        self.list = fetch;
        if changed {
            self.asked = Some(Repeat::at(now));
        }
    }

    /// A newer list than the stored one is on its way.
    pub(super) fn fetches_list(&self) -> bool {
        self.list.is_some()
    }

    pub(super) fn forget_asked(&mut self) {
        (self.asked, self.list) = (None, None);
        self.open.clear();
        self.missing.clear();
    }
}

impl Agent {
    /// Whether this object is too large to be taken.
    pub(super) fn rejects(&self, size: u32) -> bool {
        size > self.config.max_object
    }

    fn is_recovering(&self) -> bool {
        self.state.list.as_ref().is_some_and(|list| list.recover)
    }

    /// All content of the stored list is stored, or refused.
    pub fn is_held(&self) -> bool {
        self.state.list.is_some() && self.lacking().next().is_none()
    }

    /// Content that the stored list names and that is not here.
    fn lacking(&self) -> impl Iterator<Item = (&crate::list::DesiredEntry, Hash, u32)> {
        self.list.objects().filter_map(|entry| match entry.wanted {
            Wanted::Content { hash, size, .. } if !self.state.contents.contains_key(&hash) && !self.rejects(size) => {
                Some((entry, hash, size))
            }
            _ => None,
        })
    }

    fn has_wants(&self, now: Millis) -> bool {
        self.transfer.list.is_some() || (!self.is_recovering() && self.lacking().any(|(_, hash, _)| self.may_ask(&hash, now)))
    }

    fn may_ask(&self, hash: &Hash, now: Millis) -> bool {
        self.transfer.missing.get(hash).is_none_or(|until| *until <= now)
    }

    pub(super) fn poll_want(&mut self, max_frame: usize, now: Millis) -> Option<Vec<u8>> {
        let due = self.transfer.asked.as_ref().is_none_or(|asked| asked.is_due(now));
        if !due || !matches!(self.session, State::Open(_)) || !self.has_wants(now) {
            return None;
        }
        let want = self.want(max_frame, now);
        self.transfer.open =
            want.items.iter().filter_map(|item| Some((Hash::read(&item.hash)?, item.offset.saturating_add(item.window)))).collect();
        let rtt = self.rtt;
        self.transfer.asked.get_or_insert_with(|| Repeat::at(now)).said(now, rtt);
        let State::Open(session) = &mut self.session else { return None };
        session.spoke(now, rtt);
        Some(session.sender.seal(Kind::Want, &want))
    }

    /// One window over all that is lacking, begun transfers first.
    fn want(&self, max_frame: usize, now: Millis) -> Want {
        let most = (frame::room(max_frame) / ITEM_SIZE).clamp(1, MAX_WANT_ITEMS);
        let mut window = WANT_WINDOW;
        let mut items = Vec::new();
        if let Some(fetch) = &self.transfer.list {
            let base = self.state.list.as_ref().map(|_| self.list.root);
            items.push(self.item(fetch.target.root, true, base, fetch.size, &mut window));
        }
        let listed = self.transfer.list.is_none() && !self.is_recovering();
        let mut lacking: Vec<_> = self.lacking().filter(|(_, hash, _)| listed && self.may_ask(hash, now)).collect();
        lacking.sort_by_key(|(entry, hash, _)| (!self.state.partials.contains_key(hash), crate::order::phase(&entry.object)));
        let mut named = BTreeSet::new();
        for (entry, hash, size) in lacking {
            if window == 0 || items.len() >= most {
                break;
            }
            if named.insert(hash) {
                let base =
                    self.state.items.get(&entry.object).and_then(|item| item.applied).filter(|held| self.state.contents.contains_key(held));
                items.push(self.item(hash, false, base, size, &mut window));
            }
        }
        Want { items }
    }

    fn item(&self, hash: Hash, list: bool, base: Option<Hash>, size: u32, window: &mut u32) -> WantItem {
        let (offset, etag, total) =
            self.state.partials.get(&hash).map_or((0, 0, size.max(1)), |partial| (partial.received, partial.etag, partial.total));
        let asked = total.saturating_sub(offset).max(1).min(*window);
        *window -= asked;
        let base = base.filter(|_| !self.transfer.whole_only.contains(&hash)).map_or(Vec::new(), |base| base.0.to_vec());
        WantItem { hash: hash.0.to_vec(), list, base, offset, etag, window: asked }
    }

    pub(super) fn want_due(&self) -> Option<Millis> {
        if !matches!(self.session, State::Open(_)) || !self.has_wants(Millis::MAX) {
            return None;
        }
        let asked = self.transfer.asked.map_or(0, |asked| asked.due());
        let missing = self.lacking().filter_map(|(_, hash, _)| self.transfer.missing.get(&hash)).min().copied();
        let only_missing = self.transfer.list.is_none() && self.lacking().all(|(_, hash, _)| self.transfer.missing.contains_key(&hash));
        match only_missing {
            true => earliest([missing.map(|until| until.max(asked))]),
            false => Some(asked),
        }
    }

    pub(super) fn on_content(&mut self, content: Content, cache: &dyn Cache, now: Millis) {
        let mut progress = false;
        for part in content.parts {
            progress |= self.on_part(part, cache, now);
        }
        if progress {
            self.plan_lacking(now);
            self.finish_if_held();
            self.report.schedule(now);
        }
        if progress && self.transfer.open.is_empty() {
            self.transfer.asked = None;
        }
    }

    /// Up to `received` encoded bytes of what was asked for have come.
    fn close_asked(&mut self, hash: &Hash, received: u32) {
        if self.transfer.open.get(hash).is_some_and(|until| received >= *until) {
            self.transfer.open.remove(hash);
        }
    }

    fn on_part(&mut self, part: Part, cache: &dyn Cache, now: Millis) -> bool {
        let Some(hash) = Hash::read(&part.hash) else { return false };
        let expected = match part.list {
            true => self.transfer.list.is_some_and(|fetch| fetch.target.root == hash),
            false => self.lacking().any(|(_, lacking, _)| lacking == hash),
        };
        if !expected {
            return false;
        }
        if part.missing {
            self.transfer.missing.insert(hash, now + RETRY_MAX);
            self.transfer.open.remove(&hash);
            return true;
        }
        self.continue_transfer(hash, part, cache, now).unwrap_or(false)
    }

    /// Takes a piece that continues what is there; `None` when it does not fit.
    fn continue_transfer(&mut self, hash: Hash, part: Part, cache: &dyn Cache, now: Millis) -> Option<bool> {
        let mode = Mode::read(part.mode)?;
        let base = (mode == Mode::Delta).then(|| Hash::read(&part.base)).flatten();
        let begun = self.state.partials.get(&hash).filter(|partial| partial.etag == part.etag);
        let received = begun.map_or(0, |partial| partial.received);
        let len = part.data.len() as u32;
        let total = if part.total == 0 { len } else { part.total };
        if part.offset != received || received.checked_add(len)? > total {
            return None;
        }
        let partial = Partial { mode, base, size: part.size, total, etag: part.etag, received: received + len };
        if partial.received < total {
            self.close_asked(&hash, partial.received);
            self.write(AgentWrite::Partial(hash, partial, part.data));
            return Some(true);
        }
        self.transfer.open.remove(&hash);
        let mut encoded = if received > 0 { cache.partial(&hash) } else { Vec::new() };
        encoded.extend_from_slice(&part.data);
        if self.state.partials.contains_key(&hash) {
            self.write(AgentWrite::DropPartial(hash));
        }
        Some(self.finish_transfer(hash, &partial, &encoded, part.list, cache, now))
    }

    fn finish_transfer(&mut self, hash: Hash, partial: &Partial, encoded: &[u8], list: bool, cache: &dyn Cache, now: Millis) -> bool {
        let base = partial.base.and_then(|base| match list {
            true => (base == self.list.root).then(|| self.list.bytes.to_vec()),
            false => cache.content(&base),
        });
        let limit = if list { MAX_LIST } else { self.config.max_object };
        let decoded = codec::decode(partial.mode, encoded, base.as_deref(), partial.size, limit);
        let taken = match (decoded, self.transfer.list) {
            (Ok(bytes), Some(fetch)) if list => self.fetched_list(fetch.target, &bytes, now),
            (Ok(bytes), _) if !list => self.take_content(hash, bytes),
            _ => false,
        };
        if !taken && !self.transfer.whole_only.insert(hash) {
            self.transfer.missing.insert(hash, now + RETRY_MAX);
            self.events.push(AgentEvent::Rejected(format!("content {hash} came damaged twice; it is asked for again in a minute")));
        }
        true
    }

    fn take_content(&mut self, hash: Hash, bytes: Vec<u8>) -> bool {
        if self.config.key.hash(Domain::Object, &bytes) != hash && !is_planted(Bug::DeltaOnWrongBase) {
            return false;
        }
        self.write(AgentWrite::Content(hash, bytes));
        true
    }

    /// Once the list is held, content that neither it nor a kept object needs is dropped.
    pub(super) fn finish_if_held(&mut self) {
        if !self.is_held() || self.is_recovering() {
            return;
        }
        let mut needed: BTreeSet<Hash> = self.list.entries.iter().filter_map(|entry| entry.wanted.hash()).collect();
        let keeps = self.list.entries.iter().filter(|entry| entry.wanted == Wanted::Keep);
        needed.extend(keeps.filter_map(|entry| self.state.items.get(&entry.object)?.applied));
        needed.extend(self.being_applied());
        let spare: Vec<Hash> = self.state.contents.keys().filter(|hash| !needed.contains(hash)).copied().collect();
        for hash in spare {
            self.write(AgentWrite::DropContent(hash));
        }
        let begun: Vec<Hash> = match self.transfer.list {
            Some(_) => Vec::new(),
            None => self.state.partials.keys().copied().collect(),
        };
        for hash in begun {
            self.write(AgentWrite::DropPartial(hash));
        }
        self.transfer.whole_only.clear();
    }
}
