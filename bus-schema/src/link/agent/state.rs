//! What an agent has committed, and the writes that change it.

use std::collections::BTreeMap;

use crate::codec::Mode;
use crate::hash::Hash;
use crate::id::{BundleId, ObjectId};
use crate::message::{Health, Level};
use crate::stamp::Stamp;

/// Who made the live object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// We did: it may be deleted.
    Created,
    /// It was there before us: it is released.
    Adopted,
}

/// The live object as it was after our last apply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Live {
    pub uid: String,
    pub resource_version: String,
    pub origin: Origin,
}

/// One object in the inventory. It is written before the first apply, so that no object of ours is ever unknown.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Item {
    /// The served version of the object's group.
    pub version: String,
    pub live: Option<Live>,
    /// Content applied last.
    pub applied: Option<Hash>,
    /// Of a run-once that was seen to have run.
    pub ended: Option<Ended>,
}

/// The end of a Job or Pod; it is never made again for the same content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ended {
    /// Content that ran.
    pub hash: Hash,
    pub failed: bool,
}

impl Ended {
    /// What is still known when the object itself is gone.
    pub(super) fn health(self) -> Health {
        let (level, reason) = if self.failed { (Level::Unhealthy, "Failed") } else { (Level::Finished, "") };
        Health { level: level as i32, reason: reason.into(), ..Health::default() }
    }
}

/// A claim that a list does not have any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Removal {
    /// When a list asserted it last.
    pub stamp: Stamp,
    /// A hub that knew of it has left it out, or an administrator let it go.
    pub proven: bool,
}

/// The list that is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredList {
    pub bytes: Vec<u8>,
    pub stamp: Stamp,
    /// What was before a lost disk: nothing of it is fetched or applied.
    pub recover: bool,
}

/// A transfer that has begun.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Partial {
    pub mode: Mode,
    pub base: Option<Hash>,
    /// Bytes decoded and encoded.
    pub size: u32,
    pub total: u32,
    pub etag: u64,
    /// Encoded bytes that are there, from the start.
    pub received: u32,
}

/// Everything that survives the process.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AgentState {
    /// The session stored last, 0 for none.
    pub last_session: u64,
    /// Highest ordering number seen.
    pub order: u64,
    pub list: Option<StoredList>,
    /// Sizes of the content that is stored.
    pub contents: BTreeMap<Hash, u32>,
    pub partials: BTreeMap<Hash, Partial>,
    pub items: BTreeMap<ObjectId, Item>,
    pub removals: BTreeMap<(ObjectId, BundleId), Removal>,
    /// Facts about the cluster told last, JSON.
    pub facts: Vec<u8>,
}

/// One durable change. All writes taken together are one transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AgentWrite {
    Session(u64),
    Order(u64),
    List(StoredList),
    /// The list's stamp, for all its entries.
    Stamp(Stamp),
    Content(Hash, Vec<u8>),
    DropContent(Hash),
    /// Encoded bytes that continue a transfer.
    Partial(Hash, Partial, Vec<u8>),
    DropPartial(Hash),
    Item(ObjectId, Option<Item>),
    Removal(ObjectId, BundleId, Option<Removal>),
    Facts(Vec<u8>),
}

impl AgentState {
    /// Does to the memory what the write does to the disk; content bytes live on the disk only.
    pub fn apply(&mut self, write: &AgentWrite) {
        match write {
            AgentWrite::Session(session) => self.last_session = *session,
            AgentWrite::Order(order) => self.order = *order,
            AgentWrite::List(list) => self.list = Some(list.clone()),
            AgentWrite::Stamp(stamp) => {
                if let Some(list) = &mut self.list {
                    list.stamp = *stamp;
                }
            }
            AgentWrite::Content(hash, bytes) => {
                self.contents.insert(*hash, bytes.len() as u32);
            }
            AgentWrite::DropContent(hash) => {
                self.contents.remove(hash);
            }
            AgentWrite::Partial(hash, partial, _) => {
                self.partials.insert(*hash, partial.clone());
            }
            AgentWrite::DropPartial(hash) => {
                self.partials.remove(hash);
            }
            AgentWrite::Item(object, item) => match item {
                Some(item) => drop(self.items.insert(object.clone(), item.clone())),
                None => drop(self.items.remove(object)),
            },
            AgentWrite::Removal(object, bundle, removal) => {
                let key = (object.clone(), *bundle);
                match removal {
                    Some(removal) => drop(self.removals.insert(key, *removal)),
                    None => drop(self.removals.remove(&key)),
                }
            }
            AgentWrite::Facts(facts) => self.facts.clone_from(facts),
        }
    }
}
