//! The hub's end of one cluster: makes the agent's list equal to the desired one and keeps its status table.
//!
//! One file a concern: `state` (what is durable), `session` (greeting), `clones`, `desired` (the one outstanding Delta),
//! `serve` (answers to `Want`), `status` (the way up).

mod clones;
mod desired;
mod serve;
mod session;
mod state;
mod status;

pub use state::{Acked, HubState, HubWrite};

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use super::Contents;
use super::timer::{Rtt, earliest};
use crate::frame::FrameError;
use crate::hash::{Hash, HashKey};
use crate::id::{BootId, IncarnationId, Millis, Nonce};
use crate::limits;
use crate::list::DesiredList;
use crate::secret::{LinkPublic, LinkSecret};
use crate::stamp::Stamp;
use crate::status::StatusTable;

/// What a hub knows about itself.
#[derive(Debug, Clone)]
pub struct HubConfig {
    /// The hub's keys, the newest first; more than one while agents still greet an older one.
    pub own: Arc<[LinkSecret]>,
    pub key: HashKey,
    pub incarnation: IncarnationId,
    /// Incarnations that have ended, with the highest resourceVersion found after each.
    pub closed: Arc<BTreeMap<IncarnationId, u64>>,
    /// Abilities of this hub, of [`Caps`](crate::message::Caps).
    pub features: u64,
}

/// What a cluster shall have, and the resourceVersion that the whole list was rendered at.
#[derive(Debug, Clone)]
pub struct Desired {
    pub list: Arc<DesiredList>,
    pub resource_version: u64,
}

/// What the shell should know beside frames.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HubEvent {
    /// A session was confirmed; `restored` when the agent's disk is older than what this hub knows.
    Confirmed { boot: BootId, restored: bool },
    /// Two processes share this identity: neither is served until one of them is gone, or a new one is there.
    Cloned { boots: [BootId; 2] },
    /// Of two, this one is left: it is served again.
    Alone(BootId),
    /// The agent stored this list.
    Listed(Hash),
    /// The committed status table changed.
    Status,
    /// The agent refused something.
    Rejected(String),
}

/// The hub's state machine for one cluster.
#[derive(Debug)]
pub struct HubLink {
    config: HubConfig,
    /// The agent's key; nobody can greet without one.
    peer: Option<LinkPublic>,
    state: HubState,
    /// The acknowledged list, parsed.
    acked: Option<Arc<DesiredList>>,
    desired: Option<Desired>,
    /// Rises with each other list that is desired.
    generation: u64,
    /// Planted bug only: lists that wait for their turn.
    queue: VecDeque<Desired>,
    sessions: session::Sessions,
    clones: Option<clones::Clones>,
    sync: desired::Sync,
    serving: serve::Serving,
    owes_status_ack: bool,
    confirm_prune: Option<Hash>,
    writes: Vec<HubWrite>,
    events: Vec<HubEvent>,
    rtt: Rtt,
}

impl HubLink {
    /// Starts from what was committed.
    pub fn new(config: HubConfig, mut state: HubState) -> HubLink {
        let acked = state.acked.as_ref().and_then(|acked| DesiredList::parse(&acked.bytes, &config.key).ok()).map(Arc::new);
        if acked.is_none() {
            state.acked = None;
        }
        HubLink {
            config,
            peer: None,
            state,
            acked,
            desired: None,
            generation: 0,
            queue: VecDeque::new(),
            sessions: session::Sessions::default(),
            clones: None,
            sync: desired::Sync::default(),
            serving: serve::Serving::default(),
            owes_status_ack: false,
            confirm_prune: None,
            writes: Vec::new(),
            events: Vec::new(),
            rtt: Rtt::default(),
        }
    }

    pub fn state(&self) -> &HubState {
        &self.state
    }

    /// The committed status table.
    pub fn table(&self) -> &StatusTable {
        &self.state.table
    }

    /// The list that the agent acknowledged last.
    pub fn acked(&self) -> Option<&Arc<DesiredList>> {
        self.acked.as_ref()
    }

    pub fn desired(&self) -> Option<&Desired> {
        self.desired.as_ref()
    }

    /// What the cluster shall have; only a hub that has seen everything that feeds the list may say so.
    pub fn set_desired(&mut self, desired: Desired, now: Millis) {
        self.new_desired(desired, now);
    }

    /// Whose greetings are taken from now on. A session under the key before goes on, so that a key is changed without a pause; without a
    /// key there is none.
    /// `nonce` is fresh randomness, for the answer to a Hello that came before its key was known.
    pub fn set_peer(&mut self, peer: Option<LinkPublic>, nonce: Nonce, now: Millis) {
        if self.peer == peer {
            return;
        }
        self.peer = peer;
        match (peer, self.sessions.early.take()) {
            (None, _) => self.end_session(),
            (Some(_), Some(hello)) => drop(self.on_frame(&hello, nonce, now)),
            (Some(_), None) => {}
        }
    }

    /// An administrator lets everything go that is unclaimed under the list with this root; `None` takes the word back.
    pub fn set_confirm_prune(&mut self, list: Option<Hash>, now: Millis) {
        if self.confirm_prune != list {
            self.confirm_prune = list;
            self.sync.confirm_now(now);
        }
    }

    /// The link is gone: what follows comes in a new session.
    pub fn disconnected(&mut self) {
        self.end_session();
    }

    /// A frame from the agent.
    ///
    /// # Errors
    /// Why it was not taken; a frame of another session or a late one is ordinary.
    pub fn frame(&mut self, frame: &[u8], nonce: Nonce, now: Millis) -> Result<(), FrameError> {
        self.on_frame(frame, nonce, now)
    }

    /// The durable changes since the last call, one transaction. While there are any, nothing else comes out.
    pub fn take_writes(&mut self) -> Vec<HubWrite> {
        std::mem::take(&mut self.writes)
    }

    /// The next event for the shell.
    pub fn poll_event(&mut self) -> Option<HubEvent> {
        match self.writes.is_empty() && !self.events.is_empty() {
            true => Some(self.events.remove(0)),
            false => None,
        }
    }

    /// The next frame of at most `max_frame` bytes, asked for when the link can take it: acknowledgements, then lists, then content.
    pub fn poll_transmit(&mut self, contents: &dyn Contents, max_frame: usize, now: Millis) -> Option<Vec<u8>> {
        if !self.writes.is_empty() {
            return None;
        }
        let max_frame = max_frame.clamp(limits::MIN_FRAME, limits::MAX_FRAME);
        if let Some(frame) = self.sessions.outbox.pop_front() {
            return Some(frame);
        }
        if self.clones.is_some() {
            return None;
        }
        self.poll_status_ack()
            .or_else(|| self.poll_delta(contents, max_frame, now))
            .or_else(|| self.poll_confirm_prune(now))
            .or_else(|| self.poll_content(contents, max_frame))
            .or_else(|| self.poll_beat())
    }

    /// When `timeout` and `poll_transmit` should be called again at the latest.
    pub fn poll_timeout(&self) -> Option<Millis> {
        match (&self.sessions.current, &self.clones) {
            (None, _) => None,
            (Some(_), None) => earliest([self.delta_due(), self.confirm_prune_due()]),
            (Some(_), Some(_)) => self.alone_at(),
        }
    }

    fn write(&mut self, write: HubWrite) {
        self.state.apply(&write);
        self.writes.push(write);
    }

    fn stamp(&self, resource_version: u64) -> Stamp {
        Stamp { incarnation: self.config.incarnation, resource_version }
    }
}
