//! What the hub remembers of each cluster's link, in the store's file and its group commit.

use std::collections::BTreeMap;

use bus_schema::hash::Hash;
use bus_schema::id::{IncarnationId, ObjectId, Sid};
use bus_schema::link::hub::{Acked, HubState, HubWrite};
use bus_schema::message::Health;
use bus_schema::stamp::Stamp;
use bus_schema::status::{State, Status};
use prost::Message;
use rusqlite::{Connection, OptionalExtension, params};

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

/// The incarnations that have ended, with the highest resourceVersion found after each.
pub fn closed_incarnations(connection: &Connection) -> rusqlite::Result<BTreeMap<IncarnationId, u64>> {
    let mut query = connection.prepare("SELECT id, closed FROM incarnations WHERE closed IS NOT NULL")?;
    let rows = query.query_map([], |row| {
        let id: [u8; 8] = row.get(0)?;
        Ok((IncarnationId(u64::from_be_bytes(id)), row.get::<_, i64>(1)?.cast_unsigned()))
    })?;
    rows.collect()
}

/// Reads what was committed for one cluster; the default where nothing was.
pub fn load(connection: &Connection, sid: Sid) -> rusqlite::Result<HubState> {
    let sql = "SELECT ordering, acked, acked_incarnation, acked_rv, session, boot, old_boots, listed, held FROM link WHERE sid = ?1";
    let found = connection.query_row(sql, [sid.as_str()], |row| {
        let number = |column| row.get::<_, i64>(column).map(i64::cast_unsigned);
        let acked = match row.get::<_, Option<Vec<u8>>>(1)? {
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
    let sql = "SELECT grp, kind, namespace, name, state, hash, code, message, facts, health FROM link_status WHERE sid = ?1";
    let mut query = connection.prepare_cached(sql)?;
    let mut rows = query.query([sid.as_str()])?;
    while let Some(row) = rows.next()? {
        let object = ObjectId { group: row.get(0)?, kind: row.get(1)?, namespace: row.get(2)?, name: row.get(3)? };
        let hash: Option<[u8; Hash::LEN]> = row.get(5)?;
        let status = Status {
            state: State::read(row.get(4)?),
            hash: hash.map(Hash),
            code: row.get(6)?,
            message: row.get(7)?,
            facts: row.get(8)?,
            // One that cannot be read is told again: the root differs then.
            health: row.get::<_, Option<Vec<u8>>>(9)?.and_then(|bytes| Health::decode(&*bytes).ok()),
        };
        state.table.rows.insert(object, status);
    }
    Ok(state)
}

/// Makes one write of a transaction.
pub fn save(connection: &Connection, sid: Sid, write: &HubWrite) -> rusqlite::Result<()> {
    let sid = sid.as_str();
    let run = |sql: &str, values: &[&dyn rusqlite::ToSql]| connection.prepare_cached(sql)?.execute(values).map(drop);
    match write {
        HubWrite::Order(order) => run("UPDATE link SET ordering = ?2 WHERE sid = ?1", params![sid, order.cast_signed()]),
        HubWrite::Acked(Acked { bytes, stamp }) => run(
            "UPDATE link SET acked = ?2, acked_incarnation = ?3, acked_rv = ?4 WHERE sid = ?1",
            params![sid, bytes, stamp.incarnation.0.cast_signed(), stamp.resource_version.cast_signed()],
        ),
        HubWrite::Session(session) => run("UPDATE link SET session = ?2 WHERE sid = ?1", params![sid, session.cast_signed()]),
        HubWrite::Boots { boot, old } => {
            let old: Vec<u8> = old.iter().flat_map(|boot| boot.to_be_bytes()).collect();
            run("UPDATE link SET boot = ?2, old_boots = ?3 WHERE sid = ?1", params![sid, boot.cast_signed(), old])
        }
        HubWrite::Told { listed, held } => {
            run("UPDATE link SET listed = ?2, held = ?3 WHERE sid = ?1", params![sid, listed.cast_signed(), held])
        }
        HubWrite::ClearRows => run("DELETE FROM link_status WHERE sid = ?1", params![sid]),
        HubWrite::Row(ObjectId { group, kind, namespace, name }, None) => run(
            "DELETE FROM link_status WHERE sid = ?1 AND grp = ?2 AND kind = ?3 AND namespace = ?4 AND name = ?5",
            params![sid, group, kind, namespace, name],
        ),
        HubWrite::Row(ObjectId { group, kind, namespace, name }, Some(status)) => {
            let hash = status.hash.map(|hash| hash.0);
            let health = status.health.as_ref().map(Message::encode_to_vec);
            run(
                "INSERT OR REPLACE INTO link_status VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)",
                params![sid, group, kind, namespace, name, status.state as u32, hash, status.code, status.message, status.facts, health],
            )
        }
    }
}

/// Makes sure that the cluster has a row, which `save` changes.
pub fn create(connection: &Connection, sid: Sid) -> rusqlite::Result<()> {
    connection.prepare_cached("INSERT OR IGNORE INTO link (sid) VALUES (?1)")?.execute([sid.as_str()]).map(drop)
}

/// Forgets a cluster.
pub fn remove(connection: &Connection, sid: Sid) -> rusqlite::Result<()> {
    connection.execute("DELETE FROM link WHERE sid = ?1", [sid.as_str()])?;
    connection.execute("DELETE FROM link_status WHERE sid = ?1", [sid.as_str()]).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_write_is_read_back() {
        let connection = Connection::open_in_memory().unwrap();
        connection.execute_batch(TABLES).unwrap();
        connection.execute_batch(HEALTH).unwrap();
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
            save(&connection, sid, write).unwrap();
        }
        assert_eq!(load(&connection, sid).unwrap(), expected);
        assert_eq!(load(&connection, other).unwrap(), HubState::default());
        remove(&connection, sid).unwrap();
        assert_eq!(load(&connection, sid).unwrap(), HubState::default());
    }
}
