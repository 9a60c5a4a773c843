//! The agent's end: keeps the list, its content and the inventory, decides what to fetch, apply and remove, and reports.
//!
//! One file a concern: `state` (what is durable), `session` (greeting), `lists` (from one list to the next), `transfer` (fetching),
//! `objects` (what to do on the member), `report` (the way up). Absent on purpose: a queue of events. Everything is derived from the
//! list, the inventory and the outcomes of what was tried.

mod lists;
mod objects;
mod report;
mod session;
mod state;
mod transfer;

pub use objects::{Action, ApplyOutcome, Found, RemoveOutcome};
pub use state::{AgentState, AgentWrite, Ended, Item, Live, Origin, Partial, Removal, StoredList};

use std::collections::{BTreeMap, BTreeSet};

use super::Cache;
use super::timer::{Rtt, earliest};
use crate::frame::FrameError;
use crate::hash::HashKey;
use crate::id::{BootId, Millis, Nonce, ObjectId};
use crate::limits;
use crate::list::DesiredList;
use crate::planted::{Bug, is_planted};
use crate::secret::Trust;
use crate::status::StatusTable;

/// What an agent is told at its start.
#[derive(Debug, Clone)]
pub struct AgentConfig {
    pub boot: BootId,
    /// This agent's key and the hub's, which sessions are sealed with.
    pub trust: Trust,
    pub key: HashKey,
    /// Bytes of the largest object that is taken.
    pub max_object: u32,
    /// Objects that are applied or removed at once.
    pub max_in_flight: usize,
    /// Abilities that are offered, of [`Caps`](crate::message::Caps).
    pub features: u64,
    /// Pause between signs of life that the hub echoes, where no broker of the hub's own tells it who is there.
    pub heartbeat: Option<Millis>,
}

impl AgentConfig {
    pub fn new(boot: BootId, trust: Trust, key: HashKey) -> AgentConfig {
        AgentConfig { boot, trust, key, max_object: limits::MAX_OBJECT, max_in_flight: 8, features: 0, heartbeat: None }
    }
}

/// What the shell should know beside frames and actions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AgentEvent {
    /// The hub answered: in session.
    Welcomed,
    /// The hub does not know the sid: register again, proposing it.
    UnknownSid,
    /// A list was stored.
    Listed { objects: usize },
    /// The hub or this agent refused something.
    Rejected(String),
}

/// The agent's state machine.
#[derive(Debug)]
pub struct Agent {
    config: AgentConfig,
    state: AgentState,
    /// The stored list, parsed.
    list: DesiredList,
    writes: Vec<AgentWrite>,
    events: Vec<AgentEvent>,
    session: session::State,
    rtt: Rtt,
    transfer: transfer::Transfer,
    objects: objects::Objects,
    report: report::Reporting,
    table: StatusTable,
}

impl Agent {
    /// Starts from what was committed. A stored list that cannot be read is as none: the hub sends it again.
    pub fn new(config: AgentConfig, mut state: AgentState, now: Millis) -> Agent {
        let parsed = state.list.as_ref().and_then(|stored| DesiredList::parse(&stored.bytes, &config.key).ok());
        if parsed.is_none() {
            state.list = None;
        }
        let list = parsed.unwrap_or_else(|| DesiredList::new([], &config.key));
        let mut agent = Agent {
            config,
            state,
            list,
            writes: Vec::new(),
            events: Vec::new(),
            session: session::State::Offline,
            rtt: Rtt::default(),
            transfer: transfer::Transfer::default(),
            objects: objects::Objects::default(),
            report: report::Reporting::default(),
            table: StatusTable::default(),
        };
        agent.plan_all(now);
        agent
    }

    /// What is committed, or will be when the writes taken are.
    pub fn state(&self) -> &AgentState {
        &self.state
    }

    /// The stored list; an empty one where there is none.
    pub fn list(&self) -> &DesiredList {
        &self.list
    }

    /// What is, per object.
    pub fn status(&self) -> &StatusTable {
        &self.table
    }

    /// The keys that the next greeting is made with; a session under those before goes on.
    pub fn set_trust(&mut self, trust: Trust) {
        self.config.trust = trust;
    }

    /// The link is up and subscribed; `nonce` is fresh randomness.
    pub fn connected(&mut self, nonce: Nonce, now: Millis) {
        self.greet(nonce, now);
    }

    /// The link is gone.
    pub fn disconnected(&mut self) {
        self.session = session::State::Offline;
        self.transfer.forget_asked();
        self.report.outstanding = None;
    }

    /// A frame from the hub.
    ///
    /// # Errors
    /// Why it was not taken; a frame of another session or a late one is ordinary.
    pub fn frame(&mut self, frame: &[u8], nonce: Nonce, cache: &dyn Cache, now: Millis) -> Result<(), FrameError> {
        self.on_frame(frame, nonce, cache, now)
    }

    /// Something may be due.
    pub fn timeout(&mut self, nonce: Nonce, now: Millis) {
        self.regreet_if_stale(nonce, now);
        self.retry_due(now);
    }

    /// The durable changes since the last call, one transaction.
    pub fn take_writes(&mut self) -> Vec<AgentWrite> {
        std::mem::take(&mut self.writes)
    }

    /// Whether there are writes to take; while there are, nothing else comes out.
    pub fn must_commit(&self) -> bool {
        !self.writes.is_empty() && !is_planted(Bug::AckBeforeCommit)
    }

    /// The next event for the shell.
    pub fn poll_event(&mut self) -> Option<AgentEvent> {
        match self.must_commit() || self.events.is_empty() {
            true => None,
            false => Some(self.events.remove(0)),
        }
    }

    /// The next frame of at most `max_frame` bytes, asked for when the link can take it.
    pub fn poll_transmit(&mut self, max_frame: usize, now: Millis) -> Option<Vec<u8>> {
        if self.must_commit() {
            return None;
        }
        let max_frame = max_frame.clamp(limits::MIN_FRAME, limits::MAX_FRAME);
        self.poll_greeting(now)
            .or_else(|| self.poll_report(max_frame, now))
            .or_else(|| self.poll_want(max_frame, now))
            .or_else(|| self.poll_reject())
            .or_else(|| self.poll_beat(now))
    }

    /// The next thing to do on the member.
    pub fn poll_action(&mut self, now: Millis) -> Option<Action> {
        match self.must_commit() {
            true => None,
            false => self.next_action(now),
        }
    }

    /// When `timeout` and the polls should be called again at the latest.
    pub fn poll_timeout(&self) -> Option<Millis> {
        earliest([self.session_due(), self.report_due(), self.want_due(), self.objects_due()])
    }

    fn write(&mut self, write: AgentWrite) {
        self.state.apply(&write);
        self.writes.push(write);
    }

    /// Every object that the list or the inventory names.
    fn known_objects(&self) -> BTreeSet<ObjectId> {
        let listed = self.list.objects().map(|entry| entry.object.clone());
        let removed = self.state.removals.keys().map(|(object, _)| object.clone());
        listed.chain(self.state.items.keys().cloned()).chain(removed).collect()
    }

    fn removals_of(&self, object: &ObjectId) -> BTreeMap<crate::id::BundleId, Removal> {
        let from = (object.clone(), crate::id::BundleId(0));
        self.state
            .removals
            .range(from..)
            .take_while(|((id, _), _)| id == object)
            .map(|((_, bundle), removal)| (*bundle, *removal))
            .collect()
    }
}
