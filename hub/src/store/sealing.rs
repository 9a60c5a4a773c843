//! What of the file is sealed, and with which key.
//!
//! In clear: resource, namespace and name of objects, resourceVersions, times, counters, and the bus ids of clusters. Everything else is in
//! one sealed column a row, so that what is added to a row is sealed too.
//! A file from before is sealed in place; then it is rewritten, so that nothing is left in free pages or in the WAL.

use std::path::Path;

use at_rest::{Key, KeyError, KeyFile, KeyId, Sealer};
use rusqlite::types::Type;
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::{StoreError, events, object};
use crate::sync;

/// `rewritten` is 0 until no page can hold anything from before.
const TABLE: &str = "CREATE TABLE sealing (key BLOB NOT NULL, rewritten INTEGER NOT NULL)";

/// What becomes of a value when the whole file is gone through.
pub enum Change<'a> {
    /// It is in clear and is sealed.
    Seal(&'a Sealer),
    /// It is sealed under another key.
    Again { old: &'a Sealer, new: &'a Sealer },
}

impl Change<'_> {
    /// The value of `column`, as it is to be stored.
    pub fn of(&self, place: &[&[u8]], row: &Row<'_>, column: usize) -> rusqlite::Result<Vec<u8>> {
        match self {
            Self::Seal(sealer) => Ok(sealer.seal(place, row.get_ref(column)?.as_blob()?)),
            Self::Again { old, new } => Ok(new.seal(place, &open(old, place, row, column)?)),
        }
    }
}

/// Opens one sealed column of a row.
pub fn open(sealer: &Sealer, place: &[&[u8]], row: &Row<'_>, column: usize) -> rusqlite::Result<Vec<u8>> {
    let unreadable = |error| rusqlite::Error::FromSqlConversionFailure(column, Type::Blob, Box::new(error));
    sealer.open(place, row.get_ref(column)?.as_blob()?).map_err(unreadable)
}

/// As [`open`], `None` for NULL.
pub fn open_some(sealer: &Sealer, place: &[&[u8]], row: &Row<'_>, column: usize) -> rusqlite::Result<Option<Vec<u8>>> {
    match row.get_ref(column)? {
        rusqlite::types::ValueRef::Null => Ok(None),
        _ => open(sealer, place, row, column).map(Some),
    }
}

/// The key of this file: the one it was sealed with, else the one that is to be, which is made if need be.
pub(super) fn key(connection: &Connection, path: &Path, file: &KeyFile) -> Result<Key, StoreError> {
    let Some(wanted) = sealed_with(connection)? else { return Ok(file.read_or_make()?) };
    let found = file.read()?;
    if let Some(key) = found.as_ref().filter(|key| key.id() == wanted) {
        return Ok(key.clone());
    }
    // A rekey was interrupted between its commit and its last step.
    if let Some(key) = file.next().read()?.filter(|key| key.id() == wanted) {
        file.next().replace(file)?;
        return Ok(key);
    }
    match found {
        None => Err(KeyError::Missing { path: file.path().to_owned() }.into()),
        Some(key) => Err(StoreError::WrongKey {
            path: path.display().to_string(),
            file: file.path().display().to_string(),
            found: key.id().to_string(),
            wanted: wanted.to_string(),
        }),
    }
}

fn sealed_with(connection: &Connection) -> rusqlite::Result<Option<KeyId>> {
    let there = connection.query_row("SELECT 1 FROM sqlite_master WHERE name = 'sealing'", [], |_| Ok(())).optional()?;
    there.map(|()| connection.query_row("SELECT key FROM sealing", [], |row| row.get(0).map(KeyId))).transpose()
}

/// The migration that seals what older hubs wrote in clear.
pub(super) fn seal_all(connection: &Connection, sealer: &Sealer) -> rusqlite::Result<()> {
    connection.execute_batch(TABLE)?;
    connection.execute("INSERT INTO sealing VALUES (?1, 0)", params![sealer.key().0])?;
    object::change(connection, &Change::Seal(sealer))?;
    events::seal_all(connection, sealer)?;
    sync::seal_all(connection, sealer)
}

/// Seals everything under another key, inside one transaction of the caller.
pub(super) fn seal_again(connection: &Connection, old: &Sealer, new: &Sealer) -> rusqlite::Result<()> {
    object::change(connection, &Change::Again { old, new })?;
    events::change(connection, &Change::Again { old, new })?;
    sync::seal_again(connection, old, new)?;
    connection.execute("UPDATE sealing SET key = ?1, rewritten = 0", params![new.key().0]).map(drop)
}

/// Rewrites the file once after it was sealed: `secure_delete` wipes what is freed from now on, but not what was freed before.
pub(super) fn rewrite(connection: &Connection) -> rusqlite::Result<()> {
    let rewritten: bool = connection.query_row("SELECT rewritten FROM sealing", [], |row| row.get(0))?;
    if rewritten {
        return Ok(());
    }
    connection.execute_batch("VACUUM")?;
    if !truncate_wal(connection)? {
        tracing::warn!("somebody reads the database: what was there in clear stays in its WAL until the next start");
        return Ok(());
    }
    mark_rewritten(connection)
}

/// Nothing from before is in the file, as in a new one.
pub(super) fn mark_rewritten(connection: &Connection) -> rusqlite::Result<()> {
    connection.execute("UPDATE sealing SET rewritten = 1", []).map(drop)
}

/// Moves what is in the WAL into the file, and empties it; false when a reader keeps it.
pub(super) fn truncate_wal(connection: &Connection) -> rusqlite::Result<bool> {
    connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0).map(|busy: bool| !busy))
}
