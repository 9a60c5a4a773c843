//! One connection of a client that is no agent: its packets go through the router, below `test/` only.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use rumqttd::Notification;
use rumqttd::local::LinkRx;
use rumqttd::protocol::v4;
use rumqttd::protocol::{LastWill, Packet};
use tokio::io::{AsyncRead, AsyncWrite};

use super::acks::Acks;
use super::acl::{client_filter, client_topic};
use super::codec::{Incoming, PacketReader, ReadError, encode, is_topic, publish_head};
use super::registry::{ClientSeat, Registry};
use super::router::{Attachment, Broker, Feed};
use super::writer::{WriteError, write_all};
use crate::bus::CloseCause;

/// A registered client. Dropping it gives the id to a successor, after the router has been told.
pub struct Place<'a> {
    pub id: String,
    pub seat: ClientSeat,
    pub registry: &'a Registry,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.registry.unseat_client(&self.id, &self.seat);
    }
}

/// Whether a client may leave this will.
pub fn will_allowed(will: &LastWill) -> bool {
    std::str::from_utf8(&will.topic).is_ok_and(|topic| is_topic(topic) && client_topic(topic))
}

/// Runs the connection until it ends, then publishes its will unless the client said goodbye.
pub async fn run<R, W>(
    mut reader: PacketReader<R>,
    mut writer: W,
    place: &Place<'_>,
    attachment: Attachment,
    will: Option<LastWill>,
    broker: &Broker,
    write_timeout: Duration,
) -> CloseCause
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    let Attachment { mut feed, mut notices, first, died } = attachment;
    let acks = Mutex::new(Acks::default());
    let cause = tokio::select! {
        cause = read(&mut reader, &mut feed, &acks) => cause,
        cause = write(&mut writer, first, &mut notices, &acks, write_timeout) => cause,
        () = place.seat.taken_over.cancelled() => CloseCause::TakenOver,
        () = died.cancelled() => CloseCause::Dismissed,
    };
    // The client leaves the router before its will is published, as it may have subscribed to it.
    drop(feed);
    if let Some(will) = will.filter(|_| cause != CloseCause::Disconnected) {
        broker.publish_will(will.topic, will.message).await;
    }
    cause
}

async fn read<R: AsyncRead + Unpin>(reader: &mut PacketReader<R>, feed: &mut Feed, acks: &Mutex<Acks>) -> CloseCause {
    loop {
        let incoming = match reader.next().await {
            Ok(incoming) => incoming,
            Err(ReadError::Silent) => return CloseCause::KeepAlive,
            Err(ReadError::Closed | ReadError::Io(_)) => return CloseCause::Lost,
            Err(ReadError::Malformed(what)) => return violation(&what),
        };
        let packet = match judge(incoming, acks) {
            Ok(packet) => packet,
            Err(cause) => return cause,
        };
        if feed.push(packet).await.is_err() {
            return CloseCause::Dismissed;
        }
    }
}

fn violation(what: &str) -> CloseCause {
    tracing::warn!(what, "client closed for a violation");
    CloseCause::Violation
}

/// The packet as the router may see it.
fn judge(incoming: Incoming, acks: &Mutex<Acks>) -> Result<Packet, CloseCause> {
    let Incoming { mut packet, qos, pkid, .. } = incoming;
    let allowed = match &mut packet {
        Packet::Publish(publish, _) => {
            publish.retain = false;
            client_topic(std::str::from_utf8(&publish.topic).unwrap_or_default())
        }
        Packet::Subscribe(subscribe, _) => subscribe.filters.iter().all(|filter| client_filter(&filter.path)),
        Packet::Unsubscribe(unsubscribe, _) => unsubscribe.filters.iter().all(|filter| client_filter(filter)),
        Packet::Disconnect(..) => return Err(CloseCause::Disconnected),
        Packet::PubAck(..) | Packet::PubRec(..) | Packet::PubRel(..) | Packet::PubComp(..) | Packet::PingReq(_) => true,
        _ => return Err(violation("a second CONNECT, or a packet that only a server sends")),
    };
    if !allowed {
        return Err(violation("a topic or filter that does not begin with test/"));
    }
    let in_order = acks.lock().unwrap_or_else(PoisonError::into_inner).accept(&packet, qos, pkid);
    if in_order { Ok(packet) } else { Err(violation("an acknowledgement of nothing or out of order")) }
}

async fn write<W: AsyncWrite + Unpin>(
    io: &mut W,
    first: Notification,
    notices: &mut LinkRx,
    acks: &Mutex<Acks>,
    patience: Duration,
) -> CloseCause {
    let mut notice = Some(first);
    loop {
        match notice {
            Some(Notification::Unschedule) if notices.wake().await.is_err() => return CloseCause::Dismissed,
            Some(Notification::Disconnect(..)) => return CloseCause::Dismissed,
            None | Some(Notification::Unschedule) => {}
            Some(other) => match wire(other, acks) {
                None => {}
                Some(bytes) => match write_all(io, &bytes, patience, |_, _| {}).await {
                    Ok(()) => {}
                    Err(WriteError::Stalled) => return CloseCause::SlowReader,
                    Err(WriteError::Io(_)) => return CloseCause::Lost,
                },
            },
        }
        notice = match notices.next().await {
            Ok(notice) => notice,
            Err(_) => return CloseCause::Dismissed,
        };
    }
}

/// The bytes of what the router says to the client, its acknowledgement noted as owed.
fn wire(notice: Notification, acks: &Mutex<Acks>) -> Option<Bytes> {
    let packet = match Option::<Packet>::from(notice)? {
        // Properties do not exist in 3.1.1, and rumqttd's writer panics on them.
        Packet::Publish(publish, _) => Packet::Publish(publish, None),
        packet => packet,
    };
    let released = if let Packet::PubRel(release, _) = &packet { Some(release.pkid) } else { None };
    let is_publish = matches!(packet, Packet::Publish(..));
    let bytes = encode(packet).ok()?;
    let mut acks = acks.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(header) = v4::check(bytes.iter().as_slice().iter(), usize::MAX).ok().filter(|_| is_publish) {
        let (qos, pkid) = publish_head(&bytes, &header);
        acks.published(qos, pkid);
    }
    if let Some(pkid) = released {
        acks.released(pkid);
    }
    Some(bytes)
}
