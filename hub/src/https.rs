//! The API's listener: TLS and HTTP/1.1 or HTTP/2, each connection on a task of its own.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use axum::Router;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::enrol::PeerAddress;
use crate::gateway::MAX_STREAMS;

/// From accept to the end of the TLS handshake.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// From the start of a request to the end of its header.
const HEADER: Duration = Duration::from_secs(30);

/// Bytes of the headers of an HTTP/2 request, as HTTP/2 counts them; what kubectl sends with a certificate in it is not half of that.
const HEADERS: u32 = 64 << 10;

/// Connections held at once, more than there may be streams to members: each may come on one of its own, and the API goes on beside them.
/// Further ones wait in the kernel.
const CONNECTIONS: usize = MAX_STREAMS + 4_000;

/// How long open requests may go on when the hub stops.
const GRACE: Duration = Duration::from_secs(3);

/// Listens on `addr`.
///
/// # Errors
/// The port is taken or not allowed; the sentence says what to do.
pub async fn listen(addr: SocketAddr) -> anyhow::Result<TcpListener> {
    let listener = TcpListener::bind(addr).await;
    listener.with_context(|| format!("the API cannot listen on {addr}; stop what holds the port or choose another with --api-listen"))
}

/// Serves until `stop`, then lets open requests end.
pub async fn serve(listener: TcpListener, tls: Arc<rustls::ServerConfig>, router: Router, stop: CancellationToken) {
    let (tasks, free) = (TaskTracker::new(), Arc::new(Semaphore::new(CONNECTIONS)));
    let acceptor = TlsAcceptor::from(tls);
    loop {
        let Ok(place) = free.clone().acquire_owned().await else { break };
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stop.cancelled() => break,
        };
        match accepted {
            Ok((stream, peer)) => {
                let router = router.clone().layer(axum::Extension(PeerAddress(peer.ip())));
                let (acceptor, stop) = (acceptor.clone(), stop.clone());
                tasks.spawn(async move {
                    connection(stream, acceptor, router, stop).await;
                    drop(place);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
    tasks.close();
    let _ = tokio::time::timeout(GRACE, tasks.wait()).await;
}

async fn connection(stream: TcpStream, acceptor: TlsAcceptor, router: Router, stop: CancellationToken) {
    let _ = stream.set_nodelay(true);
    let Ok(Ok(stream)) = tokio::time::timeout(HANDSHAKE, acceptor.accept(stream)).await else { return };
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(HEADER);
    builder.http2().timer(TokioTimer::new()).keep_alive_interval(Duration::from_secs(60)).max_header_list_size(HEADERS);
    let serving = builder.serve_connection_with_upgrades(TokioIo::new(stream), TowerToHyperService::new(router));
    tokio::pin!(serving);
    tokio::select! {
        ended = &mut serving => {
            if let Err(error) = ended {
                tracing::debug!(%error, "a connection ended badly");
            }
            return;
        }
        () = stop.cancelled() => serving.as_mut().graceful_shutdown(),
    }
    let _ = tokio::time::timeout(GRACE, serving).await;
}
