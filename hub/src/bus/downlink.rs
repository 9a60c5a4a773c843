//! The way down to one agent: a small queue in front of the connection's writer.
//!
//! Invariants: data waiting here never exceeds a frame, as large as suits the link (or one of any size, if the queue was empty); what a full
//! queue refuses goes back to the caller, who may decide anew what to send; nothing waits before the agent has subscribed.
//! Replies of the connection itself (CONNACK, PINGRESP, PUBACK) go before data and are bounded apart.

use std::collections::{BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bus_schema::limits::{MAX_FRAME, bulk_frame_of, frame_of};
use bytes::Bytes;
use streams::Endpoint;
use tokio::sync::Notify;

use super::carried::Carried;
use super::drain::DrainMeter;
use super::gate::certificate::ClientCertificate;
use super::topics::{Direction, Sid, Topic};
use super::{CloseCause, ConnId};
use crate::core::contact::Heard;

/// The most data that waits below the sender, and so the largest frame: the portable packet size less topic and header.
const MAX_QUEUED: usize = 64 * 1024;
/// Replies that may wait; a peer that asks faster than it reads is not read meanwhile.
const MAX_REPLIES: usize = 64;

/// Why a frame was not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// No room now: wait for [`Downlink::ready`] and decide again what to send.
    #[error("the link has no room now")]
    Full,
    /// The connection has ended.
    #[error("the connection is closed")]
    Closed,
    /// No link takes a frame of this size.
    #[error("a frame of {0} bytes exceeds {MAX_QUEUED}, the most that one MQTT message carries here")]
    TooLarge(usize),
}

/// A cheap handle to the way down of one connection.
#[derive(Debug, Clone)]
pub struct Downlink(pub(super) Arc<Link>);

impl Downlink {
    /// The cluster at the other end.
    pub fn sid(&self) -> Sid {
        self.0.sid
    }

    /// The connection that this leads through.
    pub fn conn(&self) -> ConnId {
        self.0.conn
    }

    /// When anything came up this connection, a ping included.
    pub fn heard(&self) -> &Heard {
        &self.0.heard
    }

    /// Takes one frame for the agent's main topic.
    ///
    /// # Errors
    /// [`SendError::Full`] when it does not fit now.
    pub fn try_send(&self, payload: Bytes) -> Result<(), SendError> {
        self.0.push(Topic::Main(self.0.sid, Direction::Down), payload)
    }

    /// Carries the streams of this end from now on, or of none: down as far as no other frame waits, and up as they come.
    pub fn carry(&self, streams: Option<Endpoint>) {
        self.0.carried.set(streams);
    }

    /// The agent has greeted anew: frames of streams come with all others from now on, until they are carried again.
    pub fn greeted(&self) {
        self.0.carried.greeted();
    }

    /// Waits until a frame of `len` bytes fits. Cancellation loses nothing.
    ///
    /// # Errors
    /// [`SendError::Closed`] or [`SendError::TooLarge`].
    pub async fn ready(&self, len: usize) -> Result<(), SendError> {
        self.0
            .until(&self.0.room, |state| match state.admits(len) {
                Err(SendError::Full) => None,
                answer => Some(answer),
            })
            .await
    }

    /// Waits until every frame taken has left for the socket; false when the connection ended before.
    pub async fn flushed(&self) -> bool {
        self.0.until(&self.0.room, |state| if state.queued == 0 { Some(true) } else { state.closed.map(|_| false) }).await
    }

    /// Waits for the end of the connection.
    pub async fn closed(&self) -> CloseCause {
        self.0.ended().await
    }

    /// Bytes of the next frame, at most, as far as the link is known.
    pub fn frame(&self) -> usize {
        self.0.frame()
    }

    /// Bytes a second that the socket takes; `None` for one that takes everything at once.
    pub fn drain_rate(&self) -> Option<u64> {
        self.0.lock().meter.rate()
    }

    /// Bytes that the socket has taken since the connection began, MQTT included.
    pub fn written(&self) -> u64 {
        self.0.lock().written
    }

    /// Closes the connection.
    pub fn close(&self) {
        self.0.close(CloseCause::Dismissed);
    }
}

/// One piece of work for the writer.
#[derive(Debug)]
pub(super) enum Outgoing {
    /// Bytes ready for the wire.
    Reply(Bytes),
    /// A frame to publish.
    Publish(Topic, Bytes),
    /// A frame of a stream to publish: what other frames may wait does not depend on it.
    Stream(Topic, Bytes),
}

/// What the handles and the connection's two halves share.
#[derive(Debug)]
pub(super) struct Link {
    pub sid: Sid,
    pub conn: ConnId,
    /// What the peer has shown, if the transport asks for it.
    pub certificate: Option<ClientCertificate>,
    pub heard: Heard,
    pub carried: Carried,
    state: Mutex<State>,
    /// There may be room for more.
    room: Notify,
    /// Apart, so that what leaves wakes nobody who waits for the end.
    ended: Notify,
    work: Notify,
}

#[derive(Debug, Default)]
struct State {
    frames: VecDeque<(Topic, Bytes)>,
    replies: VecDeque<Bytes>,
    /// Payload bytes taken and not yet in the socket, the frame being written included.
    queued: usize,
    subscribed: bool,
    /// Fleet channels held; `None` is the hub's announcements.
    channels: BTreeSet<Option<u64>>,
    closed: Option<CloseCause>,
    meter: DrainMeter,
    written: u64,
}

impl State {
    /// Whether a frame for the agent's own topics may enter now.
    fn admits(&self, len: usize) -> Result<(), SendError> {
        match self.fits(len) {
            Ok(()) if !self.subscribed => Err(SendError::Full),
            answer => answer,
        }
    }

    /// Bytes of a frame that suits the link; `None` where any does.
    fn frame(&self) -> Option<usize> {
        self.meter.rate().map(|rate| frame_of(usize::try_from(rate).unwrap_or(usize::MAX)))
    }

    fn fits(&self, len: usize) -> Result<(), SendError> {
        let limit = self.frame().unwrap_or(MAX_QUEUED);
        match () {
            () if len > MAX_QUEUED => Err(SendError::TooLarge(len)),
            () if self.closed.is_some() => Err(SendError::Closed),
            () if self.queued == 0 || self.queued + len <= limit => Ok(()),
            () => Err(SendError::Full),
        }
    }

    fn next(&mut self) -> Option<Outgoing> {
        if let Some(reply) = self.replies.pop_front() {
            return Some(Outgoing::Reply(reply));
        }
        self.frames.pop_front().map(|(topic, payload)| Outgoing::Publish(topic, payload))
    }
}

impl Link {
    pub fn new(sid: Sid, conn: ConnId) -> Link {
        Link {
            sid,
            conn,
            certificate: None,
            heard: Heard::default(),
            carried: Carried::default(),
            state: Mutex::default(),
            room: Notify::new(),
            ended: Notify::new(),
            work: Notify::new(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a frame if it fits.
    pub fn push(&self, topic: Topic, payload: Bytes) -> Result<(), SendError> {
        let mut state = self.lock();
        state.admits(payload.len())?;
        self.enqueue(&mut state, topic, payload);
        Ok(())
    }

    /// Takes a frame of a fleet channel, whose subscription is the caller's to know.
    pub fn push_shared(&self, topic: Topic, payload: Bytes) -> Result<(), SendError> {
        let mut state = self.lock();
        state.fits(payload.len())?;
        self.enqueue(&mut state, topic, payload);
        Ok(())
    }

    fn enqueue(&self, state: &mut State, topic: Topic, payload: Bytes) {
        // An empty payload still occupies the queue, or any number of them would fit.
        state.queued += payload.len().max(1);
        state.frames.push_back((topic, payload));
        self.work.notify_one();
    }

    /// Queues a reply of the connection, waiting while too many wait.
    pub async fn reply(&self, bytes: Bytes) {
        self.until(&self.room, |state| (state.replies.len() < MAX_REPLIES || state.closed.is_some()).then_some(())).await;
        self.lock().replies.push_back(bytes);
        self.work.notify_one();
    }

    /// Opens or closes the way for data, as the agent subscribes and unsubscribes.
    pub fn set_subscribed(&self, subscribed: bool) {
        self.lock().subscribed = subscribed;
        self.room.notify_waiters();
        self.work.notify_one();
    }

    /// Notes a fleet channel that the agent has subscribed to.
    pub fn remember_channel(&self, channel: Option<u64>) {
        self.lock().channels.insert(channel);
    }

    /// Forgets a fleet channel.
    pub fn forget_channel(&self, channel: Option<u64>) {
        self.lock().channels.remove(&channel);
    }

    /// The fleet channels that the agent holds.
    pub fn channels(&self) -> Vec<Option<u64>> {
        self.lock().channels.iter().copied().collect()
    }

    /// The next thing to write. Only the connection's writer calls this.
    pub async fn next(&self) -> Outgoing {
        loop {
            let (next, subscribed) = {
                let mut state = self.lock();
                (state.next(), state.subscribed)
            };
            if let Some(outgoing) = next {
                if matches!(outgoing, Outgoing::Reply(_)) {
                    self.room.notify_waiters();
                }
                return outgoing;
            }
            tokio::select! {
                biased;
                () = self.work.notified() => {}
                frame = self.carried.next(|| bulk_frame_of(self.frame())), if subscribed => {
                    return Outgoing::Stream(Topic::Main(self.sid, Direction::Down), frame);
                }
            }
        }
    }

    /// Bytes of the next frame, at most, as far as the link is known.
    fn frame(&self) -> usize {
        self.lock().frame().unwrap_or(MAX_FRAME)
    }

    /// Records bytes that the socket took.
    pub fn wrote(&self, bytes: usize, waited: Duration) {
        let mut state = self.lock();
        state.written += bytes as u64;
        state.meter.wrote(bytes, waited, Instant::now());
    }

    /// Records that a frame of so many bytes has left; those of streams do not count.
    pub fn left(&self, payload: usize) {
        self.lock().queued -= payload.max(1);
        self.room.notify_waiters();
    }

    /// Ends the connection, for the first cause given.
    pub fn close(&self, cause: CloseCause) -> CloseCause {
        let mut state = self.lock();
        let cause = *state.closed.get_or_insert(cause);
        state.frames.clear();
        drop(state);
        self.room.notify_waiters();
        self.ended.notify_waiters();
        cause
    }

    /// Waits until `done` gives something, looking again at each change that `told` tells of.
    async fn until<T>(&self, told: &Notify, mut done: impl FnMut(&State) -> Option<T>) -> T {
        loop {
            let mut changed = std::pin::pin!(told.notified());
            // Enabled before looking, so that a change between looking and waiting is not missed.
            changed.as_mut().enable();
            if let Some(answer) = done(&self.lock()) {
                return answer;
            }
            changed.await;
        }
    }

    /// Waits for the end.
    pub async fn ended(&self) -> CloseCause {
        self.until(&self.ended, |state| state.closed).await
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::{Context, Wake, Waker};

    use bus_schema::frame::Key;
    use streams::{Limits, Role, Session as StreamSession};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    fn link() -> Downlink {
        let link = Link::new(Sid::parse("abcd2345").unwrap(), ConnId(1));
        link.set_subscribed(true);
        Downlink(Arc::new(link))
    }

    #[tokio::test]
    async fn nothing_is_taken_before_the_agent_subscribes() {
        let down = link();
        down.0.set_subscribed(false);
        assert_eq!(down.try_send(Bytes::from_static(b"x")), Err(SendError::Full));
        let waiting = tokio::spawn({
            let down = down.clone();
            async move { down.ready(1).await }
        });
        tokio::task::yield_now().await;
        down.0.set_subscribed(true);
        assert_eq!(waiting.await.unwrap(), Ok(()));
        assert_eq!(down.try_send(Bytes::from_static(b"x")), Ok(()));
    }

    #[tokio::test]
    async fn a_slow_link_holds_a_quarter_of_a_second_of_data() {
        let down = link();
        let mut now = Instant::now();
        for _ in 0..12 {
            now += Duration::from_millis(100);
            down.0.lock().meter.wrote(800, Duration::from_millis(100), now);
        }
        assert_eq!(down.drain_rate(), Some(8000));
        for _ in 0..2 {
            down.try_send(Bytes::from(vec![0; 1000])).unwrap();
        }
        assert_eq!(down.try_send(Bytes::from_static(b"x")), Err(SendError::Full));
        assert!(matches!(down.0.next().await, Outgoing::Publish(..)));
        assert_eq!(down.try_send(Bytes::from_static(b"x")), Err(SendError::Full), "the frame being written counts");
        down.0.left(1000);
        assert_eq!(down.ready(1000).await, Ok(()));
    }

    #[tokio::test]
    async fn replies_go_first_and_the_end_is_told_to_everyone() {
        let down = link();
        down.try_send(Bytes::from_static(b"data")).unwrap();
        down.0.reply(Bytes::from_static(b"pong")).await;
        assert!(matches!(down.0.next().await, Outgoing::Reply(_)));
        assert_eq!(down.0.close(CloseCause::TakenOver), CloseCause::TakenOver);
        assert_eq!(down.0.close(CloseCause::Lost), CloseCause::TakenOver);
        assert_eq!(down.ready(1).await, Err(SendError::Closed));
        assert!(!down.flushed().await);
        assert_eq!(down.closed().await, CloseCause::TakenOver);
    }

    #[derive(Default)]
    struct Woken(AtomicUsize);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[tokio::test]
    async fn what_leaves_wakes_nobody_who_waits_for_the_end() {
        let (down, woken) = (link(), Arc::new(Woken::default()));
        down.try_send(Bytes::from_static(b"data")).unwrap();
        let (mut end, mut room) = (std::pin::pin!(down.closed()), std::pin::pin!(down.flushed()));
        let waker = woken.clone().into();
        let mut context = Context::from_waker(&waker);
        assert!(end.as_mut().poll(&mut context).is_pending() && room.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
        down.0.left(4);
        assert!(room.as_mut().poll(&mut context).is_ready());
        assert_eq!(woken.0.load(Ordering::Relaxed), 0);
        down.close();
        assert!(end.as_mut().poll(&mut context).is_ready());
        assert_eq!(woken.0.load(Ordering::Relaxed), 1);
    }

    /// Both ends of streams in session with each other: the hub's, and one that takes what comes.
    fn ends() -> (Endpoint, Endpoint) {
        let ends = [Role::Hub, Role::Agent].map(|role| Endpoint::new(role, Limits::default()));
        let session = || StreamSession { peer: 1, send: Key::public(), receive: Key::public(), max_frame: MAX_FRAME, packs: true };
        ends.iter().for_each(|end| end.connected(session()));
        ends.into()
    }

    async fn next_of_a_stream(down: &Downlink) -> Bytes {
        match down.0.next().await {
            Outgoing::Stream(_, payload) => payload,
            other => panic!("{other:?} is of no stream"),
        }
    }

    #[tokio::test]
    async fn a_frame_of_a_stream_waits_for_all_others_and_holds_none_back() {
        let (down, (hub, agent)) = (link(), ends());
        let mut stream = hub.open().unwrap();
        down.carry(Some(hub));
        stream.write_all(b"keystroke").await.unwrap();
        down.try_send(Bytes::from_static(b"status")).unwrap();
        assert!(matches!(down.0.next().await, Outgoing::Publish(_, payload) if payload == "status"));
        agent.frame(next_of_a_stream(&down).await).unwrap();
        let mut came = [0; 9];
        agent.accept().await.read_exact(&mut came).await.unwrap();
        assert_eq!(&came, b"keystroke");
    }

    #[tokio::test]
    async fn streams_pass_both_ways_while_they_are_carried_and_not_after() {
        let (down, (hub, agent)) = (link(), ends());
        let mut stream = hub.open().unwrap();
        let other = Bytes::from_static(b"of no stream");
        assert_eq!(down.0.carried.take(other.clone()), Some(other.clone()));
        let waiting = tokio::spawn({
            let down = down.clone();
            async move { next_of_a_stream(&down).await }
        });
        tokio::task::yield_now().await;
        stream.write_all(b"down").await.unwrap();
        down.carry(Some(hub));
        agent.frame(waiting.await.unwrap()).unwrap();
        let mut peer = agent.accept().await;
        peer.write_all(b"up").await.unwrap();
        assert_eq!(down.0.carried.take(other.clone()), Some(other));
        while let Some(up) = agent.transmit(MAX_FRAME) {
            assert_eq!(down.0.carried.take(up.into()), None);
        }
        let mut came = [0; 2];
        stream.read_exact(&mut came).await.unwrap();
        assert_eq!(&came, b"up");

        peer.write_all(b"of another session").await.unwrap();
        down.greeted();
        let next = Bytes::from(agent.transmit(MAX_FRAME).unwrap());
        assert_eq!(down.0.carried.take(next.clone()), Some(next), "the cluster's task knows its key first");

        down.carry(None);
        peer.write_all(b"late").await.unwrap();
        let late = Bytes::from(agent.transmit(MAX_FRAME).unwrap());
        assert_eq!(down.0.carried.take(late.clone()), Some(late));
        stream.write_all(b"late").await.unwrap();
        assert!(tokio::time::timeout(Duration::from_millis(50), down.0.next()).await.is_err());
    }

    #[test]
    fn a_frame_that_no_link_takes_is_refused_as_such() {
        assert_eq!(link().try_send(Bytes::from(vec![0; MAX_QUEUED + 1])), Err(SendError::TooLarge(MAX_QUEUED + 1)));
    }
}
