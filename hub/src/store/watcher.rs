//! A cursor over the log of changes: memory first, the disk for what is older.

use std::sync::Arc;

use tokio::sync::watch;

use super::events::{self, Event};
use super::{Shared, StoreError, object};

/// Events handed out at once.
const BATCH: usize = 500;

/// Follows the log from a resourceVersion on; every event is seen once, in order.
pub struct Watcher {
    shared: Arc<Shared>,
    wake: watch::Receiver<u64>,
    position: u64,
}

impl Watcher {
    pub(super) fn new(shared: Arc<Shared>, resource_version: u64) -> Result<Self, StoreError> {
        let wake = shared.ring.subscribe();
        let watcher = Self { shared, wake, position: resource_version };
        watcher.check_start()?;
        Ok(watcher)
    }

    /// A version of a life this file does not remember would silently miss changes, so it counts as expired.
    fn check_start(&self) -> Result<(), StoreError> {
        let history = self.shared.history;
        // A commit is visible to lists a moment before it is in the ring, so what looks like the future is asked of the disk.
        let (compacted, newest) =
            self.shared.readers.with(|connection| Ok((events::compacted(connection)?, object::newest(connection, history.floor)?)))?;
        let forgotten = self.position > history.found && self.position < history.floor;
        if forgotten || self.position > newest.max(self.shared.ring.newest()) {
            return Err(StoreError::Expired { wanted: self.position, oldest: history.floor });
        }
        if self.position < compacted {
            return Err(StoreError::Expired { wanted: self.position, oldest: compacted });
        }
        Ok(())
    }

    /// The version up to which everything was handed out.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// Waits for changes and returns the next ones; cancelling it loses none.
    ///
    /// # Errors
    /// [`StoreError::Expired`] when compaction overtook this watcher.
    pub async fn next(&mut self) -> Result<Vec<Arc<Event>>, StoreError> {
        loop {
            let newest = *self.wake.borrow_and_update();
            if newest > self.position {
                let batch = self.read()?;
                self.position = batch.last().map_or(newest, |event| event.resource_version);
                return Ok(batch);
            }
            self.wake.changed().await.map_err(|_| StoreError::Closed)?;
        }
    }

    fn read(&self) -> Result<Vec<Arc<Event>>, StoreError> {
        if let Some(batch) = self.shared.ring.after(self.position, BATCH) {
            return Ok(batch);
        }
        let position = self.position;
        let (batch, compacted) = self.shared.readers.with(|connection| {
            // The events first: compaction between the two reads then shows in the second one.
            let batch = events::read_after(connection, &self.shared.sealer, position, BATCH)?;
            Ok((batch, events::compacted(connection)?))
        })?;
        if position < compacted {
            return Err(StoreError::Expired { wanted: position, oldest: compacted });
        }
        Ok(batch)
    }
}
