//! Writes to rows.

use at_rest::Sealer;
use bus_schema::id::{BundleId, ObjectId};
use bus_schema::link::agent::{AgentWrite, Item, Removal, StoredList};
use bus_schema::stamp::Stamp;
use prost::Message;
use rusqlite::{Connection, params};

use super::rows::{self, Id, ItemRow, PartialRow, RemovalRow, Table};

pub(super) fn save(connection: &Connection, sealer: &Sealer, write: &AgentWrite) -> rusqlite::Result<()> {
    let run = |sql: &str, values: &[&dyn rusqlite::ToSql]| connection.prepare_cached(sql)?.execute(values).map(drop);
    let meta = |key: &str, value: &[u8]| put(connection, sealer, Table::Meta, &rows::meta_id(sealer, key), value);
    match write {
        AgentWrite::Session(session) => meta("session", &session.to_be_bytes()),
        AgentWrite::Order(order) => meta("order", &order.to_be_bytes()),
        AgentWrite::Facts(facts) => meta("facts", facts),
        AgentWrite::List(StoredList { bytes, stamp, recover }) => {
            meta("list", bytes)?;
            meta("recover", &[u8::from(*recover)])?;
            meta("stamp", &stamp_bytes(*stamp))
        }
        AgentWrite::Stamp(stamp) => meta("stamp", &stamp_bytes(*stamp)),
        AgentWrite::Content(hash, bytes) => {
            let id = rows::hash_id(sealer, hash);
            let (name, bytes) = (rows::seal(sealer, Table::ContentHash, &id, &hash.0), rows::seal(sealer, Table::Content, &id, bytes));
            run("INSERT OR REPLACE INTO content VALUES (?1, ?2, ?3)", params![id, name, bytes])
        }
        AgentWrite::DropContent(hash) => run("DELETE FROM content WHERE id = ?1", params![rows::hash_id(sealer, hash)]),
        AgentWrite::Partial(hash, partial, bytes) => {
            let id = rows::hash_id(sealer, hash);
            let before = partial.received.saturating_sub(bytes.len() as u32);
            run("DELETE FROM chunk WHERE id = ?1 AND upto > ?2", params![id, before])?;
            put(connection, sealer, Table::Partial, &id, &PartialRow::of(hash, partial).encode_to_vec())?;
            let sealed = sealer.seal(&rows::chunk_place(&id, partial.received).each_ref().map(Vec::as_slice), bytes);
            run("INSERT OR REPLACE INTO chunk VALUES (?1, ?2, ?3)", params![id, partial.received, sealed])
        }
        AgentWrite::DropPartial(hash) => {
            let id = rows::hash_id(sealer, hash);
            run("DELETE FROM chunk WHERE id = ?1", params![id])?;
            remove(connection, Table::Partial, &id)
        }
        AgentWrite::Item(object, item) => save_item(connection, sealer, object, item.as_ref()),
        AgentWrite::Removal(object, bundle, removal) => save_removal(connection, sealer, object, *bundle, removal.as_ref()),
    }
}

fn put(connection: &Connection, sealer: &Sealer, table: Table, id: &Id, value: &[u8]) -> rusqlite::Result<()> {
    let sealed = rows::seal(sealer, table, id, value);
    connection.prepare_cached("INSERT OR REPLACE INTO row VALUES (?1, ?2, ?3)")?.execute(params![table as u8, id, sealed]).map(drop)
}

fn remove(connection: &Connection, table: Table, id: &Id) -> rusqlite::Result<()> {
    connection.prepare_cached("DELETE FROM row WHERE tbl = ?1 AND id = ?2")?.execute(params![table as u8, id]).map(drop)
}

fn save_item(connection: &Connection, sealer: &Sealer, object: &ObjectId, item: Option<&Item>) -> rusqlite::Result<()> {
    let id = rows::item_id(sealer, object);
    match item {
        Some(item) => put(connection, sealer, Table::Item, &id, &ItemRow::of(object, item).encode_to_vec()),
        None => remove(connection, Table::Item, &id),
    }
}

fn save_removal(
    connection: &Connection,
    sealer: &Sealer,
    object: &ObjectId,
    bundle: BundleId,
    removal: Option<&Removal>,
) -> rusqlite::Result<()> {
    let id = rows::removal_id(sealer, object, bundle);
    match removal {
        Some(removal) => put(connection, sealer, Table::Removal, &id, &RemovalRow::of(object, bundle, removal).encode_to_vec()),
        None => remove(connection, Table::Removal, &id),
    }
}

fn stamp_bytes(stamp: Stamp) -> Vec<u8> {
    [stamp.incarnation.0.to_be_bytes(), stamp.resource_version.to_be_bytes()].concat()
}
