//! What a stolen database gives, and what becomes of one from before.

use std::path::{Path, PathBuf};

use at_rest::KeyFile;
use bus_schema::id::{ObjectId, Sid};
use bus_schema::status::State;
use rusqlite::Connection;
use serde_json::json;

use super::{Expect, FILE_NAME, Key as ObjectKey, Query, Store, StoreError, StoreOptions, rekey};
use crate::sync;

/// Made by a hub of schema 3, before anything was sealed: a Secret that is there, one that was deleted, and a cluster that has them applied.
const UNSEALED: &[u8] = include_bytes!("../../tests/fixtures/unsealed.sqlite");
/// What two Secrets and a ConfigMap hold in it.
const MARKERS: [&str; 3] = ["marker-kept-secret-c0ffee", "marker-gone-secret-c0ffee", "marker-config-c0ffee"];
const SECRET: &str = "hunter2-in-the-clear";

fn key(name: &str) -> ObjectKey {
    ObjectKey { resource: "things".into(), namespace: "default".into(), name: name.into() }
}

async fn put(store: &Store, name: &str) -> u64 {
    let (key, body) = (key(name), json!({"metadata": {"name": name}, "password": SECRET}));
    store.write(move |tx| tx.put(&key, Expect::Absent, body)).await.map_err(|error: StoreError| error).expect("put").resource_version
}

/// How often a text stands in the files of a folder.
fn hits(folder: &Path, text: &str) -> usize {
    let files = std::fs::read_dir(folder).expect("folder").map(|entry| entry.expect("entry").path()).filter(|path| path.is_file());
    files.map(|path| std::fs::read(path).expect("file")).map(|bytes| count(&bytes, text.as_bytes())).sum()
}

fn count(bytes: &[u8], part: &[u8]) -> usize {
    bytes.windows(part.len()).filter(|window| *window == part).count()
}

fn file(folder: &Path) -> PathBuf {
    folder.join(FILE_NAME)
}

#[tokio::test]
async fn nothing_of_an_object_but_its_name_is_in_the_files() {
    let folder = tempfile::tempdir().expect("folder");
    let store = Store::open(folder.path()).expect("open");
    put(&store, "visible-name").await;
    assert_eq!(hits(folder.path(), SECRET), 0, "while it runs, WAL included");
    drop(store);
    assert_eq!(hits(folder.path(), SECRET), 0, "after it was closed");
    assert!(hits(folder.path(), "visible-name") > 0, "names stay in clear, so the search does find what is there");
    let wal = std::fs::metadata(folder.path().join(format!("{FILE_NAME}-wal")));
    assert!(!wal.is_ok_and(|file| file.len() > 0), "the WAL is empty after a stop");
}

#[tokio::test]
async fn another_or_a_missing_key_is_refused_with_the_remedy() {
    let folder = tempfile::tempdir().expect("folder");
    let store = Store::open(folder.path()).expect("open");
    put(&store, "a").await;
    drop(store);
    let file = KeyFile::new(None, folder.path());
    let aside = folder.path().join("aside");
    std::fs::rename(file.path(), &aside).expect("move the key");
    let missing = Store::open(folder.path()).err().expect("refused").to_string();
    assert!(missing.contains("at-rest.key is not there") && missing.contains("--at-rest-key-file"), "{missing}");
    assert!(!file.path().exists(), "no key is made for a store that has one");
    let other = file.read_or_make().expect("another key").id().to_string();
    let wrong = Store::open(folder.path()).err().expect("refused").to_string();
    assert!(wrong.contains(&other) && wrong.contains("was sealed with the key"), "{wrong}");
    let options = StoreOptions { key_file: Some(aside), ..StoreOptions::default() };
    assert!(Store::open_with(folder.path(), options).expect("the right key").get(&key("a")).expect("get").is_some());
}

#[tokio::test]
async fn a_row_that_was_swapped_or_changed_in_the_file_is_refused() {
    let folder = tempfile::tempdir().expect("folder");
    let store = Store::open(folder.path()).expect("open");
    put(&store, "a").await;
    put(&store, "b").await;
    drop(store);
    let connection = Connection::open(file(folder.path())).expect("sqlite");
    connection.execute("UPDATE objects SET body = (SELECT body FROM objects WHERE name = 'a') WHERE name = 'b'", []).expect("swap");
    drop(connection);
    let store = Store::open(folder.path()).expect("open");
    assert!(store.get(&key("a")).expect("get").is_some());
    let error = store.get(&key("b")).expect_err("refused").to_string();
    assert!(error.contains("cannot be opened"), "{error}");
    assert!(store.list(Query { resource: "things".into(), ..Query::default() }, |_| Some(())).await.is_err());
}

/// What a thief, or a disk that was given away, has of a store from before: the file as a killed hub leaves it, WAL included.
#[tokio::test]
async fn a_store_from_before_is_sealed_in_place_and_nothing_in_clear_is_left() {
    let folder = tempfile::tempdir().expect("folder");
    std::fs::write(file(folder.path()), UNSEALED).expect("fixture");
    leave_clear_pages_and_a_wal(folder.path());
    for marker in MARKERS {
        assert!(hits(folder.path(), marker) > 0, "{marker} is not in the fixture: the search proves nothing");
    }
    assert!(hits(folder.path(), "in-a-free-page") > 0 && hits(folder.path(), "in-the-wal") > 0);

    let store = Store::open(folder.path()).expect("migrated");
    for marker in MARKERS.iter().chain(&["in-a-free-page", "in-the-wal"]) {
        assert_eq!(hits(folder.path(), marker), 0, "{marker} is left after the start");
    }
    let manifests = Query { resource: "manifests.apps.clusternet.io".into(), ..Query::default() };
    let found = store.list(manifests, |row| Some(String::from_utf8_lossy(row.body).into_owned())).await.expect("list");
    assert_eq!(found.items.iter().filter(|body| body.contains(MARKERS[0])).count(), 1, "the object is there");
    let connection = Connection::open(store.path()).expect("sqlite");
    let oldest: i64 = connection.query_row("SELECT min(rv) FROM events", [], |row| row.get(0)).expect("an event");
    assert!(store.closed(store.incarnation()).expect("read").is_none());
    assert_eq!(log_from(&store, oldest as u64 - 1), 24, "the log goes on");
    let sid: String = connection.query_row("SELECT sid FROM link", [], |row| row.get(0)).expect("a cluster");
    let object = ObjectId::new("", "Secret", "vault", "kept");
    let status = sync::status_of(&connection, &store.sealer(), Sid::parse(&sid).expect("sid"), &object).expect("read").expect("there");
    assert_eq!(status.state, State::Applied);
    assert!(status.hash.is_some());
}

/// Events that the disk still has, read as a watcher does.
fn log_from(store: &Store, version: u64) -> usize {
    let read = |connection: &Connection| super::events::read_after(connection, &store.sealer(), version, 1000);
    store.shared.readers.with(read).expect("log").len()
}

fn leave_clear_pages_and_a_wal(folder: &Path) {
    let connection = Connection::open(file(folder)).expect("sqlite");
    connection.pragma_update(None, "secure_delete", false).expect("as it was");
    let long = |text: &str| text.repeat(1000);
    let insert = "INSERT INTO events VALUES (?1, 0, 0, 'r', 'n', 'x', ?2, NULL)";
    connection.execute(insert, rusqlite::params![1, long("in-a-free-page").into_bytes()]).expect("insert");
    connection.execute("DELETE FROM events WHERE rv = 1", []).expect("delete");
    connection.pragma_update(None, "journal_mode", "WAL").expect("wal");
    connection.execute(insert, rusqlite::params![1, long("in-the-wal").into_bytes()]).expect("insert");
    connection.execute("DELETE FROM events WHERE rv = 1", []).expect("delete");
    // As after a kill: the last connection of a living process would empty the WAL.
    let wal = std::fs::read(folder.join(format!("{FILE_NAME}-wal"))).expect("wal");
    let database = std::fs::read(file(folder)).expect("database");
    drop(connection);
    std::fs::write(file(folder), database).expect("database");
    std::fs::write(folder.join(format!("{FILE_NAME}-wal")), wal).expect("wal");
}

#[tokio::test]
async fn a_crash_between_sealing_and_rewriting_is_made_good_at_the_next_start() {
    let folder = tempfile::tempdir().expect("folder");
    drop(Store::open(folder.path()).expect("open"));
    let connection = Connection::open(file(folder.path())).expect("sqlite");
    connection.pragma_update(None, "secure_delete", false).expect("as it was");
    connection
        .execute_batch("CREATE TABLE x (y); INSERT INTO x VALUES ('left-from-before'); DROP TABLE x; UPDATE sealing SET rewritten = 0")
        .expect("leave");
    drop(connection);
    assert!(hits(folder.path(), "left-from-before") > 0);
    let _store = Store::open(folder.path()).expect("open");
    assert_eq!(hits(folder.path(), "left-from-before"), 0);
}

#[tokio::test]
async fn rekey_opens_with_the_new_key_only() {
    let folder = tempfile::tempdir().expect("folder");
    std::fs::write(file(folder.path()), UNSEALED).expect("fixture");
    let store = Store::open(folder.path()).expect("migrated");
    put(&store, "a").await;
    let running = rekey(folder.path(), &KeyFile::new(None, folder.path()), None).unwrap_err();
    assert!(matches!(running, StoreError::InUse { .. }), "{running}");
    drop(store);
    let default = KeyFile::new(None, folder.path());
    let old = std::fs::read(default.path()).expect("key");
    let done = rekey(folder.path(), &default, None).expect("rekey");
    assert_ne!(done.old, done.new);
    let store = Store::open(folder.path()).expect("opens");
    assert!(store.get(&key("a")).expect("get").is_some());
    assert!(log_from(&store, 0) > 24, "the log is sealed anew too");
    let connection = Connection::open(store.path()).expect("sqlite");
    let sid = Sid::parse(&connection.query_row("SELECT sid FROM link", [], |row| row.get::<_, String>(0)).expect("sid")).expect("sid");
    let object = ObjectId::new("", "Secret", "vault", "kept");
    assert!(sync::status_of(&connection, &store.sealer(), sid, &object).expect("read").is_some());
    drop((connection, store));

    let elsewhere = KeyFile::new(Some(&folder.path().join("usb.key")), folder.path());
    rekey(folder.path(), &default, Some(&elsewhere)).expect("rekey to another file");
    assert!(matches!(Store::open(folder.path()), Err(StoreError::WrongKey { .. })));
    std::fs::write(default.path(), old).expect("the first key");
    assert!(matches!(Store::open(folder.path()), Err(StoreError::WrongKey { .. })));
    let options = StoreOptions { key_file: Some(elsewhere.path().to_owned()), ..StoreOptions::default() };
    assert!(Store::open_with(folder.path(), options).expect("opens").get(&key("a")).expect("get").is_some());
}

/// The two moments at which a rekey can be cut: before its commit the old key opens, after it the next one takes its place.
#[tokio::test]
async fn an_interrupted_rekey_is_finished_by_the_next_start() {
    let folder = tempfile::tempdir().expect("folder");
    let default = KeyFile::new(None, folder.path());
    let store = Store::open(folder.path()).expect("open");
    put(&store, "a").await;
    drop(store);
    default.next().read_or_make().expect("before the commit");
    drop(Store::open(folder.path()).expect("the old key opens"));

    let old = std::fs::read(default.path()).expect("key");
    rekey(folder.path(), &default, None).expect("rekey");
    default.replace(&default.next()).expect("as if the last step had not happened");
    std::fs::write(default.path(), old).expect("as if the last step had not happened");
    let store = Store::open(folder.path()).expect("the next key opens");
    assert!(store.get(&key("a")).expect("get").is_some());
    assert!(!default.next().path().exists());
}

#[tokio::test]
async fn who_is_behind_reads_the_log_from_the_disk_once_memory_has_forgotten_it() {
    let folder = tempfile::tempdir().expect("folder");
    let options = StoreOptions { ring_for: std::time::Duration::from_millis(20), ..StoreOptions::default() };
    let store = Store::open_with(folder.path(), options).expect("open");
    let start = store.resource_version();
    let mut watcher = store.watch(start).expect("watch");
    put(&store, "a").await;
    while store.shared.ring.after(start, 1).is_some() {
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    let events = watcher.next().await.expect("events");
    assert_eq!(events.len(), 1);
    assert!(count(&events[0].body, SECRET.as_bytes()) == 1);
}
