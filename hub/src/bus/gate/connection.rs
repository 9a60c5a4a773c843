//! One connection from accept to its end: handshake, CONNECT, admission, then its role.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use rumqttd::protocol::{ConnectReturnCode, LastWill};
use tokio::io::{AsyncWriteExt, ReadHalf, WriteHalf, split};
use tokio::net::TcpStream;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::timeout;

use super::acl::{AgentPublish, agent_publish, client_id};
use super::admission::{PeerIdentity, Refusal, Role};
use super::codec::PacketReader;
use super::connect::{Greeting, MAX_CONNECT, NoGreeting, connack, read, return_code};
use super::counters::{Counters, count};
use super::pending::Place;
use super::revoke::unwanted;
use super::transport::{Accepted, Transport};
use super::{Shared, agent, client};
use crate::bus::topics::Sid;
use crate::bus::{CloseCause, Downlink, Session, Uplink};

/// How long a refused or closed peer may take to hear of it.
const GOODBYE: Duration = Duration::from_secs(1);

/// A stream split for one task that reads and writes at once.
struct Io<S> {
    reader: PacketReader<ReadHalf<S>>,
    writer: WriteHalf<S>,
}

/// A connection whose CONNECT has been read.
struct Arrival<S> {
    io: Io<S>,
    identity: PeerIdentity,
    greeting: Greeting,
}

/// Runs one connection until its CONNECT is judged, and goes on with it on the hub's threads.
pub async fn arrive<T: Transport>(
    socket: TcpStream,
    peer: SocketAddr,
    (room, place): (OwnedSemaphorePermit, Place),
    transport: Arc<T>,
    shared: Arc<Shared>,
) {
    let greeted = tokio::select! {
        () = shared.stop.cancelled() => return place.arrived(),
        () = place.evicted() => return,
        // Boxed, so that the room of a handshake is given back before the connection's long life.
        greeted = timeout(shared.config.connect_timeout, Box::pin(greet(socket, transport.as_ref(), &shared))) => greeted,
    };
    let Some(arrival) = greeted.ok().flatten() else { return count(&shared.counters.no_connect) };
    match admit(&arrival, &shared) {
        Ok(role) => {
            place.arrived();
            let hub = shared.front.hub().clone();
            shared.tasks.clone().spawn_on(serve(arrival, role, peer, room, shared), &hub);
        }
        Err(refusal) => refuse(arrival, refusal, &shared.counters).await,
    }
}

async fn serve<S>(arrival: Arrival<S>, role: Role, peer: SocketAddr, room: OwnedSemaphorePermit, shared: Arc<Shared>)
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send,
{
    match role {
        // Boxed apart, so that an agent does not hold the room of a client's future.
        Role::Agent(sid) => serve_agent(arrival, sid, peer, &shared).await,
        Role::Client => Box::pin(serve_client(arrival, &shared)).await,
    }
    drop(room);
}

/// What a peer may be here and now.
fn admit<S>(arrival: &Arrival<S>, shared: &Shared) -> Result<Role, Refusal> {
    let role = shared.admission.connect(&arrival.identity, arrival.greeting.claim())?;
    if let (Role::Agent(sid), Some(_)) = (role, arrival.identity.certificate())
        && !shared.registry.may_connect(sid, Instant::now())
    {
        count(&shared.counters.too_often);
        return Err(Refusal::Unavailable);
    }
    Ok(role)
}

async fn greet<T: Transport>(socket: TcpStream, transport: &T, shared: &Shared) -> Option<Arrival<T::Stream>> {
    let Accepted { stream, identity, resumed } = match transport.accept(socket).await {
        Ok(accepted) => accepted,
        Err(error) => {
            tracing::debug!(%error, "a handshake failed");
            count(&shared.counters.failed_handshakes);
            return None;
        }
    };
    if resumed {
        count(&shared.counters.resumed);
    }
    let (read_half, mut writer) = split(stream);
    let mut reader = PacketReader::new(read_half, MAX_CONNECT, shared.config.connect_timeout);
    match read(&mut reader).await {
        Ok(greeting) => {
            reader.max_packet = shared.config.max_packet;
            reader.patience = greeting.patience(shared.config.max_idle);
            Some(Arrival { io: Io { reader, writer }, identity, greeting })
        }
        Err(NoGreeting::Version(version)) => {
            tracing::info!(version, "refused a client of another MQTT version; this gate speaks 3.1.1");
            say(&mut writer, connack(ConnectReturnCode::RefusedProtocolVersion)).await;
            None
        }
        Err(NoGreeting::Unreadable(error)) => {
            tracing::debug!(%error, "a connection without CONNECT");
            None
        }
    }
}

async fn refuse<S: tokio::io::AsyncRead + tokio::io::AsyncWrite>(mut arrival: Arrival<S>, refusal: Refusal, counters: &Counters) {
    tracing::info!(client_id = arrival.greeting.client_id, %refusal, "CONNECT refused");
    count(&counters.refused);
    say(&mut arrival.io.writer, connack(return_code(refusal))).await;
}

/// Says a last word and closes, without waiting for a peer that does not listen.
async fn say<W: tokio::io::AsyncWrite + Unpin>(writer: &mut W, bytes: Bytes) {
    let goodbye = async {
        writer.write_all(&bytes).await?;
        writer.shutdown().await
    };
    // The connection ends here whether or not the peer has heard.
    let _ = timeout(GOODBYE, goodbye).await;
}

async fn serve_agent<S>(arrival: Arrival<S>, sid: Sid, peer: SocketAddr, shared: &Shared)
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
{
    if arrival.greeting.will.as_ref().is_some_and(|will| !agent_will_allowed(sid, will)) {
        return refuse(arrival, Refusal::NotAuthorized, &shared.counters).await;
    }
    let Arrival { io, greeting, identity } = arrival;
    let link = shared.registry.seat_agent(sid, identity.certificate());
    let (frames, closed, uplink) = Uplink::bounded(shared.config.uplink_depth);
    let will = greeting.will.map(|will| will.message);
    let seat = agent::Seat { link: link.clone(), registry: &shared.registry, closed, will };
    let session = Session { sid, conn: link.conn, peer, downlink: Downlink(link.clone()), uplink };
    let delivered = timeout(shared.config.connect_timeout, shared.sessions.send(session)).await;
    if !matches!(delivered, Ok(Ok(()))) {
        link.close(CloseCause::Dismissed);
        let mut writer = io.writer;
        return say(&mut writer, connack(return_code(Refusal::Unavailable))).await;
    }
    // A key that was taken away between admission and seat is known by now, and one that goes later finds the seat.
    if let Some(cause) = unwanted(shared, &link) {
        link.close(cause);
    }
    if let (Some(roster), Some(certificate)) = (shared.admission.roster(), identity.certificate()) {
        roster.connected(sid, certificate.key);
    }
    count(&shared.counters.agents);
    link.reply(connack(ConnectReturnCode::Success)).await;
    let cause = tokio::select! {
        cause = agent::run(io.reader, io.writer, &seat, &frames, &shared.counters, &shared.config) => cause,
        () = shared.stop.cancelled() => link.close(CloseCause::Shutdown),
    };
    tracing::debug!(%sid, conn = %link.conn, ?cause, "agent connection ended");
    note(&shared.counters, cause);
    // The seat writes the end before the uplink's sender goes, so that the hub reads it.
    drop(seat);
    drop(frames);
}

fn agent_will_allowed(sid: Sid, will: &LastWill) -> bool {
    std::str::from_utf8(&will.topic).is_ok_and(|topic| matches!(agent_publish(sid, topic), AgentPublish::Up(_)))
}

async fn serve_client<S>(mut arrival: Arrival<S>, shared: &Shared)
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
{
    let Some(broker) = &shared.broker else {
        return refuse(arrival, Refusal::NotAuthorized, &shared.counters).await;
    };
    if arrival.greeting.client_id.is_empty() && arrival.greeting.clean_session {
        arrival.greeting.client_id = format!("anonymous-{}", fastrand::u64(..));
    }
    let id = arrival.greeting.client_id.clone();
    if !client_id(&id) {
        return refuse(arrival, Refusal::ClientId, &shared.counters).await;
    }
    if arrival.greeting.will.as_ref().is_some_and(|will| !client::will_allowed(will)) {
        return refuse(arrival, Refusal::NotAuthorized, &shared.counters).await;
    }
    let Some((seat, old)) = shared.registry.seat_client(&id, shared.config.max_clients) else {
        return refuse(arrival, Refusal::Unavailable, &shared.counters).await;
    };
    let place = client::Place { id: id.clone(), seat, registry: &shared.registry };
    if let Some(old) = old {
        // The router takes two connections of one id apart badly: the old one leaves it first.
        old.gone.cancelled().await;
    }
    let Some(attachment) = broker.attach(id).await else {
        return refuse(arrival, Refusal::Unavailable, &shared.counters).await;
    };
    count(&shared.counters.clients);
    let Arrival { io, greeting, .. } = arrival;
    let served = client::run(io.reader, io.writer, &place, attachment, greeting.will, broker, shared.config.write_timeout);
    let cause = tokio::select! {
        cause = served => cause,
        () = shared.stop.cancelled() => CloseCause::Shutdown,
    };
    note(&shared.counters, cause);
}

fn note(counters: &Counters, cause: CloseCause) {
    match cause {
        CloseCause::TakenOver => count(&counters.taken_over),
        CloseCause::Revoked => count(&counters.revoked),
        CloseCause::Expired => count(&counters.expired),
        CloseCause::KeepAlive => count(&counters.keepalive),
        CloseCause::SlowReader => count(&counters.slow_readers),
        CloseCause::Violation => count(&counters.violations),
        CloseCause::Disconnected | CloseCause::Lost | CloseCause::Dismissed | CloseCause::Shutdown => {}
    }
}
