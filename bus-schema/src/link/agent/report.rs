//! The way up: the status table, step by step, until the hub has committed it.
//!
//! What the hub waits for does not wait for the hub: a further step starts where the last one leads, which is under way. One that was lost
//! shows in the acknowledgement of the next, and what it told is told again.
//!
//! What the hub waits for is told at once. How objects do is told at once after a pause without news, then at a bounded rate: each step
//! carries the newest of all, so a rollout costs two or three steps, not one for each of its pods.

use std::collections::VecDeque;

use super::session::State;
use super::{Agent, AgentEvent};
use crate::facts;
use crate::frame;
use crate::id::Millis;
use crate::limits::{COALESCE, COALESCE_BUSY, PAUSE_PROGRESS, PAUSE_RESULT};
use crate::link::timer::{Repeat, earliest};
use crate::message::{Health, Kind, Level, Report, StatusAck};
use crate::status::{StatusTable, to_wire};

/// Tables told lately whose acknowledgement may still come.
const REMEMBERED: usize = 4;

/// Steps under way at once, at most.
const UNDER_WAY: usize = 3;

#[derive(Debug, Default)]
pub(super) struct Reporting {
    /// What the hub has committed; `None` when that is not known: everything is told.
    pub(super) acked: Option<StatusTable>,
    sent: VecDeque<Told>,
    /// The serial of the list that the hub has acknowledged in this session.
    acked_serial: Option<u32>,
    /// When a step was told last, and not only repeated.
    told_at: Option<Millis>,
    /// Runs while a step is not acknowledged.
    pub(super) outstanding: Option<Repeat>,
    /// When there may be something to say.
    due: Option<Millis>,
    /// Roots of the steps that were told in this session and not acknowledged, in order.
    under_way: VecDeque<u64>,
    /// The hub waits for an answer, even if nothing changed.
    owed: bool,
    /// More than health has changed: a step that nothing can join is told before it is due.
    urgent: bool,
}

/// A table that was told.
#[derive(Debug)]
struct Told {
    root: u64,
    /// Of a step that was told in this session.
    serial: Option<u32>,
    table: StatusTable,
}

/// What a Report says, and the table that it leads to.
struct Step {
    report: Report,
    told: StatusTable,
    serial: u32,
    /// It leads to where the hub is already.
    is_empty: bool,
}

impl Reporting {
    /// Something may have changed: soon, so that what follows at once travels along.
    pub(super) fn schedule(&mut self, now: Millis) {
        self.urgent = true;
        self.schedule_at(now + COALESCE);
    }

    fn schedule_at(&mut self, due: Millis) {
        self.due = earliest([self.due, Some(due)]);
    }

    /// One of many objects has changed its state.
    pub(super) fn schedule_busy(&mut self, now: Millis) {
        self.urgent = true;
        let due = self.told_at.map_or(now, |told| told + COALESCE_BUSY);
        self.schedule_at(due.max(now + COALESCE));
    }

    /// An object does better or worse.
    pub(super) fn schedule_health(&mut self, health: &Health, now: Millis) {
        let pause = if health.level == Level::Progressing as i32 { PAUSE_PROGRESS } else { PAUSE_RESULT };
        let due = self.told_at.map_or(now, |told| told + pause);
        self.schedule_at(due.max(now + COALESCE));
    }

    /// Another session: nothing is acknowledged in it.
    pub(super) fn new_session(&mut self) {
        self.under_way.clear();
        self.acked_serial = None;
        self.sent.iter_mut().for_each(|told| told.serial = None);
    }

    /// A table that was told, whose acknowledgement may have been lost.
    pub(super) fn told_before(&self, root: u64) -> Option<StatusTable> {
        self.sent.iter().find(|told| told.root == root).map(|told| told.table.clone())
    }

    /// Where the next step starts: at the table that the hub has, unless it leads on from the last one told.
    fn base(&self, leads_on: bool) -> Option<StatusTable> {
        let last = self.under_way.back().filter(|_| leads_on);
        last.and_then(|root| self.told_before(*root)).or_else(|| self.acked.clone())
    }

    /// Whether the next step leads on from one that is under way, instead of telling it again.
    fn leads_on(&self, now: Millis) -> bool {
        let is_due = self.outstanding.is_none_or(|repeat| repeat.is_due(now));
        !is_due && !self.owed && !self.under_way.is_empty()
    }

    /// Whether there may be a step to tell before those under way are acknowledged.
    fn goes_on(&self) -> bool {
        self.owed || (self.urgent && self.acked.is_some() && self.under_way.len() < UNDER_WAY)
    }

    /// The hub has this table. Returns whether steps that lead on from it are under way.
    fn acknowledged(&mut self, root: u64) -> bool {
        let behind = self.under_way.iter().position(|told| *told == root).map_or(self.under_way.len(), |at| at + 1);
        self.under_way.drain(..behind);
        !self.under_way.is_empty()
    }

    /// The hub asked.
    pub(super) fn answer(&mut self, now: Millis) {
        self.owed = true;
        self.schedule(now);
    }
}

impl Agent {
    /// The table with the acknowledgement of this moment.
    pub(super) fn current_table(&mut self) -> &StatusTable {
        self.table.listed = self.state.list.as_ref().map_or(0, |_| self.list.root.short());
        self.table.held = self.is_held();
        &self.table
    }

    pub(super) fn poll_report(&mut self, max_frame: usize, now: Millis) -> Option<Vec<u8>> {
        let due = self.report.due?;
        let waits = self.report.outstanding.is_some_and(|repeat| !repeat.is_due(now)) && !self.report.goes_on();
        if waits || !matches!(self.session, State::Open(_)) || (now < due && !self.may_tell_early(now)) {
            return None;
        }
        let leads_on = self.report.leads_on(now);
        let base = self.report.base(leads_on);
        let owed = std::mem::take(&mut self.report.owed) || self.report.acked.is_none();
        let step = self.next_step(base, max_frame, owed);
        // A table that is again as it was acknowledged is told all the same while a step away from it may have arrived.
        if step.is_empty && !owed && (leads_on || self.report.under_way.is_empty()) {
            self.report.urgent = false;
            if self.report.under_way.is_empty() {
                (self.report.due, self.report.outstanding) = (None, None);
            }
            return None;
        }
        let report = step.report.clone();
        self.remember(step, leads_on, now);
        let rtt = self.rtt;
        let State::Open(session) = &mut self.session else { return None };
        session.spoke(now, rtt);
        Some(session.sender.seal(Kind::Report, &report))
    }

    /// Nothing that is under way would come along if an urgent step waited; content that is still to come is waited for only as long as
    /// other objects are.
    fn may_tell_early(&self, now: Millis) -> bool {
        let is_pause_over = self.report.told_at.is_none_or(|told| told + COALESCE_BUSY <= now);
        self.report.urgent && self.is_idle() && (self.state.list.is_none() || self.is_held() || is_pause_over)
    }

    fn remember(&mut self, step: Step, leads_on: bool, now: Millis) {
        let root = step.report.target;
        if self.report.under_way.back() != Some(&root) {
            self.report.told_at = Some(now);
            self.report.under_way.push_back(root);
        }
        let forgotten = self.report.under_way.len().saturating_sub(REMEMBERED);
        self.report.under_way.drain(..forgotten);
        self.report.urgent = false;
        self.report.sent.retain(|told| told.root != root);
        self.report.sent.push_front(Told { root, serial: Some(step.serial), table: step.told });
        self.report.sent.truncate(REMEMBERED);
        let rtt = self.rtt;
        let before = self.report.outstanding.filter(|_| !leads_on);
        self.report.outstanding.insert(before.unwrap_or(Repeat::at(now))).said(now, rtt);
    }

    /// As many changes as fit, and the table that they lead to.
    fn next_step(&mut self, base: Option<StatusTable>, max_frame: usize, owed: bool) -> Step {
        let key = self.config.key.clone();
        let (known, serial) = match &self.session {
            State::Open(session) => (session.list_is_known, session.serial),
            _ => (false, 0),
        };
        let current = self.current_table().clone();
        let list = known.then_some(&self.list);
        let whole = base.as_ref().is_none_or(|base| base.root(&key) == 0);
        let mut told = base.unwrap_or_default();
        let from = told.clone();
        (told.listed, told.held) = (current.listed, current.held);
        let is_known = !owed && !whole && self.report.acked_serial == Some(serial) && (told.listed, told.held) == (from.listed, from.held);
        let mut report = Report { whole, ..Report::default() };
        if !is_known {
            (report.listed, report.held, report.serial) = (Some(current.listed), current.held, serial);
        }
        let mut room = frame::room(max_frame).saturating_sub(64);
        for (object, status) in from.changes(&current) {
            let mut entry = to_wire(object, status, list);
            facts::pack(&mut entry, from.rows.get(object).map_or(&[], |row| &row.facts));
            let len = prost::Message::encoded_len(&entry) + 4;
            if len > room && !report.entries.is_empty() {
                break;
            }
            room = room.saturating_sub(len);
            report.entries.push(entry);
            told.set(object.clone(), status.cloned());
        }
        report.target = told.root(&key);
        let is_empty = self.report.acked.is_some() && from == told;
        Step { report, told, serial, is_empty }
    }

    pub(super) fn on_status_ack(&mut self, ack: &StatusAck, now: Millis) {
        let known = self.report.told_before(ack.root);
        if let Some(told) = self.report.sent.iter().find(|told| told.root == ack.root) {
            self.report.acked_serial = told.serial;
        }
        let unchanged = self.report.acked.as_ref().is_some_and(|acked| acked.root(&self.config.key) == ack.root);
        // A hub that has not moved has not followed: what is under way leads on from what it does not have.
        if !self.report.acknowledged(ack.root) || unchanged || known.is_none() {
            self.report.under_way.clear();
            if let Some(repeat) = self.report.outstanding.take() {
                repeat.answered(now, &mut self.rtt);
            }
        }
        match known {
            Some(table) => self.report.acked = Some(table),
            None if unchanged => {}
            None if ack.root == 0 => self.report.acked = Some(StatusTable::default()),
            None => {
                self.report.acked = None;
                // A hub that could not follow an index can follow names.
                self.session_list_is_known(false);
                self.events.push(AgentEvent::Rejected("the hub has another status table: all of it is told again".into()));
            }
        }
        self.report.schedule(now);
    }

    pub(super) fn report_due(&self) -> Option<Millis> {
        if !matches!(self.session, State::Open(_)) {
            return None;
        }
        let due = self.report.due?;
        match self.report.outstanding {
            Some(repeat) if !self.report.goes_on() => Some(repeat.due().max(due)),
            _ => Some(due),
        }
    }

    /// Whether the hub has committed everything there is to tell.
    pub fn is_reported(&mut self) -> bool {
        let key = self.config.key.clone();
        let root = self.current_table().root(&key);
        self.report.acked.as_ref().is_some_and(|acked| acked.root(&key) == root)
    }
}
