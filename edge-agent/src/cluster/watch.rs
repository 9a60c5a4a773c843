//! The doorbell: one metadata watch of one kind, told by object and version. Nothing of an event is kept.
//!
//! Kinds that run once are watched whole: one that has run may be gone, by its time to live, before anybody can look at it.

use std::collections::BTreeSet;
use std::time::Duration;

use bus_schema::id::ObjectId;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::api::{Accept, Api, Failure, MAX_ANSWER, escape};
use super::discovery::Resource;
use super::health::{self, Verdict};
use super::list::Pager;
use super::object::{AGENT, CREATED_BY, Meta, Partial};
use crate::apiserver::AnswerBody;

/// How long the server keeps one watch open, and how long we believe it to be.
const WATCH_SECONDS: u64 = 240;
const PATIENCE: Duration = Duration::from_secs(WATCH_SECONDS + 30);

/// Bytes of events that are taken at once.
const AT_ONCE: usize = 16 << 10;

/// What is heard of one kind.
#[derive(Debug, PartialEq)]
pub enum Ring {
    /// The object is there in this version.
    Changed(ObjectId, String),
    /// A run-once has run.
    Ended(ObjectId, Box<Verdict>),
    /// It is gone, or does not carry our label any more.
    Gone(ObjectId),
    /// All that is there.
    Listed(BTreeSet<ObjectId>),
}

/// One kind's doorbell.
pub struct Doorbell {
    resource: Resource,
    /// Where the next watch goes on; empty: list first.
    resource_version: String,
}

#[derive(Deserialize)]
struct Event<'a> {
    #[serde(rename = "type")]
    kind: String,
    #[serde(borrow)]
    object: &'a RawValue,
}

/// An object's metadata, or a `Status`.
#[derive(Deserialize)]
struct Object {
    #[serde(default)]
    code: u16,
    #[serde(default)]
    metadata: Meta,
}

impl Doorbell {
    pub fn new(resource: Resource) -> Doorbell {
        Doorbell { resource, resource_version: String::new() }
    }

    /// Whether the next call watches.
    pub fn has_listed(&self) -> bool {
        !self.resource_version.is_empty()
    }

    /// Lists if need be, then watches until the server ends it; an expired version makes the next call list.
    ///
    /// # Errors
    /// Why it stopped; the caller waits and calls again.
    pub async fn listen(&mut self, api: &Api, ring: &mut (dyn FnMut(Ring) + Send)) -> Result<(), Failure> {
        let listened = match self.resource_version.is_empty() {
            true => self.list(api, ring).await,
            false => self.watch(api, ring).await,
        };
        if listened.as_ref().is_err_and(|failure| failure.code() == Some(410)) {
            self.resource_version.clear();
            return Ok(());
        }
        listened
    }

    fn runs_once(&self) -> bool {
        matches!((self.resource.group.as_str(), self.resource.kind.as_str()), ("batch", "Job") | ("", "Pod"))
    }

    async fn list(&mut self, api: &Api, ring: &mut (dyn FnMut(Ring) + Send)) -> Result<(), Failure> {
        let mut pager = Pager::new(&self.resource.collection(""), &selector(), Accept::MetadataList);
        let mut all = BTreeSet::new();
        while let Some(page) = pager.page::<Partial>(api).await? {
            for Partial { metadata } in page {
                let object = metadata.id(&self.resource.group, &self.resource.kind);
                all.insert(object.clone());
                ring(Ring::Changed(object, metadata.resource_version));
            }
        }
        self.resource_version = pager.resource_version().to_owned();
        ring(Ring::Listed(all));
        Ok(())
    }

    async fn watch(&mut self, api: &Api, ring: &mut (dyn FnMut(Ring) + Send)) -> Result<(), Failure> {
        let path = format!(
            "{}?watch=1&allowWatchBookmarks=true&timeoutSeconds={WATCH_SECONDS}&resourceVersion={}&labelSelector={}",
            self.resource.collection(""),
            escape(&self.resource_version),
            escape(&selector()),
        );
        let accept = if self.runs_once() { Accept::Whole } else { Accept::Metadata };
        let mut lines = Lines { body: api.open(&path, accept).await?, held: Vec::new(), searched: 0 };
        let end = tokio::time::Instant::now() + PATIENCE;
        while let Ok(next) = tokio::time::timeout_at(end, lines.next()).await {
            match next? {
                Some(line) => self.event(&line, ring)?,
                None => break,
            }
        }
        Ok(())
    }

    fn event(&mut self, line: &[u8], ring: &mut (dyn FnMut(Ring) + Send)) -> Result<(), Failure> {
        let unreadable = |error| Failure::Unavailable(format!("a watch event can't be read: {error}"));
        let event: Event = serde_json::from_slice(line).map_err(unreadable)?;
        let Object { code, metadata: meta } = serde_json::from_str(event.object.get()).map_err(unreadable)?;
        if event.kind == "ERROR" {
            self.resource_version.clear();
            return match code {
                410 => Ok(()),
                code => Err(Failure::Unavailable(format!("the watch ended with {code}"))),
            };
        }
        self.resource_version.clone_from(&meta.resource_version);
        let object = meta.id(&self.resource.group, &self.resource.kind);
        if self.runs_once() && event.kind != "BOOKMARK" {
            let verdict = health::judge(&object.group, &object.kind, event.object.get().as_bytes());
            if verdict.ended {
                ring(Ring::Ended(object.clone(), Box::new(verdict)));
            }
        }
        match event.kind.as_str() {
            "ADDED" | "MODIFIED" => ring(Ring::Changed(object, meta.resource_version)),
            "DELETED" => ring(Ring::Gone(object)),
            _ => {}
        }
        Ok(())
    }
}

fn selector() -> String {
    format!("{CREATED_BY}={AGENT}")
}

/// Lines of an answer that goes on.
struct Lines {
    body: AnswerBody,
    held: Vec<u8>,
    searched: usize,
}

impl Lines {
    async fn next(&mut self) -> Result<Option<Vec<u8>>, Failure> {
        loop {
            if let Some(at) = self.held[self.searched..].iter().position(|byte| *byte == b'\n') {
                let rest = self.held.split_off(self.searched + at + 1);
                self.searched = 0;
                return Ok(Some(std::mem::replace(&mut self.held, rest)));
            }
            self.searched = self.held.len();
            if self.held.len() > MAX_ANSWER {
                return Err(Failure::Unavailable("a watch event is too long".into()));
            }
            match self.body.gathered(AT_ONCE).await {
                None => return Ok(None),
                Some(Err(error)) => return Err(Failure::Unavailable(format!("the watch broke off: {error}"))),
                Some(Ok(piece)) => self.held.extend_from_slice(&piece),
            }
        }
    }
}
