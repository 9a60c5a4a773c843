use std::collections::BTreeMap;

use bus_schema::codec::Mode;
use bus_schema::id::{BundleId, IncarnationId, ObjectId};
use bus_schema::link::agent::{Ended, Item, Live, Origin, Partial, Removal, StoredList};
use bus_schema::stamp::Stamp;

use super::*;

fn object(name: &str) -> ObjectId {
    ObjectId { group: "apps".into(), kind: "Deployment".into(), namespace: "shop".into(), name: name.into() }
}

fn writes() -> Vec<AgentWrite> {
    let stamp = Stamp { incarnation: IncarnationId(u64::MAX), resource_version: u64::MAX };
    let live = |origin| Some(Live { uid: "u".into(), resource_version: "7".into(), origin });
    let item = |origin| Item { version: "v1".into(), live: live(origin), applied: Some(Hash([5; 16])), ended: None };
    let ended = |failed| Some(Ended { hash: Hash([5; 16]), failed });
    let partial = |received| Partial { mode: Mode::Delta, base: Some(Hash([2; 16])), size: 90, total: 60, etag: u64::MAX, received };
    vec![
        AgentWrite::Session(u64::MAX),
        AgentWrite::Order(3),
        AgentWrite::Facts(b"{}".to_vec()),
        AgentWrite::List(StoredList {
            bytes: vec![1, 2],
            stamp: Stamp { incarnation: IncarnationId(1), resource_version: 1 },
            recover: true,
        }),
        AgentWrite::Stamp(stamp),
        AgentWrite::Content(Hash([1; 16]), vec![9; 40]),
        AgentWrite::Content(Hash([3; 16]), vec![9; 40]),
        AgentWrite::DropContent(Hash([3; 16])),
        AgentWrite::Partial(Hash([4; 16]), partial(30), vec![1; 30]),
        AgentWrite::Partial(Hash([4; 16]), partial(50), vec![2; 20]),
        AgentWrite::Item(object("a"), Some(item(Origin::Created))),
        AgentWrite::Item(object("b"), Some(item(Origin::Adopted))),
        AgentWrite::Item(object("c"), Some(Item::default())),
        AgentWrite::Item(object("e"), Some(Item { ended: ended(false), ..item(Origin::Created) })),
        AgentWrite::Item(object("f"), Some(Item { ended: ended(true), ..item(Origin::Created) })),
        AgentWrite::Item(object("g"), Some(Item { ended: ended(true), ..item(Origin::Created) })),
        AgentWrite::Item(object("g"), Some(item(Origin::Created))),
        AgentWrite::Item(object("d"), Some(Item::default())),
        AgentWrite::Item(object("d"), None),
        AgentWrite::Removal(object("a"), BundleId(u64::MAX), Some(Removal { stamp, proven: true })),
        AgentWrite::Removal(object("a"), BundleId(1), Some(Removal { stamp, proven: false })),
        AgentWrite::Removal(object("a"), BundleId(2), Some(Removal { stamp, proven: false })),
        AgentWrite::Removal(object("a"), BundleId(2), None),
    ]
}

#[test]
fn every_write_is_read_back_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let (mut cache, mut expected) = Cache::open(folder.path()).unwrap();
    let writes = writes();
    writes.iter().for_each(|write| expected.apply(write));
    cache.commit(&writes).unwrap();
    drop(cache);
    let (cache, state) = Cache::open(folder.path()).unwrap();
    assert_eq!(state, expected);
    assert_eq!(cache.content(&Hash([1; 16])), Some(vec![9; 40]));
    assert_eq!(cache.content(&Hash([3; 16])), None);
    assert_eq!(cache.partial(&Hash([4; 16])), [vec![1; 30], vec![2; 20]].concat());
}

#[test]
fn a_transfer_that_begins_again_forgets_its_old_pieces() {
    let folder = tempfile::tempdir().unwrap();
    let (mut cache, _) = Cache::open(folder.path()).unwrap();
    let partial = Partial { mode: Mode::Whole, base: None, size: 9, total: 9, etag: 2, received: 3 };
    cache.commit(&writes()).unwrap();
    cache.commit(&[AgentWrite::Partial(Hash([4; 16]), partial, vec![7; 3])]).unwrap();
    assert_eq!(cache.partial(&Hash([4; 16])), vec![7; 3]);
}

#[test]
fn a_damaged_file_is_set_aside_and_made_anew() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join(FILE), vec![0x5a; 9000]).unwrap();
    let (_cache, state) = Cache::open(folder.path()).unwrap();
    assert_eq!(state, AgentState { items: BTreeMap::new(), ..AgentState::default() });
    assert!(folder.path().join("agent.db.damaged").exists());
}

#[test]
fn a_folder_in_use_says_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let (_cache, _) = Cache::open(folder.path()).unwrap();
    let Err(error) = Cache::open(folder.path()) else { panic!("two agents share a folder") };
    assert!(error.to_string().contains("in use by another agent"), "{error}");
}

/// Made by an agent of tables version 3, which is not there yet: those of version 2 and one more, which holds something.
const NEWER: &[u8] = include_bytes!("../../tests/fixtures/newer.db");

#[test]
fn a_newer_file_is_kept_aside_with_all_that_is_in_it_and_made_anew() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join(FILE), NEWER).unwrap();
    let (mut cache, state) = Cache::open(folder.path()).unwrap();
    assert_eq!(state, AgentState::default());
    cache.commit(&writes()).unwrap();
    drop(cache);
    let kept = Connection::open(folder.path().join("agent.db.newer")).unwrap();
    let version: i64 = kept.query_row("PRAGMA user_version", [], |row| row.get(0)).unwrap();
    let held: String = kept.query_row("SELECT word FROM later", [], |row| row.get(0)).unwrap();
    assert_eq!((version, held.as_str()), (3, "kept"));
    assert!(!folder.path().join("agent.db.damaged").exists());
    assert!(Cache::open(folder.path()).unwrap().1.list.is_some());
}

#[test]
fn the_cache_and_its_journals_are_the_owners_alone() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let (_cache, _) = Cache::open(folder.path()).unwrap();
    for file in [FILE.to_owned(), format!("{FILE}-wal"), format!("{FILE}-shm")] {
        assert_eq!(std::fs::metadata(folder.path().join(&file)).unwrap().permissions().mode() & 0o777, 0o600, "{file}");
    }
}

/// Made by an agent of tables version 1, which wrote in clear: it holds a Secret, and had another one.
const UNSEALED: &[u8] = include_bytes!("../../tests/fixtures/unsealed.db");

fn hits(folder: &Path, text: &str) -> usize {
    let files = std::fs::read_dir(folder).unwrap().map(|entry| std::fs::read(entry.unwrap().path()).unwrap());
    files.map(|bytes| bytes.windows(text.len()).filter(|window| *window == text.as_bytes()).count()).sum()
}

#[test]
fn a_cache_from_before_is_sealed_in_place_and_nothing_in_clear_is_left() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join(FILE), UNSEALED).unwrap();
    let clear = Connection::open(folder.path().join(FILE)).unwrap();
    clear.pragma_update(None, "secure_delete", false).unwrap();
    clear.execute("INSERT INTO meta VALUES ('x', ?1)", ["in-a-free-page ".repeat(1000)]).unwrap();
    clear.execute("DELETE FROM meta WHERE key = 'x'", []).unwrap();
    clear.execute_batch("INSERT INTO partial VALUES (x'01010101010101010101010101010101', 0, NULL, 9, 9, 7, 6)").unwrap();
    clear
        .execute_batch(
            "INSERT INTO chunk VALUES (x'01010101010101010101010101010101', 3, x'616263'), (x'01010101010101010101010101010101', 6, x'646566')",
        )
        .unwrap();
    clear.execute_batch("INSERT INTO ended SELECT grp, kind, namespace, name, applied, 1 FROM item WHERE kind = 'ConfigMap'").unwrap();
    drop(clear);
    let markers = ["marker-kept-secret-c0ffee", "marker-config-c0ffee", "in-a-free-page", "vault"];
    for marker in markers {
        assert!(hits(folder.path(), marker) > 0, "{marker} is not in the fixture: the search proves nothing");
    }
    let (cache, state) = Cache::open(folder.path()).unwrap();
    assert!(!folder.path().join("agent.db.damaged").exists(), "it was migrated, not set aside");
    for marker in markers {
        assert_eq!(hits(folder.path(), marker), 0, "{marker} is left");
    }
    assert_eq!((state.items.len(), state.contents.len()), (3, 3));
    assert!(state.last_session != 0 && state.list.is_some() && !state.facts.is_empty());
    let bytes: Vec<Vec<u8>> = state.contents.keys().map(|hash| cache.content(hash).unwrap()).collect();
    assert_eq!(bytes.iter().map(Vec::len).collect::<Vec<_>>(), state.contents.values().map(|len| *len as usize).collect::<Vec<_>>());
    assert!(bytes.iter().any(|bytes| String::from_utf8_lossy(bytes).contains("marker-kept-secret-c0ffee")));
    assert_eq!(cache.partial(&Hash([1; 16])), b"abcdef");
    let ended: Vec<bool> = state.items.values().filter_map(|item| item.ended).map(|ended| ended.failed).collect();
    assert_eq!(ended, [true]);
}

#[test]
fn nothing_of_what_is_cached_is_in_the_files() {
    let folder = tempfile::tempdir().unwrap();
    let (mut cache, _) = Cache::open(folder.path()).unwrap();
    let hash = Hash(*b"the-hash-in-full");
    let item = Item { version: "v1".into(), applied: Some(hash), ..Item::default() };
    cache
        .commit(&[
            AgentWrite::Content(hash, b"hunter2-in-the-clear".repeat(50)),
            AgentWrite::Item(object("a-name-in-the-inventory"), Some(item)),
            AgentWrite::Facts(b"facts-of-the-cluster".to_vec()),
        ])
        .unwrap();
    let markers = ["hunter2-in-the-clear", "the-hash-in-full", "a-name-in-the-inventory", "facts-of-the-cluster"];
    let found = |markers: [&str; 4]| markers.map(|marker| hits(folder.path(), marker));
    assert_eq!(found(markers), [0; 4], "while it is open, WAL included");
    drop(cache);
    assert_eq!(found(markers), [0; 4]);
    assert!(hits(folder.path(), "SQLite format 3") > 0, "the search finds what is there");
    assert!(!folder.path().join("agent.db-wal").exists(), "the WAL is gone after a stop");
}

#[test]
fn a_cache_whose_key_is_lost_is_set_aside_and_a_bad_key_file_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let key = folder.path().join("elsewhere.key");
    let (mut cache, _) = Cache::open_with(folder.path(), Some(&key)).unwrap();
    cache.commit(&writes()).unwrap();
    drop(cache);
    std::fs::write(&key, "no key").unwrap();
    let Err(error) = Cache::open_with(folder.path(), Some(&key)) else { panic!("no key is no key") };
    assert!(error.to_string().contains("64 hex digits"), "{error}");
    assert!(!folder.path().join("agent.db.damaged").exists());
    std::fs::remove_file(&key).unwrap();
    let (cache, state) = Cache::open_with(folder.path(), Some(&key)).unwrap();
    assert_eq!(state, AgentState::default());
    assert!(folder.path().join("agent.db.damaged").exists() && key.exists());
    drop(cache);
    assert!(Cache::open_with(folder.path(), Some(&key)).is_ok());
}

#[test]
fn a_row_that_was_moved_in_the_file_sets_the_cache_aside() {
    let folder = tempfile::tempdir().unwrap();
    let (mut cache, _) = Cache::open(folder.path()).unwrap();
    cache.commit(&writes()).unwrap();
    let swap = "UPDATE row SET sealed = (SELECT sealed FROM row WHERE tbl = 3 ORDER BY id LIMIT 1)
        WHERE tbl = 3 AND id = (SELECT id FROM row WHERE tbl = 3 ORDER BY id DESC LIMIT 1)";
    assert_eq!(cache.connection.execute(swap, []).unwrap(), 1);
    drop(cache);
    let (_cache, state) = Cache::open(folder.path()).unwrap();
    assert_eq!(state, AgentState::default());
    assert!(folder.path().join("agent.db.damaged").exists());
}
