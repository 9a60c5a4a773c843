//! A link within one process, for tests of whoever uses streams.

use bus_schema::frame::Key;
use bus_schema::limits::MAX_FRAME;
use bus_schema::stream::Session;

use crate::Endpoint;

/// Carries frames between two endpoints until it is dropped; then both have lost their link.
pub async fn connect(hub: &Endpoint, agent: &Endpoint) {
    let _link = Link::open(hub, agent);
    tokio::join!(carry(hub, agent), carry(agent, hub));
}

struct Link<'a>([&'a Endpoint; 2]);

impl<'a> Link<'a> {
    fn open(hub: &'a Endpoint, agent: &'a Endpoint) -> Link<'a> {
        let session = || Session { peer: 1, send: Key::public(), receive: Key::public(), max_frame: MAX_FRAME, packs: true };
        hub.connected(session());
        agent.connected(session());
        Link([hub, agent])
    }
}

impl Drop for Link<'_> {
    fn drop(&mut self) {
        self.0.iter().for_each(|end| end.disconnected());
    }
}

async fn carry(from: &Endpoint, to: &Endpoint) {
    loop {
        from.wants().await;
        while let Some(frame) = from.transmit(MAX_FRAME) {
            // A frame that is not taken is a lost frame.
            let _ = to.frame(frame.into());
        }
        tokio::task::yield_now().await;
    }
}
