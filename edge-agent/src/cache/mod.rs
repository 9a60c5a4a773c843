//! What the agent keeps on disk: one SQLite file, WAL, `synchronous=FULL`, one writer.
//!
//! A commit returns when the data is on the disk. A file that cannot be read is set aside and made anew: the hub sends everything again,
//! and the member is asked which objects are ours. The folder is locked, so that two agents never share it.

mod load;
mod save;

use std::fs::File;
use std::path::{Path, PathBuf};

use bus_schema::hash::Hash;
use bus_schema::link::Cache as ReadCache;
use bus_schema::link::agent::{AgentState, AgentWrite};
use rusqlite::{Connection, OptionalExtension};

const FILE: &str = "agent.db";

/// Version of the tables, in `user_version`.
const SCHEMA: i64 = 1;

/// Bytes of the page cache: the agent reads little.
const PAGE_CACHE_KIB: i64 = 512;

const TABLES: &str = "
    CREATE TABLE meta (key TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;
    CREATE TABLE content (hash BLOB PRIMARY KEY, bytes BLOB NOT NULL);
    CREATE TABLE partial (hash BLOB PRIMARY KEY, mode INTEGER NOT NULL, base BLOB, size INTEGER NOT NULL, total INTEGER NOT NULL,
        etag INTEGER NOT NULL, received INTEGER NOT NULL);
    CREATE TABLE chunk (hash BLOB NOT NULL, upto INTEGER NOT NULL, bytes BLOB NOT NULL, PRIMARY KEY (hash, upto));
    CREATE TABLE item (grp TEXT NOT NULL, kind TEXT NOT NULL, namespace TEXT NOT NULL, name TEXT NOT NULL, version TEXT NOT NULL,
        uid TEXT, resource_version TEXT, origin TEXT, applied BLOB, PRIMARY KEY (grp, kind, namespace, name)) WITHOUT ROWID;
    CREATE TABLE removal (grp TEXT NOT NULL, kind TEXT NOT NULL, namespace TEXT NOT NULL, name TEXT NOT NULL, bundle INTEGER NOT NULL,
        incarnation INTEGER NOT NULL, resource_version INTEGER NOT NULL, proven INTEGER NOT NULL,
        PRIMARY KEY (grp, kind, namespace, name, bundle)) WITHOUT ROWID;
";

/// Tables that came later; older agents leave them alone.
const LATER: &str = "
    CREATE TABLE IF NOT EXISTS ended (grp TEXT NOT NULL, kind TEXT NOT NULL, namespace TEXT NOT NULL, name TEXT NOT NULL,
        hash BLOB NOT NULL, failed INTEGER NOT NULL, PRIMARY KEY (grp, kind, namespace, name)) WITHOUT ROWID;
";

/// Why the cache could not be opened or written.
#[derive(Debug, thiserror::Error)]
pub enum CacheError {
    #[error("data folder {path}: {error}; choose another with --data-dir or mend its permissions")]
    Folder { path: PathBuf, error: std::io::Error },
    #[error("data folder {path} is in use by another agent; stop it, or choose another folder with --data-dir")]
    InUse { path: PathBuf },
    #[error(
        "{path} was written by a newer agent (tables of version {found}, this one knows {SCHEMA}); run that one, or move the file away: everything is fetched again"
    )]
    TooNew { path: PathBuf, found: i64 },
    #[error("{path}: {error}")]
    Sqlite { path: PathBuf, error: rusqlite::Error },
}

/// The open file.
pub struct Cache {
    connection: Connection,
    path: PathBuf,
    _lock: File,
}

impl Cache {
    /// Opens the cache in `folder`, which is made if it is missing.
    ///
    /// # Errors
    /// [`CacheError`]; a damaged file is no error, it is set aside as `agent.db.damaged`.
    pub fn open(folder: &Path) -> Result<(Cache, AgentState), CacheError> {
        let in_folder = |error| CacheError::Folder { path: folder.to_owned(), error };
        std::fs::create_dir_all(folder).map_err(in_folder)?;
        let lock = File::create(folder.join("lock")).map_err(in_folder)?;
        lock.try_lock().map_err(|_| CacheError::InUse { path: folder.to_owned() })?;
        let path = folder.join(FILE);
        match open_file(&path).and_then(|connection| Ok((load::load(&connection)?, connection))) {
            Ok((state, connection)) => Ok((Cache { connection, path, _lock: lock }, state)),
            Err(error) if is_damage(&error) => {
                set_aside(&path, &error).map_err(in_folder)?;
                let connection = open_file(&path).map_err(|error| CacheError::Sqlite { path: path.clone(), error })?;
                Ok((Cache { connection, path, _lock: lock }, AgentState::default()))
            }
            Err(rusqlite::Error::IntegralValueOutOfRange(_, found)) => Err(CacheError::TooNew { path, found }),
            Err(error) => Err(CacheError::Sqlite { path, error }),
        }
    }

    /// Makes the writes durable, all or none.
    ///
    /// # Errors
    /// [`CacheError::Sqlite`], for example a full disk: then the memory is ahead of the disk, and the caller must stop.
    pub fn commit(&mut self, writes: &[AgentWrite]) -> Result<(), CacheError> {
        let failed = |error| CacheError::Sqlite { path: self.path.clone(), error };
        let transaction = self.connection.transaction().map_err(failed)?;
        for write in writes {
            save::save(&transaction, write).map_err(failed)?;
        }
        transaction.commit().map_err(failed)
    }

    /// Removes the file, and with it everything that was kept.
    ///
    /// # Errors
    /// It cannot be removed.
    pub fn forget(self) -> std::io::Result<()> {
        let Cache { connection, path, _lock } = self;
        drop(connection);
        for path in [path.with_extension("db-wal"), path.with_extension("db-shm"), path] {
            match std::fs::remove_file(path) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }
}

impl ReadCache for Cache {
    fn content(&self, hash: &Hash) -> Option<Vec<u8>> {
        let mut query = self.connection.prepare_cached("SELECT bytes FROM content WHERE hash = ?1").ok()?;
        query.query_row([hash.0], |row| row.get(0)).optional().ok()?
    }

    fn partial(&self, hash: &Hash) -> Vec<u8> {
        let read = || -> rusqlite::Result<Vec<u8>> {
            let mut query = self.connection.prepare_cached("SELECT bytes FROM chunk WHERE hash = ?1 ORDER BY upto")?;
            let chunks = query.query_map([hash.0], |row| row.get::<_, Vec<u8>>(0))?;
            chunks.collect::<rusqlite::Result<Vec<_>>>().map(|chunks| chunks.concat())
        };
        read().unwrap_or_default()
    }
}

fn open_file(path: &Path) -> rusqlite::Result<Connection> {
    let connection = Connection::open(path)?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "cache_size", -PAGE_CACHE_KIB)?;
    connection.pragma_update(None, "secure_delete", true)?;
    let version: i64 = connection.query_row("PRAGMA user_version", [], |row| row.get(0))?;
    match version {
        0 => connection.execute_batch(&format!("BEGIN; {TABLES} PRAGMA user_version = {SCHEMA}; COMMIT;"))?,
        SCHEMA => {}
        newer => return Err(rusqlite::Error::IntegralValueOutOfRange(0, newer)),
    }
    connection.execute_batch(LATER)?;
    Ok(connection)
}

fn is_damage(error: &rusqlite::Error) -> bool {
    use rusqlite::ErrorCode::{DatabaseCorrupt, NotADatabase};
    let by_code = error.sqlite_error_code().is_some_and(|code| matches!(code, DatabaseCorrupt | NotADatabase));
    by_code
        || matches!(error, rusqlite::Error::FromSqlConversionFailure(..) | rusqlite::Error::InvalidColumnType(..) | rusqlite::Error::SqliteFailure(..) if error.to_string().contains("no such table"))
}

fn set_aside(path: &Path, error: &rusqlite::Error) -> std::io::Result<()> {
    let aside = path.with_extension("db.damaged");
    tracing::warn!(path = %path.display(), aside = %aside.display(), %error, "the cache is damaged: set aside, everything is fetched again");
    std::fs::rename(path, aside)?;
    for suffix in ["db-wal", "db-shm"] {
        match std::fs::remove_file(path.with_extension(suffix)) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
