//! The streams of a connection whose session is confirmed: their frames pass between the socket and the streams' end, and no task of the
//! cluster stands between.

use std::sync::{Mutex, MutexGuard, PoisonError};

use bus_schema::frame::is_of_streams;
use bytes::Bytes;
use streams::Endpoint;
use tokio::sync::Notify;

/// What one connection carries.
#[derive(Debug, Default)]
pub(super) struct Carried {
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct State {
    endpoint: Option<Endpoint>,
    /// The agent greets anew: what comes up is of a session that the cluster's task has yet to confirm.
    greeted: bool,
}

impl Carried {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins to carry, or ends: once this returns nothing of the end before passes any more.
    pub fn set(&self, endpoint: Option<Endpoint>) {
        *self.lock() = State { endpoint, greeted: false };
        self.changed.notify_one();
    }

    /// What comes up is left to the cluster's task until it carries anew; what goes down goes on.
    pub fn greeted(&self) {
        self.lock().greeted = true;
    }

    /// Takes a frame that came up; gives back one of something else, or of streams that are not carried here.
    pub fn take(&self, frame: Bytes) -> Option<Bytes> {
        let state = self.lock();
        let takes = !state.greeted && is_of_streams(&frame);
        let Some(endpoint) = state.endpoint.as_ref().filter(|_| takes) else { return Some(frame) };
        if let Err(error) = endpoint.frame(frame) {
            tracing::debug!(%error, "a stream's frame was not taken");
        }
        None
    }

    /// The next frame down, of as many bytes as `most` says then; waits while there is none. Cancellation loses nothing.
    pub async fn next(&self, most: impl Fn() -> usize) -> Bytes {
        loop {
            let endpoint = self.lock().endpoint.clone();
            let wants = async {
                match &endpoint {
                    Some(endpoint) => endpoint.wants().await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = self.changed.notified() => {}
                () = wants => if let Some(frame) = self.transmit(most()) { return frame }
            }
        }
    }

    fn transmit(&self, most: usize) -> Option<Bytes> {
        self.lock().endpoint.as_ref()?.transmit(most).map(Bytes::from)
    }
}
