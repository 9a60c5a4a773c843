//! One end of all streams of a link: the state machine under a lock, and whom to wake.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bus_schema::frame::FrameError;
use bus_schema::id::Millis;
use bus_schema::stream::{Budget, Event, Limits, Mux, OpenError, Role, Session};
use bytes::Bytes;
use tokio::sync::Notify;
use tokio::task::AbortHandle;
use tokio::time::Instant;

use crate::alarm::Alarm;
use crate::{Code, Stream, StreamError};

/// One end of all streams between the hub and one agent; clones are the same end.
#[derive(Debug, Clone)]
pub struct Endpoint(pub(crate) Arc<Shared>);

/// How much an endpoint holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Streams whose end has not been reached by both directions.
    pub streams: usize,
    /// Bytes that are kept until the peer has them.
    pub buffered: usize,
    /// Streams that somebody here reads or writes.
    pub handles: usize,
}

#[derive(Debug)]
pub(crate) struct Shared {
    state: Mutex<State>,
    /// There may be something to send, or to time.
    outgoing: Notify,
    /// A stream was opened by the peer.
    opened: Notify,
    alarm: Alarm,
    started: Instant,
    grace: Duration,
}

#[derive(Debug)]
pub(crate) struct State {
    pub mux: Mux,
    pub slots: HashMap<u64, Slot>,
    /// Opened by the peer, and not accepted yet.
    accepts: VecDeque<u64>,
    /// Ends streams whose link stays away.
    ending: Option<AbortHandle>,
    /// Until when whoever sends sleeps, at most; `None` for one who does not, and looks by itself before it does.
    sleeps: Option<Millis>,
}

/// What a stream's handle finds.
#[derive(Debug, Default)]
pub(crate) struct Slot {
    received: VecDeque<Bytes>,
    ended: bool,
    error: Option<StreamError>,
    reader: Option<Waker>,
    writer: Option<Waker>,
    /// Waits for the error only.
    watcher: Option<Waker>,
}

impl Slot {
    fn wake(&mut self) {
        self.reader.take().into_iter().chain(self.writer.take()).chain(self.watcher.take()).for_each(Waker::wake);
    }
}

impl Endpoint {
    /// An end with limits of its own only.
    pub fn new(role: Role, limits: Limits) -> Endpoint {
        Endpoint::sharing(role, limits, Budget::default())
    }

    /// One of several ends of this process that share a budget.
    pub fn sharing(role: Role, limits: Limits, budget: Budget) -> Endpoint {
        let state =
            State { mux: Mux::sharing(role, limits, budget), slots: HashMap::new(), accepts: VecDeque::new(), ending: None, sleeps: None };
        let grace = Duration::from_millis(limits.grace);
        let shared = Shared {
            state: Mutex::new(state),
            outgoing: Notify::new(),
            opened: Notify::new(),
            alarm: Alarm::default(),
            started: Instant::now(),
            grace,
        };
        Endpoint(Arc::new(shared))
    }

    /// Opens a stream. The peer hears of it with its first bytes.
    ///
    /// # Errors
    /// [`OpenError::TooMany`].
    pub fn open(&self) -> Result<Stream, OpenError> {
        let now = self.0.now();
        let mut state = self.0.lock();
        let id = state.mux.open(now)?;
        state.slots.insert(id, Slot::default());
        // The link may have gone since the caller looked.
        if !state.mux.in_session() && state.ending.as_ref().is_none_or(AbortHandle::is_finished) {
            self.end_after_grace(&mut state);
        }
        Ok(Stream::new(self.0.clone(), id))
    }

    /// The next stream that the peer has opened. Cancellation loses nothing.
    pub async fn accept(&self) -> Stream {
        loop {
            let mut opened = std::pin::pin!(self.0.opened.notified());
            opened.as_mut().enable();
            if let Some(id) = self.0.lock().accepts.pop_front() {
                // More may wait, and this wakes one.
                self.0.opened.notify_one();
                return Stream::new(self.0.clone(), id);
            }
            opened.await;
        }
    }

    /// A session has begun: streams go on in it.
    pub fn connected(&self, session: Session) {
        self.0.act(|mux, now| mux.connected(session, now));
    }

    /// The link is gone. Streams wait for the next one for the grace period.
    pub fn disconnected(&self) {
        self.0.act(Mux::disconnected);
        let mut state = self.0.lock();
        if state.mux.streams() > 0 {
            self.end_after_grace(&mut state);
        }
    }

    /// Nobody else looks at the clock while there is no link.
    fn end_after_grace(&self, state: &mut State) {
        let (endpoint, grace) = (Arc::downgrade(&self.0), self.0.grace);
        let ending = tokio::spawn(async move {
            tokio::time::sleep(grace).await;
            if let Some(shared) = endpoint.upgrade() {
                shared.act(Mux::timeout);
            }
        });
        if let Some(before) = state.ending.replace(ending.abort_handle()) {
            before.abort();
        }
    }

    /// A frame of a stream from the peer.
    ///
    /// # Errors
    /// Why it was not taken; a frame of another session is ordinary.
    pub fn frame(&self, frame: Bytes) -> Result<(), FrameError> {
        self.0.act(|mux, now| mux.frame(frame, now))
    }

    /// Waits until [`Endpoint::transmit`] has something. Cancellation loses nothing.
    pub async fn wants(&self) {
        loop {
            let mut outgoing = std::pin::pin!(self.0.outgoing.notified());
            outgoing.as_mut().enable();
            let now = self.0.now();
            let due = {
                let mut state = self.0.lock();
                if state.mux.has_transmit(now) {
                    return;
                }
                let due = state.mux.poll_timeout(now);
                state.sleeps = Some(due.unwrap_or(Millis::MAX));
                due
            };
            let due = due.map(|due| self.0.started + Duration::from_millis(due.max(now + 1)));
            tokio::select! {
                () = outgoing => {}
                () = self.0.alarm.rings_by(due) => self.0.act(Mux::timeout),
            }
        }
    }

    /// The next frame of at most `max_frame` bytes, if there is one.
    pub fn transmit(&self, max_frame: usize) -> Option<Vec<u8>> {
        let now = self.0.now();
        self.0.lock().mux.poll_transmit(max_frame, now)
    }

    /// Whether there is a session with the peer.
    pub fn in_session(&self) -> bool {
        self.0.lock().mux.in_session()
    }

    pub fn counts(&self) -> Counts {
        let state = self.0.lock();
        Counts { streams: state.mux.streams(), buffered: state.mux.buffered(), handles: state.slots.len() }
    }
}

impl Shared {
    pub fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn now(&self) -> Millis {
        self.started.elapsed().as_millis() as Millis
    }

    /// Does something to the state machine, and tells everybody whom it concerns.
    pub fn act<T>(&self, what: impl FnOnce(&mut Mux, Millis) -> T) -> T {
        let now = self.now();
        let mut state = self.lock();
        let done = what(&mut state.mux, now);
        let accepted = state.distribute();
        self.rouse(state, now);
        if accepted {
            self.opened.notify_one();
        }
        done
    }

    /// Wakes whoever sends, if it would sleep for too long.
    fn rouse(&self, mut state: MutexGuard<'_, State>, now: Millis) {
        let Some(until) = state.sleeps else { return };
        if state.mux.has_transmit(now) || state.mux.poll_timeout(now).is_some_and(|due| due < until) {
            state.sleeps = None;
            drop(state);
            self.outgoing.notify_one();
        }
    }

    /// Reads into `into`, as far as something is there.
    pub fn poll_read(&self, id: u64, context: &mut Context<'_>, into: &mut tokio::io::ReadBuf<'_>) -> Poll<std::io::Result<()>> {
        if into.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        self.poll_received(id, context, |received| {
            let mut used = 0;
            while let Some(piece) = front(received, into.remaining()) {
                into.put_slice(&piece);
                used += piece.len();
            }
            (used, ())
        })
        .map_ok(|_| ())
    }

    /// At most `most` of the bytes that have come, as they came; `None` at the end.
    pub fn poll_bytes(&self, id: u64, context: &mut Context<'_>, most: usize) -> Poll<std::io::Result<Option<Bytes>>> {
        self.poll_received(id, context, |received| {
            let piece = front(received, most).unwrap_or_default();
            (piece.len(), piece)
        })
    }

    /// Lets `take` have what has been received: it returns how many bytes it took. `None` at the end.
    fn poll_received<T>(
        &self,
        id: u64,
        context: &mut Context<'_>,
        take: impl FnOnce(&mut VecDeque<Bytes>) -> (usize, T),
    ) -> Poll<std::io::Result<Option<T>>> {
        let now = self.now();
        let mut state = self.lock();
        let State { mux, slots, .. } = &mut *state;
        let Some(slot) = slots.get_mut(&id) else { return Poll::Ready(Ok(None)) };
        if !slot.received.is_empty() {
            let (used, taken) = take(&mut slot.received);
            mux.consumed(id, used, now);
            self.rouse(state, now);
            return Poll::Ready(Ok(Some(taken)));
        }
        match &slot.error {
            Some(error) => Poll::Ready(Err(error.clone().into())),
            None if slot.ended => Poll::Ready(Ok(None)),
            None => {
                slot.reader = Some(context.waker().clone());
                Poll::Pending
            }
        }
    }

    /// Takes bytes to send, as far as there is room.
    pub fn poll_write(&self, id: u64, context: &mut Context<'_>, bytes: &[u8]) -> Poll<std::io::Result<usize>> {
        let now = self.now();
        let mut state = self.lock();
        let State { mux, slots, .. } = &mut *state;
        let Some(slot) = slots.get_mut(&id) else { return Poll::Ready(Ok(bytes.len())) };
        if let Some(error) = &slot.error {
            return Poll::Ready(Err(error.clone().into()));
        }
        match mux.write(id, bytes, now) {
            0 if !bytes.is_empty() => {
                slot.writer = Some(context.waker().clone());
                Poll::Pending
            }
            written => {
                self.rouse(state, now);
                Poll::Ready(Ok(written))
            }
        }
    }

    /// Waits for the stream's end before its time; for ever when it ends in order.
    pub fn poll_broken(&self, id: u64, context: &mut Context<'_>) -> Poll<StreamError> {
        let mut state = self.lock();
        let Some(slot) = state.slots.get_mut(&id) else { return Poll::Pending };
        match &slot.error {
            Some(error) => Poll::Ready(error.clone()),
            None => {
                slot.watcher = Some(context.waker().clone());
                Poll::Pending
            }
        }
    }

    /// Ends a stream at once.
    pub fn reset(&self, id: u64, code: Code, message: &str) {
        self.act(|mux, now| mux.reset(id, code, message, now));
        self.leave(id);
    }

    /// Ends a stream when the peer has what was written.
    pub fn fail(&self, id: u64, code: Code, message: &str) {
        self.act(|mux, now| mux.fail(id, code, message, now));
        self.leave(id);
    }

    fn leave(&self, id: u64) {
        let slot = self.lock().slots.remove(&id);
        // The other half may wait for what will not come any more.
        slot.into_iter().for_each(|mut slot| slot.wake());
    }

    /// Nobody has a handle any more.
    pub fn abandon(&self, id: u64) {
        self.lock().slots.remove(&id);
        self.act(|mux, now| mux.abandon(id, now));
    }
}

/// The first of what was received, at most `most` bytes of it; `None` when that is nothing.
fn front(received: &mut VecDeque<Bytes>, most: usize) -> Option<Bytes> {
    let first = received.front_mut().filter(|_| most > 0)?;
    if first.len() <= most {
        return received.pop_front();
    }
    Some(first.split_to(most))
}

impl State {
    /// Hands events to the handles; true when the peer has opened a stream.
    fn distribute(&mut self) -> bool {
        let mut opened = false;
        while let Some(event) = self.mux.poll_event() {
            match event {
                Event::Opened(id) => {
                    self.slots.insert(id, Slot::default());
                    self.accepts.push_back(id);
                    opened = true;
                }
                Event::Data(id, data, end) => {
                    let Some(slot) = self.slots.get_mut(&id) else { continue };
                    if !data.is_empty() {
                        slot.received.push_back(data);
                    }
                    slot.ended |= end;
                    slot.reader.take().into_iter().for_each(Waker::wake);
                }
                Event::Writable(id) => {
                    let Some(slot) = self.slots.get_mut(&id) else { continue };
                    slot.writer.take().into_iter().for_each(Waker::wake);
                }
                Event::Reset(id, code, message) => {
                    let Some(slot) = self.slots.get_mut(&id) else { continue };
                    slot.error = Some(StreamError { code, message });
                    slot.wake();
                }
            }
        }
        opened
    }
}
