//! Key, certificate and CA of this agent, in the folder `identity` of the data folder (0700), each file 0600.
//!
//! `tls.key`, `tls.crt` and `ca.crt` belong together; with `link.key` sessions are sealed. New keys are `next.key` and `next-link.key` from
//! before they are asked for until the certificate is there: then `tls.crt` is written and they take their places, and a start after a
//! crash between the two finishes that.

use std::collections::BTreeMap;
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use bus_schema::secret::LinkSecret;
use rcgen::{KeyPair, SigningKey};
use ring::rand::SecureRandom;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;

const FOLDER: &str = "identity";
const KEY: &str = "tls.key";
const NEXT: &str = "next.key";
const LINK: &str = "link.key";
const NEXT_LINK: &str = "next-link.key";
const CERTIFICATE: &str = "tls.crt";
const CA: &str = "ca.crt";
/// The certificate is the last: a folder without one is none.
const PARTS: [&str; 4] = [KEY, LINK, CA, CERTIFICATE];

/// Who the agent is on the bus.
pub struct Identity {
    /// PEM, the agent's own first.
    pub certificate: String,
    /// The CAs of the hub, PEM.
    pub ca: String,
    key: KeyPair,
}

/// Why an identity could not be read or kept.
#[derive(Debug, thiserror::Error)]
#[error("{path}: {why}")]
pub struct IdentityError {
    path: PathBuf,
    why: String,
}

impl Identity {
    /// A proof that this identity's key was at hand for `body`: a signature over what it is for and the body's hash.
    ///
    /// # Errors
    /// The system has no randomness.
    pub fn proof(&self, purpose: &str, body: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        let hash = ring::digest::digest(&ring::digest::SHA256, body);
        let hash: String = hash.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
        self.key.sign(format!("clusternet.io proof 1\n{purpose}\n{hash}").as_bytes())
    }
}

/// The folder.
#[derive(Debug, Clone)]
pub struct Folder(PathBuf);

impl Folder {
    /// The identity's place in a data folder; nothing is touched.
    pub fn of(data: &Path) -> Folder {
        Folder(data.join(FOLDER))
    }

    /// Reads the identity; `None` where there is none.
    ///
    /// # Errors
    /// What is there cannot be read, or does not belong together.
    pub fn load(&self) -> Result<Option<Identity>, IdentityError> {
        if !self.0.join(CERTIFICATE).exists() {
            return Ok(None);
        }
        let (certificate, ca) = (self.read(CERTIFICATE)?, self.read(CA)?);
        let is_finished = !self.0.join(NEXT).exists() || !self.belongs(&certificate, NEXT);
        if !is_finished {
            self.take_next()?;
        }
        let key = self.key(KEY)?;
        if !self.belongs(&certificate, KEY) {
            return Err(self.error(CERTIFICATE, "it is of another key than tls.key: remove the folder and join again"));
        }
        Ok(Some(Identity { certificate, ca, key }))
    }

    /// The key to ask a certificate for: the one that was asked for last time, if no answer came, or a new one.
    ///
    /// # Errors
    /// The folder cannot be written.
    pub fn next_key(&self) -> Result<KeyPair, IdentityError> {
        if self.0.join(NEXT).exists()
            && let Ok(key) = self.key(NEXT)
        {
            return Ok(key);
        }
        let key = KeyPair::generate().map_err(|error| self.error(NEXT, &error.to_string()))?;
        self.write(NEXT, key.serialize_pem().as_bytes())?;
        Ok(key)
    }

    /// The key that sessions are sealed with.
    ///
    /// # Errors
    /// It cannot be read, or is none.
    pub fn link(&self) -> Result<LinkSecret, IdentityError> {
        self.link_key(LINK)
    }

    /// The key that sessions are sealed with once the hub knows it; as [`Folder::next_key`].
    ///
    /// # Errors
    /// The folder cannot be written.
    pub fn next_link(&self) -> Result<LinkSecret, IdentityError> {
        if let Ok(key) = self.link_key(NEXT_LINK) {
            return Ok(key);
        }
        let mut random = [0; LinkSecret::LEN];
        ring::rand::SystemRandom::new().fill(&mut random).map_err(|_| self.error(NEXT_LINK, "the system has no randomness"))?;
        let key = LinkSecret::new(random);
        self.write(NEXT_LINK, key.expose())?;
        Ok(key)
    }

    /// Keeps the certificate that was given for the next keys, and lets those be the keys.
    ///
    /// # Errors
    /// The certificate is not of that key, or the folder cannot be written.
    pub fn accept(&self, certificate: &str, ca: &str) -> Result<(), IdentityError> {
        if !self.belongs(certificate, NEXT) {
            return Err(self.error(CERTIFICATE, "the hub gave a certificate of another key than it was asked for"));
        }
        self.write(CA, ca.as_bytes())?;
        self.write(CERTIFICATE, certificate.as_bytes())?;
        self.take_next()
    }

    fn take_next(&self) -> Result<(), IdentityError> {
        if self.0.join(NEXT_LINK).exists() {
            self.rename(NEXT_LINK, LINK)?;
        }
        self.rename(NEXT, KEY)
    }

    /// What makes up the identity, by file name.
    ///
    /// # Errors
    /// A file is missing or cannot be read.
    pub fn files(&self) -> Result<BTreeMap<String, Vec<u8>>, IdentityError> {
        let read = |name: &str| std::fs::read(self.0.join(name)).map_err(|error| self.error(name, &error.to_string()));
        PARTS.iter().map(|name| Ok(((*name).to_owned(), read(name)?))).collect()
    }

    /// Writes what [`Folder::files`] gave; other names are passed over.
    ///
    /// # Errors
    /// The folder cannot be written.
    pub fn put(&self, files: &BTreeMap<String, Vec<u8>>) -> Result<(), IdentityError> {
        let known = PARTS.iter().filter_map(|name| Some((name, files.get(*name)?)));
        known.into_iter().try_for_each(|(name, bytes)| self.write(name, bytes))
    }

    /// Forgets who the agent is.
    ///
    /// # Errors
    /// The folder cannot be removed.
    pub fn forget(&self) -> Result<(), IdentityError> {
        match std::fs::remove_dir_all(&self.0) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(self.error("", &error.to_string())),
            _ => Ok(()),
        }
    }

    fn belongs(&self, certificate: &str, key: &str) -> bool {
        let read = || {
            let chain = CertificateDer::pem_slice_iter(certificate.as_bytes()).collect::<Result<Vec<_>, _>>().ok()?;
            let key = PrivateKeyDer::from_pem_file(self.0.join(key)).ok()?;
            Some(CertifiedKey::new(chain, rustls::crypto::ring::sign::any_ecdsa_type(&key).ok()?))
        };
        read().is_some_and(|certified| certified.keys_match().is_ok())
    }

    fn link_key(&self, name: &str) -> Result<LinkSecret, IdentityError> {
        let found = std::fs::read(self.0.join(name)).map_err(|error| self.error(name, &error.to_string()))?;
        LinkSecret::read(&found).ok_or_else(|| self.error(name, "it has not 32 bytes: remove the folder and join again"))
    }

    fn key(&self, name: &str) -> Result<KeyPair, IdentityError> {
        KeyPair::from_pem(&self.read(name)?).map_err(|error| self.error(name, &format!("it is no PEM private key: {error}")))
    }

    fn read(&self, name: &str) -> Result<String, IdentityError> {
        std::fs::read_to_string(self.0.join(name)).map_err(|error| self.error(name, &error.to_string()))
    }

    fn write(&self, name: &str, content: &[u8]) -> Result<(), IdentityError> {
        let (path, part) = (self.0.join(name), self.0.join(format!("{name}.part")));
        let write = || {
            std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&self.0)?;
            let mut file = std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&part)?;
            file.write_all(content)?;
            file.sync_all()?;
            std::fs::rename(&part, &path)?;
            self.sync()
        };
        write().map_err(|error| self.error(name, &error.to_string()))
    }

    fn rename(&self, from: &str, to: &str) -> Result<(), IdentityError> {
        let renamed = std::fs::rename(self.0.join(from), self.0.join(to)).and_then(|()| self.sync());
        renamed.map_err(|error| self.error(to, &error.to_string()))
    }

    /// A rename is on the disk when the folder is.
    fn sync(&self) -> std::io::Result<()> {
        std::fs::File::open(&self.0)?.sync_all()
    }

    fn error(&self, name: &str, why: &str) -> IdentityError {
        IdentityError { path: self.0.join(name), why: why.to_owned() }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use rcgen::CertificateParams;

    use super::*;

    fn signed(key: &KeyPair) -> String {
        CertificateParams::default().self_signed(key).unwrap().pem()
    }

    #[test]
    fn a_key_is_kept_until_it_is_answered_and_is_the_owners_alone() {
        let temporary = tempfile::tempdir().unwrap();
        let folder = Folder::of(temporary.path());
        assert!(folder.load().unwrap().is_none());
        let key = folder.next_key().unwrap();
        assert_eq!(folder.next_key().unwrap().serialize_pem(), key.serialize_pem());
        let link = folder.next_link().unwrap();
        assert_eq!(folder.next_link().unwrap(), link);
        folder.accept(&signed(&key), "ca").unwrap();
        assert_eq!(folder.load().unwrap().unwrap().ca, "ca");
        assert_ne!(folder.next_key().unwrap().serialize_pem(), key.serialize_pem());
        assert_eq!(folder.link().unwrap(), link);
        assert_ne!(folder.next_link().unwrap(), link);
        let mode = |path: PathBuf| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        let place = temporary.path().join("identity");
        assert_eq!((mode(place.clone()), mode(place.join("tls.key")), mode(place.join("tls.crt"))), (0o700, 0o600, 0o600));
    }

    #[test]
    fn a_crash_between_certificate_and_key_is_finished_at_the_next_start() {
        let temporary = tempfile::tempdir().unwrap();
        let folder = Folder::of(temporary.path());
        folder.accept(&signed(&folder.next_key().unwrap()), "ca").unwrap();
        let (next, link) = (folder.next_key().unwrap(), folder.next_link().unwrap());
        folder.write("tls.crt", signed(&next).as_bytes()).unwrap();
        assert_eq!(folder.load().unwrap().unwrap().key.serialize_pem(), next.serialize_pem());
        assert_eq!(folder.link().unwrap(), link);
        assert!(!temporary.path().join("identity/next.key").exists());
    }

    #[test]
    fn a_certificate_of_another_key_is_not_taken() {
        let temporary = tempfile::tempdir().unwrap();
        let folder = Folder::of(temporary.path());
        folder.next_key().unwrap();
        assert!(folder.accept(&signed(&KeyPair::generate().unwrap()), "ca").unwrap_err().to_string().contains("another key"));
        assert!(folder.load().unwrap().is_none());
    }
}
