//! From an address to an MQTT connection: TCP, TLS, CONNECT and SUBSCRIBE, the latter two at once.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bus_schema::id::Sid;
use bus_schema::limits::MAX_FRAME;
use bus_schema::topic::Topic;
use futures::{SinkExt, StreamExt};
use rumqttc::mqttbytes::v4::{Codec, Connect, ConnectReturnCode, Packet, Subscribe};
use rumqttc::mqttbytes::{self, QoS};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use system::bounded::Bounded;
use tokio::io::{ReadHalf, WriteHalf, split};
use tokio::net::{TcpStream, lookup_host};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_util::codec::{FramedRead, FramedWrite};
use tokio_util::either::Either;

use super::address::Address;
use super::attention::Attention;
use super::pings::KEEP_ALIVE;
use super::socket::Socket;

/// How long all of it may take, on a link that crawls.
const DIAL_TIMEOUT: Duration = Duration::from_secs(60);

/// Bytes of a PUBLISH beside its frame: fixed header and topic.
const PUBLISH_FIELDS: usize = 64;

/// Bytes that are read at once, at most: half of the largest frame.
const READ_BUFFER: usize = 32 * 1024;

/// The one packet of ours that is answered with an id.
const SUBSCRIBE_ID: u16 = 1;

type Wire = Bounded;
type Stream = Either<TlsStream<Wire>, Wire>;
type Packets = FramedRead<ReadHalf<Stream>, Codec>;
type Out = FramedWrite<WriteHalf<Stream>, Codec>;

/// A connection whose CONNECT was taken.
pub struct Connection {
    pub packets: Packets,
    pub out: Out,
    pub socket: Socket,
    pub attention: Attention,
    /// How long an answer takes while nothing else is under way.
    pub round_trip: Duration,
}

/// Why there is no connection any more.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("{0}")]
    Mqtt(mqttbytes::Error),
    #[error("the broker has closed the connection")]
    Closed,
    #[error("no answer from the broker in {} s", .0.as_secs())]
    Silent(Duration),
    #[error("the broker refused CONNECT: {0:?}")]
    Refused(ConnectReturnCode),
    #[error("the broker's first packet is no CONNACK")]
    NoConnAck,
    #[error("the engine has ended")]
    Stopped,
}

impl From<mqttbytes::Error> for LinkError {
    fn from(error: mqttbytes::Error) -> LinkError {
        match error {
            mqttbytes::Error::Io(error) => LinkError::Io(error),
            error => LinkError::Mqtt(error),
        }
    }
}

/// How to connect this time.
#[derive(Debug, Clone, Copy)]
pub struct Attempt {
    /// How long the broker may leave TCP's SYN without answer.
    pub answer: Duration,
    /// Whether streams wait for the link.
    pub awaited: bool,
}

/// Connects to the broker as `sid`; the answer to SUBSCRIBE is still to come.
///
/// # Errors
/// What failed, or that the broker does not take this agent.
pub async fn dial(address: &Address, tls: Option<Arc<ClientConfig>>, sid: Sid, attempt: Attempt) -> Result<Connection, LinkError> {
    let dialled = async {
        let (tcp, handshake) = connect(address, attempt.answer).await?;
        let connected = Instant::now();
        let socket = Socket::prepare(&tcp)?;
        let attention = Attention::new(handshake, attempt.awaited, connected);
        socket.be(attention.patience());
        let wire = Bounded::new(tcp);
        let stream = match tls {
            None => Either::Right(wire),
            Some(client) => Either::Left(TlsConnector::from(client).connect(server_name(address)?, wire).await?),
        };
        let (packets, out) = framed(stream);
        let mut connection = Connection { packets, out, socket, attention, round_trip: handshake };
        greet(&mut connection, sid).await?;
        // A SYN that was lost and repeated says nothing of the link; TLS and CONNECT take a round trip each.
        connection.round_trip = handshake.min(connected.elapsed() / 2);
        connection.attention = Attention::new(connection.round_trip, attempt.awaited, Instant::now());
        connection.socket.be(connection.attention.patience());
        Ok(connection)
    };
    timeout(DIAL_TIMEOUT, dialled).await.map_err(|_| LinkError::Silent(DIAL_TIMEOUT))?
}

/// Tries the addresses of a host in turn.
async fn connect(address: &Address, answer: Duration) -> Result<(TcpStream, Duration), LinkError> {
    let mut error = LinkError::Io(io::Error::new(io::ErrorKind::NotFound, format!("{} has no address", address.host)));
    for ip in lookup_host((address.host.as_str(), address.port)).await? {
        let began = Instant::now();
        match timeout(answer, TcpStream::connect(ip)).await {
            Ok(Ok(tcp)) => return Ok((tcp, began.elapsed())),
            Ok(Err(failed)) => error = failed.into(),
            Err(_) => error = LinkError::Silent(answer),
        }
    }
    Err(error)
}

fn server_name(address: &Address) -> io::Result<ServerName<'static>> {
    let wrong = |error| io::Error::new(io::ErrorKind::InvalidInput, format!("{:?} is no name of a host: {error}", address.host));
    ServerName::try_from(address.host.clone()).map_err(wrong)
}

fn framed(stream: Stream) -> (Packets, Out) {
    let most = MAX_FRAME + PUBLISH_FIELDS;
    let codec = Codec { max_incoming_size: most, max_outgoing_size: most };
    let (read, write) = split(stream);
    (FramedRead::with_capacity(read, codec.clone(), READ_BUFFER), FramedWrite::new(write, codec))
}

/// SUBSCRIBE does not wait for CONNACK (MQTT 3.1.1, 3.1.4): a round trip less.
async fn greet(connection: &mut Connection, sid: Sid) -> Result<(), LinkError> {
    let mut connect = Connect::new(sid.as_str());
    connect.keep_alive = KEEP_ALIVE.as_secs() as u16;
    let mut subscribe = Subscribe::new(Topic::filter(sid), QoS::AtMostOnce);
    subscribe.pkid = SUBSCRIBE_ID;
    say(&mut connection.out, Packet::Connect(connect))?;
    say(&mut connection.out, Packet::Subscribe(subscribe))?;
    connection.out.flush().await?;
    match connection.packets.next().await.ok_or(LinkError::Closed)?? {
        Packet::ConnAck(answer) if answer.code == ConnectReturnCode::Success => Ok(()),
        Packet::ConnAck(answer) => Err(LinkError::Refused(answer.code)),
        _ => Err(LinkError::NoConnAck),
    }
}

/// Puts a packet behind what waits to be flushed.
///
/// # Errors
/// A packet that is too large.
pub fn say(out: &mut Out, packet: Packet) -> Result<(), LinkError> {
    Ok(out.start_send_unpin(packet)?)
}
