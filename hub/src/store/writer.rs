//! The one thread that writes. Jobs that wait together become one transaction and one disk flush.
//!
//! Order of a group: run each job in its own savepoint, commit, publish the events, answer. A job is answered only after the commit.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use at_rest::Sealer;
use bytes::Bytes;
use rusqlite::{Connection, params};
use serde_json::Value;
use tokio::sync::oneshot;

use super::events::{self, Event, EventKind, Ring};
use super::{Expect, History, Key, StoreError, StoreOptions, Stored, object, sealing};

/// Jobs that may wait; more wait in their callers.
const QUEUE: usize = 1_024;
/// A group ends after so many jobs or so much time.
const GROUP_JOBS: usize = 256;
const GROUP_TIME: Duration = Duration::from_millis(2);
/// Events one compaction transaction removes, so that writes never wait long for it.
const COMPACT_CHUNK: usize = 5_000;

type Answer = Box<dyn FnOnce(Result<(), StoreError>) + Send>;
type Work = Box<dyn FnOnce(&mut Tx<'_>) -> (bool, Answer) + Send>;

enum Job {
    Work(Work),
    Compact(oneshot::Sender<Result<u64, StoreError>>),
}

pub(super) struct Writer {
    jobs: Option<flume::Sender<Job>>,
    thread: Option<JoinHandle<()>>,
}

impl Writer {
    pub(super) fn start(
        connection: Connection,
        sealer: Arc<Sealer>,
        ring: Arc<Ring>,
        history: History,
        options: StoreOptions,
    ) -> Result<Self, StoreError> {
        let (jobs, queue) = flume::bounded(QUEUE);
        let state = State { connection, sealer, ring, next: history.floor + 1, options };
        let thread = thread::Builder::new()
            .name("store-writer".into())
            .spawn(move || state.run(&queue))
            .map_err(|error| StoreError::Commit(error.to_string()))?;
        Ok(Self { jobs: Some(jobs), thread: Some(thread) })
    }

    pub(super) async fn run<T, E, F>(&self, work: F) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
        F: FnOnce(&mut Tx<'_>) -> Result<T, E> + Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        let work: Work = Box::new(move |tx| {
            let outcome = work(tx);
            let keep = outcome.is_ok();
            let answer: Answer = Box::new(move |committed| {
                // The caller may have gone; the write stands all the same.
                let _ = reply.send(outcome.and_then(|value| committed.map(|()| value).map_err(E::from)));
            });
            (keep, answer)
        });
        self.send(Job::Work(work)).await?;
        answer.await.map_err(|_| StoreError::NotRun)?
    }

    pub(super) async fn compact(&self) -> Result<u64, StoreError> {
        let (reply, answer) = oneshot::channel();
        self.send(Job::Compact(reply)).await?;
        answer.await.map_err(|_| StoreError::Closed)?
    }

    async fn send(&self, job: Job) -> Result<(), StoreError> {
        let jobs = self.jobs.as_ref().ok_or(StoreError::Closed)?;
        jobs.send_async(job).await.map_err(|_| StoreError::Closed)
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        drop(self.jobs.take());
        if let Some(thread) = self.thread.take()
            && thread.thread().id() != thread::current().id()
        {
            let _ = thread.join();
        }
    }
}

struct State {
    connection: Connection,
    sealer: Arc<Sealer>,
    ring: Arc<Ring>,
    next: u64,
    options: StoreOptions,
}

impl State {
    fn run(mut self, queue: &flume::Receiver<Job>) {
        let mut compact_at = Instant::now() + self.options.compact_every;
        loop {
            match queue.recv_deadline(compact_at.min(Instant::now() + self.options.ring_for)) {
                Ok(Job::Work(work)) => self.group(work, queue),
                Ok(Job::Compact(reply)) => drop(reply.send(self.compact())),
                Err(flume::RecvTimeoutError::Timeout) => {}
                Err(flume::RecvTimeoutError::Disconnected) => return self.end(),
            }
            if let Some(line) = Instant::now().checked_sub(self.options.ring_for) {
                self.ring.forget_before(line);
            }
            if Instant::now() >= compact_at {
                if let Err(error) = self.compact() {
                    tracing::warn!(%error, "old events could not be removed; tried again later");
                }
                compact_at = Instant::now() + self.options.compact_every;
            }
        }
    }

    /// Nothing is left in the WAL of a store that is closed.
    fn end(self) {
        if let Err(error) = sealing::truncate_wal(&self.connection) {
            tracing::debug!(%error, "the WAL could not be emptied; the next start does it");
        }
    }

    fn group(&mut self, first: Work, queue: &flume::Receiver<Job>) {
        let first_version = self.next;
        let mut answers = Vec::new();
        let mut compactions = Vec::new();
        let outcome = self.fill(first, queue, &mut answers, &mut compactions);
        let committed = outcome.and_then(|events| {
            self.connection.execute_batch("COMMIT")?;
            Ok(events)
        });
        match committed {
            Ok(events) => {
                self.ring.publish(events, Instant::now());
                answers.into_iter().for_each(|answer| answer(Ok(())));
            }
            Err(error) => {
                self.next = first_version;
                let _ = self.connection.execute_batch("ROLLBACK");
                answers.into_iter().for_each(|answer| answer(Err(StoreError::Commit(error.to_string()))));
            }
        }
        for reply in compactions {
            let _ = reply.send(self.compact());
        }
    }

    /// Runs the first job and what else waits, inside one transaction that the caller ends.
    fn fill(
        &mut self,
        first: Work,
        queue: &flume::Receiver<Job>,
        answers: &mut Vec<Answer>,
        compactions: &mut Vec<oneshot::Sender<Result<u64, StoreError>>>,
    ) -> Result<Vec<Event>, StoreError> {
        let mut events = Vec::new();
        let mut next_work = Some(first);
        let began = Instant::now();
        if let Err(error) = self.connection.execute_batch("BEGIN IMMEDIATE") {
            // The job is dropped unrun, and its caller sees `NotRun`.
            tracing::error!(%error, "the store can't begin a transaction: check the data folder's disk");
            return Err(error.into());
        }
        while let Some(work) = next_work.take() {
            answers.extend(self.one(work, &mut events)?);
            if answers.len() >= GROUP_JOBS || began.elapsed() >= GROUP_TIME {
                break;
            }
            match queue.try_recv() {
                Ok(Job::Work(work)) => next_work = Some(work),
                Ok(Job::Compact(reply)) => {
                    compactions.push(reply);
                    break;
                }
                Err(_) => break,
            }
        }
        Ok(events)
    }

    /// Runs one job in a savepoint; a job that fails or panics leaves no trace in the transaction.
    fn one(&mut self, work: Work, events: &mut Vec<Event>) -> Result<Option<Answer>, StoreError> {
        self.connection.prepare_cached("SAVEPOINT job")?.execute([])?;
        let (version, count) = (self.next, events.len());
        let mut tx = Tx { connection: &self.connection, sealer: &self.sealer, next: &mut self.next, events };
        let outcome = catch_unwind(AssertUnwindSafe(|| work(&mut tx)));
        if !matches!(&outcome, Ok((true, _))) {
            self.next = version;
            events.truncate(count);
            self.connection.prepare_cached("ROLLBACK TO job")?.execute([])?;
        }
        self.connection.prepare_cached("RELEASE job")?.execute([])?;
        if outcome.is_err() {
            tracing::error!("a write panicked and was undone: please report it");
        }
        Ok(outcome.ok().map(|(_, answer)| answer))
    }

    fn compact(&mut self) -> Result<u64, StoreError> {
        let line = events::compaction_line(&self.connection, &self.options, milliseconds())?;
        let mut removed = 0;
        loop {
            let tx = self.connection.transaction()?;
            let count = events::remove_below(&tx, line, COMPACT_CHUNK)?;
            tx.commit()?;
            removed += count as u64;
            if count < COMPACT_CHUNK {
                return Ok(removed);
            }
        }
    }
}

/// The open transaction, as one job sees it: what jobs before it in the group did is visible.
pub struct Tx<'a> {
    connection: &'a Connection,
    sealer: &'a Sealer,
    next: &'a mut u64,
    events: &'a mut Vec<Event>,
}

impl Tx<'_> {
    /// The connection, for side tables; the tables of objects and events change only through `put` and `delete`.
    pub fn connection(&self) -> &Connection {
        self.connection
    }

    /// Seals what side tables keep.
    pub fn sealer(&self) -> &Sealer {
        self.sealer
    }

    /// The newest resourceVersion assigned so far.
    pub fn resource_version(&self) -> u64 {
        *self.next - 1
    }

    /// Reads one object.
    ///
    /// # Errors
    /// The database can't be read.
    pub fn get(&self, key: &Key) -> Result<Option<Stored>, StoreError> {
        Ok(object::get(self.connection, self.sealer, key)?)
    }

    /// Stores `body` under `key` with a new resourceVersion, which is also written into its metadata.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] when the object is not what `expect` says.
    pub fn put(&mut self, key: &Key, expect: Expect, body: Value) -> Result<Stored, StoreError> {
        let previous = self.expect(key, expect)?;
        let version = *self.next;
        let body = stamp(key, body, version)?;
        self.connection
            .prepare_cached(
                "INSERT INTO objects (resource, namespace, name, rv, body) VALUES (?1, ?2, ?3, ?4, ?5)
                 ON CONFLICT (resource, namespace, name) DO UPDATE SET rv = excluded.rv, body = excluded.body",
            )?
            .execute(params![key.resource, key.namespace, key.name, version as i64, object::sealed(self.sealer, key, &body)])?;
        let kind = if previous.is_some() { EventKind::Modified } else { EventKind::Added };
        self.record(kind, key, body.clone(), previous)?;
        Ok(Stored { resource_version: version, body })
    }

    /// Removes the object; `last` is how it leaves, at a new resourceVersion.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] when the object is not at `version`.
    pub fn delete(&mut self, key: &Key, version: u64, last: Value) -> Result<Stored, StoreError> {
        let previous = self.expect(key, Expect::Version(version))?;
        let body = stamp(key, last, *self.next)?;
        self.connection.prepare_cached("DELETE FROM objects WHERE resource = ?1 AND namespace = ?2 AND name = ?3")?.execute(params![
            key.resource,
            key.namespace,
            key.name
        ])?;
        let stored = Stored { resource_version: *self.next, body: body.clone() };
        self.record(EventKind::Deleted, key, body, previous)?;
        Ok(stored)
    }

    fn expect(&self, key: &Key, expect: Expect) -> Result<Option<Bytes>, StoreError> {
        let found = object::get(self.connection, self.sealer, key)?;
        let version = found.as_ref().map(|stored| stored.resource_version);
        let wanted = match expect {
            Expect::Absent => None,
            Expect::Version(version) => Some(version),
        };
        if version != wanted {
            return Err(StoreError::Conflict { key: key.to_string(), found: version });
        }
        Ok(found.map(|stored| stored.body))
    }

    fn record(&mut self, kind: EventKind, key: &Key, body: Bytes, previous: Option<Bytes>) -> Result<(), StoreError> {
        let event = Event { resource_version: *self.next, kind, key: key.clone(), body, previous };
        events::append(self.connection, self.sealer, &event, milliseconds())?;
        self.events.push(event);
        *self.next += 1;
        Ok(())
    }
}

fn stamp(key: &Key, mut body: Value, version: u64) -> Result<Bytes, StoreError> {
    let metadata = body.get_mut("metadata").and_then(Value::as_object_mut);
    let metadata = metadata.ok_or(StoreError::Unstorable { key: key.to_string(), why: "it has no metadata" })?;
    metadata.insert("resourceVersion".into(), version.to_string().into());
    let bytes = serde_json::to_vec(&body);
    bytes.map(Bytes::from).map_err(|_| StoreError::Unstorable { key: key.to_string(), why: "it is not JSON" })
}

fn milliseconds() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as i64)
}
