//! The identity in a Secret of the member, for an agent whose data folder does not outlive its pod.
//!
//! The folder stays where the agent reads and writes; the Secret is a copy that is taken whenever an identity was given, and laid out
//! again at a start that finds no folder. Keys that are only being asked for are not in it: their answer is asked for again.

use std::collections::BTreeMap;
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::Method;
use serde::Deserialize;
use serde_json::json;

use crate::cluster::api::{Accept, Api, escape};
use crate::cluster::facts::NAMESPACE;
use crate::cluster::failure::Failure;
use crate::registration;
use crate::trust::identity::Folder;

/// Owner of the Secret's fields.
const MANAGER: &str = "clusternet-agent-identity";

/// Why the Secret could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum VaultError {
    #[error("Secret {NAMESPACE}/{name}: {failure}")]
    Member { name: String, failure: Failure },
    #[error("Secret {NAMESPACE}/{name}: {field} is no base64")]
    Damaged { name: String, field: String },
    #[error("{0}")]
    Folder(String),
}

/// The Secret.
#[derive(Clone)]
pub struct Vault {
    api: Api,
    name: String,
}

#[derive(Deserialize)]
struct Secret {
    #[serde(default)]
    data: BTreeMap<String, String>,
}

impl Vault {
    /// The Secret of this name, in the agent's namespace; nothing is asked yet.
    pub fn new(api: Api, name: &str) -> Vault {
        Vault { api, name: name.to_owned() }
    }

    /// Lays the kept identity out in a data folder; false if none was kept.
    ///
    /// # Errors
    /// The member does not answer or refuses, or the folder cannot be written.
    pub async fn lay_out(&self, data_dir: &Path) -> Result<bool, VaultError> {
        let found: Option<Secret> = self.api.find(&self.path(), Accept::Whole).await.map_err(|failure| self.failed(failure))?;
        let Some(found) = found else { return Ok(false) };
        let decoded = found.data.into_iter().map(|(field, text)| match STANDARD.decode(text) {
            Ok(bytes) => Ok((field, bytes)),
            Err(_) => Err(VaultError::Damaged { name: self.name.clone(), field }),
        });
        let mut files = decoded.collect::<Result<BTreeMap<_, _>, _>>()?;
        let Some(registration) = files.remove(registration::FILE) else { return Ok(false) };
        let folder = |error: &dyn std::fmt::Display| VaultError::Folder(format!("data folder {}: {error}", data_dir.display()));
        Folder::of(data_dir).put(&files).map_err(|error| folder(&error))?;
        registration::put(data_dir, &registration).map_err(|error| folder(&error))?;
        Ok(true)
    }

    /// Keeps the identity of a data folder.
    ///
    /// # Errors
    /// As [`Vault::lay_out`].
    pub async fn keep(&self, data_dir: &Path) -> Result<(), VaultError> {
        let folder = |error: &dyn std::fmt::Display| VaultError::Folder(format!("data folder {}: {error}", data_dir.display()));
        let mut files = Folder::of(data_dir).files().map_err(|error| folder(&error))?;
        let registration = std::fs::read(data_dir.join(registration::FILE)).map_err(|error| folder(&error))?;
        files.insert(registration::FILE.to_owned(), registration);
        let data: BTreeMap<String, String> = files.into_iter().map(|(name, bytes)| (name, STANDARD.encode(bytes))).collect();
        let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": self.name}, "type": "Opaque", "data": data});
        let target = format!("{}?fieldManager={MANAGER}&force=true", self.path());
        let content = ("application/apply-patch+yaml", secret.to_string().into_bytes());
        self.api.write_whole(Method::PATCH, &target, content).await.map(drop).map_err(|failure| self.failed(failure))
    }

    /// Forgets it.
    ///
    /// # Errors
    /// The member does not answer or refuses.
    pub async fn forget(&self) -> Result<(), VaultError> {
        match self.api.write_whole(Method::DELETE, &self.path(), ("application/json", b"{}".to_vec())).await {
            Err(failure) if failure.code() != Some(404) => Err(self.failed(failure)),
            _ => Ok(()),
        }
    }

    fn path(&self) -> String {
        format!("/api/v1/namespaces/{NAMESPACE}/secrets/{}", escape(&self.name))
    }

    fn failed(&self, failure: Failure) -> VaultError {
        VaultError::Member { name: self.name.clone(), failure }
    }
}
