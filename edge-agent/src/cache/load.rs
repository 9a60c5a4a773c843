//! Rows to the state that the agent starts from. Content bytes stay on the disk.

use bus_schema::codec::Mode;
use bus_schema::hash::Hash;
use bus_schema::id::{BundleId, IncarnationId, ObjectId};
use bus_schema::link::agent::{AgentState, Ended, Item, Live, Origin, Partial, Removal, StoredList};
use bus_schema::stamp::Stamp;
use rusqlite::types::Type;
use rusqlite::{Connection, OptionalExtension, Row};

pub(super) fn load(connection: &Connection) -> rusqlite::Result<AgentState> {
    let mut state = AgentState {
        last_session: number(connection, "session")?,
        order: number(connection, "order")?,
        list: list(connection)?,
        facts: meta(connection, "facts")?.unwrap_or_default(),
        ..AgentState::default()
    };
    each(connection, "SELECT hash, length(bytes) FROM content", |row| {
        state.contents.insert(hash(row, 0)?, row.get(1)?);
        Ok(())
    })?;
    each(connection, "SELECT hash, mode, base, size, total, etag, received FROM partial", |row| {
        state.partials.insert(hash(row, 0)?, partial(row)?);
        Ok(())
    })?;
    each(connection, "SELECT grp, kind, namespace, name, version, uid, resource_version, origin, applied FROM item", |row| {
        state.items.insert(object(row)?, item(row)?);
        Ok(())
    })?;
    each(connection, "SELECT grp, kind, namespace, name, hash, failed FROM ended", |row| {
        let ended = Ended { hash: hash(row, 4)?, failed: row.get(5)? };
        // An older agent may have written the item since.
        if let Some(item) = state.items.get_mut(&object(row)?).filter(|item| item.applied == Some(ended.hash)) {
            item.ended = Some(ended);
        }
        Ok(())
    })?;
    each(connection, "SELECT grp, kind, namespace, name, bundle, incarnation, resource_version, proven FROM removal", |row| {
        state.removals.insert((object(row)?, BundleId(unsigned(row, 4)?)), removal(row)?);
        Ok(())
    })?;
    Ok(state)
}

fn each(connection: &Connection, sql: &str, mut take: impl FnMut(&Row<'_>) -> rusqlite::Result<()>) -> rusqlite::Result<()> {
    let mut query = connection.prepare(sql)?;
    let mut rows = query.query([])?;
    while let Some(row) = rows.next()? {
        take(row)?;
    }
    Ok(())
}

fn meta(connection: &Connection, key: &str) -> rusqlite::Result<Option<Vec<u8>>> {
    connection.query_row("SELECT value FROM meta WHERE key = ?1", [key], |row| row.get(0)).optional()
}

fn number(connection: &Connection, key: &str) -> rusqlite::Result<u64> {
    match meta(connection, key)? {
        None => Ok(0),
        Some(bytes) => bytes.try_into().map(u64::from_be_bytes).map_err(|_| damaged(0)),
    }
}

fn list(connection: &Connection) -> rusqlite::Result<Option<StoredList>> {
    let Some(bytes) = meta(connection, "list")? else { return Ok(None) };
    let stamp: [u8; 16] = meta(connection, "stamp")?.and_then(|stamp| stamp.try_into().ok()).ok_or_else(|| damaged(0))?;
    let (incarnation, resource_version) = stamp.split_at(8);
    let read = |bytes: &[u8]| u64::from_be_bytes(bytes.try_into().expect("a stamp is two numbers of 8 bytes"));
    let stamp = Stamp { incarnation: IncarnationId(read(incarnation)), resource_version: read(resource_version) };
    Ok(Some(StoredList { bytes, stamp, recover: meta(connection, "recover")?.is_some_and(|flag| flag == [1]) }))
}

fn damaged(column: usize) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(column, Type::Blob, "a value that this agent did not write".into())
}

fn hash(row: &Row<'_>, column: usize) -> rusqlite::Result<Hash> {
    row.get(column).map(Hash)
}

fn unsigned(row: &Row<'_>, column: usize) -> rusqlite::Result<u64> {
    row.get::<_, i64>(column).map(i64::cast_unsigned)
}

fn object(row: &Row<'_>) -> rusqlite::Result<ObjectId> {
    Ok(ObjectId { group: row.get(0)?, kind: row.get(1)?, namespace: row.get(2)?, name: row.get(3)? })
}

fn partial(row: &Row<'_>) -> rusqlite::Result<Partial> {
    let base: Option<[u8; Hash::LEN]> = row.get(2)?;
    Ok(Partial {
        mode: Mode::read(row.get(1)?).ok_or_else(|| damaged(1))?,
        base: base.map(Hash),
        size: row.get(3)?,
        total: row.get(4)?,
        etag: unsigned(row, 5)?,
        received: row.get(6)?,
    })
}

fn item(row: &Row<'_>) -> rusqlite::Result<Item> {
    let uid: Option<String> = row.get(5)?;
    let origin: Option<String> = row.get(7)?;
    let origin = if origin.as_deref() == Some("created") { Origin::Created } else { Origin::Adopted };
    let live = match uid {
        Some(uid) => Some(Live { uid, resource_version: row.get(6)?, origin }),
        None => None,
    };
    let applied: Option<[u8; Hash::LEN]> = row.get(8)?;
    Ok(Item { version: row.get(4)?, live, applied: applied.map(Hash), ended: None })
}

fn removal(row: &Row<'_>) -> rusqlite::Result<Removal> {
    let stamp = Stamp { incarnation: IncarnationId(unsigned(row, 5)?), resource_version: unsigned(row, 6)? };
    Ok(Removal { stamp, proven: row.get(7)? })
}
