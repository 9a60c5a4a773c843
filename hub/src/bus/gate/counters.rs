//! What the gate counts, for logs, metrics and tests.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident),* $(,)?) => {
        /// The running counts.
        #[derive(Debug, Default)]
        pub struct Counters { $($(#[$doc])* pub $name: AtomicU64),* }

        /// The counts at one moment.
        #[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
        pub struct Counts { $($(#[$doc])* pub $name: u64),* }

        impl Counters {
            /// Reads every count.
            pub fn read(&self) -> Counts {
                Counts { $($name: self.$name.load(Relaxed)),* }
            }
        }
    };
}

counters! {
    /// Sockets accepted.
    accepted,
    /// Sockets closed at once because `max_connections` were held.
    over_limit,
    /// Connections evicted before CONNECT by later ones.
    evicted,
    /// Connections turned away at once, as their network keeps failing.
    turned_away,
    /// TLS handshakes that failed.
    failed_handshakes,
    /// Handshakes that went on with an earlier session.
    resumed,
    /// Connections that sent no proper CONNECT in time.
    no_connect,
    /// CONNECTs refused by admission, protocol version or limits.
    refused,
    /// Agents connected since the start.
    agents,
    /// Clients that are no agents connected since the start.
    clients,
    /// Connections taken over by a later one of the same id.
    taken_over,
    /// CONNECTs refused because the same cluster connects too often.
    too_often,
    /// Connections closed because their key was taken away.
    revoked,
    /// Connections closed because their certificate had ended.
    expired,
    /// Times that an agent had to pause because it sent too much.
    throttled,
    /// Connections closed because their keepalive ran out.
    keepalive,
    /// Connections closed because the peer took no byte in time.
    slow_readers,
    /// Connections closed because the peer broke MQTT or the ACL.
    violations,
    /// Frames of agents on topics that this hub does not know.
    unknown_topics,
    /// Times the router behind `test/#` had to be replaced.
    router_restarts,
}

/// Adds one.
pub fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Relaxed);
}
