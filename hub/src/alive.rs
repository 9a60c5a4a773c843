//! What happens now and then while the hub runs: systemd is told that it is up and that its store still commits, and memory goes back.

use system::notify;
use tokio_util::sync::CancellationToken;

use crate::store::{Store, StoreError};

/// Tells it until the hub stops; a disk that is stuck is not alive.
pub async fn keep(store: Store, stop: CancellationToken) {
    notify::tell(notify::READY);
    let Some(interval) = notify::interval() else { return stop.cancelled().await };
    let beat = async {
        loop {
            match store.write(|_| Ok::<(), StoreError>(())).await {
                Ok(()) => notify::tell(notify::ALIVE),
                Err(error) => tracing::error!("the store does not commit: {error}"),
            }
            tokio::time::sleep(interval).await;
        }
    };
    stop.run_until_cancelled(beat).await;
    notify::tell(notify::STOPPING);
}

/// Gives back what bursts of frames took, until the hub stops.
pub async fn give_back(stop: CancellationToken) {
    while stop.run_until_cancelled(tokio::time::sleep(at_rest::GIVE_BACK_EVERY)).await.is_some() {
        at_rest::give_back();
    }
}
