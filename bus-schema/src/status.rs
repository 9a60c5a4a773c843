//! The status table of a cluster: what is, per object. Agent and hub hold one each; the roots say whether they are equal.

use std::collections::BTreeMap;

use prost::Message;

use crate::hash::{Domain, Hash, HashKey};
use crate::health;
use crate::id::ObjectId;
use crate::list::DesiredList;
use crate::message::{Health, StatusEntry};

/// Where an object stands. The numbers are on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u32)]
pub enum State {
    /// Not applied yet, nothing known against it.
    Pending = 0,
    Applied = 1,
    /// Could not be applied for now; tried again soon.
    Failed = 2,
    /// The API server refuses it; tried again on change, or hourly.
    Refused = 3,
    /// The agent did not take it.
    Rejected = 4,
    /// On its way out.
    Removing = 5,
    /// Not desired any more, but nothing proves that it may go.
    Unclaimed = 6,
    /// Not deleted: somebody else's things are in it.
    Kept = 7,
}

impl State {
    /// Reads a state; one that a newer peer invented is `Pending`.
    pub fn read(value: u32) -> State {
        use State::*;
        [Pending, Applied, Failed, Refused, Rejected, Removing, Unclaimed, Kept]
            .into_iter()
            .find(|state| *state as u32 == value)
            .unwrap_or(Pending)
    }
}

/// One row of the table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    pub state: State,
    /// Content that the state is about.
    pub hash: Option<Hash>,
    /// HTTP status code of a refusal, or 0.
    pub code: u32,
    /// For people; empty when all is well.
    pub message: String,
    /// Facts about the cluster, JSON; only in the cluster's own row.
    pub facts: Vec<u8>,
    /// How the object does; absent while nobody has looked.
    pub health: Option<Health>,
}

impl Status {
    pub fn of(state: State, hash: Option<Hash>) -> Status {
        Status { state, hash, code: 0, message: String::new(), facts: Vec::new(), health: None }
    }
}

/// All rows, and the acknowledgement that travels with them. The row of the cluster itself has the empty [`ObjectId`].
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct StatusTable {
    /// Short root of the stored list, 0 for none.
    pub listed: u64,
    /// All content of that list is stored, or refused.
    pub held: bool,
    pub rows: BTreeMap<ObjectId, Status>,
}

impl StatusTable {
    /// Short root over everything; 0 only for a table that says nothing.
    pub fn root(&self, key: &HashKey) -> u64 {
        if *self == StatusTable::default() {
            return 0;
        }
        let mut bytes = Vec::with_capacity(9 + 64 * self.rows.len());
        bytes.extend_from_slice(&self.listed.to_be_bytes());
        bytes.push(u8::from(self.held));
        for (object, status) in &self.rows {
            to_wire(object, Some(status), None).encode_length_delimited(&mut bytes).expect("a vector grows");
        }
        key.hash(Domain::Status, &bytes).short()
    }

    /// The rows that lead from `self` to `to`: changed and new ones, then those that are gone.
    pub fn changes<'a>(&'a self, to: &'a StatusTable) -> impl Iterator<Item = (&'a ObjectId, Option<&'a Status>)> {
        let changed = to.rows.iter().filter(|(object, status)| self.rows.get(object) != Some(status));
        let gone = self.rows.keys().filter(|object| !to.rows.contains_key(object));
        changed.map(|(object, status)| (object, Some(status))).chain(gone.map(|object| (object, None)))
    }

    pub fn set(&mut self, object: ObjectId, status: Option<Status>) {
        match status {
            Some(status) => self.rows.insert(object, status),
            None => self.rows.remove(&object),
        };
    }
}

/// Writes a row; with `list` an object of it is named by index, and its hash left out where the list says it.
pub fn to_wire(object: &ObjectId, status: Option<&Status>, list: Option<&DesiredList>) -> StatusEntry {
    let mut entry = StatusEntry::default();
    let index = list.and_then(|list| list.index(object));
    match index {
        Some(index) => entry.index = index as u32 + 1,
        None if *object != ObjectId::default() => entry.object = Some(object.into()),
        None => {}
    }
    let Some(status) = status else {
        entry.gone = true;
        return entry;
    };
    entry.state = (status.state != State::Applied).then_some(status.state as u32);
    entry.code = status.code;
    entry.message.clone_from(&status.message);
    entry.facts.clone_from(&status.facts);
    if let Some(health) = &status.health {
        health::to_wire(health, &mut entry);
    }
    let implied = list.zip(index).and_then(|(list, index)| list.entries[index].wanted.hash());
    match status.hash {
        Some(hash) if implied == Some(hash) => {}
        Some(hash) => entry.hash = hash.0.to_vec(),
        None if implied.is_some() => entry.hash = vec![0],
        None => {}
    }
    entry
}

/// Reads a row; `None` when it points into a list that is not known, or is damaged.
pub fn from_wire(mut entry: StatusEntry, list: Option<&DesiredList>) -> Option<(ObjectId, Option<Status>)> {
    let claim = match entry.index {
        0 => None,
        index => Some(list?.entries.get(index as usize - 1)?),
    };
    let object = match (claim, entry.object.take()) {
        (Some(claim), _) => claim.object.clone(),
        (None, Some(object)) => object.into(),
        (None, None) => ObjectId::default(),
    };
    if entry.gone {
        return Some((object, None));
    }
    let hash = match entry.hash.len() {
        0 => claim.and_then(|claim| claim.wanted.hash()),
        1 => None,
        _ => Some(Hash::read(&entry.hash)?),
    };
    let health = health::from_wire(&mut entry);
    let StatusEntry { code, message, facts, .. } = entry;
    let state = entry.state.map_or(State::Applied, State::read);
    let status = Status { state, hash, code, message, facts, health };
    Some((object, Some(status)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::BundleId;
    use crate::list::{DesiredEntry, Wanted};
    use crate::message::Level;

    fn object(name: &str) -> ObjectId {
        ObjectId { kind: "Secret".into(), name: name.into(), ..ObjectId::default() }
    }

    #[test]
    fn a_row_reads_back_with_and_without_the_list() {
        let key = HashKey::public();
        let hash = Hash([3; 16]);
        let wanted = Wanted::Content { hash, size: 1, secret: true };
        let list = DesiredList::new([DesiredEntry { bundle: BundleId(1), object: object("a"), version: "v1".into(), wanted }], &key);
        let health = Health { level: Level::Unhealthy as i32, reason: "ImagePullBackOff".into(), ..Health::default() };
        let rows = [
            (object("a"), Some(Status::of(State::Applied, Some(hash)))),
            (object("a"), Some(Status::of(State::Pending, None))),
            (object("a"), Some(Status { code: 422, message: "no".into(), ..Status::of(State::Refused, Some(Hash([4; 16]))) })),
            (object("b"), Some(Status::of(State::Unclaimed, Some(hash)))),
            (object("a"), Some(Status { health: Some(health.clone()), ..Status::of(State::Applied, Some(hash)) })),
            (object("b"), None),
            (ObjectId::default(), Some(Status { facts: b"{}".to_vec(), ..Status::of(State::Applied, None) })),
        ];
        for (object, status) in rows {
            for list in [None, Some(&list)] {
                let wire = to_wire(&object, status.as_ref(), list);
                assert_eq!(from_wire(wire, list), Some((object.clone(), status.clone())));
            }
        }
    }

    #[test]
    fn changes_lead_from_one_table_to_the_other() {
        let (a, b, c) = (object("a"), object("b"), object("c"));
        let row = |state| Status::of(state, None);
        let from = StatusTable { rows: [(a.clone(), row(State::Pending)), (b, row(State::Applied))].into(), ..StatusTable::default() };
        let to = StatusTable { rows: [(a, row(State::Applied)), (c, row(State::Applied))].into(), ..StatusTable::default() };
        let mut stepped = from.clone();
        for (object, status) in from.changes(&to) {
            stepped.set(object.clone(), status.cloned());
        }
        assert_eq!(stepped, to);
    }

    #[test]
    fn only_a_table_that_says_nothing_has_the_root_zero() {
        let key = HashKey::public();
        assert_eq!(StatusTable::default().root(&key), 0);
        assert_ne!(StatusTable { held: true, ..StatusTable::default() }.root(&key), 0);
    }
}
