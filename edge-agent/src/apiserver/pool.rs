//! Connections that wait for their next request: few, and not for long.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http::{Request, Response};
use tokio::time::Instant;

use super::answer::AnswerBody;
use super::body::RequestBody;
use super::connection::{Connection, Unanswered};

/// Connections that may wait.
pub const MAX_IDLE: usize = 4;
/// How long one waits: shorter than the 90 s of an API server, so that none is used that is being closed.
pub const IDLE_TIMEOUT: Duration = Duration::from_secs(30);

/// How long a connection may take to become free after its answer has ended, to be kept.
const FREE_WITHIN: Duration = Duration::from_millis(100);

/// Idle connections to one server, with the same credentials.
#[derive(Default)]
pub struct Pool {
    idle: Mutex<Vec<(Connection, Instant)>>,
}

impl Pool {
    /// The connection that was used last, if one still stands. Those below it, which nobody needs, end in time.
    pub fn take(&self) -> Option<Connection> {
        self.sweep();
        self.lock().pop().map(|(connection, _)| connection)
    }

    /// Keeps a connection whose answer has been read, unless it is not free.
    pub async fn keep(&self, mut connection: Connection) {
        if let Ok(true) = tokio::time::timeout(FREE_WITHIN, connection.ready()).await {
            self.put(connection);
        }
    }

    fn put(&self, connection: Connection) {
        let mut idle = self.lock();
        if idle.len() >= MAX_IDLE {
            // The oldest.
            idle.remove(0);
        }
        idle.push((connection, Instant::now()));
    }

    /// Closes what has waited too long.
    pub fn sweep(&self) {
        self.lock().retain_mut(|(connection, since)| connection.is_ready() && since.elapsed() < IDLE_TIMEOUT);
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.lock().is_empty()
    }

    fn lock(&self) -> MutexGuard<'_, Vec<(Connection, Instant)>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Sends a request over a connection that waits, or over a new one.
///
/// # Errors
/// No new one comes about; inside, the request was not answered.
pub async fn send<E>(
    pool: Option<&Pool>,
    mut request: Request<RequestBody>,
    connect: impl AsyncFnOnce() -> Result<Connection, E>,
) -> Result<Result<Response<AnswerBody>, Unanswered>, E> {
    while let Some(connection) = pool.and_then(Pool::take) {
        match send_over(connection, request).await {
            // It was being closed.
            Err(Unanswered::Unsent(back)) => request = *back,
            answered => return Ok(answered),
        }
    }
    Ok(send_over(connect().await?, request).await)
}

async fn send_over(mut connection: Connection, request: Request<RequestBody>) -> Result<Response<AnswerBody>, Unanswered> {
    let response = connection.send(request).await?;
    Ok(response.map(|incoming| AnswerBody::new(incoming, connection)))
}
