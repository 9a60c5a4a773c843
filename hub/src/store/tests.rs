//! The store's promises: durability, one order of versions, expiry instead of guesses, one holder of the folder.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};

use super::{EventKind, Expect, FILE_NAME, Key, Query, Store, StoreError, StoreOptions};

fn key(name: &str) -> Key {
    Key { resource: "things".into(), namespace: "default".into(), name: name.into() }
}

fn thing(name: &str, value: u64) -> Value {
    json!({"metadata": {"name": name, "namespace": "default"}, "value": value})
}

async fn put(store: &Store, name: &str, expect: Expect, value: u64) -> Result<u64, StoreError> {
    let (key, body) = (key(name), thing(name, value));
    store.write(move |tx| tx.put(&key, expect, body).map(|stored| stored.resource_version)).await
}

async fn names(store: &Store, query: Query) -> (Vec<String>, Option<(String, String)>) {
    let page = store.list(query, |row| Some(row.name.to_owned())).await.expect("list");
    (page.items, page.next)
}

fn things() -> Query {
    Query { resource: "things".into(), ..Query::default() }
}

#[tokio::test]
async fn a_write_is_read_back_with_its_version_inside_and_out() {
    let folder = tempfile::tempdir().expect("folder");
    let store = Store::open(folder.path()).expect("open");
    let version = put(&store, "a", Expect::Absent, 1).await.expect("put");
    let stored = store.get(&key("a")).expect("get").expect("there");
    assert_eq!(stored.resource_version, version);
    let body: Value = serde_json::from_slice(&stored.body).expect("json");
    assert_eq!(body["metadata"]["resourceVersion"], version.to_string());
    assert_eq!(store.resource_version(), version);
}

#[tokio::test]
async fn a_write_that_expects_another_state_conflicts_and_changes_nothing() {
    let folder = tempfile::tempdir().expect("folder");
    let store = Store::open(folder.path()).expect("open");
    let version = put(&store, "a", Expect::Absent, 1).await.expect("put");
    assert!(matches!(put(&store, "a", Expect::Absent, 2).await, Err(StoreError::Conflict { found: Some(v), .. }) if v == version));
    assert!(matches!(put(&store, "b", Expect::Version(version), 2).await, Err(StoreError::Conflict { found: None, .. })));
    assert_eq!(store.resource_version(), version);
    assert_eq!(put(&store, "a", Expect::Version(version), 3).await.expect("put"), version + 1);
}

#[tokio::test]
async fn a_failed_job_undoes_itself_and_not_its_neighbours_in_the_group() {
    let folder = tempfile::tempdir().expect("folder");
    let store = Store::open(folder.path()).expect("open");
    let writes = (0..200u64).map(|n| {
        let store = store.clone();
        async move {
            let key = key(&format!("n{n:03}"));
            store
                .write(move |tx| {
                    tx.put(&key, Expect::Absent, thing(&key.name, n))?;
                    if n % 2 == 1 { Err(StoreError::Closed) } else { Ok(()) }
                })
                .await
        }
    });
    let outcomes = futures::future::join_all(writes).await;
    assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), 100);
    let (found, _) = names(&store, things()).await;
    assert_eq!(found.len(), 100);
    assert!(found.iter().all(|name| name.ends_with(['0', '2', '4', '6', '8'])));
    let mut watcher = store.watch(store.resource_version() - 100).expect("watch");
    assert_eq!(watcher.next().await.expect("events").len(), 100);
}

#[tokio::test]
async fn a_panicking_job_leaves_the_store_working() {
    let folder = tempfile::tempdir().expect("folder");
    let store = Store::open(folder.path()).expect("open");
    let outcome: Result<(), StoreError> = store.write(|_| panic!("planted")).await;
    assert!(matches!(outcome, Err(StoreError::NotRun)));
    put(&store, "a", Expect::Absent, 1).await.expect("put");
}

#[tokio::test]
async fn lists_come_in_pages_and_by_name_prefix() {
    let folder = tempfile::tempdir().expect("folder");
    let store = Store::open(folder.path()).expect("open");
    for name in ["a.1", "a.2", "a.3", "b.1"] {
        put(&store, name, Expect::Absent, 0).await.expect("put");
    }
    let (first, next) = names(&store, Query { limit: 3, ..things() }).await;
    assert_eq!(first, ["a.1", "a.2", "a.3"]);
    let (second, end) = names(&store, Query { limit: 3, after: next, ..things() }).await;
    assert_eq!((second, end), (vec!["b.1".to_owned()], None));
    let (of_a, _) = names(&store, Query { name_prefix: "a.".into(), ..things() }).await;
    assert_eq!(of_a, ["a.1", "a.2", "a.3"]);
    let (elsewhere, _) = names(&store, Query { namespace: Some("other".into()), ..things() }).await;
    assert!(elsewhere.is_empty());
}

#[tokio::test]
async fn a_watcher_sees_each_change_once_from_memory_and_from_disk() {
    let folder = tempfile::tempdir().expect("folder");
    let options = StoreOptions { ring_events: 2, ..StoreOptions::default() };
    let store = Store::open_with(folder.path(), options).expect("open");
    let start = store.resource_version();
    let added = put(&store, "a", Expect::Absent, 1).await.expect("put");
    let changed = put(&store, "a", Expect::Version(added), 2).await.expect("put");
    let last = thing("a", 2);
    store.write(move |tx| tx.delete(&key("a"), changed, last)).await.expect("delete");
    let mut watcher = store.watch(start).expect("watch");
    let mut seen = Vec::new();
    while seen.len() < 3 {
        seen.extend(watcher.next().await.expect("events"));
    }
    let kinds: Vec<EventKind> = seen.iter().map(|event| event.kind).collect();
    assert_eq!(kinds, [EventKind::Added, EventKind::Modified, EventKind::Deleted]);
    assert!(seen[0].previous.is_none());
    assert_eq!(seen[1].previous.as_ref(), Some(&seen[0].body));
    assert_eq!(seen[2].resource_version, changed + 1);
    assert!(tokio::time::timeout(Duration::from_millis(50), watcher.next()).await.is_err());
}

#[tokio::test]
async fn compaction_expires_old_watches_and_keeps_the_newest_events() {
    let folder = tempfile::tempdir().expect("folder");
    let options = StoreOptions { keep_for: Duration::ZERO, keep_events: 3, ring_events: 1, ..StoreOptions::default() };
    let store = Store::open_with(folder.path(), options).expect("open");
    let start = store.resource_version();
    let mut late = store.watch(start).expect("watch");
    for n in 0..10 {
        put(&store, &n.to_string(), Expect::Absent, n).await.expect("put");
    }
    tokio::time::sleep(Duration::from_millis(5)).await;
    assert_eq!(store.compact().await.expect("compact"), 7);
    assert!(matches!(store.watch(start), Err(StoreError::Expired { .. })));
    assert!(matches!(late.next().await, Err(StoreError::Expired { .. })));
    let mut watcher = store.watch(start + 7).expect("watch");
    assert_eq!(watcher.next().await.expect("events").len(), 3);
}

#[tokio::test]
async fn young_events_survive_compaction_up_to_the_hard_limit() {
    let folder = tempfile::tempdir().expect("folder");
    let options = StoreOptions { keep_events: 1, most_events: 5, ..StoreOptions::default() };
    let store = Store::open_with(folder.path(), options).expect("open");
    for n in 0..10 {
        put(&store, &n.to_string(), Expect::Absent, n).await.expect("put");
    }
    assert_eq!(store.compact().await.expect("compact"), 5);
    assert_eq!(store.compact().await.expect("compact"), 0);
}

#[tokio::test]
async fn a_restart_closes_the_incarnation_and_never_reuses_a_version() {
    let folder = tempfile::tempdir().expect("folder");
    let store = Store::open(folder.path()).expect("open");
    let first = store.incarnation();
    let last = put(&store, "a", Expect::Absent, 1).await.expect("put");
    assert_eq!(store.closed(first).expect("read"), None);
    drop(store);
    let store = Store::open(folder.path()).expect("open");
    assert_ne!(store.incarnation(), first);
    assert_eq!(store.closed(first).expect("read"), Some(last));
    assert!(store.resource_version() >= last);
    assert!(put(&store, "b", Expect::Absent, 1).await.expect("put") > last + 1);
    assert_eq!(store.watch(last).expect("continues").next().await.expect("events").len(), 1);
}

#[tokio::test]
async fn a_version_of_a_forgotten_life_is_expired() {
    let folder = tempfile::tempdir().expect("folder");
    let copy = tempfile::tempdir().expect("copy");
    let store = Store::open(folder.path()).expect("open");
    put(&store, "a", Expect::Absent, 1).await.expect("put");
    drop(store);
    for name in [FILE_NAME, "at-rest.key"] {
        std::fs::copy(folder.path().join(name), copy.path().join(name)).expect("backup");
    }
    let store = Store::open(folder.path()).expect("open");
    let lost_life = store.incarnation();
    let lost = put(&store, "b", Expect::Absent, 1).await.expect("put");
    drop(store);
    let restored = Store::open(copy.path()).expect("open the backup");
    assert!(restored.resource_version() > lost);
    assert!(matches!(restored.watch(lost), Err(StoreError::Expired { .. })));
    assert_eq!(restored.closed(lost_life).expect("read"), None);
}

#[tokio::test]
async fn a_folder_in_use_names_its_holder_and_the_remedy() {
    let folder = tempfile::tempdir().expect("folder");
    let _store = Store::open(folder.path()).expect("open");
    let message = Store::open(folder.path()).err().expect("refused").to_string();
    assert!(message.contains(&std::process::id().to_string()), "{message}");
    assert!(message.contains("--data-dir"), "{message}");
}

#[test]
fn damage_and_newer_schemas_are_told_apart() {
    let folder = tempfile::tempdir().expect("folder");
    std::fs::write(folder.path().join(FILE_NAME), vec![7u8; 8192]).expect("write");
    assert!(matches!(Store::open(folder.path()), Err(StoreError::Corrupt { .. })));
    let folder = tempfile::tempdir().expect("folder");
    let connection = rusqlite::Connection::open(folder.path().join(FILE_NAME)).expect("sqlite");
    connection.pragma_update(None, "user_version", 99).expect("pragma");
    drop(connection);
    assert!(matches!(Store::open(folder.path()), Err(StoreError::Newer { found: 99, .. })));
}

#[test]
fn the_database_and_its_journals_are_the_owners_alone() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().expect("folder");
    let file = |suffix: &str| folder.path().join(format!("{FILE_NAME}{suffix}"));
    let modes = || ["", "-wal", "-shm"].map(|suffix| std::fs::metadata(file(suffix)).expect("a file").permissions().mode() & 0o777);
    let store = Store::open(folder.path()).expect("a new store");
    assert_eq!(modes(), [0o600; 3]);
    drop(store);
    // As hubs made it before.
    std::fs::set_permissions(file(""), std::fs::Permissions::from_mode(0o644)).expect("changed");
    let _store = Store::open(folder.path()).expect("the same store");
    assert_eq!(modes(), [0o600; 3]);
}

/// What a killed child promised on its standard output must be in the store, and nothing half done.
#[test]
fn what_was_acknowledged_survives_kill_9() {
    if let Ok(folder) = std::env::var("STORE_CRASH_FOLDER") {
        return write_until_killed(Path::new(&folder));
    }
    let folder = tempfile::tempdir().expect("folder");
    let mut promised: BTreeMap<String, u64> = BTreeMap::new();
    for round in 0..12u64 {
        promised.extend(killed_round(folder.path(), Duration::from_millis(20 + 17 * round)));
        check_promises(folder.path(), &promised);
    }
    assert!(promised.len() > 10, "the children were killed before they wrote: {}", promised.len());
}

fn killed_round(folder: &Path, life: Duration) -> BTreeMap<String, u64> {
    use std::io::{BufRead, BufReader};
    let mut child = Command::new(std::env::current_exe().expect("this test"))
        .args(["--exact", "store::tests::what_was_acknowledged_survives_kill_9", "--nocapture"])
        .env("STORE_CRASH_FOLDER", folder)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("child");
    let mut lines = BufReader::new(child.stdout.take().expect("stdout")).lines();
    let ready = lines.by_ref().any(|line| line.is_ok_and(|line| line.contains("ready")));
    assert!(ready, "the child opened the store");
    std::thread::sleep(life);
    child.kill().expect("kill");
    child.wait().expect("wait");
    let promises = lines.map_while(Result::ok).filter_map(|line| {
        let (name, version) = line.strip_prefix("wrote ")?.split_once(' ')?;
        Some((name.to_owned(), version.parse().ok()?))
    });
    promises.collect()
}

fn write_until_killed(folder: &Path) {
    let runtime = tokio::runtime::Runtime::new().expect("runtime");
    let store = Store::open(folder).expect("open");
    println!("\nready");
    runtime.block_on(async {
        let writers = (0..4).map(|writer| {
            let store = store.clone();
            async move {
                for n in 0u64.. {
                    let name = format!("w{writer}-{:016x}-{n}", u64::from_be_bytes(store.incarnation().0));
                    let version = put(&store, &name, Expect::Absent, n).await.expect("put");
                    println!("wrote {name} {version}");
                }
            }
        });
        futures::future::join_all(writers).await;
    });
}

fn check_promises(folder: &Path, promised: &BTreeMap<String, u64>) {
    let store = Store::open(folder).expect("reopen after a kill");
    for (name, version) in promised {
        let stored = store.get(&key(name)).expect("get").unwrap_or_else(|| panic!("{name} was acknowledged and is lost"));
        assert_eq!(stored.resource_version, *version, "{name}");
    }
}
