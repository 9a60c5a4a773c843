//! Many streams over one link: what both ends do, without IO.
//!
//! A stream is two directions of bytes. Each end keeps what the peer has not acknowledged (at most a window), so a stream outlives the
//! link: in a new session of the same two processes both say how far they are, and go on from there. A stream ends when both
//! directions have ended, by a reset, when the link stays away for the grace period, or when either process is another one.
//!
//! Within a session frames keep their order (the counter sees to it), so a piece that leaves a gap is proof of a loss, and nothing is
//! sent twice on suspicion: a sender that hears nothing asks with an empty piece, and the answer tells.
//!
//! One file a concern: `outgoing` and `incoming` are the halves of one stream, `hear` takes frames, `say` makes them, `timers` when,
//! `budget` how much all links together may hold, `packing` how few bytes they become, `nearness` where that is not worth it.

mod budget;
mod hear;
mod incoming;
mod kept;
mod limits;
mod nearness;
mod outgoing;
mod packing;
mod performed;
mod say;
mod timers;

pub use budget::Budget;
pub use limits::{Limits, MAX_HEAD};

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use prost::bytes::Bytes;

use self::budget::Held;
use self::incoming::Incoming;
use self::nearness::Nearness;
use self::outgoing::Outgoing;
use self::packing::Packing;
use self::performed::Performed;
use self::say::Bucket;
use self::timers::Timers;
use crate::frame::{Key, Receiver, Sender};
use crate::id::Millis;
use crate::link::timer::Repeat;
use crate::message::stream::{Code, StreamReset};
use crate::planted::{Bug, is_planted};

/// Which end this is: the hub opens, the agent performs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    Hub,
    Agent,
}

/// One session as far as streams are concerned.
#[derive(Debug, Clone)]
pub struct Session {
    /// The peer's process: the hub's incarnation, or the agent's boot id.
    pub peer: u64,
    pub send: Key,
    pub receive: Key,
    /// Bytes of the largest frame that the peer takes.
    pub max_frame: usize,
    /// Whether the peer unpacks.
    pub packs: bool,
}

/// What happened to a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// The hub wants something: at the agent only.
    Opened(u64),
    /// The next bytes of a stream, and whether they are the last.
    Data(u64, Bytes, bool),
    /// A stream that was full takes bytes again.
    Writable(u64),
    /// It ended before its time.
    Reset(u64, Code, String),
}

/// Why no stream was opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    #[error("{0} streams are open already, the most that are served at once")]
    TooMany(usize),
}

/// One end of all streams between a hub and an agent.
#[derive(Debug)]
pub struct Mux {
    role: Role,
    limits: Limits,
    session: Option<Live>,
    /// The process that the streams belong to.
    peer: Option<u64>,
    /// Since when there is no session, while there are streams.
    lost: Option<Millis>,
    streams: BTreeMap<u64, State>,
    next_id: u64,
    performed: Performed,
    /// Streams that have bytes to send, each once, in turn.
    ready: VecDeque<u64>,
    /// Streams whose credit is due.
    credits: BTreeSet<u64>,
    /// Streams whose credit can wait, and goes with one that cannot.
    lazy: BTreeSet<u64>,
    /// When those have waited long enough, or there were some that would have: one time for all, so that a busy link is not woken for each.
    lazy_due: Option<Millis>,
    /// Streams whose peer is asked how far it is.
    probes: BTreeSet<u64>,
    /// Streams that the agent does not know of yet.
    unanswered: BTreeSet<u64>,
    resets: BTreeMap<u64, (StreamReset, Repeat)>,
    reset_timers: Timers,
    echoes: VecDeque<StreamReset>,
    timers: Timers,
    bucket: Option<Bucket>,
    events: VecDeque<Event>,
    /// Of all streams.
    held: Held,
}

#[derive(Debug)]
struct Live {
    sender: Sender,
    receiver: Receiver,
    max_frame: usize,
    packs: bool,
    nearness: Nearness,
}

#[derive(Debug)]
struct State {
    out: Outgoing,
    inc: Incoming,
    packing: Packing,
    /// The peer knows the stream.
    answered: bool,
    /// The peer is to hear of it (again).
    owes_open: bool,
    /// It stands in `ready`.
    queued: bool,
    /// The credit asks for everything again.
    again: bool,
    /// When the peer is asked how far it is, and the pause after that.
    probe: Option<(Millis, Millis)>,
    /// Somebody waits until it takes bytes.
    starved: bool,
    /// Nobody reads or writes it any more: it ends when the peer has everything.
    lingers: bool,
    /// Why it ends before its time when the peer has everything.
    failure: Option<(Code, String)>,
}

impl State {
    fn new(limits: &Limits, limit: u64, answered: bool) -> State {
        State {
            out: Outgoing::new(limit),
            inc: Incoming::new(limits.first_window),
            packing: Packing::default(),
            answered,
            owes_open: !answered,
            queued: false,
            again: false,
            probe: None,
            starved: false,
            lingers: false,
            failure: None,
        }
    }

    fn is_over(&self) -> bool {
        self.out.is_done() && self.inc.has_ended() && !self.inc.owes() && !self.again
    }
}

impl Mux {
    /// An end with limits of its own only.
    pub fn new(role: Role, limits: Limits) -> Mux {
        Mux::sharing(role, limits, Budget::default())
    }

    /// One of several ends that share a budget.
    pub fn sharing(role: Role, limits: Limits, budget: Budget) -> Mux {
        Mux {
            role,
            limits,
            session: None,
            peer: None,
            lost: None,
            streams: BTreeMap::new(),
            next_id: 1,
            performed: Performed::default(),
            ready: VecDeque::new(),
            credits: BTreeSet::new(),
            lazy: BTreeSet::new(),
            lazy_due: None,
            probes: BTreeSet::new(),
            unanswered: BTreeSet::new(),
            resets: BTreeMap::new(),
            reset_timers: Timers::default(),
            echoes: VecDeque::new(),
            timers: Timers::default(),
            bucket: limits.rate.map(Bucket::new),
            events: VecDeque::new(),
            held: Held::of(budget),
        }
    }

    /// A session has begun. With the same process at the other end all streams go on, else they end.
    pub fn connected(&mut self, session: Session, now: Millis) {
        self.leave_session();
        if self.peer.replace(session.peer).is_some_and(|known| known != session.peer) {
            self.performed = Performed::default();
            self.end_all(Code::Restarted, self.restarted());
        }
        self.lost = None;
        let Session { send, receive, max_frame, packs, .. } = session;
        let (sender, receiver) = (Sender::new(send), Receiver::new(receive));
        self.session = Some(Live { sender, receiver, max_frame, packs, nearness: Nearness::default() });
        for id in self.streams.keys().copied().collect::<Vec<_>>() {
            self.resume(id, now);
        }
    }

    /// The link is gone.
    pub fn disconnected(&mut self, now: Millis) {
        if self.session.is_none() {
            return;
        }
        self.leave_session();
        self.lost = Some(now);
        self.timeout(now);
    }

    fn leave_session(&mut self) {
        self.session = None;
        // What a peer still knows of a stream that is gone here, it says itself in the next session.
        self.resets.clear();
        self.reset_timers.clear();
        self.echoes.clear();
        self.leave_queues();
    }

    fn restarted(&self) -> &'static str {
        match self.role {
            Role::Hub => "the agent has started again",
            Role::Agent => "the hub has started again",
        }
    }

    fn resume(&mut self, id: u64, now: Millis) {
        let Some(state) = self.streams.get_mut(&id) else { return };
        (state.queued, state.probe) = (false, None);
        state.inc.forget_told();
        match state.answered {
            true => {
                state.out.wait();
                state.again = true;
                self.credits.insert(id);
            }
            false => {
                state.out.again();
                state.owes_open = true;
            }
        }
        self.touch(id, now);
    }

    /// Opens a stream: the hub's to do.
    ///
    /// # Errors
    /// [`OpenError::TooMany`].
    pub fn open(&mut self, now: Millis) -> Result<u64, OpenError> {
        if self.streams.len() >= self.limits.streams {
            return Err(OpenError::TooMany(self.streams.len()));
        }
        let id = self.next_id;
        self.next_id += 1;
        self.unanswered.insert(id);
        self.streams.insert(id, State::new(&self.limits, self.limits.first_window, false));
        if self.session.is_none() {
            self.lost.get_or_insert(now);
        }
        Ok(id)
    }

    fn remove(&mut self, id: u64) -> Option<State> {
        let state = self.streams.remove(&id)?;
        self.held.narrow((state.inc.window - self.limits.first_window) as usize);
        self.held.release(state.out.buffered());
        self.credits.remove(&id);
        self.lazy.remove(&id);
        self.session.iter_mut().for_each(|live| live.nearness.forget(id));
        self.probes.remove(&id);
        self.unanswered.remove(&id);
        self.timers.forget(id);
        Some(state)
    }

    /// Takes bytes to send; returns how many. After fewer than given, [`Event::Writable`] says when to try again. A stream that is gone
    /// takes everything: its end was told.
    pub fn write(&mut self, id: u64, bytes: &[u8], now: Millis) -> usize {
        let Some(state) = self.streams.get_mut(&id) else { return bytes.len() };
        let len = bytes.len().min(self.limits.room(state.out.buffered(), &self.held));
        state.out.add(&bytes[..len]);
        state.starved |= len < bytes.len();
        self.held.keep(len);
        self.touch(id, now);
        len
    }

    /// What is written from now on may be packed: nothing of it is a credential or a Secret, whose bytes never share a packing with others'.
    pub fn pack(&mut self, id: u64) {
        if let Some(state) = self.streams.get_mut(&id) {
            state.packing.begin(state.out.written());
        }
    }

    /// Nothing more is sent: half-closes the stream.
    pub fn finish(&mut self, id: u64, now: Millis) {
        if let Some(state) = self.streams.get_mut(&id) {
            state.out.end();
            self.touch(id, now);
        }
    }

    /// So many of the bytes that came were used up: as many more may come.
    pub fn consumed(&mut self, id: u64, bytes: usize, now: Millis) {
        let Some(state) = self.streams.get_mut(&id) else { return };
        state.inc.consume(bytes as u64);
        let more = self.limits.widen(state.inc.window, state.inc.credit().0, &self.held);
        state.inc.window += more;
        self.held.widen(more as usize);
        self.touch(id, now);
    }

    /// Ends a stream at once.
    pub fn reset(&mut self, id: u64, code: Code, message: &str, now: Millis) {
        if self.remove(id).is_none() || self.session.is_none() {
            return;
        }
        let reset = StreamReset { id, code: code as i32, message: limits::short(message), echo: false };
        self.resets.insert(id, (reset, Repeat::at(now)));
        // A peer that echoes none does not fill the memory: it is told again in the next session, if it asks.
        if self.resets.len() > self.limits.streams
            && let Some((oldest, _)) = self.resets.pop_first()
        {
            self.reset_timers.forget(oldest);
        }
        self.reset_timers.set(id, Some(now));
    }

    /// Nothing more comes, although it should have: ends the stream when the peer has what was written.
    pub fn fail(&mut self, id: u64, code: Code, message: &str, now: Millis) {
        let Some(state) = self.streams.get_mut(&id) else { return };
        state.failure = Some((code, message.to_owned()));
        state.lingers = true;
        state.inc.consume(state.inc.waiting());
        self.touch(id, now);
    }

    /// Nobody uses the stream any more: what was written and finished still arrives, everything else ends.
    pub fn abandon(&mut self, id: u64, now: Millis) {
        let Some(state) = self.streams.get_mut(&id) else { return };
        if state.failure.is_some() {
            return;
        }
        if !state.out.has_ended() {
            return self.reset(id, Code::Cancelled, "nobody waits for it any more", now);
        }
        state.lingers = true;
        state.inc.consume(state.inc.waiting());
        self.touch(id, now);
    }

    /// The next event.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// Streams that are open.
    pub fn streams(&self) -> usize {
        self.streams.len()
    }

    /// Bytes that are kept until the peer has them.
    pub fn buffered(&self) -> usize {
        self.held.kept()
    }

    /// Whether there is a session.
    pub fn in_session(&self) -> bool {
        self.session.is_some()
    }

    fn end_all(&mut self, code: Code, message: &str) {
        for id in std::mem::take(&mut self.streams).into_keys() {
            self.events.push_back(Event::Reset(id, code, message.to_owned()));
        }
        self.held.clear();
        self.unanswered.clear();
        self.leave_queues();
    }

    fn leave_queues(&mut self) {
        self.ready.clear();
        self.credits.clear();
        self.lazy.clear();
        self.lazy_due = None;
        self.probes.clear();
        self.timers.clear();
    }

    /// Looks at a stream after anything about it has changed.
    fn touch(&mut self, id: u64, now: Millis) {
        let Some(state) = self.streams.get_mut(&id) else { return };
        if self.session.is_some() {
            if !state.queued && state.wants_to_send() {
                state.queued = true;
                self.ready.push_back(id);
            }
            match () {
                () if state.inc.owes_now() => drop(self.credits.insert(id)),
                () if state.inc.owes() => {
                    self.lazy.insert(id);
                    self.lazy_due.get_or_insert(now + self.limits.credit_delay);
                }
                () => drop(self.lazy.remove(&id)),
            }
            match state.out.waits_for_peer() || !state.answered {
                true => drop(state.probe.get_or_insert((now + self.limits.probe, self.limits.probe))),
                false => state.probe = None,
            }
            self.timers.set(id, state.probe.map(|(due, _)| due));
        }
        if state.is_over() {
            self.remove(id);
        } else if state.lingers && state.out.is_done() && !state.inc.has_ended() {
            self.reset(id, Code::Cancelled, "answered", now);
        } else if let Some((code, message)) = state.failure.take_if(|_| state.out.buffered() == 0 || is_planted(Bug::StreamFailsEarly)) {
            self.reset(id, code, &message, now);
        }
    }
}
