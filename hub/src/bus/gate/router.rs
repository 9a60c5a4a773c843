//! rumqttd's router, kept for clients that are no agents: started, fed, watched, and replaced when it dies.
//!
//! Invariants:
//! - A client has at most one unread event in the router's queue of 1,000, so feeding never blocks a runtime thread.
//! - Sessions are always clean and `$share` never gets here: both are needed for the panic that ends a stock broker.
//! - A router that is dead or stuck is found by an echo that stays away; its clients are closed and a new one takes over.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt;
use rumqttd::local::{LinkBuilder, LinkRx, LinkTx};
use rumqttd::protocol::{Disconnect, DisconnectReasonCode, Packet, Publish};
use rumqttd::{Notification, Router, RouterConfig};
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::counters::{Counters, count};

/// Packets of one client that may wait for the router.
const MAX_FED: usize = 64;
const FULL_PAUSE: Duration = Duration::from_millis(1);
/// A topic that no client may name, as it is not below `test/`.
const ECHO_TOPIC: &str = "gate/echo";
const ECHO_EVERY: Duration = Duration::from_secs(2);
const ECHO_WITHIN: Duration = Duration::from_secs(6);
const LINK_WITHIN: Duration = Duration::from_secs(5);
const WAITING_WILLS: usize = 256;

/// Makes a link for a client id; `None` when the router is gone or full.
type MakeLink = Arc<dyn Fn(&str) -> Option<(LinkTx, LinkRx, Notification)> + Send + Sync>;

/// The router's thread has ended.
#[derive(Debug)]
pub struct RouterGone;

/// One router and the sign of its death.
#[derive(Clone)]
struct Generation {
    make: MakeLink,
    died: CancellationToken,
}

/// The router behind the gate.
pub struct Broker {
    max_clients: usize,
    current: Mutex<Generation>,
    wills: mpsc::Sender<Publish>,
}

/// One client's way into the router and out of it.
pub struct Attachment {
    pub feed: Feed,
    pub notices: LinkRx,
    pub first: Notification,
    pub died: CancellationToken,
}

impl Broker {
    /// Starts a router and the task that watches it until `stop`.
    pub fn start(max_clients: usize, counters: Arc<Counters>, stop: CancellationToken) -> (Arc<Broker>, impl Future<Output = ()>) {
        let (wills, waiting) = mpsc::channel(WAITING_WILLS);
        let broker = Arc::new(Broker { max_clients, current: Mutex::new(generation(max_clients)), wills });
        let watch = supervise(broker.clone(), waiting, counters, stop);
        (broker, watch)
    }

    /// Attaches a client; its session is clean. `None` when the router does not answer.
    pub async fn attach(&self, id: String) -> Option<Attachment> {
        let Generation { make, died } = self.current();
        let build = tokio::task::spawn_blocking(move || make(&id));
        let (tx, notices, first) = timeout(LINK_WITHIN, build).await.ok()?.ok()??;
        Some(Attachment { feed: Feed { tx }, notices, first, died })
    }

    /// Publishes a will, waiting while too many wait.
    pub async fn publish_will(&self, topic: Bytes, payload: Bytes) {
        // The watch outlives every client; without it the hub is stopping and nobody is left to hear a will.
        let _ = self.wills.send(Publish::new(topic, payload, false)).await;
    }

    fn current(&self) -> Generation {
        self.current.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn replace(&self) {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        current.died.cancel();
        *current = generation(self.max_clients);
    }
}

/// Where one client's packets go in. Dropping it takes the client out of the router.
pub struct Feed {
    tx: LinkTx,
}

impl Feed {
    /// Hands one packet to the router, waiting while many wait.
    ///
    /// # Errors
    /// When the router is gone.
    pub async fn push(&mut self, packet: Packet) -> Result<(), RouterGone> {
        while self.tx.buffer().len() >= MAX_FED {
            sleep(FULL_PAUSE).await;
        }
        self.put(packet)
    }

    fn put(&mut self, packet: Packet) -> Result<(), RouterGone> {
        {
            let mut waiting = self.tx.buffer();
            if !waiting.is_empty() {
                // What waits there has its event in the queue already, which takes this one along.
                waiting.push_back(packet);
                return Ok(());
            }
        }
        // The future never waits; it blocks only on a full queue, which one event a client cannot fill.
        let sent = self.tx.send(packet).now_or_never().expect("LinkTx::send has no await point");
        sent.map(drop).map_err(|_| RouterGone)
    }
}

impl Drop for Feed {
    fn drop(&mut self) {
        let disconnect = Disconnect { reason_code: DisconnectReasonCode::NormalDisconnection };
        // Fails only when the router is gone, and the client with it.
        let _ = self.put(Packet::Disconnect(disconnect, None));
    }
}

fn generation(max_clients: usize) -> Generation {
    let config = RouterConfig {
        max_connections: 2 * max_clients + 2,
        max_outgoing_packet_count: 200,
        max_segment_size: 1 << 20,
        max_segment_count: 4,
        ..RouterConfig::default()
    };
    let router = Router::new(0, config).spawn();
    let make: MakeLink = Arc::new(move |id| LinkBuilder::new(id, router.clone()).clean_session(true).build().ok());
    Generation { make, died: CancellationToken::new() }
}

async fn supervise(broker: Arc<Broker>, mut wills: mpsc::Receiver<Publish>, counters: Arc<Counters>, stop: CancellationToken) {
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            why = watch(&broker, &mut wills) => {
                tracing::error!(why, "the router for non-agent clients is dead: closing its clients and starting another");
                count(&counters.router_restarts);
                broker.replace();
                sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

/// Publishes wills and echoes until the router fails to answer; says why.
async fn watch(broker: &Broker, wills: &mut mpsc::Receiver<Publish>) -> &'static str {
    let Some(Attachment { mut feed, mut notices, .. }) = broker.attach("gate-watch".into()).await else {
        return "it takes no connection";
    };
    if feed.tx.subscribe(ECHO_TOPIC).is_err() {
        return "its thread has ended";
    }
    let mut tick = interval(ECHO_EVERY);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut silence = Box::pin(sleep(ECHO_WITHIN));
    loop {
        let sent = tokio::select! {
            _ = tick.tick() => feed.push(Packet::Publish(Publish::new(ECHO_TOPIC, "", false), None)).await,
            Some(will) = wills.recv() => feed.push(Packet::Publish(will, None)).await,
            notice = notices.next() => match notice {
                Ok(Some(Notification::Forward(_))) => {
                    silence = Box::pin(sleep(ECHO_WITHIN));
                    Ok(())
                }
                Ok(Some(Notification::Unschedule)) => notices.wake().await.map_err(|_| RouterGone),
                Ok(_) => Ok(()),
                Err(_) => Err(RouterGone),
            },
            () = &mut silence => return "its echo stays away",
        };
        if sent.is_err() {
            return "its thread has ended";
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The panic of a stock broker: a persistent shared subscriber that leaves with an unacknowledged message.
    fn kill(make: &MakeLink, router_of: impl Fn() -> (LinkTx, LinkRx)) {
        let (mut tx, mut rx) = router_of();
        let shared = rumqttd::protocol::Filter {
            path: "$share/g/test/x".into(),
            qos: rumqttd::protocol::QoS::AtLeastOnce,
            nolocal: false,
            preserve_retain: false,
            retain_forward_rule: rumqttd::protocol::RetainForwardRule::Never,
        };
        let subscribe = rumqttd::protocol::Subscribe { pkid: 1, filters: vec![shared] };
        tx.send(Packet::Subscribe(subscribe, None)).now_or_never().unwrap().unwrap();
        let (mut publisher, _rx, _) = make("publisher").unwrap();
        publisher.publish("test/x", "payload").unwrap();
        while !matches!(rx.recv(), Ok(Some(Notification::Forward(_)))) {}
        let bye = Disconnect { reason_code: DisconnectReasonCode::NormalDisconnection };
        tx.send(Packet::Disconnect(bye, None)).now_or_never().unwrap().unwrap();
    }

    #[tokio::test]
    async fn a_dead_router_closes_its_clients_and_is_replaced() {
        let (counters, stop) = (Arc::new(Counters::default()), CancellationToken::new());
        let (broker, watch) = Broker::start(4, counters.clone(), stop.clone());
        // A router of our own making gives the persistent session that the broker never makes.
        let router = Router::new(
            0,
            RouterConfig {
                max_connections: 8,
                max_outgoing_packet_count: 200,
                max_segment_size: 1 << 20,
                max_segment_count: 2,
                ..RouterConfig::default()
            },
        )
        .spawn();
        let doomed = router.clone();
        let make: MakeLink = Arc::new(move |id| LinkBuilder::new(id, router.clone()).clean_session(true).build().ok());
        let died = CancellationToken::new();
        *broker.current.lock().unwrap() = Generation { make: make.clone(), died: died.clone() };
        let watching = tokio::spawn(watch);
        let client = broker.attach("client".into()).await.unwrap();
        let killing = tokio::task::spawn_blocking(move || {
            kill(&make, || {
                let (tx, rx, _) = LinkBuilder::new("victim", doomed.clone()).clean_session(false).build().unwrap();
                (tx, rx)
            });
        });
        killing.await.unwrap();
        timeout(Duration::from_secs(10), client.died.cancelled()).await.expect("the death is noticed");
        assert_eq!(counters.read().router_restarts, 1);
        assert!(broker.attach("client".into()).await.is_some(), "the new router takes connections");
        stop.cancel();
        watching.await.unwrap();
    }
}
