//! What the agent keeps on disk: one SQLite file, WAL, `synchronous=FULL`, one writer.
//!
//! Everything in it is sealed with a key that is not in the file. A commit returns when the data is on the disk. A file that cannot be read, that a newer agent wrote, or whose key is gone, is set aside and made anew: the hub sends everything again,
//! and the member is asked which objects are ours. The folder is locked, so that two agents never share it.

mod clear;
mod file;
mod load;
mod rows;
mod save;

use std::fs::File;
use std::path::{Path, PathBuf};

use at_rest::{KeyError, KeyFile, Sealer};
use bus_schema::hash::Hash;
use bus_schema::link::Cache as ReadCache;
use bus_schema::link::agent::{AgentState, AgentWrite};
use rusqlite::{Connection, OptionalExtension};

use file::FileError;
use rows::Table;

const FILE: &str = "agent.db";

/// Why the cache could not be opened or written.
#[derive(Debug, thiserror::Error)]
pub enum CacheError {
    #[error("data folder {path}: {error}; choose another with --data-dir or mend its permissions")]
    Folder { path: PathBuf, error: std::io::Error },
    #[error("data folder {path} is in use by another agent; stop it, or choose another folder with --data-dir")]
    InUse { path: PathBuf },
    #[error(transparent)]
    Key(#[from] KeyError),
    #[error("{path}: {error}")]
    Sqlite { path: PathBuf, error: rusqlite::Error },
}

/// The open file.
pub struct Cache {
    connection: Connection,
    sealer: Sealer,
    path: PathBuf,
    _lock: File,
}

impl Cache {
    /// Opens the cache in `folder`, which is made if it is missing, with the key in `at-rest.key` there.
    ///
    /// # Errors
    /// As [`Cache::open_with`].
    pub fn open(folder: &Path) -> Result<(Cache, AgentState), CacheError> {
        Cache::open_with(folder, None)
    }

    /// Opens the cache in `folder` with the key in a file, which is made if it is missing.
    ///
    /// # Errors
    /// [`CacheError`]; a damaged file, or one that another key sealed, is no error: it is set aside as `agent.db.damaged`, and that of
    /// a newer agent as `agent.db.newer`.
    pub fn open_with(folder: &Path, key: Option<&Path>) -> Result<(Cache, AgentState), CacheError> {
        let in_folder = |error| CacheError::Folder { path: folder.to_owned(), error };
        std::fs::create_dir_all(folder).map_err(in_folder)?;
        let lock = File::create(folder.join("lock")).map_err(in_folder)?;
        lock.try_lock().map_err(|_| CacheError::InUse { path: folder.to_owned() })?;
        let path = folder.join(FILE);
        let key = KeyFile::new(key, folder).read_or_make()?;
        let open = || -> Result<_, FileError> {
            let (connection, sealer) = file::open(&path, &key)?;
            Ok((load::load(&connection, &sealer)?, connection, sealer))
        };
        let opened = open().or_else(|error| {
            let Some(name) = name_aside(&error) else { return Err(at(&path, error)) };
            set_aside(&path, name, &error).map_err(in_folder)?;
            open().map_err(|error| at(&path, error))
        });
        let (state, connection, sealer) = opened?;
        Ok((Cache { connection, sealer, path, _lock: lock }, state))
    }

    /// Makes the writes durable, all or none.
    ///
    /// # Errors
    /// [`CacheError::Sqlite`], for example a full disk: then the memory is ahead of the disk, and the caller must stop.
    pub fn commit(&mut self, writes: &[AgentWrite]) -> Result<(), CacheError> {
        let failed = |error| CacheError::Sqlite { path: self.path.clone(), error };
        let transaction = self.connection.transaction().map_err(failed)?;
        for write in writes {
            save::save(&transaction, &self.sealer, write).map_err(failed)?;
        }
        transaction.commit().map_err(failed)
    }

    /// Removes the file, and with it everything that was kept.
    ///
    /// # Errors
    /// It cannot be removed.
    pub fn forget(self) -> std::io::Result<()> {
        for path in [self.path.with_extension("db-wal"), self.path.with_extension("db-shm"), self.path.clone()] {
            match std::fs::remove_file(path) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }
}

impl Drop for Cache {
    /// Nothing is left in the WAL of a cache that is closed.
    fn drop(&mut self) {
        if let Err(error) = file::truncate_wal(&self.connection) {
            tracing::debug!(%error, "the WAL could not be emptied; the next start does it");
        }
    }
}

impl ReadCache for Cache {
    fn content(&self, hash: &Hash) -> Option<Vec<u8>> {
        let id = rows::hash_id(&self.sealer, hash);
        let mut query = self.connection.prepare_cached("SELECT bytes FROM content WHERE id = ?1").ok()?;
        query.query_row([id], |row| rows::open(&self.sealer, Table::Content, &id, row, 0)).optional().ok()?
    }

    fn partial(&self, hash: &Hash) -> Vec<u8> {
        let id = rows::hash_id(&self.sealer, hash);
        let read = || -> rusqlite::Result<Vec<u8>> {
            let mut query = self.connection.prepare_cached("SELECT upto, bytes FROM chunk WHERE id = ?1 ORDER BY upto")?;
            let chunks = query.query_map([id], |row| {
                let place = rows::chunk_place(&id, row.get(0)?);
                let opened = self.sealer.open(&place.each_ref().map(Vec::as_slice), row.get_ref(1)?.as_blob()?);
                opened.map_err(|error| rows::damaged(1, error))
            })?;
            chunks.collect::<rusqlite::Result<Vec<_>>>().map(|chunks| chunks.concat())
        };
        read().unwrap_or_default()
    }
}

/// Names the file in an error of opening it.
fn at(path: &Path, error: FileError) -> CacheError {
    let path = path.to_owned();
    match error {
        FileError::Sqlite(error) => CacheError::Sqlite { path, error },
        FileError::Key(error) => CacheError::Key(error),
        FileError::TooNew(_) | FileError::OtherKey { .. } => CacheError::Sqlite { path, error: rows::damaged(0, error) },
    }
}

fn is_damage(error: &FileError) -> bool {
    use rusqlite::Error::{FromSqlConversionFailure, IntegralValueOutOfRange, InvalidColumnType, SqliteFailure};
    use rusqlite::ErrorCode::{DatabaseCorrupt, NotADatabase};
    let FileError::Sqlite(error) = error else { return matches!(error, FileError::OtherKey { .. }) };
    let by_code = error.sqlite_error_code().is_some_and(|code| matches!(code, DatabaseCorrupt | NotADatabase));
    let by_value = matches!(error, FromSqlConversionFailure(..) | InvalidColumnType(..) | IntegralValueOutOfRange(..));
    by_code || by_value || matches!(error, SqliteFailure(..) if error.to_string().contains("no such table"))
}

/// What a file that this agent cannot use is called from then on; `None` for trouble that another file would have too.
fn name_aside(error: &FileError) -> Option<&'static str> {
    match error {
        FileError::TooNew(_) => Some("db.newer"),
        error => is_damage(error).then_some("db.damaged"),
    }
}

fn set_aside(path: &Path, name: &str, error: &FileError) -> std::io::Result<()> {
    let aside = path.with_extension(name);
    tracing::warn!(path = %path.display(), aside = %aside.display(), %error, "the cache cannot be read: set aside, everything is fetched again");
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
