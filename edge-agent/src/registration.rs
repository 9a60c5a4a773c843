//! What a hub gave to this cluster, kept in the data folder so that a cold start needs no network.

use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use bus_schema::hash::HashKey;
use bus_schema::id::Sid;
use bus_schema::secret::{LinkPublic, LinkSecret, Trust};
use serde::{Deserialize, Serialize};

/// Its name in the data folder.
pub const FILE: &str = "registration.json";

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
    pub hub_link_key: String,
    /// The fleet's key for content hashes, base64.
    pub hash_key: String,
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
        serde_json::from_slice(&text).ok().filter(Registration::is_whole)
    }

    fn is_whole(&self) -> bool {
        self.sid().is_some() && self.hash_key().is_some() && LinkPublic::read(&decoded(&self.hub_link_key).unwrap_or_default()).is_some()
    }

    /// Keeps it for the next start.
    ///
    /// # Errors
    /// The folder cannot be written.
    pub fn save(&self, folder: &Path) -> std::io::Result<()> {
        put(folder, &serde_json::to_vec_pretty(self)?)
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

    /// What sessions with the hub are agreed with; `None` if the hub gave no key.
    pub fn trust(&self, own: LinkSecret) -> Option<Trust> {
        let peer = LinkPublic::read(&decoded(&self.hub_link_key)?)?;
        Some(Trust { own, peer })
    }

    /// The fleet's key for content hashes; `None` if the hub gave none.
    pub fn hash_key(&self) -> Option<HashKey> {
        decoded(&self.hash_key)?.as_slice().try_into().ok().map(HashKey::new)
    }

    pub fn sid(&self) -> Option<Sid> {
        Sid::parse(&self.sid).ok()
    }
}

/// Writes the bytes of a registration, for the owner only.
///
/// # Errors
/// The folder cannot be written.
pub fn put(folder: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let part = folder.join("registration.json.part");
    let mut file = std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&part)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    std::fs::rename(part, folder.join(FILE))
}

fn decoded(text: &str) -> Option<Vec<u8>> {
    use base64::Engine;
    base64::engine::general_purpose::STANDARD.decode(text).ok()
}
