//! Incarnations: each opening of the store is one, so that a restored copy or an empty disk can't pass for what it replaces.
//!
//! The first resourceVersion of an incarnation is at least the microseconds since 1970, hence above every version of a life this file
//! forgot; what lies between is answered as expired.

use std::fmt;
use std::time::{SystemTime, UNIX_EPOCH};

use rusqlite::{Connection, OptionalExtension, TransactionBehavior, params};

use super::History;

/// The random identity of one opening of the store.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct IncarnationId(pub [u8; 8]);

impl fmt::Debug for IncarnationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", u64::from_be_bytes(self.0))
    }
}

/// Closes the incarnations still open with the highest version found, and begins a new one.
pub(super) fn begin(connection: &mut Connection) -> Result<(IncarnationId, History), rusqlite::Error> {
    let id = IncarnationId(random());
    let tx = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let found = highest(&tx)?;
    let floor = found.max(microseconds().saturating_sub(1));
    tx.execute("UPDATE incarnations SET closed = ?1 WHERE closed IS NULL", params![found as i64])?;
    tx.execute("INSERT INTO incarnations (id, opened) VALUES (?1, ?2)", params![id.0, floor as i64])?;
    tx.execute("UPDATE meta SET value = ?1 WHERE key = 'floor'", params![floor as i64])?;
    tx.commit()?;
    Ok((id, History { found, floor }))
}

/// The highest version this file has assigned or told anybody.
fn highest(connection: &Connection) -> Result<u64, rusqlite::Error> {
    let event: Option<i64> = connection.query_row("SELECT max(rv) FROM events", [], |row| row.get(0))?;
    let floor: i64 = connection.query_row("SELECT value FROM meta WHERE key = 'floor'", [], |row| row.get(0))?;
    Ok(event.unwrap_or(0).max(floor).max(0) as u64)
}

/// The value an earlier incarnation was closed with.
pub(super) fn closed(connection: &Connection, id: IncarnationId) -> Result<Option<u64>, rusqlite::Error> {
    let value: Option<Option<i64>> =
        connection.query_row("SELECT closed FROM incarnations WHERE id = ?1", params![id.0], |row| row.get(0)).optional()?;
    Ok(value.flatten().map(|rv| rv as u64))
}

fn random() -> [u8; 8] {
    let mut bytes = [0; 8];
    bytes.copy_from_slice(&uuid::Uuid::new_v4().as_bytes()[8..]);
    // The first bits of this half are the UUID's variant, the same in every one: take them from the other half.
    bytes[0] = uuid::Uuid::new_v4().as_bytes()[0];
    bytes
}

fn microseconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_micros() as u64)
}
