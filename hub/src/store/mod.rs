//! The hub's durable state: one SQLite file (WAL, `synchronous=FULL`), one writer thread, many readers.
//!
//! Invariants
//! - Every change of an object is one row of `events`; the row id is the resourceVersion, so versions are total and never reused.
//! - A write is answered only after the commit that holds it; writes that wait together share one commit (group commit).
//! - A resourceVersion this file can't vouch for (compacted away, or of a life it does not remember) is refused as expired, never guessed.
//! - One process at a time has the data folder.
//! - What objects hold is sealed on the disk, with a key that is not in the file (`sealing`).
//!
//! The store knows objects as JSON bytes under a key; kinds, selectors and projections live in `api`.

mod error;
mod events;
mod incarnation;
mod lock;
mod migrate;
mod object;
mod reader;
mod rekey;
pub mod sealing;
mod watcher;
mod writer;

#[cfg(test)]
mod sealing_tests;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use at_rest::{KeyFile, Sealer};

pub use error::StoreError;
pub use events::{Event, EventKind};
pub use incarnation::IncarnationId;
pub use object::{Expect, Key, Page, Query, Row, Stored};
pub use rekey::{Rekeyed, rekey};
pub use watcher::Watcher;
pub use writer::Tx;

use events::Ring;
use lock::FolderLock;
use reader::Readers;
use writer::Writer;

/// The name of the database inside the data folder.
pub const FILE_NAME: &str = "hub.sqlite";

/// Where the store's key is, and how much history is kept for watchers.
#[derive(Clone, Debug)]
pub struct StoreOptions {
    /// The key's file, instead of `at-rest.key` in the folder.
    pub key_file: Option<PathBuf>,
    /// Events younger than this are kept, unless there are more than `most_events`.
    pub keep_for: Duration,
    /// At least so many of the newest events are kept, whatever their age.
    pub keep_events: u64,
    /// At most so many events are kept, whatever their age.
    pub most_events: u64,
    /// Recent events held in memory for watchers.
    pub ring_events: usize,
    /// Bytes of recent events held in memory for watchers.
    pub ring_bytes: usize,
    /// How long events are held in memory; after that they are read from the disk, where they are sealed.
    pub ring_for: Duration,
    /// How often old events are looked for.
    pub compact_every: Duration,
}

impl Default for StoreOptions {
    fn default() -> Self {
        Self {
            key_file: None,
            keep_for: Duration::from_secs(5 * 60),
            keep_events: 1_000,
            most_events: 200_000,
            ring_events: 10_000,
            ring_bytes: 32 << 20,
            ring_for: Duration::from_secs(10),
            compact_every: Duration::from_secs(60),
        }
    }
}

/// A handle on the open store; clones share it, and the last one closes it.
#[derive(Clone)]
pub struct Store {
    shared: Arc<Shared>,
}

/// Fields are dropped in this order: the writer thread ends, then the folder is free for another process.
struct Shared {
    writer: Writer,
    readers: Readers,
    sealer: Arc<Sealer>,
    ring: Arc<Ring>,
    incarnation: IncarnationId,
    history: History,
    path: PathBuf,
    _lock: FolderLock,
}

/// What this process may say about resourceVersions from before it started.
#[derive(Clone, Copy, Debug)]
struct History {
    /// The highest resourceVersion the file held when it was opened.
    found: u64,
    /// One below the first resourceVersion this process assigns.
    floor: u64,
}

impl Store {
    /// Opens (or makes) the store in `folder` with the default history limits.
    ///
    /// # Errors
    /// The folder is in use by another process, the file is corrupt, a newer version of the hub wrote it, or it was sealed with a key that
    /// is not there.
    pub fn open(folder: &Path) -> Result<Self, StoreError> {
        Self::open_with(folder, StoreOptions::default())
    }

    /// Opens (or makes) the store in `folder`.
    ///
    /// # Errors
    /// As [`Store::open`].
    pub fn open_with(folder: &Path, options: StoreOptions) -> Result<Self, StoreError> {
        let lock = FolderLock::take(folder)?;
        let path = folder.join(FILE_NAME);
        let key_file = KeyFile::new(options.key_file.as_deref(), folder);
        let (mut connection, sealer) = migrate::open(&path, &key_file)?;
        let sealer = Arc::new(sealer);
        let (incarnation, history) = incarnation::begin(&mut connection).map_err(StoreError::opening(&path))?;
        let ring = Arc::new(Ring::new(history.floor, &options));
        let readers = Readers::new(path.clone());
        let writer = Writer::start(connection, Arc::clone(&sealer), Arc::clone(&ring), history, options)?;
        Ok(Self { shared: Arc::new(Shared { writer, readers, sealer, ring, incarnation, history, path, _lock: lock }) })
    }

    /// Runs `work` on the writer thread inside the next group commit; resolves after the durable commit.
    ///
    /// An `Err` of `work` undoes what it did and nothing else.
    ///
    /// # Errors
    /// What `work` returns, or that the commit failed (disk full, store closed).
    pub async fn write<T, E, F>(&self, work: F) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
        F: FnOnce(&mut Tx<'_>) -> Result<T, E> + Send + 'static,
    {
        self.shared.writer.run(work).await
    }

    /// Reads one object as last committed.
    ///
    /// # Errors
    /// The database can't be read.
    pub fn get(&self, key: &Key) -> Result<Option<Stored>, StoreError> {
        self.shared.readers.with(|connection| object::get(connection, &self.shared.sealer, key))
    }

    /// Reads one page of objects in key order, keeping what `pick` returns; off the async threads.
    ///
    /// # Errors
    /// The database can't be read.
    pub async fn list<T, F>(&self, query: Query, pick: F) -> Result<Page<T>, StoreError>
    where
        T: Send + 'static,
        F: FnMut(Row<'_>) -> Option<T> + Send + 'static,
    {
        let shared = Arc::clone(&self.shared);
        self.blocking(move || {
            shared.readers.with(|connection| object::list(connection, &shared.sealer, &query, shared.history.floor, pick))
        })
        .await
    }

    /// Runs `read` on a read-only connection (one snapshot per statement), off the async threads: for side tables.
    ///
    /// # Errors
    /// What `read` returns.
    pub async fn read<T, F>(&self, read: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&rusqlite::Connection) -> Result<T, rusqlite::Error> + Send + 'static,
    {
        let shared = Arc::clone(&self.shared);
        self.blocking(move || shared.readers.with(read)).await
    }

    async fn blocking<T: Send + 'static>(&self, work: impl FnOnce() -> Result<T, StoreError> + Send + 'static) -> Result<T, StoreError> {
        let _turn = self.shared.readers.turn().await;
        tokio::task::spawn_blocking(work).await.map_err(|_| StoreError::Closed)?
    }

    /// Opens what side tables keep.
    pub fn sealer(&self) -> Arc<Sealer> {
        Arc::clone(&self.shared.sealer)
    }

    /// Follows the changes after `resource_version`.
    ///
    /// # Errors
    /// [`StoreError::Expired`] when this file can't know every change since then.
    pub fn watch(&self, resource_version: u64) -> Result<Watcher, StoreError> {
        Watcher::new(Arc::clone(&self.shared), resource_version)
    }

    /// The highest resourceVersion committed or vouched for.
    pub fn resource_version(&self) -> u64 {
        self.shared.ring.newest()
    }

    /// The random identity of this opening of the store.
    pub fn incarnation(&self) -> IncarnationId {
        self.shared.incarnation
    }

    /// The highest resourceVersion of an earlier incarnation; `None` when it is unknown or still open.
    ///
    /// # Errors
    /// The database can't be read.
    pub fn closed(&self, id: IncarnationId) -> Result<Option<u64>, StoreError> {
        self.shared.readers.with(|connection| incarnation::closed(connection, id))
    }

    /// Where the database file is, for a connection of one's own; only [`Store::write`] may change it.
    pub fn path(&self) -> &Path {
        &self.shared.path
    }

    /// Removes events beyond the history limits now, and says how many went.
    ///
    /// # Errors
    /// The commit failed.
    pub async fn compact(&self) -> Result<u64, StoreError> {
        self.shared.writer.compact().await
    }
}
