//! Sessions: pending from a Hello on, true from the first frame under their key on.

use std::collections::VecDeque;

use super::desired::Asserted;
use super::{HubEvent, HubLink, HubWrite};
use crate::frame::{self, Cipher, FrameError, Header, Receiver, Sender};
use crate::greeting::{self, Greeted, SessionKeys, no_session};
use crate::hash::Hash;
use crate::id::{BootId, IncarnationId, Millis, Nonce, SessionId};
use crate::limits::{MAX_FRAME, MAX_PENDING_SESSIONS};
use crate::message::{Beat, Caps, Closed, Hello, Kind, Reject, Report, Want, Welcome};
use crate::planted::{Bug, is_planted};
use crate::secret::Trust;
use crate::stream;

#[derive(Debug, Default)]
pub(super) struct Sessions {
    pending: VecDeque<Pending>,
    pub(super) current: Option<Session>,
    /// Frames that belong to no session: Welcomes and hints.
    pub(super) outbox: VecDeque<Vec<u8>>,
    /// A Hello that came before the agent's key was known.
    pub(super) early: Option<Vec<u8>>,
}

#[derive(Debug)]
struct Pending {
    hello_frame: Vec<u8>,
    welcome_frame: Vec<u8>,
    hello: Hello,
    keys: SessionKeys,
    receiver: Receiver,
    /// What the Welcome said; it may be outdated when the session is confirmed.
    asserted: Option<Asserted>,
    status: u64,
}

#[derive(Debug)]
pub(super) struct Session {
    id: SessionId,
    hello_frame: Vec<u8>,
    welcome_frame: Vec<u8>,
    pub(super) sender: Sender,
    receiver: Receiver,
    last_heard: Millis,
    /// The agent waits for a sign that its first frame was heard.
    owes_beat: bool,
    echo: Option<u32>,
    /// Bytes of the largest frame that the agent takes.
    pub(super) max_frame: usize,
    /// What streams need to know, if the agent performs any.
    streams: Option<stream::Session>,
    /// The session before, which only a planted bug listens to.
    old: Option<Receiver>,
}

impl HubLink {
    pub(super) fn on_frame(&mut self, bytes: &[u8], nonce: Nonce, now: Millis) -> Result<(), FrameError> {
        let (header, _) = frame::peek(bytes)?;
        match header.kind {
            Kind::Hello => self.on_hello(bytes, nonce, now),
            _ => self.on_session_frame(bytes, now),
        }
    }

    fn on_hello(&mut self, bytes: &[u8], nonce: Nonce, now: Millis) -> Result<(), FrameError> {
        if let Some(welcome) = self.answered(bytes) {
            self.sessions.outbox = VecDeque::from([welcome]);
            return Ok(());
        }
        if self.peer.is_none() {
            self.sessions.early = Some(bytes.to_vec());
            return Err(FrameError::Early);
        }
        let greeted = self.greeted(bytes, &nonce)?;
        let hello: Hello = frame::body(Kind::Hello, &greeted.body)?;
        let welcome = prost::Message::encode_to_vec(&self.welcome(&hello));
        let (welcome_frame, keys) = greeted.welcome(&welcome).ok_or(FrameError::Seal)?;
        self.sessions.outbox = VecDeque::from([welcome_frame.clone()]);
        let receiver = Receiver::new(keys.up.clone());
        let asserted = self.asserts(Hash::read(&hello.listed));
        let status = self.state.table.root(&self.config.key);
        let pending = Pending { hello_frame: bytes.to_vec(), welcome_frame, hello, keys, receiver, asserted, status };
        if is_planted(Bug::LateHelloEndsSession) {
            self.confirm(pending, now);
            return Ok(());
        }
        self.sessions.pending.push_back(pending);
        if self.sessions.pending.len() > MAX_PENDING_SESSIONS {
            self.sessions.pending.pop_front();
        }
        Ok(())
    }

    fn greeted(&self, frame: &[u8], seed: &Nonce) -> Result<Greeted, FrameError> {
        let peer = self.peer.ok_or(FrameError::Seal)?;
        let mut keys = self.config.own.iter().map(|own| greeting::open_hello(&Trust { own: own.clone(), peer }, seed, frame));
        keys.find(Result::is_ok).unwrap_or(Err(FrameError::Seal))
    }

    /// The Welcome that this very Hello got.
    fn answered(&self, hello: &[u8]) -> Option<Vec<u8>> {
        let pending = self.sessions.pending.iter().map(|pending| (&pending.hello_frame, &pending.welcome_frame));
        let current = self.sessions.current.iter().map(|session| (&session.hello_frame, &session.welcome_frame));
        pending.chain(current).find(|(known, _)| known.as_slice() == hello).map(|(_, welcome)| welcome.clone())
    }

    fn welcome(&self, hello: &Hello) -> Welcome {
        let table = self.state.table.root(&self.config.key);
        let (resource_version, desired) = match &self.desired {
            None => (0, Vec::new()),
            Some(desired) if Hash::read(&hello.listed) == Some(desired.list.root) => (desired.resource_version, Vec::new()),
            Some(desired) => (desired.resource_version, desired.list.root.0.to_vec()),
        };
        let same_status = hello.status == table;
        let features = self.agreed(hello);
        Welcome {
            incarnation: self.config.incarnation.0,
            resource_version,
            desired,
            status: if same_status { 0 } else { table },
            same_status,
            closed: hello
                .incarnations
                .iter()
                .filter(|known| !self.covers(known))
                .filter_map(|known| self.closed(known.incarnation))
                .collect(),
            covered: (0..64).zip(&hello.incarnations).filter(|(_, known)| self.covers(known)).map(|(bit, _)| 1 << bit).sum(),
            caps: (features != 0).then(|| Caps { features, ..Caps::default() }),
            hash_key: Vec::new(),
        }
    }

    /// The abilities of both ends.
    fn agreed(&self, hello: &Hello) -> u64 {
        self.config.features & hello.caps.as_ref().map_or(0, |caps| caps.features)
    }

    /// Whether this hub had seen all that the agent knows of an incarnation that has ended.
    fn covers(&self, known: &Closed) -> bool {
        self.closed(known.incarnation).is_some_and(|closed| closed.resource_version >= known.resource_version)
    }

    /// What an incarnation that has ended was closed with, if this hub knows it.
    pub(super) fn closed(&self, incarnation: u64) -> Option<Closed> {
        let resource_version = *self.config.closed.get(&IncarnationId(incarnation))?;
        Some(Closed { incarnation, resource_version })
    }

    fn on_session_frame(&mut self, bytes: &[u8], now: Millis) -> Result<(), FrameError> {
        let opened = match &mut self.sessions.current {
            Some(session) => match session.receiver.open(bytes) {
                Err(FrameError::Seal) if is_planted(Bug::StaleSessionAccepted) => {
                    session.old.as_mut().map_or(Err(FrameError::Seal), |old| old.open(bytes))
                }
                opened => opened,
            },
            None => Err(FrameError::Seal),
        };
        let (header, body) = match opened {
            Err(FrameError::Seal) => self.open_pending(bytes, now)?,
            opened => opened?,
        };
        if let Some(session) = &mut self.sessions.current {
            session.owes_beat |= header.counter == 0;
            session.last_heard = now;
        }
        self.on_message(header.kind, &body, now)
    }

    /// The first frame under a pending session's key makes it the session.
    fn open_pending(&mut self, bytes: &[u8], now: Millis) -> Result<(Header, Vec<u8>), FrameError> {
        let found =
            self.sessions.pending.iter_mut().enumerate().find_map(|(index, pending)| Some((index, pending.receiver.open(bytes).ok()?)));
        let Some((index, opened)) = found else {
            self.hint_no_session();
            return Err(FrameError::Seal);
        };
        let pending = self.sessions.pending.remove(index).ok_or(FrameError::Seal)?;
        // Later ones stay: this may be the late first frame of a connection that is gone.
        self.sessions.pending.drain(..index);
        self.confirm(pending, now);
        Ok(opened)
    }

    /// Without any session the agent must greet; with one, a frame of another is merely late.
    fn hint_no_session(&mut self) {
        if self.sessions.current.is_none() && self.sessions.pending.is_empty() {
            self.sessions.outbox = VecDeque::from([no_session()]);
        }
    }

    fn confirm(&mut self, pending: Pending, now: Millis) {
        let Pending { hello_frame, welcome_frame, hello, keys, receiver, asserted, status } = pending;
        self.serving.clear();
        self.owes_status_ack = status != self.state.table.root(&self.config.key);
        let known = self.state.last_session;
        let restored = known != 0 && hello.last_session != known && keys.id.0 != known;
        let caps = hello.caps.clone().unwrap_or_default();
        let max_frame = if caps.max_frame == 0 { MAX_FRAME } else { MAX_FRAME.min(caps.max_frame as usize) };
        let features = self.agreed(&hello);
        let [receive, send] = keys.streams.keys(Cipher::agreed(features));
        let streams = stream::Session { peer: hello.boot, send, receive, max_frame, packs: features & Caps::PACKED != 0 };
        let session = Session {
            id: keys.id,
            hello_frame,
            welcome_frame,
            sender: Sender::new(keys.down),
            receiver,
            last_heard: now,
            owes_beat: true,
            echo: None,
            max_frame,
            streams: (features & Caps::STREAMS != 0).then_some(streams),
            old: self.sessions.current.take().map(|session| session.receiver),
        };
        self.sessions.current = Some(session);
        self.write(HubWrite::Session(keys.id.0));
        self.write(HubWrite::Order(self.state.order.max(hello.order) + 1));
        self.judge_boot(hello.boot, now);
        self.events.push(HubEvent::Confirmed { boot: BootId(hello.boot), restored });
        self.start_sync(Hash::read(&hello.listed), asserted, now);
    }

    fn on_message(&mut self, kind: Kind, body: &[u8], now: Millis) -> Result<(), FrameError> {
        match kind {
            Kind::Report => self.on_report(frame::body::<Report>(kind, body)?, now),
            Kind::Want => self.on_want(frame::body::<Want>(kind, body)?),
            Kind::Beat => self.on_beat(&frame::body::<Beat>(kind, body)?),
            Kind::Reject => self.events.push(HubEvent::Rejected(frame::body::<Reject>(kind, body)?.message)),
            other => self.events.push(HubEvent::Rejected(format!("a {other:?} is not for a hub"))),
        }
        Ok(())
    }

    fn on_beat(&mut self, beat: &Beat) {
        if let Some(session) = &mut self.sessions.current {
            session.owes_beat |= !beat.answer;
            session.echo = (beat.echo != 0 && !beat.answer).then_some(beat.echo);
        }
    }

    pub(super) fn end_session(&mut self) {
        self.sessions.current = None;
        self.sessions.pending.clear();
        self.sessions.outbox.clear();
        self.sessions.early = None;
        self.serving.clear();
        self.owes_status_ack = false;
    }

    /// A Beat, when the agent waits for a sign and nothing else was said.
    pub(super) fn poll_beat(&mut self) -> Option<Vec<u8>> {
        let session = self.sessions.current.as_mut()?;
        if !session.owes_beat {
            return None;
        }
        let echo = session.echo.take();
        Some(self.seal(Kind::Beat, &Beat { echo: echo.unwrap_or(0), answer: true }))
    }

    /// Seals under the current session, which must be there.
    pub(super) fn seal(&mut self, kind: Kind, message: &impl prost::Message) -> Vec<u8> {
        let session = self.sessions.current.as_mut().expect("frames are made within a session");
        session.owes_beat = false;
        session.sender.seal(kind, message)
    }

    /// When the agent last said something in the confirmed session: what could not be opened is no sign of life.
    pub fn last_heard(&self) -> Option<Millis> {
        self.sessions.current.as_ref().map(|session| session.last_heard)
    }

    /// What streams need to know of the confirmed session; `None` when the agent performs none, or two share its identity.
    pub fn stream_session(&self) -> Option<&stream::Session> {
        self.sessions.current.as_ref()?.streams.as_ref().filter(|_| self.clones.is_none())
    }

    /// The confirmed session.
    pub fn session(&self) -> Option<SessionId> {
        self.sessions.current.as_ref().map(|session| session.id)
    }
}
