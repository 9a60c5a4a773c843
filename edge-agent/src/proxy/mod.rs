//! Requests that come over the bus, performed on the member's own API server, or on what the member's owner has allowed beside it.
//!
//! One task a stream. `request`, `identity`, `allow` and `deny` decide and do nothing; `perform`, `answer` and `tunnel` do, over connections
//! to the API server and those of `beside`. Nothing is remembered, nothing is repeated: a request is sent at most once.

mod allow;
mod answer;
mod beside;
mod deny;
mod identity;
mod perform;
mod refusal;
mod request;
mod settings;
mod tunnel;

use std::sync::Arc;

use streams::{Code, Endpoint};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

pub use allow::Allow;
pub use deny::Deny;
pub use perform::Performer;
pub use settings::{AT_ONCE, Settings};

use crate::apiserver::IDLE_TIMEOUT;

/// Performs what the hub asks for until `stop`; streams that are open then are reset.
pub async fn run(endpoint: Endpoint, performer: Performer, stop: CancellationToken) {
    let performer = Arc::new(performer);
    let mut streams = JoinSet::new();
    let mut sweep = tokio::time::interval(IDLE_TIMEOUT);
    loop {
        tokio::select! {
            () = stop.cancelled() => break,
            Some(ended) = streams.join_next() => {
                if let Err(error) = ended && error.is_panic() {
                    tracing::error!("a stream's task has panicked; this is a bug");
                }
            }
            _ = sweep.tick(), if performer.has_idle() => performer.sweep(),
            stream = endpoint.accept() => {
                if streams.len() >= performer.at_once {
                    stream.reset(Code::Refused, &format!("this agent performs {} requests at once; try again later", performer.at_once));
                    continue;
                }
                let performer = performer.clone();
                streams.spawn(async move { performer.perform(stream).await });
            }
        }
    }
}
