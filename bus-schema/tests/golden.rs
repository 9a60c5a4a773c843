//! The bytes of every message, sealed, as they are on the wire of version 1. `UPDATE_GOLDEN=1` writes the files anew.

mod support;

use std::path::PathBuf;

use bus_schema::frame::{Header, Key, body, open, seal};
use bus_schema::greeting::no_session;
use bus_schema::message::stream::StreamData;
use bus_schema::message::*;

fn object() -> ObjectRef {
    ObjectRef { group: "apps".into(), kind: "Deployment".into(), namespace: "shop".into(), name: "front".into() }
}

fn encoded(message: &impl prost::Message) -> Vec<u8> {
    message.encode_to_vec()
}

/// Every kind that is sent today, each field with a value of its own.
fn bodies() -> Vec<(&'static str, Kind, Vec<u8>)> {
    let caps = Some(Caps { revision: 1, max_frame: 2, max_object: 3, window_log: 4, features: 5 });
    let closed = vec![Closed { incarnation: 6, resource_version: 7 }];
    let patch = ObjectPatch { index: 8, mode: 2, data: vec![9, 9] };
    let item = WantItem { hash: vec![1; 16], list: true, base: vec![2; 16], offset: 3, etag: 4, window: 5 };
    let part = Part {
        hash: vec![1; 16],
        list: true,
        mode: 2,
        base: vec![2; 16],
        size: 3,
        total: 4,
        offset: 5,
        etag: 6,
        data: vec![7; 3],
        missing: true,
    };
    let row = StatusEntry {
        index: 1,
        object: Some(object()),
        state: Some(3),
        hash: vec![4; 16],
        code: 422,
        message: "no".into(),
        gone: true,
        facts: b"{}".to_vec(),
        level: 4,
        reason: 11,
        other_reason: "Odd".into(),
        health_message: Some("no".into()),
        replicas: vec![8, 2, 1, -1],
        paused: true,
        contested: "by x: spec".into(),
        facts_mode: 2,
        facts_size: 9,
    };
    let report = Report { listed: Some(1), held: true, target: 3, entries: vec![row], serial: 6, whole: true };
    let hello = Hello {
        boot: 1,
        last_session: 2,
        order: 3,
        listed: vec![4; 16],
        held: vec![5; 16],
        applied: vec![6; 16],
        status: 7,
        incarnations: closed.clone(),
        caps: caps.clone(),
    };
    let welcome = Welcome {
        incarnation: 1,
        resource_version: 2,
        desired: vec![3; 16],
        status: 4,
        closed: closed.clone(),
        covered: 1,
        caps,
        same_status: true,
        hash_key: vec![8; 32],
    };
    let delta = Delta {
        base: 1,
        target: vec![2; 16],
        order: 3,
        resource_version: 4,
        incarnation: 5,
        list: vec![6; 4],
        size: 7,
        objects: vec![patch],
        recover: true,
        closed,
        serial: 11,
    };
    let data = StreamData { id: 1, offset: 2, data: b"abc".as_slice().into(), end: true, next: 4, limit: 5, size: 6 };
    let list =
        List { entries: vec![Entry { bundle: 1, object: Some(object()), version: "v1".into(), hash: vec![2; 16], size: 3, secret: true }] };
    vec![
        ("hello", Kind::Hello, encoded(&hello)),
        ("welcome", Kind::Welcome, encoded(&welcome)),
        ("beat", Kind::Beat, encoded(&Beat { echo: 7, answer: true })),
        ("no-session", Kind::NoSession, encoded(&NoSession { unknown_sid: true })),
        ("reject", Kind::Reject, encoded(&Reject { kind: 16, hash: vec![1; 16], reason: 2, message: "too big".into() })),
        ("delta", Kind::Delta, encoded(&delta)),
        ("want", Kind::Want, encoded(&Want { items: vec![item] })),
        ("content", Kind::Content, encoded(&Content { parts: vec![part] })),
        ("confirm", Kind::Confirm, encoded(&Confirm { list: vec![1; 16] })),
        ("report", Kind::Report, encoded(&report)),
        ("status-ack", Kind::StatusAck, encoded(&StatusAck { root: 1 })),
        ("announce", Kind::Announce, encoded(&Announce { incarnation: 1, pace: 2, signature: vec![3; 4] })),
        ("gone", Kind::Gone, encoded(&Gone { session: 1 })),
        ("stream-data", Kind::StreamData, encoded(&data)),
        // A list is content, not a frame of its own; its bytes are on the wire all the same.
        ("list", Kind::Shared, encoded(&list)),
    ]
}

fn sealed(kind: Kind, body: &[u8]) -> Vec<u8> {
    match kind {
        Kind::Hello => support::greetings([1, 2], body, b"").0,
        Kind::Welcome => support::greetings([1, 2], b"", body).1,
        _ => seal(&key(), &Header { kind, counter: 300, nonce: None }, body),
    }
}

fn key() -> Key {
    support::greetings([1, 2], b"", b"").2.up
}

fn hex(bytes: &[u8]) -> String {
    let lines = bytes.chunks(32).map(|line| line.iter().map(|byte| format!("{byte:02x}")).collect::<String>());
    lines.fold(String::new(), |text, line| text + &line + "\n")
}

#[test]
fn every_message_has_its_golden_bytes() {
    // Relative, as cargo runs tests in the package: the program may have been built elsewhere, for another processor.
    let folder = PathBuf::from("golden/v1");
    let mut changed = Vec::new();
    for (name, kind, body) in bodies() {
        let path = folder.join(format!("{name}.hex"));
        let found = hex(&body) + "sealed\n" + &hex(&sealed(kind, &body));
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            std::fs::write(&path, &found).unwrap();
        }
        if std::fs::read_to_string(&path).unwrap_or_default() != found {
            changed.push(name);
        }
    }
    assert!(changed.is_empty(), "the wire changed: {changed:?}; if that is meant, run with UPDATE_GOLDEN=1");
}

#[test]
fn the_hint_that_there_is_no_session_is_the_same_for_all() {
    assert_eq!(no_session(), seal(&Key::public(), &Header { kind: Kind::NoSession, counter: 0, nonce: None }, b""));
}

#[test]
fn unknown_body_fields_are_passed_over() {
    let mut bytes = encoded(&StatusAck { root: 5 });
    bytes.extend_from_slice(&[0xfa, 0x3e, 3, b'n', b'e', b'w']); // field 1007, three bytes
    let frame = sealed(Kind::StatusAck, &bytes);
    let (header, found) = open(&key(), &frame).unwrap();
    assert_eq!(body::<StatusAck>(header.kind, &found), Ok(StatusAck { root: 5 }));
}
