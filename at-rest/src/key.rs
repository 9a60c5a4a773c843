//! The key's file: 32 bytes, or 64 hex digits. It is made once, for the owner only.

use std::fmt;
use std::io::Write;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use ring::hmac;
use ring::rand::{SecureRandom, SystemRandom};
use zeroize::Zeroizing;

/// Bytes of a key.
const LEN: usize = 32;

/// Bytes of a file that are looked at: no key is longer.
const MAX_FILE: u64 = 256;

/// The name of the key in a data folder.
const NAME: &str = "at-rest.key";

/// Names a key without telling anything of it; stored beside what is sealed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct KeyId(pub [u8; 8]);

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The key under which everything of one data folder is sealed.
#[derive(Clone)]
pub struct Key(Zeroizing<[u8; LEN]>);

impl Key {
    /// # Errors
    /// The system has no randomness.
    pub fn random() -> Result<Key, KeyError> {
        let mut bytes = Zeroizing::new([0; LEN]);
        SystemRandom::new().fill(&mut *bytes).map_err(|_| KeyError::NoRandomness)?;
        Ok(Key(bytes))
    }

    /// Which key this is.
    #[must_use]
    pub fn id(&self) -> KeyId {
        let tag = hmac::sign(&self.part("id"), b"");
        KeyId(tag.as_ref()[..8].try_into().expect("an HMAC-SHA-256 has 32 bytes"))
    }

    /// A key for one purpose.
    pub(crate) fn part(&self, purpose: &str) -> hmac::Key {
        let root = hmac::Key::new(hmac::HMAC_SHA256, &*self.0);
        hmac::Key::new(hmac::HMAC_SHA256, hmac::sign(&root, purpose.as_bytes()).as_ref())
    }

    fn read(content: &[u8]) -> Option<Key> {
        if let Ok(bytes) = <[u8; LEN]>::try_from(content) {
            return Some(Key(Zeroizing::new(bytes)));
        }
        let digits = content.trim_ascii();
        let mut bytes = Zeroizing::new([0; LEN]);
        if digits.len() != 2 * LEN {
            return None;
        }
        for (byte, pair) in bytes.iter_mut().zip(digits.as_chunks::<2>().0) {
            let nibble = |digit: u8| char::from(digit).to_digit(16);
            *byte = (nibble(pair[0])? * 16 + nibble(pair[1])?) as u8;
        }
        Some(Key(bytes))
    }

    fn hex(&self) -> Zeroizing<String> {
        let mut text = Zeroizing::new(String::with_capacity(2 * LEN + 1));
        for byte in self.0.iter() {
            for digit in [byte >> 4, byte & 15] {
                text.push(char::from_digit(digit.into(), 16).expect("four bits are a hex digit"));
            }
        }
        text.push('\n');
        text
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({})", self.id())
    }
}

/// Why there is no key.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    #[error("at-rest key {path} is not there: put it back, or name it with --at-rest-key-file; without it what was stored cannot be read")]
    Missing { path: PathBuf },
    #[error("at-rest key {path}: {error}; name another with --at-rest-key-file")]
    File { path: PathBuf, error: std::io::Error },
    #[error("at-rest key {path} is no key: it must hold 32 bytes, or 64 hex digits (`openssl rand -hex 32`)")]
    Malformed { path: PathBuf },
    #[error("the system has no randomness")]
    NoRandomness,
}

/// Where a key is kept.
#[derive(Debug, Clone)]
pub struct KeyFile(PathBuf);

impl KeyFile {
    /// The file that was asked for, else the one in the data folder.
    #[must_use]
    pub fn new(asked: Option<&Path>, folder: &Path) -> KeyFile {
        KeyFile(asked.map_or_else(|| folder.join(NAME), Path::to_owned))
    }

    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// The file that holds the next key while everything is sealed anew.
    #[must_use]
    pub fn next(&self) -> KeyFile {
        let mut name = self.0.as_os_str().to_owned();
        name.push(".next");
        KeyFile(name.into())
    }

    /// Reads the key; `None` when there is no file.
    ///
    /// # Errors
    /// It cannot be read, or is no key.
    pub fn read(&self) -> Result<Option<Key>, KeyError> {
        use std::io::Read;
        let failed = |error| KeyError::File { path: self.0.clone(), error };
        let file = match std::fs::File::open(&self.0) {
            Ok(file) => file,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(failed(error)),
        };
        if file.metadata().map_err(failed)?.permissions().mode() & 0o004 != 0 {
            tracing::warn!(path = %self.0.display(), "every user of this machine can read the at-rest key: chmod 600");
        }
        let mut content = Zeroizing::new(Vec::with_capacity(MAX_FILE as usize));
        file.take(MAX_FILE).read_to_end(&mut content).map_err(failed)?;
        Key::read(&content).map(Some).ok_or_else(|| KeyError::Malformed { path: self.0.clone() })
    }

    /// Reads the key, which must be there.
    ///
    /// # Errors
    /// As [`KeyFile::read`], and [`KeyError::Missing`].
    pub fn require(&self) -> Result<Key, KeyError> {
        self.read()?.ok_or_else(|| KeyError::Missing { path: self.0.clone() })
    }

    /// Reads the key, or makes one where there is none: on the disk, for the owner only, before it is used.
    ///
    /// # Errors
    /// As [`KeyFile::read`]; the file cannot be written.
    pub fn read_or_make(&self) -> Result<Key, KeyError> {
        if let Some(key) = self.read()? {
            return Ok(key);
        }
        let key = Key::random()?;
        self.write(&key).map_err(|error| KeyError::File { path: self.0.clone(), error })?;
        tracing::info!(path = %self.0.display(), key = %key.id(), "made a key for what is stored: keep a copy of it apart from the database");
        Ok(key)
    }

    /// Never half a file. Two programs that share a path are kept apart by the lock of their folder, or by the administrator.
    fn write(&self, key: &Key) -> std::io::Result<()> {
        let mut part = self.0.as_os_str().to_owned();
        part.push(".part");
        let part = PathBuf::from(part);
        let mut file = std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&part)?;
        file.write_all(key.hex().as_bytes())?;
        file.sync_all()?;
        std::fs::rename(&part, &self.0)?;
        sync_folder(&self.0)
    }

    /// Puts this file in the place of `other`.
    ///
    /// # Errors
    /// The folder cannot be written.
    pub fn replace(&self, other: &KeyFile) -> Result<(), KeyError> {
        let done = std::fs::rename(&self.0, &other.0).and_then(|()| sync_folder(&other.0));
        done.map_err(|error| KeyError::File { path: other.0.clone(), error })
    }

    /// Removes the file, if it is there.
    ///
    /// # Errors
    /// The folder cannot be written.
    pub fn remove(&self) -> Result<(), KeyError> {
        match std::fs::remove_file(&self.0) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(KeyError::File { path: self.0.clone(), error }),
            _ => Ok(()),
        }
    }
}

/// A name is on the disk only when its folder is.
fn sync_folder(file: &Path) -> std::io::Result<()> {
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    std::fs::File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_made_once_for_the_owner_only() {
        let folder = tempfile::tempdir().unwrap();
        let file = KeyFile::new(None, folder.path());
        let key = file.read_or_make().unwrap();
        assert_eq!(file.read_or_make().unwrap().id(), key.id());
        assert_eq!(std::fs::metadata(file.path()).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn raw_bytes_and_hex_digits_are_the_same_key() {
        let folder = tempfile::tempdir().unwrap();
        let file = KeyFile::new(Some(&folder.path().join("k")), folder.path());
        std::fs::write(file.path(), [0x5a; LEN]).unwrap();
        let raw = file.require().unwrap().id();
        std::fs::write(file.path(), format!(" {}\n", "5A".repeat(LEN))).unwrap();
        assert_eq!(file.require().unwrap().id(), raw);
    }

    #[test]
    fn what_is_no_key_is_named_with_the_remedy() {
        let folder = tempfile::tempdir().unwrap();
        let file = KeyFile::new(None, folder.path());
        let missing = file.require().unwrap_err().to_string();
        assert!(missing.contains("at-rest.key") && missing.contains("--at-rest-key-file"), "{missing}");
        for content in ["", "too short", &"g".repeat(64)] {
            std::fs::write(file.path(), content).unwrap();
            let error = file.read().unwrap_err().to_string();
            assert!(error.contains("64 hex digits"), "{error}");
        }
    }

    #[test]
    fn a_key_does_not_show_in_its_debug_form() {
        let key = Key(Zeroizing::new([0xab; LEN]));
        assert!(!format!("{key:?}").contains("abab"));
    }
}
