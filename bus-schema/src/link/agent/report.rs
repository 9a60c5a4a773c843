//! The way up: the status table, one step at a time, until the hub has committed it.

use std::collections::VecDeque;

use super::session::State;
use super::{Agent, AgentEvent};
use crate::frame;
use crate::id::Millis;
use crate::limits::COALESCE;
use crate::link::timer::{Repeat, earliest};
use crate::message::{Kind, Report, StatusAck};
use crate::status::{StatusTable, to_wire};

/// Tables told lately whose acknowledgement may still come.
const REMEMBERED: usize = 4;

#[derive(Debug, Default)]
pub(super) struct Reporting {
    /// What the hub has committed; `None` when that is not known: everything is told.
    pub(super) acked: Option<StatusTable>,
    sent: VecDeque<(u64, StatusTable)>,
    /// Runs while a step is not acknowledged.
    pub(super) outstanding: Option<Repeat>,
    /// When there may be something to say.
    due: Option<Millis>,
    /// Root of the last step told, until the hub has acknowledged that one.
    pub(super) unanswered: Option<u64>,
    /// The hub waits for an answer, even if nothing changed.
    owed: bool,
}

impl Reporting {
    /// Something may have changed: soon, so that what follows at once travels along.
    pub(super) fn schedule(&mut self, now: Millis) {
        self.due = earliest([self.due, Some(now + COALESCE)]);
    }

    /// A table that was told, whose acknowledgement may have been lost.
    pub(super) fn told_before(&self, root: u64) -> Option<StatusTable> {
        self.sent.iter().find(|(told, _)| *told == root).map(|(_, table)| table.clone())
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
        let waits = self.report.outstanding.is_some_and(|repeat| !repeat.is_due(now)) && !self.report.owed;
        if waits || !matches!(self.session, State::Open(_)) || (now < due && !self.is_settled()) {
            return None;
        }
        let owed = std::mem::take(&mut self.report.owed) || self.report.acked.is_none();
        let (report, told) = self.next_step(max_frame);
        // A table that is again as it was acknowledged is told all the same while a step away from it may have arrived.
        if report.base == report.target && !owed && self.report.unanswered.is_none() {
            (self.report.due, self.report.outstanding) = (None, None);
            return None;
        }
        self.remember(report.target, told, now);
        let rtt = self.rtt;
        let State::Open(session) = &mut self.session else { return None };
        session.spoke(now, rtt);
        Some(session.sender.seal(Kind::Report, &report))
    }

    fn remember(&mut self, root: u64, told: StatusTable, now: Millis) {
        self.report.sent.retain(|(known, _)| *known != root);
        self.report.sent.push_front((root, told));
        self.report.sent.truncate(REMEMBERED);
        self.report.unanswered = Some(root);
        let rtt = self.rtt;
        self.report.outstanding.get_or_insert_with(|| Repeat::at(now)).said(now, rtt);
    }

    /// As many changes as fit, and the table that they lead to.
    fn next_step(&mut self, max_frame: usize) -> (Report, StatusTable) {
        let key = self.config.key.clone();
        let (known, serial) = match &self.session {
            State::Open(session) => (session.list_is_known, session.serial),
            _ => (false, 0),
        };
        let current = self.current_table().clone();
        let list = known.then_some(&self.list);
        let acked = self.report.acked.clone();
        let base = acked.as_ref().map_or(0, |acked| acked.root(&key));
        let mut told = acked.unwrap_or_default();
        let from = told.clone();
        (told.listed, told.held) = (current.listed, current.held);
        let mut report = Report { listed: current.listed, held: current.held, base, target: 0, entries: Vec::new(), serial };
        let mut room = frame::room(max_frame).saturating_sub(64);
        for (object, status) in from.changes(&current) {
            let entry = to_wire(object, status, list);
            let len = prost::Message::encoded_len(&entry) + 4;
            if len > room && !report.entries.is_empty() {
                break;
            }
            room = room.saturating_sub(len);
            report.entries.push(entry);
            told.set(object.clone(), status.cloned());
        }
        report.target = told.root(&key);
        (report, told)
    }

    pub(super) fn on_status_ack(&mut self, ack: &StatusAck, now: Millis) {
        let known = self.report.told_before(ack.root);
        self.report.unanswered = self.report.unanswered.filter(|root| *root != ack.root);
        let unchanged = self.report.acked.as_ref().is_some_and(|acked| acked.root(&self.config.key) == ack.root);
        if let Some(repeat) = self.report.outstanding.take() {
            repeat.answered(now, &mut self.rtt);
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
            Some(repeat) if !self.report.owed => Some(repeat.due().max(due)),
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
