//! Disks: what is committed is there after a crash, nothing else.

use std::collections::BTreeMap;

use bus_schema::hash::Hash;
use bus_schema::id::IncarnationId;
use bus_schema::link::Cache;
use bus_schema::link::agent::{AgentState, AgentWrite};
use bus_schema::link::hub::{HubState, HubWrite};

use crate::store::Store;

/// An agent's disk.
#[derive(Debug, Clone, Default)]
pub struct AgentDisk {
    pub state: AgentState,
    contents: BTreeMap<Hash, Vec<u8>>,
    partials: BTreeMap<Hash, Vec<u8>>,
}

impl AgentDisk {
    /// One transaction.
    pub fn commit(&mut self, writes: &[AgentWrite]) {
        for write in writes {
            self.state.apply(write);
            match write {
                AgentWrite::Content(hash, bytes) => drop(self.contents.insert(*hash, bytes.clone())),
                AgentWrite::DropContent(hash) => drop(self.contents.remove(hash)),
                AgentWrite::Partial(hash, partial, bytes) => {
                    let stored = self.partials.entry(*hash).or_default();
                    stored.truncate(partial.received as usize - bytes.len());
                    stored.extend_from_slice(bytes);
                }
                AgentWrite::DropPartial(hash) => drop(self.partials.remove(hash)),
                _ => {}
            }
        }
    }
}

impl Cache for AgentDisk {
    fn content(&self, hash: &Hash) -> Option<Vec<u8>> {
        self.contents.get(hash).cloned()
    }

    fn partial(&self, hash: &Hash) -> Vec<u8> {
        self.partials.get(hash).cloned().unwrap_or_default()
    }
}

/// The hub's disk.
#[derive(Debug, Clone, Default)]
pub struct HubDisk {
    pub store: Store,
    /// One row for each cluster that is registered.
    pub links: BTreeMap<usize, HubState>,
    /// Each start of the hub; closed with a resourceVersion at the next.
    pub incarnations: BTreeMap<IncarnationId, Option<u64>>,
}

impl HubDisk {
    /// One transaction for one cluster.
    pub fn commit(&mut self, cluster: usize, writes: &[HubWrite]) {
        if let Some(state) = self.links.get_mut(&cluster) {
            writes.iter().for_each(|write| state.apply(write));
        }
    }

    /// Closes the rows that are open and opens one for this start.
    pub fn open_incarnation(&mut self, incarnation: IncarnationId, now_micros: u64) {
        let highest = self.store.resource_version;
        self.incarnations.values_mut().filter(|row| row.is_none()).for_each(|row| *row = Some(highest));
        self.incarnations.insert(incarnation, None);
        self.store.resource_version = (highest + 1).max(now_micros);
    }
}
