//! What a hub gave to this cluster, kept in the data folder so that a cold start needs no network.

use std::path::Path;

use bus_schema::id::Sid;
use serde::{Deserialize, Serialize};

const FILE: &str = "registration.json";

/// What a hub gave to this cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Registration {
    /// UID of the member's Lease: the cluster's identity.
    pub cluster_id: String,
    pub sid: String,
    /// `mqtts://HOST:PORT`.
    pub bus_address: String,
    pub namespace: String,
    pub name: String,
    /// The hub's API, `https://HOST:PORT`: where certificates are renewed.
    pub hub: String,
    /// The hub's X25519 public key, base64, that sessions are sealed for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hub_link_key: Option<String>,
    /// When the certificate was made and when it ends, seconds since 1970.
    pub begins: u64,
    pub ends: u64,
    /// What time it was at least when this was kept, seconds since 1970: some clocks start at 1970 again at each boot.
    pub hub_time: u64,
}

impl Registration {
    /// Reads what was kept; `None` where nothing (readable) is.
    pub fn load(folder: &Path) -> Option<Registration> {
        let text = std::fs::read(folder.join(FILE)).ok()?;
        serde_json::from_slice(&text).ok().filter(|registration: &Registration| registration.sid().is_some())
    }

    /// Keeps it for the next start.
    ///
    /// # Errors
    /// The folder cannot be written.
    pub fn save(&self, folder: &Path) -> std::io::Result<()> {
        let part = folder.join("registration.json.part");
        std::fs::write(&part, serde_json::to_vec_pretty(self)?)?;
        std::fs::File::open(&part)?.sync_all()?;
        std::fs::rename(part, folder.join(FILE))
    }

    /// Forgets it.
    ///
    /// # Errors
    /// The file cannot be removed.
    pub fn forget(folder: &Path) -> std::io::Result<()> {
        match std::fs::remove_file(folder.join(FILE)) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    pub fn sid(&self) -> Option<Sid> {
        Sid::parse(&self.sid).ok()
    }
}
