//! Who is connected: one connection a client id, and the fleet channels' subscribers.
//!
//! Invariants: connection ids are given under the lock, so of two connections of one id the later has the higher; a connection that
//! has ended removes itself only while it is still the one registered.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use tokio_util::sync::CancellationToken;

use super::allowance::{Allowance, Rate};
use super::certificate::ClientCertificate;
use crate::bus::downlink::Link;
use crate::bus::topics::Sid;
use crate::bus::{CloseCause, ConnId, Downlink};

/// Fleet channels that one agent may hold, one a bundle of many clusters: 100 bytes each.
const MAX_CHANNELS: usize = 256;

#[derive(Debug)]
pub struct Registry {
    connects: Rate,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    last_conn: u64,
    agents: HashMap<Sid, Arc<Link>>,
    channels: HashMap<Option<u64>, HashMap<Sid, Arc<Link>>>,
    clients: HashMap<String, ClientSeat>,
    /// How often each cluster may connect; of clusters that the roster has, so their number is bounded.
    connects: HashMap<Sid, Allowance>,
}

/// The place of a client that is no agent.
#[derive(Debug, Clone)]
pub struct ClientSeat {
    pub conn: ConnId,
    /// Cancelled when a later connection takes the id over.
    pub taken_over: CancellationToken,
    /// Cancelled when the connection has left the router, which its successor waits for.
    pub gone: CancellationToken,
}

impl Registry {
    /// Nobody is connected; each cluster may connect at this rate.
    pub fn new(connects: Rate) -> Registry {
        Registry { connects, state: Mutex::default() }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a cluster, admitted by its key, may connect once more now.
    pub fn may_connect(&self, sid: Sid, now: Instant) -> bool {
        self.lock().connects.entry(sid).or_insert_with(|| Allowance::full(self.connects, now)).take(self.connects, now)
    }

    /// Registers a connection of an agent and closes the one before it.
    pub fn seat_agent(&self, sid: Sid, certificate: Option<ClientCertificate>) -> Arc<Link> {
        let mut state = self.lock();
        state.last_conn += 1;
        let mut link = Link::new(sid, ConnId(state.last_conn));
        link.certificate = certificate;
        let link = Arc::new(link);
        if let Some(old) = state.agents.insert(sid, link.clone()) {
            state.forget_channels(&old);
            old.close(CloseCause::TakenOver);
        }
        link
    }

    /// Removes a connection of an agent, if it is still the one registered.
    pub fn unseat_agent(&self, link: &Arc<Link>) {
        let mut state = self.lock();
        state.forget_channels(link);
        if state.agents.get(&link.sid).is_some_and(|held| held.conn == link.conn) {
            state.agents.remove(&link.sid);
        }
    }

    /// Closes every agent's connection that there is a cause against.
    pub fn close_where(&self, cause: impl Fn(&Link) -> Option<CloseCause>) {
        let links: Vec<_> = self.lock().agents.values().cloned().collect();
        for (link, cause) in links.iter().filter_map(|link| Some((link, cause(link)?))) {
            link.close(cause);
        }
    }

    /// The way down to an agent.
    pub fn agent(&self, sid: Sid) -> Option<Downlink> {
        self.lock().agents.get(&sid).cloned().map(Downlink)
    }

    /// Agents connected.
    pub fn agents(&self) -> usize {
        self.lock().agents.len()
    }

    /// Subscribes an agent to a fleet channel; false when it holds too many.
    pub fn join(&self, channel: Option<u64>, link: &Arc<Link>, held: usize) -> bool {
        if held >= MAX_CHANNELS {
            return false;
        }
        self.lock().channels.entry(channel).or_default().insert(link.sid, link.clone());
        true
    }

    /// Ends an agent's subscription to a fleet channel.
    pub fn leave(&self, channel: Option<u64>, link: &Link) {
        self.lock().leave(channel, link);
    }

    /// The subscribers of a fleet channel.
    pub fn subscribers(&self, channel: Option<u64>) -> Vec<Arc<Link>> {
        self.lock().channels.get(&channel).map(|links| links.values().cloned().collect()).unwrap_or_default()
    }

    /// Registers a client, at most `limit` of them; gives the seat of the one that it takes over.
    pub fn seat_client(&self, id: &str, limit: usize) -> Option<(ClientSeat, Option<ClientSeat>)> {
        let mut state = self.lock();
        if state.clients.len() >= limit && !state.clients.contains_key(id) {
            return None;
        }
        state.last_conn += 1;
        let seat = ClientSeat { conn: ConnId(state.last_conn), taken_over: CancellationToken::new(), gone: CancellationToken::new() };
        let old = state.clients.insert(id.to_owned(), seat.clone());
        if let Some(old) = &old {
            old.taken_over.cancel();
        }
        Some((seat, old))
    }

    /// Removes a client that has left the router, and lets its successor in.
    pub fn unseat_client(&self, id: &str, seat: &ClientSeat) {
        let mut state = self.lock();
        if state.clients.get(id).is_some_and(|held| held.conn == seat.conn) {
            state.clients.remove(id);
        }
        seat.gone.cancel();
    }
}

impl State {
    fn leave(&mut self, channel: Option<u64>, link: &Link) {
        let Some(links) = self.channels.get_mut(&channel) else { return };
        if links.get(&link.sid).is_some_and(|held| held.conn == link.conn) {
            links.remove(&link.sid);
        }
        if links.is_empty() {
            self.channels.remove(&channel);
        }
    }

    fn forget_channels(&mut self, link: &Link) {
        for channel in link.channels() {
            self.leave(channel, link);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sid() -> Sid {
        Sid::parse("abcd2345").unwrap()
    }

    fn registry() -> Registry {
        Registry::new(Rate { per_second: 1, burst: 3 })
    }

    #[test]
    fn a_cluster_that_connects_too_often_waits_and_no_other_does() {
        let (registry, start) = (registry(), Instant::now());
        assert_eq!((0..10).filter(|_| registry.may_connect(sid(), start)).count(), 3);
        assert!(registry.may_connect(Sid::parse("bbbbbbbb").unwrap(), start));
        assert!(registry.may_connect(sid(), start + std::time::Duration::from_secs(1)));
    }

    #[test]
    fn an_old_connection_that_ends_late_leaves_the_new_one_alone() {
        let registry = registry();
        let old = registry.seat_agent(sid(), None);
        old.remember_channel(None);
        registry.join(None, &old, 0);
        let new = registry.seat_agent(sid(), None);
        assert!(new.conn > old.conn);
        registry.join(None, &new, 0);
        registry.unseat_agent(&old);
        assert_eq!(registry.agent(sid()).map(|down| down.conn()), Some(new.conn));
        assert_eq!(registry.subscribers(None).len(), 1);
        registry.unseat_agent(&new);
        assert!(registry.agent(sid()).is_none());
    }

    #[test]
    fn the_limit_of_clients_does_not_stop_a_take_over() {
        let registry = registry();
        let (first, none) = registry.seat_client("a", 1).unwrap();
        assert!(none.is_none());
        assert!(registry.seat_client("b", 1).is_none());
        let (second, old) = registry.seat_client("a", 1).unwrap();
        assert!(first.taken_over.is_cancelled() && old.is_some());
        registry.unseat_client("a", &first);
        assert!(registry.seat_client("b", 1).is_none(), "the successor still holds the place");
        registry.unseat_client("a", &second);
        assert!(registry.seat_client("b", 1).is_some());
    }
}
