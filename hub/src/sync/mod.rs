//! Keeps every agent's list equal to the desired one: one task a cluster, around the pure [`bus_schema::link::hub::HubLink`].
//!
//! `dispatch` gives each cluster its sessions and plans; `cluster` is the task; `library` remembers hashes and encodings that many
//! clusters share; `tables` is what survives; `streams` carries what kubectl asks of members; `report` turns a status table, and `facts` what it says of the cluster,
//! into what the controllers understand.
//! One cluster's flood delays nobody: its task alone waits, and its socket is not read meanwhile.

mod cluster;
mod dispatch;
mod facts;
mod library;
mod report;
mod streams;
mod tables;

pub use dispatch::{Inputs, run};
pub use streams::Streams;
pub use tables::{HEALTH, TABLES, load, seal_again, seal_all, status_of};

use std::collections::BTreeMap;
use std::sync::Arc;

use bus_schema::hash::HashKey;
use bus_schema::id::IncarnationId;
use bus_schema::link::hub::HubConfig;
use bus_schema::message::Caps;
use bus_schema::secret::LinkSecret;

use crate::store::{Store, StoreError};

/// What the hub tells agents about itself, read once at its start.
///
/// # Errors
/// The store cannot be read.
pub async fn hub_config(store: &Store, own: LinkSecret, key: HashKey) -> Result<HubConfig, StoreError> {
    let closed: BTreeMap<IncarnationId, u64> = store.read(tables::closed_incarnations).await?;
    let features = Caps::able(true, system::cpu::has_aes());
    let incarnation = IncarnationId(u64::from_be_bytes(store.incarnation().0));
    Ok(HubConfig { own: [own].into(), key, incarnation, closed: Arc::new(closed), features })
}
