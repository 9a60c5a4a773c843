//! One connection from its CONNACK to its end: frames both ways, and whether anybody is still there.

use std::time::Instant;

use bus_schema::id::Sid;
use bus_schema::limits::bulk_frame_of;
use bus_schema::topic::{Direction, Topic};
use bytes::Bytes;
use futures::{SinkExt, StreamExt};
use rumqttc::mqttbytes::QoS;
use rumqttc::mqttbytes::v4::{Packet, Publish};
use streams::Endpoint;
use tokio::sync::mpsc;

use super::attention::Patience;
use super::dial::{Connection, LinkError, say};
use super::pace::Pace;
use super::pings::{Due, KEEP_ALIVE, Pings};
use crate::engine::{Engine, Input};

/// Carries frames between a connection, the engine and the streams.
pub struct Carrier<'a> {
    engine: &'a Engine,
    streams: &'a Endpoint,
    connection: Connection,
    up: String,
    subscribed: bool,
    /// What is on its way to the socket: one at a time, so that the next is the most important there is.
    sending: Option<From>,
    /// Bytes of a packet that is still coming.
    coming: usize,
    pace: Pace,
    pings: Pings,
}

/// Who made a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum From {
    Engine,
    Streams,
    Pings,
}

impl<'a> Carrier<'a> {
    pub fn new(sid: Sid, engine: &'a Engine, streams: &'a Endpoint, connection: Connection) -> Carrier<'a> {
        let up = Topic::Main(sid, Direction::Up).to_string();
        let now = Instant::now();
        Carrier {
            engine,
            streams,
            connection,
            up,
            subscribed: false,
            sending: None,
            coming: 0,
            pace: Pace::default(),
            pings: Pings::new(now),
        }
    }

    /// Carries until the connection ends; returns why it did.
    pub async fn run(&mut self, frames: &mut mpsc::Receiver<Vec<u8>>) -> LinkError {
        loop {
            if let Err(error) = self.step(frames).await {
                return error;
            }
        }
    }

    async fn step(&mut self, frames: &mut mpsc::Receiver<Vec<u8>>) -> Result<(), LinkError> {
        let idle = self.subscribed && self.sending.is_none();
        let due = self.connection.attention.due().map_or(self.pings.due(), |due| due.min(self.pings.due()));
        let Connection { packets, out, .. } = &mut self.connection;
        tokio::select! {
            packet = packets.next() => self.heard(packet.ok_or(LinkError::Closed)??, frames).await,
            sent = out.flush(), if self.sending.is_some() => {
                sent?;
                self.sent().await;
            }
            next = next(frames, self.streams, bulk_frame_of(self.pace.frame())), if idle => {
                let (from, frame) = next.ok_or(LinkError::Stopped)?;
                self.send(from, frame)?;
            }
            () = tokio::time::sleep_until(due.into()) => self.look()?,
        }
        Ok(())
    }

    async fn heard(&mut self, packet: Packet, frames: &mut mpsc::Receiver<Vec<u8>>) {
        self.pings.heard(Instant::now());
        match packet {
            Packet::Publish(publish) => self.take(publish.payload).await,
            Packet::SubAck(_) => {
                self.subscribed = true;
                while frames.try_recv().is_ok() {}
                tracing::info!("link up");
                self.engine.tell(Input::LinkUp).await;
                self.engine.tell(Input::Room(self.pace.frame())).await;
            }
            _ => {}
        }
    }

    async fn take(&mut self, frame: Bytes) {
        if !bus_schema::frame::is_of_streams(&frame) {
            return self.engine.tell(Input::Frame(frame)).await;
        }
        if let Err(error) = self.streams.frame(frame) {
            tracing::debug!(%error, "a stream's frame was not taken");
        }
        let patience = self.connection.attention.carried(Instant::now());
        self.be(patience);
    }

    fn send(&mut self, from: From, frame: Vec<u8>) -> Result<(), LinkError> {
        let now = Instant::now();
        self.pace.sending(frame.len(), now);
        self.pings.sent(now);
        self.sending = Some(from);
        say(&mut self.connection.out, Packet::Publish(Publish::from_bytes(&self.up, QoS::AtMostOnce, frame.into())))?;
        if from == From::Streams {
            let patience = self.connection.attention.carried(now);
            self.be(patience);
        }
        Ok(())
    }

    async fn sent(&mut self) {
        self.pace.drained(Instant::now());
        if self.sending.take() == Some(From::Engine) {
            self.engine.tell(Input::Room(self.pace.frame())).await;
        }
    }

    /// Something is due.
    fn look(&mut self) -> Result<(), LinkError> {
        let now = Instant::now();
        let patience = self.connection.attention.look(self.streams.counts().streams, now);
        self.be(patience);
        if let Some(limit) = self.connection.attention.too_silent(now).filter(|limit| self.connection.socket.silence() >= *limit) {
            return Err(LinkError::Silent(limit));
        }
        let came = self.connection.packets.read_buffer().len();
        if std::mem::replace(&mut self.coming, came) != came {
            self.pings.heard(now);
        }
        match self.pings.look(now) {
            Due::Nothing => Ok(()),
            Due::Dead => Err(LinkError::Silent(KEEP_ALIVE)),
            Due::Ping => {
                self.sending.get_or_insert(From::Pings);
                say(&mut self.connection.out, Packet::PingReq)
            }
        }
    }

    fn be(&self, patience: Option<Patience>) {
        if let Some(patience) = patience {
            self.connection.socket.be(patience);
        }
    }

    /// Says goodbye behind what is on its way.
    pub async fn disconnect(&mut self) -> Result<(), LinkError> {
        say(&mut self.connection.out, Packet::Disconnect)?;
        Ok(self.connection.out.close().await?)
    }
}

/// The next frame to send: streams have what the engine leaves over. `None` when the engine has ended. Cancellation loses nothing.
async fn next(frames: &mut mpsc::Receiver<Vec<u8>>, streams: &Endpoint, room: usize) -> Option<(From, Vec<u8>)> {
    loop {
        tokio::select! {
            biased;
            frame = frames.recv() => return Some((From::Engine, frame?)),
            () = streams.wants() => {
                if let Some(frame) = streams.transmit(room) {
                    return Some((From::Streams, frame));
                }
            }
        }
    }
}
