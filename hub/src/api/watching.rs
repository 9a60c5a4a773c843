//! watch: a list's life after the list, as one JSON line a change.
//!
//! The stream is pulled by the client and reads the log at its own position, so a slow client costs no memory; one that falls behind the
//! kept history gets 410 in the stream and lists again.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use http::StatusCode;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep_until};

use super::failure::Failure;
use super::read;
use super::request::{Form, Options};
use super::respond::{self, Item};
use super::selector::Selector;
use super::serve::Call;
use super::target::Target;
use crate::store::{Event, EventKind, Key, Query, Watcher};

/// How often a client that allows it hears how far it is.
const BOOKMARK_EVERY: Duration = Duration::from_secs(60);
/// How long a watch lives when the client does not say.
const DEFAULT_LIFE: Duration = Duration::from_secs(30 * 60);
/// No client needs a longer watch than a day.
const LONGEST_LIFE: Duration = Duration::from_secs(24 * 60 * 60);

const MEDIA_TYPE: &str = "application/json;stream=watch";

struct Watch {
    target: Target,
    query: Query,
    selector: Selector,
    form: Form,
    options: Options,
    watcher: Watcher,
    /// What is sent before the first change.
    first: Option<Bytes>,
    bookmark_at: Instant,
    end_at: Instant,
    over: bool,
}

/// Starts a watch.
pub async fn watch(call: Call) -> Result<Response, Failure> {
    let selector = read::selector(&call.target, &call.options)?;
    let target = call.target.in_namespace(call.target.namespace.as_deref());
    let (first, position) = begin(&call, &target, &selector).await?;
    let watcher = match call.state.store().watch(position) {
        Ok(watcher) => watcher,
        Err(error) => return Ok(refused(error.into())),
    };
    let life = call.options.timeout_seconds.filter(|seconds| *seconds > 0).map_or(DEFAULT_LIFE, Duration::from_secs);
    let now = Instant::now();
    let watch = Watch {
        query: target.query(),
        target,
        selector,
        form: Form::of(&call.parts.headers),
        watcher,
        first,
        bookmark_at: now + BOOKMARK_EVERY,
        end_at: now + life.min(LONGEST_LIFE),
        over: false,
        options: call.options,
    };
    let lines = futures::stream::unfold(watch, |mut watch| async move {
        let lines = watch.next().await?;
        Some((Ok::<Bytes, Infallible>(lines), watch))
    });
    Ok(respond::with_type(StatusCode::OK, MEDIA_TYPE, Body::from_stream(lines)))
}

/// An expired start is told in the stream, as kube-apiserver does: kube-rs lists again after that, and never after an HTTP 410.
fn refused(failure: Failure) -> Response {
    let mut lines = Vec::new();
    line(&mut lines, "ERROR", &failure.status());
    respond::with_type(StatusCode::OK, MEDIA_TYPE, lines)
}

/// What comes first, and the version the changes continue from.
async fn begin(call: &Call, target: &Target, selector: &Selector) -> Result<(Option<Bytes>, u64), Failure> {
    let (store, options) = (call.state.store(), &call.options);
    let from = options.resource_version.filter(|version| *version > 0);
    if options.send_initial_events.is_some() && options.resource_version_match.as_deref() != Some("NotOlderThan") {
        return Err(Failure::bad_request("sendInitialEvents needs resourceVersionMatch=NotOlderThan"));
    }
    let list_first = options.send_initial_events.unwrap_or(from.is_none());
    if !list_first {
        return Ok((None, from.unwrap_or_else(|| store.resource_version())));
    }
    let page = read::fetch(&call.state, target, selector, None, 0).await?;
    let form = Form::of(&call.parts.headers);
    let mut lines = Vec::new();
    for item in page.items {
        match item {
            Item::Raw(bytes) if form == Form::Object => raw_line(&mut lines, "ADDED", &bytes),
            Item::Raw(bytes) => {
                if let Some(object) = respond::present(target, &bytes) {
                    line(&mut lines, "ADDED", &respond::shaped(target, object, form, options));
                }
            }
            Item::Value(object) => line(&mut lines, "ADDED", &respond::shaped(target, object, form, options)),
        }
    }
    if options.send_initial_events == Some(true) && options.bookmarks {
        line(&mut lines, "BOOKMARK", &bookmark(target, form, page.resource_version, true));
    }
    Ok(((!lines.is_empty()).then(|| lines.into()), page.resource_version))
}

impl Watch {
    /// The next lines; `None` ends the stream.
    async fn next(&mut self) -> Option<Bytes> {
        if let Some(first) = self.first.take() {
            return Some(first);
        }
        while !self.over {
            let mut lines = Vec::new();
            tokio::select! {
                biased;
                () = sleep_until(self.end_at) => return None,
                events = self.watcher.next() => match events {
                    Ok(events) => events.iter().for_each(|event| self.tell(&mut lines, event)),
                    Err(error) => {
                        self.over = true;
                        line(&mut lines, "ERROR", &Failure::from(error).status());
                    }
                },
                () = sleep_until(self.bookmark_at) => {
                    self.bookmark_at = Instant::now() + BOOKMARK_EVERY;
                    if self.options.bookmarks {
                        line(&mut lines, "BOOKMARK", &bookmark(&self.target, self.form, self.watcher.position(), false));
                    }
                }
            }
            if !lines.is_empty() {
                return Some(lines.into());
            }
        }
        None
    }

    fn tell(&self, lines: &mut Vec<u8>, event: &Arc<Event>) {
        if !concerns(&self.query, &event.key) {
            return;
        }
        if self.form == Form::Object && self.selector.is_everything() && !self.target.is_template() {
            return raw_line(lines, word(event.kind), &event.body);
        }
        if let Some((word, object)) = self.seen(event) {
            line(lines, word, &respond::shaped(&self.target, object, self.form, &self.options));
        }
    }

    /// What this change is to someone who sees only selected objects.
    fn seen(&self, event: &Event) -> Option<(&'static str, Value)> {
        let selected = |bytes: &Bytes| respond::present(&self.target, bytes).filter(|object| self.selector.matches(object));
        let before = event.previous.as_ref().and_then(selected);
        let after = if event.kind == EventKind::Deleted { None } else { selected(&event.body) };
        match (before, after) {
            (None, Some(object)) => Some(("ADDED", object)),
            (Some(_), Some(object)) => Some(("MODIFIED", object)),
            (Some(mut object), None) => {
                object["metadata"]["resourceVersion"] = event.resource_version.to_string().into();
                Some(("DELETED", object))
            }
            (None, None) => None,
        }
    }
}

fn concerns(query: &Query, key: &Key) -> bool {
    key.resource == query.resource
        && query.namespace.as_ref().is_none_or(|namespace| *namespace == key.namespace)
        && key.name.starts_with(&query.name_prefix)
}

fn word(kind: EventKind) -> &'static str {
    match kind {
        EventKind::Added => "ADDED",
        EventKind::Modified => "MODIFIED",
        EventKind::Deleted => "DELETED",
    }
}

fn bookmark(target: &Target, form: Form, version: u64, initial_end: bool) -> Value {
    let mut metadata = json!({"resourceVersion": version.to_string()});
    if initial_end {
        metadata["annotations"] = json!({"k8s.io/initial-events-end": "true"});
    }
    match form {
        Form::Object => json!({"kind": target.resource.kind, "apiVersion": target.resource.api_version(), "metadata": metadata}),
        Form::Metadata => json!({"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": metadata}),
        Form::Table => json!({"kind": "Table", "apiVersion": "meta.k8s.io/v1", "metadata": metadata, "columnDefinitions": [], "rows": []}),
    }
}

fn line(lines: &mut Vec<u8>, word: &str, object: &Value) {
    raw_line(lines, word, object.to_string().as_bytes());
}

fn raw_line(lines: &mut Vec<u8>, word: &str, object: &[u8]) {
    lines.extend_from_slice(format!(r#"{{"type":"{word}","object":"#).as_bytes());
    lines.extend_from_slice(object);
    lines.extend_from_slice(b"}\n");
}
