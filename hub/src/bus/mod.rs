//! The bus between the hub and its agents, whatever carries it. The rest of the hub sees this file's types only; MQTT stays in `gate`.
//!
//! Each connection of an agent is one [`Session`]: a bounded [`Uplink`] to read and a [`Downlink`] that asks for the next frame.
//!
//! Invariants:
//! - A frame read from one agent waits only for the reader of that session; while it waits, that agent's socket is not read. A frame of
//!   streams that are carried ([`Downlink::carry`]) waits for nobody.
//! - A later connection of the same cluster has a higher [`ConnId`], also when its `Session` is delivered first. A consumer that
//!   holds a higher one ignores a lower one, so an old connection's end is never taken for the new one's.
//! - After [`Event::Closed`] a session says nothing more.
//! - Nothing is promised about delivery: the bus loses frames, the protocol above repeats what matters.

mod carried;
mod downlink;
mod drain;
pub mod gate;
pub mod topics {
    pub use bus_schema::id::Sid;
    pub use bus_schema::topic::{Direction, Topic};
}

use std::fmt;
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use tokio::sync::mpsc;

pub use downlink::{Downlink, SendError};
use topics::{Sid, Topic};

/// A way to reach agents.
pub trait Bus: Send + Sync {
    /// The way down to a cluster, `None` while it is not connected.
    fn link(&self, sid: Sid) -> Option<Downlink>;

    /// Offers one frame to every agent subscribed to `channel` (`None`: announcements); an agent without room misses it.
    fn fan_out(&self, channel: Option<u64>, payload: &Bytes) -> FanOut;
}

/// What became of one fanned-out frame.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct FanOut {
    /// Agents whose downlink took the frame.
    pub taken: usize,
    /// Agents whose downlink had no room.
    pub missed: usize,
}

/// Names one connection for the life of the process; rises with each connection of a cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnId(pub u64);

impl fmt::Display for ConnId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// An agent has connected.
#[derive(Debug)]
pub struct Session {
    pub sid: Sid,
    pub conn: ConnId,
    pub peer: SocketAddr,
    pub downlink: Downlink,
    pub uplink: Uplink,
}

/// What an agent sent, in order, and how its connection ended. Dropping it closes the connection.
#[derive(Debug)]
pub struct Uplink {
    frames: mpsc::Receiver<Frame>,
    closed: Arc<OnceLock<Closed>>,
    ended: bool,
}

/// One thing that a session has to say.
#[derive(Debug, PartialEq, Eq)]
pub enum Event {
    Frame(Frame),
    Closed(Closed),
}

/// One frame of an agent.
#[derive(Debug, PartialEq, Eq)]
pub struct Frame {
    /// A topic of this agent with direction `Up`.
    pub topic: Topic,
    pub payload: Bytes,
}

/// The end of a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Closed {
    pub cause: CloseCause,
    /// The will that the agent left, given unless it disconnected cleanly.
    pub will: Option<Bytes>,
}

/// Why a connection ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CloseCause {
    /// The agent sent DISCONNECT.
    Disconnected,
    /// The socket ended or failed.
    Lost,
    /// Nothing came for one and a half keepalives.
    KeepAlive,
    /// The peer took no byte for the write timeout.
    SlowReader,
    /// The peer broke MQTT or asked for what it may not.
    Violation,
    /// A later connection has the same client id.
    TakenOver,
    /// The key that it was opened with was taken away.
    Revoked,
    /// The certificate that it was opened with has ended.
    Expired,
    /// The hub closed it.
    Dismissed,
    /// The hub is stopping.
    Shutdown,
}

impl Closed {
    /// Whether the agent said that it is going.
    pub fn clean(&self) -> bool {
        self.cause == CloseCause::Disconnected
    }
}

impl Uplink {
    /// A bounded uplink: where frames go in, where the end is written before the sender is dropped, and the reader.
    pub fn bounded(depth: usize) -> (mpsc::Sender<Frame>, Arc<OnceLock<Closed>>, Uplink) {
        let (sender, frames) = mpsc::channel(depth);
        let closed = Arc::new(OnceLock::new());
        (sender, closed.clone(), Uplink { frames, closed, ended: false })
    }

    /// The next event; `None` after [`Event::Closed`]. Cancellation loses nothing.
    pub async fn recv(&mut self) -> Option<Event> {
        if self.ended {
            return None;
        }
        if let Some(frame) = self.frames.recv().await {
            return Some(Event::Frame(frame));
        }
        self.ended = true;
        let lost = Closed { cause: CloseCause::Lost, will: None };
        Some(Event::Closed(self.closed.get().cloned().unwrap_or(lost)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use topics::Direction;

    #[tokio::test]
    async fn the_end_comes_after_all_frames_and_once() {
        let (sender, closed, mut uplink) = Uplink::bounded(2);
        let topic = Topic::Main(Sid::parse("abcd2345").unwrap(), Direction::Up);
        sender.send(Frame { topic, payload: Bytes::from_static(b"1") }).await.unwrap();
        let end = Closed { cause: CloseCause::KeepAlive, will: Some(Bytes::from_static(b"w")) };
        closed.set(end.clone()).unwrap();
        drop(sender);
        assert!(matches!(uplink.recv().await, Some(Event::Frame(frame)) if frame.payload == "1"));
        assert_eq!(uplink.recv().await, Some(Event::Closed(end)));
        assert_eq!(uplink.recv().await, None);
    }
}
