//! Packets in and out: rumqttd's MQTT 3.1.1 codec, with the checks that it leaves out.
//!
//! Added here: reserved flags, packet id 0, UTF-8 and NUL in topics, a size limit on the whole packet, and the QoS and packet id of a
//! PUBLISH, which rumqttd keeps to itself.

use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use rumqttd::protocol::v4::{self, V4};
use rumqttd::protocol::{self, Packet, Protocol};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::time::timeout;

/// What an idle connection holds for its next packet.
const IDLE_BUFFER: usize = 128;
/// The most that is read at once.
const READ_CHUNK: usize = 16 * 1024;

/// Why no packet came.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    #[error("the peer has closed")]
    Closed,
    #[error("the socket failed: {0}")]
    Io(#[from] std::io::Error),
    #[error("nothing came in time")]
    Silent,
    #[error("{0}")]
    Malformed(String),
}

/// One packet as it came.
#[derive(Debug)]
pub struct Incoming {
    pub packet: Packet,
    /// QoS level and packet id, 0 and 0 for anything but a PUBLISH.
    pub qos: u8,
    pub pkid: u16,
    /// Bytes on the wire.
    pub size: usize,
}

/// Reads packets, holding no more than one of the largest size.
#[derive(Debug)]
pub struct PacketReader<R> {
    io: R,
    buffer: BytesMut,
    chunk: usize,
    /// The largest packet after its fixed header.
    pub max_packet: usize,
    /// The longest silence; any byte that comes begins it anew, so a slow link may take its time for a large packet.
    pub patience: Duration,
}

impl<R: AsyncRead + Unpin> PacketReader<R> {
    pub fn new(io: R, max_packet: usize, patience: Duration) -> Self {
        PacketReader { io, buffer: BytesMut::new(), chunk: IDLE_BUFFER, max_packet, patience }
    }

    /// The next packet.
    pub async fn next(&mut self) -> Result<Incoming, ReadError> {
        loop {
            match v4::check(self.buffer.iter(), self.max_packet) {
                Ok(header) => {
                    let decoded = decode(&mut self.buffer, header, self.max_packet);
                    // Else the packet would share its memory with a buffer that holds nothing.
                    if self.buffer.is_empty() {
                        self.buffer = BytesMut::new();
                    }
                    return decoded;
                }
                Err(protocol::Error::InsufficientBytes(missing)) => self.fill(missing).await?,
                Err(error) => return Err(ReadError::Malformed(error.to_string())),
            }
        }
    }

    /// Reads what has come, at most so much that a flooding peer is read in large pieces and an idle one holds a small buffer; of a large
    /// packet that has begun no more than its rest, so that it has its memory alone.
    async fn fill(&mut self, missing: usize) -> Result<(), ReadError> {
        let room = missing.max(self.chunk);
        self.buffer.reserve(room);
        let mut into = (&mut self.buffer).limit(room);
        let read = timeout(self.patience, self.io.read_buf(&mut into)).await.map_err(|_| ReadError::Silent)??;
        if read == 0 {
            return Err(ReadError::Closed);
        }
        self.chunk = if read >= room { (room * 2).min(READ_CHUNK) } else { IDLE_BUFFER };
        Ok(())
    }

    /// What has been read and not yet decoded.
    pub fn peek(&self) -> &[u8] {
        &self.buffer
    }

    /// Waits until at least `len` bytes are there to [`peek`](Self::peek) at.
    pub async fn want(&mut self, len: usize) -> Result<(), ReadError> {
        while self.buffer.len() < len {
            self.fill(len - self.buffer.len()).await?;
        }
        Ok(())
    }
}

/// Takes one packet, complete in `buffer`, and checks it.
fn decode(buffer: &mut BytesMut, header: v4::FixedHeader, max: usize) -> Result<Incoming, ReadError> {
    let malformed = |what: String| Err(ReadError::Malformed(what));
    let size = header.fixed_header_len + header.remaining_len;
    let (kind, flags) = (header.byte1 >> 4, header.byte1 & 0x0f);
    let expected = match kind {
        3 => flags,
        6 | 8 | 10 => 2,
        _ => 0,
    };
    if flags != expected {
        return malformed(format!("packet type {kind} with reserved flags {flags:#06b}"));
    }
    let (qos, pkid) = if kind == 3 { publish_head(buffer, &header) } else { (0, 0) };
    let packet = match V4.read_mut(buffer, max) {
        Ok(packet) => packet,
        Err(error) => return malformed(error.to_string()),
    };
    let (zero_id, text_ok) = match &packet {
        Packet::Publish(publish, _) => (qos > 0 && pkid == 0, std::str::from_utf8(&publish.topic).is_ok_and(is_topic)),
        Packet::Subscribe(subscribe, _) => (subscribe.pkid == 0, subscribe.filters.iter().all(|filter| is_filter(&filter.path))),
        Packet::Unsubscribe(unsubscribe, _) => (unsubscribe.pkid == 0, unsubscribe.filters.iter().all(|filter| is_filter(filter))),
        _ => (false, true),
    };
    match () {
        () if zero_id => malformed("packet id 0".into()),
        () if !text_ok => malformed("a topic or filter that MQTT does not allow".into()),
        () => Ok(Incoming { packet, qos, pkid, size }),
    }
}

/// QoS and packet id of a PUBLISH that is complete in `bytes`; 0 for an id that is not there.
pub fn publish_head(bytes: &[u8], header: &v4::FixedHeader) -> (u8, u16) {
    let qos = (header.byte1 >> 1) & 3;
    let u16_at = |at: usize| bytes.get(at..at + 2).map_or(0, |two| u16::from_be_bytes([two[0], two[1]]));
    if qos == 0 {
        return (0, 0);
    }
    let topic_len = usize::from(u16_at(header.fixed_header_len));
    (qos, u16_at(header.fixed_header_len + 2 + topic_len))
}

/// Whether MQTT allows `text` as a topic name.
pub fn is_topic(text: &str) -> bool {
    !text.is_empty() && !text.contains(['+', '#', '\0'])
}

/// Whether MQTT allows `text` as a topic filter.
pub fn is_filter(text: &str) -> bool {
    // rumqttd's check takes `#x` for a level of one filter; the last level is looked at again here.
    let last = text.rsplit('/').next().unwrap_or_default();
    let last_ok = last == "#" || !last.contains('#');
    last_ok && !text.contains('\0') && protocol::valid_filter(text)
}

/// The bytes of a packet.
///
/// # Errors
/// When rumqttd cannot write it, which names a packet that 3.1.1 does not have.
pub fn encode(packet: Packet) -> Result<Bytes, protocol::Error> {
    let mut buffer = BytesMut::with_capacity(16);
    V4.write(packet, &mut buffer)?;
    Ok(buffer.freeze())
}

#[cfg(test)]
#[path = "codec_tests.rs"]
mod tests;
