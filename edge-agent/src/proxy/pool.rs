//! Connections that wait for their next request: few, and not for long.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::connection::Connection;

/// Connections that may wait.
pub const MAX_IDLE: usize = 4;
/// How long one waits: shorter than the 90 s of an API server, so that none is used that is being closed.
pub const IDLE_TIMEOUT: Duration = Duration::from_secs(30);

/// Idle connections to one server, with the same credentials.
#[derive(Default)]
pub struct Pool {
    idle: Mutex<Vec<(Connection, Instant)>>,
}

impl Pool {
    /// The connection that was used last, if one still stands.
    pub fn take(&self) -> Option<Connection> {
        let mut idle = self.lock();
        while let Some((connection, _)) = idle.pop() {
            if connection.is_ready() {
                return Some(connection);
            }
        }
        None
    }

    /// Keeps a connection for the next request.
    pub fn put(&self, connection: Connection) {
        let mut idle = self.lock();
        if idle.len() >= MAX_IDLE {
            // The oldest.
            idle.remove(0);
        }
        idle.push((connection, Instant::now()));
    }

    /// Closes what has waited too long.
    pub fn sweep(&self) {
        self.lock().retain(|(connection, since)| connection.is_ready() && since.elapsed() < IDLE_TIMEOUT);
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.lock().is_empty()
    }

    fn lock(&self) -> MutexGuard<'_, Vec<(Connection, Instant)>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
