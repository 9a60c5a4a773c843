//! Threads for what comes before a peer is known: accept, TLS handshake, CONNECT. They run at a lower priority than the hub's own, so
//! that strangers, however many, get what the fleet leaves over of the processor, and all of it when the fleet is quiet.

use std::io;
use std::net::SocketAddr;
use std::task::Poll;

use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::{Builder, Handle, Runtime};

/// Steps that these threads stand back (`nice`): the hub's own always go first, and where both want a processor for long these get a
/// quarter of it. Further back, agents would wait for whatever else runs on the machine.
const NICE: i32 = 5;

/// The threads, until it is dropped.
#[derive(Debug)]
pub struct Front {
    runtime: Option<Runtime>,
    hub: Handle,
}

impl Front {
    /// Starts as many threads as there are processors. Called on the hub's runtime, which the sockets will belong to.
    ///
    /// # Errors
    /// The system gives no threads.
    pub fn start() -> io::Result<Front> {
        let threads = std::thread::available_parallelism().map_or(1, Into::into);
        let runtime = Builder::new_multi_thread()
            .worker_threads(threads)
            .thread_name("gate-front")
            .on_thread_start(stand_back)
            .enable_time()
            .build()?;
        Ok(Front { runtime: Some(runtime), hub: Handle::current() })
    }

    /// Where to spawn what concerns strangers.
    pub fn strangers(&self) -> &Handle {
        self.runtime.as_ref().map_or(&self.hub, Runtime::handle)
    }

    /// Where to spawn what concerns the fleet.
    pub fn hub(&self) -> &Handle {
        &self.hub
    }

    /// Accepts a socket that belongs to the hub's runtime, so that its life does not depend on these threads.
    pub async fn accept(&self, listener: &TcpListener) -> io::Result<(TcpStream, SocketAddr)> {
        std::future::poll_fn(|context| {
            let _inside = self.hub.enter();
            match listener.poll_accept(context) {
                Poll::Ready(accepted) => Poll::Ready(accepted),
                Poll::Pending => Poll::Pending,
            }
        })
        .await
    }
}

impl Drop for Front {
    fn drop(&mut self) {
        // Not by waiting: this may happen on a thread of either runtime.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

fn stand_back() {
    if let Err(error) = rustix::process::setpriority_process(Some(rustix::thread::gettid()), NICE) {
        tracing::warn!(%error, "the gate's threads for strangers run at full priority");
    }
}
