//! The tables of version 1, in clear, read once: what is in them becomes the writes that fill the new ones.

use bus_schema::codec::Mode;
use bus_schema::hash::Hash;
use bus_schema::id::{BundleId, IncarnationId, ObjectId};
use bus_schema::link::agent::{AgentWrite, Ended, Item, Live, Origin, Partial, Removal, StoredList};
use bus_schema::stamp::Stamp;
use rusqlite::{Connection, OptionalExtension, Row};

use super::load::{foreign, stamp_of};

/// All tables of that version; the last came later.
const TABLES: [&str; 7] = ["meta", "content", "partial", "chunk", "item", "removal", "ended"];

/// Makes room for the new tables.
pub(super) fn put_aside(connection: &Connection) -> rusqlite::Result<()> {
    for table in TABLES.iter().filter(|table| is_there(connection, table)) {
        connection.execute_batch(&format!("ALTER TABLE {table} RENAME TO clear_{table}"))?;
    }
    Ok(())
}

/// Removes what was put aside.
pub(super) fn remove(connection: &Connection) -> rusqlite::Result<()> {
    TABLES.iter().try_for_each(|table| connection.execute_batch(&format!("DROP TABLE IF EXISTS clear_{table}")))
}

fn is_there(connection: &Connection, table: &str) -> bool {
    connection.query_row("SELECT 1 FROM sqlite_master WHERE name = ?1", [table], |_| Ok(())).is_ok()
}

/// Tells every row as the write that made it, one at a time.
pub(super) fn each_write(connection: &Connection, take: &mut dyn FnMut(AgentWrite) -> rusqlite::Result<()>) -> rusqlite::Result<()> {
    take(AgentWrite::Session(number(connection, "session")?))?;
    take(AgentWrite::Order(number(connection, "order")?))?;
    take(AgentWrite::Facts(meta(connection, "facts")?.unwrap_or_default()))?;
    if let Some(list) = list(connection)? {
        take(AgentWrite::List(list))?;
    }
    each(connection, "SELECT hash, bytes FROM clear_content", |row| take(AgentWrite::Content(hash(row, 0)?, row.get(1)?)))?;
    each(connection, "SELECT hash, mode, base, size, total, etag, received FROM clear_partial", |row| {
        let (hash, whole) = (hash(row, 0)?, partial(row)?);
        pieces(connection, &hash, |received, bytes| take(AgentWrite::Partial(hash, Partial { received, ..whole.clone() }, bytes)))
    })?;
    let ended = if is_there(connection, "clear_ended") { ENDED } else { NOT_ENDED };
    each(connection, ended, |row| take(AgentWrite::Item(object(row)?, Some(item(row)?))))?;
    each(connection, "SELECT grp, kind, namespace, name, bundle, incarnation, resource_version, proven FROM clear_removal", |row| {
        take(AgentWrite::Removal(object(row)?, BundleId(unsigned(row, 4)?), Some(removal(row)?)))
    })
}

/// An older agent may have written the item since it ended.
const ENDED: &str = "SELECT item.grp, item.kind, item.namespace, item.name, version, uid, resource_version, origin, applied, hash, failed
    FROM clear_item AS item LEFT JOIN clear_ended AS ended ON ended.grp = item.grp AND ended.kind = item.kind
        AND ended.namespace = item.namespace AND ended.name = item.name AND ended.hash = item.applied";
const NOT_ENDED: &str = "SELECT grp, kind, namespace, name, version, uid, resource_version, origin, applied, NULL, NULL FROM clear_item";

/// The pieces of a transfer, in order.
fn pieces(connection: &Connection, hash: &Hash, mut take: impl FnMut(u32, Vec<u8>) -> rusqlite::Result<()>) -> rusqlite::Result<()> {
    let mut query = connection.prepare_cached("SELECT upto, bytes FROM clear_chunk WHERE hash = ?1 ORDER BY upto")?;
    let mut rows = query.query([hash.0])?;
    while let Some(row) = rows.next()? {
        take(row.get(0)?, row.get(1)?)?;
    }
    Ok(())
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
    connection.query_row("SELECT value FROM clear_meta WHERE key = ?1", [key], |row| row.get(0)).optional()
}

fn number(connection: &Connection, key: &str) -> rusqlite::Result<u64> {
    match meta(connection, key)? {
        None => Ok(0),
        Some(bytes) => bytes.try_into().map(u64::from_be_bytes).map_err(|_| foreign(0)),
    }
}

fn list(connection: &Connection) -> rusqlite::Result<Option<StoredList>> {
    let Some(bytes) = meta(connection, "list")? else { return Ok(None) };
    let stamp = stamp_of(&meta(connection, "stamp")?.ok_or_else(|| foreign(0))?)?;
    Ok(Some(StoredList { bytes, stamp, recover: meta(connection, "recover")?.is_some_and(|flag| flag == [1]) }))
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
        mode: Mode::read(row.get(1)?).ok_or_else(|| foreign(1))?,
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
    let ended: Option<[u8; Hash::LEN]> = row.get(9)?;
    let ended = match ended {
        Some(hash) => Some(Ended { hash: Hash(hash), failed: row.get(10)? }),
        None => None,
    };
    Ok(Item { version: row.get(4)?, live, applied: applied.map(Hash), ended })
}

fn removal(row: &Row<'_>) -> rusqlite::Result<Removal> {
    let stamp = Stamp { incarnation: IncarnationId(unsigned(row, 5)?), resource_version: unsigned(row, 6)? };
    Ok(Removal { stamp, proven: row.get(7)? })
}
