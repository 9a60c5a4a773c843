//! The thread that owns the agent's state machine and its cache: facts in, one commit, then frames and actions out.
//!
//! Frames are made only when the link has room (`Input::Room`), so what leaves is always the newest. A cache that cannot be written ends
//! the process: the memory would be ahead of the disk.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bus_schema::hash::Hash;
use bus_schema::id::{Millis, Nonce, ObjectId, SessionId};
use bus_schema::link::Cache as _;
use bus_schema::link::agent::{Action, Agent, AgentConfig, AgentEvent, AgentState, ApplyOutcome, Found, Live, RemoveOutcome};
use bus_schema::message::{Health, Kind};
use bus_schema::secret::Trust;
use ring::rand::SecureRandom;
use streams::Endpoint;

use crate::cache::{Cache, CacheError};
use crate::failpoint::{Point, hit};

/// Inputs that wait: the link stops reading its socket beyond that.
const INPUTS: usize = 64;

/// How long a frame waits for the next one before anything is begun on the member.
const GRACE: Duration = Duration::from_millis(4);

/// Frames in a row that may hold back what is to be begun on the member.
const MAX_PASSED_OVER: usize = 16;

/// Longest sleep of the thread.
const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// What happened. Not `Debug`: frames carry objects, and no log shows them.
pub enum Input {
    LinkUp,
    LinkDown,
    Frame(bytes::Bytes),
    /// The link can take one frame of at most so many bytes.
    Room(usize),
    /// How an apply ended, and how the object does then, if that is news.
    Applied(ObjectId, Hash, ApplyOutcome, Option<(Health, bool)>),
    Removed(ObjectId, RemoveOutcome),
    /// All objects of ours that the member has, and those that are to be taken as unchanged because they could not be listed.
    Surveyed {
        found: Vec<Found>,
        unread: Vec<(String, String)>,
    },
    Facts(Vec<u8>),
    /// How an object does, and whether it is a run-once that has run.
    Health(ObjectId, Health, bool),
    /// The live object is not as applied.
    Drifted(ObjectId),
    /// The keys that the next greeting is made with.
    Trust(Trust),
    /// Answered when it is this one's turn.
    Ping(tokio::sync::oneshot::Sender<()>),
    Stop,
}

/// Something to do on the member, with all that it takes.
pub enum Task {
    Apply {
        object: ObjectId,
        version: String,
        hash: Hash,
        bytes: Vec<u8>,
        /// This content has been applied before.
        again: bool,
    },
    /// `ours` are the objects of the inventory that are not desired any more: they may go with a Namespace.
    Remove { object: ObjectId, version: String, live: Option<Live>, ours: Arc<std::collections::BTreeSet<ObjectId>> },
}

/// Bytes may be a Secret: no log shows them.
impl fmt::Debug for Task {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Task::Apply { object, hash, bytes, again, .. } => {
                write!(f, "Apply({object}, {hash:?}, {} bytes, again: {again})", bytes.len())
            }
            Task::Remove { object, .. } => write!(f, "Remove({object})"),
        }
    }
}

/// Where decisions go.
pub struct Outputs {
    pub frames: tokio::sync::mpsc::Sender<Vec<u8>>,
    pub tasks: tokio::sync::mpsc::UnboundedSender<Task>,
    pub events: tokio::sync::mpsc::UnboundedSender<AgentEvent>,
    /// Hears of sessions, in which it carries streams by itself.
    pub streams: Endpoint,
}

/// How the rest of the program speaks to the thread.
#[derive(Clone)]
pub struct Engine {
    inputs: flume::Sender<Input>,
}

impl Engine {
    /// Starts the thread. Its handle yields how it ended.
    pub fn start(
        config: AgentConfig,
        cache: Cache,
        state: AgentState,
        outputs: Outputs,
    ) -> (Engine, std::thread::JoinHandle<Result<(), CacheError>>) {
        let (inputs, received) = flume::bounded(INPUTS);
        let work = move || {
            let started = Instant::now();
            let agent = Agent::new(config, state, 0);
            Worker { agent, cache, outputs, started, room: None, streams_in: None, random: ring::rand::SystemRandom::new() }.run(&received)
        };
        let thread = std::thread::Builder::new().name("engine".into()).spawn(work).expect("the system starts a thread");
        (Engine { inputs }, thread)
    }

    /// An engine that decides nothing: what it is told comes out again, for tests of those who tell it.
    pub fn listened() -> (Engine, flume::Receiver<Input>) {
        let (inputs, received) = flume::bounded(INPUTS);
        (Engine { inputs }, received)
    }

    /// Tells the thread; waits while it is behind. Nothing is told any more once it has ended.
    pub async fn tell(&self, input: Input) {
        let _ = self.inputs.send_async(input).await;
    }
}

struct Worker {
    agent: Agent,
    cache: Cache,
    outputs: Outputs,
    started: Instant,
    room: Option<usize>,
    /// The session that streams were told of.
    streams_in: Option<SessionId>,
    random: ring::rand::SystemRandom,
}

impl Worker {
    fn run(mut self, inputs: &flume::Receiver<Input>) -> Result<(), CacheError> {
        let mut passed_over = 0;
        loop {
            let may_act = passed_over == 0 || passed_over >= MAX_PASSED_OVER;
            self.pump(may_act)?;
            match inputs.recv_timeout(if may_act { self.wait() } else { GRACE }) {
                Ok(Input::Stop) | Err(flume::RecvTimeoutError::Disconnected) => return Ok(()),
                Ok(input) => {
                    let is_frame = matches!(input, Input::Frame(_));
                    passed_over = if may_act { usize::from(is_frame) } else { passed_over + usize::from(is_frame) };
                    self.take(input);
                }
                Err(flume::RecvTimeoutError::Timeout) => {
                    passed_over = 0;
                    let (nonce, now) = (self.nonce(), self.now());
                    self.agent.timeout(nonce, now);
                }
            }
        }
    }

    fn now(&self) -> Millis {
        self.started.elapsed().as_millis() as Millis
    }

    fn nonce(&self) -> Nonce {
        let mut nonce = [0; 32];
        self.random.fill(&mut nonce).expect("the system has randomness");
        nonce
    }

    fn wait(&self) -> Duration {
        let due = self.agent.poll_timeout().map(|due| Duration::from_millis(due.saturating_sub(self.now()).max(1)));
        due.unwrap_or(LONGEST_WAIT).min(LONGEST_WAIT)
    }

    fn take(&mut self, input: Input) {
        let now = self.now();
        match input {
            Input::LinkUp => {
                let nonce = self.nonce();
                self.agent.connected(nonce, now);
            }
            Input::LinkDown => {
                self.room = None;
                self.streams_in = None;
                self.agent.disconnected();
            }
            Input::Frame(frame) => {
                tracing::debug!(kind = ?kind_of(&frame), bytes = frame.len(), "frame down");
                let nonce = self.nonce();
                if let Err(error) = self.agent.frame(&frame, nonce, &self.cache, now) {
                    tracing::debug!(%error, "a frame was not taken");
                }
            }
            Input::Room(bytes) => self.room = Some(bytes),
            Input::Applied(object, hash, outcome, health) => {
                self.agent.applied(&object, hash, outcome, now);
                if let Some((health, ended)) = health {
                    self.agent.health(&object, health, ended, now);
                }
            }
            Input::Removed(object, outcome) => self.agent.removed(&object, outcome, now),
            Input::Surveyed { found, unread } => {
                let found = self.with_unread(found, &unread);
                self.agent.surveyed(found, now);
            }
            Input::Facts(facts) => self.agent.set_facts(facts, now),
            Input::Health(object, health, ended) => self.agent.health(&object, health, ended, now),
            Input::Drifted(object) => self.agent.doubt(&object, now),
            Input::Trust(trust) => self.agent.set_trust(trust),
            Input::Ping(answer) => {
                let _ = answer.send(());
            }
            Input::Stop => {}
        }
    }

    /// What could not be listed is taken as it was.
    fn with_unread(&self, mut found: Vec<Found>, unread: &[(String, String)]) -> Vec<Found> {
        let unseen = |object: &ObjectId| unread.iter().any(|(group, kind)| *group == object.group && *kind == object.kind);
        for (object, item) in self.agent.state().items.iter().filter(|(object, _)| unseen(object)) {
            found.extend(item.live.clone().map(|live| Found { object: object.clone(), version: item.version.clone(), live }));
        }
        found
    }

    /// Commits what was decided, then lets everything out that follows from it. Right after a frame nothing is begun on the member
    /// (`!may_act`): what piled up behind a cut comes in one burst, and the next frame may bring a newer list.
    fn pump(&mut self, may_act: bool) -> Result<(), CacheError> {
        loop {
            let writes = self.agent.take_writes();
            if !writes.is_empty() {
                hit(Point::BeforeCommit);
                self.cache.commit(&writes)?;
                hit(Point::AfterCommit);
            }
            let said = self.say();
            let acted = may_act && self.act();
            while let Some(event) = self.agent.poll_event() {
                let _ = self.outputs.events.send(event);
            }
            if !said && !acted {
                return Ok(());
            }
        }
    }

    fn say(&mut self) -> bool {
        let now = self.now();
        let Some(room) = self.room else { return false };
        let Some(frame) = self.agent.poll_transmit(room, now) else { return false };
        tracing::debug!(kind = ?kind_of(&frame), bytes = frame.len(), "frame up");
        hit(Point::BeforeSend);
        self.room = None;
        let sent = self.outputs.frames.try_send(frame).is_ok();
        hit(Point::AfterSend);
        self.resume_streams();
        sent
    }

    /// Only after the first frame of a session the hub knows its keys.
    fn resume_streams(&mut self) {
        if let Some((id, session)) = self.agent.stream_session()
            && self.streams_in != Some(id)
        {
            self.outputs.streams.connected(session.clone());
            self.streams_in = Some(id);
        }
    }

    fn act(&mut self) -> bool {
        let now = self.now();
        let Some(action) = self.agent.poll_action(now) else { return false };
        match action {
            Action::Apply { object, version, hash } => match self.cache.content(&hash) {
                Some(bytes) => {
                    let again = self.agent.state().items.get(&object).is_some_and(|item| item.applied == Some(hash));
                    let _ = self.outputs.tasks.send(Task::Apply { object, version, hash, bytes, again });
                }
                None => {
                    let message = "its content cannot be read from the cache".to_owned();
                    self.agent.applied(&object, hash, ApplyOutcome::Unavailable { code: 0, message }, now);
                }
            },
            Action::Remove { object, version, live } => {
                let leaving = |object: &&ObjectId| self.agent.list().claims(object).is_empty();
                let ours = Arc::new(self.agent.state().items.keys().filter(leaving).cloned().collect());
                let _ = self.outputs.tasks.send(Task::Remove { object, version, live, ours });
            }
        }
        true
    }
}

/// What a frame carries, for the log; nothing where its header cannot be read.
fn kind_of(frame: &[u8]) -> Option<Kind> {
    Some(bus_schema::frame::peek(frame).ok()?.0.kind)
}
