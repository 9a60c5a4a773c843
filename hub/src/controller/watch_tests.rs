use std::convert::Infallible;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::Response;
use futures::stream;
use kube::Client;
use serde_json::{Value, json};

use super::*;
use crate::kinds::Manifest;

/// An API server that answers each request with the next line of its script and records what it was asked.
#[derive(Clone)]
struct Script(Arc<Mutex<Exchange>>, Arc<AtomicBool>);

/// Answers still to give, last first, and what was asked.
type Exchange = (Vec<(u16, String)>, Vec<String>);

impl Script {
    fn new(answers: Vec<(u16, String)>) -> Self {
        Self(Arc::new(Mutex::new((answers.into_iter().rev().collect(), Vec::new()))), Arc::default())
    }

    /// Watches do not end after what they tell.
    fn stays_open(&self) {
        self.1.store(true, Ordering::Relaxed);
    }

    fn client(&self) -> Client {
        Client::new(Router::new().fallback(answer).with_state(self.clone()), "default")
    }

    fn asked(&self) -> Vec<String> {
        self.0.lock().expect("no panic").1.clone()
    }
}

async fn answer(State(script): State<Script>, request: Request) -> Response {
    let next = {
        let mut script = script.0.lock().expect("no panic");
        let query = request.uri().query().unwrap_or_default();
        let wanted = ["watch=true", "resourceVersion=", "continue="];
        let told: Vec<&str> = query.split('&').filter(|part| wanted.iter().any(|name| part.starts_with(name))).collect();
        script.1.push(told.join("&"));
        script.0.pop()
    };
    // A script that ends leaves the last watch open.
    let Some((code, body)) = next else {
        return std::future::pending().await;
    };
    let watch = request.uri().query().is_some_and(|query| query.contains("watch=true"));
    let body = match watch && script.1.load(Ordering::Relaxed) {
        true => Body::from_stream(stream::iter([Ok::<_, Infallible>(body)]).chain(stream::pending())),
        false => Body::from(body),
    };
    Response::builder().status(code).header("content-type", "application/json").body(body).expect("a valid response")
}

fn manifest(name: &str, rv: u64) -> Value {
    json!({ "apiVersion": "apps.clusternet.io/v1alpha1", "kind": "Manifest", "metadata": { "name": name, "resourceVersion": rv.to_string() }, "template": {} })
}

fn list(rv: u64, names: &[&str], token: &str) -> (u16, String) {
    let items: Vec<Value> = names.iter().map(|name| manifest(name, 1)).collect();
    let metadata = json!({ "resourceVersion": rv.to_string(), "continue": token });
    (200, json!({ "kind": "ManifestList", "apiVersion": "apps.clusternet.io/v1alpha1", "metadata": metadata, "items": items }).to_string())
}

fn events(events: &[Value]) -> (u16, String) {
    (200, events.iter().map(|event| format!("{event}\n")).collect())
}

fn failure(code: u16) -> Value {
    json!({ "kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "reason": "x", "message": "x" })
}

/// What a listener hears of a script, as words, until this many were heard.
async fn heard(script: &Script, count: usize) -> Vec<String> {
    let (sender, mut receiver) = mpsc::channel(16);
    let watching = tokio::spawn(watch::<Manifest, _>(Api::all(script.client()), sender, |seen| seen));
    let mut words = Vec::new();
    while words.len() < count {
        words.push(word(receiver.recv().await.expect("the watch goes on")));
    }
    watching.abort();
    words
}

fn word(seen: Seen<Manifest>) -> String {
    let name = |object: &Object<Manifest>| object.name().name;
    let rv = seen.rv();
    match seen {
        Seen::Listed { objects, .. } => format!("listed {} @{rv}", objects.iter().map(name).collect::<Vec<_>>().join(",")),
        Seen::Applied { object, .. } => format!("applied {} @{rv}", name(&object)),
        Seen::Deleted { object, .. } => format!("deleted {} @{rv}", name(&object)),
        Seen::Reached { .. } => format!("reached @{rv}"),
    }
}

#[tokio::test]
async fn all_pages_are_one_list_and_the_watch_goes_on_from_it() {
    let script = Script::new(vec![
        list(10, &["a"], "more"),
        list(10, &["b"], ""),
        events(&[
            json!({ "type": "ADDED", "object": manifest("c", 11) }),
            json!({ "type": "DELETED", "object": manifest("a", 12) }),
            json!({ "type": "BOOKMARK", "object": { "kind": "Manifest", "apiVersion": "apps.clusternet.io/v1alpha1", "metadata": { "resourceVersion": "20" } } }),
        ]),
    ]);
    assert_eq!(heard(&script, 4).await, ["listed a,b @10", "applied c @11", "deleted a @12", "reached @20"]);
    assert_eq!(script.asked()[..3], ["", "continue=more", "watch=true&resourceVersion=10"]);
}

#[tokio::test]
async fn a_watch_that_ends_is_resumed_where_it_stopped_and_says_nothing() {
    let script = Script::new(vec![
        list(10, &["a"], ""),
        events(&[json!({ "type": "MODIFIED", "object": manifest("a", 15) })]),
        (500, failure(500).to_string()),
        events(&[json!({ "type": "MODIFIED", "object": manifest("a", 16) })]),
    ]);
    assert_eq!(heard(&script, 3).await, ["listed a @10", "applied a @15", "applied a @16"]);
    assert_eq!(script.asked()[1..4], ["watch=true&resourceVersion=10", "watch=true&resourceVersion=15", "watch=true&resourceVersion=15"]);
}

#[tokio::test]
async fn an_expired_version_lists_anew_whether_told_at_once_or_in_the_stream() {
    for gone in [(410, failure(410).to_string()), events(&[json!({ "type": "ERROR", "object": failure(410) })])] {
        let script = Script::new(vec![list(10, &["a"], ""), gone, list(30, &["b"], "")]);
        assert_eq!(heard(&script, 2).await, ["listed a @10", "listed b @30"]);
    }
}

#[tokio::test]
async fn a_list_that_fails_is_tried_again_and_nothing_is_said_to_be_gone() {
    let script =
        Script::new(vec![(503, failure(503).to_string()), list(10, &["a"], "more"), (410, failure(410).to_string()), list(12, &["a"], "")]);
    assert_eq!(heard(&script, 1).await, ["listed a @12"]);
}

#[tokio::test]
async fn an_object_that_is_not_as_its_kind_should_be_is_named_and_stops_nothing() {
    let mut broken = manifest("broken", 11);
    broken["template"] = json!("text");
    let script = Script::new(vec![
        list(10, &[], ""),
        events(&[json!({ "type": "ADDED", "object": broken }), json!({ "type": "ADDED", "object": manifest("fine", 12) })]),
    ]);
    assert_eq!(heard(&script, 3).await[1..], ["applied broken @11", "applied fine @12"]);
}

#[tokio::test(start_paused = true)]
async fn a_watch_that_carried_something_and_is_quiet_is_begun_anew_so_that_its_buffers_go() {
    let (sender, mut receiver) = mpsc::channel(16);
    let script = Script::new(vec![list(10, &["a"], ""), events(&[json!({ "type": "MODIFIED", "object": manifest("a", 15) })])]);
    script.stays_open();
    let watching = tokio::spawn(watch::<Manifest, _>(Api::all(script.client()), sender, |seen| seen));
    for _ in 0..2 {
        receiver.recv().await.expect("listed, then applied");
    }
    tokio::time::sleep(QUIET / 2).await;
    assert_eq!(script.asked().len(), 2);
    tokio::time::sleep(QUIET).await;
    assert_eq!(script.asked()[1..], ["watch=true&resourceVersion=10", "watch=true&resourceVersion=15"]);
    tokio::time::sleep(10 * QUIET).await;
    assert_eq!(script.asked().len(), 3, "one that carried nothing stays");
    watching.abort();
}

#[test]
fn what_is_wrong_with_an_object_is_logged_without_its_values() {
    let error = serde_json::from_str::<std::collections::BTreeMap<String, u8>>(r#"{"a": "hunter2"}"#).expect_err("no number").to_string();
    assert!(error.contains("hunter2"));
    assert_eq!(unquoted(&error), "invalid type: string");
}
