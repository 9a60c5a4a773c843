//! The way up: steps of the status table, committed, then acknowledged.

use super::{HubEvent, HubLink, HubWrite};
use crate::facts;
use crate::id::{Millis, ObjectId};
use crate::message::{Kind, Report, StatusAck};
use crate::status::{StatusTable, from_wire};

impl HubLink {
    pub(super) fn on_report(&mut self, report: Report, now: Millis) {
        if let Some(listed) = report.listed.filter(|listed| *listed != 0) {
            self.on_listed(listed, report.serial, now);
        }
        self.owes_status_ack = true;
        if report.target == self.state.table.root(&self.config.key) {
            return;
        }
        let whole = report.whole;
        match self.step(report) {
            Some(writes) => {
                writes.into_iter().for_each(|write| self.write(write));
                self.events.push(HubEvent::Status);
            }
            None if whole => self.events.push(HubEvent::Rejected("a status table that is not what its root says was passed over".into())),
            // It starts from another table: the acknowledgement says from which one to start.
            None => {}
        }
    }

    /// The writes of one step, if it leads where it says.
    fn step(&self, report: Report) -> Option<Vec<HubWrite>> {
        let (listed, held) = report.listed.map_or((self.state.table.listed, self.state.table.held), |listed| (listed, report.held));
        let list = self.base().filter(|list| list.root.short() == listed);
        let mut table = StatusTable { listed, held, ..StatusTable::default() };
        let mut writes = vec![HubWrite::Told { listed, held }];
        match report.whole {
            true => writes.push(HubWrite::ClearRows),
            false => table.rows.clone_from(&self.state.table.rows),
        }
        for mut entry in report.entries {
            facts::unpack(&mut entry, table.rows.get(&ObjectId::default()).map_or(&[], |row| &row.facts))?;
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
