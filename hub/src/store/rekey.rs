//! `clusternet-hub rekey`: everything under another key, while the hub is stopped.
//!
//! The next key is on the disk before anything is sealed with it, and the old one goes after the commit: at every moment one of the two
//! files opens the store, and the next start finishes what was interrupted.

use std::path::{Path, PathBuf};

use at_rest::{KeyFile, KeyId, Sealer};
use rusqlite::Connection;

use super::lock::FolderLock;
use super::{FILE_NAME, StoreError, migrate, sealing};

/// What was done.
#[derive(Debug)]
pub struct Rekeyed {
    pub old: KeyId,
    pub new: KeyId,
    /// Where the new key is.
    pub path: PathBuf,
}

/// Seals the store in `folder` under a new key: in the place of `file`, or of the key in `to`, which is made if it is missing.
///
/// # Errors
/// The hub runs, a key can't be read or written, or the disk is full; then the old key still opens the store.
pub fn rekey(folder: &Path, file: &KeyFile, to: Option<&KeyFile>) -> Result<Rekeyed, StoreError> {
    let _lock = FolderLock::take(folder)?;
    let path = folder.join(FILE_NAME);
    let (mut connection, old) = migrate::open(&path, file)?;
    let next = file.next();
    if to.is_none() {
        // Left by a rekey that was interrupted before its commit.
        next.remove()?;
    }
    let key = to.unwrap_or(&next).read_or_make()?;
    let new = Sealer::new(&key)?;
    seal_again(&mut connection, &old, &new).map_err(StoreError::opening(&path))?;
    if to.is_none() {
        next.replace(file)?;
    }
    Ok(Rekeyed { old: old.key(), new: new.key(), path: to.unwrap_or(file).path().to_owned() })
}

fn seal_again(connection: &mut Connection, old: &Sealer, new: &Sealer) -> rusqlite::Result<()> {
    let tx = connection.transaction()?;
    sealing::seal_again(&tx, old, new)?;
    tx.commit()?;
    sealing::rewrite(connection)
}
