//! What the hub remembers of each cluster's link, in the store's file and its group commit.
//!
//! The list that was acknowledged and the rows of the status table are sealed; a row is found by a blind index of cluster and object.

use std::collections::BTreeMap;

use at_rest::Sealer;
use bus_schema::hash::Hash;
use bus_schema::id::{IncarnationId, ObjectId, Sid};
use bus_schema::link::hub::{Acked, HubState, HubWrite};
use bus_schema::message::Health;
use bus_schema::stamp::Stamp;
use bus_schema::status::{State, Status};
use prost::Message;
use rusqlite::{Connection, OptionalExtension, params};

use crate::store::sealing::{self, Change};

/// The tables, one migration of the store.
pub const TABLES: &str = "
    CREATE TABLE link (sid TEXT PRIMARY KEY, ordering INTEGER NOT NULL DEFAULT 0, acked BLOB, acked_incarnation INTEGER, acked_rv INTEGER,
        session INTEGER NOT NULL DEFAULT 0, boot INTEGER NOT NULL DEFAULT 0, old_boots BLOB NOT NULL DEFAULT x'',
        listed INTEGER NOT NULL DEFAULT 0, held INTEGER NOT NULL DEFAULT 0) WITHOUT ROWID;
    CREATE TABLE link_status (sid TEXT NOT NULL, grp TEXT NOT NULL, kind TEXT NOT NULL, namespace TEXT NOT NULL, name TEXT NOT NULL,
        state INTEGER NOT NULL, hash BLOB, code INTEGER NOT NULL, message TEXT NOT NULL, facts BLOB NOT NULL,
        PRIMARY KEY (sid, grp, kind, namespace, name)) WITHOUT ROWID;
";

/// How objects do, the next migration.
pub const HEALTH: &str = "ALTER TABLE link_status ADD COLUMN health BLOB";

/// The status rows since they are sealed, made by that migration.
const ROWS: &str =
    "CREATE TABLE link_row (sid TEXT NOT NULL, id BLOB NOT NULL, sealed BLOB NOT NULL, PRIMARY KEY (sid, id)) WITHOUT ROWID;";

/// The incarnations that have ended, with the highest resourceVersion found after each.
pub fn closed_incarnations(connection: &Connection) -> rusqlite::Result<BTreeMap<IncarnationId, u64>> {
    let mut query = connection.prepare("SELECT id, closed FROM incarnations WHERE closed IS NOT NULL")?;
    let rows = query.query_map([], |row| {
        let id: [u8; 8] = row.get(0)?;
        Ok((IncarnationId(u64::from_be_bytes(id)), row.get::<_, i64>(1)?.cast_unsigned()))
    })?;
    rows.collect()
}

/// A row of the status table as it is sealed. Numbers are never used again.
#[derive(Clone, PartialEq, Message)]
struct Row {
    #[prost(string, tag = "1")]
    group: String,
    #[prost(string, tag = "2")]
    kind: String,
    #[prost(string, tag = "3")]
    namespace: String,
    #[prost(string, tag = "4")]
    name: String,
    #[prost(uint32, tag = "5")]
    state: u32,
    #[prost(bytes = "vec", optional, tag = "6")]
    hash: Option<Vec<u8>>,
    #[prost(uint32, tag = "7")]
    code: u32,
    #[prost(string, tag = "8")]
    message: String,
    #[prost(bytes = "vec", tag = "9")]
    facts: Vec<u8>,
    /// Bytes: one that cannot be read is told again.
    #[prost(bytes = "vec", optional, tag = "10")]
    health: Option<Vec<u8>>,
}

impl Row {
    fn of(object: &ObjectId, status: &Status) -> Row {
        let ObjectId { group, kind, namespace, name } = object.clone();
        let Status { state, hash, code, message, facts, health } = status.clone();
        let (hash, health) = (hash.map(|hash| hash.0.to_vec()), health.as_ref().map(Message::encode_to_vec));
        Row { group, kind, namespace, name, state: state as u32, hash, code, message, facts, health }
    }

    fn read(self) -> (ObjectId, Status) {
        let object = ObjectId { group: self.group, kind: self.kind, namespace: self.namespace, name: self.name };
        let hash = self.hash.as_deref().and_then(Hash::read);
        // One that cannot be read is told again: the root differs then.
        let health = self.health.and_then(|bytes| Health::decode(&*bytes).ok());
        let status = Status { state: State::read(self.state), hash, code: self.code, message: self.message, facts: self.facts, health };
        (object, status)
    }
}

type RowId = [u8; 16];

fn row_id(sealer: &Sealer, sid: &str, ObjectId { group, kind, namespace, name }: &ObjectId) -> RowId {
    let parts = ["link_row", sid, group, kind, namespace, name];
    sealer.blind(&parts.map(str::as_bytes))
}

fn row_place<'a>(sid: &'a str, id: &'a RowId) -> [&'a [u8]; 3] {
    [b"link_row", sid.as_bytes(), id]
}

fn list_place(sid: &str) -> [&[u8]; 2] {
    [b"link.acked", sid.as_bytes()]
}

/// Reads what was committed for one cluster; the default where nothing was.
pub fn load(connection: &Connection, sealer: &Sealer, sid: Sid) -> rusqlite::Result<HubState> {
    let sid = sid.as_str();
    let sql = "SELECT ordering, acked, acked_incarnation, acked_rv, session, boot, old_boots, listed, held FROM link WHERE sid = ?1";
    let found = connection.query_row(sql, [sid], |row| {
        let number = |column| row.get::<_, i64>(column).map(i64::cast_unsigned);
        let acked = match sealing::open_some(sealer, &list_place(sid), row, 1)? {
            Some(bytes) => Some(Acked { bytes, stamp: Stamp { incarnation: IncarnationId(number(2)?), resource_version: number(3)? } }),
            None => None,
        };
        let old_boots: Vec<u8> = row.get(6)?;
        let mut state = HubState { order: number(0)?, acked, last_session: number(4)?, boot: number(5)?, ..HubState::default() };
        state.old_boots = old_boots.as_chunks::<8>().0.iter().map(|boot| u64::from_be_bytes(*boot)).collect();
        (state.table.listed, state.table.held) = (number(7)?, row.get(8)?);
        Ok(state)
    });
    let Some(mut state) = found.optional()? else { return Ok(HubState::default()) };
    let mut query = connection.prepare_cached("SELECT id, sealed FROM link_row WHERE sid = ?1")?;
    let mut rows = query.query([sid])?;
    while let Some(row) = rows.next()? {
        state.table.rows.extend([read_row(sealer, sid, row)?]);
    }
    Ok(state)
}

fn read_row(sealer: &Sealer, sid: &str, row: &rusqlite::Row<'_>) -> rusqlite::Result<(ObjectId, Status)> {
    let record = sealing::open(sealer, &row_place(sid, &row.get(0)?), row, 1)?;
    let unreadable = |error| rusqlite::Error::FromSqlConversionFailure(1, rusqlite::types::Type::Blob, Box::new(error));
    Ok(Row::decode(&record[..]).map_err(unreadable)?.read())
}

/// What one cluster has told of one object.
///
/// # Errors
/// The row cannot be read or opened.
pub fn status_of(connection: &Connection, sealer: &Sealer, sid: Sid, object: &ObjectId) -> rusqlite::Result<Option<Status>> {
    let sid = sid.as_str();
    let mut query = connection.prepare_cached("SELECT id, sealed FROM link_row WHERE sid = ?1 AND id = ?2")?;
    let found = query.query_row(params![sid, row_id(sealer, sid, object)], |row| read_row(sealer, sid, row));
    Ok(found.optional()?.map(|(_, status)| status))
}

fn save_row(connection: &Connection, sealer: &Sealer, sid: &str, object: &ObjectId, status: &Status) -> rusqlite::Result<()> {
    let id = row_id(sealer, sid, object);
    let sealed = sealer.seal(&row_place(sid, &id), &Row::of(object, status).encode_to_vec());
    connection.prepare_cached("INSERT OR REPLACE INTO link_row VALUES (?1, ?2, ?3)")?.execute(params![sid, id, sealed]).map(drop)
}

/// The migration of what older hubs wrote in clear.
pub fn seal_all(connection: &Connection, sealer: &Sealer) -> rusqlite::Result<()> {
    change_lists(connection, &Change::Seal(sealer))?;
    connection.execute_batch(ROWS)?;
    let mut query =
        connection.prepare("SELECT sid, grp, kind, namespace, name, state, hash, code, message, facts, health FROM link_status")?;
    let mut rows = query.query([])?;
    while let Some(row) = rows.next()? {
        let (sid, record) = clear_row(row)?;
        let (object, status) = record.read();
        save_row(connection, sealer, &sid, &object, &status)?;
    }
    drop(rows);
    drop(query);
    connection.execute_batch("DROP TABLE link_status")
}

fn clear_row(row: &rusqlite::Row<'_>) -> rusqlite::Result<(String, Row)> {
    let record = Row {
        group: row.get(1)?,
        kind: row.get(2)?,
        namespace: row.get(3)?,
        name: row.get(4)?,
        state: row.get(5)?,
        hash: row.get(6)?,
        code: row.get(7)?,
        message: row.get(8)?,
        facts: row.get(9)?,
        health: row.get(10)?,
    };
    Ok((row.get(0)?, record))
}

/// Seals everything under another key; the blind indexes change with it.
pub fn seal_again(connection: &Connection, old: &Sealer, new: &Sealer) -> rusqlite::Result<()> {
    change_lists(connection, &Change::Again { old, new })?;
    connection.execute_batch(&format!("ALTER TABLE link_row RENAME TO old_row; {ROWS}"))?;
    let mut query = connection.prepare("SELECT id, sealed, sid FROM old_row")?;
    let mut rows = query.query([])?;
    while let Some(row) = rows.next()? {
        let sid: String = row.get(2)?;
        let (object, status) = read_row(old, &sid, row)?;
        save_row(connection, new, &sid, &object, &status)?;
    }
    drop(rows);
    drop(query);
    connection.execute_batch("DROP TABLE old_row")
}

fn change_lists(connection: &Connection, change: &Change<'_>) -> rusqlite::Result<()> {
    let sids = connection
        .prepare("SELECT sid FROM link WHERE acked IS NOT NULL")?
        .query_map([], |row| row.get(0))?
        .collect::<Result<Vec<String>, _>>()?;
    for sid in sids {
        let list = connection.query_row("SELECT acked FROM link WHERE sid = ?1", [&sid], |row| change.of(&list_place(&sid), row, 0))?;
        connection.execute("UPDATE link SET acked = ?2 WHERE sid = ?1", params![sid, list])?;
    }
    Ok(())
}

/// Makes one write of a transaction.
pub fn save(connection: &Connection, sealer: &Sealer, sid: Sid, write: &HubWrite) -> rusqlite::Result<()> {
    let sid = sid.as_str();
    let run = |sql: &str, values: &[&dyn rusqlite::ToSql]| connection.prepare_cached(sql)?.execute(values).map(drop);
    match write {
        HubWrite::Order(order) => run("UPDATE link SET ordering = ?2 WHERE sid = ?1", params![sid, order.cast_signed()]),
        HubWrite::Acked(Acked { bytes, stamp }) => run(
            "UPDATE link SET acked = ?2, acked_incarnation = ?3, acked_rv = ?4 WHERE sid = ?1",
            params![sid, sealer.seal(&list_place(sid), bytes), stamp.incarnation.0.cast_signed(), stamp.resource_version.cast_signed()],
        ),
        HubWrite::Session(session) => run("UPDATE link SET session = ?2 WHERE sid = ?1", params![sid, session.cast_signed()]),
        HubWrite::Boots { boot, old } => {
            let old: Vec<u8> = old.iter().flat_map(|boot| boot.to_be_bytes()).collect();
            run("UPDATE link SET boot = ?2, old_boots = ?3 WHERE sid = ?1", params![sid, boot.cast_signed(), old])
        }
        HubWrite::Told { listed, held } => {
            run("UPDATE link SET listed = ?2, held = ?3 WHERE sid = ?1", params![sid, listed.cast_signed(), held])
        }
        HubWrite::ClearRows => run("DELETE FROM link_row WHERE sid = ?1", params![sid]),
        HubWrite::Row(object, None) => run("DELETE FROM link_row WHERE sid = ?1 AND id = ?2", params![sid, row_id(sealer, sid, object)]),
        HubWrite::Row(object, Some(status)) => save_row(connection, sealer, sid, object, status),
    }
}

/// Makes sure that the cluster has a row, which `save` changes.
pub fn create(connection: &Connection, sid: Sid) -> rusqlite::Result<()> {
    connection.prepare_cached("INSERT OR IGNORE INTO link (sid) VALUES (?1)")?.execute([sid.as_str()]).map(drop)
}

/// Forgets a cluster.
pub fn remove(connection: &Connection, sid: Sid) -> rusqlite::Result<()> {
    connection.execute("DELETE FROM link WHERE sid = ?1", [sid.as_str()])?;
    connection.execute("DELETE FROM link_row WHERE sid = ?1", [sid.as_str()]).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_write_is_read_back() {
        let connection = Connection::open_in_memory().unwrap();
        connection.execute_batch(TABLES).unwrap();
        connection.execute_batch(HEALTH).unwrap();
        let sealer = Sealer::new(&at_rest::Key::random().unwrap()).unwrap();
        seal_all(&connection, &sealer).unwrap();
        let (sid, other) = (Sid::from_random(1), Sid::from_random(2));
        let row = |state| Status { code: 422, message: "no".into(), facts: vec![1], ..Status::of(state, Some(Hash([7; 16]))) };
        let object = |name| ObjectId::new("apps", "Deployment", "shop", name);
        let writes = [
            HubWrite::Order(u64::MAX),
            HubWrite::Acked(Acked { bytes: vec![1, 2], stamp: Stamp { incarnation: IncarnationId(u64::MAX), resource_version: u64::MAX } }),
            HubWrite::Session(u64::MAX),
            HubWrite::Boots { boot: u64::MAX, old: vec![1, u64::MAX] },
            HubWrite::Row(object("z"), Some(row(State::Failed))),
            HubWrite::ClearRows,
            HubWrite::Told { listed: u64::MAX, held: true },
            HubWrite::Row(object("a"), Some(row(State::Kept))),
            HubWrite::Row(object("b"), Some(row(State::Applied))),
            HubWrite::Row(object("c"), Some(Status { health: Some(Health { paused: true, ..Health::default() }), ..row(State::Applied) })),
            HubWrite::Row(object("b"), None),
            HubWrite::Row(ObjectId::default(), Some(Status::of(State::Applied, None))),
        ];
        let mut expected = HubState::default();
        for sid in [sid, other] {
            create(&connection, sid).unwrap();
        }
        for write in &writes {
            expected.apply(write);
            save(&connection, &sealer, sid, write).unwrap();
        }
        assert_eq!(load(&connection, &sealer, sid).unwrap(), expected);
        assert_eq!(load(&connection, &sealer, other).unwrap(), HubState::default());
        remove(&connection, sid).unwrap();
        assert_eq!(load(&connection, &sealer, sid).unwrap(), HubState::default());
    }
}
