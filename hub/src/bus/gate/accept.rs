//! The accept loop. It waits for the listener only.

use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::time::sleep;

use super::counters::count;
use super::transport::Transport;
use super::{Shared, connection};

/// After accept failed, which is a lack of file descriptors or memory that the next call would meet again.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Accepts until the gate stops.
pub async fn run<T: Transport>(listener: TcpListener, transport: Arc<T>, shared: Arc<Shared>) {
    // Tasks that are not connections: this loop and the router's watch.
    let own_tasks = 1 + usize::from(shared.broker.is_some());
    loop {
        let accepted = tokio::select! {
            () = shared.stop.cancelled() => return,
            accepted = listener.accept() => accepted,
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
        if shared.tasks.len() >= shared.config.max_connections + own_tasks {
            count(&shared.counters.over_limit);
            continue;
        }
        prepare(&socket, shared.config.notsent_lowat);
        shared.tasks.spawn(connection::run(socket, peer, transport.clone(), shared.clone()));
    }
}

/// Keeps the kernel from hoarding what the sender would rather decide late.
fn prepare(socket: &TcpStream, notsent_lowat: u32) {
    let tuned = socket.set_nodelay(true).and_then(|()| socket2::SockRef::from(socket).set_tcp_notsent_lowat(notsent_lowat));
    if let Err(error) = tuned {
        tracing::debug!(%error, "a socket could not be tuned; it works, with larger buffers");
    }
}
