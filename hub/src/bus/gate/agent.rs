//! One agent's connection: reads its packets into the hub, writes the downlink, and ends for exactly one cause.
//!
//! Reading and writing are two futures of one task, so an agent that is slow to read is still heard, and one that floods is still
//! answered as fast as it reads. Nothing of an agent crosses the router.

use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use bytes::{BufMut, Bytes, BytesMut};
use k8s_openapi::jiff::Timestamp;
use rumqttd::protocol::v4;
use rumqttd::protocol::{Packet, PingResp, PubAck, PubAckReason, QoS, SubAck, Subscribe, SubscribeReasonCode, UnsubAck, Unsubscribe};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::mpsc;
use tokio::time::sleep;

use super::acl::{AgentFilter, AgentPublish, agent_filter, agent_publish};
use super::allowance::Allowance;
use super::codec::{Incoming, PacketReader, ReadError, encode};
use super::config::GateConfig;
use super::counters::{Counters, count};
use super::registry::Registry;
use super::writer::{WriteError, write_all};
use crate::bus::downlink::{Link, Outgoing};
use crate::bus::topics::Topic;
use crate::bus::{CloseCause, Closed, Frame};

/// A registered connection. Dropping it tells the hub the end and gives the place back, also when the task panics.
pub struct Seat<'a> {
    pub link: Arc<Link>,
    pub registry: &'a Registry,
    pub closed: Arc<OnceLock<Closed>>,
    pub will: Option<Bytes>,
}

impl Drop for Seat<'_> {
    fn drop(&mut self) {
        let cause = self.link.close(CloseCause::Lost);
        let will = self.will.take().filter(|_| cause != CloseCause::Disconnected);
        // Set once, here: the cell is this seat's own.
        let _ = self.closed.set(Closed { cause, will });
        self.registry.unseat_agent(&self.link);
    }
}

/// The parts of the connection that reading needs.
struct Reading<'a> {
    link: &'a Arc<Link>,
    registry: &'a Registry,
    counters: &'a Counters,
    frames: &'a mpsc::Sender<Frame>,
    config: &'a GateConfig,
}

/// Runs the connection until it ends.
pub async fn run<R, W>(
    mut reader: PacketReader<R>,
    mut writer: W,
    seat: &Seat<'_>,
    frames: &mpsc::Sender<Frame>,
    counters: &Counters,
    config: &GateConfig,
) -> CloseCause
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    let link = &seat.link;
    let reading = Reading { link, registry: seat.registry, counters, frames, config };
    let cause = tokio::select! {
        cause = reading.run(&mut reader) => cause,
        cause = write(&mut writer, link, config.write_timeout) => cause,
        cause = link.ended() => cause,
        () = frames.closed() => CloseCause::Dismissed,
    };
    link.close(cause)
}

impl Reading<'_> {
    async fn run<R: AsyncRead + Unpin>(&self, reader: &mut PacketReader<R>) -> CloseCause {
        let now = Instant::now();
        let (mut packets, mut bytes) = (Allowance::full(self.config.packets, now), Allowance::full(self.config.bytes, now));
        loop {
            let handled = match reader.next().await {
                Ok(incoming) => {
                    self.link.heard.hear(Timestamp::now());
                    let now = Instant::now();
                    let pause = packets.spend(self.config.packets, 1, now).max(bytes.spend(self.config.bytes, incoming.size, now));
                    let handled = self.handle(incoming).await;
                    self.hold(pause).await;
                    handled
                }
                Err(error) => Err(self.explain(error)),
            };
            if let Err(cause) = handled {
                return cause;
            }
        }
    }

    /// Leaves the socket unread for a while, so that the peer's own sending stops.
    async fn hold(&self, pause: Duration) {
        if !pause.is_zero() {
            count(&self.counters.throttled);
            sleep(pause).await;
        }
    }

    fn explain(&self, error: ReadError) -> CloseCause {
        match error {
            ReadError::Silent => CloseCause::KeepAlive,
            ReadError::Closed | ReadError::Io(_) => CloseCause::Lost,
            ReadError::Malformed(what) => self.violation(&what),
        }
    }

    fn violation(&self, what: &str) -> CloseCause {
        tracing::warn!(sid = %self.link.sid, conn = %self.link.conn, what, "agent closed for a violation");
        CloseCause::Violation
    }

    async fn handle(&self, incoming: Incoming) -> Result<(), CloseCause> {
        match incoming.packet {
            Packet::Publish(publish, _) => self.publish(&publish.topic, publish.payload, incoming.qos, incoming.pkid).await,
            Packet::Subscribe(subscribe, _) => self.subscribe(subscribe).await,
            Packet::Unsubscribe(unsubscribe, _) => self.unsubscribe(unsubscribe).await,
            Packet::PingReq(_) => self.reply(Packet::PingResp(PingResp)).await,
            Packet::Disconnect(..) => Err(CloseCause::Disconnected),
            Packet::Connect(..) => Err(self.violation("a second CONNECT")),
            _ => Err(self.violation("a packet that only a server sends, or an acknowledgement of nothing")),
        }
    }

    async fn publish(&self, topic: &[u8], payload: Bytes, qos: u8, pkid: u16) -> Result<(), CloseCause> {
        if qos == 2 {
            return Err(self.violation("a PUBLISH with QoS 2"));
        }
        match agent_publish(self.link.sid, std::str::from_utf8(topic).unwrap_or_default()) {
            // Waiting here is the back-pressure: nothing more is read from this agent, and no other waits.
            AgentPublish::Up(topic) => {
                if let Some(payload) = self.of_the_cluster(payload) {
                    self.frames.send(Frame { topic, payload }).await.map_err(|_| CloseCause::Dismissed)?;
                }
            }
            AgentPublish::Unknown => count(&self.counters.unknown_topics),
            AgentPublish::Denied => {
                return Err(self.violation(&format!("a PUBLISH to {}", String::from_utf8_lossy(topic))));
            }
        }
        if qos == 1 {
            self.reply(Packet::PubAck(PubAck { pkid, reason: PubAckReason::Success }, None)).await?;
        }
        Ok(())
    }

    /// A frame that is for the cluster's task; what streams take is theirs. None overtakes another that still waits for the task.
    fn of_the_cluster(&self, payload: Bytes) -> Option<Bytes> {
        match self.frames.capacity() == self.frames.max_capacity() {
            true => self.link.carried.take(payload),
            false => Some(payload),
        }
    }

    async fn subscribe(&self, subscribe: Subscribe) -> Result<(), CloseCause> {
        let mut return_codes = Vec::with_capacity(subscribe.filters.len());
        for filter in &subscribe.filters {
            match agent_filter(self.link.sid, &filter.path) {
                Some(AgentFilter::Downlink) => self.link.set_subscribed(true),
                Some(AgentFilter::Fleet(channel)) => self.join(channel)?,
                None => return Err(self.violation(&format!("a SUBSCRIBE to {}", filter.path))),
            }
            return_codes.push(SubscribeReasonCode::Success(QoS::AtMostOnce));
        }
        self.reply(Packet::SubAck(SubAck { pkid: subscribe.pkid, return_codes }, None)).await
    }

    fn join(&self, channel: Option<u64>) -> Result<(), CloseCause> {
        self.link.remember_channel(channel);
        if self.registry.join(channel, self.link, self.link.channels().len()) {
            return Ok(());
        }
        Err(self.violation("a SUBSCRIBE to more fleet channels than an agent may hold"))
    }

    async fn unsubscribe(&self, unsubscribe: Unsubscribe) -> Result<(), CloseCause> {
        for filter in &unsubscribe.filters {
            match agent_filter(self.link.sid, filter) {
                Some(AgentFilter::Downlink) => self.link.set_subscribed(false),
                Some(AgentFilter::Fleet(channel)) => {
                    self.registry.leave(channel, self.link);
                    self.link.forget_channel(channel);
                }
                None => {}
            }
        }
        self.reply(Packet::UnsubAck(UnsubAck { pkid: unsubscribe.pkid, reasons: Vec::new() }, None)).await
    }

    async fn reply(&self, packet: Packet) -> Result<(), CloseCause> {
        let bytes = encode(packet).map_err(|error| self.violation(&error.to_string()))?;
        self.link.reply(bytes).await;
        Ok(())
    }
}

async fn write<W: AsyncWrite + Unpin>(io: &mut W, link: &Link, patience: Duration) -> CloseCause {
    loop {
        let (bytes, payload) = match link.next().await {
            Outgoing::Reply(bytes) => (bytes, None),
            Outgoing::Publish(topic, payload) => (publish_bytes(topic, &payload), Some(payload.len())),
            Outgoing::Stream(topic, payload) => (publish_bytes(topic, &payload), None),
        };
        let written = write_all(io, &bytes, patience, |taken, waited| link.wrote(taken, waited)).await;
        payload.into_iter().for_each(|len| link.left(len));
        match written {
            Ok(()) => {}
            Err(WriteError::Stalled) => return CloseCause::SlowReader,
            Err(WriteError::Io(_)) => return CloseCause::Lost,
        }
    }
}

/// A PUBLISH with QoS 0.
fn publish_bytes(topic: Topic, payload: &Bytes) -> Bytes {
    let topic = topic.to_string();
    let length = 2 + topic.len() + payload.len();
    let mut bytes = BytesMut::with_capacity(5 + length);
    bytes.put_u8(0x30);
    v4::write_remaining_length(&mut bytes, length).expect("a frame is far below MQTT's 256 MiB");
    bytes.put_u16(topic.len() as u16);
    bytes.put_slice(topic.as_bytes());
    bytes.put_slice(payload);
    bytes.freeze()
}
