//! What can go wrong with the store, each with what to do about it.

use std::path::{Path, PathBuf};

/// Why the store refused or failed.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Another process has the data folder.
    #[error("data folder {folder} is in use by process {holder}: stop that process, or choose another folder with --data-dir")]
    InUse { folder: String, holder: String },
    /// The folder can't be made or written.
    #[error("data folder {folder} can't be used: {source}")]
    Folder { folder: String, source: std::io::Error },
    /// The file is no database, or is damaged.
    #[error(
        "store {path} is damaged ({detail}): move it and its -wal and -shm files aside and start with a backup or an empty folder; \
         agents keep what they run and nothing is deleted without proof"
    )]
    Corrupt { path: String, detail: String },
    /// A newer hub wrote the file.
    #[error("store {path} has schema version {found}, this program knows up to {known}: start the version that wrote it, or a newer one")]
    Newer { path: String, found: i64, known: i64 },
    /// Another key sealed the file.
    #[error(
        "store {path} was sealed with the key {wanted}, and {file} holds the key {found}: put the right one there, or name it with \
         --at-rest-key-file"
    )]
    WrongKey { path: String, file: String, found: String, wanted: String },
    /// The key is missing or unusable.
    #[error(transparent)]
    Key(#[from] at_rest::KeyError),
    /// The expected state of an object was not the stored one.
    #[error("object {key} is at resourceVersion {found:?}, which is not what the write expected")]
    Conflict { key: String, found: Option<u64> },
    /// The history since a resourceVersion is not complete.
    #[error("too old resource version: {wanted} (oldest known {oldest})")]
    Expired { wanted: u64, oldest: u64 },
    /// An object that can't be stored.
    #[error("object {key} can't be stored: {why}")]
    Unstorable { key: String, why: &'static str },
    /// The store is shutting down or its writer is gone.
    #[error("the store is closed: start the hub again")]
    Closed,
    /// A group of writes could not be made durable; none of them happened.
    #[error("write not committed: {0}: check the free space and the health of the data folder's disk")]
    Commit(String),
    /// A single write could not be run; it did not happen.
    #[error("write not run: the hub's log says why; check the free space and the health of the data folder's disk")]
    NotRun,
    /// SQLite's own refusal.
    #[error("store: {0}")]
    Sqlite(#[from] rusqlite::Error),
}

impl StoreError {
    /// Names `path` in errors of opening, and tells damage from other refusals.
    pub(super) fn opening(path: &Path) -> impl Fn(rusqlite::Error) -> Self + use<> {
        let path: PathBuf = path.to_owned();
        move |error| match error.sqlite_error_code() {
            Some(rusqlite::ErrorCode::NotADatabase | rusqlite::ErrorCode::DatabaseCorrupt) => {
                Self::Corrupt { path: path.display().to_string(), detail: error.to_string() }
            }
            _ => Self::Sqlite(error),
        }
    }
}
