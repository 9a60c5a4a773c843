//! The file: its pragmas, its key, its version, and what becomes of one that an older agent wrote in clear.

use std::path::Path;

use at_rest::{Key, KeyId, Sealer};
use rusqlite::Connection;

use super::{clear, rows, save};

/// Version of the tables, in `user_version`.
pub(super) const SCHEMA: i64 = 2;

/// The last version in clear.
const CLEAR: i64 = 1;

/// Bytes of the page cache: the agent reads little.
const PAGE_CACHE_KIB: i64 = 512;

/// Why a file is not opened.
#[derive(Debug, thiserror::Error)]
pub(super) enum FileError {
    #[error(transparent)]
    Sqlite(#[from] rusqlite::Error),
    #[error("a newer agent wrote it, with tables of version {0}; this one knows {SCHEMA} and older")]
    TooNew(i64),
    #[error("it was sealed with the key {wanted}, not with {found}")]
    OtherKey { wanted: KeyId, found: KeyId },
    #[error(transparent)]
    Key(#[from] at_rest::KeyError),
}

/// Opens the file under `key` and brings it to the newest schema.
pub(super) fn open(path: &Path, key: &Key) -> Result<(Connection, Sealer), FileError> {
    at_rest::keep_to_owner(path);
    let mut connection = Connection::open(path)?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "cache_size", -PAGE_CACHE_KIB)?;
    // What is freed is wiped, and nothing is written beside the file.
    connection.pragma_update(None, "secure_delete", true)?;
    connection.pragma_update(None, "temp_store", "MEMORY")?;
    let sealer = Sealer::new(key)?;
    match connection.query_row("PRAGMA user_version", [], |row| row.get::<_, i64>(0))? {
        // Nothing from before is in a new file.
        0 => make(&mut connection, &sealer, |transaction| transaction.execute("UPDATE sealing SET rewritten = 1", []).map(drop))?,
        CLEAR => make(&mut connection, &sealer, |transaction| {
            clear::each_write(transaction, &mut |write| save::save(transaction, &sealer, &write))
        })?,
        SCHEMA => check_key(&connection, key)?,
        newer => return Err(FileError::TooNew(newer)),
    }
    rewrite(&connection)?;
    Ok((connection, sealer))
}

fn check_key(connection: &Connection, key: &Key) -> Result<(), FileError> {
    let wanted = connection.query_row("SELECT key FROM sealing", [], |row| row.get(0).map(KeyId))?;
    match key.id() {
        found if found == wanted => Ok(()),
        found => Err(FileError::OtherKey { wanted, found }),
    }
}

/// Makes the tables and fills them, all or nothing.
fn make(
    connection: &mut Connection,
    sealer: &Sealer,
    fill: impl FnOnce(&rusqlite::Transaction<'_>) -> rusqlite::Result<()>,
) -> rusqlite::Result<()> {
    let transaction = connection.transaction()?;
    clear::put_aside(&transaction)?;
    transaction.execute_batch(rows::TABLES)?;
    transaction.execute("INSERT INTO sealing VALUES (?1, 0)", [sealer.key().0])?;
    fill(&transaction)?;
    clear::remove(&transaction)?;
    transaction.pragma_update(None, "user_version", SCHEMA)?;
    transaction.commit()
}

/// Rewrites the file once, so that nothing from before is left in free pages or in the WAL.
fn rewrite(connection: &Connection) -> rusqlite::Result<()> {
    let rewritten: bool = connection.query_row("SELECT rewritten FROM sealing", [], |row| row.get(0))?;
    if rewritten {
        return Ok(());
    }
    connection.execute_batch("VACUUM")?;
    if !truncate_wal(connection)? {
        tracing::warn!("somebody reads the database: what was there in clear stays in its WAL until the next start");
        return Ok(());
    }
    connection.execute("UPDATE sealing SET rewritten = 1", []).map(drop)
}

/// Moves what is in the WAL into the file, and empties it; false when a reader keeps it.
pub(super) fn truncate_wal(connection: &Connection) -> rusqlite::Result<bool> {
    connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0).map(|busy: bool| !busy))
}
