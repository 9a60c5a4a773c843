//! What the hub has committed for one cluster, and the writes that change it.

use crate::id::ObjectId;
use crate::stamp::Stamp;
use crate::status::{Status, StatusTable};

/// The list that the agent acknowledged last, and when it was asserted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Acked {
    pub bytes: Vec<u8>,
    pub stamp: Stamp,
}

/// Everything that survives the process, for one cluster.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct HubState {
    /// Highest ordering number given or seen.
    pub order: u64,
    pub acked: Option<Acked>,
    pub table: StatusTable,
    /// The session confirmed last, 0 for none.
    pub last_session: u64,
    /// The agent process confirmed last, 0 for none, and those before it.
    pub boot: u64,
    pub old_boots: Vec<u64>,
}

/// One durable change. All writes taken together are one transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::large_enum_variant, reason = "most writes are rows, and all live for one transaction only")]
pub enum HubWrite {
    Order(u64),
    Acked(Acked),
    Session(u64),
    Boots {
        boot: u64,
        old: Vec<u64>,
    },
    /// The acknowledgement that the table carries.
    Told {
        listed: u64,
        held: bool,
    },
    Row(ObjectId, Option<Status>),
    /// A new table follows: forget all rows.
    ClearRows,
}

impl HubState {
    /// Does to the memory what the write does to the disk.
    pub fn apply(&mut self, write: &HubWrite) {
        match write {
            HubWrite::Order(order) => self.order = *order,
            HubWrite::Acked(acked) => self.acked = Some(acked.clone()),
            HubWrite::Session(session) => self.last_session = *session,
            HubWrite::Boots { boot, old } => (self.boot, self.old_boots) = (*boot, old.clone()),
            HubWrite::Told { listed, held } => (self.table.listed, self.table.held) = (*listed, *held),
            HubWrite::Row(object, status) => self.table.set(object.clone(), status.clone()),
            HubWrite::ClearRows => self.table.rows.clear(),
        }
    }
}
