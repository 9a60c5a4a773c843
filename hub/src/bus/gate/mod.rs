//! The gate: the hub's own MQTT 3.1.1 listener, on rumqttd's codec.
//!
//! rumqttd's own listener dies for everybody after two odd connects and has no topic ACL, so accepting, limits, identity and ACL are
//! here. Agents never touch rumqttd's router: their frames go between their socket and their [`Session`] only. Other clients, off by
//! default, reach the router under `test/`.
//!
//! Invariants:
//! - Accepting waits for nobody: handshake and CONNECT happen on the connection's own task, in bounded number and time, on threads
//!   that stand back for the fleet's ([`front`]).
//! - Memory is bounded per connection: one packet being read, `uplink_depth` frames for the hub, one second of data downwards.
//! - One id, one connection: a later CONNECT closes the earlier connection.
//! - Nothing is retained; there are no persistent sessions.
//!
//! MQTT 3.1.1 has no DISCONNECT from a server: the gate closes the socket.

mod accept;
mod acks;
mod acl;
pub mod admission;
mod agent;
pub mod allowance;
pub mod certificate;
mod client;
mod codec;
pub mod config;
mod connect;
mod connection;
pub mod counters;
mod front;
mod pending;
mod registry;
mod revoke;
pub mod roster;
mod router;
mod sources;
pub mod tls;
pub mod transport;
mod writer;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::net::{TcpListener, TcpSocket};
use tokio::sync::{Semaphore, mpsc};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::topics::{Sid, Topic};
use super::{Bus, Downlink, FanOut, Session};
use admission::Admission;
use config::{GateConfig, GateError};
use counters::{Counters, Counts};
use front::Front;
use pending::{Limits, Pending};
use registry::Registry;
use router::Broker;
use transport::{Plain, Transport};

/// Connections that the kernel may hold ready for accept.
const BACKLOG: u32 = 4096;
/// How long a stopping gate waits for its connections.
const GRACE: Duration = Duration::from_secs(5);

/// What all connections share.
pub(crate) struct Shared {
    config: GateConfig,
    admission: Arc<dyn Admission>,
    sessions: mpsc::Sender<Session>,
    registry: Registry,
    pending: Arc<Pending>,
    counters: Arc<Counters>,
    broker: Option<Arc<Broker>>,
    front: Front,
    /// Connections that may still come. Each keeps its part to its end; tasks would not do to count them, as a connection that passes
    /// from the front's threads to the hub's is two for a moment.
    room: Arc<Semaphore>,
    stop: CancellationToken,
    tasks: TaskTracker,
}

/// Starts gates.
pub struct Gate;

impl Gate {
    /// Listens without TLS. Each agent that connects is handed to `sessions`; while that is full, CONNECTs wait.
    ///
    /// # Errors
    /// When a setting is wrong or the address cannot be listened on.
    pub fn start(config: GateConfig, admission: Arc<dyn Admission>, sessions: mpsc::Sender<Session>) -> Result<GateHandle, GateError> {
        Gate::start_with(Plain, config, admission, sessions)
    }

    /// Listens with `transport` between socket and MQTT.
    ///
    /// # Errors
    /// As [`Gate::start`].
    pub fn start_with<T: Transport>(
        transport: T,
        config: GateConfig,
        admission: Arc<dyn Admission>,
        sessions: mpsc::Sender<Session>,
    ) -> Result<GateHandle, GateError> {
        config.validate(T::SECURE)?;
        let listener = listen(config.listen).map_err(|source| GateError::Listen { addr: config.listen, source })?;
        let local_addr = listener.local_addr().map_err(|source| GateError::Listen { addr: config.listen, source })?;
        let (stop, tasks, counters) = (CancellationToken::new(), TaskTracker::new(), Arc::new(Counters::default()));
        let broker = (config.max_clients > 0).then(|| {
            let (broker, watch) = Broker::start(config.max_clients, counters.clone(), stop.clone());
            tasks.spawn(watch);
            broker
        });
        let pending = Pending::new(Limits {
            known: config.max_pending,
            unknown: config.max_pending_unknown.min(config.max_pending),
            failing: config.max_pending_failing.min(config.max_pending),
        });
        let (registry, front) = (Registry::new(config.connects), Front::start().map_err(GateError::Threads)?);
        let room = Arc::new(Semaphore::new(config.max_connections.min(Semaphore::MAX_PERMITS)));
        let shared = Arc::new(Shared { config, admission, sessions, registry, pending, counters, broker, front, room, stop, tasks });
        shared.tasks.spawn(revoke::run(shared.clone()));
        shared.tasks.spawn_on(accept::run(listener, Arc::new(transport), shared.clone()), shared.front.strangers());
        Ok(GateHandle { local_addr, shared })
    }
}

fn listen(addr: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = if addr.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.set_reuseaddr(true)?;
    socket.bind(addr)?;
    socket.listen(BACKLOG)
}

/// A running gate. It runs until [`GateHandle::shutdown`], also when the handle is dropped.
#[derive(Clone)]
pub struct GateHandle {
    local_addr: SocketAddr,
    shared: Arc<Shared>,
}

impl GateHandle {
    /// Where it listens.
    pub fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// What it has counted so far.
    pub fn counts(&self) -> Counts {
        self.shared.counters.read()
    }

    /// Agents connected now.
    pub fn agents(&self) -> usize {
        self.shared.registry.agents()
    }

    /// Stops accepting, closes every connection, and waits for them; true when all ended within five seconds.
    pub async fn shutdown(&self) -> bool {
        self.shared.stop.cancel();
        self.shared.tasks.close();
        timeout(GRACE, self.shared.tasks.wait()).await.is_ok()
    }
}

impl Bus for GateHandle {
    fn link(&self, sid: Sid) -> Option<Downlink> {
        self.shared.registry.agent(sid)
    }

    fn fan_out(&self, channel: Option<u64>, payload: &Bytes) -> FanOut {
        let topic = channel.map_or(Topic::Announce, Topic::Channel);
        let links = self.shared.registry.subscribers(channel);
        let taken = links.iter().filter(|link| link.push_shared(topic, payload.clone()).is_ok()).count();
        FanOut { taken, missed: links.len() - taken }
    }
}
