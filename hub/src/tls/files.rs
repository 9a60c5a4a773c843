//! The CA on disk: `ca.crt` and `ca.key` in the data folder, or files that were given.
//!
//! `ca.crt` holds every accepted CA, the one that signs first; `ca-crossed.crt` what older CAs signed of newer ones. A rotation is
//! first written whole as `ca-rotation.json` and then put in place file by file; what a crash left undone is done at the next look.

use std::path::PathBuf;

use anyhow::{Context, bail};
use rcgen::KeyPair;
use serde::{Deserialize, Serialize};

use super::Authority;
use super::authority::{ca_params, make};
use crate::folder::Folder;

const CERTIFICATE: &str = "ca.crt";
const KEY: &str = "ca.key";
const CROSSED: &str = "ca-crossed.crt";
const ROTATION: &str = "ca-rotation.json";

/// A CA that is kept elsewhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Given {
    /// PEM: the CA first, then others that are accepted too.
    pub certificate: PathBuf,
    pub key: PathBuf,
}

/// Where the CA is kept.
#[derive(Debug, Clone)]
pub struct Files {
    folder: Folder,
    given: Option<Given>,
}

/// All files of a rotation, until each is in place.
#[derive(Serialize, Deserialize)]
struct Rotation {
    certificate: String,
    key: String,
    crossed: String,
}

impl Files {
    /// The CA of this data folder, or the one that was given.
    pub fn new(folder: &Folder, given: Option<Given>) -> Files {
        Files { folder: folder.clone(), given }
    }

    /// Reads the CA, and makes one at the first start; true if it was made now.
    ///
    /// # Errors
    /// The files cannot be read or written, or are no certificate and key.
    pub fn open(&self) -> anyhow::Result<(Authority, bool)> {
        if let Some(given) = &self.given {
            return Ok((given.read()?, false));
        }
        self.finish_rotation()?;
        let missing = [CERTIFICATE, KEY].map(|name| !self.folder.file(name).exists());
        let made = missing == [true, true];
        if made {
            let (certificate, key) = make()?;
            self.folder.write_secret(KEY, key.as_bytes())?;
            self.folder.write_secret(CERTIFICATE, certificate.as_bytes())?;
        }
        Ok((self.read()?, made))
    }

    fn read(&self) -> anyhow::Result<Authority> {
        let wrong = || {
            format!(
                "CA in {}: ca.crt and ca.key must be a PEM certificate and its key; restore them, or remove both for a new CA (agents must then join again)",
                self.folder.path().display()
            )
        };
        let text = |name: &str| std::fs::read_to_string(self.folder.file(name));
        let (certificate, key) = (text(CERTIFICATE).with_context(wrong)?, text(KEY).with_context(wrong)?);
        Authority::new(&certificate, &key, &text(CROSSED).unwrap_or_default()).with_context(wrong)
    }

    /// Makes the next CA and leaves it to be put in place, by a running hub within seconds or at the next start.
    ///
    /// # Errors
    /// The CA is kept elsewhere, a rotation is under way, or the folder cannot be written.
    pub fn rotate(&self) -> anyhow::Result<()> {
        if let Some(given) = &self.given {
            bail!(
                "the CA is given by --ca-cert {}: make the next one where that is kept, put the old certificate and the new one signed by the old behind the new in that file, and restart the hub",
                given.certificate.display()
            );
        }
        if self.is_rotating() {
            bail!("a rotation is under way: start the hub, which finishes it");
        }
        let old = self.read()?;
        let key = KeyPair::generate()?;
        let params = ca_params(&key);
        let rotation = Rotation {
            certificate: params.self_signed(&key)?.pem() + &old.pem(),
            crossed: old.cross(&key, &params)? + &std::fs::read_to_string(self.folder.file(CROSSED)).unwrap_or_default(),
            key: key.serialize_pem(),
        };
        self.folder.write_secret(ROTATION, &serde_json::to_vec(&rotation)?)
    }

    /// Whether a rotation waits to be put in place.
    pub fn is_rotating(&self) -> bool {
        self.folder.file(ROTATION).exists()
    }

    /// Puts a rotation in place; nothing is done when there is none.
    ///
    /// # Errors
    /// A file cannot be written.
    pub fn finish_rotation(&self) -> anyhow::Result<()> {
        let path = self.folder.file(ROTATION);
        if !path.exists() {
            return Ok(());
        }
        let rotation: Rotation = serde_json::from_slice(&std::fs::read(&path)?)
            .with_context(|| format!("{} is damaged: remove it, and rotate again", path.display()))?;
        self.folder.write_secret(CROSSED, rotation.crossed.as_bytes())?;
        self.folder.write_secret(KEY, rotation.key.as_bytes())?;
        self.folder.write_secret(CERTIFICATE, rotation.certificate.as_bytes())?;
        std::fs::remove_file(&path).with_context(|| format!("{} cannot be removed", path.display()))
    }
}

impl Given {
    fn read(&self) -> anyhow::Result<Authority> {
        let text =
            |flag: &str, path: &PathBuf| std::fs::read_to_string(path).with_context(|| format!("{flag} {} cannot be read", path.display()));
        let (certificate, key) = (text("--ca-cert", &self.certificate)?, text("--ca-key", &self.key)?);
        let shown = || {
            format!("--ca-cert {} and --ca-key {}: give a PEM CA certificate and its key", self.certificate.display(), self.key.display())
        };
        Authority::new(&certificate, &key, "").with_context(shown)
    }
}
