//! Rows to the state that the agent starts from. Content bytes stay on the disk.

use at_rest::{OVERHEAD, Sealer};
use bus_schema::hash::Hash;
use bus_schema::id::IncarnationId;
use bus_schema::link::agent::{AgentState, StoredList};
use bus_schema::stamp::Stamp;
use prost::Message;
use rusqlite::{Connection, OptionalExtension, Row};

use super::rows::{self, Id, ItemRow, PartialRow, RemovalRow, Table, damaged};

pub(super) fn load(connection: &Connection, sealer: &Sealer) -> rusqlite::Result<AgentState> {
    let mut state = AgentState {
        last_session: number(connection, sealer, "session")?,
        order: number(connection, sealer, "order")?,
        list: list(connection, sealer)?,
        facts: meta(connection, sealer, "facts")?.unwrap_or_default(),
        ..AgentState::default()
    };
    each(connection, "SELECT id, hash, length(bytes) FROM content", |row| {
        let hash = rows::open(sealer, Table::ContentHash, &row.get(0)?, row, 1)?;
        let hash = Hash::read(&hash).ok_or_else(|| foreign(1))?;
        state.contents.insert(hash, row.get::<_, u32>(2)?.saturating_sub(OVERHEAD as u32));
        Ok(())
    })?;
    table(connection, sealer, Table::Partial, |bytes| {
        let (hash, partial) = decode::<PartialRow>(bytes)?.read().ok_or_else(|| foreign(1))?;
        state.partials.insert(hash, partial);
        Ok(())
    })?;
    table(connection, sealer, Table::Item, |bytes| {
        let (object, item) = decode::<ItemRow>(bytes)?.read().ok_or_else(|| foreign(1))?;
        state.items.insert(object, item);
        Ok(())
    })?;
    table(connection, sealer, Table::Removal, |bytes| {
        state.removals.extend([decode::<RemovalRow>(bytes)?.read()]);
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

fn table(
    connection: &Connection,
    sealer: &Sealer,
    table: Table,
    mut take: impl FnMut(&[u8]) -> rusqlite::Result<()>,
) -> rusqlite::Result<()> {
    let sql = format!("SELECT id, sealed FROM row WHERE tbl = {}", table as u8);
    each(connection, &sql, |row| take(&rows::open(sealer, table, &row.get(0)?, row, 1)?))
}

fn decode<T: Message + Default>(bytes: &[u8]) -> rusqlite::Result<T> {
    T::decode(bytes).map_err(|error| damaged(1, error))
}

fn meta(connection: &Connection, sealer: &Sealer, key: &str) -> rusqlite::Result<Option<Vec<u8>>> {
    let id: Id = rows::meta_id(sealer, key);
    let sql = "SELECT sealed FROM row WHERE tbl = ?1 AND id = ?2";
    connection.query_row(sql, (Table::Meta as u8, id), |row| rows::open(sealer, Table::Meta, &id, row, 0)).optional()
}

fn number(connection: &Connection, sealer: &Sealer, key: &str) -> rusqlite::Result<u64> {
    match meta(connection, sealer, key)? {
        None => Ok(0),
        Some(bytes) => bytes.try_into().map(u64::from_be_bytes).map_err(|_| foreign(0)),
    }
}

fn list(connection: &Connection, sealer: &Sealer) -> rusqlite::Result<Option<StoredList>> {
    let Some(bytes) = meta(connection, sealer, "list")? else { return Ok(None) };
    let stamp = meta(connection, sealer, "stamp")?.ok_or_else(|| foreign(0))?;
    let recover = meta(connection, sealer, "recover")?.is_some_and(|flag| flag == [1]);
    Ok(Some(StoredList { bytes, stamp: stamp_of(&stamp)?, recover }))
}

/// A stamp as two numbers of 8 bytes.
pub(super) fn stamp_of(bytes: &[u8]) -> rusqlite::Result<Stamp> {
    let ([incarnation, resource_version], []) = bytes.as_chunks::<8>() else { return Err(foreign(0)) };
    Ok(Stamp { incarnation: IncarnationId(u64::from_be_bytes(*incarnation)), resource_version: u64::from_be_bytes(*resource_version) })
}

pub(super) fn foreign(column: usize) -> rusqlite::Error {
    damaged(column, "a value that this agent did not write")
}
