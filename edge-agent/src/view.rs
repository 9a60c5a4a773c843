//! Looks at the member again and again, and tells the engine what is known of it.

use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use crate::cluster::facts::Gatherer;
use crate::engine::{Engine, Input};

/// How often facts are gathered, as Clusternet's `--cluster-status-collect-frequency`: the shortest time between two that are told.
const EVERY: Duration = Duration::from_secs(20);

/// How long the API server may be silent before the cluster is said to be unhealthy.
const SILENT: Duration = Duration::from_secs(20);

/// Pause between attempts while the API server does not answer.
const RETRY: Duration = Duration::from_secs(2);

/// Runs until `stop`. The engine drops what it has told already.
pub async fn run(mut gatherer: Gatherer, engine: Engine, stop: CancellationToken) {
    let mut silent = None;
    loop {
        let Some(gathered) = stop.run_until_cancelled(gatherer.gather()).await else { return };
        let pause = match gathered {
            Ok(facts) => {
                silent = None;
                engine.tell(Input::Facts(facts.to_wire())).await;
                EVERY
            }
            Err(failure) => {
                tracing::debug!(why = %failure, "no facts can be gathered for now");
                // Only a server that was seen before can be missed.
                let since = *silent.get_or_insert_with(Instant::now);
                if since.elapsed() >= SILENT && !gatherer.last().k8s_version.is_empty() {
                    engine.tell(Input::Facts(gatherer.last().unreachable().to_wire())).await;
                }
                RETRY
            }
        };
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = stop.cancelled() => return,
        }
    }
}
