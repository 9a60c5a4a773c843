//! Opening the file: pragmas, damage check, and schema versions in `PRAGMA user_version`.

use std::path::Path;

use at_rest::{KeyFile, Sealer};
use rusqlite::Connection;

use super::{StoreError, sealing};

/// How one version of the schema becomes the next.
enum Step {
    Sql(&'static str),
    Code(fn(&Connection, &Sealer) -> rusqlite::Result<()>),
}

/// One entry a schema version; entry n brings version n to n + 1. Released entries never change.
const MIGRATIONS: &[Step] = &[
    Step::Sql(
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
    ),
    Step::Sql(crate::sync::TABLES),
    Step::Sql(crate::sync::HEALTH),
    Step::Code(sealing::seal_all),
];

/// Opens the file for the writer, checks it, finds its key, and brings it to the newest schema.
pub(super) fn open(path: &Path, key: &KeyFile) -> Result<(Connection, Sealer), StoreError> {
    let opening = StoreError::opening(path);
    at_rest::keep_to_owner(path);
    let mut connection = Connection::open(path).map_err(&opening)?;
    connection.busy_timeout(std::time::Duration::from_secs(5)).map_err(&opening)?;
    connection.pragma_update(None, "journal_mode", "WAL").map_err(&opening)?;
    connection.pragma_update(None, "synchronous", "FULL").map_err(&opening)?;
    connection.pragma_update(None, "wal_autocheckpoint", 4_000).map_err(&opening)?;
    // What is freed is wiped, and nothing is written beside the file.
    connection.pragma_update(None, "secure_delete", true).map_err(&opening)?;
    connection.pragma_update(None, "temp_store", "MEMORY").map_err(&opening)?;
    connection.set_prepared_statement_cache_capacity(64);
    check(&connection, path)?;
    let found = version(&connection, path)?;
    let sealer = Sealer::new(&sealing::key(&connection, path, key)?)?;
    migrate(&mut connection, &sealer, found).map_err(&opening)?;
    match found {
        0 => sealing::mark_rewritten(&connection).map_err(&opening)?,
        _ => sealing::rewrite(&connection).map_err(&opening)?,
    }
    Ok((connection, sealer))
}

/// Reads the structure of the whole file, so that damage shows at start and not at some later request.
fn check(connection: &Connection, path: &Path) -> Result<(), StoreError> {
    let verdict: String = connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0)).map_err(StoreError::opening(path))?;
    if verdict == "ok" {
        return Ok(());
    }
    Err(StoreError::Corrupt { path: path.display().to_string(), detail: verdict })
}

/// The version of the file's schema; 0 when it is new.
fn version(connection: &Connection, path: &Path) -> Result<usize, StoreError> {
    let found: i64 = connection.pragma_query_value(None, "user_version", |row| row.get(0)).map_err(StoreError::opening(path))?;
    match usize::try_from(found) {
        Ok(version) if version <= MIGRATIONS.len() => Ok(version),
        _ => Err(StoreError::Newer { path: path.display().to_string(), found, known: MIGRATIONS.len() as i64 }),
    }
}

fn migrate(connection: &mut Connection, sealer: &Sealer, found: usize) -> rusqlite::Result<()> {
    for (version, step) in MIGRATIONS.iter().enumerate().skip(found) {
        let tx = connection.transaction()?;
        match step {
            Step::Sql(script) => tx.execute_batch(script)?,
            Step::Code(run) => run(&tx, sealer)?,
        }
        tx.pragma_update(None, "user_version", version as i64 + 1)?;
        tx.commit()?;
    }
    Ok(())
}
