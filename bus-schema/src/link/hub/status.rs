//! The way up: steps of the status table, committed, then acknowledged.

use super::{HubEvent, HubLink, HubWrite};
use crate::id::Millis;
use crate::message::{Kind, Report, StatusAck};
use crate::status::{StatusTable, from_wire};

impl HubLink {
    pub(super) fn on_report(&mut self, report: Report, now: Millis) {
        if report.listed != 0 {
            self.on_listed(report.listed, report.serial, now);
        }
        self.owes_status_ack = true;
        let root = self.state.table.root(&self.config.key);
        if report.target == root || (report.base != 0 && report.base != root) {
            return;
        }
        let Some(writes) = self.step(report) else {
            return self.events.push(HubEvent::Rejected("a status step that does not fit was passed over".into()));
        };
        for write in writes {
            self.write(write);
        }
        self.events.push(HubEvent::Status);
    }

    /// The writes of one step, if it leads where it says.
    fn step(&self, report: Report) -> Option<Vec<HubWrite>> {
        let list = self.base().filter(|list| list.root.short() == report.listed);
        let mut table = StatusTable { listed: report.listed, held: report.held, ..StatusTable::default() };
        let mut writes = vec![HubWrite::Told { listed: report.listed, held: report.held }];
        match report.base {
            0 => writes.push(HubWrite::ClearRows),
            _ => table.rows.clone_from(&self.state.table.rows),
        }
        for entry in report.entries {
            let (object, status) = from_wire(entry, list.as_deref())?;
            table.set(object.clone(), status.clone());
            writes.push(HubWrite::Row(object, status));
        }
        (table.root(&self.config.key) == report.target).then_some(writes)
    }

    pub(super) fn poll_status_ack(&mut self) -> Option<Vec<u8>> {
        self.sessions.current.as_ref()?;
        if !std::mem::take(&mut self.owes_status_ack) {
            return None;
        }
        let root = self.state.table.root(&self.config.key);
        Some(self.seal(Kind::StatusAck, &StatusAck { root }))
    }
}
