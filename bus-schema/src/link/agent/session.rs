//! Greeting, and the life of a session.

use std::collections::BTreeMap;

use super::{Agent, AgentEvent, AgentWrite};
use crate::frame::{self, Cipher, FrameError, Key, Receiver, Sender};
use crate::greeting::{self, SessionKeys};
use crate::hash::Hash;
use crate::id::{IncarnationId, Millis, Nonce, SessionId};
use crate::limits::{LOST_HEARTBEATS, MAX_FRAME, MAX_OBJECT, MIN_REGREET, STALE_SESSION};
use crate::link::Cache;
use crate::link::timer::{Repeat, earliest};
use crate::message::session::Reason;
use crate::message::{Beat, Caps, Closed, Confirm, Content, Delta, Hello, Kind, NoSession, Reject, StatusAck, Welcome};
use crate::planted::{Bug, is_planted};
use crate::stamp::{Proof, Stamp};
use crate::status::StatusTable;
use crate::stream;

#[derive(Debug)]
pub(super) enum State {
    Offline,
    Greeting(Greeting),
    Open(Box<Session>),
}

#[derive(Debug)]
pub(super) struct Greeting {
    hello: greeting::Hello,
    /// The table whose root the Hello names.
    table: StatusTable,
    /// Those that the Hello names.
    incarnations: Vec<Closed>,
    repeat: Repeat,
    old: Option<Receiver>,
}

#[derive(Debug)]
pub(super) struct Session {
    id: SessionId,
    pub(super) sender: Sender,
    receiver: Receiver,
    welcome: Vec<u8>,
    streams: stream::Session,
    /// Said until the hub has spoken under this session.
    confirm: Option<Repeat>,
    echo: Option<u32>,
    /// The last message that could not be read.
    reject: Option<Reject>,
    pub(super) incarnation: IncarnationId,
    pub(super) closed: BTreeMap<IncarnationId, u64>,
    /// The hub knows the stored list, so that rows may point into it.
    pub(super) list_is_known: bool,
    /// Of the Delta that asserted the stored list last.
    pub(super) serial: u32,
    began: Millis,
    last_heard: Millis,
    /// When the next sign of life is due, and its number.
    heartbeat: Option<(Millis, u32)>,
    /// How long the hub may be silent.
    patience: Option<Millis>,
    unopened: u32,
    /// A session that ended; only a planted bug listens to it.
    old: Option<Receiver>,
}

impl Agent {
    pub(super) fn greet(&mut self, nonce: Nonce, now: Millis) {
        self.current_table();
        let said = self.hello();
        let sealed = greeting::Hello::seal(&self.config.trust, nonce, &prost::Message::encode_to_vec(&said));
        let Some(hello) = sealed else { return self.events.push(AgentEvent::Rejected("the hub's link key is no key: join again".into())) };
        self.report.outstanding = None;
        self.transfer.forget_asked();
        let old = match std::mem::replace(&mut self.session, State::Offline) {
            State::Open(session) => Some(session.receiver),
            State::Greeting(greeting) => greeting.old,
            State::Offline => None,
        };
        self.session =
            State::Greeting(Greeting { hello, table: self.table.clone(), incarnations: said.incarnations, repeat: Repeat::at(now), old });
    }

    fn hello(&self) -> Hello {
        let max_object = if self.config.max_object == MAX_OBJECT { 0 } else { self.config.max_object };
        let caps = Caps { max_object, features: self.config.features, ..Caps::default() };
        let caps = (caps != Caps::default()).then_some(caps);
        Hello {
            boot: self.config.boot.0,
            last_session: self.state.last_session,
            order: self.state.order,
            listed: self.state.list.as_ref().map_or(Vec::new(), |_| self.list.root.0.to_vec()),
            held: Vec::new(),
            applied: Vec::new(),
            status: self.table.root(&self.config.key),
            incarnations: self.known_incarnations(),
            caps,
        }
    }

    /// Each incarnation whose stamps are stored, with the highest resourceVersion.
    fn known_incarnations(&self) -> Vec<Closed> {
        let mut highest = BTreeMap::<u64, u64>::new();
        let listed = self.state.list.iter().map(|list| list.stamp);
        let removed =
            self.state.removals.values().filter(|removal| !removal.proven && removal.stamp != Stamp::NEVER).map(|removal| removal.stamp);
        for stamp in listed.chain(removed) {
            let seen = highest.entry(stamp.incarnation.0).or_default();
            *seen = (*seen).max(stamp.resource_version);
        }
        highest.into_iter().map(|(incarnation, resource_version)| Closed { incarnation, resource_version }).collect()
    }

    pub(super) fn on_frame(&mut self, frame: &[u8], nonce: Nonce, cache: &dyn Cache, now: Millis) -> Result<(), FrameError> {
        let (header, _) = frame::peek(frame)?;
        match header.kind {
            Kind::Welcome => self.on_welcome(frame, now),
            Kind::NoSession => self.on_no_session(frame, nonce, now),
            _ => self.on_session_frame(frame, cache, now),
        }
    }

    fn on_welcome(&mut self, frame: &[u8], now: Millis) -> Result<(), FrameError> {
        let greeting = match &self.session {
            State::Greeting(greeting) => greeting,
            State::Open(session) if session.welcome == frame => return Ok(()),
            _ => return Err(FrameError::Seal),
        };
        let (bytes, keys) = greeting.hello.open_welcome(&self.config.trust, frame)?;
        let welcome: Welcome = frame::body(Kind::Welcome, &bytes)?;
        let (repeat, table, old) = (greeting.repeat, greeting.table.clone(), greeting.old.clone());
        repeat.answered(now, &mut self.rtt);
        let streams = self.streams_of(&welcome, &keys);
        let covered = (0..64).zip(&greeting.incarnations).filter(|(bit, _)| welcome.covered >> bit & 1 == 1).map(|(_, known)| known);
        let closed = welcome.closed.iter().chain(covered).map(|row| (IncarnationId(row.incarnation), row.resource_version)).collect();
        self.session = State::Open(Box::new(Session {
            id: keys.id,
            sender: Sender::new(keys.up),
            receiver: Receiver::new(keys.down),
            welcome: frame.to_vec(),
            streams,
            confirm: Some(Repeat::at(now)),
            echo: None,
            reject: None,
            incarnation: IncarnationId(welcome.incarnation),
            closed,
            list_is_known: false,
            serial: 0,
            began: now,
            last_heard: now,
            heartbeat: self.config.heartbeat.map(|pause| (now + pause, 1)),
            patience: self.config.heartbeat.map(|pause| pause * LOST_HEARTBEATS.0 / LOST_HEARTBEATS.1),
            unopened: 0,
            old,
        }));
        self.write(AgentWrite::Session(keys.id.0));
        self.events.push(AgentEvent::Welcomed);
        self.compare_status(&welcome, table, now);
        self.compare_list(&welcome, now);
        Ok(())
    }

    fn streams_of(&self, welcome: &Welcome, keys: &SessionKeys) -> stream::Session {
        let agreed = self.config.features & welcome.caps.as_ref().map_or(0, |caps| caps.features);
        let [send, receive] = keys.streams.keys(Cipher::agreed(agreed));
        stream::Session { peer: welcome.incarnation, send, receive, max_frame: MAX_FRAME, packs: agreed & Caps::PACKED != 0 }
    }

    fn compare_status(&mut self, welcome: &Welcome, told: StatusTable, now: Millis) {
        self.report.new_session();
        if welcome.same_status {
            self.report.acked = Some(told);
        } else if self.report.acked.as_ref().is_none_or(|acked| acked.root(&self.config.key) != welcome.status) {
            let told_before = self.report.told_before(welcome.status);
            self.report.acked = told_before.or_else(|| (welcome.status == 0).then(StatusTable::default));
        }
        self.report.schedule(now);
    }

    /// The hub asserts the stored list again, or leaves the next word to a Delta.
    fn compare_list(&mut self, welcome: &Welcome, now: Millis) {
        let stored = self.state.list.is_some();
        let known = welcome.resource_version != 0;
        let same = welcome.desired.is_empty() || Hash::read(&welcome.desired) == Some(self.list.root);
        if !(stored && known && same) {
            return;
        }
        if let State::Open(session) = &mut self.session {
            session.list_is_known = true;
        }
        let stamp = Stamp { incarnation: IncarnationId(welcome.incarnation), resource_version: welcome.resource_version };
        self.end_recovery(stamp);
        self.assert_list(stamp, now);
    }

    fn on_no_session(&mut self, frame: &[u8], nonce: Nonce, now: Millis) -> Result<(), FrameError> {
        if let State::Greeting(greeting) = &self.session {
            let (header, bytes) = greeting.hello.open_unknown(&self.config.trust, frame)?;
            if frame::body::<NoSession>(header.kind, &bytes)?.unknown_sid {
                self.events.push(AgentEvent::UnknownSid);
            }
            return Ok(());
        }
        let (header, bytes) = frame::open(&Key::public(), frame)?;
        frame::body::<NoSession>(header.kind, &bytes)?;
        let began = match &self.session {
            State::Open(session) => session.began,
            _ => return Ok(()),
        };
        if now.saturating_sub(began) >= MIN_REGREET {
            self.greet(nonce, now);
        }
        Ok(())
    }

    fn on_session_frame(&mut self, frame: &[u8], cache: &dyn Cache, now: Millis) -> Result<(), FrameError> {
        let State::Open(session) = &mut self.session else { return Err(FrameError::Seal) };
        let opened = match session.receiver.open(frame) {
            Err(FrameError::Seal) => match session.old.as_mut().filter(|_| is_planted(Bug::StaleSessionAccepted)) {
                Some(old) => old.open(frame),
                None => Err(FrameError::Seal),
            },
            opened => opened,
        };
        if opened == Err(FrameError::Seal) {
            session.unopened += 1;
        }
        let (header, bytes) = opened?;
        (session.last_heard, session.unopened, session.confirm) = (now, 0, None);
        let taken = self.on_message(header.kind, &bytes, cache, now);
        if let (Err(error @ FrameError::Body(kind)), State::Open(session)) = (&taken, &mut self.session) {
            session.reject =
                Some(Reject { kind: *kind as u32, hash: Vec::new(), reason: Reason::SchemaTooNew as i32, message: error.to_string() });
        }
        taken
    }

    /// What the hub should know of its last message, and a person there should see.
    pub(super) fn poll_reject(&mut self) -> Option<Vec<u8>> {
        let State::Open(session) = &mut self.session else { return None };
        let reject = session.reject.take()?;
        Some(session.sender.seal(Kind::Reject, &reject))
    }

    fn on_message(&mut self, kind: Kind, bytes: &[u8], cache: &dyn Cache, now: Millis) -> Result<(), FrameError> {
        match kind {
            Kind::Delta => self.on_delta(&frame::body::<Delta>(kind, bytes)?, cache, now),
            Kind::Content => self.on_content(frame::body::<Content>(kind, bytes)?, cache, now),
            Kind::StatusAck => self.on_status_ack(&frame::body::<StatusAck>(kind, bytes)?, now),
            Kind::Confirm => self.on_confirm(&frame::body::<Confirm>(kind, bytes)?, now),
            Kind::Beat => self.on_beat(&frame::body::<Beat>(kind, bytes)?),
            Kind::Reject => self.events.push(AgentEvent::Rejected(frame::body::<Reject>(kind, bytes)?.message)),
            other => self.events.push(AgentEvent::Rejected(format!("a {other:?} is not for an agent"))),
        }
        Ok(())
    }

    fn on_beat(&mut self, beat: &Beat) {
        if let State::Open(session) = &mut self.session
            && beat.echo != 0
            && !beat.answer
        {
            session.echo = Some(beat.echo);
        }
    }

    /// Proof as of the list that the hub asserts now.
    pub(super) fn proof(&self) -> Option<Proof> {
        let State::Open(session) = &self.session else { return None };
        let stamp = self.state.list.as_ref()?.stamp;
        (stamp.incarnation == session.incarnation).then(|| Proof { current: stamp, closed: session.closed.clone() })
    }

    pub(super) fn regreet_if_stale(&mut self, nonce: Nonce, now: Millis) {
        if let State::Open(session) = &self.session
            && session.is_stale(now)
        {
            self.greet(nonce, now);
        }
    }

    pub(super) fn poll_greeting(&mut self, now: Millis) -> Option<Vec<u8>> {
        let rtt = self.rtt;
        match &mut self.session {
            State::Greeting(greeting) if greeting.repeat.is_due(now) => {
                greeting.repeat.said(now, rtt);
                Some(greeting.hello.frame.clone())
            }
            _ => None,
        }
    }

    pub(super) fn poll_beat(&mut self, now: Millis) -> Option<Vec<u8>> {
        let rtt = self.rtt;
        let State::Open(session) = &mut self.session else { return None };
        if let Some(echo) = session.echo.take() {
            return Some(session.sender.seal(Kind::Beat, &Beat { echo, answer: true }));
        }
        if let (Some((due, number)), Some(pause)) = (&mut session.heartbeat, self.config.heartbeat)
            && *due <= now
        {
            let echo = *number;
            (*due, *number) = (now + pause, number.wrapping_add(1).max(1));
            return Some(session.sender.seal(Kind::Beat, &Beat { echo, answer: false }));
        }
        let confirm = session.confirm.as_mut().filter(|confirm| confirm.is_due(now))?;
        confirm.said(now, rtt);
        Some(session.sender.seal(Kind::Beat, &Beat::default()))
    }

    pub(super) fn session_due(&self) -> Option<Millis> {
        match &self.session {
            State::Offline => None,
            State::Greeting(greeting) => Some(greeting.repeat.due()),
            State::Open(session) => {
                earliest([session.confirm.map(|confirm| confirm.due()), session.heartbeat.map(|(due, _)| due), session.stale_at()])
            }
        }
    }

    /// What streams need to know of the session, if there is one that the hub has been told of.
    pub fn stream_session(&self) -> Option<(SessionId, &stream::Session)> {
        match &self.session {
            State::Open(session) if session.sender.has_spoken() => Some((session.id, &session.streams)),
            _ => None,
        }
    }

    /// Whether the hub and this agent are in session.
    pub fn in_session(&self) -> bool {
        matches!(self.session, State::Open(_))
    }
}

impl Session {
    /// Any frame of this session has confirmed it; the Beat is for when there is nothing else to say.
    pub(super) fn spoke(&mut self, now: Millis, rtt: crate::link::timer::Rtt) {
        if let Some(confirm) = self.confirm.as_mut().filter(|confirm| confirm.is_due(now)) {
            confirm.said(now, rtt);
        }
    }

    fn stale_at(&self) -> Option<Millis> {
        let unanswered = self.confirm.is_some().then_some(self.began + 3 * STALE_SESSION);
        let foreign = (self.unopened > 0).then_some(self.last_heard + STALE_SESSION);
        let silent = self.patience.map(|patience| self.last_heard + patience);
        earliest([unanswered, foreign, silent])
    }

    fn is_stale(&self, now: Millis) -> bool {
        self.stale_at().is_some_and(|at| at <= now)
    }
}
