//! The streams of each cluster, as those who have the links hand them in.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use bus_schema::id::Sid;
use streams::Endpoint;

/// Endpoints by bus id; clones are the same.
#[derive(Clone, Default)]
pub struct Links(Arc<RwLock<HashMap<Sid, Endpoint>>>);

impl Links {
    /// The streams of a cluster go here.
    pub fn set(&self, sid: Sid, endpoint: Endpoint) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).insert(sid, endpoint);
    }

    /// There is no such cluster any more.
    pub fn remove(&self, sid: Sid) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).remove(&sid);
    }

    /// The endpoint of a cluster whose agent is in session.
    pub fn in_session(&self, sid: Sid) -> Option<Endpoint> {
        let found = self.0.read().unwrap_or_else(PoisonError::into_inner).get(&sid).cloned();
        found.filter(Endpoint::in_session)
    }
}
