//! Opening the file: pragmas, damage check, and schema versions in `PRAGMA user_version`.

use std::path::Path;

use rusqlite::Connection;

use super::StoreError;

/// One entry a schema version; entry n brings version n to n + 1. Released entries never change.
const MIGRATIONS: &[&str] = &[
    "
    CREATE TABLE meta (key TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
    INSERT INTO meta VALUES ('compacted', 0), ('floor', 0);
    CREATE TABLE incarnations (id BLOB PRIMARY KEY, opened INTEGER NOT NULL, closed INTEGER) WITHOUT ROWID;
    CREATE TABLE objects (
        resource TEXT NOT NULL, namespace TEXT NOT NULL, name TEXT NOT NULL,
        rv INTEGER NOT NULL, body BLOB NOT NULL,
        UNIQUE (resource, namespace, name));
    CREATE TABLE events (
        rv INTEGER PRIMARY KEY, at INTEGER NOT NULL, kind INTEGER NOT NULL,
        resource TEXT NOT NULL, namespace TEXT NOT NULL, name TEXT NOT NULL,
        body BLOB NOT NULL, prev BLOB);
",
    crate::sync::TABLES,
    crate::sync::HEALTH,
];

/// Opens the file for the writer, checks it and brings it to the newest schema.
pub(super) fn open(path: &Path) -> Result<Connection, StoreError> {
    let opening = StoreError::opening(path);
    let mut connection = Connection::open(path).map_err(&opening)?;
    connection.busy_timeout(std::time::Duration::from_secs(5)).map_err(&opening)?;
    connection.pragma_update(None, "journal_mode", "WAL").map_err(&opening)?;
    connection.pragma_update(None, "synchronous", "FULL").map_err(&opening)?;
    connection.pragma_update(None, "wal_autocheckpoint", 4_000).map_err(&opening)?;
    connection.set_prepared_statement_cache_capacity(64);
    check(&connection, path)?;
    migrate(&mut connection, path)?;
    Ok(connection)
}

/// Reads the structure of the whole file, so that damage shows at start and not at some later request.
fn check(connection: &Connection, path: &Path) -> Result<(), StoreError> {
    let verdict: String = connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0)).map_err(StoreError::opening(path))?;
    if verdict == "ok" {
        return Ok(());
    }
    Err(StoreError::Corrupt { path: path.display().to_string(), detail: verdict })
}

fn migrate(connection: &mut Connection, path: &Path) -> Result<(), StoreError> {
    let opening = StoreError::opening(path);
    let known = MIGRATIONS.len() as i64;
    let found: i64 = connection.pragma_query_value(None, "user_version", |row| row.get(0)).map_err(&opening)?;
    if found > known || found < 0 {
        return Err(StoreError::Newer { path: path.display().to_string(), found, known });
    }
    for (version, script) in MIGRATIONS.iter().enumerate().skip(found as usize) {
        let tx = connection.transaction().map_err(&opening)?;
        tx.execute_batch(script).map_err(&opening)?;
        tx.pragma_update(None, "user_version", version as i64 + 1).map_err(&opening)?;
        tx.commit().map_err(&opening)?;
    }
    Ok(())
}
