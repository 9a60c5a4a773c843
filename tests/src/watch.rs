//! A background `kubectl get --watch` that records every event it sees: what a member's API server really did, in order.

use std::io::{BufReader, Read};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::{Deserializer, Value};

use crate::spawner;

const SHOWN: usize = 5;

/// One watch event.
#[derive(Clone, Debug)]
pub struct Event {
    /// When it was read.
    pub at: Instant,
    /// `ADDED`, `MODIFIED` or `DELETED`.
    pub kind: String,
    /// The object.
    pub object: Value,
}

impl Event {
    /// The object's name.
    #[must_use]
    pub fn name(&self) -> &str {
        self.object["metadata"]["name"].as_str().unwrap_or_default()
    }

    /// The object's UID.
    #[must_use]
    pub fn uid(&self) -> &str {
        self.object["metadata"]["uid"].as_str().unwrap_or_default()
    }

    /// The object's generation, 0 for kinds without one.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.object["metadata"]["generation"].as_u64().unwrap_or_default()
    }
}

#[derive(Debug, Default)]
struct Record {
    events: Mutex<(Vec<Event>, bool)>,
    changed: Condvar,
}

impl Record {
    fn lock(&self) -> MutexGuard<'_, (Vec<Event>, bool)> {
        self.events.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A running watch; dropping it ends kubectl.
#[derive(Debug)]
pub struct Watch {
    child: Child,
    record: Arc<Record>,
}

impl Watch {
    pub(crate) fn start(mut command: Command) -> Result<Self> {
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::inherit());
        let mut child = spawner::spawn(command).context("can't start kubectl")?;
        let stdout = child.stdout.take().context("no standard output")?;
        let record = Arc::new(Record::default());
        let reader = Arc::clone(&record);
        thread::spawn(move || read_events(stdout, &reader));
        Ok(Self { child, record })
    }

    /// All events so far.
    #[must_use]
    pub fn events(&self) -> Vec<Event> {
        self.record.lock().0.clone()
    }

    /// The generations that an object had, each once, in the order seen; an object made again starts at 1 again.
    #[must_use]
    pub fn generations(&self, name: &str) -> Vec<u64> {
        let events = self.events();
        let mut named: Vec<&Event> = events.iter().filter(|event| event.name() == name).collect();
        named.dedup_by_key(|event| (event.uid().to_owned(), event.generation()));
        named.into_iter().map(Event::generation).collect()
    }

    /// Waits until `done` holds of the events so far, and returns them.
    ///
    /// # Errors
    /// When `within` passes or kubectl ends; the message holds the last events.
    pub fn wait_until(&self, within: Duration, done: impl Fn(&[Event]) -> bool) -> Result<Vec<Event>> {
        let deadline = Instant::now() + within;
        let mut record = self.record.lock();
        loop {
            let (events, ended) = &*record;
            if done(events) {
                return Ok(events.clone());
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if *ended || left.is_zero() {
                let why = if *ended { "kubectl ended".to_owned() } else { format!("not so within {within:?}") };
                bail!("watch: {why}; {} events, the last: {:#?}", events.len(), &events[events.len().saturating_sub(SHOWN)..]);
            }
            record = self.record.changed.wait_timeout(record, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn read_events(stdout: impl Read, record: &Record) {
    let stream = Deserializer::from_reader(BufReader::new(stdout)).into_iter::<Value>();
    for mut value in stream.map_while(Result::ok) {
        let kind = value["type"].as_str().unwrap_or_default().to_owned();
        let event = Event { at: Instant::now(), kind, object: value["object"].take() };
        record.lock().0.push(event);
        record.changed.notify_all();
    }
    record.lock().1 = true;
    record.changed.notify_all();
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(lines: &str) -> Watch {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", &format!("printf '%s' '{lines}'; sleep 60")]);
        Watch::start(command).unwrap()
    }

    #[test]
    fn events_are_recorded_in_order_and_generations_once_each() {
        let line = |kind: &str, uid: &str, generation: u64| {
            format!(r#"{{"type":"{kind}","object":{{"metadata":{{"name":"web","uid":"{uid}","generation":{generation}}}}}}}"#)
        };
        let lines = [line("ADDED", "a", 1), line("MODIFIED", "a", 1), line("MODIFIED", "a", 2), line("ADDED", "b", 2)];
        let watch = said(&lines.join("\n"));
        let events = watch.wait_until(Duration::from_secs(10), |events| events.len() == 4).unwrap();
        assert_eq!(events[0].kind, "ADDED");
        assert_eq!(watch.generations("web"), [1, 2, 2], "the re-creation shows");
        assert!(watch.generations("other").is_empty());
    }

    #[test]
    fn a_deadline_shows_what_was_seen() {
        let watch = said(r#"{"type":"ADDED","object":{"metadata":{"name":"web"}}}"#);
        watch.wait_until(Duration::from_secs(10), |events| !events.is_empty()).unwrap();
        let error = watch.wait_until(Duration::from_millis(50), |_| false).unwrap_err().to_string();
        assert!(error.contains("web") && error.contains("1 events"), "{error}");
    }
}
