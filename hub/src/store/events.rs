//! The log of changes: rows on disk, and the newest of them in memory for watchers.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Instant;

use at_rest::Sealer;
use bytes::Bytes;
use prost::Message;
use rusqlite::{Connection, Row, params};
use tokio::sync::watch;

use super::sealing::{self, Change};
use super::{Key, StoreOptions};

/// What happened to an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventKind {
    Added = 0,
    Modified = 1,
    Deleted = 2,
}

impl EventKind {
    fn from_row(value: i64) -> Self {
        match value {
            0 => Self::Added,
            1 => Self::Modified,
            _ => Self::Deleted,
        }
    }
}

/// One committed change.
#[derive(Clone)]
pub struct Event {
    pub resource_version: u64,
    pub kind: EventKind,
    pub key: Key,
    /// The object after the change; for a delete as it last was, at the delete's version.
    pub body: Bytes,
    /// The object before the change.
    pub previous: Option<Bytes>,
}

/// Bodies may be Secrets: no log shows them.
impl fmt::Debug for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Event({:?} {} at {}, {} bytes)", self.kind, self.key, self.resource_version, self.size())
    }
}

/// What a row of the log holds sealed. Numbers are never used again.
#[derive(Clone, PartialEq, Message)]
struct Record {
    #[prost(int64, tag = "1")]
    kind: i64,
    #[prost(string, tag = "2")]
    resource: String,
    #[prost(string, tag = "3")]
    namespace: String,
    #[prost(string, tag = "4")]
    name: String,
    #[prost(bytes = "bytes", tag = "5")]
    body: Bytes,
    #[prost(bytes = "bytes", optional, tag = "6")]
    previous: Option<Bytes>,
}

impl Record {
    fn of(event: &Event) -> Self {
        let Key { resource, namespace, name } = event.key.clone();
        let (body, previous) = (event.body.clone(), event.previous.clone());
        Self { kind: event.kind as i64, resource, namespace, name, body, previous }
    }

    fn event(self, resource_version: u64) -> Event {
        let key = Key { resource: self.resource, namespace: self.namespace, name: self.name };
        Event { resource_version, kind: EventKind::from_row(self.kind), key, body: self.body, previous: self.previous }
    }
}

/// Where a row of the log belongs.
fn place(version: &[u8; 8]) -> [&[u8]; 2] {
    [b"events", version]
}

impl Event {
    fn size(&self) -> usize {
        self.body.len() + self.previous.as_ref().map_or(0, Bytes::len)
    }
}

/// The newest events in memory, and the wake-up of who waits for more.
pub(super) struct Ring {
    state: RwLock<Recent>,
    newest: watch::Sender<u64>,
    most_events: usize,
    most_bytes: usize,
}

struct Recent {
    /// With the time each was published.
    events: VecDeque<(Instant, Arc<Event>)>,
    bytes: usize,
    /// Events after this version are all here.
    complete_after: u64,
}

impl Recent {
    fn drop_oldest(&mut self) {
        let Some((_, oldest)) = self.events.pop_front() else { return };
        self.bytes -= oldest.size();
        self.complete_after = oldest.resource_version;
    }
}

impl Ring {
    pub(super) fn new(floor: u64, options: &StoreOptions) -> Self {
        let recent = Recent { events: VecDeque::new(), bytes: 0, complete_after: floor };
        Self {
            state: RwLock::new(recent),
            newest: watch::Sender::new(floor),
            most_events: options.ring_events,
            most_bytes: options.ring_bytes,
        }
    }

    pub(super) fn newest(&self) -> u64 {
        *self.newest.borrow()
    }

    pub(super) fn subscribe(&self) -> watch::Receiver<u64> {
        self.newest.subscribe()
    }

    /// Adds committed events, in order, and wakes the watchers.
    pub(super) fn publish(&self, events: Vec<Event>, now: Instant) {
        let Some(newest) = events.last().map(|event| event.resource_version) else { return };
        let mut recent = self.state.write().unwrap_or_else(PoisonError::into_inner);
        for event in events {
            recent.bytes += event.size();
            recent.events.push_back((now, Arc::new(event)));
        }
        while recent.events.len() > self.most_events || recent.bytes > self.most_bytes {
            recent.drop_oldest();
        }
        drop(recent);
        self.newest.send_replace(newest);
    }

    /// Forgets what was published before `line`: who is that far behind reads the disk, where it is sealed.
    pub(super) fn forget_before(&self, line: Instant) {
        let mut recent = self.state.write().unwrap_or_else(PoisonError::into_inner);
        while recent.events.front().is_some_and(|(at, _)| *at < line) {
            recent.drop_oldest();
        }
    }

    /// Up to `most` events after a version; `None` when memory does not reach back so far.
    pub(super) fn after(&self, version: u64, most: usize) -> Option<Vec<Arc<Event>>> {
        let recent = self.state.read().unwrap_or_else(PoisonError::into_inner);
        if version < recent.complete_after {
            return None;
        }
        let first = recent.events.partition_point(|(_, event)| event.resource_version <= version);
        Some(recent.events.iter().skip(first).take(most).map(|(_, event)| Arc::clone(event)).collect())
    }
}

/// The highest version whose event is gone from the disk.
pub(super) fn compacted(connection: &Connection) -> Result<u64, rusqlite::Error> {
    let value: i64 = connection.prepare_cached("SELECT value FROM meta WHERE key = 'compacted'")?.query_row([], |row| row.get(0))?;
    Ok(value as u64)
}

/// Up to `most` events after a version, from the disk.
pub(super) fn read_after(connection: &Connection, sealer: &Sealer, version: u64, most: usize) -> Result<Vec<Arc<Event>>, rusqlite::Error> {
    let mut statement = connection.prepare_cached("SELECT rv, sealed FROM events WHERE rv > ?1 ORDER BY rv LIMIT ?2")?;
    let rows = statement.query_map(params![version as i64, most as i64], |row| read(sealer, row).map(Arc::new))?;
    rows.collect()
}

fn read(sealer: &Sealer, row: &Row<'_>) -> Result<Event, rusqlite::Error> {
    let version = row.get::<_, i64>(0)? as u64;
    let record = sealing::open(sealer, &place(&version.to_be_bytes()), row, 1)?;
    let unreadable = |error| rusqlite::Error::FromSqlConversionFailure(1, rusqlite::types::Type::Blob, Box::new(error));
    Ok(Record::decode(&record[..]).map_err(unreadable)?.event(version))
}

pub(super) fn append(connection: &Connection, sealer: &Sealer, event: &Event, at: i64) -> Result<(), rusqlite::Error> {
    let sealed = sealer.seal(&place(&event.resource_version.to_be_bytes()), &Record::of(event).encode_to_vec());
    connection.prepare_cached("INSERT INTO events (rv, at, sealed) VALUES (?1, ?2, ?3)")?.execute(params![
        event.resource_version as i64,
        at,
        sealed
    ])?;
    Ok(())
}

/// Goes through every sealed row.
pub(super) fn change(connection: &Connection, change: &Change<'_>) -> rusqlite::Result<()> {
    let mut update = connection.prepare("UPDATE events SET sealed = ?2 WHERE rv = ?1")?;
    let mut query = connection.prepare("SELECT sealed FROM events WHERE rv = ?1")?;
    let ids = connection.prepare("SELECT rv FROM events")?.query_map([], |row| row.get(0))?.collect::<rusqlite::Result<Vec<i64>>>()?;
    for id in ids {
        let sealed = query.query_row([id], |row| change.of(&place(&(id as u64).to_be_bytes()), row, 0))?;
        update.execute(params![id, sealed])?;
    }
    Ok(())
}

/// The log as older hubs wrote it becomes rows of version, time and one sealed column.
pub(super) fn seal_all(connection: &Connection, sealer: &Sealer) -> rusqlite::Result<()> {
    connection.execute_batch(
        "ALTER TABLE events RENAME TO clear_events;
         CREATE TABLE events (rv INTEGER PRIMARY KEY, at INTEGER NOT NULL, sealed BLOB NOT NULL);",
    )?;
    let mut query = connection.prepare("SELECT rv, kind, resource, namespace, name, body, prev, at FROM clear_events")?;
    let mut rows = query.query([])?;
    while let Some(row) = rows.next()? {
        let event = Event {
            resource_version: row.get::<_, i64>(0)? as u64,
            kind: EventKind::from_row(row.get(1)?),
            key: Key { resource: row.get(2)?, namespace: row.get(3)?, name: row.get(4)? },
            body: row.get::<_, Vec<u8>>(5)?.into(),
            previous: row.get::<_, Option<Vec<u8>>>(6)?.map(Into::into),
        };
        append(connection, sealer, &event, row.get(7)?)?;
    }
    drop(rows);
    drop(query);
    connection.execute_batch("DROP TABLE clear_events")
}

/// Which events may go: all below the returned version.
pub(super) fn compaction_line(connection: &Connection, options: &StoreOptions, now: i64) -> Result<u64, rusqlite::Error> {
    let nth = |count: u64| -> Result<i64, rusqlite::Error> {
        let mut statement = connection.prepare_cached("SELECT rv FROM events ORDER BY rv DESC LIMIT 1 OFFSET ?1")?;
        let mut rows = statement.query(params![i64::try_from(count.saturating_sub(1)).unwrap_or(i64::MAX)])?;
        rows.next()?.map_or(Ok(0), |row| row.get(0))
    };
    let oldest_young = now.saturating_sub(i64::try_from(options.keep_for.as_millis()).unwrap_or(i64::MAX));
    // Clocks step: the first event that is young enough ends the search, whatever follows it.
    let young: Option<i64> =
        connection.prepare_cached("SELECT min(rv) FROM events WHERE at >= ?1")?.query_row(params![oldest_young], |row| row.get(0))?;
    let by_age = young.unwrap_or(i64::MAX).min(nth(options.keep_events)?);
    Ok(by_age.max(nth(options.most_events)?) as u64)
}

/// Removes at most `most` events below a version and remembers it; says how many went.
pub(super) fn remove_below(connection: &Connection, version: u64, most: usize) -> Result<usize, rusqlite::Error> {
    let last: Option<i64> = connection
        .prepare_cached("SELECT max(rv) FROM (SELECT rv FROM events WHERE rv < ?1 ORDER BY rv LIMIT ?2)")?
        .query_row(params![version as i64, most as i64], |row| row.get(0))?;
    let Some(last) = last else { return Ok(0) };
    connection.execute("UPDATE meta SET value = ?1 WHERE key = 'compacted'", params![last])?;
    connection.execute("DELETE FROM events WHERE rv <= ?1", params![last])
}
