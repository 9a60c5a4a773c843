//! Keeps the hub's certificates fresh, and puts a rotated CA in place, while everything runs.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::served::LIFETIME;
use super::{Authority, Files, Served};

/// How often the folder is looked at for a rotated CA.
const LOOK: Duration = Duration::from_secs(1);

/// Keeps them until cancelled; `rotated` is told of each new CA once it holds.
pub async fn keep(
    files: Files,
    authority: watch::Sender<Arc<Authority>>,
    served: Vec<Arc<Served>>,
    rotated: impl Fn(&Authority) + Send,
    stop: CancellationToken,
) {
    let mut renewed = Instant::now();
    while stop.run_until_cancelled(tokio::time::sleep(LOOK)).await.is_some() {
        let new = files.is_rotating();
        if new {
            match files.open() {
                Ok((opened, _)) => drop(authority.send_replace(Arc::new(opened))),
                Err(error) => {
                    tracing::error!("the rotated CA cannot be put in place: {error:#}");
                    continue;
                }
            }
        }
        if !new && renewed.elapsed() < LIFETIME * 2 / 3 {
            continue;
        }
        let current = authority.borrow().clone();
        for served in &served {
            if let Err(error) = served.renew(&current) {
                tracing::error!("the hub's certificate cannot be renewed: {error:#}");
            }
        }
        renewed = Instant::now();
        if new {
            tracing::info!("the CA was rotated: agents get the new one when they renew their certificates");
            rotated(&current);
        }
    }
}
