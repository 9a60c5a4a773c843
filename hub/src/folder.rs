//! The data folder: tokens, and what clients need to find the hub.

use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use anyhow::Context;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bus_schema::secret::LinkSecret;
use ring::rand::SecureRandom;
use serde_json::json;

/// The files that others read.
#[derive(Debug, Clone)]
pub struct Folder(PathBuf);

/// Where the hub can be reached.
#[derive(Debug, Clone)]
pub struct Endpoints {
    /// `https://HOST:PORT`.
    pub api: String,
    /// `mqtts://HOST:PORT`.
    pub bus: String,
}

impl Folder {
    /// Makes the folder if it is missing, for the owner only.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn open(path: &Path) -> anyhow::Result<Folder> {
        use std::os::unix::fs::DirBuilderExt;
        let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path);
        made.with_context(|| format!("data folder {} cannot be made; choose another with --data-dir", path.display()))?;
        let path = path.canonicalize().with_context(|| format!("data folder {}", path.display()))?;
        Ok(Folder(path))
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    pub fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// The token in this file, made at the first start.
    ///
    /// # Errors
    /// The file cannot be read or written.
    pub fn token(&self, name: &str) -> anyhow::Result<String> {
        let path = self.file(name);
        if let Ok(found) = std::fs::read_to_string(&path)
            && found.trim().len() >= 32
        {
            return Ok(found.trim().to_owned());
        }
        let mut secret = [0; 32];
        ring::rand::SystemRandom::new().fill(&mut secret).map_err(|_| anyhow::anyhow!("the system has no randomness"))?;
        let token: String = secret.iter().map(|byte| format!("{byte:02x}")).collect();
        self.write_secret(name, token.as_bytes())?;
        Ok(token)
    }

    /// The key that sessions with agents are agreed with, made at the first start.
    ///
    /// # Errors
    /// The file cannot be read or written, or holds something else.
    pub fn link_secret(&self) -> anyhow::Result<LinkSecret> {
        Ok(LinkSecret::new(self.random("link.key")?))
    }

    /// The fleet's key for content hashes, made at the first start; agents are given it when they join.
    ///
    /// # Errors
    /// The file cannot be read or written, or holds something else.
    pub fn hash_key(&self) -> anyhow::Result<[u8; 32]> {
        self.random("hash.key")
    }

    /// 32 random bytes that are kept.
    fn random(&self, name: &str) -> anyhow::Result<[u8; 32]> {
        let path = self.file(name);
        match std::fs::read(&path) {
            Ok(found) => found.try_into().map_err(|found: Vec<u8>| {
                anyhow::anyhow!(
                    "{} has {} bytes and not 32: restore it; without it every agent must join again",
                    path.display(),
                    found.len()
                )
            }),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                let mut made = [0; 32];
                ring::rand::SystemRandom::new().fill(&mut made).map_err(|_| anyhow::anyhow!("the system has no randomness"))?;
                self.write_secret(name, &made)?;
                Ok(made)
            }
            Err(error) => Err(error).with_context(|| format!("{} cannot be read", path.display())),
        }
    }

    /// Writes a file that only the owner may read; never half a file.
    ///
    /// # Errors
    /// The folder cannot be written.
    pub fn write_secret(&self, name: &str, content: &[u8]) -> anyhow::Result<()> {
        let (path, part) = (self.file(name), self.file(&format!("{name}.part")));
        let write = || {
            let mut file = std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&part)?;
            file.write_all(content)?;
            file.sync_all()?;
            std::fs::rename(&part, &path)
        };
        write().with_context(|| format!("{} cannot be written", path.display()))
    }

    /// Writes `endpoints.json` and `admin.kubeconfig`; returns the path of the latter.
    ///
    /// # Errors
    /// The folder cannot be written.
    pub fn announce(&self, endpoints: &Endpoints, ca_pem: &str, admin_token: &str) -> anyhow::Result<PathBuf> {
        let kubeconfig = self.file("admin.kubeconfig");
        let config = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "hub",
            "clusters": [{"name": "hub", "cluster": {"server": endpoints.api, "certificate-authority-data": STANDARD.encode(ca_pem)}}],
            "users": [{"name": "hub-admin", "user": {"token": admin_token}}],
            "contexts": [{"name": "hub", "context": {"cluster": "hub", "user": "hub-admin"}}],
        });
        self.write_secret("admin.kubeconfig", &serde_json::to_vec_pretty(&config)?)?;
        let found = json!({"api": endpoints.api, "bus": endpoints.bus, "kubeconfig": kubeconfig});
        self.write_secret("endpoints.json", &serde_json::to_vec_pretty(&found)?)?;
        Ok(kubeconfig)
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_token_is_made_once_for_the_owner_only() {
        let temporary = tempfile::tempdir().unwrap();
        let folder = Folder::open(&temporary.path().join("new")).unwrap();
        let token = folder.token("a.token").unwrap();
        assert_eq!((token.len(), folder.token("a.token").unwrap()), (64, token.clone()));
        assert_ne!(folder.token("another.token").unwrap(), token);
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&folder.file("a.token")), mode(folder.path())), (0o600, 0o700));
    }
}
