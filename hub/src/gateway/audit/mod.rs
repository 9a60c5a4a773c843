//! Who did what on which member: one JSON line for each request that is over, and one for each upgraded connection when it begins.
//!
//! No token, no header, no byte of a body or of a terminal is in it; of a query only what [`super::query`] lets through. Requests of callers
//! who did not prove who they are leave no line: else a stranger could push everybody else's out.

mod log;

use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use http::Method;
use k8s_openapi::jiff::Timestamp;
use serde::Serialize;

pub use log::Log;

/// Bytes of a path, a query or a command in a line; what is longer is cut.
const MAX_TEXT: usize = 4 << 10;

/// One request under way; its line is written when nobody holds it any more, whatever ended it.
pub struct Entry {
    log: Arc<Log>,
    begun: Instant,
    record: Mutex<Record>,
    up: AtomicU64,
    down: AtomicU64,
}

/// One line.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Record {
    pub time: String,
    /// `opened`, `complete`, or `aborted`: the client or the stream went away.
    pub stage: &'static str,
    /// A user of the hub.
    pub user: String,
    pub from: Option<IpAddr>,
    /// NAMESPACE/NAME, as far as it is known.
    pub cluster: String,
    /// `user`: the hub's user, impersonated; `token` or `certificate`: credentials of the member that were brought.
    #[serde(rename = "as")]
    pub acting: &'static str,
    pub verb: &'static str,
    /// A host beside the member's API server.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub host: String,
    pub path: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub query: String,
    /// What an exec runs.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub command: Vec<String>,
    /// None was sent if the client went away before.
    pub code: Option<u16>,
    pub bytes_up: u64,
    pub bytes_down: u64,
    pub milliseconds: u64,
}

impl Entry {
    /// Begins a request of `user`.
    pub fn begin(log: Arc<Log>, user: &str, from: Option<IpAddr>) -> Arc<Entry> {
        let record = Record { time: Timestamp::now().to_string(), stage: "aborted", user: user.to_owned(), from, ..Record::default() };
        Arc::new(Entry { log, begun: Instant::now(), record: Mutex::new(record), up: AtomicU64::new(0), down: AtomicU64::new(0) })
    }

    /// Adds what became known.
    pub fn note(&self, what: impl FnOnce(&mut Record)) {
        what(&mut self.record.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// So many bytes went to the member.
    pub fn up(&self, bytes: usize) {
        self.up.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// So many bytes went to the client.
    pub fn down(&self, bytes: usize) {
        self.down.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// The client is told this.
    pub fn answered(&self, code: u16) {
        self.note(|record| record.code = Some(code));
    }

    /// A connection is open that may stay so for long.
    pub fn opened(&self) {
        self.write("opened");
    }

    /// It has come to its end.
    pub fn complete(&self) {
        self.note(|record| record.stage = "complete");
    }

    fn write(&self, stage: &'static str) {
        let mut record = self.record.lock().unwrap_or_else(PoisonError::into_inner).clone();
        record.stage = stage;
        record.path = cut(record.path);
        record.query = cut(record.query);
        record.command = bounded(record.command);
        record.bytes_up = self.up.load(Ordering::Relaxed);
        record.bytes_down = self.down.load(Ordering::Relaxed);
        record.milliseconds = u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.log.write(&record);
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        let stage = self.record.lock().unwrap_or_else(PoisonError::into_inner).stage;
        self.write(stage);
    }
}

/// What Kubernetes calls it.
pub fn verb(method: &Method, query: Option<&str>, is_upgrade: bool) -> &'static str {
    let is_watch = || query.is_some_and(|query| query.split('&').any(|pair| matches!(pair, "watch=true" | "watch=1" | "watch")));
    match method.as_str() {
        _ if is_upgrade => "connect",
        "GET" if is_watch() => "watch",
        "GET" => "get",
        "HEAD" => "head",
        "POST" => "create",
        "PUT" => "update",
        "PATCH" => "patch",
        "DELETE" => "delete",
        "OPTIONS" => "options",
        _ => "",
    }
}

fn cut(text: String) -> String {
    if text.len() <= MAX_TEXT {
        return text;
    }
    let end = (0..=MAX_TEXT).rev().find(|end| text.is_char_boundary(*end)).unwrap_or_default();
    format!("{}...", &text[..end])
}

/// Words up to the limit together.
fn bounded(words: Vec<String>) -> Vec<String> {
    let mut left = MAX_TEXT;
    let mut kept = Vec::new();
    for word in words {
        if word.len() > left {
            kept.push("...".to_owned());
            break;
        }
        left -= word.len();
        kept.push(word);
    }
    kept
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    fn lines(folder: &std::path::Path) -> Vec<Value> {
        let text = std::fs::read_to_string(folder.join("audit.log")).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    #[test]
    fn each_request_leaves_one_line_however_it_ends() {
        let folder = tempfile::tempdir().unwrap();
        let log = Arc::new(Log::open(folder.path()).unwrap());
        let entry = Entry::begin(log.clone(), "anna", None);
        entry.note(|record| (record.path, record.command) = ("/api".into(), vec!["sh".into(), "x".repeat(MAX_TEXT)]));
        entry.up(3);
        entry.down(5);
        entry.answered(101);
        entry.opened();
        entry.complete();
        drop(entry);
        drop(Entry::begin(log, "bob", None));
        let found = lines(folder.path());
        let of = |line: usize, field: &str| found[line][field].clone();
        assert_eq!(found.len(), 3);
        assert_eq!((of(0, "stage"), of(1, "stage"), of(2, "stage")), ("opened".into(), "complete".into(), "aborted".into()));
        assert_eq!((of(1, "bytesUp"), of(1, "bytesDown"), of(1, "code"), of(1, "user")), (3.into(), 5.into(), 101.into(), "anna".into()));
        assert_eq!((of(1, "command"), of(2, "code")), (serde_json::json!(["sh", "..."]), Value::Null));
    }

    #[test]
    fn requests_have_kubernetes_verbs() {
        assert_eq!(verb(&Method::GET, Some("a=1&watch=true"), false), "watch");
        assert_eq!(verb(&Method::GET, Some("watch=false"), false), "get");
        assert_eq!(verb(&Method::POST, None, true), "connect");
    }
}
