//! Streams of each cluster, beside its sync: they share the connection and have what it leaves over.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bus_schema::id::Sid;
use bus_schema::stream::Session;
use streams::{Budget, Endpoint, Limits, Role};

use crate::bus::Downlink;

/// Bytes that streams of all clusters keep until agents have them, and bytes by which all windows are wider than at first: four clusters
/// that take all they may. Beyond it whoever writes waits for longer.
const MOST_BYTES: usize = 256 << 20;

/// Where the streams of a cluster begin, by its bus id; clones are the same.
#[derive(Debug, Clone, Default)]
pub struct Streams(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    limits: Limits,
    budget: Budget,
    ends: Mutex<HashMap<Sid, End>>,
}

#[derive(Debug)]
struct End {
    endpoint: Endpoint,
    /// The agent is there and performs no streams.
    off: bool,
}

impl Streams {
    pub fn new(limits: Limits) -> Streams {
        Streams(Arc::new(Shared { limits, budget: Budget::new(MOST_BYTES), ends: Mutex::default() }))
    }

    /// The hub's end of all streams to a cluster, whether it is connected or not.
    pub fn of(&self, sid: Sid) -> Endpoint {
        let new = || End { endpoint: Endpoint::sharing(Role::Hub, self.0.limits, self.0.budget.clone()), off: false };
        self.lock().entry(sid).or_insert_with(new).endpoint.clone()
    }

    /// The end of a cluster whose agent is in session and performs streams.
    pub fn in_session(&self, sid: Sid) -> Option<Endpoint> {
        let endpoint = self.lock().get(&sid)?.endpoint.clone();
        Some(endpoint).filter(Endpoint::in_session)
    }

    /// Whether the cluster's agent is there and performs no streams.
    pub fn is_off(&self, sid: Sid) -> bool {
        self.lock().get(&sid).is_some_and(|end| end.off)
    }

    fn set_off(&self, sid: Sid, off: bool) {
        if let Some(end) = self.lock().get_mut(&sid) {
            end.off = off;
        }
    }

    /// There is no such cluster any more.
    pub fn forget(&self, sid: Sid) {
        self.lock().remove(&sid);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Sid, End>> {
        self.0.ends.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One cluster's streams while its task runs.
#[derive(Debug)]
pub struct Lane {
    pub endpoint: Endpoint,
    streams: Streams,
    sid: Sid,
    /// The connection that carries them.
    downlink: Option<Downlink>,
}

impl Lane {
    pub fn new(streams: &Streams, sid: Sid) -> Lane {
        Lane { endpoint: streams.of(sid), streams: streams.clone(), sid, downlink: None }
    }

    /// A session was confirmed; `None` when its agent performs no streams.
    pub fn confirmed(&mut self, session: Option<&Session>, downlink: &Downlink) {
        self.streams.set_off(self.sid, session.is_none());
        let Some(session) = session else { return self.stop() };
        self.endpoint.connected(session.clone());
        downlink.carry(Some(self.endpoint.clone()));
        self.downlink = Some(downlink.clone());
    }

    /// The agent greets anew on the same connection: frames of its next session are not to be taken before that is confirmed.
    pub fn greeted(&self) {
        if let Some(downlink) = &self.downlink {
            downlink.greeted();
        }
    }

    /// The link is gone.
    pub fn lost(&mut self) {
        self.streams.set_off(self.sid, false);
        self.stop();
    }

    fn stop(&mut self) {
        if let Some(downlink) = self.downlink.take() {
            downlink.carry(None);
        }
        self.endpoint.disconnected();
    }
}

impl Drop for Lane {
    fn drop(&mut self) {
        self.lost();
    }
}
