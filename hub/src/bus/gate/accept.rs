//! The accept loop. It waits for the listener only.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use system::tcp;
use tokio::net::TcpListener;
use tokio::time::sleep;

use super::counters::count;
use super::pending::{Entry, Place};
use super::transport::Transport;
use super::{Shared, connection};

/// After accept failed, which is a lack of file descriptors or memory that the next call would meet again.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Accepts until the gate stops.
pub async fn run<T: Transport>(listener: TcpListener, transport: Arc<T>, shared: Arc<Shared>) {
    if let Some(roster) = shared.admission.roster() {
        // Until it is known who may come, the kernel holds who comes.
        tokio::select! { () = shared.stop.cancelled() => return, () = roster.listed() => {} }
    }
    loop {
        let accepted = tokio::select! {
            () = shared.stop.cancelled() => return,
            accepted = shared.front.accept(&listener) => accepted,
        };
        let (socket, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::error!(%error, "the MQTT gate cannot accept; raise the limit of open files if there are too many");
                sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        count(&shared.counters.accepted);
        let Ok(room) = shared.room.clone().try_acquire_owned() else {
            count(&shared.counters.over_limit);
            continue;
        };
        let Some(place) = place(&shared, peer) else { continue };
        tcp::keep_little_unsent(&socket, shared.config.notsent_lowat);
        let connection = connection::arrive(socket, peer, (room, place), transport.clone(), shared.clone());
        shared.tasks.spawn_on(connection, shared.front.strangers());
    }
}

/// Where the peer may wait until it is known; taken here, in the order of arrival.
fn place(shared: &Shared, peer: SocketAddr) -> Option<Place> {
    match shared.pending.enter(peer.ip(), Instant::now()) {
        Entry::Place(place, evicted_other) => {
            if evicted_other {
                count(&shared.counters.evicted);
            }
            Some(place)
        }
        Entry::TurnedAway => {
            count(&shared.counters.turned_away);
            None
        }
    }
}
