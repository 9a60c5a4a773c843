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
fn a_folder_in_use_and_a_newer_file_say_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let (cache, _) = Cache::open(folder.path()).unwrap();
    let Err(error) = Cache::open(folder.path()) else { panic!("two agents share a folder") };
    assert!(error.to_string().contains("in use by another agent"), "{error}");
    cache.connection.pragma_update(None, "user_version", 99).unwrap();
    drop(cache);
    let Err(error) = Cache::open(folder.path()) else { panic!("a newer file was opened") };
    assert!(error.to_string().contains("newer agent"), "{error}");
}
